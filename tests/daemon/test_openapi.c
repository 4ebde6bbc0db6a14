/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The document against the daemon: it has the routes that there are and no others, it is sound in
 * itself, and the handlers have the bounds that it says: from each schema of a request the values
 * at its bounds are made, which must pass, and those just beyond, which must be refused.
 */
#include <fcntl.h>

#include "support.h"

#include "base/fd.h"
#include "schema.h"
#include "service/state.h"

static json_t *doc;

static void load(void)
{
	json_error_t error;

	stub_reset();
	doc = json_load_file(OPENAPI_JSON, JSON_REJECT_DUPLICATES, &error);
	cr_assert_not_null(doc, "line %d: %s", error.line, error.text);
}

static void unload(void)
{
	json_decref(doc);
}

TestSuite(openapi, .init = load, .fini = unload);

static const json_t *schema_named(const char *name)
{
	return json_object_get(
		json_object_get(json_object_get(doc, "components"), "schemas"), name);
}

typedef void each_operation(const char *method, const char *path, const json_t *operation);

static void operations(each_operation *each)
{
	const char *path, *method;
	json_t *item, *operation;

	json_object_foreach (json_object_get(doc, "paths"), path, item)
		json_object_foreach (item, method, operation)
			each(method, path, operation);
}

/* --- the document and the routes --- */

static void must_be_a_route(const char *method, const char *path, const json_t *operation)
{
	bool found = false;

	(void)operation;
	for (const struct http_route *route = http_routes; route->method && !found; route++)
		found = strcasecmp(route->method, method) == 0 && strcmp(route->pattern, path) == 0;
	cr_assert(found, "%s %s is no route", method, path);
}

Test(openapi, has_the_routes_that_there_are)
{
	operations(must_be_a_route);
	for (const struct http_route *route = http_routes; route->method; route++) {
		cr_assert_not_null(schema_operation(doc, route->method, route->pattern),
			"%s %s isn't in the document", route->method, route->pattern);
		cr_assert_not_null(route->handler);
	}
}

static bool has_parameter(const json_t *operation, const char *in, const char *name)
{
	size_t i;
	json_t *item;

	json_array_foreach (json_object_get(operation, "parameters"), i, item) {
		const json_t *p = schema_resolve(doc, item);

		if (strcmp(json_string_value(json_object_get(p, "in")), in) == 0 &&
			strcmp(json_string_value(json_object_get(p, "name")), name) == 0)
			return true;
	}
	return false;
}

/* What a route's flags say is what the document says. */
Test(openapi, has_the_flags_of_the_routes)
{
	for (const struct http_route *route = http_routes; route->method; route++) {
		const json_t *op = schema_operation(doc, route->method, route->pattern);
		bool keyed = (route->flags & HTTP_MUTATING) && !(route->flags & HTTP_NO_REPEAT);
		bool reads = strcmp(route->method, "GET") == 0;

		cr_assert_eq(has_parameter(op, "header", "Idempotency-Key"), keyed, "%s %s",
			route->method, route->pattern);
		cr_assert_eq(!(route->flags & HTTP_MUTATING), reads, "%s %s", route->method,
			route->pattern);
		cr_assert_eq(json_object_get(op, "security") != NULL,
			(route->flags & HTTP_OPEN) != 0, "%s %s", route->method, route->pattern);
		cr_assert_eq(has_parameter(op, "header", "Torpor-Tenant"),
			!(route->flags & HTTP_OPEN), "%s %s", route->method, route->pattern);
		cr_assert_eq(!!json_object_get(op, "requestBody"),
			strcmp(route->method, "POST") == 0 || strcmp(route->method, "PATCH") == 0,
			"%s %s", route->method, route->pattern);
	}
}

/* --- sound in itself --- */

