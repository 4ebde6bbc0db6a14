/* SPDX-License-Identifier: Apache-2.0 */
/* The wire between the engine and the helper in the guest. */
#include "guest/wire.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* --- integers in place --- */

static void store_le(uint8_t *to, uint64_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		to[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t load_le(const uint8_t *from, unsigned int bytes)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < bytes; i++)
		v |= (uint64_t)from[i] << (8 * i);
	return v;
}

/* --- making a frame --- */

void tp_wire_begin(struct tp_wire_out *out, enum tp_wire_type type, uint32_t stream)
{
	out->bytes[0] = TP_WIRE_VERSION;
	out->bytes[1] = (uint8_t)type;
	store_le(out->bytes + 2, 0, 2);
	store_le(out->bytes + 4, stream, 4);
	out->len = 0;
	out->full = false;
}

void tp_wire_put(struct tp_wire_out *out, const void *bytes, size_t len)
{
	if (out->full || len > TP_WIRE_MAX_PAYLOAD - out->len) {
		out->full = true;
		return;
	}
	if (len > 0)
		memcpy(tp_wire_payload(out) + out->len, bytes, len);
	out->len += (uint32_t)len;
}

static void put_le(struct tp_wire_out *out, uint64_t v, unsigned int bytes)
{
	uint8_t le[8];

	store_le(le, v, bytes);
	tp_wire_put(out, le, bytes);
}

void tp_wire_put_u8(struct tp_wire_out *out, uint8_t v)
{
	put_le(out, v, 1);
}

void tp_wire_put_u16(struct tp_wire_out *out, uint16_t v)
{
	put_le(out, v, 2);
}

void tp_wire_put_u32(struct tp_wire_out *out, uint32_t v)
{
	put_le(out, v, 4);
}

void tp_wire_put_u64(struct tp_wire_out *out, uint64_t v)
{
	put_le(out, v, 8);
}

/* COBS: each block is its length plus one and then that many bytes, none zero. */
static size_t cobs_encode(const uint8_t *from, size_t len, uint8_t *to)
{
	size_t at = 1;
	size_t code_at = 0;
	uint8_t code = 1;

	for (size_t i = 0; i < len; i++) {
		if (from[i] != 0) {
			to[at++] = from[i];
			code++;
		}
		/* A full block stands for no zero; nothing need follow it at the end. */
		if (from[i] == 0 || (code == 0xff && i + 1 < len)) {
			to[code_at] = code;
			code_at = at++;
			code = 1;
		}
	}
	to[code_at] = code;
	to[at++] = 0;
	return at;
}

size_t tp_wire_encode(struct tp_wire_out *out, uint8_t *to)
{
	size_t len = TP_WIRE_HEADER + out->len;

	store_le(out->bytes + len, XXH32(out->bytes, len, 0), TP_WIRE_CHECK);
	return cobs_encode(out->bytes, len + TP_WIRE_CHECK, to);
}

/* --- finding frames --- */

static void restart(struct tp_wire_decoder *dec)
{
	dec->len = 0;
	dec->left = 0;
	dec->zero = false;
	dec->bad = false;
}

void tp_wire_decoder_init(struct tp_wire_decoder *dec)
{
	restart(dec);
	dec->drops = 0;
}

static bool append(struct tp_wire_decoder *dec, uint8_t byte)
{
	if (dec->len == TP_WIRE_MAX_FRAME)
		return false;
	dec->bytes[dec->len++] = byte;
	return true;
}

/* Takes one byte that isn't zero. False if the frame got too long. */
static bool take_byte(struct tp_wire_decoder *dec, uint8_t byte)
{
	bool zero = dec->zero;

	if (dec->left > 0) {
		dec->left--;
		return append(dec, byte);
	}
	dec->left = (uint8_t)(byte - 1);
	dec->zero = byte != 0xff;
	return !zero || append(dec, 0);
}

static bool frame_is_sound(const struct tp_wire_decoder *dec)
{
	if (dec->bad || dec->left > 0 || dec->len < TP_WIRE_HEADER + TP_WIRE_CHECK)
		return false;

	uint32_t covered = dec->len - TP_WIRE_CHECK;
	return dec->bytes[0] == TP_WIRE_VERSION && load_le(dec->bytes + 2, 2) == 0 &&
	       load_le(dec->bytes + covered, TP_WIRE_CHECK) == XXH32(dec->bytes, covered, 0);
}

