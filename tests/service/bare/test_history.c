/* SPDX-License-Identifier: Apache-2.0 */
/* What is remembered, for how long, of how many, and who sees it. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bare.h"
#include "base/mem.h"
#include "service/history.h"
#include "service/sampler.h"

#define S     TP_NSEC_PER_SEC
#define BEGIN (UINT64_C(1800000000) * TP_NSEC_PER_SEC) /* a multiple of all steps */
#define A     "aaaaaaaaaaaaaaaa"
#define B     "bbbbbbbbbbbbbbbb"

static struct tp_history *history;

static void set_up(void)
{
	history = tp_history_new(BEGIN);
}

static void tear_down(void)
{
	tp_history_free(history);
}

TestSuite(history, .init = set_up, .fini = tear_down);

static void be(const char *id, enum tp_state state, uint64_t at_s)
{
	struct tp_state_note note = {.state = state};

	tp_history_state(history, id, "t", &note, BEGIN + at_s * S);
}

/* The Nth look: private memory of N KiB, a tenth of a processor. */
static void look(const char *id, const char *tenant, uint64_t n)
{
	struct tp_process_sample sample = {
		.pid = 7,
		.cpu_ns = n * 5 * S / 10,
		.private_bytes = n * TP_KIB,
		.shared_bytes = 3 * TP_KIB,
	};

	tp_history_sample(history, id, tenant, TP_STATE_RUNNING, &sample, BEGIN + n * 5 * S);
}

static json_t *show(const char *id, enum tp_window window, uint64_t now_s)
{
	return tp_history_session_json(history, id, window, BEGIN + now_s * S);
}

static const json_t *column(const json_t *view, const char *name)
{
	const json_t *list = json_object_get(json_object_get(view, "samples"), name);

	cr_assert(json_is_array(list), "%s", name);
	return list;
}

static double number_at(const json_t *list, size_t i)
{
	const json_t *value = json_array_get(list, i);

	cr_assert(json_is_number(value), "%zu", i);
	return json_number_value(value);
}

/* --- samples --- */

Test(history, hour_is_bounded_and_goes_on)
{
	/* Two hours: the first is forgotten. */
	for (uint64_t n = 0; n < 1440; n++)
		look(A, "t", n);
	TP_JSON json_t *view = show(A, TP_WINDOW_HOUR, 1439 * 5);
	const json_t *at = column(view, "at");
	const json_t *memory = column(view, "private_bytes");

	cr_assert_eq(json_array_size(at), TP_HISTORY_POINTS);
	cr_assert_eq(number_at(at, 0), (double)(BEGIN / S + 720 * 5) * 1000);
	cr_assert_eq(number_at(at, 719), (double)(BEGIN / S + 1439 * 5) * 1000);
	cr_assert_eq(number_at(memory, 0), 720 * 1024);
	cr_assert_eq(number_at(memory, 719), 1439 * 1024);
	cr_assert_eq(number_at(column(view, "shared_bytes"), 5), 3072);
	cr_assert_float_eq(number_at(column(view, "cpu_percent"), 5), 10, 0.01);
	cr_assert_eq(json_integer_value(json_object_get(view, "step_s")), 5);
	/* Later, as much less as time has passed. */
	TP_JSON json_t *later = show(A, TP_WINDOW_HOUR, 1439 * 5 + 1800);
	cr_assert_eq(json_array_size(column(later, "at")), 361);
}

Test(history, day_has_the_mean_and_the_most)
{
	for (uint64_t n = 0; n < 48; n++)
		look(A, "t", n == 10 ? 1000 : n);
	/* The clock of sample 1000 lay ahead: what comes behind takes its place. */
	TP_JSON json_t *view = show(A, TP_WINDOW_DAY, 240);
	cr_assert_eq(json_array_size(column(view, "at")), 2);
	cr_assert_eq(number_at(column(view, "at"), 1), (double)(BEGIN / S + 120) * 1000);
	cr_assert_eq(number_at(column(view, "private_bytes"), 0), 23 * 1024);
	cr_assert_eq(number_at(column(view, "private_bytes"), 1), 47 * 1024);
	cr_assert_float_eq(number_at(column(view, "cpu_percent"), 1), 10, 0.01);
	cr_assert_eq(json_integer_value(json_object_get(view, "step_s")), 120);
}

