/* SPDX-License-Identifier: Apache-2.0 */
/* The supply with real guests: many claims at once, a death in stock, and nothing left behind. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>

#include "pool/supply.h"
#include "support.h"

#define CLAIMS	   16
#define PATIENCE_S 60

static struct torpor_engine *engine;
static struct torpor_template *tmpl;
static struct tp_supply *supply;
static atomic_uint reserved;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned int changes; /* by the lock */

static bool reserve(void *data, uint64_t memory_bytes)
{
	(void)data;
	(void)memory_bytes;
	atomic_fetch_add(&reserved, 1);
	return true;
}

static void unreserve(void *data, uint64_t memory_bytes)
{
	(void)data;
	(void)memory_bytes;
	cr_assert_gt(atomic_fetch_sub(&reserved, 1), 0);
}

static void note_change(void *data, const char *template_name)
{
	(void)data;
	(void)template_name;
	pthread_mutex_lock(&lock);
	changes++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void note_event(void *data, enum torpor_event event, const char *name)
{
	(void)data;
	if (event == TORPOR_EVENT_STOCK)
		tp_supply_lost(supply, name);
}

static struct tp_supply_view view(void)
{
	struct tp_supply_view v;

	cr_assert(tp_supply_view(supply, tmpl->name, &v));
	return v;
}

static struct timespec patience(void)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_S;
	return end;
}

static unsigned int changes_so_far(void)
{
	pthread_mutex_lock(&lock);
	unsigned int so_far = changes;
	pthread_mutex_unlock(&lock);
	return so_far;
}

/* Waits until there were more changes than BEFORE; false at END. */
static bool wait_for_change(unsigned int before, const struct timespec *end)
{
	int rc = 0;

	pthread_mutex_lock(&lock);
	while (changes == before && rc == 0)
		rc = pthread_cond_timedwait(&changed, &lock, end);
	pthread_mutex_unlock(&lock);
	return rc == 0;
}

/* Waits until so many wait, none is being started, and none that was ended keeps its memory. */
static void wait_for_stock(unsigned int warm, unsigned int shells)
{
	struct timespec end = patience();

	for (;;) {
		unsigned int before = changes_so_far();
		struct tp_policy_stock stock = view().stock;
		if (stock.warm == warm && stock.shells == shells && stock.starting_warm == 0 &&
			stock.starting_shells == 0 && atomic_load(&reserved) == warm + shells)
			return;
		cr_assert(wait_for_change(before, &end),
			"%u warm guests and %u shells wait, for %u and %u", stock.warm,
			stock.shells, warm, shells);
	}
}

static void wait_for_deaf(unsigned int deaf)
{
	struct timespec end = patience();

	for (;;) {
		unsigned int before = changes_so_far();
		if (view().deaf >= deaf)
			return;
		cr_assert(wait_for_change(before, &end), "%ju were deaf", (uintmax_t)view().deaf);
	}
}

static void set_up(void)
{
	struct tp_supply_options options = {.start_slots = 2,
		.reserve = reserve,
		.unreserve = unreserve,
		.changed = note_change,
		.ask_every_ns = TP_NSEC_PER_SEC};
	struct tp_policy_config config = tp_policy_defaults;

	engine = it_open_with((struct torpor_engine_options){.on_event = note_event});
	tmpl = it_template(engine);
	supply = tp_supply_new(&options);
	config.warm_min = config.warm_max = 3;
	config.shells_min = config.shells_max = 1;
	tp_supply_add(supply, tmpl, &config);
	wait_for_stock(3, 1);
}

static void tear_down(void)
{
	supply = tp_supply_free(supply);
	cr_assert_eq(atomic_load(&reserved), 0);
	torpor_template_close(tmpl);
	torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0);
}

TestSuite(supply, .init = set_up, .fini = tear_down, .timeout = 300);

struct claiming {
	char name[65];
	struct torpor_session *session;
	enum torpor_source source;
	uint64_t took_ns;
	struct torpor_error *err;
};

