/* SPDX-License-Identifier: Apache-2.0 */
/* The writer's and reader's contract: order, bounds, waiting, ending early, several at a time. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "support.h"

static struct world world;
static const struct spec spec = {
	.kind = TP_IMAGE_FULL, .base_fd = -1, .space_pages = 5001, .n_pages = 5000, .version = 3};

static void setup(void)
{
	world_init(&world);
}

static void teardown(void)
{
	cr_expect_eq(tp_staging_usage(world.staging).used_bytes, 0);
	world_deinit(&world);
}

TestSuite(writer, .init = setup, .fini = teardown, .timeout = 50);

static struct tp_image_writer *new_writer(void)
{
	struct tp_image_writer_options options = spec_options(&world, "image", &spec);
	struct tp_image_writer *writer;

	must(tp_image_writer_new(&options, &forever, &writer));
	return writer;
}

/* Puts one block with these pages. */
static enum torpor_errc put(struct tp_image_writer *writer, const uint64_t *pages, unsigned int n)
{
	struct tp_page_block *block;

	must(tp_image_writer_get(writer, &forever, &block));
	for (unsigned int i = 0; i < n; i++) {
		block->pages[i] = pages[i];
		fill_page(block->data + i * TP_PAGE_SIZE, pages[i], spec.version);
	}
	block->count = n;
	return code_of(tp_image_writer_put(writer, block));
}

Test(writer, pages_out_of_order_are_refused)
{
	static const uint64_t cases[][3] = {{1, 3, 2}, {1, 1, 2}, {1, 2, UINT64_C(1) << 32}};

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++) {
		struct tp_image_writer *writer = new_writer();
		cr_expect_eq(put(writer, cases[i], 3), TORPOR_E_INVALID);
		tp_image_writer_free(writer);
	}
	cr_assert_eq(count_files(&world), 0);
}

Test(writer, blocks_out_of_order_are_refused)
{
	struct tp_image_writer *writer = new_writer();

	cr_assert_eq(put(writer, (uint64_t[]){7, 8}, 2), 0);
	cr_assert_eq(put(writer, (uint64_t[]){8, 9}, 2), TORPOR_E_INVALID);
	tp_image_writer_free(writer);
}

Test(writer, a_failed_writer_stays_failed)
{
	struct tp_image_writer *writer = new_writer();
	struct tp_image_meta meta = spec_meta(&spec);
	struct tp_page_block *block;

	cr_assert_eq(put(writer, (uint64_t[]){9, 8}, 2), TORPOR_E_INVALID);
	cr_assert_eq(code_of(tp_image_writer_get(writer, &forever, &block)), TORPOR_E_INVALID);
	cr_assert_eq(
		code_of(tp_image_writer_commit(writer, &meta, &forever, NULL)), TORPOR_E_INVALID);
	tp_image_writer_free(writer);
	cr_assert_eq(count_files(&world), 0);
}

Test(writer, pages_outside_the_ram_blocks_are_refused)
{
	struct tp_image_writer *writer = new_writer();
	struct tp_image_meta meta = spec_meta(&spec);

	cr_assert_eq(put(writer, (uint64_t[]){5001}, 1), 0);
	cr_assert_eq(
		code_of(tp_image_writer_commit(writer, &meta, &forever, NULL)), TORPOR_E_INVALID);
	tp_image_writer_free(writer);
	cr_assert_eq(count_files(&world), 0);
}

Test(writer, empty_blocks_are_fine)
{
	struct tp_image_writer *writer = new_writer();
	struct tp_image_meta meta = spec_meta(&spec);
	struct tp_image_stats stats;

	cr_assert_eq(put(writer, NULL, 0), 0);
	cr_assert_eq(put(writer, (uint64_t[]){3}, 1), 0);
	cr_assert_eq(put(writer, NULL, 0), 0);
	must(tp_image_writer_commit(writer, &meta, &forever, &stats));
	cr_assert_eq(stats.blocks, 1);
	tp_image_writer_free(writer);
}

