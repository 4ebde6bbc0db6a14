/* SPDX-License-Identifier: Apache-2.0 */
/* Opening an image: header and sections, checked before they are believed. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "storage/image_priv.h"
#include "storage/io.h"

const char *tp_section_name(enum tp_format_section section)
{
	static const char *const names[TP_SECTION_COUNT] = {
		[TP_SECTION_CONFIG] = "config",
		[TP_SECTION_RAM] = "RAM blocks",
		[TP_SECTION_INDEX] = "page index",
		[TP_SECTION_BLOCKS] = "block table",
		[TP_SECTION_DEVICE] = "device state",
	};
	return names[section];
}

/* "SECTION NAME: WHY", with CORRUPT. */
static struct torpor_error *damaged(
	const struct tp_image *image, const char *section, const char *why)
{
	TP_FREE char *step = tp_asprintf("check %s of", section);

	return tp_error(TORPOR_E_CORRUPT, step, image->name, "%s", why);
}

static bool all_zero(const void *data, size_t len)
{
	const uint8_t *at = data;
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= at[i];
	return any == 0;
}

/* Reads the start of the file, which is all of a small one. */
static struct torpor_error *read_head(struct tp_image *image)
{
	struct stat st;

	if (fstat(image->fd, &st) < 0)
		return tp_error_errno(errno, "open image", image->name);
	if (!S_ISREG(st.st_mode))
		return tp_error(TORPOR_E_INVALID, "open image", image->name, "not a regular file");
	image->file_size = (uint64_t)st.st_size;
	if (image->file_size < sizeof(image->header))
		return damaged(image, "header", "the file is shorter than a header");
	image->head_len = (size_t)TP_MIN(image->file_size, TP_IMAGE_SMALL);
	image->head = tp_malloc(image->head_len);
	TP_TRY(tp_io_pread(image->fd, image->head, image->head_len, 0, image->name));
	memcpy(&image->header, image->head, sizeof(image->header));
	return NULL;
}

/* What must be right before anything else in the header can be understood. */
static struct torpor_error *check_version(const struct tp_image *image)
{
	const struct tp_format_header *h = &image->header;

	if (memcmp(h->magic, TP_FORMAT_MAGIC, sizeof(h->magic)) != 0)
		return damaged(image, "header", "it isn't an image, or its magic is damaged");
	if (le32toh(h->version) != TP_FORMAT_VERSION)
		return tp_error(TORPOR_E_UNSUPPORTED, "check header of", image->name,
			"format version %u isn't known, or is damaged", le32toh(h->version));
	if (le32toh(h->header_len) != sizeof(*h))
		return damaged(image, "header", "its length is wrong");
	if (le64toh(h->header_sum) != tp_sum(h, offsetof(struct tp_format_header, header_sum)))
		return damaged(image, "header", "its checksum is wrong");
	return NULL;
}

/* Features that a later writer may have used. */
static struct torpor_error *check_features(const struct tp_image *image)
{
	const struct tp_format_header *h = &image->header;

	if (le32toh(h->flags) != 0)
		return tp_error(TORPOR_E_UNSUPPORTED, "check header of", image->name,
			"flags 0x%x aren't known", le32toh(h->flags));
	if (le32toh(h->cipher) != TP_CIPHER_NONE)
		return tp_error(TORPOR_E_UNSUPPORTED, "check header of", image->name,
			"cipher %u isn't known", le32toh(h->cipher));
	if (!all_zero(h->key_id, sizeof(h->key_id)) ||
		!all_zero(h->nonce_base, sizeof(h->nonce_base)) ||
		!all_zero(h->meta_tag, sizeof(h->meta_tag)))
		return damaged(image, "header", "it has a key without a cipher");
	return NULL;
}

static struct torpor_error *take_header(struct tp_image *image)
{
	const struct tp_format_header *h = &image->header;
	uint64_t blocks_bytes;

	TP_TRY(check_version(image));
	TP_TRY(check_features(image));
	image->meta.kind = (enum tp_image_kind)le32toh(h->kind);
	image->meta_offset = le64toh(h->meta_offset);
	image->space_pages = le64toh(h->space_pages);
	image->page_count = le64toh(h->page_count);
	image->n_blocks = le32toh(h->block_count);
	memcpy(image->meta.template_id, h->template_id, sizeof(h->template_id));
	if (image->meta.kind < TP_IMAGE_TEMPLATE || image->meta.kind > TP_IMAGE_FULL)
		return damaged(image, "header", "its kind isn't known");
	if (le64toh(h->file_size) != image->file_size)
		return damaged(image, "header", "the file has another length than it had");
	if (image->meta_offset < sizeof(*h) || image->meta_offset > image->file_size)
		return damaged(image, "header", "its sections aren't in the file");
	blocks_bytes = image->meta_offset - sizeof(*h);
	if (image->n_blocks > blocks_bytes / TP_FORMAT_MIN_STORED)
		return damaged(image, "header", "it has more blocks than fit");
	if (image->page_count < image->n_blocks ||
		image->page_count > (uint64_t)image->n_blocks * TP_FORMAT_BLOCK_PAGES)
		return damaged(image, "header", "its pages don't go with its blocks");
	if (image->space_pages > TP_FORMAT_MAX_PAGES || image->page_count > image->space_pages)
		return damaged(image, "header", "it has more pages than its page space");
	return NULL;
}

