/* SPDX-License-Identifier: Apache-2.0 */
/* Between the list of libvirt's peers and what they do, which needs libvirt to be built. */
#ifndef TP_COMPARE_PEER_LIBVIRT_H
#define TP_COMPARE_PEER_LIBVIRT_H

#include "benchmarks/compare/compare.h"

struct cmp_libvirt_peer {
	struct cmp_peer_ops ops; /* first */
	const char *format;	 /* of save_image_format: which of the daemons */
	bool managed;		 /* libvirt keeps the image, and where it is */
};

/* libvirt_guest.c, or libvirt_none.c where there is no libvirt to build with */
struct torpor_error *cmp_libvirt_start(const struct cmp_peer_ops *ops,
	const struct cmp_places *places, const struct cmp_cell *cell, const struct tp_call *call,
	struct cmp_guest **guest_out) TP_MUST_USE;
struct torpor_error *cmp_libvirt_save(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_save *out) TP_MUST_USE;
struct torpor_error *cmp_libvirt_restore(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_restore *out) TP_MUST_USE;
void cmp_libvirt_end(struct cmp_guest *guest);

/* The daemon of FORMAT answers, and what it calls to compress is there. */
struct torpor_error *cmp_libvirt_available(
	const struct cmp_places *places, const char *format) TP_MUST_USE;

#endif
