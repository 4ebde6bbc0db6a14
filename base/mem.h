/* SPDX-License-Identifier: Apache-2.0 */
/* Small allocations, which abort rather than fail (include/torpor/error.h says why that is safe).
 */
#ifndef TP_BASE_MEM_H
#define TP_BASE_MEM_H

#include <stdarg.h>
#include <stdlib.h>

#include "base/macros.h"

void *tp_malloc(size_t size) TP_MUST_USE;
void *tp_calloc(size_t n, size_t size) TP_MUST_USE;
/* Room for N elements of SIZE bytes, the old content kept; the product must not overflow. */
void *tp_reallocarray(void *ptr, size_t n, size_t size) TP_MUST_USE;
char *tp_strdup(const char *s) TP_MUST_USE; /* NULL stays NULL */
char *tp_strndup(const char *s, size_t n) TP_MUST_USE;
void *tp_memdup(const void *data, size_t size) TP_MUST_USE;
char *tp_asprintf(const char *fmt, ...) TP_PRINTF(1, 2) TP_MUST_USE;
char *tp_vasprintf(const char *fmt, va_list ap) TP_PRINTF(1, 0) TP_MUST_USE;

static inline void tp_free_cleanup_(void *p)
{
	free(*(void **)p);
}
#define TP_FREE __attribute__((cleanup(tp_free_cleanup_)))

#endif
