/* SPDX-License-Identifier: Apache-2.0 */
/* A template's identity follows its content, and nothing else. */
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "support.h"

#define PAGES 200 /* three whole chunks and an eighth of one */

static struct world world;
static int base;
static struct tp_image_meta meta;

static void setup(void)
{
	struct spec spec = {.kind = TP_IMAGE_TEMPLATE,
		.space_pages = PAGES,
		.config = "{\"cpus\": 2}",
		.device = "devices",
		.device_len = 7};

	world_init(&world);
	base = make_base(PAGES, 3);
	meta = spec_meta(&spec);
}

static void teardown(void)
{
	close(base);
	world_deinit(&world);
}

TestSuite(identity, .init = setup, .fini = teardown);

static void compute(int fd, const struct tp_image_meta *of, uint8_t id[TP_IDENTITY_LEN])
{
	uint8_t alone[TP_IDENTITY_LEN];

	must(tp_identity_compute(fd, of, world.workers, &forever, id));
	must(tp_identity_compute(fd, of, NULL, &forever, alone));
	cr_assert_eq(memcmp(id, alone, sizeof(alone)), 0);
}

static bool same_as(int fd, const struct tp_image_meta *of)
{
	uint8_t reference[TP_IDENTITY_LEN];
	uint8_t id[TP_IDENTITY_LEN];

	compute(base, &meta, reference);
	compute(fd, of, id);
	return memcmp(id, reference, sizeof(id)) == 0;
}

static void sha256(const void *data, size_t len, void *out)
{
	EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL);
}

/* docs/FORMAT.md, followed by hand. */
Test(identity, is_what_the_format_says)
{
	TP_BUF struct tp_buf all = {0};
	uint8_t *content = tp_malloc(PAGES * TP_PAGE_SIZE);
	uint8_t due[TP_IDENTITY_LEN];
	uint8_t id[TP_IDENTITY_LEN];

	must(tp_pread_full(base, content, PAGES * TP_PAGE_SIZE, 0, "base"));
	tp_buf_put(&all, "TORPORID\1\0\0\0\13\0\0\0{\"cpus\": 2}", 27);
	tp_buf_put(&all, "\7\0\0\0\0\0\0\0", 8);
	sha256("devices", 7, tp_buf_extend(&all, 32));
	tp_buf_put_le32(&all, 15 + 16);
	tp_buf_put(&all, "\6pc.ram", 7);
	tp_buf_put_le64(&all, (PAGES - 1) * TP_PAGE_SIZE);
	tp_buf_put(&all, "\7pc.bios", 8);
	tp_buf_put_le64(&all, 100);
	tp_buf_put_le64(&all, PAGES);
	for (size_t at = 0; at < PAGES * TP_PAGE_SIZE; at += 256 * TP_KIB) {
		size_t len = TP_MIN(256 * TP_KIB, PAGES * TP_PAGE_SIZE - at);
		sha256(content + at, len, tp_buf_extend(&all, 32));
	}
	sha256(all.data, all.len, due);
	compute(base, &meta, id);
	cr_assert_eq(memcmp(id, due, sizeof(due)), 0);
	free(content);
}

Test(identity, follows_each_page)
{
	uint8_t page[TP_PAGE_SIZE] __attribute__((aligned(16)));

	for (uint64_t changed = 0; changed < PAGES; changed += 33) {
		TP_FD int other = -1;
		must(tp_memfd("other", PAGES * TP_PAGE_SIZE, &other));
		for (uint64_t i = 0; i < PAGES; i++) {
			fill_page(page, i, 3);
			page[7] ^= i == changed;
			must(tp_pwrite_full(other, page, sizeof(page), i * sizeof(page), "other"));
		}
		cr_expect_not(same_as(other, &meta), "page %lu", changed);
	}
}

