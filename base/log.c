/* SPDX-License-Identifier: Apache-2.0 */
/* The process's log sink. */
#include "base/log.h"

#include <stdarg.h>

#include "base/mem.h"

static tp_log_fn *log_fn;
static void *log_data;

void tp_log_set(tp_log_fn *fn, void *data)
{
	log_fn = fn;
	log_data = data;
}

void tp_log(enum tp_log_level level, const char *fmt, ...)
{
	va_list ap;

	if (!log_fn)
		return;
	va_start(ap, fmt);
	TP_FREE char *line = tp_vasprintf(fmt, ap);
	va_end(ap);
	log_fn(log_data, level, line);
}
