/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the private pages of a private file mapping.
 *
 * Such a page is anonymous memory where the mapping otherwise shows the file. The kernel tells the
 * two apart in /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst): bit 61 for the file's
 * pages, bit 63 for what is in memory, bit 62 for what is swapped out. A private page that was
 * swapped out has a swap entry in its place, whereas the file's page leaves nothing behind. A page
 * under migration counts as swapped out and keeps bit 61 if it is the file's. So a page is
 * private if it has bit 63 or 62 and not bit 61.
 *
 * Private copies are always small pages: copy-on-write breaks a huge page of the file up, and
 * the kernel collapses no private copies of a file into huge ones. Where a page of zeros was put
 * into the mapping it is not the file's, and counts.
 */
#include "snapshot/procmem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/types.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "snapshot/procmem_internal.h"

/* ---- The kernel's interface, for headers older than Linux 6.7 (linux/fs.h) ---- */

struct scan_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};

struct scan_arg {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end;
	__u64 vec;
	__u64 vec_len;
	__u64 max_pages;
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};
static_assert(sizeof(struct scan_arg) == 96, "as the kernel has it");

#define SCAN_IOCTL	 _IOWR('f', 16, struct scan_arg)
#define CATEGORY_FILE	 (UINT64_C(1) << 2)
#define CATEGORY_PRESENT (UINT64_C(1) << 3)
#define CATEGORY_SWAPPED (UINT64_C(1) << 4)

#define PAGEMAP_FILE	(UINT64_C(1) << 61)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)

#define REGIONS_AT_ONCE 512
#define ENTRIES_AT_ONCE (32 * TP_KIB)

/* Takes what was found, in ascending order. */
typedef void found_fn(void *data, uint64_t first_page, uint64_t count);

/* ---- By ioctl ---- */

static int scan_some(int fd, uint64_t start, uint64_t end, struct scan_region *regions, size_t n,
	uint64_t *walked_to)
{
	struct scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = n,
		.category_inverted = CATEGORY_FILE,
		.category_mask = CATEGORY_FILE,
		.category_anyof_mask = CATEGORY_PRESENT | CATEGORY_SWAPPED,
		/* The same for all that is found, so that regions aren't split. */
		.return_mask = CATEGORY_FILE,
	};
	int found = ioctl(fd, SCAN_IOCTL, &arg);

	*walked_to = arg.walk_end;
	return found;
}

static struct torpor_error *scan_by_ioctl(
	int fd, pid_t pid, const struct tp_mapping *mapping, found_fn *found, void *data)
{
	struct scan_region regions[REGIONS_AT_ONCE];
	uint64_t at = mapping->start;

	while (at < mapping->end) {
		uint64_t walked_to = 0;
		int n = scan_some(fd, at, mapping->end, regions, REGIONS_AT_ONCE, &walked_to);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == ENOTTY || errno == EINVAL))
			return tp_procmem_error(ENOSYS, "scan pages", pid);
		if (n < 0)
			return tp_procmem_error(errno, "scan pages", pid);
		if (walked_to <= at)
			return tp_procmem_error(ESRCH, "scan pages", pid);
		for (int i = 0; i < n; i++)
			found(data, (regions[i].start - mapping->start) / TP_PAGE_SIZE,
				(regions[i].end - regions[i].start) / TP_PAGE_SIZE);
		at = walked_to;
	}
	return NULL;
}

/* ---- By reading ---- */

static bool is_private(uint64_t entry)
{
	return (entry & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) && !(entry & PAGEMAP_FILE);
}

static struct torpor_error *scan_by_reading(
	int fd, pid_t pid, const struct tp_mapping *mapping, found_fn *found, void *data)
{
	TP_FREE uint64_t *entries = tp_malloc(ENTRIES_AT_ONCE * sizeof(*entries));
	uint64_t first = mapping->start / TP_PAGE_SIZE;
	uint64_t pages = tp_mapping_pages(mapping);

	for (uint64_t at = 0; at < pages;) {
		size_t want = TP_MIN(pages - at, ENTRIES_AT_ONCE) * sizeof(*entries);
		ssize_t got = pread(fd, entries, want, (off_t)((first + at) * sizeof(*entries)));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return tp_procmem_error(errno, "read page states", pid);
		size_t n = (size_t)got / sizeof(*entries);
		if (n == 0)
			return tp_procmem_error(ESRCH, "read page states", pid);
		for (size_t i = 0; i < n; i++)
			if (is_private(entries[i]))
				found(data, at + i, 1);
		at += n;
	}
	return NULL;
}

/* ---- Either ---- */

const char *tp_scan_method_name(enum tp_scan_method method)
{
	switch (method) {
	case TP_SCAN_PAGEMAP_SCAN:
		return "PAGEMAP_SCAN";
	case TP_SCAN_PAGEMAP:
		return "pagemap";
	default:
		return "auto";
	}
}

enum tp_scan_method tp_procmem_scan_method(void)
{
	TP_FD int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	struct scan_region region;
	uint64_t walked_to = 0;
	uint64_t here = (uintptr_t)&region / TP_PAGE_SIZE * TP_PAGE_SIZE;

	if (fd >= 0 && scan_some(fd, here, here + TP_PAGE_SIZE, &region, 1, &walked_to) >= 0)
		return TP_SCAN_PAGEMAP_SCAN;
	return TP_SCAN_PAGEMAP;
}

/*
 * Whether the process still has memory. Asked by reading, which has an answer for a process that
 * has ended (nothing to read); what the ioctl does then is not documented.
 */
static struct torpor_error *check_alive(int fd, pid_t pid, const struct tp_mapping *mapping)
{
	uint64_t entry = 0;
	off_t at = (off_t)(mapping->start / TP_PAGE_SIZE * sizeof(entry));
	ssize_t got = pread(fd, &entry, sizeof(entry), at);

	if (got < 0)
		return tp_procmem_error(errno, "read page states", pid);
	return got > 0 ? NULL : tp_procmem_error(ESRCH, "read page states", pid);
}

static struct torpor_error *scan(pid_t pid, const struct tp_mapping *mapping,
	enum tp_scan_method method, found_fn *found, void *data)
{
	TP_FREE char *path = tp_asprintf("/proc/%d/pagemap", (int)pid);
	TP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return tp_procmem_error(errno, "open page states", pid);
	TP_TRY(check_alive(fd, pid, mapping));
	if (method == TP_SCAN_AUTO)
		method = tp_procmem_scan_method();
	return method == TP_SCAN_PAGEMAP_SCAN ? scan_by_ioctl(fd, pid, mapping, found, data)
					      : scan_by_reading(fd, pid, mapping, found, data);
}

static void add_run(void *data, uint64_t first_page, uint64_t count)
{
	tp_runs_add(data, first_page, count);
}

struct torpor_error *tp_procmem_scan(pid_t pid, const struct tp_mapping *mapping,
	enum tp_scan_method method, struct tp_runs *runs_out)
{
	TP_RUNS struct tp_runs runs = {0};

	TP_TRY(scan(pid, mapping, method, add_run, &runs));
	*runs_out = runs;
	runs = (struct tp_runs){0};
	return NULL;
}

static void add_count(void *data, uint64_t first_page, uint64_t count)
{
	uint64_t *pages = data;

	(void)first_page;
	*pages += count;
}

struct torpor_error *tp_procmem_count(pid_t pid, const struct tp_mapping *mapping,
	enum tp_scan_method method, uint64_t *pages_out)
{
	uint64_t pages = 0;

	TP_TRY(scan(pid, mapping, method, add_count, &pages));
	*pages_out = pages;
	return NULL;
}
