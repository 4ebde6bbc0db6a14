/* SPDX-License-Identifier: Apache-2.0 */
/* Tenants, tokens and rates, over real records. */
#include <string.h>
#include <unistd.h>

#include "bare.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "service/tenants.h"

#include <fcntl.h>

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

static void reopen(void)
{
	bare_close(service);
	service = bare_open(dir);
}

TestSuite(tenants, .init = set_up, .fini = tear_down);
TestSuite(tokens, .init = set_up, .fini = tear_down);
TestSuite(rate, .init = set_up, .fini = tear_down);

static struct torpor_error *put(const char *name, bool new, const char *body)
{
	struct tp_actor admin = bare_admin();
	TP_JSON json_t *json = bare_json(body);
	TP_JSON json_t *view = NULL;

	return tp_service_put_tenant(service, &admin, name, new, json, &view);
}

static json_t *get(const struct tp_actor *actor, const char *name)
{
	json_t *view;

	must(tp_service_tenant(service, actor, name, &view));
	return view;
}

static json_int_t limit_of(const json_t *view, const char *key)
{
	json_t *limit = json_object_get(json_object_get(view, "limits"), key);

	return json_is_null(limit) ? -1 : json_integer_value(limit);
}

/* --- tenants --- */

Test(tenants, the_default_one_is_always_there)
{
	struct tp_actor admin = bare_admin();
	TP_JSON json_t *view = get(&admin, TP_DEFAULT_TENANT);

	cr_assert_eq(limit_of(view, "sessions"), -1);
	cr_assert(json_is_null(json_object_get(view, "uid")));
	must_fail(tp_service_remove_tenant(service, &admin, TP_DEFAULT_TENANT), TORPOR_E_INVALID);
}

Test(tenants, limits_last_and_override_the_defaults)
{
	struct tp_actor admin = bare_admin();
	struct tp_tenant_limits limits;

	must(put("alice", true, "{'limits': {'sessions': 3, 'idle_s': 60}}"));
	must_fail(put("alice", true, "{}"), TORPOR_E_EXISTS);
	must(put("alice", false, "{'limits': {'ttl_s': 0}, 'uid': 1234}"));
	for (int i = 0; i < 2; i++) {
		TP_JSON json_t *view = get(&admin, "alice");
		cr_assert_eq(limit_of(view, "sessions"), 3);
		cr_assert_eq(limit_of(view, "idle_s"), 60);
		cr_assert_eq(limit_of(view, "ttl_s"), 0);
		cr_assert_eq(limit_of(view, "retention_s"), -1);
		cr_assert_eq(json_integer_value(json_object_get(view, "uid")), 1234);
		tp_tenant_limits(service, "alice", &limits);
		cr_assert_eq(limits.sessions, 3);
		cr_assert_eq(limits.parked_bytes, service->config.tenant_limits.parked_bytes);
		struct tp_timers timers = tp_tenant_timers(service, "alice");
		cr_assert_eq(timers.ttl_s, 0);
		cr_assert_eq(timers.idle_s, 60);
		cr_assert_eq(timers.retention_s, service->config.timers.retention_s);
		reopen();
	}
	must(put("alice", false, "{'limits': {'sessions': null}, 'uid': null}"));
	TP_JSON json_t *view = get(&admin, "alice");
	cr_assert_eq(limit_of(view, "sessions"), -1);
	cr_assert(json_is_null(json_object_get(view, "uid")));
}

Test(tenants, the_narrowest_timer_that_is_set_holds)
{
	struct tp_session_row row = {.tenant = (char[]){"alice"},
		.template_name = (char[]){"minimal"},
		.ttl_s = TP_UNSET,
		.idle_s = 5,
		.retention_s = TP_UNSET};

	must(put("alice", true, "{'limits': {'ttl_s': 70, 'idle_s': 60}}"));
	struct tp_timers timers = tp_timers_of(service, &row);
	cr_assert_eq(timers.ttl_s, 70);
	cr_assert_eq(timers.idle_s, 5);
	cr_assert_eq(timers.retention_s, service->config.timers.retention_s);
	row.ttl_s = 0;
	cr_assert_eq(tp_timers_of(service, &row).ttl_s, 0);
}

