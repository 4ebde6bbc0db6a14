/* SPDX-License-Identifier: Apache-2.0 */
/* Taking and loading small RAM blocks and devices. */
#include "snapshot/state.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "engine/control.h"
#include "snapshot/stream.h"

/* Firmware and tables come to less than 1 MiB; a stream that names more isn't ours. */
#define SMALL_MAX (64 * TP_MIB)

void tp_state_deinit(struct tp_state *state)
{
	for (size_t i = 0; i < state->n_blocks; i++)
		free(state->blocks[i].name);
	free(state->blocks);
	free(state->small);
	free(state->device);
	*state = (struct tp_state){0};
}

/*
 * Where each of the stream's blocks lies in `small`, in bytes; UINT64_MAX for main RAM and for
 * blocks of no length.
 */
struct layout {
	uint64_t offset[TP_STREAM_BLOCKS_MAX];
};

static void add_block(struct tp_state *state, const struct tp_stream_block *block)
{
	state->blocks[state->n_blocks].name = tp_strdup(block->name);
	state->blocks[state->n_blocks].len = block->used_len;
	state->n_blocks++;
}

/* Lays the stream's blocks out: main RAM, the one of RAM_BYTES, first. */
static struct torpor_error *lay_out(const struct tp_stream *stream, uint64_t ram_bytes,
	struct tp_state *state, struct layout *layout)
{
	size_t n;
	size_t main_ram = SIZE_MAX;
	const struct tp_stream_block *blocks = tp_stream_blocks(stream, &n);

	for (size_t i = 0; i < n && main_ram == SIZE_MAX; i++) {
		if (blocks[i].used_len == ram_bytes)
			main_ram = i;
	}
	if (main_ram == SIZE_MAX)
		return tp_error(TORPOR_E_QEMU, "read guest state", NULL,
			"no RAM block has the guest's %ju bytes", (uintmax_t)ram_bytes);

	state->blocks = tp_calloc(n, sizeof(*state->blocks));
	add_block(state, &blocks[main_ram]);
	for (size_t i = 0; i < n; i++) {
		layout->offset[i] = UINT64_MAX;
		if (i == main_ram || blocks[i].used_len == 0)
			continue;
		if (blocks[i].used_len > SMALL_MAX - state->small_len)
			return tp_error(TORPOR_E_UNSUPPORTED, "read guest state", blocks[i].name,
				"this RAM block is too large to be stored beside main RAM");
		layout->offset[i] = state->small_len;
		state->small_len += TP_ROUND_UP(blocks[i].used_len, TP_PAGE_SIZE);
		add_block(state, &blocks[i]);
	}
	state->small = tp_calloc(1, state->small_len);
	return NULL;
}

static struct torpor_error *take_page(
	struct tp_state *state, const struct layout *layout, const struct tp_stream_item *item)
{
	if (layout->offset[item->block] == UINT64_MAX)
		return tp_error(TORPOR_E_QEMU, "read guest state", NULL,
			"main RAM is in the stream though it is mapped shared");
	uint8_t *to = state->small + layout->offset[item->block] + item->offset;
	if (item->page)
		memcpy(to, item->page, TP_PAGE_SIZE);
	else
		memset(to, 0, TP_PAGE_SIZE);
	return NULL;
}

static struct torpor_error *read_state(
	struct tp_stream *stream, uint64_t ram_bytes, struct tp_state *state)
{
	struct layout layout;
	struct tp_stream_item item;

	do {
		TP_TRY(tp_stream_next(stream, &item));
		switch (item.kind) {
		case TP_STREAM_BLOCKS:
			TP_TRY(lay_out(stream, ram_bytes, state, &layout));
			break;
		case TP_STREAM_PAGE:
			TP_TRY(take_page(state, &layout, &item));
			break;
		case TP_STREAM_DEVICES:
			state->device = tp_memdup(item.devices, item.devices_len);
			state->device_len = item.devices_len;
			break;
		case TP_STREAM_END:
			break;
		}
	} while (item.kind != TP_STREAM_END);
	if (state->n_blocks == 0)
		return tp_error(TORPOR_E_QEMU, "read guest state", NULL, "it names no RAM");
	return NULL;
}

static struct torpor_error *take_from(int fd, struct tp_guest *guest, uint64_t ram_bytes,
	const struct tp_call *call, struct tp_state *state)
{
	TP_STREAM struct tp_stream *stream = NULL;
	struct tp_stream_fd source = {.fd = fd, .call = call, .object = "guest state"};

	TP_TRY(tp_stream_open(tp_stream_from_fd(&source), &stream));
	TP_TRY(read_state(stream, ram_bytes, state));
	return tp_guest_migrate_wait(guest, call);
}

