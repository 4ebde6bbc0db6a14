/* SPDX-License-Identifier: Apache-2.0 */
/* One server, single requests to it, and what is expected of the replies. */
#ifndef TP_TESTS_HTTP_ASK_H
#define TP_TESTS_HTTP_ASK_H

#include "http_client.h"
#include "stub_service.h"

extern struct test_server server;

/* The server, with short bounds and without TLS. */
void server_start(void);
void server_stop(void);

#define AS_ALICE "Host: h\r\nAuthorization: Bearer " STUB_TOKEN "\r\n"

#define JSON "Content-Type: application/json\r\n"

/* One request on a connection of its own, over the UNIX socket. */
struct client_reply ask(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
struct client_reply post(const char *path, const char *headers, const char *body);

/* Frees the reply. */
void expect_status(struct client_reply reply, int status);
/* The text of a member of the body. */
void expect_member(const struct client_reply *reply, const char *name, const char *value);
/* VALUE NULL: there is none. */
void expect_header(const struct client_reply *reply, const char *name, const char *value);

#endif
