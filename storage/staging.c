/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An arena of buffers for pages.
 *
 * The guest stands still while buffers are filled, so a page fault here is downtime. The arena is
 * one mapping with huge pages asked for, and its buffers are a stack: the same few stay warm.
 */
#include "storage/staging.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "base/mem.h"

#define HUGE_PAGE   (2 * TP_MIB)
#define MAX_STAGING (64 * TP_GIB)

struct tp_staging {
	uint8_t *mapping; /* with HUGE_PAGE bytes to spare, for alignment */
	size_t mapping_len;
	uint8_t *arena;
	struct tp_page_block *blocks; /* one for each buffer of the arena */
	size_t n_blocks;
	int event_fd; /* a semaphore: a count for each block given back while somebody waited */

	pthread_mutex_t lock;
	/* By lock. */
	struct tp_page_block **free; /* a stack; n_free are on it */
	size_t n_free;
	size_t least_free;
	size_t waiters;
};

/* Maps the arena, aligned so that huge pages fit. */
static struct torpor_error *map_arena(struct tp_staging *staging, size_t bytes)
{
	size_t mapping_len = bytes + HUGE_PAGE;
	void *mapping = mmap(NULL, mapping_len, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (mapping == MAP_FAILED)
		return tp_error_errno(errno, "reserve staging memory", NULL);
	staging->mapping = mapping;
	staging->mapping_len = mapping_len;
	staging->arena = staging->mapping + (-(uintptr_t)mapping & (HUGE_PAGE - 1));
	(void)madvise(staging->arena, bytes, MADV_HUGEPAGE); /* without, it's only slower */
	return NULL;
}

/* Makes a buffer of each piece of the arena; the first is handed out first. */
static struct torpor_error *divide_arena(struct tp_staging *staging, size_t n_blocks)
{
	staging->blocks = calloc(n_blocks, sizeof(*staging->blocks));
	staging->free = calloc(n_blocks, sizeof(staging->free[0]));
	if (!staging->blocks || !staging->free)
		return tp_error(TORPOR_E_NOMEM, "reserve staging memory", NULL,
			"no memory for %zu buffers", n_blocks);
	for (size_t i = 0; i < n_blocks; i++) {
		staging->blocks[i].data = staging->arena + i * TP_FORMAT_BLOCK_BYTES;
		staging->free[n_blocks - 1 - i] = &staging->blocks[i];
	}
	staging->n_blocks = staging->n_free = staging->least_free = n_blocks;
	return NULL;
}

struct torpor_error *tp_staging_new(uint64_t bytes, struct tp_staging **staging_out)
{
	TP_CLEANUP(tp_staging_free) struct tp_staging *staging = tp_calloc(1, sizeof(*staging));

	if (bytes == 0)
		bytes = TP_STAGING_DEFAULT;
	pthread_mutex_init(&staging->lock, NULL);
	staging->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	if (staging->event_fd < 0)
		return tp_error_errno(errno, "create event", NULL);
	if (bytes > MAX_STAGING)
		return tp_error(TORPOR_E_NOMEM, "reserve staging memory", NULL,
			"%llu bytes are too many", (unsigned long long)bytes);
	bytes = TP_ROUND_UP(bytes, HUGE_PAGE);
	TP_TRY(map_arena(staging, bytes));
	TP_TRY(divide_arena(staging, bytes / TP_FORMAT_BLOCK_BYTES));
	*staging_out = TP_TAKE(staging);
	return NULL;
}

struct tp_staging *tp_staging_free(struct tp_staging *staging)
{
	if (!staging)
		return NULL;
	assert(staging->n_free == staging->n_blocks);
	pthread_mutex_destroy(&staging->lock);
	tp_close(staging->event_fd);
	if (staging->mapping)
		munmap(staging->mapping, staging->mapping_len);
	free(staging->blocks);
	free(staging->free);
	free(staging);
	return NULL;
}

/* One byte of each page is enough; what it holds doesn't matter. */
static void touch(uint8_t *data)
{
	for (size_t i = 0; i < TP_FORMAT_BLOCK_BYTES; i += TP_PAGE_SIZE)
		*(volatile uint8_t *)(data + i) = 0;
}

void tp_staging_warm(struct tp_staging *staging, uint64_t bytes)
{
	pthread_mutex_lock(&staging->lock);
	size_t n = TP_MIN(TP_DIV_UP(bytes, TP_FORMAT_BLOCK_BYTES), staging->n_free);
	for (size_t i = 0; i < n; i++)
		touch(staging->free[staging->n_free - 1 - i]->data);
	pthread_mutex_unlock(&staging->lock);
}

void tp_staging_trim(struct tp_staging *staging, uint64_t keep)
{
	pthread_mutex_lock(&staging->lock);
	size_t kept = TP_MIN(keep / TP_FORMAT_BLOCK_BYTES, staging->n_free);
	for (size_t i = 0; i < staging->n_free - kept; i++)
		(void)madvise(staging->free[i]->data, TP_FORMAT_BLOCK_BYTES, MADV_DONTNEED);
	pthread_mutex_unlock(&staging->lock);
}

struct tp_page_block *tp_staging_try_get(struct tp_staging *staging)
{
	struct tp_page_block *block = NULL;

	pthread_mutex_lock(&staging->lock);
	if (staging->n_free > 0) {
		block = staging->free[--staging->n_free];
		block->count = 0;
		staging->least_free = TP_MIN(staging->least_free, staging->n_free);
	}
	pthread_mutex_unlock(&staging->lock);
	return block;
}

void tp_staging_give(struct tp_staging *staging, struct tp_page_block *block)
{
	pthread_mutex_lock(&staging->lock);
	staging->free[staging->n_free++] = block;
	if (staging->waiters > 0)
		eventfd_write(staging->event_fd, 1);
	pthread_mutex_unlock(&staging->lock);
}

int tp_staging_wait_begin(struct tp_staging *staging)
{
	eventfd_t ignored;

	pthread_mutex_lock(&staging->lock);
	staging->waiters++;
	(void)eventfd_read(staging->event_fd, &ignored);
	pthread_mutex_unlock(&staging->lock);
	return staging->event_fd;
}

void tp_staging_wait_end(struct tp_staging *staging)
{
	pthread_mutex_lock(&staging->lock);
	staging->waiters--;
	pthread_mutex_unlock(&staging->lock);
}

struct tp_staging_usage tp_staging_usage(struct tp_staging *staging)
{
	pthread_mutex_lock(&staging->lock);
	struct tp_staging_usage usage = {
		.limit_bytes = staging->n_blocks * TP_FORMAT_BLOCK_BYTES,
		.used_bytes = (staging->n_blocks - staging->n_free) * TP_FORMAT_BLOCK_BYTES,
		.peak_bytes = (staging->n_blocks - staging->least_free) * TP_FORMAT_BLOCK_BYTES,
	};
	pthread_mutex_unlock(&staging->lock);
	return usage;
}
