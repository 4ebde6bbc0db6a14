/* SPDX-License-Identifier: Apache-2.0 */
/* What an image holds besides pages. */
#ifndef TP_STORAGE_IMAGE_H
#define TP_STORAGE_IMAGE_H

#include "base/error.h"
#include "storage/format.h"

enum tp_image_kind {
	TP_IMAGE_TEMPLATE = 1, /* everything, all-zero pages left out; no base */
	TP_IMAGE_SESSION = 2,  /* the pages that differ from the template's */
	TP_IMAGE_FULL = 3,     /* a session without a base, as after a reboot */
};

/* "template", "session", "full"; static storage. */
const char *tp_image_kind_name(enum tp_image_kind kind);

/* A block of guest RAM. Rounded up to whole pages and laid end to end they are the page space. */
struct tp_ram_block {
	char *name;   /* 1 ... TP_FORMAT_MAX_RAM_NAME bytes, unique in the image */
	uint64_t len; /* bytes, not zero */
};

/*
 * Given to a writer, all of it belongs to the caller, who keeps it until the call returns. Got
 * from a reader, all of it belongs to the image, and `device` is NULL (see tp_image_device).
 */
struct tp_image_meta {
	enum tp_image_kind kind;
	uint8_t template_id[32]; /* storage/identity.h; in a template its own */
	const char *config;	 /* text of at most TP_FORMAT_MAX_CONFIG bytes */
	const void *device;
	size_t device_len; /* at most TP_FORMAT_MAX_DEVICE bytes */
	struct tp_ram_block *blocks;
	size_t n_blocks; /* 1 ... TP_FORMAT_MAX_RAM */
};

/* Pages in the page space of these RAM blocks. Fails with INVALID on a table that breaks the rules.
 */
struct torpor_error *tp_image_space_pages(
	const struct tp_ram_block *blocks, size_t n_blocks, uint64_t *pages_out) TP_MUST_USE;

#endif
