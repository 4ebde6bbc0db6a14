/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims, failures, deaths, pressure, templates that come and go, all at once, for a race detector:
 * build with -Db_sanitize=thread. In the end nothing is reserved, waits or is counted up.
 *
 * A plain program, since Criterion's processes and the race detector don't go together.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "fake_stock.h"

#define CLAIMERS    8
#define ROUNDS	    1000
#define START_MOST  3
#define PAUSE_EVERY 5

static struct fake fakes[2];
static struct tp_supply *supply;
static struct tp_policy_config config;
static atomic_uint spawning;  /* claims that have a slot */
static atomic_uint served[3]; /* by source */
static atomic_uint refused;
static atomic_bool over;
static pthread_barrier_t pause_barrier; /* of the claimers */

static void fail(const char *what, uint64_t n)
{
	fprintf(stderr, "%s: %ju\n", what, (uintmax_t)n);
	abort();
}

static uint32_t chance(uint32_t *state, uint32_t below)
{
	*state = *state * 1664525 + 1013904223;
	return (*state >> 8) % below;
}

static void use(struct tp_claim *claim, struct fake *fake, uint32_t *state)
{
	struct torpor_resume_report report = {.running_ns = 1000};
	TP_ERROR struct torpor_error *err = NULL;

	if (claim->slot && atomic_fetch_add(&spawning, 1) >= START_MOST)
		fail("more than slots", atomic_load(&spawning));
	if (chance(state, 8) == 0)
		err = tp_error(TORPOR_E_QEMU, "start", "s", "as it happens");
	for (unsigned int i = 0; i < claim->count; i++)
		report.source = fake_take(fake, claim->warm_would_do);
	if (claim->slot)
		atomic_fetch_sub(&spawning, 1);
	tp_claim_end(claim, err, &report);
	atomic_fetch_add(&served[report.source], 1);
}

/*
 * Now and then all claims pause until something was started, or for some milliseconds: while they
 * follow each other closely one always has a slot, and little is started ahead.
 */
static void let_it_refill(void)
{
	struct timespec soon;

	if (pthread_barrier_wait(&pause_barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
		clock_gettime(CLOCK_REALTIME, &soon);
		soon.tv_sec += soon.tv_nsec >= 995000000;
		soon.tv_nsec = (soon.tv_nsec + 5000000) % 1000000000;
		pthread_mutex_lock(&fake_lock);
		pthread_cond_timedwait(&fake_changed, &fake_lock, &soon);
		pthread_mutex_unlock(&fake_lock);
	}
	pthread_barrier_wait(&pause_barrier);
}

static void *claim_on(void *arg)
{
	uint32_t state = (uint32_t)(uintptr_t)arg;
	uint64_t one = 1;

	for (int round = 0; round < ROUNDS; round++) {
		if (round % PAUSE_EVERY == 0)
			let_it_refill();
		TP_FD int cancel_fd = eventfd(0, EFD_CLOEXEC);
		struct tp_call call = tp_call_within(chance(&state, 4) * TP_NSEC_PER_MSEC);
		struct fake *fake = &fakes[chance(&state, 2)];
		struct tp_claim claim;
		call.cancel_fd = cancel_fd;
		if (chance(&state, 20) == 0 && write(cancel_fd, &one, sizeof(one)) < 0)
			fail("can't cancel", 0);
		unsigned int count = 1 + chance(&state, 3);
		TP_ERROR struct torpor_error *err = tp_claim_begin(
			supply, &fake->tmpl, count, count == 1 && chance(&state, 2), &call, &claim);
		if (err)
			atomic_fetch_add(&refused, 1);
		else
			use(&claim, fake, &state);
	}
	return NULL;
}

static void look(const char *name)
{
	struct tp_supply_view view;

	if (tp_supply_view(supply, name, &view) && view.warm_target > config.warm_max)
		fail("more than the most is wanted", view.warm_target);
	if (tp_supply_waiting(supply) > CLAIMERS)
		fail("more wait than claim", tp_supply_waiting(supply));
}

static void *meddle(void *arg)
{
	uint32_t state = (uint32_t)(uintptr_t)arg;

	while (!atomic_load(&over)) {
		struct fake *fake = &fakes[chance(&state, 2)];
		switch (chance(&state, 8)) {
		case 0:
			tp_supply_press(supply, chance(&state, 2), chance(&state, 2));
			break;
		case 1:
			tp_supply_remove(supply, fake->tmpl.name);
			break;
		case 2:
			fake_set_failing(fake, chance(&state, 3) == 0);
			break;
		case 3:
			fake_take(fake, true);
			tp_supply_lost(supply, fake->tmpl.name);
			break;
		case 4:
			pthread_mutex_lock(&fake_lock);
			fake->deaf_warm = 1;
			pthread_mutex_unlock(&fake_lock);
			break;
		default:
			tp_supply_add(supply, &fake->tmpl, &config);
			look(fake->tmpl.name);
			break;
		}
		sched_yield();
	}
	return NULL;
}

static void must_start(pthread_t *thread, void *(*run)(void *), uintptr_t number)
{
	if (pthread_create(thread, NULL, run, (void *)number))
		fail("no thread", number);
}

int main(void)
{
	struct tp_supply_options options = {
		.start_slots = START_MOST,
		.refill_slots = 2,
		.refill_every = 2,
		.queue_max = 5,
		.ask_every_ns = TP_NSEC_PER_MSEC,
		.reserve = fake_reserve,
		.unreserve = fake_unreserve,
		.changed = fake_tell,
	};
	pthread_t claimers[CLAIMERS], meddlers[2];

	config = tp_policy_defaults;
	config.backoff_min_ns = config.backoff_max_ns = TP_NSEC_PER_MSEC / 10;
	fake_reserve_most = 12;
	pthread_barrier_init(&pause_barrier, NULL, CLAIMERS);
	fake_init(&fakes[0], "one");
	fake_init(&fakes[1], "two");
	supply = tp_supply_new_with(&options, &fake_ops);
	for (uintptr_t i = 0; i < 2; i++)
		must_start(&meddlers[i], meddle, i + 100);
	for (uintptr_t i = 0; i < CLAIMERS; i++)
		must_start(&claimers[i], claim_on, i + 1);
	for (size_t i = 0; i < CLAIMERS; i++)
		pthread_join(claimers[i], NULL);
	atomic_store(&over, true);
	for (size_t i = 0; i < 2; i++)
		pthread_join(meddlers[i], NULL);
	pthread_barrier_destroy(&pause_barrier);
	if (tp_supply_waiting(supply) != 0)
		fail("some still wait", tp_supply_waiting(supply));
	tp_supply_free(supply);
	if (fake_reserved != 0)
		fail("still reserved", fake_reserved);
	printf("spawn %u, shell %u, warm %u, refused or late %u; started ahead %u, failed %u, "
	       "broken "
	       "off %u\n",
		served[0], served[1], served[2], refused, fakes[0].started + fakes[1].started,
		fakes[0].failed + fakes[1].failed, fakes[0].cancelled + fakes[1].cancelled);
	if (!served[0] || !served[1] || !served[2] || !refused)
		fail("something never happened", 0);
	fake_deinit(&fakes[0]);
	fake_deinit(&fakes[1]);
	return 0;
}