Test(writer, one_block_is_lent_at_a_time)
{
	struct tp_image_writer *writer = new_writer();
	struct tp_image_meta meta = spec_meta(&spec);
	struct tp_page_block *block;

	must(tp_image_writer_get(writer, &forever, &block));
	cr_assert_eq(code_of(tp_image_writer_get(writer, &forever, &block)), TORPOR_E_INVALID);
	cr_assert_eq(
		code_of(tp_image_writer_commit(writer, &meta, &forever, NULL)), TORPOR_E_INVALID);
	tp_image_writer_free(writer); /* takes the block back */
}

Test(writer, unsound_names_are_refused)
{
	char longest[232];
	const char *const names[] = {"", ".", "..", "a/b", longest};

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++)
		cr_expect_eq(code_of(write_image(&world, names[i], &spec, &forever, NULL)),
			TORPOR_E_INVALID, "%s", names[i]);
	must(write_image(&world, longest + 1, &spec, &forever, NULL));
}

Test(writer, unsound_metadata_is_refused)
{
	static char name[] = "ram";
	static char empty[] = "";
	char config[TP_FORMAT_MAX_CONFIG + 2];
	struct tp_image_meta metas[8];
	struct tp_ram_block twice[] = {{name, 4096}, {name, 4096}};
	struct tp_ram_block no_name = {empty, 4096};
	struct tp_ram_block no_len = {name, 0};
	struct tp_ram_block too_long = {name, UINT64_MAX};

	memset(config, ' ', sizeof(config) - 1);
	config[sizeof(config) - 1] = '\0';
	for (size_t i = 0; i < TP_ARRAY_LEN(metas); i++)
		metas[i] = spec_meta(&spec);
	metas[0].kind = 0;
	metas[1].kind = TP_IMAGE_SESSION; /* without a base */
	metas[2].config = config;
	metas[3].n_blocks = 0;
	metas[4].blocks = twice;
	metas[5].blocks = &no_name;
	metas[6].blocks = &no_len;
	metas[7].blocks = &too_long;
	metas[5].n_blocks = metas[6].n_blocks = metas[7].n_blocks = 1;
	for (size_t i = 0; i < TP_ARRAY_LEN(metas); i++) {
		struct tp_image_writer *writer = new_writer();
		cr_expect_eq(code_of(tp_image_writer_commit(writer, &metas[i], &forever, NULL)),
			TORPOR_E_INVALID, "case %zu", i);
		tp_image_writer_free(writer);
	}
	cr_assert_eq(count_files(&world), 0);
}

static struct tp_call cancellable(void)
{
	return (struct tp_call){
		.deadline_ns = TP_NO_DEADLINE, .cancel_fd = eventfd(0, EFD_CLOEXEC)};
}

Test(writer, cancelled_after_the_pages)
{
	struct tp_call call = cancellable();
	struct tp_image_writer *writer = new_writer();
	struct tp_image_meta meta = spec_meta(&spec);

	must(put_pages(writer, &spec, &call));
	eventfd_write(call.cancel_fd, 1);
	cr_assert_eq(
		code_of(tp_image_writer_commit(writer, &meta, &call, NULL)), TORPOR_E_CANCELLED);
	tp_image_writer_free(writer);
	cr_assert_eq(count_files(&world), 0);
	close(call.cancel_fd);
}

Test(writer, cancelled_before_it_begins)
{
	struct tp_call call = cancellable();

	eventfd_write(call.cancel_fd, 1);
	cr_assert_eq(code_of(write_image(&world, "image", &spec, &call, NULL)), TORPOR_E_CANCELLED);
	close(call.cancel_fd);
}

Test(writer, given_up_in_the_middle)
{
	struct tp_image_writer *writer = new_writer();

	must(put_pages(writer, &spec, &forever));
	tp_image_writer_free(writer);
	cr_assert_eq(count_files(&world), 0);
}

Test(writer, a_deadline_that_has_passed)
{
	struct tp_call call = {.deadline_ns = 1, .cancel_fd = -1};
	struct tp_image_writer *writer = new_writer();
	struct tp_image_meta meta = spec_meta(&spec);

	must(put_pages(writer, &spec, &forever));
	cr_assert_eq(code_of(tp_image_writer_commit(writer, &meta, &call, NULL)), TORPOR_E_TIMEOUT);
	tp_image_writer_free(writer);
	cr_assert_eq(count_files(&world), 0);
}

