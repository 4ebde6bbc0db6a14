/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged, truncated, exchanged and crafted images are refused, and the section is named. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <endian.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "storage/codec.h"
#include "support.h"

static struct world world;
static uint8_t *sound;
static size_t sound_len;
static int base;

/* A session of two blocks with something in each section; no noise, so that it is small. */
static void setup(void)
{
	static const uint64_t pages[] = {1, 2, 4, 64, 65, 67, 70};
	struct spec spec = {.kind = TP_IMAGE_SESSION,
		.space_pages = 80,
		.pages = pages,
		.n_pages = TP_ARRAY_LEN(pages),
		.version = 9,
		.config = "{\"name\": \"small\"}",
		.device = "some device state",
		.device_len = 17,
		.prefix = "SOME device state",
		.prefix_len = 17};

	world_init(&world);
	base = spec.base_fd = make_base(80, 8);

	struct tp_image_writer_options options = spec_options(&world, "small", &spec);
	struct tp_image_meta meta = spec_meta(&spec);
	struct tp_image_writer *writer;
	must(tp_image_writer_new(&options, &forever, &writer));
	for (int half = 0; half < 2; half++) {
		struct spec part = spec;
		part.pages = pages + half * 4;
		part.n_pages = half ? 3 : 4;
		must(put_pages(writer, &part, &forever));
	}
	must(tp_image_writer_commit(writer, &meta, &forever, NULL));
	tp_image_writer_free(writer);
	sound = slurp(&world, "small", &sound_len);
	must(read_bytes(sound, sound_len, base));
}

static void teardown(void)
{
	free(sound);
	close(base);
	world_deinit(&world);
}

TestSuite(damage, .init = setup, .fini = teardown, .timeout = 50);

/* A test for each bit of a byte: of all together sanitizers make half a minute. */
ParameterizedTestParameters(damage, every_flipped_bit_is_refused)
{
	static int bits[] = {0, 1, 2, 3, 4, 5, 6, 7};

	return cr_make_param_array(int, bits, TP_ARRAY_LEN(bits));
}

ParameterizedTest(int *bit, damage, every_flipped_bit_is_refused)
{
	for (size_t i = 0; i < sound_len; i++) {
		sound[i] ^= (uint8_t)(1 << *bit);
		enum torpor_errc code = code_of(read_bytes(sound, sound_len, -1));
		cr_assert(code == TORPOR_E_CORRUPT || code == TORPOR_E_UNSUPPORTED,
			"bit %d of byte %zu: %s", *bit, i,
			code ? torpor_errc_name(code) : "accepted");
		sound[i] ^= (uint8_t)(1 << *bit);
	}
}

Test(damage, truncation_anywhere_is_refused)
{
	for (size_t len = 0; len < sound_len; len++)
		cr_assert_eq(code_of(read_bytes(sound, len, base)), TORPOR_E_CORRUPT,
			"%zu of %zu bytes", len, sound_len);
}

Test(damage, an_appended_byte_is_refused)
{
	uint8_t *longer = tp_calloc(1, sound_len + 1);

	memcpy(longer, sound, sound_len);
	cr_assert_eq(code_of(read_bytes(longer, sound_len + 1, base)), TORPOR_E_CORRUPT);
	free(longer);
}

/* The parts of an image, decoded, to be changed and put together again with correct sums. */
struct parts {
	struct tp_format_header header;
	struct tp_buf blocks; /* stored bytes of all blocks */
	struct tp_buf sections[TP_SECTION_COUNT];
	uint64_t raw_sums[TP_SECTION_COUNT];
};

static void take_apart(struct parts *p)
{
	struct tp_codec *codec = tp_codec_new();

	*p = (struct parts){0};
	memcpy(&p->header, sound, sizeof(p->header));
	size_t at = sizeof(p->header);
	size_t meta_offset = le64toh(p->header.meta_offset);
	tp_buf_put(&p->blocks, sound + at, meta_offset - at);
	at = meta_offset;
	for (int i = 0; i < TP_SECTION_COUNT; i++) {
		struct tp_format_section_entry *e = &p->header.sections[i];
		size_t stored_len = le32toh(e->stored_len);
		void *raw = tp_buf_extend(&p->sections[i], le32toh(e->raw_len));
		cr_assert(tp_codec_unpack_section(codec, e->codec, sound + at, stored_len,
			"SOME device state", 17, raw, p->sections[i].len));
		at += stored_len;
	}
	tp_codec_free(codec);
}

