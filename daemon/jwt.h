/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON Web Tokens (RFC 7519), in compact form, signed (RFC 7515). Claims: docs/API.md.
 *
 * The algorithm must be one that the configuration names and that fits the type of the key: a
 * token can't choose how it is checked. Keys come from a JWKS file (RFC 7517) alone.
 */
#ifndef TP_DAEMON_JWT_H
#define TP_DAEMON_JWT_H

#include "daemon/config.h"

struct tp_jwt_keys;

/*
 * The keys in CONFIG's file, and what else it asks of tokens (copied). INVALID if there is a key
 * among them that no configured algorithm can use, or a secret where only public ones belong.
 */
struct torpor_error *tp_jwt_keys_load(
	const struct tp_auth_config *config, struct tp_jwt_keys **keys_out) TP_MUST_USE;
/* Takes NULL. Returns NULL. */
struct tp_jwt_keys *tp_jwt_keys_free(struct tp_jwt_keys *keys);

/*
 * Whom TOKEN stands for at NOW_S (seconds since 1970); whether the tenant exists is not asked.
 * DENIED, with a reason for the log that has nothing of the token in it.
 */
struct torpor_error *tp_jwt_verify(const struct tp_jwt_keys *keys, const char *token,
	uint64_t now_s, struct tp_actor *actor_out) TP_MUST_USE;

#endif