size_t tp_wire_decode(struct tp_wire_decoder *dec, const uint8_t *bytes, size_t len,
	struct tp_wire_frame *frame, bool *found)
{
	*found = false;
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != 0) {
			dec->bad = dec->bad || !take_byte(dec, bytes[i]);
			continue;
		}
		/* `zero` is set by the first byte that isn't: zeros in a row end no frame. */
		bool empty = !dec->bad && dec->len == 0 && dec->left == 0 && !dec->zero;
		bool sound = frame_is_sound(dec);
		uint32_t frame_len = dec->len;
		restart(dec);
		if (!sound) {
			dec->drops += !empty;
			continue;
		}
		frame->type = dec->bytes[1];
		frame->stream = (uint32_t)load_le(dec->bytes + 4, 4);
		frame->payload = dec->bytes + TP_WIRE_HEADER;
		frame->len = frame_len - TP_WIRE_HEADER - TP_WIRE_CHECK;
		*found = true;
		return i + 1;
	}
	return len;
}

/* --- reading payloads --- */

/* Walks a payload; past its end come zeros, and `failed`. */
struct reader {
	const uint8_t *at;
	uint32_t left;
	bool failed;
};

static struct reader read_payload(const struct tp_wire_frame *frame)
{
	return (struct reader){.at = frame->payload, .left = frame->len};
}

static const uint8_t *take(struct reader *r, uint32_t len)
{
	const uint8_t *at = r->at;

	if (r->failed || len > r->left) {
		r->failed = true;
		return NULL;
	}
	r->at += len;
	r->left -= len;
	return at;
}

static uint64_t take_le(struct reader *r, unsigned int bytes)
{
	const uint8_t *at = take(r, bytes);

	return at ? load_le(at, bytes) : 0;
}

static void take_copy(struct reader *r, void *to, uint32_t len)
{
	const uint8_t *at = take(r, len);

	if (at)
		memcpy(to, at, len);
}

/* A string with its NUL inside the payload, at most MAX bytes long without it. */
static const char *take_string(struct reader *r, uint32_t max)
{
	const uint8_t *end = r->failed ? NULL : memchr(r->at, 0, r->left);

	if (!end || (size_t)(end - r->at) > max) {
		r->failed = true;
		return "";
	}
	return (const char *)take(r, (uint32_t)(end - r->at) + 1);
}

/* u8 length and text, copied to TEXT and ended; only printable ASCII, as it ends up in messages. */
static void take_text(struct reader *r, char *text, uint32_t max)
{
	uint32_t len = (uint32_t)take_le(r, 1);
	const uint8_t *at = take(r, len);

	if (!at || len > max) {
		r->failed = true;
		return;
	}
	for (uint32_t i = 0; i < len; i++) {
		r->failed = r->failed || at[i] < 0x20 || at[i] > 0x7e;
		text[i] = (char)at[i];
	}
	text[len] = '\0';
}

static void put_text(struct tp_wire_out *out, const char *text, uint32_t max)
{
	size_t len = strnlen(text, max);

	tp_wire_put_u8(out, (uint8_t)len);
	tp_wire_put(out, text, len);
}

static bool whole(const struct reader *r)
{
	return !r->failed && r->left == 0;
}

/* --- the payloads --- */

void tp_wire_put_ping(struct tp_wire_out *out, const struct tp_wire_ping *ping)
{
	tp_wire_put_u64(out, ping->nonce);
	tp_wire_put_u32(out, ping->flags);
}

bool tp_wire_get_ping(const struct tp_wire_frame *frame, struct tp_wire_ping *ping)
{
	struct reader r = read_payload(frame);

	ping->nonce = take_le(&r, 8);
	ping->flags = (uint32_t)take_le(&r, 4);
	return whole(&r);
}

