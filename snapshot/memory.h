/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a guest's memory is reached: the guest as capture and restore see it.
 *
 * Either it is a clone, whose main RAM is a private mapping of a base; or it has no base (it
 * booted by itself) and its main RAM is a memfd of its own, mapped shared.
 */
#ifndef TP_SNAPSHOT_MEMORY_H
#define TP_SNAPSHOT_MEMORY_H

#include "engine/control.h"
#include "engine/guest.h"
#include "snapshot/base.h"
#include "snapshot/procmem.h"

/* Belongs to whoever has the guest; one thread at a time. */
struct tp_memory {
	struct tp_base *base; /* counted; NULL: no base */
	int ram_fd;	      /* without a base: main RAM; else -1 */
	uint64_t ram_pages;

	/*
	 * Where the stream is written that the guest loads; it began to when it was started. A
	 * clone has the base's small blocks by then, and the rest of the RAM is what it waits for;
	 * without a base it waits for the first byte. -1: it was loaded, or never will be.
	 */
	int load_fd;

	struct tp_device_file devices; /* for capturing; -1: not made yet */

	/* Clones only. */
	struct torpor_error *denied; /* why the process can't be looked into; NULL: it can */
	struct tp_mapping mapping;   /* of main RAM, if not denied */
	uint8_t *small;		   /* what the small blocks held after loading; NULL: as the base */
	uint64_t *small_addresses; /* of each small block; NULL: not located yet */
	uint8_t *small_now;	   /* where capture copies them to; made before the stop */
};

/*
 * Looks a fresh clone of BASE over: where its RAM is mapped, and whether this process may read and
 * write it. Lack of rights is no failure: `denied` says why, and the stream path is left.
 */
struct torpor_error *tp_memory_init_clone(struct tp_memory *memory, const struct tp_guest *guest,
	struct tp_base *base) TP_MUST_USE;

/*
 * The same for a guest that was started and loaded by another process, and whose base BASE is, or
 * holds the same as. SMALL is what its small blocks held after loading, taken; NULL: as the base.
 * MISMATCH if its memory shows something else.
 */
struct torpor_error *tp_memory_adopt_clone(struct tp_memory *memory, const struct tp_guest *guest,
	struct tp_base *base, uint8_t *small, struct tp_workers *workers,
	const struct tp_call *call) TP_MUST_USE;

/* Takes over the guest's memory where it has no base; MISMATCH if it has none of RAM_BYTES. */
struct torpor_error *tp_memory_adopt_own(
	struct tp_memory *memory, const struct tp_guest *guest, uint64_t ram_bytes) TP_MUST_USE;

/* What the file of a guest's own RAM is called. */
#define TP_MEMORY_MEMFD "torpor-ram"

/* For a guest that maps RAM_FD, which is taken, shared. */
void tp_memory_init_own(struct tp_memory *memory, int ram_fd, uint64_t ram_bytes);

/*
 * Has the guest begin to load, as far as it is known what. Failing leaves MEMORY to be deinited.
 */
struct torpor_error *tp_memory_begin_load(struct tp_memory *memory, struct tp_guest *guest,
	const struct tp_call *call) TP_MUST_USE;

/* What memory is before one of the two. */
#define TP_MEMORY_NONE                                                                             \
	((struct tp_memory){                                                                       \
		.ram_fd = -1, .load_fd = -1, .devices = {.read_fd = -1, .write_fd = -1}})

void tp_memory_deinit(struct tp_memory *memory);
static inline void tp_memory_deinit_cleanup_(struct tp_memory *memory)
{
	tp_memory_deinit(memory);
}
#define TP_MEMORY __attribute__((cleanup(tp_memory_deinit_cleanup_)))

/*
 * Whether the clone's memory can be read and written now: rights may have ended since it was looked
 * over. NULL if so, else as tp_procmem_allowed.
 */
struct torpor_error *tp_memory_allowed(
	const struct tp_memory *memory, const struct tp_guest *guest) TP_MUST_USE;

/*
 * Finds the small blocks in the clone's process, so that capture can read them; done at most once.
 * UNSUPPORTED where this QEMU doesn't let them be found: stream is left.
 */
struct torpor_error *tp_memory_locate_small(
	struct tp_memory *memory, struct tp_guest *guest, const struct tp_call *call) TP_MUST_USE;

#endif
