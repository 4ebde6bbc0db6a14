/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as text: UTF-8 in pieces. */
#include "support.h"

#include "daemon/utf8.h"

#define FFFD "\xef\xbf\xbd"

/* TEXT, cut into pieces of STEP bytes. */
static void gives(const char *text, size_t len, size_t step, const char *expected)
{
	TP_BUF struct tp_buf out = {0};
	struct utf8 utf8 = {0};

	for (size_t at = 0; at < len; at += step)
		utf8_put(&utf8, text + at, TP_MIN(step, len - at), &out);
	utf8_end(&utf8, &out);
	tp_buf_put_u8(&out, 0);
	cr_assert_str_eq((char *)out.data, expected, "in pieces of %zu", step);
}

Test(utf8, pieces_make_no_difference)
{
	static const struct {
		const char *bytes, *text;
	} cases[] = {
		{"plain", "plain"},
		{"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80.", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80."},
		{"a\xff"
		 "b",
			"a" FFFD "b"},
		{"\xc3", FFFD},
		{"\xe2\x82", FFFD},
		{"\xf0\x9f\x98", FFFD},
		{"\xf0\x9f\x98"
		 "a",
			FFFD "a"},
		{"\xe2\x82\xe2\x82\xac", FFFD "\xe2\x82\xac"},
		{"\xc0\x80", FFFD FFFD},		   /* overlong */
		{"\xe0\x80\x80", FFFD FFFD FFFD},	   /* overlong */
		{"\xf0\x80\x80\x80", FFFD FFFD FFFD FFFD}, /* overlong */
		{"\xed\xa0\x80", FFFD FFFD FFFD},	   /* a surrogate */
		{"\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD}, /* above U+10FFFF */
		{"\x80\x80", FFFD FFFD},
		/* The example of Unicode 15, table 3-11. */
		{"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", FFFD FFFD FFFD FFFD "A"},
		{"\xf4\x8f\xbf\xbf\xed\x9f\xbf", "\xf4\x8f\xbf\xbf\xed\x9f\xbf"},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++)
		for (size_t step = 1; step <= 5; step++)
			gives(cases[i].bytes, strlen(cases[i].bytes), step, cases[i].text);
	gives("a\0b", 3, 1, "a" FFFD "b");
	gives("a\0b", 3, 3, "a" FFFD "b");
}

/* Whatever comes, what comes out is UTF-8 to jansson too. */
Test(utf8, output_is_json)
{
	uint32_t state = 1;

	for (int round = 0; round < 20000; round++) {
		TP_BUF struct tp_buf out = {0};
		struct utf8 utf8 = {0};
		uint8_t bytes[12];

		for (size_t i = 0; i < sizeof(bytes); i++) {
			state = state * 1664525 + 1013904223;
			bytes[i] = (uint8_t)(state >> 24) | (uint8_t)(state >> 16 & 0x80);
		}
		utf8_put(&utf8, bytes, 5, &out);
		utf8_put(&utf8, bytes + 5, sizeof(bytes) - 5, &out);
		utf8_end(&utf8, &out);
		json_t *text = json_stringn((char *)out.data, out.len);
		cr_assert_not_null(text);
		json_decref(text);
	}
}

Test(utf8, clip)
{
	char out[6];

	utf8_clip("abcde", out, sizeof(out));
	cr_assert_str_eq(out, "abcde");
	utf8_clip("abcdef", out, sizeof(out));
	cr_assert_str_eq(out, "abcde");
	utf8_clip("abcd\xc3\xa4", out, sizeof(out));
	cr_assert_str_eq(out, "abcd");
	utf8_clip("a\xff\n\xc3\xa4", out, sizeof(out));
	cr_assert_str_eq(out, "a??\xc3\xa4");
	utf8_clip("", out, sizeof(out));
	cr_assert_str_eq(out, "");
}