/* Replaces the world's staging by the smallest possible. */
static void shrink_staging(void)
{
	tp_staging_free(world.staging);
	must(tp_staging_new(1, &world.staging));
}

Test(writer, staging_memory_is_bounded)
{
	shrink_staging();
	must(write_image(&world, "image", &spec, &forever, NULL));
	read_back(&world, "image", &spec, spec.n_pages, true);
	struct tp_staging_usage usage = tp_staging_usage(world.staging);
	cr_assert_eq(usage.limit_bytes, 2 * TP_MIB);
	cr_assert_leq(usage.peak_bytes, usage.limit_bytes);
	cr_assert_gt(usage.peak_bytes, 0);
}

Test(writer, staging_of_its_own)
{
	world.staging = tp_staging_free(world.staging);
	must(write_image(&world, "image", &spec, &forever, NULL));
	read_back(&world, "image", &spec, spec.n_pages, true);
	must(tp_staging_new(0, &world.staging));
}

Test(writer, absurd_staging_fails_cleanly)
{
	struct tp_staging *staging;

	cr_assert_eq(code_of(tp_staging_new(UINT64_MAX, &staging)), TORPOR_E_NOMEM);
	cr_assert_eq(code_of(tp_staging_new(UINT64_C(1) << 37, &staging)), TORPOR_E_NOMEM);
}

static struct tp_page_block *held[8];

static void *give_one_back(void *arg)
{
	(void)arg;
	tp_staging_give(world.staging, held[0]);
	return NULL;
}

Test(writer, waits_for_staging_that_others_hold)
{
	struct tp_call ended = {.deadline_ns = 1, .cancel_fd = -1};
	struct tp_call call = cancellable();
	struct tp_image_writer *writer;
	struct tp_page_block *block;
	pthread_t thread;

	shrink_staging();
	writer = new_writer();
	for (size_t i = 0; i < TP_ARRAY_LEN(held); i++)
		cr_assert((held[i] = tp_staging_try_get(world.staging)));
	cr_assert_eq(code_of(tp_image_writer_get(writer, &ended, &block)), TORPOR_E_TIMEOUT);
	eventfd_write(call.cancel_fd, 1);
	cr_assert_eq(code_of(tp_image_writer_get(writer, &call, &block)), TORPOR_E_CANCELLED);
	cr_assert_eq(pthread_create(&thread, NULL, give_one_back, NULL), 0);
	must(tp_image_writer_get(writer, &forever, &block));
	pthread_join(thread, NULL);
	for (size_t i = 1; i < TP_ARRAY_LEN(held); i++)
		tp_staging_give(world.staging, held[i]);
	tp_image_writer_free(writer);
	close(call.cancel_fd);
}

Test(writer, warmed_and_trimmed_staging_still_works)
{
	tp_staging_warm(world.staging, 8 * TP_MIB);
	must(write_image(&world, "image", &spec, &forever, NULL));
	tp_staging_trim(world.staging, TP_MIB);
	must(write_image(&world, "image", &spec, &forever, NULL));
	read_back(&world, "image", &spec, spec.n_pages, true);
}

static void *write_one(void *name)
{
	must(write_image(&world, name, &spec, &forever, NULL));
	return NULL;
}

Test(writer, several_at_a_time_share_workers_and_staging)
{
	char names[6][8];
	pthread_t threads[6];

	shrink_staging();
	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++) {
		snprintf(names[i], sizeof(names[i]), "i%zu", i);
		cr_assert_eq(pthread_create(&threads[i], NULL, write_one, names[i]), 0);
	}
	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++)
		read_back(&world, names[i], &spec, spec.n_pages, true);
	cr_assert_eq(count_files(&world), TP_ARRAY_LEN(names));
}

Test(writer, the_newer_image_replaces_the_older)
{
	struct spec newer = spec;

	must(write_image(&world, "image", &spec, &forever, NULL));
	newer.version = 5;
	must(write_image(&world, "image", &newer, &forever, NULL));
	read_back(&world, "image", &newer, newer.n_pages, true);
	cr_assert_eq(count_files(&world), 1);
}

