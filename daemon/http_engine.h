/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server around the handlers: listening, bounding, ending. */
#ifndef TP_DAEMON_HTTP_ENGINE_H
#define TP_DAEMON_HTTP_ENGINE_H

#include "daemon/auth.h"
#include "daemon/config.h"
#include "daemon/http.h"
#include "daemon/tls.h"

struct http;
struct tp_logins;

#define HTTP_LISTENERS_MAX 2

struct http_options {
	struct tp_daemon *daemon; /* for handlers */
	struct tp_service *service;
	struct tp_auth *auth;
	struct tp_logins *logins;
	const struct http_route *routes; /* ended by a NULL method */
	struct tp_http_config bounds;
	struct tp_tls *tls; /* for the listeners that want it; or NULL */
	struct {
		int fd; /* listening, non-blocking; closed when it is over */
		bool tls;
	} listeners[HTTP_LISTENERS_MAX];
	size_t n_listeners;
};

/* What OPTIONS points to must last. The listeners' descriptors are taken, on failure too. */
struct torpor_error *http_start(
	const struct http_options *options, struct http **http_out) TP_MUST_USE;

/* Other bounds, for what comes from now on. */
void http_configure(struct http *http, const struct tp_http_config *bounds);

/*
 * Comes to an end: accepts nothing more, ends streams and idle connections, and waits until what
 * is being answered has been. After PATIENCE_NS handlers are cancelled.
 */
void http_drain(struct http *http, uint64_t patience_ns);

/* Waits for the handlers that still run. Takes NULL. Returns NULL. */
struct http *http_stop(struct http *http);

#endif
