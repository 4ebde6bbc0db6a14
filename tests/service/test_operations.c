/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations from end to end, in a world of counters: what each leaves, and that one which fails,
 * at whatever step, leaves nothing.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "expect.h"
#include "fake.h"
#include "service/fault_points.h"

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

TestSuite(operations, .init = open_world, .fini = close_world);

/* --- Doing each, by name --- */

static struct torpor_error *create(const char *id, json_t **view_out)
{
	struct tp_create_spec spec = {
		.template_name = FAKE_TEMPLATE, .timers = {TP_UNSET, TP_UNSET, TP_UNSET}};

	(void)id;
	return tp_service_create(service, &alice, &spec, &forever, view_out);
}

static struct torpor_error *park(const char *id, json_t **view_out)
{
	return tp_service_park(service, &alice, id, &forever, view_out);
}

static struct torpor_error *resume(const char *id, json_t **view_out)
{
	return tp_service_resume(service, &alice, id, &forever, view_out);
}

static struct torpor_error *pause_it(const char *id, json_t **view_out)
{
	return tp_service_pause(service, &alice, id, &forever, view_out);
}

static struct torpor_error *unpause(const char *id, json_t **view_out)
{
	return tp_service_unpause(service, &alice, id, &forever, view_out);
}

static struct torpor_error *checkpoint(const char *id, json_t **view_out)
{
	return tp_service_checkpoint(service, &alice, id, NULL, &forever, view_out);
}

static struct torpor_error *fork_it(const char *id, json_t **view_out)
{
	struct tp_fork_spec spec = {.count = 3, .timers = {TP_UNSET, TP_UNSET, TP_UNSET}};

	return tp_service_fork(service, &alice, id, &spec, &forever, view_out);
}

static struct torpor_error *destroy(const char *id, json_t **view_out)
{
	*view_out = NULL;
	return tp_service_destroy(service, &alice, id, &forever);
}

static struct torpor_error *change(const char *id, json_t **view_out)
{
	struct tp_change_spec spec = {.name = "renamed", .timers = {TP_UNSET, TP_UNSET, TP_UNSET}};

	return tp_service_change(service, &alice, id, &spec, &forever, view_out);
}

static struct torpor_error *remove_image(const char *id, json_t **view_out)
{
	*view_out = NULL;
	return tp_service_remove_image(service, &alice, id, "cp-1");
}

typedef struct torpor_error *operation_fn(const char *id, json_t **view_out);

/* By the fault point's first word; BEFORE brings the session there. */
static const struct {
	const char *word;
	operation_fn *before;
	operation_fn *operation;
} table[] = {
	{"create", NULL, create},
	{"park", NULL, park},
	{"resume", park, resume},
	{"pause", NULL, pause_it},
	{"unpause", pause_it, unpause},
	{"checkpoint", NULL, checkpoint},
	{"remove-image", checkpoint, remove_image},
	{"fork", NULL, fork_it},
	{"destroy", checkpoint, destroy},
	{"change", NULL, change},
	{"settle", NULL, pause_it},
};

static size_t operation_of(const char *point)
{
	size_t len = strcspn(point, ".");

	for (size_t i = 0; i < TP_ARRAY_LEN(table); i++) {
		if (strlen(table[i].word) == len && strncmp(table[i].word, point, len) == 0)
			return i;
	}
	cr_assert(false, "no operation for %s", point);
	return 0;
}

static void must(operation_fn *operation, const char *id)
{
	json_t *view = NULL;

	ok(operation(id, &view));
	json_decref(view);
}

/* --- Every fault point --- */

struct point {
	char name[32];
};

#define AS_POINT(point, what) {point},
static struct point points[] = {TP_FAULT_POINTS(AS_POINT)};

ParameterizedTestParameters(operations, failed_leaves_nothing)
{
	return cr_make_param_array(struct point, points, TP_ARRAY_LEN(points));
}

ParameterizedTest(struct point *at, operations, failed_leaves_nothing)
{
	const char *point = at->name;
	TP_FREE char *id = fake_create(service, &alice, "s");
	size_t i = operation_of(point);
	json_t *view = NULL;

	if (table[i].before)
		must(table[i].before, id);
	TP_FREE char *before = fake_take(service);
	fake.replace_process = strcmp(point, "create.dropped") == 0;
	fake_fault(point);
	TP_ERROR struct torpor_error *err = table[i].operation(id, &view);
	fake_fault(NULL);
	cr_assert(err, "%s was never passed", point);
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before, "%s: before %s\nafter %s", point, before, after);
	/* And it still works. */
	must(table[i].operation, id);
}

