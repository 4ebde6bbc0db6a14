/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs as something grows: two panels of one scale, a column for each size, a line for
 * each way.
 *
 * Columns stand at even distances, since 0 has no place on a logarithmic axis. Lines are drawn for
 * ways that were measured in the first and in the last column; the others would end in the middle,
 * where nobody can tell their names apart.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "benchmarks/report/pictures.h"
#include "benchmarks/stats.h"

#define COLUMNS_MAX 8
#define LINES_MAX   32
#define TOP	    136.0 /* of the first panel */
#define LEFT	    72.0
#define PLOT	    600.0	       /* width of what is plotted */
#define PADDING	    70.0	       /* left and right of the first and last column */
#define NAMES	    (LEFT + PLOT + 24) /* where they begin */
#define NAME_GAP    16.0
#define BELOW	    72.0 /* from a panel to the next, with what is written between them */

struct columns {
	struct report_cell cells[COLUMNS_MAX];
	size_t n;
	bool by_ram;
};

struct line {
	size_t peer;
	struct report_spread at[COLUMNS_MAX]; /* n 0: not measured */
	size_t last;			      /* column with a value */
};

struct panel {
	const char *title;
	enum report_op op;
	enum report_figure figure;
	struct canvas_scale scale;
	struct line lines[LINES_MAX];
	size_t n;
};

/* --- what is drawn --- */

static bool is_drawn(const struct report *r, const struct columns *columns, const struct line *line)
{
	if (strcmp(r->peers[line->peer].name, REPORT_OURS) == 0)
		return true;
	return line->at[0].n > 0 && line->at[columns->n - 1].n > 0;
}

static bool gather_line(const struct report *r, const struct columns *columns,
	const struct panel *panel, size_t peer, struct line *line)
{
	bool any = false;

	*line = (struct line){.peer = peer};
	for (size_t i = 0; i < columns->n; i++) {
		struct report_key key = {peer, columns->cells[i], panel->op};
		REPORT_VALUES struct report_values values =
			report_values_of(r, &key, panel->figure);
		line->at[i] = report_spread(&values);
		if (values.n == 0)
			continue;
		any = true;
		line->last = i;
	}
	return any && is_drawn(r, columns, line);
}

static void gather(const struct report *r, const struct columns *columns, struct panel *panel)
{
	for (size_t peer = 0; peer < r->n_peers && panel->n < LINES_MAX; peer++) {
		if (gather_line(r, columns, panel, peer, &panel->lines[panel->n]))
			panel->n++;
	}
}

static void extend(
	const struct panel *panel, const struct columns *columns, double *low, double *high)
{
	for (size_t i = 0; i < panel->n; i++) {
		for (size_t column = 0; column < columns->n; column++) {
			const struct report_spread *at = &panel->lines[i].at[column];
			if (at->n == 0)
				continue;
			*low = fmin(*low, at->low);
			*high = fmax(*high, at->high);
		}
	}
}

/* --- a panel --- */

static double column_at(const struct columns *columns, size_t i)
{
	double step = (PLOT - 2 * PADDING) / (double)(columns->n - 1);

	return LEFT + PADDING + step * (double)i;
}

/* Lines that meet in a column stand beside each other there. */
static double point_at(const struct columns *columns, const struct panel *panel, size_t column,
	const struct line *line)
{
	double middle = (double)(panel->n - 1) / 2;
	double step = fmin(9, 2 * PADDING / (double)panel->n);

	return column_at(columns, column) + step * ((double)(line - panel->lines) - middle);
}

static const char *column_text(char text[32], const struct columns *columns, size_t i)
{
	const struct report_cell *cell = &columns->cells[i];

	if (!columns->by_ram && cell->payload == 0)
		return "idle";
	return bench_people_short(
		text, "bytes", (double)(columns->by_ram ? cell->ram : cell->payload));
}

