/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a QEMU can do on this host, by its own account: machines, CPU models, features, and which of
 * several ways of doing something it knows. Nothing here follows from a version number.
 */
#ifndef TP_ENGINE_QEMU_INFO_H
#define TP_ENGINE_QEMU_INFO_H

#include <jansson.h>

#include "engine/config.h"
#include "engine/direct.h"

/* Owned. The three objects are this module's business. */
struct tp_qemu_info {
	char *version;	 /* "7.2.22" */
	uint32_t traits; /* enum tp_qemu_trait (engine/args.h), or'ed */
	json_t *machines;
	json_t *cpus;
	json_t *features;
};

void tp_qemu_info_deinit(struct tp_qemu_info *info);
static inline void tp_qemu_info_deinit_cleanup_(struct tp_qemu_info *info)
{
	tp_qemu_info_deinit(info);
}
#define TP_QEMU_INFO __attribute__((cleanup(tp_qemu_info_deinit_cleanup_)))

/*
 * Starts that QEMU without a machine, under ACCEL, asks it everything, and ends it: some 60 ms. Or
 * gives what it said before in this boot of the host (path, size and time of change tell it from
 * another). CACHE_PATH as engine/kept.h has it. QEMU, with its words, where it doesn't start: no
 * /dev/kvm, for one.
 */
struct torpor_error *tp_qemu_ask(const struct tp_direct_options *options, enum tp_accel accel,
	const char *cache_path, const struct tp_call *call,
	struct tp_qemu_info *info_out) TP_MUST_USE;

/*
 * What ALIAS ("pc", "q35") stands for in this QEMU: "pc-i440fx-7.2", "pc-q35-7.2". A full name
 * stands for itself. UNSUPPORTED if there is no such machine. The caller's to free.
 */
struct torpor_error *tp_qemu_machine(
	const struct tp_qemu_info *info, const char *alias, char **machine_type_out) TP_MUST_USE;

/*
 * Chooses a CPU model that `enforce` will pass under the accelerator that was asked about: the
 * first of Westmere-v1, Nehalem-v1 and qemu64-v1 that the host takes whole; where it takes none,
 * qemu64-v1 less what is missing ("qemu64-v1,-pni"). The caller's to free.
 */
struct torpor_error *tp_qemu_cpu_choose(
	const struct tp_qemu_info *info, char **cpu_model_out) TP_MUST_USE;

/*
 * MODEL (a name with feature edits, INVALID otherwise) as it is called on every host: a name
 * without version ("qemu64") gets the one that it stands for on MACHINE ("qemu64-v1").
 * UNSUPPORTED for a model that this QEMU hasn't got, and for one that is another on each host
 * ("host", "max"). The caller's to free.
 */
struct torpor_error *tp_qemu_cpu_resolve(const struct tp_qemu_info *info, const char *model,
	enum tp_machine machine, char **cpu_model_out) TP_MUST_USE;

/* Whether MODEL is the same on every host: named with its version, and not of the host's making. */
bool tp_qemu_cpu_portable(const struct tp_qemu_info *info, const char *model);

/* Why MODEL can't be had here, for people ("the host lacks aes, vmx"); NULL: it can. The caller's.
 */
char *tp_qemu_cpu_why_not(const struct tp_qemu_info *info, const char *model);

/* Whether HERE is older than WROTE. Numbers of up to three parts; what is none counts as 0. */
bool tp_qemu_is_older(const char *here, const char *wrote);

/*
 * Why a QEMU of version HERE can't load what WROTE has written for a guest on MACHINE, for people;
 * NULL: it may. Nothing goes to an older one. microvm has no versions by which a newer QEMU could
 * be as an older one was, so its states stay with their first two numbers (7.2's were seen not to
 * load into 10.0). The caller's.
 */
char *tp_qemu_version_why_not(enum tp_machine machine, const char *here, const char *wrote);

/* Features have several spellings: sse4.1, sse4_1, sse4-1. Puts the last one in place. */
void tp_qemu_spell_feature(char *feature);

/* For tests: the same from QEMU's own replies, which are borrowed. */
json_t *tp_qemu_cpus_from(json_t *definitions);
uint32_t tp_qemu_traits_from(json_t *schema, json_t *backend, json_t *machine, json_t *options);

#endif
