/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capture: a guest's state, copied into an image writer while the guest stands still.
 *
 * Direct: devices by QEMU, changed pages from the process's memory; costs what changed.
 * Stream: everything by QEMU's `migrate`; the writer drops what equals the base; costs the RAM.
 * Own: for guests without a base, whose RAM is in a file of ours; only the small state comes from
 * QEMU.
 */
#ifndef TP_SNAPSHOT_CAPTURE_H
#define TP_SNAPSHOT_CAPTURE_H

#include "snapshot/memory.h"
#include "storage/image_writer.h"

enum tp_path {
	TP_PATH_AUTO, /* direct where rights and QEMU allow it */
	TP_PATH_DIRECT,
	TP_PATH_STREAM,
	TP_PATH_OWN, /* reported for guests without a base; can't be asked for */
};

const char *tp_path_name(enum tp_path path);

struct tp_capture_options {
	enum tp_path path;
	enum tp_scan_method scan;
};

struct tp_capture {
	enum tp_path path;
	enum tp_scan_method scan; /* what found the pages; AUTO if nothing had to */
	uint64_t stop_ns;	  /* CLOCK_MONOTONIC when `stop` was sent */
	uint64_t captured_ns;	  /* when the last page and device byte had been copied out */
	uint64_t pages_scanned;	  /* candidates handed to the writer */
	/* What the image's metadata needs. */
	struct tp_ram_block *blocks;
	size_t n_blocks;
	void *device;
	size_t device_len;
};

void tp_capture_deinit(struct tp_capture *capture);
static inline void tp_capture_deinit_cleanup_(struct tp_capture *capture)
{
	tp_capture_deinit(capture);
}
#define TP_CAPTURE __attribute__((cleanup(tp_capture_deinit_cleanup_)))

/*
 * What a clone's process needs once before it is captured, done while it waits: two QMP commands
 * and a walk through its maps, which the first park would take 2 ms for. What can't be done now,
 * or fails, is left to tp_capture_prepare, which tells.
 */
void tp_capture_prepare_ahead(struct tp_guest *guest, struct tp_memory *memory,
	const struct tp_capture_options *options, const struct tp_call *call);

/*
 * Before the stop: chooses the path, prepares it, and forecasts how many pages will be copied
 * (of a running guest; for reserving room). Nothing changes for the guest.
 */
struct torpor_error *tp_capture_prepare(struct tp_guest *guest, struct tp_memory *memory,
	const struct tp_capture_options *options, const struct tp_call *call,
	enum tp_path *path_out, uint64_t *pages_out) TP_MUST_USE;

/*
 * Stops the guest and copies its state into WRITER, by the path that tp_capture_prepare chose. The
 * guest is left stopped, also on failure: the caller ends it or lets it run on.
 */
struct torpor_error *tp_capture_run(struct tp_guest *guest, struct tp_memory *memory,
	enum tp_path path, enum tp_scan_method scan, struct tp_image_writer *writer,
	const struct tp_call *call, struct tp_capture *capture_out) TP_MUST_USE;

/*
 * A guest that isn't ours, out of the stream of its own `migrate`, which is read from FD to its
 * end: all pages into WRITER, which has no base, and the rest into *CAPTURE_OUT. Its main RAM is
 * the block RAM_ID of RAM_BYTES. Whoever has the guest must also see the migration completed.
 */
struct torpor_error *tp_capture_whole(int fd, const char *ram_id, uint64_t ram_bytes,
	struct tp_image_writer *writer, const struct tp_call *call,
	struct tp_capture *capture_out) TP_MUST_USE;

/* The image of such a capture, as tp_capture_commit; it needs no template. */
struct torpor_error *tp_capture_commit_whole(const struct tp_capture *capture,
	const struct tp_record *record, struct tp_image_writer *writer, const struct tp_call *call,
	struct tp_image_stats *stats_out) TP_MUST_USE;

/*
 * Completes the image of a capture and makes it durable. TEMPLATE_ID is the template that the
 * session came from: its base, or where it finds its kernel when it has no base any more.
 */
struct torpor_error *tp_capture_commit(const struct tp_capture *capture,
	const struct tp_memory *memory, const uint8_t template_id[TP_IDENTITY_LEN],
	const struct tp_record *record, struct tp_image_writer *writer, const struct tp_call *call,
	struct tp_image_stats *stats_out) TP_MUST_USE;

#endif
