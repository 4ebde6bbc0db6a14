/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Minutes of random operations by eight clients of three tenants: nothing fails, torpord's memory
 * doesn't grow, and when all is quiet again, neither descriptors nor threads are left.
 *
 *   soak [MINUTES [SEED]]
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/call.h"
#include "base/mem.h"
#include "crash_model.h"
#include "crash_world.h"
#include "service/events.h"

#define CLIENTS	      8
#define MINUTES	      30
#define RSS_SLACK_KB  8192
#define WARM_WITHIN_S 1200
#define CODES	      32

static const char *const tenants[] = {"default", "alice", "bob"};

static struct model *models[CLIENTS];
static atomic_bool over;
static atomic_ulong done;
static atomic_ulong refused[CODES];

/* --- clients --- */

/* What a crowd may be told: come again. */
static bool is_expected(const struct torpor_error *err)
{
	return torpor_error_code(err) == TORPOR_E_LIMIT;
}

struct client {
	pthread_t thread;
	struct model *model;
};

static void *work(void *data)
{
	struct client *client = data;

	while (!atomic_load(&over)) {
		struct torpor_error *err = model_step(client->model);
		atomic_fetch_add(&done, 1);
		if (!err)
			continue;
		atomic_fetch_add(&refused[torpor_error_code(err) % CODES], 1);
		if (!is_expected(err))
			world_complain("%s", torpor_error_message(err));
		torpor_error_free(err);
		model_reconcile(client->model);
	}
	return NULL;
}

static void start(struct client *clients)
{
	atomic_store(&over, false);
	atomic_store(&done, 0);
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client){.model = models[i]};
		model_connect(models[i]);
		if (pthread_create(&clients[i].thread, NULL, work, &clients[i]) != 0)
			abort();
	}
}

/* And all that they had is gone, their connections too. */
static void finish(struct client *clients)
{
	atomic_store(&over, true);
	for (int i = 0; i < CLIENTS; i++)
		pthread_join(clients[i].thread, NULL);
	for (int i = 0; i < CLIENTS; i++) {
		model_clear(models[i]);
		model_disconnect(models[i]);
	}
}

/* --- torpord --- */

#define KINDS	 64
#define KIND_LEN 96

/* Open descriptors that lead to the same. */
struct kind {
	char what[KIND_LEN];
	long count;
};

struct usage {
	long rss_kb;
	long threads;
	long descriptors;
	struct kind kinds[KINDS];
	size_t n_kinds;
};

/* Numbers in it are no part of what it is: of sockets, pipes, guests, processes. */
static void without_numbers(const char *target, char what[KIND_LEN])
{
	size_t len = 0;

	for (; *target && len < KIND_LEN - 1; target++) {
		if (*target < '0' || *target > '9')
			what[len++] = *target;
	}
	what[len] = '\0';
}

static void add_descriptor(struct usage *usage, const char *target)
{
	char what[KIND_LEN];
	size_t i = 0;

	without_numbers(target, what);
	while (i < usage->n_kinds && strcmp(usage->kinds[i].what, what) != 0)
		i++;
	usage->descriptors++;
	if (i == KINDS)
		return;
	if (i == usage->n_kinds) {
		usage->n_kinds++;
		snprintf(usage->kinds[i].what, KIND_LEN, "%s", what);
	}
	usage->kinds[i].count++;
}

/*
 * All but those of connections to the records: torpord keeps a few of these open, as many as were
 * ever needed at once.
 */
static void see_descriptors(struct usage *usage)
{
	TP_FREE char *path = tp_asprintf("/proc/%d/fd", (int)world_pid());
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char target[4096];
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		if (len < 0)
			continue;
		target[len] = '\0';
		if (!strstr(target, "/records.db"))
			add_descriptor(usage, target);
	}
	if (dir)
		closedir(dir);
}

static struct usage look(void)
{
	TP_FREE char *path = tp_asprintf("/proc/%d/status", (int)world_pid());
	struct usage usage = {0};
	char line[256];
	FILE *f = fopen(path, "re");

	see_descriptors(&usage);
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "VmRSS:", 6) == 0)
			usage.rss_kb = strtol(line + 6, NULL, 10);
		if (strncmp(line, "Threads:", 8) == 0)
			usage.threads = strtol(line + 8, NULL, 10);
	}
	if (f)
		fclose(f);
	return usage;
}

/* What is left when nothing is under way: the least that is seen within 20 s. */
static struct usage look_when_quiet(void)
{
	struct usage least;

	/* Whoever looks is connected, each time. */
	world_do("GET", "/readyz", NULL);
	least = look();

	for (int i = 0; i < 200; i++) {
		struct usage usage = look();
		usage.threads = TP_MIN(least.threads, usage.threads);
		if (usage.descriptors < least.descriptors)
			least = usage;
		least.threads = usage.threads;
		usleep(100000);
	}
	least.rss_kb = look().rss_kb;
	return least;
}

static int by_size(const void *a, const void *b)
{
	long x = *(const long *)a;
	long y = *(const long *)b;

	return (x > y) - (x < y);
}

/* Of the fifth numbered FIFTH. Sorts it. */
static long median(long *samples, size_t n, size_t fifth)
{
	size_t count = n / 5;

	qsort(samples + fifth * count, count, sizeof(*samples), by_size);
	return samples[fifth * count + count / 2];
}

