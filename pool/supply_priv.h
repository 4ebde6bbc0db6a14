/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supply, from the inside.
 *
 *   claim ---> waiters ---> goes ahead: enough waits, or it has a start slot    supply_claims.c
 *                              |
 *     stock, demand, failures  v
 *   bell ---> decider ---> jobs ---> refill threads ---> stock                  supply_refill.c
 *                 \--> trims what is too much; asks; tells what changed         supply.c
 *
 * One lock guards it all. It is never held across what starts or ends a process. The bell has a
 * lock of its own, under which nothing else is taken, so that it can be rung from anywhere.
 */
#ifndef TP_POOL_SUPPLY_PRIV_H
#define TP_POOL_SUPPLY_PRIV_H

#include <pthread.h>

#include "pool/supply.h"

/* What the supply does with stock (pool/template.h): a seam for tests, who need no guests then. */
struct tp_stock_ops {
	struct torpor_error *(*add_warm)(
		struct torpor_template *tmpl, const struct tp_call *call, uint64_t *took_ns_out);
	struct torpor_error *(*add_shell)(
		struct torpor_template *tmpl, const struct tp_call *call, uint64_t *took_ns_out);
	void (*count)(
		struct torpor_template *tmpl, unsigned int *warm_out, unsigned int *shells_out);
	unsigned int (*shrink)(
		struct torpor_template *tmpl, unsigned int warm, unsigned int shells);
	void (*ask)(struct torpor_template *tmpl);
	unsigned int (*take_deaf)(struct torpor_template *tmpl);
};

struct tp_supply *tp_supply_new_with(
	const struct tp_supply_options *options, const struct tp_stock_ops *ops);

enum tp_kind { TP_KIND_WARM, TP_KIND_SHELL, TP_KINDS };

/* What views show, for telling changes. */
struct tp_shown {
	unsigned int figures[8];
};

/* A template in supply. Counted: by the list, claims, starts, and what works on it unlocked. */
struct tp_supplied {
	/* Constant. */
	struct torpor_template *tmpl; /* counted */
	uint64_t memory_bytes;
	int cancel_fd; /* readable once its starts are to be broken off */

	/* By the supply's lock. */
	struct tp_supplied *next;
	unsigned int refs;
	bool removed;
	struct tp_policy_config config;
	struct tp_policy policy;
	struct tp_policy_decision decision; /* the last; what is done of it is struck out */
	unsigned int jobs[TP_KINDS];	    /* starts that no thread has taken up yet */
	unsigned int starting[TP_KINDS];    /* these, and those under way */
	bool worked_on;			    /* what waits of it, unlocked: trimmed, or asked */
	uint64_t ask_ns; /* when those that wait are asked next; UINT64_MAX: never */
	unsigned int promised[TP_KINDS]; /* of stock, to claims */
	unsigned int reserved;		 /* guests that memory is reserved for */
	unsigned int waiting;		 /* claims */
	unsigned int spawning;		 /* claims that have a slot */
	uint64_t turn;			 /* when it was last given a start: the lowest is next */
	uint64_t served[3];
	uint64_t failures;
	uint64_t deaf;
	char reason[256]; /* of the last failed start */
	struct tp_shown shown;
};

/* A claim that waits; on its thread's stack. By the supply's lock, but for the reading of FD. */
struct tp_waiter {
	struct tp_waiter *next;
	struct tp_claim *claim;
	int fd; /* written once it no longer waits; -1: its thread isn't waiting yet */
	enum { TP_WAITS, TP_GRANTED, TP_REFUSED } state;
};

struct tp_supply {
	/* Constant. */
	struct tp_supply_options options; /* nothing 0 */
	const struct tp_stock_ops *ops;
	pthread_t decider;
	pthread_t *refillers; /* refill_slots */

	pthread_mutex_t bell_lock;
	pthread_cond_t bell; /* CLOCK_MONOTONIC */
	/* By the bell's lock. */
	bool rung;

	pthread_mutex_t lock;
	pthread_cond_t work; /* there are jobs, or it ends */
	pthread_cond_t idle; /* a start or a trim has ended */
	/* By the lock. */
	bool stopping;
	bool pressure;
	bool fully;
	struct tp_supplied *supplied;
	struct tp_waiter *waiters; /* first come first */
	unsigned int waiting;	   /* of these that wait */
	unsigned int slots_used;
	unsigned int refilling; /* jobs, and starts under way */
	unsigned int passed;	/* slots given to claims since the last of these was begun */
	uint64_t turns;
	uint64_t chance;
};

/* The decider looks at everything soon. Any thread, any lock. */
void tp_supply_ring(struct tp_supply *supply);

/* --- by the lock --- */

/* By TMPL (unless NULL) or NAME; NULL if it isn't in supply. */
struct tp_supplied *tp_supplied_find(
	struct tp_supply *supply, const struct torpor_template *tmpl, const char *name);
/* Counts down; true if that was the last and tp_supplied_free is due, without the lock. */
bool tp_supplied_put(struct tp_supplied *supplied) TP_MUST_USE;
void tp_supplied_free(struct tp_supplied *supplied);
struct tp_policy_stock tp_supplied_stock(
	const struct tp_supply *supply, const struct tp_supplied *supplied);
/* Gives back memory that was reserved for guests that are no longer in stock. */
void tp_supplied_reconcile(struct tp_supply *supply, struct tp_supplied *supplied);
/* One of its starts failed. */
void tp_supplied_failed(
	struct tp_supply *supply, struct tp_supplied *supplied, const struct torpor_error *err);
/* Until it may be worth asking again; 0 if a claim may try. */
unsigned int tp_supplied_retry_after(const struct tp_supplied *supplied);

/* --- supply_claims.c, by the lock --- */

/* Lets those go ahead who can. */
void tp_supply_serve(struct tp_supply *supply);

/* --- supply_refill.c --- */

/* Hands out starts as the decisions say and slots allow; when to look again. By the lock. */
uint64_t tp_supply_hand_out(struct tp_supply *supply, uint64_t now_ns);
/* Takes back those that no thread has taken up. By the lock. */
void tp_supplied_drop_jobs(struct tp_supply *supply, struct tp_supplied *supplied);
void *tp_supply_refill(void *supply);

#endif