/* The most that a section may decode to. */
static uint64_t raw_limit(const struct tp_image *image, enum tp_format_section section)
{
	switch (section) {
	case TP_SECTION_CONFIG:
		return TP_FORMAT_MAX_CONFIG;
	case TP_SECTION_RAM:
		return UINT64_C(1) * TP_FORMAT_MAX_RAM * (1 + TP_FORMAT_MAX_RAM_NAME + 8);
	case TP_SECTION_INDEX:
		return image->page_count * TP_FORMAT_MAX_RUN_BYTES;
	case TP_SECTION_BLOCKS:
		return image->n_blocks * sizeof(struct tp_format_block);
	case TP_SECTION_DEVICE:
		return TP_FORMAT_MAX_DEVICE;
	case TP_SECTION_COUNT:
		break;
	}
	return 0;
}

static struct torpor_error *take_section_entry(
	struct tp_image *image, enum tp_format_section i, uint64_t offset)
{
	const struct tp_format_section_entry *entry = &image->header.sections[i];
	struct tp_image_section *section = &image->sections[i];

	*section = (struct tp_image_section){
		.offset = offset,
		.stored_len = le32toh(entry->stored_len),
		.raw_len = le32toh(entry->raw_len),
		.stored_sum = le64toh(entry->stored_sum),
		.raw_sum = le64toh(entry->raw_sum),
		.codec = entry->codec,
	};
	uint8_t last_codec = i == TP_SECTION_DEVICE ? TP_CODEC_ZSTD_PREFIX : TP_CODEC_ZSTD;
	if (section->codec > last_codec || !all_zero(entry->zero, sizeof(entry->zero)))
		return damaged(image, tp_section_name(i), "its entry is damaged");
	if (section->raw_len > raw_limit(image, i) || section->stored_len > section->raw_len)
		return damaged(image, tp_section_name(i), "it is larger than it can be");
	if (section->stored_len > image->file_size - offset)
		return damaged(image, tp_section_name(i), "it goes beyond the file's end");
	return NULL;
}

/* Where the sections are: one behind the other, up to the file's end. */
static struct torpor_error *take_section_entries(struct tp_image *image)
{
	uint64_t offset = image->meta_offset;

	for (enum tp_format_section i = 0; i < TP_SECTION_COUNT; i++) {
		TP_TRY(take_section_entry(image, i, offset));
		offset += image->sections[i].stored_len;
	}
	if (offset != image->file_size)
		return damaged(image, "header", "there is something behind the last section");
	return NULL;
}

static struct torpor_error *read_sections(struct tp_image *image)
{
	size_t len = (size_t)(image->file_size - image->meta_offset);

	if (image->file_size == image->head_len) {
		image->sections_data = image->head + image->meta_offset;
	} else {
		image->sections_own = malloc(len > 0 ? len : 1);
		if (!image->sections_own)
			return tp_error(TORPOR_E_NOMEM, "open image", image->name,
				"no memory for %zu bytes", len);
		TP_TRY(tp_io_pread(
			image->fd, image->sections_own, len, image->meta_offset, image->name));
		image->sections_data = image->sections_own;
	}
	for (enum tp_format_section i = 0; i < TP_SECTION_COUNT; i++) {
		const struct tp_image_section *s = &image->sections[i];
		const uint8_t *at = image->sections_data + (s->offset - image->meta_offset);
		if (tp_sum(at, s->stored_len) != s->stored_sum)
			return damaged(image, tp_section_name(i), "its checksum is wrong");
	}
	return NULL;
}

/* Decodes a section; *RAW_OUT is the caller's to free and has a NUL behind its end. */
static struct torpor_error *decode_section(const struct tp_image *image, struct tp_codec *codec,
	enum tp_format_section i, const void *prefix, size_t prefix_len, uint8_t **raw_out)
{
	const struct tp_image_section *s = &image->sections[i];
	const uint8_t *stored = image->sections_data + (s->offset - image->meta_offset);
	TP_FREE uint8_t *raw = malloc((size_t)s->raw_len + 1);

