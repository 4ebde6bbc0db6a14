/* SPDX-License-Identifier: Apache-2.0 */
/*
 * torpor bench: what park and resume cost on this host, beside what they can't cost less than.
 *
 * benchmarks/README.md has the method: where intervals begin and end, what a floor is, and what
 * makes a run worthless.
 */
#ifndef TP_BENCH_BENCH_H
#define TP_BENCH_BENCH_H

#include <stdbool.h>
#include <stdio.h>

#include <torpor/torpor.h>

struct bench_options {
	struct torpor_engine_options engine;
	const char *template_name;
	const char *daemon;    /* torpord's program: measured through it; NULL: not */
	const char *scenarios; /* names with commas between; NULL: all of them */
	unsigned int n;	       /* samples of each figure; 0: 20, or 2 if quick */
	unsigned int quiet_ms; /* that a guest is left alone before a sample; 0: 5000, quick 500 */
	bool quick;	       /* shows that it works; the figures mean little. Without scale_ram */
	bool table;	       /* for people, instead of JSON lines */
	FILE *out;
	const char *version; /* Torpor's */
	struct torpor_call call;
};

/* The names that `scenarios` may hold, ended by NULL; and what each measures. */
struct bench_scenario_name {
	const char *name;
	const char *summary;
};
extern const struct bench_scenario_name bench_scenario_names[];

/*
 * Runs the scenarios and prints; progress goes to stderr. What was measured before a failure or a
 * cancel is printed as well. INVALID for scenarios that don't exist.
 */
struct torpor_error *bench_run(const struct bench_options *options);

#endif
