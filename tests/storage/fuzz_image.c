/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the reader: open, device state, verify, load.
 *
 * The first byte of an input says what is done with the rest, an image. If its lowest bit is set,
 * lengths and checksums are put right first, since hardly any input would get past them
 * otherwise; with the second bit a base of 16 pages is at hand.
 */
#include <endian.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "storage/codec.h"
#include "storage/sections.h"
#include "support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_RAW ((size_t)TP_MIB)

struct section {
	uint8_t *stored;
	size_t stored_len;
	uint8_t *raw;
	size_t raw_len;
};

/* Decodes a section as far as it can be; its raw bytes are the caller's to free. */
static bool decode(
	struct tp_codec *codec, struct tp_format_section_entry *entry, struct section *section)
{
	section->raw_len = le32toh(entry->raw_len);
	if (section->raw_len > MAX_RAW)
		return false;
	section->raw = tp_malloc(section->raw_len);
	return tp_codec_unpack_section(codec, entry->codec, section->stored, section->stored_len,
		NULL, 0, section->raw, section->raw_len);
}

/* Puts the sums of the blocks right, where the table isn't compressed. */
static void fix_blocks(uint8_t *image, size_t size, const struct tp_format_header *header,
	const struct section *index_section, const struct section *table)
{
	struct tp_index index = {0};
	uint64_t place = 0;

	if (code_of(tp_index_decode(index_section->raw, index_section->raw_len,
		    le64toh(header->page_count), le64toh(header->space_pages), &index)) != 0)
		return;
	for (size_t at = 0; at + sizeof(struct tp_format_block) <= table->stored_len;
		at += sizeof(struct tp_format_block)) {
		uint64_t pages[TP_FORMAT_BLOCK_PAGES];
		struct tp_format_block block;
		memcpy(&block, table->stored + at, sizeof(block));
		uint64_t offset = le64toh(block.offset);
		uint32_t len = le32toh(block.stored_len);
		uint16_t count = le16toh(block.page_count);
		if (offset > size || len > size - offset || count > TP_FORMAT_BLOCK_PAGES ||
			count > index.page_count - place)
			break;
		block.stored_sum = htole64(tp_sum(image + offset, len));
		tp_index_pages(&index, place, count, pages);
		if (block.codec == TP_CODEC_RAW && len == count * TP_PAGE_SIZE)
			block.raw_sum = htole64(tp_sum_pages(pages, count, image + offset));
		memcpy(table->stored + at, &block, sizeof(block));
		place += count;
	}
	tp_index_deinit(&index);
}

static void fix_sections(uint8_t *image, size_t size, struct tp_format_header *header)
{
	struct tp_codec *codec = tp_codec_new();
	struct section sections[TP_SECTION_COUNT] = {0};
	uint64_t at = le64toh(header->meta_offset);

	for (int i = 0; i < TP_SECTION_COUNT && at <= size; i++) {
		struct section *s = &sections[i];
		s->stored_len = le32toh(header->sections[i].stored_len);
		if (s->stored_len > size - at)
			break;
		s->stored = image + at;
		at += s->stored_len;
		if (!decode(codec, &header->sections[i], s))
			s->raw_len = 0;
	}
	const struct section *table = &sections[TP_SECTION_BLOCKS];
	if (table->stored && header->sections[TP_SECTION_BLOCKS].codec == TP_CODEC_RAW) {
		fix_blocks(image, size, header, &sections[TP_SECTION_INDEX], table);
		if (table->raw)
			memcpy(table->raw, table->stored,
				TP_MIN(table->raw_len, table->stored_len));
	}
	for (int i = 0; i < TP_SECTION_COUNT; i++) {
		struct section *s = &sections[i];
		if (s->stored)
			header->sections[i].stored_sum = htole64(tp_sum(s->stored, s->stored_len));
		if (s->raw)
			header->sections[i].raw_sum = htole64(tp_sum(s->raw, s->raw_len));
		free(s->raw);
	}
	tp_codec_free(codec);
}

static void fix(uint8_t *image, size_t size)
{
	struct tp_format_header header;

	if (size < sizeof(header))
		return;
	memcpy(&header, image, sizeof(header));
	memcpy(header.magic, TP_FORMAT_MAGIC, sizeof(header.magic));
	header.version = htole32(TP_FORMAT_VERSION);
	header.header_len = htole32(sizeof(header));
	header.file_size = htole64(size);
	fix_sections(image, size, &header);
	header.header_sum = htole64(tp_sum(&header, offsetof(struct tp_format_header, header_sum)));
	memcpy(image, &header, sizeof(header));
}

static struct torpor_error *touch(
	void *data, const uint64_t *pages, const uint8_t *bytes, unsigned int n)
{
	uint64_t *sum = data;

	for (unsigned int i = 0; i < n; i++)
		*sum += pages[i] + bytes[i * TP_PAGE_SIZE] + bytes[(i + 1) * TP_PAGE_SIZE - 1];
	return NULL;
}

static void read_all(int fd, int base)
{
	struct tp_image *image;
	uint64_t sum = 0;
	void *device;
	size_t device_len;

	struct torpor_error *err = tp_image_open_fd(fd, "fuzzed", &forever, &image);
	if (err) {
		close(fd);
		torpor_error_free(err);
		return;
	}
	err = tp_image_device(image, NULL, 0, &device, &device_len);
	if (!err)
		free(device);
	torpor_error_free(err);
	torpor_error_free(tp_image_verify(image, base, NULL, NULL, &forever));
	torpor_error_free(tp_image_load(image, base, NULL, touch, &sum, &forever));
	tp_image_close(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int base = -1;
	int fd;

	if (size < 1)
		return -1;
	if (base < 0)
		base = make_base(16, 2);
	TP_FREE uint8_t *image = tp_memdup(data + 1, size - 1);
	if (data[0] & 1)
		fix(image, size - 1);
	must(tp_memfd("fuzzed", 0, &fd));
	must(tp_pwrite_full(fd, image, size - 1, 0, "fuzzed"));
	read_all(fd, data[0] & 2 ? base : -1);
	return 0;
}
