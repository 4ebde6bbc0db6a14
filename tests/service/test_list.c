/* SPDX-License-Identifier: Apache-2.0 */
/* Pages, cursors and views. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "expect.h"
#include "fake.h"

static struct tp_service *service;
static struct tp_actor alice;
static struct tp_call forever;

static void open_world(void)
{
	service = fake_open();
	alice = fake_actor("alice");
	forever = tp_call_within(TP_NO_DEADLINE);
}

static void close_world(void)
{
	fake_close(service);
}

TestSuite(list, .init = open_world, .fini = close_world);

static void record(unsigned int number, const char *tenant, uint64_t created_ns)
{
	char id[TP_ID_LEN + 1];
	char name[16];

	snprintf(id, sizeof(id), "%016u", number);
	snprintf(name, sizeof(name), "s%u", number);
	fake_record_parked(id, tenant, name, created_ns);
}

/* As it was given to record(); that of a session that was created stays as it is. */
static const char *short_id(const char *id)
{
	bool is_number = strspn(id, "0123456789") == TP_ID_LEN;

	return is_number ? id + strspn(id, "0") : id;
}

/* The ids of a page, "3 2 1"; static storage. Its cursor goes to CURSOR, which it came from. */
static const char *page(struct tp_list_filter filter, char *cursor)
{
	static char ids[4096];
	json_t *view = NULL;
	size_t i;
	json_t *one;

	filter.cursor = cursor && *cursor ? cursor : NULL;
	ok(tp_service_list(service, &alice, &filter, &view));
	ids[0] = '\0';
	json_array_foreach (json_object_get(view, "sessions"), i, one) {
		const char *id = json_string_value(json_object_get(one, "id"));
		size_t len = strlen(ids);
		snprintf(ids + len, sizeof(ids) - len, "%s%s", i ? " " : "", short_id(id));
	}
	if (cursor)
		snprintf(cursor, 64, "%s",
			json_is_null(json_object_get(view, "next"))
				? ""
				: json_string_value(json_object_get(view, "next")));
	json_decref(view);
	return ids;
}

Test(list, pages_follow_each_other_newest_first)
{
	char cursor[64] = "";

	/* Some of the same moment: then the id decides. */
	for (unsigned int i = 1; i <= 7; i++)
		record(i, "alice", 100 + i / 3);
	record(8, "bob", 200);
	cr_expect_str_eq(page((struct tp_list_filter){.limit = 3}, cursor), "7 6 5");
	cr_expect_str_eq(page((struct tp_list_filter){.limit = 3}, cursor), "4 3 2");
	cr_expect_str_eq(page((struct tp_list_filter){.limit = 3}, cursor), "1");
	cr_expect_str_eq(cursor, "");
	cr_expect_str_eq(page((struct tp_list_filter){.limit = 7}, cursor), "7 6 5 4 3 2 1");
	cr_expect_str_eq(cursor, "", "nothing behind a page that is just full");
}

Test(list, a_cursor_that_is_none_is_refused)
{
	static const char *const none[] = {"", "x", "0000000000000001",
		"0000000000000001k3v9q2m7x4tz0d8", "000000000000000gk3v9q2m7x4tz0d8h",
		"0000000000000001k3v9q2m7x4tz0d8H", "ffffffffffffffffk3v9q2m7x4tz0d8h",
		"0000000000000000k3v9q2m7x4tz0d8h", "0000000000000001k3v9q2m7x4tz0d8hh",
		"000000000000000Ak3v9q2m7x4tz0d8h"};
	json_t *view = NULL;

	for (size_t i = 0; i < TP_ARRAY_LEN(none); i++) {
		struct tp_list_filter filter = {.limit = 10, .cursor = none[i]};
		fails(tp_service_list(service, &alice, &filter, &view), TORPOR_E_INVALID);
	}
}

Test(list, filters_that_make_no_sense_are_refused)
{
	json_t *view = NULL;

	fails(tp_service_list(service, &alice, &(struct tp_list_filter){.limit = 0}, &view),
		TORPOR_E_INVALID);
	fails(tp_service_list(service, &alice, &(struct tp_list_filter){.limit = 1001}, &view),
		TORPOR_E_INVALID);
	fails(tp_service_list(service, &alice,
		      &(struct tp_list_filter){.limit = 1, .state = "asleep"}, &view),
		TORPOR_E_INVALID);
	fails(tp_service_list(
		      service, &alice, &(struct tp_list_filter){.limit = 1, .match = "%"}, &view),
		TORPOR_E_INVALID);
}

