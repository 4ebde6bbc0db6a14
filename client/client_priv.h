/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the client library share. */
#ifndef TP_CLIENT_CLIENT_PRIV_H
#define TP_CLIENT_CLIENT_PRIV_H

#include <curl/curl.h>
#include <jansson.h>
#include <pthread.h>
#include <torpor/client.h>

#include "base/buf.h"
#include "base/call.h"

#define TP_CLIENT_TIMEOUT_NS (60 * TP_NSEC_PER_SEC)
#define TP_CLIENT_GRACE_NS   (5 * TP_NSEC_PER_SEC) /* so that torpord's own timeout comes first */
#define TP_ANSWER_MAX	     (32 * TP_MIB)
#define TP_BODY_MAX	     (1 * TP_MIB) /* torpord takes no more */

/* A curl handle with the connection that it keeps; used by one call at a time. */
struct tp_link {
	CURLM *multi;
	CURL *easy;
	struct tp_link *next;
};

struct torpor_client {
	/* Fixed. */
	char *where;	     /* the socket's path, or the URL */
	bool is_socket;	     /* where is a path */
	char *base;	     /* "http://torpord", or the URL without a slash behind */
	char *auth_header;   /* or NULL; secret */
	char *tenant_header; /* or NULL */
	char *ca_file;
	uint64_t timeout_ns;

	/* By the lock. */
	pthread_mutex_t lock;
	struct tp_link *idle;
	unsigned int n_idle;
};

/* --- http.c: one request, one answer --- */

/* LEN bytes of a stream of events; an error ends the request, *END (false) set to true does too. */
typedef struct torpor_error *tp_stream_fn(void *data, const void *bytes, size_t len, bool *end);

struct tp_http_request {
	const char *method;
	const char *path;
	const char *body;	/* JSON, or NULL */
	const char *key;	/* Idempotency-Key, or NULL */
	uint64_t last_event_id; /* 0: none */
	unsigned int timeout_s; /* Torpor-Timeout; 0: none */
	uint64_t silence_ns;	/* the connection counts as lost after that; 0: never */
	tp_stream_fn *stream;	/* not NULL: events are asked for, on a connection of their own */
	void *stream_data;
};

struct tp_http_answer {
	int status;
	unsigned int retry_after_s;
	bool is_problem;    /* application/problem+json */
	struct tp_buf body; /* a NUL behind, not counted */
};
void tp_http_answer_deinit(struct tp_http_answer *answer);

/* Of a request, however it ended. */
struct tp_http_fate {
	bool lost;	   /* the connection failed: nobody knows if torpord got the request */
	bool began;	   /* an answer of 2xx began to come */
	uint64_t heard_ns; /* CLOCK_MONOTONIC: when bytes of its body came last, or it was sent */
};

/*
 * Sends REQUEST once. The answer may be of any status; a stream's bytes have gone to its function,
 * unless the status isn't 2xx. *FATE_OUT is always set. INVALID for a request that can't be sent,
 * LIMIT for one that torpord wouldn't take.
 */
struct torpor_error *tp_http_once(struct torpor_client *client,
	const struct tp_http_request *request, const struct tp_call *call,
	struct tp_http_answer *answer_out, struct tp_http_fate *fate_out) TP_MUST_USE;

/* Frees a link and closes its connection. Takes NULL. Returns NULL. */
struct tp_link *tp_link_free(struct tp_link *link);

/* --- problem.c: errors as torpord tells them --- */

/* What ANSWER, which isn't 2xx, means as an error; METHOD and PATH for the message. */
struct torpor_error *tp_problem_error(const struct tp_http_answer *answer, const char *method,
	const char *path) TP_MUST_USE TP_NOT_NULL;
/* The same of a problem in an event. */
struct torpor_error *tp_problem_parse(
	const char *text, size_t len) TP_MUST_USE; /* NULL: it is none */

/* --- request.c: with keys and repetition --- */

/* A request for a JSON value, an answer of 2xx; *JSON_OUT (may be NULL) is NULL for an empty one.
 */
struct torpor_error *tp_client_ask(struct torpor_client *client, const char *method,
	const char *path, const json_t *body, const struct torpor_call *call,
	json_t **json_out) TP_MUST_USE;

/* Two strings to one path: "/v1/sessions/" ID TAIL, the id escaped. The caller's to free. */
char *tp_session_path(const char *id, const char *tail) TP_MUST_USE;
/* Appends "&NAME=VALUE" (or with "?" where PATH has none) unless VALUE is NULL; takes PATH. */
char *tp_path_query(char *path, const char *name, const char *value) TP_MUST_USE;

/* --- stream.c: requests that are answered with events --- */

struct tp_event_stream {
	const char *method;
	const char *path;
	const char *body;
	uint64_t last_event_id;
	uint64_t silence_ns;
	bool (*begun)(void *data); /* before the first event, once torpord is there; false ends it;
				    * or NULL */
	torpor_client_event_fn *fn;
	void *data;
};
/* *FATE_OUT as tp_http_once; *ENDED_OUT whether a function ended it. Both are always set. */
struct torpor_error *tp_event_stream(struct torpor_client *client,
	const struct tp_event_stream *stream, const struct tp_call *call,
	struct tp_http_fate *fate_out, bool *ended_out) TP_MUST_USE;

/* Attempts to follow a stream that is made anew whenever it ends. */
struct tp_retry {
	uint64_t backoff_ns;	   /* before the next; 0: none has ended */
	uint64_t failing_since_ns; /* 0: it isn't */
};
/* One that was begun at STARTED_NS, and heard something last at HEARD_NS, has ended at NOW_NS;
 * TOLD: it gave events. False: it has been failing for a minute. */
bool tp_retry_end(
	struct tp_retry *retry, bool told, uint64_t started_ns, uint64_t heard_ns, uint64_t now_ns);

/* --- parse.c: what torpord says of sessions --- */

/* SESSION_OUT is to be deinitialised by the caller. CORRUPT if JSON isn't a session. */
struct torpor_error *tp_session_parse(
	const json_t *json, struct torpor_remote_session *session_out) TP_MUST_USE;
/* "NAME=value" pairs, NULL-terminated (or NULL), as an object. INVALID names what isn't one. */
struct torpor_error *tp_pairs_json(
	const char *const *pairs, const char *what, json_t **json_out) TP_MUST_USE;

static inline void tp_json_decref(json_t *json)
{
	json_decref(json);
}
TP_DEFINE_CLEANUP(json_t *, tp_json_decref)
#define TP_JSON TP_CLEANUP(tp_json_decref)

#endif
