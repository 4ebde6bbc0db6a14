/* SPDX-License-Identifier: Apache-2.0 */
/* Values against the JSON Schemas of an OpenAPI 3.1 document. */
#include "schema.h"

#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define DEPTH_MAX 64

struct check {
	const json_t *doc;
	char *why; /* the first thing that was wrong */
	unsigned int depth;
};

static bool valid(struct check *check, const json_t *schema, const json_t *value, const char *at);

static bool TP_PRINTF(3, 4) wrong(struct check *check, const char *at, const char *fmt, ...)
{
	TP_FREE char *what = NULL;
	va_list ap;

	va_start(ap, fmt);
	what = tp_vasprintf(fmt, ap);
	va_end(ap);
	if (!check->why)
		check->why = tp_asprintf("%s %s", *at ? at : "it", what);
	return false;
}

/* --- references --- */

const json_t *schema_resolve(const json_t *doc, const json_t *json)
{
	const char *ref = json_string_value(json_object_get(json, "$ref"));
	TP_FREE char *path = NULL;
	char *rest;

	if (!ref)
		return json;
	if (strncmp(ref, "#/", 2) != 0)
		return NULL;
	path = tp_strdup(ref + 2);
	for (char *part = strtok_r(path, "/", &rest); part; part = strtok_r(NULL, "/", &rest))
		doc = json_object_get(doc, part);
	return doc;
}

/* --- keywords --- */

static bool is_type(const json_t *value, const char *type)
{
	return (strcmp(type, "object") == 0 && json_is_object(value)) ||
	       (strcmp(type, "array") == 0 && json_is_array(value)) ||
	       (strcmp(type, "string") == 0 && json_is_string(value)) ||
	       (strcmp(type, "integer") == 0 &&
		       (json_is_integer(value) ||
			       (json_is_real(value) &&
				       trunc(json_real_value(value)) == json_real_value(value)))) ||
	       (strcmp(type, "number") == 0 && json_is_number(value)) ||
	       (strcmp(type, "boolean") == 0 && json_is_boolean(value)) ||
	       (strcmp(type, "null") == 0 && json_is_null(value));
}

static bool check_type(struct check *check, const json_t *rule, const json_t *value, const char *at)
{
	size_t i;
	json_t *one;

	if (json_is_string(rule))
		return is_type(value, json_string_value(rule)) ||
		       wrong(check, at, "is no %s", json_string_value(rule));
	json_array_foreach (rule, i, one)
		if (is_type(value, json_string_value(one)))
			return true;
	return wrong(check, at, "has none of its types");
}

static bool check_enum(struct check *check, const json_t *rule, const json_t *value, const char *at)
{
	size_t i;
	json_t *one;

	json_array_foreach (rule, i, one)
		if (json_equal(one, value))
			return true;
	return wrong(check, at, "is none of the values it may have");
}

/* -1, 0, 1; exact where both are integers, however large. */
static int compare(const json_t *a, const json_t *b)
{
	json_int_t x = json_integer_value(a), y = json_integer_value(b);

	if (json_is_integer(a) && json_is_integer(b))
		return (x > y) - (x < y);
	return (json_number_value(a) > json_number_value(b)) -
	       (json_number_value(a) < json_number_value(b));
}

static bool check_bound(struct check *check, const char *keyword, const json_t *rule,
	const json_t *value, const char *at)
{
	double bound = json_number_value(rule);
	double number = json_number_value(value);

	if (!json_is_number(value))
		return true;
	if (strcmp(keyword, "minimum") == 0 && compare(value, rule) < 0)
		return wrong(check, at, "is %.17g, below %.17g", number, bound);
	if (strcmp(keyword, "maximum") == 0 && compare(value, rule) > 0)
		return wrong(check, at, "is %.17g, above %.17g", number, bound);
	if (strcmp(keyword, "multipleOf") == 0 && fmod(number, bound) != 0)
		return wrong(check, at, "is %.17g, no multiple of %.17g", number, bound);
	return true;
}

