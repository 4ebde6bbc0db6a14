/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded memory in which pages wait for being compressed, shared by all writers of a process.
 *
 * Memory is touched only as far as needed and then stays warm: the buffer given back last is
 * handed out first. All functions may be called from any thread.
 */
#ifndef TP_STORAGE_STAGING_H
#define TP_STORAGE_STAGING_H

#include "base/call.h"
#include "storage/format.h"

#define TP_STAGING_DEFAULT (256 * TP_MIB)

struct tp_staging;

/* Pages on their way into an image. */
struct tp_page_block {
	uint64_t pages[TP_FORMAT_BLOCK_PAGES]; /* page numbers, ascending */
	uint8_t *data;	    /* TP_FORMAT_BLOCK_BYTES, page-aligned; not to be changed */
	unsigned int count; /* pages filled in, from the start */
};

/* BYTES (0: TP_STAGING_DEFAULT) is rounded up to whole 2 MiB. Fails with NOMEM. */
struct torpor_error *tp_staging_new(uint64_t bytes, struct tp_staging **staging_out) TP_MUST_USE;
/* All buffers must have been given back. Takes NULL. Returns NULL. */
struct tp_staging *tp_staging_free(struct tp_staging *staging);
TP_DEFINE_CLEANUP(struct tp_staging *, tp_staging_free)

/* Touches the first BYTES, so that the first writer doesn't pay for page faults. */
void tp_staging_warm(struct tp_staging *staging, uint64_t bytes);
/* Gives memory that isn't in use back to the system, down to KEEP bytes. */
void tp_staging_trim(struct tp_staging *staging, uint64_t keep);

/* An empty block, or NULL if all are in use. */
struct tp_page_block *tp_staging_try_get(struct tp_staging *staging);
void tp_staging_give(struct tp_staging *staging, struct tp_page_block *block);

/*
 * Waiting for a block: begin, try once more, and if that gave nothing poll the descriptor that was
 * returned until it is readable, try again; then end. The descriptor stays the staging's.
 */
int tp_staging_wait_begin(struct tp_staging *staging);
void tp_staging_wait_end(struct tp_staging *staging);

struct tp_staging_usage {
	uint64_t limit_bytes;
	uint64_t used_bytes; /* handed out now */
	uint64_t peak_bytes; /* most that was handed out at a time */
};
struct tp_staging_usage tp_staging_usage(struct tp_staging *staging);

#endif
