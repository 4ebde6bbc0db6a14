/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appending to a file through a few buffers that are written while the next is filled. Internal to
 * storage; for one thread at a time.
 */
#ifndef TP_STORAGE_OUT_FILE_H
#define TP_STORAGE_OUT_FILE_H

#include <stdatomic.h>

#include "storage/format.h"
#include "storage/io.h"

#define TP_OUT_BUFFERS	    4
#define TP_OUT_BUFFER_BYTES ((size_t)(512 * TP_KIB)) /* at least a block */

struct tp_out_file {
	int fd;
	const char *object;	   /* the caller's: the file in messages */
	uint64_t reserved;	   /* bytes of room on the disk; 0: none is reserved */
	uint64_t offset;	   /* where the next appended byte goes */
	struct tp_io_queue *queue; /* created with the first full buffer */
	atomic_int queue_fd;	   /* the queue's, for waiting; -1 while there is none */
	struct tp_out_buffer {
		uint8_t *data;
		size_t used;
		bool under_way;
		struct tp_io_request request;
	} buffers[TP_OUT_BUFFERS];
	unsigned int current;
};

/* FD stays the caller's. Appending starts at OFFSET. */
void tp_out_init(
	struct tp_out_file *out, int fd, const char *object, uint64_t offset, uint64_t reserved);
/* Waits for what is under way. */
void tp_out_deinit(struct tp_out_file *out);

/*
 * Appends LEN <= TP_FORMAT_BLOCK_BYTES bytes. *TAKEN_OUT is false, and nothing was done, while all
 * buffers are under way; queue_fd tells when to try again.
 */
struct torpor_error *tp_out_append(
	struct tp_out_file *out, const void *data, size_t len, bool *taken_out) TP_MUST_USE;
/* Appends any number of bytes, waiting as needed. */
struct torpor_error *tp_out_append_all(struct tp_out_file *out, const void *data, size_t len,
	const struct tp_call *call) TP_MUST_USE;
/* Writes what is buffered and waits until all of it is in the file (not yet on the disk). */
struct torpor_error *tp_out_flush(struct tp_out_file *out, const struct tp_call *call) TP_MUST_USE;

#endif
