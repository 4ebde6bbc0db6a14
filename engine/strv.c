/* SPDX-License-Identifier: Apache-2.0 */
/* String vectors. */
#include "engine/strv.h"

#include "base/mem.h"

void tp_strv_deinit(struct tp_strv *strv)
{
	for (size_t i = 0; i < strv->n; i++)
		free(strv->v[i]);
	free(strv->v);
	*strv = (struct tp_strv){0};
}

static void add_owned(struct tp_strv *strv, char *s)
{
	strv->v = tp_reallocarray(strv->v, strv->n + 2, sizeof(*strv->v));
	strv->v[strv->n++] = s;
	strv->v[strv->n] = NULL;
}

void tp_strv_add(struct tp_strv *strv, const char *s)
{
	add_owned(strv, tp_strdup(s));
}

void tp_strv_addf(struct tp_strv *strv, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	char *s = tp_vasprintf(fmt, ap);
	va_end(ap);
	add_owned(strv, s);
}

void tp_strv_add_all(struct tp_strv *strv, const char *const *v)
{
	for (; *v; v++)
		tp_strv_add(strv, *v);
}
