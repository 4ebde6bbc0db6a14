/* SPDX-License-Identifier: Apache-2.0 */
/* The sections' content: RAM blocks and page index, encoded and decoded. Internal to storage. */
#ifndef TP_STORAGE_SECTIONS_H
#define TP_STORAGE_SECTIONS_H

#include "base/buf.h"
#include "storage/image.h"

/* BLOCKS must satisfy tp_image_space_pages. */
void tp_ram_encode(const struct tp_ram_block *blocks, size_t n_blocks, struct tp_buf *out);
/*
 * False: damaged. The rules of tp_image_space_pages are for the caller to check. Outputs are set
 * in any case and are to be freed with tp_ram_free.
 */
bool tp_ram_decode(
	const void *data, size_t len, struct tp_ram_block **blocks_out, size_t *n_blocks_out);
void tp_ram_free(struct tp_ram_block *blocks, size_t n_blocks);

/* Builds the page index: zeroed at first. Pages are added in ascending order. */
struct tp_index_builder {
	struct tp_buf encoded;
	uint64_t run_start;   /* of the run that isn't encoded yet */
	uint64_t run_end;     /* one behind its last page; run_start if there is none */
	uint64_t encoded_end; /* one behind the last page encoded */
};
void tp_index_add(struct tp_index_builder *builder, uint64_t page);
/* To be called once, behind the last page; `encoded` is then complete. */
void tp_index_finish(struct tp_index_builder *builder);
void tp_index_builder_deinit(struct tp_index_builder *builder);

/* The page index for looking up. */
struct tp_index_run {
	uint64_t page;	/* first page of the run */
	uint64_t place; /* how many pages are stored before it */
};
struct tp_index {
	struct tp_index_run *runs; /* owned; n_runs, and one with place == page_count behind them */
	size_t n_runs;
	uint64_t page_count;
};

/*
 * Decodes an index of PAGE_COUNT pages below SPACE_PAGES. CORRUPT if it isn't that, NOMEM. To be
 * freed with tp_index_deinit.
 */
struct torpor_error *tp_index_decode(const void *data, size_t len, uint64_t page_count,
	uint64_t space_pages, struct tp_index *index_out) TP_MUST_USE;
void tp_index_deinit(struct tp_index *index);
/* The numbers of the N pages stored from PLACE on; PLACE + N <= page_count. */
void tp_index_pages(const struct tp_index *index, uint64_t place, unsigned int n, uint64_t *pages);

#endif
