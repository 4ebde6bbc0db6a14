/* SPDX-License-Identifier: Apache-2.0 */
/* Frames over the connection to the helper. */
#include "engine/helper_link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * What a guest may send on end that has nothing to do with the call: more than all commands of
 * earlier hosts can have left behind.
 */
#define MAX_STRAY (8 * TP_MIB)

/* --- bytes --- */

static struct torpor_error *connection_lost(void)
{
	return tp_error(TORPOR_E_QEMU, "talk to", HELPER_PEER, "QEMU closed the connection");
}

/* Writes as much as fits without blocking. */
struct torpor_error *tp_link_write_some(struct tp_helper *h)
{
	while (h->out_at < h->out.len) {
		ssize_t n = send(h->fd, h->out.data + h->out_at, h->out.len - h->out_at,
			MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return NULL;
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return connection_lost();
		if (n < 0)
			return tp_error_errno(errno, "write to", HELPER_PEER);
		h->out_at += (size_t)n;
	}
	h->out.len = h->out_at = 0;
	return NULL;
}

/* Reads what is there; only to be called when all that was read before is decoded. */
static struct torpor_error *read_some(struct tp_helper *h)
{
	assert(h->rx_at == h->rx_len);
	ssize_t n = recv(h->fd, h->rx, sizeof(h->rx), MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return connection_lost();
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return tp_error_errno(errno, "read from", HELPER_PEER);
	h->rx_at = 0;
	h->rx_len = n > 0 ? (size_t)n : 0;
	h->stray += h->rx_len;
	if (h->stray > MAX_STRAY)
		return tp_error(TORPOR_E_GUEST, "read from", HELPER_PEER,
			"it floods the connection with what wasn't asked for");
	return NULL;
}

bool tp_link_has_output(const struct tp_helper *h)
{
	return h->out_at < h->out.len;
}

struct torpor_error *tp_link_exchange(struct tp_helper *h, const struct tp_call *call,
	const char *step, int also_fd, bool *also_out)
{
	struct pollfd fds[2] = {
		{.fd = h->fd, .events = POLLIN | (tp_link_has_output(h) ? POLLOUT : 0)},
		{.fd = also_fd, .events = POLLIN},
	};

	/* Waiting reports a deadline only if nothing is ready, and a flood is always ready. */
	TP_TRY(tp_call_check(call, step, HELPER_PEER));
	TP_TRY(tp_wait_fds(fds, 2, call, step, HELPER_PEER));
	*also_out = fds[1].revents != 0;
	if (fds[0].revents & (POLLOUT | POLLERR))
		TP_TRY(tp_link_write_some(h));
	if (fds[0].revents & ~POLLOUT)
		TP_TRY(read_some(h));
	return NULL;
}

bool tp_link_next(struct tp_helper *h, struct tp_wire_frame *frame)
{
	bool found = false;

	while (!found && h->rx_at < h->rx_len)
		h->rx_at += tp_wire_decode(
			&h->dec, h->rx + h->rx_at, h->rx_len - h->rx_at, frame, &found);
	return found;
}

struct torpor_error *tp_link_wait(struct tp_helper *h, const struct tp_call *call, const char *step,
	struct tp_wire_frame *frame)
{
	bool ready;

	while (!tp_link_next(h, frame))
		TP_TRY(tp_link_exchange(h, call, step, -1, &ready));
	return NULL;
}

/* --- frames --- */

void tp_link_queue(struct tp_helper *h, struct tp_wire_out *frame)
{
	size_t most = TP_WIRE_ENCODED(TP_WIRE_HEADER + frame->len + TP_WIRE_CHECK);

	assert(!frame->full);
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

struct torpor_error *tp_link_flush(
	struct tp_helper *h, const struct tp_call *call, const char *step)
{
	struct tp_wire_frame stale;
	bool ready;

	TP_TRY(tp_link_write_some(h));
	while (tp_link_has_output(h)) {
		while (tp_link_next(h, &stale))
			continue;
		TP_TRY(tp_link_exchange(h, call, step, -1, &ready));
	}
	return NULL;
}

struct torpor_error *tp_link_begin(
	struct tp_helper *h, const struct tp_call *call, const char *step)
{
	h->stray = 0;
	return tp_link_flush(h, call, step);
}

struct torpor_error *tp_link_malformed(const char *step, const char *what)
{
	return tp_error(TORPOR_E_GUEST, step, HELPER_PEER, "it sent a malformed %s", what);
}

struct torpor_error *tp_link_check_hello(const struct tp_wire_frame *frame, const char *step)
{
	struct tp_wire_hello hello;

	if (!tp_wire_get_hello(frame, &hello))
		return tp_link_malformed(step, "HELLO");
	if (hello.protocol != TP_WIRE_VERSION)
		return tp_error_hint(tp_error(TORPOR_E_MISMATCH, step, HELPER_PEER,
					     "it speaks protocol %u (%s), this is %u",
					     hello.protocol, hello.build, TP_WIRE_VERSION),
			"build the guest again with this version's scripts/build-guest");
	return NULL;
}