static void put_axes(FILE *out, const struct columns *columns, const struct panel *panel)
{
	const struct canvas_scale *scale = &panel->scale;
	char text[32];

	canvas_text(out, 24, scale->to - 16, CANVAS_START, "", "%s", panel->title);
	for (unsigned int i = scale->first; i <= scale->last; i++) {
		double tick = canvas_tick(scale->unit, i);
		double y = canvas_at(scale, tick);
		bool labelled = canvas_is_labelled(scale, i);
		canvas_line(out, LEFT, y, LEFT + PLOT, y, labelled ? "grid" : "fine");
		if (labelled)
			canvas_text(out, LEFT - 6, y + 4, CANVAS_END, "muted small", "%s",
				bench_people_short(text, scale->unit, tick));
	}
	for (size_t i = 0; i < columns->n; i++)
		canvas_text(out, column_at(columns, i), scale->from + 20, CANVAS_MIDDLE,
			"muted small", "%s", column_text(text, columns, i));
}

static void put_thread(FILE *out, const struct columns *columns, const struct panel *panel,
	const struct line *line)
{
	const char *between = "";

	fputs("<polyline points=\"", out);
	for (size_t i = 0; i < columns->n; i++) {
		if (line->at[i].n == 0)
			continue;
		fprintf(out, "%s%.1f,%.1f", between, point_at(columns, panel, i, line),
			canvas_at(&panel->scale, line->at[i].middle));
		between = " ";
	}
	fputs("\" class=\"thread\"/>\n", out);
}

static void put_line(const struct report *r, FILE *out, const struct columns *columns,
	const struct panel *panel, const struct line *line)
{
	const struct canvas_family *family = canvas_family_of(r->peers[line->peer].name);

	fprintf(out, "<g class=\"%s\">\n", family->css);
	put_thread(out, columns, panel, line);
	for (size_t i = 0; i < columns->n; i++) {
		double x = point_at(columns, panel, i, line);
		if (line->at[i].n > 0)
			canvas_line(out, x, canvas_at(&panel->scale, line->at[i].low), x,
				canvas_at(&panel->scale, line->at[i].high), "whisker");
	}
	fputs("</g>\n", out);
	for (size_t i = 0; i < columns->n; i++) {
		if (line->at[i].n > 0)
			canvas_mark(out, family, point_at(columns, panel, i, line),
				canvas_at(&panel->scale, line->at[i].middle), 4, "solid");
	}
}

/* Upwards from the quickest: places of names are in this order. */
static int by_last_value(const void *a, const void *b)
{
	const struct line *x = *(const struct line *const *)a;
	const struct line *y = *(const struct line *const *)b;
	double u = x->at[x->last].middle;
	double v = y->at[y->last].middle;

	return (u < v) - (u > v);
}

static void put_name(const struct report *r, FILE *out, const struct columns *columns,
	const struct panel *panel, const struct line *line, double y)
{
	const struct report_peer *peer = &r->peers[line->peer];
	const struct canvas_family *family = canvas_family_of(peer->name);
	const struct report_spread *last = &line->at[line->last];
	char text[32];

	fprintf(out, "<g class=\"%s\">\n", family->css);
	canvas_line(out, point_at(columns, panel, line->last, line) + 6,
		canvas_at(&panel->scale, last->middle), NAMES - 10, y, "leader");
	fputs("</g>\n", out);
	canvas_mark(out, family, NAMES - 2, y, 3.5, "solid");
	canvas_text(out, NAMES + 8, y + 4, CANVAS_START, family->css, "%.24s %s", peer->name,
		bench_people(text, "ns", last->middle));
}

static void put_names(
	const struct report *r, FILE *out, const struct columns *columns, const struct panel *panel)
{
	const struct line *order[LINES_MAX];
	double places[LINES_MAX];

	for (size_t i = 0; i < panel->n; i++)
		order[i] = &panel->lines[i];
	qsort(order, panel->n, sizeof(order[0]), by_last_value);
	for (size_t i = 0; i < panel->n; i++)
		places[i] = canvas_at(&panel->scale, order[i]->at[order[i]->last].middle);
	canvas_spread_out(places, panel->n, NAME_GAP, panel->scale.to, panel->scale.from);
	for (size_t i = 0; i < panel->n; i++)
		put_name(r, out, columns, panel, order[i], places[i]);
}

static void put_panel(
	const struct report *r, FILE *out, const struct columns *columns, const struct panel *panel)
{
	put_axes(out, columns, panel);
	for (size_t i = 0; i < panel->n; i++)
		put_line(r, out, columns, panel, &panel->lines[i]);
	put_names(r, out, columns, panel);
}

