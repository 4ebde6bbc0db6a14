/* SPDX-License-Identifier: Apache-2.0 */
/* The wire format: frames survive, damage doesn't pass, and the next frame is always found. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "guest/wire.h"

static struct tp_wire_out out;
static struct tp_wire_decoder dec;
static uint8_t wire[2 * TP_WIRE_MAX_ENCODED];

static void fill(uint8_t *bytes, size_t len, unsigned int zeros_in_16)
{
	for (size_t i = 0; i < len; i++) {
		bool zero = (unsigned int)rand() % 16 < zeros_in_16;
		bytes[i] = zero ? 0 : (uint8_t)(1 + rand() % 255);
	}
}

static size_t encode(enum tp_wire_type type, uint32_t stream, const void *payload, size_t len)
{
	tp_wire_begin(&out, type, stream);
	tp_wire_put(&out, payload, len);
	cr_assert_not(out.full);
	return tp_wire_encode(&out, wire);
}

/* Feeds LEN bytes; returns how many frames came, the last one in *FRAME. */
static int feed(const uint8_t *bytes, size_t len, struct tp_wire_frame *frame)
{
	int frames = 0;

	while (len > 0) {
		bool found;
		size_t used = tp_wire_decode(&dec, bytes, len, frame, &found);
		cr_assert(used > 0 && used <= len);
		bytes += used;
		len -= used;
		frames += found;
	}
	return frames;
}

static void check_round_trip(size_t len, unsigned int zeros_in_16)
{
	static uint8_t payload[TP_WIRE_MAX_PAYLOAD];
	struct tp_wire_frame frame;

	fill(payload, len, zeros_in_16);
	size_t n = encode(TP_WIRE_STDOUT, 0x01020304, payload, len);
	cr_assert_leq(n, TP_WIRE_ENCODED(TP_WIRE_HEADER + len + TP_WIRE_CHECK));
	cr_assert_eq(memchr(wire, 0, n), wire + n - 1, "only the end is zero");
	cr_assert_eq(feed(wire, n, &frame), 1);
	cr_assert_eq(frame.type, TP_WIRE_STDOUT);
	cr_assert_eq(frame.stream, 0x01020304);
	cr_assert_eq(frame.len, len);
	cr_assert_eq(memcmp(frame.payload, payload, len), 0);
}

Test(wire, frames_of_every_length_come_back)
{
	tp_wire_decoder_init(&dec);
	for (unsigned int zeros = 0; zeros <= 16; zeros += 4) {
		for (size_t len = 0; len < 1100; len++)
			check_round_trip(len, zeros);
		check_round_trip(TP_WIRE_MAX_PAYLOAD - 1, zeros);
		check_round_trip(TP_WIRE_MAX_PAYLOAD, zeros);
	}
	cr_assert_eq(dec.drops, 0);
}

Test(wire, frames_come_back_byte_by_byte)
{
	struct tp_wire_frame frame;
	int frames = 0;

	tp_wire_decoder_init(&dec);
	size_t n = encode(TP_WIRE_STDIN, 1, "a\0b", 3);
	for (size_t i = 0; i < n; i++)
		frames += feed(wire + i, 1, &frame);
	cr_assert_eq(frames, 1);
	cr_assert_eq(memcmp(frame.payload, "a\0b", 3), 0);
}

/* The bytes of one frame are known, so that both ends stay what docs/GUEST.md says. */
Test(wire, a_frame_is_what_the_document_says)
{
	static const uint8_t expected[] = {0x03, 0x01, 0x04, 0x01, 0x01, 0x02, 0x05, 0x01, 0x05,
		0x68, 0x69, 0xda, 0x48, 0x02, 0x2b, 0x00};
	size_t n = encode(TP_WIRE_STDIN, 0x00000500, "hi", 2);

	cr_assert_eq(n, sizeof(expected));
	cr_assert_eq(memcmp(wire, expected, n), 0);
}

