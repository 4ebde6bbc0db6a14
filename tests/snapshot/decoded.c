/* SPDX-License-Identifier: Apache-2.0 */
/* A whole stream, decoded. */
#include "decoded.h"

#include <string.h>

#include "base/mem.h"

static void keep_page(struct decoded *d, const struct tp_stream_item *item)
{
	if ((d->n_pages & (d->n_pages - 1)) == 0)
		d->pages = tp_reallocarray(
			d->pages, TP_MAX(d->n_pages * 2, (size_t)1), sizeof(*d->pages));
	struct decoded_page *page = &d->pages[d->n_pages++];
	page->block = item->block;
	page->offset = item->offset;
	page->is_zero = !item->page;
	if (item->page)
		memcpy(page->bytes, item->page, TP_PAGE_SIZE);
	else
		memset(page->bytes, 0, TP_PAGE_SIZE);
}

static void keep_blocks(struct decoded *d, const struct tp_stream *s)
{
	const struct tp_stream_block *blocks = tp_stream_blocks(s, &d->n_blocks);

	d->blocks = tp_memdup(blocks, d->n_blocks * sizeof(*blocks));
}

struct torpor_error *decode_source(struct decoded *d, struct tp_stream_source source)
{
	TP_STREAM struct tp_stream *s = NULL;
	struct tp_stream_item item = {0};

	*d = (struct decoded){0};
	TP_TRY(tp_stream_open(source, &s));
	d->machine = tp_strdup(tp_stream_machine(s));
	d->ignores_shared = tp_stream_ignores_shared(s);
	for (;;) {
		TP_TRY(tp_stream_next(s, &item));
		switch (item.kind) {
		case TP_STREAM_BLOCKS:
			keep_blocks(d, s);
			break;
		case TP_STREAM_PAGE:
			keep_page(d, &item);
			break;
		case TP_STREAM_DEVICES:
			tp_buf_put(&d->devices, item.devices, item.devices_len);
			break;
		case TP_STREAM_END:
			return NULL;
		}
	}
}

struct stepped {
	const uint8_t *at;
	size_t left;
	size_t step;
};

static struct torpor_error *read_stepped(void *data, void *buf, size_t len, size_t *got_out)
{
	struct stepped *from = data;
	size_t got = TP_MIN(TP_MIN(len, from->left), from->step);

	if (got > 0)
		memcpy(buf, from->at, got);
	from->at += got;
	from->left -= got;
	*got_out = got;
	return NULL;
}

struct torpor_error *decode(struct decoded *d, const void *data, size_t len, size_t step)
{
	struct stepped from = {.at = data, .left = len, .step = step};

	return decode_source(d, (struct tp_stream_source){.read = read_stepped, .data = &from});
}

void decoded_deinit(struct decoded *d)
{
	free(d->machine);
	free(d->blocks);
	free(d->pages);
	tp_buf_deinit(&d->devices);
	*d = (struct decoded){0};
}

struct torpor_error *encode(const struct decoded *d, struct tp_stream_sink sink)
{
	TP_STREAM_WRITER struct tp_stream_writer *w = tp_stream_writer_new(sink);

	TP_TRY(tp_stream_put_header(w, d->machine));
	TP_TRY(tp_stream_put_ram_start(w, d->blocks, d->n_blocks));
	for (size_t i = 0; i < d->n_pages; i++) {
		const struct decoded_page *page = &d->pages[i];
		TP_TRY(tp_stream_put_page(
			w, page->block, page->offset, page->is_zero ? NULL : page->bytes));
	}
	TP_TRY(tp_stream_put_ram_end(w));
	TP_TRY(tp_stream_put_devices(w, d->devices.data, d->devices.len));
	return tp_stream_put_end(w);
}

size_t decoded_find_block(const struct decoded *d, const char *name)
{
	for (size_t i = 0; i < d->n_blocks; i++)
		if (strcmp(d->blocks[i].name, name) == 0)
			return i;
	return SIZE_MAX;
}

uint8_t *decoded_content(const struct decoded *d, size_t block)
{
	uint8_t *content = tp_calloc(d->blocks[block].used_len, 1);

	for (size_t i = 0; i < d->n_pages; i++)
		if (d->pages[i].block == block)
			memcpy(content + d->pages[i].offset, d->pages[i].bytes, TP_PAGE_SIZE);
	return content;
}
