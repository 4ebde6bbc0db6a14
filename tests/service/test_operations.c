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
#include "operations.h"
#include "service/fault_points.h"

TestSuite(operations, .init = open_world, .fini = close_world);

/* --- Every fault point --- */

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
	fake.recorded_dropped = true;
	snprintf(alice.key, sizeof(alice.key), "key");
	fails(create(NULL, &view), TORPOR_E_GUEST);
	alice.key[0] = '\0';
	cr_expect_eq(fake.commits, commits + 2, "there, and back");
	cr_expect_not(fake.recorded_dropped, "recorded when its process ended");
	cr_expect_eq(fake.repeat_dropped_ns, 0, "a repeat would be answered with it");
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

Test(operations, no_session_is_made_of_a_tenant_that_leaves)
{
	struct tp_actor admin = alice;
	struct tp_import_spec spec = {
		.domain = "d", .name = "imported", .timers = {TP_UNSET, TP_UNSET, TP_UNSET}};
	TP_FREE char *before = fake_take(service);
	json_t *view = NULL;

	admin.admin = true;
	fake.tenant_leaves = true;
	fails(create(NULL, &view), TORPOR_E_NOT_FOUND);
	fails(tp_service_import(service, &admin, &spec, &forever, &view), TORPOR_E_NOT_FOUND);
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before);
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

/* The keeper hasn't seen its end yet: that the process is nobody's must not reach the kernel. */
Test(operations, a_guest_that_just_ended_is_put_under_no_limits)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	TP_JSON json_t *few = json_pack("{s:i}", "nofile", 16);
	struct tp_change_spec spec = {.timers = {TP_UNSET, TP_UNSET, TP_UNSET}, .limits = few};
	json_t *view = NULL;

	fake_end_guest(service, id);
	fails(tp_service_change(service, &alice, id, &spec, &forever, &view), TORPOR_E_BUSY);
	TP_JSON json_t *limits = limits_of(id);
	cr_expect(json_is_null(json_object_get(limits, "nofile")));
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
