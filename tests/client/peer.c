/* SPDX-License-Identifier: Apache-2.0 */
/* A scripted torpord. */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

__attribute__((format(printf, 2, 3))) static void fail(struct peer *peer, const char *fmt, ...)
{
	va_list ap;

	if (peer->failure)
		return;
	va_start(ap, fmt);
	TP_FREE char *why = tp_vasprintf(fmt, ap);
	va_end(ap);
	peer->failure = tp_asprintf("script line %d: %s", peer->line_number, why);
}

/* --- requests --- */

/* The header NAME's value in the request, up to its end of line; NULL if it hasn't that. */
static const char *header(struct peer *peer, const char *name, size_t *len)
{
	const char *head = (const char *)peer->head.data;
	size_t name_len = strlen(name);

	for (const char *at = strstr(head, "\r\n"); at && at[2]; at = strstr(at + 2, "\r\n")) {
		if (strncasecmp(at + 2, name, name_len) != 0 || at[2 + name_len] != ':')
			continue;
		const char *value = at + 2 + name_len + 1;
		while (*value == ' ')
			value++;
		*len = strcspn(value, "\r");
		return value;
	}
	return NULL;
}

/* recv(2), also where this process is stopped: a socket with a timeout has it fail then. */
static ssize_t receive_some(int fd, void *to, size_t len)
{
	ssize_t n;

	do {
		n = recv(fd, to, len, 0);
	} while (n < 0 && errno == EINTR);
	return n;
}

static bool receive(int fd, struct tp_buf *buf, size_t len)
{
	ssize_t n = receive_some(fd, tp_buf_extend(buf, len), len);

	buf->len -= len - (size_t)(n > 0 ? n : 0);
	return n > 0;
}

/* Reads a request from the connection INDEX; false if the other end closed it. */
static bool read_request(struct peer *peer, int index)
{
	size_t len;

	peer->head.len = peer->body.len = 0;
	do {
		if (!receive(peer->links[index], &peer->head, 1))
			return false;
	} while (peer->head.len < 4 ||
		 memcmp(peer->head.data + peer->head.len - 4, "\r\n\r\n", 4) != 0);
	tp_buf_put_u8(&peer->head, '\0');
	const char *value = header(peer, "Content-Length", &len);
	size_t wanted = value ? strtoul(value, NULL, 10) : 0;
	while (peer->body.len < wanted) {
		if (!receive(peer->links[index], &peer->body, wanted - peer->body.len))
			return false;
	}
	tp_buf_put_u8(&peer->body, '\0');
	memcpy(peer->last_key, peer->key, sizeof(peer->key));
	value = header(peer, "Idempotency-Key", &len);
	snprintf(peer->key, sizeof(peer->key), "%.*s", value ? (int)len : 0, value ? value : "");
	return true;
}

static void drop(struct peer *peer, int index)
{
	if (index >= 0 && peer->links[index] >= 0)
		peer->links[index] = tp_close(peer->links[index]);
}