/* Commits that fail, or audit entries that can't be written, at each operation. */
Test(operations, not_recorded_leaves_nothing)
{
	for (size_t i = 0; i < 2 * TP_ARRAY_LEN(table); i++) {
		size_t o = i / 2;
		TP_FREE char *id = fake_create(service, &alice, NULL);
		json_t *view = NULL;
		if (table[o].before)
			must(table[o].before, id);
		TP_FREE char *before = fake_take(service);
		if (i % 2)
			fake.fail_commits = 1;
		else
			fake.fail_audit = 1;
		fails(table[o].operation(id, &view), TORPOR_E_IO);
		TP_FREE char *after = fake_take(service);
		cr_expect_str_eq(
			after, before, "%s: before %s\nafter %s", table[o].word, before, after);
		must(destroy, id);
	}
}

Test(operations, not_fresh_leaves_nothing_although_it_was_recorded)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view = NULL;

	must(park, id);
	TP_FREE char *before = fake_take(service);
	fake.fail_fresh = true;
	unsigned int commits = fake.commits;
	fails(create(NULL, &view), TORPOR_E_GUEST);
	cr_expect_eq(fake.commits, commits + 2, "there, and back");
	fails(resume(id, &view), TORPOR_E_GUEST);
	fake.fail_fresh = false;
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before, "before %s\nafter %s", before, after);
	cr_expect_str_eq(fake_recorded_state(id), "parked");
	must(resume, id);
}

Test(operations, a_process_that_is_replaced_is_recorded_as_the_second)
{
	snprintf(alice.key, sizeof(alice.key), "key");
	fake.replace_process = true;
	TP_FREE char *id = fake_create(service, &alice, "s");
	cr_expect_str_eq(fake_recorded_state(id), "running");
	cr_expect_str_eq(fake.audit, "create:ok ", "one entry");
	cr_expect_eq(fake.commits, 3, "there, and back, and there");
	cr_expect_not(fake.recorded_dropped, "recorded when its process ended");
	cr_expect_eq(fake.repeat_dropped_ns, 0, "a repeat would be answered with it");
	cr_expect_gt(fake.repeat_created_ns, 0);
	cr_expect_eq(fake.repeat_status, 201);
	cr_expect_eq(fake.guests, 1);
}

Test(operations, a_process_that_is_replaced_may_not_have_been_recorded)
{
	TP_FREE char *before = fake_take(service);
	json_t *view = NULL;

	/* The first commit, and the one that takes it back. */
	for (int i = 0; i < 2; i++) {
		fake.replace_process = true;
		fake.fail_commits = i == 0;
		fake.fail_take_back = i == 1;
		fails(create(NULL, &view), TORPOR_E_IO);
		TP_FREE char *after = fake_take(service);
		cr_expect_str_eq(after, before, "%d: before %s\nafter %s", i, before, after);
	}
}

/* --- A whole life --- */

Test(operations, a_life)
{
	TP_FREE char *empty = fake_take(service);
	TP_FREE char *id = fake_create(service, &alice, "s");

	cr_expect_str_eq(fake_recorded_state(id), "running");
	must(pause_it, id);
	cr_expect_str_eq(fake_recorded_state(id), "paused");
	must(pause_it, id);
	must(checkpoint, id);
	must(unpause, id);
	must(park, id);
	must(park, id);
	cr_expect_str_eq(fake_recorded_state(id), "parked");
	cr_expect_eq(fake.guests + fake.handles + fake.places + fake.groups, 0);
	cr_expect_eq(fake.image_bytes, 20, "park and checkpoint");
	cr_expect_eq(service->live_count, 0);
	must(resume, id);
	must(fork_it, id);
	cr_expect_eq(fake_recorded_sessions(), 4);
	must(destroy, id);
	cr_expect_eq(fake_recorded_sessions(), 3);
	cr_expect_eq(fake_recorded_images(), 0);
	cr_expect_eq(fake.image_bytes, 0);
	struct tp_list_filter filter = {.limit = 10};
	TP_JSON json_t *list = NULL;
	size_t i;
	json_t *one;
	ok(tp_service_list(service, &alice, &filter, &list));
	json_array_foreach (json_object_get(list, "sessions"), i, one) {
		cr_expect_str_eq(json_string_value(json_object_get(one, "forked_from")), id);
		must(destroy, json_string_value(json_object_get(one, "id")));
	}
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, empty);
	cr_expect_str_eq(fake.audit,
		"create:ok pause:ok pause:ok checkpoint:ok unpause:ok park:ok park:ok resume:ok "
		"fork:ok destroy:ok destroy:ok destroy:ok destroy:ok ");
}

