/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/report/canvas.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "base/mem.h"
#include "benchmarks/stats.h"

/* --- how it looks --- */

static const struct canvas_family families[] = {
	{"torpor", "torpor", CANVAS_CIRCLE}, {"libvirt", "libvirt", CANVAS_SQUARE},
	{"qemu10", "qemu10", CANVAS_DIAMOND}, {"qemu", "qemu", CANVAS_TRIANGLE},
	{"floor", "floor", CANVAS_BAR},
	{"", "boot", CANVAS_CROSS}, /* cold-boot, and whatever comes */
};

const struct canvas_family *canvas_family_of(const char *name)
{
	const struct canvas_family *family = families;

	while (strncmp(family->prefix, name, strlen(family->prefix)) != 0)
		family++;
	return family;
}

/* Light is what everybody gets who knows no media queries. */
static const char style[] =
	"<style>\n"
	"text{font-family:system-ui,-apple-system,'Segoe UI',sans-serif;font-size:13px;"
	"fill:#1f2328;stroke:none}\n"
	"text.title{font-size:18px;font-weight:600}\n"
	"text.muted{fill:#59636e}\n"
	"text.small{font-size:12px}\n"
	"text.warn{font-weight:700}\n"
	".paper{fill:#ffffff}\n"
	".grid{stroke:#d1d9e0;stroke-width:1}\n"
	".fine{stroke:#eaeef2;stroke-width:1}\n"
	".torpor{fill:#bc4c00;stroke:#bc4c00}\n"
	".libvirt{fill:#57688c;stroke:#57688c}\n"
	".qemu{fill:#4d756b;stroke:#4d756b}\n"
	".qemu10{fill:#755f8a;stroke:#755f8a}\n"
	".boot{fill:#7a6a52;stroke:#7a6a52}\n"
	".floor{fill:#59636e;stroke:#59636e}\n"
	"text.torpor,text.libvirt,text.qemu,text.qemu10,text.boot,text.floor{stroke:none}\n"
	"text.torpor{font-weight:600}\n"
	".dot{fill-opacity:.45;stroke-opacity:.6;stroke-width:.8}\n"
	".solid{stroke-width:1.2}\n"
	".median{stroke:#1f2328;stroke-width:3}\n"
	".whisker{stroke-width:1.4}\n"
	".thread{fill:none;stroke-width:1.2;stroke-opacity:.55}\n"
	".leader{stroke-width:.8;stroke-opacity:.6;stroke-dasharray:2 3}\n"
	".hollow{fill:none;stroke-width:1.4}\n"
	"@media (prefers-color-scheme:dark){\n"
	"text{fill:#e6edf3}\n"
	"text.muted{fill:#9da7b3}\n"
	".paper{fill:#0d1117}\n"
	".grid{stroke:#3d444d}\n"
	".fine{stroke:#21262d}\n"
	".torpor{fill:#ff9352;stroke:#ff9352}\n"
	".libvirt{fill:#93a5cc;stroke:#93a5cc}\n"
	".qemu{fill:#86b3a7;stroke:#86b3a7}\n"
	".qemu10{fill:#b59dcc;stroke:#b59dcc}\n"
	".boot{fill:#bfa982;stroke:#bfa982}\n"
	".floor{fill:#9da7b3;stroke:#9da7b3}\n"
	".median{stroke:#e6edf3}\n"
	".hollow,.thread{fill:none}\n"
	"}\n"
	"</style>\n";

/* --- elements --- */

static void put_escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '>')
			fputs("&gt;", out);
		else if (*text == '&')
			fputs("&amp;", out);
		else
			fputc((unsigned char)*text < ' ' ? ' ' : *text, out);
	}
}

static TP_PRINTF(2, 0) void put_formatted(FILE *out, const char *fmt, va_list ap)
{
	TP_FREE char *text = tp_vasprintf(fmt, ap);

	put_escaped(out, text);
}

void canvas_begin(FILE *out, const char *id, const char *title, double height)
{
	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
		"viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-labelledby=\"%s-title %s-desc\">\n"
		"<title id=\"%s-title\">",
		CANVAS_WIDTH, height, CANVAS_WIDTH, height, id, id, id);
	put_escaped(out, title);
	fprintf(out, "</title>\n<desc id=\"%s-desc\">", id);
}

void canvas_describe(FILE *out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_formatted(out, fmt, ap);
	va_end(ap);
}

void canvas_body(FILE *out, double height)
{
	fputs("</desc>\n", out);
	fputs(style, out);
	canvas_rect(out, 0, 0, CANVAS_WIDTH, height, "paper");
}

void canvas_end(FILE *out)
{
	fputs("</svg>\n", out);
}

void canvas_text(FILE *out, double x, double y, enum canvas_anchor anchor, const char *css,
	const char *fmt, ...)
{
	static const char *const anchors[] = {
		[CANVAS_START] = "start",
		[CANVAS_MIDDLE] = "middle",
		[CANVAS_END] = "end",
	};
	va_list ap;

	fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y,
		anchors[anchor], css);
	va_start(ap, fmt);
	put_formatted(out, fmt, ap);
	va_end(ap);
	fputs("</text>\n", out);
}

