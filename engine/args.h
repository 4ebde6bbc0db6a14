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
 * In what one QEMU differs from another, as far as it matters here. None of them is what a full
 * build of 7.2 is like, and what is taken for granted where nobody asked.
 */
enum tp_qemu_trait {
	TP_QEMU_NO_SANDBOX = 1,		/* it was built without seccomp */
	TP_QEMU_NO_SUPPRESS_VMDESC = 2, /* machines haven't got that property any more */
	TP_QEMU_NO_SAVE_DEVICES = 4,	/* no xen-save-devices-state: parks go by the stream path */
	TP_QEMU_READONLY_RAM = 8, /* opens memory read-only that guests write privately (8.2) */
	TP_QEMU_STAYS = 16,	  /* goes on after a load that failed, and can say why (9.1) */
};

/*
 * Descriptors are numbers in QEMU's own table. Strings belong to the caller; none may hold a
 * NUL or newline, which no exec or path could carry.
 */
struct tp_qemu_args {
	const char *program;
	uint32_t traits;	  /* enum tp_qemu_trait, or'ed */
	const char *guest_name;	  /* passes tp_guest_name_ok */
	const char *firmware_dir; /* for -L; NULL: QEMU's own */
	const char *fd_dir;	  /* where QEMU finds ram_fd and console_fd; NULL: /proc/self/fd */
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

/*
 * The part of it that libvirt has no word for, or another one than a template's device state needs,
 * as it comes behind libvirt's own (`qemu:commandline`): QEMU merges machine options and takes the
 * last of the others. Without program, name, QMP and channels.
 */
void tp_qemu_args_override(const struct tp_guest_config *config, const struct tp_qemu_args *args,
	struct tp_strv *argv);

/*
 * TCG's buffer for translated code, in MiB. The default of up to 1 GiB is private memory per
 * clone; 32 holds what a small guest executes.
 */
#define TP_TCG_BUFFER_MIB 32

#endif
