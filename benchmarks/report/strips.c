/* SPDX-License-Identifier: Apache-2.0 */
/* Distributions: a row for each way, a point for each sample, a bar at the median. */
#include <math.h>

#include "benchmarks/report/pictures.h"
#include "benchmarks/stats.h"

#define TOP	   112.0 /* of the first row */
#define ROW	   28.0
#define LEFT	   226.0
#define RIGHT	   742.0
#define MEDIAN_END 830.0 /* where columns at the right end */
#define N_END	   878.0
#define FAILED_END 940.0

static double row_at(size_t i)
{
	return TOP + ROW * (double)i + ROW / 2;
}

static void describe(const struct report *r, const struct report_ways *ways, FILE *out)
{
	for (size_t i = 0; i < ways->n; i++) {
		char name[64], text[32];
		canvas_describe(out, "%s: median %s of %zu samples. ",
			report_way_name(name, r, &ways->rows[i].key),
			bench_people(text, "ns", ways->rows[i].median), ways->rows[i].values.n);
	}
}

static void put_heads(FILE *out)
{
	canvas_text(out, MEDIAN_END, TOP - 8, CANVAS_END, "muted small", "median");
	canvas_text(out, N_END, TOP - 8, CANVAS_END, "muted small", "n");
	canvas_text(out, FAILED_END, TOP - 8, CANVAS_END, "muted small", "failed");
}

/* Spread over the row's height by the golden ratio, so that neighbours don't hide each other. */
static double shaken(size_t i)
{
	double whole;

	return (modf((double)(i + 1) * 0.6180339887, &whole) - 0.5) * (ROW - 14);
}

static void put_row(const struct report *r, const struct report_way *way,
	const struct canvas_scale *scale, double y, FILE *out)
{
	const struct canvas_family *family = canvas_family_of(r->peers[way->key.peer].name);
	unsigned int failed = report_counts(r, &way->key).failed;
	double median = canvas_at(scale, way->median);
	char name[64], text[32];

	for (size_t i = 0; i < way->values.n; i++)
		canvas_mark(
			out, family, canvas_at(scale, way->values.v[i]), y + shaken(i), 2.8, "dot");
	canvas_line(out, median, y - 11, median, y + 11, "median");
	canvas_mark(out, family, LEFT - 16, y, 4, "solid");
	canvas_text(out, LEFT - 28, y + 4.5, CANVAS_END, family->css, "%s",
		report_way_name(name, r, &way->key));
	canvas_text(out, MEDIAN_END, y + 4.5, CANVAS_END, family->css, "%s",
		bench_people(text, "ns", way->median));
	canvas_text(out, N_END, y + 4.5, CANVAS_END, "muted", "%zu", way->values.n);
	canvas_text(
		out, FAILED_END, y + 4.5, CANVAS_END, failed > 0 ? "warn" : "muted", "%u", failed);
}

static void extent(const struct report_ways *ways, double *low, double *high)
{
	*low = INFINITY;
	*high = 1;
	for (size_t i = 0; i < ways->n; i++) {
		const struct report_values *values = &ways->rows[i].values;
		*low = fmin(*low, values->v[0]);
		*high = fmax(*high, values->v[values->n - 1]);
	}
}

static bool draw(const struct report *r, const struct report_picture *picture, const char *id,
	const char *what, const struct report_ways *ways, FILE *out)
{
	double bottom = TOP + ROW * (double)ways->n;
	double height = bottom + 36;
	double low, high;

	if (ways->n == 0)
		return false;
	extent(ways, &low, &high);
	struct canvas_scale scale = canvas_scale("ns", fmax(low, 1), high, LEFT, RIGHT);
	canvas_begin(out, id, picture->title, height);
	describe(r, ways, out);
	canvas_body(out, height);
	canvas_text(out, 24, 34, CANVAS_START, "title", "%s", picture->title);
	report_put_where(r, out, 58, what);
	put_heads(out);
	canvas_axis(out, &scale, TOP, bottom);
	for (size_t i = 0; i < ways->n; i++)
		put_row(r, &ways->rows[i], &scale, row_at(i), out);
	canvas_end(out);
	return true;
}

bool report_draw_running(const struct report *r, const struct report_picture *picture, FILE *out)
{
	REPORT_WAYS struct report_ways ways =
		report_ways_of(r, REPORT_IDLE, REPORT_RESTORE, REPORT_FORK, REPORT_RUNNING);

	return draw(r, picture, "resume-running",
		"Idle guest of 256 MiB, from the command until its vCPUs run. Each mark is a "
		"sample; logarithmic, further left is quicker.",
		&ways, out);
}

bool report_draw_answer(const struct report *r, const struct report_picture *picture, FILE *out)
{
	REPORT_WAYS struct report_ways ways =
		report_ways_of(r, REPORT_IDLE, REPORT_RESTORE, REPORT_FORK, REPORT_ANSWER);

	return draw(r, picture, "resume-answer",
		"Idle guest of 256 MiB, from the command until its helper answers. Each mark is a "
		"sample; logarithmic, further left is quicker.",
		&ways, out);
}

bool report_draw_durable(const struct report *r, const struct report_picture *picture, FILE *out)
{
	REPORT_WAYS struct report_ways ways =
		report_ways_of(r, REPORT_IDLE, REPORT_SAVE, REPORT_SAVE, REPORT_DURABLE);

	return draw(r, picture, "park-durable",
		"Idle guest of 256 MiB, from the command until fsync has returned. Each mark is a "
		"sample; logarithmic, further left is quicker.",
		&ways, out);
}
