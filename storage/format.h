/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image file as it lies on disk; docs/FORMAT.md is the specification.
 *
 * All numbers are little endian. The structs have no padding and are read and written as bytes,
 * with le*toh/htole* at each field; nothing else may depend on their layout.
 */
#ifndef TP_STORAGE_FORMAT_H
#define TP_STORAGE_FORMAT_H

#include "base/macros.h"

#define TP_FORMAT_MAGIC	  "TORPOR\x1a\n" /* 8 bytes, without the terminating NUL */
#define TP_FORMAT_VERSION 1u

/* Bounds, checked before anything is allocated. */
#define TP_FORMAT_BLOCK_PAGES	64u /* pages in a block, at most */
#define TP_FORMAT_BLOCK_BYTES	(TP_FORMAT_BLOCK_PAGES * TP_PAGE_SIZE)
#define TP_FORMAT_MIN_STORED	8u		    /* a block's stored bytes, at least */
#define TP_FORMAT_MAX_PAGES	(UINT64_C(1) << 32) /* pages in the page space: 16 TiB */
#define TP_FORMAT_MAX_CONFIG	(64 * TP_KIB)
#define TP_FORMAT_MAX_DEVICE	(256 * TP_MIB)
#define TP_FORMAT_MAX_RAM	4096u /* RAM blocks */
#define TP_FORMAT_MAX_RAM_NAME	255u
#define TP_FORMAT_MAX_RUN_BYTES 10u /* of a run in the page index */

enum tp_format_codec {
	TP_CODEC_RAW = 0,  /* stored as they are */
	TP_CODEC_ZSTD = 1, /* one zstd frame */
	TP_CODEC_ZSTD_PREFIX =
		2, /* one zstd frame, made with a prefix (base pages, device state) */
};

enum tp_format_cipher {
	TP_CIPHER_NONE = 0, /* the only one of version 1 */
};

/* The sections, in the order in which they follow each other from meta_offset to the file's end. */
enum tp_format_section {
	TP_SECTION_CONFIG,
	TP_SECTION_RAM,
	TP_SECTION_INDEX,
	TP_SECTION_BLOCKS,
	TP_SECTION_DEVICE,
	TP_SECTION_COUNT,
};

struct tp_format_section_entry {
	uint32_t stored_len; /* bytes in the file */
	uint32_t raw_len;    /* bytes once decoded */
	uint64_t stored_sum; /* XXH3-64 of the stored bytes */
	uint64_t raw_sum;    /* XXH3-64 of the decoded bytes */
	uint8_t codec;	     /* enum tp_format_codec */
	uint8_t zero[7];
};
static_assert(sizeof(struct tp_format_section_entry) == 32, "on disk");

struct tp_format_header {
	uint8_t magic[8];
	uint32_t version;
	uint32_t header_len; /* bytes, this struct */
	uint32_t kind;	     /* enum tp_image_kind */
	uint32_t flags;	     /* none are defined */
	uint8_t uuid[16];
	uint8_t template_id[32];
	uint64_t created_ns;  /* CLOCK_REALTIME */
	uint64_t file_size;   /* bytes, all of the file */
	uint64_t meta_offset; /* where blocks end and sections begin */
	uint64_t space_pages; /* pages in the page space */
	uint64_t page_count;  /* pages stored */
	uint32_t block_count;
	uint32_t cipher;	/* enum tp_format_cipher */
	uint8_t key_id[16];	/* zero */
	uint8_t nonce_base[16]; /* zero */
	uint8_t meta_tag[16];	/* zero */
	struct tp_format_section_entry sections[TP_SECTION_COUNT];
	uint64_t header_sum; /* XXH3-64 of all bytes of the header before it */
};
static_assert(offsetof(struct tp_format_header, uuid) == 24, "on disk");
static_assert(offsetof(struct tp_format_header, created_ns) == 72, "on disk");
static_assert(offsetof(struct tp_format_header, block_count) == 112, "on disk");
static_assert(offsetof(struct tp_format_header, sections) == 168, "on disk");
static_assert(sizeof(struct tp_format_header) == 336, "on disk");

/* An entry of the block table. Blocks lie one behind the other, in the order of the table. */
struct tp_format_block {
	uint64_t offset;     /* of the stored bytes in the file */
	uint32_t stored_len; /* bytes */
	uint16_t page_count; /* 1 ... TP_FORMAT_BLOCK_PAGES */
	uint8_t codec;	     /* enum tp_format_codec */
	uint8_t zero;
	uint64_t stored_sum; /* XXH3-64 of the stored bytes */
	uint64_t raw_sum;    /* XXH3-64 of the pages, seeded with XXH3-64 of their le64 numbers */
	uint8_t tag[16];     /* zero */
};
static_assert(sizeof(struct tp_format_block) == 48, "on disk");

#endif
