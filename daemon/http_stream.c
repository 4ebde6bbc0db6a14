/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-sent events (WHATWG HTML, 9.2). The producer's thread puts text into a queue; the
 * connection's thread takes it out, and waits for more together with the socket, so that it sees a
 * client that goes away in quiet times.
 */
#include "daemon/http_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

#define QUEUE_MAX    TP_MIB /* bytes that wait for a slow reader */
#define BLOCK_SIZE   (16 * TP_KIB)
#define HEARTBEAT_MS 15000

static const char heartbeat[] = ":\n\n";

struct http_stream {
	/* Constant. */
	struct http *http;
	struct http_conn *conn;
	char tenant[65];
	http_producer *produce;
	void *data;
	void (*free_data)(void *data);
	pthread_t producer;
	int ended_fd; /* eventfd: http_stream_abandon, or the daemon drains */
	int gone_fd;  /* epoll: that, or the client has closed its end */
	int data_fd;  /* eventfd: the queue has something, or has ended */

	/* By the server's lock. */
	struct http_stream *next;

	pthread_mutex_t lock;
	pthread_cond_t room; /* in the queue; or it is over */

	/* By the lock. */
	struct tp_buf queue;
	size_t taken; /* of it */
	bool over;    /* nobody reads any more, or is to */
	bool done;    /* the producer has returned */
};

/* --- the producer's side --- */

/* Event types are ours; a line end in one would end the field. */
static void put_event(struct tp_buf *buf, uint64_t id, const char *type, const json_t *data)
{
	TP_FREE char *text = json_dumps(data, HTTP_JSON);
	TP_FREE char *head = id ? tp_asprintf("id: %" PRIu64 "\nevent: %s\ndata: ", id, type)
				: tp_asprintf("event: %s\ndata: ", type);

	tp_buf_put(buf, head, strlen(head));
	tp_buf_put(buf, text ? text : "null", strlen(text ? text : "null"));
	tp_buf_put(buf, "\n\n", 2);
}

bool http_stream_send(struct http_stream *stream, uint64_t id, const char *type, json_t *data)
{
	TP_BUF struct tp_buf event = {0};

	put_event(&event, id, type, data);
	json_decref(data);
	pthread_mutex_lock(&stream->lock);
	/* One that is larger than the queue goes alone. */
	while (!stream->over && stream->queue.len > stream->taken &&
		stream->queue.len - stream->taken + event.len > QUEUE_MAX)
		pthread_cond_wait(&stream->room, &stream->lock);
	bool over = stream->over;
	if (!over) {
		tp_buf_put(&stream->queue, event.data, event.len);
		eventfd_write(stream->data_fd, 1);
	}
	pthread_mutex_unlock(&stream->lock);
	return !over;
}

int http_stream_gone_fd(const struct http_stream *stream)
{
	return stream->gone_fd;
}

static void *produce(void *data)
{
	struct http_stream *stream = data;

	stream->produce(stream->data, stream);
	pthread_mutex_lock(&stream->lock);
	stream->done = true;
	eventfd_write(stream->data_fd, 1);
	pthread_mutex_unlock(&stream->lock);
	return NULL;
}

/* --- the connection's side --- */

/* Up to MAX bytes of the queue; 0: it is empty. Under the lock. */
static size_t take(struct http_stream *stream, char *buf, size_t max)
{
	size_t n = TP_MIN(stream->queue.len - stream->taken, max);

	if (n == 0)
		return 0;
	memcpy(buf, stream->queue.data + stream->taken, n);
	stream->taken += n;
	if (stream->taken == stream->queue.len) {
		/* A burst's memory isn't kept for the quiet time behind it. */
		tp_buf_deinit(&stream->queue);
		stream->queue = (struct tp_buf){0};
		stream->taken = 0;
	}
	pthread_cond_broadcast(&stream->room);
	return n;
}

/* What libmicrohttpd is to be told now: bytes, or the end. False: nothing yet. */
static bool next_bytes(struct http_stream *stream, char *buf, size_t max, ssize_t *n_out)
{
	eventfd_t count;

	pthread_mutex_lock(&stream->lock);
	eventfd_read(stream->data_fd, &count);
	ssize_t n = (ssize_t)take(stream, buf, max);
	bool end = n == 0 && (stream->done || stream->over);
	pthread_mutex_unlock(&stream->lock);
	*n_out = end ? MHD_CONTENT_READER_END_OF_STREAM : n;
	return end || n > 0;
}

