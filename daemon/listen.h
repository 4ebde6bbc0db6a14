/* SPDX-License-Identifier: Apache-2.0 */
/* The sockets that torpord listens on. */
#ifndef TP_DAEMON_LISTEN_H
#define TP_DAEMON_LISTEN_H

#include <sys/types.h>

#include "base/error.h"

/*
 * A UNIX socket at PATH, non-blocking and listening, with MODE and GROUP (NULL: as it comes). It
 * appears under its name at once complete. What lies there is replaced if it is a socket on which
 * nobody answers; BUSY if somebody does, EXISTS if it is something else. A missing directory is
 * made. Of several that want PATH at once, one has it; PATH.lock is there only meanwhile.
 */
struct torpor_error *tp_listen_unix(
	const char *path, mode_t mode, const char *group, int *fd_out) TP_MUST_USE;
/* Removes PATH if it is still the socket FD. */
void tp_listen_remove(const char *path, int fd);

/* A TCP socket at LISTEN (tp_config_split_listen), non-blocking and listening. */
struct torpor_error *tp_listen_tcp(const char *listen, int *fd_out) TP_MUST_USE;

#endif
