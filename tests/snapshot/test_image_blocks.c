/* SPDX-License-Identifier: Apache-2.0 */
/* Sound images whose table of RAM blocks is nobody's: from other hosts, they may be anybody's. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "snapshot/base.h"
#include "snapshot/export.h"
#include "snapshot/restore.h"
#include "storage/image_reader.h"

#define NAME	     "image"
#define FAR_TOO_MUCH (UINT64_C(8) << 40)

static char dir[] = "/tmp/torpor-blocks-XXXXXX";
static int dir_fd;
static struct tp_workers *workers;
static struct tp_call call;
static struct tp_record record;

static void must(struct torpor_error *err)
{
	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
}

static void must_be_corrupt(struct torpor_error *err)
{
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_CORRUPT, "%s", torpor_error_message(err));
	cr_assert(strstr(torpor_error_message(err), "RAM blocks"), "%s", torpor_error_message(err));
	torpor_error_free(err);
}

static void set_up(void)
{
	cr_assert_not_null(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	call = tp_call_within(20 * TP_NSEC_PER_SEC);
	must(tp_workers_new(1, &workers));
	record = (struct tp_record){
		.guest = {.machine_type = (char *)"pc-i440fx-7.2",
			.machine = TP_MACHINE_PC,
			.accel = TP_ACCEL_TCG,
			.cpu_model = (char *)"qemu64-v1",
			.memory_bytes = 64 * TP_MIB,
			.vcpus = 1,
			.qemu_version = (char *)"7.2.22"},
		.template_name = (char *)"t",
		.is_session = true,
		.session_name = (char *)"s1",
		.hostname = (char *)"s1",
	};
}

static void tear_down(void)
{
	tp_workers_free(workers);
	unlinkat(dir_fd, NAME, 0);
	close(dir_fd);
	rmdir(dir);
}

TestSuite(image_blocks, .init = set_up, .fini = tear_down);

/* An image without pages, of main RAM and N_SMALL blocks of SMALL bytes. */
static struct tp_image *image_with(enum tp_image_kind kind, unsigned int n_small, uint64_t small)
{
	struct tp_image_writer_options options = {
		.dirfd = dir_fd, .name = NAME, .base_fd = -1, .workers = workers};
	TP_CLEANUP(tp_image_writer_free) struct tp_image_writer *writer = NULL;
	static struct tp_ram_block blocks[1000] = {{.name = (char *)"ram", .len = 64 * TP_MIB}};
	static char names[1000][8];
	struct tp_image *image;

	for (unsigned int i = 1; i <= n_small; i++) {
		snprintf(names[i], sizeof(names[i]), "b%u", i);
		blocks[i] = (struct tp_ram_block){.name = names[i], .len = small};
	}
	TP_FREE char *config = tp_record_format(&record);
	struct tp_image_meta meta = {
		.kind = kind, .config = config, .blocks = blocks, .n_blocks = n_small + 1};
	must(tp_image_writer_new(&options, &call, &writer));
	must(tp_image_writer_commit(writer, &meta, &call, NULL));
	must(tp_image_open(dir_fd, NAME, &call, &image));
	return image;
}

static void assert_refused(unsigned int n_small, uint64_t small)
{
	TP_CLEANUP(tp_image_close)
	struct tp_image *image = image_with(TP_IMAGE_FULL, n_small, small);
	TP_FD int out = open("/dev/null", O_WRONLY | O_CLOEXEC);

	must_be_corrupt(tp_restore_check(image, &record, NULL, "7.2.22", NAME));
	must_be_corrupt(
		tp_export_stream(image, NULL, "pc-i440fx-7.2", "pc.ram", workers, out, &call));
}

Test(image_blocks, what_a_guest_of_ours_has_is_fine)
{
	TP_CLEANUP(tp_image_close)
	struct tp_image *image = image_with(TP_IMAGE_FULL, 3, TP_MIB);

	must(tp_restore_check(image, &record, NULL, "7.2.22", NAME));
}

/* It would be held in memory, which there isn't. */
Test(image_blocks, small_blocks_that_are_large_are_refused)
{
	assert_refused(1, FAR_TOO_MUCH);
	assert_refused(65, TP_MIB);
}

Test(image_blocks, more_blocks_than_a_stream_takes_are_refused)
{
	assert_refused(999, 4096);
}

Test(image_blocks, so_are_they_in_a_template)
{
	record.is_session = false;
	TP_CLEANUP(tp_image_close)
	struct tp_image *image = image_with(TP_IMAGE_TEMPLATE, 1, FAR_TOO_MUCH);
	struct tp_base *base;

	cr_assert_not_null(image);
	must_be_corrupt(tp_base_fill(dir_fd, NAME, workers, &call, &base));
}
