/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the benchmark share. */
#ifndef TP_BENCH_BENCH_PRIV_H
#define TP_BENCH_BENCH_PRIV_H

#include <jansson.h>

#include "base/error.h"
#include "benchmarks/bench.h"
#include "pool/session.h"

#define BENCH_SETTLE_MS	 100 /* before each sample */
#define BENCH_BATCH	 4   /* pairs of guests that are quiet side by side */
#define BENCH_FORKS	 8
#define BENCH_PAYLOAD	 (20 * TP_MIB)
#define BENCH_IMAGE_IDLE (20 * TP_KIB) /* what an idle image may take */

/* The values of one figure, in the order in which they were measured. */
struct bench_series {
	char *name; /* "SCENARIO" or "SCENARIO.INTERVAL" */
	const char *unit;
	double *values;
	unsigned int n;
	bool has_limit;	 /* print it as a verdict: "value_p50", "limit", "met" */
	bool is_verdict; /* without a limit: reported, not judged */
	double limit;
};

/* Failed samples of a scenario. */
struct bench_failures {
	char *scenario;
	unsigned int n;
};

struct bench {
	const struct bench_options *options;
	unsigned int n;
	unsigned int quiet_ms;
	struct torpor_engine *engine;
	struct torpor_template *tmpl;
	struct torpor_template_info info;
	unsigned int cores;
	unsigned int next_name;
	int payload_fd; /* -1 until it is needed */
	uint64_t payload_bytes;
	unsigned int failed_in_a_row;

	struct bench_series *series;
	size_t n_series;
	struct bench_failures *failures;
	size_t n_failures;
	struct bench_series noise;
	double load_start;
};

/* --- series.c: figures --- */

/* Adds a value to the figure NAME, which is made with the first one. UNIT is static. */
void bench_add(struct bench *b, const char *name, const char *unit, double value);

/*
 * Adds to a verdict: its median is compared with LIMIT (at most; 0: there is none). Values of a
 * ratio are of pairs that were measured one right behind the other.
 */
void bench_judge(struct bench *b, const char *name, const char *unit, double value, double limit);

/*
 * A sample of SCENARIO failed: counts and tells it, frees ERR. Returns an error only where the run
 * must end: it was cancelled, or three samples in a row failed. NULL as ERR: it went well.
 */
struct torpor_error *bench_sample_done(
	struct bench *b, const char *scenario, struct torpor_error *err) TP_MUST_USE;

/* The percentile of a figure so far, by nearest rank; 0 if it has no values. */
double bench_percentile(const struct bench *b, const char *name, unsigned int percent);

void bench_print(struct bench *b);
void bench_figures_deinit(struct bench *b);

/* --- context.c: where it was measured, and how quiet it was there --- */

void bench_print_context(struct bench *b);
/* One more of its lines. Takes VALUE. */
void bench_print_fact(struct bench *b, const char *name, json_t *value);
void bench_print_quietness(struct bench *b);

/*
 * Before each sample: lets what was started or ended come to rest, and times a fixed piece of CPU
 * work. CANCELLED.
 */
struct torpor_error *bench_settle(struct bench *b) TP_MUST_USE;

double bench_load_average(void);

/* --- guests.c --- */

/* Sessions that end with the scope. */
struct bench_batch {
	struct torpor_session *session[2 * BENCH_BATCH];
	unsigned int n;
};
void bench_batch_end(struct bench_batch *batch);
#define BENCH_BATCH_SCOPE __attribute__((cleanup(bench_batch_end)))

__attribute__((format(printf, 1, 2))) void bench_say(const char *fmt, ...);

/* How many of what a scenario has FULL of otherwise, if it is to be quick. */
unsigned int bench_scaled(const struct bench *b, unsigned int full);

/* A name that no other session has; the caller's to free. */
char *bench_name(struct bench *b) TP_MUST_USE;

/* Claims a clone of TMPL: it is made fresh when this returns. */
struct torpor_error *bench_claim(struct bench *b, struct torpor_template *tmpl,
	struct torpor_resume_report *report_out, struct torpor_session **session_out) TP_MUST_USE;

/* N of them, with DIRTY each with the payload in its tmpfs, and then quiet. */
struct torpor_error *bench_batch_start(struct bench *b, struct torpor_template *tmpl,
	unsigned int n, bool dirty, struct bench_batch *batch) TP_MUST_USE;

/* Writes BYTES (0: none) to a tmpfs of the guest's: half of it random, half text. */
struct torpor_error *bench_put_payload(
	struct bench *b, struct torpor_session *session, uint64_t bytes) TP_MUST_USE;

/* Ends one session of a batch. */
struct torpor_error *bench_end(struct torpor_session **session) TP_MUST_USE;

/* Does nothing for that long; CANCELLED. */
struct torpor_error *bench_quiet(struct bench *b, unsigned int ms) TP_MUST_USE;

/* Resumes a parked session and asks for a sign of life; the times are FIGURE.running and so on. */
struct torpor_error *bench_resume(struct bench *b, struct torpor_session *session,
	const char *figure, struct torpor_resume_report *report_out) TP_MUST_USE;

/* Parks, and adds FIGURE.captured and so on. */
struct torpor_error *bench_park(struct bench *b, struct torpor_session *session, const char *figure,
	struct torpor_park_report *report_out) TP_MUST_USE;

/* Adds to PREFIX.SUFFIX. */
void bench_add_to(
	struct bench *b, const char *prefix, const char *suffix, const char *unit, double value);

/* --- floor_resume.c, floor_park.c: what it can't cost less than --- */

struct bench_floor_resume {
	uint64_t load_ns;   /* migrate-incoming sent, to RESUME */
	uint64_t unpack_ns; /* zstd of all blocks on one core */
	uint64_t copy_ns;   /* the pages into a fresh private mapping of the base */
};
/* Of the parked session's image, in a shell of its own. PAGES: unpack and copy as well. */
struct torpor_error *bench_floor_resume(struct bench *b, struct torpor_session *session, bool pages,
	struct bench_floor_resume *floor_out) TP_MUST_USE;

struct bench_floor_park {
	uint64_t devices_ns; /* stop sent, to device state saved */
	uint64_t copy_ns;    /* process_vm_readv of all private pages into warm memory */
	uint64_t pack_ns;    /* zstd on one core, of those that differ from the base */
	uint64_t write_ns;   /* write and fsync */
};
/* Of a running session, which is left stopped, to be ended. PAGES: all but devices_ns as well. */
struct torpor_error *bench_floor_park(struct bench *b, struct torpor_session *session, bool pages,
	struct bench_floor_park *floor_out) TP_MUST_USE;

/* --- scenarios.c, scale.c, density.c --- */

struct torpor_error *bench_run_claim(struct bench *b) TP_MUST_USE;
struct torpor_error *bench_run_idle(struct bench *b) TP_MUST_USE;
struct torpor_error *bench_run_dirty(struct bench *b) TP_MUST_USE;
struct torpor_error *bench_run_checkpoint(struct bench *b) TP_MUST_USE;
struct torpor_error *bench_run_fork(struct bench *b) TP_MUST_USE;
struct torpor_error *bench_run_scale(struct bench *b) TP_MUST_USE;
struct torpor_error *bench_run_density(struct bench *b) TP_MUST_USE;

/* Builds the template NAME of the same guest with another size of memory, unless it is there. */
struct torpor_error *bench_template_of_size(
	struct bench *b, const char *name, uint64_t bytes) TP_MUST_USE;

#endif
