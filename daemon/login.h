/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logins: what a browser shows instead of a token.
 *
 * A login is a cookie: the credential that was shown once, with the login's id and end, sealed
 * (AES-256-GCM) under a key that only torpord has. Each request opens it and asks about the
 * credential anew, so that a login can do what its token can, as long as its token can; and it
 * outlives torpord, which keeps nothing of it but the ids of those that were ended before their
 * time (service/service.h). Turned down: sessions in memory, which a restart ends; in the records,
 * which would keep JWTs in clear and cost a commit for each.
 *
 * A credential is "Bearer TOKEN", or "peer UID" of whoever asked for a code on the UNIX socket.
 *
 * A code stands for a credential, once, and for a minute: it may be in an address that is printed
 * and clicked on. Codes are in memory alone.
 *
 * Any thread may call anything.
 */
#ifndef TP_DAEMON_LOGIN_H
#define TP_DAEMON_LOGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct tp_logins;

#define TP_LOGIN_ID_LEN	    16 /* characters 0-9 a-z */
#define TP_LOGIN_CODE_LEN   32 /* the same: 165 bits */
#define TP_LOGIN_CODE_S	    60
#define TP_LOGIN_CODES	    8	 /* that wait of one credential's owner; the oldest goes */
#define TP_LOGIN_COOKIE_MAX 4000 /* what browsers keep, name and attributes taken off */

/* KEY_PATH: the key's file, made where it is missing; NULL: a key that ends with LOGINS. CORRUPT if
 * the file isn't one. */
struct torpor_error *tp_logins_new(const char *key_path, struct tp_logins **logins_out) TP_MUST_USE;
/* Takes NULL. Returns NULL. */
struct tp_logins *tp_logins_free(struct tp_logins *logins);
TP_DEFINE_CLEANUP(struct tp_logins *, tp_logins_free)

struct tp_login {
	char id[TP_LOGIN_ID_LEN + 1];
	uint64_t expires_ns; /* CLOCK_REALTIME */
	char *credential;
};
void tp_login_deinit(struct tp_login *login);

/* LOGIN (an id is given to it) as a cookie's value, the caller's to free. INVALID if it is too long
 * for one. */
struct torpor_error *tp_login_seal(
	struct tp_logins *logins, struct tp_login *login, char **cookie_out) TP_MUST_USE;
/* What COOKIE stands for, to be deinited. DENIED: nothing, or its time was over at NOW_NS. */
struct torpor_error *tp_login_open(struct tp_logins *logins, const char *cookie, uint64_t now_ns,
	struct tp_login *login_out) TP_MUST_USE;

/* A code for CREDENTIAL, which belongs to OWNER (a tenant's name, or such), at NOW_NS
 * (CLOCK_MONOTONIC). */
void tp_login_code_new(struct tp_logins *logins, const char *owner, const char *credential,
	uint64_t now_ns, char code_out[TP_LOGIN_CODE_LEN + 1]);
/* The credential of CODE, the caller's to free, this once; NULL: there is no such code any more. */
char *tp_login_code_use(struct tp_logins *logins, const char *code, uint64_t now_ns);

#endif
