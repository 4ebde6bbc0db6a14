/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes, scope-bound clean-up and explicit hand-over. */
#ifndef TP_BASE_MACROS_H
#define TP_BASE_MACROS_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define TP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define TP_MUST_USE	     __attribute__((warn_unused_result))
#define TP_NOT_NULL	     __attribute__((returns_nonnull))

#define TP_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define TP_MIN(a, b)	((a) < (b) ? (a) : (b))
#define TP_MAX(a, b)	((a) > (b) ? (a) : (b))

#define TP_ROUND_UP(n, to) (((n) + (to)-1) / (to) * (to))
#define TP_DIV_UP(n, by)   (((n) + (by)-1) / (by))

#define TP_NSEC_PER_SEC	 UINT64_C(1000000000)
#define TP_NSEC_PER_MSEC UINT64_C(1000000)
#define TP_NSEC_PER_USEC UINT64_C(1000)

#define TP_KIB UINT64_C(1024)
#define TP_MIB (1024 * TP_KIB)
#define TP_GIB (1024 * TP_MIB)

/* The unit in which guest memory is compared and stored, everywhere. */
#define TP_PAGE_SIZE UINT64_C(4096)

/*
 * Scope-bound clean-up. TP_DEFINE_CLEANUP(T, f) makes f usable in TP_CLEANUP(f) on a variable of
 * type T; f must take NULL. What is to leave the scope alive leaves it through TP_TAKE.
 * (NOLINT: a type can't be in parentheses there.)
 */
#define TP_DEFINE_CLEANUP(type, fn)                                                                \
	static inline void fn##_cleanup_(type *p) /* NOLINT(bugprone-macro-parentheses) */         \
	{                                                                                          \
		fn(*p);                                                                            \
	}
#define TP_CLEANUP(fn) __attribute__((cleanup(fn##_cleanup_)))

/* Hands ownership of a pointer over: evaluates to it and leaves NULL behind. */
#define TP_TAKE(ptr)                                                                               \
	({                                                                                         \
		__typeof__(ptr) *tp_from_ = &(ptr);                                                \
		__typeof__(ptr) tp_val_ = *tp_from_;                                               \
		*tp_from_ = NULL;                                                                  \
		tp_val_;                                                                           \
	})

#endif
