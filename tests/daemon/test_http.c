/* SPDX-License-Identifier: Apache-2.0 */
/* The plumbing, over real sockets, with stub handlers: requests, replies, and who asks. */
#include <criterion/criterion.h>

#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "http_ask.h"
#include "stub_routes.h"

TestSuite(http, .init = server_start, .fini = server_stop);

/* --- requests and replies --- */

Test(http, parameters_and_queries_arrive_decoded)
{
	struct client_reply r = ask("GET /show/a%%20b/c?q=x%%2By+z HTTP/1.1\r\nHost: h\r\n\r\n");

	cr_assert_eq(r.status, 200);
	expect_member(&r, "a", "\"a b\"");
	expect_member(&r, "b", "\"c\"");
	expect_member(&r, "q", "\"x+y z\"");
	expect_member(&r, "body", "null");
	expect_member(&r, "events", "false");
	expect_header(&r, "Content-Type", "application/json");
	expect_header(&r, "Cache-Control", "no-store");
	client_reply_deinit(&r);
	cr_assert_str_eq(stub.last_route, "GET /show/{a}/{b}");
	cr_assert_eq(stub.counted, 1);
}

Test(http, created_has_its_location)
{
	struct client_reply r = post("/show", JSON "X-Request-Id: mine\r\n", "{\"x\": [1]}");

	cr_assert_eq(r.status, 201);
	expect_member(&r, "body", "{\"x\":[1]}");
	expect_header(&r, "Location", "/show/new");
	expect_header(&r, "X-Request-Id", "mine");
	client_reply_deinit(&r);
	/* Without a body it is an empty object, and needs no type. */
	r = post("/show", "", "");
	cr_assert_eq(r.status, 201);
	expect_member(&r, "body", "{}");
	client_reply_deinit(&r);
	r = ask("DELETE /show/a HTTP/1.1\r\nHost: h\r\n\r\n");
	cr_assert_eq(r.status, 204);
	cr_assert_eq(r.body_len, 0);
	client_reply_deinit(&r);
}

