/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tenants: their limits, timers and rates, and what the admin does with them. tokens.c has the
 * tokens.
 *
 * Rates: a bucket of tokens (no relation to the other kind) for each tenant, which holds a whole
 * minute's worth, so that a client which has been quiet may use its minute at once, and fills up
 * evenly. So no minute sees more than twice the limit, and none on average more than the limit.
 */
#include "service/tenants.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/config.h"
#include "service/service_priv.h"

#define BUCKETS 256

struct tenant {
	struct tenant *next; /* in its bucket */
	struct tp_tenant_row row;
	double requests;     /* that may still be made */
	uint64_t counted_ns; /* when that was so; 0: never */
};

struct tp_tenants {
	struct tp_records *records;
	/* One change of a tenant at a time; held across the commit. Taken before the other. */
	pthread_mutex_t changing;

	/* By the lock. */
	pthread_mutex_t lock;
	struct tenant *buckets[BUCKETS];
	struct tp_tenant_limits limits;
	struct tp_timers timers;
	unsigned int requests_per_minute;
};

/* --- the copy --- */

static size_t bucket_of(const char *name)
{
	uint32_t hash = 2166136261u;

	for (const char *c = name; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 16777619u;
	return hash % BUCKETS;
}

/* By the lock. */
static struct tenant *find(struct tp_tenants *tenants, const char *name)
{
	struct tenant *tenant = tenants->buckets[bucket_of(name)];

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
static void put(struct tp_tenants *tenants, const struct tp_tenant_row *row)
{
	struct tenant *tenant = find(tenants, row->name);

	if (!tenant) {
		struct tenant **bucket = &tenants->buckets[bucket_of(row->name)];
		tenant = tp_calloc(1, sizeof(*tenant));
		tenant->next = *bucket;
		*bucket = tenant;
	}
	tp_tenant_row_deinit(&tenant->row);
	copy_row(row, &tenant->row);
}

static void drop(struct tp_tenants *tenants, const char *name)
{
	struct tenant **at = &tenants->buckets[bucket_of(name)];

	while (*at && strcmp((*at)->row.name, name) != 0)
		at = &(*at)->next;
	if (!*at)
		return;
	struct tenant *tenant = *at;
	*at = tenant->next;
	tp_tenant_row_deinit(&tenant->row);
	free(tenant);
}

static struct torpor_error *load(void *data, const struct tp_tenant_row *row)
{
	put(data, row);
	return NULL;
}

static const struct tp_limits_row no_limits = {
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
		.name = name, .uid = -1, .limits = no_limits, .created_ns = tp_realtime_ns()};
	struct tp_change *change = tp_change_new();

	tp_change_put_tenant(change, &row);
	TP_TRY(tp_records_commit(tenants->records, change));
	put(tenants, &row);
	return NULL;
}

struct torpor_error *tp_tenants_new(struct tp_records *records, struct tp_tenants **tenants_out)
{
	struct tp_tenants *tenants = tp_calloc(1, sizeof(*tenants));

	tenants->records = records;
	pthread_mutex_init(&tenants->changing, NULL);
	pthread_mutex_init(&tenants->lock, NULL);
	struct torpor_error *err = tp_records_tenants(records, load, tenants);
	if (!err && !find(tenants, TP_DEFAULT_TENANT))
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
	for (size_t i = 0; i < BUCKETS; i++) {
		while (tenants->buckets[i])
			drop(tenants, tenants->buckets[i]->row.name);
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
	for (size_t i = 0; i < BUCKETS; i++) {
		for (const struct tenant *at = tenants->buckets[i]; at; at = at->next) {
			names = tp_reallocarray(names, n + 1, sizeof(*names));
			names[n++] = tp_strdup(at->row.name);
		}
	}
	pthread_mutex_unlock(&tenants->lock);
	*names_out = names;
	return n;
}

bool tp_tenants_retain(struct tp_tenants *tenants)
{
	bool retain = false;

	pthread_mutex_lock(&tenants->lock);
	for (size_t i = 0; i < BUCKETS; i++) {
		for (const struct tenant *at = tenants->buckets[i]; at; at = at->next)
			retain = retain || at->row.limits.retention_s != TP_UNSET;
	}
	pthread_mutex_unlock(&tenants->lock);
	return retain;
}

/* --- limits and timers, as they hold --- */

static uint64_t or_default(int64_t value, uint64_t otherwise)
{
	return value == TP_UNSET ? otherwise : (uint64_t)value;
}

/* By the lock; TENANT may be NULL. */
static struct tp_tenant_limits limits_of(
	const struct tp_tenants *tenants, const struct tenant *tenant)
{
	const struct tp_limits_row *row = tenant ? &tenant->row.limits : &no_limits;

	return (struct tp_tenant_limits){
		.sessions = or_default(row->sessions, tenants->limits.sessions),
		.memory_bytes = or_default(row->memory_bytes, tenants->limits.memory_bytes),
		.parked_bytes = or_default(row->parked_bytes, tenants->limits.parked_bytes),
	};
}

static uint64_t rate_of(const struct tp_tenants *tenants, const struct tenant *tenant)
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

static struct tp_timers timers_of(const struct tp_tenants *tenants, const struct tenant *tenant)
{
	const struct tp_limits_row *row = tenant ? &tenant->row.limits : &no_limits;
	struct tp_timers own = {
		.ttl_s = row->ttl_s, .idle_s = row->idle_s, .retention_s = row->retention_s};

	return overlay(own, tenants->timers);
}

void tp_tenant_limits(
	struct tp_service *service, const char *tenant, struct tp_tenant_limits *limits_out)
{
	struct tp_tenants *tenants = service->tenants;

	pthread_mutex_lock(&tenants->lock);
	*limits_out = limits_of(tenants, find(tenants, tenant));
	pthread_mutex_unlock(&tenants->lock);
}

struct tp_timers tp_tenant_timers(struct tp_service *service, const char *tenant)
{
	struct tp_tenants *tenants = service->tenants;

	pthread_mutex_lock(&tenants->lock);
	struct tp_timers timers = timers_of(tenants, find(tenants, tenant));
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

/* --- rate --- */

/* By the lock. */
static unsigned int take(const struct tp_tenants *tenants, struct tenant *tenant, uint64_t now_ns)
{
	double rate = (double)rate_of(tenants, tenant);
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
	struct tenant *tenant = find(tenants, name);
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

/* --- views --- */

struct limit {
	const char *key;
	size_t offset;
	bool timer; /* seconds, 0: never; else a number */
};

static const struct limit limit_keys[] = {
	{"sessions", offsetof(struct tp_limits_row, sessions), false},
	{"memory_bytes", offsetof(struct tp_limits_row, memory_bytes), false},
	{"parked_bytes", offsetof(struct tp_limits_row, parked_bytes), false},
	{"requests_per_minute", offsetof(struct tp_limits_row, requests_per_minute), false},
	{"ttl_s", offsetof(struct tp_limits_row, ttl_s), true},
	{"idle_s", offsetof(struct tp_limits_row, idle_s), true},
	{"retention_s", offsetof(struct tp_limits_row, retention_s), true},
};

/* More is no limit; and doubles, which many JSON readers have for numbers, hold it exactly. */
#define LIMIT_MAX   (INT64_C(1) << 53)
#define TIMER_MAX_S (INT64_C(100) * 366 * 86400)

static int64_t *field(struct tp_limits_row *limits, const struct limit *limit)
{
	return (int64_t *)((char *)limits + limit->offset);
}

static json_t *limits_json(const struct tp_limits_row *limits)
{
	struct tp_limits_row copy = *limits;
	json_t *json = json_object();

	for (size_t i = 0; i < TP_ARRAY_LEN(limit_keys); i++) {
		int64_t value = *field(&copy, &limit_keys[i]);
		json_object_set_new(json, limit_keys[i].key,
			value == TP_UNSET ? json_null() : json_integer(value));
	}
	return json;
}

static json_t *view(const struct tp_tenant_row *row)
{
	return json_pack("{s:s, s:o, s:o, s:o}", "name", row->name, "uid",
		row->uid < 0 ? json_null() : json_integer(row->uid), "limits",
		limits_json(&row->limits), "created", tp_time_json(row->created_ns));
}

/* What it uses of its limits; and those as they hold. */
static struct torpor_error *usage_json(
	struct tp_service *service, const char *tenant, json_t **usage_out)
{
	struct tp_usage usage;
	struct tp_tenant_view live;

	TP_TRY(tp_records_usage(service->records, tenant, &usage));
	tp_admission_tenant(service->admission, tenant, &live);
	*usage_out = json_pack("{s:I, s:I, s:I, s:I, s:I}", "sessions", (json_int_t)usage.sessions,
		"running", (json_int_t)live.sessions, "memory_bytes", (json_int_t)live.memory_bytes,
		"parked", (json_int_t)usage.parked, "image_bytes", (json_int_t)usage.image_bytes);
	return NULL;
}

static struct torpor_error *no_tenant(const char *name)
{
	return tp_error(TORPOR_E_NOT_FOUND, "find tenant", tp_guest_name_ok(name) ? name : NULL,
		"there is none of that name");
}

/* A copy of the row. */
static struct torpor_error *get(
	struct tp_service *service, const char *name, struct tp_tenant_row *row_out)
{
	struct tp_tenants *tenants = service->tenants;

	pthread_mutex_lock(&tenants->lock);
	const struct tenant *tenant = find(tenants, name);
	if (tenant)
		copy_row(&tenant->row, row_out);
	pthread_mutex_unlock(&tenants->lock);
	return tenant ? NULL : no_tenant(name);
}

struct torpor_error *tp_service_check_tenant(struct tp_service *service, const char *name)
{
	struct tp_tenants *tenants = service->tenants;

	pthread_mutex_lock(&tenants->lock);
	bool there = find(tenants, name);
	pthread_mutex_unlock(&tenants->lock);
	return there ? NULL : no_tenant(name);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct torpor_error *tp_service_tenants(
	struct tp_service *service, const struct tp_actor *actor, json_t **view_out)
{
	char **names;

	TP_TRY(tp_actor_must_be_admin(actor));
	json_t *list = json_array();
	size_t n = tp_tenants_names(service->tenants, &names);
	qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0; i < n; i++) {
		struct tp_tenant_row row;
		struct torpor_error *err = get(service, names[i], &row);
		if (!err) {
			json_array_append_new(list, view(&row));
			tp_tenant_row_deinit(&row);
		}
		torpor_error_free(err);
		free(names[i]);
	}
	free(names);
	*view_out = json_pack("{s:o}", "tenants", list);
	return NULL;
}

/* NAME with its usage, for whoever has been found to be allowed that. */
static struct torpor_error *whole_view(
	struct tp_service *service, const char *name, json_t **view_out)
{
	struct tp_tenant_row row;
	json_t *usage;

	TP_TRY(get(service, name, &row));
	struct torpor_error *err = usage_json(service, name, &usage);
	if (!err) {
		*view_out = view(&row);
		json_object_set_new(*view_out, "usage", usage);
	}
	tp_tenant_row_deinit(&row);
	return err;
}

struct torpor_error *tp_service_tenant(struct tp_service *service, const struct tp_actor *actor,
	const char *name, json_t **view_out)
{
	/* Another one's is answered like one that there isn't. */
	if (!actor->admin && strcmp(actor->tenant, name) != 0)
		return no_tenant(name);
	TP_TRY(tp_actor_may(actor, TP_PERM_READ, NULL));
	return whole_view(service, name, view_out);
}

/* The limits as they hold, for those who ask who they are. */
static json_t *effective_limits(struct tp_service *service, const char *name)
{
	struct tp_tenants *tenants = service->tenants;

	pthread_mutex_lock(&tenants->lock);
	const struct tenant *tenant = find(tenants, name);
	struct tp_tenant_limits limits = limits_of(tenants, tenant);
	struct tp_timers timers = timers_of(tenants, tenant);
	uint64_t rate = tenant ? rate_of(tenants, tenant) : tenants->requests_per_minute;
	pthread_mutex_unlock(&tenants->lock);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "sessions",
		(json_int_t)limits.sessions, "memory_bytes", (json_int_t)limits.memory_bytes,
		"parked_bytes", (json_int_t)limits.parked_bytes, "requests_per_minute",
		(json_int_t)rate, "ttl_s", (json_int_t)timers.ttl_s, "idle_s",
		(json_int_t)timers.idle_s, "retention_s", (json_int_t)timers.retention_s);
}

struct torpor_error *tp_service_self(
	struct tp_service *service, const struct tp_actor *actor, json_t **view_out)
{
	static const struct {
		uint32_t perm;
		const char *name;
	} names[] = {
		{TP_PERM_READ, "read"},
		{TP_PERM_EXEC, "exec"},
		{TP_PERM_OPERATE, "operate"},
		{TP_PERM_CREATE, "create"},
	};
	json_t *usage;

	TP_TRY(usage_json(service, actor->tenant, &usage));
	json_t *perms = json_array();
	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++) {
		if (actor->perms & names[i].perm)
			json_array_append_new(perms, json_string(names[i].name));
	}
	*view_out = json_pack("{s:s, s:b, s:o, s:o, s:o, s:o}", "tenant", actor->tenant, "admin",
		actor->admin, "permissions", perms, "session",
		actor->session[0] ? json_string(actor->session) : json_null(), "limits",
		effective_limits(service, actor->tenant), "usage", usage);
	return NULL;
}

/* --- changing --- */

static struct torpor_error *parse_limit(
	const char *key, const json_t *value, struct tp_limits_row *limits)
{
	for (size_t i = 0; i < TP_ARRAY_LEN(limit_keys); i++) {
		const struct limit *limit = &limit_keys[i];
		int64_t max = limit->timer ? TIMER_MAX_S : LIMIT_MAX;
		if (strcmp(key, limit->key) != 0)
			continue;
		if (!json_is_null(value) &&
			(!json_is_integer(value) || json_integer_value(value) < 0 ||
				json_integer_value(value) > max))
			return tp_error(TORPOR_E_INVALID, "check limit", key,
				"it is an integer from 0 to %jd, or null", (intmax_t)max);
		*field(limits, limit) = json_is_null(value) ? TP_UNSET : json_integer_value(value);
		return NULL;
	}
	return tp_error(TORPOR_E_INVALID, "check", "limits", "there is an unknown one");
}

static struct torpor_error *parse_limits(const json_t *json, struct tp_limits_row *limits)
{
	const char *key;
	json_t *value;

	if (!json_is_object(json))
		return tp_error(TORPOR_E_INVALID, "check", "limits", "they aren't an object");
	json_object_foreach ((json_t *)json, key, value)
		TP_TRY(parse_limit(key, value, limits));
	return NULL;
}

static struct torpor_error *parse_uid(const json_t *json, int64_t *uid)
{
	if (json_is_null(json)) {
		*uid = -1;
		return NULL;
	}
	/* 0 is the admin, whatever is asked for; the last one means "none" to the system. */
	if (!json_is_integer(json) || json_integer_value(json) < 1 ||
		json_integer_value(json) >= UINT32_MAX)
		return tp_error(
			TORPOR_E_INVALID, "check", "uid", "it is a user's id, not root's, or null");
	*uid = json_integer_value(json);
	return NULL;
}

/* BODY over ROW. */
static struct torpor_error *parse_body(const json_t *body, struct tp_tenant_row *row)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)body, key, value) {
		if (strcmp(key, "uid") == 0)
			TP_TRY(parse_uid(value, &row->uid));
		else if (strcmp(key, "limits") == 0)
			TP_TRY(parse_limits(value, &row->limits));
		else if (strcmp(key, "name") != 0)
			return tp_error(TORPOR_E_INVALID, "check tenant", row->name,
				"it has no such property");
		else if (!json_is_string(value) || strcmp(json_string_value(value), row->name) != 0)
			return tp_error(TORPOR_E_INVALID, "check tenant", row->name,
				"its name can't be changed");
	}
	return NULL;
}