static void seal_header(struct tp_format_header *header)
{
	header->header_sum = htole64(tp_sum(header, offsetof(struct tp_format_header, header_sum)));
}

/* Puts the parts together, sections raw, all lengths and sums correct, and reads the result. */
static struct torpor_error *read_parts(struct parts *p)
{
	TP_BUF struct tp_buf file = {0};

	tp_buf_extend(&file, sizeof(p->header));
	tp_buf_put(&file, p->blocks.data, p->blocks.len);
	p->header.meta_offset = htole64(file.len);
	for (int i = 0; i < TP_SECTION_COUNT; i++) {
		struct tp_buf *s = &p->sections[i];
		p->header.sections[i] = (struct tp_format_section_entry){
			.stored_len = htole32((uint32_t)s->len),
			.raw_len = htole32((uint32_t)s->len),
			.stored_sum = htole64(tp_sum(s->data, s->len)),
			.raw_sum = htole64(tp_sum(s->data, s->len)),
		};
		tp_buf_put(&file, s->data, s->len);
		tp_buf_deinit(s);
	}
	tp_buf_deinit(&p->blocks);
	p->header.file_size = htole64(file.len);
	seal_header(&p->header);
	memcpy(file.data, &p->header, sizeof(p->header));
	return read_bytes(file.data, file.len, base);
}

static struct tp_format_block *table_of(struct parts *p)
{
	return (struct tp_format_block *)p->sections[TP_SECTION_BLOCKS].data;
}

Test(damage, parts_put_together_again_are_sound)
{
	struct parts p;

	take_apart(&p);
	cr_assert_eq(le32toh(p.header.block_count), 2);
	must(read_parts(&p));
}

/* Exchanges two blocks and their entries; all sums of what is stored stay right. */
static void exchange_blocks(struct parts *p)
{
	TP_BUF struct tp_buf swapped = {0};
	struct tp_format_block *table = table_of(p);
	struct tp_format_block first = table[0];
	uint32_t len[] = {le32toh(table[0].stored_len), le32toh(table[1].stored_len)};

	tp_buf_put(&swapped, p->blocks.data + len[0], len[1]);
	tp_buf_put(&swapped, p->blocks.data, len[0]);
	memcpy(p->blocks.data, swapped.data, swapped.len);
	table[0] = table[1];
	table[1] = first;
	table[0].offset = htole64(sizeof(p->header));
	table[1].offset = htole64(sizeof(p->header) + len[1]);
}

Test(damage, blocks_exchanged_with_their_entries_are_refused)
{
	struct parts p;

	take_apart(&p);
	exchange_blocks(&p);
	cr_assert(says(read_parts(&p), "block 0"));
}

/* Where there is no base, only the sum over the page numbers tells. */
Test(damage, blocks_exchanged_without_a_base_are_refused)
{
	struct spec spec = {.kind = TP_IMAGE_FULL,
		.base_fd = -1,
		.space_pages = 129,
		.n_pages = 128,
		.version = 2};
	struct parts p;

	must(write_image(&world, "full", &spec, &forever, NULL));
	free(sound);
	sound = slurp(&world, "full", &sound_len);
	take_apart(&p);
	must(read_parts(&p));
	take_apart(&p);
	exchange_blocks(&p);
	cr_assert(says(read_parts(&p), "block 0"));
}

Test(damage, entries_out_of_order_are_refused)
{
	struct parts p;

	take_apart(&p);
	struct tp_format_block first = table_of(&p)[0];
	table_of(&p)[0] = table_of(&p)[1];
	table_of(&p)[1] = first;
	cr_assert(says(read_parts(&p), "block table"));
}

