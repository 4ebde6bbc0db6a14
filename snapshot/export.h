/* SPDX-License-Identifier: Apache-2.0 */
/* An image as one migration stream, which a QEMU that isn't Torpor's can load. */
#ifndef TP_SNAPSHOT_EXPORT_H
#define TP_SNAPSHOT_EXPORT_H

#include "snapshot/base.h"
#include "storage/image_reader.h"

/*
 * Writes all of IMAGE to FD (not taken) at its offset: RAM blocks, all pages that aren't zero, and
 * the devices. BASE is its template's; NULL for a full image. Main RAM is called RAM_ID in it.
 */
struct torpor_error *tp_export_stream(const struct tp_image *image, const struct tp_base *base,
	const char *machine_type, const char *ram_id, struct tp_workers *workers, int fd,
	const struct tp_call *call) TP_MUST_USE;

#endif
