/* SPDX-License-Identifier: Apache-2.0 */
/* Reading QEMU's migration stream. */
#include "snapshot/stream.h"

#include <endian.h>
#include <string.h>

#include "base/mem.h"
#include "snapshot/stream_format.h"

/* What is asked of the source at once; more than any piece that is looked at in one go. */
#define READ_LEN (256 * TP_KIB)

#define CAPABILITIES_MAX 64
#define NO_BLOCK	 SIZE_MAX

/*
 *   FIRST --(ram START)--> BETWEEN <--> PAGES --(ram END)--> DEVICES --> ENDED
 *     |                                                         ^
 *     +--(no ram)-----------------------------------------------+
 *
 * and from each of them to FAILED.
 */
enum state {
	STATE_FIRST,   /* in front of the first section */
	STATE_BETWEEN, /* ram's START was read; in front of a PART or END */
	STATE_PAGES,   /* within ram's PART or END */
	STATE_DEVICES, /* ram is over; in front of the device sections */
	STATE_ENDED,
	STATE_FAILED,
	STATES
};

static const bool may_follow[STATES][STATES] = {
	[STATE_FIRST] = {[STATE_BETWEEN] = true, [STATE_DEVICES] = true, [STATE_FAILED] = true},
	[STATE_BETWEEN] = {[STATE_PAGES] = true, [STATE_FAILED] = true},
	[STATE_PAGES] = {[STATE_BETWEEN] = true, [STATE_DEVICES] = true, [STATE_FAILED] = true},
	[STATE_DEVICES] = {[STATE_ENDED] = true, [STATE_FAILED] = true},
	[STATE_ENDED] = {[STATE_FAILED] = true},
	[STATE_FAILED] = {[STATE_FAILED] = true},
};

struct tp_stream {
	struct tp_stream_source source;
	enum state state;
	const char *section; /* what is being read, for messages */

	bool has_machine;
	bool ignores_shared;
	char machine[TP_STREAM_NAME_MAX + 1];

	struct tp_stream_block *blocks; /* owned */
	size_t n_blocks;
	uint32_t ram_id;
	bool in_ram_end;   /* PAGES: of an END, not of a PART */
	size_t last_block; /* of the page before, or NO_BLOCK */

	struct tp_buf devices;

	/* Bytes that were read and not yet taken: bytes[at] up to bytes[filled]. */
	size_t at;
	size_t filled;
	uint8_t bytes[READ_LEN];
};

struct tp_stream *tp_stream_close(struct tp_stream *s)
{
	if (!s)
		return NULL;
	tp_buf_deinit(&s->devices);
	free(s->blocks);
	free(s);
	return NULL;
}

static void enter(struct tp_stream *s, enum state state)
{
	assert(may_follow[s->state][state]);
	s->state = state;
}

#define DAMAGED(s, ...) tp_error(TORPOR_E_CORRUPT, "read stream", (s)->section, __VA_ARGS__)
#define FOREIGN(s, ...) tp_error(TORPOR_E_UNSUPPORTED, "read stream", (s)->section, __VA_ARGS__)

/* ---- Bytes ---- */

/* Makes LEN bytes lie at s->bytes + s->at. */
static struct torpor_error *need(struct tp_stream *s, size_t len)
{
	assert(len <= sizeof(s->bytes));
	if (s->filled - s->at >= len)
		return NULL;
	memmove(s->bytes, s->bytes + s->at, s->filled - s->at);
	s->filled -= s->at;
	s->at = 0;
	while (s->filled < len) {
		size_t got = 0;
		TP_TRY(s->source.read(
			s->source.data, s->bytes + s->filled, sizeof(s->bytes) - s->filled, &got));
		if (got == 0)
			return DAMAGED(s, "the stream ends %zu bytes too early", len - s->filled);
		s->filled += got;
	}
	return NULL;
}

/* LEN bytes in place, valid until the next need(). */
static struct torpor_error *take(struct tp_stream *s, size_t len, const uint8_t **at_out)
{
	TP_TRY(need(s, len));
	*at_out = s->bytes + s->at;
	s->at += len;
	return NULL;
}

