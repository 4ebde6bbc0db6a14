/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Temporary files, and the sweep of those whose writer died.
 *
 * A writer holds an open-file-description lock on its file. Between creating and locking there is
 * a moment in which the sweep may get the lock: the sweep removes a file only while it has the
 * lock, and the writer looks behind its own locking whether the file still has its name, and
 * starts anew if not. O_TMPFILE would need no sweep, but linkat(2) can't replace an older image.
 *
 * The first eight digits of the name are the writer's pid: what is locked though its writer has
 * ended will be free soon (base/lock.h), and the sweep waits for it.
 */
#include "storage/temp_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/lock.h"
#include "base/mem.h"
#include "storage/image_writer.h"
#include "storage/io.h"

#define SUFFIX	     ".part"
#define DIGITS	     16
#define MAX_ATTEMPTS 100

/* True if this caller has the lock now. */
static bool try_lock(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

int tp_temp_close(int fd)
{
	struct flock unlock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	if (fd >= 0)
		(void)fcntl(fd, F_OFD_SETLK, &unlock);
	return tp_close(fd);
}

static bool has_name(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

static struct torpor_error *check_name(const char *name)
{
	size_t len = strnlen(name, TP_TEMP_MAX_NAME + 1);

	if (len == 0 || len > TP_TEMP_MAX_NAME || strchr(name, '/') || strcmp(name, ".") == 0 ||
		strcmp(name, "..") == 0)
		return tp_error(TORPOR_E_INVALID, "write image", name,
			"a name has 1 to %d bytes and no slash", TP_TEMP_MAX_NAME);
	return NULL;
}

struct torpor_error *tp_temp_create(int dirfd, const char *name, int *fd_out, char **temp_name_out)
{
	TP_TRY(check_name(name));
	for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
		uint32_t random;
		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			return tp_error_errno(errno, "get random bytes", NULL);
		TP_FREE char *temp_name =
			tp_asprintf(".%s.%08x%08x" SUFFIX, name, (unsigned int)getpid(), random);
		TP_FD int fd = -1;
		TP_TRY(tp_io_create(dirfd, temp_name, &fd));
		if (try_lock(fd) && has_name(fd)) {
			*fd_out = TP_TAKE_FD(fd);
			*temp_name_out = TP_TAKE(temp_name);
			return NULL;
		}
	}
	return tp_error(TORPOR_E_BUSY, "create temporary file for", name,
		"it was swept away %d times", MAX_ATTEMPTS);
}

static bool is_temp_name(const char *name)
{
	const size_t tail = 1 + DIGITS + strlen(SUFFIX);
	size_t len = strlen(name);

	if (name[0] != '.' || len < 2 + tail || strcmp(name + len - strlen(SUFFIX), SUFFIX) != 0)
		return false;
	const char *digits = name + len - tail + 1;
	return digits[-1] == '.' && strspn(digits, "0123456789abcdef") == DIGITS;
}

/* The pid in a temporary name. */
static pid_t writer_of(const char *name)
{
	uint64_t digits = strtoull(name + strlen(name) - strlen(SUFFIX) - DIGITS, NULL, 16);

	return (pid_t)(digits >> 32);
}

/* What a process holds that has ended is waited for until UNTIL_NS. */
static bool lock_abandoned(int fd, const char *name, uint64_t until_ns)
{
	while (!try_lock(fd)) {
		if (!tp_pid_has_ended(writer_of(name)) || !tp_lock_await(until_ns))
			return false;
	}
	return true;
}

/* Removes NAME if nobody holds it. */
static struct torpor_error *sweep_one(
	int dirfd, const char *name, uint64_t until_ns, unsigned int *removed)
{
	TP_FD int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat opened;
	struct stat named;

	if (fd < 0 && (errno == ENOENT || errno == ELOOP || errno == EISDIR || errno == ENXIO))
		return NULL;
	if (fd < 0)
		return tp_error_errno(errno, "open", name);
	if (fstat(fd, &opened) < 0 || !S_ISREG(opened.st_mode) ||
		!lock_abandoned(fd, name, until_ns))
		return NULL;
	/* It may have become an image, or been swept, before the lock was there. */
	if (fstatat(dirfd, name, &named, AT_SYMLINK_NOFOLLOW) < 0 ||
		named.st_ino != opened.st_ino || named.st_dev != opened.st_dev)
		return NULL;
	TP_TRY(tp_io_unlink(dirfd, name));
	++*removed;
	return NULL;
}

static void close_dir(DIR *dir)
{
	if (dir)
		closedir(dir);
}
TP_DEFINE_CLEANUP(DIR *, close_dir)

struct torpor_error *tp_image_sweep(
	int dirfd, tp_file_each *each, void *data, unsigned int *removed_out)
{
	TP_FD int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	TP_CLEANUP(close_dir) DIR *dir = NULL;
	TP_ERROR struct torpor_error *first = NULL;
	const uint64_t until_ns = tp_now_ns() + TP_LOCK_PATIENCE_NS;
	unsigned int removed = 0;

	if (fd < 0 || !(dir = fdopendir(fd)))
		return tp_error_errno(errno, "list", "directory of images");
	TP_TAKE_FD(fd); /* dir closes it */
	for (;;) {
		errno = 0;
		const struct dirent *entry = readdir(dir);
		if (!entry && errno != 0)
			return tp_error_errno(errno, "list", "directory of images");
		if (!entry)
			break;
		if (is_temp_name(entry->d_name))
			first = tp_error_first(
				first, sweep_one(dirfd, entry->d_name, until_ns, &removed));
		else if (each && entry->d_name[0] != '.')
			each(data, entry->d_name);
	}
	if (first)
		return TP_TAKE(first);
	if (removed_out)
		*removed_out = removed;
	return NULL;
}