	if (!raw)
		return tp_error(TORPOR_E_NOMEM, "open image", image->name, "no memory for %u bytes",
			s->raw_len);
	if (!tp_codec_unpack_section(
		    codec, s->codec, stored, s->stored_len, prefix, prefix_len, raw, s->raw_len) ||
		tp_sum(raw, s->raw_len) != s->raw_sum)
		return damaged(image, tp_section_name(i), "it doesn't decode to what it was");
	raw[s->raw_len] = '\0';
	*raw_out = TP_TAKE(raw);
	return NULL;
}

static struct torpor_error *take_config(struct tp_image *image, struct tp_codec *codec)
{
	uint8_t *raw = NULL;

	TP_TRY(decode_section(image, codec, TP_SECTION_CONFIG, NULL, 0, &raw));
	image->config = (char *)raw;
	image->meta.config = image->config;
	if (strlen(image->config) != image->sections[TP_SECTION_CONFIG].raw_len)
		return damaged(image, "config", "it isn't text");
	return NULL;
}

static struct torpor_error *take_ram(struct tp_image *image, struct tp_codec *codec)
{
	TP_FREE uint8_t *raw = NULL;
	uint64_t space_pages;

	TP_TRY(decode_section(image, codec, TP_SECTION_RAM, NULL, 0, &raw));
	if (!tp_ram_decode(raw, image->sections[TP_SECTION_RAM].raw_len, &image->meta.blocks,
		    &image->meta.n_blocks))
		return damaged(image, "RAM blocks", "the table is damaged");
	struct torpor_error *err =
		tp_image_space_pages(image->meta.blocks, image->meta.n_blocks, &space_pages);
	if (err)
		return tp_error_in(
			tp_error_recode(err, TORPOR_E_CORRUPT), "check RAM blocks of", image->name);
	if (space_pages != image->space_pages)
		return damaged(image, "RAM blocks", "they don't make up the page space");
	return NULL;
}

static struct torpor_error *take_index(struct tp_image *image, struct tp_codec *codec)
{
	TP_FREE uint8_t *raw = NULL;

	TP_TRY(decode_section(image, codec, TP_SECTION_INDEX, NULL, 0, &raw));
	return tp_error_in(tp_index_decode(raw, image->sections[TP_SECTION_INDEX].raw_len,
				   image->page_count, image->space_pages, &image->index),
		"open image", image->name);
}

static bool block_is_sound(const struct tp_image *image, const struct tp_format_block *entry,
	const struct tp_image_block *block)
{
	uint8_t last_codec =
		image->meta.kind == TP_IMAGE_SESSION ? TP_CODEC_ZSTD_PREFIX : TP_CODEC_ZSTD;
	uint64_t raw_len = block->page_count * TP_PAGE_SIZE;

	return block->page_count >= 1 && block->page_count <= TP_FORMAT_BLOCK_PAGES &&
	       block->codec <= last_codec && block->stored_len >= TP_FORMAT_MIN_STORED &&
	       block->stored_len <= raw_len &&
	       (block->codec != TP_CODEC_RAW || block->stored_len == raw_len) && entry->zero == 0 &&
	       all_zero(entry->tag, sizeof(entry->tag));
}

/* The blocks must follow each other, from the header to the sections, and have all pages. */
static struct torpor_error *take_blocks(struct tp_image *image, const uint8_t *table)
{
	uint64_t offset = sizeof(image->header);
	uint64_t place = 0;

	for (uint32_t i = 0; i < image->n_blocks; i++) {
		struct tp_format_block entry;
		struct tp_image_block *block = &image->blocks[i];
		memcpy(&entry, table + i * sizeof(entry), sizeof(entry));
		*block = (struct tp_image_block){
			.offset = le64toh(entry.offset),
			.place = place,
			.stored_len = le32toh(entry.stored_len),
			.page_count = le16toh(entry.page_count),
			.codec = entry.codec,
			.stored_sum = le64toh(entry.stored_sum),
			.raw_sum = le64toh(entry.raw_sum),
		};
		if (!block_is_sound(image, &entry, block) || block->offset != offset ||
			block->stored_len > image->meta_offset - offset ||
			block->page_count > image->page_count - place)
			return damaged(image, "block table", "an entry makes no sense");
		image->needs_base = image->needs_base || block->codec == TP_CODEC_ZSTD_PREFIX;
		offset += block->stored_len;
		place += block->page_count;
	}
	if (offset != image->meta_offset || place != image->page_count)
		return damaged(image, "block table", "it doesn't cover the blocks");
	return NULL;
}

static struct torpor_error *take_block_table(struct tp_image *image, struct tp_codec *codec)
{
	TP_FREE uint8_t *raw = NULL;
	uint64_t due = image->n_blocks * sizeof(struct tp_format_block);

