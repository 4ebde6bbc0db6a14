/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: accepting, bounding and ending them. */
#include "daemon/http_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

/* libmicrohttpd's memory for a connection. A header that fits in here, but is too long, is refused
 * as a problem; for a longer one libmicrohttpd has a 431 of its own. */
#define POOL_SIZE	   (64 * TP_KIB)
#define STACK_SIZE	   (1 * TP_MIB)
#define UNLIMITED	   (1u << 30) /* connections: the limit is ours, below */
#define FULL_PAUSE_NS	   TP_NSEC_PER_SEC
#define CANCEL_PATIENCE_NS (5 * TP_NSEC_PER_SEC)

/* --- deadlines --- */

void http_conn_until(struct http_conn *conn, uint64_t timeout_ns, bool idle)
{
	struct http *http = conn->http;

	pthread_mutex_lock(&http->lock);
	conn->deadline_ns =
		timeout_ns == TP_NO_DEADLINE ? TP_NO_DEADLINE : tp_now_ns() + timeout_ns;
	conn->idle = idle;
	if (idle && http->draining)
		shutdown(conn->fd, SHUT_RDWR);
	pthread_mutex_unlock(&http->lock);
}

struct tp_http_config http_bounds(struct http *http)
{
	pthread_mutex_lock(&http->lock);
	struct tp_http_config bounds = http->bounds;
	pthread_mutex_unlock(&http->lock);
	return bounds;
}

/*
 * Ends what is overdue; returns when to look again. Deadlines that are set meanwhile lie at least
 * request_timeout ahead, so looking that often misses none.
 */
static uint64_t end_overdue(struct http *http)
{
	uint64_t now = tp_now_ns();

	pthread_mutex_lock(&http->lock);
	uint64_t next = now + http->bounds.request_timeout_ns;
	for (struct http_conn *conn = http->conns; conn; conn = conn->next) {
		if (conn->deadline_ns <= now || (http->draining && conn->idle)) {
			/* Its thread sees the end and closes it. */
			shutdown(conn->fd, SHUT_RDWR);
			conn->deadline_ns = TP_NO_DEADLINE;
		}
		next = TP_MIN(next, conn->deadline_ns);
	}
	pthread_mutex_unlock(&http->lock);
	return next;
}

/* --- accepting --- */

static bool is_loopback(const struct sockaddr_storage *address)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;

	if (address->ss_family == AF_INET)
		return ntohl(four->sin_addr.s_addr) >> 24 == 127;
	if (address->ss_family != AF_INET6)
		return false;
	if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
		return six->sin6_addr.s6_addr[12] == 127;
	return IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
}

static void unlink_conn(struct http *http, struct http_conn *gone)
{
	struct http_conn **at = &http->conns;

	while (*at && *at != gone)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = gone->next;
	http->n_conns--;
	free(gone);
	pthread_cond_broadcast(&http->changed);
}

/* One with FD; NULL: none. Under the lock. */
static struct http_conn *conn_of_fd(struct http *http, int fd)
{
	struct http_conn *conn = http->conns;

	while (conn && conn->fd != fd)
		conn = conn->next;
	return conn;
}

/* False: there are too many already. */
static bool enlist(struct http *http, int fd, const struct sockaddr_storage *address, bool tls)
{
	struct http_conn *conn = tp_calloc(1, sizeof(*conn));

	conn->http = http;
	conn->fd = fd;
	conn->is_unix = address->ss_family == AF_UNIX;
	conn->local = conn->is_unix || is_loopback(address);
	conn->tls = tls;
	conn->idle = true;
	pthread_mutex_lock(&http->lock);
	/* What libmicrohttpd had no memory to begin with, it has closed without a word. */
	struct http_conn *stale = conn_of_fd(http, fd);
	if (stale)
		unlink_conn(http, stale);
	bool room = http->n_conns < http->bounds.max_connections;
	if (room) {
		conn->deadline_ns = tp_now_ns() + http->bounds.request_timeout_ns;
		conn->next = http->conns;
		http->conns = conn;
		http->n_conns++;
	}
	pthread_mutex_unlock(&http->lock);
	if (!room)
		free(conn);
	return room;
}

/* As well as it can be done without a thread: one write, and what the client sent is thrown away.
 */
static void refuse_connection(struct http *http, int fd, bool tls)
{
	static const char body[] =
		"{\"type\":\"urn:torpor:problem:limit\",\"title\":\"A limit was reached\","
		"\"status\":503,\"detail\":\"accept: there are too many connections\","
		"\"reason\":\"connections\",\"retry_after_s\":1}";
	char text[512];
	char scrap[4096];

	tp_service_count_refusal(http->options.service, "connections");
	tp_log(TP_LOG_DEBUG, "a connection was refused: there are too many");
	int len = snprintf(text, sizeof(text),
		"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
		"Content-Length: %zu\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s",
		strlen(body), body);
	if (!tls && send(fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) == len) {
		shutdown(fd, SHUT_WR);
		while (recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT) > 0)
			;
	}
	tp_close(fd);
}

