/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a QEMU can do on this host, asked of a QEMU without a machine. Starting it takes some 20 ms;
 * its answers hold as long as the binary and the boot.
 */
#ifndef TP_ENGINE_INSPECT_H
#define TP_ENGINE_INSPECT_H

#include "engine/config.h"
#include "engine/direct.h"

struct tp_inspector;

/*
 * Starts it, under ACCEL, bound to this process. Of OPTIONS, `bound` and `run_dir` mean nothing.
 * QEMU where it doesn't start, with its words: no /dev/kvm, for one.
 */
struct torpor_error *tp_inspector_start(const struct tp_direct_options *options,
	enum tp_accel accel, const struct tp_call *call,
	struct tp_inspector **inspector_out) TP_MUST_USE;

/* Takes NULL. Returns NULL. */
struct tp_inspector *tp_inspector_end(struct tp_inspector *inspector);
TP_DEFINE_CLEANUP(struct tp_inspector *, tp_inspector_end)

/* "7.2.22". Valid as long as INSPECTOR. */
const char *tp_inspect_version(const struct tp_inspector *inspector);

/*
 * What ALIAS ("pc", "q35") stands for in this QEMU: "pc-i440fx-7.2", "pc-q35-7.2". A full name
 * stands for itself. UNSUPPORTED if there is no such machine. The caller's to free.
 */
struct torpor_error *tp_inspect_machine(struct tp_inspector *inspector, const char *alias,
	const struct tp_call *call, char **machine_type_out) TP_MUST_USE;

/*
 * Chooses a CPU model that `enforce` will pass under the inspector's accelerator: the first of
 * Westmere-v1, Nehalem-v1 and qemu64-v1 that the host takes whole; where it takes none,
 * qemu64-v1 less what is missing ("qemu64-v1,-pni"). Named and versioned, so that it is the same
 * model on the next host. The caller's to free.
 */
struct torpor_error *tp_inspect_cpu(struct tp_inspector *inspector, const struct tp_call *call,
	char **cpu_model_out) TP_MUST_USE;

/* The choice alone, from the reply to query-cpu-definitions. */
struct torpor_error *tp_cpu_choose(json_t *definitions, char **cpu_model_out) TP_MUST_USE;

#endif
