/* SPDX-License-Identifier: Apache-2.0 */
/* Frames over the connection to the helper, and those who wait for them. */
#include "engine/helper_link.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/mem.h"

/*
 * What a guest may send on end that has nothing to do with anything that is going on: more than all
 * commands of earlier hosts can have left behind.
 */
#define MAX_STRAY (8 * TP_MIB)

/* --- who waits --- */

void tp_link_join(struct tp_helper *h, struct tp_link_waiter *waiter)
{
	waiter->next = h->waiters;
	h->waiters = waiter;
}

void tp_link_part(struct tp_helper *h, struct tp_link_waiter *waiter)
{
	struct tp_link_waiter **at = &h->waiters;

	assert(!waiter->waits);
	while (*at != waiter)
		at = &(*at)->next;
	*at = waiter->next;
	waiter->wake_fd = tp_close(waiter->wake_fd);
}

void tp_link_wake(struct tp_link_waiter *waiter)
{
	if (!waiter->waits || waiter->woken || waiter->wake_fd < 0)
		return;
	eventfd_write(waiter->wake_fd, 1); /* can't fail: it is zero now */
	waiter->woken = true;
}

void tp_link_wake_all(struct tp_helper *h)
{
	for (struct tp_link_waiter *waiter = h->waiters; waiter; waiter = waiter->next)
		tp_link_wake(waiter);
}

/* Has somebody read, if nobody does and somebody waits. */
static void pass_on(struct tp_helper *h)
{
	struct tp_link_waiter *waiter = h->waiters;

	if (h->reader || h->lost)
		return;
	while (waiter && !waiter->waits)
		waiter = waiter->next;
	if (waiter)
		tp_link_wake(waiter);
}

void tp_link_unlock(struct tp_helper *h)
{
	pass_on(h);
	pthread_mutex_unlock(&h->lock);
}

