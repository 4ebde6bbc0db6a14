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

/*
 * What a Linux guest needs on its command line where none was given. Under TCG microvm has no clock
 * that Linux could calibrate its own by, and hangs trying. It resets by a triple fault: what Linux
 * tries first elsewhere has no effect there (QEMU: docs/system/i386/microvm.rst). Valid as SPEC.
 */
const char *tp_build_command_line(
	const struct torpor_template_spec *spec, const struct tp_guest_config *config);

/*
 * The machine that SPEC gets on this host, into CONFIG, and the QEMU that runs it: the accelerator
 * proven where it is to be chosen, CPU model and machine type by their lasting names.
 */
struct torpor_error *tp_build_choose_machine(struct torpor_engine *engine,
	const struct torpor_template_spec *spec, torpor_progress_fn *progress, void *progress_data,
	const struct tp_call *call, struct tp_guest_config *config,
	struct tp_qemu_use *qemu_out) TP_MUST_USE;

/* Removes a template's directory by its name under templates/; it may be gone, or just going. */
struct torpor_error *tp_template_remove_dir(
	struct torpor_engine *engine, const char *dir_name) TP_MUST_USE;

#endif