/* --- the picture --- */

static void describe(
	const struct report *r, FILE *out, const struct columns *columns, const struct panel *panel)
{
	canvas_describe(out, "%s. ", panel->title);
	for (size_t i = 0; i < panel->n; i++) {
		const struct line *line = &panel->lines[i];
		canvas_describe(out, "%s:", r->peers[line->peer].name);
		for (size_t column = 0; column < columns->n; column++) {
			char value[32], size[32];
			if (line->at[column].n > 0)
				canvas_describe(out, " %s at %s;",
					bench_people(value, "ns", line->at[column].middle),
					column_text(size, columns, column));
		}
		canvas_describe(out, " ");
	}
}

/* One below the other; returns the picture's height. */
static double fit(const struct columns *columns, struct panel *above, struct panel *below)
{
	double plot = fmax(260, NAME_GAP * (double)TP_MAX(above->n, below->n));
	double top = TOP + plot + BELOW;
	double low = INFINITY, high = 1;

	extend(above, columns, &low, &high);
	extend(below, columns, &low, &high);
	above->scale = canvas_scale("ns", fmax(low, 1), high, TOP + plot, TOP);
	below->scale = canvas_scale("ns", fmax(low, 1), high, top + plot, top);
	return top + plot + 36;
}

static bool draw(const struct report *r, const struct report_picture *picture, const char *id,
	const char *what, const struct columns *columns, FILE *out)
{
	struct panel park = {"Putting it aside, until it is durable", REPORT_SAVE, REPORT_DURABLE};
	struct panel resume = {"Having it back, until it runs", REPORT_RESTORE, REPORT_RUNNING};

	gather(r, columns, &park);
	gather(r, columns, &resume);
	if (park.n + resume.n == 0)
		return false;
	double height = fit(columns, &park, &resume);
	canvas_begin(out, id, picture->title, height);
	describe(r, out, columns, &park);
	describe(r, out, columns, &resume);
	canvas_body(out, height);
	canvas_text(out, 24, 34, CANVAS_START, "title", "%s", picture->title);
	report_put_where(r, out, 58, what);
	put_panel(r, out, columns, &park);
	put_panel(r, out, columns, &resume);
	canvas_end(out);
	return true;
}

/* --- which columns --- */

/* Cells that are the same in what doesn't grow: the payload 0, or the RAM of FIXED. */
static struct columns columns_of(const struct report *r, bool by_ram, uint64_t fixed)
{
	TP_FREE struct report_cell *cells = NULL;
	struct columns columns = {.by_ram = by_ram};
	size_t n = report_cells(r, &cells);

	for (size_t i = 0; i < n && columns.n < COLUMNS_MAX; i++) {
		if ((by_ram ? cells[i].payload : cells[i].ram) == fixed)
			columns.cells[columns.n++] = cells[i];
	}
	return columns;
}

/* Of the RAM size with the most payloads; the smallest of such. */
static struct columns most_payloads(const struct report *r)
{
	TP_FREE struct report_cell *cells = NULL;
	struct columns most = {0};
	size_t n = report_cells(r, &cells);

	for (size_t i = 0; i < n; i++) {
		struct columns columns = columns_of(r, false, cells[i].ram);
		if (columns.n > most.n)
			most = columns;
	}
	return most;
}

bool report_draw_by_payload(const struct report *r, const struct report_picture *picture, FILE *out)
{
	struct columns columns = most_payloads(r);
	char ram[32];

	if (columns.n < 2)
		return false;
	TP_FREE char *what = tp_asprintf(
		"Guest of %s, by how much was written in it. Medians; strokes from p10 to p90, or "
		"least to most below 20 samples.",
		bench_people_short(ram, "bytes", (double)columns.cells[0].ram));
	return draw(r, picture, "by-payload", what, &columns, out);
}

bool report_draw_by_ram(const struct report *r, const struct report_picture *picture, FILE *out)
{
	struct columns columns = columns_of(r, true, 0);

	if (columns.n < 2)
		return false;
	return draw(r, picture, "by-ram",
		"Idle guest, by its RAM. Medians; strokes from p10 to p90, or least to most below "
		"20 samples.",
		&columns, out);
}
