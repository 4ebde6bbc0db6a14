/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's end of the resident helper: the object, signs of life, making fresh. */
#include "engine/helper.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>

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
	h->refs = 1;
	h->next_stream = (uint32_t)random_u64();
	h->asker.wake_fd = -1;
	h->ponged = h->fresh_done = true; /* nothing was asked */
	pthread_mutex_init(&h->lock, NULL);
	tp_wire_decoder_init(&h->dec);
	tp_link_join(h, &h->asker);
	return h;
}

int tp_helper_fd(const struct tp_helper *h)
{
	return h->fd;
}

void tp_helper_retire(
	struct tp_helper *h, enum torpor_errc code, const char *object, const char *why)
{
	tp_link_lock(h);
	if (!h->gone_why) {
		h->gone_code = code;
		h->gone_object = tp_strdup(object);
		h->gone_why = tp_strdup(why);
	}
	/* What has arrived can still be read; behind it is the end. */
	shutdown(h->fd, SHUT_RDWR);
	tp_link_wake_all(h);
	tp_link_unlock(h);
}

struct tp_helper *tp_helper_free(struct tp_helper *h)
{
	if (!h)
		return NULL;
	tp_link_lock(h);
	if (h->refs > 1)
		shutdown(h->fd, SHUT_RDWR);
	tp_link_unlock(h);
	tp_link_unref(h);
	return NULL;
}

bool tp_helper_drained(struct tp_helper *h)
{
	int unread = 0;

	tp_link_lock(h);
	bool drained = !tp_link_has_output(h);
	tp_link_unlock(h);
	return drained && ioctl(h->fd, SIOCOUTQ, &unread) == 0 && unread == 0;
}

/* --- requests --- */

/*
 * What an earlier request left unwritten goes first, so that it can't pile up. Who waits beside
 * commands is woken by their threads, which takes a descriptor.
 */
static struct torpor_error *begin(struct tp_helper *h, const struct tp_call *call, const char *step)
{
	h->asker_err = torpor_error_free(h->asker_err);
	h->stray = 0;
	if (h->commands && h->asker.wake_fd < 0) {
		h->asker.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (h->asker.wake_fd < 0)
			return tp_error_errno(errno, "make", "event descriptor");
	}
	return tp_link_flush(h, &h->asker, call, step);
}

/* Until *ANSWERED, which tp_asker_take sets. */
static struct torpor_error *await(
	struct tp_helper *h, const bool *answered, const struct tp_call *call, const char *step)
{
	bool ready;

	while (!*answered) {
		if (h->asker_err)
			return TP_TAKE(h->asker_err);
		TP_TRY(tp_link_check(h));
		TP_TRY(tp_link_wait(h, &h->asker, call, step, -1, &ready));
	}
	return NULL;
}

void tp_asker_fail(struct tp_helper *h, struct torpor_error *err)
{
	if (h->asker_err)
		torpor_error_free(err); /* the first says it */
	else
		h->asker_err = err;
	tp_link_wake(&h->asker);
}

static void take_hello(struct tp_helper *h, const struct tp_wire_frame *frame)
{
	static const char step[] = "listen to";
	struct tp_wire_hello hello;

	/* It was heard before, so this isn't its first: it knows nothing of its commands any more.
	 */
	if (h->attached)
		tp_commands_fail(h, "it was started anew while the command ran");
	/* A HELLO of another protocol is the only thing that such a helper could tell us. */
	if (!tp_wire_get_hello(frame, &hello))
		tp_asker_fail(h, tp_link_malformed(step, "HELLO"));
	else if (hello.protocol != TP_WIRE_VERSION)
		tp_asker_fail(h,
			tp_error_hint(tp_error(TORPOR_E_MISMATCH, step, HELPER_PEER,
					      "it speaks protocol %u (%s), this is %u",
					      hello.protocol, hello.build, TP_WIRE_VERSION),
				"build the guest again with this version's scripts/build-guest"));
}

static void take_pong(struct tp_helper *h, const struct tp_wire_frame *frame)
{
	struct tp_wire_pong pong;

	if (!tp_wire_get_pong(frame, &pong)) {
		tp_asker_fail(h, tp_link_malformed("ping", "PONG"));
		return;
	}
	if (h->ponged || pong.nonce != h->ping_nonce)
		return;
	h->stray = 0;
	h->attached = true;
	h->ponged = true;
	h->pong = pong;
	tp_link_wake(&h->asker);
}

/* Whether commands are still attached is for this side to know, and nobody else's step. */
static void take_kept(struct tp_helper *h, struct tp_wire_fresh_done *done)
{
	if (!(done->done & TP_WIRE_STEP_KEEP)) {
		h->cannot_keep = true;
		tp_commands_fail(h, "it is of an earlier version, and let go of its commands when "
				    "the guest had stood still");
	}
	done->done &= ~(uint32_t)TP_WIRE_STEP_KEEP;
	done->failed &= ~(uint32_t)TP_WIRE_STEP_KEEP;
	if (!done->failed)
		done->error = 0;
}

