/* SPDX-License-Identifier: Apache-2.0 */
/* Single pages into the blocks that a writer takes. */
#include <string.h>

#include "base/mem.h"
#include "snapshot/capture_private.h"

static const uint8_t zeros[TP_PAGE_SIZE];

struct torpor_error *tp_filler_put(
	struct tp_page_filler *filler, uint64_t page, const uint8_t *content)
{
	if (!filler->block) {
		TP_TRY(tp_image_writer_get(filler->writer, filler->call, &filler->block));
		filler->block->count = 0;
	}
	struct tp_page_block *block = filler->block;
	memcpy(block->data + block->count * TP_PAGE_SIZE, content ? content : zeros, TP_PAGE_SIZE);
	block->pages[block->count++] = page;
	return block->count == TP_FORMAT_BLOCK_PAGES ? tp_filler_end(filler) : NULL;
}

struct torpor_error *tp_filler_end(struct tp_page_filler *filler)
{
	return filler->block ? tp_image_writer_put(filler->writer, TP_TAKE(filler->block)) : NULL;
}

void tp_filler_drop(struct tp_page_filler *filler)
{
	if (filler->block) {
		filler->block->count = 0;
		tp_error_log(tp_filler_end(filler));
	}
}

struct torpor_error *tp_put_small(struct tp_image_writer *writer, const uint8_t *small,
	size_t small_len, const uint8_t *base_small, uint64_t first_page,
	const struct tp_call *call)
{
	struct tp_page_filler filler = {.writer = writer, .call = call};

	for (size_t offset = 0; offset < small_len; offset += TP_PAGE_SIZE) {
		const uint8_t *was = base_small ? base_small + offset : zeros;
		if (memcmp(small + offset, was, TP_PAGE_SIZE) != 0)
			TP_TRY(tp_filler_put(
				&filler, first_page + offset / TP_PAGE_SIZE, small + offset));
	}
	return tp_filler_end(&filler);
}
