/* SPDX-License-Identifier: Apache-2.0 */
/* Growing buffers and bounded readers. */
#include "base/buf.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void tp_buf_deinit(struct tp_buf *buf)
{
	free(buf->data);
	*buf = (struct tp_buf){0};
}

void *tp_buf_extend(struct tp_buf *buf, size_t len)
{
	assert(len <= SIZE_MAX / 2 - buf->len);
	if (buf->len + len > buf->room || !buf->data) {
		buf->room = TP_MAX(TP_MAX(buf->room * 2, buf->len + len), (size_t)64);
		buf->data = tp_reallocarray(buf->data, buf->room, 1);
	}
	buf->len += len;
	return buf->data + buf->len - len;
}

void tp_buf_put(struct tp_buf *buf, const void *data, size_t len)
{
	void *to = tp_buf_extend(buf, len);

	if (len > 0)
		memcpy(to, data, len);
}

void tp_buf_put_u8(struct tp_buf *buf, uint8_t v)
{
	tp_buf_put(buf, &v, sizeof(v));
}

void tp_buf_put_le32(struct tp_buf *buf, uint32_t v)
{
	v = htole32(v);
	tp_buf_put(buf, &v, sizeof(v));
}

void tp_buf_put_le64(struct tp_buf *buf, uint64_t v)
{
	v = htole64(v);
	tp_buf_put(buf, &v, sizeof(v));
}

void tp_buf_put_be32(struct tp_buf *buf, uint32_t v)
{
	v = htobe32(v);
	tp_buf_put(buf, &v, sizeof(v));
}

void tp_buf_put_be64(struct tp_buf *buf, uint64_t v)
{
	v = htobe64(v);
	tp_buf_put(buf, &v, sizeof(v));
}

void tp_buf_put_varint(struct tp_buf *buf, uint64_t v)
{
	while (v >= 0x80) {
		tp_buf_put_u8(buf, (uint8_t)(v | 0x80));
		v >>= 7;
	}
	tp_buf_put_u8(buf, (uint8_t)v);
}

struct tp_reader tp_reader_over(const void *data, size_t len)
{
	const uint8_t *at = data;

	/* Nothing may be at NULL, and adding even 0 to that is undefined. */
	return (struct tp_reader){.at = at, .end = len > 0 ? at + len : at};
}

size_t tp_reader_left(const struct tp_reader *r)
{
	return (size_t)(r->end - r->at);
}

const void *tp_read_bytes(struct tp_reader *r, size_t len)
{
	const uint8_t *at = r->at;

	if (r->failed || len > tp_reader_left(r)) {
		r->failed = true;
		r->at = r->end;
		return NULL;
	}
	r->at += len;
	return at;
}

/* Reads a fixed-width value; zeros past the end. */
static void read_value(struct tp_reader *r, void *value, size_t len)
{
	const void *at = tp_read_bytes(r, len);

	if (at)
		memcpy(value, at, len);
}

uint8_t tp_read_u8(struct tp_reader *r)
{
	uint8_t v = 0;

	read_value(r, &v, sizeof(v));
	return v;
}

uint64_t tp_read_le64(struct tp_reader *r)
{
	uint64_t v = 0;

	read_value(r, &v, sizeof(v));
	return le64toh(v);
}

uint32_t tp_read_be32(struct tp_reader *r)
{
	uint32_t v = 0;

	read_value(r, &v, sizeof(v));
	return be32toh(v);
}

uint64_t tp_read_varint(struct tp_reader *r)
{
	uint64_t v = 0;

	for (unsigned int shift = 0; shift < 64; shift += 7) {
		uint8_t byte = tp_read_u8(r);
		if (r->failed)
			return 0;
		bool overflows = shift == 63 && byte > 1;
		bool padded = shift > 0 && byte == 0;
		if (overflows || padded)
			break;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return v;
	}
	r->failed = true;
	return 0;
}
