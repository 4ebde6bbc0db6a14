/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's end of the resident helper: the object, signs of life, making fresh. */
#include "engine/helper.h"

#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>

#include "base/fd.h"
#include "base/mem.h"
#include "engine/helper_link.h"

/* Starts from anywhere, so that frames for an earlier host's streams aren't taken for ours. */
static uint64_t random_u64(void)
{
	uint64_t v = 0;

	if (getrandom(&v, sizeof(v), 0) != (ssize_t)sizeof(v))
		v = tp_now_ns();
	return v;
}

struct tp_helper *tp_helper_new(int fd)
{
	struct tp_helper *h = tp_calloc(1, sizeof(*h));

	h->fd = fd;
	h->next_stream = (uint32_t)random_u64();
	tp_wire_decoder_init(&h->dec);
	return h;
}

int tp_helper_fd(const struct tp_helper *h)
{
	return h->fd;
}

struct tp_helper *tp_helper_free(struct tp_helper *h)
{
	if (h) {
		tp_close(h->fd);
		tp_buf_deinit(&h->out);
		free(h);
	}
	return NULL;
}

bool tp_helper_drained(const struct tp_helper *h)
{
	int unread = 0;

	return !tp_link_has_output(h) && ioctl(h->fd, SIOCOUTQ, &unread) == 0 && unread == 0;
}

/* --- ping --- */

struct torpor_error *tp_helper_ping(
	struct tp_helper *h, const struct tp_call *call, struct tp_helper_pong *pong_out)
{
	static const char step[] = "ping";
	struct tp_wire_ping ping = {
		.nonce = random_u64(),
		.flags = h->attached ? 0 : TP_WIRE_PING_ATTACH,
	};
	struct tp_wire_out out;
	struct tp_wire_frame frame;
	struct tp_wire_pong pong;

	TP_TRY(tp_link_begin(h, call, step));
	tp_wire_begin(&out, TP_WIRE_PING, 0);
	tp_wire_put_ping(&out, &ping);
	tp_link_queue(h, &out);
	for (;;) {
		TP_TRY(tp_link_wait(h, call, step, &frame));
		if (frame.type == TP_WIRE_HELLO)
			TP_TRY(tp_link_check_hello(&frame, step));
		if (frame.type != TP_WIRE_PONG)
			continue;
		if (!tp_wire_get_pong(&frame, &pong))
			return tp_link_malformed(step, "PONG");
		if (pong.nonce == ping.nonce)
			break;
	}
	h->attached = true;
	memcpy(pong_out->boot_id, pong.boot_id, sizeof(pong.boot_id));
	pong_out->realtime_ns = pong.realtime_ns;
	return NULL;
}

/* --- fresh --- */

static struct torpor_error *check_fresh(const struct tp_fresh *fresh)
{
	static const char step[] = "make the clone fresh";

	if (fresh->steps == TP_WIRE_STEP_CLOCK_SHIFT)
		return NULL;
	if (fresh->steps & ~TP_WIRE_ALL_STEPS)
		return tp_error(TORPOR_E_INVALID, step, NULL, "unknown steps %#x",
			fresh->steps & ~TP_WIRE_ALL_STEPS);
	if ((fresh->steps & TP_WIRE_STEP_CLOCK) && fresh->realtime_ns < 0)
		return tp_error(TORPOR_E_INVALID, step, NULL, "a time before 1970");
	if ((fresh->steps & TP_WIRE_STEP_SEED) &&
		(fresh->seed_len < TP_WIRE_MIN_SEED || fresh->seed_len > TP_WIRE_MAX_SEED))
		return tp_error(TORPOR_E_INVALID, step, NULL, "a seed of %zu bytes, not %u to %u",
			fresh->seed_len, TP_WIRE_MIN_SEED, TP_WIRE_MAX_SEED);
	if ((fresh->steps & TP_WIRE_STEP_HOSTNAME) &&
		!tp_wire_hostname_is_sound(fresh->hostname, strlen(fresh->hostname)))
		return tp_error(
			TORPOR_E_INVALID, step, NULL, "%s is no host name", fresh->hostname);
	return NULL;
}

struct torpor_error *tp_helper_send_fresh(
	struct tp_helper *h, const struct tp_fresh *fresh, const struct tp_call *call)
{
	static const char step[] = "send the clone's identity to";
	struct tp_wire_fresh wire = {
		.nonce = fresh->nonce,
		.steps = fresh->steps,
		.realtime_ns = fresh->realtime_ns,
	};
	struct tp_wire_out out;

	TP_TRY(check_fresh(fresh));
	TP_TRY(tp_link_begin(h, call, step));
	memcpy(wire.machine_id, fresh->machine_id, sizeof(wire.machine_id));
	if (fresh->steps & TP_WIRE_STEP_SEED) {
		wire.seed = fresh->seed;
		wire.seed_len = (uint8_t)fresh->seed_len;
	}
	if (fresh->steps & TP_WIRE_STEP_HOSTNAME) {
		wire.hostname = fresh->hostname;
		wire.hostname_len = (uint8_t)strlen(fresh->hostname);
	}
	tp_wire_begin(&out, TP_WIRE_FRESH, 0);
	tp_wire_put_fresh(&out, &wire);
	tp_link_queue(h, &out);
	explicit_bzero(&out, sizeof(out));
	return tp_link_flush(h, call, step);
}

static const char *step_name(uint32_t steps)
{
	if (steps & TP_WIRE_STEP_SEED)
		return "reseed the random generator";
	if (steps & (TP_WIRE_STEP_CLOCK | TP_WIRE_STEP_CLOCK_SHIFT))
		return "set the clock";
	if (steps & TP_WIRE_STEP_HOSTNAME)
		return "set the host name";
	return "set the machine id";
}

/* Judges an answer that belongs to FRESH. */
static struct torpor_error *check_fresh_done(
	const struct tp_fresh *fresh, const struct tp_wire_fresh_done *done)
{
	uint32_t failed = done->failed & ~fresh->optional;

	if ((done->done | done->failed) != fresh->steps)
		return tp_error(TORPOR_E_GUEST, "make the clone fresh", HELPER_PEER,
			"it was asked for steps %#x and answered %#x", fresh->steps,
			done->done | done->failed);
	if (failed)
		return tp_error(TORPOR_E_GUEST, "make the clone fresh", HELPER_PEER,
			"it could not %s (errno %d)", step_name(failed), done->error);
	return NULL;
}

struct torpor_error *tp_helper_wait_fresh(struct tp_helper *h, const struct tp_fresh *fresh,
	const struct tp_call *call, struct tp_fresh_done *done_out)
{
	static const char step[] = "wait for a fresh clone from";
	struct tp_wire_fresh_done done;
	struct tp_wire_frame frame;

	h->stray = 0;
	do {
		TP_TRY(tp_link_wait(h, call, step, &frame));
		if (frame.type == TP_WIRE_FRESH_DONE && !tp_wire_get_fresh_done(&frame, &done))
			return tp_link_malformed(step, "FRESH_DONE");
	} while (frame.type != TP_WIRE_FRESH_DONE || done.nonce != fresh->nonce);
	h->attached = true;
	TP_TRY(check_fresh_done(fresh, &done));
	*done_out = (struct tp_fresh_done){
		.done = done.done,
		.failed = done.failed,
		.error = done.error,
		.count = done.count,
		.realtime_ns = done.realtime_ns,
		.boottime_ns = done.boottime_ns,
	};
	return NULL;
}
