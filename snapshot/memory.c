/* SPDX-License-Identifier: Apache-2.0 */
/* Where a guest's memory is. */
#include "snapshot/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/mem.h"
#include "engine/qmp.h"
#include "snapshot/state.h"

struct torpor_error *tp_memory_init_clone(
	struct tp_memory *memory, const struct tp_guest *guest, struct tp_base *base)
{
	pid_t pid = tp_guest_pid(guest);
	TP_ERROR struct torpor_error *denied = tp_procmem_allowed(pid);
	struct tp_mapping mapping = {0};

	if (!denied)
		TP_TRY(tp_procmem_find_file(pid, base->dev, base->inode, &mapping));
	*memory = TP_MEMORY_NONE;
	memory->base = tp_base_ref(base);
	memory->ram_pages = base->ram_pages;
	memory->denied = TP_TAKE(denied);
	memory->mapping = mapping;
	return NULL;
}

struct torpor_error *tp_memory_begin_load(
	struct tp_memory *memory, struct tp_guest *guest, const struct tp_call *call)
{
	const struct tp_base *base = memory->base;

	return tp_state_begin_load(guest, base ? base->load_prefix : NULL,
		base ? base->load_prefix_len : 0, call, &memory->load_fd);
}

/* Where FD is mapped in the process; MISMATCH if it isn't. */
static struct torpor_error *find_mapping(pid_t pid, int fd, struct tp_mapping *mapping_out)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return tp_error_errno(errno, "stat", "guest memory");
	struct torpor_error *err = tp_procmem_find_file(pid, st.st_dev, st.st_ino, mapping_out);
	if (err && torpor_error_code(err) == TORPOR_E_NOT_FOUND)
		return tp_error_recode(err, TORPOR_E_MISMATCH);
	return err;
}

/* The clone's own base may be another filling of the same template: only its mapping is needed. */
static struct torpor_error *find_base(pid_t pid, const struct tp_base *base,
	struct tp_workers *workers, const struct tp_call *call, struct tp_mapping *mapping_out)
{
	TP_FD int twin = -1;
	struct torpor_error *err = tp_procmem_find_file(pid, base->dev, base->inode, mapping_out);

	if (!err || torpor_error_code(err) != TORPOR_E_NOT_FOUND)
		return err;
	torpor_error_free(err);
	TP_TRY(tp_base_find_twin(base, pid, workers, call, &twin));
	return find_mapping(pid, twin, mapping_out);
}

struct torpor_error *tp_memory_adopt_clone(struct tp_memory *memory, const struct tp_guest *guest,
	struct tp_base *base, uint8_t *small_taken, struct tp_workers *workers,
	const struct tp_call *call)
{
	pid_t pid = tp_guest_pid(guest);
	TP_FREE uint8_t *small = small_taken;
	TP_ERROR struct torpor_error *denied = tp_procmem_allowed(pid);
	struct tp_mapping mapping = {0};

	if (!denied)
		TP_TRY(find_base(pid, base, workers, call, &mapping));
	*memory = TP_MEMORY_NONE;
	memory->base = tp_base_ref(base);
	memory->ram_pages = base->ram_pages;
	memory->denied = TP_TAKE(denied);
	memory->mapping = mapping;
	memory->small = TP_TAKE(small);
	return NULL;
}

struct torpor_error *tp_memory_adopt_own(
	struct tp_memory *memory, const struct tp_guest *guest, uint64_t ram_bytes)
{
	pid_t pid = tp_guest_pid(guest);
	struct tp_mapping mapping;
	TP_FD int fd = -1;

	struct torpor_error *err = tp_procmem_open_memfd(pid, TP_MEMORY_MEMFD, ram_bytes, 0, &fd);
	if (err && torpor_error_code(err) == TORPOR_E_NOT_FOUND)
		return tp_error_recode(err, TORPOR_E_MISMATCH);
	if (err)
		return err;
	TP_TRY(find_mapping(pid, fd, &mapping));
	tp_memory_init_own(memory, TP_TAKE_FD(fd), ram_bytes);
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

struct torpor_error *tp_memory_allowed(const struct tp_memory *memory, const struct tp_guest *guest)
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
