/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The migration stream, byte by byte: sound ones are decoded, and the encoder is held against the
 * same bytes.
 */
#include <criterion/criterion.h>

#include <string.h>
#include <unistd.h>

#include "decoded.h"
#include "stream_by_hand.h"

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
	ram_end(&b);
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
	ram_end(&b);
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
	ram_end(&b);
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
