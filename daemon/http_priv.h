/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP server, from the inside.
 *
 *   http.c          connections: accepts them, hands them to libmicrohttpd (a thread for each), and
 *                   ends those that are overdue
 *   http_request.c  exchanges: one request and its reply, on the connection's thread
 *   http_reply.c    from what a handler says to libmicrohttpd's response
 *   http_stream.c   server-sent events: a producer's thread, a queue, the connection's thread
 *   http_login.c    who asks; browsers that sign in and out, and whose page it is that asks
 *
 * Time: libmicrohttpd's own timeout starts anew with every byte, and ends connections whose handler
 * was slow. So it is off, and each connection has a deadline here, which one thread watches: one
 * for a request to arrive, none while its handler runs, one for the reply to be taken.
 */
#ifndef TP_DAEMON_HTTP_PRIV_H
#define TP_DAEMON_HTTP_PRIV_H

#include <microhttpd.h>
#include <pthread.h>

#include "base/buf.h"
#include "daemon/http_engine.h"
#include "daemon/login.h"
#include "daemon/route.h"

/* How answers are written: 0.6, and not 0.59999999999999998. */
#define HTTP_JSON (JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15))

#define REQUEST_ID_LEN	 12
#define HTTP_HEADERS_MAX (32 * TP_KIB) /* of one request: docs/API.md */

struct http_conn {
	/* Constant. */
	struct http *http;
	int fd;
	bool is_unix;
	bool local; /* the UNIX socket, or loopback */
	bool tls;

	/* By the server's lock. */
	struct http_conn *next;
	bool idle; /* nothing of a request has been seen */
	uint64_t deadline_ns;
};

struct http {
	/* Constant. */
	struct http_options options;
	struct MHD_Daemon *plain;
	struct MHD_Daemon *secure; /* or NULL */
	pthread_t watcher;
	int wake_fd;   /* to the watcher: look anew */
	int cancel_fd; /* readable: handlers are to come to an end */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* CLOCK_MONOTONIC; a connection has ended */

	/* By the lock. */
	struct tp_http_config bounds;
	struct http_conn *conns;
	unsigned int n_conns;
	struct http_stream *streams;
	bool draining;
	bool stopping;
};

/* CONN has until TIMEOUT_NS from now (TP_NO_DEADLINE: for ever). */
void http_conn_until(struct http_conn *conn, uint64_t timeout_ns, bool idle);
struct tp_http_config http_bounds(struct http *http);

struct http_exchange {
	struct http_request req; /* first: handlers get its address */

	struct http *http;
	struct http_conn *conn;
	struct MHD_Connection *mhd;
	char id[REQUEST_ID_LEN + 1]; /* random: a number would tell how many others there are */
	uint64_t started_ns;

	char *path;	  /* as sent */
	char *query_text; /* as sent, or NULL; in the same allocation */
	bool begun;	  /* its header has been looked at */
	struct tp_http_config bounds;
	struct http_match match;
	struct http_query query;
	struct tp_buf body;
	uint64_t body_seen;

	/* It is refused: whatever comes, this is the answer. */
	struct torpor_error *refusal;
	int refusal_status; /* 0: as the error says */

	/* Who asks: what was shown, and the login that it was in. */
	char *credential;		    /* NULL: nothing, or nothing good */
	char login_id[TP_LOGIN_ID_LEN + 1]; /* "": none */
	uint64_t login_until_ns;	    /* CLOCK_REALTIME */

	bool repeating; /* to be ended with tp_service_repeat_end */
	struct http_stream *stream;
	int gone_fd; /* -1: nobody asked */
};

/* Callbacks of libmicrohttpd; http_request.c */
void *http_on_uri(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result http_on_request(void *cls, struct MHD_Connection *mhd, const char *url,
	const char *method, const char *version, const char *upload_data, size_t *upload_data_size,
	void **req_cls);
void http_on_completed(
	void *cls, struct MHD_Connection *mhd, void **req_cls, enum MHD_RequestTerminationCode toe);

/* http_reply.c: REPLY, or the problem that ERR (taken) is; STATUS 0: as the error says. */
enum MHD_Result http_reply_send(struct http_exchange *ex, struct http_reply *reply);
enum MHD_Result http_reply_problem(struct http_exchange *ex, struct torpor_error *err, int status);

/* http_login.c: fills in EX's actor and what else is known of who asks. DENIED: unknown. */
struct torpor_error *http_identify(struct http_exchange *ex) TP_MUST_USE;
/*
 * DENIED "cross-site" unless what EX asks comes from a page that this torpord served: it has the
 * header that only such a page can set, and the browser says the same.
 */
struct torpor_error *http_check_same_site(const struct http_exchange *ex) TP_MUST_USE;

/* http_stream.c */

/* Takes PRODUCE, DATA and FREE_DATA out of REPLY, on failure too. LIMIT: the tenant has enough. */
struct torpor_error *http_stream_start(
	struct http_exchange *ex, struct http_reply *reply) TP_MUST_USE;
struct MHD_Response *http_stream_response(struct http_stream *stream);
/* The reader is gone, or is to be considered so. */
void http_stream_abandon(struct http_stream *stream);
/* Under the lock: no more events for any stream. */
void http_streams_end(struct http *http);
/* Waits for the producer. Takes NULL. Returns NULL. */
struct http_stream *http_stream_free(struct http_stream *stream);

/* An epoll descriptor, readable once the peer of FD has closed its end, or OTHER_FD (-1: none) is
 * readable. */
struct torpor_error *http_watch_gone(int fd, int other_fd, int *gone_fd_out) TP_MUST_USE;

#endif
