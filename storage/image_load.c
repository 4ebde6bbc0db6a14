/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading and verifying the blocks of an image.
 *
 * A large image is read in chunks of a few neighbouring blocks. The caller's thread keeps reads
 * under way and hands each chunk that has arrived to the workers, which decode, check and sink its
 * blocks. A small one is done on the caller's thread: waking a worker takes longer than a block.
 */
#include <pthread.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "storage/image_priv.h"
#include "storage/io.h"
#include "storage/pack.h"

#define CHUNK_BLOCKS  4
#define INLINE_BLOCKS 4
#define MAX_CHUNKS    32

static struct torpor_error *damaged_block(
	const struct tp_image *image, uint32_t number, enum torpor_errc code, const char *why)
{
	TP_FREE char *step = tp_asprintf("check block %u of", number);

	return tp_error(code, step, image->name, "%s", why);
}

/*
 * Checks the stored bytes of a block and, unless it needs a base and BASE_FD is -1, decodes it.
 * *BYTES_OUT is its pages, in CODEC or in STORED; NULL where it wasn't decoded.
 */
static struct torpor_error *decode_block(const struct tp_image *image, uint32_t number,
	const uint8_t *stored, int base_fd, struct tp_codec *codec,
	uint64_t pages[TP_FORMAT_BLOCK_PAGES], const uint8_t **bytes_out)
{
	const struct tp_image_block *block = &image->blocks[number];
	size_t len = block->page_count * TP_PAGE_SIZE;
	bool needs_base = block->codec == TP_CODEC_ZSTD_PREFIX;
	uint8_t *raw = tp_codec_raw(codec);

	if (tp_sum(stored, block->stored_len) != block->stored_sum)
		return damaged_block(image, number, TORPOR_E_CORRUPT, "its checksum is wrong");
	*bytes_out = NULL;
	if (needs_base && base_fd < 0)
		return NULL;
	tp_index_pages(&image->index, block->place, block->page_count, pages);
	if (needs_base)
		TP_TRY(tp_read_base_pages(base_fd, pages, block->page_count, tp_codec_base(codec)));

	const uint8_t *bytes = block->codec == TP_CODEC_RAW ? stored : raw;
	bool sound = bytes == stored || tp_codec_unpack_block(codec, block->codec, stored,
						block->stored_len, tp_codec_base(codec), raw, len);
	if (sound && tp_sum_pages(pages, block->page_count, bytes) == block->raw_sum) {
		*bytes_out = bytes;
		return NULL;
	}
	if (needs_base)
		return damaged_block(image, number, TORPOR_E_MISMATCH,
			"it doesn't decode to what it was: this is not the base it was made with");
	return damaged_block(
		image, number, TORPOR_E_CORRUPT, "it doesn't decode to the pages it was made of");
}

/* Neighbouring blocks: their numbers, and where they are in the file. */
struct extent {
	uint32_t first;
	uint32_t end;
	uint64_t offset;
	size_t len;
};

static struct extent extent_from(const struct tp_image *image, uint32_t first)
{
	struct extent e = {.first = first, .end = first, .offset = image->blocks[first].offset};

	while (e.end < image->n_blocks && e.end - first < CHUNK_BLOCKS)
		e.len += image->blocks[e.end++].stored_len;
	return e;
}

struct load {
	const struct tp_image *image;
	int base_fd;
	tp_page_sink_fn *sink;
	void *sink_data;
	const struct tp_call *call;
};

/* Decodes and sinks the blocks of E, whose stored bytes are at STORED, until STOP. */
static struct torpor_error *sink_blocks(const struct load *load, const struct extent *e,
	const uint8_t *stored, struct tp_codec *codec, const atomic_bool *stop)
{
	uint64_t pages[TP_FORMAT_BLOCK_PAGES];
	const uint8_t *bytes;

	for (uint32_t i = e->first; i < e->end; i++) {
		const struct tp_image_block *block = &load->image->blocks[i];
		if (stop && atomic_load(stop))
			return NULL;
		TP_TRY(decode_block(load->image, i, stored + (block->offset - e->offset),
			load->base_fd, codec, pages, &bytes));
		TP_TRY(load->sink(load->sink_data, pages, bytes, block->page_count));
	}
	return NULL;
}

