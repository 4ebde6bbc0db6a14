/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: an image's (or a template's) state into a fresh process, which is paused then.
 *
 * Nothing of the image reaches a guest that runs before all of it has been checked: the caller
 * sends `cont` only after success, and ends the process after a failure.
 */
#ifndef TP_SNAPSHOT_RESTORE_H
#define TP_SNAPSHOT_RESTORE_H

#include "snapshot/capture.h"
#include "storage/image_reader.h"

/*
 * Whether IMAGE, whose config is RECORD, can be loaded over BASE (NULL for a full image) by a QEMU
 * of version QEMU_VERSION: MISMATCH, saying what differs, if not. Cheap; no process is needed.
 */
struct torpor_error *tp_restore_check(const struct tp_image *image, const struct tp_record *record,
	const struct tp_base *base, const char *qemu_version, const char *object) TP_MUST_USE;

/* The part of it about QEMU, which holds for a template's own state too. */
struct torpor_error *tp_restore_check_qemu(
	const struct tp_record *record, const char *qemu_version, const char *object) TP_MUST_USE;

/*
 * Loads IMAGE; NULL: the state that the template was frozen in. PATH may be AUTO; what was used
 * comes out in *PATH_OUT. For guests without a base it is always TP_PATH_OWN.
 */
struct torpor_error *tp_restore(struct tp_guest *guest, struct tp_memory *memory,
	const struct tp_record *record, const struct tp_image *image, enum tp_path path,
	struct tp_workers *workers, const struct tp_call *call, enum tp_path *path_out) TP_MUST_USE;

#endif
