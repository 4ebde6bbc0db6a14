/* SPDX-License-Identifier: Apache-2.0 */
/* From a request's target to its route: pure functions over bytes that nobody vouches for. */
#ifndef TP_DAEMON_ROUTE_H
#define TP_DAEMON_ROUTE_H

#include "daemon/http.h"

/*
 * Decodes %XX (and '+' as a space, with PLUS) of the LEN bytes at TEXT into OUT, which has room for
 * LEN + 1. False, OUT empty, for a broken escape, NUL and other control characters, escaped or not.
 */
bool http_decode(const char *text, size_t len, bool plus, char *out);

struct http_match {
	const struct http_route *route; /* NULL: none */
	char *params[HTTP_PARAMS_MAX];	/* decoded */
	char *allow; /* the path has routes, but not for this method: "GET, POST" */
};
void http_match_deinit(struct http_match *match);

/*
 * The route for METHOD (GET's for HEAD) and PATH, which is as it was sent, without the query.
 * What stands for a parameter is decoded, is not empty, and has no slash in it; all else of a path
 * is compared byte for byte. INVALID for what can't be decoded. MATCH_OUT is to be deinited.
 */
struct torpor_error *http_match(const struct http_route *routes, const char *method,
	const char *path, struct http_match *match_out) TP_MUST_USE;

/* Where to find what ROUTE made, of which BODY is the view; NULL if it has no place of its own. The
 * caller's to free. */
char *http_location(const struct http_route *route, const json_t *body);

#define HTTP_QUERY_MAX 16

struct http_query {
	struct {
		char *name;
		char *value;
	} pairs[HTTP_QUERY_MAX];
	size_t n;
};
void http_query_deinit(struct http_query *query);

/* Takes "a=1&b=2" apart (NULL: nothing). INVALID: not decodable, twice the same, too many. */
struct torpor_error *http_query_parse(const char *text, struct http_query *query_out) TP_MUST_USE;

#endif
