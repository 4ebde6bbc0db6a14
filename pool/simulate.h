/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a policy would have given for a recorded load. Deterministic: the same trace, configuration
 * and seed give the same result.
 *
 * A trace is text, a line for each claim or resume in the order of time: milliseconds from the
 * start, "claim" or "resume", and how long the guest is held in milliseconds (or "-": to the end).
 * "#" begins a comment.
 *
 * The rules are the supply's (pool/supply.h), without bound on the queue. In the beginning the
 * minimum waits. Starts ahead fail as asked; those that a claim makes itself don't.
 */
#ifndef TP_POOL_SIMULATE_H
#define TP_POOL_SIMULATE_H

#include <stdio.h>

#include "base/error.h"
#include "pool/policy.h"

struct tp_simulate_options {
	struct tp_policy_config policy;
	uint64_t warm_start_ns; /* what a warm guest takes to start */
	uint64_t shell_start_ns;
	uint64_t warm_claim_ns; /* what a claim takes that is served from each */
	uint64_t shell_claim_ns;
	unsigned int start_slots;     /* claims that start one themselves at a time */
	unsigned int refill_slots;    /* starts ahead at a time */
	unsigned int refill_every;    /* one of them after so many of claims'; 0: after none */
	unsigned int failure_percent; /* of starts ahead that fail */
	uint64_t seed;
	uint64_t warm_bytes; /* what one costs while it waits */
	uint64_t shell_bytes;
};

/* The default policy; 300 ms for a warm start, 150 ms for a shell ... as docs/POOL.md has them. */
extern const struct tp_simulate_options tp_simulate_defaults;

#define TP_SIMULATE_LINES_MAX 1000000 /* of a trace, comments left out */

struct tp_simulate_report {
	uint64_t claims; /* and resumes */
	uint64_t from_warm;
	uint64_t from_shell;
	uint64_t from_spawn;
	double hit_rate; /* claims served by a warm guest, of those that one could serve; 1 if none
			  */
	uint64_t wait_p50_ns;
	uint64_t wait_p99_ns;
	uint64_t wait_max_ns;
	double memory_gib_hours; /* of waiting guests */
	unsigned int warm_peak;
	uint64_t held_peak; /* guests in use at a time */
	uint64_t starts;
	uint64_t failed_starts;
};

/* INVALID names the line that isn't one, or the option that makes no sense; LIMIT: too many lines.
 */
struct torpor_error *tp_simulate(FILE *trace, const struct tp_simulate_options *options,
	struct tp_simulate_report *report_out) TP_MUST_USE;

#endif
