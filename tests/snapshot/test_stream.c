/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The migration stream, byte by byte.
 *
 * The streams here are put together by hand, from the format and not by the encoder, so that the
 * two sides don't agree on a mistake; the encoder is held against the same bytes.
 */
#include <criterion/criterion.h>

#include <endian.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "decoded.h"

#define RAM_ID 2

/* ---- Streams by hand ---- */

static void u8(struct tp_buf *b, uint8_t v)
{
	tp_buf_put_u8(b, v);
}

static void be16(struct tp_buf *b, uint16_t v)
{
	v = htobe16(v);
	tp_buf_put(b, &v, sizeof(v));
}

static void be32(struct tp_buf *b, uint32_t v)
{
	tp_buf_put_be32(b, v);
}

static void be64(struct tp_buf *b, uint64_t v)
{
	tp_buf_put_be64(b, v);
}

static void name(struct tp_buf *b, const char *text)
{
	u8(b, (uint8_t)strlen(text));
	tp_buf_put(b, text, strlen(text));
}

static void magic(struct tp_buf *b)
{
	tp_buf_put(b, "QEVM\0\0\0\3", 8);
}

static void head(struct tp_buf *b)
{
	magic(b);
	u8(b, 7);
	be32(b, 3);
	tp_buf_put(b, "box", 3);
}

static void capability(struct tp_buf *b, const char *text)
{
	u8(b, 5);
	name(b, "configuration/capabilities");
	be32(b, 1);
	be32(b, 1);
	name(b, text);
}

static void footer(struct tp_buf *b, uint32_t id)
{
	u8(b, 0x7e);
	be32(b, id);
}

static void section(struct tp_buf *b, uint8_t type, uint32_t id, const char *text, uint32_t version)
{
	u8(b, type);
	be32(b, id);
	name(b, text);
	be32(b, 0);
	be32(b, version);
}

static void ram_start(struct tp_buf *b, uint64_t total)
{
	section(b, 1, RAM_ID, "ram", 4);
	be64(b, total);
}

static void block(struct tp_buf *b, const char *text, uint64_t len)
{
	name(b, text);
	be64(b, len);
}

static void end_data(struct tp_buf *b)
{
	be64(b, 0x10);
	footer(b, RAM_ID);
}

/* Two blocks: "main" of four pages and "rom" of one. */
static void ram(struct tp_buf *b)
{
	ram_start(b, 0x5004);
	block(b, "main", 0x4000);
	block(b, "rom", 0x1000);
	end_data(b);
}

static void part(struct tp_buf *b)
{
	u8(b, 2);
	be32(b, RAM_ID);
}

static void end(struct tp_buf *b)
{
	u8(b, 3);
	be32(b, RAM_ID);
}

static void page_header(struct tp_buf *b, uint64_t offset_and_flags, const char *text)
{
	be64(b, offset_and_flags);
	if (text)
		name(b, text);
}

static void page_bytes(struct tp_buf *b, uint8_t fill)
{
	memset(tp_buf_extend(b, TP_PAGE_SIZE), fill, TP_PAGE_SIZE);
}

static void device(struct tp_buf *b, uint32_t id, const char *text)
{
	section(b, 4, id, text, 1);
	tp_buf_put(b, "state of it", 11);
	footer(b, id);
}

static void devices(struct tp_buf *b)
{
	device(b, 0, "timer");
	device(b, 7, "cpu");
}

/* One with a PART and an END, all kinds of pages, and one page that comes twice. */
static void whole(struct tp_buf *b)
{
	head(b);
	ram(b);
	part(b);
	page_header(b, 0x0000 | 0x08, "main");
	page_bytes(b, 0xa0);
	page_header(b, 0x3000 | 0x08 | 0x20, NULL);
	page_bytes(b, 0xa3);
	page_header(b, 0x1000 | 0x02 | 0x20, NULL);
	u8(b, 0);
	end_data(b);
	end(b);
	page_header(b, 0x0000 | 0x08, "rom");
	page_bytes(b, 0xb0);
	page_header(b, 0x3000 | 0x02, "main");
	u8(b, 0);
	end_data(b);
	devices(b);
	u8(b, 0);
}

/* ---- Sound streams ---- */

static void must(struct torpor_error *err)
{
	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
}

