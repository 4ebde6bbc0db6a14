/* SPDX-License-Identifier: Apache-2.0 */
/* Base64: the vectors of RFC 4648, all bytes, and what isn't base64. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/mem.h"
#include "client/base64.h"

Test(base64, vectors)
{
	static const char *const pairs[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="},
		{"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"}};

	for (size_t i = 0; i < TP_ARRAY_LEN(pairs); i++) {
		TP_FREE char *text = tp_base64(pairs[i][0], strlen(pairs[i][0]));
		cr_assert_str_eq(text, pairs[i][1]);
	}
}

Test(base64, all_bytes_there_and_back)
{
	uint8_t bytes[256];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		TP_BUF struct tp_buf buf = {0};
		TP_FREE char *text = tp_base64(bytes, len);
		cr_assert(tp_unbase64(text, strlen(text), &buf));
		cr_assert_eq(buf.len, len);
		cr_assert(len == 0 || memcmp(buf.data, bytes, len) == 0);
	}
}

Test(base64, what_is_none)
{
	static const char *const wrong[] = {"Z", "Zg",
		"Zg=", "Zg==Zg==", "=g==", "Z===", "====", "Zm9v\n", "Zm9!", "Zm 9", "Zg=v"};
	TP_BUF struct tp_buf buf = {0};

	tp_buf_put(&buf, "before", 6);
	for (size_t i = 0; i < TP_ARRAY_LEN(wrong); i++) {
		cr_assert_not(tp_unbase64(wrong[i], strlen(wrong[i]), &buf), "%s", wrong[i]);
		cr_assert_eq(buf.len, 6, "%s left something", wrong[i]);
	}
}