/* libmicrohttpd wants more: what it got before is on its way. */
static ssize_t read_stream(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct http_stream *stream = cls;
	struct http_conn *conn = stream->conn;
	ssize_t n;

	(void)pos;
	http_conn_until(conn, TP_NO_DEADLINE, false);
	while (!next_bytes(stream, buf, max, &n)) {
		struct pollfd fds[] = {
			{.fd = stream->data_fd, .events = POLLIN},
			{.fd = stream->gone_fd, .events = POLLIN},
		};
		int ready = poll(fds, 2, HEARTBEAT_MS);
		if (ready < 0 && errno != EINTR)
			return MHD_CONTENT_READER_END_WITH_ERROR;
		if (ready == 0) {
			n = (ssize_t)strlen(heartbeat);
			memcpy(buf, heartbeat, (size_t)n);
			break;
		}
		if (ready > 0 && !fds[0].revents && fds[1].revents)
			http_stream_abandon(stream);
	}
	/* The reader has this long to take it. */
	http_conn_until(conn, http_bounds(stream->http).request_timeout_ns, false);
	return n;
}

struct MHD_Response *http_stream_response(struct http_stream *stream)
{
	return MHD_create_response_from_callback(
		MHD_SIZE_UNKNOWN, BLOCK_SIZE, read_stream, stream, NULL);
}

/* --- both --- */

void http_stream_abandon(struct http_stream *stream)
{
	pthread_mutex_lock(&stream->lock);
	stream->over = true;
	pthread_cond_broadcast(&stream->room);
	eventfd_write(stream->ended_fd, 1);
	pthread_mutex_unlock(&stream->lock);
}

void http_streams_end(struct http *http)
{
	for (struct http_stream *stream = http->streams; stream; stream = stream->next)
		http_stream_abandon(stream);
}

/* False: its tenant has enough, or the daemon drains. */
static bool enlist(struct http_stream *stream)
{
	struct http *http = stream->http;
	unsigned int n = 0;

	pthread_mutex_lock(&http->lock);
	for (struct http_stream *other = http->streams; other; other = other->next)
		n += strcmp(other->tenant, stream->tenant) == 0;
	bool room = n < http->bounds.streams_per_tenant;
	if (room) {
		stream->next = http->streams;
		http->streams = stream;
	}
	if (http->draining)
		http_stream_abandon(stream);
	pthread_mutex_unlock(&http->lock);
	return room;
}

static void delist(struct http_stream *stream)
{
	struct http *http = stream->http;

	pthread_mutex_lock(&http->lock);
	struct http_stream **at = &http->streams;
	while (*at && *at != stream)
		at = &(*at)->next;
	if (*at)
		*at = stream->next;
	pthread_mutex_unlock(&http->lock);
}

static struct http_stream *stream_new(struct http_exchange *ex, struct http_reply *reply)
{
	struct http_stream *stream = tp_calloc(1, sizeof(*stream));

	stream->http = ex->http;
	stream->conn = ex->conn;
	strcpy(stream->tenant, ex->req.actor.tenant);
	stream->produce = reply->produce;
	stream->data = TP_TAKE(reply->data);
	stream->free_data = reply->free_data;
	reply->produce = NULL;
	stream->gone_fd = -1;
	stream->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	stream->data_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&stream->lock, NULL);
	pthread_cond_init(&stream->room, NULL);
	/* Something to send at once: the client sees the header, and knows that it is heard. */
	tp_buf_put(&stream->queue, heartbeat, strlen(heartbeat));
	return stream;
}

static struct http_stream *stream_release(struct http_stream *stream)
{
	if (stream->free_data)
		stream->free_data(stream->data);
	tp_buf_deinit(&stream->queue);
	tp_close(stream->gone_fd);
	tp_close(stream->ended_fd);
	tp_close(stream->data_fd);
	pthread_mutex_destroy(&stream->lock);
	pthread_cond_destroy(&stream->room);
	free(stream);
	return NULL;
}

static struct torpor_error *start(struct http_stream *stream)
{
	if (stream->ended_fd < 0 || stream->data_fd < 0)
		return tp_error_errno(errno, "make an eventfd for", "a stream");
	TP_TRY(http_watch_gone(stream->conn->fd, stream->ended_fd, &stream->gone_fd));
	if (!enlist(stream))
		return tp_error_refusal(
			tp_error(TORPOR_E_LIMIT, "open a stream", NULL,
				"tenant %s has as many as it may have", stream->tenant),
			"connections", 5);
	int errnum = pthread_create(&stream->producer, NULL, produce, stream);
	if (errnum) {
		delist(stream);
		return tp_error_recode(
			tp_error_errno(errnum, "start a thread for", "a stream"), TORPOR_E_NOMEM);
	}
	return NULL;
}

struct torpor_error *http_stream_start(struct http_exchange *ex, struct http_reply *reply)
{
	struct http_stream *stream = stream_new(ex, reply);
	struct torpor_error *err = start(stream);

	if (err) {
		stream_release(stream);
		return err;
	}
	ex->stream = stream;
	return NULL;
}

struct http_stream *http_stream_free(struct http_stream *stream)
{
	if (!stream)
		return NULL;
	http_stream_abandon(stream);
	pthread_join(stream->producer, NULL);
	delist(stream);
	return stream_release(stream);
}
