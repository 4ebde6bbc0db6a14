/* SPDX-License-Identifier: Apache-2.0 */
/* A guest as libvirt describes it: the domain's XML, and Torpor's element in its metadata. */
#ifndef TP_ENGINE_LIBVIRT_DOMAIN_H
#define TP_ENGINE_LIBVIRT_DOMAIN_H

#include "engine/args.h"
#include "engine/launcher.h"

/* Strings belong to the caller. */
struct tp_libvirt_domain {
	const char *name;
	const char *uuid;
	const char *emulator;	/* an absolute path */
	const char *run_id;	/* of the run directory it is in: see tp_libvirt_domain_is_of */
	const char *agent_path; /* sockets that libvirtd makes; NULL: the guest has no channels */
	const char *helper_path;
	char *const *args; /* behind libvirt's own; NULL-terminated */
};

/* CONFIG is of a PC or Q35. The caller's to free. */
char *tp_libvirt_domain_xml(
	const struct tp_libvirt_domain *domain, const struct tp_guest_config *config) TP_MUST_USE;

/* The metadata element, as virDomainSetMetadata takes it: what it runs, and for whom. The caller's
 * to free. */
char *tp_libvirt_domain_metadata(
	const char *run_id, const struct tp_guest_label *label) TP_MUST_USE;

/* Whether METADATA (may be NULL), as libvirt gives it back, is of a guest in that run directory. */
bool tp_libvirt_domain_is_of(const char *metadata, const char *run_id);

/*
 * From libvirt's capabilities: the user and group that it runs QEMU as. False if they don't say, as
 * without the security driver "dac": then it is libvirtd's own.
 */
bool tp_libvirt_domain_owner(
	const char *capabilities, unsigned int *uid_out, unsigned int *gid_out);

#endif
