/* SPDX-License-Identifier: Apache-2.0 */
/* A server around stub routes, and clients that say exactly what they are told to. */
#ifndef TP_TESTS_HTTP_CLIENT_H
#define TP_TESTS_HTTP_CLIENT_H

#include "daemon/http_engine.h"

struct test_server {
	char dir[64];
	char socket[96];
	int port;
	struct tp_auth *auth;
	struct tp_logins *logins;
	struct tp_tls *tls;
	struct http *http;
};

/* With short bounds; CONFIGURE (may be NULL) changes them. WITH_TLS: its TCP side has TLS, from
 * DIR/cert.pem and DIR/key.pem, made with openssl. Aborts where it can't. */
void test_server_start(struct test_server *server, bool with_tls,
	void (*configure)(struct tp_http_config *bounds));
void test_server_stop(struct test_server *server);
/* A self-signed certificate for NAME. */
void test_make_cert(const char *dir, const char *name);

/* Connected, blocking; reads give up after 20 s. */
int client_unix(const struct test_server *server);
int client_tcp(const struct test_server *server);

void client_send(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void client_send_bytes(int fd, const void *data, size_t len);

struct client_reply {
	int status; /* 0: the connection ended before */
	char *head; /* from the status line to the last header */
	char *body;
	size_t body_len;
};
/* One reply without a body, with Content-Length, or to the end of the connection. */
struct client_reply client_read(int fd);
/* The same of a reply to HEAD. */
struct client_reply client_read_head(int fd);
void client_reply_deinit(struct client_reply *reply);
/* Reads until NEEDLE was there; false: it ended before. *SEEN_OUT (may be NULL) is all of it. */
bool client_read_until(int fd, const char *needle, char **seen_out);
/* Reads to the end and throws it away. */
size_t client_read_end(int fd);
/* The value of header NAME in HEAD, the caller's to free; or NULL. */
char *client_header(const char *head, const char *name);

#endif
