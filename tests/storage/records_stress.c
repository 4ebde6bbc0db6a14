/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records and audit log under many threads, for a race detector: build with -Db_sanitize=thread.
 *
 * Half of the changes compete for the same names: exactly one of each group gets it. Changes that
 * wait share syncs, so there must be fewer of these than of changes.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "records_support.h"
#include "storage/audit.h"
#include "support.h"

#define THREADS 16
#define READERS 3
#define ROUNDS	40

static char *dir;
static struct tp_records *records;
static struct tp_audit *audit;
static pthread_barrier_t start;
static atomic_uint winners[ROUNDS];
static atomic_bool over;

#define REQUIRE(what)                                                                              \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);         \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* As an operation of the service ends: audit entry and change, both waited for. */
static void settle(int who, int round, const char *id)
{
	struct tp_audit_entry entry = {.tenant = "alice",
		.actor = "token 3f9c",
		.op = "create",
		.object = id,
		.outcome = "ok"};
	struct tp_audit_ticket ticket;
	struct tp_change *change = tp_change_new();
	struct tp_session_row row = a_session(id, "alice", id);

	tp_audit_append(audit, &entry, &ticket);
	tp_change_put_session(change, &row);
	tp_change_audit_head(change, ticket.seq, ticket.hash);
	tp_change_raise(change, "events", (uint64_t)(who + round));
	struct tp_commit *commit = tp_records_submit(records, change);
	must(tp_audit_wait(audit, &ticket));
	must(tp_commit_wait(commit));
	REQUIRE(has_session(records, id));
}

static void compete(int who, int round)
{
	TP_FREE char *id = tp_asprintf("w%d-%d", who, round);
	TP_FREE char *name = tp_asprintf("prize%d", round);
	struct tp_session_row row = a_session(id, "bob", name);
	enum torpor_errc code = code_of(put_session(records, &row));

	REQUIRE(code == 0 || code == TORPOR_E_EXISTS);
	if (code == 0)
		atomic_fetch_add(&winners[round], 1);
	REQUIRE(has_session(records, id) == (code == 0));
}

static void *work(void *arg)
{
	int who = (int)(intptr_t)arg;

	pthread_barrier_wait(&start);
	for (int round = 0; round < ROUNDS; round++) {
		TP_FREE char *id = tp_asprintf("s%d-%d", who, round);
		settle(who, round, id);
		compete(who, round);
		struct tp_change *change = tp_change_new();
		tp_change_touch_session(change, id, (uint64_t)round + 1000);
		must(tp_records_commit(records, change));
	}
	return NULL;
}

/* What is read is consistent: the count of a tenant, and its list in one go, never go back. */
static void *watch(void *arg)
{
	struct tp_session_filter filter = {.tenant = "alice"};
	uint64_t least = 0;
	struct tp_audit_report report;
	TP_FREE char *path = path_in(dir, "audit.log");

	(void)arg;
	while (!atomic_load(&over)) {
		struct names names = {0};
		uint64_t head;
		uint8_t hash[TP_HASH_LEN];
		must(tp_records_sessions(records, &filter, collect_session, &names));
		REQUIRE(names.count >= least);
		least = names.count;
		names_deinit(&names);
		must(tp_records_audit_head(records, &head, hash));
		must(tp_audit_wait(audit, &(struct tp_audit_ticket){.seq = head}));
		must(tp_audit_verify(path, head, hash, &report));
		json_t *list;
		must(tp_audit_tail(path, "alice", NULL, 0, 5, &list));
		json_decref(list);
	}
	return NULL;
}

static void run(void)
{
	pthread_t threads[THREADS + READERS];

	pthread_barrier_init(&start, NULL, THREADS);
	for (int i = 0; i < THREADS + READERS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, i < THREADS ? work : watch,
				(void *)(intptr_t)i) == 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&over, true);
	for (int i = THREADS; i < THREADS + READERS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start);
}

static void check(void)
{
	struct tp_records_stats stats = tp_records_stats(records);
	struct tp_audit_stats written = tp_audit_stats(audit);
	struct tp_usage usage;

	for (int i = 0; i < ROUNDS; i++)
		REQUIRE(winners[i] == 1);
	must(tp_records_usage(records, NULL, &usage));
	REQUIRE(usage.sessions == (THREADS + 1) * ROUNDS);
	REQUIRE(stats.refused == (THREADS - 1) * ROUNDS);
	REQUIRE(stats.failed == 0);
	REQUIRE(stats.commits < THREADS * ROUNDS);
	REQUIRE(written.entries == THREADS * ROUNDS && written.lost == 0);
	REQUIRE(written.syncs < written.entries);
	printf("%llu changes in %llu commits, %llu entries in %llu syncs\n",
		(unsigned long long)stats.changes, (unsigned long long)stats.commits,
		(unsigned long long)written.entries, (unsigned long long)written.syncs);
}

int main(void)
{
	static const uint8_t zeros[TP_HASH_LEN];

	dir = make_dir();
	records = open_records(dir);
	must(tp_audit_open(dir, "audit.log", 0, zeros, &audit));
	run();
	check();
	tp_audit_close(audit);
	tp_records_close(records);
	remove_dir(dir);
	return 0;
}