/* A parked one isn't looked at often: its new timers would be found late. */
Test(operations, the_keeper_hears_of_new_timers)
{
	TP_FREE char *id = fake_create(service, &alice, "s");

	must(park, id);
	must(change, id);
	cr_expect_str_eq(fake.timers_of, id);
}

Test(operations, events_come_in_order)
{
	TP_FREE char *id = fake_create(service, &alice, "s");

	must(park, id);
	must(resume, id);
	must(destroy, id);
	cr_expect_str_eq(fake.states, "starting running parking parked resuming running stopping "
				      "destroyed ");
}

static void expect_event(const char *state, const char *name, json_int_t ttl_s, const char *team)
{
	TP_JSON json_t *event = json_loads(fake.event, 0, NULL);
	const char *is_state, *is_name;
	json_int_t is_ttl_s;
	json_t *labels;

	cr_assert_eq(json_unpack(event, "{s:s, s:s, s:{s:I}, s:o}", "state", &is_state, "name",
			     &is_name, "timers", "ttl_s", &is_ttl_s, "labels", &labels),
		0, "%s", fake.event);
	cr_expect_str_eq(is_state, state);
	cr_expect_str_eq(is_name, name);
	cr_expect_eq(is_ttl_s, ttl_s);
	cr_expect_str_eq(json_string_value(json_object_get(labels, "team")), team);
}

Test(operations, changes_beside_the_state_have_an_event_too)
{
	TP_JSON json_t *labels = json_pack("{s:s}", "team", "a");
	struct tp_change_spec spec = {.timers = {77, TP_UNSET, TP_UNSET}, .labels = labels};
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view;

	cr_assert_null(tp_service_change(service, &alice, id, &spec, &forever, &view));
	json_decref(view);
	expect_event("running", "s", 77, "a");
	must(park, id);
	must(change, id);
	expect_event("parked", "renamed", 77, "a");
	cr_expect_str_eq(fake.states, "starting running running parking parked parked ");
	/* But not what came to nothing. */
	fake.fail_commits = 1;
	fails(change(id, &view), TORPOR_E_IO);
	cr_expect_str_eq(fake.states, "starting running running parking parked parked ");
}

static json_t *limits_of(const char *id)
{
	json_t *view;

	cr_assert_null(tp_service_get(service, &alice, id, &view));
	json_t *limits = json_incref(json_object_get(view, "limits"));
	json_decref(view);
	return limits;
}

Test(operations, limits_hold_for_the_process_that_is_there)
{
	TP_JSON json_t *half = json_pack("{s:f, s:i}", "cpus", 0.5, "pids", 64);
	TP_JSON json_t *none = json_object();
	struct tp_change_spec spec = {.timers = {TP_UNSET, TP_UNSET, TP_UNSET}, .limits = half};
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view;

	cr_assert_null(tp_service_change(service, &alice, id, &spec, &forever, &view));
	json_decref(view);
	cr_assert_eq(fake.cpus, 0.5);
	TP_JSON json_t *limits = limits_of(id);
	cr_expect_eq(json_integer_value(json_object_get(limits, "pids")), 64);
	cr_expect(json_is_null(json_object_get(limits, "nofile")));
	cr_expect_str_eq(
		json_string_value(json_array_get(json_object_get(limits, "unenforced"), 0)),
		"cpus: not here");

	/* What isn't recorded isn't in force. */
	spec.limits = none;
	fake.fail_commits = 1;
	fails(tp_service_change(service, &alice, id, &spec, &forever, &view), TORPOR_E_IO);
	cr_assert_eq(fake.cpus, 0.5);
	TP_JSON json_t *same = limits_of(id);
	cr_expect(json_equal(same, limits));

	cr_assert_null(tp_service_change(service, &alice, id, &spec, &forever, &view));
	json_decref(view);
	cr_assert_eq(fake.cpus, 0);
	/* Of one without a process they are recorded, for its next one. */
	must(park, id);
	spec.limits = half;
	cr_assert_null(tp_service_change(service, &alice, id, &spec, &forever, &view));
	json_decref(view);
	cr_assert_eq(fake.cpus, 0);
	must(resume, id);
	cr_assert_eq(fake.cpus, 0.5);
}

