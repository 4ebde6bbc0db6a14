/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another process's memory: where things are mapped, which pages are private, and their bytes.
 *
 * Everything here needs rights over the process: for maps and page states ptrace read access, for
 * the bytes ptrace attach access (the same user, and an ancestor under Yama's ptrace_scope 1; or
 * CAP_SYS_PTRACE). Lacking rights is an error of code DENIED with a hint; a process that is gone
 * is one of code QEMU, since a QEMU is what is looked into.
 *
 * Nothing is locked. The caller keeps the process from changing what is looked at (a stopped
 * guest), and from being replaced by another one under the same pid (by holding it as a child or
 * by a pidfd).
 */
#ifndef TP_SNAPSHOT_PROCMEM_H
#define TP_SNAPSHOT_PROCMEM_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * Opens, for reading, a memfd of that NAME (as given to memfd_create) and SIZE that the process has
 * open and that has all of SEALS (fcntl(2), F_GET_SEALS). NOT_FOUND if it has none. What is in it
 * is what that process, or whoever gave it to it, has put there.
 */
struct torpor_error *tp_procmem_open_memfd(
	pid_t pid, const char *name, uint64_t size, int seals, int *fd_out) TP_MUST_USE;

/* A range of the process's addresses that shows one file, or anonymous memory (inode 0). */
struct tp_mapping {
	uint64_t start;	 /* address */
	uint64_t end;	 /* exclusive */
	uint64_t offset; /* of START in the file, in bytes */
	dev_t dev;
	uint64_t inode;
};

static inline uint64_t tp_mapping_pages(const struct tp_mapping *mapping)
{
	return (mapping->end - mapping->start) / TP_PAGE_SIZE;
}

/* Consecutive pages, counted from the start of a mapping. */
struct tp_run {
	uint64_t first_page;
	uint64_t count;
};

/* Runs in ascending order, neither touching nor overlapping. Zero-initialised: none. */
struct tp_runs {
	struct tp_run *run; /* owned */
	size_t n;
	size_t room;
	uint64_t pages; /* in all runs together */
};

void tp_runs_deinit(struct tp_runs *runs);
static inline void tp_runs_deinit_cleanup_(struct tp_runs *runs)
{
	tp_runs_deinit(runs);
}
#define TP_RUNS __attribute__((cleanup(tp_runs_deinit_cleanup_)))

/* Appends pages that lie behind all that is there, joining them to the last run if they touch. */
void tp_runs_add(struct tp_runs *runs, uint64_t first_page, uint64_t count);

/* ---- Finding (procmem_maps.c, procmem_blocks.c) ---- */

/*
 * The mapping of a file, known by device and inode (fstat). Adjacent pieces that continue each
 * other in the file are joined. NOT_FOUND if there is none; UNSUPPORTED if there is more than one,
 * or one with a gap.
 */
struct torpor_error *tp_procmem_find_file(
	pid_t pid, dev_t dev, uint64_t inode, struct tp_mapping *mapping_out) TP_MUST_USE;

/*
 * Where a RAM block of MAX_LEN bytes may lie in QEMU's anonymous memory: QEMU aligns blocks to
 * 2 MiB and puts an inaccessible guard page behind each (util/mmap-alloc.c, qemu_ram_mmap). MAX_LEN
 * 0: length unknown, then every block of at least MIN_LEN bytes. *MAPPINGS_OUT is allocated, the
 * caller's to free, NULL if nothing was found.
 */
struct torpor_error *tp_procmem_find_anon(pid_t pid, uint64_t min_len, uint64_t max_len,
	struct tp_mapping **mappings_out, size_t *n_out) TP_MUST_USE;

/* A line of the monitor's `info ramblock`. */
struct tp_ramblock {
	char name[256];
	uint64_t used_len;
	uint64_t max_len;
	uint64_t address; /* in QEMU's own address space; 0 if this QEMU doesn't tell */
};

/*
 * Reads the text that `info ramblock` (human-monitor-command) gives. QEMU up to 7.2 prints no
 * addresses. *BLOCKS_OUT is allocated and the caller's to free.
 */