Test(damage, blocks_that_share_bytes_are_refused)
{
	struct parts p;

	take_apart(&p);
	table_of(&p)[1].offset = table_of(&p)[0].offset;
	cr_assert(says(read_parts(&p), "block table"));
}

Test(damage, bytes_between_blocks_and_sections_are_refused)
{
	struct parts p;

	take_apart(&p);
	tp_buf_put_u8(&p.blocks, 0);
	cr_assert(says(read_parts(&p), "block table"));
}

/* Changes one thing about the parts, and says which section is to be blamed. */
struct crafted {
	const char *what;
	void (*craft)(struct parts *p);
	const char *blamed;
};

static void set_index(struct parts *p, const uint64_t *values, size_t n)
{
	struct tp_buf *index = &p->sections[TP_SECTION_INDEX];

	index->len = 0;
	for (size_t i = 0; i < n; i++)
		tp_buf_put_varint(index, values[i]);
}

static void version_2(struct parts *p)
{
	p->header.version = htole32(2);
}

static void flags(struct parts *p)
{
	p->header.flags = htole32(1);
}

static void cipher(struct parts *p)
{
	p->header.cipher = htole32(1);
}

static void key(struct parts *p)
{
	p->header.key_id[3] = 1;
}

static void kind(struct parts *p)
{
	p->header.kind = htole32(4);
}

static void many_blocks(struct parts *p)
{
	p->header.block_count = htole32(UINT32_MAX);
}

static void many_pages(struct parts *p)
{
	p->header.page_count = htole64(UINT64_MAX);
}

static void large_space(struct parts *p)
{
	p->header.space_pages = htole64(UINT64_C(1) << 33);
}

static void other_space(struct parts *p)
{
	p->header.space_pages = htole64(81);
}

static void large_block(struct parts *p)
{
	table_of(p)[1].stored_len = htole32(UINT32_MAX);
}

static void empty_block(struct parts *p)
{
	table_of(p)[0].page_count = 0;
}

static void block_of_65_pages(struct parts *p)
{
	table_of(p)[0].page_count = htole16(65);
}

static void block_codec(struct parts *p)
{
	table_of(p)[0].codec = 3;
}

static void block_tag(struct parts *p)
{
	table_of(p)[1].tag[15] = 1;
}

static void block_zero(struct parts *p)
{
	table_of(p)[1].zero = 1;
}

static void pages_overflow(struct parts *p)
{
	static const uint64_t values[] = {1, UINT64_MAX, 1, 3};

	set_index(p, values, TP_ARRAY_LEN(values));
}

static void pages_outside(struct parts *p)
{
	static const uint64_t values[] = {74, 6};

	set_index(p, values, TP_ARRAY_LEN(values));
}

static void runs_that_touch(struct parts *p)
{
	static const uint64_t values[] = {1, 2, 0, 3};

	set_index(p, values, TP_ARRAY_LEN(values));
}

static void too_few_pages(struct parts *p)
{
	static const uint64_t values[] = {1, 5};

	set_index(p, values, TP_ARRAY_LEN(values));
}

static void half_a_run(struct parts *p)
{
	static const uint64_t values[] = {1, 6, 2};

	set_index(p, values, TP_ARRAY_LEN(values));
}

static void moved_pages(struct parts *p)
{
	static const uint64_t values[] = {2, 6};

	set_index(p, values, TP_ARRAY_LEN(values));
}

static void config_with_nul(struct parts *p)
{
	p->sections[TP_SECTION_CONFIG].data[2] = '\0';
}

static void long_config(struct parts *p)
{
	memset(tp_buf_extend(&p->sections[TP_SECTION_CONFIG], 65536), ' ', 65536);
}

static void half_a_ram_block(struct parts *p)
{
	p->sections[TP_SECTION_RAM].len--;
}

static void no_ram(struct parts *p)
{
	p->sections[TP_SECTION_RAM].len = 0;
}

static void huge_ram(struct parts *p)
{
	memset(p->sections[TP_SECTION_RAM].data + 7, 0xff, 8);
}

static void ram_name_with_nul(struct parts *p)
{
	p->sections[TP_SECTION_RAM].data[2] = '\0';
}

