/* SPDX-License-Identifier: Apache-2.0 */
/*
 * density: what guests cost beside each other, and what a process costs by itself.
 *
 * Clones are added until there are 1, 10, 50 and 100 of them, and looked at each time: running,
 * after the quiet time, and paused. Guests that booted by themselves are measured in the same way:
 * clones that were told to reset, whose memory after that is their own. As many of those as fit.
 */
#include <stdio.h>

#include "base/mem.h"
#include "benchmarks/bench_priv.h"
#include "benchmarks/memory.h"

#define GUESTS	       100
#define REBOOT_SECONDS 120

static const unsigned int steps[] = {1, 10, 50, GUESTS};
static const unsigned int quick_steps[] = {1, 2};

struct crowd {
	struct bench *b;
	const char *prefix;
	uint64_t available; /* MemAvailable before the first guest */
	struct torpor_session *session[GUESTS];
	unsigned int n;
};

static void crowd_end(struct crowd *crowd)
{
	while (crowd->n > 0)
		tp_error_log(bench_end(&crowd->session[--crowd->n]));
}
#define CROWD __attribute__((cleanup(crowd_end)))

/* --- looking --- */

static uint64_t available_bytes(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	uint64_t kib = 0;

	while (f && fgets(line, sizeof(line), f) && sscanf(line, "MemAvailable: %ju", &kib) != 1)
		;
	if (f)
		fclose(f);
	return kib * TP_KIB;
}

static struct torpor_error *memory_of(struct torpor_session *session, struct bench_memory *memory)
{
	struct torpor_session_info info;

	TP_TRY(torpor_session_info(session, &info));
	return bench_memory_of(info.pid, memory);
}

/* Each guest's private memory, and sums over all. */
static struct torpor_error *look(struct crowd *crowd, const char *state)
{
	TP_FREE char *figure = tp_asprintf("%s_%u_%s", crowd->prefix, crowd->n, state);
	struct bench_memory sum = {0};
	uint64_t available = available_bytes();

	for (unsigned int i = 0; i < crowd->n; i++) {
		struct bench_memory memory;
		TP_TRY(memory_of(crowd->session[i], &memory));
		bench_add_to(crowd->b, figure, "private", "bytes", (double)memory.private_bytes);
		sum.private_bytes += memory.private_bytes;
		sum.proportional += memory.proportional;
		sum.page_tables += memory.page_tables;
	}
	bench_add_to(crowd->b, figure, "private_sum", "bytes", (double)sum.private_bytes);
	bench_add_to(crowd->b, figure, "proportional_sum", "bytes", (double)sum.proportional);
	bench_add_to(crowd->b, figure, "page_tables_sum", "bytes", (double)sum.page_tables);
	if (crowd->available > available)
		bench_add_to(
			crowd->b, figure, "host", "bytes", (double)(crowd->available - available));
	return NULL;
}

/* --- adding guests --- */

typedef struct torpor_error *add_fn(struct crowd *crowd, unsigned int upto);

static struct torpor_error *add_clones(struct crowd *crowd, unsigned int upto)
{
	while (crowd->n < upto) {
		TP_TRY(bench_claim(crowd->b, crowd->b->tmpl, NULL, &crowd->session[crowd->n]));
		crowd->n++;
	}
	return NULL;
}

/* The guest goes down under its command: how that ends says nothing. */
static void reset(struct bench *b, struct torpor_session *session)
{
	static const char *const argv[] = {"reboot", "-f", NULL};
	struct torpor_exec_result result;

	torpor_error_free(torpor_session_exec(
		session, &(struct torpor_exec){.argv = argv}, &b->options->call, &result));
}

static struct torpor_error *wait_booted(struct bench *b, struct torpor_session *session)
{
	uint64_t give_up = tp_now_ns() + REBOOT_SECONDS * TP_NSEC_PER_SEC;
	struct torpor_session_info info;

	do {
		TP_TRY(bench_quiet(b, 100));
		TP_TRY(torpor_session_info(session, &info));
		if (info.reboots > 0 && info.state == TORPOR_SESSION_RUNNING)
			return NULL;
	} while (tp_now_ns() < give_up);
	return tp_error(TORPOR_E_TIMEOUT, "boot", info.name, "it didn't come back");
}