struct torpor_error *tp_procmem_parse_ramblock(
	const char *text, struct tp_ramblock **blocks_out, size_t *n_out) TP_MUST_USE;

/* A RAM block whose address is asked for. */
struct tp_block_wanted {
	const char *name;    /* for messages */
	const void *content; /* USED_LEN bytes: what the block holds now */
	uint64_t used_len;
	uint64_t max_len; /* from `info ramblock`, or 0: unknown */
	uint64_t address; /* from `info ramblock`, or 0: unknown */
};

/*
 * The addresses of N anonymous RAM blocks, one in ADDRESSES_OUT for each. Every answer has been
 * confirmed by content, also those that came in as addresses. A block that isn't found, or is
 * found twice, gives UNSUPPORTED: then small blocks have to travel through the stream. Addresses
 * stay valid as long as the process lives.
 */
struct torpor_error *tp_procmem_locate_blocks(pid_t pid, const struct tp_block_wanted *wanted,
	size_t n, uint64_t *addresses_out) TP_MUST_USE;

/* ---- Which pages are private (procmem_scan.c) ---- */

enum tp_scan_method {
	TP_SCAN_AUTO,	      /* PAGEMAP_SCAN where the kernel has it, else PAGEMAP */
	TP_SCAN_PAGEMAP_SCAN, /* the ioctl, Linux 6.7 and later; UNSUPPORTED before */
	TP_SCAN_PAGEMAP,      /* reading /proc/PID/pagemap; every Linux, slower */
};

/* What AUTO means on this host. */
enum tp_scan_method tp_procmem_scan_method(void);

/* "PAGEMAP_SCAN", "pagemap" or "auto"; static storage. */
const char *tp_scan_method_name(enum tp_scan_method method);

/*
 * The pages of a private file mapping that are no longer the file's: written to, in memory or
 * swapped out. Pages that were only read, or never touched, are not among them. RUNS_OUT is
 * overwritten and the caller's to deinit.
 */
struct torpor_error *tp_procmem_scan(pid_t pid, const struct tp_mapping *mapping,
	enum tp_scan_method method, struct tp_runs *runs_out) TP_MUST_USE;

/* Only how many there are. A running guest is fine: then it's a forecast. */
struct torpor_error *tp_procmem_count(pid_t pid, const struct tp_mapping *mapping,
	enum tp_scan_method method, uint64_t *pages_out) TP_MUST_USE;

/* ---- The bytes (procmem.c) ---- */

/*
 * Whether bytes can be both read and written: NULL if so, else DENIED, QEMU (gone) or UNSUPPORTED.
 * Touches nothing in the process.
 */
struct torpor_error *tp_procmem_allowed(pid_t pid) TP_MUST_USE;

/*
 * Whole transfers of LEN bytes at ADDRESS. On failure an unknown part has been transferred. An
 * address that isn't mapped (for writing: writable) gives IO.
 *
 * Reading a page that nobody touched is not free: where a file has a hole, it is filled for good,
 * for all who map that file. So read what a scan returned, and nothing else.
 */
struct torpor_error *tp_procmem_read(
	pid_t pid, uint64_t address, void *buf, size_t len) TP_MUST_USE;
struct torpor_error *tp_procmem_write(
	pid_t pid, uint64_t address, const void *buf, size_t len) TP_MUST_USE;

/*
 * The same for the pages of N runs of MAPPING, in order, from or to a buffer that holds them
 * back to back: the sum of the runs' counts times TP_PAGE_SIZE bytes. INVALID if a run doesn't lie
 * in MAPPING.
 */
struct torpor_error *tp_procmem_read_runs(pid_t pid, const struct tp_mapping *mapping,
	const struct tp_run *runs, size_t n, void *buf) TP_MUST_USE;
struct torpor_error *tp_procmem_write_runs(pid_t pid, const struct tp_mapping *mapping,
	const struct tp_run *runs, size_t n, const void *buf) TP_MUST_USE;

#endif
