/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing another process's memory. */
#include "snapshot/procmem.h"

#include <errno.h>
#include <stdio.h>
#include <sys/uio.h>

#include "base/lock.h"
#include "base/mem.h"
#include "snapshot/procmem_internal.h"

/* The most ranges one call takes (UIO_MAXIOV). */
#define RANGES_MAX 1024

typedef ssize_t transfer_fn(pid_t pid, const struct iovec *local, unsigned long n_local,
	const struct iovec *remote, unsigned long n_remote, unsigned long flags);

struct torpor_error *tp_procmem_error(int errnum, const char *step, pid_t pid)
{
	char object[32];

	/* Until it is waited for, a process that ended is root's in /proc: no rights are missing.
	 */
	if ((errnum == EPERM || errnum == EACCES) && tp_pid_has_ended(pid))
		errnum = ESRCH;
	(void)snprintf(object, sizeof(object), "process %d", (int)pid);
	struct torpor_error *err = tp_error_errno(errnum, step, object);
	switch (errnum) {
	case EPERM:
	case EACCES:
		err = tp_error_recode(err, TORPOR_E_DENIED);
		return tp_error_hint(err,
			"looking into a QEMU takes the same user and a parent of it (see "
			"kernel.yama.ptrace_scope), or CAP_SYS_PTRACE");
	case ENOENT:
	case ESRCH:
		return tp_error_recode(err, TORPOR_E_QEMU);
	case EFAULT:
		return tp_error_recode(err, TORPOR_E_IO);
	case ENOSYS:
		return tp_error_recode(err, TORPOR_E_UNSUPPORTED);
	default:
		return err;
	}
}

/* ---- Transfers ---- */

static struct iovec remote_range(uint64_t address, size_t len)
{
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): an address in the other process */
	return (struct iovec){.iov_base = (void *)(uintptr_t)address, .iov_len = len};
}

/* Drops LEN bytes from the front of the *N ranges at *RANGES. */
static void advance(struct iovec **ranges, size_t *n, size_t len)
{
	while (*n > 0 && len >= (*ranges)->iov_len) {
		len -= (*ranges)->iov_len;
		++*ranges;
		--*n;
	}
	if (*n > 0) {
		(*ranges)->iov_base = (uint8_t *)(*ranges)->iov_base + len;
		(*ranges)->iov_len -= len;
	}
}

/*
 * Between N remote ranges, none of them empty, and BUF, which has as many bytes as they have. The
 * ranges are used up. The kernel may stop anywhere, and does so in front of what it can't reach.
 */
static struct torpor_error *transfer(
	transfer_fn *fn, const char *step, pid_t pid, struct iovec *ranges, size_t n, uint8_t *buf)
{
	while (n > 0) {
		struct iovec local = {.iov_base = buf};
		for (size_t i = 0; i < n; i++)
			local.iov_len += ranges[i].iov_len;
		ssize_t done = fn(pid, &local, 1, ranges, n, 0);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return tp_procmem_error(errno, step, pid);
		if (done == 0)
			return tp_procmem_error(EFAULT, step, pid);
		advance(&ranges, &n, (size_t)done);
		buf += done;
	}
	return NULL;
}

static struct torpor_error *transfer_one(
	transfer_fn *fn, const char *step, pid_t pid, uint64_t address, uint8_t *buf, size_t len)
{
	struct iovec range = remote_range(address, len);

	return transfer(fn, step, pid, &range, len > 0, buf);
}

struct torpor_error *tp_procmem_read(pid_t pid, uint64_t address, void *buf, size_t len)
{
	return transfer_one(process_vm_readv, "read memory", pid, address, buf, len);
}

struct torpor_error *tp_procmem_write(pid_t pid, uint64_t address, const void *buf, size_t len)
{
	/* Written to only by readv. */
	return transfer_one(process_vm_writev, "write memory", pid, address, (uint8_t *)buf, len);
}

