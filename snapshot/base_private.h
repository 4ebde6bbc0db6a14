/* SPDX-License-Identifier: Apache-2.0 */
/* Making bases, shared by base.c (from an image) and freeze.c (from a guest). */
#ifndef TP_SNAPSHOT_BASE_PRIVATE_H
#define TP_SNAPSHOT_BASE_PRIVATE_H

#include "snapshot/base.h"

/* An empty base, counted once. */
struct tp_base *tp_base_new(void);

/* Copies the table of RAM blocks and derives the sizes of the page space from it. */
void tp_base_set_blocks(struct tp_base *base, const struct tp_ram_block *blocks, size_t n);

/* Seals the file. Nobody may have it mapped for writing and shared (EBUSY). */
struct torpor_error *tp_base_seal(struct tp_base *base) TP_MUST_USE;

/* Composes load_prefix from blocks and small blocks. */
struct torpor_error *tp_base_compose_prefix(struct tp_base *base) TP_MUST_USE;

/* What the template's image says; points into BASE. */
struct tp_image_meta tp_base_meta(const struct tp_base *base);

#endif