static void *park(void *data)
{
	json_t *view = NULL;

	ok(tp_service_park(service, &alice, data, &forever, &view));
	json_decref(view);
	return NULL;
}

Test(list, shows_the_state_that_sessions_are_in_rather_than_the_recorded_one)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	pthread_t thread;

	record(1, "alice", 5);
	fake.hold_park = true;
	pthread_create(&thread, NULL, park, id);
	fake_wait_state(service, id, TP_STATE_PARKING);
	cr_expect_str_eq(fake_recorded_state(id), "running");
	cr_expect_str_eq(page((struct tp_list_filter){.limit = 9, .state = "running"}, NULL), "");
	cr_expect_str_eq(page((struct tp_list_filter){.limit = 9, .state = "parking"}, NULL), id);
	cr_expect_str_eq(page((struct tp_list_filter){.limit = 9, .state = "parked"}, NULL), "1");
	fake_let_go();
	pthread_join(thread, NULL);
	cr_expect_str_eq(page((struct tp_list_filter){.limit = 9, .state = "parking"}, NULL), "");
}

static struct tp_live *make_draft(const char *name)
{
	struct tp_live *live = tp_live_new(service, "alice");
	struct tp_session_row row = {
		.id = tp_strdup(live->id),
		.tenant = tp_strdup("alice"),
		.name = tp_strdup(name),
		.template_name = tp_strdup(FAKE_TEMPLATE),
		.state = tp_strdup("starting"),
		.labels = tp_strdup("{\"k\":\"v\"}"),
		.created_ns = live->created_ns,
	};
	bool done;

	tp_live_set_row(service, live, &row, false);
	ok(tp_live_begin(service, live, TP_STATE_STARTING, 0, &forever, &done));
	return live;
}

static void drop_draft(struct tp_live *live)
{
	tp_live_end(service, live, TP_STATE_DESTROYED);
	tp_live_put(service, live);
}

Test(list, those_that_are_being_made_come_first_on_the_first_page)
{
	struct tp_live *draft = make_draft("new");
	char expected[64];
	char cursor[64] = "";

	record(1, "alice", 5);
	record(2, "alice", 6);
	snprintf(expected, sizeof(expected), "%s 2", draft->id);
	cr_expect_str_eq(page((struct tp_list_filter){.limit = 2}, cursor), expected);
	cr_expect_str_eq(page((struct tp_list_filter){.limit = 2}, cursor), "1");
	cr_expect_str_eq(
		page((struct tp_list_filter){.limit = 2, .label_key = "k", .label_value = "v"},
			NULL),
		draft->id);
	cr_expect_str_eq(page((struct tp_list_filter){.limit = 2, .match = "s1"}, NULL), "1");
	cr_expect_str_eq(page((struct tp_list_filter){.limit = 1}, NULL), "2");
	drop_draft(draft);
}

Test(list, pages_of_a_passing_state_follow_each_other_too)
{
	struct tp_live *drafts[5];
	char cursor[64] = "";
	size_t seen = 0;

	for (size_t i = 0; i < TP_ARRAY_LEN(drafts); i++)
		drafts[i] = make_draft("new");
	for (size_t i = 0; i < 3; i++) {
		const char *ids =
			page((struct tp_list_filter){.limit = 2, .state = "starting"}, cursor);
		seen += *ids ? 1 : 0;
		for (; *ids; ids++)
			seen += *ids == ' ';
		cr_expect_eq(*cursor == '\0', i == 2);
	}
	cr_expect_eq(seen, TP_ARRAY_LEN(drafts));
	for (size_t i = 0; i < TP_ARRAY_LEN(drafts); i++)
		drop_draft(drafts[i]);
}

Test(list, whoever_is_bound_to_a_session_sees_that_one)
{
	record(1, "alice", 5);
	record(2, "alice", 6);
	snprintf(alice.session, sizeof(alice.session), "%016u", 1);
	cr_expect_str_eq(page((struct tp_list_filter){.limit = 9}, NULL), "1");
	cr_expect_str_eq(page((struct tp_list_filter){.limit = 9, .match = "s2"}, NULL), "");
}

/* --- Views --- */

static const char *text(const json_t *view, const char *key)
{
	return json_string_value(json_object_get(view, key));
}