Test(tenants, nonsense_is_refused)
{
	static const char *const bodies[] = {
		"{'limits': 3}",
		"{'limits': {'sessions': -1}}",
		"{'limits': {'sessions': '3'}}",
		"{'limits': {'sessions': 1.5}}",
		"{'limits': {'sessions': 9007199254740993}}",
		"{'limits': {'ttl_s': 99999999999}}",
		"{'limits': {'colour': 1}}",
		"{'uid': 0}",
		"{'uid': -1}",
		"{'uid': 4294967295}",
		"{'uid': 'root'}",
		"{'name': 'bob'}",
		"{'admin': true}",
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(bodies); i++)
		must_fail(put("alice", true, bodies[i]), TORPOR_E_INVALID);
	must_fail(put("../alice", true, "{}"), TORPOR_E_INVALID);
	must_fail(put("", true, "{}"), TORPOR_E_INVALID);
	must_fail(put("alice", false, "{}"), TORPOR_E_NOT_FOUND);
	must(put("alice", true, "{'name': 'alice'}"));
}

Test(tenants, a_tenant_sees_itself_alone)
{
	struct tp_actor alice = bare_tenant("alice");
	TP_JSON json_t *body = json_object();
	json_t *view;

	must(put("alice", true, "{}"));
	must(put("bob", true, "{}"));
	TP_JSON json_t *own = get(&alice, "alice");
	cr_assert_not_null(json_object_get(own, "usage"));
	struct torpor_error *others = tp_service_tenant(service, &alice, "bob", &view);
	struct torpor_error *none = tp_service_tenant(service, &alice, "nobody", &view);
	cr_assert_str_eq(torpor_error_message(others) + strlen("find tenant bob"),
		torpor_error_message(none) + strlen("find tenant nobody"));
	cr_assert_eq(torpor_error_code(others), TORPOR_E_NOT_FOUND);
	torpor_error_free(others);
	torpor_error_free(none);
	must_fail(tp_service_tenants(service, &alice, &view), TORPOR_E_DENIED);
	must_fail(tp_service_put_tenant(service, &alice, "alice", false, body, &view),
		TORPOR_E_DENIED);
	must_fail(tp_service_remove_tenant(service, &alice, "bob"), TORPOR_E_DENIED);
	must_fail(tp_service_new_token(service, &alice, "alice", body, &view), TORPOR_E_DENIED);
	must_fail(tp_service_tokens(service, &alice, "alice", &view), TORPOR_E_DENIED);
}

Test(tenants, one_with_sessions_stays)
{
	struct tp_actor admin = bare_admin();

	must(put("alice", true, "{}"));
	bare_put_session(service, "parked0000000000", "alice", "parked", "u");
	must_fail(tp_service_remove_tenant(service, &admin, "alice"), TORPOR_E_BUSY);
	struct tp_change *change = tp_change_new();
	tp_change_remove_session(change, "parked0000000000");
	must(tp_records_commit(service->records, change));
	must(tp_service_remove_tenant(service, &admin, "alice"));
	must_fail(tp_service_check_tenant(service, "alice"), TORPOR_E_NOT_FOUND);
	reopen();
	must_fail(tp_service_remove_tenant(service, &admin, "alice"), TORPOR_E_NOT_FOUND);
}

/* From the moment that it is in the table, which is before anything is recorded. */
Test(tenants, one_with_a_session_that_is_being_made_stays)
{
	struct tp_actor admin = bare_admin();

	must(put("alice", true, "{}"));
	must(tp_tenant_check_stays(service, "alice"));
	struct tp_live *live = tp_live_new(service, "alice");
	must_fail(tp_service_remove_tenant(service, &admin, "alice"), TORPOR_E_BUSY);
	must(tp_tenant_check_stays(service, "alice"));
	live->state = TP_STATE_DESTROYED;
	must(tp_service_remove_tenant(service, &admin, "alice"));
	tp_live_put(service, live);
	must_fail(tp_tenant_check_stays(service, "alice"), TORPOR_E_NOT_FOUND);
}

