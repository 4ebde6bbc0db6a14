/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a policy would have given for a recorded load. Deterministic: the same trace, configuration
 * and seed give the same result.
 *
 * A trace is text, a line for each claim or resume: milliseconds from the start, "claim" or
 * "resume", and how long the guest is held in milliseconds (or "-": to the end). "#" begins a
 * comment.
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
	unsigned int start_slots;
	unsigned int failure_percent; /* of starts that fail */
	uint64_t seed;
	uint64_t warm_bytes; /* what one costs while it waits */
	uint64_t shell_bytes;
};

struct tp_simulate_report {
	uint64_t claims;
	uint64_t from_warm;
	uint64_t from_shell;
	uint64_t from_spawn;
	double hit_rate; /* claims served by a warm guest, of those that one could serve */
	uint64_t wait_p50_ns;
	uint64_t wait_p99_ns;
	uint64_t wait_max_ns;
	double memory_gib_hours; /* of waiting guests */
	unsigned int warm_peak;
	uint64_t starts;
	uint64_t failed_starts;
};

/* INVALID names the line that isn't one. */
struct torpor_error *tp_simulate(FILE *trace, const struct tp_simulate_options *options,
	struct tp_simulate_report *report_out) TP_MUST_USE;

#endif
