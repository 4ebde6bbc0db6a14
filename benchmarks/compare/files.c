/* SPDX-License-Identifier: Apache-2.0 */
/* What lies on the disk. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/compare/compare.h"

static struct torpor_error *sync_one(const char *path, int flags)
{
	TP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | flags);

	if (fd < 0)
		return tp_error_errno(errno, "open", path);
	if (fsync(fd) < 0)
		return tp_error_errno(errno, "sync", path);
	return NULL;
}

struct torpor_error *cmp_sync(const char *path)
{
	TP_FREE char *copy = tp_strdup(path);

	TP_TRY(sync_one(path, 0));
	return sync_one(dirname(copy), O_DIRECTORY);
}

uint64_t cmp_disk_bytes(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}
