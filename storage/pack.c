/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing pages with the base, and packing those that differ. */
#include "storage/pack.h"

#include <string.h>

#include "base/fd.h"

struct torpor_error *tp_read_base_pages(
	int base_fd, const uint64_t *pages, unsigned int n, uint8_t *out)
{
	unsigned int done = 0;

	while (done < n) {
		unsigned int run = 1;
		while (done + run < n && pages[done + run] == pages[done] + run)
			run++;
		TP_TRY(tp_pread_full(base_fd, out + done * TP_PAGE_SIZE, run * TP_PAGE_SIZE,
			pages[done] * TP_PAGE_SIZE, "the base"));
		done += run;
	}
	return NULL;
}

static bool is_zero(const uint8_t *data, size_t len)
{
	/* All bytes are zero if the first is, and each equals the one before it. */
	return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* Leaves in BLOCK, and in BASE beside it, the pages that differ. BASE may be NULL: all zeros. */
static void drop_equal(struct tp_page_block *block, uint8_t *base)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < block->count; i++) {
		uint8_t *page = block->data + i * TP_PAGE_SIZE;
		bool equal = base ? memcmp(page, base + i * TP_PAGE_SIZE, TP_PAGE_SIZE) == 0
				  : is_zero(page, TP_PAGE_SIZE);
		if (equal)
			continue;
		if (kept != i) {
			memcpy(block->data + kept * TP_PAGE_SIZE, page, TP_PAGE_SIZE);
			if (base)
				memcpy(base + kept * TP_PAGE_SIZE, base + i * TP_PAGE_SIZE,
					TP_PAGE_SIZE);
		}
		block->pages[kept++] = block->pages[i];
	}
	block->count = kept;
}

struct torpor_error *tp_pack(struct tp_codec *codec, int level, int base_fd,
	struct tp_page_block *block, struct tp_packed *packed_out)
{
	uint8_t *base = base_fd >= 0 ? tp_codec_base(codec) : NULL;
	struct tp_packed packed;

	if (base)
		TP_TRY(tp_read_base_pages(base_fd, block->pages, block->count, base));
	drop_equal(block, base);
	if (block->count == 0)
		return NULL;

	size_t len = block->count * TP_PAGE_SIZE;
	if (base && is_zero(base, len))
		base = NULL; /* nothing to find in it */
	packed.raw_sum = tp_sum_pages(block->pages, block->count, block->data);
	TP_TRY(tp_codec_pack_block(
		codec, level, block->data, len, base, &packed.codec, &packed.stored_len));
	packed.stored_sum = tp_sum(block->data, packed.stored_len);
	*packed_out = packed;
	return NULL;
}
