/* SPDX-License-Identifier: Apache-2.0 */
/* Tenants as they are shown and changed; and the audit log. */
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "service/tenants_priv.h"

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
		struct torpor_error *err = tp_tenant_get(service, names[i], &row);
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

	TP_TRY(tp_tenant_get(service, name, &row));
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
		return tp_no_tenant(name);
	TP_TRY(tp_actor_may(actor, TP_PERM_READ, NULL));
	return whole_view(service, name, view_out);
}

/* The limits as they hold, for those who ask who they are. */
static json_t *effective_limits(struct tp_service *service, const char *name)
{
	struct tp_tenants *tenants = service->tenants;

	pthread_mutex_lock(&tenants->lock);
	const struct tp_tenant *tenant = tp_tenant_find(tenants, name);
	struct tp_tenant_limits limits = tp_tenant_limits_of(tenants, tenant);
	struct tp_timers timers = tp_tenant_timers_of(tenants, tenant);
	uint64_t rate = tenant ? tp_tenant_rate_of(tenants, tenant) : tenants->requests_per_minute;
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
	*view_out = json_pack("{s:s, s:b, s:o, s:o, s:o, s:o, s:o}", "tenant", actor->tenant,
		"admin", actor->admin, "permissions", perms, "session",
		actor->session[0] ? json_string(actor->session) : json_null(), "limits",
		effective_limits(service, actor->tenant), "usage", usage, "expires",
		tp_time_json(actor->expires_ns));
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
	struct torpor_error *err = tp_tenant_get(service, name, &row);
	if (!err && new)
		err = tp_error(TORPOR_E_EXISTS, "make tenant", name, "there is one of that name");
	else if (err && new) {
		torpor_error_free(err);
		err = NULL;
		row = (struct tp_tenant_row){.name = tp_strdup(name),
			.uid = -1,
			.limits = tp_no_limits,
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

/* What puts the records back to ROW, or (NULL) to no such tenant. */
static struct tp_change *back_to(const char *name, const struct tp_tenant_row *row)
{
	struct tp_change *change = tp_change_new();

	if (row)
		tp_change_put_tenant(change, row);
	else
		tp_change_remove_tenant(change, name);
	return change;
}

/* By `changing`. */
static struct torpor_error *put_tenant(struct tp_service *service, const struct tp_op *op, bool new,
	const json_t *body, json_t **view_out)
{
	struct tp_tenants *tenants = service->tenants;
	struct tp_tenant_row before = {0};
	struct tp_tenant_row row;

	TP_TRY(prepare(service, op->object, new, body, &row));
	struct torpor_error *err = new ? NULL : tp_tenant_get(service, op->object, &before);
	if (!err) {
		struct tp_change *change = tp_change_new();
		tp_change_put_tenant(change, &row);
		err = tp_settle(service, op, change, NULL);
		if (err)
			tp_settle_undo(service, op, back_to(op->object, new ? NULL : &before));
	}
	if (!err) {
		pthread_mutex_lock(&tenants->lock);
		tp_tenant_put(tenants, &row);
		pthread_mutex_unlock(&tenants->lock);
		*view_out = view(&row);
	}
	tp_tenant_row_deinit(&before);
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

static struct torpor_error *put_token(void *change, const struct tp_token_row *row)
{
	tp_change_put_token(change, row);
	return NULL;
}

/* With its tokens, which go with it. */
static struct torpor_error *record_removal(struct tp_service *service, const struct tp_op *op)
{
	struct tp_tenant_row row;

	TP_TRY(tp_tenant_get(service, op->object, &row));
	struct tp_change *back = back_to(op->object, &row);
	tp_tenant_row_deinit(&row);
	struct torpor_error *err = tp_records_tokens(service->records, op->object, put_token, back);
	if (!err) {
		struct tp_change *change = tp_change_new();
		tp_change_remove_tenant(change, op->object);
		err = tp_settle(service, op, change, NULL);
		if (err)
			tp_settle_undo(service, op, TP_TAKE(back));
	}
	tp_change_free(back);
	return err;
}

/* Also one that is being made, and is in no record yet. */
static bool has_live(struct tp_service *service, const char *tenant)
{
	unsigned int all = ~TP_LIVE_IN(DESTROYED);
	TP_FREE struct tp_live **lives = NULL;
	size_t n = tp_live_list(service, tenant, all, false, &lives);

	for (size_t i = 0; i < n; i++)
		tp_live_put(service, lives[i]);
	return n > 0;
}

/* Of one of which no session is begun any more. */
static struct torpor_error *remove_leaving(struct tp_service *service, const struct tp_op *op)
{
	/* First: one that is parked and forgotten meanwhile is in the records by then. */
	bool live = has_live(service, op->object);
	struct tp_usage usage;

	TP_TRY(tp_records_usage(service->records, op->object, &usage));
	if (live || usage.sessions > 0)
		return tp_error_hint(
			tp_error(TORPOR_E_BUSY, "remove tenant", op->object, "it has sessions"),
			"Destroy them first.");
	return record_removal(service, op);
}

static void set_leaving(struct tp_tenants *tenants, const char *name, bool leaving)
{
	pthread_mutex_lock(&tenants->lock);
	tp_tenant_find(tenants, name)->leaving = leaving;
	pthread_mutex_unlock(&tenants->lock);
}

/* By `changing`. */
static struct torpor_error *remove_tenant(struct tp_service *service, const struct tp_op *op)
{
	struct tp_tenants *tenants = service->tenants;

	TP_TRY(tp_service_check_tenant(service, op->object));
	if (strcmp(op->object, TP_DEFAULT_TENANT) == 0)
		return tp_error(
			TORPOR_E_INVALID, "remove tenant", op->object, "this one is always there");
	set_leaving(tenants, op->object, true);
	struct torpor_error *err = remove_leaving(service, op);
	if (err) {
		set_leaving(tenants, op->object, false);
		return err;
	}
	pthread_mutex_lock(&tenants->lock);
	tp_tenant_drop(tenants, op->object);
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