static struct torpor_error *take_into(struct tp_stream *s, void *value, size_t len)
{
	const uint8_t *at = NULL;

	TP_TRY(take(s, len, &at));
	memcpy(value, at, len);
	return NULL;
}

static struct torpor_error *take_u8(struct tp_stream *s, uint8_t *v_out)
{
	return take_into(s, v_out, sizeof(*v_out));
}

static struct torpor_error *take_be16(struct tp_stream *s, uint16_t *v_out)
{
	TP_TRY(take_into(s, v_out, sizeof(*v_out)));
	*v_out = be16toh(*v_out);
	return NULL;
}

static struct torpor_error *take_be32(struct tp_stream *s, uint32_t *v_out)
{
	TP_TRY(take_into(s, v_out, sizeof(*v_out)));
	*v_out = be32toh(*v_out);
	return NULL;
}

static struct torpor_error *take_be64(struct tp_stream *s, uint64_t *v_out)
{
	TP_TRY(take_into(s, v_out, sizeof(*v_out)));
	*v_out = be64toh(*v_out);
	return NULL;
}

/* LEN bytes of printable text, NUL-terminated into NAME. */
static struct torpor_error *take_text(
	struct tp_stream *s, size_t len, char name[TP_STREAM_NAME_MAX + 1])
{
	if (len == 0 || len > TP_STREAM_NAME_MAX)
		return DAMAGED(s, "a name of %zu bytes", len);
	TP_TRY(take_into(s, name, len));
	name[len] = '\0';
	for (size_t i = 0; i < len; i++)
		if (name[i] < 0x20 || name[i] > 0x7e)
			return DAMAGED(s, "a name with byte 0x%02x", (uint8_t)name[i]);
	return NULL;
}

/* The same, behind its length in one byte. */
static struct torpor_error *take_name(struct tp_stream *s, char name[TP_STREAM_NAME_MAX + 1])
{
	uint8_t len = 0;

	TP_TRY(take_u8(s, &len));
	return take_text(s, len, name);
}

static struct torpor_error *peek(struct tp_stream *s, uint8_t *v_out)
{
	TP_TRY(need(s, 1));
	*v_out = s->bytes[s->at];
	return NULL;
}

/* ---- Magic, version, configuration ---- */

/* A capability changes the format, so only those that are known can be read on. */
static struct torpor_error *read_capabilities(struct tp_stream *s)
{
	uint32_t n = 0;

	TP_TRY(take_be32(s, &n));
	if (n > CAPABILITIES_MAX)
		return DAMAGED(s, "%u capabilities", n);
	for (uint32_t i = 0; i < n; i++) {
		char name[TP_STREAM_NAME_MAX + 1];
		TP_TRY(take_name(s, name));
		if (strcmp(name, "x-ignore-shared") != 0)
			return FOREIGN(s, "it was written with the migration capability %s", name);
		s->ignores_shared = true;
	}
	return NULL;
}

static struct torpor_error *read_page_bits(struct tp_stream *s)
{
	uint32_t bits = 0;

	TP_TRY(take_be32(s, &bits));
	if (bits > 63 || UINT64_C(1) << bits != TP_PAGE_SIZE)
		return FOREIGN(s, "guest pages have %u bits", bits);
	return NULL;
}

static struct torpor_error *read_configuration_part(struct tp_stream *s)
{
	char name[TP_STREAM_NAME_MAX + 1];
	uint32_t version = 0;
	uint8_t uuid[16];

	TP_TRY(take_name(s, name));
	TP_TRY(take_be32(s, &version));
	if (version != 1)
		return FOREIGN(s, "%s has version %u", name, version);
	if (strcmp(name, "configuration/capabilities") == 0)
		return read_capabilities(s);
	if (strcmp(name, "configuration/target-page-bits") == 0)
		return read_page_bits(s);
	if (strcmp(name, "configuration/uuid") == 0)
		return take_into(s, uuid, sizeof(uuid));
	return FOREIGN(s, "it has a part that is not known: %s", name);
}