/* The row as it is to be. */
static struct torpor_error *prepare(struct tp_service *service, const char *name, bool new,
	const json_t *body, struct tp_tenant_row *row_out)
{
	struct tp_tenant_row row = {0};

	TP_TRY(tp_check_name("tenant", name));
	struct torpor_error *err = get(service, name, &row);
	if (!err && new)
		err = tp_error(TORPOR_E_EXISTS, "make tenant", name, "there is one of that name");
	else if (err && new) {
		torpor_error_free(err);
		err = NULL;
		row = (struct tp_tenant_row){.name = tp_strdup(name),
			.uid = -1,
			.limits = no_limits,
			.created_ns = tp_realtime_ns()};
	}
	if (!err)
		err = parse_body(body, &row);
	if (err) {
		tp_tenant_row_deinit(&row);
		return err;
	}
	*row_out = row;
	return NULL;
}

/* By `changing`. */
static struct torpor_error *put_tenant(struct tp_service *service, const struct tp_op *op, bool new,
	const json_t *body, json_t **view_out)
{
	struct tp_tenants *tenants = service->tenants;
	struct tp_change *change = tp_change_new();
	struct tp_tenant_row row;

	struct torpor_error *err = prepare(service, op->object, new, body, &row);
	if (err) {
		tp_change_free(change);
		return err;
	}
	tp_change_put_tenant(change, &row);
	err = tp_settle(service, op, change, NULL);
	if (!err) {
		pthread_mutex_lock(&tenants->lock);
		put(tenants, &row);
		pthread_mutex_unlock(&tenants->lock);
		*view_out = view(&row);
	}
	tp_tenant_row_deinit(&row);
	return err;
}

