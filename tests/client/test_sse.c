/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of server-sent events. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/mem.h"
#include "client/sse.h"

/* Events as "type|id|data;" each. */
static bool note(void *data, const struct tp_sse_event *event)
{
	TP_FREE char *line = tp_asprintf("%s|%s|", event->type, event->id);

	tp_buf_put(data, line, strlen(line));
	tp_buf_put(data, event->data, event->len);
	tp_buf_put_u8(data, ';');
	cr_assert_eq(event->data[event->len], '\0');
	return strcmp(event->type, "stop") != 0;
}

/* What TEXT gives, fed in pieces of at most PIECE bytes. */
static char *read_in(const char *text, size_t len, size_t piece)
{
	TP_BUF struct tp_buf noted = {0};
	struct tp_sse sse;

	tp_sse_init(&sse, note, &noted);
	for (size_t at = 0; at < len; at += piece) {
		/* Of its own, so that reading past a piece's end is seen. */
		size_t n = TP_MIN(piece, len - at);
		TP_FREE char *part = tp_memdup(text + at, n);
		cr_assert_null(tp_sse_feed(&sse, part, n));
	}
	tp_sse_deinit(&sse);
	tp_buf_put_u8(&noted, '\0');
	return (char *)TP_TAKE(noted.data);
}

static void check(const char *text, const char *wanted)
{
	size_t len = strlen(text);

	for (size_t piece = 1; piece <= len; piece++) {
		TP_FREE char *got = read_in(text, len, piece);
		cr_assert_str_eq(got, wanted, "in pieces of %zu: %s", piece, got);
	}
	/* And cut once, at each place. */
	for (size_t cut = 0; cut <= len; cut++) {
		TP_BUF struct tp_buf noted = {0};
		struct tp_sse sse;
		tp_sse_init(&sse, note, &noted);
		cr_assert_null(tp_sse_feed(&sse, text, cut));
		cr_assert_null(tp_sse_feed(&sse, text + cut, len - cut));
		tp_sse_deinit(&sse);
		tp_buf_put_u8(&noted, '\0');
		cr_assert_str_eq((char *)noted.data, wanted, "cut at %zu", cut);
	}
}

Test(sse, an_event)
{
	check("id: 7\nevent: session\ndata: {\"a\":1}\n\n", "session|7|{\"a\":1};");
}

Test(sse, line_ends)
{
	check("event:a\r\ndata:1\r\n\r\nevent:b\rdata:2\r\revent:c\ndata:3\n\n", "a||1;b||2;c||3;");
	check("data:1\r\n\r\n\r\n\r\ndata:2\r\n\r\n", "message||1;message||2;");
}

Test(sse, several_lines_of_data)
{
	check("data: one\ndata:two\ndata\ndata:  four\n\n", "message||one\ntwo\n\n four;");
}

Test(sse, comments_and_unknown_fields)
{
	check(": hello\n\n:\nretry: 5\nwhat: x\ndata: 1\n: between\ndata: 2\n\n", "message||1\n2;");
}

Test(sse, the_id_stays)
{
	check("id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
		"message|1|a;message|1|b;message||c;");
}

Test(sse, named_without_data)
{
	check("event: reset\nid: 3\n\ndata: x\n\n", "reset|3|;message|3|x;");
}

Test(sse, nothing_for_what_is_cut_off)
{
	check("data: a\n\ndata: b\n", "message||a;");
	check("data: a\n\ndata: b", "message||a;");
}

Test(sse, byte_order_mark)
{
	check("\xef\xbb\xbf"
	      "data: a\n\n\xef\xbb\xbf"
	      "data: b\n\n",
		"message||a;");
}

Test(sse, stops_when_told)
{
	check("event: stop\ndata: 1\n\ndata: 2\n\n", "stop||1;");
}

Test(sse, words_with_nul_or_too_long_are_ignored)
{
	static const char text[] = "id: a\0b\ndata: 1\n\n";
	TP_FREE char *got = read_in(text, sizeof(text) - 1, 3);

	cr_assert_str_eq(got, "message||1;");
	check("id: 1234567890123456789012345678901234567890123456789012345678901234\ndata: 1\n\n",
		"message||1;");
}

static bool count(void *data, const struct tp_sse_event *event)
{
	*(size_t *)data += event->len;
	return true;
}

static void expect_too_long(struct torpor_error *err, const char *what)
{
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_CORRUPT);
	cr_assert_not_null(strstr(torpor_error_message(err), what));
	torpor_error_free(err);
}

Test(sse, a_huge_line_is_refused)
{
	TP_FREE char *much = tp_malloc(TP_SSE_MAX);
	struct torpor_error *err = NULL;
	struct tp_sse sse;
	size_t got = 0;

	memset(much, 'x', TP_SSE_MAX);
	memcpy(much, "data:", 5);
	tp_sse_init(&sse, count, &got);
	cr_assert_null(tp_sse_feed(&sse, much, TP_SSE_MAX));
	cr_assert_null(tp_sse_feed(&sse, "\n\n", 2));
	cr_assert_eq(got, TP_SSE_MAX - 5);
	err = tp_sse_feed(&sse, much, TP_SSE_MAX / 2);
	cr_assert_null(err);
	expect_too_long(tp_sse_feed(&sse, much, TP_SSE_MAX), "a line is longer");
	cr_assert_leq(sse.line.room, 2 * TP_SSE_MAX);
	tp_sse_deinit(&sse);
}

Test(sse, a_huge_event_is_refused)
{
	TP_FREE char *line = tp_malloc(65536);
	struct torpor_error *err = NULL;
	struct tp_sse sse;
	size_t got = 0;

	memset(line, 'x', 65536);
	memcpy(line, "data:", 5);
	line[65535] = '\n';
	tp_sse_init(&sse, count, &got);
	for (size_t fed = 0; fed < 2 * TP_SSE_MAX && !err; fed += 65536)
		err = tp_sse_feed(&sse, line, 65536);
	expect_too_long(err, "an event is longer");
	tp_sse_deinit(&sse);
}
