/* SPDX-License-Identifier: Apache-2.0 */
/* Reading JSON objects that nobody vouches for, field by field. */
#include "daemon/json_in.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/utf8.h"

#define NAME_MAX_LEN 64
#define SHOWN_MAX    64 /* bytes of a field's name that a message repeats */

struct json_in json_in_over(const json_t *object, const char *step)
{
	return (struct json_in){.object = object, .step = step};
}

/* Keeps the first failure: NAME is the field's, FMT what it must be. */
static void TP_PRINTF(3, 4) fail(struct json_in *in, const char *name, const char *fmt, ...)
{
	char why[160];
	char shown[SHOWN_MAX + 1];
	va_list ap;

	if (in->err)
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	utf8_clip(name, shown, sizeof(shown));
	in->err = tp_error(TORPOR_E_INVALID, in->step, NULL, "\"%s%s%s\" %s",
		in->within ? in->within : "", in->within ? "." : "", shown, why);
}

struct torpor_error *json_in_end(struct json_in *in)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)in->object, key, value) {
		bool known = false;

		for (size_t i = 0; i < in->known_count && !known; i++)
			known = strcmp(key, in->known[i]) == 0;
		if (!known)
			fail(in, key, "is no field of this request");
	}
	return TP_TAKE(in->err);
}

/* The field, or NULL: it is null or missing (which fails if it is needed), or all is lost. */
static const json_t *field(struct json_in *in, const char *name, enum json_in_need need)
{
	const json_t *value = json_object_get(in->object, name);

	assert(in->known_count < JSON_IN_FIELDS_MAX);
	in->known[in->known_count++] = name;
	if (in->err)
		return NULL;
	if (value && !json_is_null(value))
		return value;
	if (need == JSON_IN_REQUIRED)
		fail(in, name, "is missing");
	return NULL;
}

/* --- strings --- */

static bool text_fits(const json_t *value, size_t min, size_t max)
{
	size_t len = json_string_length(value);

	return json_is_string(value) && len >= min && len <= max &&
	       strlen(json_string_value(value)) == len;
}

static bool has_controls(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return true;
	return false;
}

const char *json_in_text(
	struct json_in *in, const char *name, enum json_in_need need, size_t min, size_t max)
{
	const json_t *value = field(in, name, need);

	if (!value)
		return NULL;
	if (!text_fits(value, min, max)) {
		fail(in, name, "must be a string of %zu to %zu bytes", min, max);
		return NULL;
	}
	return json_string_value(value);
}

const char *json_in_line(
	struct json_in *in, const char *name, enum json_in_need need, size_t min, size_t max)
{
	const char *text = json_in_text(in, name, need, min, max);

	if (text && has_controls(text)) {
		fail(in, name, "must have no control characters");
		return NULL;
	}
	return text;
}