struct torpor_error *tp_service_put_tenant(struct tp_service *service, const struct tp_actor *actor,
	const char *name, bool new, const json_t *body, json_t **view_out)
{
	TP_JSON json_t *result = json_pack("{s:s}", "tenant", name);
	struct tp_op op = {
		.actor = actor,
		.op = new ? "tenant-create" : "tenant-change",
		.object = name,
		.detail = body,
		.status = new ? 201 : 200,
		.result = result,
	};

	TP_TRY(tp_refuse(service, &op, tp_actor_must_be_admin(actor)));
	pthread_mutex_lock(&service->tenants->changing);
	struct torpor_error *err = put_tenant(service, &op, new, body, view_out);
	pthread_mutex_unlock(&service->tenants->changing);
	if (err)
		return tp_refuse(service, &op, err);
	tp_publish(service, "tenant", name, NULL, json_deep_copy(*view_out));
	return NULL;
}

/* By `changing`. */
static struct torpor_error *remove_tenant(struct tp_service *service, const struct tp_op *op)
{
	struct tp_tenants *tenants = service->tenants;
	struct tp_usage usage;
	struct tp_tenant_view live;

	TP_TRY(tp_service_check_tenant(service, op->object));
	if (strcmp(op->object, TP_DEFAULT_TENANT) == 0)
		return tp_error(
			TORPOR_E_INVALID, "remove tenant", op->object, "this one is always there");
	TP_TRY(tp_records_usage(service->records, op->object, &usage));
	tp_admission_tenant(service->admission, op->object, &live);
	if (usage.sessions > 0 || live.sessions > 0)
		return tp_error_hint(
			tp_error(TORPOR_E_BUSY, "remove tenant", op->object, "it has sessions"),
			"Destroy them first.");
	struct tp_change *change = tp_change_new();
	tp_change_remove_tenant(change, op->object);
	TP_TRY(tp_settle(service, op, change, NULL));
	pthread_mutex_lock(&tenants->lock);
	drop(tenants, op->object);
	pthread_mutex_unlock(&tenants->lock);
	return NULL;
}