/* Takes what waits on listener I. False: there are no descriptors left for it. */
static bool accept_waiting(struct http *http, size_t i)
{
	bool tls = http->options.listeners[i].tls;

	for (;;) {
		struct sockaddr_storage address = {0};
		socklen_t len = sizeof(address);
		int fd = accept4(http->options.listeners[i].fd, (struct sockaddr *)&address, &len,
			SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			return errno != EMFILE && errno != ENFILE && errno != ENOMEM &&
			       errno != ENOBUFS;
		if (!enlist(http, fd, &address, tls)) {
			refuse_connection(http, fd, tls);
			continue;
		}
		if (MHD_add_connection(tls ? http->secure : http->plain, fd,
			    (struct sockaddr *)&address, len) == MHD_YES)
			continue;
		/* It is closed; the number can't be in use again, as only we accept. */
		pthread_mutex_lock(&http->lock);
		struct http_conn *conn = conn_of_fd(http, fd);
		if (conn)
			unlink_conn(http, conn);
		pthread_mutex_unlock(&http->lock);
	}
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
	enum MHD_ConnectionNotificationCode what)
{
	struct http *http = cls;

	pthread_mutex_lock(&http->lock);
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		int fd =
			MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		*socket_context = conn_of_fd(http, fd);
		assert(*socket_context);
	} else {
		unlink_conn(http, *socket_context);
	}
	pthread_mutex_unlock(&http->lock);
}

static int poll_timeout(uint64_t until_ns)
{
	uint64_t now = tp_now_ns();

	if (until_ns <= now)
		return 0;
	return (int)TP_MIN(TP_DIV_UP(until_ns - now, TP_NSEC_PER_MSEC), (uint64_t)INT32_MAX);
}

/* Accepts connections and watches their deadlines. */
static void *watch(void *data)
{
	struct http *http = data;
	size_t n = http->options.n_listeners;
	bool full = false;

	for (;;) {
		struct pollfd fds[HTTP_LISTENERS_MAX + 1];
		uint64_t next = end_overdue(http);
		pthread_mutex_lock(&http->lock);
		bool stopping = http->stopping;
		bool listening = !http->draining && !full;
		pthread_mutex_unlock(&http->lock);
		if (stopping)
			return NULL;
		/* With no descriptor left, listening would only spin: wait for some to be closed.
		 */
		if (full)
			next = TP_MIN(next, tp_now_ns() + FULL_PAUSE_NS);
		full = false;
		fds[0] = (struct pollfd){.fd = http->wake_fd, .events = POLLIN};
		for (size_t i = 0; i < n; i++)
			fds[1 + i] = (struct pollfd){
				.fd = listening ? http->options.listeners[i].fd : -1,
				.events = POLLIN,
			};
		if (poll(fds, n + 1, poll_timeout(next)) <= 0)
			continue;
		eventfd_t count;
		if (fds[0].revents)
			eventfd_read(http->wake_fd, &count);
		for (size_t i = 0; i < n; i++) {
			if (fds[1 + i].revents && !accept_waiting(http, i))
				full = true;
		}
	}
}

/* --- who is at the other end --- */

struct torpor_error *http_watch_gone(int fd, int other_fd, int *gone_fd_out)
{
	struct epoll_event closed = {.events = EPOLLRDHUP | EPOLLHUP | EPOLLERR};
	struct epoll_event readable = {.events = EPOLLIN};

	TP_FD int gone_fd = epoll_create1(EPOLL_CLOEXEC);
	if (gone_fd < 0 || epoll_ctl(gone_fd, EPOLL_CTL_ADD, fd, &closed) != 0 ||
		(other_fd >= 0 && epoll_ctl(gone_fd, EPOLL_CTL_ADD, other_fd, &readable) != 0))
		return tp_error_errno(errno, "watch", "a connection");
	*gone_fd_out = TP_TAKE_FD(gone_fd);
	return NULL;
}

/* --- start and end --- */

static void log_of_mhd(void *data, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));
static void log_of_mhd(void *data, const char *fmt, va_list ap)
{
	(void)data;
	TP_FREE char *line = tp_vasprintf(fmt, ap);
	/* Said of every reply on a UNIX socket, which has no such options, and needs none. */
	if (strstr(line, "TCP_") || strstr(line, "push the data"))
		return;
	tp_log(TP_LOG_DEBUG, "libmicrohttpd: %s", line);
}

/* gnutls_certificate_retrieve_function2 has no argument of ours: there is one server. */
static struct tp_tls *serving_tls;

static int on_handshake(gnutls_session_t session, const gnutls_datum_t *req_ca_dn, int nreqs,
	const gnutls_pk_algorithm_t *pk_algos, int pk_algos_length, gnutls_pcert_st **pcert,
	unsigned int *pcert_length, gnutls_privkey_t *pkey)
{
	(void)session;
	(void)req_ca_dn;
	(void)nreqs;
	(void)pk_algos;
	(void)pk_algos_length;
	tp_tls_current(serving_tls, pcert, pcert_length, pkey);
	return 0;
}