Test(tenants, users_of_the_system)
{
	struct tp_actor actor;

	must(put("alice", true, "{'uid': 4321}"));
	must_fail(put("bob", true, "{'uid': 4321}"), TORPOR_E_EXISTS);
	must_fail(tp_service_check_tenant(service, "bob"), TORPOR_E_NOT_FOUND);
	must(tp_service_actor_of_uid(service, 4321, &actor));
	cr_assert_str_eq(actor.tenant, "alice");
	cr_assert_str_eq(actor.how, "peer 4321");
	cr_assert_not(actor.admin);
	must(tp_service_actor_of_uid(service, 0, &actor));
	cr_assert(actor.admin);
	must(tp_service_actor_of_uid(service, geteuid(), &actor));
	cr_assert(actor.admin);
	must_fail(tp_service_actor_of_uid(service, 4322, &actor), TORPOR_E_DENIED);
	must_fail(tp_service_actor_of_uid(service, -1, &actor), TORPOR_E_DENIED);
}

Test(tenants, all_is_audited)
{
	struct tp_actor admin = bare_admin();
	struct tp_actor alice = bare_tenant("alice");
	json_t *view;
	static const char *const ops[] = {"tenant-remove", "tenant-change", "tenant-create"};
	static const char *const outcomes[] = {"denied", "ok", "ok"};

	must(put("alice", true, "{}"));
	must(put("alice", false, "{'limits': {'sessions': 1}}"));
	must_fail(tp_service_remove_tenant(service, &alice, "alice"), TORPOR_E_DENIED);
	must(tp_service_audit(service, &admin, NULL, 0, 10, &view));
	json_t *entries = json_object_get(view, "entries");
	for (size_t i = 0; i < TP_ARRAY_LEN(ops); i++) {
		json_t *entry = json_array_get(entries, i);
		cr_assert_str_eq(json_string_value(json_object_get(entry, "op")), ops[i]);
		cr_assert_str_eq(json_string_value(json_object_get(entry, "outcome")), outcomes[i]);
		cr_assert_str_eq(json_string_value(json_object_get(entry, "object")), "alice");
	}
	json_decref(view);
	/* A tenant sees what it did itself, and no more. */
	must(tp_service_audit(service, &alice, NULL, 0, 10, &view));
	cr_assert_eq(json_array_size(json_object_get(view, "entries")), 1);
	json_decref(view);
}

static void fail_once_recorded(bool fail)
{
	setenv("TORPOR_FAULT", fail ? "settle.committed:1:fail" : "none", 1);
	tp_fault_init();
}

/* As where the audit log can't be written: what is answered with an error hasn't happened. */
Test(tenants, a_change_that_failed_is_undone)
{
	struct tp_actor admin = bare_admin();

	must(put("alice", true, "{'limits': {'sessions': 3}}"));
	fail_once_recorded(true);
	must_fail(put("bob", true, "{}"), TORPOR_E_IO);
	fail_once_recorded(true);
	must_fail(put("alice", false, "{'limits': {'sessions': 4}}"), TORPOR_E_IO);
	fail_once_recorded(true);
	must_fail(tp_service_remove_tenant(service, &admin, "alice"), TORPOR_E_IO);
	fail_once_recorded(false);
	must(tp_tenant_check_stays(service, "alice"));
	reopen();
	must_fail(tp_service_check_tenant(service, "bob"), TORPOR_E_NOT_FOUND);
	TP_JSON json_t *view = get(&admin, "alice");
	cr_assert_eq(limit_of(view, "sessions"), 3);
}

/* --- tokens --- */

