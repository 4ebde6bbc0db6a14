/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's state besides main RAM: the small RAM blocks and the devices.
 *
 * A guest whose main RAM lies in a file of ours (mapped shared) gives it all by a `migrate` with
 * x-ignore-shared; and every guest takes it all in one composed stream.
 */
#ifndef TP_SNAPSHOT_STATE_H
#define TP_SNAPSHOT_STATE_H

#include "base/call.h"
#include "engine/guest.h"
#include "snapshot/stream.h"
#include "storage/image.h"

struct tp_state {
	struct tp_ram_block *blocks; /* main RAM first, the others in the stream's order */
	size_t n_blocks;
	uint8_t *small; /* the content of all but the first, end to end, in whole pages */
	size_t small_len;
	void *device; /* device sections, raw */
	size_t device_len;
};

void tp_state_deinit(struct tp_state *state);
static inline void tp_state_deinit_cleanup_(struct tp_state *state)
{
	tp_state_deinit(state);
}
#define TP_STATE __attribute__((cleanup(tp_state_deinit_cleanup_)))

/*
 * Takes the state of a stopped guest that has RAM_BYTES of main RAM mapped shared. The guest stays
 * stopped and can go on with `cont`.
 */
struct torpor_error *tp_state_take(struct tp_guest *guest, uint64_t ram_bytes,
	const struct tp_call *call, struct tp_state *state_out) TP_MUST_USE;

/*
 * The beginning of a stream that loads STATE: header and small blocks, all-zero pages left out,
 * since a new process's blocks are zero. It ends with a ram_break: whoever goes on begins with
 * ram_rest. *BYTES_OUT is the caller's to free.
 */
struct torpor_error *tp_state_compose_prefix(const char *machine_type, const struct tp_state *state,
	uint8_t **bytes_out, size_t *len_out) TP_MUST_USE;

/*
 * Has a guest that waits for its state begin to load, and gives it the first bytes of its stream.
 * It reads them, and then waits for what is written to *FD_OUT (a socket, the caller's); QEMU goes
 * on answering. If that is closed before the stream has ended QEMU gives up, and 7.2 exits.
 */
struct torpor_error *tp_state_begin_load(struct tp_guest *guest, const uint8_t *prefix,
	size_t prefix_len, const struct tp_call *call, int *fd_out) TP_MUST_USE;

/*
 * CORRUPT if BLOCKS, which IMAGE names, are more than any guest of ours has: more of them than a
 * stream takes, or small ones of more than 64 MiB together, which are to be held in memory.
 */
struct torpor_error *tp_state_check_blocks(
	const struct tp_ram_block *blocks, size_t n, const char *image) TP_MUST_USE;

/* Pieces of composing. */

/* A table of RAM blocks as the stream codec takes it; the caller's to free. */
struct tp_stream_block *tp_state_stream_blocks(
	const struct tp_ram_block *blocks, size_t n) TP_MUST_USE;

/*
 * The small blocks' pages that the loader hasn't got: it holds LOADED (as `small`), or zeros if
 * that is NULL. The first small block is FIRST_INDEX in the stream.
 */
struct torpor_error *tp_state_put_small(struct tp_stream_writer *w, const struct tp_state *state,
	const uint8_t *loaded, size_t first_index) TP_MUST_USE;

#endif
