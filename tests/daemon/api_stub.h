/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands around the handlers in their tests: a service that writes down what it was asked and
 * answers as told, requests made by hand, and streams that keep their events.
 */
#ifndef TP_TESTS_DAEMON_API_STUB_H
#define TP_TESTS_DAEMON_API_STUB_H

#include "daemon/api.h"

/* What the service writes to a command's caller. */
struct stub_chunk {
	int stream;
	const char *bytes;
	size_t len;
};

struct stub {
	/* What was asked: an array of {"fn": ..., arguments}, without those that are NULL or unset.
	 */
	json_t *calls;
	struct tp_actor actor;
	struct tp_call call;
	char *input; /* what a command could read; NULL: nothing was given */

	/* What is answered. */
	json_t *view;	       /* borrowed; NULL: {"id": "k3v9q2m7x4tz0d8h", "name": "demo"} */
	enum torpor_errc code; /* 0: success */
	const char *reason;    /* of a refusal, or NULL */
	const struct stub_chunk *chunks;
	size_t n_chunks;
	struct torpor_exec_result result;
	const char *const *progress;   /* lines, ended by NULL */
	const struct tp_event *events; /* then CANCELLED; their data is borrowed */
	size_t n_events;
	const char *missing;

	/* Streams. */
	json_t *sent;	 /* an array of {"id"?, "type", "data"} */
	size_t patience; /* so many events are read; 0: all */

	bool over; /* whoever reads a stream isn't known any more */
};

extern struct stub stub;

/* Forgets all of it. */
void stub_reset(void);

/* --- requests --- */

struct fake {
	struct http_request req;
	struct http_reply reply;
	const json_t *query; /* an object of strings, or NULL */
	const json_t *headers;
	json_t *body; /* the test's own */
};

/* A request without deadline of the tenant "alice", with BODY (JSON text; NULL: none). */
void fake_init(struct fake *fake, const char *body);
void fake_deinit(struct fake *fake);

/* The handler of that route; the test ends if there is none. */
http_handler *route_handler(const char *method, const char *pattern);

/* Runs HANDLER, and then the stream if there is one, as the plumbing does. */
struct torpor_error *fake_call(struct fake *fake, http_handler *handler);

#endif