static void references_must_resolve(const json_t *json)
{
	const char *key;
	size_t i;
	json_t *value;

	if (json_object_get(json, "$ref"))
		cr_assert(json_is_object(schema_resolve(doc, json)), "%s isn't there",
			json_string_value(json_object_get(json, "$ref")));
	if (json_is_object(json))
		json_object_foreach ((json_t *)json, key, value)
			references_must_resolve(value);
	json_array_foreach (json, i, value)
		references_must_resolve(value);
}

Test(openapi, references_resolve)
{
	references_must_resolve(doc);
}

static json_t *ids;

static void must_be_complete(const char *method, const char *path, const json_t *operation)
{
	const char *id = json_string_value(json_object_get(operation, "operationId"));
	const json_t *responses = json_object_get(operation, "responses");
	size_t good = 0, in_path = 0;
	const char *status;
	json_t *response;
	size_t i;
	json_t *parameter;

	cr_assert_not_null(id, "%s %s", method, path);
	cr_assert_null(json_object_get(ids, id), "%s is there twice", id);
	json_object_set_new(ids, id, json_true());
	cr_assert_not_null(json_object_get(operation, "summary"), "%s", id);
	cr_assert_eq(json_array_size(json_object_get(operation, "tags")), 1, "%s", id);
	json_object_foreach ((json_t *)responses, status, response) {
		good += status[0] == '2';
		cr_assert_not_null(json_object_get(schema_resolve(doc, response), "description"),
			"%s: %s", id, status);
	}
	cr_assert_geq(good, 1, "%s", id);
	cr_assert_not_null(json_object_get(responses, "default"), "%s", id);
	json_array_foreach (json_object_get(operation, "parameters"), i, parameter) {
		const json_t *p = schema_resolve(doc, parameter);
		const char *name = json_string_value(json_object_get(p, "name"));
		TP_FREE char *place = tp_asprintf("{%s}", name);

		cr_assert_not_null(json_object_get(p, "schema"), "%s: %s", id, name);
		if (strcmp(json_string_value(json_object_get(p, "in")), "path") != 0)
			continue;
		in_path++;
		cr_assert_not_null(strstr(path, place), "%s: %s", id, name);
		cr_assert(json_is_true(json_object_get(p, "required")), "%s: %s", id, name);
	}
	for (const char *at = strchr(path, '{'); at; at = strchr(at + 1, '{'))
		in_path--;
	cr_assert_eq(in_path, 0, "%s: not all of its path is described", id);
}

Test(openapi, operations_are_complete)
{
	ids = json_object();
	operations(must_be_complete);
	json_decref(ids);
}

static void examples_must_fit(const char *method, const char *path, const json_t *operation)
{
	const json_t *request = json_object_get(operation, "requestBody");
	const char *status, *type;
	json_t *response, *media;

	if (request) {
		const json_t *json =
			json_object_get(json_object_get(request, "content"), "application/json");
		TP_FREE char *why = NULL;

		cr_assert(schema_check_request(
				  doc, method, path, json_object_get(json, "example"), &why),
			"%s %s: %s", method, path, why);
	}
	json_object_foreach (json_object_get(operation, "responses"), status, response)
		json_object_foreach (
			json_object_get(schema_resolve(doc, response), "content"), type, media) {
			const json_t *example = json_object_get(media, "example");
			TP_FREE char *why = NULL;

			/* Problems have theirs where they are described, the document is its own.
			 */
			if (strcmp(type, "application/json") == 0 &&
				strcmp(path, "/openapi.json") != 0)
				cr_assert_not_null(example, "%s %s %s", method, path, status);
			cr_assert(!example || schema_valid(doc, json_object_get(media, "schema"),
						      example, &why),
				"%s %s %s: %s", method, path, status, why);
		}
}

Test(openapi, examples_fit_their_schemas)
{
	operations(examples_must_fit);
}

/* --- the lists that are in the code too --- */

static bool has(const json_t *list, const char *word)
{
	size_t i;
	json_t *item;

	json_array_foreach (list, i, item)
		if (json_is_string(item) && strcmp(json_string_value(item), word) == 0)
			return true;
	return false;
}

