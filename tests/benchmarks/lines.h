/* SPDX-License-Identifier: Apache-2.0 */
/* Samples made up line by line, and read as a report. */
#ifndef TP_TESTS_BENCHMARKS_LINES_H
#define TP_TESTS_BENCHMARKS_LINES_H

#include "benchmarks/report/report.h"

/* Appends a line. */
void line(const char *fmt, ...) TP_PRINTF(1, 2);

/* A peer that is there. */
void peer_line(const char *name, bool durable, bool frees);

/* Samples of the idle cell, unless `cell` was called before; FIGURES as in the file: "\"bytes\":1".
 */
void cell(uint64_t ram, uint64_t payload);
void sample_line(unsigned int round, const char *peer, const char *op, const char *figures);
void uncounted_line(unsigned int round, const char *peer, const char *op, const char *figures);
void failed_line(unsigned int round, const char *peer, const char *op, const char *error);

/* Rounds FIRST to LAST, each with one figure of the same value. */
void sample_lines(unsigned int first, unsigned int last, const char *peer, const char *op,
	const char *figure, double value);

/* Reads and forgets the lines so far. */
struct torpor_error *read_lines(struct report *r) TP_MUST_USE;
/* The same, as lines of torpor bench. */
struct torpor_error *read_bench_lines(struct report *r) TP_MUST_USE;
/* The same, which must go well. */
void must_read(struct report *r);
void must_read_bench(struct report *r);

/* PEER's OP in the cell. */
struct report_key key_of(const struct report *r, const char *peer, enum report_op op);

#endif
