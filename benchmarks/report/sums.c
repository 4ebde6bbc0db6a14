/* SPDX-License-Identifier: Apache-2.0 */
/* Which samples a figure is made of, and pairs of the same round. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "benchmarks/report/report.h"
#include "benchmarks/stats.h"

void report_values_deinit(struct report_values *values)
{
	free(values->v);
	*values = (struct report_values){0};
}

static void append(struct report_values *values, double value)
{
	values->v = tp_reallocarray(values->v, values->n + 1, sizeof(*values->v));
	values->v[values->n++] = value;
}

bool report_same_cell(struct report_cell a, struct report_cell b)
{
	return a.ram == b.ram && a.payload == b.payload;
}

static bool is_of(const struct report_sample *sample, const struct report_key *key)
{
	return sample->peer == key->peer && sample->op == key->op &&
	       report_same_cell(sample->cell, key->cell);
}

static bool says(const struct report_sample *sample, enum report_figure figure)
{
	bool of_memory = figure == REPORT_PEAK || figure == REPORT_REMAINING;

	return !isnan(sample->values[figure]) && (sample->counted || of_memory);
}

struct report_values report_values_of(
	const struct report *r, const struct report_key *key, enum report_figure figure)
{
	struct report_values values = {0};

	for (size_t i = 0; i < r->n_samples; i++) {
		const struct report_sample *sample = &r->samples[i];
		if (is_of(sample, key) && says(sample, figure))
			append(&values, sample->values[figure]);
	}
	bench_sort(values.v, values.n);
	return values;
}

struct report_counts report_counts(const struct report *r, const struct report_key *key)
{
	struct report_counts counts = {0};

	for (size_t i = 0; i < r->n_samples; i++) {
		const struct report_sample *sample = &r->samples[i];
		if (!is_of(sample, key))
			continue;
		counts.all++;
		counts.failed += sample->error != NULL;
		counts.counted += !sample->error && sample->counted;
	}
	return counts;
}

/* --- pairs --- */

struct measured {
	unsigned int round;
	double value;
};

/* In order of rounds, and within a round by value. */
static int by_round(const void *a, const void *b)
{
	const struct measured *x = a;
	const struct measured *y = b;

	if (x->round != y->round)
		return (x->round > y->round) - (x->round < y->round);
	return (x->value > y->value) - (x->value < y->value);
}

/* The median of each round's values, in place. Returns how many rounds. */
static size_t one_a_round(struct measured *all, size_t n)
{
	size_t rounds = 0;

	for (size_t first = 0, end; first < n; first = end) {
		for (end = first + 1; end < n && all[end].round == all[first].round;)
			end++;
		size_t low = first + (end - first - 1) / 2;
		size_t high = first + (end - first) / 2;
		all[rounds++] =
			(struct measured){all[first].round, (all[low].value + all[high].value) / 2};
	}
	return rounds;
}

static size_t by_rounds(const struct report *r, const struct report_key *key,
	enum report_figure figure, struct measured **out)
{
	struct measured *all = NULL;
	size_t n = 0;

	for (size_t i = 0; i < r->n_samples; i++) {
		const struct report_sample *sample = &r->samples[i];
		if (!is_of(sample, key) || !says(sample, figure))
			continue;
		all = tp_reallocarray(all, n + 1, sizeof(*all));
		all[n++] = (struct measured){sample->round, sample->values[figure]};
	}
	if (n > 0)
		qsort(all, n, sizeof(*all), by_round);
	*out = all;
	return one_a_round(all, n);
}

struct report_values report_ratios(const struct report *r, const struct report_key *a,
	const struct report_key *b, enum report_figure figure)
{
	TP_FREE struct measured *above = NULL;
	TP_FREE struct measured *below = NULL;
	struct report_values ratios = {0};
	size_t n_above = by_rounds(r, a, figure, &above);
	size_t n_below = by_rounds(r, b, figure, &below);

	for (size_t i = 0, j = 0; i < n_above && j < n_below;) {
		if (above[i].round < below[j].round) {
			i++;
		} else if (above[i].round > below[j].round) {
			j++;
		} else {
			if (below[j].value > 0)
				append(&ratios, above[i].value / below[j].value);
			i++;
			j++;
		}
	}
	bench_sort(ratios.v, ratios.n);
	return ratios;
}

struct report_spread report_spread(const struct report_values *values)
{
	const double *v = values->v;
	size_t n = values->n;

	if (n == 0)
		return (struct report_spread){0};
	bool enough = n >= BENCH_NEEDED_FOR_P90;
	return (struct report_spread){
		.n = n,
		.middle = bench_median(v, n),
		.low = enough ? bench_rank(v, n, 10) : v[0],
		.high = enough ? bench_rank(v, n, 90) : v[n - 1],
	};
}

/* --- cells --- */

static int by_size(const void *a, const void *b)
{
	const struct report_cell *x = a;
	const struct report_cell *y = b;

	if (x->ram != y->ram)
		return (x->ram > y->ram) - (x->ram < y->ram);
	return (x->payload > y->payload) - (x->payload < y->payload);
}

size_t report_cells(const struct report *r, struct report_cell **cells_out)
{
	struct report_cell *cells = NULL;
	size_t n = 0;

	for (size_t i = 0; i < r->n_samples; i++) {
		size_t known = 0;
		while (known < n && !report_same_cell(cells[known], r->samples[i].cell))
			known++;
		if (known < n)
			continue;
		cells = tp_reallocarray(cells, n + 1, sizeof(*cells));
		cells[n++] = r->samples[i].cell;
	}
	if (n > 0)
		qsort(cells, n, sizeof(*cells), by_size);
	*cells_out = cells;
	return n;
}
