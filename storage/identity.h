/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A template's identity: SHA-256 over what it contains, whatever way it is stored.
 *
 * docs/FORMAT.md says which bytes. Session images name the template they depend on by it.
 */
#ifndef TP_STORAGE_IDENTITY_H
#define TP_STORAGE_IDENTITY_H

#include "storage/image.h"
#include "storage/workers.h"

#define TP_IDENTITY_LEN 32

/*
 * The identity of the template whose pages are in BASE_FD (read by pread; at least the page space
 * of META in size) and whose config, device state and RAM blocks are in META; META's kind and
 * template_id don't matter. WORKERS may be NULL.
 */
struct torpor_error *tp_identity_compute(int base_fd, const struct tp_image_meta *meta,
	struct tp_workers *workers, const struct tp_call *call,
	uint8_t id_out[TP_IDENTITY_LEN]) TP_MUST_USE;

/* The same, and MISMATCH unless it is META's template_id: to be called whenever a base was filled.
 */
struct torpor_error *tp_identity_check(int base_fd, const struct tp_image_meta *meta,
	struct tp_workers *workers, const struct tp_call *call) TP_MUST_USE;

#endif
