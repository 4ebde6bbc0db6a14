/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A booting guest's console: a pipe that QEMU writes, and a thread that reads it.
 *
 * Lines are handed on as progress, the last ones are kept for error messages, and a line that means
 * "ready" is waited for. What the guest writes is not trusted: lines are bounded and unprintable
 * characters replaced.
 */
#ifndef TP_POOL_CONSOLE_H
#define TP_POOL_CONSOLE_H

#include <torpor/torpor.h>

#include "base/call.h"

struct tp_console;

/* READY_LINE (may be NULL) is what a line must contain. It is copied. */
struct torpor_error *tp_console_new(torpor_progress_fn *progress, void *data,
	const char *ready_line, struct tp_console **console_out) TP_MUST_USE;

/* Where QEMU writes; the console's own, to be closed once QEMU has it. */
int tp_console_fd(const struct tp_console *console);
void tp_console_close_writer(struct tp_console *console);

/* Readable once the ready line has come. */
int tp_console_ready_fd(const struct tp_console *console);

/* The last lines, one behind the other with " | " between; the caller's to free. */
char *tp_console_tail(struct tp_console *console) TP_MUST_USE;

/* The writer (QEMU) must have ended. Takes NULL. Returns NULL. */
struct tp_console *tp_console_free(struct tp_console *console);
TP_DEFINE_CLEANUP(struct tp_console *, tp_console_free)

#endif