Test(identity, follows_the_metadata)
{
	struct tp_image_meta other = meta;
	static char name[] = "pc.rom";
	struct tp_ram_block blocks[2];

	other.config = "{\"cpus\": 3}";
	cr_expect_not(same_as(base, &other));
	other = meta;
	other.device = "Devices";
	cr_expect_not(same_as(base, &other));
	other = meta;
	other.device_len = 6;
	cr_expect_not(same_as(base, &other));
	other = meta;
	memcpy(blocks, meta.blocks, sizeof(blocks));
	other.blocks = blocks;
	blocks[1].len++;
	cr_expect_not(same_as(base, &other));
	blocks[1] = (struct tp_ram_block){name, meta.blocks[1].len};
	cr_expect_not(same_as(base, &other));
}

Test(identity, leaves_kind_and_name_aside)
{
	struct tp_image_meta other = meta;

	other.kind = TP_IMAGE_SESSION;
	other.template_id[0] ^= 1;
	cr_assert(same_as(base, &other));
}

Test(identity, holes_are_zeros)
{
	TP_FD int sparse = make_base(PAGES, 0);
	TP_FD int written = -1;
	uint8_t zeros[TP_PAGE_SIZE] = {0};
	uint8_t ids[2][TP_IDENTITY_LEN];

	must(tp_memfd("written", PAGES * TP_PAGE_SIZE, &written));
	for (uint64_t i = 0; i < PAGES; i++)
		must(tp_pwrite_full(written, zeros, sizeof(zeros), i * sizeof(zeros), "written"));
	compute(sparse, &meta, ids[0]);
	compute(written, &meta, ids[1]);
	cr_assert_eq(memcmp(ids[0], ids[1], sizeof(ids[0])), 0);
}

Test(identity, a_hole_before_data)
{
	TP_FD int sparse = -1;
	TP_FD int written = -1;
	uint8_t zeros[TP_PAGE_SIZE] = {0};
	uint8_t ids[2][TP_IDENTITY_LEN];

	must(tp_memfd("sparse", PAGES * TP_PAGE_SIZE, &sparse));
	must(tp_memfd("written", PAGES * TP_PAGE_SIZE, &written));
	for (uint64_t i = 0; i < PAGES; i++)
		must(tp_pwrite_full(written, zeros, sizeof(zeros), i * sizeof(zeros), "written"));
	must(tp_pwrite_full(sparse, "x", 1, 150 * TP_PAGE_SIZE, "sparse"));
	must(tp_pwrite_full(written, "x", 1, 150 * TP_PAGE_SIZE, "written"));
	compute(sparse, &meta, ids[0]);
	compute(written, &meta, ids[1]);
	cr_assert_eq(memcmp(ids[0], ids[1], sizeof(ids[0])), 0);
}

Test(identity, is_checked)
{
	compute(base, &meta, meta.template_id);
	must(tp_identity_check(base, &meta, world.workers, &forever));
	meta.template_id[31] ^= 1;
	cr_assert_eq(code_of(tp_identity_check(base, &meta, world.workers, &forever)),
		TORPOR_E_MISMATCH);
}

Test(identity, a_base_that_is_too_small_is_refused)
{
	TP_FD int shorter = make_base(PAGES - 1, 3);
	uint8_t id[TP_IDENTITY_LEN];

	cr_assert_eq(code_of(tp_identity_compute(shorter, &meta, NULL, &forever, id)),
		TORPOR_E_MISMATCH);
}

Test(identity, can_be_cancelled)
{
	struct tp_call call = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = eventfd(1, EFD_CLOEXEC)};
	uint8_t id[TP_IDENTITY_LEN];

	cr_assert_eq(code_of(tp_identity_compute(base, &meta, world.workers, &call, id)),
		TORPOR_E_CANCELLED);
	cr_assert_eq(
		code_of(tp_identity_compute(base, &meta, NULL, &call, id)), TORPOR_E_CANCELLED);
	close(call.cancel_fd);
}
