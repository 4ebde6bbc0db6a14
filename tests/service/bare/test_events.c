/* SPDX-License-Identifier: Apache-2.0 */
/* Events: who sees which, who has missed some, and ids that outlive the process. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bare.h"
#include "base/mem.h"
#include "service/events.h"

static struct world {
	char *dir;
	struct tp_records *records;
	struct tp_event_ring *ring;
} world;

static void open_ring(void)
{
	must(tp_records_open(world.dir, TP_RECORDS_NAME, &world.records));
	must(tp_events_new(world.records, &world.ring));
}

static void close_ring(void)
{
	world.ring = tp_events_free(world.ring);
	world.records = tp_records_close(world.records);
}

static void set_up(void)
{
	world.dir = bare_dir();
	open_ring();
}

static void tear_down(void)
{
	close_ring();
	bare_remove_dir(world.dir);
}

TestSuite(events, .init = set_up, .fini = tear_down);

static const struct tp_event_filter everything = {0};
static const struct tp_event_filter alices = {.tenant = "alice"};

static void publish(const char *tenant, const char *session, int number)
{
	tp_events_publish(world.ring, "session", tenant, session, json_integer(number));
}

/* The event behind AFTER, which must be there; its number, or -1 for a reset. */
static int next(const struct tp_event_filter *filter, uint64_t *after_inout)
{
	struct tp_call at_once = tp_call_within(0);
	struct tp_event event;

	must(tp_events_next(world.ring, filter, *after_inout, &at_once, &event));
	bool reset = strcmp(event.type, "reset") == 0;
	int number = reset ? -1 : (int)json_integer_value(event.data);
	*after_inout = event.id;
	json_decref(event.data);
	return number;
}

static void assert_nothing(const struct tp_event_filter *filter, uint64_t after)
{
	struct tp_call at_once = tp_call_within(0);
	struct tp_event event;

	must_fail(tp_events_next(world.ring, filter, after, &at_once, &event), TORPOR_E_TIMEOUT);
}

Test(events, come_in_order_to_those_who_may_see_them)
{
	uint64_t all = tp_events_last(world.ring);
	uint64_t alice = all;
	uint64_t one = all;
	struct tp_event_filter of_one = {.tenant = "alice", .session = "s1"};

	publish("alice", "s1", 1);
	publish("bob", "s2", 2);
	publish(NULL, NULL, 3);
	publish("alice", "s3", 4);
	for (int i = 1; i <= 4; i++)
		cr_assert_eq(next(&everything, &all), i);
	assert_nothing(&everything, all);
	cr_assert_eq(next(&alices, &alice), 1);
	cr_assert_eq(next(&alices, &alice), 3);
	cr_assert_eq(next(&alices, &alice), 4);
	assert_nothing(&alices, alice);
	cr_assert_eq(next(&of_one, &one), 1);
	assert_nothing(&of_one, one);
}

Test(events, going_on_behind_an_id_misses_nothing)
{
	uint64_t ids[10];
	uint64_t after = tp_events_last(world.ring);

	for (int i = 0; i < 10; i++) {
		publish("alice", "s1", i);
		ids[i] = tp_events_last(world.ring);
	}
	cr_assert_eq(next(&alices, &after), 0);
	cr_assert_eq(after, ids[0]);
	after = ids[4];
	cr_assert_eq(next(&alices, &after), 5);
	cr_assert_eq(after, ids[5]);
}

Test(events, one_that_fell_behind_is_told)
{
	uint64_t after = tp_events_last(world.ring);

	publish("alice", "s1", 7);
	for (int i = 0; i < TP_EVENT_RING; i++)
		publish("alice", "s1", i);
	cr_assert_eq(next(&alices, &after), -1);
	cr_assert_geq(after, tp_events_last(world.ring));
	assert_nothing(&alices, after);
	publish("alice", "s1", 8);
	cr_assert_eq(next(&alices, &after), 8);
}

Test(events, the_last_ring_full_can_be_read_whole)
{
	uint64_t after = tp_events_last(world.ring);

	for (int i = 0; i < TP_EVENT_RING; i++)
		publish("alice", "s1", i);
	for (int i = 0; i < TP_EVENT_RING; i++)
		cr_assert_eq(next(&everything, &after), i);
	assert_nothing(&everything, after);
}