static struct torpor_error *read_configuration(struct tp_stream *s)
{
	uint32_t len = 0;
	uint8_t mark = 0;

	s->section = "configuration";
	s->at++; /* the mark, which was peeked at */
	TP_TRY(take_be32(s, &len));
	TP_TRY(take_text(s, len, s->machine));
	s->has_machine = true;
	/* Each part comes once at most in what QEMU writes; repeating one does no harm. */
	for (;;) {
		TP_TRY(peek(s, &mark));
		if (mark != TP_QEMU_SUBSECTION)
			return NULL;
		s->at++;
		TP_TRY(read_configuration_part(s));
	}
}

static struct torpor_error *read_head(struct tp_stream *s)
{
	uint32_t magic = 0;
	uint32_t version = 0;
	uint8_t mark = 0;

	s->section = "header";
	TP_TRY(take_be32(s, &magic));
	if (magic != TP_QEMU_MAGIC)
		return DAMAGED(s, "this is no migration stream of QEMU");
	TP_TRY(take_be32(s, &version));
	if (version != TP_QEMU_VERSION)
		return FOREIGN(s, "its version is %u, not %u", version, TP_QEMU_VERSION);
	TP_TRY(peek(s, &mark));
	return mark == TP_QEMU_CONFIGURATION ? read_configuration(s) : NULL;
}

struct torpor_error *tp_stream_open(struct tp_stream_source source, struct tp_stream **stream_out)
{
	TP_STREAM struct tp_stream *s = tp_malloc(sizeof(*s));

	/* All but the bytes, which are written before they are read. */
	memset(s, 0, offsetof(struct tp_stream, bytes));
	s->source = source;
	s->last_block = NO_BLOCK;
	TP_TRY(read_head(s));
	s->section = "first section";
	*stream_out = TP_TAKE(s);
	return NULL;
}

const char *tp_stream_machine(const struct tp_stream *s)
{
	return s->has_machine ? s->machine : NULL;
}

bool tp_stream_ignores_shared(const struct tp_stream *s)
{
	return s->ignores_shared;
}

const struct tp_stream_block *tp_stream_blocks(const struct tp_stream *s, size_t *n_out)
{
	*n_out = s->n_blocks;
	return s->blocks;
}

/* ---- The ram section ---- */

static struct torpor_error *check_footer(struct tp_stream *s, uint32_t id)
{
	uint8_t mark = 0;
	uint32_t found = 0;

	TP_TRY(take_u8(s, &mark));
	if (mark != TP_QEMU_FOOTER)
		return DAMAGED(s, "it has no footer, but 0x%02x", mark);
	TP_TRY(take_be32(s, &found));
	if (found != id)
		return DAMAGED(s, "its footer says section %u, not %u", found, id);
	return NULL;
}

/* The index of the block called NAME, or NO_BLOCK. */
static size_t find_block(const struct tp_stream *s, const char *name)
{
	for (size_t i = 0; i < s->n_blocks; i++)
		if (strcmp(s->blocks[i].name, name) == 0)
			return i;
	return NO_BLOCK;
}

static struct torpor_error *read_block(
	struct tp_stream *s, uint64_t left, struct tp_stream_block *block)
{
	TP_TRY(take_name(s, block->name));
	TP_TRY(take_be64(s, &block->used_len));
	if (block->used_len == 0 || block->used_len % TP_PAGE_SIZE != 0 || block->used_len > left)
		return DAMAGED(s, "block %s has %ju bytes, of %ju not yet given away", block->name,
			(uintmax_t)block->used_len, (uintmax_t)left);
	if (s->ignores_shared)
		TP_TRY(take_be64(s, &block->address));
	if (find_block(s, block->name) != NO_BLOCK)
		return DAMAGED(s, "block %s is there twice", block->name);
	return NULL;
}

static struct torpor_error *read_blocks(struct tp_stream *s)
{
	uint64_t total = 0;

