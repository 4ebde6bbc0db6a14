/* SPDX-License-Identifier: Apache-2.0 */
/* table.md: what disturbed the run, what was measured, what that means for the targets. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "benchmarks/report/report.h"
#include "benchmarks/stats.h"

#define NOTHING "–"

/* Text from outside, within a table's row. */
static void put_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '|')
			fputs("\\|", out);
		else if (*text == '<')
			fputs("&lt;", out);
		else
			fputc((unsigned char)*text < ' ' ? ' ' : *text, out);
	}
}

static void put_text_cell(FILE *out, const char *text)
{
	fputs(" | ", out);
	put_text(out, text);
}

static void put_value(FILE *out, bool there, const char *unit, double value)
{
	char text[32];

	fprintf(out, " | %s", there && isfinite(value) ? bench_people(text, unit, value) : NOTHING);
}

/* Three digits where it matters. */
static void put_ratio(FILE *out, double ratio)
{
	fprintf(out, "%.*f", ratio >= 100 ? 0 : ratio >= 10 ? 1 : 2, ratio);
}

static void put_failures(FILE *out, unsigned int n)
{
	fprintf(out, n > 0 ? " | **%u**" : " | %u", n);
}

/* --- the run --- */

static void put_flags(const struct report *r, FILE *out)
{
	struct report_flag flags[REPORT_FLAGS_MAX];
	size_t n = report_flags(r, flags);

	for (size_t i = 0; i < n; i++) {
		fputs("**This run was ", out);
		put_text(out, flags[i].name);
		fprintf(out, ": %s.**\n\n", flags[i].means);
	}
}

static void put_facts(FILE *out, json_t *context)
{
	const char *name;
	json_t *value;

	fputs("| fact | value |\n|---|---|\n", out);
	json_object_foreach (context, name, value) {
		TP_FREE char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(4));
		fputs("| ", out);
		put_text(out, name);
		put_text_cell(out, json_is_string(value) ? json_string_value(value) : text);
		fputs(" |\n", out);
	}
	fputc('\n', out);
}

static void put_accel_note(const struct report *r, FILE *out)
{
	const char *accel = json_string_value(json_object_get(r->context, "accel"));

	if (accel && strcmp(accel, "tcg") == 0)
		fputs("The guests were emulated (TCG): whatever they do after they run again "
		      "is the emulator's speed, `first answer` above all. That is the same "
		      "for every way, and brings ratios of it closer to one.\n\n",
			out);
}

static void put_run(const struct report *r, FILE *out)
{
	fputs("# Torpor beside what would otherwise be done\n\n", out);
	put_flags(r, out);
	put_facts(out, r->context);
	put_accel_note(r, out);
}

static const char *yes_or_no(const struct report_peer *peer, bool value)
{
	if (!peer->declared)
		return "?";
	return value ? "yes" : "no";
}

static void put_peers(const struct report *r, FILE *out)
{
	fputs("## What was compared\n\n"
	      "| way | what is run | survives a power cut | frees its memory "
	      "|\n|---|---|---|---|\n",
		out);
	for (size_t i = 0; i < r->n_peers; i++) {
		const struct report_peer *peer = &r->peers[i];
		if (peer->why)
			continue;
		fputs("| ", out);
		put_text(out, peer->name);
		put_text_cell(out, peer->summary ? peer->summary : "?");
		fprintf(out, " | %s | %s |\n", yes_or_no(peer, peer->durable),
			yes_or_no(peer, peer->frees));
	}
	fputc('\n', out);
}

static void put_reading(FILE *out)
{
	fputs("Times are from the command on, but for `standstill`, which begins when the "
	      "guest stops. The first table of each kind has medians by nearest rank (of CPU "
	      "time, which is counted in ticks, means); the second how far values spread. "
	      "p90 needs 20 samples and p99 a hundred; with fewer than 20 the range from the "
	      "least to the most stands instead. A ratio is the median over rounds in which "
	      "both were measured, in brackets p10 to p90 of these, or least to most where "
	      "there are fewer than 20. Failed samples are counted, and their times left "
	      "out; so are the times of samples during which memory was watched.\n\n",
		out);
}

static void put_pictures(const bool *drawn, FILE *out)
{
	for (size_t i = 0; i < report_n_pictures; i++) {
		if (drawn[i])
			fprintf(out, "![%s](%s)\n\n", report_pictures[i].title,
				report_pictures[i].file);
	}
}

/* --- a cell --- */

