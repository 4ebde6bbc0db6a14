/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing images.
 *
 *   caller                 workers                       whoever pumps
 *   get ---> fill ---> put ---> drop equal pages, pack ---> append in the order of puts ---> file
 *    ^                                                           |
 *    '------------------- staging buffer given back <------------'
 *
 * Blocks finish in any order, and are appended in the order of the puts, so that the same pages
 * always make the same file. Pumping (moving what has finished from the head of the list into the
 * output buffers) is done by one thread at a time: the worker that has just finished a block, or
 * the caller while it waits. It never waits for the disk; a thread of its own for it was rejected,
 * because small images would pay for starting it.
 */
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "base/fd.h"
#include "base/mem.h"
#include "storage/pack.h"
#include "storage/temp_file.h"
#include "storage/writer_priv.h"

/*
 * Blocks that don't wake the workers yet: while they are put a guest stands still, and a worker
 * that starts costs it more time than starting early saves. A large image has them awake soon, but
 * for one (tp_group_hold_back), whose processor is the copying thread's.
 */
#define QUIET_BLOCKS 16

/* A block between put and file. */
struct pack_job {
	struct tp_job job;
	struct tp_image_writer *writer;
	struct tp_page_block *block; /* NULL once given back */
	struct tp_packed packed;
	bool finished; /* by writer->lock */
	struct pack_job *next;
};

static struct tp_staging *staging_of(struct tp_image_writer *w)
{
	return w->own_staging ? w->own_staging : w->options.staging;
}

/* Keeps the first failure for the caller to find. Takes ERR over; NULL is no failure. */
static void fail(struct tp_image_writer *w, struct torpor_error *err)
{
	if (!err)
		return;
	pthread_mutex_lock(&w->lock);
	if (w->failed)
		torpor_error_free(err); /* a consequence of the first */
	else
		w->error = err;
	w->failed = true;
	pthread_mutex_unlock(&w->lock);
	atomic_store(&w->group.cancelled, true);
}

/* What has failed behind the caller's back, once. */
static struct torpor_error *take_failure(struct tp_image_writer *w)
{
	pthread_mutex_lock(&w->lock);
	struct torpor_error *err = TP_TAKE(w->error);
	bool failed = w->failed;
	pthread_mutex_unlock(&w->lock);
	if (failed && !err)
		err = tp_error(TORPOR_E_INVALID, "write image", w->name, "it failed before");
	return err;
}

/* Adds a packed block to file, index and table. *TAKEN_OUT as in tp_out_append. */
static struct torpor_error *append_block(
	struct tp_image_writer *w, const struct pack_job *job, bool *taken_out)
{
	const struct tp_page_block *block = job->block;
	struct tp_format_block entry = {
		.offset = htole64(w->out.offset),
		.stored_len = htole32((uint32_t)job->packed.stored_len),
		.page_count = htole16((uint16_t)block->count),
		.codec = (uint8_t)job->packed.codec,
		.stored_sum = htole64(job->packed.stored_sum),
		.raw_sum = htole64(job->packed.raw_sum),
	};
	bool taken;

	TP_TRY(tp_out_append(&w->out, block->data, job->packed.stored_len, &taken));
	if (taken) {
		tp_buf_put(&w->table, &entry, sizeof(entry));
		for (unsigned int i = 0; i < block->count; i++)
			tp_index_add(&w->index, block->pages[i]);
		w->pages_stored += block->count;
	}
	*taken_out = taken;
	return NULL;
}

/* Moves JOB's block on; false if it has to wait for the disk. */
static bool pump_block(struct tp_image_writer *w, struct pack_job *job)
{
	bool taken = true;

	if (job->block->count > 0 && !atomic_load(&w->group.cancelled))
		fail(w, append_block(w, job, &taken));
	if (!taken)
		return false;
	tp_staging_give(staging_of(w), TP_TAKE(job->block));
	return true;
}

/* The first job if it has finished. Needs the lock. */
static struct pack_job *finished_head(struct tp_image_writer *w)
{
	return w->first && w->first->finished ? w->first : NULL;
}

/* Moves finished blocks on until there is none, or the disk is behind. Needs the lock. */
static void pump_blocks(struct tp_image_writer *w)
{
	struct pack_job *job;
	bool moved = true;

	while (moved && (job = finished_head(w))) {
		pthread_mutex_unlock(&w->lock);
		moved = pump_block(w, job);
		pthread_mutex_lock(&w->lock);
		w->stalled = !moved;
		if (moved) {
			w->first = job->next;
			if (!w->first)
				w->end = &w->first;
			free(job);
		}
	}
}

static void pump(struct tp_image_writer *w)
{
	pthread_mutex_lock(&w->lock);
	w->pump_again = true;
	if (!w->pumping) {
		w->pumping = true;
		while (w->pump_again) {
			w->pump_again = false;
			pump_blocks(w);
		}
		w->pumping = false;
	}
	pthread_mutex_unlock(&w->lock);
}

