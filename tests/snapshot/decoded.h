/* SPDX-License-Identifier: Apache-2.0 */
/* A whole stream, decoded: for tests. */
#ifndef TP_TESTS_SNAPSHOT_DECODED_H
#define TP_TESTS_SNAPSHOT_DECODED_H

#include "base/buf.h"
#include "base/error.h"
#include "snapshot/stream.h"

struct decoded_page {
	size_t block;
	uint64_t offset;
	bool is_zero;
	uint8_t bytes[TP_PAGE_SIZE];
};

struct decoded {
	char *machine; /* NULL: none */
	bool ignores_shared;
	struct tp_stream_block *blocks;
	size_t n_blocks;
	struct decoded_page *pages; /* as they came, repetitions included */
	size_t n_pages;
	struct tp_buf devices;
};

/* Decodes all of SOURCE; D is to be deinited even on failure. */
struct torpor_error *decode_source(struct decoded *d, struct tp_stream_source source) TP_MUST_USE;
/* Decodes DATA, which is handed to the decoder in pieces of at most STEP bytes. */
struct torpor_error *decode(
	struct decoded *d, const void *data, size_t len, size_t step) TP_MUST_USE;
void decoded_deinit(struct decoded *d);

/* Encodes D's machine, blocks, pages and devices. */
struct torpor_error *encode(const struct decoded *d, struct tp_stream_sink sink) TP_MUST_USE;

/* The index of the block called NAME, or SIZE_MAX. */
size_t decoded_find_block(const struct decoded *d, const char *name);
/* What BLOCK holds after all pages have been applied to zeros; the caller's to free. */
uint8_t *decoded_content(const struct decoded *d, size_t block);

#endif
