/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing QEMU's migration stream.
 *
 * The ram section is a START with the block list and an END with all pages; nothing comes
 * between, so no PART is needed.
 */
#include "snapshot/stream.h"

#include <endian.h>
#include <string.h>

#include "base/mem.h"
#include "snapshot/stream_format.h"

/* Bytes that are gathered before they go to the sink. */
#define GATHER_LEN (256 * TP_KIB)

#define NO_BLOCK SIZE_MAX

/*
 * The ram section's id. The loader looks an END up by its id among all sections seen so far and
 * among those not seen yet, whose id counts as 0 (savevm.c, qemu_loadvm_section_part_end); so it
 * must not be 0, nor that of any section. QEMU numbers its sections from 0 upwards in the order of
 * their registration, and never gets here.
 */
#define RAM_SECTION_ID UINT32_C(0x7fffffff)

/*
 *   NEW -> HEADED -> RAM -> RAM_ENDED -> DEVICES -> ENDED
 *    |        |      ^ |         |                   ^ ^
 *    |        |      | |         +-------------------+ |
 *    |        +------|-|--> DEVICES                    |
 *    |        +------|-|-------------------------------+
 *    +---------------+ +--> RAM_BROKEN (another writer goes on)
 */
enum writer_state {
	WRITER_NEW,
	WRITER_HEADED,
	WRITER_RAM,
	WRITER_RAM_BROKEN,
	WRITER_RAM_ENDED,
	WRITER_DEVICES,
	WRITER_ENDED,
	WRITER_STATES
};

static const bool may_follow[WRITER_STATES][WRITER_STATES] = {
	[WRITER_NEW] = {[WRITER_HEADED] = true, [WRITER_RAM] = true},
	[WRITER_HEADED] = {[WRITER_RAM] = true, [WRITER_DEVICES] = true, [WRITER_ENDED] = true},
	[WRITER_RAM] = {[WRITER_RAM_BROKEN] = true, [WRITER_RAM_ENDED] = true},
	[WRITER_RAM_ENDED] = {[WRITER_DEVICES] = true, [WRITER_ENDED] = true},
	[WRITER_DEVICES] = {[WRITER_ENDED] = true},
};

struct tp_stream_writer {
	struct tp_stream_sink sink;
	enum writer_state state;
	const struct tp_stream_block *blocks; /* the caller's, while in RAM */
	size_t n_blocks;
	size_t last_block; /* of the page before in this section, or NO_BLOCK */
	bool in_part;	   /* while in RAM: the section is a PART, so an END is still due */
	size_t gathered;
	uint8_t gather[GATHER_LEN];
};

struct tp_stream_writer *tp_stream_writer_new(struct tp_stream_sink sink)
{
	struct tp_stream_writer *w = tp_malloc(sizeof(*w));

	w->sink = sink;
	w->state = WRITER_NEW;
	w->blocks = NULL;
	w->n_blocks = 0;
	w->last_block = NO_BLOCK;
	w->in_part = false;
	w->gathered = 0;
	return w;
}

struct tp_stream_writer *tp_stream_writer_free(struct tp_stream_writer *w)
{
	free(w);
	return NULL;
}

static void enter(struct tp_stream_writer *w, enum writer_state state)
{
	assert(may_follow[w->state][state]);
	w->state = state;
}

/* ---- Bytes ---- */

static struct torpor_error *flush(struct tp_stream_writer *w)
{
	size_t len = w->gathered;

	w->gathered = 0;
	return len > 0 ? w->sink.write(w->sink.data, w->gather, len) : NULL;
}

static struct torpor_error *put(struct tp_stream_writer *w, const void *data, size_t len)
{
	if (len > sizeof(w->gather) - w->gathered)
		TP_TRY(flush(w));
	if (len > sizeof(w->gather))
		return w->sink.write(w->sink.data, data, len);
	if (len > 0)
		memcpy(w->gather + w->gathered, data, len);
	w->gathered += len;
	return NULL;
}

static struct torpor_error *put_u8(struct tp_stream_writer *w, uint8_t v)
{
	return put(w, &v, sizeof(v));
}

static struct torpor_error *put_be32(struct tp_stream_writer *w, uint32_t v)
{
	v = htobe32(v);
	return put(w, &v, sizeof(v));
}

static struct torpor_error *put_be64(struct tp_stream_writer *w, uint64_t v)
{
	v = htobe64(v);
	return put(w, &v, sizeof(v));
}

static struct torpor_error *put_name(struct tp_stream_writer *w, const char *name)
{
	size_t len = strlen(name);

	assert(len <= TP_STREAM_NAME_MAX);
	TP_TRY(put_u8(w, (uint8_t)len));
	return put(w, name, len);
}

static struct torpor_error *put_footer(struct tp_stream_writer *w, uint32_t id)
{
	TP_TRY(put_u8(w, TP_QEMU_FOOTER));
	return put_be32(w, id);
}

/* ---- Parts of the stream ---- */

struct torpor_error *tp_stream_put_header(struct tp_stream_writer *w, const char *machine)
{
	size_t len = strlen(machine);

	enter(w, WRITER_HEADED);
	if (len == 0 || len > TP_STREAM_NAME_MAX)
		return tp_error(TORPOR_E_INVALID, "write stream", machine,
			"a machine name has 1 to %d bytes, this one %zu", TP_STREAM_NAME_MAX, len);
	TP_TRY(put_be32(w, TP_QEMU_MAGIC));
	TP_TRY(put_be32(w, TP_QEMU_VERSION));
	TP_TRY(put_u8(w, TP_QEMU_CONFIGURATION));
	TP_TRY(put_be32(w, (uint32_t)len));
	return put(w, machine, len);
}