struct kind {
	const char *title;
	enum report_op first, last;
	const enum report_figure *columns; /* of the table of medians */
	size_t n_columns;
	const enum report_figure *rows; /* of the table of spreads, for each peer */
	size_t n_rows;
};

static const enum report_figure save_columns[] = {REPORT_STANDSTILL, REPORT_DURABLE, REPORT_GONE,
	REPORT_BYTES, REPORT_CPU, REPORT_PEAK, REPORT_REMAINING};
static const enum report_figure save_rows[] = {
	REPORT_STANDSTILL, REPORT_DURABLE, REPORT_GONE, REPORT_BYTES};
static const enum report_figure restore_columns[] = {
	REPORT_PROCESS, REPORT_RUNNING, REPORT_BARE, REPORT_ANSWER, REPORT_CPU, REPORT_PEAK};
static const enum report_figure restore_rows[] = {REPORT_RUNNING, REPORT_BARE, REPORT_ANSWER};

static const struct kind kinds[] = {
	{"Putting it aside", REPORT_SAVE, REPORT_SAVE, save_columns, TP_ARRAY_LEN(save_columns),
		save_rows, TP_ARRAY_LEN(save_rows)},
	{"Having it back", REPORT_RESTORE, REPORT_FORK, restore_columns,
		TP_ARRAY_LEN(restore_columns), restore_rows, TP_ARRAY_LEN(restore_rows)},
};

/* "torpor-claim (claim)", unless it is what the kind is about. */
static void put_way(const struct report *r, const struct report_key *key, FILE *out)
{
	fputs("| ", out);
	put_text(out, r->peers[key->peer].name);
	if (key->op > REPORT_RESTORE)
		fprintf(out, " (%s)", report_op_names[key->op]);
}

/* The median; of CPU time, which is counted in ticks of 10 ms and may be 0, the mean. */
static double middle(const struct report_values *values, enum report_figure figure)
{
	double sum = 0;

	if (values->n == 0)
		return NAN;
	if (figure != REPORT_CPU)
		return bench_rank(values->v, values->n, 50);
	for (size_t i = 0; i < values->n; i++)
		sum += values->v[i];
	return sum / (double)values->n;
}

static void put_medians(
	const struct report *r, const struct kind *kind, const struct report_key *key, FILE *out)
{
	const struct report_peer *peer = &r->peers[key->peer];
	struct report_counts counts = report_counts(r, key);

	put_way(r, key, out);
	fprintf(out, " | %u", counts.counted);
	put_failures(out, counts.failed);
	for (size_t i = 0; i < kind->n_columns; i++) {
		enum report_figure figure = kind->columns[i];
		REPORT_VALUES struct report_values values = report_values_of(r, key, figure);
		put_value(out, true, report_figures[figure].unit, middle(&values, figure));
	}
	fprintf(out, " | %s | %s |\n", yes_or_no(peer, peer->durable),
		yes_or_no(peer, peer->frees));
}

/* "12.3 (11.0 to 14.1)"; nothing for what is compared with itself. */
static void put_ratio_to(const struct report *r, const struct report_key *key,
	enum report_figure figure, const char *name, FILE *out)
{
	struct report_key other = {report_peer_named(r, name), key->cell,
		key->op == REPORT_SAVE ? REPORT_SAVE : REPORT_RESTORE};

	fputs(" | ", out);
	if (other.peer == r->n_peers || other.peer == key->peer) {
		fputs(NOTHING, out);
		return;
	}
	REPORT_VALUES struct report_values ratios = report_ratios(r, key, &other, figure);
	struct report_spread spread = report_spread(&ratios);
	if (spread.n == 0) {
		fputs(NOTHING, out);
		return;
	}
	put_ratio(out, spread.middle);
	fputs(" (", out);
	put_ratio(out, spread.low);
	fputs(" to ", out);
	put_ratio(out, spread.high);
	fprintf(out, "), n=%zu", spread.n);
}

static void put_range(FILE *out, const struct report_values *values, const char *unit)
{
	char low[32], high[32];

	if (values->n >= BENCH_NEEDED_FOR_P90)
		fputs(" | " NOTHING, out);
	else
		fprintf(out, " | %s to %s", bench_people(low, unit, values->v[0]),
			bench_people(high, unit, values->v[values->n - 1]));
}

