/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting who has what. Sums of guests and of their RAM are kept rather than what they were
 * charged, so that another charge may be configured at any time.
 */
#include "pool/admission.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

#define BUCKETS 256

/* When it may be worth asking again, in seconds. */
#define RETRY_TENANT 5
#define RETRY_HOST   10
#define RETRY_IMAGES 30

struct usage {
	uint64_t guests;
	uint64_t ram; /* of all of them, in bytes */
};

/* One that has something; forgotten once it has nothing. */
struct tenant {
	struct tenant *next; /* in its bucket */
	struct usage usage;
	uint64_t image_bytes;
	char name[];
};

struct tp_admission {
	pthread_mutex_t lock;
	/* By the lock. */
	struct tp_admission_config config;
	struct usage sessions;
	struct usage stock;
	uint64_t bases;
	struct tenant *tenants[BUCKETS];
	uint64_t n_tenants;
};

struct tp_admission *tp_admission_new(const struct tp_admission_config *config)
{
	struct tp_admission *admission = tp_calloc(1, sizeof(*admission));

	pthread_mutex_init(&admission->lock, NULL);
	admission->config = *config;
	return admission;
}

struct tp_admission *tp_admission_free(struct tp_admission *admission)
{
	if (!admission)
		return NULL;
	for (size_t i = 0; i < BUCKETS; i++)
		while (admission->tenants[i]) {
			struct tenant *tenant = admission->tenants[i];
			admission->tenants[i] = tenant->next;
			free(tenant);
		}
	pthread_mutex_destroy(&admission->lock);
	free(admission);
	return NULL;
}

void tp_admission_configure(
	struct tp_admission *admission, const struct tp_admission_config *config)
{
	pthread_mutex_lock(&admission->lock);
	admission->config = *config;
	pthread_mutex_unlock(&admission->lock);
}

/* --- Sums --- */

static uint64_t plus(uint64_t a, uint64_t b)
{
	return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}

static uint64_t times(uint64_t a, uint64_t b)
{
	return a != 0 && b > UINT64_MAX / a ? UINT64_MAX : a * b;
}

/* What is given back was taken; where it wasn't that is a defect, but none to end guests for. */
static void subtract(uint64_t *from, uint64_t by, const char *what)
{
	if (by > *from)
		tp_log(TP_LOG_WARNING, "admission: %s is given back that was never taken", what);
	*from -= TP_MIN(by, *from);
}

static struct usage usage_plus(struct usage usage, uint64_t guests, uint64_t ram_each)
{
	return (struct usage){.guests = plus(usage.guests, guests),
		.ram = plus(usage.ram, times(guests, ram_each))};
}

static void give_back(struct usage *usage, uint64_t guests, uint64_t ram_each, const char *what)
{
	subtract(&usage->guests, guests, what);
	subtract(&usage->ram, times(guests, ram_each), what);
}

static uint64_t charge(const struct tp_admission_config *config, struct usage usage)
{
	uint64_t share = config->guest_share_percent;
	uint64_t ram = plus(times(usage.ram / 100, share), times(usage.ram % 100, share) / 100);

	return plus(times(usage.guests, config->guest_overhead), ram);
}

/* A change by a signed amount. */
static void change(uint64_t *value, int64_t delta, const char *what)
{
	if (delta >= 0)
		*value = plus(*value, (uint64_t)delta);
	else
		subtract(value, -(uint64_t)delta, what);
}

/* --- Tenants --- */

/* Where the tenant is in its bucket, or where it would be. */
static struct tenant **find(struct tp_admission *admission, const char *name)
{
	uint32_t hash = 2166136261; /* FNV-1a */