Test(operations, a_repeat_is_recorded_with_what_it_did_and_forgotten_when_that_is_undone)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view = NULL;

	snprintf(alice.key, sizeof(alice.key), "key");
	must(checkpoint, id);
	cr_expect_eq(fake.repeat_status, 200);
	cr_expect_gt(fake.repeat_created_ns, 0);
	TP_JSON json_t *result = json_loads(fake.repeat_result, 0, NULL);
	cr_expect_str_eq(json_string_value(json_object_get(result, "session")), id);
	cr_expect_str_eq(
		json_string_value(json_object_get(json_object_get(result, "checkpoint"), "name")),
		"cp-1");
	fake.fail_fresh = true;
	fails(create(NULL, &view), TORPOR_E_GUEST);
	fake.fail_fresh = false;
	cr_expect_eq(fake.repeat_status, 201);
	cr_expect_eq(fake.repeat_created_ns, 0, "too old to be repeated");
	unsigned int commits = fake.commits;
	must(park, id);
	must(park, id);
	cr_expect_eq(fake.commits, commits + 2, "nothing to do is an outcome too");
}

Test(operations, what_was_refused_is_in_the_audit_log)
{
	json_t *view = NULL;

	fake.max_places = 1;
	TP_FREE char *id = fake_create(service, &alice, "s");
	fails(create(NULL, &view), TORPOR_E_LIMIT);
	cr_expect_eq(fake.refusals, 1);
	fails(park("0000000000000000", &view), TORPOR_E_NOT_FOUND);
	alice.perms = TP_PERM_READ;
	fails(park(id, &view), TORPOR_E_DENIED);
	cr_expect_str_eq(fake.audit, "create:ok create:limit park:not-found park:denied ");
	alice.perms = TP_PERM_ALL;
}

Test(operations, a_name_that_is_taken_costs_nothing)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	TP_FREE char *before = fake_take(service);
	struct tp_create_spec spec = {.template_name = FAKE_TEMPLATE,
		.name = "s",
		.timers = {TP_UNSET, TP_UNSET, TP_UNSET}};
	json_t *view = NULL;

	fails(tp_service_create(service, &alice, &spec, &forever, &view), TORPOR_E_EXISTS);
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before);
	cr_expect_str_eq(fake_recorded_state(id), "running");
}

Test(operations, draining_refuses_what_is_new_only)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view = NULL;

	service->draining = true;
	fails(create(NULL, &view), TORPOR_E_LIMIT);
	fails(fork_it(id, &view), TORPOR_E_LIMIT);
	must(park, id);
	must(resume, id);
}

/* --- Park, and taking it back --- */

static void *park_in_background(void *data)
{
	json_t *view = NULL;
	struct torpor_error *err = park(data, &view);

	json_decref(view);
	return err;
}

static void cancel_a_park(bool late)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	TP_FREE char *before = fake_take(service);
	pthread_t thread;
	void *err;

	fails(tp_service_cancel_park(service, &alice, id), TORPOR_E_BUSY);
	fake.hold_park = true;
	fake.late_cancel = late;
	pthread_create(&thread, NULL, park_in_background, id);
	fake_wait_state(service, id, TP_STATE_PARKING);
	struct torpor_error *not_yet = tp_service_cancel_park(service, &alice, id);
	while (not_yet) {
		/* PARKING, but not yet with something to cancel. */
		cr_expect_eq(torpor_error_code(not_yet), TORPOR_E_BUSY);
		torpor_error_free(not_yet);
		not_yet = tp_service_cancel_park(service, &alice, id);
	}
	pthread_join(thread, &err);
	fake.hold_park = false;
	fails((struct torpor_error *)err, TORPOR_E_CANCELLED);
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before);
	must(park, id);
}

Test(operations, a_park_that_is_cancelled_leaves_the_guest_running)
{
	cancel_a_park(false);
}