Test(wire, a_frame_cut_anywhere_costs_only_itself)
{
	static uint8_t payload[600];
	struct tp_wire_frame frame;

	fill(payload, sizeof(payload), 2);
	size_t n = encode(TP_WIRE_STDOUT, 1, payload, sizeof(payload));
	for (size_t cut = 1; cut < n; cut++) {
		tp_wire_decoder_init(&dec);
		cr_assert_eq(feed(wire, cut, &frame), 0);
		/* A new peer begins with a zero. */
		cr_assert_eq(feed((const uint8_t *)"", 1, &frame), cut == n - 1);
		cr_assert_eq(dec.drops, cut < n - 1);
		cr_assert_eq(feed(wire, n, &frame), 1);
	}
}

Test(wire, the_tail_of_a_frame_costs_only_itself)
{
	static uint8_t payload[600];
	struct tp_wire_frame frame;

	fill(payload, sizeof(payload), 2);
	size_t n = encode(TP_WIRE_STDOUT, 1, payload, sizeof(payload));
	for (size_t start = 1; start < n; start++) {
		tp_wire_decoder_init(&dec);
		cr_assert_eq(feed(wire + start, n - start, &frame), 0);
		cr_assert_eq(feed(wire, n, &frame), 1);
	}
}

Test(wire, no_flipped_bit_passes)
{
	static uint8_t payload[64];
	struct tp_wire_frame frame;

	fill(payload, sizeof(payload), 4);
	size_t n = encode(TP_WIRE_STDOUT, 1, payload, sizeof(payload));
	for (size_t bit = 0; bit < 8 * n; bit++) {
		tp_wire_decoder_init(&dec);
		wire[bit / 8] ^= (uint8_t)(1 << (bit % 8));
		cr_assert_eq(feed(wire, n, &frame), 0, "bit %zu", bit);
		wire[bit / 8] ^= (uint8_t)(1 << (bit % 8));
		feed((const uint8_t *)"", 1, &frame);
		cr_assert_geq(dec.drops, 1);
		cr_assert_eq(feed(wire, n, &frame), 1, "the next one after bit %zu", bit);
	}
}

Test(wire, zeros_in_a_row_are_no_frames)
{
	static const uint8_t zeros[100];
	struct tp_wire_frame frame;

	tp_wire_decoder_init(&dec);
	cr_assert_eq(feed(zeros, sizeof(zeros), &frame), 0);
	cr_assert_eq(dec.drops, 0);
}

Test(wire, endless_frames_are_dropped)
{
	static uint8_t ones[4096];
	struct tp_wire_frame frame;

	memset(ones, 1, sizeof(ones));
	tp_wire_decoder_init(&dec);
	for (int i = 0; i < 64; i++)
		cr_assert_eq(feed(ones, sizeof(ones), &frame), 0);
	feed((const uint8_t *)"", 1, &frame);
	cr_assert_eq(dec.drops, 1);
	check_round_trip(10, 4);
}

Test(wire, garbage_gives_no_frame)
{
	static uint8_t garbage[65536];
	struct tp_wire_frame frame;

	tp_wire_decoder_init(&dec);
	for (int i = 0; i < 100; i++) {
		fill(garbage, sizeof(garbage), (unsigned int)i % 16);
		cr_assert_eq(feed(garbage, sizeof(garbage), &frame), 0);
	}
	feed((const uint8_t *)"", 1, &frame);
	check_round_trip(10, 4);
}

Test(wire, other_versions_and_flags_are_dropped)
{
	struct tp_wire_frame frame;

	tp_wire_decoder_init(&dec);
	for (unsigned int byte = 0; byte < 4; byte += byte ? 1 : 2) {
		tp_wire_begin(&out, TP_WIRE_STDOUT, 1);
		out.bytes[byte] = 7;
		size_t n = tp_wire_encode(&out, wire);
		cr_assert_eq(feed(wire, n, &frame), 0);
	}
	cr_assert_eq(dec.drops, 3);
}