	TP_TRY(take_be64(s, &total));
	if ((total & TP_RAM_FLAGS_MASK) != TP_RAM_MEM_SIZE)
		return DAMAGED(s, "it does not start with the blocks' sizes, but with 0x%jx",
			(uintmax_t)total);
	total &= ~TP_RAM_FLAGS_MASK;
	if (total > TP_STREAM_RAM_MAX)
		return tp_error(TORPOR_E_LIMIT, "read stream", s->section, "%ju bytes of RAM",
			(uintmax_t)total);
	s->blocks = tp_calloc(TP_STREAM_BLOCKS_MAX, sizeof(*s->blocks));
	for (uint64_t left = total; left > 0; s->n_blocks++) {
		struct tp_stream_block *block = &s->blocks[s->n_blocks];
		if (s->n_blocks == TP_STREAM_BLOCKS_MAX)
			return tp_error(TORPOR_E_LIMIT, "read stream", s->section,
				"more than %d RAM blocks", TP_STREAM_BLOCKS_MAX);
		TP_TRY(read_block(s, left, block));
		left -= block->used_len;
	}
	return NULL;
}

/* START, whose mark was peeked at. */
static struct torpor_error *read_ram_start(struct tp_stream *s)
{
	char name[TP_STREAM_NAME_MAX + 1];
	uint32_t instance = 0;
	uint32_t version = 0;
	uint64_t end = 0;

	s->at++;
	TP_TRY(take_be32(s, &s->ram_id));
	TP_TRY(take_name(s, name));
	TP_TRY(take_be32(s, &instance));
	TP_TRY(take_be32(s, &version));
	if (strcmp(name, TP_RAM_SECTION_NAME) != 0)
		return FOREIGN(s, "it is an iterative section that is not known: %s", name);
	s->section = "ram";
	if (instance != TP_RAM_SECTION_INSTANCE || version != TP_RAM_SECTION_VERSION)
		return FOREIGN(s, "instance %u, version %u", instance, version);
	TP_TRY(read_blocks(s));
	TP_TRY(take_be64(s, &end));
	if (end != TP_RAM_EOS)
		return DAMAGED(s, "0x%jx where the block list should end", (uintmax_t)end);
	return check_footer(s, s->ram_id);
}

static struct torpor_error *read_command(struct tp_stream *s)
{
	uint16_t command = 0;
	uint16_t len = 0;

	s->at++;
	TP_TRY(take_be16(s, &command));
	TP_TRY(take_be16(s, &len));
	if (command != TP_QEMU_CMD_SWITCHOVER_START || len != 0)
		return FOREIGN(s, "it holds command %u: postcopy, a return path or COLO", command);
	return NULL;
}

/* The next PART or END. */
static struct torpor_error *enter_ram_part(struct tp_stream *s)
{
	uint8_t mark = 0;
	uint32_t id = 0;

	TP_TRY(peek(s, &mark));
	if (mark == TP_QEMU_COMMAND)
		return read_command(s);
	if (mark != TP_QEMU_SECTION_PART && mark != TP_QEMU_SECTION_END)
		return DAMAGED(s, "section type 0x%02x before the end of ram", mark);
	s->at++;
	TP_TRY(take_be32(s, &id));
	if (id != s->ram_id)
		return DAMAGED(s, "section %u goes on, which never started", id);
	s->in_ram_end = mark == TP_QEMU_SECTION_END;
	enter(s, STATE_PAGES);
	return NULL;
}

static const char *foreign_page_kind(uint64_t flags)
{
	static const struct {
		uint64_t flag;
		const char *name;
	} kinds[] = {
		{TP_RAM_FULL, "obsolete full"},
		{TP_RAM_XBZRLE, "xbzrle"},
		{TP_RAM_HOOK, "rdma"},
		{TP_RAM_COMPRESS, "compressed"},
		{TP_RAM_MULTIFD_FLUSH, "multifd"},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(kinds); i++)
		if (flags & kinds[i].flag)
			return kinds[i].name;
	return NULL;
}