Test(openapi, lists_are_those_of_the_code)
{
	const json_t *states = json_object_get(schema_named("State"), "enum");
	const json_t *types = json_object_get(
		json_object_get(json_object_get(schema_named("Problem"), "properties"), "type"),
		"enum");

	cr_assert_eq(json_array_size(states), TP_STATE_COUNT);
	for (int i = 0; i < TP_STATE_COUNT; i++)
		cr_assert(has(states, tp_state_name((enum tp_state)i)));
	cr_assert_eq(json_array_size(types), TORPOR_E_INTERNAL);
	for (int i = TORPOR_E_INVALID; i <= TORPOR_E_INTERNAL; i++) {
		TP_FREE char *type =
			tp_asprintf("urn:torpor:problem:%s", torpor_errc_name((enum torpor_errc)i));

		cr_assert(has(types, type), "%s", type);
	}
	cr_assert_str_eq(
		json_string_value(json_object_get(json_object_get(doc, "info"), "version")),
		PROJECT_VERSION);
}

/* Whatever a reader of docs/API.md can name is there: reasons of refusals, paths. */
Test(openapi, has_what_the_page_has)
{
	const json_t *reasons = json_object_get(
		json_object_get(json_object_get(schema_named("Problem"), "properties"), "reason"),
		"enum");
	TP_FREE char *page = NULL;
	size_t len, i;
	json_t *reason;

	must(tp_read_file(AT_FDCWD, API_MD, TP_MIB, &page, &len));
	json_array_foreach (reasons, i, reason) {
		TP_FREE char *quoted = tp_asprintf("`%s`", json_string_value(reason));

		cr_assert_not_null(strstr(page, quoted), "%s", quoted);
	}
}

/* --- served as it is --- */

Test(openapi, is_served)
{
	struct fake fake;

	fake_init(&fake, NULL);
	must(fake_call(&fake, route_handler("GET", "/openapi.json")));
	cr_assert_str_eq(fake.reply.content_type, "application/json");
	json_t *served = json_loads(fake.reply.text, JSON_REJECT_DUPLICATES, NULL);
	cr_assert(json_equal(served, doc));
	json_decref(served);
	fake_deinit(&fake);
}

/* --- bounds: the handlers have those of the document --- */

/* Where a value is put: into the member NAME of BODY, or of its member WITHIN. */
struct place {
	const char *method, *path;
	const json_t *body; /* a request that passes */
	const char *within; /* or NULL */
	const char *name;
};

static size_t tried;

static void put(const struct place *place, json_t *value, bool passes)
{
	json_t *body = json_deep_copy(place->body);
	json_t *object = body;
	struct fake fake;
	struct torpor_error *err;
	TP_FREE char *shown = json_dumps(value, JSON_ENCODE_ANY);

	if (place->within) {
		object = json_object();
		json_object_set_new(body, place->within, object);
	}
	json_object_set_new(object, place->name, value);
	fake_init(&fake, "{}");
	if (strncmp(place->path, "/v1/sessions", 12) != 0)
		fake.req.params[0] = "minimal";
	fake.req.body = body;
	err = fake_call(&fake, route_handler(place->method, place->path));
	cr_assert_eq(err == NULL, passes, "%s %s: %s = %.80s: %s", place->method, place->path,
		place->name, shown, err ? torpor_error_message(err) : "passed");
	if (err) {
		cr_assert_eq(torpor_error_code(err), TORPOR_E_INVALID);
		cr_assert_not_null(strstr(torpor_error_message(err), place->name), "%s",
			torpor_error_message(err));
	}
	torpor_error_free(err);
	fake_deinit(&fake);
	json_decref(body);
	tried++;
}

/* Whether it passes is the schema's to say. */
static void put_one(const struct place *place, const json_t *schema, json_t *value)
{
	TP_FREE char *why = NULL;
	bool good = schema_valid(doc, schema, value, &why);

	put(place, value, good);
}