static void ram_twice(struct parts *p)
{
	struct tp_buf *ram = &p->sections[TP_SECTION_RAM];
	uint8_t copy[256];
	size_t len = ram->len;

	memcpy(copy, ram->data, len);
	tp_buf_put(ram, copy, len);
}

static const struct crafted crafted[] = {
	{"version 2", version_2, "version 2"},
	{"unknown flags", flags, "flags"},
	{"unknown cipher", cipher, "cipher 1"},
	{"a key without cipher", key, "header"},
	{"unknown kind", kind, "header"},
	{"2^32 blocks", many_blocks, "header"},
	{"2^64 pages", many_pages, "header"},
	{"2^33 pages of space", large_space, "header"},
	{"another page space", other_space, "RAM blocks"},
	{"a block of 4 GiB", large_block, "block table"},
	{"a block without pages", empty_block, "block table"},
	{"a block of 65 pages", block_of_65_pages, "block table"},
	{"an unknown codec", block_codec, "block table"},
	{"a tag without cipher", block_tag, "block table"},
	{"a reserved byte", block_zero, "block table"},
	{"a run that overflows", pages_overflow, "page index"},
	{"a page outside", pages_outside, "page index"},
	{"runs that touch", runs_that_touch, "page index"},
	{"too few pages", too_few_pages, "page index"},
	{"half a run", half_a_run, "page index"},
	{"pages moved by one", moved_pages, "block 0"},
	{"NUL in config", config_with_nul, "config"},
	{"a long config", long_config, "config"},
	{"half a RAM block", half_a_ram_block, "RAM blocks"},
	{"no RAM block", no_ram, "RAM blocks"},
	{"a RAM block of 2^64 bytes", huge_ram, "RAM blocks"},
	{"NUL in a RAM block's name", ram_name_with_nul, "RAM blocks"},
	{"RAM blocks twice", ram_twice, "RAM blocks"},
};

Test(damage, crafted_images_with_correct_sums_are_refused)
{
	for (size_t i = 0; i < TP_ARRAY_LEN(crafted); i++) {
		struct parts p;
		take_apart(&p);
		crafted[i].craft(&p);
		cr_expect(says(read_parts(&p), crafted[i].blamed), "%s", crafted[i].what);
	}
}

/* Lengths of sections that nothing stands behind, in a header with a correct sum. */
Test(damage, absurd_sections_are_refused_before_allocating)
{
	for (int i = 0; i < TP_SECTION_COUNT; i++) {
		TP_FREE uint8_t *copy = tp_memdup(sound, sound_len);
		struct tp_format_header *header = (struct tp_format_header *)copy;
		header->sections[i].raw_len = htole32(UINT32_MAX);
		seal_header(header);
		enum torpor_errc code = code_of(read_bytes(copy, sound_len, base));
		cr_expect_eq(code, TORPOR_E_CORRUPT, "section %d: raw length", i);
		header->sections[i].stored_len = htole32(UINT32_MAX);
		seal_header(header);
		code = code_of(read_bytes(copy, sound_len, base));
		cr_expect_eq(code, TORPOR_E_CORRUPT, "section %d: stored length", i);
	}
}

/* Changes a byte count in a header with a correct sum; the file gets ADDED bytes more. */
static enum torpor_errc with_file_size(int64_t change, size_t added)
{
	uint8_t *copy = tp_calloc(1, sound_len + added);
	struct tp_format_header *header = (struct tp_format_header *)copy;

	memcpy(copy, sound, sound_len);
	header->file_size = htole64(sound_len + (uint64_t)change);
	seal_header(header);
	enum torpor_errc code = code_of(read_bytes(copy, sound_len + added, base));
	free(copy);
	return code;
}

Test(damage, the_stated_size_must_be_the_files_and_the_sections)
{
	cr_assert_eq(with_file_size(0, 0), 0);
	cr_assert_eq(with_file_size(1, 0), TORPOR_E_CORRUPT);
	cr_assert_eq(with_file_size(-1, 0), TORPOR_E_CORRUPT);
	cr_assert_eq(with_file_size(1, 1), TORPOR_E_CORRUPT);
}