Test(wire, what_does_not_fit_is_noticed)
{
	static uint8_t payload[TP_WIRE_MAX_PAYLOAD + 1];

	tp_wire_begin(&out, TP_WIRE_STDIN, 1);
	tp_wire_put(&out, payload, sizeof(payload));
	cr_assert(out.full);
	tp_wire_begin(&out, TP_WIRE_STDIN, 1);
	tp_wire_put(&out, payload, TP_WIRE_MAX_PAYLOAD);
	cr_assert_not(out.full);
	tp_wire_put_u8(&out, 1);
	cr_assert(out.full);
}

/* --- payloads --- */

static struct tp_wire_frame payload_of(struct tp_wire_out *o)
{
	cr_assert_not(o->full);
	return (struct tp_wire_frame){
		.type = o->bytes[1], .payload = tp_wire_payload(o), .len = o->len};
}

/* The getter takes the payload, nothing shorter (read from a block of just that size) or longer. */
#define CHECK_EXACT(get, ...)                                                                      \
	do {                                                                                       \
		struct tp_wire_frame f_ = payload_of(&out);                                        \
		uint32_t whole_ = f_.len;                                                          \
		for (f_.len = 0; f_.len <= whole_ + 1; f_.len++) {                                 \
			uint8_t *copy_ = malloc(f_.len ? f_.len : 1);                              \
			memcpy(copy_, tp_wire_payload(&out), f_.len);                              \
			f_.payload = copy_;                                                        \
			cr_assert_eq(get(&f_, __VA_ARGS__), f_.len == whole_, "%u of %u", f_.len,  \
				whole_);                                                           \
			free(copy_);                                                               \
		}                                                                                  \
		f_ = payload_of(&out);                                                             \
		cr_assert(get(&f_, __VA_ARGS__));                                                  \
	} while (0)

Test(payloads, ping_and_pong)
{
	struct tp_wire_ping ping = {.nonce = 0x1122334455667788, .flags = 1};
	struct tp_wire_pong pong = {.nonce = 5, .boot_id = {1, 2}, .realtime_ns = INT64_MAX};
	struct tp_wire_ping ping_back;
	struct tp_wire_pong pong_back;

	tp_wire_begin(&out, TP_WIRE_PING, 0);
	tp_wire_put_ping(&out, &ping);
	CHECK_EXACT(tp_wire_get_ping, &ping_back);
	cr_assert_eq(ping_back.nonce, ping.nonce);
	cr_assert_eq(ping_back.flags, 1);

	tp_wire_begin(&out, TP_WIRE_PONG, 0);
	tp_wire_put_pong(&out, &pong);
	CHECK_EXACT(tp_wire_get_pong, &pong_back);
	cr_assert_eq(memcmp(&pong_back, &pong, sizeof(pong)), 0);
}

static const uint8_t seed[TP_WIRE_MAX_SEED] = {1, 2, 3};

static struct tp_wire_fresh sound_fresh(void)
{
	return (struct tp_wire_fresh){
		.nonce = 9,
		.steps = TP_WIRE_ALL_STEPS,
		.realtime_ns = 1700000000123456789,
		.machine_id = {0xab},
		.seed_len = 32,
		.hostname_len = 5,
		.seed = seed,
		.hostname = "clone",
	};
}

static bool fresh_passes(const struct tp_wire_fresh *fresh)
{
	struct tp_wire_fresh back;

	tp_wire_begin(&out, TP_WIRE_FRESH, 0);
	tp_wire_put_fresh(&out, fresh);
	struct tp_wire_frame frame = payload_of(&out);
	return tp_wire_get_fresh(&frame, &back);
}