static struct torpor_error *pack(struct tp_image_writer *w, struct pack_job *job)
{
	struct tp_codec *codec = tp_workers_take_codec(w->options.workers);

	if (!codec)
		return tp_error(TORPOR_E_NOMEM, "write image", w->name, "no memory for packing");
	struct torpor_error *err =
		tp_pack(codec, w->options.level, w->options.base_fd, job->block, &job->packed);
	tp_workers_give_codec(w->options.workers, codec);
	return tp_error_in(err, "write image", w->name);
}

static void run_pack_job(struct tp_job *tp_job)
{
	struct pack_job *job = (struct pack_job *)tp_job;
	struct tp_image_writer *w = job->writer;

	if (!atomic_load(&w->group.cancelled))
		fail(w, pack(w, job));
	pthread_mutex_lock(&w->lock);
	job->finished = true;
	pthread_mutex_unlock(&w->lock);
	pump(w);
}
static_assert(offsetof(struct pack_job, job) == 0, "run_pack_job casts");

static struct torpor_error *check_options(const struct tp_image_writer_options *options)
{
	if (!options->workers || options->base_fd < -1)
		return tp_error(TORPOR_E_INVALID, "write image", options->name,
			"no workers, or no sound base");
	return NULL;
}

static struct torpor_error *fill_identity(struct tp_image_writer *w)
{
	if (w->options.uuid)
		memcpy(w->uuid, w->options.uuid, sizeof(w->uuid));
	else if (getrandom(w->uuid, sizeof(w->uuid), 0) != sizeof(w->uuid))
		return tp_error_errno(errno, "get random bytes", NULL);
	w->created_ns = w->options.created_ns ? w->options.created_ns : tp_realtime_ns();
	return NULL;
}

struct torpor_error *tp_image_writer_new(const struct tp_image_writer_options *options,
	const struct tp_call *call, struct tp_image_writer **writer_out)
{
	TP_TRY(check_options(options));
	TP_TRY(tp_call_check(call, "write image", options->name));

	struct tp_group group;
	TP_TRY(tp_group_init(&group, options->workers));
	TP_CLEANUP(tp_image_writer_free) struct tp_image_writer *w = tp_calloc(1, sizeof(*w));
	w->options = *options;
	w->name = tp_strdup(options->name);
	w->options.name = w->name;
	w->fd = -1;
	w->group = group;
	tp_group_hold_back(&w->group);
	pthread_mutex_init(&w->lock, NULL);
	w->end = &w->first;
	TP_TRY(fill_identity(w));
	if (!options->staging)
		TP_TRY(tp_staging_new(options->staging_bytes, &w->own_staging));
	TP_TRY(tp_temp_create(options->dirfd, w->name, &w->fd, &w->temp_name));
	if (options->reserve_bytes > 0)
		TP_TRY(tp_io_allocate(w->fd, 0, options->reserve_bytes, w->name));
	tp_out_init(
		&w->out, w->fd, w->name, sizeof(struct tp_format_header), options->reserve_bytes);
	*writer_out = TP_TAKE(w);
	return NULL;
}

struct tp_image_writer *tp_image_writer_free(struct tp_image_writer *w)
{
	if (!w)
		return NULL;
	atomic_store(&w->group.cancelled, true);
	tp_group_wake(&w->group);
	tp_group_join(&w->group, true);
	pump(w);
	assert(!w->first);
	tp_group_deinit(&w->group);
	if (w->lent)
		tp_staging_give(staging_of(w), w->lent);
	tp_out_deinit(&w->out);
	if (w->temp_name)
		tp_error_log(tp_io_unlink(w->options.dirfd, w->temp_name));
	tp_temp_close(w->fd);
	tp_staging_free(w->own_staging);
	tp_index_builder_deinit(&w->index);
	tp_buf_deinit(&w->table);
	torpor_error_free(w->error);
	pthread_mutex_destroy(&w->lock);
	free(w->temp_name);
	free(w->name);
	free(w);
	return NULL;
}

const char *tp_image_writer_name(const struct tp_image_writer *w)
{
	return w->name;
}

struct torpor_error *tp_writer_check(struct tp_image_writer *w)
{
	TP_TRY(take_failure(w));
	if (w->over)
		return tp_error(TORPOR_E_INVALID, "write image", w->name, "it is over");
	return NULL;
}

/*
 * What to poll for the disk to catch up; -1 while nothing waits for it, since transfers that are
 * complete and not yet looked at would end the polling at once.
 */
static int stalled_fd(struct tp_image_writer *w)
{
	pthread_mutex_lock(&w->lock);
	bool stalled = w->stalled;
	pthread_mutex_unlock(&w->lock);
	return stalled ? atomic_load(&w->out.queue_fd) : -1;
}

/*
 * Waits until the writer's own work, or another writer's, may have freed staging memory. SEEN is
 * how many jobs had finished when there was none.
 */