/* As many at a time as there are cores. */
static struct torpor_error *add_booted(struct crowd *crowd, unsigned int upto)
{
	while (crowd->n < upto) {
		unsigned int first = crowd->n;
		unsigned int end = TP_MIN(upto, first + crowd->b->cores);
		TP_TRY(add_clones(crowd, end));
		for (unsigned int i = first; i < end; i++)
			reset(crowd->b, crowd->session[i]);
		for (unsigned int i = first; i < end; i++)
			TP_TRY(wait_booted(crowd->b, crowd->session[i]));
	}
	return NULL;
}

/* --- both crowds --- */

/* Whether N guests leave a tenth of what there was, going by what those that run took. */
static bool will_fit(const struct crowd *crowd, unsigned int n)
{
	uint64_t available = available_bytes();

	if (crowd->n == 0 || crowd->available <= available)
		return true;
	double each = (double)(crowd->available - available) / crowd->n;
	return each * n < 0.9 * (double)crowd->available;
}

static struct torpor_error *look_both(struct crowd *crowd)
{
	struct bench *b = crowd->b;

	TP_TRY(bench_quiet(b, b->quiet_ms));
	TP_TRY(look(crowd, "running"));
	for (unsigned int i = 0; i < crowd->n; i++)
		TP_TRY(torpor_session_pause(crowd->session[i], &b->options->call));
	TP_TRY(look(crowd, "paused"));
	for (unsigned int i = 0; i < crowd->n; i++)
		TP_TRY(torpor_session_unpause(crowd->session[i], &b->options->call));
	return NULL;
}

static struct torpor_error *grow(struct bench *b, const char *prefix, add_fn *add)
{
	const unsigned int *at = b->options->quick ? quick_steps : steps;
	size_t n = b->options->quick ? TP_ARRAY_LEN(quick_steps) : TP_ARRAY_LEN(steps);
	CROWD struct crowd crowd = {.b = b, .prefix = prefix, .available = available_bytes()};

	for (size_t i = 0; i < n; i++) {
		if (!will_fit(&crowd, at[i])) {
			bench_say("%s: %u guests don't fit into this host's memory", prefix, at[i]);
			return NULL;
		}
		TP_TRY(add(&crowd, at[i]));
		TP_TRY(look_both(&crowd));
		bench_say("%s: %u guests", prefix, at[i]);
	}
	return NULL;
}

/* --- one process --- */

static void add_uses(struct bench *b, const char *figure, const struct bench_memory *memory)
{
	bench_add_to(b, figure, "private", "bytes", (double)memory->private_bytes);
	bench_add_to(b, figure, "page_tables", "bytes", (double)memory->page_tables);
	for (int i = 0; i < BENCH_USES; i++)
		bench_add_to(b, figure, bench_use_names[i], "bytes", (double)memory->by_use[i]);
}

/*
 * Where a clone's memory goes: just claimed, and when it has been left alone for a while. Another
 * one runs beside it, or all that it uses of the base would count as its own.
 */
static struct torpor_error *measure_process(struct bench *b)
{
	CROWD struct crowd crowd = {.b = b};
	struct bench_memory memory;

	TP_TRY(add_clones(&crowd, 2));
	TP_TRY(memory_of(crowd.session[1], &memory));
	add_uses(b, "process_claimed", &memory);
	TP_TRY(bench_quiet(b, b->quiet_ms));
	TP_TRY(memory_of(crowd.session[1], &memory));
	add_uses(b, "process_idle", &memory);
	return NULL;
}

struct torpor_error *bench_run_density(struct bench *b)
{
	for (unsigned int i = 0; i < TP_MIN(b->n, 5u); i++)
		TP_TRY(bench_sample_done(b, "process", measure_process(b)));
	TP_TRY(bench_sample_done(b, "density", grow(b, "clones", add_clones)));
	return bench_sample_done(b, "density", grow(b, "booted", add_booted));
}
