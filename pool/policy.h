/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many guests of a template should wait, and whether to start one now: pure functions of what
 * has happened, the time, and the configuration. No clock, no randomness of its own, no allocation.
 * The simulator (pool/simulate.h) and the supply (pool/supply.h) drive the same code.
 */
#ifndef TP_POOL_POLICY_H
#define TP_POOL_POLICY_H

#include <stdbool.h>

#include "base/macros.h"

struct tp_policy_config {
	unsigned int warm_min;
	unsigned int warm_max;
	unsigned int shells_min;
	unsigned int shells_max;
	uint64_t window_ns;	      /* over which demand is looked at */
	unsigned int waiting_high;    /* more claims waiting than this: grow at once (10) */
	uint64_t start_slow_ns;	      /* an average start above this: grow at once (2 s) */
	unsigned int failure_percent; /* more failed starts than this: grow at once (5) */
	uint64_t backoff_min_ns;      /* after a failed start; doubled with each further one */
	uint64_t backoff_max_ns;
	unsigned int degraded_after; /* failed starts in a row until the template is degraded */
};

/* warm 1..8, shells 1..4, window 60 s, backoff 100 ms to 30 s, degraded after 5. */
extern const struct tp_policy_config tp_policy_defaults;
#define TP_POLICY_DEFAULTS                                                                         \
	{                                                                                          \
		.warm_min = 1, .warm_max = 8, .shells_min = 1, .shells_max = 4,                    \
		.window_ns = 60 * TP_NSEC_PER_SEC, .waiting_high = 10,                             \
		.start_slow_ns = 2 * TP_NSEC_PER_SEC, .failure_percent = 5,                        \
		.backoff_min_ns = 100 * TP_NSEC_PER_MSEC, .backoff_max_ns = 30 * TP_NSEC_PER_SEC,  \
		.degraded_after = 5,                                                               \
	}

/* What is wrong with CONFIG, or NULL; static storage. The functions below want one that is right.
 */
const char *tp_policy_config_error(const struct tp_policy_config *config);

#define TP_POLICY_MOST	     1000			   /* that may wait of each kind */
#define TP_POLICY_WINDOW_MIN (1 * TP_NSEC_PER_SEC)	   /* of window_ns */
#define TP_POLICY_WINDOW_MAX (24 * 3600 * TP_NSEC_PER_SEC) /* of window_ns */

#define TP_POLICY_BUCKETS 64

/* One template's. Zeroed to begin with; changed only by the functions below. */
struct tp_policy {
	/* Claims and resumes by time: a ring of buckets, each window_ns / TP_POLICY_BUCKETS long.
	 */
	struct {
		uint64_t number; /* of the bucket, since the clock's zero */
		uint32_t warm;	 /* claims that a warm guest could serve */
		uint32_t shells; /* resumes and forks, which need shells */
		uint32_t starts;
		uint32_t failures;
	} buckets[TP_POLICY_BUCKETS];
	uint64_t start_ns_average; /* of starts of warm guests; 0: none yet */
	unsigned int failed_in_row;
	uint64_t not_before_ns; /* backoff */
	unsigned int boost;	/* added to the targets since a trigger; decays */
	uint64_t boosted_ns;
};

/* What the world looks like now. */
struct tp_policy_stock {
	unsigned int warm;
	unsigned int shells;
	unsigned int starting_warm;
	unsigned int starting_shells;
	unsigned int waiting; /* claims in the queue */
	bool pressure;	      /* the host is short of memory: no more than the minimum */
	bool nothing;	      /* it is very short: nothing at all may wait */
};

struct tp_policy_decision {
	unsigned int warm_target;
	unsigned int shell_target;
	bool start_warm;	/* start one now */
	bool start_shell;	/* start one now; not with start_warm */
	unsigned int drop_warm; /* end so many now */
	unsigned int drop_shells;
	bool degraded;
	uint64_t look_again_ns; /* when to decide again if nothing happens before */
};

/* NOW_NS is any clock that doesn't run backwards. One claim, or one resume or fork. */
void tp_policy_claimed(struct tp_policy *policy, const struct tp_policy_config *config,
	bool warm_would_do, uint64_t now_ns);
/* One was started: that heals. TOOK_NS is what it took, 0 for other than a warm one. */
void tp_policy_started(struct tp_policy *policy, const struct tp_policy_config *config,
	uint64_t took_ns, uint64_t now_ns);
/* JITTER is 0 to 65535, random: spreads the backoff. */
void tp_policy_failed(struct tp_policy *policy, const struct tp_policy_config *config,
	uint16_t jitter, uint64_t now_ns);
bool tp_policy_degraded(const struct tp_policy *policy, const struct tp_policy_config *config);
/* Changes nothing but the boost, which decays; asked twice at one time it says the same. */
void tp_policy_decide(struct tp_policy *policy, const struct tp_policy_config *config,
	const struct tp_policy_stock *stock, uint64_t now_ns,
	struct tp_policy_decision *decision_out);

/*
 * Turns of claims and of starts ahead, on all slots of a host. While CLAIMS of them start a guest
 * or wait to, a start ahead has its turn after EVERY of theirs (0: never), of which PASSED were
 * begun since the last one was: of EVERY + 1 starts no more than one is ahead of demand.
 */
bool tp_policy_may_start_ahead(unsigned int claims, unsigned int passed, unsigned int every);

#define TP_POLICY_REFILL_EVERY 4 /* unless somebody says otherwise */

#endif