/* What the loader can't take, and what tp_stream_open() wouldn't. */
static struct torpor_error *check_blocks(
	const struct tp_stream_block *blocks, size_t n, uint64_t *total_out)
{
	uint64_t total = 0;

	if (n > TP_STREAM_BLOCKS_MAX)
		return tp_error(TORPOR_E_LIMIT, "write stream", NULL,
			"%zu RAM blocks, at most %d are possible", n, TP_STREAM_BLOCKS_MAX);
	for (size_t i = 0; i < n; i++) {
		uint64_t len = blocks[i].used_len;
		if (blocks[i].name[0] == '\0')
			return tp_error(TORPOR_E_INVALID, "write stream", NULL,
				"a RAM block without a name");
		if (len == 0 || len % TP_PAGE_SIZE != 0 || len > TP_STREAM_RAM_MAX - total)
			return tp_error(TORPOR_E_INVALID, "write stream", blocks[i].name,
				"a RAM block can't have %ju bytes", (uintmax_t)len);
		total += len;
	}
	*total_out = total;
	return NULL;
}

static struct torpor_error *open_ram_section(struct tp_stream_writer *w, uint8_t type)
{
	w->last_block = NO_BLOCK;
	w->in_part = type == TP_QEMU_SECTION_PART;
	TP_TRY(put_u8(w, type));
	return put_be32(w, RAM_SECTION_ID);
}

static struct torpor_error *close_ram_section(struct tp_stream_writer *w)
{
	TP_TRY(put_be64(w, TP_RAM_EOS));
	return put_footer(w, RAM_SECTION_ID);
}

struct torpor_error *tp_stream_put_ram_start(
	struct tp_stream_writer *w, const struct tp_stream_block *blocks, size_t n)
{
	uint64_t total = 0;

	enter(w, WRITER_RAM);
	TP_TRY(check_blocks(blocks, n, &total));
	w->blocks = blocks;
	w->n_blocks = n;

	TP_TRY(put_u8(w, TP_QEMU_SECTION_START));
	TP_TRY(put_be32(w, RAM_SECTION_ID));
	TP_TRY(put_name(w, TP_RAM_SECTION_NAME));
	TP_TRY(put_be32(w, TP_RAM_SECTION_INSTANCE));
	TP_TRY(put_be32(w, TP_RAM_SECTION_VERSION));
	TP_TRY(put_be64(w, total | TP_RAM_MEM_SIZE));
	for (size_t i = 0; i < n; i++) {
		TP_TRY(put_name(w, blocks[i].name));
		TP_TRY(put_be64(w, blocks[i].used_len));
	}
	TP_TRY(close_ram_section(w));
	return open_ram_section(w, TP_QEMU_SECTION_PART);
}

struct torpor_error *tp_stream_put_ram_rest(
	struct tp_stream_writer *w, const struct tp_stream_block *blocks, size_t n)
{
	enter(w, WRITER_RAM);
	w->blocks = blocks;
	w->n_blocks = n;
	return open_ram_section(w, TP_QEMU_SECTION_END);
}

struct torpor_error *tp_stream_put_ram_break(struct tp_stream_writer *w)
{
	enter(w, WRITER_RAM_BROKEN);
	assert(w->in_part);
	w->blocks = NULL;
	TP_TRY(close_ram_section(w));
	return flush(w);
}

struct torpor_error *tp_stream_put_page(
	struct tp_stream_writer *w, size_t block, uint64_t offset, const void *page)
{
	uint64_t flags = page ? TP_RAM_PAGE : TP_RAM_ZERO;

	assert(w->state == WRITER_RAM);
	if (block >= w->n_blocks || offset % TP_PAGE_SIZE != 0 ||
		offset >= w->blocks[block].used_len)
		return tp_error(TORPOR_E_INVALID, "write stream",
			block < w->n_blocks ? w->blocks[block].name : NULL,
			"no page of RAM block %zu is at offset %ju", block, (uintmax_t)offset);
	if (block == w->last_block) {
		TP_TRY(put_be64(w, offset | flags | TP_RAM_CONTINUE));
	} else {
		TP_TRY(put_be64(w, offset | flags));
		TP_TRY(put_name(w, w->blocks[block].name));
		w->last_block = block;
	}
	return page ? put(w, page, TP_PAGE_SIZE) : put_u8(w, 0);
}

struct torpor_error *tp_stream_put_ram_end(struct tp_stream_writer *w)
{
	enter(w, WRITER_RAM_ENDED);
	w->blocks = NULL;
	if (w->in_part) {
		TP_TRY(close_ram_section(w));
		TP_TRY(open_ram_section(w, TP_QEMU_SECTION_END));
	}
	return close_ram_section(w);
}

struct torpor_error *tp_stream_put_devices(
	struct tp_stream_writer *w, const void *devices, size_t len)
{
	enter(w, WRITER_DEVICES);
	return put(w, devices, len);
}

struct torpor_error *tp_stream_put_end(struct tp_stream_writer *w)
{
	enter(w, WRITER_ENDED);
	TP_TRY(put_u8(w, TP_QEMU_EOF));
	return flush(w);
}
