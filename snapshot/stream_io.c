/* SPDX-License-Identifier: Apache-2.0 */
/* Where a stream comes from and goes to: memory and descriptors. */
#include "snapshot/stream.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

static struct torpor_error *read_memory(void *data, void *buf, size_t len, size_t *got_out)
{
	struct tp_stream_memory *memory = data;
	size_t got = TP_MIN(len, memory->left);

	if (got > 0)
		memcpy(buf, memory->at, got);
	memory->at += got;
	memory->left -= got;
	*got_out = got;
	return NULL;
}

struct tp_stream_source tp_stream_from_memory(struct tp_stream_memory *memory)
{
	return (struct tp_stream_source){.read = read_memory, .data = memory};
}

static struct torpor_error *read_fd(void *data, void *buf, size_t len, size_t *got_out)
{
	const struct tp_stream_fd *from = data;

	for (;;) {
		TP_TRY(tp_wait_fd(from->fd, POLLIN, from->call, "read stream", from->object));
		ssize_t n = read(from->fd, buf, len);
		if (n >= 0) {
			*got_out = (size_t)n;
			return NULL;
		}
		if (errno != EINTR && errno != EAGAIN)
			return tp_error_errno(errno, "read stream", from->object);
	}
}

struct tp_stream_source tp_stream_from_fd(struct tp_stream_fd *fd)
{
	return (struct tp_stream_source){.read = read_fd, .data = fd};
}

static struct torpor_error *write_buf(void *data, const void *buf, size_t len)
{
	tp_buf_put(data, buf, len);
	return NULL;
}

struct tp_stream_sink tp_stream_to_buf(struct tp_buf *buf)
{
	return (struct tp_stream_sink){.write = write_buf, .data = buf};
}

static struct torpor_error *write_fd(void *data, const void *buf, size_t len)
{
	const struct tp_stream_fd *to = data;

	return tp_write_stream(to->fd, buf, len, to->call, to->object);
}

struct tp_stream_sink tp_stream_to_fd(struct tp_stream_fd *fd)
{
	return (struct tp_stream_sink){.write = write_fd, .data = fd};
}
