/* SPDX-License-Identifier: Apache-2.0 */
/* The comparison's guest in libvirt's words (libvirt: docs/formatdomain.rst). */
#ifndef TP_COMPARE_LIBVIRT_DOMAIN_H
#define TP_COMPARE_LIBVIRT_DOMAIN_H

#include "benchmarks/compare/compare.h"

struct cmp_domain {
	const char *name;
	const char *emulator;	 /* QEMU's absolute path */
	const char *qmp_path;	 /* for the harness's own look at QEMU */
	const char *helper_path; /* the port of the guest's helper */
};

/* The XML. All strings may hold anything. The caller's to free. */
char *cmp_domain_xml(const struct cmp_domain *domain, const struct cmp_places *places,
	const struct cmp_cell *cell);

#endif