static int accept_one(struct peer *peer)
{
	struct timeval patience = {.tv_sec = 30};
	int fd = accept4(peer->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	for (int i = 0; fd >= 0 && i < PEER_LINKS; i++) {
		if (peer->links[i] >= 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		peer->links[i] = fd;
		return i;
	}
	tp_close(fd);
	return -1;
}

/* The next request, on whichever connection; false if there will be none. */
static bool next_request(struct peer *peer)
{
	bool fresh[PEER_LINKS] = {false};

	for (;;) {
		struct pollfd fds[PEER_LINKS + 2];
		for (int i = 0; i < PEER_LINKS; i++)
			fds[i] = (struct pollfd){.fd = peer->links[i], .events = POLLIN};
		fds[PEER_LINKS] = (struct pollfd){.fd = peer->listen_fd, .events = POLLIN};
		fds[PEER_LINKS + 1] = (struct pollfd){.fd = peer->stop_fd, .events = POLLIN};
		if (poll(fds, PEER_LINKS + 2, -1) < 0 && errno == EINTR)
			continue;
		bool busy = false;
		for (int i = 0; i < PEER_LINKS; i++) {
			if (!fds[i].revents)
				continue;
			busy = true;
			if (read_request(peer, i)) {
				peer->last_link = peer->link;
				peer->link = i;
				peer->link_is_new = fresh[i];
				return true;
			}
			drop(peer, i);
		}
		if (fds[PEER_LINKS].revents) {
			int made = accept_one(peer);
			if (made >= 0)
				fresh[made] = true;
		} else if (!busy && fds[PEER_LINKS + 1].revents) {
			return false;
		}
	}
}

/* --- answers --- */

static void send_bytes(struct peer *peer, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0 && peer->link >= 0 && peer->links[peer->link] >= 0) {
		ssize_t n = send(peer->links[peer->link], at, len, MSG_NOSIGNAL);
		if (n <= 0) {
			drop(peer, peer->link);
			return;
		}
		at += n;
		len -= (size_t)n;
	}
}

static void send_text(struct peer *peer, const char *text)
{
	send_bytes(peer, text, strlen(text));
}

static void flush_answer(struct peer *peer)
{
	if (!peer->answering)
		return;
	TP_FREE char *length = tp_asprintf("Content-Length: %zu\r\n\r\n", peer->answer_body.len);
	send_bytes(peer, peer->answer_head.data, peer->answer_head.len);
	send_text(peer, length);
	send_bytes(peer, peer->answer_body.data, peer->answer_body.len);
	peer->answer_head.len = peer->answer_body.len = 0;
	peer->answering = false;
}

static void begin_answer(struct peer *peer, const char *status, const char *type)
{
	TP_FREE char *line = tp_asprintf("HTTP/1.1 %.3s X\r\n", status);

	tp_buf_put(&peer->answer_head, line, strlen(line));
	if (strcmp(type, "-") != 0) {
		TP_FREE char *head = tp_asprintf("Content-Type: %s\r\n", type);
		tp_buf_put(&peer->answer_head, head, strlen(head));
	}
	peer->answering = true;
}

static void begin_stream(struct peer *peer)
{
	send_text(peer, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
			"Transfer-Encoding: chunked\r\n\r\n");
}

static char *unescape(const char *text)
{
	char *plain = tp_strdup(text);
	char *to = plain;

	for (const char *at = text; *at; at++) {
		if (*at != '\\' || !at[1])
			*to++ = *at;
		else
			*to++ = *++at == 'n' ? '\n' : *at == 'r' ? '\r' : *at;
	}
	*to = '\0';
	return plain;
}

static void send_chunk(struct peer *peer, const char *text)
{
	TP_FREE char *plain = unescape(text);
	TP_FREE char *size = tp_asprintf("%zx\r\n", strlen(plain));

	send_text(peer, size);
	send_text(peer, plain);
	send_text(peer, "\r\n");
}

static void flood(struct peer *peer, const char *text)
{
	TP_FREE char *plain = unescape(text);
	TP_BUF struct tp_buf much = {0};

	while (much.len < 65536)
		tp_buf_put(&much, plain, strlen(plain));
	while (peer->links[peer->link] >= 0)
		send_bytes(peer, much.data, much.len);
}

/* Waits until the other end closes. */
static void stay_mute(struct peer *peer)
{
	char byte;

	/* Sending may have met the end before. */
	if (peer->links[peer->link] < 0)
		return;
	ssize_t n = receive_some(peer->links[peer->link], &byte, 1);
	if (n > 0 || (n < 0 && errno != ECONNRESET))
		fail(peer, "the other end didn't close the connection");
	drop(peer, peer->link);
}

/* --- routes: answers that are given whenever they are asked for --- */

/* Line AT of the script as a string of its own; *AT moves on. */
static char *take_line(const char **at)
{
	const char *start = *at + strspn(*at, " \t");
	size_t len = strcspn(start, "\n");

	*at = start + len + (start[len] == '\n');
	return tp_strndup(start, len);
}

/* Whether the request is METHOD PATH. */
static bool request_is(struct peer *peer, const char *method_path)
{
	size_t len = strlen(method_path);

	return strncmp((const char *)peer->head.data, method_path, len) == 0 &&
	       strncmp((const char *)peer->head.data + len, " HTTP/1.1\r\n", 11) == 0;
}

static bool try_route(struct peer *peer, char *line)
{
	bool events = strncmp(line, "route-events ", 13) == 0;
	char *path = strchr(line, ' ') + 1;
	char *end = events ? strchr(path, ' ') : strchr(strchr(path, ' ') + 1, ' ');

	*end = '\0';
	TP_FREE char *wanted = events ? tp_asprintf("GET %s", path) : tp_strdup(path);
	if (!request_is(peer, wanted))
		return false;
	if (events) {
		begin_stream(peer);
		send_chunk(peer, end + 1);
		return true;
	}
	begin_answer(peer, "200", "application/json");
	tp_buf_put(&peer->answer_body, end + 1, strlen(end + 1));
	flush_answer(peer);
	return true;
}

static bool is_routed(struct peer *peer)
{
	const char *at = peer->script;

	while (peer->routes && *at) {
		TP_FREE char *line = take_line(&at);
		if (strncmp(line, "route", 5) == 0 && try_route(peer, line))
			return true;
	}
	return false;
}

/* --- the script --- */

/* The next request that no route has; false if there will be none. */
static bool await_request(struct peer *peer)
{
	if (peer->is_next) {
		peer->is_next = false;
		return true;
	}
	do {
		if (!next_request(peer))
			return false;
	} while (is_routed(peer));
	return true;
}

static void expect_request(struct peer *peer, const char *wanted)
{
	if (!await_request(peer))
		fail(peer, "%s never came", wanted);
	else if (!request_is(peer, wanted))
		fail(peer, "wanted %s, got %.*s", wanted,
			(int)strcspn((const char *)peer->head.data, "\r"),
			(const char *)peer->head.data);
}

static void allow_request(struct peer *peer, const char *allowed)
{
	bool came = await_request(peer);

	peer->left_out = !came || !request_is(peer, allowed);
	peer->is_next = came && peer->left_out;
}

static void expect_header(struct peer *peer, const char *wanted)
{
	const char *colon = strstr(wanted, ": ");
	TP_FREE char *name = tp_strndup(wanted, colon ? (size_t)(colon - wanted) : strlen(wanted));
	size_t len = 0;
	const char *found = header(peer, name, &len);

	if (!found || (colon && (strlen(colon + 2) != len || memcmp(colon + 2, found, len) != 0)))
		fail(peer, "wanted header %s, got %.*s", wanted, (int)len, found ? found : "");
}

static void expect_no_header(struct peer *peer, const char *name)
{
	size_t len = 0;

	if (header(peer, name, &len))
		fail(peer, "there is a header %s", name);
}

static void expect_body(struct peer *peer, const char *wanted)
{
	if (strcmp((const char *)peer->body.data, wanted) != 0)
		fail(peer, "wanted body %s, got %s", wanted, (const char *)peer->body.data);
}

static void expect_that(struct peer *peer, bool holds, const char *what)
{
	if (!holds)
		fail(peer, "not so: %s", what);
}

static void answer(struct peer *peer, char *line)
{
	char *space = strchr(line, ' ');

	begin_answer(peer, line, space ? space + 1 : "-");
}

static void signal_test(struct peer *peer)
{
	if (write(peer->signal_fd[1], "x", 1) != 1)
		fail(peer, "can't signal");
}

/* Opens a FIFO that somebody waits on, and closes it. */
static void open_fifo(struct peer *peer, const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		fail(peer, "can't open %s", path);
	tp_close(fd);
}

/* Carries LINE out. What follows an answer's parts sends it first. */
static void step(struct peer *peer, char *line)
{
	size_t word = strcspn(line, " ");
	char *rest = line + word + (line[word] == ' ');

	line[word] = '\0';
	if (peer->left_out && strcmp(line, ">") != 0)
		return;
	peer->left_out = false;
	if (strcmp(line, "<h") == 0) {
		TP_FREE char *head = tp_asprintf("%s\r\n", rest);
		tp_buf_put(&peer->answer_head, head, strlen(head));
		return;
	}
	if (strcmp(line, "<b") == 0) {
		tp_buf_put(&peer->answer_body, rest, strlen(rest));
		return;
	}
	flush_answer(peer);
	if (!*line || *line == '#' || strncmp(line, "route", 5) == 0)
		return;
	if (strcmp(line, ">") == 0)
		expect_request(peer, rest);
	else if (strcmp(line, ">?") == 0)
		allow_request(peer, rest);
	else if (strcmp(line, ">h") == 0)
		expect_header(peer, rest);
	else if (strcmp(line, ">!h") == 0)
		expect_no_header(peer, rest);
	else if (strcmp(line, ">b") == 0)
		expect_body(peer, rest);
	else if (strcmp(line, ">key") == 0)
		expect_that(
			peer, *peer->key && strcmp(peer->key, peer->last_key) == 0, "the same key");
	else if (strcmp(line, ">same") == 0)
		expect_that(peer, peer->link == peer->last_link && !peer->link_is_new,
			"the same connection");
	else if (strcmp(line, ">new") == 0)
		expect_that(peer, peer->link_is_new, "a new connection");
	else if (strcmp(line, "<") == 0)
		answer(peer, rest);
	else if (strcmp(line, "<stream") == 0)
		begin_stream(peer);
	else if (strcmp(line, "<chunk") == 0)
		send_chunk(peer, rest);
	else if (strcmp(line, "<last") == 0)
		send_text(peer, "0\r\n\r\n");
	else if (strcmp(line, "<raw") == 0) {
		TP_FREE char *plain = unescape(rest);
		send_text(peer, plain);
	} else if (strcmp(line, "<flood") == 0)
		flood(peer, rest);
	else if (strcmp(line, "<close") == 0)
		drop(peer, peer->link);
	else if (strcmp(line, "<mute") == 0)
		stay_mute(peer);
	else if (strcmp(line, "<signal") == 0)
		signal_test(peer);
	else if (strcmp(line, "<open") == 0)
		open_fifo(peer, rest);
	else
		fail(peer, "there is no step %s", line);
}

static void play(struct peer *peer)
{
	peer->routes = strstr(peer->script, "route") != NULL;
	for (peer->at = peer->script; *peer->at && !peer->failure;) {
		TP_FREE char *line = take_line(&peer->at);
		peer->line_number++;
		step(peer, line);
	}
	flush_answer(peer);
	while (!peer->failure && peer->routes && next_request(peer)) {
		if (!is_routed(peer))
			fail(peer, "nobody expected %.*s",
				(int)strcspn((const char *)peer->head.data, "\r"),
				(const char *)peer->head.data);
	}
	/* Whatever else comes isn't in the script. */
	if (!peer->failure && !peer->routes && next_request(peer))
		fail(peer, "one request too many: %.*s",
			(int)strcspn((const char *)peer->head.data, "\r"),
			(const char *)peer->head.data);
	for (int i = 0; i < PEER_LINKS; i++)
		drop(peer, i);
	/* Whoever still calls is to fail, not to wait, in the backlog neither. */
	peer->listen_fd = tp_close(peer->listen_fd);
}

static void *play_thread(void *data)
{
	play(data);
	return NULL;
}

void peer_listen(struct peer *peer, const char *script)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	*peer = (struct peer){.script = script, .link = -1, .last_link = -1};
	for (int i = 0; i < PEER_LINKS; i++)
		peer->links[i] = -1;
	snprintf(peer->dir, sizeof(peer->dir), "/tmp/torpor-peer.XXXXXX");
	if (!mkdtemp(peer->dir) || pipe(peer->signal_fd) != 0)
		abort();
	snprintf(peer->path, sizeof(peer->path), "%s/sock", peer->dir);
	memcpy(address.sun_path, peer->path, sizeof(peer->path));
	peer->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(peer->listen_fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
		listen(peer->listen_fd, 16) != 0)
		abort();
}

void peer_start(struct peer *peer, const char *script)
{
	peer_listen(peer, script);
	peer->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (pthread_create(&peer->thread, NULL, play_thread, peer) != 0)
		abort();
}

static char *take_down(struct peer *peer)
{
	tp_close(peer->listen_fd);
	tp_close(peer->stop_fd);
	tp_close(peer->signal_fd[0]);
	tp_close(peer->signal_fd[1]);
	unlink(peer->path);
	rmdir(peer->dir);
	tp_buf_deinit(&peer->head);
	tp_buf_deinit(&peer->body);
	tp_buf_deinit(&peer->answer_head);
	tp_buf_deinit(&peer->answer_body);
	return peer->failure;
}

char *peer_end(struct peer *peer)
{
	uint64_t one = 1;

	if (peer->thread) {
		if (write(peer->stop_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
			abort();
		pthread_join(peer->thread, NULL);
	}
	return take_down(peer);
}

void peer_play(struct peer *peer, int stop_fd)
{
	peer->stop_fd = stop_fd;
	play(peer);
}

void peer_wait_signal(struct peer *peer)
{
	char byte;

	if (read(peer->signal_fd[0], &byte, 1) != 1)
		abort();
}
