/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 over a template's content, chunk by chunk on several processors. */
#include "storage/identity.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "storage/sections.h"

#define CHUNK_BYTES	  TP_FORMAT_BLOCK_BYTES
#define CHUNKS_PER_JOB	  16
#define IDENTITY_VERSION  1
#define MIN_CHUNKS_TO_FAN 4

static struct torpor_error *sha256(const void *data, size_t len, uint8_t out[TP_IDENTITY_LEN])
{
	if (EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) != 1)
		return tp_error(TORPOR_E_INTERNAL, "compute identity", NULL, "SHA-256 failed");
	return NULL;
}

/* The digests of all chunks, being computed. */
struct digests {
	int base_fd;
	uint64_t space_bytes;
	uint64_t n_chunks;
	uint8_t *out; /* TP_IDENTITY_LEN for each chunk, zeroed at first */
	const struct tp_call *call;

	pthread_mutex_t lock;
	struct torpor_error *error; /* by lock */
};

struct digest_job {
	struct tp_job job;
	struct digests *digests;
	uint64_t first;
	uint64_t end;
};
static_assert(offsetof(struct digest_job, job) == 0, "run_digest_job casts");

/* The first byte at or behind OFFSET that isn't in a hole; UINT64_MAX if there is none. */
static uint64_t next_data(int fd, uint64_t offset)
{
	off_t at = lseek(fd, (off_t)offset, SEEK_DATA);

	if (at < 0)
		return errno == ENXIO ? UINT64_MAX : offset;
	return (uint64_t)at;
}