static struct torpor_error *start_mhd(struct http *http, bool tls, struct MHD_Daemon **mhd_out)
{
	unsigned int flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
			     MHD_USE_POLL | MHD_USE_ITC | MHD_USE_NO_LISTEN_SOCKET |
			     MHD_USE_ERROR_LOG | (tls ? MHD_USE_TLS : 0);
	struct MHD_OptionItem secure[] = {
		{MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(intptr_t)on_handshake},
		{MHD_OPTION_HTTPS_PRIORITIES, 0,
			(void *)(intptr_t) "NORMAL:-VERS-TLS1.0:-VERS-TLS1.1"},
		{MHD_OPTION_END, 0, NULL},
	};
	struct MHD_OptionItem plain[] = {{MHD_OPTION_END, 0, NULL}};

	serving_tls = http->options.tls;
	struct MHD_Daemon *mhd = MHD_start_daemon(flags, 0, NULL, NULL, http_on_request, http,
		MHD_OPTION_EXTERNAL_LOGGER, log_of_mhd, NULL,	/* first: it hears of the others */
		MHD_OPTION_URI_LOG_CALLBACK, http_on_uri, http, /**/
		MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, http,  /**/
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,     /**/
		MHD_OPTION_CONNECTION_LIMIT, UNLIMITED,		       /**/
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_SIZE, /**/
		MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_SIZE,      /**/
		MHD_OPTION_STRICT_FOR_CLIENT, 1,		       /**/
		MHD_OPTION_ARRAY, tls ? secure : plain, MHD_OPTION_END);
	if (!mhd)
		return tp_error(TORPOR_E_INTERNAL, "start", "libmicrohttpd",
			"it doesn't say why; --log-level=debug may");
	*mhd_out = mhd;
	return NULL;
}

static struct torpor_error *start(struct http *http)
{
	http->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	http->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (http->wake_fd < 0 || http->cancel_fd < 0)
		return tp_error_errno(errno, "make an eventfd for", "the HTTP server");
	TP_TRY(start_mhd(http, false, &http->plain));
	if (http->options.tls)
		TP_TRY(start_mhd(http, true, &http->secure));
	int errnum = pthread_create(&http->watcher, NULL, watch, http);
	if (errnum) {
		http->stopping = true; /* there is none to be joined */
		return tp_error_errno(errnum, "start a thread of", "the HTTP server");
	}
	return NULL;
}

static struct http *release(struct http *http)
{
	if (http->plain)
		MHD_stop_daemon(http->plain);
	if (http->secure)
		MHD_stop_daemon(http->secure);
	for (size_t i = 0; i < http->options.n_listeners; i++)
		tp_close(http->options.listeners[i].fd);
	while (http->conns)
		unlink_conn(http, http->conns);
	tp_close(http->wake_fd);
	tp_close(http->cancel_fd);
	pthread_mutex_destroy(&http->lock);
	pthread_cond_destroy(&http->changed);
	free(http);
	return NULL;
}

struct torpor_error *http_start(const struct http_options *options, struct http **http_out)
{
	struct http *http = tp_calloc(1, sizeof(*http));
	pthread_condattr_t monotonic;

	http->options = *options;
	http->bounds = options->bounds;
	http->wake_fd = http->cancel_fd = -1;
	pthread_mutex_init(&http->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&http->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	struct torpor_error *err = start(http);
	if (err) {
		release(http);
		return err;
	}
	*http_out = http;
	return NULL;
}

void http_configure(struct http *http, const struct tp_http_config *bounds)
{
	pthread_mutex_lock(&http->lock);
	http->bounds = *bounds;
	pthread_mutex_unlock(&http->lock);
	eventfd_write(http->wake_fd, 1);
}

/* Waits until there are no connections, at most TIMEOUT_NS. Under the lock. */
static void wait_for_end(struct http *http, uint64_t timeout_ns)
{
	uint64_t until = tp_now_ns() + timeout_ns;
	struct timespec at = {
		.tv_sec = (time_t)(until / TP_NSEC_PER_SEC),
		.tv_nsec = (long)(until % TP_NSEC_PER_SEC),
	};

	while (http->conns && pthread_cond_timedwait(&http->changed, &http->lock, &at) == 0)
		;
}

void http_drain(struct http *http, uint64_t patience_ns)
{
	pthread_mutex_lock(&http->lock);
	http->draining = true;
	http_streams_end(http);
	eventfd_write(http->wake_fd, 1);
	wait_for_end(http, patience_ns);
	if (http->conns) {
		tp_log(TP_LOG_WARNING, "%u requests are cancelled: they took too long",
			http->n_conns);
		eventfd_write(http->cancel_fd, 1);
		wait_for_end(http, CANCEL_PATIENCE_NS);
	}
	pthread_mutex_unlock(&http->lock);
}

struct http *http_stop(struct http *http)
{
	if (!http)
		return NULL;
	pthread_mutex_lock(&http->lock);
	http->draining = http->stopping = true;
	http_streams_end(http);
	pthread_mutex_unlock(&http->lock);
	eventfd_write(http->cancel_fd, 1);
	eventfd_write(http->wake_fd, 1);
	pthread_join(http->watcher, NULL);
	return release(http);
}
