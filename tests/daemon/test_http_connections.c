/* SPDX-License-Identifier: Apache-2.0 */
/* The plumbing, over real sockets, with stub handlers: connections, streams, draining, TLS. */
#include <criterion/criterion.h>

#include <curl/curl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "daemon/listen.h"
#include "http_ask.h"
#include "stub_routes.h"

TestSuite(http, .init = server_start, .fini = server_stop);

/* --- connections --- */

Test(http, connections_are_kept_and_requests_may_be_piled_up)
{
	TP_FD int fd = client_unix(&server);

	for (int i = 0; i < 20; i++)
		client_send(fd, "GET /show/%d HTTP/1.1\r\nHost: h\r\n\r\n", i);
	for (int i = 0; i < 20; i++) {
		struct client_reply r = client_read(fd);
		char expected[16];
		snprintf(expected, sizeof(expected), "\"%d\"", i);
		cr_assert_eq(r.status, 200);
		expect_member(&r, "a", expected);
		client_reply_deinit(&r);
	}
}

Test(http, half_closed_clients_get_their_answer)
{
	TP_FD int fd = client_unix(&server);

	client_send(fd, "GET /open HTTP/1.1\r\nHost: h\r\n\r\n");
	shutdown(fd, SHUT_WR);
	expect_status(client_read(fd), 200);
}

