/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images that were written once and must be readable for ever.
 *
 * stored.tpi is not compressed, so writing it anew must give the same bytes with any zstd.
 * packed.tpi is compressed against a base; another zstd may compress otherwise, so it is only read.
 * tiny.tpi is the example in docs/FORMAT.md.
 * With TORPOR_GOLDEN_WRITE set the test writes both into that directory.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
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

/* The example in docs/FORMAT.md. */
static struct spec tiny_spec(void)
{
	return (struct spec){.kind = TP_IMAGE_TEMPLATE,
		.base_fd = -1,
		.space_pages = 8,
		.pages = some_pages + 1,
		.n_pages = 1,
		.version = 1,
		.config = "{}",
		.device = "device state",
		.device_len = 12};
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

Test(golden, tiny_is_read)
{
	struct spec spec = tiny_spec();
	size_t len;

	free(fetch("tiny.tpi", &len));
	read_back(&world, "tiny.tpi", &spec, spec.n_pages, true);
}

/* Appends the bytes of a hex dump's line: eight digits of offset, then at most 16 bytes. */
static void take_dump_line(const char *line, struct tp_buf *bytes)
{
	char *at;

	cr_assert_eq(strtoul(line, &at, 16), bytes->len, "offsets follow each other: %s", line);
	for (int i = 0; i < 16; i++) {
		char *end;
		unsigned long byte = strtoul(at, &end, 16);
		if (end == at || end - at > 4)
			break;
		tp_buf_put_u8(bytes, (uint8_t)byte);
		at = end;
	}
}

Test(golden, the_document_shows_the_tiny_image)
{
	TP_BUF struct tp_buf shown = {0};
	size_t len;
	TP_FREE char *text = NULL;
	TP_FREE uint8_t *tiny = fetch("tiny.tpi", &len);
	size_t text_len;

	must(tp_read_file(AT_FDCWD, FORMAT_MD, 1 << 20, &text, &text_len));
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (strncmp(line, "    0", 5) == 0 && strspn(line + 4, "0123456789abcdef") == 8)
			take_dump_line(line, &shown);
	cr_assert_eq(shown.len, len);
	cr_assert_eq(memcmp(shown.data, tiny, len), 0);
}

Test(golden, written_anew_on_request)
{
	const char *where = getenv("TORPOR_GOLDEN_WRITE");
	struct world there = world;
	struct spec stored = stored_spec();
	struct spec packed = packed_spec();
	struct spec tiny = tiny_spec();

	if (where)
		there.dirfd = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(write_image(&there, "stored.tpi", &stored, &forever, NULL));
	must(write_image(&there, "packed.tpi", &packed, &forever, NULL));
	must(write_image(&there, "tiny.tpi", &tiny, &forever, NULL));
	if (where)
		close(there.dirfd);
	close(packed.base_fd);
}