/* The stored bytes of E: in memory, or read into BUFFER. */
static struct torpor_error *fetch(
	const struct tp_image *image, const struct extent *e, uint8_t *buffer, const uint8_t **out)
{
	if (image->head) {
		*out = image->head + e->offset;
		return NULL;
	}
	*out = buffer;
	return tp_io_pread(image->fd, buffer, e->len, e->offset, image->name);
}

static struct torpor_error *load_inline(const struct load *load, struct tp_codec *codec)
{
	const struct tp_image *image = load->image;
	TP_FREE uint8_t *buffer = malloc(CHUNK_BLOCKS * TP_FORMAT_BLOCK_BYTES);
	const uint8_t *stored;

	if (!codec || !buffer)
		return tp_error(
			TORPOR_E_NOMEM, "load image", image->name, "no memory for decoding");
	for (uint32_t next = 0; next < image->n_blocks;) {
		struct extent e = extent_from(image, next);
		TP_TRY(tp_call_check(load->call, "load image", image->name));
		TP_TRY(fetch(image, &e, buffer, &stored));
		TP_TRY(sink_blocks(load, &e, stored, codec, NULL));
		next = e.end;
	}
	return NULL;
}

/* A chunk on its way from the file to the sink. */
struct chunk {
	struct tp_job job;
	struct tp_io_request request;
	struct pipeline *pipeline;
	struct extent extent;
	uint8_t *data;
	struct chunk *next_free;
};
static_assert(offsetof(struct chunk, job) == 0, "run_chunk casts");

struct pipeline {
	const struct load *load;
	struct tp_group group;

	/* The caller's thread. */
	struct tp_io_queue *queue;
	uint32_t next_block;
	unsigned int reading;
	struct chunk chunks[MAX_CHUNKS];
	unsigned int n_chunks;

	pthread_mutex_t lock;
	/* By lock. */
	struct chunk *free;
	unsigned int working; /* chunks with the workers */
	struct torpor_error *error;
};

static struct torpor_error *sink_chunk(struct chunk *chunk)
{
	struct pipeline *p = chunk->pipeline;
	struct tp_codec *codec = tp_workers_take_codec(p->group.workers);

	if (!codec)
		return tp_error(TORPOR_E_NOMEM, "load image", p->load->image->name,
			"no memory for decoding");
	struct torpor_error *err =
		sink_blocks(p->load, &chunk->extent, chunk->data, codec, &p->group.cancelled);
	tp_workers_give_codec(p->group.workers, codec);
	return err;
}

static void run_chunk(struct tp_job *job)
{
	struct chunk *chunk = (struct chunk *)job;
	struct pipeline *p = chunk->pipeline;
	struct torpor_error *err = atomic_load(&p->group.cancelled) ? NULL : sink_chunk(chunk);

	if (err)
		atomic_store(&p->group.cancelled, true);
	pthread_mutex_lock(&p->lock);
	if (!p->error)
		p->error = TP_TAKE(err);
	chunk->next_free = p->free;
	p->free = chunk;
	p->working--;
	pthread_mutex_unlock(&p->lock);
	torpor_error_free(err); /* a consequence of the first, or its equal */
}

/* A chunk that isn't in use, with memory; NULL if there is none. */
static struct torpor_error *take_chunk(struct pipeline *p, struct chunk **chunk_out)
{
	pthread_mutex_lock(&p->lock);
	struct chunk *chunk = p->free;
	if (chunk)
		p->free = chunk->next_free;
	pthread_mutex_unlock(&p->lock);
	if (chunk && !chunk->data)
		chunk->data = malloc(CHUNK_BLOCKS * TP_FORMAT_BLOCK_BYTES);
	if (chunk && !chunk->data)
		return tp_error(TORPOR_E_NOMEM, "load image", p->load->image->name,
			"no memory for reading");
	*chunk_out = chunk;
	return NULL;
}

/* Starts reads as long as there are chunks for them. */
static struct torpor_error *start_reads(struct pipeline *p)
{
	const struct tp_image *image = p->load->image;
	struct chunk *chunk = NULL;

