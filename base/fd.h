/* SPDX-License-Identifier: Apache-2.0 */
/* File descriptors: scope-bound closing, hand-over, and whole reads and writes. */
#ifndef TP_BASE_FD_H
#define TP_BASE_FD_H

#include <sys/types.h>

#include "base/call.h"

/* Closes FD unless it is negative; errno is kept. Returns -1. */
int tp_close(int fd);

TP_DEFINE_CLEANUP(int, tp_close)
#define TP_FD TP_CLEANUP(tp_close)

/* Hands ownership of a descriptor over: evaluates to it and leaves -1 behind. */
#define TP_TAKE_FD(fd)                                                                             \
	({                                                                                         \
		int *tp_from_ = &(fd);                                                             \
		int tp_val_ = *tp_from_;                                                           \
		*tp_from_ = -1;                                                                    \
		tp_val_;                                                                           \
	})

/* A memfd of SIZE bytes, all holes, close-on-exec, that can be sealed. NAME shows in /proc. */
struct torpor_error *tp_memfd(const char *name, uint64_t size, int *fd_out) TP_MUST_USE;

/*
 * Whole transfers on blocking files, memfds included: they go on after short counts and EINTR.
 * A read that meets the end early fails with CORRUPT. OBJECT names the file in the message.
 */
struct torpor_error *tp_pread_full(
	int fd, void *buf, size_t len, uint64_t offset, const char *object) TP_MUST_USE;
struct torpor_error *tp_pwrite_full(
	int fd, const void *buf, size_t len, uint64_t offset, const char *object) TP_MUST_USE;

/*
 * The same over a stream (socket or pipe, blocking or not), until CALL ends. Writing never
 * raises SIGPIPE on a socket. A peer that closes while bytes are due gives CORRUPT for reading.
 */
struct torpor_error *tp_read_stream(
	int fd, void *buf, size_t len, const struct tp_call *call, const char *object) TP_MUST_USE;
struct torpor_error *tp_write_stream(int fd, const void *buf, size_t len,
	const struct tp_call *call, const char *object) TP_MUST_USE;

/*
 * Reads a whole small file under DIRFD (AT_FDCWD for plain paths), at most MAX bytes (else LIMIT).
 * *DATA_OUT is allocated, NUL-terminated behind its end, and the caller's to free.
 */
struct torpor_error *tp_read_file(
	int dirfd, const char *path, size_t max, char **data_out, size_t *len_out) TP_MUST_USE;

/* The size of an open file in bytes. */
struct torpor_error *tp_file_size(int fd, const char *object, uint64_t *size_out) TP_MUST_USE;

#endif
