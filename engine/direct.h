/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher that runs QEMU as a child process. */
#ifndef TP_ENGINE_DIRECT_H
#define TP_ENGINE_DIRECT_H

#include "engine/launcher.h"

#define TP_DEFAULT_QEMU "qemu-system-x86_64"

/* All strings are copied. */
struct tp_direct_options {
	const char *qemu;	  /* a path, or a name to look up in PATH; NULL: TP_DEFAULT_QEMU */
	const char *exec_helper;  /* NULL: see tp_spawner_new */
	const char *firmware_dir; /* for -L; NULL: QEMU's own */
	/*
	 * Guests end with the launcher, however it ends. Otherwise they are kept: they may be
	 * released, and found again by any launcher on the same run directory.
	 */
	bool bound;
	/* Made if it isn't there; may be shared with others. See engine/rundir.h. */
	const char *run_dir;
};

struct torpor_error *tp_direct_launcher_new(
	const struct tp_direct_options *options, struct tp_launcher **launcher_out) TP_MUST_USE;

#endif
