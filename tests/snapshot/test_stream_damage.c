/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that are cut anywhere, have any wrong byte, or can't be read: each ends in some way. */
#include <criterion/criterion.h>

#include <string.h>

#include "base/mem.h"
#include "decoded.h"
#include "stream_by_hand.h"

static const char *const sections[] = {
	"header:", "configuration:", "first section:", "ram:", "devices:"};

/* Nothing in whole()'s devices looks like an end, so that every cut can be told. */
Test(damage, cut_anywhere_is_told_with_the_section)
{
	TP_BUF struct tp_buf b = {0};

	whole(&b);
	for (size_t len = 0; len < b.len; len++) {
		/* On the heap, so that reading past the end is seen. */
		TP_FREE uint8_t *cut = tp_memdup(b.data, len);
		struct decoded d = {0};
		TP_ERROR struct torpor_error *err = decode(&d, cut, len, SIZE_MAX);
		cr_assert_not_null(err, "cut to %zu of %zu bytes", len, b.len);
		cr_assert_eq(torpor_error_code(err), TORPOR_E_CORRUPT);
		size_t i = 0;
		while (i < TP_ARRAY_LEN(sections) &&
			!strstr(torpor_error_message(err), sections[i]))
			i++;
		cr_assert_lt(i, TP_ARRAY_LEN(sections), "%s", torpor_error_message(err));
		decoded_deinit(&d);
	}
}

/* What fills whole()'s pages, of which a few bytes are as good as all. */
static bool is_page_content(uint8_t byte)
{
	return byte == 0xa0 || byte == 0xa3 || byte == 0xb0;
}

/* Any byte of a stream may be anything: that must end in some way, and is for the sanitizers. */
Test(damage, any_byte_can_be_wrong)
{
	TP_BUF struct tp_buf b = {0};

	whole(&b);
	for (size_t at = 0; at < b.len; at++) {
		if (is_page_content(b.data[at]) && at % 512 != 0)
			continue;
		for (unsigned int bit = 0; bit < 8; bit++) {
			struct decoded d = {0};
			b.data[at] ^= (uint8_t)(1u << bit);
			TP_ERROR struct torpor_error *err = decode(&d, b.data, b.len, SIZE_MAX);
			cr_assert(!err || torpor_error_message(err)[0] != '\0');
			b.data[at] ^= (uint8_t)(1u << bit);
			decoded_deinit(&d);
		}
	}
}

static struct torpor_error *read_nothing(void *data, void *buf, size_t len, size_t *got_out)
{
	(void)data, (void)buf, (void)len, (void)got_out;
	return tp_error(TORPOR_E_IO, "read", "the moon", "it has set");
}

Test(damage, of_the_source_is_handed_on)
{
	struct decoded d;
	TP_ERROR struct torpor_error *err =
		decode_source(&d, (struct tp_stream_source){.read = read_nothing});

	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_IO);
	decoded_deinit(&d);
}
