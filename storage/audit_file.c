/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log's file. */
#include "storage/audit_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/lock.h"
#include "base/mem.h"
#include "storage/private_file.h"

/* COMMAND: F_OFD_SETLK or F_OFD_SETLKW. Locks that can't be had only cost readers certainty. */
static void lock_end(int fd, short type, int command)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};

	while (fcntl(fd, command, &lock) < 0 && errno == EINTR)
		;
}

/* The size, and whether a line ends there. */
static struct torpor_error *look_at_end(
	int fd, const char *path, uint64_t *size_out, bool *whole_out)
{
	char last;

	TP_TRY(tp_file_size(fd, path, size_out));
	*whole_out = true;
	if (*size_out == 0)
		return NULL;
	TP_TRY(tp_pread_full(fd, &last, 1, *size_out - 1, path));
	*whole_out = last == '\n';
	return NULL;
}

/* The writer's own lock is one that nobody else can share (tp_private_lock). */
static bool has_writer(int fd)
{
	if (flock(fd, LOCK_SH | LOCK_NB) < 0)
		return errno == EWOULDBLOCK;
	flock(fd, LOCK_UN);
	return false;
}

struct torpor_error *tp_audit_file_read(const char *path, int *fd_out, uint64_t *size_out)
{
	const uint64_t until_ns = tp_now_ns() + TP_LOCK_PATIENCE_NS;
	TP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint64_t size;
	bool whole;

	if (fd < 0)
		return tp_error_errno(errno, "open the audit log", path);
	do {
		lock_end(fd, F_RDLCK, F_OFD_SETLKW);
		struct torpor_error *err = look_at_end(fd, path, &size, &whole);
		lock_end(fd, F_UNLCK, F_OFD_SETLK);
		if (err)
			return err;
	} while (!whole && has_writer(fd) && tp_lock_await(until_ns));
	*size_out = size;
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}

struct torpor_error *tp_audit_file_open(
	struct tp_audit_file *file, const char *dir, const char *name)
{
	TP_FREE char *path = tp_asprintf("%s/%s", dir, name);
	TP_FD int fd = -1;
	uint64_t size;

	TP_TRY(tp_private_open(path, &fd));
	TP_TRY(tp_private_lock(fd, path));
	TP_TRY(tp_file_size(fd, path, &size));
	TP_TRY(tp_sync_dir(dir));
	*file = (struct tp_audit_file){.path = TP_TAKE(path), .fd = TP_TAKE_FD(fd), .size = size};
	return NULL;
}

void tp_audit_file_close(struct tp_audit_file *file)
{
	file->fd = tp_close(file->fd);
	free(file->path);
	file->path = NULL;
}

struct torpor_error *tp_audit_file_cut(struct tp_audit_file *file, uint64_t size)
{
	if (ftruncate(file->fd, (off_t)size) < 0 || fdatasync(file->fd) < 0)
		return tp_error_errno(errno, "cut the audit log", file->path);
	file->size = size;
	file->torn = false;
	return NULL;
}

static struct torpor_error *write_lines(struct tp_audit_file *file, const void *data, size_t len)
{
	TP_TRY(tp_fault_check("audit-write"));
	file->torn = true;
	lock_end(file->fd, F_WRLCK, F_OFD_SETLK);
	struct torpor_error *err = tp_pwrite_full(file->fd, data, len, file->size, file->path);
	lock_end(file->fd, F_UNLCK, F_OFD_SETLK);
	if (err)
		return err;
	TP_TRY(tp_fault_check("audit-sync"));
	if (fdatasync(file->fd) < 0)
		return tp_error_errno(errno, "sync the audit log", file->path);
	return NULL;
}

struct torpor_error *tp_audit_file_append(struct tp_audit_file *file, const void *data, size_t len)
{
	if (file->torn)
		TP_TRY(tp_audit_file_cut(file, file->size));
	struct torpor_error *err = write_lines(file, data, len);
	if (err)
		return file->torn ? tp_error_first(err, tp_audit_file_cut(file, file->size)) : err;
	file->size += len;
	file->torn = false;
	return NULL;
}
