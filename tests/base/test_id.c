/* SPDX-License-Identifier: Apache-2.0 */
/* Random names: their characters are even, and they have the length that was asked for. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/id.h"

Test(ids, are_even_and_differ)
{
	unsigned int seen[256] = {0};
	char id[361];

	for (int i = 0; i < 1000; i++) {
		tp_random_id(id, 360);
		cr_assert_eq(strlen(id), 360);
		for (const char *c = id; *c; c++)
			seen[(unsigned char)*c]++;
	}
	for (unsigned int c = 0; c < 256; c++) {
		bool ours = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
		/* 10,000 are due, give or take 99; a bias of modulo alone is 12 %. */
		cr_expect(ours ? seen[c] > 9400 && seen[c] < 10600 : seen[c] == 0, "%c %u", c,
			seen[c]);
	}
	tp_random_id(id, 0);
	cr_expect_str_eq(id, "");
}
