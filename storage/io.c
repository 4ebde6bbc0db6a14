/* SPDX-License-Identifier: Apache-2.0 */
/* File operations, and transfers through io_uring or without it. */
#include "storage/io.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

static tp_io_hook_fn *hook_fn;
static void *hook_data;

void tp_io_set_hook(tp_io_hook_fn *hook, void *data)
{
	hook_fn = hook;
	hook_data = data;
}

/* Asks the hook; returns what the operation is to fail with, or 0. */
static int hooked(struct tp_io_event *event)
{
	return hook_fn ? hook_fn(hook_data, event) : 0;
}

static atomic_bool sync_forced;
static pthread_once_t probe_once = PTHREAD_ONCE_INIT;
static bool uring_works;

static void probe(void)
{
	const char *mode = getenv("TORPOR_IO");
	struct io_uring ring;

	if (mode && strcmp(mode, "sync") == 0)
		return;
	if (io_uring_queue_init(1, &ring, 0) < 0)
		return;
	struct io_uring_probe *ops = io_uring_get_probe_ring(&ring);
	uring_works = ops && io_uring_opcode_supported(ops, IORING_OP_READ) &&
		      io_uring_opcode_supported(ops, IORING_OP_WRITE);
	io_uring_free_probe(ops);
	io_uring_queue_exit(&ring);
}

bool tp_io_uring_available(void)
{
	pthread_once(&probe_once, probe);
	return uring_works && !atomic_load(&sync_forced);
}

void tp_io_force_sync(bool force)
{
	atomic_store(&sync_forced, force);
}

struct torpor_error *tp_io_create(int dirfd, const char *name, int *fd_out)
{
	int errnum = hooked(&(struct tp_io_event){.op = TP_IO_CREATE, .fd = dirfd, .name = name});

	if (errnum != 0)
		return tp_error_errno(errnum, "create", name);
	int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return tp_error_errno(errno, "create", name);
	*fd_out = fd;
	return NULL;
}

/*
 * fallocate(2) and not posix_fallocate(3): where the file system can't reserve, the latter writes
 * to every block instead, which costs more than it is worth.
 */
struct torpor_error *tp_io_allocate(int fd, uint64_t offset, uint64_t len, const char *object)
{
	int errnum = hooked(&(struct tp_io_event){
		.op = TP_IO_ALLOCATE, .fd = fd, .offset = offset, .len = len});

	while (errnum == 0 && fallocate(fd, 0, (off_t)offset, (off_t)len) < 0) {
		if (errno == EOPNOTSUPP || errno == ENOSYS)
			break;
		if (errno != EINTR)
			errnum = errno;
	}
	return errnum ? tp_error_errno(errnum, "reserve room for", object) : NULL;
}

/* One pread or pwrite, through the hook. Returns bytes or a negative errno. */
static ssize_t transfer_some(int fd, bool write, void *buf, size_t len, uint64_t offset)
{
	struct tp_io_event event = {
		.op = write ? TP_IO_WRITE : TP_IO_READ,
		.fd = fd,
		.data = write ? buf : NULL,
		.offset = offset,
		.len = len,
	};
	int errnum = hooked(&event);

	if (errnum != 0)
		return -errnum;
	ssize_t n = write ? pwrite(fd, buf, event.len, (off_t)offset)
			  : pread(fd, buf, event.len, (off_t)offset);
	return n < 0 ? -errno : n;
}

/*
 * Takes the result of one transfer into REQUEST's account; true once it is complete, with `error`
 * set.
 */
static bool account(struct tp_io_request *request, ssize_t result)
{
	if (result == -EINTR || result == -EAGAIN)
		return false;
	if (result < 0)
		request->error = (int)-result;
	else if (result == 0)
		request->error = request->write ? EIO : TP_IO_ENDS_EARLY;
	else
		request->done += (size_t)result;
	return request->error != 0 || request->done == request->len;
}

static void transfer_all(int fd, struct tp_io_request *request)
{
	ssize_t result;

	do
		result = transfer_some(fd, request->write, (uint8_t *)request->buf + request->done,
			request->len - request->done, request->offset + request->done);
	while (!account(request, result));
}

struct torpor_error *tp_io_request_error(const struct tp_io_request *request, const char *object)
{
	if (request->error == 0)
		return NULL;
	if (request->error == TP_IO_ENDS_EARLY)
		return tp_error(TORPOR_E_CORRUPT, "read", object, "it ends %zu bytes early",
			request->len - request->done);
	return tp_error_errno(request->error, request->write ? "write" : "read", object);
}