	while (p->next_block < image->n_blocks) {
		TP_TRY(take_chunk(p, &chunk));
		if (!chunk)
			break;
		chunk->extent = extent_from(image, p->next_block);
		chunk->request = (struct tp_io_request){
			.buf = chunk->data,
			.len = chunk->extent.len,
			.offset = chunk->extent.offset,
		};
		p->next_block = chunk->extent.end;
		p->reading++;
		tp_io_submit(p->queue, &chunk->request);
	}
	return NULL;
}

/* Hands what has been read to the workers. */
static struct torpor_error *hand_over(struct pipeline *p)
{
	struct tp_io_request *request;

	while ((request = tp_io_reap(p->queue))) {
		struct chunk *chunk =
			(struct chunk *)((char *)request - offsetof(struct chunk, request));
		p->reading--;
		TP_TRY(tp_io_request_error(request, p->load->image->name));
		pthread_mutex_lock(&p->lock);
		p->working++;
		pthread_mutex_unlock(&p->lock);
		tp_group_submit(&p->group, &chunk->job);
	}
	return NULL;
}

/* The first failure of a worker; and whether there is anything left to do. */
static struct torpor_error *look(struct pipeline *p, bool *over_out)
{
	pthread_mutex_lock(&p->lock);
	struct torpor_error *err = TP_TAKE(p->error);
	bool over = p->working == 0 && p->reading == 0 && p->next_block == p->load->image->n_blocks;
	pthread_mutex_unlock(&p->lock);
	*over_out = over;
	return err;
}

static struct torpor_error *run_pipeline(struct pipeline *p)
{
	const char *name = p->load->image->name;
	bool over;

	for (;;) {
		uint64_t seen = tp_group_finished(&p->group);
		TP_TRY(start_reads(p));
		TP_TRY(hand_over(p));
		TP_TRY(look(p, &over));
		if (over)
			return NULL;
		TP_TRY(tp_call_check(p->load->call, "load image", name));
		if (tp_group_help(&p->group))
			continue;
		struct pollfd queue = {.fd = tp_io_queue_fd(p->queue), .events = POLLIN};
		TP_TRY(tp_group_wait_some(
			&p->group, seen, &queue, 1, p->load->call, "load image", name));
	}
}

static struct torpor_error *load_pipelined(const struct load *load, struct tp_workers *workers)
{
	TP_FREE struct pipeline *p = tp_calloc(1, sizeof(*p));

	p->load = load;
	TP_TRY(tp_group_init(&p->group, workers));
	pthread_mutex_init(&p->lock, NULL);
	p->n_chunks = TP_MIN(2 * tp_workers_count(workers) + 2, (unsigned int)MAX_CHUNKS);
	p->queue = tp_io_queue_new(load->image->fd, p->n_chunks);
	for (unsigned int i = 0; i < p->n_chunks; i++) {
		p->chunks[i].pipeline = p;
		p->chunks[i].job.run = run_chunk;
		p->chunks[i].next_free = p->free;
		p->free = &p->chunks[i];
	}

	struct torpor_error *err = run_pipeline(p);
	tp_io_queue_free(p->queue);
	tp_group_join(&p->group, err);
	tp_group_deinit(&p->group);
	torpor_error_free(p->error);
	for (unsigned int i = 0; i < p->n_chunks; i++)
		free(p->chunks[i].data);
	pthread_mutex_destroy(&p->lock);
	return err;
}

/* Sees that the base has all of the page space, if it is needed. */
static struct torpor_error *check_base(const struct tp_image *image, int base_fd)
{
	uint64_t size;

	if (!image->needs_base)
		return NULL;
	if (base_fd < 0)
		return tp_error(TORPOR_E_INVALID, "load image", image->name, "it needs its base");
	TP_TRY(tp_file_size(base_fd, "the base", &size));
	if (size < image->space_pages * TP_PAGE_SIZE)
		return tp_error(TORPOR_E_MISMATCH, "load image", image->name,
			"the base is smaller than the page space");
	return NULL;
}