struct torpor_error *tp_state_take(struct tp_guest *guest, uint64_t ram_bytes,
	const struct tp_call *call, struct tp_state *state_out)
{
	TP_STATE struct tp_state state = {0};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return tp_error_errno(errno, "make socket pair for", "guest state");
	TP_FD int ours = pair[0];
	TP_FD int theirs = pair[1];
	TP_TRY(tp_guest_migrate_start(guest, theirs, true, call));
	theirs = tp_close(theirs); /* QEMU has its own: its end is the stream's */
	struct torpor_error *err = take_from(ours, guest, ram_bytes, call, &state);
	if (err) {
		/* Only a guest whose migration has ended can go on. */
		struct tp_call soon = tp_call_within(5 * TP_NSEC_PER_SEC);
		ours = tp_close(ours);
		return tp_error_first(err, tp_guest_migrate_cancel(guest, &soon));
	}
	*state_out = state;
	state = (struct tp_state){0};
	return NULL;
}

struct torpor_error *tp_state_check_blocks(
	const struct tp_ram_block *blocks, size_t n, const char *image)
{
	uint64_t small = 0;

	for (size_t i = 1; i < n && small <= SMALL_MAX; i++)
		small += TP_MIN(blocks[i].len, SMALL_MAX + 1);
	if (n > TP_STREAM_BLOCKS_MAX || small > SMALL_MAX)
		return tp_error(TORPOR_E_CORRUPT, "check image", image,
			"its RAM blocks beside main RAM are too many, or too large");
	return NULL;
}

static bool is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, TP_PAGE_SIZE - 1) == 0;
}

struct tp_stream_block *tp_state_stream_blocks(const struct tp_ram_block *blocks, size_t n)
{
	struct tp_stream_block *listed = tp_calloc(n, sizeof(*listed));

	for (size_t i = 0; i < n; i++) {
		assert(strlen(blocks[i].name) < sizeof(listed[i].name));
		strcpy(listed[i].name, blocks[i].name);
		listed[i].used_len = blocks[i].len;
	}
	return listed;
}

/* What the loader's block holds before: LOADED's page, or zeros as in any new process. */
static bool is_there(const uint8_t *page, const uint8_t *loaded)
{
	return loaded ? memcmp(page, loaded, TP_PAGE_SIZE) == 0 : is_zero(page);
}

struct torpor_error *tp_state_put_small(struct tp_stream_writer *w, const struct tp_state *state,
	const uint8_t *loaded, size_t first_index)
{
	size_t at = 0;

	for (size_t i = 1; i < state->n_blocks; i++) {
		for (uint64_t offset = 0; offset < state->blocks[i].len; offset += TP_PAGE_SIZE) {
			const uint8_t *page = state->small + at;
			if (!is_there(page, loaded ? loaded + at : NULL))
				TP_TRY(tp_stream_put_page(w, first_index + i - 1, offset,
					is_zero(page) ? NULL : page));
			at += TP_PAGE_SIZE;
		}
	}
	return NULL;
}

struct torpor_error *tp_state_compose_prefix(const char *machine_type, const struct tp_state *state,
	uint8_t **bytes_out, size_t *len_out)
{
	size_t n = state->n_blocks - 1; /* all but main RAM */
	TP_FREE struct tp_stream_block *blocks = tp_state_stream_blocks(state->blocks + 1, n);
	TP_BUF struct tp_buf buf = {0};
	TP_STREAM_WRITER struct tp_stream_writer *w = tp_stream_writer_new(tp_stream_to_buf(&buf));

	TP_TRY(tp_stream_put_header(w, machine_type));
	TP_TRY(tp_stream_put_ram_start(w, blocks, n));
	TP_TRY(tp_state_put_small(w, state, NULL, 0));
	TP_TRY(tp_stream_put_ram_break(w));
	*len_out = buf.len;
	*bytes_out = TP_TAKE(buf.data);
	return NULL;
}

struct torpor_error *tp_state_begin_load(struct tp_guest *guest, const uint8_t *prefix,
	size_t prefix_len, const struct tp_call *call, int *fd_out)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return tp_error_errno(errno, "make socket pair for loading", tp_guest_name(guest));
	TP_FD int ours = pair[0];
	TP_FD int theirs = pair[1];
	TP_TRY(tp_guest_load_prepare(guest, theirs, false, call));
	TP_TRY(tp_guest_load_start(guest, call));
	TP_TRY(tp_write_stream(ours, prefix, prefix_len, call, "guest state"));
	*fd_out = TP_TAKE_FD(ours);
	return NULL;
}
