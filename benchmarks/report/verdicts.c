/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The project's targets, and whether they were reached.
 *
 * A target compares two sides by pairs of the same round. A side of several ways stands for the one
 * among them that makes the target hardest: the least median over its pairs. That is chosen among
 * those that have pairs at all; who has none though it was tried is named beside the verdict.
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "benchmarks/report/report.h"
#include "benchmarks/stats.h"

#define PAIRS_NEEDED 7

/* Some of the peers. */
struct side {
	const char *names[8]; /* ended by NULL; one that ends in '*' is the beginning of names */
	bool lasting;	      /* only those that are durable and free their memory */
};

static const struct side ours = {{REPORT_OURS}, false};
static const struct side ours_from_nothing = {{"torpor-noshell"}, false};
static const struct side lowest = {{REPORT_FLOOR}, false};
static const struct side libvirt = {{"libvirt-*"}, true};
static const struct side libvirt_packed = {{"libvirt-lzop", "libvirt-gzip", "libvirt-xz"}, true};
static const struct side qemu = {{"qemu*"}, true};

struct target {
	const char *name;
	double limit; /* 0: none */
	bool at_least;
	/* By pairs, */
	const struct side *above;
	const struct side *below; /* NULL: p99 over p50 of `above` */
	struct report_cell cell;
	enum report_op op;
	enum report_figure figure;
	/* or by a line of torpor bench: its verdict's value, or its p99 over its p50. */
	const char *ratio_line;
	const char *tail_line;
};

static const struct target targets[] = {
	{"resume, against the best libvirt way", 40, true, &libvirt, &ours, REPORT_IDLE,
		REPORT_RESTORE, REPORT_RUNNING, NULL, NULL},
	{"... process start left out", 0, true, &libvirt, &ours, REPORT_IDLE, REPORT_RESTORE,
		REPORT_BARE, NULL, NULL},
	{"... process start on both sides", 0, true, &libvirt, &ours_from_nothing, REPORT_IDLE,
		REPORT_RESTORE, REPORT_RUNNING, NULL, NULL},
	{"... to the first answer", 0, true, &libvirt, &ours, REPORT_IDLE, REPORT_RESTORE,
		REPORT_ANSWER, NULL, NULL},
	{"park until durable, against the best libvirt way", 50, true, &libvirt, &ours, REPORT_IDLE,
		REPORT_SAVE, REPORT_DURABLE, NULL, NULL},
	{"idle image, against the best compressed libvirt one", 1000, true, &libvirt_packed, &ours,
		REPORT_IDLE, REPORT_SAVE, REPORT_BYTES, NULL, NULL},
	{"resume, against the best durable QEMU-native way that frees memory", 10, true, &qemu,
		&ours, REPORT_IDLE, REPORT_RESTORE, REPORT_RUNNING, NULL, NULL},
	{"... process start left out", 0, true, &qemu, &ours, REPORT_IDLE, REPORT_RESTORE,
		REPORT_BARE, NULL, NULL},
	{"... process start on both sides", 0, true, &qemu, &ours_from_nothing, REPORT_IDLE,
		REPORT_RESTORE, REPORT_RUNNING, NULL, NULL},
	{"... to the first answer", 0, true, &qemu, &ours, REPORT_IDLE, REPORT_RESTORE,
		REPORT_ANSWER, NULL, NULL},
	{"park until durable, against the best durable QEMU-native way that frees memory", 10, true,
		&qemu, &ours, REPORT_IDLE, REPORT_SAVE, REPORT_DURABLE, NULL, NULL},
	{"resume idle, against the floor", 1.3, false, &ours, &lowest, REPORT_IDLE, REPORT_RESTORE,
		REPORT_RUNNING, NULL, NULL},
	{"resume dirty, against the floor", 1.5, false, &ours, &lowest, REPORT_DIRTY,
		REPORT_RESTORE, REPORT_RUNNING, NULL, NULL},
	{"park dirty until taken, against the floor", 1.5, false, &ours, &lowest, REPORT_DIRTY,
		REPORT_SAVE, REPORT_STANDSTILL, NULL, NULL},
	{"park dirty until durable, against the floor", 1.5, false, &ours, &lowest, REPORT_DIRTY,
		REPORT_SAVE, REPORT_DURABLE, NULL, NULL},
	{"resume idle until running: p99 over p50", 2, false, &ours, NULL, REPORT_IDLE,
		REPORT_RESTORE, REPORT_RUNNING, NULL, NULL},
	{"park idle until durable: p99 over p50", 2, false, &ours, NULL, REPORT_IDLE, REPORT_SAVE,
		REPORT_DURABLE, NULL, NULL},
	{.name = "torpor bench: resume idle, against the floor",
		.limit = 1.3,
		.ratio_line = "ratio_resume_idle"},
	{.name = "torpor bench: resume dirty, against the floor",
		.limit = 1.5,
		.ratio_line = "ratio_resume_dirty"},
	{.name = "torpor bench: park dirty until taken, against the floor",
		.limit = 1.5,
		.ratio_line = "ratio_park_dirty"},
	{.name = "torpor bench: resume idle, 4 GiB of RAM against 128 MiB",
		.limit = 1.2,
		.ratio_line = "ratio_scale_resume_pagemap_scan"},
	{.name = "torpor bench: park idle until taken, 4 GiB of RAM against 128 MiB",
		.limit = 1.2,
		.ratio_line = "ratio_scale_park_pagemap_scan"},
	{.name = "torpor bench: a fork of 8, against eight resumes on as many cores as there are",
		.limit = 2,
		.ratio_line = "ratio_fork_8"},
	{.name = "torpor bench: resume idle until running: p99 over p50",
		.limit = 2,
		.tail_line = "resume_idle.running"},
	{.name = "torpor bench: park idle until durable: p99 over p50",
		.limit = 2,
		.tail_line = "park_idle.durable"},
};
const size_t report_n_targets = TP_ARRAY_LEN(targets);