/* Characters, not bytes (RFC 8259). */
static size_t characters(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

static bool check_size(struct check *check, const char *keyword, const json_t *rule,
	const json_t *value, const char *at)
{
	size_t bound = (size_t)json_integer_value(rule);
	bool applies = strstr(keyword, "Length")  ? json_is_string(value)
		       : strstr(keyword, "Items") ? json_is_array(value)
						  : json_is_object(value);
	size_t size = !applies		      ? bound
		      : json_is_string(value) ? characters(json_string_value(value))
		      : json_is_array(value)  ? json_array_size(value)
					      : json_object_size(value);

	if (strncmp(keyword, "min", 3) == 0 && size < bound)
		return wrong(check, at, "has %zu of at least %zu (%s)", size, bound, keyword);
	if (strncmp(keyword, "max", 3) == 0 && size > bound)
		return wrong(check, at, "has %zu of at most %zu (%s)", size, bound, keyword);
	return true;
}

static bool matches(const char *pattern, const char *text)
{
	regex_t regex;
	bool found;

	if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
		return false;
	found = regexec(&regex, text, 0, NULL, 0) == 0;
	regfree(&regex);
	return found;
}

static bool check_text(struct check *check, const char *keyword, const json_t *rule,
	const json_t *value, const char *at)
{
	const char *pattern = json_string_value(rule);

	if (strcmp(keyword, "format") == 0) {
		if (strcmp(pattern, "date-time") != 0)
			return wrong(check, at, "has the unknown format %s", pattern);
		/* As all times of Torpor: in UTC, with fractions. */
		pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3,}Z$";
	}
	if (!json_is_string(value) || matches(pattern, json_string_value(value)))
		return true;
	return wrong(
		check, at, "is \"%s\" and doesn't match %s", json_string_value(value), pattern);
}

static bool check_any(struct check *check, const char *keyword, const json_t *rule,
	const json_t *value, const char *at)
{
	size_t fits = 0;
	TP_FREE char *why = NULL;
	size_t i;
	json_t *one;

	json_array_foreach (rule, i, one) {
		struct check inner = {.doc = check->doc, .depth = check->depth};

		fits += valid(&inner, one, value, at);
		if (!why)
			why = TP_TAKE(inner.why);
		free(inner.why);
	}
	if (fits == 0)
		return wrong(check, at, "fits none of its schemas (%s)", why);
	if (strcmp(keyword, "oneOf") == 0 && fits > 1)
		return wrong(check, at, "fits more than one of its schemas");
	return true;
}

static bool check_required(
	struct check *check, const json_t *rule, const json_t *value, const char *at)
{
	size_t i;
	json_t *name;

	if (!json_is_object(value))
		return true;
	json_array_foreach (rule, i, name)
		if (!json_object_get(value, json_string_value(name)))
			return wrong(check, at, "lacks \"%s\"", json_string_value(name));
	return true;
}

static bool check_items(
	struct check *check, const json_t *rule, const json_t *value, const char *at)
{
	size_t i;
	json_t *item;

	json_array_foreach (value, i, item) {
		TP_FREE char *where = tp_asprintf("%s[%zu]", at, i);

		if (!valid(check, rule, item, where))
			return false;
	}
	return true;
}

static bool check_names(
	struct check *check, const json_t *rule, const json_t *value, const char *at)
{
	const char *key;
	json_t *member;

	json_object_foreach ((json_t *)value, key, member) {
		TP_FREE char *where = tp_asprintf("the name %s.%s", at, key);
		json_t *name = json_string(key);
		bool ok = valid(check, rule, name, where);

		json_decref(name);
		if (!ok)
			return false;
	}
	return true;
}

/* properties and additionalProperties together. */
static bool check_members(
	struct check *check, const json_t *schema, const json_t *value, const char *at)
{
	const json_t *properties = json_object_get(schema, "properties");
	const json_t *others = json_object_get(schema, "additionalProperties");
	const char *key;
	json_t *member;

	if (!properties && !others)
		return true;
	json_object_foreach ((json_t *)value, key, member) {
		TP_FREE char *where = tp_asprintf("%s.%s", at, key);
		const json_t *rule = json_object_get(properties, key);

		if (!rule && json_is_true(others))
			continue;
		if (!rule && !json_is_object(others))
			return wrong(check, where, "isn't described");
		if (!valid(check, rule ? rule : others, member, where))
			return false;
	}
	return true;
}

static bool one_of(const char *word, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(word, *list) == 0)
			return true;
	return false;
}

