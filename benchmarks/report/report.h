/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The report of a comparison: samples read, summed up, judged, put into a table and pictures.
 *
 * read.c makes a struct report out of files, which nothing changes afterwards; all others take it
 * as it is. benchmarks/README.md says what each figure is, and "The report" how they are summed up.
 *
 * Times are nanoseconds, sizes bytes, both as double: a figure that wasn't measured is NAN.
 */
#ifndef TP_REPORT_REPORT_H
#define TP_REPORT_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/macros.h"

enum report_op {
	REPORT_SAVE,
	REPORT_RESTORE, /* this and all below: a guest runs again, or for the first time */
	REPORT_BOOT,
	REPORT_CLAIM,
	REPORT_FORK,
};
#define REPORT_OPS (REPORT_FORK + 1)

enum report_figure {
	REPORT_STANDSTILL,
	REPORT_DURABLE,
	REPORT_GONE,
	REPORT_BYTES,
	REPORT_PROCESS,
	REPORT_RUNNING,
	REPORT_BARE, /* running without the start of the process */
	REPORT_ANSWER,
	REPORT_CPU,
	REPORT_PEAK,
	REPORT_REMAINING,
};
#define REPORT_FIGURES (REPORT_REMAINING + 1)

struct report_figure_kind {
	const char *key; /* in a sample; NULL: follows from others */
	const char *title;
	const char *unit; /* as bench_people takes it */
	bool zero_counts; /* 0 is a figure; else it means that there was nothing to measure */
};
extern const struct report_figure_kind report_figures[REPORT_FIGURES];
extern const char *const report_op_names[REPORT_OPS]; /* as in a sample */

/* The guest, and what was done in it. */
struct report_cell {
	uint64_t ram;
	uint64_t payload;
};

struct report_peer {
	char *name;
	char *summary; /* NULL: nothing but its name is known */
	char *why;     /* it couldn't run; NULL: it could, or nobody says */
	bool declared; /* it has a line of its own; the next three are false without */
	bool durable;
	bool frees;
	bool available;
};

struct report_sample {
	unsigned int round;
	size_t peer; /* index */
	struct report_cell cell;
	enum report_op op;
	bool counted; /* its times mean something */
	char *error;  /* it failed: all values are NAN */
	double values[REPORT_FIGURES];
};

/* What `torpor bench` printed; both NULL: it wasn't run. */
struct report_bench {
	json_t *context; /* facts by name */
	json_t *lines;	 /* figures and verdicts by name */
};

struct report {
	json_t *context; /* facts of the run by name */
	struct report_peer *peers;
	size_t n_peers;
	struct report_sample *samples; /* in the order of the file */
	size_t n_samples;
	struct report_bench bench;  /* of `torpor bench` */
	struct report_bench daemon; /* of `torpor bench --daemon` */
	json_t *published; /* array of objects of strings, but "value"; NULL: none were read */
};

/* --- read.c: each line is taken or refused, with file and line (CORRUPT) --- */

/* What the harness wrote. INVALID if there isn't a single sample. */
struct torpor_error *report_read_samples(struct report *r, const char *path) TP_MUST_USE;
/* What `torpor bench` printed. A file that isn't there is fine. */
struct torpor_error *report_read_bench(struct report_bench *bench, const char *path) TP_MUST_USE;
/* Figures of others. */
struct torpor_error *report_read_published(struct report *r, const char *path) TP_MUST_USE;
void report_deinit(struct report *r);
#define REPORT_SCOPE __attribute__((cleanup(report_deinit)))

/* --- sums.c --- */

/* Whose samples. */
struct report_key {
	size_t peer;
	struct report_cell cell;
	enum report_op op;
};

/* Values in ascending order; whoever has them frees `v`. */
struct report_values {
	double *v;
	size_t n;
};
void report_values_deinit(struct report_values *values);
#define REPORT_VALUES __attribute__((cleanup(report_values_deinit)))

/*
 * Of all samples that went well. Those that don't count have a say on memory alone; it is for
 * memory that they were disturbed.
 */
struct report_values report_values_of(
	const struct report *r, const struct report_key *key, enum report_figure figure);

/*
 * A over B, one value for each round in which both were measured. Where one was measured several
 * times in a round, it is the median of that round that counts.
 */
struct report_values report_ratios(const struct report *r, const struct report_key *a,
	const struct report_key *b, enum report_figure figure);

/* The median, and p10 to p90, or least and most where values are few. */
struct report_spread {
	size_t n; /* 0: nothing was measured, and the rest means nothing */
	double middle;
	double low;
	double high;
};
struct report_spread report_spread(const struct report_values *values);

/* How many samples there were, failed, and went well and count. */
struct report_counts {
	unsigned int all;
	unsigned int failed;
	unsigned int counted;
};
struct report_counts report_counts(const struct report *r, const struct report_key *key);

/* The index of the peer of that name, or r->n_peers. */
size_t report_peer_named(const struct report *r, const char *name);

/* All cells in which there are samples, by RAM and then by payload. The caller frees *CELLS_OUT. */
size_t report_cells(const struct report *r, struct report_cell **cells_out);
bool report_same_cell(struct report_cell a, struct report_cell b);

/* What everything is compared with, and the cell of most verdicts and pictures. */
#define REPORT_OURS  "torpor-direct"
#define REPORT_FLOOR "floor"
#define REPORT_IDLE  ((struct report_cell){256 * TP_MIB, 0})
#define REPORT_DIRTY ((struct report_cell){256 * TP_MIB, 20 * TP_MIB})

/* --- verdicts.c --- */

enum report_verdict {
	REPORT_MET,
	REPORT_NOT_MET,
	REPORT_NOT_MEASURED, /* too few samples, or none */
	REPORT_NOT_JUDGED,   /* there is no limit: it is only told */
};
extern const char *const report_verdict_names[REPORT_NOT_JUDGED + 1];

struct report_judgement {
	const char *name;
	double limit; /* 0: none */
	bool at_least;
	enum report_verdict verdict;
	struct report_spread value; /* n: pairs of rounds, or samples */
	unsigned int failures;	    /* of both sides */
	char of[96];		    /* "libvirt-raw / torpor-direct" */
	char note[160];		    /* why it isn't measured, who is missing; else "" */
};
extern const size_t report_n_targets;
/* INDEX is below report_n_targets. */
struct report_judgement report_judge(const struct report *r, size_t index);

/* --- flags.c: what makes the run worth less --- */

#define REPORT_FLAGS_MAX 16
struct report_flag {
	const char *name;
	const char *means; /* a sentence's end */
};
/* Of the run and of `torpor bench`. Names are the report's, or static. Returns how many. */
size_t report_flags(const struct report *r, struct report_flag flags[REPORT_FLAGS_MAX]);

/* --- table.c --- */

struct report_picture;
/* DRAWN: for each of report_pictures whether it is there. */
void report_write_table(const struct report *r, const bool *drawn, FILE *out);

/* --- crowds.c --- */

/* The tables of what `torpor bench` alone measures: many guests, many parked sessions. */
void report_write_crowds(const struct report *r, FILE *out);

/* --- pictures.c --- */

struct report_picture {
	const char *file;
	const char *title;
	/* False, and nothing is written, where there are no samples for it. */
	bool (*draw)(const struct report *r, const struct report_picture *picture, FILE *out);
};
extern const struct report_picture report_pictures[];
extern const size_t report_n_pictures;

#endif
