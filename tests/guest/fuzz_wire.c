/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes what reads bytes that nobody vouches for: the decoder and every payload, and the engine's
 * client as a guest that sends the input would meet it. The first byte chooses. What decodes must
 * encode to a frame that decodes to the same.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/helper.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* --- payloads --- */

static struct tp_wire_out out;

#define CHECK_PAYLOAD(frame, name)                                                                 \
	do {                                                                                       \
		struct tp_wire_##name v_;                                                          \
		if (!tp_wire_get_##name(frame, &v_))                                               \
			break;                                                                     \
		tp_wire_begin(&out, (enum tp_wire_type)(frame)->type, 0);                          \
		tp_wire_put_##name(&out, &v_);                                                     \
		require(!out.full && out.len == (frame)->len);                                     \
		require(memcmp(tp_wire_payload(&out), (frame)->payload, out.len) == 0);            \
	} while (0)

static void check_exec(const struct tp_wire_frame *frame)
{
	static const char *strings[TP_WIRE_MAX_STRINGS];
	struct tp_wire_exec exec;

	if (!tp_wire_get_exec(frame, &exec, strings))
		return;
	tp_wire_begin(&out, TP_WIRE_EXEC, 0);
	tp_wire_put_exec(&out, &exec, strings, strings + exec.argc);
	require(!out.full && out.len == frame->len);
	require(memcmp(tp_wire_payload(&out), frame->payload, out.len) == 0);
}

static void check_payloads(const struct tp_wire_frame *frame)
{
	CHECK_PAYLOAD(frame, ping);
	CHECK_PAYLOAD(frame, pong);
	CHECK_PAYLOAD(frame, hello);
	CHECK_PAYLOAD(frame, fresh);
	CHECK_PAYLOAD(frame, fresh_done);
	CHECK_PAYLOAD(frame, exit);
	CHECK_PAYLOAD(frame, failed);
	check_exec(frame);
}

/* --- frames --- */

static void check_round_trip(const struct tp_wire_frame *frame)
{
	static struct tp_wire_decoder again;
	static uint8_t wire[TP_WIRE_MAX_ENCODED];
	struct tp_wire_frame back;
	bool found;

	tp_wire_begin(&out, (enum tp_wire_type)frame->type, frame->stream);
	tp_wire_put(&out, frame->payload, frame->len);
	require(!out.full);
	size_t n = tp_wire_encode(&out, wire);
	require(n <= sizeof(wire) && memchr(wire, 0, n) == wire + n - 1);
	tp_wire_decoder_init(&again);
	require(tp_wire_decode(&again, wire, n, &back, &found) == n && found);
	require(back.type == frame->type && back.stream == frame->stream);
	require(back.len == frame->len && memcmp(back.payload, frame->payload, back.len) == 0);
}

static void fuzz_decoder(const uint8_t *data, size_t size)
{
	static struct tp_wire_decoder dec;

	tp_wire_decoder_init(&dec);
	while (size > 0) {
		struct tp_wire_frame frame;
		bool found;
		size_t used = tp_wire_decode(&dec, data, size, &frame, &found);
		require(used > 0 && used <= size);
		if (found) {
			check_round_trip(&frame);
			check_payloads(&frame);
		}
		data += used;
		size -= used;
	}
}

/* The input as a payload, from a block of its size, so that reading past it shows. */
static void fuzz_payload(const uint8_t *data, size_t size)
{
	struct tp_wire_frame frame = {.type = TP_WIRE_EXEC};

	if (size > TP_WIRE_MAX_PAYLOAD)
		return;
	uint8_t *copy = malloc(size ? size : 1);
	memcpy(copy, data, size);
	frame.payload = copy;
	frame.len = (uint32_t)size;
	check_payloads(&frame);
	free(copy);
}

/* --- the client --- */

/*
 * The input is a list of frames: type, length, payload. They come from a guest that knows the
 * stream and the nonce, as else nothing but the first check would be reached.
 */
static void send_frames(int fd, uint32_t stream, const uint8_t *data, size_t size)
{
	static uint8_t wire[TP_WIRE_MAX_ENCODED];

	while (size >= 2) {
		size_t len = TP_MIN(data[1], size - 2);
		tp_wire_begin(&out, (enum tp_wire_type)data[0], stream);
		tp_wire_put(&out, data + 2, len);
		size_t n = tp_wire_encode(&out, wire);
		if (send(fd, wire, n, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)n)
			return;
		data += 2 + len;
		size -= 2 + len;
	}
}

/* Reads what the client wrote, up to the frame of TYPE. */
static struct tp_wire_frame await(int fd, struct tp_wire_decoder *dec, enum tp_wire_type type)
{
	static uint8_t bytes[65536];
	struct tp_wire_frame frame = {0};
	ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	for (ssize_t at = 0; at < n;) {
		bool found;
		at += (ssize_t)tp_wire_decode(dec, bytes + at, (size_t)(n - at), &frame, &found);
		if (found && frame.type == type)
			break;
	}
	return frame;
}

static void answer_fresh(int fd, uint64_t nonce)
{
	static uint8_t wire[TP_WIRE_MAX_ENCODED];
	struct tp_wire_fresh_done done = {.nonce = nonce};

	tp_wire_begin(&out, TP_WIRE_FRESH_DONE, 0);
	tp_wire_put_fresh_done(&out, &done);
	size_t n = tp_wire_encode(&out, wire);
	require(send(fd, wire, n, MSG_NOSIGNAL) == (ssize_t)n);
}

static struct torpor_error *take(void *data, int stream, const void *bytes, size_t len)
{
	uint8_t *sum = data;

	require((stream == 1 || stream == 2) && len > 0 && len <= TP_WIRE_MAX_PAYLOAD);
	for (size_t i = 0; i < len; i++)
		*sum ^= ((const uint8_t *)bytes)[i];
	return NULL;
}

static struct torpor_error *give(void *data, void *bytes, size_t room, size_t *len_out)
{
	(void)data;
	require(room > 0 && room <= TP_WIRE_MAX_PAYLOAD);
	memset(bytes, 'x', room);
	*len_out = room;
	return NULL;
}

static void fuzz_client(const uint8_t *data, size_t size)
{
	static const char *const argv[] = {"true", NULL};
	static struct tp_wire_decoder dec;
	const struct tp_call call = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = -1};
	struct tp_call over = {.deadline_ns = 0, .cancel_fd = -1};
	struct tp_fresh fresh = {.nonce = 77};
	struct tp_fresh_done done;
	struct tp_exec_result result;
	struct tp_helper_pong pong;
	uint8_t sum = 0;
	struct tp_exec spec = {
		.argv = argv, .source = give, .sink = take, .data = &sum, .window = 1000};
	int fds[2];

	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	TP_CLEANUP(tp_helper_free) struct tp_helper *h = tp_helper_new(fds[0]);
	tp_wire_decoder_init(&dec);
	/* Attached by a FRESH that is answered, the next stream is known from a command cut short.
	 */
	torpor_error_free(tp_helper_send_fresh(h, &fresh, &call));
	answer_fresh(fds[1], fresh.nonce);
	torpor_error_free(tp_helper_wait_fresh(h, &fresh, &call, &done));
	torpor_error_free(tp_helper_exec(h, &spec, &over, &result));
	uint32_t stream = await(fds[1], &dec, TP_WIRE_EXEC).stream + 1;

	send_frames(fds[1], stream, data, size);
	/* The end of the connection ends the call whatever else was sent. */
	shutdown(fds[1], SHUT_WR);
	struct torpor_error *err = tp_helper_exec(h, &spec, &call, &result);
	if (!err)
		require(result.value >= 0 && result.value <= 255);
	torpor_error_free(err);
	torpor_error_free(tp_helper_ping(h, &call, &pong));
	close(fds[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	switch (data[0] % 3) {
	case 0:
		fuzz_decoder(data + 1, size - 1);
		break;
	case 1:
		fuzz_payload(data + 1, size - 1);
		break;
	default:
		fuzz_client(data + 1, size - 1);
		break;
	}
	return 0;
}
