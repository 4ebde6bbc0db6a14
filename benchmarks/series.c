/* SPDX-License-Identifier: Apache-2.0 */
/* Figures: gathered, summed up, printed. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "benchmarks/bench_priv.h"
#include "benchmarks/stats.h"

#define FAILURES_IN_A_ROW 3

static struct bench_series *find_series(struct bench *b, const char *name, const char *unit)
{
	for (size_t i = 0; i < b->n_series; i++) {
		if (strcmp(b->series[i].name, name) == 0)
			return &b->series[i];
	}
	b->series = tp_reallocarray(b->series, b->n_series + 1, sizeof(*b->series));
	struct bench_series *s = &b->series[b->n_series++];
	*s = (struct bench_series){.name = tp_strdup(name), .unit = unit};
	return s;
}

static void append(struct bench_series *s, double value)
{
	s->values = tp_reallocarray(s->values, s->n + 1, sizeof(*s->values));
	s->values[s->n++] = value;
}

void bench_add(struct bench *b, const char *name, const char *unit, double value)
{
	append(find_series(b, name, unit), value);
}

void bench_judge(struct bench *b, const char *name, const char *unit, double value, double limit)
{
	struct bench_series *s = find_series(b, name, unit);

	s->is_verdict = true;
	s->has_limit = limit > 0;
	s->limit = limit;
	append(s, value);
}

static struct bench_failures *find_failures(struct bench *b, const char *scenario)
{
	for (size_t i = 0; i < b->n_failures; i++) {
		if (strcmp(b->failures[i].scenario, scenario) == 0)
			return &b->failures[i];
	}
	b->failures = tp_reallocarray(b->failures, b->n_failures + 1, sizeof(*b->failures));
	struct bench_failures *f = &b->failures[b->n_failures++];
	*f = (struct bench_failures){.scenario = tp_strdup(scenario)};
	return f;
}

struct torpor_error *bench_sample_done(
	struct bench *b, const char *scenario, struct torpor_error *err)
{
	struct bench_failures *failures = find_failures(b, scenario);

	if (!err) {
		b->failed_in_a_row = 0;
		return NULL;
	}
	failures->n++;
	b->failed_in_a_row++;
	if (torpor_error_code(err) == TORPOR_E_CANCELLED || b->failed_in_a_row == FAILURES_IN_A_ROW)
		return tp_error_in(err, "benchmark", scenario);
	bench_say("%s: a sample failed: %s", scenario, torpor_error_message(err));
	torpor_error_free(err);
	return NULL;
}

/* Of the scenario that a figure belongs to: its name up to the dot. */
static unsigned int failures_of(const struct bench *b, const char *name)
{
	size_t len = strcspn(name, ".");

	for (size_t i = 0; i < b->n_failures; i++) {
		const struct bench_failures *f = &b->failures[i];
		if (strlen(f->scenario) == len && strncmp(f->scenario, name, len) == 0)
			return f->n;
	}
	return 0;
}

/* --- Summing up --- */

static double *sorted(const struct bench_series *s)
{
	double *values = tp_memdup(s->values, s->n * sizeof(*values));

	bench_sort(values, s->n);
	return values;
}

static double median(const struct bench_series *s)
{
	TP_FREE double *values = sorted(s);

	return bench_median(values, s->n);
}

/* Times and sizes are whole numbers, ratios are not. */
static json_t *number(const char *unit, double value)
{
	bool whole = strcmp(unit, "ratio") != 0;

	return whole ? json_integer((json_int_t)value) : json_real(value);
}

static json_t *number_if(bool enough, const char *unit, double value)
{
	return enough ? number(unit, value) : json_null();
}

static void print_line(struct bench *b, json_t *line)
{
	json_dumpf(line, b->options->out, JSON_COMPACT | JSON_REAL_PRECISION(4));
	fputc('\n', b->options->out);
	json_decref(line);
}

static json_t *verdict_line(const struct bench_series *s)
{
	double value = s->n ? median(s) : 0;

	return json_pack("{s:s, s:s, s:i, s:o, s:o, s:o}", "name", s->name, "unit", s->unit, "n",
		(int)s->n, "value_p50", number_if(s->n > 0, s->unit, value), "limit",
		number_if(s->has_limit, s->unit, s->limit), "met",
		s->n > 0 && s->has_limit ? json_boolean(value <= s->limit) : json_null());
}

