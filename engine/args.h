/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's command line for a guest. */
#ifndef TP_ENGINE_ARGS_H
#define TP_ENGINE_ARGS_H

#include "engine/config.h"
#include "engine/strv.h"

enum tp_role {
	/* Boots a kernel: a template, or the accelerator's probe. Runs at once. */
	TP_ROLE_BOOT,
	/* Waits for a state to be loaded, and then for `cont`: a clone. */
	TP_ROLE_INCOMING,
};

/*
 * Descriptors are numbers in QEMU's own table. Strings belong to the caller; none may hold a
 * NUL or newline, which no exec or path could carry.
 */
struct tp_qemu_args {
	const char *program;
	const char *guest_name;	  /* passes tp_guest_name_ok */
	const char *firmware_dir; /* for -L; NULL: QEMU's own */
	enum tp_role role;
	/* For TP_ROLE_BOOT only, NULL where there is none. */
	const char *kernel;
	const char *initrd;
	const char *append;
	/* Main RAM is the file's first memory_bytes; the file may be larger. */
	int ram_fd;
	bool ram_shared; /* the guest's writes go into the file (else they are the process's own) */
	/* Listening sockets. */
	int qmp_fd;
	int agent_fd;  /* with channels only */
	int helper_fd; /* with channels only */
	/* Where COM1 writes: a file, memfd or pipe that QEMU opens anew to append. -1: nowhere. */
	int console_fd;
};

/*
 * Appends the argument vector, from the program's name on. A pure function: equal input gives
 * equal output. CONFIG must pass tp_guest_config_check.
 */
void tp_qemu_args_build(const struct tp_guest_config *config, const struct tp_qemu_args *args,
	struct tp_strv *argv);

#endif
