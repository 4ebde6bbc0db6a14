/* SPDX-License-Identifier: Apache-2.0 */
/* Commands in guests, and guests that end by themselves, in a world of counters. */
#include <criterion/criterion.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

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

struct crowd {
	const char *id;
	pthread_barrier_t all;
};

static void *wake_it(void *data)
{
	struct crowd *crowd = data;
	const char *argv[] = {"true", NULL};
	struct tp_exec_spec spec = {.argv = argv, .stdin_fd = -1, .wake = true};
	struct torpor_exec_result result;

	pthread_barrier_wait(&crowd->all);
	return tp_service_exec(service, &alice, crowd->id, &spec, &forever, &result);
}

/* Whoever finds that another one has woken it goes on with that. */
Test(operations, commands_that_wake_a_session_at_once_all_run)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	struct crowd crowd = {.id = id};
	pthread_t threads[8];

	pthread_barrier_init(&crowd.all, NULL, TP_ARRAY_LEN(threads));
	for (int round = 0; round < 200; round++) {
		must(park, id);
		for (size_t i = 0; i < TP_ARRAY_LEN(threads); i++)
			cr_assert_eq(pthread_create(&threads[i], NULL, wake_it, &crowd), 0);
		for (size_t i = 0; i < TP_ARRAY_LEN(threads); i++) {
			void *err;
			pthread_join(threads[i], &err);
			ok((struct torpor_error *)err);
		}
	}
	pthread_barrier_destroy(&crowd.all);
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

/* What was recorded of its restores was BY_S later than it was: the clock was set back. */
static void set_clock_back(const char *id, uint64_t by_s)
{
	struct tp_live *live = tp_live_peek(service, id);
	TP_ROW struct tp_session_row row = {0};

	tp_live_copy_row(service, live, &row);
	json_t *info = tp_row_json(row.info);
	json_t *all = json_object_get(info, "restored_ns");
	size_t i;
	json_t *at;
	json_array_foreach (all, i, at)
		json_integer_set(at, json_integer_value(at) + (json_int_t)(by_s * TP_NSEC_PER_SEC));
	tp_row_set_json(&row.info, info);
	tp_live_set_row(service, live, &row, true);
	tp_live_put(service, live);
}

Test(operations, restores_count_for_ten_minutes_by_whatever_clock)
{
	TP_FREE char *id = fake_create(service, &alice, "s");

	must(park, id);
	must(resume, id);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < TP_RESTORES_MAX; i++) {
			fake_end_guest(service, id);
			tp_live_guest_lost(service, id, false);
			cr_assert_str_eq(fake_recorded_state(id), "running");
		}
		set_clock_back(id, 86400);
	}
	for (int i = 0; i < TP_RESTORES_MAX; i++) {
		fake_end_guest(service, id);
		tp_live_guest_lost(service, id, false);
	}
	set_clock_back(id, 1);
	fake_end_guest(service, id);
	tp_live_guest_lost(service, id, false);
	cr_expect_str_eq(fake_recorded_state(id), "error");
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

static bool is_lost(const struct tp_live *live)
{
	pthread_mutex_lock(&service->lock);
	bool lost = live->lost;
	pthread_mutex_unlock(&service->lock);
	return lost;
}

/* There are no descriptors to wait with for the operation that is under way. */
Test(operations, a_dead_guest_that_could_not_be_looked_at_is_not_forgotten)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	struct tp_live *live = tp_live_peek(service, id);
	struct rlimit before;
	bool done;

	ok(tp_live_hold(service, live, TP_LIVE_IN(RUNNING), 0, "hold", &forever, &done));
	fake_end_guest(service, id);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	bool looked = tp_live_guest_lost(service, id, false);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	cr_expect_not(looked);
	cr_expect(is_lost(live), "the keeper won't come back");
	tp_live_end(service, live, TP_STATE_RUNNING);
	cr_expect(tp_live_guest_lost(service, id, false));
	cr_expect_str_eq(fake_recorded_state(id), "error");
	cr_expect_not(is_lost(live));
	tp_live_put(service, live);
}

