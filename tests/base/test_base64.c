/* SPDX-License-Identifier: Apache-2.0 */
/* Base64: the vectors of RFC 4648, all bytes, and what isn't base64. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/base64.h"

/* RFC 4648, section 10. */
Test(base64, vectors)
{
	static const char *const texts[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
	static const char *const codes[] = {
		"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};

	for (size_t i = 0; i < TP_ARRAY_LEN(texts); i++) {
		TP_BUF struct tp_buf out = {0};
		TP_BUF struct tp_buf back = {0};

		tp_base64_put(&out, texts[i], i);
		cr_assert_eq(out.len, strlen(codes[i]));
		cr_assert(out.len == 0 || memcmp(out.data, codes[i], out.len) == 0);
		cr_assert(tp_base64_get(&back, codes[i], strlen(codes[i])));
		cr_assert_eq(back.len, i);
		cr_assert(i == 0 || memcmp(back.data, texts[i], i) == 0);
	}
}

Test(base64, all_bytes_there_and_back)
{
	uint8_t bytes[256];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		TP_BUF struct tp_buf out = {0};
		TP_BUF struct tp_buf back = {0};

		tp_base64_put(&out, bytes, len);
		cr_assert(tp_base64_get(&back, (char *)out.data, out.len));
		cr_assert_eq(back.len, len);
		cr_assert(len == 0 || memcmp(back.data, bytes, len) == 0);
	}
}

Test(base64, only_what_is_canonical)
{
	static const char *const bad[] = {"Z", "Zg", "Zg=", "Zg===", "====", "Z===", "=g==", "Zh==",
		"Zm9=", "Zg==Zg==", "Zm9vZg=", "Zm9v\n", " Zm9", "Zm 9", "Zm9!", "Zm-_", "Zm=v",
		"Zg=v", "=m9v", "Zm9vZm9!"};
	TP_BUF struct tp_buf out = {0};

	tp_buf_put(&out, "before", 6);
	for (size_t i = 0; i < TP_ARRAY_LEN(bad); i++) {
		cr_assert_not(tp_base64_get(&out, bad[i], strlen(bad[i])), "%s", bad[i]);
		cr_assert_eq(out.len, 6, "%s left something", bad[i]);
	}
	cr_assert_not(tp_base64_get(&out, "Zm\0v", 4));
}
