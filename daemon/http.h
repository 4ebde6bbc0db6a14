/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP between libmicrohttpd and the handlers: a thread for each connection, so handlers are
 * straight-line code that may block.
 *
 * A request has been bounded, parsed and authenticated when its handler sees it; what the handler
 * returns as an error becomes a problem (RFC 9457). It lasts until its answer is over: a stream's
 * producer may use it to its end.
 */
#ifndef TP_DAEMON_HTTP_H
#define TP_DAEMON_HTTP_H

#include <jansson.h>
#include <stdbool.h>

#include "base/call.h"
#include "service/service.h"

struct tp_daemon;

#define HTTP_PARAMS_MAX 3

struct http_request {
	struct tp_daemon *daemon;
	struct tp_service *service;
	const char *method;
	const char *path;
	const char *params[HTTP_PARAMS_MAX]; /* what stands for {...} in the route, decoded */
	struct tp_actor actor;
	json_t *body;	     /* an object (empty where none was sent), or NULL for GET and DELETE */
	struct tp_call call; /* Torpor-Timeout, and the daemon's draining */
	bool wants_events;   /* Accept: text/event-stream */
	bool local;	     /* over the UNIX socket or from loopback */
	bool login;	     /* the actor showed a cookie (daemon/login.h) */
	void *connection;    /* struct MHD_Connection */
};

/* A query parameter or header; NULL if it wasn't sent. Valid as long as REQ. */
const char *http_query(const struct http_request *req, const char *name);
const char *http_header(const struct http_request *req, const char *name);
/* A number in a query; INVALID out of [MIN, MAX]; DEFAULT_VALUE if it wasn't sent. */
struct torpor_error *http_query_number(const struct http_request *req, const char *name,
	uint64_t min, uint64_t max, uint64_t default_value, uint64_t *value_out) TP_MUST_USE;

/* Readable once the client has closed its end, or handlers are to come to an end: in place of
 * call.cancel_fd, for what is done only while somebody waits for it. Valid as long as REQ. */
struct torpor_error *http_gone_fd(struct http_request *req, int *fd_out) TP_MUST_USE;

/* Whether the actor is still who it was: for what goes on for long. DENIED with the reason
 * "login-over" or another. Any thread, as long as REQ. */
struct torpor_error *http_still_identified(struct http_request *req) TP_MUST_USE;

/* --- problems --- */

/* ERR, which stays the caller's, as a problem (RFC 9457); its status too, unless STATUS_OUT is
 * NULL. Whatever bytes ERR has in it, this is JSON. */
json_t *http_problem(const struct torpor_error *err, int *status_out);

/* --- server-sent events --- */

struct http_stream;

/*
 * One event. Waits while the reader is slow (a bounded number of bytes waits). False: the reader is
 * gone, or the daemon drains: come to an end. ID 0: none. DATA is taken. Comment lines in quiet
 * times come by themselves.
 */
bool http_stream_send(struct http_stream *stream, uint64_t id, const char *type, json_t *data);
/* Readable once the reader is gone, or the daemon drains: for struct tp_call. */
int http_stream_gone_fd(const struct http_stream *stream);

/* What produces a stream, on a thread of its own; it ends when this returns. */
typedef void http_producer(void *data, struct http_stream *stream);

/* --- replies --- */

#define HTTP_REPLY_HEADERS 12

struct http_reply {
	int status;	   /* 200 unless set */
	json_t *body;	   /* taken; NULL: none (then 204 unless set), or one of the next three */
	char *text;	   /* taken; with CONTENT_TYPE */
	const void *bytes; /* LEN of them, of static storage; with CONTENT_TYPE */
	size_t len;
	const char *content_type;
	const char *cache_control; /* NULL: no-store */
	bool replayed;
	/* More headers; the values are taken, and NULL leaves one out. */
	struct {
		const char *name;
		char *value;
	} headers[HTTP_REPLY_HEADERS];
	size_t n_headers;
	/* A stream instead: PRODUCE gets DATA; FREE_DATA (may be NULL) is called behind it, always.
	 */
	http_producer *produce;
	void *data;
	void (*free_data)(void *data);
};

/* VALUE is taken. */
static inline void http_reply_header(struct http_reply *reply, const char *name, char *value)
{
	assert(reply->n_headers < HTTP_REPLY_HEADERS);
	reply->headers[reply->n_headers].name = name;
	reply->headers[reply->n_headers++].value = value;
}

/* --- signing in: http_login.c --- */

/*
 * TOKEN or CODE, one of them NULL, becomes a login: REQ's actor is whose it is, and REPLY has the
 * cookie. DENIED with the reason "token-wrong", "token-expired", "code-wrong" or "cross-site".
 */
struct torpor_error *http_sign_in(struct http_request *req, const char *token, const char *code,
	struct http_reply *reply) TP_MUST_USE;
/* Ends the login that REQ showed, if any, and has the browser forget it. */
struct torpor_error *http_sign_out(struct http_request *req, struct http_reply *reply) TP_MUST_USE;
/* {"code", "expires_s", "url"} for REQ's actor. */
struct torpor_error *http_login_link(struct http_request *req, json_t **view_out) TP_MUST_USE;

typedef struct torpor_error *http_handler(struct http_request *req, struct http_reply *reply);

enum http_route_flags {
	HTTP_OPEN = 1,	    /* needs no identity; one that is shown is looked at all the same */
	HTTP_MUTATING = 2,  /* counts against the tenant's rate; takes an Idempotency-Key */
	HTTP_LONG = 4,	    /* no default bound on its time */
	HTTP_NO_REPEAT = 8, /* an Idempotency-Key is refused (exec) */
};

struct http_route {
	const char *method;
	const char *pattern; /* "/v1/sessions/{id}/park" */
	http_handler *handler;
	unsigned int flags;
	const char *made; /* the member of a 201's body that, behind the pattern, is its Location */
};

/* All of them (daemon/routes.c), ended by a NULL method; also what /openapi.json is checked
 * against. */
extern const struct http_route http_routes[];

#endif
