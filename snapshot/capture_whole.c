/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capturing a guest that isn't ours: all of it out of one stream.
 *
 * QEMU sends RAM blocks by their size, the largest first, and each page of a stopped guest once; so
 * main RAM goes straight to the writer, and what is small is gathered. Should a page of main RAM
 * come twice all the same, the capture fails, and the guest goes on.
 */
#include <string.h>

#include "base/mem.h"
#include "snapshot/capture_private.h"
#include "snapshot/stream.h"

/* What comes beside main RAM; a graphics card's memory alone would be more than all else. */
#define SMALL_MAX (64 * TP_MIB)

#define NO_PAGE UINT64_MAX

struct whole {
	const char *ram_id;
	uint64_t ram_bytes;
	struct tp_page_filler filler;
	struct tp_capture *capture;
	/* For each of the stream's blocks its first page in the page space. */
	uint64_t first_page[TP_STREAM_BLOCKS_MAX];
	uint64_t next_page; /* pages of main RAM below have come */
	uint8_t *small;
	size_t small_len;
};

static void add_block(struct tp_capture *capture, const struct tp_stream_block *block)
{
	capture->blocks[capture->n_blocks].name = tp_strdup(block->name);
	capture->blocks[capture->n_blocks++].len = block->used_len;
}

/* Main RAM first, then the others in the stream's order. */
static struct torpor_error *lay_out(struct whole *w, const struct tp_stream *stream)
{
	size_t n;
	size_t main_ram = SIZE_MAX;
	const struct tp_stream_block *blocks = tp_stream_blocks(stream, &n);

	for (size_t i = 0; i < n; i++) {
		if (strcmp(blocks[i].name, w->ram_id) == 0 && blocks[i].used_len == w->ram_bytes)
			main_ram = i;
	}
	if (main_ram == SIZE_MAX)
		return tp_error(TORPOR_E_UNSUPPORTED, "read guest state", NULL,
			"it has no RAM block %s of %ju bytes", w->ram_id, (uintmax_t)w->ram_bytes);
	w->capture->blocks = tp_calloc(n, sizeof(*w->capture->blocks));
	add_block(w->capture, &blocks[main_ram]);
	for (size_t i = 0; i < n; i++) {
		w->first_page[i] = i == main_ram ? 0 : NO_PAGE;
		if (i == main_ram || blocks[i].used_len == 0)
			continue;
		if (blocks[i].used_len > SMALL_MAX - w->small_len)
			return tp_error(TORPOR_E_UNSUPPORTED, "read guest state", blocks[i].name,
				"this RAM block is too large to be stored beside main RAM");
		w->first_page[i] = (w->ram_bytes + w->small_len) / TP_PAGE_SIZE;
		w->small_len += TP_ROUND_UP(blocks[i].used_len, TP_PAGE_SIZE);
		add_block(w->capture, &blocks[i]);
	}
	w->small = tp_calloc(1, w->small_len);
	return NULL;
}

static struct torpor_error *put_main_page(struct whole *w, uint64_t page, const uint8_t *content)
{
	if (page < w->next_page)
		return tp_error(TORPOR_E_QEMU, "capture page", NULL, "QEMU sent page %ju twice",
			(uintmax_t)page);
	w->next_page = page + 1;
	return content ? tp_filler_put(&w->filler, page, content) : NULL;
}

static struct torpor_error *put_page(struct whole *w, const struct tp_stream_item *item)
{
	uint64_t first = w->first_page[item->block];
	uint64_t ram_pages = w->ram_bytes / TP_PAGE_SIZE;
	uint64_t page = first + item->offset / TP_PAGE_SIZE;

	w->capture->pages_scanned++;
	if (first == NO_PAGE)
		return tp_error(TORPOR_E_QEMU, "capture page", NULL, "its block has no pages");
	if (page < ram_pages)
		return put_main_page(w, page, item->page);
	uint8_t *to = w->small + (page - ram_pages) * TP_PAGE_SIZE;
	if (item->page)
		memcpy(to, item->page, TP_PAGE_SIZE);
	else
		memset(to, 0, TP_PAGE_SIZE);
	return NULL;
}

static struct torpor_error *read_stream(struct whole *w, struct tp_stream *stream)
{
	struct tp_capture *capture = w->capture;
	struct tp_stream_item item;

	do {
		TP_TRY(tp_stream_next(stream, &item));
		switch (item.kind) {
		case TP_STREAM_BLOCKS:
			TP_TRY(lay_out(w, stream));
			break;
		case TP_STREAM_PAGE:
			TP_TRY(put_page(w, &item));
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
	TP_TRY(tp_filler_end(&w->filler));
	if (!w->small)
		return tp_error(TORPOR_E_QEMU, "read guest state", NULL, "it names no RAM");
	return tp_put_small(w->filler.writer, w->small, w->small_len, NULL,
		w->ram_bytes / TP_PAGE_SIZE, w->filler.call);
}

struct torpor_error *tp_capture_whole(int fd, const char *ram_id, uint64_t ram_bytes,
	struct tp_image_writer *writer, const struct tp_call *call, struct tp_capture *capture_out)
{
	TP_CAPTURE struct tp_capture capture = {.path = TP_PATH_STREAM};
	TP_STREAM struct tp_stream *stream = NULL;
	struct tp_stream_fd source = {.fd = fd, .call = call, .object = "guest state"};
	struct whole w = {.ram_id = ram_id,
		.ram_bytes = ram_bytes,
		.filler = {.writer = writer, .call = call},
		.capture = &capture};

	struct torpor_error *err = tp_stream_open(tp_stream_from_fd(&source), &stream);
	if (!err)
		err = read_stream(&w, stream);
	tp_filler_drop(&w.filler);
	free(w.small);
	if (err)
		return err;
	*capture_out = capture;
	capture = (struct tp_capture){0};
	return NULL;
}

struct torpor_error *tp_capture_commit_whole(const struct tp_capture *capture,
	const struct tp_record *record, struct tp_image_writer *writer, const struct tp_call *call,
	struct tp_image_stats *stats_out)
{
	TP_FREE char *config = tp_record_format(record);
	struct tp_image_meta meta = {
		.kind = TP_IMAGE_FULL,
		.config = config,
		.device = capture->device,
		.device_len = capture->device_len,
		.blocks = capture->blocks,
		.n_blocks = capture->n_blocks,
	};

	return tp_image_writer_commit(writer, &meta, call, stats_out);
}