static void *claim(void *data)
{
	struct claiming *c = data;
	struct torpor_session_spec spec = {.name = c->name};
	struct torpor_resume_report report;
	struct tp_call call = tp_call_within(PATIENCE_S * TP_NSEC_PER_SEC);
	struct tp_claim claim;
	uint64_t begin_ns = tp_now_ns();

	c->err = tp_claim_begin(supply, tmpl, 1, true, &call, &claim);
	if (c->err)
		return NULL;
	c->err = torpor_session_start(tmpl, &spec, NULL, &report, &c->session);
	tp_claim_end(&claim, c->err, c->err ? NULL : &report);
	c->took_ns = tp_now_ns() - begin_ns;
	c->source = report.source;
	return NULL;
}

Test(supply, many_claims_at_once_are_all_served)
{
	struct claiming claims[CLAIMS] = {0};
	pthread_t threads[CLAIMS];
	unsigned int served[3] = {0};

	for (int i = 0; i < CLAIMS; i++) {
		snprintf(claims[i].name, sizeof(claims[i].name), "%s", it_name("claim"));
		cr_assert_eq(pthread_create(&threads[i], NULL, claim, &claims[i]), 0);
	}
	for (int i = 0; i < CLAIMS; i++) {
		pthread_join(threads[i], NULL);
		it_ok(claims[i].err);
		served[claims[i].source]++;
	}
	struct tp_supply_view v = view();
	for (int source = 0; source < 3; source++)
		cr_assert_eq(v.served[source], served[source]);
	cr_assert_geq(served[TORPOR_SOURCE_WARM], 3, "those that waited");
	cr_assert_eq(tp_supply_waiting(supply), 0);
	cr_assert_str_eq(it_run(claims[0].session, "hostname"), claims[0].name);
	for (int i = 0; i < CLAIMS; i++)
		torpor_session_close(claims[i].session);
	wait_for_stock(3, 1);
	cr_assert_eq(it_qemu_children(), 4);
	cr_assert_eq(atomic_load(&reserved), 4);
}

static int pid_of_a_warm_guest(void)
{
	pthread_mutex_lock(&engine->lock);
	int pid = tmpl->warm.first->guest->process.pid;
	pthread_mutex_unlock(&engine->lock);
	return pid;
}

Test(supply, one_that_dies_while_it_waits_is_replaced)
{
	int pid = pid_of_a_warm_guest();

	kill(pid, SIGKILL);
	/* Taken first, it is nobody's loss either. */
	struct claiming c = {.name = "after-a-death"};
	claim(&c);
	it_ok(c.err);
	torpor_session_close(c.session);
	wait_for_stock(3, 1);
	cr_assert_neq(pid_of_a_warm_guest(), pid);
	cr_assert_eq(view().failures, 0);
}

/* Nobody claims it: it is found by asking. */
Test(supply, one_that_is_deaf_is_replaced)
{
	int pid = pid_of_a_warm_guest();

	cr_assert_eq(kill(pid, SIGSTOP), 0);
	wait_for_deaf(1);
	wait_for_stock(3, 1);
	cr_assert(kill(pid, 0) < 0 && errno == ESRCH, "it is left");
	cr_assert_eq(view().failures, 1);
	cr_assert_eq(it_qemu_children(), 4);
	cr_assert_eq(atomic_load(&reserved), 4);
}

Test(supply, under_pressure_nothing_waits)
{
	tp_supply_press(supply, true, true);
	wait_for_stock(0, 0);
	cr_assert_eq(it_qemu_children(), 0);
	struct claiming c = {.name = "under-pressure"};
	claim(&c);
	it_ok(c.err);
	cr_assert_eq(c.source, TORPOR_SOURCE_SPAWN);
	torpor_session_close(c.session);
	tp_supply_press(supply, false, false);
	wait_for_stock(3, 1);
}