Test(events, what_others_do_makes_nobody_miss_anything)
{
	uint64_t after = tp_events_last(world.ring);
	uint64_t all = after;
	uint64_t in_ring = after;

	for (int i = 0; i < 3 * TP_EVENT_RING; i++) {
		publish("bob", "s2", i);
		if (i == 2 * TP_EVENT_RING)
			in_ring = tp_events_last(world.ring);
	}
	assert_nothing(&alices, after);
	publish("alice", "s1", 1);
	cr_assert_eq(next(&alices, &after), 1);
	cr_assert_eq(next(&everything, &all), -1);
	cr_assert_eq(next(&everything, &in_ring), 2 * TP_EVENT_RING + 1);
}

Test(events, everybodys_can_be_missed_by_everybody)
{
	uint64_t after = tp_events_last(world.ring);
	uint64_t bound = after;
	struct tp_event_filter of_one = {.tenant = "alice", .session = "s1"};

	publish(NULL, NULL, 1);
	for (int i = 0; i < TP_EVENT_RING; i++)
		publish("bob", "s2", i);
	cr_assert_eq(next(&alices, &after), -1);
	/* But not by those who look at one session alone. */
	assert_nothing(&of_one, bound);
}

Test(events, ids_grow_across_restarts_and_kills)
{
	uint64_t before = tp_events_last(world.ring);

	for (int start = 0; start < 3; start++) {
		publish("alice", "s1", 1);
		uint64_t last = tp_events_last(world.ring);
		cr_assert_gt(last, before);
		close_ring();
		open_ring();
		uint64_t after = last;
		cr_assert_eq(next(&alices, &after), -1, "what was before a restart is gone");
		cr_assert_geq(after, last);
		assert_nothing(&alices, after);
		before = last;
	}
}

static uint64_t mark(void)
{
	uint64_t mark;

	must(tp_records_number(world.records, "events", &mark));
	return mark;
}

/* So that a restart goes on behind all ids, even if the clock is set back before it. */
Test(events, ids_stay_below_what_is_recorded)
{
	static const uint64_t waits_us[] = {0, TP_EVENT_STEP_US / 3, TP_EVENT_STEP_US / 3,
		TP_EVENT_STEP_US / 3, TP_EVENT_STEP_US, 10 * TP_EVENT_STEP_US};

	for (size_t i = 0; i < TP_ARRAY_LEN(waits_us); i++) {
		uint64_t before = tp_events_last(world.ring);
		tp_events_let_pass(world.ring, waits_us[i]);
		publish("bob", "s2", 1);
		uint64_t last = tp_events_last(world.ring);
		cr_assert_gt(last, before + waits_us[i]);
		/* What is under way is there once there is something behind it. */
		struct tp_change *change = tp_change_new();
		tp_change_raise(change, "other", i + 1);
		must(tp_records_commit(world.records, change));
		cr_assert_gt(mark(), last);
	}
	/* The clock is far behind now. */
	uint64_t last = tp_events_last(world.ring);
	close_ring();
	open_ring();
	publish("bob", "s2", 1);
	cr_assert_gt(tp_events_last(world.ring), last);
}

Test(events, an_id_from_the_future_is_reset)
{
	uint64_t after = tp_events_last(world.ring) + TP_EVENT_STEP_US;
	uint64_t end = UINT64_MAX;

	publish("alice", "s1", 1);
	cr_assert_eq(next(&alices, &after), -1);
	cr_assert_eq(next(&alices, &end), -1);
}

/* Neither the ids of one's own events nor that of a reset tell how many others had. */
Test(events, ids_say_nothing_of_what_others_do)
{
	uint64_t first = tp_events_last(world.ring);
	uint64_t quiet = UINT64_MAX;
	uint64_t busy = UINT64_MAX;

	tp_events_let_pass(world.ring, 1000000);
	cr_assert_eq(next(&alices, &quiet), -1);
	cr_assert_geq(quiet, first + 1000000, "it isn't the id of the newest event");
	for (int i = 0; i < 1000; i++)
		publish("bob", "s2", i);
	tp_events_let_pass(world.ring, 1000000);
	cr_assert_eq(next(&alices, &busy), -1);
	uint64_t after = busy;
	publish("alice", "s1", 1);
	cr_assert_eq(next(&alices, &after), 1, "what comes behind a reset is seen");
	uint64_t since = tp_events_last(world.ring) - first;
	cr_assert_geq(since, 2000000, "ids are times");
	cr_assert_lt(since, 60000000);
}