Test(payloads, fresh)
{
	struct tp_wire_fresh fresh = sound_fresh();
	struct tp_wire_fresh back;

	tp_wire_begin(&out, TP_WIRE_FRESH, 0);
	tp_wire_put_fresh(&out, &fresh);
	CHECK_EXACT(tp_wire_get_fresh, &back);
	cr_assert_eq(back.realtime_ns, fresh.realtime_ns);
	cr_assert_eq(back.seed_len, 32);
	cr_assert_eq(memcmp(back.seed, seed, 32), 0);
	cr_assert_eq(memcmp(back.hostname, "clone", 5), 0);
	cr_assert_eq(back.machine_id[0], 0xab);
}

Test(payloads, fresh_out_of_bounds_is_refused)
{
	struct tp_wire_fresh fresh = sound_fresh();

	cr_assert(fresh_passes(&fresh));
	fresh.seed_len = TP_WIRE_MIN_SEED - 1;
	cr_assert_not(fresh_passes(&fresh));
	fresh.steps &= ~(uint32_t)TP_WIRE_STEP_SEED;
	cr_assert(fresh_passes(&fresh));
	fresh = sound_fresh();
	fresh.realtime_ns = -1;
	cr_assert_not(fresh_passes(&fresh));
	fresh = sound_fresh();
	fresh.hostname = "a/../b";
	fresh.hostname_len = 6;
	cr_assert_not(fresh_passes(&fresh));
	fresh.hostname_len = 0;
	cr_assert_not(fresh_passes(&fresh));
	fresh.hostname = "01234567890123456789012345678901234567890123456789012345678901234";
	fresh.hostname_len = 65;
	cr_assert_not(fresh_passes(&fresh));
	fresh.hostname_len = 64;
	cr_assert(fresh_passes(&fresh));
}

Test(payloads, fresh_done)
{
	struct tp_wire_fresh_done done = {.nonce = 1,
		.done = 7,
		.failed = 8,
		.error = 30,
		.count = 2,
		.realtime_ns = 3,
		.boottime_ns = 4};
	struct tp_wire_fresh_done back;

	tp_wire_begin(&out, TP_WIRE_FRESH_DONE, 0);
	tp_wire_put_fresh_done(&out, &done);
	CHECK_EXACT(tp_wire_get_fresh_done, &back);
	cr_assert_eq(memcmp(&back, &done, sizeof(done)), 0);
	done.failed = 9;
	tp_wire_begin(&out, TP_WIRE_FRESH_DONE, 0);
	tp_wire_put_fresh_done(&out, &done);
	struct tp_wire_frame frame = payload_of(&out);
	cr_assert_not(tp_wire_get_fresh_done(&frame, &back), "a step can't be done and failed");
}

Test(payloads, exec)
{
	const char *argv[] = {"sh", "-c", ""};
	const char *env[] = {"A=1"};
	const char *strings[TP_WIRE_MAX_STRINGS];
	struct tp_wire_exec exec = {.flags = 3, .window = 77, .argc = 3, .envc = 1, .cwd = "/tmp"};
	struct tp_wire_exec back;

	tp_wire_begin(&out, TP_WIRE_EXEC, 1);
	tp_wire_put_exec(&out, &exec, argv, env);
	CHECK_EXACT(tp_wire_get_exec, &back, strings);
	cr_assert_str_eq(back.cwd, "/tmp");
	cr_assert_eq(back.window, 77);
	cr_assert_str_eq(strings[0], "sh");
	cr_assert_str_eq(strings[2], "");
	cr_assert_str_eq(strings[3], "A=1");
}

static bool raw_exec_passes(uint32_t flags, uint16_t argc, uint16_t envc, size_t strings_sent)
{
	const char *strings[TP_WIRE_MAX_STRINGS];
	struct tp_wire_exec back;

	tp_wire_begin(&out, TP_WIRE_EXEC, 1);
	tp_wire_put_u32(&out, flags);
	tp_wire_put_u32(&out, 1);
	tp_wire_put_u16(&out, argc);
	tp_wire_put_u16(&out, envc);
	tp_wire_put(&out, "/", 2);
	for (size_t i = 0; i < strings_sent; i++)
		tp_wire_put(&out, "x", 2);
	struct tp_wire_frame frame = payload_of(&out);
	return tp_wire_get_exec(&frame, &back, strings);
}

