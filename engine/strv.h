/* SPDX-License-Identifier: Apache-2.0 */
/* A growing, NULL-terminated vector of strings, as exec takes it. */
#ifndef TP_ENGINE_STRV_H
#define TP_ENGINE_STRV_H

#include "base/macros.h"

struct tp_strv {
	char **v; /* owned, and so is each string; NULL while empty, else v[n] is NULL */
	size_t n;
};

void tp_strv_deinit(struct tp_strv *strv);
static inline void tp_strv_deinit_cleanup_(struct tp_strv *strv)
{
	tp_strv_deinit(strv);
}
#define TP_STRV __attribute__((cleanup(tp_strv_deinit_cleanup_)))

/* Appends a copy of S. */
void tp_strv_add(struct tp_strv *strv, const char *s);
void tp_strv_addf(struct tp_strv *strv, const char *fmt, ...) TP_PRINTF(2, 3);

/* Appends copies of all strings of the NULL-terminated V, in order. */
void tp_strv_add_all(struct tp_strv *strv, const char *const *v);

#endif
