/* SPDX-License-Identifier: Apache-2.0 */
/* Base64. */
#include "base/base64.h"

#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Up to three bytes as four digits. */
static void put_group(struct tp_buf *buf, const uint8_t *data, size_t len)
{
	uint32_t bits = (uint32_t)data[0] << 16 | (len > 1 ? (uint32_t)data[1] << 8 : 0) |
			(len > 2 ? data[2] : 0);
	char *to = tp_buf_extend(buf, 4);

	for (unsigned int i = 0; i < 4; i++)
		to[i] = i <= len ? digits[bits >> (18 - 6 * i) & 63] : '=';
}

void tp_base64_put(struct tp_buf *buf, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t at = 0; at < len; at += 3)
		put_group(buf, bytes + at, TP_MIN(len - at, 3));
}

/* Four digits, of which the last PADS are '='. */
static bool get_group(struct tp_buf *buf, const char *text, size_t pads)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < 4; i++) {
		const char *digit = i < 4 - pads ? memchr(digits, text[i], 64) : digits;

		if (!digit)
			return false;
		bits = bits << 6 | (uint32_t)(digit - digits);
	}
	/* Bits of the last digit that no byte has must be zero. */
	if (bits & ((1u << (8 * pads)) - 1))
		return false;
	for (unsigned int i = 0; i < 3 - pads; i++)
		tp_buf_put_u8(buf, (uint8_t)(bits >> (16 - 8 * i)));
	return true;
}

bool tp_base64_get(struct tp_buf *buf, const char *text, size_t len)
{
	size_t before = buf->len;

	if (len % 4 != 0)
		return false;
	for (size_t at = 0; at < len; at += 4) {
		size_t pads = 0;

		if (at + 4 == len)
			pads = text[at + 3] != '=' ? 0 : text[at + 2] != '=' ? 1 : 2;
		if (!get_group(buf, text + at, pads)) {
			buf->len = before;
			return false;
		}
	}
	return true;
}
