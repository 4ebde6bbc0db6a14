/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A template in memory: what all its clones share.
 *
 * The base file is a memfd that holds the template's page space: main RAM, which clones map
 * privately, and behind it the small RAM blocks (firmware, ACPI tables). It is sealed, so that
 * neither a guest's QEMU, which opens it for writing, nor a balloon that punches holes can change
 * it. It is read by pread alone: touching a hole through a mapping would allocate it for good.
 */
#ifndef TP_SNAPSHOT_BASE_H
#define TP_SNAPSHOT_BASE_H

#include <stdatomic.h>
#include <sys/types.h>

#include "snapshot/record.h"
#include "storage/identity.h"
#include "storage/image.h"
#include "storage/image_writer.h"

/* What the memory file of a base is called. */
#define TP_BASE_MEMFD "torpor-base"

/* Constant once made, but for the count; any thread may read it. */
struct tp_base {
	atomic_uint refs;
	int fd; /* the sealed page space */
	dev_t dev;
	ino_t inode;
	uint8_t id[TP_IDENTITY_LEN];
	struct tp_record record;
	char *config;		     /* the record as text, as the identity covers it */
	struct tp_ram_block *blocks; /* main RAM first */
	size_t n_blocks;
	uint64_t ram_pages; /* of main RAM */
	void *device;	    /* device sections, as the stream codec gives them */
	size_t device_len;
	uint8_t *small; /* the page space behind main RAM */
	size_t small_len;
	/* The beginning of every stream that a clone loads: header and small blocks. */
	uint8_t *load_prefix;
	size_t load_prefix_len;
	uint64_t fill_ns; /* what filling it from its image took; 0 if it was frozen here */
};

/* Counting. The last one closes the file; guests that still map it keep its memory. */
struct tp_base *tp_base_ref(struct tp_base *base);
/* Takes NULL. Returns NULL. */
struct tp_base *tp_base_unref(struct tp_base *base);
TP_DEFINE_CLEANUP(struct tp_base *, tp_base_unref)

/*
 * Fills a base from the template image NAME under DIRFD and checks that it is what the image's
 * identity says. MISMATCH or CORRUPT otherwise.
 */
struct torpor_error *tp_base_fill(int dirfd, const char *name, struct tp_workers *workers,
	const struct tp_call *call, struct tp_base **base_out) TP_MUST_USE;

/*
 * Takes a base back from a guest of process PID that maps it, in place of filling another: the
 * memory file is found among the process's, and has to be sealed as a base is and to hold what the
 * image's identity says; the pages of the image aren't read. DENIED without rights over the
 * process; MISMATCH if it has no such file.
 */
struct torpor_error *tp_base_take_back(int dirfd, const char *name, pid_t pid,
	struct tp_workers *workers, const struct tp_call *call,
	struct tp_base **base_out) TP_MUST_USE;

/*
 * Opens the memory file of process PID that holds what BASE holds, sealed like it: another filling
 * of the same template. MISMATCH if there is none.
 */
struct torpor_error *tp_base_find_twin(const struct tp_base *base, pid_t pid,
	struct tp_workers *workers, const struct tp_call *call, int *fd_out) TP_MUST_USE;

/*
 * What stands in for the template of guests that have none: it has RECORD (copied) and nothing
 * else, and its identity is all zeros.
 */
struct tp_base *tp_base_none(const struct tp_record *record);

/* Stores a base as a template image. OPTIONS' base and device prefix are ignored. */
struct torpor_error *tp_base_save(struct tp_base *base, struct tp_image_writer_options options,
	const struct tp_call *call, struct tp_image_stats *stats_out) TP_MUST_USE;

/*
 * Freezes a guest that booted over RAM_FD, a memfd of its RAM's size that it maps shared: stops
 * it, takes its devices and small blocks, ends it, seals the file. RAM_FD and GUEST are taken on
 * success and on failure. RECORD is copied.
 */
struct tp_guest;
struct torpor_error *tp_base_freeze(struct tp_guest *guest, int ram_fd,
	const struct tp_record *record, struct tp_workers *workers, const struct tp_call *call,
	struct tp_base **base_out) TP_MUST_USE;

/* Pages in the page space. */
static inline uint64_t tp_base_pages(const struct tp_base *base)
{
	return base->ram_pages + base->small_len / TP_PAGE_SIZE;
}

#endif
