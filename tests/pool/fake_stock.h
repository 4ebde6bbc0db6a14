/* SPDX-License-Identifier: Apache-2.0 */
/* Stock without guests, for the supply: starts that block, fail, and are counted. */
#ifndef TP_TESTS_POOL_FAKE_STOCK_H
#define TP_TESTS_POOL_FAKE_STOCK_H

#include "pool/supply_priv.h"

struct fake {
	struct torpor_template tmpl;
	struct torpor_engine engine;
	struct tp_base base;
	int gate_fd; /* readable: starts go on; else they wait for it */

	/* By fake_lock. */
	unsigned int warm;
	unsigned int shells;
	bool failing;
	unsigned int in_start; /* now, and the most at a time */
	unsigned int in_start_peak;
	unsigned int started;
	unsigned int cancelled;
	unsigned int failed;
	unsigned int ended;	/* by shrinking */
	unsigned int asked;	/* how often */
	unsigned int deaf_warm; /* that the next asking finds */
	unsigned int deaf;	/* that were found, and not taken yet */
	int niceness;		/* of the last start's thread */
};

extern pthread_mutex_t fake_lock;
/* Something of a fake has changed, or a test thread has got on. */
extern pthread_cond_t fake_changed;

extern const struct tp_stock_ops fake_ops;

void fake_init(struct fake *fake, const char *name);
/* Nothing may use it any more. Aborts if it is still counted up. */
void fake_deinit(struct fake *fake);
/* Whether starts go on, from now. */
void fake_gate(struct fake *fake, bool open);
/* A claim takes one that waits; what it was. */
enum torpor_source fake_take(struct fake *fake, bool warm_would_do);
/* Takes the lock, changes, tells. */
void fake_set_failing(struct fake *fake, bool failing);

/* Counts what is reserved. Refuses beyond RESERVE_MOST. */
extern unsigned int fake_reserved;
extern unsigned int fake_reserve_most;
bool fake_reserve(void *data, uint64_t memory_bytes);
void fake_unreserve(void *data, uint64_t memory_bytes);
/* For struct tp_supply_options: wakes who waits for fake_changed. */
void fake_tell(void *data, const char *template_name);

#endif
