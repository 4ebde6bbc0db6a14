/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation that aborts. */
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static void *check(void *ptr)
{
	if (!ptr) {
		fputs("torpor: out of memory\n", stderr);
		abort();
	}
	return ptr;
}

void *tp_malloc(size_t size)
{
	return check(malloc(size ? size : 1));
}

void *tp_calloc(size_t n, size_t size)
{
	return check(calloc(n ? n : 1, size ? size : 1));
}

void *tp_reallocarray(void *ptr, size_t n, size_t size)
{
	return check(reallocarray(ptr, n ? n : 1, size ? size : 1));
}

char *tp_strdup(const char *s)
{
	return s ? check(strdup(s)) : NULL;
}

char *tp_strndup(const char *s, size_t n)
{
	return check(strndup(s, n));
}

void *tp_memdup(const void *data, size_t size)
{
	return memcpy(tp_malloc(size), data, size);
}

char *tp_vasprintf(const char *fmt, va_list ap)
{
	char *s = NULL;

	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	return check(s);
}

char *tp_asprintf(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	char *s = tp_vasprintf(fmt, ap);
	va_end(ap);
	return s;
}
