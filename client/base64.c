/* SPDX-License-Identifier: Apache-2.0 */
/* Base64. */
#include "client/base64.h"

#include <string.h>

#include "base/mem.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *tp_base64(const void *data, size_t len)
{
	const uint8_t *at = data;
	char *text = tp_malloc(TP_DIV_UP(len, 3) * 4 + 1);
	char *to = text;

	for (size_t left = len; left > 0;) {
		size_t n = TP_MIN(left, (size_t)3);
		uint32_t bits = (uint32_t)at[0] << 16;
		bits |= n > 1 ? (uint32_t)at[1] << 8 : 0;
		bits |= n > 2 ? at[2] : 0;
		*to++ = digits[bits >> 18];
		*to++ = digits[bits >> 12 & 63];
		*to++ = '=';
		*to++ = '=';
		if (n > 1)
			to[-2] = digits[bits >> 6 & 63];
		if (n > 2)
			to[-1] = digits[bits & 63];
		at += n;
		left -= n;
	}
	*to = '\0';
	return text;
}

/* The value of a digit, or -1. */
static int value_of(char c)
{
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

bool tp_unbase64(const char *text, size_t len, struct tp_buf *buf)
{
	size_t before = buf->len;

	if (len % 4 != 0)
		return false;
	for (size_t i = 0; i < len; i += 4) {
		bool last = i + 4 == len;
		unsigned int pad = !last || text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
		uint32_t bits = 0;
		for (unsigned int k = 0; k < 4; k++) {
			int value = k >= 4 - pad ? 0 : value_of(text[i + k]);
			if (value < 0) {
				buf->len = before;
				return false;
			}
			bits = bits << 6 | (uint32_t)value;
		}
		for (unsigned int k = 0; k < 3 - pad; k++)
			tp_buf_put_u8(buf, (uint8_t)(bits >> (16 - 8 * k)));
	}
	return true;
}
