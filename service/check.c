/* SPDX-License-Identifier: Apache-2.0 */
/* What tenants send: names, timers, labels, environment, limits. Checked before anything is done
 * with it. */
#include <math.h>
#include <string.h>

#include "engine/config.h"
#include "service/service_priv.h"

#define LABELS_MAX	32
#define LABEL_KEY_MAX	63
#define LABEL_VALUE_MAX 255
#define ENV_MAX		128
#define ENV_BYTES_MAX	(32 * TP_KIB)
#define TIMER_MAX_S	(INT64_C(100) * 366 * 86400) /* no sum of times overflows */

static struct torpor_error *invalid(const char *what, const char *why)
{
	return tp_error(TORPOR_E_INVALID, "check", what, "%s", why);
}

struct torpor_error *tp_check_name(const char *what, const char *name)
{
	if (tp_guest_name_ok(name))
		return NULL;
	return tp_error_hint(invalid(what, "this can't be a name"),
		"Names are 1 to 64 of A-Z a-z 0-9 . _ - and start with a letter or digit.");
}

struct torpor_error *tp_check_timers(const struct tp_timers *timers)
{
	const int64_t all[] = {timers->ttl_s, timers->idle_s, timers->retention_s};
	static const char *const names[] = {"ttl_s", "idle_s", "retention_s"};

	for (size_t i = 0; i < TP_ARRAY_LEN(all); i++) {
		if (all[i] != TP_UNSET && (all[i] < 0 || all[i] > TIMER_MAX_S))
			return tp_error(TORPOR_E_INVALID, "check", names[i],
				"seconds are 0 (never) to %jd", (intmax_t)TIMER_MAX_S);
	}
	return NULL;
}

/* A string of at most MAX bytes, without NULs in it. */
static bool text_ok(const json_t *text, size_t max)
{
	return json_is_string(text) && json_string_length(text) <= max &&
	       strlen(json_string_value(text)) == json_string_length(text);
}

struct torpor_error *tp_check_labels(const json_t *labels)
{
	const char *key;
	json_t *value;

	if (!labels)
		return NULL;
	if (!json_is_object(labels))
		return invalid("labels", "they aren't an object");
	if (json_object_size(labels) > LABELS_MAX)
		return invalid("labels", "there are more than 32");
	json_object_foreach ((json_t *)labels, key, value) {
		if (!*key || strlen(key) > LABEL_KEY_MAX)
			return invalid("labels", "keys have 1 to 63 bytes");
		if (!text_ok(value, LABEL_VALUE_MAX))
			return invalid("labels", "values are strings of at most 255 bytes");
	}
	return NULL;
}

static bool env_name_ok(const char *name)
{
	static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
	static const char others[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";

	return *name && strchr(first, *name) && name[strspn(name, others)] == '\0';
}

struct torpor_error *tp_check_env(const json_t *env)
{
	const char *key;
	json_t *value;
	size_t bytes = 0;

	if (!env)
		return NULL;
	if (!json_is_object(env))
		return invalid("env", "it isn't an object");
	if (json_object_size(env) > ENV_MAX)
		return invalid("env", "there are more than 128 variables");
	json_object_foreach ((json_t *)env, key, value) {
		if (!env_name_ok(key))
			return invalid("env", "names are letters, digits and _, not a digit first");
		if (!text_ok(value, ENV_BYTES_MAX))
			return invalid("env", "values are strings, of no more than 32 KiB in all");
		bytes += strlen(key) + json_string_length(value) + 2;
	}
	if (bytes > ENV_BYTES_MAX)
		return invalid("env", "names and values are more than 32 KiB");
	return NULL;
}

/* --- Limits --- */

static struct torpor_error *parse_number(
	const json_t *value, const char *key, uint64_t max, uint64_t *number_out)
{
	if (json_is_null(value)) {
		*number_out = 0;
		return NULL;
	}
	if (!json_is_integer(value) || json_integer_value(value) <= 0 ||
		(uint64_t)json_integer_value(value) > max)
		return tp_error(TORPOR_E_INVALID, "check limit", key,
			"it is an integer from 1 to %ju, or null", (uintmax_t)max);
	*number_out = (uint64_t)json_integer_value(value);
	return NULL;
}

static struct torpor_error *parse_cpus(const json_t *value, double *cpus_out)
{
	double cpus = json_number_value(value);

	if (!json_is_null(value) &&
		(!json_is_number(value) || !isfinite(cpus) || cpus < 0.01 || cpus > 1024))
		return tp_error(TORPOR_E_INVALID, "check limit", "cpus",
			"it is a number from 0.01 to 1024, or null");
	*cpus_out = cpus;
	return NULL;
}

static struct torpor_error *parse_limit(
	const char *key, const json_t *value, struct tp_limits *limits)
{
	uint64_t small;

	if (strcmp(key, "cpus") == 0)
		return parse_cpus(value, &limits->cpus);
	if (strcmp(key, "memory_bytes") == 0)
		return parse_number(value, key, INT64_MAX, &limits->memory_bytes);
	if (strcmp(key, "io_bytes_per_s") == 0)
		return parse_number(value, key, INT64_MAX, &limits->io_bytes_per_s);
	if (strcmp(key, "net_bytes_per_s") == 0)
		return parse_number(value, key, INT64_MAX, &limits->net_bytes_per_s);
	if (strcmp(key, "pids") == 0) {
		TP_TRY(parse_number(value, key, UINT32_MAX, &small));
		limits->pids = (uint32_t)small;
		return NULL;
	}
	if (strcmp(key, "nofile") == 0) {
		TP_TRY(parse_number(value, key, UINT32_MAX, &small));
		limits->nofile = (uint32_t)small;
		return NULL;
	}
	return strcmp(key, "unenforced") == 0 ? NULL : invalid("limits", "there is an unknown one");
}

struct torpor_error *tp_parse_limits(const json_t *json, struct tp_limits *limits_out)
{
	struct tp_limits limits = {0};
	const char *key;
	json_t *value;

	if (json && !json_is_object(json))
		return invalid("limits", "they aren't an object");
	json_object_foreach ((json_t *)json, key, value)
		TP_TRY(parse_limit(key, value, &limits));
	*limits_out = limits;
	return NULL;
}

static struct torpor_error *check_not_called(void *data, const struct tp_session_row *row)
{
	const char *name = data;

	if (strcmp(row->name, name) != 0)
		return NULL;
	return tp_error_hint(tp_error(TORPOR_E_EXISTS, "create session", name,
				     "session %s has that name", row->id),
		"Choose another name, or destroy that one.");
}

struct torpor_error *tp_check_name_free(
	struct tp_service *service, const char *tenant, const char *name)
{
	struct tp_session_filter filter = {.tenant = tenant, .match = name};

	return tp_records_sessions(service->records, &filter, check_not_called, (void *)name);
}