static void judge_memory(long *samples, size_t n)
{
	if (n < 10) {
		world_complain("%zu samples are too few", n);
		return;
	}
	long early = median(samples, n, 1);
	long late = median(samples, n, 4);

	printf("RSS: %ld KiB in the second fifth, %ld KiB in the last\n", early, late);
	if (late > early + early / 10 + RSS_SLACK_KB)
		world_complain("torpord grew from %ld to %ld KiB", early, late);
}

static long count_of(const struct usage *usage, const char *what)
{
	for (size_t i = 0; i < usage->n_kinds; i++) {
		if (strcmp(usage->kinds[i].what, what) == 0)
			return usage->kinds[i].count;
	}
	return 0;
}

static void print_more(const struct usage *before, const struct usage *after)
{
	for (size_t i = 0; i < after->n_kinds; i++) {
		const struct kind *kind = &after->kinds[i];
		long more = kind->count - count_of(before, kind->what);
		if (more != 0)
			printf("  %+ld of %s\n", more, kind->what);
	}
}

static void judge_rest(const struct usage *before, const struct usage *after)
{
	printf("quiet: %ld threads, %ld descriptors, %ld KiB before; %ld, %ld, %ld after\n",
		before->threads, before->descriptors, before->rss_kb, after->threads,
		after->descriptors, after->rss_kb);
	if (after->threads > before->threads)
		world_complain("%ld threads are left over", after->threads - before->threads);
	if (after->descriptors > before->descriptors) {
		print_more(before, after);
		world_complain(
			"%ld descriptors are left over", after->descriptors - before->descriptors);
	}
}

/* --- all of it --- */

static void make_tenants(void)
{
	for (size_t i = 1; i < TP_ARRAY_LEN(tenants); i++) {
		TP_FREE char *body = tp_asprintf("{\"name\": \"%s\"}", tenants[i]);
		world_do("POST", "/v1/tenants", body);
	}
}

/* Samples torpord's memory once a second for SECONDS. */
static long *watch(unsigned int seconds)
{
	long *samples = tp_calloc(seconds, sizeof(*samples));

	for (unsigned int i = 0; i < seconds; i++) {
		sleep(1);
		struct usage usage = look();
		samples[i] = usage.rss_kb;
		if (i % 30 == 29) {
			printf("%4u s: %lu operations, %ld KiB, %ld threads, %ld descriptors\n",
				i + 1, atomic_load(&done), usage.rss_kb, usage.threads,
				usage.descriptors);
			fflush(stdout);
		}
	}
	return samples;
}

/* Events that torpord has kept, since it was started. */
static uint64_t newest_event(void)
{
	static const char name[] = "\ntorpor_events_last_id ";
	char *text = NULL;
	struct torpor_error *err = world_try("GET", "/metrics", NULL, &text);
	const char *at = text ? strstr(text, name) : NULL;
	uint64_t id = at ? strtoull(at + strlen(name), NULL, 10) : 0;

	if (!at)
		world_complain("the newest event isn't known");
	torpor_error_free(err);
	free(text);
	return id;
}

/* torpord keeps the last events, and grows until it has as many as that. */
static void warm_up(void)
{
	struct client clients[CLIENTS];
	uint64_t enough = newest_event() + TP_EVENT_RING;

	start(clients);
	for (int i = 0; i < WARM_WITHIN_S && newest_event() < enough; i++)
		sleep(1);
	if (newest_event() < enough)
		world_complain("too little happens");
	finish(clients);
	world_check();
	printf("warm after %lu operations\n", atomic_load(&done));
	fflush(stdout);
}

static void soak(unsigned int seconds)
{
	struct client clients[CLIENTS];

	warm_up();
	struct usage before = look_when_quiet();
	start(clients);
	TP_FREE long *samples = watch(seconds);
	finish(clients);
	world_check();
	struct usage after = look_when_quiet();
	judge_memory(samples, seconds);
	judge_rest(&before, &after);
}

int main(int argc, char **argv)
{
	int minutes = argc > 1 ? atoi(argv[1]) : MINUTES;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

	if (minutes < 1) {
		fprintf(stderr, "usage: soak [MINUTES [SEED]]\n");
		return 2;
	}
	world_open("soak", 2);
	world_label("soak, seed %ju", (uintmax_t)seed);
	world_start(NULL);
	make_tenants();
	for (unsigned int i = 0; i < CLIENTS; i++)
		models[i] = model_new(i, tenants[i % TP_ARRAY_LEN(tenants)], seed * CLIENTS + i);
	soak((unsigned int)minutes * 60);
	for (unsigned int i = 0; i < CLIENTS; i++)
		model_free(models[i]);
	for (unsigned int code = 0; code < CODES; code++) {
		if (atomic_load(&refused[code]) > 0)
			printf("%lu errors of code %u (%s)\n", atomic_load(&refused[code]), code,
				torpor_errc_name((enum torpor_errc)code));
	}
	unsigned int complaints = world_close();
	printf("%d minutes, %lu operations, %u complaints\n", minutes, atomic_load(&done),
		complaints);
	return complaints > 0;
}
