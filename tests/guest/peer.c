/* SPDX-License-Identifier: Apache-2.0 */
/* One end of the wire, driven frame by frame. */
#include "peer.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define PATIENCE_MS 20000
#define QUIET_MS    200

void peer_init(struct peer *p, int fd)
{
	p->fd = fd;
	p->rx_at = p->rx_len = 0;
	tp_wire_decoder_init(&p->dec);
}

static void give_up(const char *why)
{
	fprintf(stderr, "peer: %s\n", why);
	abort();
}

void peer_send_bytes(struct peer *p, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len > 0) {
		ssize_t n = send(p->fd, at, len, MSG_NOSIGNAL);
		if (n < 0)
			return; /* the test looks at the other end */
		at += n;
		len -= (size_t)n;
	}
}

void peer_send(struct peer *p)
{
	static _Thread_local uint8_t bytes[TP_WIRE_MAX_ENCODED];

	peer_send_bytes(p, bytes, tp_wire_encode(&p->out, bytes));
}

void peer_send_u32(struct peer *p, enum tp_wire_type type, uint32_t stream, uint32_t value)
{
	tp_wire_begin(&p->out, type, stream);
	tp_wire_put_u32(&p->out, value);
	peer_send(p);
}

void peer_send_data(
	struct peer *p, enum tp_wire_type type, uint32_t stream, const void *bytes, size_t len)
{
	tp_wire_begin(&p->out, type, stream);
	tp_wire_put(&p->out, bytes, len);
	peer_send(p);
}

static bool readable_within(struct peer *p, int ms)
{
	struct pollfd one = {.fd = p->fd, .events = POLLIN};

	return poll(&one, 1, ms) > 0;
}

bool peer_receive(struct peer *p)
{
	for (;;) {
		bool found = false;
		while (!found && p->rx_at < p->rx_len)
			p->rx_at += tp_wire_decode(
				&p->dec, p->rx + p->rx_at, p->rx_len - p->rx_at, &p->frame, &found);
		if (found)
			return true;
		if (!readable_within(p, PATIENCE_MS))
			give_up("nothing came");
		ssize_t n = recv(p->fd, p->rx, sizeof(p->rx), 0);
		if (n <= 0)
			return false;
		p->rx_at = 0;
		p->rx_len = (size_t)n;
	}
}

void peer_expect(struct peer *p, enum tp_wire_type type)
{
	do {
		if (!peer_receive(p))
			give_up("the other side closed");
	} while (p->frame.type != type);
}

bool peer_is_quiet(struct peer *p)
{
	return p->rx_at == p->rx_len && !readable_within(p, QUIET_MS);
}
