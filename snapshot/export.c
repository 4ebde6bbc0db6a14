/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images into streams.
 *
 * Pages come out of an image in no order, and from several threads; the stream wants them in order.
 * So what the image stores is put into a memory file first, and the rest is read from the base as
 * the stream is written.
 */
#include "snapshot/export.h"

#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "snapshot/state.h"
#include "snapshot/stream.h"

#define CHUNK_PAGES 256

struct export
{
	const struct tp_base *base;
	uint64_t ram_pages;
	int ram_fd;   /* main RAM as far as the image stores it */
	bool *stored; /* of each page of main RAM */
	struct tp_state state;
};

/* Distinct pages, so that nobody has to wait for anybody. */
static struct torpor_error *take_pages(
	void *data, const uint64_t *pages, const uint8_t *bytes, unsigned int n)
{
	struct export *e = data;

	for (unsigned int i = 0; i < n; i++) {
		const uint8_t *page = bytes + i * TP_PAGE_SIZE;
		if (pages[i] >= e->ram_pages) {
			memcpy(e->state.small + (pages[i] - e->ram_pages) * TP_PAGE_SIZE, page,
				TP_PAGE_SIZE);
			continue;
		}
		TP_TRY(tp_pwrite_full(
			e->ram_fd, page, TP_PAGE_SIZE, pages[i] * TP_PAGE_SIZE, "guest memory"));
		e->stored[pages[i]] = true;
	}
	return NULL;
}

static bool is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, TP_PAGE_SIZE - 1) == 0;
}

/* What is zero isn't sent: a new process's memory is. */
static struct torpor_error *put_chunk(struct export *e, struct tp_stream_writer *w, uint64_t first,
	uint64_t n, uint8_t *own, uint8_t *base)
{
	uint64_t offset = first * TP_PAGE_SIZE;

	TP_TRY(tp_pread_full(e->ram_fd, own, n * TP_PAGE_SIZE, offset, "guest memory"));
	if (e->base)
		TP_TRY(tp_pread_full(e->base->fd, base, n * TP_PAGE_SIZE, offset, "base"));
	for (uint64_t i = 0; i < n; i++) {
		const uint8_t *page =
			(e->base && !e->stored[first + i] ? base : own) + i * TP_PAGE_SIZE;
		if (!is_zero(page))
			TP_TRY(tp_stream_put_page(w, 0, offset + i * TP_PAGE_SIZE, page));
	}
	return NULL;
}

static struct torpor_error *put_ram(
	struct export *e, struct tp_stream_writer *w, const struct tp_call *call)
{
	TP_FREE uint8_t *own = tp_malloc(CHUNK_PAGES * TP_PAGE_SIZE);
	TP_FREE uint8_t *base = tp_malloc(CHUNK_PAGES * TP_PAGE_SIZE);

	for (uint64_t at = 0; at < e->ram_pages; at += CHUNK_PAGES) {
		uint64_t n = TP_MIN(e->ram_pages - at, (uint64_t)CHUNK_PAGES);
		TP_TRY(tp_call_check(call, "export", "guest memory"));
		TP_TRY(put_chunk(e, w, at, n, own, base));
	}
	return NULL;
}

/* All but main RAM; small blocks begin as the base has them. */
static struct torpor_error *take_state(
	struct export *e, const struct tp_image *image, const struct tp_base *base)
{
	const struct tp_image_meta *meta = tp_image_meta(image);

	e->state.blocks = meta->blocks;
	e->state.n_blocks = meta->n_blocks;
	for (size_t i = 1; i < meta->n_blocks; i++)
		e->state.small_len += TP_ROUND_UP(meta->blocks[i].len, TP_PAGE_SIZE);
	if (base && base->small_len != e->state.small_len)
		return tp_error(TORPOR_E_CORRUPT, "export", "guest memory",
			"its table of RAM blocks is not its template's");
	e->state.small =
		base ? tp_memdup(base->small, base->small_len) : tp_calloc(1, e->state.small_len);
	return tp_image_device(image, base ? base->device : NULL, base ? base->device_len : 0,
		&e->state.device, &e->state.device_len);
}

static struct torpor_error *write_all(struct export *e, const char *machine_type,
	const char *ram_id, int fd, const struct tp_call *call)
{
	struct tp_stream_fd sink = {.fd = fd, .call = call, .object = "exported state"};
	TP_STREAM_WRITER struct tp_stream_writer *w = tp_stream_writer_new(tp_stream_to_fd(&sink));
	TP_FREE struct tp_stream_block *blocks =
		tp_state_stream_blocks(e->state.blocks, e->state.n_blocks);

	assert(strlen(ram_id) < sizeof(blocks[0].name));
	strcpy(blocks[0].name, ram_id);
	/* A block's used length is told in whole pages. */
	for (size_t i = 0; i < e->state.n_blocks; i++)
		blocks[i].used_len = TP_ROUND_UP(blocks[i].used_len, TP_PAGE_SIZE);
	TP_TRY(tp_stream_put_header(w, machine_type));
	TP_TRY(tp_stream_put_ram_start(w, blocks, e->state.n_blocks));
	TP_TRY(put_ram(e, w, call));
	TP_TRY(tp_state_put_small(w, &e->state, NULL, 1));
	TP_TRY(tp_stream_put_ram_end(w));
	TP_TRY(tp_stream_put_devices(w, e->state.device, e->state.device_len));
	return tp_stream_put_end(w);
}

struct torpor_error *tp_export_stream(const struct tp_image *image, const struct tp_base *base,
	const char *machine_type, const char *ram_id, struct tp_workers *workers, int fd,
	const struct tp_call *call)
{
	const struct tp_image_meta *meta = tp_image_meta(image);
	struct export e = {
		.base = base,
		.ram_pages = meta->blocks[0].len / TP_PAGE_SIZE,
		.ram_fd = -1,
	};

	if (meta->blocks[0].len > TP_CONFIG_MEMORY_MAX)
		return tp_error(TORPOR_E_CORRUPT, "export", "guest memory",
			"it is larger than any guest's");
	TP_TRY(tp_state_check_blocks(meta->blocks, meta->n_blocks, "guest memory"));
	struct torpor_error *err = tp_memfd("torpor-export", e.ram_pages * TP_PAGE_SIZE, &e.ram_fd);

	e.stored = tp_calloc(e.ram_pages, sizeof(*e.stored));
	if (!err)
		err = take_state(&e, image, base);
	if (!err)
		err = tp_image_load(image, base ? base->fd : -1, workers, take_pages, &e, call);
	if (!err)
		err = write_all(&e, machine_type, ram_id, fd, call);
	free(e.state.small);
	free(e.state.device);
	free(e.stored);
	tp_close(e.ram_fd);
	return err;
}