const char *json_in_path(struct json_in *in, const char *name, enum json_in_need need, size_t max)
{
	const char *text = json_in_line(in, name, need, 1, max);

	if (text && text[0] != '/') {
		fail(in, name, "must be an absolute path");
		return NULL;
	}
	return text;
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool json_in_name_ok(const char *text)
{
	size_t len = strnlen(text, NAME_MAX_LEN + 1);

	if (len == 0 || len > NAME_MAX_LEN || !is_alnum(text[0]))
		return false;
	for (size_t i = 1; i < len; i++)
		if (!is_alnum(text[i]) && !strchr("._-", text[i]))
			return false;
	return true;
}

const char *json_in_name(struct json_in *in, const char *name, enum json_in_need need)
{
	const json_t *value = field(in, name, need);

	if (!value)
		return NULL;
	if (!text_fits(value, 1, NAME_MAX_LEN) || !json_in_name_ok(json_string_value(value))) {
		fail(in, name,
			"must be a name: 1 to %d of A-Z a-z 0-9 . _ -, the first a letter or digit",
			NAME_MAX_LEN);
		return NULL;
	}
	return json_string_value(value);
}

const char *json_in_choice(
	struct json_in *in, const char *name, enum json_in_need need, const char *const *choices)
{
	const json_t *value = field(in, name, need);
	char list[96] = "";
	size_t used = 0;

	if (!value)
		return NULL;
	for (const char *const *c = choices; *c; c++) {
		if (json_is_string(value) && strcmp(json_string_value(value), *c) == 0)
			return *c;
		used += (size_t)snprintf(
			list + used, sizeof(list) - used, "%s%s", c == choices ? "" : ", ", *c);
		assert(used < sizeof(list));
	}
	fail(in, name, "must be one of: %s", list);
	return NULL;
}

/* --- numbers --- */

int64_t json_in_number(
	struct json_in *in, const char *name, int64_t min, int64_t max, int64_t default_value)
{
	const json_t *value = field(in, name, JSON_IN_OPTIONAL);
	json_int_t number = json_integer_value(value);

	if (!value)
		return default_value;
	if (!json_is_integer(value) || number < min || number > max) {
		fail(in, name, "must be a whole number from %" PRId64 " to %" PRId64, min, max);
		return default_value;
	}
	return number;
}

double json_in_real(
	struct json_in *in, const char *name, double min, double max, double default_value)
{
	const json_t *value = field(in, name, JSON_IN_OPTIONAL);
	double number = json_number_value(value);

	if (!value)
		return default_value;
	if (!json_is_number(value) || !(number >= min && number <= max)) {
		fail(in, name, "must be a number from %g to %g", min, max);
		return default_value;
	}
	return number;
}

bool json_in_flag(struct json_in *in, const char *name, bool default_value)
{
	const json_t *value = field(in, name, JSON_IN_OPTIONAL);

	if (!value)
		return default_value;
	if (!json_is_boolean(value)) {
		fail(in, name, "must be true or false");
		return default_value;
	}
	return json_is_true(value);
}

/* --- collections --- */

static bool check_entry(struct json_in *in, const char *name, const struct json_in_map *bounds,
	const char *key, const json_t *value)
{
	size_t key_len = strlen(key);

	if (!bounds->key_ok(key, key_len))
		fail(in, name, "has a key that is not %s", bounds->keys);
	else if (!text_fits(value, 0, bounds->value_len))
		fail(in, name, "must have strings of at most %zu bytes for values",
			bounds->value_len);
	else if (bounds->lines && has_controls(json_string_value(value)))
		fail(in, name, "must have no control characters in its values");
	else if (bounds->entry_bytes > 0 &&
		 key_len + json_string_length(value) > bounds->entry_bytes)
		fail(in, name, "has an entry of more than %zu bytes", bounds->entry_bytes);
	return !in->err;
}

const json_t *json_in_map(struct json_in *in, const char *name, const struct json_in_map *bounds)
{
	const json_t *map = field(in, name, JSON_IN_OPTIONAL);
	size_t total = 0;
	const char *key;
	json_t *value;

	if (!map)
		return NULL;
	if (!json_is_object(map) || json_object_size(map) > bounds->entries) {
		fail(in, name, "must be an object of at most %zu strings", bounds->entries);
		return NULL;
	}
	json_object_foreach ((json_t *)map, key, value) {
		if (!check_entry(in, name, bounds, key, value))
			return NULL;
		total += strlen(key) + json_string_length(value) + 2;
	}
	if (bounds->total_bytes > 0 && total > bounds->total_bytes) {
		fail(in, name, "must have at most %zu bytes in all", bounds->total_bytes);
		return NULL;
	}
	return map;
}

const json_t *json_in_strings(struct json_in *in, const char *name, enum json_in_need need,
	size_t min, size_t max, size_t total)
{
	const json_t *array = field(in, name, need);
	size_t bytes = 0;
	size_t i;
	json_t *value;

	if (!array)
		return NULL;
	if (!json_is_array(array) || json_array_size(array) < min || json_array_size(array) > max) {
		fail(in, name, "must be an array of %zu to %zu strings", min, max);
		return NULL;
	}
	json_array_foreach (array, i, value) {
		if (!text_fits(value, 0, total)) {
			fail(in, name, "must hold strings of at most %zu bytes", total);
			return NULL;
		}
		bytes += json_string_length(value) + 1;
	}
	if (bytes > total) {
		fail(in, name, "must have at most %zu bytes in all", total);
		return NULL;
	}
	return array;
}

const json_t *json_in_enter(struct json_in *in, const char *name, struct json_in *inner_out)
{
	const json_t *object = field(in, name, JSON_IN_OPTIONAL);

	if (object && !json_is_object(object)) {
		fail(in, name, "must be an object");
		object = NULL;
	}
	*inner_out = (struct json_in){.object = object, .step = in->step, .within = name};
	return object;
}

void json_in_leave(struct json_in *in, struct json_in *inner)
{
	struct torpor_error *err = json_in_end(inner);

	if (in->err)
		torpor_error_free(err);
	else
		in->err = err;
}