/* What became of it couldn't be recorded, and then a park failed: the next torpord has to know. */
Test(operations, a_guest_that_is_to_be_looked_after_still_is_when_a_park_has_failed)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	struct tp_live *live = tp_live_peek(service, id);
	json_t *view = NULL;

	tp_session_set_state(live->core, TORPOR_SESSION_PAUSED);
	fake.fail_commits = 1;
	cr_expect_not(tp_live_guest_changed(service, id));
	fake.fail_commits = 1;
	fails(park(id, &view), TORPOR_E_IO);
	cr_expect(is_lost(live), "the keeper won't come back");
	tp_live_put(service, live);
}

/* The disk is full behind a park's commit: as nobody's the next torpord would end the guest. */
Test(operations, a_guest_that_is_recorded_as_parked_and_runs_is_recorded_again)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	struct tp_live *live = tp_live_peek(service, id);
	json_t *view = NULL;

	fake_fault("park.committed");
	fake.fail_undo = true;
	fails(park(id, &view), TORPOR_E_IO);
	fake_fault(NULL);
	cr_assert_str_eq(fake_recorded_state(id), "parked");
	cr_expect_eq(live->state, TP_STATE_RUNNING);
	cr_expect(is_lost(live), "the keeper won't come");
	/* As the keeper does, which doesn't succeed at once. */
	fake.fail_undo = true;
	cr_expect(tp_live_guest_lost(service, id, false));
	cr_expect_not(tp_live_guest_changed(service, id));
	cr_expect(is_lost(live));
	cr_expect(tp_live_guest_lost(service, id, false));
	cr_expect(tp_live_guest_changed(service, id));
	cr_expect_not(is_lost(live));
	cr_expect_str_eq(fake_recorded_state(id), "running");
	cr_expect_eq(fake_recorded_images(), 0);
	must(park, id);
	tp_live_put(service, live);
}

/* As by `virsh suspend` and `virsh resume`. */
Test(operations, a_guest_that_others_pause_is_paused)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	struct tp_live *live = tp_live_peek(service, id);

	tp_session_set_state(live->core, TORPOR_SESSION_PAUSED);
	cr_expect(tp_live_guest_changed(service, id));
	cr_expect_str_eq(fake_recorded_state(id), "paused");
	cr_expect_eq(live->state, TP_STATE_PAUSED);
	must(unpause, id);
	cr_expect_eq(tp_session_state(live->core), TORPOR_SESSION_RUNNING);
	must(pause_it, id);
	tp_session_set_state(live->core, TORPOR_SESSION_RUNNING);
	/* What can't be recorded isn't so. */
	fake.fail_commits = 1;
	cr_expect_not(tp_live_guest_changed(service, id));
	cr_expect_eq(live->state, TP_STATE_PAUSED);
	cr_expect(is_lost(live));
	/* As the keeper does. */
	cr_expect(tp_live_guest_lost(service, id, false));
	cr_expect(tp_live_guest_changed(service, id));
	cr_expect_not(is_lost(live));
	cr_expect_str_eq(fake_recorded_state(id), "running");
	cr_expect_eq(live->state, TP_STATE_RUNNING);
	tp_live_put(service, live);
}

/* --- Whose time is over --- */

static void start_long_ago(const char *id)
{
	struct tp_live *live = tp_live_peek(service, id);

	cr_assert_not_null(live);
	pthread_mutex_lock(&service->lock);
	live->started_ns -= UINT64_C(3601) * TP_NSEC_PER_SEC;
	pthread_mutex_unlock(&service->lock);
	tp_live_put(service, live);
}

static bool end_due(const char *id)
{
	struct tp_actor self = tp_actor_self("alice");
	bool ended;

	ok(tp_destroy_due(service, &self, id, &forever, &ended));
	return ended;
}