static json_t *new_token(const char *tenant, const char *body)
{
	struct tp_actor admin = bare_admin();
	TP_JSON json_t *json = bare_json(body);
	json_t *view;

	must(tp_service_new_token(service, &admin, tenant, json, &view));
	return view;
}

static const char *text_of(const json_t *view, const char *key)
{
	return json_string_value(json_object_get(view, key));
}

Test(tokens, say_who_it_is_across_restarts)
{
	struct tp_actor actor;

	must(put("alice", true, "{}"));
	TP_JSON json_t *alice = new_token("alice", "{'label': 'laptop'}");
	TP_JSON json_t *admin = new_token(TP_DEFAULT_TENANT, "{'admin': true}");
	for (int i = 0; i < 2; i++) {
		must(tp_service_actor_of_token(service, text_of(alice, "token"), &actor));
		cr_assert_str_eq(actor.tenant, "alice");
		cr_assert_not(actor.admin);
		cr_assert_eq(actor.perms, TP_PERM_ALL);
		cr_assert_str_eq(actor.session, "");
		must(tp_service_actor_of_token(service, text_of(admin, "token"), &actor));
		cr_assert_str_eq(actor.tenant, TP_DEFAULT_TENANT);
		cr_assert(actor.admin);
		reopen();
	}
}

Test(tokens, look_as_they_should_and_are_not_kept)
{
	static const char base62[] =
		"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	static const char *const files[] = {TP_RECORDS_NAME, TP_RECORDS_NAME "-wal", TP_AUDIT_NAME};
	TP_JSON json_t *view = new_token(TP_DEFAULT_TENANT, "{}");
	const char *token = text_of(view, "token");
	const char *secret = strrchr(token, '_') + 1;
	unsigned int known = 0;

	cr_assert_eq(strncmp(token, "tpr_", 4), 0);
	cr_assert_eq(strlen(secret), 32);
	cr_assert_eq(strspn(secret, base62), 32);
	for (size_t i = 0; i < TP_ARRAY_LEN(files); i++) {
		TP_FREE char *path = tp_asprintf("%s/%s", dir, files[i]);
		TP_FREE char *data = NULL;
		size_t len;
		must(tp_read_file(AT_FDCWD, path, 64 * TP_MIB, &data, &len));
		cr_assert_null(memmem(data, len, secret, strlen(secret)), "%s has it", files[i]);
		known += memmem(data, len, text_of(view, "id"), 10) != NULL;
	}
	cr_assert_eq(known, 2, "the token's id is in the write-ahead log and in the audit log");
}

Test(tokens, what_is_wrong_anywhere_is_denied_alike)
{
	struct tp_actor actor = {.tenant = "untouched"};
	TP_JSON json_t *view = new_token(TP_DEFAULT_TENANT, "{}");
	TP_FREE char *token = tp_strdup(text_of(view, "token"));
	size_t len = strlen(token);
	static const char *const others[] = {"", "tpr_", "tpr__", "Bearer x", "tpr_aaaaaaaaaa_",
		"tpr_aaaaaaaaaa_00000000000000000000000000000000",
		"tpr_aaaaaaaaaa00000000000000000", "eyJhbGciOiJub25lIn0.e30."};

	for (size_t i = 0; i < len; i++) {
		char was = token[i];
		token[i] = was == 'x' ? 'y' : 'x';
		struct torpor_error *err = tp_service_actor_of_token(service, token, &actor);
		cr_assert_not_null(err, "%zu", i);
		cr_assert_str_eq(torpor_error_message(err), "authorize: the token isn't valid");
		torpor_error_free(err);
		token[i] = was;
	}
	for (size_t i = 0; i < TP_ARRAY_LEN(others); i++)
		must_fail(tp_service_actor_of_token(service, others[i], &actor), TORPOR_E_DENIED);
	TP_FREE char *longer = tp_asprintf("%sx", token);
	must_fail(tp_service_actor_of_token(service, longer, &actor), TORPOR_E_DENIED);
	token[len - 1] = '\0';
	must_fail(tp_service_actor_of_token(service, token, &actor), TORPOR_E_DENIED);
	cr_assert_str_eq(actor.tenant, "untouched");
}