struct torpor_error *tp_image_load(const struct tp_image *image, int base_fd,
	struct tp_workers *workers, tp_page_sink_fn *sink, void *data, const struct tp_call *call)
{
	const struct load load = {image, base_fd, sink, data, call};

	TP_TRY(check_base(image, base_fd));
	if (workers && image->n_blocks > INLINE_BLOCKS)
		return load_pipelined(&load, workers);

	struct tp_codec *codec = workers ? tp_workers_take_codec(workers) : tp_codec_new();
	struct torpor_error *err = load_inline(&load, codec);
	if (workers)
		tp_workers_give_codec(workers, codec);
	else
		tp_codec_free(codec);
	return err;
}

/* Tells REPORT, and keeps the first failure. Takes ERR over. */
struct findings {
	tp_image_report_fn *report;
	void *data;
	struct torpor_error *first;
};

static void found(struct findings *f, const char *section, struct torpor_error *err)
{
	if (f->report)
		f->report(f->data, section, err);
	if (!f->first)
		f->first = TP_TAKE(err);
	torpor_error_free(err);
}

static struct torpor_error *verify_header(const struct tp_image *image)
{
	struct tp_format_header header;
	uint64_t size;

	TP_TRY(tp_file_size(image->fd, image->name, &size));
	TP_TRY(tp_io_pread(image->fd, &header, sizeof(header), 0, image->name));
	if (size != image->file_size || memcmp(&header, &image->header, sizeof(header)) != 0)
		return tp_error(TORPOR_E_CORRUPT, "check header of", image->name,
			"it has changed since it was opened");
	return NULL;
}

static struct torpor_error *verify_section(
	const struct tp_image *image, const struct tp_image_section *section, const char *name)
{
	TP_FREE uint8_t *data = malloc(section->stored_len + (size_t)1);
	TP_FREE char *step = tp_asprintf("check %s of", name);

	if (!data)
		return tp_error(TORPOR_E_NOMEM, step, image->name, "no memory for it");
	TP_TRY(tp_io_pread(image->fd, data, section->stored_len, section->offset, image->name));
	if (tp_sum(data, section->stored_len) != section->stored_sum)
		return tp_error(TORPOR_E_CORRUPT, step, image->name, "its checksum is wrong");
	return NULL;
}

static struct torpor_error *verify_block(const struct tp_image *image, uint32_t number, int base_fd,
	struct tp_codec *codec, uint8_t *buffer)
{
	const struct tp_image_block *block = &image->blocks[number];
	uint64_t pages[TP_FORMAT_BLOCK_PAGES];
	const uint8_t *bytes;

	TP_TRY(tp_io_pread(image->fd, buffer, block->stored_len, block->offset, image->name));
	return decode_block(image, number, buffer, base_fd, codec, pages, &bytes);
}

static struct torpor_error *verify_blocks(const struct tp_image *image, int base_fd,
	struct findings *findings, const struct tp_call *call)
{
	TP_CLEANUP(tp_codec_free) struct tp_codec *codec = tp_codec_new();
	TP_FREE uint8_t *buffer = malloc(TP_FORMAT_BLOCK_BYTES);

	if (!codec || !buffer)
		return tp_error(
			TORPOR_E_NOMEM, "verify image", image->name, "no memory for decoding");
	for (uint32_t i = 0; i < image->n_blocks; i++) {
		TP_FREE char *section = tp_asprintf("block %u", i);
		TP_TRY(tp_call_check(call, "verify image", image->name));
		found(findings, section, verify_block(image, i, base_fd, codec, buffer));
	}
	return NULL;
}

struct torpor_error *tp_image_verify(const struct tp_image *image, int base_fd,
	tp_image_report_fn *report, void *data, const struct tp_call *call)
{
	struct findings findings = {.report = report, .data = data};

	if (base_fd >= 0)
		TP_TRY(check_base(image, base_fd));
	found(&findings, "header", verify_header(image));
	for (enum tp_format_section i = 0; i < TP_SECTION_COUNT; i++) {
		const char *name = tp_section_name(i);
		found(&findings, name, verify_section(image, &image->sections[i], name));
	}
	struct torpor_error *err = verify_blocks(image, base_fd, &findings, call);
	return tp_error_first(findings.first, err);
}
