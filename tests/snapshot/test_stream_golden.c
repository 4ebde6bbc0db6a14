/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that QEMU wrote (golden/make.sh): what is in them, and that they survive re-encoding. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <string.h>
#include <zstd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "decoded.h"

#define STREAM_LEN_MAX (4 * TP_MIB)

static void must(struct torpor_error *err)
{
	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
}

static void unpack(const char *file, struct tp_buf *stream)
{
	TP_FREE char *path = tp_asprintf("%s/%s.zst", GOLDEN_DIR, file);
	TP_FREE char *packed = NULL;
	size_t packed_len = 0;

	must(tp_read_file(AT_FDCWD, path, TP_MIB, &packed, &packed_len));
	tp_buf_extend(stream, STREAM_LEN_MAX);
	stream->len = ZSTD_decompress(stream->data, STREAM_LEN_MAX, packed, packed_len);
	cr_assert(!ZSTD_isError(stream->len));
}

static void decode_golden(const char *file, struct decoded *d)
{
	TP_BUF struct tp_buf stream = {0};

	unpack(file, &stream);
	must(decode(d, stream.data, stream.len, SIZE_MAX));
}

static void check_blocks(const struct decoded *d, const char *main_name, size_t bios_pages)
{
	const char *names[] = {main_name, "/rom@etc/acpi/tables", "pc.bios",
		"/rom@etc/table-loader", "/rom@etc/acpi/rsdp"};

	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++)
		cr_assert_neq(decoded_find_block(d, names[i]), SIZE_MAX, "%s", names[i]);
	size_t bios = decoded_find_block(d, "pc.bios");
	cr_assert_eq(d->blocks[bios].used_len, bios_pages * TP_PAGE_SIZE);
	TP_FREE uint8_t *content = decoded_content(d, bios);
	for (size_t at = 0; at < bios_pages * TP_PAGE_SIZE; at++)
		cr_assert_eq(content[at], at / TP_PAGE_SIZE + 1);
}

static void check_main(const struct decoded *d, const char *main_name)
{
	const uint8_t value[8] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
	size_t main_ram = decoded_find_block(d, main_name);

	cr_assert_eq(d->blocks[main_ram].used_len, 2 * TP_MIB);
	TP_FREE uint8_t *content = decoded_content(d, main_ram);
	for (size_t at = 0; at < 0x3000; at++)
		cr_assert_eq(content[at], 0);
	cr_assert_arr_eq(content + 0x3000, value, sizeof(value));
}

/* Every page of every block comes at least once. */
static void check_complete(const struct decoded *d)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < d->n_blocks; i++)
		pages += d->blocks[i].used_len / TP_PAGE_SIZE;
	cr_assert_geq(d->n_pages, pages);
}

static void check_round_trip(const struct decoded *d)
{
	TP_BUF struct tp_buf stream = {0};
	struct decoded again;

	must(encode(d, tp_stream_to_buf(&stream)));
	must(decode(&again, stream.data, stream.len, SIZE_MAX));
	cr_assert_str_eq(again.machine, d->machine);
	cr_assert_eq(again.n_blocks, d->n_blocks);
	cr_assert_eq(again.n_pages, d->n_pages);
	for (size_t i = 0; i < d->n_blocks; i++) {
		TP_FREE uint8_t *was = decoded_content(d, i);
		TP_FREE uint8_t *is = decoded_content(&again, i);
		cr_assert_str_eq(again.blocks[i].name, d->blocks[i].name);
		cr_assert_arr_eq(is, was, d->blocks[i].used_len);
	}
	cr_assert_eq(again.devices.len, d->devices.len);
	cr_assert_arr_eq(again.devices.data, d->devices.data, d->devices.len);
	decoded_deinit(&again);
}

Test(golden, full_stream_of_a_pc)
{
	struct decoded d;

	decode_golden("pc-full", &d);
	cr_assert_str_eq(d.machine, "pc-i440fx-7.2");
	cr_assert(!d.ignores_shared);
	cr_assert_eq(d.n_blocks, 6);
	check_blocks(&d, "pc.ram", 16);
	check_main(&d, "pc.ram");
	check_complete(&d);
	check_round_trip(&d);
	decoded_deinit(&d);
}

Test(golden, full_stream_of_a_microvm)
{
	struct decoded d;

	decode_golden("microvm-full", &d);
	cr_assert_str_eq(d.machine, "microvm");
	cr_assert_eq(d.n_blocks, 5);
	check_blocks(&d, "microvm.ram", 16);
	check_main(&d, "microvm.ram");
	check_complete(&d);
	check_round_trip(&d);
	decoded_deinit(&d);
}

/* The description goes; the devices are the same as without one. */
Test(golden, description_of_devices_is_cut_off)
{
	struct decoded plain;
	struct decoded described;

	decode_golden("pc-full", &plain);
	decode_golden("pc-described", &described);
	cr_assert_eq(described.devices.len, plain.devices.len);
	cr_assert_eq(described.n_pages, plain.n_pages);
	decoded_deinit(&plain);
	decoded_deinit(&described);
}

Test(golden, shared_ram_is_listed_but_not_sent)
{
	struct decoded d;

	decode_golden("pc-ignore-shared", &d);
	cr_assert(d.ignores_shared);
	cr_assert_eq(d.n_blocks, 6);
	check_blocks(&d, "ram", 16);
	size_t main_ram = decoded_find_block(&d, "ram");
	size_t bios = decoded_find_block(&d, "pc.bios");
	cr_assert_eq(d.blocks[main_ram].address, 0);
	cr_assert_eq(d.blocks[bios].address, UINT64_C(0xffff0000));
	for (size_t i = 0; i < d.n_pages; i++)
		cr_assert_neq(d.pages[i].block, main_ram);
	check_round_trip(&d);
	decoded_deinit(&d);
}

Test(golden, devices_alone_are_as_long_as_in_a_full_stream)
{
	struct decoded full;
	struct decoded alone;

	decode_golden("pc-full", &full);
	decode_golden("pc-devices", &alone);
	cr_assert_null(alone.machine);
	cr_assert_eq(alone.n_blocks, 0);
	cr_assert_eq(alone.n_pages, 0);
	cr_assert_eq(alone.devices.len, full.devices.len);
	decoded_deinit(&full);
	decoded_deinit(&alone);
}