const char *const report_verdict_names[REPORT_NOT_JUDGED + 1] = {
	[REPORT_MET] = "met",
	[REPORT_NOT_MET] = "NOT MET",
	[REPORT_NOT_MEASURED] = "not measured",
	[REPORT_NOT_JUDGED] = "no target",
};

static bool matches(const char *pattern, const char *name)
{
	size_t len = strlen(pattern);

	if (pattern[len - 1] == '*')
		return strncmp(pattern, name, len - 1) == 0;
	return strcmp(pattern, name) == 0;
}

static bool is_on(const struct side *side, const struct report_peer *peer)
{
	if (side->lasting && !(peer->durable && peer->frees))
		return false;
	for (size_t i = 0; side->names[i]; i++) {
		if (matches(side->names[i], peer->name))
			return true;
	}
	return false;
}

/* --- by pairs --- */

static struct report_key key_of(const struct target *target, size_t peer)
{
	return (struct report_key){peer, target->cell, target->op};
}

/* Behind what NOTE says already. */
static void note(struct report_judgement *out, const char *text)
{
	size_t len = strlen(out->note);

	snprintf(out->note + len, sizeof(out->note) - len, "%s%s", len ? "; " : "", text);
}

static void note_without(struct report_judgement *out, const char *peer)
{
	char text[64];

	snprintf(text, sizeof(text), "without %.40s: no pair", peer);
	note(out, text);
}

static struct report_spread compare(
	const struct report *r, const struct target *target, size_t above, size_t below)
{
	struct report_key a = key_of(target, above);
	struct report_key b = key_of(target, below);
	REPORT_VALUES struct report_values ratios = report_ratios(r, &a, &b, target->figure);

	return report_spread(&ratios);
}

/* The first peer of a side that is one peer; r->n_peers: it has no samples. */
static size_t the_one(const struct report *r, const struct side *side)
{
	return report_peer_named(r, side->names[0]);
}