static bool is_zero(const uint8_t *data, size_t len)
{
	return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

static struct torpor_error *digest_chunks(
	struct digests *d, uint64_t first, uint64_t end, uint8_t *buffer)
{
	for (uint64_t i = first; i < end; i++) {
		uint64_t offset = i * CHUNK_BYTES;
		uint64_t data = next_data(d->base_fd, offset);
		if (data >= offset + CHUNK_BYTES) {
			if (data == UINT64_MAX)
				break;
			i = data / CHUNK_BYTES - 1;
			continue;
		}
		size_t len = (size_t)TP_MIN(CHUNK_BYTES, d->space_bytes - offset);
		TP_TRY(tp_call_check(d->call, "compute identity", NULL));
		TP_TRY(tp_pread_full(d->base_fd, buffer, len, offset, "the base"));
		if (!is_zero(buffer, len))
			TP_TRY(sha256(buffer, len, d->out + i * TP_IDENTITY_LEN));
	}
	return NULL;
}

static void digest_range(struct digests *d, uint64_t first, uint64_t end)
{
	TP_FREE uint8_t *buffer = tp_malloc(CHUNK_BYTES);
	struct torpor_error *err = digest_chunks(d, first, end, buffer);

	pthread_mutex_lock(&d->lock);
	if (!d->error)
		d->error = TP_TAKE(err);
	pthread_mutex_unlock(&d->lock);
	torpor_error_free(err);
}

static void run_digest_job(struct tp_job *tp_job)
{
	struct digest_job *job = (struct digest_job *)tp_job;

	if (!atomic_load(&job->job.group->cancelled))
		digest_range(job->digests, job->first, job->end);
}

static struct torpor_error *digest_in_parallel(struct digests *d, struct tp_workers *workers)
{
	size_t n_jobs = TP_DIV_UP(d->n_chunks, CHUNKS_PER_JOB);
	TP_FREE struct digest_job *jobs = tp_calloc(n_jobs, sizeof(*jobs));
	struct tp_group group;

	TP_TRY(tp_group_init(&group, workers));
	for (size_t i = 0; i < n_jobs; i++) {
		jobs[i].job.run = run_digest_job;
		jobs[i].digests = d;
		jobs[i].first = i * CHUNKS_PER_JOB;
		jobs[i].end = TP_MIN(jobs[i].first + CHUNKS_PER_JOB, d->n_chunks);
		tp_group_submit(&group, &jobs[i].job);
	}
	struct torpor_error *err = tp_group_wait(&group, d->call, "compute identity", NULL);
	tp_group_join(&group, err);
	tp_group_deinit(&group);
	return err;
}

/* Sees that BASE_FD has all of the page space. */
static struct torpor_error *check_size(int base_fd, uint64_t space_bytes)
{
	uint64_t size;

	TP_TRY(tp_file_size(base_fd, "the base", &size));
	if (size < space_bytes)
		return tp_error(TORPOR_E_MISMATCH, "compute identity", NULL,
			"the base has %llu bytes, the page space %llu", (unsigned long long)size,
			(unsigned long long)space_bytes);
	return NULL;
}

static struct torpor_error *digest_base(struct digests *d, struct tp_workers *workers)
{
	struct torpor_error *err = NULL;

	pthread_mutex_init(&d->lock, NULL);
	if (workers && d->n_chunks >= MIN_CHUNKS_TO_FAN)
		err = digest_in_parallel(d, workers);
	else
		digest_range(d, 0, d->n_chunks);
	pthread_mutex_destroy(&d->lock);
	if (!err)
		return d->error;
	torpor_error_free(d->error);
	return err;
}

/* What docs/FORMAT.md calls the canonical header. */
static struct torpor_error *put_canonical_header(
	const struct tp_image_meta *meta, uint64_t space_pages, struct tp_buf *out)
{
	TP_BUF struct tp_buf ram = {0};
	uint8_t device[TP_IDENTITY_LEN];

	TP_TRY(sha256(meta->device, meta->device_len, device));
	tp_ram_encode(meta->blocks, meta->n_blocks, &ram);
	tp_buf_put(out, "TORPORID", 8);
	tp_buf_put_le32(out, IDENTITY_VERSION);
	tp_buf_put_le32(out, (uint32_t)strlen(meta->config));
	tp_buf_put(out, meta->config, strlen(meta->config));
	tp_buf_put_le64(out, meta->device_len);
	tp_buf_put(out, device, sizeof(device));
	tp_buf_put_le32(out, (uint32_t)ram.len);
	tp_buf_put(out, ram.data, ram.len);
	tp_buf_put_le64(out, space_pages);
	return NULL;
}

struct torpor_error *tp_identity_compute(int base_fd, const struct tp_image_meta *meta,
	struct tp_workers *workers, const struct tp_call *call, uint8_t id_out[TP_IDENTITY_LEN])
{
	struct digests digests = {.base_fd = base_fd, .call = call};
	TP_BUF struct tp_buf canonical = {0};
	uint64_t space_pages;

	TP_TRY(tp_image_space_pages(meta->blocks, meta->n_blocks, &space_pages));
	digests.space_bytes = space_pages * TP_PAGE_SIZE;
	digests.n_chunks = TP_DIV_UP(digests.space_bytes, CHUNK_BYTES);
	TP_TRY(check_size(base_fd, digests.space_bytes));
	TP_TRY(put_canonical_header(meta, space_pages, &canonical));

	size_t len = digests.n_chunks * TP_IDENTITY_LEN;
	digests.out = tp_buf_extend(&canonical, len);
	memset(digests.out, 0, len);
	TP_TRY(digest_base(&digests, workers));
	return sha256(canonical.data, canonical.len, id_out);
}

struct torpor_error *tp_identity_check(int base_fd, const struct tp_image_meta *meta,
	struct tp_workers *workers, const struct tp_call *call)
{
	uint8_t id[TP_IDENTITY_LEN];

	TP_TRY(tp_identity_compute(base_fd, meta, workers, call, id));
	if (memcmp(id, meta->template_id, sizeof(id)) != 0)
		return tp_error(TORPOR_E_MISMATCH, "check identity of template", NULL,
			"what was loaded isn't what the template was made of");
	return NULL;
}
