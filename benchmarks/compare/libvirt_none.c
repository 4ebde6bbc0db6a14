/* SPDX-License-Identifier: Apache-2.0 */
/* Libvirt's peers where there was no libvirt to build with: they say so, and take no part. */
#include "benchmarks/compare/peer_libvirt.h"

static struct torpor_error *missing(const char *step)
{
	return tp_error(TORPOR_E_UNSUPPORTED, step, NULL,
		"this was built without libvirt (package libvirt-dev)");
}

struct torpor_error *cmp_libvirt_available(const struct cmp_places *places, const char *format)
{
	(void)places;
	(void)format;
	return missing("use libvirt");
}

struct torpor_error *cmp_libvirt_start(const struct cmp_peer_ops *ops,
	const struct cmp_places *places, const struct cmp_cell *cell, const struct tp_call *call,
	struct cmp_guest **guest_out)
{
	(void)ops;
	(void)places;
	(void)cell;
	(void)call;
	(void)guest_out;
	return missing("start a domain");
}

struct torpor_error *cmp_libvirt_save(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_save *out)
{
	(void)guest;
	(void)call;
	(void)out;
	return missing("save a domain");
}

struct torpor_error *cmp_libvirt_restore(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_restore *out)
{
	(void)guest;
	(void)call;
	(void)out;
	return missing("restore a domain");
}

void cmp_libvirt_end(struct cmp_guest *guest)
{
	(void)guest;
}