static struct torpor_error *check_runs(
	const struct tp_mapping *mapping, const struct tp_run *runs, size_t n)
{
	uint64_t pages = tp_mapping_pages(mapping);

	for (size_t i = 0; i < n; i++)
		if (runs[i].first_page > pages || runs[i].count > pages - runs[i].first_page)
			return tp_error(TORPOR_E_INVALID, "transfer pages", NULL,
				"pages %ju and %ju more lie outside of a mapping of %ju",
				(uintmax_t)runs[i].first_page, (uintmax_t)runs[i].count,
				(uintmax_t)pages);
	return NULL;
}

static struct torpor_error *transfer_runs(transfer_fn *fn, const char *step, pid_t pid,
	const struct tp_mapping *mapping, const struct tp_run *runs, size_t n, uint8_t *buf)
{
	struct iovec ranges[RANGES_MAX];
	size_t at = 0;

	TP_TRY(check_runs(mapping, runs, n));
	while (at < n) {
		size_t n_ranges = 0;
		size_t len = 0;
		for (; at < n && n_ranges < RANGES_MAX; at++) {
			if (runs[at].count == 0)
				continue;
			uint64_t address = mapping->start + runs[at].first_page * TP_PAGE_SIZE;
			ranges[n_ranges] = remote_range(address, runs[at].count * TP_PAGE_SIZE);
			len += ranges[n_ranges].iov_len;
			n_ranges++;
		}
		TP_TRY(transfer(fn, step, pid, ranges, n_ranges, buf));
		buf += len;
	}
	return NULL;
}

struct torpor_error *tp_procmem_read_runs(
	pid_t pid, const struct tp_mapping *mapping, const struct tp_run *runs, size_t n, void *buf)
{
	return transfer_runs(process_vm_readv, "read memory", pid, mapping, runs, n, buf);
}

struct torpor_error *tp_procmem_write_runs(pid_t pid, const struct tp_mapping *mapping,
	const struct tp_run *runs, size_t n, const void *buf)
{
	return transfer_runs(
		process_vm_writev, "write memory", pid, mapping, runs, n, (uint8_t *)buf);
}

/* ---- Rights ---- */

/*
 * Rights are checked before addresses are looked at (mm/process_vm_access.c), so an address that
 * no process can have tells whether they suffice, by EFAULT.
 */
static struct torpor_error *probe(transfer_fn *fn, const char *step, pid_t pid)
{
	uint8_t byte = 0;
	struct iovec local = {.iov_base = &byte, .iov_len = 1};
	struct iovec nowhere = remote_range(UINT64_C(1) << 63, 1);

	if (fn(pid, &local, 1, &nowhere, 1, 0) >= 0 || errno == EFAULT)
		return NULL;
	return tp_procmem_error(errno, step, pid);
}

struct torpor_error *tp_procmem_allowed(pid_t pid)
{
	TP_TRY(probe(process_vm_readv, "ask to read memory", pid));
	return probe(process_vm_writev, "ask to write memory", pid);
}

/* ---- Runs ---- */

void tp_runs_deinit(struct tp_runs *runs)
{
	free(runs->run);
	*runs = (struct tp_runs){0};
}

void tp_runs_add(struct tp_runs *runs, uint64_t first_page, uint64_t count)
{
	struct tp_run *last = runs->n > 0 ? &runs->run[runs->n - 1] : NULL;

	assert(!last || first_page >= last->first_page + last->count);
	if (count == 0)
		return;
	runs->pages += count;
	if (last && first_page == last->first_page + last->count) {
		last->count += count;
		return;
	}
	if (runs->n == runs->room) {
		runs->room = runs->room ? runs->room * 2 : 64;
		runs->run = tp_reallocarray(runs->run, runs->room, sizeof(*runs->run));
	}
	runs->run[runs->n++] = (struct tp_run){.first_page = first_page, .count = count};
}
