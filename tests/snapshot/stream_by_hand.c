/* SPDX-License-Identifier: Apache-2.0 */
/* Migration streams put together by hand. */
#include "stream_by_hand.h"

#include <endian.h>
#include <string.h>

#include "snapshot/stream.h"

void u8(struct tp_buf *b, uint8_t v)
{
	tp_buf_put_u8(b, v);
}

void be16(struct tp_buf *b, uint16_t v)
{
	v = htobe16(v);
	tp_buf_put(b, &v, sizeof(v));
}

void be32(struct tp_buf *b, uint32_t v)
{
	tp_buf_put_be32(b, v);
}

void be64(struct tp_buf *b, uint64_t v)
{
	tp_buf_put_be64(b, v);
}

void name(struct tp_buf *b, const char *text)
{
	u8(b, (uint8_t)strlen(text));
	tp_buf_put(b, text, strlen(text));
}

void magic(struct tp_buf *b)
{
	tp_buf_put(b, "QEVM\0\0\0\3", 8);
}

void head(struct tp_buf *b)
{
	magic(b);
	u8(b, 7);
	be32(b, 3);
	tp_buf_put(b, "box", 3);
}

void capability(struct tp_buf *b, const char *text)
{
	u8(b, 5);
	name(b, "configuration/capabilities");
	be32(b, 1);
	be32(b, 1);
	name(b, text);
}

void footer(struct tp_buf *b, uint32_t id)
{
	u8(b, 0x7e);
	be32(b, id);
}

void section(struct tp_buf *b, uint8_t type, uint32_t id, const char *text, uint32_t version)
{
	u8(b, type);
	be32(b, id);
	name(b, text);
	be32(b, 0);
	be32(b, version);
}

void ram_start(struct tp_buf *b, uint64_t total)
{
	section(b, 1, RAM_ID, "ram", 4);
	be64(b, total);
}

void block(struct tp_buf *b, const char *text, uint64_t len)
{
	name(b, text);
	be64(b, len);
}

void end_data(struct tp_buf *b)
{
	be64(b, 0x10);
	footer(b, RAM_ID);
}

void ram(struct tp_buf *b)
{
	ram_start(b, 0x5004);
	block(b, "main", 0x4000);
	block(b, "rom", 0x1000);
	end_data(b);
}

static void part(struct tp_buf *b)
{
	u8(b, 2);
	be32(b, RAM_ID);
}

void ram_end(struct tp_buf *b)
{
	u8(b, 3);
	be32(b, RAM_ID);
}

void page_header(struct tp_buf *b, uint64_t offset_and_flags, const char *text)
{
	be64(b, offset_and_flags);
	if (text)
		name(b, text);
}

void page_bytes(struct tp_buf *b, uint8_t fill)
{
	memset(tp_buf_extend(b, TP_PAGE_SIZE), fill, TP_PAGE_SIZE);
}

static void device(struct tp_buf *b, uint32_t id, const char *text)
{
	section(b, 4, id, text, 1);
	tp_buf_put(b, "state of it", 11);
	footer(b, id);
}

void devices(struct tp_buf *b)
{
	device(b, 0, "timer");
	device(b, 7, "cpu");
}

void whole(struct tp_buf *b)
{
	head(b);
	ram(b);
	part(b);
	page_header(b, 0x0000 | 0x08, "main");
	page_bytes(b, 0xa0);
	page_header(b, 0x3000 | 0x08 | 0x20, NULL);
	page_bytes(b, 0xa3);
	page_header(b, 0x1000 | 0x02 | 0x20, NULL);
	u8(b, 0);
	end_data(b);
	ram_end(b);
	page_header(b, 0x0000 | 0x08, "rom");
	page_bytes(b, 0xb0);
	page_header(b, 0x3000 | 0x02, "main");
	u8(b, 0);
	end_data(b);
	devices(b);
	u8(b, 0);
}