void tp_wire_put_fresh(struct tp_wire_out *out, const struct tp_wire_fresh *fresh)
{
	tp_wire_put_u64(out, fresh->nonce);
	tp_wire_put_u32(out, fresh->steps);
	tp_wire_put_u64(out, (uint64_t)fresh->realtime_ns);
	tp_wire_put(out, fresh->machine_id, TP_WIRE_ID_SIZE);
	tp_wire_put_u8(out, fresh->seed_len);
	tp_wire_put_u8(out, fresh->hostname_len);
	tp_wire_put(out, fresh->seed, fresh->seed_len);
	tp_wire_put(out, fresh->hostname, fresh->hostname_len);
}

bool tp_wire_hostname_is_sound(const char *name, size_t len)
{
	if (!name || len < 1 || len > TP_WIRE_MAX_HOSTNAME)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (name[i] <= ' ' || name[i] > '~' || name[i] == '/')
			return false;
	}
	return true;
}

bool tp_wire_get_fresh(const struct tp_wire_frame *frame, struct tp_wire_fresh *fresh)
{
	struct reader r = read_payload(frame);

	fresh->nonce = take_le(&r, 8);
	fresh->steps = (uint32_t)take_le(&r, 4);
	fresh->realtime_ns = (int64_t)take_le(&r, 8);
	take_copy(&r, fresh->machine_id, TP_WIRE_ID_SIZE);
	fresh->seed_len = (uint8_t)take_le(&r, 1);
	fresh->hostname_len = (uint8_t)take_le(&r, 1);
	fresh->seed = take(&r, fresh->seed_len);
	fresh->hostname = (const char *)take(&r, fresh->hostname_len);
	if (!whole(&r) || fresh->seed_len > TP_WIRE_MAX_SEED ||
		fresh->hostname_len > TP_WIRE_MAX_HOSTNAME)
		return false;
	if (fresh->realtime_ns < 0 &&
		(fresh->steps & ~(uint32_t)TP_WIRE_STEP_KEEP) != TP_WIRE_STEP_CLOCK_SHIFT)
		return false;
	if ((fresh->steps & TP_WIRE_STEP_SEED) && fresh->seed_len < TP_WIRE_MIN_SEED)
		return false;
	return !(fresh->steps & TP_WIRE_STEP_HOSTNAME) ||
	       tp_wire_hostname_is_sound(fresh->hostname, fresh->hostname_len);
}

void tp_wire_put_fresh_done(struct tp_wire_out *out, const struct tp_wire_fresh_done *done)
{
	tp_wire_put_u64(out, done->nonce);
	tp_wire_put_u32(out, done->done);
	tp_wire_put_u32(out, done->failed);
	tp_wire_put_u32(out, (uint32_t)done->error);
	tp_wire_put_u32(out, done->count);
	tp_wire_put_u64(out, (uint64_t)done->realtime_ns);
	tp_wire_put_u64(out, (uint64_t)done->boottime_ns);
}

bool tp_wire_get_fresh_done(const struct tp_wire_frame *frame, struct tp_wire_fresh_done *done)
{
	struct reader r = read_payload(frame);

	done->nonce = take_le(&r, 8);
	done->done = (uint32_t)take_le(&r, 4);
	done->failed = (uint32_t)take_le(&r, 4);
	done->error = (int32_t)take_le(&r, 4);
	done->count = (uint32_t)take_le(&r, 4);
	done->realtime_ns = (int64_t)take_le(&r, 8);
	done->boottime_ns = (int64_t)take_le(&r, 8);
	return whole(&r) && (done->done & done->failed) == 0;
}

void tp_wire_put_exec(struct tp_wire_out *out, const struct tp_wire_exec *exec,
	const char *const *argv, const char *const *env)
{
	tp_wire_put_u32(out, exec->flags);
	tp_wire_put_u32(out, exec->window);
	tp_wire_put_u16(out, exec->argc);
	tp_wire_put_u16(out, exec->envc);
	tp_wire_put(out, exec->cwd, strlen(exec->cwd) + 1);
	for (uint32_t i = 0; i < exec->argc; i++)
		tp_wire_put(out, argv[i], strlen(argv[i]) + 1);
	for (uint32_t i = 0; i < exec->envc; i++)
		tp_wire_put(out, env[i], strlen(env[i]) + 1);
}

