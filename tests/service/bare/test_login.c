/* SPDX-License-Identifier: Apache-2.0 */
/* Logins that were ended stay so; tokens whose time is over say so. */
#include <stdio.h>
#include <string.h>

#include "bare.h"
#include "base/mem.h"

static char *dir;
static struct tp_service *service;

static void set_up(void)
{
	dir = bare_dir();
	service = bare_open(dir);
}

static void tear_down(void)
{
	bare_close(service);
	bare_remove_dir(dir);
}

TestSuite(login, .init = set_up, .fini = tear_down);

static const char *last_op(void)
{
	static char op[32];
	struct tp_actor admin = bare_admin();
	json_t *view;

	must(tp_service_audit(service, &admin, NULL, 0, 1, &view));
	const json_t *entry = json_array_get(json_object_get(view, "entries"), 0);
	snprintf(op, sizeof(op), "%s", json_string_value(json_object_get(entry, "op")));
	json_decref(view);
	return op;
}

Test(login, ended_ones_stay_so_across_a_restart)
{
	struct tp_actor admin = bare_admin(), alice = bare_tenant("alice");

	must(tp_service_login(service, &admin));
	cr_assert_str_eq(last_op(), "login");
	must(tp_service_check_login(service, &admin, "0123456789abcdef"));
	must(tp_service_logout(service, &admin, "0123456789abcdef"));
	cr_assert_str_eq(last_op(), "logout");
	must_fail(tp_service_check_login(service, &admin, "0123456789abcdef"), TORPOR_E_DENIED);
	/* No other, and nobody else's. */
	must(tp_service_check_login(service, &admin, "0123456789abcdeg"));
	must(tp_service_check_login(service, &alice, "0123456789abcdef"));
	bare_close(service);
	service = bare_open(dir);
	must_fail(tp_service_check_login(service, &admin, "0123456789abcdef"), TORPOR_E_DENIED);
}

/* Nobody gets at the mark of one by a key of a request. */
Test(login, marks_are_no_keys)
{
	struct tp_actor alice = bare_tenant("alice");
	bool replayed = true;
	int status;
	json_t *view;

	must(tp_service_logout(service, &alice, "0123456789abcdef"));
	snprintf(alice.key, sizeof(alice.key), "login 0123456789abcdef");
	must(tp_service_repeat_begin(service, &alice, &replayed, &status, &view));
	cr_assert(!replayed);
	tp_service_repeat_end(service, &alice);
}

Test(login, tokens_say_when_their_time_is_over)
{
	struct tp_actor admin = bare_admin(), actor = {0};
	TP_JSON json_t *hour = bare_json("{'expires_s': 3600}");
	TP_JSON json_t *tenant = bare_json("{}");
	struct tp_token_row row;
	json_t *view;

	must(tp_service_put_tenant(service, &admin, "alice", true, tenant, &view));
	json_decref(view);
	must(tp_service_new_token(service, &admin, "alice", hour, &view));
	TP_FREE char *token = tp_strdup(json_string_value(json_object_get(view, "token")));
	TP_FREE char *id = tp_strdup(json_string_value(json_object_get(view, "id")));
	json_decref(view);
	must(tp_service_actor_of_token(service, token, &actor));
	cr_assert_gt(actor.expires_ns, tp_realtime_ns() + 3590 * TP_NSEC_PER_SEC);
	must(tp_service_self(service, &actor, &view));
	cr_assert(json_is_string(json_object_get(view, "expires")));
	json_decref(view);

	/* An hour later: the row is made anew, as a token can't be changed. */
	must(tp_records_token(service->records, id, &row));
	struct tp_change *change = tp_change_new();
	tp_change_remove_token(change, id);
	row.expires_ns = tp_realtime_ns() - 1;
	tp_change_put_token(change, &row);
	must(tp_records_commit(service->records, change));
	tp_token_row_deinit(&row);
	struct torpor_error *err = tp_service_actor_of_token(service, token, &actor);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_DENIED);
	cr_assert_str_eq(torpor_error_reason(err), "token-expired");
	torpor_error_free(err);

	/* Who doesn't know the secret isn't told. */
	token[strlen(token) - 1] = token[strlen(token) - 1] == 'a' ? 'b' : 'a';
	err = tp_service_actor_of_token(service, token, &actor);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_DENIED);
	cr_assert_null(torpor_error_reason(err));
	torpor_error_free(err);
}