struct torpor_error *tp_io_pread(int fd, void *buf, size_t len, uint64_t offset, const char *object)
{
	struct tp_io_request request = {.buf = buf, .len = len, .offset = offset};

	if (len > 0)
		transfer_all(fd, &request);
	return tp_io_request_error(&request, object);
}

struct torpor_error *tp_io_pwrite(
	int fd, const void *buf, size_t len, uint64_t offset, const char *object)
{
	struct tp_io_request request = {
		.write = true, .buf = (void *)buf, .len = len, .offset = offset};

	if (len > 0)
		transfer_all(fd, &request);
	return tp_io_request_error(&request, object);
}

struct torpor_error *tp_io_truncate(int fd, uint64_t size, const char *object)
{
	int errnum = hooked(&(struct tp_io_event){.op = TP_IO_TRUNCATE, .fd = fd, .offset = size});

	while (errnum == 0 && ftruncate(fd, (off_t)size) < 0) {
		if (errno != EINTR)
			errnum = errno;
	}
	return errnum ? tp_error_errno(errnum, "size", object) : NULL;
}

struct torpor_error *tp_io_sync(int fd, const char *object)
{
	int errnum = hooked(&(struct tp_io_event){.op = TP_IO_SYNC, .fd = fd});

	if (errnum == 0 && fdatasync(fd) < 0)
		errnum = errno;
	return errnum ? tp_error_errno(errnum, "sync", object) : NULL;
}

/* Without renameat2(2)'s flag. FROM may stay beside it. Returns 0 or an errno. */
static int rename_by_link(int dirfd, const char *from, const char *to)
{
	if (linkat(dirfd, from, dirfd, to, 0) < 0)
		return errno;
	unlinkat(dirfd, from, 0);
	return 0;
}

/* Renames; says whether TO may have existed, if that is wanted. Returns 0 or an errno. */
static int rename_any(int dirfd, const char *from, const char *to, bool *replaced_out)
{
	if (renameat2(dirfd, from, dirfd, to, RENAME_NOREPLACE) == 0) {
		if (replaced_out)
			*replaced_out = false;
		return 0;
	}
	/* EINVAL, ENOSYS: this file system or kernel can only replace. */
	if (errno != EEXIST && errno != EINVAL && errno != ENOSYS)
		return errno;
	if (!replaced_out)
		return errno == EEXIST ? EEXIST : rename_by_link(dirfd, from, to);
	if (renameat(dirfd, from, dirfd, to) < 0)
		return errno;
	*replaced_out = true;
	return 0;
}

struct torpor_error *tp_io_rename(int dirfd, const char *from, const char *to, bool *replaced_out)
{
	int errnum = hooked(
		&(struct tp_io_event){.op = TP_IO_RENAME, .fd = dirfd, .name = from, .to = to});

	if (errnum == 0)
		errnum = rename_any(dirfd, from, to, replaced_out);
	return errnum ? tp_error_errno(errnum, "rename to", to) : NULL;
}

struct torpor_error *tp_io_sync_dir(int dirfd, const char *object)
{
	int errnum = hooked(&(struct tp_io_event){.op = TP_IO_SYNC_DIR, .fd = dirfd});

	if (errnum == 0 && fsync(dirfd) < 0)
		errnum = errno;
	return errnum ? tp_error_errno(errnum, "sync directory of", object) : NULL;
}

struct torpor_error *tp_io_unlink(int dirfd, const char *name)
{
	int errnum = hooked(&(struct tp_io_event){.op = TP_IO_UNLINK, .fd = dirfd, .name = name});

	if (errnum == 0 && unlinkat(dirfd, name, 0) < 0)
		errnum = errno;
	return errnum ? tp_error_errno(errnum, "remove", name) : NULL;
}

struct tp_io_queue {
	int fd;
	bool has_ring;
	struct io_uring ring;
	unsigned int depth;
	unsigned int under_way;		/* in the ring */
	struct tp_io_request *finished; /* outside the ring: completed on submission */
	struct tp_io_request **finished_end;
};

/*
 * liburing maps and unmaps rings behind the race detector's back. A ring that gets the address of
 * one that is gone looks to it like the same memory, used by two threads without a lock. So it is
 * told of the hand-over: of these addresses only, and at the ends of a ring's life only, so that
 * threads that really share a ring are still found.
 */
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
static void ring_mapped(struct io_uring *ring)
{
	__tsan_acquire(ring->sq.ring_ptr);
	__tsan_acquire(ring->cq.ring_ptr);
	__tsan_acquire(ring->sq.sqes);
}

