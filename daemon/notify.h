/* SPDX-License-Identifier: Apache-2.0 */
/* Talking to systemd: sd_notify(3) and sd_listen_fds(3), by their protocols. */
#ifndef TP_DAEMON_NOTIFY_H
#define TP_DAEMON_NOTIFY_H

#include "base/error.h"

/* Sends STATE ("READY=1") to $NOTIFY_SOCKET, if there is one; a failure is logged. */
void tp_notify(const char *state);
/* "RELOADING=1", with the time that systemd wants to have with it. */
void tp_notify_reloading(void);

/*
 * The listening stream socket of FAMILY (AF_UNIX; AF_INET: or AF_INET6) that systemd handed over,
 * or -1. Each is given once. Close-on-exec, non-blocking.
 */
int tp_activated_socket(int family);

#endif
