/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines: for what nobody is waiting for. What a caller waits for comes back as an error. */
#ifndef TP_BASE_LOG_H
#define TP_BASE_LOG_H

#include "base/macros.h"

enum tp_log_level {
	TP_LOG_DEBUG,
	TP_LOG_INFO,
	TP_LOG_WARNING,
};

/* Called from any thread, one call at a time is not promised. LINE has no newline. */
typedef void tp_log_fn(void *data, enum tp_log_level level, const char *line);

/* Where lines go; NULL: nowhere (the start value). To be set before threads are started. */
void tp_log_set(tp_log_fn *fn, void *data);

void tp_log(enum tp_log_level level, const char *fmt, ...) TP_PRINTF(2, 3);

#endif
