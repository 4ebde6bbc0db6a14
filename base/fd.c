/* SPDX-License-Identifier: Apache-2.0 */
/* Whole reads and writes. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

int tp_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
	return -1;
}

struct torpor_error *tp_memfd(const char *name, uint64_t size, int *fd_out)
{
	TP_FD int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return tp_error_errno(errno, "create memory file", name);
	if (ftruncate(fd, (off_t)size) < 0)
		return tp_error_errno(errno, "size memory file", name);
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}

struct torpor_error *tp_pread_full(
	int fd, void *buf, size_t len, uint64_t offset, const char *object)
{
	uint8_t *at = buf;

	while (len > 0) {
		ssize_t n = pread(fd, at, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return tp_error_errno(errno, "read", object);
		if (n == 0)
			return tp_error(
				TORPOR_E_CORRUPT, "read", object, "it ends %zu bytes early", len);
		at += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return NULL;
}

struct torpor_error *tp_pwrite_full(
	int fd, const void *buf, size_t len, uint64_t offset, const char *object)
{
	const uint8_t *at = buf;

	while (len > 0) {
		ssize_t n = pwrite(fd, at, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return tp_error_errno(errno, "write", object);
		at += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return NULL;
}

struct torpor_error *tp_read_stream(
	int fd, void *buf, size_t len, const struct tp_call *call, const char *object)
{
	uint8_t *at = buf;

	while (len > 0) {
		TP_TRY(tp_wait_fd(fd, POLLIN, call, "read", object));
		ssize_t n = read(fd, at, len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return tp_error_errno(errno, "read", object);
		if (n == 0)
			return tp_error(TORPOR_E_CORRUPT, "read", object,
				"the peer closed %zu bytes early", len);
		at += n;
		len -= (size_t)n;
	}
	return NULL;
}

/* One write that doesn't block even on a blocking descriptor, and raises no SIGPIPE on sockets. */
static ssize_t write_some(int fd, const void *buf, size_t len)
{
	ssize_t n = send(fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno == ENOTSOCK)
		n = write(fd, buf, len);
	return n;
}

struct torpor_error *tp_write_stream(
	int fd, const void *buf, size_t len, const struct tp_call *call, const char *object)
{
	const uint8_t *at = buf;

	while (len > 0) {
		TP_TRY(tp_wait_fd(fd, POLLOUT, call, "write", object));
		ssize_t n = write_some(fd, at, len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return tp_error_errno(errno, "write", object);
		at += n;
		len -= (size_t)n;
	}
	return NULL;
}

struct torpor_error *tp_read_file(
	int dirfd, const char *path, size_t max, char **data_out, size_t *len_out)
{
	TP_FD int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	TP_FREE char *data = NULL;
	size_t len = 0;
	size_t room = 0;

	if (fd < 0)
		return tp_error_errno(errno, "open", path);
	for (;;) {
		if (len == room) {
			room = room ? room * 2 : 4096;
			data = tp_reallocarray(data, room + 1, 1);
		}
		ssize_t n = read(fd, data + len, room - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return tp_error_errno(errno, "read", path);
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return tp_error(
				TORPOR_E_LIMIT, "read", path, "it is larger than %zu bytes", max);
	}
	data[len] = '\0';
	*data_out = TP_TAKE(data);
	*len_out = len;
	return NULL;
}

struct torpor_error *tp_file_size(int fd, const char *object, uint64_t *size_out)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return tp_error_errno(errno, "stat", object);
	*size_out = (uint64_t)st.st_size;
	return NULL;
}
