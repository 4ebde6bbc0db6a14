/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit log's file: whole lines, seen by readers while it is written. Internal to the audit
 * log.
 *
 * The writer holds a lock (fcntl's, of the open file) while the end of the file may be in the
 * middle of a line; readers take it for as long as it takes to ask for the size, and read up to
 * there. The writer doesn't wait for it: a reader that was stopped with the lock in its hand can't
 * stop us. So one that has the lock just then may find half a line, and looks again for a moment
 * if there is a writer.
 */
#ifndef TP_STORAGE_AUDIT_FILE_H
#define TP_STORAGE_AUDIT_FILE_H

#include <stdbool.h>

#include "base/error.h"

/* --- reading --- */

/* Opens PATH for reading; *SIZE_OUT is where whole lines end unless a crash or somebody cut one. */
struct torpor_error *tp_audit_file_read(
	const char *path, int *fd_out, uint64_t *size_out) TP_MUST_USE;

/* --- writing: one thread --- */

struct tp_audit_file {
	char *path;
	int fd;
	uint64_t size; /* of whole, durable lines */
	bool torn;     /* there may be more behind them, to be cut off */
};

/* Opens or makes DIR/NAME for its owner alone. BUSY if another process writes it. */
struct torpor_error *tp_audit_file_open(
	struct tp_audit_file *file, const char *dir, const char *name) TP_MUST_USE;
/* Takes one that was only zeroed, with fd -1. */
void tp_audit_file_close(struct tp_audit_file *file);

/* Cuts the file to SIZE bytes, durably. */
struct torpor_error *tp_audit_file_cut(struct tp_audit_file *file, uint64_t size) TP_MUST_USE;
/* Appends LEN bytes durably, or leaves the file as it was (as soon as it can be cut). */
struct torpor_error *tp_audit_file_append(
	struct tp_audit_file *file, const void *data, size_t len) TP_MUST_USE;

#endif
