/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events. */
#include "client/sse.h"

#include <string.h>

void tp_sse_init(struct tp_sse *sse, tp_sse_fn *fn, void *data)
{
	*sse = (struct tp_sse){.fn = fn, .fn_data = data};
}

void tp_sse_deinit(struct tp_sse *sse)
{
	tp_buf_deinit(&sse->line);
	tp_buf_deinit(&sse->data);
}

static struct torpor_error *too_long(const char *what)
{
	return tp_error(TORPOR_E_CORRUPT, "read", "events", "%s is longer than %ju bytes", what,
		(uintmax_t)TP_SSE_MAX);
}

/* An event is complete: give it, and begin the next. */
static void dispatch(struct tp_sse *sse)
{
	if (!sse->has_data && !sse->type[0])
		return;
	/* The newline behind the last line is no part of the data. */
	size_t len = sse->data.len ? sse->data.len - 1 : 0;
	sse->data.len = len;
	tp_buf_put_u8(&sse->data, '\0');
	struct tp_sse_event event = {
		.type = sse->type[0] ? sse->type : "message",
		.id = sse->id,
		.data = (const char *)sse->data.data,
		.len = len,
	};
	sse->ended = !sse->fn(sse->fn_data, &event);
	sse->data.len = 0;
	sse->has_data = false;
	sse->type[0] = '\0';
}

/* A name or an id; one that is too long, or that has a NUL, is as if it weren't there. */
static void take_word(char word[64], const char *value, size_t len)
{
	if (len >= 64 || memchr(value, '\0', len))
		return;
	memcpy(word, value, len);
	word[len] = '\0';
}

static struct torpor_error *take_field(
	struct tp_sse *sse, const char *name, size_t name_len, const char *value, size_t len)
{
	if (name_len == 5 && memcmp(name, "event", 5) == 0) {
		take_word(sse->type, value, len);
	} else if (name_len == 2 && memcmp(name, "id", 2) == 0) {
		take_word(sse->id, value, len);
	} else if (name_len == 4 && memcmp(name, "data", 4) == 0) {
		if (sse->data.len + len + 1 > TP_SSE_MAX)
			return too_long("an event");
		tp_buf_put(&sse->data, value, len);
		tp_buf_put_u8(&sse->data, '\n');
		sse->has_data = true;
	}
	return NULL;
}

static struct torpor_error *take_line(struct tp_sse *sse)
{
	const char *line = (const char *)sse->line.data;
	size_t len = sse->line.len;

	if (!sse->started && len >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
		line += 3;
		len -= 3;
	}
	sse->started = true;
	sse->line.len = 0;
	if (len == 0) {
		dispatch(sse);
		return NULL;
	}
	const char *colon = memchr(line, ':', len);
	if (colon == line)
		return NULL; /* a comment */
	if (!colon)
		return take_field(sse, line, len, "", 0);
	const char *value = colon + 1;
	const char *end = line + len;
	if (value < end && *value == ' ')
		value++;
	return take_field(sse, line, (size_t)(colon - line), value, (size_t)(end - value));
}

/* Where the line that starts at AT ends: at a CR or a LF, or at END. */
static const char *find_end(const char *at, const char *end)
{
	while (at < end && *at != '\r' && *at != '\n')
		at++;
	return at;
}

struct torpor_error *tp_sse_feed(struct tp_sse *sse, const void *bytes, size_t len)
{
	const char *at = bytes;
	const char *end = at + len;

	while (at < end && !sse->ended) {
		if (sse->after_cr && *at == '\n')
			at++;
		sse->after_cr = false;
		const char *stop = find_end(at, end);
		if (sse->line.len + (size_t)(stop - at) > TP_SSE_MAX)
			return too_long("a line");
		tp_buf_put(&sse->line, at, (size_t)(stop - at));
		if (stop == end)
			return NULL;
		sse->after_cr = *stop == '\r';
		at = stop + 1;
		TP_TRY(take_line(sse));
	}
	return NULL;
}
