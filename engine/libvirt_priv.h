/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the libvirt launcher share. */
#ifndef TP_ENGINE_LIBVIRT_PRIV_H
#define TP_ENGINE_LIBVIRT_PRIV_H

#include <pthread.h>

#include "engine/libvirt.h"
#include "engine/libvirt_relay.h"

struct libvirt_launcher {
	struct tp_launcher base;
	char *connect;
	char *emulator;	    /* an absolute path, unless there is no such program */
	char *firmware_dir; /* or NULL */
	bool bound;
	int run_dir_fd;
	char *run_dir; /* an absolute path without links */
	char *run_id;  /* says in a domain's metadata that it is of this run directory */
	struct tp_spawner *spawner;
	struct tp_relays *relays;
	struct tp_cgroup *disk; /* only to know what disk the run directory is on */
	/* By the lock: asked for once. */
	pthread_mutex_t lock;
	bool owner_known;
	unsigned int uid; /* that QEMU runs as */
	unsigned int gid;
};

struct libvirt_guest {
	struct tp_guest base;
	int dir_fd; /* holds the lock */
	char uuid[VIR_UUID_STRING_BUFLEN];
	struct tp_relay *relay;
	unsigned int limited; /* by libvirt, or may be: enum tp_libvirt_limits */
};

/* Limits that are libvirt's to set, and to end. */
enum tp_libvirt_limits {
	TP_LIBVIRT_CPUS = 1 << 0,
	TP_LIBVIRT_MEMORY = 1 << 1,
	TP_LIBVIRT_IO = 1 << 2,
	TP_LIBVIRT_ALL = (1 << 3) - 1,
};

/* ---- libvirt.c ---- */

struct libvirt_guest *tp_libvirt_guest_new(struct libvirt_launcher *launcher, const char *name);
/* Connects all that is said to the guest, whose domain and process are known. */
struct torpor_error *tp_libvirt_attach(
	struct libvirt_guest *guest, bool channels, const struct tp_call *call) TP_MUST_USE;
/* Ends the domain of that UUID, by force if need be; one that isn't there is fine. */
struct torpor_error *tp_libvirt_destroy(struct libvirt_launcher *launcher, const char *uuid,
	const char *name, const struct tp_call *call) TP_MUST_USE;

/* ---- libvirt_start.c ---- */

struct torpor_error *tp_libvirt_start(struct tp_launcher *launcher,
	const struct tp_guest_spec *spec, const struct tp_call *call,
	struct tp_guest **guest_out) TP_MUST_USE;

/* ---- libvirt_limits.c ---- */

struct torpor_error *tp_libvirt_limit(struct tp_guest *guest, const struct tp_limits *limits,
	json_t **unenforced_out) TP_MUST_USE;

/* The domain of GUEST, on the connection there is. */
struct torpor_error *tp_libvirt_domain_of(struct libvirt_guest *guest, const struct tp_call *call,
	virDomainPtr *domain_out) TP_MUST_USE;

#endif
