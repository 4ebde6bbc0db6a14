/* SPDX-License-Identifier: Apache-2.0 */
/* The validator: what it lets pass, what it doesn't. */
#include "support.h"

#include "schema.h"

static json_t *parse(const char *text)
{
	json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);

	cr_assert_not_null(json, "bad test: %s", text);
	return json;
}

static const char doc_text[] =
	"{\"components\": {\"schemas\": {"
	"  \"Name\": {\"type\": \"string\", \"maxLength\": 3},"
	"  \"Loop\": {\"$ref\": \"#/components/schemas/Loop2\"},"
	"  \"Loop2\": {\"anyOf\": [{\"$ref\": \"#/components/schemas/Loop2\"}]}},"
	" \"responses\": {\"Bad\": {\"description\": \"\", \"content\": "
	"  {\"application/problem+json\": {\"schema\": {\"type\": \"object\"}}}}}},"
	" \"paths\": {\"/a/{id}\": {\"get\": {\"responses\": {"
	"  \"200\": {\"content\": {\"application/json\": {\"schema\": "
	"   {\"$ref\": \"#/components/schemas/Name\"}}}},"
	"  \"204\": {\"description\": \"\"},"
	"  \"default\": {\"$ref\": \"#/components/responses/Bad\"}}}}}}";

/* PART: what is said against it; NULL: it is right. */
static void check(const char *schema_text, const char *value_text, const char *part)
{
	json_t *doc = parse(doc_text);
	json_t *schema = parse(schema_text);
	json_t *value = parse(value_text);
	TP_FREE char *why = NULL;
	bool ok = schema_valid(doc, schema, value, &why);

	cr_assert_eq(ok, part == NULL, "%s with %s: %s", schema_text, value_text, why);
	cr_assert(!part || strstr(why, part), "%s with %s: %s", schema_text, value_text, why);
	json_decref(doc);
	json_decref(schema);
	json_decref(value);
}

Test(schema, types)
{
	check("{\"type\": \"integer\"}", "1", NULL);
	check("{\"type\": \"integer\"}", "1.0", NULL);
	check("{\"type\": \"integer\"}", "1.5", "is no integer");
	check("{\"type\": \"integer\"}", "\"1\"", "is no integer");
	check("{\"type\": \"number\"}", "1.5", NULL);
	check("{\"type\": \"boolean\"}", "0", "is no boolean");
	check("{\"type\": [\"string\", \"null\"]}", "null", NULL);
	check("{\"type\": [\"string\", \"null\"]}", "\"\"", NULL);
	check("{\"type\": [\"string\", \"null\"]}", "0", "none of its types");
}

Test(schema, values)
{
	check("{\"enum\": [\"a\", null]}", "\"a\"", NULL);
	check("{\"enum\": [\"a\", null]}", "null", NULL);
	check("{\"enum\": [\"a\", null]}", "\"b\"", "none of the values");
	check("{\"minimum\": 2, \"maximum\": 3}", "2", NULL);
	check("{\"minimum\": 2, \"maximum\": 3}", "3", NULL);
	check("{\"minimum\": 2}", "1.9", "below 2");
	check("{\"maximum\": 3}", "4", "above 3");
	check("{\"maximum\": 3}", "\"text\"", NULL);
	check("{\"maximum\": 9007199254740992}", "9007199254740993", "above");
	check("{\"multipleOf\": 4}", "8", NULL);
	check("{\"multipleOf\": 4}", "9", "multiple");
}

Test(schema, texts)
{
	check("{\"minLength\": 2, \"maxLength\": 2}", "\"\\u00e4\\u20ac\"", NULL);
	check("{\"maxLength\": 2}", "\"abc\"", "3 of at most 2");
	check("{\"minLength\": 2}", "\"a\"", "1 of at least 2");
	check("{\"pattern\": \"^[a-c]+$\"}", "\"abc\"", NULL);
	check("{\"pattern\": \"^[a-c]+$\"}", "\"abd\"", "doesn't match");
	check("{\"format\": \"date-time\"}", "\"2026-01-02T03:04:05.678Z\"", NULL);
	check("{\"format\": \"date-time\"}", "\"2026-01-02 03:04:05\"", "doesn't match");
	check("{\"format\": \"date-time\"}", "\"2026-01-02T03:04:05.678+01:00\"", "doesn't match");
	check("{\"format\": \"uuid\"}", "\"\"", "unknown format");
}

