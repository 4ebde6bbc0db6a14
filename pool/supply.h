/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps guests waiting, ahead of demand: warm ones and shells, for each template that is in supply.
 *
 * One thread decides (pool/policy.h), woken by claims, deaths and time, and asks those that wait
 * whether they are well; a few start guests, at most
 * `refill_slots` at a time. While claims have to start guests themselves, or wait to, one is begun
 * for each `refill_every` of theirs, beside them, so that stock recovers under a load without
 * gaps. Their threads have a lower priority than those of claims.
 *
 * Claims that find nothing waiting start a guest on their own thread, at most `start_slots` of them
 * at a time, first come first served; up to `queue_max` more wait, further ones are refused (LIMIT,
 * "queue-full").
 */
#ifndef TP_POOL_SUPPLY_H
#define TP_POOL_SUPPLY_H

#include "pool/policy.h"
#include "pool/template.h"

struct tp_supply;

struct tp_supply_options {
	unsigned int start_slots;  /* 0: the number of processors */
	unsigned int refill_slots; /* 0: 1 */
	unsigned int refill_every; /* 0: nothing is started ahead while claims start guests */
	unsigned int queue_max;	   /* 0: 256 */
	uint64_t ask_every_ns;	   /* those that wait are asked whether they are well; 0: never */
	/*
	 * Whether there is memory for one more of RAM MEMORY_BYTES, and back again
	 * (pool/admission.h). With locks held: they may not call the supply.
	 */
	bool (*reserve)(void *data, uint64_t memory_bytes);
	void (*unreserve)(void *data, uint64_t memory_bytes);
	/*
	 * Something changed that a view of the pool shows; on a thread of the supply's, with no
	 * lock held. It may call the supply, but not remove from it. May be NULL.
	 */
	void (*changed)(void *data, const char *template_name);
	void *data;
};

struct tp_supply *tp_supply_new(const struct tp_supply_options *options);
/* Ends what waits. No claim may be under way. Takes NULL. Returns NULL. */
struct tp_supply *tp_supply_free(struct tp_supply *supply);

/*
 * Takes a template into supply, or changes its configuration; counts it up. It takes the place of
 * another one of its name.
 */
void tp_supply_add(struct tp_supply *supply, struct torpor_template *tmpl,
	const struct tp_policy_config *config);
/* Out again; what waits of it has ended then, and no start of it is under way. What isn't there is
 * fine. */
void tp_supply_remove(struct tp_supply *supply, const char *template_name);
/* Of TORPOR_EVENT_STOCK: one that waited has died, or was deaf. Doesn't block. */
void tp_supply_lost(struct tp_supply *supply, const char *template_name);
/* While on, no more than the minimum waits, and nothing at all if FULLY. */
void tp_supply_press(struct tp_supply *supply, bool on, bool fully);

struct tp_supplied;

struct tp_claim {
	struct tp_supply *supply;
	struct torpor_template *tmpl;
	struct tp_supplied *supplied; /* counted; NULL: the template isn't in supply */
	bool slot;		      /* it has one of the start slots */
	unsigned int promised_warm;   /* of those that wait, kept for it */
	unsigned int promised_shells;
	unsigned int count;
	bool warm_would_do;
	uint64_t entered_ns;
};

/*
 * Before a start (WARM_WOULD_DO), resume or fork of COUNT guests: returns once it may go ahead, at
 * once where enough waits. LIMIT "queue-full"; "template-degraded" if nothing waits and the next
 * try is not due (with when it is). CLAIM_OUT is to be ended.
 */
struct torpor_error *tp_claim_begin(struct tp_supply *supply, struct torpor_template *tmpl,
	unsigned int count, bool warm_would_do, const struct tp_call *call,
	struct tp_claim *claim_out) TP_MUST_USE;
/*
 * ERR (may be NULL) is how it went and stays the caller's; REPORT (may be NULL) as of the call. An
 * error counts against the template only where the claim started a guest itself and QEMU or the
 * guest failed: what callers bring about (deadlines, names, images) degrades nobody's template.
 */
void tp_claim_end(struct tp_claim *claim, const struct torpor_error *err,
	const struct torpor_resume_report *report);

struct tp_supply_view {
	struct tp_policy_stock stock;
	unsigned int warm_target;
	unsigned int shell_target;
	uint64_t served[3]; /* by enum torpor_source, of starts, since it is in supply */
	uint64_t failures;
	uint64_t deaf; /* that waited and were ended because they didn't answer */
	uint64_t start_ns_average;
	bool degraded;
	char reason[256]; /* of the last failed start, while degraded */
	unsigned int retry_after_s;
};
/* False if it isn't in supply. */
bool tp_supply_view(
	struct tp_supply *supply, const char *template_name, struct tp_supply_view *view_out);
/* Claims that wait for a slot, of all templates. */
unsigned int tp_supply_waiting(struct tp_supply *supply);

#endif
