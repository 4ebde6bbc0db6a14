/* SPDX-License-Identifier: Apache-2.0 */
/* Files for their owner alone, and for one process at a time. Internal to storage. */
#ifndef TP_STORAGE_PRIVATE_FILE_H
#define TP_STORAGE_PRIVATE_FILE_H

#include "base/error.h"

/* Opens PATH to read and write, making it if need be; its mode is 0600 in any case. */
struct torpor_error *tp_private_open(const char *path, int *fd_out) TP_MUST_USE;

/* Locks FD (flock) for as long as it is open. BUSY, about OBJECT, if another process has it. */
struct torpor_error *tp_private_lock(int fd, const char *object) TP_MUST_USE;

/* Makes new names in DIR durable. */
struct torpor_error *tp_sync_dir(const char *dir) TP_MUST_USE;

#endif
