/* SPDX-License-Identifier: Apache-2.0 */
/* Commands in guests, and guests that end by themselves, in a world of counters. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/mem.h"
#include "expect.h"
#include "operations.h"

TestSuite(operations, .init = open_world, .fini = close_world);

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
