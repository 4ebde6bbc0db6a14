/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-sent events, read as they arrive (WHATWG HTML, 9.2: server-sent events).
 *
 * Bytes may be cut anywhere. A line, and the data of an event, are at most TP_SSE_MAX; what is
 * longer fails, for the stream can't be followed then. An event that the end of the stream cuts off
 * is not given.
 */
#ifndef TP_CLIENT_SSE_H
#define TP_CLIENT_SSE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"

#define TP_SSE_MAX (4 * TP_MIB)

struct tp_sse_event {
	const char *type; /* "message" if it isn't named */
	const char *id;	  /* the last that was given, perhaps with an earlier event; or "" */
	const char *data; /* LEN bytes, and a NUL behind */
	size_t len;
};

/* EVENT is valid during the call; false ends the stream: nothing is given any more. */
typedef bool tp_sse_fn(void *data, const struct tp_sse_event *event);

struct tp_sse {
	tp_sse_fn *fn;
	void *fn_data;
	struct tp_buf line; /* as far as it came */
	struct tp_buf data; /* lines of the event so far, each with a newline */
	char type[64];
	char id[64];
	bool has_data;
	bool after_cr; /* a LF that comes next belongs to the line before */
	bool started;  /* a line was seen: no byte order mark can come */
	bool ended;
};

void tp_sse_init(struct tp_sse *sse, tp_sse_fn *fn, void *data);
void tp_sse_deinit(struct tp_sse *sse);

/* Takes LEN more bytes and gives the events that are complete. CORRUPT if something is too long. */
struct torpor_error *tp_sse_feed(struct tp_sse *sse, const void *bytes, size_t len) TP_MUST_USE;

#endif
