/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Migration streams put together by hand, from the format and not by the encoder, so that the two
 * sides don't agree on a mistake. Each function appends to B what it is called after.
 */
#ifndef TP_TESTS_SNAPSHOT_STREAM_BY_HAND_H
#define TP_TESTS_SNAPSHOT_STREAM_BY_HAND_H

#include "base/buf.h"

#define RAM_ID 2

void u8(struct tp_buf *b, uint8_t v);
void be16(struct tp_buf *b, uint16_t v);
void be32(struct tp_buf *b, uint32_t v);
void be64(struct tp_buf *b, uint64_t v);
void name(struct tp_buf *b, const char *text);

void magic(struct tp_buf *b);
/* The magic and a machine, "box". */
void head(struct tp_buf *b);
void capability(struct tp_buf *b, const char *text);
void section(struct tp_buf *b, uint8_t type, uint32_t id, const char *text, uint32_t version);
void footer(struct tp_buf *b, uint32_t id);

void ram_start(struct tp_buf *b, uint64_t total);
void block(struct tp_buf *b, const char *text, uint64_t len);
void end_data(struct tp_buf *b);
/* Two blocks: "main" of four pages and "rom" of one. */
void ram(struct tp_buf *b);
void ram_end(struct tp_buf *b);
void page_header(struct tp_buf *b, uint64_t offset_and_flags, const char *text);
void page_bytes(struct tp_buf *b, uint8_t fill);
void devices(struct tp_buf *b);

/* One with a PART and an END, all kinds of pages, and one page that comes twice. */
void whole(struct tp_buf *b);

#endif