Test(history, day_is_bounded)
{
	for (uint64_t n = 0; n < 2 * 17280; n += 12)
		look(A, "t", n);
	TP_JSON json_t *view = show(A, TP_WINDOW_DAY, 2 * 86400);
	cr_assert_leq(json_array_size(column(view, "at")), TP_HISTORY_POINTS);
	cr_assert_geq(json_array_size(column(view, "at")), TP_HISTORY_POINTS - 1);
}

Test(history, processor_time_is_of_one_process)
{
	struct tp_process_sample sample = {.pid = 1, .cpu_ns = 100 * S};

	tp_history_sample(history, A, "t", TP_STATE_RUNNING, &sample, BEGIN + 5 * S);
	sample.pid = 2;
	sample.cpu_ns = 200 * S;
	tp_history_sample(history, A, "t", TP_STATE_RUNNING, &sample, BEGIN + 10 * S);
	sample.cpu_ns = 201 * S;
	tp_history_sample(history, A, "t", TP_STATE_RUNNING, &sample, BEGIN + 15 * S);
	TP_JSON json_t *view = show(A, TP_WINDOW_HOUR, 20);
	TP_JSON json_t *expected = bare_json("[null, null, 20.0]");
	cr_assert(json_equal(column(view, "cpu_percent"), expected));

	struct tp_usage_now usage;
	cr_assert(tp_history_last(history, A, 2, BEGIN + 20 * S, &usage));
	cr_assert_float_eq(usage.cpu_percent, 20, 0.01);
	cr_assert(!tp_history_last(history, A, 1, BEGIN + 20 * S, &usage));
	cr_assert(!tp_history_last(history, A, 2, BEGIN + 31 * S, &usage));
	cr_assert(!tp_history_last(history, B, 2, BEGIN + 20 * S, &usage));
}

/* --- states, operations --- */

static const char *state_at(const json_t *view, size_t i)
{
	return json_string_value(
		json_object_get(json_array_get(json_object_get(view, "states"), i), "state"));
}

Test(history, states_begin_with_the_one_that_held)
{
	be(A, TP_STATE_STARTING, 10);
	be(A, TP_STATE_RUNNING, 11);
	be(A, TP_STATE_RUNNING, 500); /* it was renamed */
	be(A, TP_STATE_PARKING, 1000);
	be(A, TP_STATE_PARKED, 1001);
	TP_JSON json_t *all = show(A, TP_WINDOW_HOUR, 2000);
	cr_assert_eq(json_array_size(json_object_get(all, "states")), 4);
	cr_assert_str_eq(state_at(all, 0), "starting");

	TP_JSON json_t *rest = show(A, TP_WINDOW_HOUR, 3600 + 900);
	cr_assert_eq(json_array_size(json_object_get(rest, "states")), 3);
	cr_assert_str_eq(state_at(rest, 0), "running");

	be(A, TP_STATE_DESTROYED, 5000);
	TP_JSON json_t *gone = show(A, TP_WINDOW_HOUR, 5000);
	cr_assert_eq(json_array_size(json_object_get(gone, "states")), 0);
}

Test(history, one_that_slept_is_known_to_have)
{
	struct tp_state_note note = {.state = TP_STATE_RESUMING,
		.before = TP_STATE_PARKED,
		.before_ns = BEGIN - 100 * S};

	tp_history_state(history, A, "t", &note, BEGIN + 10 * S);
	TP_JSON json_t *view = show(A, TP_WINDOW_HOUR, 20);
	cr_assert_str_eq(state_at(view, 0), "parked");
	cr_assert_str_eq(state_at(view, 1), "resuming");
	cr_assert_str_eq(json_string_value(json_object_get(view, "from")),
		json_string_value(
			json_object_get(json_array_get(json_object_get(view, "states"), 0), "at")));
}

