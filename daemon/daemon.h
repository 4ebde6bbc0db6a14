/* SPDX-License-Identifier: Apache-2.0 */
/* torpord without its command line and signals: service, authentication and HTTP as one thing. */
#ifndef TP_DAEMON_DAEMON_H
#define TP_DAEMON_DAEMON_H

#include "daemon/config.h"
#include "daemon/http.h"

struct tp_daemon;

/* Whether what CONFIG names besides can be used: certificate, keys. Nothing is started. */
struct torpor_error *tp_daemon_check(const struct tp_daemon_config *config) TP_MUST_USE;

/*
 * Listens, opens the service (which recovers), and answers. CONFIG is taken, on failure too. BUSY
 * if another torpord has the state directory, or answers on the socket.
 */
struct torpor_error *tp_daemon_start(struct tp_daemon_config *config,
	const struct http_route *routes, struct tp_daemon **daemon_out) TP_MUST_USE;

/* Takes over what may change while it runs, and warns of the rest; on failure all stays. CONFIG is
 * taken. */
struct torpor_error *tp_daemon_reload(
	struct tp_daemon *daemon, struct tp_daemon_config *config) TP_MUST_USE;

/* Drains, and ends. Takes NULL. Returns NULL. */
struct tp_daemon *tp_daemon_stop(struct tp_daemon *daemon);

#endif
