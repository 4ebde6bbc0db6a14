/* SPDX-License-Identifier: Apache-2.0 */
/* The connection to the helper, for helper.c and helper_exec.c: frames out, frames in. */
#ifndef TP_ENGINE_HELPER_LINK_H
#define TP_ENGINE_HELPER_LINK_H

#include "base/buf.h"
#include "engine/helper.h"

/* What messages call the other end. */
#define HELPER_PEER "the helper in the guest"

struct tp_helper {
	int fd;	       /* owned */
	bool attached; /* the guest has answered us, so earlier hosts' commands are detached */
	bool opened;   /* something was sent */
	uint32_t next_stream;

	struct tp_buf out; /* encoded; [out_at, out.len) is still to be written */
	size_t out_at;

	struct tp_wire_decoder dec;
	uint8_t rx[16384];
	size_t rx_at; /* [rx_at, rx_len) is still to be decoded */
	size_t rx_len;
	uint64_t stray; /* bytes received since something was received that was waited for */
};

/* Every call begins here: what an earlier one left unwritten goes first, so it can't pile up. */
struct torpor_error *tp_link_begin(
	struct tp_helper *h, const struct tp_call *call, const char *step) TP_MUST_USE;

/* Encodes a frame behind what is still to be written. */
void tp_link_queue(struct tp_helper *h, struct tp_wire_out *frame);
void tp_link_queue_u32(
	struct tp_helper *h, enum tp_wire_type type, uint32_t stream, uint32_t value);
void tp_link_queue_empty(struct tp_helper *h, enum tp_wire_type type, uint32_t stream);

/*
 * Writes all that is due. Frames are read meanwhile and dropped: the guest must not wait for us to
 * read while we wait for it, and what came before the last byte of a request is no answer to it.
 * What is read last may be one, so it stays.
 */
struct torpor_error *tp_link_flush(
	struct tp_helper *h, const struct tp_call *call, const char *step) TP_MUST_USE;

/* Writes what the socket takes now, without waiting. */
struct torpor_error *tp_link_write_some(struct tp_helper *h) TP_MUST_USE;

/* Whether something is still to be written. */
bool tp_link_has_output(const struct tp_helper *h);

/*
 * Waits until something can be read or what is due can be written, and does it. ALSO_FD (or -1)
 * is waited for too; *ALSO_OUT says whether it is ready.
 */
struct torpor_error *tp_link_exchange(struct tp_helper *h, const struct tp_call *call,
	const char *step, int also_fd, bool *also_out) TP_MUST_USE;

/* The next sound frame of what was read; false if there is none. Valid until the next. */
bool tp_link_next(struct tp_helper *h, struct tp_wire_frame *frame);

/* The same, waiting for it. */
struct torpor_error *tp_link_wait(struct tp_helper *h, const struct tp_call *call, const char *step,
	struct tp_wire_frame *frame) TP_MUST_USE;

/* A HELLO of another protocol is the only thing that such a helper could tell us. */
struct torpor_error *tp_link_check_hello(
	const struct tp_wire_frame *frame, const char *step) TP_MUST_USE;

struct torpor_error *tp_link_malformed(const char *step, const char *what) TP_MUST_USE;

#endif
