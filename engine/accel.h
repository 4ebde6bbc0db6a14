/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accelerator, proven: /dev/kvm may be there and open, and a guest's kernel still make no
 * progress under it. So the kernel that is to be used is booted once, until it prints.
 */
#ifndef TP_ENGINE_ACCEL_H
#define TP_ENGINE_ACCEL_H

#include "engine/launcher.h"

/* How long the proof is waited for where nothing is said. */
#define TP_ACCEL_PROBE_NS (10 * TP_NSEC_PER_SEC)

/* What to boot. All belongs to the caller. */
struct tp_accel_probe {
	/* The accelerator to prove is in here. Channels are left out. */
	const struct tp_guest_config *config;
	const char *program; /* the QEMU to run; NULL: the launcher's own */
	uint32_t traits;     /* of that QEMU: enum tp_qemu_trait, or'ed */
	/*
	 * A Linux kernel, proven by its first line, or another that prints on COM1, proven by its
	 * first byte. What makes Linux print early is added to `append`.
	 */
	const char *kernel;
	const char *initrd; /* or NULL */
	const char *append; /* or NULL */
	uint64_t within_ns; /* 0: TP_ACCEL_PROBE_NS */
};

struct tp_accel_result {
	bool ok;
	char *why_not;	  /* owned; NULL if ok */
	uint64_t time_ns; /* from the start to the first byte, or to giving up */
};

void tp_accel_result_deinit(struct tp_accel_result *result);
static inline void tp_accel_result_deinit_cleanup_(struct tp_accel_result *result)
{
	tp_accel_result_deinit(result);
}
#define TP_ACCEL_RESULT __attribute__((cleanup(tp_accel_result_deinit_cleanup_)))

/*
 * Boots it and ends it again. That the accelerator doesn't work is a result, not an error; errors
 * are a missing program, CALL's end, and the like.
 */
struct torpor_error *tp_accel_probe(struct tp_launcher *launcher,
	const struct tp_accel_probe *probe, const struct tp_call *call,
	struct tp_accel_result *result_out) TP_MUST_USE;

/*
 * The same, or what it gave before in this boot of the host, for the same configuration, command
 * line and files (path, size and time of change of QEMU, kernel and initrd). QEMU is the binary
 * that runs (PROBE's or the launcher's): a path, or a name to look up in PATH. CACHE_PATH is a file
 * that is made, replaced whole, and ignored where it can't be read; remove it to have all probed
 * again.
 */
struct torpor_error *tp_accel_prove(struct tp_launcher *launcher, const char *qemu,
	const struct tp_accel_probe *probe, const char *cache_path, const struct tp_call *call,
	struct tp_accel_result *result_out) TP_MUST_USE;

#endif