Test(operations, a_cancel_that_was_acknowledged_wins_over_an_image_that_is_durable)
{
	cancel_a_park(true);
}

Test(operations, a_paused_session_is_paused_after_a_park_that_failed)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view = NULL;

	must(pause_it, id);
	TP_FREE char *before = fake_take(service);
	fake_fault("park.durable");
	fails(park(id, &view), TORPOR_E_IO);
	fake_fault(NULL);
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before);
	must(park, id);
}

static void expect_recorded(const char *id, const char *source, size_t fresh)
{
	TP_JSON json_t *info = fake_recorded_info(id);

	cr_expect_str_eq(json_string_value(json_object_get(info, "source")), source);
	cr_expect_eq(json_array_size(json_object_get(info, "fresh")), fresh);
}

Test(operations, where_a_guest_came_from_and_what_it_confirmed_is_recorded)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view;

	expect_recorded(id, "warm", 4);
	cr_assert_null(fork_it(id, &view));
	size_t i;
	json_t *session;
	json_array_foreach (json_object_get(view, "sessions"), i, session)
		expect_recorded(json_string_value(json_object_get(session, "id")), "warm", 4);
	json_decref(view);
	must(park, id);
	fake.source = TORPOR_SOURCE_SHELL;
	must(resume, id);
	expect_recorded(id, "shell", 4);
	cr_expect_eq(fake.notes, 5, "none of them a commit of its own");
}

Test(operations, what_a_guest_confirmed_is_lost_alone_with_a_note)
{
	TP_FREE char *first = fake_create(service, &alice, "first");
	json_t *view;

	fake.lose_notes = true;
	TP_FREE char *id = fake_create(service, &alice, "s");
	expect_recorded(id, "warm", 0);
	cr_assert_null(fork_it(id, &view));
	const json_t *fork = json_array_get(json_object_get(view, "sessions"), 0);
	expect_recorded(json_string_value(json_object_get(fork, "id")), "warm", 4);
	json_decref(view);
	/* What the guest before confirmed says nothing of the next. */
	must(park, first);
	must(resume, first);
	expect_recorded(first, "warm", 0);
}

Test(operations, an_image_that_a_failed_park_replaced_is_the_one_that_is_recorded)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view = NULL;

	must(park, id);
	must(resume, id);
	TP_FREE char *before = fake_take(service);
	fake_fault("park.committed");
	fails(park(id, &view), TORPOR_E_IO);
	fake_fault(NULL);
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before);
	cr_expect_eq(fake_recorded_images(), 1);
	cr_expect_eq(fake.image_bytes, 10);
}

/* --- Resume --- */

Test(operations, a_damaged_image_is_an_error_and_nothing_else_is)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view = NULL;

	must(park, id);
	fake.fail_resume = TORPOR_E_QEMU;
	fails(resume(id, &view), TORPOR_E_QEMU);
	cr_expect_str_eq(fake_recorded_state(id), "parked");
	fake.fail_resume = TORPOR_E_CORRUPT;
	fails(resume(id, &view), TORPOR_E_CORRUPT);
	cr_expect_str_eq(fake_recorded_state(id), "error");
	/* On demand it is tried again. */
	fake.fail_resume = TORPOR_E_QEMU;
	fails(resume(id, &view), TORPOR_E_QEMU);
	cr_expect_str_eq(fake_recorded_state(id), "error");
	fake.fail_resume = 0;
	must(resume, id);
	cr_expect_str_eq(fake_recorded_state(id), "running");
	TP_JSON json_t *shown = NULL;
	ok(tp_service_get(service, &alice, id, &shown));
	cr_expect(json_is_null(json_object_get(shown, "reason")));
}

/* --- Fork --- */

Test(operations, forks_come_from_the_guest_the_park_or_a_checkpoint)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	struct tp_fork_spec spec = {.count = 2, .timers = {TP_UNSET, TP_UNSET, TP_UNSET}};
	json_t *view = NULL;

	must(checkpoint, id);
	must(fork_it, id);
	must(park, id);
	must(fork_it, id);
	spec.image = "cp-1";
	ok(tp_service_fork(service, &alice, id, &spec, &forever, &view));
	json_decref(view);
	spec.image = "cp-2";
	fails(tp_service_fork(service, &alice, id, &spec, &forever, &view), TORPOR_E_NOT_FOUND);
	cr_expect_eq(fake_recorded_sessions(), 1 + 3 + 3 + 2);
	cr_expect_eq(fake.places, 8);
	cr_expect_str_eq(fake_recorded_state(id), "parked");
}

