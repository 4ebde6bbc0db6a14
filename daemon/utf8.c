/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that come in pieces, as UTF-8 that JSON can carry. */
#include "daemon/utf8.h"

#include <string.h>

#define REPLACEMENT	"\xef\xbf\xbd" /* U+FFFD */
#define REPLACEMENT_LEN 3

/* The length of the sequence that FIRST begins, and what the byte behind it may be; 0: none. */
static size_t sequence(uint8_t first, uint8_t *low_out, uint8_t *high_out)
{
	*low_out = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
	*high_out = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
	if (first >= 0x01 && first <= 0x7f)
		return 1;
	if (first >= 0xc2 && first <= 0xdf)
		return 2;
	if (first >= 0xe0 && first <= 0xef)
		return 3;
	if (first >= 0xf0 && first <= 0xf4)
		return 4;
	return 0;
}

/*
 * Looks at the LEN bytes (1 or more) at DATA: how many of them are a character (*WHOLE_OUT), or can
 * only be replaced, or, if they are all and *WHOLE_OUT is false and *PART_OUT is true, may become
 * one.
 */
static size_t look(const uint8_t *data, size_t len, bool *whole_out, bool *part_out)
{
	uint8_t low, high;
	size_t want = sequence(data[0], &low, &high);
	size_t have = 1;

	*whole_out = *part_out = false;
	if (want == 0)
		return 1;
	for (; have < want && have < len; have++) {
		if (data[have] < low || data[have] > high)
			return have;
		low = 0x80;
		high = 0xbf;
	}
	*whole_out = have == want;
	*part_out = have < want;
	return have;
}

/* The tail and as many bytes of DATA as end it; how many those were. */
static size_t put_tail(struct utf8 *utf8, const uint8_t *data, size_t len, struct tp_buf *out)
{
	uint8_t bytes[4];
	size_t used = 0;

	memcpy(bytes, utf8->tail, utf8->tail_len);
	while (utf8->tail_len > 0 && used < len) {
		bool whole, part;

		bytes[utf8->tail_len] = data[used];
		if (look(bytes, utf8->tail_len + 1, &whole, &part) <= utf8->tail_len) {
			/* This byte isn't part of it: it is looked at again, on its own. */
			utf8_end(utf8, out);
			break;
		}
		used++;
		if (whole) {
			tp_buf_put(out, bytes, utf8->tail_len + 1);
			utf8->tail_len = 0;
		} else {
			utf8->tail[utf8->tail_len] = bytes[utf8->tail_len];
			utf8->tail_len++;
		}
	}
	return used;
}

void utf8_put(struct utf8 *utf8, const void *data, size_t len, struct tp_buf *out)
{
	const uint8_t *bytes = data;
	size_t at = put_tail(utf8, bytes, len, out);

	while (at < len) {
		bool whole, part;
		size_t n = look(bytes + at, len - at, &whole, &part);

		if (whole) {
			tp_buf_put(out, bytes + at, n);
		} else if (part) {
			memcpy(utf8->tail, bytes + at, n);
			utf8->tail_len = n;
		} else {
			tp_buf_put(out, REPLACEMENT, REPLACEMENT_LEN);
		}
		at += n;
	}
}

void utf8_end(struct utf8 *utf8, struct tp_buf *out)
{
	if (utf8->tail_len > 0)
		tp_buf_put(out, REPLACEMENT, REPLACEMENT_LEN);
	utf8->tail_len = 0;
}

void utf8_clip(const char *text, char *out, size_t size)
{
	size_t len = strlen(text);
	size_t used = 0;

	for (size_t at = 0; at < len;) {
		bool whole, part;
		size_t n = look((const uint8_t *)text + at, len - at, &whole, &part);

		if (!whole || (n == 1 && ((uint8_t)text[at] < ' ' || text[at] == 0x7f))) {
			if (used + 1 >= size)
				break;
			out[used++] = '?';
		} else {
			if (used + n >= size)
				break;
			memcpy(out + used, text + at, n);
			used += n;
		}
		at += n;
	}
	out[used] = '\0';
}
