/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded line reader. */
#include "engine/lines.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define READ_SIZE 65536
#define ROOM_KEPT (4 * READ_SIZE)

struct tp_lines tp_lines_over(int fd, size_t max)
{
	return (struct tp_lines){.fd = fd, .max = max};
}

void tp_lines_deinit(struct tp_lines *lines)
{
	tp_buf_deinit(&lines->buf);
}

/* Makes room at the front; what was handed out is no longer valid. */
static void drop_consumed(struct tp_lines *l)
{
	if (l->start == 0)
		return;
	l->buf.len -= l->start;
	l->scanned -= l->start;
	memmove(l->buf.data, l->buf.data + l->start, l->buf.len);
	l->start = 0;
}

void tp_lines_give_back(struct tp_lines *l)
{
	struct tp_buf rest = {0};

	if (l->buf.room <= ROOM_KEPT || l->buf.len - l->start > READ_SIZE)
		return;
	drop_consumed(l);
	tp_buf_put(&rest, l->buf.data, l->buf.len);
	tp_buf_deinit(&l->buf);
	l->buf = rest;
}

enum got {
	GOT_BYTES,
	GOT_NOTHING, /* for now */
	GOT_END,
	GOT_ERROR, /* errno */
};

static enum got receive(struct tp_lines *l)
{
	ssize_t n;

	drop_consumed(l);
	size_t len = l->buf.len;
	void *at = tp_buf_extend(&l->buf, READ_SIZE);
	do {
		n = recv(l->fd, at, READ_SIZE, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	l->buf.len = len + (n > 0 ? (size_t)n : 0);
	if (n > 0)
		return GOT_BYTES;
	if (n == 0 || errno == ECONNRESET)
		return GOT_END;
	return errno == EAGAIN ? GOT_NOTHING : GOT_ERROR;
}

/* The newline that ends the first line, or NULL. */
static uint8_t *find_newline(struct tp_lines *l)
{
	if (!l->buf.data)
		return NULL;
	uint8_t *newline = memchr(l->buf.data + l->scanned, '\n', l->buf.len - l->scanned);
	l->scanned = newline ? (size_t)(newline - l->buf.data) : l->buf.len;
	return newline;
}

bool tp_lines_ready(struct tp_lines *l)
{
	while (!find_newline(l)) {
		if (l->eof || l->buf.len - l->start > l->max)
			return true;
		switch (receive(l)) {
		case GOT_BYTES:
			break;
		case GOT_NOTHING:
			return false;
		case GOT_END:
		case GOT_ERROR:
			l->eof = true;
			break;
		}
	}
	return true;
}

/* Receives something, or notes the end; waits if need be. */
static struct torpor_error *receive_more(
	struct tp_lines *l, const struct tp_call *call, const char *step, const char *object)
{
	for (;;) {
		/* Here, so that a peer that never stops sending can't keep a call from ending. */
		TP_TRY(tp_call_check(call, step, object));
		switch (receive(l)) {
		case GOT_BYTES:
			return NULL;
		case GOT_END:
			l->eof = true;
			return NULL;
		case GOT_ERROR:
			return tp_error_errno(errno, step, object);
		case GOT_NOTHING:
			TP_TRY(tp_wait_fd(l->fd, POLLIN, call, step, object));
			break;
		}
	}
}

static struct torpor_error *too_long(struct tp_lines *l, const char *step, const char *object)
{
	l->start = l->scanned = l->buf.len;
	return tp_error(TORPOR_E_LIMIT, step, object, "a line is longer than %zu bytes", l->max);
}

struct torpor_error *tp_lines_next(struct tp_lines *l, const struct tp_call *call, const char *step,
	const char *object, char **line_out, size_t *len_out)
{
	uint8_t *newline;

	while (!(newline = find_newline(l))) {
		if (l->buf.len - l->start > l->max)
			return too_long(l, step, object);
		if (l->eof) {
			*line_out = NULL;
			*len_out = 0;
			return NULL;
		}
		TP_TRY(receive_more(l, call, step, object));
	}
	size_t end = (size_t)(newline - l->buf.data);
	if (end - l->start > l->max) {
		struct torpor_error *err = too_long(l, step, object);
		l->start = l->scanned = end + 1;
		return err;
	}
	*newline = '\0';
	*line_out = (char *)l->buf.data + l->start;
	*len_out = end - l->start;
	l->start = l->scanned = end + 1;
	return NULL;
}