/* LEN characters that the schemas' patterns allow. */
static json_t *text_of(const json_t *schema, size_t len)
{
	const char *pattern = json_string_value(json_object_get(schema, "pattern"));
	char *text = tp_calloc(1, len + 1);
	json_t *json;

	memset(text, 'a', len);
	if (pattern && strcmp(pattern, "^/") == 0 && len > 0)
		text[0] = '/';
	json = json_string(text);
	free(text);
	return json;
}

static void try_types(const struct place *place, const json_t *schema)
{
	put_one(place, schema, json_null());
	put_one(place, schema, json_true());
	put_one(place, schema, json_real(0.5));
	put_one(place, schema, json_string("?!"));
	put_one(place, schema, json_array());
	put_one(place, schema, json_object());
}

static void try_number(const struct place *place, const json_t *schema, const json_t *type)
{
	const json_t *min = json_object_get(schema, "minimum");
	const json_t *max = json_object_get(schema, "maximum");

	cr_assert(min && max, "%s: %s has no bounds", place->path, place->name);
	if (has(type, "integer")) {
		for (int delta = -1; delta <= 1; delta++) {
			put_one(place, schema, json_integer(json_integer_value(min) + delta));
			put_one(place, schema, json_integer(json_integer_value(max) + delta));
		}
		return;
	}
	for (double factor = 0.5; factor <= 2; factor *= 2) {
		put_one(place, schema, json_real(json_number_value(min) * factor));
		put_one(place, schema, json_real(json_number_value(max) * factor));
	}
}

static void try_text(const struct place *place, const json_t *schema)
{
	const json_t *min = json_object_get(schema, "minLength");
	const json_t *max = json_object_get(schema, "maxLength");
	size_t i;
	json_t *word;

	json_array_foreach (json_object_get(schema, "enum"), i, word)
		put_one(place, schema, json_incref(word));
	if (json_object_get(schema, "enum"))
		return;
	cr_assert_not_null(max, "%s: %s has no bound", place->path, place->name);
	put_one(place, schema, json_string(""));
	put_one(place, schema, text_of(schema, (size_t)json_integer_value(min)));
	put_one(place, schema, text_of(schema, (size_t)json_integer_value(max)));
	put_one(place, schema, text_of(schema, (size_t)json_integer_value(max) + 1));
}

static json_t *array_of(size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++) {
		TP_FREE char *word = tp_asprintf("a%zu", i);

		json_array_append_new(array, json_string(word));
	}
	return array;
}

static void try_array(const struct place *place, const json_t *schema)
{
	const json_t *items = schema_resolve(doc, json_object_get(schema, "items"));
	size_t min = (size_t)json_integer_value(json_object_get(schema, "minItems"));
	size_t max = (size_t)json_integer_value(json_object_get(schema, "maxItems"));
	size_t len = (size_t)json_integer_value(json_object_get(items, "maxLength"));

	cr_assert(max > 0 && len > 0, "%s: %s has no bounds", place->path, place->name);
	put_one(place, schema, array_of(min - 1));
	put_one(place, schema, array_of(min));
	put_one(place, schema, array_of(max));
	put_one(place, schema, array_of(max + 1));
	put_one(place, schema, json_pack("[o]", text_of(items, len)));
	put_one(place, schema, json_pack("[o]", text_of(items, len + 1)));
	put_one(place, schema, json_pack("[i]", 1));
}

/* COUNT members, or one whose name has LEN characters. */
static json_t *map_of(size_t count, size_t len, json_t *value)
{
	json_t *map = json_object();

	for (size_t i = 0; i < count; i++) {
		TP_FREE char *name = len > 0 ? tp_calloc(1, len + 1) : tp_asprintf("a%zu", i);

		memset(name, 'a', len);
		json_object_set(map, name, value);
	}
	json_decref(value);
	return map;
}

