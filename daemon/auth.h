/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who sends a request: by token, by JWT, or, on the UNIX socket and without either, by the peer's
 * user id. What is wrong with a credential goes to the debug log (never the credential itself), and
 * not to whoever sent it.
 */
#ifndef TP_DAEMON_AUTH_H
#define TP_DAEMON_AUTH_H

#include <stdbool.h>

#include "daemon/config.h"

struct tp_auth;

/* Reads the JWKS file, where there is one. */
struct torpor_error *tp_auth_new(const struct tp_auth_config *config, struct tp_service *service,
	struct tp_auth **auth_out) TP_MUST_USE;
/* Takes NULL. Returns NULL. */
struct tp_auth *tp_auth_free(struct tp_auth *auth);
TP_DEFINE_CLEANUP(struct tp_auth *, tp_auth_free)

/* AUTH has from now on what NEWER has read, and NEWER what AUTH had. Any time. */
void tp_auth_exchange(struct tp_auth *auth, struct tp_auth *newer);

/*
 * AUTHORIZATION is that header, or NULL; PEER_FD the UNIX socket's connection, or -1. All but the
 * key of the actor is filled in. DENIED: unknown.
 */
struct torpor_error *tp_auth_identify(struct tp_auth *auth, const char *authorization, int peer_fd,
	struct tp_actor *actor_out) TP_MUST_USE;

/*
 * What was shown as a text that can be looked at again (daemon/login.h): "Bearer TOKEN", or "peer
 * UID"; NULL where nothing was. The caller's to free.
 */
char *tp_auth_credential(const char *authorization, int peer_fd);
/*
 * Who CREDENTIAL stands for now. DENIED with the reason "token-wrong" or, where it was good once,
 * "token-expired": whoever signs in by it is told.
 */
struct torpor_error *tp_auth_credential_actor(
	struct tp_auth *auth, const char *credential, struct tp_actor *actor_out) TP_MUST_USE;

#endif