static void put_spread(
	const struct report *r, const struct report_key *key, enum report_figure figure, FILE *out)
{
	REPORT_VALUES struct report_values values = report_values_of(r, key, figure);
	const char *unit = report_figures[figure].unit;
	size_t n = values.n;

	if (n == 0)
		return;
	put_way(r, key, out);
	fprintf(out, " | %s | %zu", report_figures[figure].title, n);
	put_value(out, true, unit, bench_rank(values.v, n, 50));
	put_value(out, n >= BENCH_NEEDED_FOR_P90, unit, bench_rank(values.v, n, 90));
	put_value(out, n >= BENCH_NEEDED_FOR_P99, unit, bench_rank(values.v, n, 99));
	put_range(out, &values, unit);
	put_ratio_to(r, key, figure, REPORT_OURS, out);
	put_ratio_to(r, key, figure, REPORT_FLOOR, out);
	fputs(" |\n", out);
}

/* The ways of a kind that were tried in a cell, in the order in which they were declared. */
static size_t keys_of(const struct report *r, const struct kind *kind, struct report_cell cell,
	struct report_key **keys_out)
{
	struct report_key *keys = NULL;
	size_t n = 0;

	for (size_t peer = 0; peer < r->n_peers; peer++) {
		for (unsigned int op = kind->first; op <= kind->last; op++) {
			struct report_key key = {peer, cell, (enum report_op)op};
			if (report_counts(r, &key).all == 0)
				continue;
			keys = tp_reallocarray(keys, n + 1, sizeof(*keys));
			keys[n++] = key;
		}
	}
	*keys_out = keys;
	return n;
}

static void put_rule(FILE *out, size_t left, size_t right)
{
	while (left-- > 0)
		fputs("|---", out);
	while (right-- > 0)
		fputs("|---:", out);
}

static void put_kind(
	const struct report *r, const struct kind *kind, struct report_cell cell, FILE *out)
{
	TP_FREE struct report_key *keys = NULL;
	size_t n = keys_of(r, kind, cell, &keys);

	if (n == 0)
		return;
	fprintf(out, "### %s\n\n| way | n | failed", kind->title);
	for (size_t i = 0; i < kind->n_columns; i++)
		fprintf(out, " | %s", report_figures[kind->columns[i]].title);
	fputs(" | survives a power cut | frees its memory |\n", out);
	put_rule(out, 1, 2 + kind->n_columns);
	fputs("|---|---|\n", out);
	for (size_t i = 0; i < n; i++)
		put_medians(r, kind, &keys[i], out);
	fputs("\n| way | figure | n | p50 | p90 | p99 | range | times " REPORT_OURS
	      " | times the floor |\n",
		out);
	put_rule(out, 2, 7);
	fputs("|\n", out);
	for (size_t i = 0; i < n; i++) {
		for (size_t row = 0; row < kind->n_rows; row++)
			put_spread(r, &keys[i], kind->rows[row], out);
	}
	fputc('\n', out);
}

static void put_cells(const struct report *r, FILE *out)
{
	TP_FREE struct report_cell *cells = NULL;
	size_t n = report_cells(r, &cells);

	for (size_t i = 0; i < n; i++) {
		char ram[32], payload[32];
		bench_people_short(ram, "bytes", (double)cells[i].ram);
		bench_people_short(payload, "bytes", (double)cells[i].payload);
		fprintf(out, "## %s of RAM, %s%s\n\n", ram, cells[i].payload ? payload : "idle",
			cells[i].payload ? " written" : "");
		for (size_t kind = 0; kind < TP_ARRAY_LEN(kinds); kind++)
			put_kind(r, &kinds[kind], cells[i], out);
	}
}

/* --- what went wrong, and what wasn't measured --- */

static void put_errors(const struct report *r, FILE *out)
{
	bool any = false;

	for (size_t i = 0; i < r->n_samples; i++) {
		const struct report_sample *sample = &r->samples[i];
		if (!sample->error)
			continue;
		if (!any)
			fputs("## What failed\n\n| round | way | RAM | written | of it | why |\n"
			      "|---:|---|---:|---:|---|---|\n",
				out);
		any = true;
		fprintf(out, "| %u", sample->round);
		put_text_cell(out, r->peers[sample->peer].name);
		put_value(out, true, "bytes", (double)sample->cell.ram);
		put_value(out, true, "bytes", (double)sample->cell.payload);
		fprintf(out, " | %s", report_op_names[sample->op]);
		put_text_cell(out, sample->error);
		fputs(" |\n", out);
	}
	if (any)
		fputc('\n', out);
}

static void put_absent(const struct report *r, FILE *out)
{
	bool any = false;

	for (size_t i = 0; i < r->n_peers; i++) {
		const struct report_peer *peer = &r->peers[i];
		if (!peer->why)
			continue;
		if (!any)
			fputs("## What could not run here\n\n| way | what would be run | why not "
			      "|\n|---|---|---|\n",
				out);
		any = true;
		fputs("| ", out);
		put_text(out, peer->name);
		put_text_cell(out, peer->summary);
		put_text_cell(out, peer->why);
		fputs(" |\n", out);
	}
	if (any)
		fputc('\n', out);
}