static void check_whole(const struct decoded *d)
{
	TP_BUF struct tp_buf expected = {0};

	cr_assert_str_eq(d->machine, "box");
	cr_assert(!d->ignores_shared);
	cr_assert_eq(d->n_blocks, 2);
	cr_assert_str_eq(d->blocks[0].name, "main");
	cr_assert_eq(d->blocks[0].used_len, 0x4000);
	cr_assert_str_eq(d->blocks[1].name, "rom");
	cr_assert_eq(d->blocks[1].used_len, 0x1000);

	static const struct {
		size_t block;
		uint64_t offset;
		uint8_t fill;
	} pages[] = {{0, 0, 0xa0}, {0, 0x3000, 0xa3}, {0, 0x1000, 0}, {1, 0, 0xb0}, {0, 0x3000, 0}};
	cr_assert_eq(d->n_pages, TP_ARRAY_LEN(pages));
	for (size_t i = 0; i < d->n_pages; i++) {
		cr_assert_eq(d->pages[i].block, pages[i].block);
		cr_assert_eq(d->pages[i].offset, pages[i].offset);
		cr_assert_eq(d->pages[i].is_zero, pages[i].fill == 0);
		for (size_t at = 0; at < TP_PAGE_SIZE; at++)
			cr_assert_eq(d->pages[i].bytes[at], pages[i].fill);
	}
	devices(&expected);
	cr_assert_eq(d->devices.len, expected.len);
	cr_assert_arr_eq(d->devices.data, expected.data, expected.len);
}

Test(stream, is_decoded_whatever_pieces_it_comes_in)
{
	static const size_t steps[] = {1, 7, 4096, SIZE_MAX};
	TP_BUF struct tp_buf b = {0};

	whole(&b);
	for (size_t i = 0; i < TP_ARRAY_LEN(steps); i++) {
		struct decoded d;
		must(decode(&d, b.data, b.len, steps[i]));
		check_whole(&d);
		decoded_deinit(&d);
	}
}

Test(stream, end_is_given_again)
{
	TP_BUF struct tp_buf b = {0};
	TP_STREAM struct tp_stream *s = NULL;
	struct tp_stream_item item = {0};

	magic(&b);
	devices(&b);
	u8(&b, 0);
	struct tp_stream_memory memory = {.at = b.data, .left = b.len};
	must(tp_stream_open(tp_stream_from_memory(&memory), &s));
	must(tp_stream_next(s, &item));
	cr_assert_eq(item.kind, TP_STREAM_DEVICES);
	for (int i = 0; i < 2; i++) {
		must(tp_stream_next(s, &item));
		cr_assert_eq(item.kind, TP_STREAM_END);
	}
}

Test(stream, of_devices_alone_has_no_machine_and_no_blocks)
{
	TP_BUF struct tp_buf b = {0};
	TP_BUF struct tp_buf expected = {0};
	struct decoded d;

	magic(&b);
	devices(&b);
	u8(&b, 0);
	devices(&expected);
	must(decode(&d, b.data, b.len, SIZE_MAX));
	cr_assert_null(d.machine);
	cr_assert_eq(d.n_blocks, 0);
	cr_assert_eq(d.devices.len, expected.len);
	cr_assert_arr_eq(d.devices.data, expected.data, expected.len);
	decoded_deinit(&d);
}

Test(stream, without_devices_has_none)
{
	TP_BUF struct tp_buf b = {0};
	struct decoded d;

	head(&b);
	ram(&b);
	end(&b);
	end_data(&b);
	u8(&b, 0);
	must(decode(&d, b.data, b.len, SIZE_MAX));
	cr_assert_eq(d.devices.len, 0);
	decoded_deinit(&d);
}

Test(stream, has_addresses_with_ignore_shared)
{
	TP_BUF struct tp_buf b = {0};
	struct decoded d;

	head(&b);
	capability(&b, "x-ignore-shared");
	ram_start(&b, 0x1004);
	block(&b, "rom", 0x1000);
	be64(&b, 0xfffff000);
	end_data(&b);
	end(&b);
	end_data(&b);
	devices(&b);
	u8(&b, 0);
	must(decode(&d, b.data, b.len, SIZE_MAX));
	cr_assert(d.ignores_shared);
	cr_assert_eq(d.blocks[0].address, 0xfffff000);
	decoded_deinit(&d);
}

