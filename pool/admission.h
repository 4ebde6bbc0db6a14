/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may have a guest: the host's memory budget, the number of guests, each tenant's limits.
 * Counts in memory, under one lock; of two that ask for the last place exactly one gets it.
 *
 * A guest is charged `guest_overhead` and `guest_share_percent` of its RAM (clones share most of
 * it); a base at its full RAM size, once. What really is used is watched by the service, which
 * parks idle sessions when the host runs short.
 *
 * Stock makes way for sessions: what waits is never a reason to refuse one, since it can be used or
 * ended. So `charged` can exceed the budget by what waits; then the stock is to be pressed
 * (tp_supply_press) until it no longer does.
 */
#ifndef TP_POOL_ADMISSION_H
#define TP_POOL_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct tp_admission;

struct tp_admission_config {
	uint64_t host_memory;  /* budget in bytes */
	uint64_t max_sessions; /* guests of sessions at a time */
	uint64_t guest_overhead;
	unsigned int guest_share_percent;
};

struct tp_tenant_limits {
	uint64_t sessions;     /* sessions with a process */
	uint64_t memory_bytes; /* the sum of their guests' RAM */
	uint64_t parked_bytes; /* images */
};

struct tp_admission *tp_admission_new(const struct tp_admission_config *config);
/* Takes NULL. Returns NULL. */
struct tp_admission *tp_admission_free(struct tp_admission *admission);
void tp_admission_configure(
	struct tp_admission *admission, const struct tp_admission_config *config);

/*
 * Takes COUNT places for guests of MEMORY_BYTES of RAM each: all or none. LIMIT with a reason
 * ("tenant-sessions", "tenant-memory", "host-sessions", "host-memory") and when to retry. With
 * FORCED no limit is asked: for what runs already (recovery).
 */
struct torpor_error *tp_admit(struct tp_admission *admission, const char *tenant,
	const struct tp_tenant_limits *limits, unsigned int count, uint64_t memory_bytes,
	bool forced) TP_MUST_USE;
void tp_admit_undo(struct tp_admission *admission, const char *tenant, unsigned int count,
	uint64_t memory_bytes);

/* The tenant's image bytes, as they change; asked before a park: "tenant-parked-bytes". */
void tp_admission_images(struct tp_admission *admission, const char *tenant, int64_t delta_bytes);
struct torpor_error *tp_admit_image(struct tp_admission *admission, const char *tenant,
	const struct tp_tenant_limits *limits) TP_MUST_USE;

/* Bases, and guests that wait in stock, which nobody's limits count. False: no room
 * ("host-memory"). */
bool tp_admit_stock(struct tp_admission *admission, uint64_t memory_bytes);
void tp_admit_stock_undo(struct tp_admission *admission, uint64_t memory_bytes);
void tp_admission_base(struct tp_admission *admission, int64_t delta_bytes);

struct tp_admission_view {
	uint64_t host_memory;
	uint64_t charged;  /* of it: sessions' guests, bases and stock */
	uint64_t bases;	   /* part of it */
	uint64_t sessions; /* guests of sessions */
	uint64_t stock;	   /* guests that wait */
	uint64_t tenants;  /* that have a guest or an image */
};
void tp_admission_view(struct tp_admission *admission, struct tp_admission_view *view_out);

struct tp_tenant_view {
	uint64_t sessions;
	uint64_t memory_bytes;
	uint64_t image_bytes;
};
void tp_admission_tenant(
	struct tp_admission *admission, const char *tenant, struct tp_tenant_view *view_out);

#endif