static void take_fresh_done(struct tp_helper *h, const struct tp_wire_frame *frame)
{
	struct tp_wire_fresh_done done;

	if (!tp_wire_get_fresh_done(frame, &done)) {
		tp_asker_fail(h, tp_link_malformed("make the clone fresh", "FRESH_DONE"));
		return;
	}
	if (h->fresh_done || done.nonce != h->fresh_nonce)
		return;
	if (h->kept)
		take_kept(h, &done);
	h->stray = 0;
	h->attached = true;
	h->fresh_done = true;
	h->done = done;
	tp_link_wake(&h->asker);
}

void tp_asker_take(struct tp_helper *h, const struct tp_wire_frame *frame)
{
	if (frame->type == TP_WIRE_HELLO)
		take_hello(h, frame);
	else if (frame->type == TP_WIRE_PONG)
		take_pong(h, frame);
	else
		take_fresh_done(h, frame);
}

/* --- ping --- */

static struct torpor_error *ping(struct tp_helper *h, const struct tp_call *call)
{
	static const char step[] = "ping";
	struct tp_wire_out out;

	TP_TRY(begin(h, call, step));
	struct tp_wire_ping question = {
		.nonce = random_u64(),
		.flags = h->attached ? 0 : TP_WIRE_PING_ATTACH,
	};
	h->ping_nonce = question.nonce;
	h->ponged = false;
	tp_wire_begin(&out, TP_WIRE_PING, 0);
	tp_wire_put_ping(&out, &question);
	tp_link_queue(h, &out);
	tp_link_write(h);
	return await(h, &h->ponged, call, step);
}

struct torpor_error *tp_helper_ping(
	struct tp_helper *h, const struct tp_call *call, struct tp_helper_pong *pong_out)
{
	tp_link_lock(h);
	struct torpor_error *err = ping(h, call);
	if (!err) {
		memcpy(pong_out->boot_id, h->pong.boot_id, sizeof(h->pong.boot_id));
		pong_out->realtime_ns = h->pong.realtime_ns;
	}
	tp_link_unlock(h);
	return err;
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

/* Whether the commands of this connection are to go on; those that can't are told so. */
static bool keeps_commands(struct tp_helper *h)
{
	if (!tp_commands_any(h))
		return false;
	if (h->cannot_keep)
		tp_commands_fail(h, "it lets go of its commands when the guest has stood still");
	return !h->cannot_keep;
}

static struct torpor_error *send_fresh(
	struct tp_helper *h, const struct tp_wire_fresh *fresh, const struct tp_call *call)
{
	static const char step[] = "send the clone's identity to";
	struct tp_wire_fresh wire = *fresh;
	struct tp_wire_out out;

	TP_TRY(begin(h, call, step));
	h->kept = keeps_commands(h);
	h->fresh_nonce = wire.nonce;
	h->fresh_done = false;
	wire.steps |= h->kept ? TP_WIRE_STEP_KEEP : 0;
	tp_wire_begin(&out, TP_WIRE_FRESH, 0);
	tp_wire_put_fresh(&out, &wire);
	tp_link_queue(h, &out);
	explicit_bzero(&out, sizeof(out));
	TP_TRY(tp_link_flush(h, &h->asker, call, step));
	return tp_link_check(h);
}

struct torpor_error *tp_helper_send_fresh(
	struct tp_helper *h, const struct tp_fresh *fresh, const struct tp_call *call)
{
	struct tp_wire_fresh wire = {
		.nonce = fresh->nonce,
		.steps = fresh->steps,
		.realtime_ns = fresh->realtime_ns,
	};

	TP_TRY(check_fresh(fresh));
	memcpy(wire.machine_id, fresh->machine_id, sizeof(wire.machine_id));
	if (fresh->steps & TP_WIRE_STEP_SEED) {
		wire.seed = fresh->seed;
		wire.seed_len = (uint8_t)fresh->seed_len;
	}
	if (fresh->steps & TP_WIRE_STEP_HOSTNAME) {
		wire.hostname = fresh->hostname;
		wire.hostname_len = (uint8_t)strlen(fresh->hostname);
	}
	tp_link_lock(h);
	struct torpor_error *err = send_fresh(h, &wire, call);
	tp_link_unlock(h);
	return err;
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
	struct tp_wire_fresh_done done = {0};

	tp_link_lock(h);
	assert(fresh->nonce == h->fresh_nonce);
	h->stray = 0;
	struct torpor_error *err = await(h, &h->fresh_done, call, "wait for a fresh clone from");
	if (!err)
		done = h->done;
	tp_link_unlock(h);
	TP_TRY(err);
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
