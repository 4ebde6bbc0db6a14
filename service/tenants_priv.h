/* SPDX-License-Identifier: Apache-2.0 */
/* Tenants, for tenants.c, which keeps them, and tenants_admin.c, which shows and changes them. */
#ifndef TP_SERVICE_TENANTS_PRIV_H
#define TP_SERVICE_TENANTS_PRIV_H

#include "service/service_priv.h"
#include "service/tenants.h"

#define TP_TENANT_BUCKETS 256

struct tp_tenant {
	struct tp_tenant *next; /* in its bucket */
	struct tp_tenant_row row;
	double requests;     /* that may still be made */
	uint64_t counted_ns; /* when that was so; 0: never */
	bool leaving;	     /* it is being removed: no session of it is begun */
};

struct tp_tenants {
	struct tp_records *records;
	/* One change of a tenant at a time; held across the commit. Taken before the other. */
	pthread_mutex_t changing;

	/* By the lock. */
	pthread_mutex_t lock;
	struct tp_tenant *buckets[TP_TENANT_BUCKETS];
	struct tp_tenant_limits limits;
	struct tp_timers timers;
	unsigned int requests_per_minute;
};

/* Nothing set. */
extern const struct tp_limits_row tp_no_limits;

/* By the lock. NULL if there is none. */
struct tp_tenant *tp_tenant_find(struct tp_tenants *tenants, const char *name);
/* By the lock: a copy of ROW, instead of what there was. */
void tp_tenant_put(struct tp_tenants *tenants, const struct tp_tenant_row *row);
/* By the lock. */
void tp_tenant_drop(struct tp_tenants *tenants, const char *name);

/* By the lock; as they hold. TENANT may be NULL but for the rate: the defaults. */
struct tp_tenant_limits tp_tenant_limits_of(
	const struct tp_tenants *tenants, const struct tp_tenant *tenant);
struct tp_timers tp_tenant_timers_of(
	const struct tp_tenants *tenants, const struct tp_tenant *tenant);
uint64_t tp_tenant_rate_of(const struct tp_tenants *tenants, const struct tp_tenant *tenant);

/* What every unknown tenant is answered with. */
struct torpor_error *tp_no_tenant(const char *name) TP_MUST_USE;
/* A copy of the row. NOT_FOUND. */
struct torpor_error *tp_tenant_get(
	struct tp_service *service, const char *name, struct tp_tenant_row *row_out) TP_MUST_USE;

#endif