Test(stream, takes_page_bits_uuid_and_the_switchover_command)
{
	TP_BUF struct tp_buf b = {0};
	struct decoded d;

	head(&b);
	u8(&b, 5);
	name(&b, "configuration/target-page-bits");
	be32(&b, 1);
	be32(&b, 12);
	u8(&b, 5);
	name(&b, "configuration/uuid");
	be32(&b, 1);
	tp_buf_put(&b, "0123456789abcdef", 16);
	ram(&b);
	u8(&b, 8);
	be16(&b, 11);
	be16(&b, 0);
	end(&b);
	end_data(&b);
	devices(&b);
	u8(&b, 0);
	must(decode(&d, b.data, b.len, SIZE_MAX));
	cr_assert_eq(d.n_blocks, 2);
	decoded_deinit(&d);
}

Test(stream, description_of_devices_is_cut_off)
{
	static const char json[] = "{\"devices\": []}";
	TP_BUF struct tp_buf b = {0};
	TP_BUF struct tp_buf expected = {0};
	struct decoded d;

	magic(&b);
	devices(&b);
	/* Looks like a description, but for its length. */
	section(&b, 4, 9, "decoy", 1);
	tp_buf_put(&b, "\0\6\0\0\0\1{", 7);
	footer(&b, 9);
	tp_buf_put(&expected, b.data + 8, b.len - 8);
	u8(&b, 0);
	u8(&b, 6);
	be32(&b, sizeof(json) - 1);
	tp_buf_put(&b, json, sizeof(json) - 1);
	must(decode(&d, b.data, b.len, SIZE_MAX));
	cr_assert_eq(d.devices.len, expected.len);
	cr_assert_arr_eq(d.devices.data, expected.data, expected.len);
	decoded_deinit(&d);
}

Test(stream, is_read_from_and_written_to_descriptors)
{
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
	TP_BUF struct tp_buf b = {0};
	struct decoded d;
	struct decoded again;
	int fds[2];

	whole(&b);
	must(decode(&d, b.data, b.len, SIZE_MAX));
	cr_assert_eq(pipe(fds), 0);
	struct tp_stream_fd to = {.fd = fds[1], .call = &call, .object = "pipe"};
	struct tp_stream_fd from = {.fd = fds[0], .call = &call, .object = "pipe"};
	must(encode(&d, tp_stream_to_fd(&to))); /* less than a pipe holds */
	close(fds[1]);
	must(decode_source(&again, tp_stream_from_fd(&from)));
	close(fds[0]);
	check_whole(&again);
	decoded_deinit(&d);
	decoded_deinit(&again);
}

Test(stream, read_from_a_descriptor_ends_with_its_deadline)
{
	struct tp_call call = tp_call_within(1);
	struct decoded d;
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	struct tp_stream_fd from = {.fd = fds[0], .call = &call, .object = "pipe"};
	TP_ERROR struct torpor_error *err = decode_source(&d, tp_stream_from_fd(&from));
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_TIMEOUT);
	decoded_deinit(&d);
	close(fds[0]);
	close(fds[1]);
}

/* ---- The encoder ---- */

Test(writer, gives_exactly_the_format)
{
	enum { ID = 0x7fffffff };
	TP_BUF struct tp_buf expected = {0};
	TP_BUF struct tp_buf state = {0};
	TP_BUF struct tp_buf b = {0};
	TP_STREAM_WRITER struct tp_stream_writer *w = tp_stream_writer_new(tp_stream_to_buf(&b));
	const struct tp_stream_block blocks[] = {
		{.name = "main", .used_len = 0x4000}, {.name = "rom", .used_len = 0x1000}};
	uint8_t bytes[TP_PAGE_SIZE];

	memset(bytes, 0x55, sizeof(bytes));
	devices(&state);
	must(tp_stream_put_header(w, "box"));
	must(tp_stream_put_ram_start(w, blocks, 2));
	must(tp_stream_put_page(w, 0, 0x1000, bytes));
	must(tp_stream_put_page(w, 0, 0x2000, NULL));
	must(tp_stream_put_page(w, 1, 0, bytes));
	must(tp_stream_put_ram_end(w));
	must(tp_stream_put_devices(w, state.data, state.len));
	must(tp_stream_put_end(w));

	head(&expected);
	section(&expected, 1, ID, "ram", 4);
	be64(&expected, 0x5004);
	block(&expected, "main", 0x4000);
	block(&expected, "rom", 0x1000);
	be64(&expected, 0x10);
	footer(&expected, ID);
	u8(&expected, 2);
	be32(&expected, ID);
	page_header(&expected, 0x1008, "main");
	page_bytes(&expected, 0x55);
	page_header(&expected, 0x2022, NULL);
	u8(&expected, 0);
	page_header(&expected, 0x0008, "rom");
	page_bytes(&expected, 0x55);
	be64(&expected, 0x10);
	footer(&expected, ID);
	u8(&expected, 3);
	be32(&expected, ID);
	be64(&expected, 0x10);
	footer(&expected, ID);
	tp_buf_put(&expected, state.data, state.len);
	u8(&expected, 0);
	cr_assert_eq(b.len, expected.len);
	cr_assert_arr_eq(b.data, expected.data, expected.len);
}

