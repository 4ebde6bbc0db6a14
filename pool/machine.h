/* SPDX-License-Identifier: Apache-2.0 */
/* Which machine a guest gets on this host: accelerator, CPU model, versioned machine type. */
#ifndef TP_POOL_MACHINE_H
#define TP_POOL_MACHINE_H

#include "pool/engine.h"

struct tp_boot_files {
	const char *kernel;
	const char *initrd; /* or NULL */
	const char *append; /* or NULL */
};

/*
 * Asks QEMU what CONFIG's machine, the CPU model and its own version are called under ACCEL, and
 * puts the answers into CONFIG (strings there are replaced). CPU (may be NULL) is taken as it is;
 * else the best portable model is chosen. QEMU if it doesn't run with that accelerator.
 */
struct torpor_error *tp_machine_resolve(struct torpor_engine *engine, enum tp_accel accel,
	const char *cpu, const struct tp_call *call, struct tp_guest_config *config) TP_MUST_USE;

/*
 * Resolves CONFIG for KVM and boots FILES with it until the kernel has printed, at most 10 s, or
 * remembers what came of that earlier in this boot of the host. *WHY_NOT_OUT is NULL if KVM works,
 * else the reason, the caller's to free.
 */
struct torpor_error *tp_machine_try_kvm(struct torpor_engine *engine,
	const struct tp_boot_files *files, const char *cpu, const struct tp_call *call,
	struct tp_guest_config *config, char **why_not_out) TP_MUST_USE;

#endif
