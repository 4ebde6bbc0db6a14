/* SPDX-License-Identifier: Apache-2.0 */
/* From a request's target to its route. */
#include "daemon/route.h"

#include <string.h>

#include "base/hex.h"
#include "base/mem.h"

static bool decode(const char *text, size_t len, bool plus, char *out)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '%') {
			char digits[3] = {0};
			if (len - i < 3)
				return false;
			memcpy(digits, text + i + 1, 2);
			if (!tp_unhex(digits, &c, 1))
				return false;
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if (c < ' ' || c == 0x7f)
			return false;
		*out++ = (char)c;
	}
	*out = '\0';
	return true;
}

bool http_decode(const char *text, size_t len, bool plus, char *out)
{
	bool good = decode(text, len, plus, out);

	if (!good)
		*out = '\0';
	return good;
}

void http_match_deinit(struct http_match *match)
{
	for (size_t i = 0; i < HTTP_PARAMS_MAX; i++)
		free(match->params[i]);
	free(match->allow);
	*match = (struct http_match){0};
}

/* Whether PATH has the form of PATTERN; where its parameters are (not yet decoded). */
struct span {
	const char *at;
	size_t len;
};
static bool fits(
	const char *pattern, const char *path, struct span spans[HTTP_PARAMS_MAX], size_t *n_out)
{
	size_t n = 0;

	while (*pattern) {
		if (*pattern != '{') {
			if (*pattern++ != *path++)
				return false;
			continue;
		}
		size_t len = strcspn(path, "/");
		if (len == 0)
			return false;
		assert(n < HTTP_PARAMS_MAX);
		spans[n++] = (struct span){path, len};
		path += len;
		pattern = strchr(pattern, '}') + 1;
	}
	*n_out = n;
	return !*path;
}

static struct torpor_error *take_params(
	const struct span *spans, size_t n, struct http_match *match)
{
	for (size_t i = 0; i < n; i++) {
		match->params[i] = tp_malloc(spans[i].len + 1);
		if (!http_decode(spans[i].at, spans[i].len, false, match->params[i]) ||
			strchr(match->params[i], '/'))
			return tp_error(TORPOR_E_INVALID, "read the path", NULL,
				"a part of it has a broken escape, a control character or a slash");
	}
	return NULL;
}

static void allow(struct http_match *match, const char *method)
{
	char *longer =
		match->allow ? tp_asprintf("%s, %s", match->allow, method) : tp_strdup(method);

	free(match->allow);
	match->allow = longer;
}

struct torpor_error *http_match(const struct http_route *routes, const char *method,
	const char *path, struct http_match *match_out)
{
	struct span spans[HTTP_PARAMS_MAX];
	size_t n;

	*match_out = (struct http_match){0};
	if (strcmp(method, "HEAD") == 0)
		method = "GET";
	for (const struct http_route *route = routes; route->method; route++) {
		if (!fits(route->pattern, path, spans, &n))
			continue;
		if (strcmp(route->method, method) != 0) {
			allow(match_out, route->method);
			continue;
		}
		http_match_deinit(match_out);
		match_out->route = route;
		return take_params(spans, n, match_out);
	}
	return NULL;
}

char *http_location(const struct http_route *route, const json_t *body)
{
	const json_t *made = route->made ? json_object_get(body, route->made) : NULL;

	return made ? tp_asprintf("%s/%s", route->pattern, json_string_value(made)) : NULL;
}

void http_query_deinit(struct http_query *query)
{
	for (size_t i = 0; i < query->n; i++) {
		free(query->pairs[i].name);
		free(query->pairs[i].value);
	}
	*query = (struct http_query){0};
}

static struct torpor_error *bad_query(const char *why)
{
	return tp_error(TORPOR_E_INVALID, "read the query", NULL, "%s", why);
}

static struct torpor_error *take_pair(struct http_query *query, const char *text, size_t len)
{
	const char *equals = memchr(text, '=', len);
	size_t name_len = equals ? (size_t)(equals - text) : len;
	size_t value_len = equals ? len - name_len - 1 : 0;

	if (query->n == HTTP_QUERY_MAX)
		return bad_query("it has too many parameters");
	char *name = query->pairs[query->n].name = tp_malloc(name_len + 1);
	char *value = query->pairs[query->n].value = tp_malloc(value_len + 1);
	*name = *value = '\0';
	query->n++;
	if (!http_decode(text, name_len, true, name) ||
		!http_decode(text + len - value_len, value_len, true, value))
		return bad_query("it has a broken escape or a control character");
	for (size_t i = 0; i + 1 < query->n; i++) {
		if (strcmp(query->pairs[i].name, name) == 0)
			return bad_query("a parameter is there twice");
	}
	return NULL;
}

struct torpor_error *http_query_parse(const char *text, struct http_query *query_out)
{
	*query_out = (struct http_query){0};
	while (text && *text) {
		size_t len = strcspn(text, "&");
		if (len > 0)
			TP_TRY(take_pair(query_out, text, len));
		text += len + (text[len] == '&');
	}
	return NULL;
}
