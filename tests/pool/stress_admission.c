/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The race for the last place, 100 times with 2 and with 64 threads: exactly one gets it, whichever
 * limit it is. Then threads that admit and give back at random, until all is given back.
 *
 * A plain program, since Criterion's processes and the race detector don't go together.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pool/admission.h"

#define ROUNDS	    100
#define MOST	    64
#define GUEST	    (64 * TP_MIB)
#define MIX_THREADS 8
#define MIX_ROUNDS  2000

static struct tp_admission *admission;
static struct tp_tenant_limits limits;
static pthread_barrier_t barrier;
static atomic_uint winners;

static void fail(const char *what, uint64_t n)
{
	fprintf(stderr, "%s: %ju\n", what, (uintmax_t)n);
	abort();
}

static void *race(void *arg)
{
	const char *expected = arg;

	pthread_barrier_wait(&barrier);
	TP_ERROR struct torpor_error *err = tp_admit(admission, "alice", &limits, 1, GUEST, false);
	if (!err)
		atomic_fetch_add(&winners, 1);
	else if (strcmp(torpor_error_reason(err), expected) != 0)
		fail(torpor_error_message(err), 0);
	return NULL;
}

/* One place is left by the limit that REASON is about. */
static void race_for(const char *reason, unsigned int threads)
{
	struct tp_admission_config config = {
		.host_memory = UINT64_MAX, .max_sessions = 1000, .guest_share_percent = 100};
	pthread_t all[MOST];

	limits = (struct tp_tenant_limits){.sessions = 1000, .memory_bytes = UINT64_MAX};
	if (strcmp(reason, "tenant-sessions") == 0)
		limits.sessions = 4;
	else if (strcmp(reason, "tenant-memory") == 0)
		limits.memory_bytes = 4 * GUEST;
	else if (strcmp(reason, "host-sessions") == 0)
		config.max_sessions = 4;
	else
		config.host_memory = 4 * GUEST;
	admission = tp_admission_new(&config);
	TP_ERROR struct torpor_error *err = tp_admit(admission, "alice", &limits, 3, GUEST, false);
	if (err)
		fail(torpor_error_message(err), 0);
	atomic_store(&winners, 0);
	pthread_barrier_init(&barrier, NULL, threads);
	for (unsigned int i = 0; i < threads; i++)
		if (pthread_create(&all[i], NULL, race, (void *)(uintptr_t)reason))
			fail("no thread", i);
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(all[i], NULL);
	pthread_barrier_destroy(&barrier);
	if (atomic_load(&winners) != 1)
		fail(reason, atomic_load(&winners));
	tp_admission_free(admission);
}

static void *mix(void *arg)
{
	unsigned int who = (unsigned int)(uintptr_t)arg;
	const char *tenant = who % 2 ? "alice" : "bob";
	struct tp_admission_view view;

	for (unsigned int i = 0; i < MIX_ROUNDS; i++) {
		unsigned int count = 1 + (i + who) % 3;
		struct torpor_error *err =
			tp_admit(admission, tenant, &limits, count, GUEST, false);
		bool stock = tp_admit_stock(admission, GUEST);
		tp_admission_images(admission, tenant, 4096);
		tp_admission_view(admission, &view);
		if (view.sessions > 10)
			fail("more than the host's", view.sessions);
		tp_admission_images(admission, tenant, -4096);
		if (stock)
			tp_admit_stock_undo(admission, GUEST);
		if (!err)
			tp_admit_undo(admission, tenant, count, GUEST);
		torpor_error_free(err);
	}
	return NULL;
}

static void mix_all(void)
{
	struct tp_admission_config config = {
		.host_memory = 12 * GUEST, .max_sessions = 10, .guest_share_percent = 100};
	struct tp_admission_view view;
	pthread_t all[MIX_THREADS];

	limits = (struct tp_tenant_limits){.sessions = 6, .memory_bytes = 6 * GUEST};
	admission = tp_admission_new(&config);
	for (uintptr_t i = 0; i < MIX_THREADS; i++)
		if (pthread_create(&all[i], NULL, mix, (void *)i))
			fail("no thread", i);
	for (size_t i = 0; i < MIX_THREADS; i++)
		pthread_join(all[i], NULL);
	tp_admission_view(admission, &view);
	if (view.charged != 0 || view.sessions != 0 || view.stock != 0)
		fail("something was left", view.charged);
	tp_admission_free(admission);
}

int main(void)
{
	static const char *const reasons[] = {
		"tenant-sessions", "tenant-memory", "host-sessions", "host-memory"};

	for (int round = 0; round < ROUNDS; round++) {
		race_for(reasons[round % 4], 2);
		race_for(reasons[round % 4], MOST);
	}
	mix_all();
	return 0;
}
