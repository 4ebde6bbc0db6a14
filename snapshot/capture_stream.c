/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capture through QEMU's own migration: needs no rights over the process, reads all of RAM.
 *
 * Pages go to the writer as they come; it drops those that equal the base. The writer wants them
 * in order and once, which is how QEMU sends a stopped guest's: block by block, each page once,
 * since nothing dirties them any more. Should a page of main RAM come again all the same, the
 * capture fails and the guest runs on; small blocks are gathered first, so there it doesn't matter.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/probe.h"
#include "engine/control.h"
#include "snapshot/capture_private.h"
#include "snapshot/stream.h"

struct stream_capture {
	const struct tp_base *base;
	struct tp_page_filler filler;
	/* For each of the stream's blocks its first page in the page space; UINT64_MAX: empty block
	 */
	uint64_t first_page[TP_STREAM_BLOCKS_MAX];
	uint64_t next_page; /* pages of main RAM below have come */
	uint8_t *small;
	uint64_t pages;
};

/* The clone's blocks must be the template's, in any order. */
static struct torpor_error *map_blocks(struct stream_capture *c, const struct tp_stream *stream)
{
	size_t n;
	const struct tp_stream_block *blocks = tp_stream_blocks(stream, &n);

	for (size_t i = 0; i < n; i++) {
		uint64_t page = 0;
		c->first_page[i] = UINT64_MAX;
		for (size_t j = 0; j < c->base->n_blocks; j++) {
			const struct tp_ram_block *known = &c->base->blocks[j];
			if (strcmp(known->name, blocks[i].name) == 0 &&
				known->len == blocks[i].used_len)
				c->first_page[i] = page;
			page += TP_DIV_UP(known->len, TP_PAGE_SIZE);
		}
		if (c->first_page[i] == UINT64_MAX && blocks[i].used_len > 0)
			return tp_error(TORPOR_E_QEMU, "capture RAM block", blocks[i].name,
				"the template has none of that name and size");
	}
	return NULL;
}

static struct torpor_error *put_main_page(
	struct stream_capture *c, uint64_t page, const uint8_t *content)
{
	if (page < c->next_page)
		return tp_error_hint(tp_error(TORPOR_E_QEMU, "capture page", NULL,
					     "QEMU sent page %ju twice", (uintmax_t)page),
			"The guest runs on; try again.");
	c->next_page = page + 1;
	return tp_filler_put(&c->filler, page, content);
}

static struct torpor_error *put_page(struct stream_capture *c, const struct tp_stream_item *item)
{
	uint64_t page = c->first_page[item->block] + item->offset / TP_PAGE_SIZE;

	c->pages++;
	if (page < c->base->ram_pages)
		return put_main_page(c, page, item->page);
	uint8_t *to = c->small + (page - c->base->ram_pages) * TP_PAGE_SIZE;
	if (item->page)
		memcpy(to, item->page, TP_PAGE_SIZE);
	else
		memset(to, 0, TP_PAGE_SIZE);
	return NULL;
}

static struct torpor_error *read_stream(
	struct stream_capture *c, struct tp_stream *stream, struct tp_capture *capture)
{
	struct tp_stream_item item;

	do {
		TP_TRY(tp_stream_next(stream, &item));
		switch (item.kind) {
		case TP_STREAM_BLOCKS:
			TP_TRY(map_blocks(c, stream));
			break;
		case TP_STREAM_PAGE:
			TP_TRY(put_page(c, &item));
			break;
		case TP_STREAM_DEVICES:
			free(capture->device);
			capture->device = tp_memdup(item.devices, item.devices_len);
			capture->device_len = item.devices_len;
			break;
		case TP_STREAM_END:
			break;
		}
	} while (item.kind != TP_STREAM_END);
	TP_TRY(tp_filler_end(&c->filler));
	return tp_put_small(c->filler.writer, c->small, c->base->small_len, c->base->small,
		c->base->ram_pages, c->filler.call);
}

static struct torpor_error *capture_from(
	struct stream_capture *c, int fd, struct tp_guest *guest, struct tp_capture *capture)
{
	TP_STREAM struct tp_stream *stream = NULL;
	struct tp_stream_fd source = {.fd = fd, .call = c->filler.call, .object = "guest state"};

	TP_TRY(tp_stream_open(tp_stream_from_fd(&source), &stream));
	TP_TRY(read_stream(c, stream, capture));
	return tp_guest_migrate_wait(guest, c->filler.call);
}

struct torpor_error *tp_capture_stream(struct tp_guest *guest, struct tp_memory *memory,
	struct tp_image_writer *writer, const struct tp_call *call, struct tp_capture *capture)
{
	TP_FREE uint8_t *small = tp_memdup(memory->base->small, memory->base->small_len);
	struct stream_capture c = {
		.base = memory->base, .filler = {.writer = writer, .call = call}, .small = small};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return tp_error_errno(errno, "make socket pair for", "capture");
	TP_FD int ours = pair[0];
	TP_FD int theirs = pair[1];

	capture->stop_ns = tp_now_ns();
	TP_TRY(tp_guest_stop(guest, call));
	TP_PROBE2(save__stopped, tp_image_writer_name(writer), capture->stop_ns);
	TP_TRY(tp_guest_migrate_start(guest, theirs, false, call));
	theirs = tp_close(theirs); /* QEMU has its own: its end is the stream's */
	struct torpor_error *err = capture_from(&c, ours, guest, capture);
	tp_filler_drop(&c.filler);
	if (err) {
		/* Only a guest whose migration has ended can go on. */
		ours = tp_close(ours);
		struct tp_call soon = tp_call_within(5 * TP_NSEC_PER_SEC);
		return tp_error_first(err, tp_guest_migrate_cancel(guest, &soon));
	}
	TP_PROBE1(save__captured, tp_image_writer_name(writer));
	capture->captured_ns = tp_now_ns();
	capture->pages_scanned = c.pages;
	return NULL;
}