bool tp_wire_get_exec(const struct tp_wire_frame *frame, struct tp_wire_exec *exec,
	const char *strings[TP_WIRE_MAX_STRINGS])
{
	struct reader r = read_payload(frame);

	exec->flags = (uint32_t)take_le(&r, 4);
	exec->window = (uint32_t)take_le(&r, 4);
	exec->argc = (uint16_t)take_le(&r, 2);
	exec->envc = (uint16_t)take_le(&r, 2);
	exec->cwd = take_string(&r, TP_WIRE_MAX_CWD);
	if (r.failed || (exec->flags & ~TP_WIRE_EXEC_FLAGS) || exec->argc == 0 ||
		exec->argc + exec->envc > (int)TP_WIRE_MAX_STRINGS)
		return false;
	for (uint32_t i = 0; i < (uint32_t)exec->argc + exec->envc; i++)
		strings[i] = take_string(&r, TP_WIRE_MAX_PAYLOAD);
	return whole(&r);
}

void tp_wire_put_hello(struct tp_wire_out *out, const struct tp_wire_hello *hello)
{
	tp_wire_put_u32(out, hello->protocol);
	tp_wire_put(out, hello->boot_id, TP_WIRE_ID_SIZE);
	put_text(out, hello->build, TP_WIRE_MAX_BUILD);
}

bool tp_wire_get_hello(const struct tp_wire_frame *frame, struct tp_wire_hello *hello)
{
	struct reader r = read_payload(frame);

	hello->protocol = (uint32_t)take_le(&r, 4);
	take_copy(&r, hello->boot_id, TP_WIRE_ID_SIZE);
	take_text(&r, hello->build, TP_WIRE_MAX_BUILD);
	return whole(&r);
}

void tp_wire_put_pong(struct tp_wire_out *out, const struct tp_wire_pong *pong)
{
	tp_wire_put_u64(out, pong->nonce);
	tp_wire_put(out, pong->boot_id, TP_WIRE_ID_SIZE);
	tp_wire_put_u64(out, (uint64_t)pong->realtime_ns);
}

bool tp_wire_get_pong(const struct tp_wire_frame *frame, struct tp_wire_pong *pong)
{
	struct reader r = read_payload(frame);

	pong->nonce = take_le(&r, 8);
	take_copy(&r, pong->boot_id, TP_WIRE_ID_SIZE);
	pong->realtime_ns = (int64_t)take_le(&r, 8);
	return whole(&r);
}

void tp_wire_put_exit(struct tp_wire_out *out, const struct tp_wire_exit *ex)
{
	tp_wire_put_u8(out, ex->kind);
	tp_wire_put_u32(out, (uint32_t)ex->value);
}

bool tp_wire_get_exit(const struct tp_wire_frame *frame, struct tp_wire_exit *ex)
{
	struct reader r = read_payload(frame);

	ex->kind = (uint8_t)take_le(&r, 1);
	ex->value = (int32_t)take_le(&r, 4);
	if (!whole(&r))
		return false;
	return (ex->kind == TP_WIRE_EXITED && ex->value >= 0 && ex->value <= 255) ||
	       (ex->kind == TP_WIRE_SIGNALED && ex->value >= 1 && ex->value <= 127);
}

void tp_wire_put_failed(struct tp_wire_out *out, const struct tp_wire_failed *failed)
{
	tp_wire_put_u32(out, (uint32_t)failed->error);
	put_text(out, failed->text, TP_WIRE_MAX_TEXT);
}

bool tp_wire_get_failed(const struct tp_wire_frame *frame, struct tp_wire_failed *failed)
{
	struct reader r = read_payload(frame);

	failed->error = (int32_t)take_le(&r, 4);
	take_text(&r, failed->text, TP_WIRE_MAX_TEXT);
	return whole(&r) && failed->error > 0 && failed->error < 4096;
}

bool tp_wire_get_u32(const struct tp_wire_frame *frame, uint32_t *value)
{
	struct reader r = read_payload(frame);

	*value = (uint32_t)take_le(&r, 4);
	return whole(&r);
}
