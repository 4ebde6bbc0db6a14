/* SPDX-License-Identifier: Apache-2.0 */
/* What building and storing templates share. */
#ifndef TP_POOL_BUILD_H
#define TP_POOL_BUILD_H

#include "pool/template.h"

/* Behind the dot in the name of a template's directory that isn't complete. */
#define TEMPLATE_PART_PREFIX "part-"

/*
 * Puts a base in use under NAME, counted once. BASE is taken, and QEMU, the one that runs its
 * guests; NULL: it is found when it is needed.
 */
struct torpor_template *tp_template_adopt(struct torpor_engine *engine, const char *name,
	struct tp_base *base, const struct tp_qemu_use *qemu, uint64_t image_bytes,
	uint64_t created_ns);

/* Removes a template's directory by its name under templates/. */
struct torpor_error *tp_template_remove_dir(
	struct torpor_engine *engine, const char *dir_name) TP_MUST_USE;

#endif
