/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of pictures: the ways that have a figure, and how they are called. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "benchmarks/report/pictures.h"
#include "benchmarks/stats.h"

static void append(struct report_ways *ways, struct report_key key, struct report_values values)
{
	ways->rows = tp_reallocarray(ways->rows, ways->n + 1, sizeof(*ways->rows));
	ways->rows[ways->n++] = (struct report_way){
		.key = key,
		.values = values,
		.median = bench_rank(values.v, values.n, 50),
	};
}

static int by_median(const void *a, const void *b)
{
	const struct report_way *x = a;
	const struct report_way *y = b;

	return (x->median > y->median) - (x->median < y->median);
}

struct report_ways report_ways_of(const struct report *r, struct report_cell cell,
	enum report_op first, enum report_op last, enum report_figure figure)
{
	struct report_ways ways = {0};

	for (size_t peer = 0; peer < r->n_peers; peer++) {
		for (unsigned int op = first; op <= last; op++) {
			struct report_key key = {peer, cell, (enum report_op)op};
			struct report_values values = report_values_of(r, &key, figure);
			if (values.n > 0)
				append(&ways, key, values);
		}
	}
	if (ways.n > 0)
		qsort(ways.rows, ways.n, sizeof(*ways.rows), by_median);
	return ways;
}

void report_ways_deinit(struct report_ways *ways)
{
	for (size_t i = 0; i < ways->n; i++)
		report_values_deinit(&ways->rows[i].values);
	free(ways->rows);
	*ways = (struct report_ways){0};
}

const char *report_way_name(char text[64], const struct report *r, const struct report_key *key)
{
	const char *name = r->peers[key->peer].name;

	/* "torpor-claim" says it itself. */
	if (key->op <= REPORT_RESTORE || strstr(name, report_op_names[key->op]))
		snprintf(text, 64, "%s", name);
	else
		snprintf(text, 64, "%s (%s)", name, report_op_names[key->op]);
	return text;
}

static const char *fact(const struct report *r, const char *name)
{
	const char *value = json_string_value(json_object_get(r->context, name));

	return value ? value : "?";
}

/* A picture is shown without its table, too. */
static void put_flags(const struct report *r, FILE *out)
{
	struct report_flag flags[REPORT_FLAGS_MAX];
	size_t n = report_flags(r, flags);
	TP_FREE char *text = tp_strdup("");

	for (size_t i = 0; i < n; i++) {
		char *longer = tp_asprintf("%s%s%s", text, i > 0 ? ", " : "", flags[i].name);
		free(text);
		text = longer;
	}
	if (n > 0)
		canvas_text(out, CANVAS_WIDTH - 24, 34, CANVAS_END, "warn",
			"This run was %s: see table.md.", text);
}

void report_put_where(const struct report *r, FILE *out, double y, const char *what)
{
	canvas_text(out, 24, y, CANVAS_START, "muted", "%s", what);
	canvas_text(out, 24, y + 18, CANVAS_START, "muted",
		"Measured %.10s, QEMU %s, accelerator %s, Torpor %s.", fact(r, "date"),
		fact(r, "qemu"), fact(r, "accel"), fact(r, "torpor"));
	put_flags(r, out);
}