/* Both begin while there is none. */
Test(writer, of_two_that_are_to_be_new_the_first_stays)
{
	struct tp_image_writer_options options = spec_options(&world, "image", &spec);
	struct tp_image_meta meta = spec_meta(&spec);
	struct tp_image_writer *first, *second;

	options.only_new = true;
	must(tp_image_writer_new(&options, &forever, &first));
	must(tp_image_writer_new(&options, &forever, &second));
	must(put_pages(first, &spec, &forever));
	must(tp_image_writer_commit(first, &meta, &forever, NULL));
	cr_assert_eq(
		code_of(tp_image_writer_commit(second, &meta, &forever, NULL)), TORPOR_E_EXISTS);
	tp_image_writer_free(first);
	tp_image_writer_free(second);
	read_back(&world, "image", &spec, spec.n_pages, true);
	cr_assert_eq(count_files(&world), 1);
}

Test(writer, sessions_need_a_base_and_templates_have_none)
{
	struct spec wrong = spec;

	wrong.base_fd = make_base(5001, 1);
	cr_assert_eq(
		code_of(write_image(&world, "image", &wrong, &forever, NULL)), TORPOR_E_INVALID);
	close(wrong.base_fd);
}

Test(writer, a_base_that_is_too_small_is_refused)
{
	struct spec wrong = spec;

	wrong.kind = TP_IMAGE_SESSION;
	wrong.base_fd = make_base(100, 1);
	cr_assert_neq(code_of(write_image(&world, "image", &wrong, &forever, NULL)), 0);
	cr_assert_eq(count_files(&world), 0);
	close(wrong.base_fd);
}

static struct torpor_error *full_sink(
	void *data, const uint64_t *pages, const uint8_t *bytes, unsigned int n)
{
	(void)data;
	(void)bytes;
	if (pages[n - 1] < 2000)
		return NULL;
	return tp_error(TORPOR_E_LIMIT, "sink", NULL, "enough");
}

Test(writer, a_sink_that_fails_ends_the_loading)
{
	struct tp_image *image;

	must(write_image(&world, "image", &spec, &forever, NULL));
	must(tp_image_open(world.dirfd, "image", &forever, &image));
	cr_assert_eq(code_of(tp_image_load(image, -1, world.workers, full_sink, NULL, &forever)),
		TORPOR_E_LIMIT);
	cr_assert_eq(
		code_of(tp_image_load(image, -1, NULL, full_sink, NULL, &forever)), TORPOR_E_LIMIT);
	tp_image_close(image);
}

static struct torpor_error *cancelling_sink(
	void *data, const uint64_t *pages, const uint8_t *bytes, unsigned int n)
{
	const struct tp_call *call = data;

	(void)pages;
	(void)bytes;
	(void)n;
	eventfd_write(call->cancel_fd, 1);
	return NULL;
}

Test(writer, loading_is_cancelled_in_the_middle)
{
	struct tp_call call = cancellable();
	struct tp_image *image;

	must(write_image(&world, "image", &spec, &forever, NULL));
	must(tp_image_open(world.dirfd, "image", &forever, &image));
	cr_assert_eq(code_of(tp_image_load(image, -1, NULL, cancelling_sink, &call, &call)),
		TORPOR_E_CANCELLED);
	cr_assert_eq(
		code_of(tp_image_load(image, -1, world.workers, cancelling_sink, &call, &call)),
		TORPOR_E_CANCELLED);
	tp_image_close(image);
	close(call.cancel_fd);
}

Test(writer, what_is_no_file_is_no_image)
{
	struct tp_image *image;

	cr_assert_eq(code_of(tp_image_open(world.dirfd, "missing", &forever, &image)),
		TORPOR_E_NOT_FOUND);
	cr_assert_eq(code_of(tp_image_open(world.dirfd, ".", &forever, &image)), TORPOR_E_INVALID);
	spit(&world, "empty", "", 0);
	cr_assert_eq(
		code_of(tp_image_open(world.dirfd, "empty", &forever, &image)), TORPOR_E_CORRUPT);
}