	if (image->sections[TP_SECTION_BLOCKS].raw_len != due)
		return damaged(image, "block table", "its length is wrong");
	TP_TRY(decode_section(image, codec, TP_SECTION_BLOCKS, NULL, 0, &raw));
	image->blocks = calloc(image->n_blocks + (size_t)1, sizeof(*image->blocks));
	if (!image->blocks)
		return tp_error(TORPOR_E_NOMEM, "open image", image->name,
			"no memory for %u blocks", image->n_blocks);
	return take_blocks(image, raw);
}

static struct torpor_error *take_sections(struct tp_image *image)
{
	TP_CLEANUP(tp_codec_free) struct tp_codec *codec = tp_codec_new();

	if (!codec)
		return tp_error(TORPOR_E_NOMEM, "open image", image->name, "no memory for zstd");
	TP_TRY(take_section_entries(image));
	TP_TRY(read_sections(image));
	TP_TRY(take_config(image, codec));
	TP_TRY(take_ram(image, codec));
	TP_TRY(take_index(image, codec));
	TP_TRY(take_block_table(image, codec));
	image->meta.device_len = image->sections[TP_SECTION_DEVICE].raw_len;
	return NULL;
}

/* The head is of no more use where it isn't the whole image. */
static void drop_head(struct tp_image *image)
{
	if (image->head_len < image->file_size) {
		free(TP_TAKE(image->head));
		image->head_len = 0;
	}
}

struct torpor_error *tp_image_open_fd(
	int fd, const char *name, const struct tp_call *call, struct tp_image **image_out)
{
	TP_CLEANUP(tp_image_close) struct tp_image *image = tp_calloc(1, sizeof(*image));

	image->fd = -1;
	image->name = tp_strdup(name);
	TP_TRY(tp_call_check(call, "open image", name));
	image->fd = fd;
	struct torpor_error *err = read_head(image);
	if (!err)
		err = take_header(image);
	if (!err)
		err = take_sections(image);
	if (err) {
		image->fd = -1; /* the caller's still */
		return err;
	}
	drop_head(image);
	*image_out = TP_TAKE(image);
	return NULL;
}

struct torpor_error *tp_image_open(
	int dirfd, const char *name, const struct tp_call *call, struct tp_image **image_out)
{
	TP_FD int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return tp_error_errno(errno, "open image", name);
	TP_TRY(tp_image_open_fd(fd, name, call, image_out));
	TP_TAKE_FD(fd);
	return NULL;
}

struct tp_image *tp_image_close(struct tp_image *image)
{
	if (image) {
		tp_close(image->fd);
		tp_ram_free(image->meta.blocks, image->meta.n_blocks);
		tp_index_deinit(&image->index);
		free(image->blocks);
		free(image->config);
		free(image->sections_own);
		free(image->head);
		free(image->name);
		free(image);
	}
	return NULL;
}

const struct tp_image_meta *tp_image_meta(const struct tp_image *image)
{
	return &image->meta;
}

const uint8_t *tp_image_uuid(const struct tp_image *image)
{
	return image->header.uuid;
}

uint64_t tp_image_created_ns(const struct tp_image *image)
{
	return le64toh(image->header.created_ns);
}

uint64_t tp_image_space_size(const struct tp_image *image)
{
	return image->space_pages;
}

uint64_t tp_image_page_count(const struct tp_image *image)
{
	return image->page_count;
}

uint64_t tp_image_block_count(const struct tp_image *image)
{
	return image->n_blocks;
}

uint64_t tp_image_file_bytes(const struct tp_image *image)
{
	return image->file_size;
}

bool tp_image_needs_base(const struct tp_image *image)
{
	return image->needs_base;
}

bool tp_image_needs_device_prefix(const struct tp_image *image)
{
	return image->sections[TP_SECTION_DEVICE].codec == TP_CODEC_ZSTD_PREFIX;
}

struct torpor_error *tp_image_device(const struct tp_image *image, const void *prefix,
	size_t prefix_len, void **device_out, size_t *len_out)
{
	TP_CLEANUP(tp_codec_free) struct tp_codec *codec = tp_codec_new();
	uint8_t *raw = NULL;

	if (!codec)
		return tp_error(
			TORPOR_E_NOMEM, "read device state of", image->name, "no memory for zstd");
	struct torpor_error *err =
		decode_section(image, codec, TP_SECTION_DEVICE, prefix, prefix_len, &raw);
	/* Its stored bytes are sound, so what doesn't fit is the prefix. */
	if (err && tp_image_needs_device_prefix(image) &&
		torpor_error_code(err) == TORPOR_E_CORRUPT)
		err = tp_error_recode(err, TORPOR_E_MISMATCH);
	TP_TRY(err);
	*device_out = raw;
	*len_out = image->sections[TP_SECTION_DEVICE].raw_len;
	return NULL;
}