static void try_map(const struct place *place, const json_t *schema)
{
	const json_t *names = json_object_get(schema, "propertyNames");
	size_t max = (size_t)json_integer_value(json_object_get(schema, "maxProperties"));
	size_t name_len = (size_t)json_integer_value(json_object_get(names, "maxLength"));
	const json_t *value = json_object_get(schema, "additionalProperties");
	size_t len = (size_t)json_integer_value(json_object_get(value, "maxLength"));

	cr_assert(max > 0 && len > 0, "%s: %s has no bounds", place->path, place->name);
	put_one(place, schema, map_of(max, 0, json_string("")));
	put_one(place, schema, map_of(max + 1, 0, json_string("")));
	put_one(place, schema, map_of(1, 1, text_of(value, len)));
	put_one(place, schema, map_of(1, 1, text_of(value, len + 1)));
	put_one(place, schema, map_of(1, 1, json_integer(1)));
	put_one(place, schema, json_pack("{ss}", "a b", "x"));
	put_one(place, schema, json_pack("{ss}", "", "x"));
	if (name_len > 0) {
		put_one(place, schema, map_of(1, name_len, json_string("")));
		put_one(place, schema, map_of(1, name_len + 1, json_string("")));
	}
}

static void try_members(const struct place *place, const json_t *schema);

static void try_field(const struct place *place, const json_t *full_schema)
{
	const json_t *schema = schema_resolve(doc, full_schema);
	const json_t *type, *first;

	try_types(place, full_schema);
	first = json_array_get(json_object_get(schema, "anyOf"), 0);
	if (first)
		schema = schema_resolve(doc, first);
	type = json_object_get(schema, "type");
	type = json_is_array(type) ? json_incref((json_t *)type) : json_pack("[O]", type);
	if (has(type, "integer") || has(type, "number"))
		try_number(place, schema, type);
	if (has(type, "string"))
		try_text(place, schema);
	if (has(type, "array"))
		try_array(place, schema);
	if (has(type, "object") && json_object_get(schema, "properties"))
		try_members(place, schema);
	else if (has(type, "object"))
		try_map(place, schema);
	json_decref((json_t *)type);
}

/* The fields of an object inside another, or of the body itself (PLACE without a name). */
static void try_members(const struct place *place, const json_t *schema)
{
	struct place inner = *place;
	const char *name;
	json_t *rule;

	cr_assert(json_is_false(json_object_get(schema, "additionalProperties")));
	inner.within = place->name;
	json_object_foreach (json_object_get(schema, "properties"), name, rule) {
		inner.name = name;
		try_field(&inner, rule);
	}
	inner.name = "no_such_field";
	put(&inner, json_integer(1), false);
}

static void try_without(const struct place *place, const json_t *required)
{
	size_t i;
	json_t *name;

	json_array_foreach (required, i, name) {
		struct place without = *place;
		json_t *body = json_deep_copy(place->body);

		without.name = json_string_value(name);
		without.body = body;
		put(&without, json_null(), false);
		json_decref(body);
	}
}

static void try_operation(const char *method, const char *path, const json_t *operation)
{
	const json_t *content = json_object_get(
		json_object_get(json_object_get(operation, "requestBody"), "content"),
		"application/json");
	const json_t *schema = schema_resolve(doc, json_object_get(content, "schema"));
	TP_FREE char *capitals = tp_strdup(method);
	json_t *body;

	if (!content)
		return;
	for (char *c = capitals; *c; c++)
		*c = (char)(*c & ~0x20);
	body = json_deep_copy(json_object_get(content, "example"));
	/* These two must agree with one another. */
	json_object_del(body, "names");
	json_object_del(body, "count");

	struct place place = {.method = capitals, .path = path, .body = body};
	try_members(&place, schema);
	try_without(&place, json_object_get(schema, "required"));
	json_decref(body);
}

Test(openapi, bounds_are_those_of_the_handlers)
{
	operations(try_operation);
	cr_assert_geq(tried, 500, "%zu", tried);
}
