/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher that has libvirt run QEMU. */
#ifndef TP_ENGINE_LIBVIRT_H
#define TP_ENGINE_LIBVIRT_H

#include "engine/launcher.h"

#define TP_DEFAULT_CONNECT "qemu:///system"

/* All strings are copied. */
struct tp_libvirt_options {
	const char *connect;	  /* libvirt's URI; NULL: TP_DEFAULT_CONNECT */
	const char *qemu;	  /* a path, or a name to look up in PATH; NULL: TP_DEFAULT_QEMU */
	const char *exec_helper;  /* NULL: see tp_spawner_new */
	const char *firmware_dir; /* for -L; NULL: QEMU's own */
	bool bound;		  /* as tp_direct_options: libvirtd ends them with our connection */
	const char *run_dir;	  /* the same */
};

/*
 * Guests are transient domains. libvirtd must run on this host, in this process's view of
 * processes (a PID namespace): memory is handed over and looked into by pid. UNSUPPORTED if Torpor
 * was built without libvirt, or libvirt isn't installed.
 */
struct torpor_error *tp_libvirt_launcher_new(
	const struct tp_libvirt_options *options, struct tp_launcher **launcher_out) TP_MUST_USE;

#endif
