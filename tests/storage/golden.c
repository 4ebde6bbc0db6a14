/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images that were written once and must be readable for ever.
 *
 * stored.tpi is not compressed, so writing it anew must give the same bytes with any zstd.
 * packed.tpi is compressed against a base; another zstd may compress otherwise, so it is only read.
 * With TORPOR_GOLDEN_WRITE set the test writes both into that directory.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "support.h"

static struct world world;
static const uint64_t some_pages[] = {1, 2, 5};

static struct spec stored_spec(void)
{
	return (struct spec){.kind = TP_IMAGE_TEMPLATE,
		.base_fd = -1,
		.space_pages = 8,
		.pages = some_pages + 1,
		.n_pages = 2,
		.version = 1,
		.config = "{\"golden\": true}",
		.device = "the device state",
		.device_len = 16,
		.level = TP_IMAGE_LEVEL_STORE};
}

static struct spec packed_spec(void)
{
	return (struct spec){.kind = TP_IMAGE_SESSION,
		.base_fd = make_base(8, 2),
		.space_pages = 8,
		.pages = some_pages,
		.n_pages = TP_ARRAY_LEN(some_pages),
		.version = 1,
		.config = "{\"golden\": true}",
		.device = "the device state, the device state, the device state, the device state",
		.device_len = 70,
		.prefix = "the device state",
		.prefix_len = 16};
}

static void setup(void)
{
	world_init(&world);
}

static void teardown(void)
{
	world_deinit(&world);
}

TestSuite(golden, .init = setup, .fini = teardown);

/* Copies a golden image into the world's directory; its bytes are the caller's to free. */
static uint8_t *fetch(const char *name, size_t *len_out)
{
	TP_FREE char *path = tp_asprintf("%s/%s", GOLDEN_DIR, name);
	char *data;

	must(tp_read_file(AT_FDCWD, path, 1 << 20, &data, len_out));
	spit(&world, name, data, *len_out);
	return (uint8_t *)data;
}

Test(golden, stored_is_written_byte_for_byte)
{
	struct spec spec = stored_spec();
	size_t due_len;
	size_t len;
	TP_FREE uint8_t *due = fetch("stored.tpi", &due_len);

	must(write_image(&world, "new", &spec, &forever, NULL));
	TP_FREE uint8_t *got = slurp(&world, "new", &len);
	cr_assert_eq(len, due_len);
	cr_assert_eq(memcmp(got, due, len), 0);
}

Test(golden, stored_is_read)
{
	struct spec spec = stored_spec();
	size_t len;

	free(fetch("stored.tpi", &len));
	read_back(&world, "stored.tpi", &spec, spec.n_pages, true);
}

Test(golden, packed_is_read)
{
	struct spec spec = packed_spec();
	size_t len;

	free(fetch("packed.tpi", &len));
	read_back(&world, "packed.tpi", &spec, spec.n_pages, true);
	close(spec.base_fd);
}

Test(golden, written_anew_on_request)
{
	const char *where = getenv("TORPOR_GOLDEN_WRITE");
	struct world there = world;
	struct spec stored = stored_spec();
	struct spec packed = packed_spec();

	if (where)
		there.dirfd = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(write_image(&there, "stored.tpi", &stored, &forever, NULL));
	must(write_image(&there, "packed.tpi", &packed, &forever, NULL));
	if (where)
		close(there.dirfd);
	close(packed.base_fd);
}