struct torpor_error *tp_service_remove_tenant(
	struct tp_service *service, const struct tp_actor *actor, const char *name)
{
	struct tp_op op = {.actor = actor, .op = "tenant-remove", .object = name, .status = 204};

	TP_TRY(tp_refuse(service, &op, tp_actor_must_be_admin(actor)));
	pthread_mutex_lock(&service->tenants->changing);
	struct torpor_error *err = remove_tenant(service, &op);
	pthread_mutex_unlock(&service->tenants->changing);
	if (err)
		return tp_refuse(service, &op, err);
	tp_publish(service, "tenant", name, NULL, json_pack("{s:s, s:b}", "name", name, "gone", 1));
	return NULL;
}

/* --- the audit log --- */

struct torpor_error *tp_service_audit(struct tp_service *service, const struct tp_actor *actor,
	const char *session, uint64_t before, size_t limit, json_t **view_out)
{
	TP_FREE char *path = tp_asprintf("%s/" TP_AUDIT_NAME, service->state_dir);
	json_t *entries;

	TP_TRY(tp_actor_may(actor, TP_PERM_READ, session));
	const char *object = actor->session[0] ? actor->session : session;
	TP_TRY(tp_audit_tail(
		path, actor->admin ? NULL : actor->tenant, object, before, limit, &entries));
	*view_out = json_pack("{s:o}", "entries", entries);
	return NULL;
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
	for (size_t i = 0; uid > 0 && i < BUCKETS; i++) {
		for (const struct tenant *at = tenants->buckets[i]; at; at = at->next) {
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
