/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that are wrong in one way each: what is wrong is said by name. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "decoded.h"
#include "stream_by_hand.h"

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
	ram_end(b);
	end_data(b);
}

static void start_without_footer(struct tp_buf *b)
{
	head(b);
	ram_start(b, 0x1004);
	block(b, "main", 0x1000);
	be64(b, 0x10);
	ram_end(b);
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
	ram_end(b);
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
	ram_end(b);
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