static void ring_unmapping(struct io_uring *ring)
{
	__tsan_release(ring->sq.ring_ptr);
	__tsan_release(ring->cq.ring_ptr);
	__tsan_release(ring->sq.sqes);
}
#else
static void ring_mapped(struct io_uring *ring)
{
	(void)ring;
}

static void ring_unmapping(struct io_uring *ring)
{
	(void)ring;
}
#endif

struct tp_io_queue *tp_io_queue_new(int fd, unsigned int depth)
{
	struct tp_io_queue *queue = tp_calloc(1, sizeof(*queue));

	queue->fd = fd;
	queue->depth = depth;
	queue->finished_end = &queue->finished;
	queue->has_ring =
		tp_io_uring_available() && io_uring_queue_init(depth, &queue->ring, 0) == 0;
	if (queue->has_ring)
		ring_mapped(&queue->ring);
	return queue;
}

struct tp_io_queue *tp_io_queue_free(struct tp_io_queue *queue)
{
	if (!queue)
		return NULL;
	while (queue->under_way > 0) {
		struct io_uring_cqe *cqe;
		if (!tp_io_reap(queue))
			(void)io_uring_wait_cqe(&queue->ring, &cqe);
	}
	if (queue->has_ring) {
		ring_unmapping(&queue->ring);
		io_uring_queue_exit(&queue->ring);
	}
	free(queue);
	return NULL;
}

int tp_io_queue_fd(const struct tp_io_queue *queue)
{
	return queue->has_ring ? queue->ring.ring_fd : -1;
}

static void finish(struct tp_io_queue *queue, struct tp_io_request *request)
{
	request->next = NULL;
	*queue->finished_end = request;
	queue->finished_end = &request->next;
}

/* Hands what is left of REQUEST to the ring; false if that isn't possible now. */
static bool start_in_ring(struct tp_io_queue *queue, struct tp_io_request *request)
{
	struct tp_io_event event = {
		.op = request->write ? TP_IO_WRITE : TP_IO_READ,
		.fd = queue->fd,
		.data = request->write ? (uint8_t *)request->buf + request->done : NULL,
		.offset = request->offset + request->done,
		/* The kernel moves at most 2 GiB at a time. */
		.len = TP_MIN(request->len - request->done, (size_t)TP_GIB),
	};
	struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->ring);
	uint8_t *at = (uint8_t *)request->buf + request->done;

	if (!sqe)
		return false;
	int errnum = hooked(&event);
	if (errnum != 0) {
		/* The entry is taken; what it does must be harmless. It comes back unnoticed. */
		io_uring_prep_nop(sqe);
		io_uring_sqe_set_data(sqe, NULL);
		request->error = errnum;
		finish(queue, request);
		return true;
	}
	if (request->write)
		io_uring_prep_write(sqe, queue->fd, at, (unsigned int)event.len, event.offset);
	else
		io_uring_prep_read(sqe, queue->fd, at, (unsigned int)event.len, event.offset);
	io_uring_sqe_set_data(sqe, request);
	io_uring_submit(&queue->ring);
	if (io_uring_sq_ready(&queue->ring) > 0) {
		/* The kernel hasn't taken it, the last of all, so it may still be changed. */
		io_uring_prep_nop(sqe);
		io_uring_sqe_set_data(sqe, NULL);
		return false;
	}
	queue->under_way++;
	return true;
}

static void start(struct tp_io_queue *queue, struct tp_io_request *request)
{
	if (queue->has_ring && start_in_ring(queue, request))
		return;
	transfer_all(queue->fd, request);
	finish(queue, request);
}

void tp_io_submit(struct tp_io_queue *queue, struct tp_io_request *request)
{
	assert(request->len > 0 && queue->under_way < queue->depth);
	request->done = 0;
	request->error = 0;
	start(queue, request);
}

/* Takes completions from the ring until one request is complete. */
static void reap_ring(struct tp_io_queue *queue)
{
	struct io_uring_cqe *cqe;

	while (!queue->finished && io_uring_peek_cqe(&queue->ring, &cqe) == 0) {
		struct tp_io_request *request = io_uring_cqe_get_data(cqe);
		int result = cqe->res;
		io_uring_cqe_seen(&queue->ring, cqe);
		if (!request)
			continue;
		queue->under_way--;
		if (account(request, result))
			finish(queue, request);
		else
			start(queue, request);
	}
}

struct tp_io_request *tp_io_reap(struct tp_io_queue *queue)
{
	if (queue->has_ring)
		reap_ring(queue);
	struct tp_io_request *request = queue->finished;
	if (request) {
		queue->finished = request->next;
		if (!queue->finished)
			queue->finished_end = &queue->finished;
	}
	return request;
}