Test(http, requests_have_ids_that_do_not_count)
{
	char seen[8][16];

	for (size_t i = 0; i < TP_ARRAY_LEN(seen); i++) {
		struct client_reply r = ask("GET /show/a/b HTTP/1.1\r\nHost: h\r\n\r\n");
		TP_FREE char *id = client_header(r.head, "X-Request-Id");
		cr_assert_not_null(id);
		cr_assert_eq(strlen(id), 12, "%s", id);
		cr_assert_eq(strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz"), 12, "%s", id);
		snprintf(seen[i], sizeof(seen[i]), "%s", id);
		client_reply_deinit(&r);
		/* Those that count have the same digits but for the last. */
		for (size_t j = 0; j < i; j++)
			cr_expect(strncmp(seen[i], seen[j], 10) != 0, "%s %s", seen[i], seen[j]);
	}
}

Test(http, bodies_that_are_refused)
{
	TP_FREE char *deep = tp_malloc(60001);
	TP_FREE char *large = tp_malloc(70001);
	memset(deep, '[', 60000);
	memset(large, ' ', 70000);
	deep[60000] = large[70000] = '\0';

	expect_status(post("/show", JSON, "[]"), 400);
	expect_status(post("/show", JSON, "1"), 400);
	expect_status(post("/show", JSON, "{\"a\":1,\"a\":2}"), 400);
	expect_status(post("/show", JSON, "{\"a\":1"), 400);
	expect_status(post("/show", JSON, "{\"a\":\"\\u0000\"}"), 400);
	expect_status(post("/show", JSON, "{\"\xff\":1}"), 400);
	expect_status(post("/show", JSON, deep), 400);
	expect_status(post("/show", JSON, large), 413);
	expect_status(post("/show", "", "{}"), 415);
	expect_status(post("/show", "Content-Type: text/plain\r\n", "{}"), 415);
	expect_status(post("/show", "Content-Type: application/jsonx\r\n", "{}"), 415);
	expect_status(
		post("/show", "Content-Type: Application/JSON; charset=utf-8\r\n", "{}"), 201);
	expect_status(
		ask("DELETE /show/a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"), 400);
}

Test(http, chunked_bodies_have_the_same_bound)
{
	static const char block[1024];
	TP_FD int fd = client_unix(&server);

	client_send(
		fd, "POST /show HTTP/1.1\r\nHost: h\r\n" JSON "Transfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 65; i++) {
		client_send(fd, "400\r\n");
		client_send_bytes(fd, block, sizeof(block));
		client_send(fd, "\r\n");
	}
	client_send(fd, "0\r\n\r\n");
	expect_status(client_read(fd), 413);
	/* And the connection is still good, as the body was read to its end. */
	client_send(fd, "GET /open HTTP/1.1\r\nHost: h\r\n\r\n");
	expect_status(client_read(fd), 200);
}

Test(http, expect_is_answered_before_the_body)
{
	TP_FD int fd = client_unix(&server);

	client_send(fd, "POST /show HTTP/1.1\r\nHost: h\r\n" JSON
			"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n");
	expect_status(client_read(fd), 413);
}

Test(http, unknown_paths_and_methods)
{
	struct client_reply r = ask("PUT /show HTTP/1.1\r\nHost: h\r\n\r\n");

	cr_assert_eq(r.status, 405);
	expect_header(&r, "Allow", "POST");
	expect_header(&r, "Content-Type", "application/problem+json");
	client_reply_deinit(&r);
	r = ask("GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n");
	cr_assert_eq(r.status, 404);
	expect_member(&r, "type", "\"urn:torpor:problem:not-found\"");
	client_reply_deinit(&r);
	cr_assert_str_eq(stub.last_route, "any unknown");
	expect_status(ask("GET /show/a%%2fb HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
	expect_status(ask("GET /show/%%00 HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
	expect_status(ask("GET /show/../open HTTP/1.1\r\nHost: h\r\n\r\n"), 200); /* two names */
	expect_status(ask("GET /show/a?q=1&q=2 HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
	expect_status(ask("OPTIONS /show HTTP/1.1\r\nHost: h\r\n\r\n"), 405);
}

Test(http, head_has_no_body)
{
	TP_FD int fd = client_unix(&server);

	client_send(
		fd, "HEAD /open HTTP/1.1\r\nHost: h\r\n\r\nGET /open HTTP/1.1\r\nHost: h\r\n\r\n");
	struct client_reply r = client_read_head(fd);
	cr_assert_eq(r.status, 200);
	TP_FREE char *length = client_header(r.head, "Content-Length");
	cr_assert(length && atoi(length) > 10);
	client_reply_deinit(&r);
	expect_status(client_read(fd), 200);
}

Test(http, errors_become_problems)
{
	struct client_reply r = ask("GET /fail?code=14 HTTP/1.1\r\nHost: h\r\n\r\n");

	cr_assert_eq(r.status, 502);
	expect_member(&r, "type", "\"urn:torpor:problem:qemu\"");
	expect_member(&r, "detail", "\"fail x: as asked\"");
	expect_member(&r, "hint", "\"Ask for less.\"");
	expect_member(&r, "status", "502");
	client_reply_deinit(&r);
	expect_status(ask("GET /fail?code=99 HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
	expect_status(ask("GET /fail?code=-1 HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
}

Test(http, headers_that_are_refused)
{
	TP_FREE char *long_value = tp_malloc(50001);
	memset(long_value, 'x', 50000);
	long_value[50000] = '\0';

	expect_status(ask("GET /open HTTP/1.1\r\nHost: h\r\nX: %.40000s\r\n\r\n", long_value), 431);
	expect_status(ask("GET /open HTTP/1.1\r\nHost: h\r\nX: %s\r\nY: %s\r\n\r\n", long_value,
			      long_value),
		431);
	expect_status(ask("GET /open HTTP/1.1\r\nHost: h\r\nTorpor-Tenant: a\r\ntorpor-tenant: "
			  "b\r\n\r\n"),
		400);
	expect_status(
		ask("GET /show/a HTTP/1.1\r\n" AS_ALICE "Authorization: Bearer x\r\n\r\n"), 400);
	expect_status(
		ask("POST /show HTTP/1.1\r\nHost: h\r\n" JSON
		    "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
		400);
}

/* --- who asks --- */

Test(http, root_on_the_socket_is_the_admin)
{
	struct client_reply r = ask("GET /show/a HTTP/1.1\r\nHost: h\r\n\r\n");
	char how[32];

	snprintf(how, sizeof(how), "\"peer %u\"", (unsigned int)getuid());
	expect_member(&r, "admin", "true");
	expect_member(&r, "tenant", "\"default\"");
	expect_member(&r, "how", how);
	expect_member(&r, "local", "true");
	client_reply_deinit(&r);
}

/*
 * Who a process is belongs to each of its threads (credentials(7)), which only the C library hides:
 * this one connects as another user, and the server's stay what they are.
 */
static int connect_as(uid_t uid)
{
	chmod(server.dir, 0755);
	chmod(server.socket, 0666);
	cr_assert_eq(syscall(SYS_setresuid, -1, uid, -1), 0);
	int fd = client_unix(&server);
	cr_assert_eq(syscall(SYS_setresuid, -1, 0, -1), 0);
	cr_assert_geq(fd, 0);
	return fd;
}

static struct client_reply ask_as(uid_t uid, const char *authorization)
{
	TP_FD int fd = connect_as(uid);

	client_send(fd, "GET /show/a HTTP/1.1\r\nHost: h\r\n%s\r\n", authorization);
	return client_read(fd);
}

static void expect_alice(struct client_reply reply)
{
	cr_expect_eq(reply.status, 200);
	expect_member(&reply, "tenant", "\"alice\"");
	client_reply_deinit(&reply);
}

Test(http, other_users_are_who_the_tenants_say)
{
	if (getuid() != 0)
		cr_assert_fail("NOT RUN: becoming other users needs root");
	expect_alice(ask_as(STUB_UID, ""));
	expect_status(ask_as(STUB_UID + 1, ""), 401);
	expect_alice(ask_as(STUB_UID + 1, "Authorization: Bearer " STUB_TOKEN "\r\n"));
	/* A bad token doesn't fall back to the user. */
	expect_status(ask_as(STUB_UID, "Authorization: Bearer wrong\r\n"), 401);
	expect_status(ask_as(STUB_UID, "Authorization: \r\n"), 401);
}

Test(http, tokens)
{
	struct client_reply r = ask("GET /show/a HTTP/1.1\r\n" AS_ALICE "\r\n");

	expect_member(&r, "tenant", "\"alice\"");
	expect_member(&r, "admin", "false");
	client_reply_deinit(&r);
	r = ask("GET /show/a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer wrong\r\n\r\n");
	cr_assert_eq(r.status, 401);
	expect_header(&r, "WWW-Authenticate", "Bearer");
	cr_assert(!strstr(r.body, "wrong"));
	client_reply_deinit(&r);
	/* What needs no identity doesn't mind a wrong one. */
	expect_status(
		ask("GET /open HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer wrong\r\n\r\n"), 200);

	/* Loopback is local, but nobody. */
	TP_FD int fd = client_tcp(&server);
	client_send(fd, "GET /show/a HTTP/1.1\r\nHost: h\r\n\r\n");
	expect_status(client_read(fd), 401);
	client_send(fd, "GET /open HTTP/1.1\r\n" AS_ALICE "\r\n");
	r = client_read(fd);
	expect_member(&r, "local", "true");
	expect_member(&r, "tenant", "\"alice\"");
	client_reply_deinit(&r);
}

Test(http, the_admin_may_act_for_a_tenant)
{
	struct client_reply r =
		ask("GET /show/a HTTP/1.1\r\nHost: h\r\nTorpor-Tenant: alice\r\n\r\n");

	expect_member(&r, "tenant", "\"alice\"");
	expect_member(&r, "admin", "true");
	client_reply_deinit(&r);
	expect_status(ask("GET /show/a HTTP/1.1\r\nHost: h\r\nTorpor-Tenant: bob\r\n\r\n"), 404);
	expect_status(ask("GET /show/a HTTP/1.1\r\n" AS_ALICE "Torpor-Tenant: alice\r\n\r\n"), 403);
	expect_status(ask("GET /open HTTP/1.1\r\n" AS_ALICE "Torpor-Tenant: alice\r\n\r\n"), 403);
}

Test(http, rates)
{
	stub.rate_left = 1;
	expect_status(post("/show", "", ""), 201);
	struct client_reply r = post("/show", "", "");
	cr_assert_eq(r.status, 429);
	expect_header(&r, "Retry-After", "7");
	expect_member(&r, "reason", "\"rate\"");
	client_reply_deinit(&r);
	expect_status(ask("GET /show/a HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
}

/* --- repeating, timeouts --- */

Test(http, repeated_requests)
{
	static const char key[] = JSON "Idempotency-Key: k 1\r\n";
	struct client_reply r = post("/show", key, "{\"a\":1,\"b\":2}");

	cr_assert_eq(r.status, 201);
	expect_header(&r, "Idempotency-Replayed", NULL);
	client_reply_deinit(&r);
	/* The same, however it is written. */
	r = post("/show", key, "{\"b\" : 2, \"a\":1}");
	cr_assert_eq(r.status, 201);
	expect_header(&r, "Idempotency-Replayed", "true");
	expect_header(&r, "Location", "/show/new");
	expect_member(&r, "again", "true");
	client_reply_deinit(&r);
	expect_status(post("/show", key, "{\"a\":1,\"b\":3}"), 409);
	expect_status(post("/show?q=1", key, "{\"a\":1,\"b\":2}"), 409);
	expect_status(post("/slow", key, "{\"a\":1,\"b\":2}"), 409);
	expect_status(post("/show", JSON "Idempotency-Key: \r\n", "{}"), 400);
	expect_status(post("/show", JSON "Idempotency-Key: \xC3\xA9\r\n", "{}"), 400);
	expect_status(post("/once", key, "{}"), 400);
	cr_assert_eq(stub.repeat_open, 0);
}

/* While the first is under way; and its key is given back when it is over. */
Test(http, repeated_too_early)
{
	TP_FD int fd = client_unix(&server);

	client_send(fd, "POST /slow HTTP/1.1\r\nHost: h\r\nIdempotency-Key: k\r\n\r\n");
	sem_wait(&stub_entered);
	struct client_reply r = post("/slow", "Idempotency-Key: k\r\n", "");
	cr_assert_eq(r.status, 409);
	expect_header(&r, "Retry-After", "1");
	client_reply_deinit(&r);
	stub_let_go(0);
	expect_status(client_read(fd), 204);
	cr_assert_eq(stub.repeat_open, 0);
}

/* A stream's key is its own until the producer has ended. */
Test(http, repeated_streams)
{
	TP_FD int fd = client_unix(&server);

	client_send(fd, "POST /events HTTP/1.1\r\nHost: h\r\nIdempotency-Key: s\r\n\r\n");
	sem_wait(&stub_entered);
	expect_status(post("/events", "Idempotency-Key: s\r\n", ""), 409);
	cr_assert_eq(stub.repeat_open, 1);
	fd = tp_close(fd);
	sem_wait(&stub_freed);
}

Test(http, timeouts)
{
	expect_status(post("/slow", "Torpor-Timeout: 0\r\n", ""), 400);
	expect_status(post("/slow", "Torpor-Timeout: 601\r\n", ""), 400);
	expect_status(post("/slow", "Torpor-Timeout: 1s\r\n", ""), 400);
	expect_status(post("/slow", "Torpor-Timeout: 1\r\n", ""), 504);
}

Test(http, handlers_can_see_that_the_client_has_gone)
{
	int fd = client_unix(&server);

	client_send(fd, "GET /gone HTTP/1.1\r\nHost: h\r\n\r\nGET /open");
	sem_wait(&stub_entered);
	tp_close(fd);
	sem_wait(&stub_freed);
}
