/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_storage DIR [ROUNDS]: what an image's bytes cost on their way to the disk.
 *
 * Two questions. How much of making an image durable is writing at all, and how much compressing:
 * `image_*`, the storage layer's own writer fed with pages, with io_uring and without. And would
 * another way of writing be quicker: `write_*`, as many bytes in the writer's pieces by each way,
 * fdatasync included. Ways take turns within a round; JSON lines, medians and extremes.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/stats.h"
#include "storage/image_writer.h"
#include "storage/io.h"
#include "storage/out_file.h"

#define FILE_NAME  ".bench-storage"
#define PIECES	   TP_OUT_BUFFERS
#define PIECE	   TP_OUT_BUFFER_BYTES
#define MAX_ROUNDS 1000

struct way {
	const char *name;
	bool uring;
	bool fixed;  /* registered buffers */
	bool direct; /* O_DIRECT */
};

static const struct way ways[] = {
	{"pwrite", false, false, false},
	{"uring", true, false, false},
	{"uring_fixed", true, true, false},
	{"pwrite_direct", false, false, true},
	{"uring_direct", true, false, true},
	{"uring_fixed_direct", true, true, true},
};

static const uint64_t sizes[] = {20 * TP_MIB, 200 * TP_MIB};

struct run {
	int dir_fd;
	uint8_t *bytes; /* PIECES pieces, half random, half text-like, page-aligned */
	struct tp_workers *workers;
	struct tp_staging *staging;
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Pages by turns random and easy to compress. */
static void fill(uint8_t *at, size_t len)
{
	uint64_t state = 0x746f72706f72;

	for (size_t i = 0; i < len; i += sizeof(state)) {
		uint64_t value = next_random(&state);
		if (i / TP_PAGE_SIZE % 2)
			value = 0x6567617020656854 + (value & 0x0f0f);
		memcpy(at + i, &value, sizeof(value));
	}
}

/* --- Bytes alone --- */

static struct torpor_error *failed(const char *step, int errnum)
{
	return tp_error_errno(errnum, step, FILE_NAME);
}

static struct torpor_error *write_plain(const struct run *r, int fd, uint64_t size)
{
	for (uint64_t at = 0; at < size; at += PIECE)
		TP_TRY(tp_pwrite_full(
			fd, r->bytes + at / PIECE % PIECES * PIECE, PIECE, at, FILE_NAME));
	return NULL;
}

static struct torpor_error *reap(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int rc = io_uring_wait_cqe(ring, &cqe);

	if (rc < 0)
		return failed("wait for write to", -rc);
	int res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	if (res != (int)PIECE)
		return failed("write", res < 0 ? -res : EIO);
	return NULL;
}

/* As many transfers under way as the writer has buffers. */
static struct torpor_error *write_pieces(
	const struct run *r, struct io_uring *ring, int fd, uint64_t size, bool fixed)
{
	unsigned int under_way = 0;

	for (uint64_t at = 0; at < size; at += PIECE) {
		unsigned int which = (unsigned int)(at / PIECE % PIECES);
		uint8_t *piece = r->bytes + which * PIECE;
		if (under_way == PIECES) {
			TP_TRY(reap(ring));
			under_way--;
		}
		struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
		if (fixed)
			io_uring_prep_write_fixed(sqe, fd, piece, PIECE, at, (int)which);
		else
			io_uring_prep_write(sqe, fd, piece, PIECE, at);
		int rc = io_uring_submit(ring);
		if (rc < 0)
			return failed("submit write to", -rc);
		under_way++;
	}
	while (under_way-- > 0)
		TP_TRY(reap(ring));
	return NULL;
}

static struct torpor_error *write_uring(const struct run *r, int fd, uint64_t size, bool fixed)
{
	struct iovec buffers[PIECES];
	struct io_uring ring;
	struct torpor_error *err = NULL;