Test(http, half_a_request_and_garbage_harm_nobody)
{
	static const char *const halves[] = {"", "G", "GET", "GET / HTTP/1.1\r\nHo",
		"POST /show HTTP/1.1\r\nHost: h\r\n" JSON "Content-Length: 100\r\n\r\n{",
		"\r\n\r\n\r\n", "\x16\x03\x01\x02", "GET /open HTTP/9.9\r\n\r\n",
		"GET /open\r\n\r\n",
		"POST /show HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"};

	for (size_t i = 0; i < TP_ARRAY_LEN(halves); i++) {
		TP_FD int fd = client_unix(&server);
		client_send(fd, "%s", halves[i]);
		shutdown(fd, SHUT_WR);
		client_read_end(fd);
	}
	expect_status(ask("GET /open HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
}

static void two_connections(struct tp_http_config *bounds)
{
	bounds->max_connections = 2;
}

Test(bounds, too_many_connections)
{
	test_server_start(&server, false, two_connections);
	TP_FD int a = client_unix(&server);
	int b = client_unix(&server);
	client_send(a, "GET /open HTTP/1.1\r\nHost: h\r\n\r\n");
	client_send(b, "GET /open HTTP/1.1\r\nHost: h\r\n\r\n");
	expect_status(client_read(a), 200);
	expect_status(client_read(b), 200);

	struct client_reply r = ask("GET /open HTTP/1.1\r\nHost: h\r\n\r\n");
	cr_assert_eq(r.status, 503);
	expect_member(&r, "reason", "\"connections\"");
	expect_header(&r, "Retry-After", "1");
	client_reply_deinit(&r);
	cr_assert_eq(stub.refused, 1);

	/* One place is free again, as soon as its end has been seen. */
	client_send(b, "GET /open HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	client_read_end(b);
	tp_close(b);
	do {
		client_reply_deinit(&r);
		r = ask("GET /open HTTP/1.1\r\nHost: h\r\n\r\n");
	} while (r.status == 503);
	cr_assert_eq(r.status, 200);
	client_reply_deinit(&r);
	test_server_stop(&server);
}

static struct tp_http_config bounds_now;

static void note_bounds(struct tp_http_config *bounds)
{
	bounds_now = *bounds;
}

/* For what requests that are under way have behind their answer, and for those that come. */
static void shorten_times(void)
{
	bounds_now.request_timeout_ns = 300 * TP_NSEC_PER_MSEC;
	http_configure(server.http, &bounds_now);
}

/* With a request that waits at GATE. */
static int held(unsigned int gate)
{
	int fd = client_unix(&server);

	client_send(fd, "POST /slow?gate=%u HTTP/1.1\r\nHost: h\r\n\r\n", gate);
	sem_wait(&stub_entered);
	return fd;
}

/* A byte now and then keeps no connection alive. What ends it is the server, so no time is asked.
 */
static void *drip(void *data)
{
	int fd = *(int *)data;
	struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

	while (send(fd, "X", 1, MSG_NOSIGNAL) == 1)
		nanosleep(&pause, NULL);
	return NULL;
}

static void expect_ended(const char *start)
{
	TP_FD int fd = client_unix(&server);
	pthread_t dripping;

	client_send(fd, "%s", start);
	pthread_create(&dripping, NULL, drip, &fd);
	client_read_end(fd);
	pthread_join(dripping, NULL);
}

Test(bounds, slow_requests_are_ended)
{
	test_server_start(&server, false, note_bounds);
	/* One that has had its answer. */
	TP_FD int kept = held(0);
	shorten_times();
	stub_let_go(0);
	expect_status(client_read(kept), 204);
	cr_assert_eq(client_read_end(kept), 0);
	expect_ended("");
	expect_ended("GET /open HTTP/1.1\r\nHost: h\r\nX");
	expect_ended("POST /show HTTP/1.1\r\nHost: h\r\n" JSON "Content-Length: 60000\r\n\r\n");
	/* One that sends nothing. */
	TP_FD int idle = client_unix(&server);
	cr_assert_eq(client_read_end(idle), 0);
	test_server_stop(&server);
}

/* The time bounds requests, not handlers. */
Test(bounds, slow_handlers_are_not)
{
	test_server_start(&server, false, note_bounds);
	TP_FD int fd = held(0);
	/* Behind the other, so that it is there in time whatever becomes of the client. */
	client_send(fd, "POST /slow HTTP/1.1\r\nHost: h\r\nTorpor-Timeout: 1\r\n\r\n");
	shorten_times();
	stub_let_go(0);
	expect_status(client_read(fd), 204);
	expect_status(client_read(fd), 504);
	test_server_stop(&server);
}

Test(bounds, slow_readers_are_ended_and_block_nobody)
{
	test_server_start(&server, false, note_bounds);
	TP_FD int other = held(1);
	TP_FD int fd = client_unix(&server);
	client_send(fd, "GET /events?gate=0&n=1000000&size=1000 HTTP/1.1\r\nHost: h\r\n\r\n");
	sem_wait(&stub_entered);
	shorten_times();
	stub_let_go(0);
	sem_wait(&stub_producing);
	stub_let_go(1);
	expect_status(client_read(other), 204);
	/* Nobody reads: the producer waits, the connection is ended, the producer told. No more was
	 * taken than the queue and the socket hold. */
	sem_wait(&stub_freed);
	cr_assert(stub_events < 8 * 1024, "%u KB were queued", stub_events);
	test_server_stop(&server);
}

/* --- streams --- */

Test(http, events_arrive)
{
	TP_FD int fd = client_unix(&server);
	TP_FREE char *seen = NULL;

	client_send(fd, "GET /events?n=3 HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n");
	cr_assert(client_read_until(fd, "\r\n0\r\n\r\n", &seen));
	cr_assert(strstr(seen, "Content-Type: text/event-stream\r\n"));
	cr_assert(strstr(seen, ":\n\n"));
	cr_assert(strstr(seen, "id: 1\nevent: tick\ndata: {\"data\":\"yyyyyyyyyy\"}\n\n"));
	cr_assert(strstr(seen, "id: 3\nevent: tick\n"));
	/* The connection goes on behind it. */
	client_send(fd, "GET /open HTTP/1.1\r\nHost: h\r\n\r\n");
	expect_status(client_read(fd), 200);
	sem_wait(&stub_freed);
}

Test(http, long_streams_are_whole)
{
	TP_FD int fd = client_unix(&server);

	client_send(fd, "GET /events?n=300&size=20000 HTTP/1.0\r\nHost: h\r\n\r\n");
	size_t all = client_read_end(fd);
	cr_assert(all > 300 * 20000, "%zu", all);
	/* One event that is larger than the queue. */
	TP_FD int other = client_unix(&server);
	client_send(other, "GET /events?n=2&size=3000000 HTTP/1.0\r\nHost: h\r\n\r\n");
	cr_assert(client_read_end(other) > 6000000);
}

Test(http, producers_hear_that_the_client_has_gone)
{
	int fd = client_unix(&server);

	client_send(fd, "GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
	cr_assert(client_read_until(fd, ":\n\n", NULL)); /* at once */
	sem_wait(&stub_entered);
	tp_close(fd);
	sem_wait(&stub_freed);
	/* The same over TCP. */
	fd = client_tcp(&server);
	client_send(fd, "GET /events HTTP/1.1\r\n" AS_ALICE "\r\n");
	sem_wait(&stub_entered);
	tp_close(fd);
	sem_wait(&stub_freed);
}

Test(http, streams_of_a_tenant_are_bounded)
{
	int fds[4];

	for (int i = 0; i < 4; i++) {
		fds[i] = client_unix(&server);
		client_send(fds[i], "GET /events HTTP/1.1\r\n" AS_ALICE "\r\n");
		sem_wait(&stub_entered);
	}
	struct client_reply r = ask("GET /events HTTP/1.1\r\n" AS_ALICE "\r\n");
	cr_assert_eq(r.status, 503);
	expect_member(&r, "reason", "\"connections\"");
	expect_header(&r, "Retry-After", "5");
	client_reply_deinit(&r);
	sem_wait(&stub_freed); /* what the refused one had brought */
	/* Others have their own. */
	TP_FD int other = client_unix(&server);
	client_send(other, "GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
	cr_assert(client_read_until(other, ":\n\n", NULL));
	for (int i = 0; i < 4; i++)
		tp_close(fds[i]);
}

Test(http, head_of_a_stream)
{
	TP_FD int fd = client_unix(&server);

	client_send(fd, "HEAD /events HTTP/1.1\r\nHost: h\r\n\r\n");
	struct client_reply r = client_read_head(fd);
	cr_assert_eq(r.status, 200);
	client_reply_deinit(&r);
	sem_wait(&stub_freed);
}

/* --- draining --- */

struct draining {
	uint64_t patience_ns;
	pthread_t thread;
};

static void *drain(void *data)
{
	http_drain(server.http, ((struct draining *)data)->patience_ns);
	return NULL;
}

Test(http, draining_lets_requests_end_and_streams_too)
{
	struct draining draining = {.patience_ns = 60 * TP_NSEC_PER_SEC};
	TP_FD int idle = client_unix(&server);
	TP_FD int stream = client_unix(&server);
	TP_FD int slow = client_unix(&server);

	client_send(idle, "GET /open HTTP/1.1\r\nHost: h\r\n\r\n");
	expect_status(client_read(idle), 200);
	client_send(stream, "GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
	sem_wait(&stub_entered);
	client_send(slow, "POST /slow HTTP/1.1\r\nHost: h\r\n\r\n");
	sem_wait(&stub_entered);

	pthread_create(&draining.thread, NULL, drain, &draining);
	cr_assert_eq(client_read_end(idle), 0);
	/* The stream ends in order, not in the middle. */
	cr_assert(client_read_until(stream, "\r\n0\r\n\r\n", NULL));
	stub_let_go(0);
	struct client_reply r = client_read(slow);
	cr_assert_eq(r.status, 204);
	expect_header(&r, "Connection", "close");
	client_reply_deinit(&r);
	pthread_join(draining.thread, NULL);
}

Test(http, draining_cancels_in_the_end)
{
	struct draining draining = {.patience_ns = 1};
	TP_FD int slow = client_unix(&server);

	client_send(slow, "POST /slow HTTP/1.1\r\nHost: h\r\nTorpor-Timeout: 600\r\n\r\n");
	sem_wait(&stub_entered);
	pthread_create(&draining.thread, NULL, drain, &draining);
	expect_status(client_read(slow), 409);
	pthread_join(draining.thread, NULL);
}

/* --- sockets --- */

Test(http, a_living_socket_is_not_replaced)
{
	int fd = -1;
	struct torpor_error *err = tp_listen_unix(server.socket, 0600, NULL, &fd);

	cr_assert(err && torpor_error_code(err) == TORPOR_E_BUSY);
	torpor_error_free(err);
	expect_status(ask("GET /open HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
}

Test(sockets, a_dead_one_is)
{
	char dir[] = "/tmp/torpord-test.XXXXXX";
	struct stat st;
	int fd;

	cr_assert(mkdtemp(dir));
	TP_FREE char *path = tp_asprintf("%s/below/sock", dir);
	cr_assert(!tp_listen_unix(path, 0620, NULL, &fd));
	cr_assert(stat(path, &st) == 0 && (st.st_mode & 07777) == 0620);
	tp_close(fd);
	int again;
	cr_assert(!tp_listen_unix(path, 0600, NULL, &again));
	/* Taken away by its owner, and not by one whose place another has taken. */
	int newer;
	TP_FREE char *moved = tp_asprintf("%s/moved", dir);
	cr_assert(rename(path, moved) == 0);
	cr_assert(!tp_listen_unix(path, 0600, NULL, &newer));
	tp_listen_remove(path, again);
	cr_assert(access(path, F_OK) == 0);
	tp_listen_remove(path, newer);
	cr_assert(access(path, F_OK) != 0);
	unlink(moved);
	tp_close(again);
	tp_close(newer);

	/* What is no socket isn't touched. */
	FILE *f = fopen(path, "w");
	fclose(f);
	struct torpor_error *err = tp_listen_unix(path, 0600, NULL, &fd);
	cr_assert(err && torpor_error_code(err) == TORPOR_E_EXISTS);
	torpor_error_free(err);
	err = tp_listen_unix(path, 0600, "no-such-group", &fd);
	torpor_error_free(err);
	unlink(path);
	err = tp_listen_unix(path, 0600, "no-such-group", &fd);
	cr_assert(err && torpor_error_code(err) == TORPOR_E_NOT_FOUND);
	torpor_error_free(err);
	cr_assert(access(path, F_OK) != 0);
	TP_FREE char *below = tp_asprintf("%s/below", dir);
	cr_assert(rmdir(below) == 0 && rmdir(dir) == 0); /* nothing is left behind */
}

/* --- TLS --- */

static size_t ignore(char *data, size_t size, size_t n, void *user)
{
	(void)data;
	(void)user;
	return size * n;
}

/* The status over TLS, with the certificate in DIR trusted; 0: no connection. */
static long ask_tls(const char *ca, long tls_version)
{
	CURL *curl = curl_easy_init();
	long status = 0;
	TP_FREE char *url = tp_asprintf("https://127.0.0.1:%d/show/a", server.port);
	struct curl_slist *headers = curl_slist_append(NULL, "Authorization: Bearer " STUB_TOKEN);

	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, tls_version);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
	if (curl_easy_perform(curl) == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return status;
}

Test(tls, serves_and_takes_another_certificate)
{
	test_server_start(&server, true, NULL);
	TP_FREE char *cert = tp_asprintf("%s/cert.pem", server.dir);
	TP_FREE char *key = tp_asprintf("%s/key.pem", server.dir);
	TP_FREE char *first = tp_asprintf("%s/first.pem", server.dir);

	cr_assert_eq(ask_tls(cert, CURL_SSLVERSION_TLSv1_2), 200);
	cr_assert_eq(ask_tls(cert, CURL_SSLVERSION_TLSv1_1 | CURL_SSLVERSION_MAX_TLSv1_1), 0);
	/* Nobody who speaks plainly is answered, nor disturbs the others. */
	TP_FD int plain = client_tcp(&server);
	client_send(plain, "GET /open HTTP/1.1\r\nHost: h\r\n\r\n");
	struct client_reply r = client_read(plain);
	cr_assert_eq(r.status, 0);
	client_reply_deinit(&r);

	cr_assert(rename(cert, first) == 0);
	test_make_cert(server.dir, "second");
	struct tp_tls *newer = NULL;
	struct torpor_error *err = tp_tls_new(first, key, &newer);
	cr_assert(err, "a key that isn't the certificate's was taken");
	torpor_error_free(err);
	cr_assert_eq(ask_tls(first, CURL_SSLVERSION_TLSv1_2), 200);
	err = tp_tls_new(cert, key, &newer);
	cr_assert(!err, "%s", torpor_error_message(err));
	tp_tls_take(server.tls, newer);
	tp_tls_free(newer);
	cr_assert_eq(ask_tls(first, CURL_SSLVERSION_TLSv1_2), 0);
	cr_assert_eq(ask_tls(cert, CURL_SSLVERSION_TLSv1_3), 200);
	test_server_stop(&server);
}
