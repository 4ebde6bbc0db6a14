/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nonsense at a living server: requests that are cut, mixed, repeated and spoilt, from a seed.
 *
 *   daemon_garbage SEED ROUNDS
 *
 * It must neither end nor hang, and answer a sound request behind all of it. Meant for a build with
 * sanitizers, which see memory errors while it runs and leaks at the end.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "http_client.h"
#include "stub_service.h"

#define JSON "Content-Type: application/json\r\n"
#define LEN  "Content-Length: "

static const char *const seeds[] = {
	"GET /open HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /show/a%20b/c?q=1&r=%2B HTTP/1.1\r\nHost: h\r\n\r\n",
	"POST /show HTTP/1.1\r\nHost: h\r\n" JSON LEN "23\r\n\r\n{\"a\":[1,2,{\"b\":\"\\u00e9\"}]}",
	"POST /show HTTP/1.1\r\nHost: h\r\n" JSON
	"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	"POST /show HTTP/1.1\r\nHost: h\r\nIdempotency-Key: k\r\n" JSON LEN "2\r\n\r\n{}",
	"DELETE /show/a HTTP/1.1\r\nHost: h\r\nTorpor-Tenant: alice\r\n\r\n",
	"GET /events?n=5&size=10 HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n",
	"GET /events HTTP/1.1\r\nHost: h\r\nLast-Event-ID: 3\r\n\r\n",
	"POST /slow HTTP/1.1\r\nHost: h\r\nTorpor-Timeout: 1\r\n\r\n",
	"GET /gone HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /show/a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer eyJhbGciOiJub25lIn0.e30.\r\n\r\n",
	"HEAD /big?bytes=100000 HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /big?bytes=300000 HTTP/1.0\r\n\r\n",
	"POST /show HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n" JSON LEN "2\r\n\r\n{}",
	"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
};

static uint64_t state;

/* xorshift64*: the same everywhere for a seed. */
static uint32_t pick(uint32_t below)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32_t)((state * UINT64_C(2685821657736338717)) >> 33) % below;
}

static void spoil(struct tp_buf *buf)
{
	for (uint32_t n = pick(6); n > 0 && buf->len > 0; n--) {
		uint32_t at = pick((uint32_t)buf->len);
		switch (pick(5)) {
		case 0:
			buf->data[at] = (uint8_t)pick(256);
			break;
		case 1:
			buf->data[at] ^= (uint8_t)(1u << pick(8));
			break;
		case 2: /* cut */
			buf->len = at;
			break;
		case 3: { /* a piece twice */
			size_t len = TP_MIN(buf->len - at, (size_t)pick(64));
			TP_FREE void *piece = tp_memdup(
				buf->data + at, len + 1 <= buf->len - at ? len : buf->len - at);
			tp_buf_put(buf, piece, TP_MIN(len, buf->len - at));
			break;
		}
		default: { /* something long */
			size_t len = pick(80000);
			memset(tp_buf_extend(buf, len), "[{\"A0%\r\n"[pick(8)], len);
		}
		}
	}
}

static void one_round(const struct test_server *server)
{
	TP_BUF struct tp_buf text = {0};
	TP_FD int fd = pick(4) == 0 ? client_tcp(server) : client_unix(server);
	char scrap[512];

	for (uint32_t n = 1 + pick(4); n > 0; n--) {
		const char *seed = seeds[pick(TP_ARRAY_LEN(seeds))];
		tp_buf_put(&text, seed, strlen(seed));
	}
	if (pick(5) > 0)
		spoil(&text);
	client_send_bytes(fd, text.data, text.len);
	if (pick(2))
		shutdown(fd, SHUT_WR);
	/* Some read what comes, some a little, most nothing. */
	struct pollfd answered = {.fd = fd, .events = POLLIN};
	if (pick(3) == 0 && poll(&answered, 1, 5) > 0 && recv(fd, scrap, sizeof(scrap), 0) < 0)
		return;
}

static struct tp_http_config patient;

static void short_times(struct tp_http_config *bounds)
{
	bounds->max_connections = 24;
	patient = *bounds;
	bounds->request_timeout_ns = 500 * TP_NSEC_PER_MSEC;
}

/* A place may be taken by one whose end is still to be seen: then 503, and again. */
static int sound_request(const struct test_server *server)
{
	int status;

	do {
		TP_FD int fd = client_unix(server);
		client_send(fd, "GET /open HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
		struct client_reply r = client_read(fd);
		status = r.status;
		client_reply_deinit(&r);
	} while (status == 503);
	return status;
}

int main(int argc, char **argv)
{
	struct test_server server;

	if (argc != 3) {
		fprintf(stderr, "usage: daemon_garbage SEED ROUNDS\n");
		return 2;
	}
	state = strtoull(argv[1], NULL, 10) * 2 + 1;
	test_server_start(&server, false, short_times);
	for (int i = 0; i < atoi(argv[2]); i++)
		one_round(&server);
	/* Which may take its time. */
	http_configure(server.http, &patient);
	int status = sound_request(&server);
	test_server_stop(&server);
	printf("seed %s: %d requests answered, %d connections refused\n", argv[1], stub.counted,
		stub.refused);
	if (status != 200 || stub.repeat_open != 0) {
		fprintf(stderr, "at the end: status %d, %d keys open\n", status, stub.repeat_open);
		return 1;
	}
	return 0;
}
