/* SPDX-License-Identifier: Apache-2.0 */
/* One end of the wire, driven frame by frame. */
#ifndef TP_TESTS_GUEST_PEER_H
#define TP_TESTS_GUEST_PEER_H

#include "guest/wire.h"

struct peer {
	int fd;
	struct tp_wire_decoder dec;
	struct tp_wire_out out;
	struct tp_wire_frame frame; /* the last one received; its payload is in DEC */
	uint8_t rx[4096];
	size_t rx_at, rx_len;
};

void peer_init(struct peer *p, int fd);
/* Sends p->out, begun and filled by the caller. */
void peer_send(struct peer *p);
void peer_send_bytes(struct peer *p, const void *bytes, size_t len);
void peer_send_u32(struct peer *p, enum tp_wire_type type, uint32_t stream, uint32_t value);
void peer_send_data(
	struct peer *p, enum tp_wire_type type, uint32_t stream, const void *bytes, size_t len);

/* The next frame into p->frame; false when the other side closed. Aborts after 20 seconds. */
bool peer_receive(struct peer *p);
/* Passes frames over until one of TYPE comes; aborts if the other side closes before. */
void peer_expect(struct peer *p, enum tp_wire_type type);
/* Whether nothing comes for a while that is long for a local peer. */
bool peer_is_quiet(struct peer *p);

#endif
