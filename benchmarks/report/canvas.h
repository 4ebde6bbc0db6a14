/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drawing SVG that is read in light and in dark, by eyes and by screen readers.
 *
 * Coordinates are the viewBox's, y downwards. Colours are classes of an embedded style; each
 * family of ways has a mark of its own too, so that none is told by its colour alone.
 */
#ifndef TP_REPORT_CANVAS_H
#define TP_REPORT_CANVAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/macros.h"

#define CANVAS_WIDTH 960.0

enum canvas_mark {
	CANVAS_CIRCLE,
	CANVAS_SQUARE,
	CANVAS_TRIANGLE,
	CANVAS_DIAMOND,
	CANVAS_CROSS,
	CANVAS_BAR,
};

enum canvas_anchor { CANVAS_START, CANVAS_MIDDLE, CANVAS_END };

/* How a way is drawn; by the beginning of its name. */
struct canvas_family {
	const char *prefix;
	const char *css; /* class */
	enum canvas_mark mark;
};
const struct canvas_family *canvas_family_of(const char *name);

/*
 * Begins a picture: ID is unique among pictures and of letters and dashes. Text for those who can't
 * see it follows with canvas_describe, then canvas_body, then all that is drawn.
 */
void canvas_begin(FILE *out, const char *id, const char *title, double height);
void canvas_describe(FILE *out, const char *fmt, ...) TP_PRINTF(2, 3);
void canvas_body(FILE *out, double height);
void canvas_end(FILE *out);

/* Text is escaped. CSS are the style's classes. */
void canvas_text(FILE *out, double x, double y, enum canvas_anchor anchor, const char *css,
	const char *fmt, ...) TP_PRINTF(6, 7);
void canvas_line(FILE *out, double x1, double y1, double x2, double y2, const char *css);
void canvas_rect(FILE *out, double x, double y, double width, double height, const char *css);
void canvas_mark(FILE *out, const struct canvas_family *family, double x, double y, double radius,
	const char *css);

/*
 * A logarithmic axis between two ticks: FIRST is at FROM, LAST at TO. Ticks of "bytes" are powers
 * of 4, all others 1, 2 and 5 times powers of 10; they have numbers, from 0 for 1 upwards.
 */
struct canvas_scale {
	const char *unit; /* as bench_people takes it */
	unsigned int first;
	unsigned int last; /* above FIRST */
	double from;
	double to;
};
/* The smallest one that holds LOW to HIGH, both at least 1. */
struct canvas_scale canvas_scale(const char *unit, double low, double high, double from, double to);
double canvas_at(const struct canvas_scale *scale, double value);
double canvas_tick(const char *unit, unsigned int number);
/* Whether it has room for its value beside it: of an axis of less than two such ticks, all have. */
bool canvas_is_labelled(const struct canvas_scale *scale, unsigned int number);
/* A line from TOP to BOTTOM at each tick of a horizontal axis, with its value below. */
void canvas_axis(FILE *out, const struct canvas_scale *scale, double top, double bottom);
/*
 * Moves places, given in ascending order, apart until none is closer than GAP to the next, and into
 * LOW to HIGH where they fit; their order stays.
 */
void canvas_spread_out(double *places, size_t n, double gap, double low, double high);

#endif
