/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the handlers, over a service that does nothing: bodies, paths, queries and headers.
 *
 * The first byte of an input says which route; the second, what of it goes into the path (bit 0:
 * the second line instead of a good id), whether it is to be a stream (bit 1), and what the command
 * writes (bit 2: the input itself). Then come the lines, and behind them the body.
 */
#include <string.h>

#include "api_stub.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROUTE_BYTES = 2, LINE_MAX_LEN = 400 };

/* The line that *AT begins with, which it is moved behind; the caller's to free. */
static char *take_line(const uint8_t **at, size_t *left)
{
	const uint8_t *end = memchr(*at, '\n', *left);
	size_t len = end ? (size_t)(end - *at) : *left;
	char *line = tp_strndup((const char *)*at, TP_MIN(len, LINE_MAX_LEN));
	size_t used = TP_MIN(len + 1, *left);

	*at += used;
	*left -= used;
	return line;
}

/* The same text for every parameter that a handler may ask for. */
static json_t *queries(const char *text)
{
	static const char *const names[] = {"state", "template", "label", "match", "limit",
		"cursor", "force", "session", "before", "after"};
	json_t *query = json_object();

	for (size_t i = 0; text[0] && i < TP_ARRAY_LEN(names); i++)
		json_object_set_new(query, names[i], json_string_nocheck(text));
	return query;
}

static void check_reply(const struct http_reply *reply)
{
	if (reply->body) {
		TP_FREE char *text = json_dumps(reply->body, 0);

		if (!text)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t n_routes = 0;

	if (size < ROUTE_BYTES)
		return 0;
	while (http_routes[n_routes].method)
		n_routes++;
	stub_reset();

	const struct http_route *route = &http_routes[data[0] % n_routes];
	unsigned int how = data[1];
	const uint8_t *at = data + ROUTE_BYTES;
	size_t left = size - ROUTE_BYTES;
	TP_FREE char *path = take_line(&at, &left);
	TP_FREE char *query = take_line(&at, &left);
	struct stub_chunk chunk = {1, (const char *)at, left};
	json_t *asked = queries(query);
	struct torpor_error *err;
	struct fake fake;

	fake_init(&fake, NULL);
	fake.query = asked;
	fake.req.wants_events = how & 2;
	if (how & 1)
		fake.req.params[0] = fake.req.params[1] = path;
	if (how & 4) {
		stub.chunks = &chunk;
		stub.n_chunks = 1;
	}
	/* As the plumbing: bodies of GET and DELETE aren't read, and all others are objects. */
	if (route->method[0] == 'P') {
		fake.body = json_loadb((const char *)at, left, JSON_REJECT_DUPLICATES, NULL);
		if (!json_is_object(fake.body) || how & 4) {
			json_decref(fake.body);
			fake.body = json_pack("{s[s]}", "argv", "a");
		}
		fake.req.body = fake.body;
	}
	err = fake_call(&fake, route->handler);
	if (err) {
		/* What it says can be answered as JSON. */
		json_t *text = json_string(torpor_error_message(err));

		if (!text)
			abort();
		json_decref(text);
	}
	torpor_error_free(err);
	check_reply(&fake.reply);
	fake_deinit(&fake);
	json_decref(asked);
	return 0;
}