Test(history, states_and_operations_are_bounded)
{
	struct tp_operation_note note = {
		.op = "checkpoint", .took_ns = 1500000, .image_bytes = 10, .name = "c"};

	for (uint64_t i = 0; i < 300; i++) {
		be(A, i % 2 ? TP_STATE_RUNNING : TP_STATE_PAUSED, 10 + i);
		tp_history_operation(history, A, "t", &note, BEGIN + (10 + i) * S);
	}
	TP_JSON json_t *view = show(A, TP_WINDOW_HOUR, 400);
	const json_t *operations = json_object_get(view, "operations");
	const json_t *last = json_array_get(operations, TP_HISTORY_OPERATIONS - 1);

	cr_assert_eq(json_array_size(json_object_get(view, "states")), TP_HISTORY_STATES);
	cr_assert_eq(json_array_size(operations), TP_HISTORY_OPERATIONS);
	cr_assert_eq(json_number_value(json_object_get(last, "took_ms")), 1.5);
	cr_assert_str_eq(json_string_value(json_object_get(last, "name")), "c");
	cr_assert(json_is_null(json_object_get(last, "source")));
	/* Older ones aren't of the hour. */
	TP_JSON json_t *later = show(A, TP_WINDOW_HOUR, 3600 + 309);
	cr_assert_eq(json_array_size(json_object_get(later, "operations")), 1);
}

/* --- how many --- */

static const char *id_of(unsigned int i)
{
	static char id[TP_ID_LEN + 1];

	snprintf(id, sizeof(id), "s%015u", i);
	return id;
}

static bool knows(unsigned int i, uint64_t now_s)
{
	TP_JSON json_t *view = show(id_of(i), TP_WINDOW_DAY, now_s);

	return json_array_size(json_object_get(view, "states")) > 0;
}

Test(history, those_without_a_process_make_room)
{
	for (unsigned int i = 0; i < TP_HISTORY_SESSIONS; i++)
		be(id_of(i), i % 2 ? TP_STATE_PARKED : TP_STATE_RUNNING, 1);
	be(id_of(1), TP_STATE_ERROR, 2);
	be(id_of(5000), TP_STATE_RUNNING, 3);
	cr_assert(knows(5000, 10));
	cr_assert(knows(0, 10));
	cr_assert(knows(1, 10), "it was touched later than others");
	unsigned int parked = 0;
	for (unsigned int i = 1; i < TP_HISTORY_SESSIONS; i += 2)
		parked += knows(i, 10);
	cr_assert_eq(parked, TP_HISTORY_SESSIONS / 2 - 1);
}

Test(history, those_with_a_process_stay)
{
	for (unsigned int i = 0; i < TP_HISTORY_SESSIONS; i++)
		be(id_of(i), TP_STATE_RUNNING, 1);
	be(id_of(5000), TP_STATE_RUNNING, 2);
	cr_assert(!knows(5000, 10));
	/* One that isn't looked at any more has none. */
	be(id_of(5000), TP_STATE_RUNNING, 100);
	cr_assert(knows(5000, 100));
}

/* --- the clock --- */

Test(history, a_clock_that_is_set_back)
{
	for (uint64_t n = 0; n < 100; n++)
		look(A, "t", n);
	look(A, "t", 50);
	TP_JSON json_t *view = show(A, TP_WINDOW_HOUR, 500);
	const json_t *at = column(view, "at");

	cr_assert_eq(json_array_size(at), 51);
	for (size_t i = 1; i < 51; i++)
		cr_assert_lt(number_at(at, i - 1), number_at(at, i));
}

/* --- the host, tenants --- */

