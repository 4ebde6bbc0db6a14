/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that are repeated, over real records. */
#include <stdio.h>
#include <string.h>

#include "bare.h"
#include "base/mem.h"
#include "service/repeats.h"

#define ID "session000000000"

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

TestSuite(repeats, .init = set_up, .fini = tear_down);

static struct tp_actor keyed(const char *tenant, const char *key, uint8_t print)
{
	struct tp_actor actor = bare_tenant(tenant);

	snprintf(actor.key, sizeof(actor.key), "%s", key);
	memset(actor.print, print, sizeof(actor.print));
	return actor;
}

/* The operation's outcome, as it settles. */
static void settle(const struct tp_actor *actor, int status, const char *result)
{
	TP_JSON json_t *json = result ? bare_json(result) : NULL;
	struct tp_op op = {
		.actor = actor, .op = "test", .object = ID, .status = status, .result = json};

	must(tp_settle(service, &op, NULL, NULL));
}

/* The answer to a repetition; NULL for a 204. */
static json_t *replay(const struct tp_actor *actor, int status)
{
	bool replayed = false;
	int got = 0;
	json_t *view = NULL;

	must(tp_service_repeat_begin(service, actor, &replayed, &got, &view));
	cr_assert(replayed);
	cr_assert_eq(got, status);
	return view;
}

static void begin(const struct tp_actor *actor)
{
	bool replayed = true;

	must(tp_service_repeat_begin(service, actor, &replayed, NULL, NULL));
	cr_assert_not(replayed);
}

static void assert_text(const json_t *view, const char *key, const char *text)
{
	cr_assert_str_eq(json_string_value(json_object_get(view, key)), text);
}

Test(repeats, without_a_key_nothing_is_kept)
{
	struct tp_actor actor = keyed("alice", "", 1);

	begin(&actor);
	begin(&actor);
	tp_service_repeat_end(service, &actor);
}

Test(repeats, while_under_way_others_are_told)
{
	struct tp_actor actor = keyed("alice", "k", 1);
	struct tp_actor other = keyed("alice", "k", 2);
	struct tp_actor bob = keyed("bob", "k", 1);

	begin(&actor);
	struct torpor_error *err = tp_service_repeat_begin(service, &actor, NULL, NULL, NULL);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_BUSY);
	cr_assert_eq(torpor_error_retry_after(err), 1);
	torpor_error_free(err);
	must_fail(tp_service_repeat_begin(service, &other, NULL, NULL, NULL), TORPOR_E_MISMATCH);
	/* Keys are each tenant's own. */
	begin(&bob);
	tp_service_repeat_end(service, &bob);
	/* It failed: the next one tries again. */
	tp_service_repeat_end(service, &actor);
	begin(&actor);
	tp_service_repeat_end(service, &actor);
}

Test(repeats, are_answered_with_the_session_as_it_is_now)
{
	struct tp_actor actor = keyed("alice", "k", 1);
	struct tp_actor other = keyed("alice", "k", 2);

	begin(&actor);
	bare_put_session(service, ID, "alice", "parked", "u");
	settle(&actor, 201, "{'session': '" ID "', 'checkpoint': {'name': 'cp'}}");
	tp_service_repeat_end(service, &actor);
	for (int i = 0; i < 2; i++) {
		/* Whatever it may do otherwise. */
		actor.perms = i ? TP_PERM_CREATE : TP_PERM_ALL;
		TP_JSON json_t *view = replay(&actor, 201);
		assert_text(view, "id", ID);
		assert_text(view, "state", "parked");
		assert_text(json_object_get(view, "checkpoint"), "name", "cp");
		bare_close(service);
		service = bare_open(dir);
	}
	must_fail(tp_service_repeat_begin(service, &other, NULL, NULL, NULL), TORPOR_E_MISMATCH);
	struct tp_change *change = tp_change_new();
	tp_change_remove_session(change, ID);
	must(tp_records_commit(service->records, change));
	TP_JSON json_t *gone = replay(&actor, 201);
	assert_text(gone, "id", ID);
	assert_text(gone, "state", "destroyed");
}

Test(repeats, of_many_sessions_and_of_none)
{
	struct tp_actor fork = keyed("alice", "fork", 1);
	struct tp_actor destroy = keyed("alice", "destroy", 1);

	bare_put_session(service, ID, "alice", "parked", "u");
	settle(&fork, 201, "{'sessions': ['" ID "', 'another000000000']}");
	settle(&destroy, 204, NULL);
	TP_JSON json_t *view = replay(&fork, 201);
	json_t *list = json_object_get(view, "sessions");
	assert_text(json_array_get(list, 0), "state", "parked");
	assert_text(json_array_get(list, 1), "id", "another000000000");
	assert_text(json_array_get(list, 1), "state", "destroyed");
	cr_assert_null(replay(&destroy, 204));
}

Test(repeats, of_a_token_show_it_no_more)
{
	struct tp_actor admin = bare_admin();
	TP_JSON json_t *body = json_object();
	json_t *first;

	snprintf(admin.key, sizeof(admin.key), "k");
	begin(&admin);
	must(tp_service_new_token(service, &admin, TP_DEFAULT_TENANT, body, &first));
	tp_service_repeat_end(service, &admin);
	TP_JSON json_t *again = replay(&admin, 201);
	assert_text(again, "id", json_string_value(json_object_get(first, "id")));
	cr_assert_not_null(json_object_get(first, "token"));
	cr_assert_null(json_object_get(again, "token"));
	json_decref(first);
}

Test(repeats, of_a_tenant)
{
	struct tp_actor admin = bare_admin();
	TP_JSON json_t *body = json_object();
	json_t *first;

	snprintf(admin.key, sizeof(admin.key), "k");
	begin(&admin);
	must(tp_service_put_tenant(service, &admin, "alice", true, body, &first));
	tp_service_repeat_end(service, &admin);
	json_decref(first);
	TP_JSON json_t *again = replay(&admin, 201);
	assert_text(again, "name", "alice");
}

Test(repeats, are_forgotten_after_a_day)
{
	struct tp_actor actor = keyed("alice", "k", 1);
	struct tp_change *change = tp_change_new();
	struct tp_repeat_row row = {
		.tenant = actor.tenant,
		.key = actor.key,
		.status = 204,
		.created_ns = tp_realtime_ns() - TP_REPEAT_KEEP_NS,
	};

	tp_change_put_repeat(change, &row);
	must(tp_records_commit(service->records, change));
	begin(&actor);
	settle(&actor, 204, NULL);
	tp_service_repeat_end(service, &actor);
	cr_assert_null(replay(&actor, 204));
}
