/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam between storage and the kernel: every operation on an image file goes through here.
 *
 * Transfers in a queue use io_uring where the kernel has it and lets us, else pread and pwrite.
 * Tests put a hook in between, to record, shorten and fail operations.
 */
#ifndef TP_STORAGE_IO_H
#define TP_STORAGE_IO_H

#include "base/call.h"

/*
 * Whether transfers use io_uring. Probed once. TORPOR_IO=sync in the environment, read at the
 * probe, and tp_io_force_sync turn it off.
 */
bool tp_io_uring_available(void);
void tp_io_force_sync(bool force);

enum tp_io_op {
	TP_IO_CREATE,
	TP_IO_ALLOCATE,
	TP_IO_READ,
	TP_IO_WRITE,
	TP_IO_TRUNCATE,
	TP_IO_SYNC,
	TP_IO_RENAME,
	TP_IO_SYNC_DIR,
	TP_IO_UNLINK,
};

struct tp_io_event {
	enum tp_io_op op;
	int fd;		  /* the file, or the directory of a name; -1 for CREATE's file */
	const char *name; /* CREATE, RENAME (the old one), UNLINK */
	const char *to;	  /* RENAME */
	const void *data; /* WRITE */
	uint64_t offset;  /* READ, WRITE, ALLOCATE; the new size for TRUNCATE */
	size_t len;	  /* READ, WRITE, ALLOCATE; the hook may shorten the former two */
};

/*
 * Called before each operation, from any thread; returns 0, or the errno that it is to fail with.
 * Set while no operation is under way; NULL for none.
 */
typedef int tp_io_hook_fn(void *data, struct tp_io_event *event);
void tp_io_set_hook(tp_io_hook_fn *hook, void *data);

/* OBJECT names the file in messages. All are done when they return. */
struct torpor_error *tp_io_create(int dirfd, const char *name, int *fd_out) TP_MUST_USE;
/* Reserves room; a file system that can't is no failure. The file's size grows to OFFSET + LEN. */
struct torpor_error *tp_io_allocate(
	int fd, uint64_t offset, uint64_t len, const char *object) TP_MUST_USE;
struct torpor_error *tp_io_pread(
	int fd, void *buf, size_t len, uint64_t offset, const char *object) TP_MUST_USE;
struct torpor_error *tp_io_pwrite(
	int fd, const void *buf, size_t len, uint64_t offset, const char *object) TP_MUST_USE;
struct torpor_error *tp_io_truncate(int fd, uint64_t size, const char *object) TP_MUST_USE;
/* Content, and of the metadata what is needed to read it back (fdatasync). */
struct torpor_error *tp_io_sync(int fd, const char *object) TP_MUST_USE;
/* *REPLACED_OUT: whether there may have been a TO before; NULL: then it fails with EXISTS. */
struct torpor_error *tp_io_rename(
	int dirfd, const char *from, const char *to, bool *replaced_out) TP_MUST_USE;
struct torpor_error *tp_io_sync_dir(int dirfd, const char *object) TP_MUST_USE;
struct torpor_error *tp_io_unlink(int dirfd, const char *name) TP_MUST_USE;

/* A whole transfer. Belongs to the queue between submission and completion. */
struct tp_io_request {
	bool write;
	void *buf;
	size_t len;
	uint64_t offset;
	size_t done; /* the queue's: bytes transferred so far */
	int error;   /* on completion: 0, an errno, or TP_IO_ENDS_EARLY */
	struct tp_io_request *next;
};
#define TP_IO_ENDS_EARLY (-1) /* a read met the file's end */

/* Transfers on one file. For one thread at a time. */
struct tp_io_queue;
/* DEPTH transfers at a time, at most. Works with any kernel; doesn't fail. */
struct tp_io_queue *tp_io_queue_new(int fd, unsigned int depth);
/* Waits for what is under way. Takes NULL. Returns NULL. */
struct tp_io_queue *tp_io_queue_free(struct tp_io_queue *queue);
TP_DEFINE_CLEANUP(struct tp_io_queue *, tp_io_queue_free)

/* Starts a transfer of at least one byte; never fails: failures show on completion. */
void tp_io_submit(struct tp_io_queue *queue, struct tp_io_request *request);
/* A completed transfer, or NULL if there is none at present. Doesn't block. */
struct tp_io_request *tp_io_reap(struct tp_io_queue *queue);
/* Becomes readable when there may be something to reap; -1 where transfers are done on submission.
 */
int tp_io_queue_fd(const struct tp_io_queue *queue);
/* What REQUEST failed with, as an error; NULL if it succeeded. */
struct torpor_error *tp_io_request_error(
	const struct tp_io_request *request, const char *object) TP_MUST_USE;

#endif