static json_t *figure_line(const struct bench *b, const struct bench_series *s)
{
	TP_FREE double *v = sorted(s);

	return json_pack("{s:s, s:s, s:i, s:i, s:o, s:o, s:o, s:o, s:o}", "name", s->name, "unit",
		s->unit, "n", (int)s->n, "failures", (int)failures_of(b, s->name), "min",
		number(s->unit, v[0]), "p50", number(s->unit, bench_rank(v, s->n, 50)), "p90",
		number_if(s->n >= BENCH_NEEDED_FOR_P90, s->unit, bench_rank(v, s->n, 90)), "p99",
		number_if(s->n >= BENCH_NEEDED_FOR_P99, s->unit, bench_rank(v, s->n, 99)), "max",
		number(s->unit, v[s->n - 1]));
}

/* A scenario of which no sample went well has no figures, and must not look as if it wasn't run. */
static bool has_figures(const struct bench *b, const char *scenario)
{
	size_t len = strlen(scenario);

	for (size_t i = 0; i < b->n_series; i++) {
		const char *name = b->series[i].name;
		if (strncmp(name, scenario, len) == 0 && (name[len] == '.' || name[len] == '\0'))
			return true;
	}
	return false;
}

static void print_json(struct bench *b)
{
	for (size_t i = 0; i < b->n_series; i++) {
		const struct bench_series *s = &b->series[i];
		if (!s->is_verdict)
			print_line(b, figure_line(b, s));
	}
	for (size_t i = 0; i < b->n_failures; i++) {
		const struct bench_failures *f = &b->failures[i];
		if (f->n > 0 && !has_figures(b, f->scenario))
			print_line(b, json_pack("{s:s, s:i, s:i}", "name", f->scenario, "n", 0,
					      "failures", (int)f->n));
	}
	for (size_t i = 0; i < b->n_series; i++) {
		if (b->series[i].is_verdict)
			print_line(b, verdict_line(&b->series[i]));
	}
}

double bench_percentile(const struct bench *b, const char *name, unsigned int percent)
{
	for (size_t i = 0; i < b->n_series; i++) {
		const struct bench_series *s = &b->series[i];
		if (strcmp(s->name, name) == 0 && s->n > 0) {
			TP_FREE double *v = sorted(s);
			return bench_rank(v, s->n, percent);
		}
	}
	return 0;
}

/* --- For people --- */

static void print_cell(struct bench *b, bool enough, const char *unit, double value)
{
	char text[32];

	fprintf(b->options->out, " %12s", enough ? bench_people(text, unit, value) : "-");
}

static void print_row(struct bench *b, const struct bench_series *s)
{
	TP_FREE double *v = sorted(s);

	fprintf(b->options->out, "%-32s %4u %4u", s->name, s->n, failures_of(b, s->name));
	print_cell(b, true, s->unit, v[0]);
	print_cell(b, true, s->unit, bench_rank(v, s->n, 50));
	print_cell(b, s->n >= BENCH_NEEDED_FOR_P90, s->unit, bench_rank(v, s->n, 90));
	print_cell(b, s->n >= BENCH_NEEDED_FOR_P99, s->unit, bench_rank(v, s->n, 99));
	print_cell(b, true, s->unit, v[s->n - 1]);
	fputc('\n', b->options->out);
}

static void print_verdict(struct bench *b, const struct bench_series *s)
{
	double value = median(s);

	fprintf(b->options->out, "%-32s %4u     ", s->name, s->n);
	print_cell(b, true, s->unit, value);
	print_cell(b, s->has_limit, s->unit, s->limit);
	fprintf(b->options->out, "  %s\n",
		!s->has_limit	    ? ""
		: value <= s->limit ? "met"
				    : "NOT MET");
}

static void print_table(struct bench *b)
{
	FILE *out = b->options->out;

	fprintf(out, "\n%-32s %4s %4s %12s %12s %12s %12s %12s\n", "figure", "n", "bad", "min",
		"p50", "p90", "p99", "max");
	for (size_t i = 0; i < b->n_series; i++) {
		if (!b->series[i].is_verdict)
			print_row(b, &b->series[i]);
	}
	fprintf(out, "\n%-32s %4s      %12s %12s\n", "verdict", "n", "p50", "at most");
	for (size_t i = 0; i < b->n_series; i++) {
		if (b->series[i].is_verdict)
			print_verdict(b, &b->series[i]);
	}
	for (size_t i = 0; i < b->n_failures; i++) {
		const struct bench_failures *f = &b->failures[i];
		if (f->n > 0 && !has_figures(b, f->scenario))
			fprintf(out, "%s: all %u samples FAILED\n", f->scenario, f->n);
	}
}

void bench_print(struct bench *b)
{
	if (b->options->table)
		print_table(b);
	else
		print_json(b);
}

void bench_figures_deinit(struct bench *b)
{
	for (size_t i = 0; i < b->n_series; i++) {
		free(b->series[i].name);
		free(b->series[i].values);
	}
	for (size_t i = 0; i < b->n_failures; i++)
		free(b->failures[i].scenario);
	free(b->series);
	free(b->failures);
	free(b->noise.values);
}
