/* SPDX-License-Identifier: Apache-2.0 */
/* Files that another process has open (proc(5), /proc/PID/fd). */
#include "snapshot/procmem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "snapshot/procmem_internal.h"

/* Whether the link ENTRY leads to LINK. Nothing is opened that isn't known to be a memfd. */
static bool leads_to(int dir_fd, const char *entry, const char *link)
{
	char target[256];
	ssize_t n = readlinkat(dir_fd, entry, target, sizeof(target));

	return n > 0 && (size_t)n == strlen(link) && memcmp(target, link, (size_t)n) == 0;
}

static bool fits(int fd, uint64_t size, int seals)
{
	struct stat st;
	int has = fcntl(fd, F_GET_SEALS);

	return has >= 0 && (has & seals) == seals && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       (uint64_t)st.st_size == size;
}

/* Several descriptors may show the same file: the first that fits will do. */
static int find(DIR *dir, const char *link, uint64_t size, int seals)
{
	struct dirent *entry;

	while ((entry = readdir(dir))) {
		if (!leads_to(dirfd(dir), entry->d_name, link))
			continue;
		TP_FD int fd = openat(
			dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (fd >= 0 && fits(fd, size, seals))
			return TP_TAKE_FD(fd);
	}
	return -1;
}

struct torpor_error *tp_procmem_open_memfd(
	pid_t pid, const char *name, uint64_t size, int seals, int *fd_out)
{
	TP_FREE char *path = tp_asprintf("/proc/%d/fd", (int)pid);
	TP_FREE char *link = tp_asprintf("/memfd:%s (deleted)", name);
	DIR *dir = opendir(path);

	if (!dir)
		return tp_procmem_error(errno == ENOENT ? ESRCH : errno, "list files", pid);
	int fd = find(dir, link, size, seals);
	closedir(dir);
	if (fd < 0)
		return tp_error(TORPOR_E_NOT_FOUND, "find memory", NULL,
			"process %d has no memory file \"%s\" of %" PRIu64 " bytes with seals %#x",
			(int)pid, name, size, (unsigned int)seals);
	*fd_out = fd;
	return NULL;
}