/* The block of a page whose header had FLAGS. */
static struct torpor_error *read_page_block(struct tp_stream *s, uint64_t flags)
{
	char name[TP_STREAM_NAME_MAX + 1];

	if (flags & TP_RAM_CONTINUE) {
		if (s->last_block == NO_BLOCK)
			return DAMAGED(s, "the first page continues a block");
		return NULL;
	}
	TP_TRY(take_name(s, name));
	s->last_block = find_block(s, name);
	if (s->last_block == NO_BLOCK)
		return DAMAGED(s, "a page of block %s, which is not in the list", name);
	return NULL;
}

static struct torpor_error *read_page(
	struct tp_stream *s, uint64_t offset, uint64_t flags, struct tp_stream_item *item)
{
	uint8_t fill = 0;

	TP_TRY(read_page_block(s, flags));
	if (offset >= s->blocks[s->last_block].used_len)
		return DAMAGED(s, "a page of block %s at %ju, behind its end",
			s->blocks[s->last_block].name, (uintmax_t)offset);
	*item = (struct tp_stream_item){
		.kind = TP_STREAM_PAGE, .block = s->last_block, .offset = offset};
	if (flags & TP_RAM_PAGE)
		return take(s, TP_PAGE_SIZE, &item->page);
	TP_TRY(take_u8(s, &fill));
	if (fill != 0)
		return FOREIGN(s, "a page filled with 0x%02x", fill);
	return NULL;
}

/* Either a page, and then *GIVEN is set, or the end of the PART or END. */
static struct torpor_error *read_in_ram_part(
	struct tp_stream *s, struct tp_stream_item *item, bool *given)
{
	uint64_t header = 0;

	TP_TRY(take_be64(s, &header));
	uint64_t flags = header & TP_RAM_FLAGS_MASK;
	uint64_t offset = header & ~TP_RAM_FLAGS_MASK;
	uint64_t kind = flags & ~(uint64_t)TP_RAM_CONTINUE;
	if (foreign_page_kind(flags))
		return FOREIGN(s, "it has %s pages", foreign_page_kind(flags));
	if (kind == TP_RAM_PAGE || kind == TP_RAM_ZERO) {
		TP_TRY(read_page(s, offset, flags, item));
		*given = true;
		return NULL;
	}
	if (header != TP_RAM_EOS)
		return DAMAGED(s, "a page header with flags 0x%jx", (uintmax_t)flags);
	TP_TRY(check_footer(s, s->ram_id));
	enter(s, s->in_ram_end ? STATE_DEVICES : STATE_BETWEEN);
	return NULL;
}

/* ---- The device sections ---- */

static struct torpor_error *too_many_devices(const struct tp_stream *s)
{
	return tp_error(TORPOR_E_LIMIT, "read stream", s->section,
		"device state of more than %ju bytes", (uintmax_t)TP_STREAM_DEVICES_MAX);
}

/* All that is left of the stream, into s->devices. */
static struct torpor_error *read_rest(struct tp_stream *s)
{
	size_t got = s->filled - s->at;

	for (;;) {
		tp_buf_put(&s->devices, s->bytes + s->at, got);
		s->at = s->filled = 0;
		if (s->devices.len > TP_STREAM_DEVICES_MAX)
			return too_many_devices(s);
		TP_TRY(s->source.read(s->source.data, s->bytes, sizeof(s->bytes), &got));
		if (got == 0)
			return NULL;
		s->filled = got;
	}
}

/*
 * The length of DATA without the description of the devices, EOF's byte included, or 0 if there is
 * no end. The description is JSON behind 06 and its length, and follows EOF; what may lie among the
 * devices and look like it would also have to have the right length.
 */