Test(operations, who_is_not_due_any_more_is_not_ended)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	struct tp_change_spec longer = {.timers = {7200, TP_UNSET, TP_UNSET}};
	struct tp_change_spec shorter = {.timers = {3600, TP_UNSET, TP_UNSET}};
	json_t *view;

	cr_expect_not(end_due(id));
	start_long_ago(id);
	ok(tp_service_change(service, &alice, id, &longer, &forever, &view));
	json_decref(view);
	cr_expect_not(end_due(id), "it is to be kept");
	ok(tp_service_change(service, &alice, id, &shorter, &forever, &view));
	json_decref(view);
	must(park, id);
	cr_expect_not(end_due(id), "it sleeps");
	must(resume, id);
	cr_expect_not(end_due(id), "its time began anew");
	start_long_ago(id);
	cr_expect(end_due(id));
	cr_expect_eq(fake_recorded_sessions(), 0);
}

static void *park_it(void *id)
{
	must(park, id);
	return NULL;
}

static void *must_not_end(void *id)
{
	cr_assert_not(end_due(id));
	return NULL;
}

static bool is_waited_for(const char *id)
{
	struct tp_live *live = tp_live_peek(service, id);

	pthread_mutex_lock(&service->lock);
	bool waited_for = live->waiters;
	pthread_mutex_unlock(&service->lock);
	tp_live_put(service, live);
	return waited_for;
}

/* What its tenant was told is parked isn't ended because its guest's time was over before. */
Test(operations, a_session_whose_time_ends_while_it_is_parked_is_kept)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	pthread_t parker;
	pthread_t keeper;

	start_long_ago(id);
	fake.hold_park = true;
	cr_assert_eq(pthread_create(&parker, NULL, park_it, id), 0);
	fake_wait_state(service, id, TP_STATE_PARKING);
	cr_assert_eq(pthread_create(&keeper, NULL, must_not_end, id), 0);
	while (!is_waited_for(id))
		sched_yield();
	fake_let_go();
	pthread_join(parker, NULL);
	pthread_join(keeper, NULL);
	cr_expect_str_eq(fake_recorded_state(id), "parked");
}

/* --- That nobody uses --- */

static uint64_t active_of(const char *id)
{
	struct tp_live *live = tp_live_peek(service, id);

	pthread_mutex_lock(&service->lock);
	uint64_t active_ns = live->active_ns;
	pthread_mutex_unlock(&service->lock);
	tp_live_put(service, live);
	return active_ns;
}

static bool park_idle(const char *id, uint64_t active_ns)
{
	struct tp_actor self = tp_actor_self("alice");
	bool parked;

	ok(tp_park_idle(service, &self, id, active_ns, &forever, &parked));
	return parked;
}

static void park_if_idle(const char *id)
{
	cr_expect_not(park_idle(id, active_of(id)));
}

Test(operations, who_is_not_idle_any_more_is_not_parked)
{
	TP_FREE char *id = fake_create(service, &alice, "s");

	run_and(id, park_if_idle);
	cr_expect_not(park_idle(id, active_of(id) - 1));
	cr_expect_str_eq(fake_recorded_state(id), "running");
	cr_expect(park_idle(id, active_of(id)));
	cr_expect_str_eq(fake_recorded_state(id), "parked");
}

struct idle {
	const char *id;
	uint64_t active_ns;
};

static void *must_not_park(void *data)
{
	struct idle *idle = data;

	cr_assert_not(park_idle(idle->id, idle->active_ns));
	return NULL;
}

Test(operations, a_session_that_is_used_as_it_is_to_be_parked_runs_on)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	struct tp_live *live = tp_live_peek(service, id);
	struct idle idle = {.id = id, .active_ns = active_of(id)};
	pthread_t keeper;
	bool done;

	ok(tp_live_hold(service, live, TP_LIVE_IN(RUNNING), 0, "hold", &forever, &done));
	cr_assert_eq(pthread_create(&keeper, NULL, must_not_park, &idle), 0);
	while (!is_waited_for(id))
		sched_yield();
	tp_live_touch(service, live);
	tp_live_end(service, live, TP_STATE_RUNNING);
	pthread_join(keeper, NULL);
	cr_expect_str_eq(fake_recorded_state(id), "running");
	cr_expect_eq(live->state, TP_STATE_RUNNING);
	tp_live_put(service, live);
}