Test(operations, there_is_room_for_all_forks_or_for_none)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	TP_FREE char *before = fake_take(service);
	json_t *view = NULL;

	fake.max_places = 3;
	fails(fork_it(id, &view), TORPOR_E_LIMIT);
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before);
	fake.max_places = 4;
	must(fork_it, id);
}

Test(operations, whoever_is_bound_to_a_session_can_not_fork_it)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view = NULL;

	snprintf(alice.session, sizeof(alice.session), "%s", id);
	fails(fork_it(id, &view), TORPOR_E_DENIED);
	fails(create(NULL, &view), TORPOR_E_DENIED);
	must(destroy, id);
}

/* --- Exec --- */

static void gather(void *data, int stream, const void *bytes, size_t len)
{
	(void)stream;
	strncat(data, bytes, len);
}

Test(operations, a_command_has_the_environment_of_call_session_and_defaults)
{
	TP_JSON json_t *env = json_pack("{s:s, s:s}", "A", "session", "B", "session");
	TP_JSON json_t *call_env = json_pack("{s:s}", "B", "call");
	struct tp_create_spec create_spec = {.template_name = FAKE_TEMPLATE,
		.env = env,
		.timers = {TP_UNSET, TP_UNSET, TP_UNSET}};
	const char *argv[] = {"env", NULL};
	char out[1024] = "\n";
	struct tp_exec_spec spec = {
		.argv = argv, .env = call_env, .stdin_fd = -1, .output = gather, .data = out};
	struct torpor_exec_result result;
	json_t *view = NULL;

	ok(tp_service_create(service, &alice, &create_spec, &forever, &view));
	const char *id = json_string_value(json_object_get(view, "id"));
	ok(tp_service_exec(service, &alice, id, &spec, &forever, &result));
	cr_expect_not_null(strstr(out, "\nA=session\n"), "%s", out);
	cr_expect_not_null(strstr(out, "\nB=call\n"), "%s", out);
	cr_expect_not_null(strstr(out, "\nPATH=/"), "%s", out);
	cr_expect_not_null(strstr(out, "\nHOME=/root\n"), "%s", out);
	json_decref(view);
}

Test(operations, a_command_wakes_a_session_only_if_asked_to_and_allowed)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	const char *argv[] = {"true", NULL};
	struct tp_exec_spec spec = {.argv = argv, .stdin_fd = -1};
	struct torpor_exec_result result;

	must(park, id);
	fails(tp_service_exec(service, &alice, id, &spec, &forever, &result), TORPOR_E_BUSY);
	spec.wake = true;
	alice.perms = TP_PERM_EXEC;
	fails(tp_service_exec(service, &alice, id, &spec, &forever, &result), TORPOR_E_DENIED);
	alice.perms = TP_PERM_ALL;
	ok(tp_service_exec(service, &alice, id, &spec, &forever, &result));
	cr_expect_str_eq(fake_recorded_state(id), "running");
	TP_JSON json_t *metrics = NULL;
	ok(tp_service_session_metrics(service, &alice, id, &metrics));
	cr_expect_eq(json_integer_value(json_object_get(metrics, "execs")), 1);
	cr_expect_eq(json_integer_value(json_object_get(metrics, "parks")), 1);
	cr_expect_eq(json_integer_value(json_object_get(metrics, "resumes")), 1);
	must(park, id);
	json_t *again = NULL;
	ok(tp_service_session_metrics(service, &alice, id, &again));
	cr_expect_eq(json_integer_value(json_object_get(again, "execs")), 1, "kept in the record");
	json_decref(again);
}

/* --- Images --- */

/* What is asked of the core is the file of that image; what it says comes out. */
static void expect_where(const char *id, const char *label, const char *file)
{
	TP_JSON json_t *view = NULL;

	ok(tp_service_image_where(service, &alice, id, label, &forever, &view));
	json_t *need = json_array_get(json_object_get(view, "needs"), 0);
	const char *asked = json_string_value(json_object_get(need, "needed"));
	cr_expect_str_eq(json_string_value(json_object_get(view, "image")), label);
	cr_expect(
		file ? strcmp(asked, file) == 0 : strncmp(asked, id, strlen(id)) == 0, "%s", asked);
	cr_expect_str_eq(json_string_value(json_object_get(need, "why_not")), "it is older");
	cr_expect(json_is_false(json_object_get(view, "here")));
	cr_expect(json_is_true(json_object_get(view, "portable")));
	cr_expect(json_is_null(json_object_get(view, "template")));
	cr_expect_eq(json_array_size(json_object_get(view, "needs")), 2);
}