static size_t find_eof(const uint8_t *data, size_t len)
{
	const size_t head = 6; /* EOF's mark is in front of it: 06, be32 */

	if (len > 0 && data[len - 1] == TP_QEMU_EOF)
		return len;
	if (len < head + 2 || data[len - 1] != '}')
		return 0;
	for (size_t eof = len - head - 1; eof-- > 0;) {
		struct tp_reader r = tp_reader_over(data + eof, len - eof);
		uint8_t end = tp_read_u8(&r);
		uint8_t mark = tp_read_u8(&r);
		uint32_t json_len = tp_read_be32(&r);
		if (end == TP_QEMU_EOF && mark == TP_QEMU_VMDESC &&
			json_len == tp_reader_left(&r) && *r.at == '{')
			return eof + 1;
	}
	return 0;
}

/* Sections that begin as a FULL one does and end with a footer: as much as can be told. */
static struct torpor_error *check_devices(
	const struct tp_stream *s, const uint8_t *data, size_t len)
{
	struct tp_reader r = tp_reader_over(data, len);

	if (tp_read_u8(&r) != TP_QEMU_SECTION_FULL)
		return FOREIGN(s, "section type 0x%02x among the devices", data[0]);
	(void)tp_read_be32(&r); /* id */
	uint8_t name_len = tp_read_u8(&r);
	(void)tp_read_bytes(&r, name_len);
	(void)tp_read_be32(&r); /* instance */
	(void)tp_read_be32(&r); /* version */
	if (r.failed || name_len == 0 || tp_reader_left(&r) < TP_QEMU_FOOTER_LEN)
		return DAMAGED(s, "the stream ends within the first device");
	if (data[len - TP_QEMU_FOOTER_LEN] != TP_QEMU_FOOTER)
		return DAMAGED(s, "the last device has no footer");
	return NULL;
}

static struct torpor_error *read_devices(struct tp_stream *s, struct tp_stream_item *item)
{
	s->section = "devices";
	TP_TRY(read_rest(s));
	size_t end = find_eof(s->devices.data, s->devices.len);
	if (end == 0)
		return DAMAGED(s, "the stream ends without its end mark");
	size_t len = end - 1;
	if (len > 0)
		TP_TRY(check_devices(s, s->devices.data, len));
	*item = (struct tp_stream_item){
		.kind = TP_STREAM_DEVICES, .devices = s->devices.data, .devices_len = len};
	enter(s, STATE_ENDED);
	return NULL;
}

/* ---- Items ---- */

static struct torpor_error *read_first(
	struct tp_stream *s, struct tp_stream_item *item, bool *given)
{
	uint8_t mark = 0;

	TP_TRY(peek(s, &mark));
	if (mark == TP_QEMU_COMMAND)
		return read_command(s);
	if (mark != TP_QEMU_SECTION_START) {
		enter(s, STATE_DEVICES);
		return NULL;
	}
	TP_TRY(read_ram_start(s));
	*item = (struct tp_stream_item){.kind = TP_STREAM_BLOCKS};
	*given = true;
	enter(s, STATE_BETWEEN);
	return NULL;
}

/* One step; sets *GIVEN if ITEM was filled. */
static struct torpor_error *step(struct tp_stream *s, struct tp_stream_item *item, bool *given)
{
	switch (s->state) {
	case STATE_FIRST:
		return read_first(s, item, given);
	case STATE_BETWEEN:
		return enter_ram_part(s);
	case STATE_PAGES:
		return read_in_ram_part(s, item, given);
	case STATE_DEVICES:
		*given = true;
		return read_devices(s, item);
	case STATE_ENDED:
		*given = true;
		*item = (struct tp_stream_item){.kind = TP_STREAM_END};
		return NULL;
	default:
		return tp_error(TORPOR_E_INTERNAL, "read stream", s->section,
			"it is read on after a failure");
	}
}

struct torpor_error *tp_stream_next(struct tp_stream *s, struct tp_stream_item *item_out)
{
	struct tp_stream_item item = {0};
	bool given = false;

	while (!given) {
		struct torpor_error *err = step(s, &item, &given);
		if (err) {
			enter(s, STATE_FAILED);
			return err;
		}
	}
	*item_out = item;
	return NULL;
}
