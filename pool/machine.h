/* SPDX-License-Identifier: Apache-2.0 */
/* Which machine a guest gets on this host, and which QEMU runs it. */
#ifndef TP_POOL_MACHINE_H
#define TP_POOL_MACHINE_H

#include "engine/qemu_info.h"
#include "pool/engine.h"

struct tp_boot_files {
	const char *kernel;
	const char *initrd; /* or NULL */
	const char *append; /* or NULL */
};

/* The QEMU for guests of one configuration. Strings are owned. */
struct tp_qemu_use {
	char *program; /* NULL: the engine's own */
	char *version;
	uint32_t traits; /* enum tp_qemu_trait, or'ed */
	char *identity;	 /* of the program's file when it was asked (engine/kept.h) */
	bool portable;	 /* the CPU model is the same on every host */
};

void tp_qemu_use_deinit(struct tp_qemu_use *use);

/* Asks PROGRAM (NULL: the engine's own QEMU), as tp_qemu_ask; kept in the state directory. */
struct torpor_error *tp_machine_ask(struct torpor_engine *engine, const char *program,
	enum tp_accel accel, const struct tp_call *call, struct tp_qemu_info *info_out) TP_MUST_USE;

/*
 * Asks QEMU what CONFIG's machine, the CPU model and its own version are called under ACCEL, and
 * puts the answers into CONFIG (strings there are replaced). CPU (may be NULL) gets its version
 * where it lacks one (tp_qemu_cpu_resolve); else the best portable model is chosen. QEMU if it
 * doesn't run with that accelerator.
 */
struct torpor_error *tp_machine_resolve(struct torpor_engine *engine, const char *program,
	enum tp_accel accel, const char *cpu, const struct tp_call *call,
	struct tp_guest_config *config) TP_MUST_USE;

/*
 * Resolves CONFIG for KVM and boots FILES with it until the kernel has printed, at most 10 s, or
 * remembers what came of that earlier in this boot of the host. *WHY_NOT_OUT is NULL if KVM works,
 * else the reason, the caller's to free.
 */
struct torpor_error *tp_machine_try_kvm(struct torpor_engine *engine, const char *program,
	const struct tp_boot_files *files, const char *cpu, const struct tp_call *call,
	struct tp_guest_config *config, char **why_not_out) TP_MUST_USE;

/* What speaks against running CONFIG with the QEMU that INFO is about; each NULL or the caller's.
 */
struct tp_machine_fit {
	char *qemu;    /* it is older than the one that wrote the state */
	char *machine; /* it hasn't got the machine type */
	char *cpu;     /* it, or the host, hasn't got the CPU model */
};

void tp_machine_fit_deinit(struct tp_machine_fit *fit);
static inline void tp_machine_fit_deinit_cleanup_(struct tp_machine_fit *fit)
{
	tp_machine_fit_deinit(fit);
}
#define TP_MACHINE_FIT __attribute__((cleanup(tp_machine_fit_deinit_cleanup_)))

void tp_machine_look(const struct tp_guest_config *config, const struct tp_qemu_info *info,
	struct tp_machine_fit *fit_out);

/* Why CONFIG can't run, in one text, the caller's; NULL: it can. */
char *tp_machine_fit_text(
	const struct tp_machine_fit *fit, const struct tp_guest_config *config) TP_MUST_USE;

/* MISMATCH, with the reason, if PROGRAM (NULL: the engine's own) can't run CONFIG here. */
struct torpor_error *tp_machine_check(struct torpor_engine *engine, const char *program,
	const struct tp_guest_config *config, const char *object,
	const struct tp_call *call) TP_MUST_USE;

/*
 * Boots FILES under CONFIG's accelerator until the kernel has printed, or remembers what came of
 * it. *WHY_NOT_OUT is NULL if it did, else the reason, the caller's to free.
 */
struct torpor_error *tp_machine_prove(struct torpor_engine *engine, const char *program,
	uint32_t traits, const struct tp_guest_config *config, const struct tp_boot_files *files,
	const struct tp_call *call, char **why_not_out) TP_MUST_USE;

/*
 * Finds the QEMU that runs CONFIG here: the engine's own, or the one for microvm alone
 * (torpor_engine_options.qemu_microvm) where that is there and FILES (its kernel NULL: can't be
 * proven) are proven to boot with it. MISMATCH, saying what is missing, if none does; OBJECT names
 * what it is for.
 */
struct torpor_error *tp_machine_find_qemu(struct torpor_engine *engine,
	const struct tp_guest_config *config, const struct tp_boot_files *files, const char *object,
	const struct tp_call *call, struct tp_qemu_use *use_out) TP_MUST_USE;

/* The program for new microvm guests under KVM; NULL: the engine's own. Borrowed from ENGINE. */
const char *tp_machine_small_qemu(const struct torpor_engine *engine, enum tp_machine machine);

#endif