void canvas_line(FILE *out, double x1, double y1, double x2, double y2, const char *css)
{
	fprintf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1,
		y1, x2, y2, css);
}

void canvas_rect(FILE *out, double x, double y, double width, double height, const char *css)
{
	fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"%s\"/>\n",
		x, y, width, height, css);
}

/* As the path of a mark of radius 1, scaled: corners lie a bit further out than a circle's edge. */
static void put_path(FILE *out, enum canvas_mark mark, double x, double y, double r)
{
	switch (mark) {
	case CANVAS_SQUARE:
		fprintf(out, "M%.1f %.1fh%.1fv%.1fh%.1fz", x - .9 * r, y - .9 * r, 1.8 * r, 1.8 * r,
			-1.8 * r);
		return;
	case CANVAS_TRIANGLE:
		fprintf(out, "M%.1f %.1fl%.1f %.1fh%.1fz", x, y - 1.15 * r, 1.1 * r, 2 * r,
			-2.2 * r);
		return;
	case CANVAS_DIAMOND:
		fprintf(out, "M%.1f %.1fl%.1f %.1fl%.1f %.1fl%.1f %.1fz", x, y - 1.3 * r, 1.3 * r,
			1.3 * r, -1.3 * r, 1.3 * r, -1.3 * r, -1.3 * r);
		return;
	case CANVAS_CROSS:
		fprintf(out, "M%.1f %.1fl%.1f %.1fm0 %.1fl%.1f %.1f", x - r, y - r, 2 * r, 2 * r,
			-2 * r, -2 * r, 2 * r);
		return;
	case CANVAS_BAR:
		fprintf(out, "M%.1f %.1fv%.1f", x, y - 1.3 * r, 2.6 * r);
		return;
	case CANVAS_CIRCLE:
		break;
	}
	fprintf(out, "M%.1f %.1fa%.1f %.1f 0 1 0 %.1f 0a%.1f %.1f 0 1 0 %.1f 0z", x - r, y, r, r,
		2 * r, r, r, -2 * r);
}

void canvas_mark(FILE *out, const struct canvas_family *family, double x, double y, double radius,
	const char *css)
{
	fputs("<path d=\"", out);
	put_path(out, family->mark, x, y, radius);
	fprintf(out, "\" class=\"%s %s\"/>\n", family->css, css);
}

/* --- places --- */

static bool is_of_bytes(const char *unit)
{
	return strcmp(unit, "bytes") == 0;
}

double canvas_tick(const char *unit, unsigned int number)
{
	static const double steps[] = {1, 2, 5};
	unsigned int decade = number / 3;

	return is_of_bytes(unit) ? pow(4, number) : steps[number % 3] * pow(10, decade);
}

/* 1 KiB, 16 KiB, 256 KiB ...; powers of ten. */
static bool is_major(const char *unit, unsigned int number)
{
	return is_of_bytes(unit) ? number % 2 == 1 : number % 3 == 0;
}

struct canvas_scale canvas_scale(const char *unit, double low, double high, double from, double to)
{
	struct canvas_scale scale = {.unit = unit, .from = from, .to = to};

	while (canvas_tick(unit, scale.first + 1) <= low)
		scale.first++;
	scale.last = scale.first + 1;
	while (canvas_tick(unit, scale.last) < high)
		scale.last++;
	return scale;
}

double canvas_at(const struct canvas_scale *scale, double value)
{
	double low = log(canvas_tick(scale->unit, scale->first));
	double high = log(canvas_tick(scale->unit, scale->last));
	double share = (log(TP_MAX(value, 1.0)) - low) / (high - low);

	return scale->from + TP_MAX(share, 0.0) * (scale->to - scale->from);
}

bool canvas_is_labelled(const struct canvas_scale *scale, unsigned int number)
{
	unsigned int majors = 0;

	for (unsigned int i = scale->first; i <= scale->last; i++)
		majors += is_major(scale->unit, i);
	return majors < 2 || is_major(scale->unit, number);
}

void canvas_axis(FILE *out, const struct canvas_scale *scale, double top, double bottom)
{
	for (unsigned int i = scale->first; i <= scale->last; i++) {
		double tick = canvas_tick(scale->unit, i);
		double x = canvas_at(scale, tick);
		bool labelled = canvas_is_labelled(scale, i);
		char text[32];
		canvas_line(out, x, top, x, bottom, labelled ? "grid" : "fine");
		if (labelled)
			canvas_text(out, x, bottom + 18, CANVAS_MIDDLE, "muted small", "%s",
				bench_people_short(text, scale->unit, tick));
	}
}

void canvas_spread_out(double *places, size_t n, double gap, double low, double high)
{
	double least = low;

	for (size_t i = 0; i < n; i++) {
		places[i] = TP_MAX(places[i], least);
		least = places[i] + gap;
	}
	double most = high;
	for (size_t i = n; i-- > 0;) {
		places[i] = TP_MIN(places[i], most);
		most = places[i] - gap;
	}
}