Test(tokens, end_when_removed_with_their_tenant_and_in_time)
{
	struct tp_actor admin = bare_admin();
	struct tp_actor actor;

	must(put("alice", true, "{}"));
	must(put("bob", true, "{}"));
	TP_JSON json_t *first = new_token("alice", "{}");
	TP_JSON json_t *second = new_token("alice", "{'expires_s': 3600}");
	TP_JSON json_t *of_admin = new_token(TP_DEFAULT_TENANT, "{'admin': true}");
	must_fail(tp_service_remove_token(service, &admin, "bob", text_of(first, "id")),
		TORPOR_E_NOT_FOUND);
	must(tp_service_actor_of_token(service, text_of(first, "token"), &actor));
	must(tp_service_remove_token(service, &admin, "alice", text_of(first, "id")));
	must_fail(tp_service_actor_of_token(service, text_of(first, "token"), &actor),
		TORPOR_E_DENIED);
	must(tp_service_actor_of_token(service, text_of(second, "token"), &actor));
	must(tp_service_remove_tenant(service, &admin, "alice"));
	must_fail(tp_service_actor_of_token(service, text_of(second, "token"), &actor),
		TORPOR_E_DENIED);
	must(tp_service_remove_token(service, &admin, TP_DEFAULT_TENANT, text_of(of_admin, "id")));
	must_fail(tp_service_actor_of_token(service, text_of(of_admin, "token"), &actor),
		TORPOR_E_DENIED);
}

Test(tokens, stay_where_their_end_failed)
{
	struct tp_actor admin = bare_admin();
	struct tp_actor actor;

	must(put("alice", true, "{}"));
	TP_JSON json_t *token = new_token("alice", "{}");
	fail_once_recorded(true);
	must_fail(tp_service_remove_token(service, &admin, "alice", text_of(token, "id")),
		TORPOR_E_IO);
	fail_once_recorded(true);
	must_fail(tp_service_remove_tenant(service, &admin, "alice"), TORPOR_E_IO);
	fail_once_recorded(true);
	TP_JSON json_t *body = json_object();
	json_t *view;
	must_fail(tp_service_new_token(service, &admin, "alice", body, &view), TORPOR_E_IO);
	fail_once_recorded(false);
	must(tp_service_actor_of_token(service, text_of(token, "token"), &actor));
	must(tp_service_tokens(service, &admin, "alice", &view));
	cr_assert_eq(json_array_size(json_object_get(view, "tokens")), 1);
	json_decref(view);
}

Test(tokens, expire)
{
	struct tp_actor actor;
	struct tp_token_row row;

	TP_JSON json_t *view = new_token(TP_DEFAULT_TENANT, "{'expires_s': 3600}");
	const char *token = text_of(view, "token");
	must(tp_service_actor_of_token(service, token, &actor));
	/* An hour passes. */
	must(tp_records_token(service->records, text_of(view, "id"), &row));
	struct tp_change *change = tp_change_new();
	row.expires_ns = tp_realtime_ns() - 1;
	tp_change_put_token(change, &row);
	must(tp_records_commit(service->records, change));
	tp_token_row_deinit(&row);
	must_fail(tp_service_actor_of_token(service, token, &actor), TORPOR_E_DENIED);
}

