/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest put aside takes on the disk: two bars for each way, idle and with something written.
 */
#include <math.h>

#include "benchmarks/report/pictures.h"
#include "benchmarks/stats.h"

#define TOP   104.0
#define ROW   36.0
#define LEFT  226.0
#define RIGHT 750.0 /* values are written behind the bars */

/* The dirty ones by peer; 0: not measured. */
static double dirty_size(const struct report *r, size_t peer)
{
	struct report_key key = {peer, REPORT_DIRTY, REPORT_SAVE};
	REPORT_VALUES struct report_values values = report_values_of(r, &key, REPORT_BYTES);

	return values.n > 0 ? bench_rank(values.v, values.n, 50) : 0;
}

static void put_bar(FILE *out, const struct canvas_scale *scale, double y, double height,
	double bytes, const char *css, const char *what)
{
	double end = canvas_at(scale, bytes);
	char text[32];

	canvas_rect(out, LEFT, y, end - LEFT, height, css);
	canvas_text(out, end + 6, y + height / 2 + 4, CANVAS_START, "small", "%s%s",
		bench_people(text, "bytes", bytes), what);
}

/* The first row says what the bars are. */
static void put_row(const struct report *r, const struct report_way *way,
	const struct canvas_scale *scale, double y, bool first, FILE *out)
{
	const struct canvas_family *family = canvas_family_of(r->peers[way->key.peer].name);
	double dirty = dirty_size(r, way->key.peer);
	char name[64];

	canvas_mark(out, family, LEFT - 16, y + ROW / 2, 4, "solid");
	canvas_text(out, LEFT - 28, y + ROW / 2 + 4.5, CANVAS_END, family->css, "%s",
		report_way_name(name, r, &way->key));
	fprintf(out, "<g class=\"%s\">\n", family->css);
	put_bar(out, scale, y + 5, 11, way->median, "solid", first ? " idle" : "");
	if (dirty > 0)
		put_bar(out, scale, y + 20, 9, dirty, "hollow",
			first ? " with 20 MiB written" : "");
	fputs("</g>\n", out);
}

static struct canvas_scale fit(const struct report *r, const struct report_ways *ways)
{
	double low = ways->rows[0].median;
	double high = ways->rows[ways->n - 1].median;

	for (size_t i = 0; i < ways->n; i++)
		high = fmax(high, dirty_size(r, ways->rows[i].key.peer));
	/* Below the least, so that its bar is seen. */
	return canvas_scale("bytes", fmax(low / 2, 1), high, LEFT, RIGHT);
}

static void describe(const struct report *r, const struct report_ways *ways, FILE *out)
{
	for (size_t i = 0; i < ways->n; i++) {
		const struct report_way *way = &ways->rows[i];
		double dirty = dirty_size(r, way->key.peer);
		char name[64], text[32];
		canvas_describe(out, "%s: %s idle", report_way_name(name, r, &way->key),
			bench_people(text, "bytes", way->median));
		if (dirty > 0)
			canvas_describe(out, ", %s with 20 MiB written",
				bench_people(text, "bytes", dirty));
		canvas_describe(out, ". ");
	}
}

bool report_draw_sizes(const struct report *r, const struct report_picture *picture, FILE *out)
{
	REPORT_WAYS struct report_ways ways =
		report_ways_of(r, REPORT_IDLE, REPORT_SAVE, REPORT_SAVE, REPORT_BYTES);
	double bottom = TOP + ROW * (double)ways.n;
	double height = bottom + 36;

	if (ways.n == 0)
		return false;
	struct canvas_scale scale = fit(r, &ways);
	canvas_begin(out, "sizes", picture->title, height);
	describe(r, &ways, out);
	canvas_body(out, height);
	canvas_text(out, 24, 34, CANVAS_START, "title", "%s", picture->title);
	report_put_where(r, out, 58,
		"Guest of 256 MiB; medians of allocated blocks. The axis is logarithmic, and bars "
		"begin where it does.");
	canvas_axis(out, &scale, TOP, bottom);
	for (size_t i = 0; i < ways.n; i++)
		put_row(r, &ways.rows[i], &scale, TOP + ROW * (double)i, i == 0, out);
	canvas_end(out);
	return true;
}