static void put_published(const struct report *r, FILE *out)
{
	const json_t *entry;
	size_t i;

	if (json_array_size(r->published) == 0)
		return;
	fputs("## Published by others, not measured here\n\nOther hosts, other guests, other "
	      "intervals: directions, no comparison. Nothing of this is in any ratio, verdict or "
	      "picture.\n\n"
	      "| who | figure | value | conditions | source |\n"
	      "|---|---|---:|---|---|\n",
		out);
	json_array_foreach (r->published, i, entry) {
		fputs("| ", out);
		put_text(out, json_string_value(json_object_get(entry, "who")));
		put_text_cell(out, json_string_value(json_object_get(entry, "figure")));
		fprintf(out, " | %.6g ", json_number_value(json_object_get(entry, "value")));
		put_text(out, json_string_value(json_object_get(entry, "unit")));
		put_text_cell(out, json_string_value(json_object_get(entry, "conditions")));
		put_text_cell(out, json_string_value(json_object_get(entry, "source")));
		fputs(" |\n", out);
	}
	fputc('\n', out);
}

/* --- verdicts --- */

static void put_verdict_count(const struct report *r, FILE *out)
{
	unsigned int counts[REPORT_NOT_JUDGED + 1] = {0};

	for (size_t i = 0; i < report_n_targets; i++) {
		struct report_judgement judgement = report_judge(r, i);
		counts[judgement.limit > 0 ? judgement.verdict : REPORT_NOT_JUDGED]++;
	}
	fprintf(out, "Targets: %u met, %u NOT MET, %u not measured; they are at the end.\n\n",
		counts[REPORT_MET], counts[REPORT_NOT_MET], counts[REPORT_NOT_MEASURED]);
}

static void put_value_and_spread(FILE *out, const struct report_spread *value)
{
	put_ratio(out, value->middle);
	if (value->low == value->high)
		return;
	fputs(" (", out);
	put_ratio(out, value->low);
	fputs(" to ", out);
	put_ratio(out, value->high);
	fputc(')', out);
}

static void put_limit(FILE *out, const struct report_judgement *judgement)
{
	if (judgement->limit > 0)
		fprintf(out, " | at %s %g", judgement->at_least ? "least" : "most",
			judgement->limit);
	else
		fputs(" | " NOTHING, out);
}

static void put_verdict(const struct report_judgement *judgement, FILE *out)
{
	bool bold = judgement->verdict == REPORT_NOT_MET;

	fprintf(out, "| %s", judgement->name);
	put_text_cell(out, *judgement->of ? judgement->of : NOTHING);
	fputs(" | ", out);
	if (judgement->verdict == REPORT_NOT_MEASURED)
		fputs(NOTHING, out);
	else
		put_value_and_spread(out, &judgement->value);
	fprintf(out, " | %zu", judgement->value.n);
	put_failures(out, judgement->failures);
	put_limit(out, judgement);
	fprintf(out, bold ? " | **%s**" : " | %s", report_verdict_names[judgement->verdict]);
	if (*judgement->note) {
		fputs(" (", out);
		put_text(out, judgement->note);
		fputc(')', out);
	}
	fputs(" |\n", out);
}

static void put_verdicts(const struct report *r, FILE *out)
{
	fputs("## Verdicts\n\nWhere a side has several ways, the one stands for it that makes the "
	      "target hardest. Torpor has a shell waiting, unless it says otherwise; `n` are "
	      "pairs of the same round, or samples for p99. Seven pairs are needed, or a hundred "
	      "samples.\n\n"
	      "| target | of what | value | n | failed | limit | verdict |\n"
	      "|---|---|---:|---:|---:|---:|---|\n",
		out);
	for (size_t i = 0; i < report_n_targets; i++) {
		struct report_judgement judgement = report_judge(r, i);
		put_verdict(&judgement, out);
	}
}

void report_write_table(const struct report *r, const bool *drawn, FILE *out)
{
	put_run(r, out);
	put_verdict_count(r, out);
	put_peers(r, out);
	put_reading(out);
	put_pictures(drawn, out);
	put_cells(r, out);
	report_write_crowds(r, out);
	put_errors(r, out);
	put_absent(r, out);
	put_published(r, out);
	put_verdicts(r, out);
}
