/* SPDX-License-Identifier: Apache-2.0 */
/* Whose turn it is; what is forgotten when. */
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "expect.h"
#include "fake.h"

#define ID "k3v9q2m7x4tz0d8h"

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

TestSuite(live, .init = open_world, .fini = close_world);

static struct tp_live *get(const char *id)
{
	struct tp_live *live;

	ok(tp_live_get(service, &alice, id, &live));
	return live;
}

Test(live, a_parked_session_costs_nothing_when_nobody_has_it)
{
	fake_record_parked(ID, "alice", "s", 5);
	struct tp_live *live = get(ID);
	cr_expect_eq(service->live_count, 1);
	cr_expect_eq(get(ID), live, "one for all");
	tp_live_put(service, live);
	tp_live_put(service, live);
	cr_expect_eq(service->live_count, 0);
}

static void destroy_it(void)
{
	ok(tp_service_destroy(service, &alice, ID, &forever));
}

Test(live, a_row_that_was_read_before_its_session_went_is_not_believed)
{
	struct tp_live *live;

	fake_record_parked(ID, "alice", "s", 5);
	fake.on_read = destroy_it;
	fails(tp_live_get(service, &alice, ID, &live), TORPOR_E_NOT_FOUND);
	cr_expect_eq(service->live_count, 0);
}

Test(live, waiting_ends_with_the_call)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	struct tp_live *live = get(id);
	struct tp_call soon = tp_call_within(TP_NSEC_PER_MSEC);
	struct tp_call cancelled = forever;
	bool done;

	cancelled.cancel_fd = eventfd(1, 0);
	ok(tp_live_begin(service, live, TP_STATE_PARKING, 0, &forever, &done));
	fails(tp_live_begin(service, live, TP_STATE_STOPPING, 0, &soon, &done), TORPOR_E_TIMEOUT);
	fails(tp_live_hold(service, live, TP_LIVE_IN(RUNNING), 0, "x", &cancelled, &done),
		TORPOR_E_CANCELLED);
	tp_live_end(service, live, TP_STATE_RUNNING);
	tp_live_put(service, live);
	close(cancelled.cancel_fd);
}

static void *end_soon(void *data)
{
	/* After the others wait, or before: both must be right. */
	tp_live_end(service, data, TP_STATE_RUNNING);
	return NULL;
}

Test(live, whoever_waits_goes_on_when_the_operation_ends)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	struct tp_live *live = get(id);
	pthread_t thread;
	bool done;

	for (int i = 0; i < 200; i++) {
		ok(tp_live_begin(service, live, TP_STATE_PARKING, 0, &forever, &done));
		pthread_create(&thread, NULL, end_soon, live);
		ok(tp_live_hold(service, live, TP_LIVE_IN(RUNNING), 0, "x", &forever, &done));
		tp_live_end(service, live, TP_STATE_RUNNING);
		pthread_join(thread, NULL);
	}
	tp_live_put(service, live);
}

Test(live, what_is_done_already_is_not_begun)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	struct tp_live *live = get(id);
	bool done = false;

	ok(tp_live_begin(service, live, TP_STATE_RESUMING, TP_LIVE_IN(RUNNING), &forever, &done));
	cr_expect(done);
	cr_expect_eq(live->state, TP_STATE_RUNNING);
	fails(tp_live_begin(service, live, TP_STATE_RESUMING, 0, &forever, &done), TORPOR_E_BUSY);
	tp_live_put(service, live);
}

static void *detach(void *data)
{
	tp_live_detach(service, data);
	return NULL;
}

static bool waits(const struct tp_live *live)
{
	pthread_mutex_lock(&service->lock);
	bool is = live->waiters;
	pthread_mutex_unlock(&service->lock);
	return is;
}

static unsigned int handles(void)
{
	pthread_mutex_lock(&fake.lock);
	unsigned int n = fake.handles;
	pthread_mutex_unlock(&fake.lock);
	return n;
}

Test(live, a_handle_is_not_closed_under_those_who_use_it)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	struct tp_live *live = get(id);
	struct torpor_session *core;
	pthread_t thread;
	bool done;

	ok(tp_live_use(service, live, TP_LIVE_IN(RUNNING), "use", &forever, &core));
	ok(tp_live_begin(service, live, TP_STATE_STOPPING, 0, &forever, &done));
	ok(tp_session_quit(core, &forever));
	pthread_create(&thread, NULL, detach, live);
	/* It waits, or it has closed the handle already, which would be wrong. */
	while (!waits(live) && handles() > 0)
		sched_yield();
	cr_expect_eq(handles(), 1);
	tp_live_unuse(service, live);
	pthread_join(thread, NULL);
	cr_expect_eq(fake.handles, 0);
	tp_live_end(service, live, TP_STATE_RUNNING);
	ok(tp_live_begin(service, live, TP_STATE_STOPPING, 0, &forever, &done));
	tp_live_end(service, live, TP_STATE_DESTROYED);
	tp_live_put(service, live);
}

Test(live, a_destroyed_session_is_not_found_while_others_still_have_it)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	struct tp_live *live = get(id);
	json_t *view = NULL;
	bool done;

	ok(tp_service_destroy(service, &alice, id, &forever));
	fails(tp_live_begin(service, live, TP_STATE_PARKING, 0, &forever, &done),
		TORPOR_E_NOT_FOUND);
	fails(tp_service_get(service, &alice, id, &view), TORPOR_E_NOT_FOUND);
	tp_live_put(service, live);
	cr_expect_eq(service->live_count, 0);
}

Test(live, briefs_say_what_holds)
{
	struct tp_live_brief *briefs;
	TP_FREE char *id = fake_create(service, &alice, "s");

	cr_assert_eq(tp_live_briefs(service, &briefs), 1);
	cr_expect_str_eq(briefs[0].id, id);
	cr_expect_str_eq(briefs[0].tenant, "alice");
	cr_expect_eq(briefs[0].state, TP_STATE_RUNNING);
	cr_expect_eq(briefs[0].pid, 4711);
	cr_expect_eq(briefs[0].ttl_s, 3600);
	cr_expect_eq(briefs[0].idle_s, 0);
	cr_expect_not(briefs[0].has_image);
	free(briefs);
}
