/* SPDX-License-Identifier: Apache-2.0 */
/* RAM block tables, in memory and as a section. */
#include "storage/image.h"

#include <string.h>

#include "base/mem.h"
#include "storage/sections.h"

const char *tp_image_kind_name(enum tp_image_kind kind)
{
	switch (kind) {
	case TP_IMAGE_TEMPLATE:
		return "template";
	case TP_IMAGE_SESSION:
		return "session";
	case TP_IMAGE_FULL:
		return "full";
	}
	return "unknown";
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool names_differ(const struct tp_ram_block *blocks, size_t n_blocks)
{
	TP_FREE const char **names = tp_calloc(n_blocks, sizeof(*names));
	bool differ = true;

	for (size_t i = 0; i < n_blocks; i++)
		names[i] = blocks[i].name;
	qsort(names, n_blocks, sizeof(*names), compare_names);
	for (size_t i = 1; i < n_blocks; i++)
		differ = differ && strcmp(names[i - 1], names[i]) != 0;
	return differ;
}

struct torpor_error *tp_image_space_pages(
	const struct tp_ram_block *blocks, size_t n_blocks, uint64_t *pages_out)
{
	const char *step = "check RAM blocks";
	uint64_t pages = 0;

	if (n_blocks == 0 || n_blocks > TP_FORMAT_MAX_RAM)
		return tp_error(TORPOR_E_INVALID, step, NULL, "%zu of them; 1 to %u can be kept",
			n_blocks, TP_FORMAT_MAX_RAM);
	for (size_t i = 0; i < n_blocks; i++) {
		size_t name_len = strnlen(blocks[i].name, TP_FORMAT_MAX_RAM_NAME + 1);
		if (name_len == 0 || name_len > TP_FORMAT_MAX_RAM_NAME)
			return tp_error(TORPOR_E_INVALID, step, NULL,
				"the name of block %zu is empty or longer than %u bytes", i,
				TP_FORMAT_MAX_RAM_NAME);
		uint64_t len = blocks[i].len;
		uint64_t block_pages = len / TP_PAGE_SIZE + (len % TP_PAGE_SIZE != 0);
		if (len == 0 || block_pages > TP_FORMAT_MAX_PAGES - pages)
			return tp_error(TORPOR_E_INVALID, step, blocks[i].name,
				"%llu bytes are none, or too many", (unsigned long long)len);
		pages += block_pages;
	}
	if (!names_differ(blocks, n_blocks))
		return tp_error(TORPOR_E_INVALID, step, NULL, "two have the same name");
	*pages_out = pages;
	return NULL;
}

void tp_ram_encode(const struct tp_ram_block *blocks, size_t n_blocks, struct tp_buf *out)
{
	for (size_t i = 0; i < n_blocks; i++) {
		size_t name_len = strlen(blocks[i].name);
		tp_buf_put_u8(out, (uint8_t)name_len);
		tp_buf_put(out, blocks[i].name, name_len);
		tp_buf_put_le64(out, blocks[i].len);
	}
}

/* One block; false if it isn't sound. Its name is allocated in any case where it is set. */
static bool decode_block(struct tp_reader *r, struct tp_ram_block *block)
{
	size_t name_len = tp_read_u8(r);
	const char *name = tp_read_bytes(r, name_len);

	block->len = tp_read_le64(r);
	if (r->failed || memchr(name, '\0', name_len))
		return false;
	block->name = tp_strndup(name, name_len);
	return true;
}

bool tp_ram_decode(
	const void *data, size_t len, struct tp_ram_block **blocks_out, size_t *n_blocks_out)
{
	struct tp_reader r = tp_reader_over(data, len);
	struct tp_ram_block *blocks = NULL;
	size_t n = 0;
	bool sound = true;

	while (sound && tp_reader_left(&r) > 0) {
		blocks = tp_reallocarray(blocks, n + 1, sizeof(*blocks));
		blocks[n] = (struct tp_ram_block){0};
		sound = n < TP_FORMAT_MAX_RAM && decode_block(&r, &blocks[n]);
		n++;
	}
	*blocks_out = blocks;
	*n_blocks_out = n;
	return sound;
}

void tp_ram_free(struct tp_ram_block *blocks, size_t n_blocks)
{
	for (size_t i = 0; i < n_blocks; i++)
		free(blocks[i].name);
	free(blocks);
}