	for (const char *c = name; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 16777619;
	struct tenant **at = &admission->tenants[hash % BUCKETS];
	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

static struct tenant *find_or_add(struct tp_admission *admission, const char *name)
{
	struct tenant **at = find(admission, name);

	if (!*at) {
		*at = tp_calloc(1, sizeof(**at) + strlen(name) + 1);
		strcpy((*at)->name, name);
		admission->n_tenants++;
	}
	return *at;
}

static void forget_if_idle(struct tp_admission *admission, struct tenant **at)
{
	struct tenant *tenant = *at;

	if (tenant->usage.guests > 0 || tenant->usage.ram > 0 || tenant->image_bytes > 0)
		return;
	*at = tenant->next;
	admission->n_tenants--;
	free(tenant);
}

static struct usage usage_of(const struct tenant *tenant)
{
	return tenant ? tenant->usage : (struct usage){0};
}

/* --- Guests of sessions --- */

static struct torpor_error *refuse_sessions(
	const char *tenant, uint64_t has, unsigned int count, uint64_t limit)
{
	struct torpor_error *err = tp_error(TORPOR_E_LIMIT, "admit", tenant,
		"it has %ju of %ju running sessions, and %u more are too many", (uintmax_t)has,
		(uintmax_t)limit, count);

	return tp_error_refusal(
		tp_error_hint(err, "Park or destroy some, or ask for a higher limit."),
		"tenant-sessions", RETRY_TENANT);
}

static struct torpor_error *refuse_memory(
	const char *tenant, uint64_t has, uint64_t more, uint64_t limit)
{
	struct torpor_error *err = tp_error(TORPOR_E_LIMIT, "admit", tenant,
		"its running sessions have %ju of %ju MiB of memory, and %ju MiB more are too much",
		(uintmax_t)(has / TP_MIB), (uintmax_t)(limit / TP_MIB), (uintmax_t)(more / TP_MIB));

	return tp_error_refusal(
		tp_error_hint(err, "Park or destroy some, or ask for a higher limit."),
		"tenant-memory", RETRY_TENANT);
}

static struct torpor_error *refuse_host_sessions(
	const char *tenant, uint64_t has, unsigned int count, uint64_t limit)
{
	struct torpor_error *err = tp_error(TORPOR_E_LIMIT, "admit", tenant,
		"%ju of %ju sessions run on this host, and %u more are too many", (uintmax_t)has,
		(uintmax_t)limit, count);

	return tp_error_refusal(tp_error_hint(err, "Try again later, or raise max_sessions."),
		"host-sessions", RETRY_HOST);
}

static struct torpor_error *refuse_host_memory(
	const char *tenant, uint64_t charged, uint64_t more, uint64_t limit)
{
	struct torpor_error *err = tp_error(TORPOR_E_LIMIT, "admit", tenant,
		"%ju of this host's %ju MiB for guests are taken, and %ju MiB more are too much",
		(uintmax_t)(charged / TP_MIB), (uintmax_t)(limit / TP_MIB),
		(uintmax_t)TP_DIV_UP(more, TP_MIB));

	return tp_error_refusal(tp_error_hint(err, "Try again later, or raise host_memory."),
		"host-memory", RETRY_HOST);
}

/* NULL if COUNT more guests are within all limits. By the lock. */
static struct torpor_error *check(struct tp_admission *admission, const char *tenant,
	const struct tp_tenant_limits *limits, unsigned int count, uint64_t ram)
{
	const struct tp_admission_config *config = &admission->config;
	struct usage own = usage_of(*find(admission, tenant));
	struct usage own_then = usage_plus(own, count, ram);
	struct usage all_then = usage_plus(admission->sessions, count, ram);
	uint64_t charged = plus(charge(config, admission->sessions), admission->bases);
	uint64_t charged_then = plus(charge(config, all_then), admission->bases);

	if (own_then.guests > limits->sessions)
		return refuse_sessions(tenant, own.guests, count, limits->sessions);
	if (own_then.ram > limits->memory_bytes)
		return refuse_memory(tenant, own.ram, times(count, ram), limits->memory_bytes);
	if (all_then.guests > config->max_sessions)
		return refuse_host_sessions(
			tenant, admission->sessions.guests, count, config->max_sessions);
	if (charged_then > config->host_memory)
		return refuse_host_memory(
			tenant, charged, charged_then - charged, config->host_memory);
	return NULL;
}

struct torpor_error *tp_admit(struct tp_admission *admission, const char *tenant,
	const struct tp_tenant_limits *limits, unsigned int count, uint64_t memory_bytes,
	bool forced)
{
	pthread_mutex_lock(&admission->lock);
	struct torpor_error *err =
		forced ? NULL : check(admission, tenant, limits, count, memory_bytes);
	if (!err && count > 0) {
		struct tenant *own = find_or_add(admission, tenant);
		own->usage = usage_plus(own->usage, count, memory_bytes);
		admission->sessions = usage_plus(admission->sessions, count, memory_bytes);
	}
	pthread_mutex_unlock(&admission->lock);
	return err;
}

void tp_admit_undo(struct tp_admission *admission, const char *tenant, unsigned int count,
	uint64_t memory_bytes)
{
	pthread_mutex_lock(&admission->lock);
	struct tenant **own = find(admission, tenant);
	if (*own) {
		give_back(&(*own)->usage, count, memory_bytes, "a tenant's guest");
		forget_if_idle(admission, own);
	}
	give_back(&admission->sessions, count, memory_bytes, "a guest");
	pthread_mutex_unlock(&admission->lock);
}

/* --- Images --- */

void tp_admission_images(struct tp_admission *admission, const char *tenant, int64_t delta_bytes)
{
	pthread_mutex_lock(&admission->lock);
	change(&find_or_add(admission, tenant)->image_bytes, delta_bytes, "a tenant's image");
	forget_if_idle(admission, find(admission, tenant));
	pthread_mutex_unlock(&admission->lock);
}

struct torpor_error *tp_admit_image(
	struct tp_admission *admission, const char *tenant, const struct tp_tenant_limits *limits)
{
	pthread_mutex_lock(&admission->lock);
	const struct tenant *own = *find(admission, tenant);
	uint64_t has = own ? own->image_bytes : 0;
	pthread_mutex_unlock(&admission->lock);
	if (has < limits->parked_bytes)
		return NULL;

	struct torpor_error *err = tp_error(TORPOR_E_LIMIT, "admit image of", tenant,
		"its images take %ju KiB, and %ju KiB is the limit", (uintmax_t)(has / TP_KIB),
		(uintmax_t)(limits->parked_bytes / TP_KIB));
	return tp_error_refusal(
		tp_error_hint(
			err, "Destroy parked sessions or checkpoints, or ask for a higher limit."),
		"tenant-parked-bytes", RETRY_IMAGES);
}

/* --- What belongs to nobody --- */

static uint64_t charged(const struct tp_admission *admission)
{
	return plus(plus(charge(&admission->config, admission->sessions),
			    charge(&admission->config, admission->stock)),
		admission->bases);
}

bool tp_admit_stock(struct tp_admission *admission, uint64_t memory_bytes)
{
	pthread_mutex_lock(&admission->lock);
	struct usage before = admission->stock;
	admission->stock = usage_plus(before, 1, memory_bytes);
	bool room = charged(admission) <= admission->config.host_memory;
	if (!room)
		admission->stock = before;
	pthread_mutex_unlock(&admission->lock);
	return room;
}

void tp_admit_stock_undo(struct tp_admission *admission, uint64_t memory_bytes)
{
	pthread_mutex_lock(&admission->lock);
	give_back(&admission->stock, 1, memory_bytes, "a waiting guest");
	pthread_mutex_unlock(&admission->lock);
}

void tp_admission_base(struct tp_admission *admission, int64_t delta_bytes)
{
	pthread_mutex_lock(&admission->lock);
	change(&admission->bases, delta_bytes, "a base");
	pthread_mutex_unlock(&admission->lock);
}

/* --- Views --- */

void tp_admission_view(struct tp_admission *admission, struct tp_admission_view *view_out)
{
	pthread_mutex_lock(&admission->lock);
	*view_out = (struct tp_admission_view){
		.host_memory = admission->config.host_memory,
		.charged = charged(admission),
		.bases = admission->bases,
		.sessions = admission->sessions.guests,
		.stock = admission->stock.guests,
		.tenants = admission->n_tenants,
	};
	pthread_mutex_unlock(&admission->lock);
}

void tp_admission_tenant(
	struct tp_admission *admission, const char *tenant, struct tp_tenant_view *view_out)
{
	pthread_mutex_lock(&admission->lock);
	const struct tenant *own = *find(admission, tenant);
	struct usage usage = usage_of(own);
	*view_out = (struct tp_tenant_view){
		.sessions = usage.guests,
		.memory_bytes = usage.ram,
		.image_bytes = own ? own->image_bytes : 0,
	};
	pthread_mutex_unlock(&admission->lock);
}
