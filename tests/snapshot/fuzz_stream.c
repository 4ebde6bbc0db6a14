/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a migration stream: decoding ends, within its bounds; and what could be decoded and
 * encoded again is decoded to the same once more.
 */
#include <stdlib.h>
#include <string.h>

#include "decoded.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool good)
{
	if (!good)
		abort();
}

static void check_sound(const struct decoded *d)
{
	uint64_t total = 0;

	must(d->n_blocks <= TP_STREAM_BLOCKS_MAX);
	for (size_t i = 0; i < d->n_blocks; i++) {
		must(d->blocks[i].name[0] != '\0');
		must(strlen(d->blocks[i].name) <= TP_STREAM_NAME_MAX);
		must(d->blocks[i].used_len % TP_PAGE_SIZE == 0);
		total += d->blocks[i].used_len;
	}
	must(total <= TP_STREAM_RAM_MAX);
	for (size_t i = 0; i < d->n_pages; i++) {
		must(d->pages[i].block < d->n_blocks);
		must(d->pages[i].offset % TP_PAGE_SIZE == 0);
		must(d->pages[i].offset < d->blocks[d->pages[i].block].used_len);
	}
	must(d->devices.len <= TP_STREAM_DEVICES_MAX);
}

static bool same(const struct decoded *a, const struct decoded *b)
{
	bool same = strcmp(a->machine, b->machine) == 0 && a->n_blocks == b->n_blocks &&
		    a->n_pages == b->n_pages && a->devices.len == b->devices.len;

	for (size_t i = 0; same && i < a->n_blocks; i++)
		same = strcmp(a->blocks[i].name, b->blocks[i].name) == 0 &&
		       a->blocks[i].used_len == b->blocks[i].used_len;
	for (size_t i = 0; same && i < a->n_pages; i++)
		same = a->pages[i].block == b->pages[i].block &&
		       a->pages[i].offset == b->pages[i].offset &&
		       a->pages[i].is_zero == b->pages[i].is_zero &&
		       memcmp(a->pages[i].bytes, b->pages[i].bytes, TP_PAGE_SIZE) == 0;
	return same && (a->devices.len == 0 ||
			       memcmp(a->devices.data, b->devices.data, a->devices.len) == 0);
}

static void check_round_trip(const struct decoded *d)
{
	TP_BUF struct tp_buf stream = {0};
	struct decoded again = {0};

	must(!encode(d, tp_stream_to_buf(&stream)));
	must(!decode(&again, stream.data, stream.len, SIZE_MAX));
	must(same(d, &again));
	decoded_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct decoded d = {0};
	/* Small pieces now and then, so that pieces end everywhere. */
	size_t step = len % 4 == 0 ? 1 + len % 13 : SIZE_MAX;
	TP_ERROR struct torpor_error *err = decode(&d, data, len, step);

	check_sound(&d);
	if (!err && d.machine)
		check_round_trip(&d);
	decoded_deinit(&d);
	return 0;
}
