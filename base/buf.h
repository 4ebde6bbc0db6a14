/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes being written, and bytes being read that nobody vouches for.
 *
 * struct tp_buf grows as it is appended to. struct tp_reader walks over bytes that it doesn't
 * own; reading past the end sets `failed`, gives zeros from then on, and never touches memory
 * outside, so that a parser can check once behind a group of fields.
 */
#ifndef TP_BASE_BUF_H
#define TP_BASE_BUF_H

#include <stdbool.h>

#include "base/macros.h"

struct tp_buf {
	uint8_t *data; /* owned */
	size_t len;
	size_t room;
};

void tp_buf_deinit(struct tp_buf *buf);
static inline void tp_buf_deinit_cleanup_(struct tp_buf *buf)
{
	tp_buf_deinit(buf);
}
#define TP_BUF __attribute__((cleanup(tp_buf_deinit_cleanup_)))

/* Appends LEN bytes without a value; returns where they are, valid until the next append. */
void *tp_buf_extend(struct tp_buf *buf, size_t len);
void tp_buf_put(struct tp_buf *buf, const void *data, size_t len);
void tp_buf_put_u8(struct tp_buf *buf, uint8_t v);
void tp_buf_put_le32(struct tp_buf *buf, uint32_t v);
void tp_buf_put_le64(struct tp_buf *buf, uint64_t v);
void tp_buf_put_be32(struct tp_buf *buf, uint32_t v);
void tp_buf_put_be64(struct tp_buf *buf, uint64_t v);
/* Unsigned LEB128: seven bits a byte, lowest first. */
void tp_buf_put_varint(struct tp_buf *buf, uint64_t v);

struct tp_reader {
	const uint8_t *at; /* next byte */
	const uint8_t *end;
	bool failed;
};

struct tp_reader tp_reader_over(const void *data, size_t len);
size_t tp_reader_left(const struct tp_reader *r);
/* LEN bytes in place, or NULL (and failed) if fewer are left. */
const void *tp_read_bytes(struct tp_reader *r, size_t len);
uint8_t tp_read_u8(struct tp_reader *r);
uint64_t tp_read_le64(struct tp_reader *r);
uint32_t tp_read_be32(struct tp_reader *r);
/* Fails on values over 64 bits and on encodings longer than needed. */
uint64_t tp_read_varint(struct tp_reader *r);

#endif
