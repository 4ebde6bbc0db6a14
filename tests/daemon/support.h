/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the handlers share. */
#ifndef TP_TESTS_DAEMON_SUPPORT_H
#define TP_TESTS_DAEMON_SUPPORT_H

#include <criterion/criterion.h>
#include <string.h>

#include "api_stub.h"
#include "base/mem.h"

#define ID "k3v9q2m7x4tz0d8h"

static inline void must(struct torpor_error *err)
{
	cr_assert_null(err, "%s", torpor_error_message(err));
}

static inline void must_fail(struct torpor_error *err, enum torpor_errc code, const char *part)
{
	cr_assert_not_null(err, "no error; expected %s", part);
	cr_assert_eq(torpor_error_code(err), code, "%s", torpor_error_message(err));
	cr_assert_not_null(
		strstr(torpor_error_message(err), part), "%s", torpor_error_message(err));
	torpor_error_free(err);
}

/* JSON is TEXT, whatever the order of members. */
static inline void must_be(const json_t *json, const char *text)
{
	json_t *expected = json_loads(text, JSON_DECODE_ANY, NULL);
	TP_FREE char *shown = json_dumps(json, JSON_ENCODE_ANY | JSON_SORT_KEYS);

	cr_assert_not_null(expected, "bad test: %s", text);
	cr_assert(json_equal(json, expected), "%s, not %s", shown, text);
	json_decref(expected);
}

/* The service was asked this, and nothing else. */
static inline void must_ask(const char *text)
{
	cr_assert_eq(json_array_size(stub.calls), 1);
	must_be(json_array_get(stub.calls, 0), text);
}

/* What ends the Location of what a POST to PATTERN made and FAKE answers. */
static inline const char *made_by(const char *pattern, const struct fake *fake)
{
	const struct http_route *route = http_routes;

	while (route->method &&
		(strcmp(route->method, "POST") != 0 || strcmp(route->pattern, pattern) != 0))
		route++;
	cr_assert_not_null(route->made, "POST %s tells no location", pattern);
	return json_string_value(json_object_get(fake->reply.body, route->made));
}

/* A request to a route that succeeds, and what the service is asked for it. */
static inline void passes(
	const char *method, const char *pattern, const char *body, const char *asked)
{
	struct fake fake;

	stub_reset();
	fake_init(&fake, body);
	must(fake_call(&fake, route_handler(method, pattern)));
	must_ask(asked);
	fake_deinit(&fake);
}

/* A request that is refused before the service is asked; the message holds PART. */
static inline void refuses(
	const char *method, const char *pattern, const char *body, const char *part)
{
	struct fake fake;

	stub_reset();
	fake_init(&fake, body);
	must_fail(fake_call(&fake, route_handler(method, pattern)), TORPOR_E_INVALID, part);
	cr_assert_eq(json_array_size(stub.calls), 0, "the service was asked for %s", body);
	fake_deinit(&fake);
}

#endif
