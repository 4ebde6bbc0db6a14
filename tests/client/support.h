/* SPDX-License-Identifier: Apache-2.0 */
/* What the client's tests share. */
#ifndef TP_TESTS_CLIENT_SUPPORT_H
#define TP_TESTS_CLIENT_SUPPORT_H

#include <torpor/client.h>

#include "peer.h"

/* A session as torpord shows it, for scripts. */
#define SESSION(id, name, state)                                                                   \
	"{\"id\":\"" id "\",\"name\":\"" name                                                      \
	"\",\"tenant\":\"default\",\"template\":\"minimal\","                                      \
	"\"state\":\"" state "\",\"created\":\"2026-01-02T03:04:05.678Z\",\"source\":\"warm\","    \
	"\"guest\":{\"memory_bytes\":268435456},\"image\":{\"bytes\":12800}}"
#define K3 "k3v9q2m7x4tz0d8h"

/* A client of PEER, which plays SCRIPT. */
struct torpor_client *ct_open(struct peer *peer, const char *script);
/* Closes both; fails the test if the script wasn't kept to. */
void ct_close(struct peer *peer, struct torpor_client *client);

/* Fails the test unless ERR is NULL; frees it. */
void ct_ok(struct torpor_error *err);
/* Fails the test unless ERR has CODE and its message holds TEXT; frees it. */
void ct_fails(struct torpor_error *err, enum torpor_errc code, const char *text);

#endif