static bool check_keyword(struct check *check, const char *keyword, const json_t *rule,
	const json_t *value, const char *at)
{
	static const char *const bounds[] = {"minimum", "maximum", "multipleOf", NULL};
	static const char *const sizes[] = {"minLength", "maxLength", "minItems", "maxItems",
		"minProperties", "maxProperties", NULL};
	static const char *const texts[] = {"pattern", "format", NULL};
	static const char *const anys[] = {"anyOf", "oneOf", NULL};
	/* Notes, and what check_members looks at. */
	static const char *const others[] = {
		"description", "default", "example", "properties", "additionalProperties", NULL};

	if (strcmp(keyword, "type") == 0)
		return check_type(check, rule, value, at);
	if (strcmp(keyword, "enum") == 0)
		return check_enum(check, rule, value, at);
	if (strcmp(keyword, "required") == 0)
		return check_required(check, rule, value, at);
	if (strcmp(keyword, "items") == 0)
		return check_items(check, rule, value, at);
	if (strcmp(keyword, "propertyNames") == 0)
		return check_names(check, rule, value, at);
	if (one_of(keyword, bounds))
		return check_bound(check, keyword, rule, value, at);
	if (one_of(keyword, sizes))
		return check_size(check, keyword, rule, value, at);
	if (one_of(keyword, texts))
		return check_text(check, keyword, rule, value, at);
	if (one_of(keyword, anys))
		return check_any(check, keyword, rule, value, at);
	return one_of(keyword, others) ||
	       wrong(check, at, "has a schema with the unknown keyword %s", keyword);
}

static bool valid(struct check *check, const json_t *schema, const json_t *value, const char *at)
{
	const char *keyword;
	json_t *rule;
	bool ok;

	if (json_object_get(schema, "$ref"))
		schema = schema_resolve(check->doc, schema);
	if (!json_is_object(schema))
		return wrong(check, at, "has no schema");
	if (check->depth >= DEPTH_MAX)
		return wrong(check, at, "goes too deep");
	check->depth++;
	ok = true;
	json_object_foreach ((json_t *)schema, keyword, rule)
		ok = ok && check_keyword(check, keyword, rule, value, at);
	ok = ok && check_members(check, schema, value, at);
	check->depth--;
	return ok;
}

bool schema_valid(const json_t *doc, const json_t *schema, const json_t *value, char **why_out)
{
	struct check check = {.doc = doc};

	if (valid(&check, schema, value, ""))
		return true;
	*why_out = check.why;
	return false;
}

/* --- operations --- */

const json_t *schema_operation(const json_t *doc, const char *method, const char *path)
{
	char lower[16] = "";

	for (size_t i = 0; method[i] && i < sizeof(lower) - 1; i++)
		lower[i] = (char)(method[i] | 0x20);
	return json_object_get(json_object_get(json_object_get(doc, "paths"), path), lower);
}

static const json_t *json_schema(const json_t *content)
{
	const json_t *media = json_object_get(content, "application/json");

	if (!media)
		media = json_object_get(content, "application/problem+json");
	return json_object_get(media, "schema");
}

bool schema_check(const json_t *doc, const char *method, const char *path, int status,
	const json_t *body, char **why_out)
{
	const json_t *responses = json_object_get(schema_operation(doc, method, path), "responses");
	TP_FREE char *code = tp_asprintf("%d", status);
	const json_t *response = json_object_get(responses, code);
	const json_t *schema;

	if (!response)
		response = json_object_get(responses, "default");
	/* What is unforeseen is a failure. */
	if (!response || (!json_object_get(responses, code) && status < 400)) {
		*why_out = tp_asprintf("%s %s has no answer %d", method, path, status);
		return false;
	}
	schema = json_schema(json_object_get(schema_resolve(doc, response), "content"));
	if (!schema && !body)
		return true;
	if (!schema || !body) {
		*why_out = tp_asprintf(
			"%s %s has %s body with %d", method, path, schema ? "a" : "no", status);
		return false;
	}
	return schema_valid(doc, schema, body, why_out);
}

bool schema_check_request(
	const json_t *doc, const char *method, const char *path, const json_t *body, char **why_out)
{
	const json_t *request = json_object_get(schema_operation(doc, method, path), "requestBody");
	const json_t *schema = json_schema(json_object_get(request, "content"));

	if (!schema) {
		*why_out = tp_asprintf("%s %s has no body", method, path);
		return false;
	}
	return schema_valid(doc, schema, body, why_out);
}