void tp_link_unref(struct tp_helper *h)
{
	tp_link_lock(h);
	bool last = --h->refs == 0;
	tp_link_unlock(h);
	if (!last)
		return;
	tp_close(h->fd);
	tp_close(h->asker.wake_fd);
	torpor_error_free(h->asker_err);
	free(h->gone_object);
	free(h->gone_why);
	tp_buf_deinit(&h->out);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* --- bytes --- */

/* Nothing more comes. */
static void lose(struct tp_helper *h, int errnum)
{
	h->lost = true;
	h->lost_errno = errnum;
	h->out.len = h->out_at = 0;
	tp_link_wake_all(h);
}

struct torpor_error *tp_link_check(const struct tp_helper *h)
{
	if (!h->lost)
		return NULL;
	if (h->lost_errno)
		return tp_error_errno(h->lost_errno, "talk to", HELPER_PEER);
	return tp_error(TORPOR_E_QEMU, "talk to", HELPER_PEER, "QEMU closed the connection");
}

bool tp_link_has_output(const struct tp_helper *h)
{
	return h->out_at < h->out.len;
}

/* False if the socket takes no more now. */
static bool write_once(struct tp_helper *h)
{
	ssize_t n = send(h->fd, h->out.data + h->out_at, h->out.len - h->out_at,
		MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0) {
		h->out_at += (size_t)n;
	} else if (errno == EPIPE || errno == ECONNRESET) {
		/* What the other end has sent before it went is read all the same. */
		h->unheard = true;
		h->out_at = h->out.len;
	} else if (errno != EAGAIN && errno != EINTR) {
		lose(h, errno);
	}
	return n >= 0 || errno != EAGAIN;
}

void tp_link_write(struct tp_helper *h)
{
	while (tp_link_has_output(h) && write_once(h))
		continue;
	if (tp_link_has_output(h)) {
		h->clogged = true;
		/* It polls for room from now on. */
		if (h->reader)
			tp_link_wake(h->reader);
		return;
	}
	h->out.len = h->out_at = 0;
	/* Some may wait for this. */
	if (h->clogged)
		tp_link_wake_all(h);
	h->clogged = false;
}

static void hand_out(struct tp_helper *h, const struct tp_wire_frame *frame)
{
	switch (frame->type) {
	case TP_WIRE_HELLO:
	case TP_WIRE_PONG:
	case TP_WIRE_FRESH_DONE:
		tp_asker_take(h, frame);
		break;
	default:
		tp_commands_take(h, frame);
		break;
	}
}

static void check_stray(struct tp_helper *h)
{
	static const char flood[] = "it floods the connection with what wasn't asked for";

	if (h->stray <= MAX_STRAY)
		return;
	h->stray = 0;
	tp_commands_fail(h, flood);
	tp_asker_fail(h, tp_error(TORPOR_E_GUEST, "read from", HELPER_PEER, "%s", flood));
}

/* Reads once, and hands out what that completes. */
static void read_some(struct tp_helper *h)
{
	ssize_t n = recv(h->fd, h->rx, sizeof(h->rx), MSG_DONTWAIT);
	struct tp_wire_frame frame;

	if (n == 0 || (n < 0 && errno == ECONNRESET))
		lose(h, 0);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		lose(h, errno);
	if (n <= 0)
		return;
	h->stray += (uint64_t)n;
	for (size_t at = 0; at < (size_t)n;) {
		bool found;
		at += tp_wire_decode(&h->dec, h->rx + at, (size_t)n - at, &frame, &found);
		if (found)
			hand_out(h, &frame);
	}
	check_stray(h);
}

static void exchange(struct tp_helper *h, short revents)
{
	if (revents & ~POLLOUT)
		read_some(h);
	/* Frames that were read may have been answered. */
	tp_link_write(h);
}

static void stop_waiting(struct tp_helper *h, struct tp_link_waiter *waiter)
{
	eventfd_t count;

	if (h->reader == waiter)
		h->reader = NULL;
	waiter->waits = false;
	if (waiter->woken)
		eventfd_read(waiter->wake_fd, &count);
	waiter->woken = false;
}

struct torpor_error *tp_link_wait(struct tp_helper *h, struct tp_link_waiter *waiter,
	const struct tp_call *call, const char *step, int also_fd, bool *also_out)
{
	bool reads = !h->reader && !h->lost;
	struct pollfd fds[] = {
		{.fd = waiter->wake_fd, .events = POLLIN},
		{.fd = also_fd, .events = POLLIN},
		{.fd = reads ? h->fd : -1,
			.events = (short)(POLLIN | (tp_link_has_output(h) ? POLLOUT : 0))},
	};

	if (reads)
		h->reader = waiter;
	waiter->waits = true;
	pthread_mutex_unlock(&h->lock);
	/* Waiting reports a deadline only if nothing is ready, and a flood is always ready. */
	struct torpor_error *err = tp_call_check(call, step, HELPER_PEER);
	if (!err)
		err = tp_wait_fds(fds, TP_ARRAY_LEN(fds), call, step, HELPER_PEER);
	pthread_mutex_lock(&h->lock);
	stop_waiting(h, waiter);
	if (err)
		return err;
	*also_out = fds[1].revents != 0;
	if (fds[2].revents)
		exchange(h, fds[2].revents);
	return NULL;
}

/* --- frames --- */

void tp_link_queue(struct tp_helper *h, struct tp_wire_out *frame)
{
	size_t most = TP_WIRE_ENCODED(TP_WIRE_HEADER + frame->len + TP_WIRE_CHECK);

	assert(!frame->full);
	if (h->unheard || h->lost)
		return;
	/* Ends what an earlier host may have left unfinished. */
	if (!h->opened)
		tp_buf_put_u8(&h->out, 0);
	h->opened = true;
	uint8_t *to = tp_buf_extend(&h->out, most);
	h->out.len -= most - tp_wire_encode(frame, to);
}

void tp_link_queue_u32(struct tp_helper *h, enum tp_wire_type type, uint32_t stream, uint32_t value)
{
	struct tp_wire_out frame;

	tp_wire_begin(&frame, type, stream);
	tp_wire_put_u32(&frame, value);
	tp_link_queue(h, &frame);
}

void tp_link_queue_empty(struct tp_helper *h, enum tp_wire_type type, uint32_t stream)
{
	struct tp_wire_out frame;

	tp_wire_begin(&frame, type, stream);
	tp_link_queue(h, &frame);
}

struct torpor_error *tp_link_flush(struct tp_helper *h, struct tp_link_waiter *waiter,
	const struct tp_call *call, const char *step)
{
	bool ready;

	tp_link_write(h);
	while (tp_link_has_output(h))
		TP_TRY(tp_link_wait(h, waiter, call, step, -1, &ready));
	return NULL;
}

struct torpor_error *tp_link_malformed(const char *step, const char *what)
{
	return tp_error(TORPOR_E_GUEST, step, HELPER_PEER, "it sent a malformed %s", what);
}
