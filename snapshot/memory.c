/* SPDX-License-Identifier: Apache-2.0 */
/* Where a guest's memory is. */
#include "snapshot/memory.h"

#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "engine/qmp.h"

/* Hands the guest a file to load from that already holds what all clones of BASE load. */
static struct torpor_error *ready_load(
	struct tp_guest *guest, const struct tp_base *base, const struct tp_call *call, int *fd_out)
{
	TP_FD int fd = -1;

	TP_TRY(tp_memfd("torpor-load", 0, &fd));
	TP_TRY(tp_pwrite_full(fd, base->load_prefix, base->load_prefix_len, 0, "guest state"));
	TP_TRY(tp_guest_load_prepare(guest, fd, false, call));
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}

struct torpor_error *tp_memory_init_clone(struct tp_memory *memory, struct tp_guest *guest,
	struct tp_base *base, const struct tp_call *call)
{
	pid_t pid = tp_guest_pid(guest);
	TP_ERROR struct torpor_error *denied = tp_procmem_allowed(pid);
	struct tp_mapping mapping = {0};
	int load_fd;

	if (!denied)
		TP_TRY(tp_procmem_find_file(pid, base->dev, base->inode, &mapping));
	TP_TRY(ready_load(guest, base, call, &load_fd));
	*memory = TP_MEMORY_NONE;
	memory->base = tp_base_ref(base);
	memory->ram_pages = base->ram_pages;
	memory->load_fd = load_fd;
	memory->load_prefix = base->load_prefix_len;
	memory->denied = TP_TAKE(denied);
	memory->mapping = mapping;
	return NULL;
}

void tp_memory_init_own(struct tp_memory *memory, int ram_fd, uint64_t ram_bytes)
{
	*memory = TP_MEMORY_NONE;
	memory->ram_fd = ram_fd;
	memory->ram_pages = ram_bytes / TP_PAGE_SIZE;
}

void tp_memory_deinit(struct tp_memory *memory)
{
	tp_base_unref(memory->base);
	tp_close(memory->ram_fd);
	tp_close(memory->load_fd);
	tp_device_file_deinit(&memory->devices);
	torpor_error_free(memory->denied);
	free(memory->small);
	free(memory->small_addresses);
	free(memory->small_now);
	*memory = TP_MEMORY_NONE;
}

struct torpor_error *tp_memory_allowed(
	const struct tp_memory *memory, const struct tp_guest *guest)
{
	const struct torpor_error *denied = memory->denied;

	if (!denied)
		return tp_procmem_allowed(tp_guest_pid(guest));
	struct torpor_error *err = tp_error(torpor_error_code(denied),
		"look into the guest's memory", NULL, "%s", torpor_error_message(denied));
	const char *hint = torpor_error_hint(denied);
	return hint ? tp_error_hint(err, "%s", hint) : err;
}

/* What QEMU itself says of a block's size and place, where it says it. */
static void ask_qemu(
	struct tp_block_wanted *wanted, size_t n, const struct tp_ramblock *told, size_t n_told)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < n_told; j++) {
			if (strcmp(wanted[i].name, told[j].name) == 0) {
				wanted[i].max_len = told[j].max_len;
				wanted[i].address = told[j].address;
			}
		}
	}
}

struct torpor_error *tp_memory_locate_small(
	struct tp_memory *memory, struct tp_guest *guest, const struct tp_call *call)
{
	const struct tp_base *base = memory->base;
	size_t n = base->n_blocks - 1;
	const uint8_t *content = memory->small ? memory->small : base->small;
	TP_FREE struct tp_block_wanted *wanted = tp_calloc(n, sizeof(*wanted));
	TP_FREE uint64_t *addresses = tp_calloc(n, sizeof(*addresses));
	TP_FREE struct tp_ramblock *told = NULL;
	TP_FREE char *text = NULL;
	size_t n_told;

	if (memory->small_addresses)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		wanted[i].name = base->blocks[i + 1].name;
		wanted[i].used_len = base->blocks[i + 1].len;
		wanted[i].content = content;
		content += TP_ROUND_UP(wanted[i].used_len, TP_PAGE_SIZE);
	}
	TP_TRY(tp_qmp_hmp(tp_guest_qmp(guest), "info ramblock", call, &text));
	TP_TRY(tp_procmem_parse_ramblock(text, &told, &n_told));
	ask_qemu(wanted, n, told, n_told);
	TP_TRY(tp_procmem_locate_blocks(tp_guest_pid(guest), wanted, n, addresses));
	memory->small_addresses = TP_TAKE(addresses);
	return NULL;
}
