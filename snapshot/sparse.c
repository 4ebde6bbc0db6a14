/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing page spaces in sparse files. */
#include "snapshot/sparse.h"

#include <errno.h>
#include <unistd.h>

#include "base/fd.h"

/* Puts the pages of [first, end). */
static struct torpor_error *put_range(struct tp_image_writer *writer, int fd, uint64_t first,
	uint64_t end, const char *object, const struct tp_call *call)
{
	while (first < end) {
		struct tp_page_block *block;
		TP_TRY(tp_image_writer_get(writer, call, &block));
		unsigned int n = (unsigned int)TP_MIN(end - first, (uint64_t)TP_FORMAT_BLOCK_PAGES);
		struct torpor_error *err = tp_pread_full(
			fd, block->data, n * TP_PAGE_SIZE, first * TP_PAGE_SIZE, object);
		block->count = err ? 0 : n;
		for (unsigned int i = 0; i < block->count; i++)
			block->pages[i] = first + i;
		err = tp_error_first(err, tp_image_writer_put(writer, block));
		if (err)
			return err;
		first += n;
	}
	return NULL;
}

struct torpor_error *tp_sparse_put(struct tp_image_writer *writer, int fd, uint64_t pages,
	const char *object, const struct tp_call *call)
{
	uint64_t next = 0; /* pages below have been put: pieces of data can share a page */

	for (off_t at = 0; next < pages;) {
		off_t data = lseek(fd, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return NULL;
		if (data < 0)
			return tp_error_errno(errno, "find data in", object);
		at = lseek(fd, data, SEEK_HOLE);
		if (at < 0)
			return tp_error_errno(errno, "find a hole in", object);
		uint64_t first = TP_MAX((uint64_t)data / TP_PAGE_SIZE, next);
		next = TP_MIN(TP_DIV_UP((uint64_t)at, TP_PAGE_SIZE), pages);
		TP_TRY(put_range(writer, fd, first, next, object, call));
	}
	return NULL;
}

struct torpor_error *tp_sparse_write(
	int fd, const uint64_t *pages, const uint8_t *bytes, unsigned int n, const char *object)
{
	for (unsigned int i = 0, run; i < n; i += run) {
		for (run = 1; i + run < n && pages[i + run] == pages[i] + run;)
			run++;
		TP_TRY(tp_pwrite_full(fd, bytes + i * TP_PAGE_SIZE, run * TP_PAGE_SIZE,
			pages[i] * TP_PAGE_SIZE, object));
	}
	return NULL;
}
