/* SPDX-License-Identifier: Apache-2.0 */
/* A server around stub routes, and clients that say exactly what they are told to. */
#include "http_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "daemon/listen.h"
#include "daemon/login.h"
#include "stub_routes.h"
#include "stub_service.h"

#define PATIENCE_S 20

static void must(struct torpor_error *err)
{
	if (!err)
		return;
	fprintf(stderr, "%s\n", torpor_error_message(err));
	abort();
}

void test_make_cert(const char *dir, const char *name)
{
	TP_FREE char *command = tp_asprintf(
		"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
		"-subj /CN=%s -addext subjectAltName=IP:127.0.0.1 -keyout %s/key.pem "
		"-out %s/cert.pem 2>/dev/null",
		name, dir, dir);

	if (system(command) != 0) {
		fprintf(stderr, "openssl failed: %s\n", command);
		abort();
	}
}

static void listen_both(struct test_server *server, struct http_options *options, bool with_tls)
{
	struct sockaddr_in address;
	socklen_t len = sizeof(address);

	snprintf(server->socket, sizeof(server->socket), "%s/sock", server->dir);
	must(tp_listen_unix(server->socket, 0600, NULL, &options->listeners[0].fd));
	must(tp_listen_tcp("127.0.0.1:0", &options->listeners[1].fd));
	getsockname(options->listeners[1].fd, (struct sockaddr *)&address, &len);
	server->port = ntohs(address.sin_port);
	options->listeners[1].tls = with_tls;
	options->n_listeners = 2;
}

void test_server_start(
	struct test_server *server, bool with_tls, void (*configure)(struct tp_http_config *bounds))
{
	struct tp_auth_config auth_config = {0};
	struct http_options options = {
		.service = (struct tp_service *)server, /* the stub has none */
		.routes = http_routes,
		.bounds = {.max_connections = 64,
			.max_body = 64 * TP_KIB,
			.request_timeout_ns = 10 * TP_NSEC_PER_SEC,
			.streams_per_tenant = 4,
			.login_time_ns = 3600 * TP_NSEC_PER_SEC},
	};

	*server = (struct test_server){.dir = "/tmp/torpord-test.XXXXXX"};
	if (!mkdtemp(server->dir))
		abort();
	stub_reset();
	stub_events = 0;
	sem_init(&stub_entered, 0, 0);
	sem_init(&stub_producing, 0, 0);
	sem_init(&stub_freed, 0, 0);
	for (size_t i = 0; i < TP_ARRAY_LEN(stub_gates); i++)
		stub_gates[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	if (configure)
		configure(&options.bounds);
	must(tp_auth_new(&auth_config, options.service, &server->auth));
	must(tp_logins_new(NULL, &server->logins));
	if (with_tls) {
		TP_FREE char *cert = tp_asprintf("%s/cert.pem", server->dir);
		TP_FREE char *key = tp_asprintf("%s/key.pem", server->dir);
		test_make_cert(server->dir, "first");
		must(tp_tls_new(cert, key, &server->tls));
	}
	options.auth = server->auth;
	options.logins = server->logins;
	options.tls = server->tls;
	listen_both(server, &options, with_tls);
	must(http_start(&options, &server->http));
}

void test_server_stop(struct test_server *server)
{
	http_stop(server->http);
	tp_tls_free(server->tls);
	tp_logins_free(server->logins);
	tp_auth_free(server->auth);
	for (size_t i = 0; i < TP_ARRAY_LEN(stub_gates); i++)
		stub_gates[i] = tp_close(stub_gates[i]);
	TP_FREE char *command = tp_asprintf("rm -rf %s", server->dir);
	if (system(command) != 0)
		abort();
}

static int patient(int fd)
{
	struct timeval patience = {.tv_sec = PATIENCE_S};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

int client_unix(const struct test_server *server)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, server->socket);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return tp_close(fd);
	return patient(fd);
}

int client_tcp(const struct test_server *server)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)server->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return tp_close(fd);
	return patient(fd);
}

/* With a timeout set it is interrupted also where a process was stopped and goes on (signal(7)). */
static ssize_t receive(int fd, void *data, size_t len)
{
	ssize_t n;

	do
		n = recv(fd, data, len, 0);
	while (n < 0 && errno == EINTR);
	return n;
}

void client_send_bytes(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
		if (n <= 0)
			return; /* what the server thinks of it is read back */
		at += n;
		len -= (size_t)n;
	}
}

void client_send(int fd, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	TP_FREE char *text = tp_vasprintf(fmt, ap);
	va_end(ap);
	client_send_bytes(fd, text, strlen(text));
}

char *client_header(const char *head, const char *name)
{
	TP_FREE char *start = tp_asprintf("\r\n%s: ", name);
	const char *at = strcasestr(head, start);

	if (!at)
		return NULL;
	at += strlen(start);
	return tp_strndup(at, strcspn(at, "\r\n"));
}

/* Byte by byte, so that nothing of the next reply is taken. */
static char *read_head(int fd)
{
	TP_BUF struct tp_buf head = {0};
	char c;

	while (receive(fd, &c, 1) == 1) {
		tp_buf_put_u8(&head, (uint8_t)c);
		if (head.len >= 4 && memcmp(head.data + head.len - 4, "\r\n\r\n", 4) == 0)
			return tp_strndup((char *)head.data, head.len);
	}
	return NULL;
}

struct client_reply client_read_head(int fd)
{
	struct client_reply reply = {.head = read_head(fd)};

	if (reply.head && sscanf(reply.head, "HTTP/1.%*d %d", &reply.status) == 1 &&
		reply.status == 100) {
		free(reply.head);
		return client_read_head(fd);
	}
	return reply;
}

struct client_reply client_read(int fd)
{
	struct client_reply reply = client_read_head(fd);
	TP_BUF struct tp_buf body = {0};
	char block[4096];

	if (!reply.head)
		return reply;
	TP_FREE char *length = client_header(reply.head, "Content-Length");
	size_t left = length ? strtoull(length, NULL, 10) : SIZE_MAX;
	if (reply.status == 204 || reply.status == 304)
		left = 0;
	while (left > 0) {
		ssize_t n = receive(fd, block, TP_MIN(left, sizeof(block)));
		if (n <= 0)
			break;
		tp_buf_put(&body, block, (size_t)n);
		left -= (size_t)n;
	}
	reply.body_len = body.len;
	tp_buf_put_u8(&body, 0);
	reply.body = tp_memdup(body.data, body.len);
	return reply;
}

void client_reply_deinit(struct client_reply *reply)
{
	free(reply->head);
	free(reply->body);
	*reply = (struct client_reply){0};
}

bool client_read_until(int fd, const char *needle, char **seen_out)
{
	TP_BUF struct tp_buf seen = {0};
	size_t len = strlen(needle);
	bool found = false;
	char c;

	while (!found && receive(fd, &c, 1) == 1) {
		tp_buf_put_u8(&seen, (uint8_t)c);
		found = seen.len >= len && memcmp(seen.data + seen.len - len, needle, len) == 0;
	}
	if (seen_out)
		*seen_out = tp_strndup(seen.data ? (char *)seen.data : "", seen.len);
	return found;
}

size_t client_read_end(int fd)
{
	char block[65536];
	size_t all = 0;
	ssize_t n;

	while ((n = receive(fd, block, sizeof(block))) > 0)
		all += (size_t)n;
	return all;
}