	int rc = io_uring_queue_init(PIECES, &ring, 0);
	if (rc < 0)
		return failed("make io_uring for", -rc);
	for (unsigned int i = 0; i < PIECES; i++)
		buffers[i] = (struct iovec){r->bytes + i * PIECE, PIECE};
	rc = fixed ? io_uring_register_buffers(&ring, buffers, PIECES) : 0;
	if (rc < 0)
		err = failed("register buffers for", -rc);
	if (!err)
		err = write_pieces(r, &ring, fd, size, fixed);
	io_uring_queue_exit(&ring);
	return err;
}

static struct torpor_error *write_way(
	const struct run *r, const struct way *way, uint64_t size, uint64_t *ns)
{
	int flags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | (way->direct ? O_DIRECT : 0);
	TP_FD int fd = openat(r->dir_fd, FILE_NAME, flags, 0600);

	if (fd < 0)
		return failed("create", errno);
	if (fallocate(fd, 0, 0, (off_t)size) < 0 && errno != EOPNOTSUPP)
		return failed("reserve room for", errno);
	uint64_t start = tp_now_ns();
	TP_TRY(way->uring ? write_uring(r, fd, size, way->fixed) : write_plain(r, fd, size));
	if (fdatasync(fd) < 0)
		return failed("sync", errno);
	*ns = tp_now_ns() - start;
	return NULL;
}

/* --- Whole images --- */

static struct torpor_error *put_pages(
	const struct run *r, struct tp_image_writer *w, uint64_t size, const struct tp_call *call)
{
	for (uint64_t page = 0; page < size / TP_PAGE_SIZE; page += TP_FORMAT_BLOCK_PAGES) {
		struct tp_page_block *block;
		TP_TRY(tp_image_writer_get(w, call, &block));
		for (unsigned int i = 0; i < TP_FORMAT_BLOCK_PAGES; i++)
			block->pages[i] = page + i;
		block->count = TP_FORMAT_BLOCK_PAGES;
		memcpy(block->data, r->bytes + page * TP_PAGE_SIZE % (PIECES * PIECE),
			TP_FORMAT_BLOCK_BYTES);
		TP_TRY(tp_image_writer_put(w, block));
	}
	return NULL;
}

static struct torpor_error *write_image(
	const struct run *r, bool sync, int level, uint64_t size, uint64_t *ns)
{
	struct tp_call call = tp_call_within(120 * TP_NSEC_PER_SEC);
	struct tp_ram_block ram = {.name = (char[]){"ram"}, .len = size};
	struct tp_image_meta meta = {
		.kind = TP_IMAGE_FULL, .config = "{}", .device = "", .blocks = &ram, .n_blocks = 1};
	struct tp_image_writer_options options = {.dirfd = r->dir_fd,
		.name = FILE_NAME,
		.base_fd = -1,
		.workers = r->workers,
		.staging = r->staging,
		.level = level,
		.reserve_bytes = size};
	TP_CLEANUP(tp_image_writer_free) struct tp_image_writer *w = NULL;

	tp_io_force_sync(sync);
	uint64_t start = tp_now_ns();
	TP_TRY(tp_image_writer_new(&options, &call, &w));
	TP_TRY(put_pages(r, w, size, &call));
	TP_TRY(tp_image_writer_commit(w, &meta, &call, NULL));
	*ns = tp_now_ns() - start;
	return NULL;
}

/* --- Rounds --- */

enum { WAYS = TP_ARRAY_LEN(ways), IMAGES = 4, KINDS = WAYS + IMAGES };

static const struct {
	const char *name;
	bool sync;
	int level;
} images[IMAGES] = {
	{"image_uring", false, TP_IMAGE_LEVEL_DEFAULT},
	{"image_sync", true, TP_IMAGE_LEVEL_DEFAULT},
	{"image_uring_stored", false, TP_IMAGE_LEVEL_STORE},
	{"image_sync_stored", true, TP_IMAGE_LEVEL_STORE},
};

static struct torpor_error *sample(
	const struct run *r, unsigned int kind, uint64_t size, uint64_t *ns)
{
	if (kind < WAYS)
		return write_way(r, &ways[kind], size, ns);
	return write_image(r, images[kind - WAYS].sync, images[kind - WAYS].level, size, ns);
}

static struct torpor_error *measure(const struct run *r, uint64_t size, unsigned int rounds)
{
	static double ns[KINDS][MAX_ROUNDS];
	uint64_t took;

	for (unsigned int round = 0; round < rounds; round++) {
		for (unsigned int i = 0; i < KINDS; i++) {
			unsigned int kind = (i + round) % KINDS;
			TP_TRY(sample(r, kind, size, &took));
			ns[kind][round] = (double)took;
			if (unlinkat(r->dir_fd, FILE_NAME, 0) < 0)
				return failed("remove", errno);
		}
	}
	for (unsigned int kind = 0; kind < KINDS; kind++) {
		bench_sort(ns[kind], rounds);
		printf("{\"name\":\"%s%s\",\"bytes\":%ju,\"unit\":\"ns\",\"n\":%u,\"min\":%.0f,"
		       "\"p50\":%.0f,\"max\":%.0f}\n",
			kind < WAYS ? "write_" : "",
			kind < WAYS ? ways[kind].name : images[kind - WAYS].name, (uintmax_t)size,
			rounds, ns[kind][0], bench_median(ns[kind], rounds), ns[kind][rounds - 1]);
		fflush(stdout);
	}
	return NULL;
}

static struct torpor_error *run_all(struct run *r, unsigned int rounds)
{
	TP_TRY(tp_workers_new(0, &r->workers));
	TP_TRY(tp_staging_new(0, &r->staging));
	for (size_t i = 0; i < TP_ARRAY_LEN(sizes); i++)
		TP_TRY(measure(r, sizes[i], rounds));
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 10;

	if (argc < 2 || rounds < 1 || rounds > MAX_ROUNDS) {
		fprintf(stderr, "Usage: %s DIR [ROUNDS]\n", argv[0]);
		return 2;
	}
	struct run r = {.dir_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.bytes = aligned_alloc(TP_PAGE_SIZE, PIECES * PIECE)};
	if (r.dir_fd < 0 || !r.bytes) {
		perror(argv[1]);
		return 1;
	}
	fill(r.bytes, PIECES * PIECE);
	struct torpor_error *err = run_all(&r, (unsigned int)rounds);
	if (err) {
		fprintf(stderr, "bench_storage: %s\n", torpor_error_message(err));
		unlinkat(r.dir_fd, FILE_NAME, 0);
	}
	tp_staging_free(r.staging);
	tp_workers_free(r.workers);
	free(r.bytes);
	tp_close(r.dir_fd);
	int status = err ? 1 : 0;
	torpor_error_free(err);
	return status;
}