Test(tokens, are_listed_without_what_is_secret)
{
	struct tp_actor admin = bare_admin();
	json_t *view;

	must(put("alice", true, "{}"));
	TP_JSON json_t *alice = new_token("alice", "{'label': 'laptop'}");
	TP_JSON json_t *of_admin = new_token(TP_DEFAULT_TENANT, "{'admin': true}");
	must(tp_service_tokens(service, &admin, "alice", &view));
	TP_FREE char *text = json_dumps(view, 0);
	json_t *first = json_array_get(json_object_get(view, "tokens"), 0);
	cr_assert_eq(json_array_size(json_object_get(view, "tokens")), 1);
	cr_assert_str_eq(text_of(first, "id"), text_of(alice, "id"));
	cr_assert_str_eq(text_of(first, "label"), "laptop");
	cr_assert_null(json_object_get(first, "token"));
	cr_assert_null(strstr(text, strrchr(text_of(alice, "token"), '_')));
	json_decref(view);
	must(tp_service_tokens(service, &admin, TP_DEFAULT_TENANT, &view));
	first = json_array_get(json_object_get(view, "tokens"), 0);
	cr_assert_str_eq(text_of(first, "id"), text_of(of_admin, "id"));
	cr_assert(json_is_true(json_object_get(first, "admin")));
	json_decref(view);
	must_fail(tp_service_tokens(service, &admin, "nobody", &view), TORPOR_E_NOT_FOUND);
}

Test(tokens, nonsense_is_refused)
{
	static const char *const bodies[] = {"{'label': 3}", "{'expires_s': 0}",
		"{'expires_s': 'never'}", "{'expires_s': 99999999999999}", "{'admin': 1}",
		"{'admin': true}", "{'tenant': 'bob'}"};
	struct tp_actor admin = bare_admin();
	json_t *view;

	must(put("alice", true, "{}"));
	for (size_t i = 0; i < TP_ARRAY_LEN(bodies); i++) {
		TP_JSON json_t *body = bare_json(bodies[i]);
		must_fail(tp_service_new_token(service, &admin, "alice", body, &view),
			TORPOR_E_INVALID);
	}
}

/* --- rate --- */

Test(rate, a_minutes_worth_at_once_then_evenly)
{
	uint64_t now = 1000 * TP_NSEC_PER_SEC;

	for (int i = 0; i < 100; i++)
		cr_assert_eq(tp_tenants_take(service->tenants, TP_DEFAULT_TENANT, now), 0, "%d", i);
	cr_assert_eq(tp_tenants_take(service->tenants, TP_DEFAULT_TENANT, now), 1);
	now += 610 * TP_NSEC_PER_MSEC;
	cr_assert_eq(tp_tenants_take(service->tenants, TP_DEFAULT_TENANT, now), 0);
	cr_assert_eq(tp_tenants_take(service->tenants, TP_DEFAULT_TENANT, now), 1);
	/* An hour of quiet gives no more than a minute does. */
	now += 3600 * TP_NSEC_PER_SEC;
	for (int i = 0; i < 100; i++)
		cr_assert_eq(tp_tenants_take(service->tenants, TP_DEFAULT_TENANT, now), 0, "%d", i);
	cr_assert_neq(tp_tenants_take(service->tenants, TP_DEFAULT_TENANT, now), 0);
}

Test(rate, each_tenant_has_its_own)
{
	struct tp_actor alice = bare_tenant("alice");
	struct tp_actor bob = bare_tenant("bob");
	struct tp_actor carol = bare_tenant("carol");
	struct tp_actor admin = bare_admin();

	must(put("alice", true, "{'limits': {'requests_per_minute': 2}}"));
	must(put("bob", true, "{}"));
	must(put("carol", true, "{'limits': {'requests_per_minute': 0}}"));
	must(tp_service_rate(service, &alice));
	must(tp_service_rate(service, &alice));
	struct torpor_error *err = tp_service_rate(service, &alice);
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_LIMIT);
	cr_assert_str_eq(torpor_error_reason(err), "rate");
	cr_assert_geq(torpor_error_retry_after(err), 1);
	cr_assert_leq(torpor_error_retry_after(err), 31);
	torpor_error_free(err);
	must(tp_service_rate(service, &bob));
	for (int i = 0; i < 1000; i++) {
		must(tp_service_rate(service, &carol));
		must(tp_service_rate(service, &admin));
	}
	/* A new limit holds at once. */
	must(put("alice", false, "{'limits': {'requests_per_minute': 6000000}}"));
	must(tp_service_rate(service, &alice));
}
