/* SPDX-License-Identifier: Apache-2.0 */
/* Double-buffered appending. */
#include "storage/out_file.h"

#include <string.h>

#include "base/mem.h"

/* Room is reserved in steps of this size once the first reservation is used up. */
#define RESERVE_STEP (16 * TP_MIB)

void tp_out_init(
	struct tp_out_file *out, int fd, const char *object, uint64_t offset, uint64_t reserved)
{
	*out = (struct tp_out_file){
		.fd = fd, .object = object, .offset = offset, .reserved = reserved};
	atomic_init(&out->queue_fd, -1);
}

void tp_out_deinit(struct tp_out_file *out)
{
	out->queue = tp_io_queue_free(out->queue);
	for (size_t i = 0; i < TP_OUT_BUFFERS; i++)
		free(out->buffers[i].data);
}

/* Keeps the reservation ahead of END. Where the disk is full the write itself will say so. */
static struct torpor_error *reserve(struct tp_out_file *out, uint64_t end)
{
	if (out->reserved == 0 || end <= out->reserved)
		return NULL;

	uint64_t len = TP_ROUND_UP(end - out->reserved, RESERVE_STEP);
	struct torpor_error *err = tp_io_allocate(out->fd, out->reserved, len, out->object);
	if (err && torpor_error_code(err) != TORPOR_E_NOSPACE)
		return err;
	if (!err)
		out->reserved += len;
	torpor_error_free(err);
	return NULL;
}

static void start_queue(struct tp_out_file *out)
{
	if (out->queue)
		return;
	out->queue = tp_io_queue_new(out->fd, TP_OUT_BUFFERS);
	atomic_store(&out->queue_fd, tp_io_queue_fd(out->queue));
}

/* Starts writing the current buffer. */
static struct torpor_error *submit(struct tp_out_file *out)
{
	struct tp_out_buffer *buffer = &out->buffers[out->current];

	TP_TRY(reserve(out, out->offset));
	buffer->request = (struct tp_io_request){
		.write = true,
		.buf = buffer->data,
		.len = buffer->used,
		.offset = out->offset - buffer->used,
	};
	start_queue(out);
	buffer->under_way = true;
	tp_io_submit(out->queue, &buffer->request);
	out->current = (out->current + 1) % TP_OUT_BUFFERS;
	return NULL;
}

static struct torpor_error *reap(struct tp_out_file *out)
{
	struct tp_io_request *request;

	while (out->queue && (request = tp_io_reap(out->queue))) {
		struct tp_out_buffer *buffer =
			(struct tp_out_buffer *)((char *)request -
						 offsetof(struct tp_out_buffer, request));
		buffer->under_way = false;
		buffer->used = 0;
		TP_TRY(tp_io_request_error(request, out->object));
	}
	return NULL;
}

static struct torpor_error *prepare(struct tp_out_buffer *buffer, const char *object)
{
	if (!buffer->data)
		buffer->data = malloc(TP_OUT_BUFFER_BYTES);
	if (!buffer->data)
		return tp_error(TORPOR_E_NOMEM, "write", object, "no memory for a buffer");
	return NULL;
}

struct torpor_error *tp_out_append(
	struct tp_out_file *out, const void *data, size_t len, bool *taken_out)
{
	struct tp_out_buffer *buffer = &out->buffers[out->current];

	assert(len <= TP_FORMAT_BLOCK_BYTES);
	TP_TRY(reap(out));
	if (!buffer->under_way && buffer->used + len > TP_OUT_BUFFER_BYTES) {
		TP_TRY(submit(out));
		TP_TRY(reap(out));
		buffer = &out->buffers[out->current];
	}
	if (buffer->under_way) {
		*taken_out = false;
		return NULL;
	}
	TP_TRY(prepare(buffer, out->object));
	memcpy(buffer->data + buffer->used, data, len);
	buffer->used += len;
	out->offset += len;
	*taken_out = true;
	return NULL;
}

/* Waits for a transfer to make progress. */
static struct torpor_error *wait_for_queue(struct tp_out_file *out, const struct tp_call *call)
{
	return tp_wait_fd(tp_io_queue_fd(out->queue), POLLIN, call, "write", out->object);
}

struct torpor_error *tp_out_append_all(
	struct tp_out_file *out, const void *data, size_t len, const struct tp_call *call)
{
	const uint8_t *at = data;

	while (len > 0) {
		size_t n = TP_MIN(len, (size_t)TP_FORMAT_BLOCK_BYTES);
		bool taken;
		TP_TRY(tp_call_check(call, "write", out->object));
		TP_TRY(tp_out_append(out, at, n, &taken));
		if (taken) {
			at += n;
			len -= n;
		} else {
			TP_TRY(wait_for_queue(out, call));
		}
	}
	return NULL;
}

static bool any_under_way(const struct tp_out_file *out)
{
	bool any = false;

	for (size_t i = 0; i < TP_OUT_BUFFERS; i++)
		any = any || out->buffers[i].under_way;
	return any;
}

/* The one buffer of a small image is written at once: a ring would cost more than the write. */
static struct torpor_error *write_only_buffer(struct tp_out_file *out)
{
	struct tp_out_buffer *buffer = &out->buffers[out->current];
	uint64_t offset = out->offset - buffer->used;

	TP_TRY(reserve(out, out->offset));
	TP_TRY(tp_io_pwrite(out->fd, buffer->data, buffer->used, offset, out->object));
	buffer->used = 0;
	return NULL;
}

struct torpor_error *tp_out_flush(struct tp_out_file *out, const struct tp_call *call)
{
	struct tp_out_buffer *buffer = &out->buffers[out->current];

	if (!out->queue && buffer->used > 0)
		return write_only_buffer(out);
	if (!buffer->under_way && buffer->used > 0)
		TP_TRY(submit(out));
	TP_TRY(reap(out));
	while (any_under_way(out)) {
		TP_TRY(wait_for_queue(out, call));
		TP_TRY(reap(out));
	}
	return NULL;
}