Test(history, host)
{
	for (uint64_t n = 0; n < 1000; n++) {
		struct tp_host_sample sample = {
			.total_bytes = 100, .available_bytes = n, .running = 3};
		tp_history_host(history, &sample, BEGIN + n * 5 * S);
	}
	TP_JSON json_t *hour = tp_history_host_json(history, TP_WINDOW_HOUR, BEGIN + 999 * 5 * S);
	cr_assert_eq(json_array_size(column(hour, "at")), TP_HISTORY_POINTS);
	cr_assert_eq(number_at(column(hour, "available_bytes"), 719), 999);
	cr_assert_eq(number_at(column(hour, "running"), 0), 3);
	TP_JSON json_t *day = tp_history_host_json(history, TP_WINDOW_DAY, BEGIN + 999 * 5 * S);
	cr_assert_eq(json_array_size(column(day, "at")), 42);
	/* The newest of the step. */
	cr_assert_eq(number_at(column(day, "available_bytes"), 0), 23);
}

Test(history, tenants_have_the_sum_of_their_own)
{
	for (uint64_t n = 1; n <= 10; n++) {
		look(A, "t", n);
		look(B, "t", n);
		look("cccccccccccccccc", "other", n);
	}
	TP_JSON json_t *both =
		tp_history_tenant_json(history, "t", NULL, TP_WINDOW_HOUR, BEGIN + 55 * S);
	cr_assert_eq(json_array_size(column(both, "at")), 11);
	cr_assert_eq(number_at(column(both, "sessions_bytes"), 10), 20 * 1024);
	cr_assert_eq(number_at(column(both, "running"), 0), 0);
	cr_assert_eq(number_at(column(both, "running"), 10), 2);
	TP_JSON json_t *one =
		tp_history_tenant_json(history, "t", A, TP_WINDOW_HOUR, BEGIN + 55 * S);
	cr_assert_eq(number_at(column(one, "running"), 10), 1);
	TP_JSON json_t *none =
		tp_history_tenant_json(history, "nobody", NULL, TP_WINDOW_HOUR, BEGIN + 55 * S);
	cr_assert_eq(number_at(column(none, "sessions_bytes"), 10), 0);
}

Test(history, what_the_parked_took)
{
	cr_assert_eq(tp_history_parked_mean(history, NULL), 0);
	look(A, "t", 10);
	be(A, TP_STATE_PARKED, 60);
	look(B, "other", 20);
	struct tp_state_note note = {.state = TP_STATE_PARKED};
	tp_history_state(history, B, "other", &note, BEGIN + 110 * S);
	cr_assert_eq(tp_history_parked_mean(history, NULL), 15 * 1024);
	cr_assert_eq(tp_history_parked_mean(history, "t"), 10 * 1024);
	cr_assert_eq(tp_history_parked_mean(history, "nobody"), 0);
	/* One that was never looked at says nothing. */
	be("cccccccccccccccc", TP_STATE_PARKED, 120);
	cr_assert_eq(tp_history_parked_mean(history, NULL), 15 * 1024);
	/* The mean is that of the last ones. */
	for (uint64_t n = 1; n <= TP_HISTORY_PARKS; n++) {
		look(A, "t", 100 * n);
		be(A, TP_STATE_RUNNING, 1);
		be(A, TP_STATE_PARKED, 1);
	}
	cr_assert_eq(
		tp_history_parked_mean(history, NULL), 100 * 1024 * (TP_HISTORY_PARKS + 1) / 2);
}

/* --- a process --- */

Test(history, memory_of_a_process)
{
	uint64_t before, shared, after, same;
	size_t size = 32 * TP_MIB;

	cr_assert(tp_sample_memory(getpid(), false, &before, &shared));
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(memory, 1, size);
	cr_assert(tp_sample_memory(getpid(), false, &after, &same));
	cr_assert_geq(after, before + size - TP_MIB);
	cr_assert_lt(same, shared + 8 * TP_MIB);
	munmap(memory, size);

	/* Of what is shared, a guest's own file is its own. */
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset(memory, 1, size);
	cr_assert(tp_sample_memory(getpid(), false, &before, &shared));
	cr_assert(tp_sample_memory(getpid(), true, &after, &same));
	cr_assert_geq(shared, size);
	cr_assert_geq(after, before + size - TP_MIB);
	munmap(memory, size);
	cr_assert(!tp_sample_memory(0x7fffffff, false, &before, &shared));
}