/* What is written in two goes is one stream: the break lies between two sections. */
Test(writer, goes_on_where_another_broke_off)
{
	const struct tp_stream_block blocks[] = {
		{.name = "main", .used_len = 0x4000}, {.name = "rom", .used_len = 0x1000}};
	TP_BUF struct tp_buf state = {0};
	TP_BUF struct tp_buf b = {0};
	TP_BUF struct tp_buf tail = {0};
	TP_STREAM_WRITER struct tp_stream_writer *first =
		tp_stream_writer_new(tp_stream_to_buf(&b));
	TP_STREAM_WRITER struct tp_stream_writer *second =
		tp_stream_writer_new(tp_stream_to_buf(&tail));
	uint8_t bytes[TP_PAGE_SIZE];
	struct decoded d;

	memset(bytes, 0x55, sizeof(bytes));
	devices(&state);
	must(tp_stream_put_header(first, "box"));
	must(tp_stream_put_ram_start(first, blocks, 2));
	must(tp_stream_put_page(first, 1, 0, bytes));
	must(tp_stream_put_ram_break(first));
	cr_assert_eq(b.data[b.len - 5], 0x7e); /* a section's footer is all there */
	must(tp_stream_put_ram_rest(second, blocks, 2));
	must(tp_stream_put_page(second, 0, 0x1000, bytes));
	must(tp_stream_put_ram_end(second));
	must(tp_stream_put_devices(second, state.data, state.len));
	must(tp_stream_put_end(second));
	cr_assert_eq(tail.data[0], 3);
	tp_buf_put(&b, tail.data, tail.len);

	must(decode(&d, b.data, b.len, SIZE_MAX));
	cr_assert_eq(d.n_pages, 2);
	cr_assert_eq(d.devices.len, state.len);
	decoded_deinit(&d);
}

/* More than the writer gathers, in pages and in one piece. */
Test(writer, passes_large_streams_on_unharmed)
{
	enum { PAGES = 200, STATE_LEN = 300 * 1024 };
	const struct tp_stream_block main_ram = {.name = "main", .used_len = PAGES * TP_PAGE_SIZE};
	TP_BUF struct tp_buf state = {0};
	TP_BUF struct tp_buf b = {0};
	TP_STREAM_WRITER struct tp_stream_writer *w = tp_stream_writer_new(tp_stream_to_buf(&b));
	uint8_t bytes[TP_PAGE_SIZE];
	struct decoded d;

	section(&state, 4, 1, "large", 1);
	for (int i = 0; i < STATE_LEN; i++)
		u8(&state, (uint8_t)(i % 251));
	footer(&state, 1);
	must(tp_stream_put_header(w, "box"));
	must(tp_stream_put_ram_start(w, &main_ram, 1));
	for (unsigned int i = 0; i < PAGES; i++) {
		memset(bytes, (int)i, sizeof(bytes));
		must(tp_stream_put_page(w, 0, i * TP_PAGE_SIZE, bytes));
	}
	must(tp_stream_put_ram_end(w));
	must(tp_stream_put_devices(w, state.data, state.len));
	must(tp_stream_put_end(w));

	must(decode(&d, b.data, b.len, SIZE_MAX));
	cr_assert_eq(d.n_pages, PAGES);
	for (unsigned int i = 0; i < PAGES; i++) {
		memset(bytes, (int)i, sizeof(bytes));
		cr_assert_eq(d.pages[i].offset, i * TP_PAGE_SIZE);
		cr_assert_arr_eq(d.pages[i].bytes, bytes, sizeof(bytes));
	}
	cr_assert_eq(d.devices.len, state.len);
	cr_assert_arr_eq(d.devices.data, state.data, state.len);
	decoded_deinit(&d);
}

static void refuses(struct torpor_error *err, enum torpor_errc code)
{
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), code, "%s", torpor_error_message(err));
	torpor_error_free(err);
}

