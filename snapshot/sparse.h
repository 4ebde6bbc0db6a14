/* SPDX-License-Identifier: Apache-2.0 */
/* Page spaces that lie in a file of our own: a base, or the RAM of a guest that maps it shared. */
#ifndef TP_SNAPSHOT_SPARSE_H
#define TP_SNAPSHOT_SPARSE_H

#include "storage/image_writer.h"

/*
 * Hands the first PAGES pages of FD to WRITER, but for holes, which aren't even read. What is
 * zero the writer leaves out. OBJECT names the file in messages.
 */
struct torpor_error *tp_sparse_put(struct tp_image_writer *writer, int fd, uint64_t pages,
	const char *object, const struct tp_call *call) TP_MUST_USE;

/* Writes N pages, given as a page sink gets them, to their places in FD. */
struct torpor_error *tp_sparse_write(int fd, const uint64_t *pages, const uint8_t *bytes,
	unsigned int n, const char *object) TP_MUST_USE;

#endif
