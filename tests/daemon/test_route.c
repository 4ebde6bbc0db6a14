/* SPDX-License-Identifier: Apache-2.0 */
/* Paths, queries, and what errors become. */
#include <criterion/criterion.h>

#include <string.h>

#include "base/mem.h"
#include "daemon/problem.h"
#include "daemon/route.h"

static const struct http_route routes[] = {
	{"GET", "/v1/sessions", NULL, 0},
	{"POST", "/v1/sessions", NULL, 0},
	{"GET", "/v1/sessions/{id}", NULL, 0},
	{"DELETE", "/v1/sessions/{id}/images/{name}", NULL, 0},
	{0},
};

static struct http_match match(const char *method, const char *path)
{
	struct http_match found;
	struct torpor_error *err = http_match(routes, method, path, &found);

	cr_assert(!err, "%s: %s", path, torpor_error_message(err));
	return found;
}

Test(path, finds_routes)
{
	struct http_match m = match("GET", "/v1/sessions");
	cr_assert(m.route == &routes[0]);
	http_match_deinit(&m);
	m = match("HEAD", "/v1/sessions/a");
	cr_assert(m.route == &routes[2]);
	cr_assert_str_eq(m.params[0], "a");
	http_match_deinit(&m);
	m = match("DELETE", "/v1/sessions/a%20b/images/%C3%A9.");
	cr_assert(m.route == &routes[3]);
	cr_assert_str_eq(m.params[0], "a b");
	cr_assert_str_eq(m.params[1], "\xC3\xA9.");
	http_match_deinit(&m);
}

Test(path, is_taken_as_it_is)
{
	static const char *const others[] = {"", "/", "/v1/sessions/", "//v1/sessions",
		"/v1//sessions", "/v1/./sessions", "/v1/%73essions", "/V1/sessions", "/v1/session",
		"/v1/sessionsx", "/v1/sessions/a/b", "/v1/sessions/a/images/", "*",
		"http://host/v1/sessions", "/v1/sessions//images/a"};

	for (size_t i = 0; i < TP_ARRAY_LEN(others); i++) {
		struct http_match m = match("GET", others[i]);
		cr_expect(!m.route && !m.allow, "%s", others[i]);
		http_match_deinit(&m);
	}
}

Test(path, knows_what_is_allowed)
{
	struct http_match m = match("PUT", "/v1/sessions");
	cr_assert(!m.route);
	cr_assert_str_eq(m.allow, "GET, POST");
	http_match_deinit(&m);
}

Test(path, bad_parameters_are_invalid)
{
	static const char *const bad[] = {"/v1/sessions/%", "/v1/sessions/%4", "/v1/sessions/%zz",
		"/v1/sessions/%00", "/v1/sessions/a%2Fb", "/v1/sessions/a%0ab", "/v1/sessions/\x01",
		"/v1/sessions/%7f"};

	for (size_t i = 0; i < TP_ARRAY_LEN(bad); i++) {
		struct http_match m;
		struct torpor_error *err = http_match(routes, "GET", bad[i], &m);
		cr_assert(err, "%s", bad[i]);
		cr_assert_eq(torpor_error_code(err), TORPOR_E_INVALID);
		torpor_error_free(err);
		http_match_deinit(&m);
	}
}

static bool query_is_bad(const char *text)
{
	struct http_query query;
	struct torpor_error *err = http_query_parse(text, &query);
	bool bad = err != NULL;

	torpor_error_free(err);
	http_query_deinit(&query);
	return bad;
}

Test(query, is_taken_apart)
{
	struct http_query query;
	struct torpor_error *err = http_query_parse("label=a%3Db=c+d&&x&y=", &query);

	cr_assert(!err);
	cr_assert_eq(query.n, 3);
	cr_assert_str_eq(query.pairs[0].name, "label");
	cr_assert_str_eq(query.pairs[0].value, "a=b=c d");
	cr_assert_str_eq(query.pairs[1].name, "x");
	cr_assert_str_eq(query.pairs[1].value, "");
	cr_assert_str_eq(query.pairs[2].value, "");
	http_query_deinit(&query);

	cr_assert(!query_is_bad(NULL));
	cr_assert(query_is_bad("a=%"));
	cr_assert(query_is_bad("a=%00"));
	cr_assert(query_is_bad("%1=a"));
	cr_assert(query_is_bad("a=1&a=2"));
	cr_assert(query_is_bad("a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q"));
}

