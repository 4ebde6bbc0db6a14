/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the ways of capturing. */
#ifndef TP_SNAPSHOT_CAPTURE_PRIVATE_H
#define TP_SNAPSHOT_CAPTURE_PRIVATE_H

#include "snapshot/capture.h"

/* Pages on their way to a writer, in rising order (capture_pages.c). */
struct tp_page_filler {
	struct tp_image_writer *writer;
	const struct tp_call *call;
	struct tp_page_block *block; /* being filled, or NULL */
};

/* CONTENT is a page, NULL for one of zeros; it is copied. */
struct torpor_error *tp_filler_put(
	struct tp_page_filler *filler, uint64_t page, const uint8_t *content) TP_MUST_USE;
/* What is left of a block goes to the writer. */
struct torpor_error *tp_filler_end(struct tp_page_filler *filler) TP_MUST_USE;
/* The same without its pages, for a writer that has failed or is about to be freed. */
void tp_filler_drop(struct tp_page_filler *filler);

/*
 * Hands those of the small blocks' pages to WRITER that differ from BASE_SMALL (NULL: from zero).
 * FIRST_PAGE is where small blocks begin in the page space.
 */
struct torpor_error *tp_put_small(struct tp_image_writer *writer, const uint8_t *small,
	size_t small_len, const uint8_t *base_small, uint64_t first_page,
	const struct tp_call *call) TP_MUST_USE;

/* The stream path (capture_stream.c). Sets what tp_capture_run leaves to a path. */
struct torpor_error *tp_capture_stream(struct tp_guest *guest, struct tp_memory *memory,
	struct tp_image_writer *writer, const struct tp_call *call,
	struct tp_capture *capture) TP_MUST_USE;

#endif