Test(operations, checkpoints_are_named_listed_and_removed)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view = NULL;

	must(checkpoint, id);
	ok(tp_service_checkpoint(service, &alice, id, "mine", &forever, &view));
	json_decref(view);
	fails(tp_service_checkpoint(service, &alice, id, "mine", &forever, &view), TORPOR_E_EXISTS);
	fails(tp_service_checkpoint(service, &alice, id, "park", &forever, &view),
		TORPOR_E_INVALID);
	fails(tp_service_checkpoint(service, &alice, id, "../x", &forever, &view),
		TORPOR_E_INVALID);
	must(park, id);
	TP_JSON json_t *list = NULL;
	ok(tp_service_images(service, &alice, id, &list));
	cr_expect_eq(json_array_size(json_object_get(list, "images")), 3);
	expect_where(id, "park", id);
	expect_where(id, "mine", NULL);
	must(remove_image, id);
	TP_JSON json_t *gone = NULL;
	fails(tp_service_image_where(service, &alice, id, "cp-1", &forever, &gone),
		TORPOR_E_NOT_FOUND);
	struct tp_actor bob = fake_actor("bob");
	fails(tp_service_image_where(service, &bob, id, "park", &forever, &gone),
		TORPOR_E_NOT_FOUND);
	fails(tp_service_remove_image(service, &alice, id, "cp-1"), TORPOR_E_NOT_FOUND);
	fails(tp_service_remove_image(service, &alice, id, "park"), TORPOR_E_NOT_FOUND);
	cr_expect_eq(fake_recorded_images(), 2);
	cr_expect_eq(fake.image_bytes, 20);
}

/* --- From libvirt --- */

static struct torpor_error *import(
	const struct tp_actor *actor, const char *domain, const char *name, json_t **view_out)
{
	struct tp_import_spec spec = {
		.domain = domain, .name = name, .timers = {TP_UNSET, TP_UNSET, TP_UNSET}};

	return tp_service_import(service, actor, &spec, &forever, view_out);
}

Test(operations, an_import_is_a_session_that_begins_parked)
{
	struct tp_actor admin = alice;
	TP_JSON json_t *view = NULL;
	TP_JSON json_t *none = NULL;

	admin.admin = true;
	ok(import(&admin, "domain", "box", &view));
	const char *id = json_string_value(json_object_get(view, "id"));
	cr_expect_str_eq(json_string_value(json_object_get(view, "state")), "parked");
	cr_expect_str_eq(json_string_value(json_object_get(view, "name")), "box");
	cr_expect_str_eq(json_string_value(json_object_get(view, "template")), "imported");
	json_t *timing = json_object_get(view, "timing");
	cr_expect_str_eq(json_string_value(json_object_get(timing, "note")), "a note");
	cr_expect_str_eq(fake_recorded_state(id), "parked");
	cr_expect_eq(fake_recorded_images(), 1);
	cr_expect_eq(fake.image_bytes, 10);
	cr_expect_eq(fake.guests + fake.places + fake.groups, 0);
	must(resume, id);
	cr_expect_str_eq(fake_recorded_state(id), "running");

	TP_FREE char *before = fake_take(service);
	fails(import(&alice, "domain", NULL, &none), TORPOR_E_DENIED);
	fails(import(&admin, "none", NULL, &none), TORPOR_E_NOT_FOUND);
	fails(import(&admin, "domain", "box", &none), TORPOR_E_EXISTS);
	fails(import(&admin, "domain", "../x", &none), TORPOR_E_INVALID);
	fake.fail_commits = 1;
	fails(import(&admin, "domain", NULL, &none), TORPOR_E_IO);
	fake.fail_audit = 1;
	fails(import(&admin, "domain", NULL, &none), TORPOR_E_IO);
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before);
}

/* --- Guests that end by themselves --- */

