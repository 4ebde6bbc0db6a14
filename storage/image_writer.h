/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing an image: pages are handed over in blocks and compressed and written behind the caller's
 * back; the file gets its name once it is complete and durable.
 *
 * A writer belongs to one thread; several writers may work at a time on the same workers and
 * staging. After a failure the only thing left to do is tp_image_writer_free.
 */
#ifndef TP_STORAGE_IMAGE_WRITER_H
#define TP_STORAGE_IMAGE_WRITER_H

#include "storage/image.h"
#include "storage/staging.h"
#include "storage/workers.h"

#define TP_IMAGE_LEVEL_DEFAULT 0       /* what measuring recommends */
#define TP_IMAGE_LEVEL_STORE   (-1000) /* no compression: bytes don't depend on zstd's version */

/* Everything here is the caller's and must stay until the writer is freed, `name` only for the
 * call. */
struct tp_image_writer_options {
	int dirfd;	  /* where the file goes */
	const char *name; /* at most 230 bytes, no slash */
	int base_fd;	  /* the template's page space, read by pread only; -1: all zeros */
	const void *device_prefix; /* the template's device state, or NULL */
	size_t device_prefix_len;
	struct tp_workers *workers;
	struct tp_staging *staging; /* NULL: one of the writer's own, of staging_bytes */
	uint64_t staging_bytes;	    /* 0: TP_STAGING_DEFAULT */
	int level;		    /* zstd's, or one of the two above */
	uint64_t reserve_bytes;	    /* room on the disk to reserve at once */
	const uint8_t *uuid;	    /* 16 bytes; NULL: random */
	uint64_t created_ns;	    /* CLOCK_REALTIME; 0: now */
	bool only_new;		    /* committing fails with EXISTS where NAME is there by then */
};

struct tp_image_stats {
	uint64_t pages_put;    /* handed over */
	uint64_t pages_stored; /* differed from the base */
	uint64_t blocks;
	uint64_t block_bytes;  /* of all blocks, stored */
	uint64_t device_bytes; /* of the device state, stored */
	uint64_t file_bytes;
	uint64_t sync_ns; /* spent making the file durable */
};

struct tp_image_writer;

/*
 * Creates the hidden temporary file ".NAME.<16 hex digits>.part" next to where NAME will be, and
 * reserves room for it. NOSPACE if there is none.
 */
struct torpor_error *tp_image_writer_new(const struct tp_image_writer_options *options,
	const struct tp_call *call, struct tp_image_writer **writer_out) TP_MUST_USE;
/* Aborts unless committed: nothing is left of the file. Takes NULL. Returns NULL. */
struct tp_image_writer *tp_image_writer_free(struct tp_image_writer *writer);
TP_DEFINE_CLEANUP(struct tp_image_writer *, tp_image_writer_free)

/* As given; valid as long as WRITER. */
const char *tp_image_writer_name(const struct tp_image_writer *writer);

/*
 * An empty block to fill, lent until it is put. Waits only while all staging memory is in use, so
 * hold no more than one block at a time. Reports failures of earlier blocks as well.
 */
struct torpor_error *tp_image_writer_get(struct tp_image_writer *writer, const struct tp_call *call,
	struct tp_page_block **block_out) TP_MUST_USE;

/*
 * Hands a block over; it isn't the caller's any more, also on failure. Page numbers must ascend
 * within a block and from block to block (INVALID otherwise). A block may be empty.
 */
struct torpor_error *tp_image_writer_put(
	struct tp_image_writer *writer, struct tp_page_block *block) TP_MUST_USE;

/*
 * Completes the file, makes it durable, and gives it its name, replacing what had it unless it is
 * to be new. On failure NAME is as it was, with one exception: where an older image was replaced
 * and only the very last step failed, syncing the directory, NAME is the new one, complete.
 * STATS_OUT may be NULL.
 */
struct torpor_error *tp_image_writer_commit(struct tp_image_writer *writer,
	const struct tp_image_meta *meta, const struct tp_call *call,
	struct tp_image_stats *stats_out) TP_MUST_USE;

/*
 * Removes temporary files in DIRFD that no living writer holds. The names of all other files, but
 * for those that begin with a dot, are given to EACH (may be NULL), in no order. REMOVED_OUT may be
 * NULL.
 */
typedef void tp_file_each(void *data, const char *name);
struct torpor_error *tp_image_sweep(
	int dirfd, tp_file_each *each, void *data, unsigned int *removed_out) TP_MUST_USE;

#endif
