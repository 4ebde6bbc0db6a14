/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tenants: their limits, timers and rates. tenants_admin.c has what is shown and changed of them,
 * tokens.c their tokens.
 *
 * Rates: a bucket of tokens (no relation to the other kind) for each tenant, which holds a whole
 * minute's worth, so that a client which has been quiet may use its minute at once, and fills up
 * evenly. So no minute sees more than twice the limit, and none on average more than the limit.
 */
#include "service/tenants_priv.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/config.h"

/* --- the copy --- */

static size_t bucket_of(const char *name)
{
	uint32_t hash = 2166136261u;

	for (const char *c = name; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 16777619u;
	return hash % TP_TENANT_BUCKETS;
}

/* By the lock. */
struct tp_tenant *tp_tenant_find(struct tp_tenants *tenants, const char *name)
{
	struct tp_tenant *tenant = tenants->buckets[bucket_of(name)];

	while (tenant && strcmp(tenant->row.name, name) != 0)
		tenant = tenant->next;
	return tenant;
}

static void copy_row(const struct tp_tenant_row *from, struct tp_tenant_row *row_out)
{
	*row_out = *from;
	row_out->name = tp_strdup(from->name);
}

/* By the lock. */
void tp_tenant_put(struct tp_tenants *tenants, const struct tp_tenant_row *row)
{
	struct tp_tenant *tenant = tp_tenant_find(tenants, row->name);

	if (!tenant) {
		struct tp_tenant **bucket = &tenants->buckets[bucket_of(row->name)];
		tenant = tp_calloc(1, sizeof(*tenant));
		tenant->next = *bucket;
		*bucket = tenant;
	}
	tp_tenant_row_deinit(&tenant->row);
	copy_row(row, &tenant->row);
}

void tp_tenant_drop(struct tp_tenants *tenants, const char *name)
{
	struct tp_tenant **at = &tenants->buckets[bucket_of(name)];

	while (*at && strcmp((*at)->row.name, name) != 0)
		at = &(*at)->next;
	if (!*at)
		return;
	struct tp_tenant *tenant = *at;
	*at = tenant->next;
	tp_tenant_row_deinit(&tenant->row);
	free(tenant);
}

static struct torpor_error *load(void *data, const struct tp_tenant_row *row)
{
	tp_tenant_put(data, row);
	return NULL;
}

const struct tp_limits_row tp_no_limits = {
	.sessions = TP_UNSET,
	.memory_bytes = TP_UNSET,
	.parked_bytes = TP_UNSET,
	.requests_per_minute = TP_UNSET,
	.ttl_s = TP_UNSET,
	.idle_s = TP_UNSET,
	.retention_s = TP_UNSET,
};

static struct torpor_error *make_default(struct tp_tenants *tenants)
{
	TP_FREE char *name = tp_strdup(TP_DEFAULT_TENANT);
	struct tp_tenant_row row = {
		.name = name, .uid = -1, .limits = tp_no_limits, .created_ns = tp_realtime_ns()};
	struct tp_change *change = tp_change_new();

	tp_change_put_tenant(change, &row);
	TP_TRY(tp_records_commit(tenants->records, change));
	tp_tenant_put(tenants, &row);
	return NULL;
}

struct torpor_error *tp_tenants_new(struct tp_records *records, struct tp_tenants **tenants_out)
{
	struct tp_tenants *tenants = tp_calloc(1, sizeof(*tenants));

	tenants->records = records;
	pthread_mutex_init(&tenants->changing, NULL);
	pthread_mutex_init(&tenants->lock, NULL);
	struct torpor_error *err = tp_records_tenants(records, load, tenants);
	if (!err && !tp_tenant_find(tenants, TP_DEFAULT_TENANT))
		err = make_default(tenants);
	if (err) {
		tp_tenants_free(tenants);
		return tp_error_in(err, "read", "tenants");
	}
	*tenants_out = tenants;
	return NULL;
}

struct tp_tenants *tp_tenants_free(struct tp_tenants *tenants)
{
	if (!tenants)
		return NULL;
	for (size_t i = 0; i < TP_TENANT_BUCKETS; i++) {
		while (tenants->buckets[i])
			tp_tenant_drop(tenants, tenants->buckets[i]->row.name);
	}
	pthread_mutex_destroy(&tenants->changing);
	pthread_mutex_destroy(&tenants->lock);
	free(tenants);
	return NULL;
}

void tp_tenants_configure(struct tp_tenants *tenants, const struct tp_service_config *config)
{
	pthread_mutex_lock(&tenants->lock);
	tenants->limits = config->tenant_limits;
	tenants->timers = config->timers;
	tenants->requests_per_minute = config->requests_per_minute;
	pthread_mutex_unlock(&tenants->lock);
}

size_t tp_tenants_names(struct tp_tenants *tenants, char ***names_out)
{
	char **names = NULL;
	size_t n = 0;

	pthread_mutex_lock(&tenants->lock);
	for (size_t i = 0; i < TP_TENANT_BUCKETS; i++) {
		for (const struct tp_tenant *at = tenants->buckets[i]; at; at = at->next) {
			names = tp_reallocarray(names, n + 1, sizeof(*names));
			names[n++] = tp_strdup(at->row.name);
		}
	}
	pthread_mutex_unlock(&tenants->lock);
	*names_out = names;
	return n;
}

/* --- limits and timers, as they hold --- */

static uint64_t or_default(int64_t value, uint64_t otherwise)
{
	return value == TP_UNSET ? otherwise : (uint64_t)value;
}

/* By the lock; TENANT may be NULL. */
struct tp_tenant_limits tp_tenant_limits_of(
	const struct tp_tenants *tenants, const struct tp_tenant *tenant)
{
	const struct tp_limits_row *row = tenant ? &tenant->row.limits : &tp_no_limits;

	return (struct tp_tenant_limits){
		.sessions = or_default(row->sessions, tenants->limits.sessions),
		.memory_bytes = or_default(row->memory_bytes, tenants->limits.memory_bytes),
		.parked_bytes = or_default(row->parked_bytes, tenants->limits.parked_bytes),
	};
}

uint64_t tp_tenant_rate_of(const struct tp_tenants *tenants, const struct tp_tenant *tenant)
{
	return or_default(tenant->row.limits.requests_per_minute, tenants->requests_per_minute);
}

static int64_t first_set(int64_t a, int64_t b)
{
	return a == TP_UNSET ? b : a;
}

static struct tp_timers overlay(struct tp_timers over, struct tp_timers under)
{
	return (struct tp_timers){
		.ttl_s = first_set(over.ttl_s, under.ttl_s),
		.idle_s = first_set(over.idle_s, under.idle_s),
		.retention_s = first_set(over.retention_s, under.retention_s),
	};
}

struct tp_timers tp_tenant_timers_of(
	const struct tp_tenants *tenants, const struct tp_tenant *tenant)
{
	const struct tp_limits_row *row = tenant ? &tenant->row.limits : &tp_no_limits;
	struct tp_timers own = {
		.ttl_s = row->ttl_s, .idle_s = row->idle_s, .retention_s = row->retention_s};

	return overlay(own, tenants->timers);
}

void tp_tenant_limits(
	struct tp_service *service, const char *tenant, struct tp_tenant_limits *limits_out)
{
	struct tp_tenants *tenants = service->tenants;

	pthread_mutex_lock(&tenants->lock);
	*limits_out = tp_tenant_limits_of(tenants, tp_tenant_find(tenants, tenant));
	pthread_mutex_unlock(&tenants->lock);
}

struct tp_timers tp_tenant_timers(struct tp_service *service, const char *tenant)
{
	struct tp_tenants *tenants = service->tenants;

	pthread_mutex_lock(&tenants->lock);
	struct tp_timers timers = tp_tenant_timers_of(tenants, tp_tenant_find(tenants, tenant));
	pthread_mutex_unlock(&tenants->lock);
	return timers;
}

struct tp_timers tp_timers_of(struct tp_service *service, const struct tp_session_row *row)
{
	struct tp_timers own = {
		.ttl_s = row->ttl_s, .idle_s = row->idle_s, .retention_s = row->retention_s};
	static const struct tp_timers none = {TP_UNSET, TP_UNSET, TP_UNSET};
	struct tp_timers tmpl =
		row->template_name ? tp_template_timers(service, row->template_name) : none;

	return overlay(own, overlay(tmpl, tp_tenant_timers(service, row->tenant)));
}

/* --- which there are --- */

struct torpor_error *tp_no_tenant(const char *name)
{
	return tp_error(TORPOR_E_NOT_FOUND, "find tenant", tp_guest_name_ok(name) ? name : NULL,
		"there is none of that name");
}

/* A copy of the row. */
struct torpor_error *tp_tenant_get(
	struct tp_service *service, const char *name, struct tp_tenant_row *row_out)
{
	struct tp_tenants *tenants = service->tenants;

	pthread_mutex_lock(&tenants->lock);
	const struct tp_tenant *tenant = tp_tenant_find(tenants, name);
	if (tenant)
		copy_row(&tenant->row, row_out);
	pthread_mutex_unlock(&tenants->lock);
	return tenant ? NULL : tp_no_tenant(name);
}

struct torpor_error *tp_service_check_tenant(struct tp_service *service, const char *name)
{
	struct tp_tenants *tenants = service->tenants;

	pthread_mutex_lock(&tenants->lock);
	bool there = tp_tenant_find(tenants, name);
	pthread_mutex_unlock(&tenants->lock);
	return there ? NULL : tp_no_tenant(name);
}

struct torpor_error *tp_tenant_check_stays(struct tp_service *service, const char *tenant)
{
	struct tp_tenants *tenants = service->tenants;

	pthread_mutex_lock(&tenants->lock);
	const struct tp_tenant *found = tp_tenant_find(tenants, tenant);
	bool stays = found && !found->leaving;
	pthread_mutex_unlock(&tenants->lock);
	return stays ? NULL : tp_no_tenant(tenant);
}

/* --- rate --- */

/* By the lock. */
static unsigned int take(
	const struct tp_tenants *tenants, struct tp_tenant *tenant, uint64_t now_ns)
{
	double rate = (double)tp_tenant_rate_of(tenants, tenant);
	double per_ns = rate / (60.0 * (double)TP_NSEC_PER_SEC);

	if (rate == 0)
		return 0;
	if (tenant->counted_ns == 0)
		tenant->requests = rate;
	else
		tenant->requests += (double)(now_ns - tenant->counted_ns) * per_ns;
	tenant->requests = TP_MIN(tenant->requests, rate);
	tenant->counted_ns = now_ns;
	if (tenant->requests >= 1) {
		tenant->requests -= 1;
		return 0;
	}
	double wait_ns = (1 - tenant->requests) / per_ns;
	return 1 + (unsigned int)(wait_ns / (double)TP_NSEC_PER_SEC);
}

unsigned int tp_tenants_take(struct tp_tenants *tenants, const char *name, uint64_t now_ns)
{
	pthread_mutex_lock(&tenants->lock);
	struct tp_tenant *tenant = tp_tenant_find(tenants, name);
	unsigned int wait_s = tenant ? take(tenants, tenant, now_ns) : 0;
	pthread_mutex_unlock(&tenants->lock);
	return wait_s;
}

struct torpor_error *tp_service_rate(struct tp_service *service, const struct tp_actor *actor)
{
	/* Whoever runs the host must be able to act on it when it is busy. */
	if (actor->admin)
		return NULL;
	unsigned int wait_s = tp_tenants_take(service->tenants, actor->tenant, tp_now_ns());
	if (wait_s == 0)
		return NULL;
	tp_service_count_refusal(service, "rate");
	return tp_error_refusal(
		tp_error_hint(tp_error(TORPOR_E_LIMIT, "accept request of", actor->tenant,
				      "it makes more requests a minute than it may"),
			"Wait, or ask for a higher limit."),
		"rate", wait_s);
}

/* --- users of the system --- */

struct torpor_error *tp_service_actor_of_uid(
	struct tp_service *service, int64_t uid, struct tp_actor *actor_out)
{
	struct tp_tenants *tenants = service->tenants;
	struct tp_actor actor = {.perms = TP_PERM_ALL};

	snprintf(actor.how, sizeof(actor.how), "peer %jd", (intmax_t)uid);
	actor.admin = uid == 0 || uid == (int64_t)geteuid();
	if (actor.admin)
		snprintf(actor.tenant, sizeof(actor.tenant), TP_DEFAULT_TENANT);
	pthread_mutex_lock(&tenants->lock);
	for (size_t i = 0; uid > 0 && i < TP_TENANT_BUCKETS; i++) {
		for (const struct tp_tenant *at = tenants->buckets[i]; at; at = at->next) {
			if (!actor.admin && at->row.uid == uid)
				snprintf(actor.tenant, sizeof(actor.tenant), "%s", at->row.name);
		}
	}
	pthread_mutex_unlock(&tenants->lock);
	if (!actor.tenant[0])
		return tp_error_hint(
			tp_error(TORPOR_E_DENIED, "authorize", NULL, "this user is no tenant"),
			"Use a token, or have the admin name this user's id in a tenant.");
	*actor_out = actor;
	return NULL;
}
