/* SPDX-License-Identifier: Apache-2.0 */
/* Files for their owner alone. */
#include "storage/private_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/lock.h"

struct torpor_error *tp_private_open(const char *path, int *fd_out)
{
	TP_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return tp_error_errno(errno, "open", path);
	if (fchmod(fd, 0600) < 0)
		return tp_error_errno(errno, "restrict access to", path);
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}

struct torpor_error *tp_private_lock(int fd, const char *object)
{
	if (tp_lock_soon(fd) == 0)
		return NULL;
	if (errno == EWOULDBLOCK)
		return tp_error(TORPOR_E_BUSY, "open", object, "another process has it open");
	return tp_error_errno(errno, "lock", object);
}

struct torpor_error *tp_sync_dir(const char *dir)
{
	TP_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return tp_error_errno(errno, "sync", dir);
	return NULL;
}
