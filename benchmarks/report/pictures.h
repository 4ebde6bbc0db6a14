/* SPDX-License-Identifier: Apache-2.0 */
/* What the pictures share. */
#ifndef TP_REPORT_PICTURES_H
#define TP_REPORT_PICTURES_H

#include "benchmarks/report/canvas.h"
#include "benchmarks/report/report.h"

/* A peer's op with a figure: a row, or a line. */
struct report_way {
	struct report_key key;
	struct report_values values; /* never empty */
	double median;
};
struct report_ways {
	struct report_way *rows;
	size_t n;
};
void report_ways_deinit(struct report_ways *ways);
#define REPORT_WAYS __attribute__((cleanup(report_ways_deinit)))

/* In ascending order of the median; FIRST to LAST inclusive. */
struct report_ways report_ways_of(const struct report *r, struct report_cell cell,
	enum report_op first, enum report_op last, enum report_figure figure);

/* Returns TEXT. */
const char *report_way_name(char text[64], const struct report *r, const struct report_key *key);

/* Two lines from Y on: WHAT, and where it was measured; and above, what disturbed the run. */
void report_put_where(const struct report *r, FILE *out, double y, const char *what);

/* --- strips.c: a row for each way, a point for each sample --- */

bool report_draw_running(const struct report *r, const struct report_picture *picture, FILE *out);
bool report_draw_answer(const struct report *r, const struct report_picture *picture, FILE *out);
bool report_draw_durable(const struct report *r, const struct report_picture *picture, FILE *out);

/* --- curves.c: what it costs as something grows --- */

bool report_draw_by_payload(
	const struct report *r, const struct report_picture *picture, FILE *out);
bool report_draw_by_ram(const struct report *r, const struct report_picture *picture, FILE *out);

/* --- sizes.c --- */

bool report_draw_sizes(const struct report *r, const struct report_picture *picture, FILE *out);

#endif
