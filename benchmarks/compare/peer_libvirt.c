/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Libvirt's ways of putting a domain aside: save and restore in formats of save_image_format, and
 * managed save.
 *
 * Left out: zstd and sparse, which Debian 12's libvirt doesn't know yet, and bzip2, slow as xz and
 * larger.
 */
#include "benchmarks/compare/peer_libvirt.h"

/*
 * A save of the smallest guest takes gzip 5 s and xz 38 s, most of it standing still; restores
 * take 1 and 3 s. (Two cores, one of which the compressor has to itself.)
 */
#define GZIP_SLOW 2
#define XZ_SLOW	  2

static bool is_small(const struct cmp_cell *cell)
{
	return cell->ram_bytes <= TP_GIB && cell->payload_bytes <= 20 * TP_MIB;
}

static bool is_any(const struct cmp_cell *cell)
{
	(void)cell;
	return true;
}

static struct torpor_error *raw_available(const struct cmp_places *places)
{
	return cmp_libvirt_available(places, "raw");
}

static struct torpor_error *lzop_available(const struct cmp_places *places)
{
	return cmp_libvirt_available(places, "lzop");
}

static struct torpor_error *gzip_available(const struct cmp_places *places)
{
	return cmp_libvirt_available(places, "gzip");
}

static struct torpor_error *xz_available(const struct cmp_places *places)
{
	return cmp_libvirt_available(places, "xz");
}

#define OPERATIONS                                                                                 \
	.durable = true, .frees = true, .start = cmp_libvirt_start, .save = cmp_libvirt_save,      \
	.restore = cmp_libvirt_restore, .end = cmp_libvirt_end

static const struct cmp_libvirt_peer raw = {
	.ops = {.name = "libvirt-raw",
		.summary = "virsh save, restore; save_image_format raw",
		.available = raw_available,
		.takes = is_any,
		OPERATIONS},
	.format = "raw",
};

static const struct cmp_libvirt_peer lzop = {
	.ops = {.name = "libvirt-lzop",
		.summary = "virsh save, restore; save_image_format lzop",
		.available = lzop_available,
		.takes = is_small,
		OPERATIONS},
	.format = "lzop",
};

static const struct cmp_libvirt_peer gzip = {
	.ops = {.name = "libvirt-gzip",
		.summary = "virsh save, restore; save_image_format gzip",
		.slow = GZIP_SLOW,
		.available = gzip_available,
		.takes = is_small,
		OPERATIONS},
	.format = "gzip",
};

static const struct cmp_libvirt_peer xz = {
	.ops = {.name = "libvirt-xz",
		.summary = "virsh save, restore; save_image_format xz",
		.slow = XZ_SLOW,
		.available = xz_available,
		.takes = is_small,
		OPERATIONS},
	.format = "xz",
};

static const struct cmp_libvirt_peer managed = {
	.ops = {.name = "libvirt-managed",
		.summary = "virsh managedsave, start; save_image_format raw",
		.available = raw_available,
		.takes = is_small,
		OPERATIONS},
	.format = "raw",
	.managed = true,
};

const struct cmp_peer_ops *const cmp_libvirt_peers[] = {
	&raw.ops,
	&lzop.ops,
	&gzip.ops,
	&xz.ops,
	&managed.ops,
	NULL,
};