static void judge_pairs(
	const struct report *r, const struct target *target, struct report_judgement *out)
{
	size_t below = the_one(r, target->below);
	size_t best = r->n_peers;

	for (size_t i = 0; i < r->n_peers; i++) {
		struct report_key key = key_of(target, i);
		if (!is_on(target->above, &r->peers[i]))
			continue;
		struct report_spread spread = compare(r, target, i, below);
		if (spread.n == 0 && report_counts(r, &key).all > 0)
			note_without(out, r->peers[i].name);
		if (spread.n == 0 || (best < r->n_peers && spread.middle >= out->value.middle))
			continue;
		best = i;
		out->value = spread;
	}
	if (best == r->n_peers)
		return;
	struct report_key a = key_of(target, best);
	struct report_key b = key_of(target, below);
	out->failures = report_counts(r, &a).failed + report_counts(r, &b).failed;
	snprintf(out->of, sizeof(out->of), "%s / %s", r->peers[best].name, r->peers[below].name);
}

/* --- p99 over p50 --- */

static void judge_tail(
	const struct report *r, const struct target *target, struct report_judgement *out)
{
	struct report_key key = key_of(target, the_one(r, target->above));
	REPORT_VALUES struct report_values values = report_values_of(r, &key, target->figure);

	snprintf(out->of, sizeof(out->of), "%s", target->above->names[0]);
	out->failures = report_counts(r, &key).failed;
	out->value.n = values.n;
	if (values.n < BENCH_NEEDED_FOR_P99)
		return;
	double p50 = bench_rank(values.v, values.n, 50);
	out->value.middle = p50 > 0 ? bench_rank(values.v, values.n, 99) / p50 : NAN;
	out->value.low = out->value.high = out->value.middle;
}

/* --- lines of torpor bench --- */

static double number_of(const json_t *line, const char *key)
{
	const json_t *value = json_object_get(line, key);

	return json_is_number(value) ? json_number_value(value) : NAN;
}

static void judge_line(
	const struct report *r, const struct target *target, struct report_judgement *out)
{
	const char *name = target->ratio_line ? target->ratio_line : target->tail_line;
	const json_t *line = json_object_get(r->bench.lines, name);
	double value = target->ratio_line ? number_of(line, "value_p50")
					  : number_of(line, "p99") / number_of(line, "p50");

	snprintf(out->of, sizeof(out->of), "%s", name);
	out->value.n = (size_t)json_integer_value(json_object_get(line, "n"));
	out->failures = (unsigned int)json_integer_value(json_object_get(line, "failures"));
	out->value.middle = out->value.low = out->value.high = value;
}

/* --- all --- */

static size_t needed(const struct target *target)
{
	return target->tail_line || (target->above && !target->below) ? BENCH_NEEDED_FOR_P99
								      : PAIRS_NEEDED;
}

static void decide(const struct target *target, struct report_judgement *out)
{
	double value = out->value.middle;
	char text[64];

	if (out->value.n < needed(target) || !isfinite(value)) {
		out->verdict = REPORT_NOT_MEASURED;
		snprintf(text, sizeof(text), "%zu of the %zu needed", out->value.n, needed(target));
		note(out, text);
	} else if (target->limit == 0) {
		out->verdict = REPORT_NOT_JUDGED;
	} else {
		bool met = target->at_least ? value >= target->limit : value <= target->limit;
		out->verdict = met ? REPORT_MET : REPORT_NOT_MET;
	}
}

struct report_judgement report_judge(const struct report *r, size_t index)
{
	const struct target *target = &targets[index];
	struct report_judgement out = {
		.name = target->name,
		.limit = target->limit,
		.at_least = target->at_least,
	};

	if (!target->above)
		judge_line(r, target, &out);
	else if (target->below)
		judge_pairs(r, target, &out);
	else
		judge_tail(r, target, &out);
	decide(target, &out);
	return out;
}
