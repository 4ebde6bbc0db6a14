/* SPDX-License-Identifier: Apache-2.0 */
/* Finding mappings in /proc/PID/maps (proc(5)). */
#include "snapshot/procmem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "base/mem.h"
#include "snapshot/procmem_internal.h"

/* A process can have 65,530 mappings (vm.max_map_count), of some hundred bytes each. */
#define MAPS_LEN_MAX (32 * TP_MIB)

/* QEMU's alignment of anonymous RAM on x86-64 (include/qemu/osdep.h, QEMU_VMALLOC_ALIGN). */
#define RAM_ALIGN (2 * TP_MIB)

static struct torpor_error *parse_vma(const char *line, pid_t pid, struct tp_vma *vma_out)
{
	struct tp_mapping range = {0};
	unsigned int dev_major = 0;
	unsigned int dev_minor = 0;
	char perms[5] = "";
	char name = '\0';

	int fields = sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %c",
		&range.start, &range.end, perms, &range.offset, &dev_major, &dev_minor,
		&range.inode, &name);
	if (fields < 7 || strlen(perms) != 4 || range.start > range.end)
		return tp_error(TORPOR_E_INTERNAL, "read mappings", NULL,
			"process %d has a line that is not understood: %s", (int)pid, line);
	range.dev = makedev(dev_major, dev_minor);
	*vma_out = (struct tp_vma){.range = range, .named = fields == 8};
	memcpy(vma_out->perms, perms, sizeof(perms));
	return NULL;
}

static struct torpor_error *read_maps(pid_t pid, char **text_out)
{
	TP_FREE char *path = tp_asprintf("/proc/%d/maps", (int)pid);
	size_t len = 0;

	struct torpor_error *err = tp_read_file(AT_FDCWD, path, MAPS_LEN_MAX, text_out, &len);
	int errnum = err ? torpor_error_errno(err) : 0;
	if (errnum) {
		torpor_error_free(err);
		return tp_procmem_error(errnum, "read mappings", pid);
	}
	return err;
}

struct torpor_error *tp_procmem_vmas(pid_t pid, struct tp_vma **vmas_out, size_t *n_out)
{
	TP_FREE char *text = NULL;
	TP_FREE struct tp_vma *vmas = NULL;
	char *save = NULL;
	size_t n = 0;
	size_t room = 0;

	TP_TRY(read_maps(pid, &text));
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (n == room) {
			room = room ? room * 2 : 256;
			vmas = tp_reallocarray(vmas, room, sizeof(*vmas));
		}
		TP_TRY(parse_vma(line, pid, &vmas[n]));
		n++;
	}
	if (n == 0) /* ended, but not yet waited for */
		return tp_procmem_error(ESRCH, "read mappings", pid);
	*vmas_out = TP_TAKE(vmas);
	*n_out = n;
	return NULL;
}

struct torpor_error *tp_procmem_find_file(
	pid_t pid, dev_t dev, uint64_t inode, struct tp_mapping *mapping_out)
{
	TP_FREE struct tp_vma *vmas = NULL;
	struct tp_mapping found = {0};
	size_t n = 0;

	TP_TRY(tp_procmem_vmas(pid, &vmas, &n));
	for (size_t i = 0; i < n; i++) {
		const struct tp_mapping *next = &vmas[i].range;
		if (next->dev != dev || next->inode != inode)
			continue;
		uint64_t len = found.end - found.start;
		if (len == 0)
			found = *next;
		else if (next->start == found.end && next->offset == found.offset + len)
			found.end = next->end;
		else
			return tp_error(TORPOR_E_UNSUPPORTED, "find memory", NULL,
				"process %d maps the file with inode %" PRIu64
				" in pieces, at %#" PRIx64 " and at %#" PRIx64,
				(int)pid, inode, found.start, next->start);
	}
	if (found.end == found.start)
		return tp_error(TORPOR_E_NOT_FOUND, "find memory", NULL,
			"process %d does not map the file with inode %" PRIu64, (int)pid, inode);
	*mapping_out = found;
	return NULL;
}

/*
 * The block that ends with VMA, in front of GUARD. The kernel joins what is alike and adjacent, so
 * a block may have been joined to something in front of it, but never across its guard page.
 */
static bool holds_block(const struct tp_vma *vma, const struct tp_vma *guard, uint64_t min_len,
	uint64_t max_len, struct tp_mapping *block_out)
{
	if (vma->range.inode != 0 || vma->named || strcmp(vma->perms, "rw-p") != 0)
		return false;
	if (guard->range.start != vma->range.end || strcmp(guard->perms, "---p") != 0)
		return false;
	uint64_t vma_len = vma->range.end - vma->range.start;
	uint64_t start =
		max_len > 0 ? vma->range.end - max_len : TP_ROUND_UP(vma->range.start, RAM_ALIGN);
	if (max_len > vma_len || start % RAM_ALIGN != 0)
		return false;
	if (start >= vma->range.end || vma->range.end - start < min_len)
		return false;
	*block_out = (struct tp_mapping){.start = start, .end = vma->range.end};
	return true;
}

struct tp_mapping *tp_procmem_anon_among(
	const struct tp_vma *vmas, size_t n_vmas, uint64_t min_len, uint64_t max_len, size_t *n_out)
{
	struct tp_mapping *found = NULL;
	struct tp_mapping block;
	size_t n = 0;

	for (size_t i = 0; i + 1 < n_vmas; i++) {
		if (!holds_block(&vmas[i], &vmas[i + 1], min_len, max_len, &block))
			continue;
		found = tp_reallocarray(found, n + 1, sizeof(*found));
		found[n++] = block;
	}
	*n_out = n;
	return found;
}

struct torpor_error *tp_procmem_find_anon(pid_t pid, uint64_t min_len, uint64_t max_len,
	struct tp_mapping **mappings_out, size_t *n_out)
{
	TP_FREE struct tp_vma *vmas = NULL;
	size_t n_vmas = 0;

	TP_TRY(tp_procmem_vmas(pid, &vmas, &n_vmas));
	*mappings_out = tp_procmem_anon_among(vmas, n_vmas, min_len, max_len, n_out);
	return NULL;
}