Test(payloads, exec_out_of_bounds_is_refused)
{
	cr_assert(raw_exec_passes(0, 1, 0, 1));
	cr_assert_not(raw_exec_passes(0, 0, 1, 1), "no command");
	cr_assert_not(raw_exec_passes(4, 1, 0, 1), "unknown flag");
	cr_assert_not(raw_exec_passes(0, 2, 0, 1), "strings missing");
	cr_assert_not(raw_exec_passes(0, 65535, 65535, 600), "too many");
	cr_assert(raw_exec_passes(0, 256, 256, 512));
	cr_assert_not(raw_exec_passes(0, 257, 256, 513));
}

Test(payloads, hello_exit_and_failed)
{
	struct tp_wire_hello hello = {.protocol = 1, .boot_id = {3}, .build = "b 1"};
	struct tp_wire_hello hello_back;
	struct tp_wire_exit ex = {.kind = TP_WIRE_EXITED, .value = 255};
	struct tp_wire_exit ex_back;
	struct tp_wire_failed failed = {.error = 2, .text = "execute"};
	struct tp_wire_failed failed_back;

	tp_wire_begin(&out, TP_WIRE_HELLO, 0);
	tp_wire_put_hello(&out, &hello);
	CHECK_EXACT(tp_wire_get_hello, &hello_back);
	cr_assert_str_eq(hello_back.build, "b 1");
	tp_wire_begin(&out, TP_WIRE_EXIT, 0);
	tp_wire_put_exit(&out, &ex);
	CHECK_EXACT(tp_wire_get_exit, &ex_back);
	cr_assert_eq(ex_back.value, 255);
	tp_wire_begin(&out, TP_WIRE_FAILED, 0);
	tp_wire_put_failed(&out, &failed);
	CHECK_EXACT(tp_wire_get_failed, &failed_back);
	cr_assert_str_eq(failed_back.text, "execute");
}

static bool exit_passes(uint8_t kind, int32_t value)
{
	struct tp_wire_exit ex = {.kind = kind, .value = value};

	tp_wire_begin(&out, TP_WIRE_EXIT, 0);
	tp_wire_put_exit(&out, &ex);
	struct tp_wire_frame frame = payload_of(&out);
	return tp_wire_get_exit(&frame, &ex);
}

Test(payloads, exits_that_cannot_be_are_refused)
{
	cr_assert(exit_passes(TP_WIRE_EXITED, 0));
	cr_assert_not(exit_passes(TP_WIRE_EXITED, 256));
	cr_assert_not(exit_passes(TP_WIRE_EXITED, -1));
	cr_assert(exit_passes(TP_WIRE_SIGNALED, 9));
	cr_assert_not(exit_passes(TP_WIRE_SIGNALED, 0));
	cr_assert_not(exit_passes(2, 0));
}

Test(payloads, text_for_people_is_printable)
{
	struct tp_wire_failed failed = {.error = 2, .text = "\x1b[2J"};
	struct tp_wire_frame frame;

	tp_wire_begin(&out, TP_WIRE_FAILED, 0);
	tp_wire_put_failed(&out, &failed);
	frame = payload_of(&out);
	cr_assert_not(tp_wire_get_failed(&frame, &failed));
	memset(failed.text, 'x', sizeof(failed.text));
	tp_wire_begin(&out, TP_WIRE_FAILED, 0);
	tp_wire_put_failed(&out, &failed);
	frame = payload_of(&out);
	cr_assert(tp_wire_get_failed(&frame, &failed));
	cr_assert_eq(strlen(failed.text), TP_WIRE_MAX_TEXT, "cut to what fits");
}