static struct torpor_error *wait_for_staging(
	struct tp_image_writer *w, int staging_fd, uint64_t seen, const struct tp_call *call)
{
	struct pollfd fds[] = {
		{.fd = staging_fd, .events = POLLIN},
		{.fd = stalled_fd(w), .events = POLLIN},
	};

	return tp_group_wait_some(&w->group, seen, fds, TP_ARRAY_LEN(fds), call,
		"wait for staging memory for", w->name);
}

/* Gets a block the slow way: by packing, pumping and waiting. */
static struct torpor_error *get_waiting(
	struct tp_image_writer *w, const struct tp_call *call, struct tp_page_block **block_out)
{
	struct tp_page_block *block = NULL;

	while (!block) {
		uint64_t seen = tp_group_finished(&w->group);
		pump(w);
		TP_TRY(take_failure(w));
		TP_TRY(tp_call_check(call, "wait for staging memory for", w->name));
		block = tp_staging_try_get(staging_of(w));
		if (block || tp_group_help(&w->group))
			continue;

		struct torpor_error *err = NULL;
		int staging_fd = tp_staging_wait_begin(staging_of(w));
		block = tp_staging_try_get(staging_of(w));
		if (!block)
			err = wait_for_staging(w, staging_fd, seen, call);
		tp_staging_wait_end(staging_of(w));
		TP_TRY(err);
	}
	*block_out = block;
	return NULL;
}

struct torpor_error *tp_image_writer_get(
	struct tp_image_writer *w, const struct tp_call *call, struct tp_page_block **block_out)
{
	TP_TRY(tp_writer_check(w));
	if (w->lent)
		return tp_error(
			TORPOR_E_INVALID, "write image", w->name, "a block is lent already");
	w->lent = tp_staging_try_get(staging_of(w));
	if (!w->lent)
		TP_TRY(get_waiting(w, call, &w->lent));
	*block_out = w->lent;
	return NULL;
}

static struct torpor_error *check_pages(
	const struct tp_image_writer *w, const struct tp_page_block *block)
{
	uint64_t next = w->next_page;

	if (block->count > TP_FORMAT_BLOCK_PAGES)
		return tp_error(TORPOR_E_INVALID, "write image", w->name, "%u pages in a block",
			block->count);
	for (unsigned int i = 0; i < block->count; i++) {
		uint64_t page = block->pages[i];
		if (page < next || page >= TP_FORMAT_MAX_PAGES)
			return tp_error(TORPOR_E_INVALID, "write image", w->name,
				"page %llu is out of order or too high", (unsigned long long)page);
		next = page + 1;
	}
	return NULL;
}

static void submit_block(struct tp_image_writer *w, struct tp_page_block *block)
{
	struct pack_job *job = tp_calloc(1, sizeof(*job));

	job->job.run = run_pack_job;
	job->writer = w;
	job->block = block;
	pthread_mutex_lock(&w->lock);
	*w->end = job;
	w->end = &job->next;
	pthread_mutex_unlock(&w->lock);
	if (w->blocks_put++ < QUIET_BLOCKS)
		tp_group_submit_quietly(&w->group, &job->job);
	else
		tp_group_submit(&w->group, &job->job);
}

struct torpor_error *tp_image_writer_put(struct tp_image_writer *w, struct tp_page_block *block)
{
	assert(block == w->lent);
	struct torpor_error *err = tp_writer_check(w);
	if (!err)
		err = check_pages(w, block);
	if (err || block->count == 0) {
		w->over = w->over || err;
		tp_staging_give(staging_of(w), TP_TAKE(w->lent));
		return err;
	}
	w->next_page = block->pages[block->count - 1] + 1;
	w->pages_put += block->count;
	submit_block(w, TP_TAKE(w->lent));
	return NULL;
}

static bool all_pumped(struct tp_image_writer *w)
{
	pthread_mutex_lock(&w->lock);
	bool all = !w->first && !w->pumping;
	pthread_mutex_unlock(&w->lock);
	return all;
}

/* Until all blocks are in the file's buffers and no worker is at them any more. */
struct torpor_error *tp_writer_finish_blocks(struct tp_image_writer *w, const struct tp_call *call)
{
	tp_group_wake(&w->group);
	for (;;) {
		uint64_t seen = tp_group_finished(&w->group);
		pump(w);
		TP_TRY(take_failure(w));
		TP_TRY(tp_call_check(call, "write image", w->name));
		if (all_pumped(w))
			break;
		if (tp_group_help(&w->group))
			continue;
		struct pollfd queue = {.fd = stalled_fd(w), .events = POLLIN};
		TP_TRY(tp_group_wait_some(
			&w->group, seen, &queue, 1, call, "write image", w->name));
	}
	/* The last job may still be on its way out. */
	return tp_group_wait(&w->group, call, "write image", w->name);
}