Test(list, times_have_milliseconds)
{
	TP_JSON json_t *time = tp_time_json(UINT64_C(1767323045678901234));
	TP_JSON json_t *never = tp_time_json(0);

	cr_expect_str_eq(json_string_value(time), "2026-01-02T03:04:05.678Z");
	cr_expect(json_is_null(never));
}

Test(list, a_view_has_what_the_documents_say)
{
	static const char *const keys[] = {"id", "name", "tenant", "template", "template_id",
		"state", "reason", "created", "changed", "last_active", "timers", "limits",
		"labels", "env", "source", "fresh", "guest", "image", "forked_from", "restores"};
	static const char *const guest_keys[] = {"memory_bytes", "vcpus", "reboots",
		"resident_bytes", "private_bytes", "cpu_ms", "since"};
	TP_JSON json_t *limits =
		json_pack("{s:f, s:n, s:[s]}", "cpus", 0.5, "pids", "unenforced", "lie");
	struct tp_create_spec spec = {
		.template_name = FAKE_TEMPLATE, .limits = limits, .timers = {TP_UNSET, 60, 0}};
	TP_JSON json_t *created = NULL;
	TP_JSON json_t *view = NULL;

	ok(tp_service_create(service, &alice, &spec, &forever, &created));
	cr_expect_not_null(json_object_get(created, "timing"));
	ok(tp_service_get(service, &alice, text(created, "id"), &view));
	cr_expect_eq(json_object_size(view), TP_ARRAY_LEN(keys));
	for (size_t i = 0; i < TP_ARRAY_LEN(keys); i++)
		cr_expect_not_null(json_object_get(view, keys[i]), "%s", keys[i]);
	const json_t *guest = json_object_get(view, "guest");
	cr_expect_eq(json_object_size(guest), TP_ARRAY_LEN(guest_keys));
	for (size_t i = 0; i < TP_ARRAY_LEN(guest_keys); i++)
		cr_expect_not_null(json_object_get(guest, guest_keys[i]), "%s", guest_keys[i]);
	const json_t *timers = json_object_get(view, "timers");
	cr_expect(json_is_string(json_object_get(timers, "expires")));
	cr_expect(json_is_string(json_object_get(timers, "parks_at")));
	cr_expect(json_is_null(json_object_get(timers, "removed_at")));
	const json_t *shown = json_object_get(view, "limits");
	cr_expect_eq(json_object_size(shown), 7);
	cr_expect(json_is_null(json_object_get(shown, "pids")));
	const json_t *unenforced = json_object_get(shown, "unenforced");
	cr_expect_str_eq(json_string_value(json_array_get(unenforced, 0)), "cpus: not here");
	cr_expect_eq(json_array_size(unenforced), 1);
	cr_expect_str_eq(text(view, "source"), "warm");
	cr_expect_eq(json_array_size(json_object_get(view, "fresh")), 4);
}

Test(list, what_tenants_send_is_checked)
{
	static const char *const labels[] = {"[]", "{\"\":\"v\"}", "{\"k\":1}"};
	static const char *const env[] = {
		"[]", "{\"\":\"v\"}", "{\"1A\":\"v\"}", "{\"A=B\":\"v\"}", "{\"A\":1}"};
	static const char *const limits[] = {"[]", "{\"cpus\":0}", "{\"cpus\":\"1\"}",
		"{\"memory_bytes\":-1}", "{\"pids\":4294967296}", "{\"what\":1}",
		"{\"nofile\":1.5}"};
	struct tp_limits parsed;

	for (size_t i = 0; i < TP_ARRAY_LEN(labels); i++) {
		TP_JSON json_t *json = json_loads(labels[i], 0, NULL);
		fails(tp_check_labels(json), TORPOR_E_INVALID);
	}
	for (size_t i = 0; i < TP_ARRAY_LEN(env); i++) {
		TP_JSON json_t *json = json_loads(env[i], 0, NULL);
		fails(tp_check_env(json), TORPOR_E_INVALID);
	}
	for (size_t i = 0; i < TP_ARRAY_LEN(limits); i++) {
		TP_JSON json_t *json = json_loads(limits[i], 0, NULL);
		fails(tp_parse_limits(json, &parsed), TORPOR_E_INVALID);
	}
	fails(tp_check_timers(&(struct tp_timers){-2, 0, 0}), TORPOR_E_INVALID);
	fails(tp_check_timers(&(struct tp_timers){0, INT64_MAX, 0}), TORPOR_E_INVALID);
	ok(tp_check_timers(&(struct tp_timers){TP_UNSET, 0, 86400}));
}
