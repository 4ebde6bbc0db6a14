/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Freezing a booted guest into a base.
 *
 * Its RAM is in our memfd already; what is missing is the state besides. The small blocks go into
 * the same file, behind main RAM, so that a page has one address wherever it comes from. The seal
 * can only be set once nobody maps the file for writing, so the process ends first.
 */
#include <errno.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "engine/control.h"
#include "snapshot/base_private.h"
#include "snapshot/state.h"

static struct torpor_error *append_small(struct tp_base *base, const struct tp_state *state)
{
	uint64_t ram_bytes = base->ram_pages * TP_PAGE_SIZE;

	if (ftruncate(base->fd, (off_t)(ram_bytes + state->small_len)) < 0)
		return tp_error_errno(errno, "grow", "base");
	return tp_pwrite_full(base->fd, state->small, state->small_len, ram_bytes, "base");
}

struct torpor_error *tp_base_freeze(struct tp_guest *guest_taken, int ram_fd,
	const struct tp_record *record, struct tp_workers *workers, const struct tp_call *call,
	struct tp_base **base_out)
{
	TP_CLEANUP(tp_guest_free) struct tp_guest *guest = guest_taken;
	TP_CLEANUP(tp_base_unref) struct tp_base *base = tp_base_new();
	TP_STATE struct tp_state state = {0};

	base->fd = ram_fd;
	TP_TRY(tp_guest_stop(guest, call));
	TP_TRY(tp_state_take(guest, record->guest.memory_bytes, call, &state));
	TP_TRY(tp_guest_end(TP_TAKE(guest), call));

	tp_record_copy(&base->record, record);
	base->config = tp_record_format(record);
	tp_base_set_blocks(base, state.blocks, state.n_blocks);
	TP_TRY(append_small(base, &state));
	base->device = TP_TAKE(state.device);
	base->device_len = state.device_len;
	base->small = TP_TAKE(state.small);
	TP_TRY(tp_base_compose_prefix(base));
	TP_TRY(tp_base_seal(base));
	struct tp_image_meta meta = tp_base_meta(base);
	TP_TRY(tp_identity_compute(base->fd, &meta, workers, call, base->id));
	*base_out = TP_TAKE(base);
	return NULL;
}