Test(damage, another_base_is_noticed)
{
	int other = make_base(80, 7);
	int empty = make_base(80, 0);
	int shorter = make_base(79, 8);

	cr_assert_eq(code_of(read_bytes(sound, sound_len, other)), TORPOR_E_MISMATCH);
	cr_assert_eq(code_of(read_bytes(sound, sound_len, empty)), TORPOR_E_MISMATCH);
	cr_assert_eq(code_of(read_bytes(sound, sound_len, shorter)), TORPOR_E_MISMATCH);
	close(other);
	close(empty);
	close(shorter);
}

Test(damage, a_missing_base_is_noticed)
{
	struct tp_image *image;
	struct check_sink sink = {.version = 9};

	must(tp_image_open(world.dirfd, "small", &forever, &image));
	cr_assert(tp_image_needs_base(image));
	cr_assert_eq(code_of(tp_image_load(image, -1, NULL, check_sink, &sink, &forever)),
		TORPOR_E_INVALID);
	tp_image_close(image);
}

Test(damage, another_device_prefix_is_noticed)
{
	uint8_t device[4000];
	uint8_t prefix[4000];
	struct spec spec = {.kind = TP_IMAGE_FULL,
		.base_fd = -1,
		.space_pages = 2,
		.device = device,
		.device_len = sizeof(device),
		.prefix = prefix,
		.prefix_len = sizeof(prefix)};
	struct tp_image *image;
	void *got;
	size_t len;

	for (size_t i = 0; i < sizeof(device); i++)
		device[i] = prefix[i] = (uint8_t)(i * i * i >> 5);
	must(write_image(&world, "prefixed", &spec, &forever, NULL));
	must(tp_image_open(world.dirfd, "prefixed", &forever, &image));
	cr_assert(tp_image_needs_device_prefix(image));
	prefix[99] ^= 1;
	cr_assert_eq(code_of(tp_image_device(image, prefix, sizeof(prefix), &got, &len)),
		TORPOR_E_MISMATCH);
	cr_assert_eq(code_of(tp_image_device(image, NULL, 0, &got, &len)), TORPOR_E_MISMATCH);
	prefix[99] ^= 1;
	must(tp_image_device(image, prefix, sizeof(prefix), &got, &len));
	free(got);
	tp_image_close(image);
}

static void remember(void *data, const char *section, const struct torpor_error *err)
{
	if (err)
		snprintf(data, 32, "%s", section);
}

Test(damage, verify_names_what_is_damaged)
{
	char named[32] = "nothing";
	struct tp_image *image;
	uint8_t byte = sound[sound_len - 1] ^ 1;
	uint8_t block_byte = sound[sizeof(struct tp_format_header) + 3] ^ 1;

	must(tp_image_open(world.dirfd, "small", &forever, &image));
	must(tp_image_verify(image, base, remember, named, &forever));
	cr_assert_str_eq(named, "nothing");

	TP_FREE char *path = tp_asprintf("%s/small", world.path);
	FILE *file = fopen(path, "r+");
	cr_assert_eq(fseek(file, (long)sizeof(struct tp_format_header) + 3, SEEK_SET), 0);
	cr_assert_eq(fwrite(&block_byte, 1, 1, file), 1);
	cr_assert_eq(fflush(file), 0);
	cr_assert_eq(
		code_of(tp_image_verify(image, base, remember, named, &forever)), TORPOR_E_CORRUPT);
	cr_assert_str_eq(named, "block 0");

	cr_assert_eq(fseek(file, (long)sizeof(struct tp_format_header) + 3, SEEK_SET), 0);
	block_byte ^= 1;
	cr_assert_eq(fwrite(&block_byte, 1, 1, file), 1);
	cr_assert_eq(fseek(file, (long)sound_len - 1, SEEK_SET), 0);
	cr_assert_eq(fwrite(&byte, 1, 1, file), 1);
	cr_assert_eq(fclose(file), 0);
	cr_assert_eq(
		code_of(tp_image_verify(image, base, remember, named, &forever)), TORPOR_E_CORRUPT);
	cr_assert_str_eq(named, "device state");
	tp_image_close(image);
}