/* --- waiting --- */

struct reader {
	pthread_t thread;
	struct tp_event_filter filter;
	uint64_t after;
	struct tp_call call;
	int number;
	enum torpor_errc code; /* 0: it got one */
};

static void *read_one(void *data)
{
	struct reader *reader = data;
	struct tp_event event;

	struct torpor_error *err =
		tp_events_next(world.ring, &reader->filter, reader->after, &reader->call, &event);
	if (err) {
		reader->code = torpor_error_code(err);
		torpor_error_free(err);
		return NULL;
	}
	reader->number = (int)json_integer_value(event.data);
	json_decref(event.data);
	return NULL;
}

static struct reader start_reader(const char *tenant)
{
	return (struct reader){
		.filter = {.tenant = tenant},
		.after = tp_events_last(world.ring),
		.call = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = -1},
	};
}

Test(events, wake_those_who_wait)
{
	struct reader alice = start_reader("alice");
	struct reader bob = start_reader("bob");

	pthread_create(&alice.thread, NULL, read_one, &alice);
	pthread_create(&bob.thread, NULL, read_one, &bob);
	publish("bob", "s2", 2);
	pthread_join(bob.thread, NULL);
	publish("alice", "s1", 1);
	pthread_join(alice.thread, NULL);
	cr_assert_eq(alice.number, 1);
	cr_assert_eq(bob.number, 2);
}

Test(events, waiting_ends_with_its_cancellation_and_with_draining)
{
	struct reader gone = start_reader("alice");
	struct reader stays = start_reader("alice");

	gone.call.cancel_fd = eventfd(0, EFD_CLOEXEC);
	pthread_create(&gone.thread, NULL, read_one, &gone);
	pthread_create(&stays.thread, NULL, read_one, &stays);
	eventfd_write(gone.call.cancel_fd, 1);
	pthread_join(gone.thread, NULL);
	cr_assert_eq(gone.code, TORPOR_E_CANCELLED);
	close(gone.call.cancel_fd);
	tp_events_drain(world.ring);
	pthread_join(stays.thread, NULL);
	cr_assert_eq(stays.code, TORPOR_E_CANCELLED);
}

/*
 * Many publishers and readers: each reader sees its tenant's numbers in order, or a reset; and at
 * the end what is everybody's.
 */

#define PUBLISHERS 4
#define EACH	   6000
#define THE_END	   -7

static atomic_bool over;

static void *publish_many(void *data)
{
	const char *tenant = data;

	for (int i = 1; i <= EACH; i++)
		publish(tenant, "s", i);
	return NULL;
}

static void *read_many(void *data)
{
	struct reader *reader = data;
	int last = 0;

	for (;;) {
		struct tp_event event;
		must(tp_events_next(
			world.ring, &reader->filter, reader->after, &reader->call, &event));
		bool reset = strcmp(event.type, "reset") == 0;
		int number = (int)json_integer_value(event.data);
		cr_assert(reset || event.id > reader->after);
		reader->after = event.id;
		json_decref(event.data);
		if ((!reset && number == THE_END) || (reset && atomic_load(&over)))
			return NULL;
		cr_assert(reset || number > last);
		last = reset ? last : number;
	}
}

Test(events, slow_readers_hold_up_nobody)
{
	static const char *const tenants[PUBLISHERS] = {"a", "b", "c", "d"};
	struct reader readers[PUBLISHERS];
	pthread_t publishers[PUBLISHERS];
	struct reader sleeper = start_reader("a");

	for (int i = 0; i < PUBLISHERS; i++) {
		readers[i] = start_reader(tenants[i]);
		pthread_create(&readers[i].thread, NULL, read_many, &readers[i]);
		pthread_create(&publishers[i], NULL, publish_many, (void *)tenants[i]);
	}
	for (int i = 0; i < PUBLISHERS; i++)
		pthread_join(publishers[i], NULL);
	atomic_store(&over, true);
	publish(NULL, NULL, THE_END);
	for (int i = 0; i < PUBLISHERS; i++)
		pthread_join(readers[i].thread, NULL);
	/* One that never read is told, and can go on. */
	cr_assert_eq(next(&sleeper.filter, &sleeper.after), -1);
	publish("a", "s", 99);
	cr_assert_eq(next(&sleeper.filter, &sleeper.after), 99);
}
