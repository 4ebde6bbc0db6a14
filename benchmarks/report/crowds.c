/* SPDX-License-Identifier: Apache-2.0 */
/* Many guests at once, one process, many parked sessions: what `torpor bench` measured of these. */
#include "base/mem.h"
#include "benchmarks/report/report.h"
#include "benchmarks/stats.h"

struct column {
	const char *title;
	const char *figure;
};

static const json_t *line_of(const json_t *lines, const char *row, const char *figure)
{
	TP_FREE char *name = tp_asprintf("%s.%s", row, figure);

	return json_object_get(lines, name);
}

static void put_head(const char *first, const struct column *columns, size_t n, FILE *out)
{
	fprintf(out, "| %s", first);
	for (size_t i = 0; i < n; i++)
		fprintf(out, " | %s", columns[i].title);
	fputs(" |\n|---", out);
	for (size_t i = 0; i < n; i++)
		fputs("|---:", out);
	fputs("|\n", out);
}

static void put_row(
	const json_t *lines, const char *row, const struct column *columns, size_t n, FILE *out)
{
	for (size_t i = 0; i < n; i++) {
		const json_t *line = line_of(lines, row, columns[i].figure);
		const char *unit = json_string_value(json_object_get(line, "unit"));
		char text[32];
		fprintf(out, " | %s",
			unit ? bench_people(
				       text, unit, json_number_value(json_object_get(line, "p50")))
			     : "–");
	}
	fputs(" |\n", out);
}

/* --- guests --- */

static const struct column crowd_columns[] = {
	{"private, each", "private"},
	{"private, all", "private_sum"},
	{"proportional, all", "proportional_sum"},
	{"page tables, all", "page_tables_sum"},
	{"what the host lost", "host"},
};

/* As many as `density` knows; those that weren't measured have no row. */
static const unsigned int crowd_sizes[] = {1, 2, 10, 50, 100};
static const struct {
	const char *prefix;
	const char *title;
} crowds[] = {{"clones", "clones"}, {"booted", "booted by themselves"}};
static const char *const crowd_states[] = {"running", "paused"};

static void put_crowd(const json_t *lines, size_t crowd, unsigned int guests, FILE *out)
{
	for (size_t i = 0; i < TP_ARRAY_LEN(crowd_states); i++) {
		TP_FREE char *row =
			tp_asprintf("%s_%u_%s", crowds[crowd].prefix, guests, crowd_states[i]);
		if (!line_of(lines, row, "private"))
			continue;
		fprintf(out, "| %u %s, %s", guests, crowds[crowd].title, crowd_states[i]);
		put_row(lines, row, crowd_columns, TP_ARRAY_LEN(crowd_columns), out);
	}
}

static void put_crowds(const json_t *lines, FILE *out)
{
	if (!json_object_get(lines, "clones_1_running.private"))
		return;
	fputs("## Many guests at once\n\nPrivate is memory that only that process has, "
	      "proportional (PSS) has shared pages in parts, so that the base is in a sum once. "
	      "What the host lost is of MemAvailable, since before the first guest.\n\n",
		out);
	put_head("guests", crowd_columns, TP_ARRAY_LEN(crowd_columns), out);
	for (size_t crowd = 0; crowd < TP_ARRAY_LEN(crowds); crowd++) {
		for (size_t i = 0; i < TP_ARRAY_LEN(crowd_sizes); i++)
			put_crowd(lines, crowd, crowd_sizes[i], out);
	}
	fputc('\n', out);
}

/* --- one process --- */

static const struct column process_columns[] = {
	{"private", "private"},
	{"guest RAM written", "guest_ram"},
	{"translated code", "translated_code"},
	{"heap", "heap"},
	{"program's data", "program"},
	{"other", "other"},
	{"page tables", "page_tables"},
};

static void put_process(const json_t *lines, FILE *out)
{
	static const struct column rows[] = {
		{"just claimed", "process_claimed"}, {"left alone for a while", "process_idle"}};

	if (!line_of(lines, "process_idle", "private"))
		return;
	fputs("## What a clone's process has to itself\n\n", out);
	put_head("clone", process_columns, TP_ARRAY_LEN(process_columns), out);
	for (size_t i = 0; i < TP_ARRAY_LEN(rows); i++) {
		fprintf(out, "| %s", rows[i].title);
		put_row(lines, rows[i].figure, process_columns, TP_ARRAY_LEN(process_columns), out);
	}
	fputc('\n', out);
}

/* --- parked sessions --- */

static const struct column parked_columns[] = {
	{"resume one", "resume"},
	{"claim", "claim"},
	{"show one", "show"},
	{"first page", "list"},
	{"all pages", "list_all"},
	{"sweep", "sweep"},
	{"start of torpord", "restart"},
	{"image, each", "image"},
	{"records, each", "row"},
};

static void put_parked(const json_t *lines, FILE *out)
{
	static const char *const rows[] = {"records_few", "records_many", "records_most"};

	if (!line_of(lines, rows[0], "sessions"))
		return;
	fputs("## Many parked sessions\n\nThrough torpord, until the answer was read. Each has a "
	      "row and a file of its own.\n\n",
		out);
	put_head("parked sessions", parked_columns, TP_ARRAY_LEN(parked_columns), out);
	for (size_t i = 0; i < TP_ARRAY_LEN(rows); i++) {
		const json_t *sessions = line_of(lines, rows[i], "sessions");
		if (!sessions)
			continue;
		fprintf(out, "| %.0f", json_number_value(json_object_get(sessions, "p50")));
		put_row(lines, rows[i], parked_columns, TP_ARRAY_LEN(parked_columns), out);
	}
	fputc('\n', out);
}

void report_write_crowds(const struct report *r, FILE *out)
{
	put_crowds(r->bench.lines, out);
	put_process(r->bench.lines, out);
	put_parked(r->daemon.lines, out);
}
