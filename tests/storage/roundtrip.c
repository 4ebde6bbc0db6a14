/* SPDX-License-Identifier: Apache-2.0 */
/* What goes into an image comes out of it. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "storage/io.h"
#include "support.h"

static struct world world;

static void setup(void)
{
	world_init(&world);
}

static void teardown(void)
{
	cr_expect_eq(tp_staging_usage(world.staging).used_bytes, 0);
	world_deinit(&world);
}

TestSuite(roundtrip, .init = setup, .fini = teardown);

/* Writes and reads SPEC, by both ways of doing I/O and of reading. */
static void go_round(const struct spec *spec, uint64_t pages_due)
{
	for (int sync = 0; sync < 2; sync++) {
		struct tp_image_stats stats;
		struct stat st;
		tp_io_force_sync(sync);
		must(write_image(&world, "image", spec, &forever, &stats));
		cr_assert_eq(stats.pages_put, spec->n_pages);
		cr_assert_eq(stats.pages_stored, pages_due);
		cr_assert_eq(fstatat(world.dirfd, "image", &st, 0), 0);
		cr_assert_eq((uint64_t)st.st_size, stats.file_bytes);
		read_back(&world, "image", spec, pages_due, true);
		read_back(&world, "image", spec, pages_due, false);
		cr_assert_eq(count_files(&world), 1);
	}
	tp_io_force_sync(false);
}

static void template_of(uint64_t n_pages)
{
	go_round(&(struct spec){.kind = TP_IMAGE_TEMPLATE,
			 .base_fd = -1,
			 .space_pages = TP_MAX(n_pages, 2),
			 .n_pages = n_pages,
			 .version = 1,
			 .config = "{\"cpus\": 1}",
			 .device = "device state",
			 .device_len = 12},
		n_pages);
}

Test(roundtrip, no_page)
{
	template_of(0);
}

Test(roundtrip, one_page)
{
	template_of(1);
}

Test(roundtrip, one_full_block)
{
	template_of(64);
}

Test(roundtrip, one_page_more_than_a_block)
{
	template_of(65);
}

Test(roundtrip, many_pages_with_a_reservation)
{
	go_round(&(struct spec){.kind = TP_IMAGE_FULL,
			 .base_fd = -1,
			 .space_pages = 20001,
			 .n_pages = 20000,
			 .version = 3,
			 .reserve = 1 << 20},
		20000);
}

Test(roundtrip, two_hundred_thousand_pages, .timeout = 170)
{
	struct spec spec = {.kind = TP_IMAGE_FULL,
		.base_fd = -1,
		.space_pages = 200001,
		.n_pages = 200000,
		.version = 2};

	must(write_image(&world, "image", &spec, &forever, NULL));
	read_back(&world, "image", &spec, 200000, true);
}

Test(roundtrip, zero_pages_are_left_out)
{
	go_round(&(struct spec){.kind = TP_IMAGE_TEMPLATE,
			 .base_fd = -1,
			 .space_pages = 1000,
			 .n_pages = 1000},
		0);
}

Test(roundtrip, pages_equal_to_the_base_are_left_out)
{
	int base = make_base(500, 4);

	go_round(&(struct spec){.kind = TP_IMAGE_SESSION,
			 .base_fd = base,
			 .space_pages = 500,
			 .n_pages = 500,
			 .version = 4},
		0);
	close(base);
}

Test(roundtrip, zeroed_pages_over_a_base_are_kept)
{
	int base = make_base(100, 4);

	go_round(&(struct spec){.kind = TP_IMAGE_SESSION,
			 .base_fd = base,
			 .space_pages = 100,
			 .n_pages = 100},
		100);
	close(base);
}

Test(roundtrip, sparse_pages_over_a_base)
{
	uint64_t pages[300];
	int base = make_base(5000, 5);
	uint8_t device[60000];
	uint8_t prefix[60000];

	for (uint64_t i = 0; i < TP_ARRAY_LEN(pages); i++)
		pages[i] = i * 16 + i % 3;
	for (size_t i = 0; i < sizeof(device); i++)
		device[i] = prefix[i] = (uint8_t)(i * i >> 3);
	device[30000] ^= 1;
	go_round(&(struct spec){.kind = TP_IMAGE_SESSION,
			 .base_fd = base,
			 .space_pages = 5000,
			 .pages = pages,
			 .n_pages = TP_ARRAY_LEN(pages),
			 .version = 6,
			 .device = device,
			 .device_len = sizeof(device),
			 .prefix = prefix,
			 .prefix_len = sizeof(prefix)},
		TP_ARRAY_LEN(pages));
	close(base);
}

Test(roundtrip, a_base_shortens_what_resembles_it)
{
	int base = make_base(5000, 5);
	struct spec spec = {.kind = TP_IMAGE_SESSION,
		.base_fd = base,
		.space_pages = 5000,
		.n_pages = 160,
		.version = 5};
	struct tp_image_writer_options options = spec_options(&world, "idle", &spec);
	struct tp_image_meta meta = spec_meta(&spec);
	struct tp_image_writer *writer;
	struct tp_image_stats stats;
	struct tp_page_block *block = NULL;

	must(tp_image_writer_new(&options, &forever, &writer));
	for (uint64_t page = 0; page < 160 * 30; page += 30) {
		if (page % (64 * 30) == 0)
			must(tp_image_writer_get(writer, &forever, &block));
		uint8_t *data = block->data + block->count * TP_PAGE_SIZE;
		fill_page(data, page, 5);
		memcpy(data + 1000, "changed", 7);
		block->pages[block->count++] = page;
		if (block->count == TP_FORMAT_BLOCK_PAGES || page == 159 * 30)
			must(tp_image_writer_put(writer, block));
	}
	must(tp_image_writer_commit(writer, &meta, &forever, &stats));
	tp_image_writer_free(writer);
	cr_assert_eq(stats.pages_stored, 160);
	/* Random pages: without the base they would take 600 KB. */
	cr_assert_lt(stats.block_bytes, 8000, "%lu", stats.block_bytes);
	cr_assert_lt(stats.file_bytes, stats.block_bytes + 1000, "%lu of %lu", stats.block_bytes,
		stats.file_bytes);
	close(base);
}

Test(roundtrip, the_same_pages_make_the_same_file)
{
	struct spec spec = {.kind = TP_IMAGE_FULL,
		.base_fd = -1,
		.space_pages = 3000,
		.n_pages = 2999,
		.version = 2};
	size_t len[2];

	must(write_image(&world, "a", &spec, &forever, NULL));
	must(write_image(&world, "b", &spec, &forever, NULL));
	TP_FREE uint8_t *a = slurp(&world, "a", &len[0]);
	TP_FREE uint8_t *b = slurp(&world, "b", &len[1]);
	cr_assert_eq(len[0], len[1]);
	cr_assert_eq(memcmp(a, b, len[0]), 0);
}
