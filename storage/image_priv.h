/* SPDX-License-Identifier: Apache-2.0 */
/* An open image, as the parts of the reader see it. Internal to storage. */
#ifndef TP_STORAGE_IMAGE_PRIV_H
#define TP_STORAGE_IMAGE_PRIV_H

#include "storage/codec.h"
#include "storage/image_reader.h"
#include "storage/sections.h"

/* Images up to this size are read whole, at once, when they are opened. */
#define TP_IMAGE_SMALL ((size_t)(64 * TP_KIB))

struct tp_image_block {
	uint64_t offset;
	uint64_t place; /* how many pages are stored before it */
	uint32_t stored_len;
	uint16_t page_count;
	uint8_t codec;
	uint64_t stored_sum;
	uint64_t raw_sum;
};

struct tp_image_section {
	uint64_t offset;
	uint32_t stored_len;
	uint32_t raw_len;
	uint64_t stored_sum;
	uint64_t raw_sum;
	uint8_t codec;
};

/* Everything is fixed once the image is open. */
struct tp_image {
	int fd;
	char *name;
	struct tp_format_header header; /* as in the file */
	struct tp_image_meta meta;	/* owns config and blocks */
	char *config;
	uint64_t file_size;
	uint64_t meta_offset;
	uint64_t space_pages;
	uint64_t page_count;
	uint8_t *head; /* the file's first head_len bytes; all of a small image */
	size_t head_len;
	uint8_t *sections_data; /* stored bytes from meta_offset on; within head for small images */
	uint8_t *sections_own;	/* the same, if it has to be freed */
	struct tp_image_section sections[TP_SECTION_COUNT];
	struct tp_image_block *blocks;
	uint32_t n_blocks;
	struct tp_index index;
	bool needs_base;
};

/* "config", "RAM blocks" ...; static storage. */
const char *tp_section_name(enum tp_format_section section);

#endif