Test(schema, objects)
{
	check("{\"properties\": {\"a\": {\"type\": \"string\"}}}", "{\"a\": \"\"}", NULL);
	check("{\"properties\": {\"a\": {\"type\": \"string\"}}}", "{}", NULL);
	check("{\"properties\": {\"a\": {\"type\": \"string\"}}}", "{\"a\": 1}", ".a is no string");
	check("{\"properties\": {\"a\": {}}}", "{\"b\": 1}", ".b isn't described");
	check("{\"properties\": {}, \"additionalProperties\": false}", "{\"b\": 1}",
		".b isn't described");
	check("{\"properties\": {}, \"additionalProperties\": true}", "{\"b\": 1}", NULL);
	check("{\"additionalProperties\": {\"type\": \"string\"}}", "{\"b\": 1}",
		".b is no string");
	check("{\"required\": [\"a\"]}", "{}", "lacks \"a\"");
	check("{\"required\": [\"a\"]}", "{\"a\": null}", NULL);
	check("{\"maxProperties\": 1}", "{\"a\": 1, \"b\": 2}", "2 of at most 1");
	check("{\"propertyNames\": {\"maxLength\": 1}}", "{\"ab\": 1}", "the name .ab");
}

Test(schema, arrays)
{
	check("{\"items\": {\"type\": \"integer\"}}", "[1, 2]", NULL);
	check("{\"items\": {\"type\": \"integer\"}}", "[1, \"\"]", "[1] is no integer");
	check("{\"minItems\": 1}", "[]", "0 of at least 1");
	check("{\"maxItems\": 1}", "[1, 2]", "2 of at most 1");
}

Test(schema, alternatives)
{
	check("{\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"null\"}]}", "null", NULL);
	check("{\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"null\"}]}", "1", "fits none");
	check("{\"anyOf\": [{\"minimum\": 1}, {\"minimum\": 2}]}", "3", NULL);
	check("{\"oneOf\": [{\"minimum\": 1}, {\"minimum\": 2}]}", "3", "more than one");
	check("{\"oneOf\": [{\"minimum\": 1}, {\"minimum\": 2}]}", "1", NULL);
}

Test(schema, references)
{
	check("{\"$ref\": \"#/components/schemas/Name\"}", "\"abc\"", NULL);
	check("{\"$ref\": \"#/components/schemas/Name\"}", "\"abcd\"", "4 of at most 3");
	check("{\"$ref\": \"#/components/schemas/None\"}", "1", "no schema");
	check("{\"$ref\": \"other.json\"}", "1", "no schema");
	check("{\"$ref\": \"#/components/schemas/Loop\"}", "1", "");
}

Test(schema, what_is_not_known_is_not_passed_over)
{
	check("{\"maxContains\": 1}", "[]", "unknown keyword maxContains");
	check("{\"description\": \"x\", \"default\": 1, \"example\": 2}", "1", NULL);
}

static void answer(int status, const char *body, const char *part)
{
	json_t *doc = parse(doc_text);
	json_t *json = body ? parse(body) : NULL;
	TP_FREE char *why = NULL;
	bool ok = schema_check(doc, "GET", "/a/{id}", status, json, &why);

	cr_assert_eq(ok, part == NULL, "%d %s: %s", status, body, why);
	cr_assert(!part || strstr(why, part), "%d %s: %s", status, body, why);
	json_decref(json);
	json_decref(doc);
}

Test(schema, answers)
{
	answer(200, "\"abc\"", NULL);
	answer(200, "\"abcd\"", "4 of at most 3");
	answer(200, NULL, "a body with 200");
	answer(204, NULL, NULL);
	answer(204, "\"abc\"", "no body with 204");
	answer(201, "\"abc\"", "no answer 201");
	answer(404, "{}", NULL);
	answer(404, "1", "is no object");
	json_t *doc = parse(doc_text);
	TP_FREE char *why = NULL;
	cr_assert_not(schema_check(doc, "POST", "/a/{id}", 200, NULL, &why));
	json_decref(doc);
}