Test(writer, refuses_what_no_loader_takes)
{
	struct tp_stream_block blocks[] = {
		{.name = "main", .used_len = 0x4000}, {.name = "rom", .used_len = 0x1000}};
	const uint64_t bad_lens[] = {0, 1, 0x1001, TP_STREAM_RAM_MAX + 0x1000, UINT64_MAX};
	TP_BUF struct tp_buf b = {0};
	char long_name[TP_STREAM_NAME_MAX + 2];

	memset(long_name, 'm', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	const char *bad_names[] = {"", long_name};
	for (size_t i = 0; i < TP_ARRAY_LEN(bad_names); i++) {
		TP_STREAM_WRITER struct tp_stream_writer *w =
			tp_stream_writer_new(tp_stream_to_buf(&b));
		refuses(tp_stream_put_header(w, bad_names[i]), TORPOR_E_INVALID);
	}
	for (size_t i = 0; i < TP_ARRAY_LEN(bad_lens); i++) {
		TP_STREAM_WRITER struct tp_stream_writer *w =
			tp_stream_writer_new(tp_stream_to_buf(&b));
		must(tp_stream_put_header(w, "box"));
		blocks[1].used_len = bad_lens[i];
		refuses(tp_stream_put_ram_start(w, blocks, 2), TORPOR_E_INVALID);
	}
	blocks[1].used_len = 0x1000;
	TP_STREAM_WRITER struct tp_stream_writer *w = tp_stream_writer_new(tp_stream_to_buf(&b));
	must(tp_stream_put_header(w, "box"));
	must(tp_stream_put_ram_start(w, blocks, 2));
	refuses(tp_stream_put_page(w, 2, 0, NULL), TORPOR_E_INVALID);
	refuses(tp_stream_put_page(w, 1, 0x1000, NULL), TORPOR_E_INVALID);
	refuses(tp_stream_put_page(w, 0, 0x1001, NULL), TORPOR_E_INVALID);
}

/* ---- Damage ---- */

static const char *const sections[] = {
	"header:", "configuration:", "first section:", "ram:", "devices:"};

/* Nothing in whole()'s devices looks like an end, so that every cut can be told. */
Test(damage, cut_anywhere_is_told_with_the_section)
{
	TP_BUF struct tp_buf b = {0};

	whole(&b);
	for (size_t len = 0; len < b.len; len++) {
		/* On the heap, so that reading past the end is seen. */
		TP_FREE uint8_t *cut = tp_memdup(b.data, len);
		struct decoded d = {0};
		TP_ERROR struct torpor_error *err = decode(&d, cut, len, SIZE_MAX);
		cr_assert_not_null(err, "cut to %zu of %zu bytes", len, b.len);
		cr_assert_eq(torpor_error_code(err), TORPOR_E_CORRUPT);
		size_t i = 0;
		while (i < TP_ARRAY_LEN(sections) &&
			!strstr(torpor_error_message(err), sections[i]))
			i++;
		cr_assert_lt(i, TP_ARRAY_LEN(sections), "%s", torpor_error_message(err));
		decoded_deinit(&d);
	}
}

/* What fills whole()'s pages, of which a few bytes are as good as all. */
static bool is_page_content(uint8_t byte)
{
	return byte == 0xa0 || byte == 0xa3 || byte == 0xb0;
}

/* Any byte of a stream may be anything: that must end in some way, and is for the sanitizers. */
Test(damage, any_byte_can_be_wrong)
{
	TP_BUF struct tp_buf b = {0};

	whole(&b);
	for (size_t at = 0; at < b.len; at++) {
		if (is_page_content(b.data[at]) && at % 512 != 0)
			continue;
		for (unsigned int bit = 0; bit < 8; bit++) {
			struct decoded d = {0};
			b.data[at] ^= (uint8_t)(1u << bit);
			TP_ERROR struct torpor_error *err = decode(&d, b.data, b.len, SIZE_MAX);
			cr_assert(!err || torpor_error_message(err)[0] != '\0');
			b.data[at] ^= (uint8_t)(1u << bit);
			decoded_deinit(&d);
		}
	}
}

static void bad_magic(struct tp_buf *b)
{
	tp_buf_put(b, "QEVN\0\0\0\3\0", 9);
}

static void version_2(struct tp_buf *b)
{
	tp_buf_put(b, "QEVM\0\0\0\2\0", 9);
}

static void machine_of(struct tp_buf *b, uint32_t len, const char *text)
{
	magic(b);
	u8(b, 7);
	be32(b, len);
	tp_buf_put(b, text, strlen(text));
	devices(b);
	u8(b, 0);
}

static void empty_machine(struct tp_buf *b)
{
	machine_of(b, 0, "");
}

static void endless_machine(struct tp_buf *b)
{
	machine_of(b, UINT32_MAX, "box");
}

static void unprintable_machine(struct tp_buf *b)
{
	machine_of(b, 3, "b\nx");
}

static void unknown_capability(struct tp_buf *b)
{
	head(b);
	capability(b, "mapped-ram");
}

static void countless_capabilities(struct tp_buf *b)
{
	head(b);
	u8(b, 5);
	name(b, "configuration/capabilities");
	be32(b, 1);
	be32(b, UINT32_MAX);
}

static void unknown_configuration(struct tp_buf *b)
{
	head(b);
	u8(b, 5);
	name(b, "configuration/moon");
	be32(b, 1);
}

static void new_configuration(struct tp_buf *b)
{
	head(b);
	u8(b, 5);
	name(b, "configuration/capabilities");
	be32(b, 2);
}

static void page_bits_of(struct tp_buf *b, uint32_t bits)
{
	head(b);
	u8(b, 5);
	name(b, "configuration/target-page-bits");
	be32(b, 1);
	be32(b, bits);
}

static void large_pages(struct tp_buf *b)
{
	page_bits_of(b, 13);
}

static void monstrous_pages(struct tp_buf *b)
{
	page_bits_of(b, 76); /* 12 more than 64 */
}

static void dirty_bitmap(struct tp_buf *b)
{
	head(b);
	section(b, 1, RAM_ID, "dirty-bitmap", 1);
}

static void new_ram(struct tp_buf *b)
{
	head(b);
	section(b, 1, RAM_ID, "ram", 5);
}

static void no_sizes(struct tp_buf *b)
{
	head(b);
	ram_start(b, 0x5000 | 0x08);
}

static void too_much_ram(struct tp_buf *b)
{
	head(b);
	ram_start(b, TP_STREAM_RAM_MAX + 0x1004);
}

static void block_of(struct tp_buf *b, uint64_t total, const char *text, uint64_t len)
{
	head(b);
	ram_start(b, total | 4);
	block(b, text, len);
	end_data(b);
}

static void block_beyond_total(struct tp_buf *b)
{
	block_of(b, 0x1000, "main", 0x2000);
}

static void block_beyond_64_bits(struct tp_buf *b)
{
	block_of(b, 0x1000, "main", UINT64_MAX - 0xfff);
}

static void empty_block(struct tp_buf *b)
{
	block_of(b, 0x1000, "main", 0);
}

static void uneven_block(struct tp_buf *b)
{
	block_of(b, 0x2000, "main", 0x1800);
}

static void nameless_block(struct tp_buf *b)
{
	block_of(b, 0x1000, "", 0x1000);
}

static void unprintable_block(struct tp_buf *b)
{
	block_of(b, 0x1000, "ma\x7f", 0x1000);
}

static void same_block_twice(struct tp_buf *b)
{
	head(b);
	ram_start(b, 0x2004);
	block(b, "main", 0x1000);
	block(b, "main", 0x1000);
}

static void countless_blocks(struct tp_buf *b)
{
	char text[16];

	head(b);
	ram_start(b, (TP_STREAM_BLOCKS_MAX + 1) * 0x1000 + 4);
	for (int i = 0; i <= TP_STREAM_BLOCKS_MAX; i++) {
		(void)snprintf(text, sizeof(text), "block%d", i);
		block(b, text, 0x1000);
	}
	end_data(b);
}

static void start_without_eos(struct tp_buf *b)
{
	head(b);
	ram_start(b, 0x1004);
	block(b, "main", 0x1000);
	footer(b, RAM_ID);
	end(b);
	end_data(b);
}

static void start_without_footer(struct tp_buf *b)
{
	head(b);
	ram_start(b, 0x1004);
	block(b, "main", 0x1000);
	be64(b, 0x10);
	end(b);
	end_data(b);
}

static void foreign_footer(struct tp_buf *b)
{
	head(b);
	ram_start(b, 0x1004);
	block(b, "main", 0x1000);
	be64(b, 0x10);
	footer(b, RAM_ID + 1);
}

static void foreign_part(struct tp_buf *b)
{
	head(b);
	ram(b);
	u8(b, 2);
	be32(b, RAM_ID + 1);
}

static void devices_in_ram(struct tp_buf *b)
{
	head(b);
	ram(b);
	devices(b);
	u8(b, 0);
}

static void postcopy(struct tp_buf *b)
{
	head(b);
	u8(b, 8);
	be16(b, 3);
	be16(b, 0);
}

/* A page in a stream that is otherwise whole. */
static void page_with(struct tp_buf *b, uint64_t header, const char *text, uint8_t fill)
{
	head(b);
	ram(b);
	end(b);
	page_header(b, header, text);
	page_bytes(b, fill);
	end_data(b);
	devices(b);
	u8(b, 0);
}

static void xbzrle_page(struct tp_buf *b)
{
	page_with(b, 0x40, "main", 0);
}

static void compressed_page(struct tp_buf *b)
{
	page_with(b, 0x100, "main", 0);
}

static void multifd_flush(struct tp_buf *b)
{
	page_with(b, 0x200, NULL, 0);
}

static void rdma_hook(struct tp_buf *b)
{
	page_with(b, 0x80, NULL, 0);
}

static void full_page(struct tp_buf *b)
{
	page_with(b, 0x01, "main", 0);
}

static void unknown_flag(struct tp_buf *b)
{
	page_with(b, 0x400 | 0x08, "main", 0);
}

static void page_and_zero(struct tp_buf *b)
{
	page_with(b, 0x08 | 0x02, "main", 0);
}

static void no_flag(struct tp_buf *b)
{
	page_with(b, 0, "main", 0);
}

static void sizes_again(struct tp_buf *b)
{
	page_with(b, 0x1000 | 0x04, "main", 0);
}

static void eos_with_offset(struct tp_buf *b)
{
	page_with(b, 0x1000 | 0x10, NULL, 0);
}

static void continued_from_nothing(struct tp_buf *b)
{
	page_with(b, 0x08 | 0x20, NULL, 0);
}

static void page_of_unknown_block(struct tp_buf *b)
{
	page_with(b, 0x08, "moon", 0);
}

static void page_behind_block(struct tp_buf *b)
{
	page_with(b, 0x4000 | 0x08, "main", 0);
}

static void page_far_behind_block(struct tp_buf *b)
{
	page_with(b, (UINT64_MAX - 0xfff) | 0x08, "rom", 0);
}

static void filled_page(struct tp_buf *b)
{
	page_with(b, 0x02, "main", 0xff);
}

static void end_without_footer(struct tp_buf *b)
{
	head(b);
	ram(b);
	end(b);
	be64(b, 0x10);
	devices(b);
	u8(b, 0);
}

static void iterative_device(struct tp_buf *b)
{
	magic(b);
	section(b, 2, 1, "late", 1);
	footer(b, 1);
	u8(b, 0);
}

static void device_cut_short(struct tp_buf *b)
{
	magic(b);
	u8(b, 4);
	be32(b, 1);
	name(b, "timer");
	u8(b, 0);
}

static void device_without_footer(struct tp_buf *b)
{
	magic(b);
	section(b, 4, 1, "timer", 1);
	tp_buf_put(b, "much state", 10);
	u8(b, 0);
}

static void no_end_mark(struct tp_buf *b)
{
	magic(b);
	devices(b);
}

static void rest_behind_end(struct tp_buf *b)
{
	magic(b);
	devices(b);
	u8(b, 0);
	u8(b, 1);
}

static void description_of_wrong_length(struct tp_buf *b)
{
	magic(b);
	devices(b);
	tp_buf_put(b, "\0\6\0\0\0\3{}", 8);
}

static void description_with_a_rest(struct tp_buf *b)
{
	magic(b);
	devices(b);
	tp_buf_put(b, "\0\6\0\0\0\2{}{}", 10);
}

static void endless_devices(struct tp_buf *b)
{
	magic(b);
	section(b, 4, 1, "timer", 1);
	memset(tp_buf_extend(b, TP_STREAM_DEVICES_MAX), 0, TP_STREAM_DEVICES_MAX);
	footer(b, 1);
	u8(b, 0);
}

Test(damage, is_refused_by_name)
{
#define CORRUPT(fn, words)                                                                         \
	{                                                                                          \
#fn, fn, TORPOR_E_CORRUPT, words                                                   \
	}
#define UNSUPPORTED(fn, words)                                                                     \
	{                                                                                          \
#fn, fn, TORPOR_E_UNSUPPORTED, words                                               \
	}
#define LIMIT(fn, words)                                                                           \
	{                                                                                          \
#fn, fn, TORPOR_E_LIMIT, words                                                     \
	}
	static const struct {
		const char *name;
		void (*build)(struct tp_buf *b);
		enum torpor_errc code;
		const char *words;
	} cases[] = {
		CORRUPT(bad_magic, "no migration stream"),
		UNSUPPORTED(version_2, "version is 2"),
		CORRUPT(empty_machine, "a name of 0 bytes"),
		CORRUPT(endless_machine, "a name of 4294967295 bytes"),
		CORRUPT(unprintable_machine, "a name with byte 0x0a"),
		UNSUPPORTED(unknown_capability, "mapped-ram"),
		CORRUPT(countless_capabilities, "4294967295 capabilities"),
		UNSUPPORTED(unknown_configuration, "configuration/moon"),
		UNSUPPORTED(new_configuration, "version 2"),
		UNSUPPORTED(large_pages, "13 bits"),
		UNSUPPORTED(monstrous_pages, "76 bits"),
		UNSUPPORTED(dirty_bitmap, "dirty-bitmap"),
		UNSUPPORTED(new_ram, "version 5"),
		CORRUPT(no_sizes, "blocks' sizes"),
		LIMIT(too_much_ram, "bytes of RAM"),
		CORRUPT(block_beyond_total, "8192 bytes, of 4096"),
		CORRUPT(block_beyond_64_bits, "18446744073709547520 bytes"),
		CORRUPT(empty_block, "0 bytes, of 4096"),
		CORRUPT(uneven_block, "6144 bytes"),
		CORRUPT(nameless_block, "a name of 0 bytes"),
		CORRUPT(unprintable_block, "a name with byte 0x7f"),
		CORRUPT(same_block_twice, "main is there twice"),
		LIMIT(countless_blocks, "more than 256 RAM blocks"),
		CORRUPT(start_without_eos, "where the block list should end"),
		CORRUPT(start_without_footer, "no footer"),
		CORRUPT(foreign_footer, "section 3, not 2"),
		CORRUPT(foreign_part, "never started"),
		CORRUPT(devices_in_ram, "before the end of ram"),
		UNSUPPORTED(postcopy, "command 3"),
		UNSUPPORTED(xbzrle_page, "xbzrle"),
		UNSUPPORTED(compressed_page, "compressed"),
		UNSUPPORTED(multifd_flush, "multifd"),
		UNSUPPORTED(rdma_hook, "rdma"),
		UNSUPPORTED(full_page, "obsolete full"),
		CORRUPT(unknown_flag, "flags 0x408"),
		CORRUPT(page_and_zero, "flags 0xa"),
		CORRUPT(no_flag, "flags 0x0"),
		CORRUPT(sizes_again, "flags 0x4"),
		CORRUPT(eos_with_offset, "flags 0x10"),
		CORRUPT(continued_from_nothing, "continues a block"),
		CORRUPT(page_of_unknown_block, "block moon"),
		CORRUPT(page_behind_block, "main at 16384, behind its end"),
		CORRUPT(page_far_behind_block, "behind its end"),
		UNSUPPORTED(filled_page, "filled with 0xff"),
		CORRUPT(end_without_footer, "no footer"),
		UNSUPPORTED(iterative_device, "section type 0x02"),
		CORRUPT(device_cut_short, "within the first device"),
		CORRUPT(device_without_footer, "no footer"),
		CORRUPT(no_end_mark, "without its end mark"),
		CORRUPT(rest_behind_end, "without its end mark"),
		CORRUPT(description_of_wrong_length, "without its end mark"),
		CORRUPT(description_with_a_rest, "without its end mark"),
		LIMIT(endless_devices, "more than 67108864 bytes"),
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++) {
		TP_BUF struct tp_buf b = {0};
		struct decoded d = {0};
		cases[i].build(&b);
		TP_ERROR struct torpor_error *err = decode(&d, b.data, b.len, SIZE_MAX);
		cr_assert_not_null(err, "%s is accepted", cases[i].name);
		cr_expect_eq(torpor_error_code(err), cases[i].code, "%s gives %s", cases[i].name,
			torpor_error_message(err));
		cr_expect(strstr(torpor_error_message(err), cases[i].words), "%s gives %s",
			cases[i].name, torpor_error_message(err));
		decoded_deinit(&d);
	}
}

static struct torpor_error *read_nothing(void *data, void *buf, size_t len, size_t *got_out)
{
	(void)data, (void)buf, (void)len, (void)got_out;
	return tp_error(TORPOR_E_IO, "read", "the moon", "it has set");
}

Test(damage, of_the_source_is_handed_on)
{
	struct decoded d;
	TP_ERROR struct torpor_error *err =
		decode_source(&d, (struct tp_stream_source){.read = read_nothing});

	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_IO);
	decoded_deinit(&d);
}
