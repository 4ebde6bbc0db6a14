/* SPDX-License-Identifier: Apache-2.0 */
/* Random names. */
#include "base/id.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";

#define BASE (sizeof(digits) - 1)
/* Bytes from here on would favour the first digits, and are thrown away. */
#define FAIR_END (256 / BASE * BASE)

/* Up to 256 bytes come at once, and no signal interrupts that (getrandom(2)). */
static void fill_random(uint8_t *bytes, size_t len)
{
	ssize_t n;

	do
		n = getrandom(bytes, len, 0);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)len)
		abort();
}

void tp_random_id(char *out, size_t len)
{
	uint8_t bytes[64];
	size_t written = 0;

	while (written < len) {
		fill_random(bytes, sizeof(bytes));
		for (size_t i = 0; i < sizeof(bytes) && written < len; i++)
			if (bytes[i] < FAIR_END)
				out[written++] = digits[bytes[i] % BASE];
	}
	out[len] = '\0';
}