/* --- who sees what --- */

static char *dir;
static struct tp_service *service;

static void open_service(void)
{
	dir = bare_dir();
	service = bare_open(dir);
	bare_put_session(service, A, "alice", "parked", "uuid");
}

static void close_service(void)
{
	bare_close(service);
	bare_remove_dir(dir);
}

TestSuite(history_view, .init = open_service, .fini = close_service);

Test(history_view, of_one_that_was_parked_before)
{
	struct tp_actor alice = bare_tenant("alice"), bob = bare_tenant("bob");
	json_t *view;

	must(tp_service_history(service, &alice, A, false, &view));
	cr_assert_str_eq(state_at(view, 0), "parked");
	cr_assert_eq(json_array_size(column(view, "at")), 0);
	cr_assert_str_eq(json_string_value(json_object_get(view, "window")), "hour");
	json_decref(view);
	must_fail(tp_service_history(service, &bob, A, true, &view), TORPOR_E_NOT_FOUND);
	must_fail(tp_service_history(service, &alice, B, true, &view), TORPOR_E_NOT_FOUND);
	snprintf(alice.session, sizeof(alice.session), B);
	must_fail(tp_service_history(service, &alice, A, true, &view), TORPOR_E_NOT_FOUND);
}

Test(history_view, of_the_host_is_the_admins)
{
	struct tp_actor admin = bare_admin(), alice = bare_tenant("alice");
	json_t *view;

	tp_sampler_look(service, tp_realtime_ns());
	must(tp_service_host_history(service, &admin, false, &view));
	cr_assert_eq(json_array_size(column(view, "total_bytes")), 1);
	cr_assert_gt(number_at(column(view, "total_bytes"), 0),
		number_at(column(view, "available_bytes"), 0));
	const json_t *current = json_object_get(view, "current");
	cr_assert_eq(json_integer_value(json_object_get(current, "parked")), 1);
	/* Nothing was ever measured: what admission counts. */
	cr_assert_str_eq(json_string_value(json_object_get(view, "per_parked_from")), "charge");
	cr_assert_eq(json_integer_value(json_object_get(current, "saved_bytes")), 24 * TP_MIB);
	json_decref(view);

	must(tp_service_host_history(service, &alice, true, &view));
	cr_assert_str_eq(json_string_value(json_object_get(view, "scope")), "tenant");
	cr_assert_null(json_object_get(json_object_get(view, "samples"), "total_bytes"));
	current = json_object_get(view, "current");
	cr_assert_null(json_object_get(current, "available_bytes"));
	cr_assert_eq(json_integer_value(json_object_get(current, "parked")), 1);
	json_decref(view);

	struct tp_actor bob = bare_tenant("bob");
	must(tp_service_host_history(service, &bob, false, &view));
	cr_assert_eq(
		json_integer_value(json_object_get(json_object_get(view, "current"), "parked")), 0);
	json_decref(view);

	must(tp_service_pool_history(service, &admin, true, &view));
	json_decref(view);
	must_fail(tp_service_pool_history(service, &alice, false, &view), TORPOR_E_DENIED);
}

Test(history_view, usage_has_the_host_for_the_admin)
{
	struct tp_actor admin = bare_admin(), alice = bare_tenant("alice");
	json_t *view;

	must(tp_service_usage(service, &admin, &view));
	cr_assert(json_is_object(json_object_get(view, "host")));
	cr_assert_eq(json_object_size(json_object_get(view, "sessions")), 0);
	json_decref(view);
	must(tp_service_usage(service, &alice, &view));
	cr_assert(json_is_null(json_object_get(view, "host")));
	json_decref(view);
	alice.perms = TP_PERM_EXEC;
	must_fail(tp_service_usage(service, &alice, &view), TORPOR_E_DENIED);
}