/* docs/API.md's table. */
Test(problem, statuses)
{
	static const struct {
		enum torpor_errc code;
		int status;
	} table[] = {
		{TORPOR_E_INVALID, 400},
		{TORPOR_E_DENIED, 403},
		{TORPOR_E_NOT_FOUND, 404},
		{TORPOR_E_EXISTS, 409},
		{TORPOR_E_BUSY, 409},
		{TORPOR_E_MISMATCH, 409},
		{TORPOR_E_CANCELLED, 409},
		{TORPOR_E_LIMIT, 503},
		{TORPOR_E_IO, 500},
		{TORPOR_E_CORRUPT, 500},
		{TORPOR_E_INTERNAL, 500},
		{TORPOR_E_UNSUPPORTED, 501},
		{TORPOR_E_QEMU, 502},
		{TORPOR_E_GUEST, 502},
		{TORPOR_E_NOMEM, 503},
		{TORPOR_E_TIMEOUT, 504},
		{TORPOR_E_NOSPACE, 507},
	};

	cr_assert_eq(TP_ARRAY_LEN(table), TORPOR_E_INTERNAL);
	for (size_t i = 0; i < TP_ARRAY_LEN(table); i++) {
		struct torpor_error *err = tp_error(table[i].code, "a", NULL, "b");
		cr_expect_eq(http_problem_status(err), table[i].status);
		torpor_error_free(err);
	}
}

Test(problem, refusals)
{
	static const struct {
		const char *reason;
		int status;
	} table[] = {{"rate", 429}, {"tenant-sessions", 429}, {"tenant-memory", 429},
		{"tenant-parked-bytes", 429}, {"session-commands", 429}, {"host-sessions", 503},
		{"host-memory", 503}, {"queue-full", 503}, {"template-degraded", 503},
		{"draining", 503}, {"connections", 503}};

	for (size_t i = 0; i < TP_ARRAY_LEN(table); i++) {
		struct torpor_error *err = tp_error_refusal(
			tp_error(TORPOR_E_LIMIT, "a", NULL, "b"), table[i].reason, 5);
		int status;
		json_t *problem = http_problem(err, &status);
		cr_expect_eq(status, table[i].status);
		cr_expect_str_eq(
			json_string_value(json_object_get(problem, "reason")), table[i].reason);
		cr_expect_eq(json_integer_value(json_object_get(problem, "retry_after_s")), 5);
		json_decref(problem);
		torpor_error_free(err);
	}
}

Test(location, is_the_pattern_and_the_name_of_what_was_made)
{
	const struct http_route makes = {.pattern = "/v1/things", .made = "id"};
	const struct http_route does = {.pattern = "/v1/things/{id}/fork"};
	json_t *body = json_pack("{s:s}", "id", "a1");
	json_t *other = json_pack("{s:s}", "name", "a1");
	TP_FREE char *location = http_location(&makes, body);

	cr_assert_str_eq(location, "/v1/things/a1");
	cr_assert_null(http_location(&does, body));
	cr_assert_null(http_location(&makes, other));
	json_decref(body);
	json_decref(other);
}

Test(problem, is_json_whatever_the_text)
{
	struct torpor_error *err = tp_error_hint(
		tp_error(TORPOR_E_NOT_FOUND, "find", "\xff\xfe", "caf\xC3\xA9"), "h\xff");
	json_t *problem = http_problem(err, NULL);

	cr_assert_str_eq(json_string_value(json_object_get(problem, "detail")), "find ??: caf??");
	cr_assert_str_eq(json_string_value(json_object_get(problem, "hint")), "h?");
	cr_assert_str_eq(json_string_value(json_object_get(problem, "type")),
		"urn:torpor:problem:not-found");
	json_decref(problem);
	torpor_error_free(err);
}
