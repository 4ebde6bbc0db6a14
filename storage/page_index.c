/* SPDX-License-Identifier: Apache-2.0 */
/* The page index: runs of page numbers as pairs of varints. */
#include "storage/sections.h"

#include <stdlib.h>

#include "base/mem.h"

static void encode_run(struct tp_index_builder *b)
{
	if (b->run_start == b->run_end)
		return;
	tp_buf_put_varint(&b->encoded, b->run_start - b->encoded_end);
	tp_buf_put_varint(&b->encoded, b->run_end - b->run_start - 1);
	b->encoded_end = b->run_end;
}

void tp_index_add(struct tp_index_builder *b, uint64_t page)
{
	assert(page >= b->run_end);
	if (page > b->run_end || b->run_start == b->run_end) {
		encode_run(b);
		b->run_start = page;
	}
	b->run_end = page + 1;
}

void tp_index_finish(struct tp_index_builder *b)
{
	encode_run(b);
	b->run_start = b->run_end;
}

void tp_index_builder_deinit(struct tp_index_builder *b)
{
	tp_buf_deinit(&b->encoded);
}

/*
 * Reads the next run, which starts at or behind END, and behind it unless it is the first; false
 * if it isn't sound.
 */
static bool read_run(struct tp_reader *r, uint64_t *end, uint64_t space_pages, bool first,
	uint64_t *page_out, uint64_t *len_out)
{
	uint64_t gap = tp_read_varint(r);
	uint64_t more = tp_read_varint(r);

	if (r->failed || (gap == 0 && !first))
		return false;
	if (gap >= space_pages - *end || more >= space_pages - *end - gap)
		return false;
	*page_out = *end + gap;
	*len_out = more + 1;
	*end = *page_out + *len_out;
	return true;
}

/* Counts runs and pages; false if they aren't sound. */
static bool survey(
	const void *data, size_t len, uint64_t space_pages, size_t *runs_out, uint64_t *pages_out)
{
	struct tp_reader r = tp_reader_over(data, len);
	uint64_t end = 0;
	uint64_t page;
	uint64_t run_len;

	*runs_out = 0;
	*pages_out = 0;
	while (tp_reader_left(&r) > 0) {
		if (!read_run(&r, &end, space_pages, *runs_out == 0, &page, &run_len))
			return false;
		++*runs_out;
		*pages_out += run_len;
	}
	return true;
}

struct torpor_error *tp_index_decode(const void *data, size_t len, uint64_t page_count,
	uint64_t space_pages, struct tp_index *index_out)
{
	struct tp_reader r = tp_reader_over(data, len);
	size_t n_runs;
	uint64_t pages;

	if (!survey(data, len, space_pages, &n_runs, &pages))
		return tp_error(TORPOR_E_CORRUPT, "read page index", NULL, "its runs are damaged");
	if (pages != page_count)
		return tp_error(TORPOR_E_CORRUPT, "read page index", NULL,
			"it has %llu pages, the header %llu", (unsigned long long)pages,
			(unsigned long long)page_count);

	struct tp_index_run *runs = calloc(n_runs + 1, sizeof(*runs));
	if (!runs)
		return tp_error(
			TORPOR_E_NOMEM, "read page index", NULL, "no memory for %zu runs", n_runs);
	uint64_t place = 0;
	uint64_t end = 0;
	for (size_t i = 0; i < n_runs; i++) {
		uint64_t run_len = 0;
		bool sound = read_run(&r, &end, space_pages, i == 0, &runs[i].page, &run_len);
		assert(sound);
		runs[i].place = place;
		place += run_len;
	}
	runs[n_runs].place = place;
	*index_out = (struct tp_index){.runs = runs, .n_runs = n_runs, .page_count = page_count};
	return NULL;
}

void tp_index_deinit(struct tp_index *index)
{
	free(index->runs);
	*index = (struct tp_index){0};
}

/* The run that holds the page stored at PLACE. */
static size_t find_run(const struct tp_index *index, uint64_t place)
{
	size_t low = 0;
	size_t high = index->n_runs;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (index->runs[middle].place <= place)
			low = middle;
		else
			high = middle;
	}
	return low;
}

void tp_index_pages(const struct tp_index *index, uint64_t place, unsigned int n, uint64_t *pages)
{
	assert(n <= index->page_count && place <= index->page_count - n);
	size_t run = n > 0 ? find_run(index, place) : 0;
	for (unsigned int i = 0; i < n; i++, place++) {
		if (place == index->runs[run + 1].place)
			run++;
		pages[i] = index->runs[run].page + (place - index->runs[run].place);
	}
}
