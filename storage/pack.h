/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker does to a block of pages before it is written. Internal to storage. */
#ifndef TP_STORAGE_PACK_H
#define TP_STORAGE_PACK_H

#include "storage/codec.h"
#include "storage/staging.h"

/* A packed block: its stored bytes are in the page block's data. */
struct tp_packed {
	size_t stored_len;
	enum tp_format_codec codec;
	uint64_t stored_sum;
	uint64_t raw_sum;
};

/*
 * Drops the pages of BLOCK that equal those of BASE_FD (-1: that are all zero), and packs the rest
 * in place. Where none is left BLOCK->count is 0 and *PACKED_OUT untouched.
 */
struct torpor_error *tp_pack(struct tp_codec *codec, int level, int base_fd,
	struct tp_page_block *block, struct tp_packed *packed_out) TP_MUST_USE;

/* Reads the pages of BASE_FD into OUT, N * TP_PAGE_SIZE bytes, neighbours in one go. */
struct torpor_error *tp_read_base_pages(
	int base_fd, const uint64_t *pages, unsigned int n, uint8_t *out) TP_MUST_USE;

#endif