Test(operations, a_dead_guest_with_an_image_is_restored_thrice_in_ten_minutes)
{
	TP_FREE char *id = fake_create(service, &alice, "s");

	must(park, id);
	must(resume, id);
	for (int i = 0; i < TP_RESTORES_MAX; i++) {
		fake_end_guest(service, id);
		tp_live_guest_lost(service, id, false);
		cr_expect_str_eq(fake_recorded_state(id), "running");
	}
	fake_end_guest(service, id);
	tp_live_guest_lost(service, id, false);
	cr_expect_str_eq(fake_recorded_state(id), "error");
	cr_expect_eq(fake.guests + fake.handles + fake.places + fake.groups, 0);
	TP_JSON json_t *view = NULL;
	ok(tp_service_get(service, &alice, id, &view));
	cr_expect_eq(json_integer_value(json_object_get(view, "restores")), TP_RESTORES_MAX);
	cr_expect_not_null(strstr(json_string_value(json_object_get(view, "reason")), "killed"));
	must(resume, id);
}

Test(operations, a_dead_guest_without_image_is_an_error)
{
	TP_FREE char *id = fake_create(service, &alice, "s");

	fake_end_guest(service, id);
	tp_live_guest_lost(service, id, false);
	cr_expect_str_eq(fake_recorded_state(id), "error");
	cr_expect_eq(fake.guests + fake.handles + fake.places + fake.groups, 0);
	json_t *view = NULL;
	fails(resume(id, &view), TORPOR_E_BUSY);
	must(destroy, id);
}

Test(operations, a_guest_that_powered_off_stays_off)
{
	TP_FREE char *id = fake_create(service, &alice, "s");

	must(park, id);
	must(resume, id);
	fake.powers_off = true;
	fake_end_guest(service, id);
	tp_live_guest_lost(service, id, false);
	cr_expect_str_eq(fake_recorded_state(id), "parked");
	cr_expect_eq(fake.guests, 0);
	must(resume, id);
}

Test(operations, a_deaf_guest_is_ended_and_one_that_is_well_is_left_alone)
{
	TP_FREE char *id = fake_create(service, &alice, "s");

	TP_FREE char *before = fake_take(service);
	tp_live_guest_lost(service, id, false);
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before);
	tp_live_guest_lost(service, id, true);
	cr_expect_str_eq(fake_recorded_state(id), "error");
	cr_expect_eq(fake.guests, 0);
}

/* --- Beside a command --- */

/* What is done while a command prints. */
struct meanwhile {
	const char *id;
	void (*does)(const char *id);
	bool done;
};

static void do_it(void *data, int stream, const void *bytes, size_t len)
{
	struct meanwhile *meanwhile = data;

	(void)stream, (void)bytes, (void)len;
	if (!meanwhile->done)
		meanwhile->does(meanwhile->id);
	meanwhile->done = true;
}

static void run_and(const char *id, void (*does)(const char *id))
{
	const char *argv[] = {"true", NULL};
	struct meanwhile meanwhile = {.id = id, .does = does};
	struct tp_exec_spec spec = {
		.argv = argv, .stdin_fd = -1, .output = do_it, .data = &meanwhile};
	struct torpor_exec_result result;

	ok(tp_service_exec(service, &alice, id, &spec, &forever, &result));
	cr_assert(meanwhile.done);
}

static void check_deafness(const char *id)
{
	tp_live_guest_lost(service, id, true);
	cr_expect_str_eq(fake_recorded_state(id), "running");
}

Test(operations, a_guest_that_runs_a_command_is_not_deaf)
{
	TP_FREE char *id = fake_create(service, &alice, "s");

	run_and(id, check_deafness);
	tp_live_guest_lost(service, id, true);
	cr_expect_str_eq(fake_recorded_state(id), "error");
}

static void park_and_resume(const char *id)
{
	must(park, id);
	cr_expect_str_eq(fake_recorded_state(id), "parked");
	must(resume, id);
}

static void destroy_it(const char *id)
{
	must(destroy, id);
}

/* None of them waits for it, however long its output takes. */
Test(operations, a_command_holds_up_no_operation)
{
	TP_FREE char *id = fake_create(service, &alice, "s");

	run_and(id, park_and_resume);
	run_and(id, park_and_resume);
	run_and(id, destroy_it);
	cr_expect_eq(fake.guests + fake.handles + fake.places + fake.groups, 0);
}
