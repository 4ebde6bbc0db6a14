/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resident helper: one process, one thread, one struct tp_guest, everything preallocated.
 *
 * It is part of every template and woken in every clone, and each page that it touches is a page
 * that the clone must have of its own. So nothing is allocated after the start, buffers are used
 * from their beginning whenever they are empty, and making a clone fresh touches no command.
 *
 * All descriptors are watched edge-triggered: a virtio port without a host is "hung up" for as
 * long as that lasts, and would keep a level-triggered loop spinning. What an edge announced is
 * remembered in a flag until the descriptor says EAGAIN.
 */
#ifndef TP_GUEST_HELPER_H
#define TP_GUEST_HELPER_H

#include <sys/types.h>

#include "guest/wire.h"

#define TP_GUEST_COMMANDS TP_WIRE_MAX_COMMANDS

/* Room kept free for the answer to any one request. */
#define TP_GUEST_REPLY_ROOM 256u

/* What a FRESH changes, so that tests don't change the machine they run on. */
struct tp_guest_world {
	/* These return 0, or an errno. */
	int (*seed)(const uint8_t *seed, size_t len);
	int (*set_clock)(int64_t realtime_ns);
	int (*shift_clock)(int64_t by_ns);
	int (*set_hostname)(const char *name, size_t len);
	const char *hostname_path;
	const char *machine_id_path;
};
extern const struct tp_guest_world tp_guest_this_machine;

/* The host's end of a command's pipes. */
struct tp_guest_pipe {
	int fd;	      /* owned, non-blocking; -1 when closed */
	bool ready;   /* an edge said so, and no EAGAIN since */
	int32_t last; /* after the command's exit: bytes still to be forwarded; else -1 */
};

/*
 * A command. A detached one is nobody's: its output is read and thrown away, until its slot is
 * needed. The slot is free again when the process has ended and the host (if it still listens) was
 * told.
 */
struct tp_guest_command {
	pid_t pid; /* 0: the slot is free */
	uint32_t stream;
	bool detached;
	uint32_t detached_as; /* of detach_count */
	bool ended;	      /* reaped; STATUS is set */
	int status;
	uint32_t window; /* bytes of output that the host has room for */
	struct tp_guest_pipe in, out, err;
	bool in_eof;	/* nothing comes behind what is in IN_BYTES */
	uint32_t in_at; /* [in_at, in_len) of in_bytes waits to be written */
	uint32_t in_len;
	uint32_t in_granted; /* bytes that the host may still send */
	uint8_t *in_bytes;   /* TP_WIRE_STDIN_WINDOW */
};

struct tp_guest {
	const struct tp_guest_world *world;
	int epoll;
	int port;
	int signals;

	bool readable; /* flags of the port, as in struct tp_guest_pipe */
	bool writable;
	bool hung_up;
	bool child_ended;
	int error; /* why serving can't go on */

	uint32_t fresh_count;
	uint32_t detach_count;
	uint32_t next_command; /* whose turn it is to send output */
	uint8_t boot_id[TP_WIRE_ID_SIZE];

	uint32_t rx_at; /* [rx_at, rx_len) of rx is not decoded yet */
	uint32_t rx_len;
	uint32_t tx_at; /* [tx_at, tx_len) of tx is not written yet */
	uint32_t tx_len;
	uint8_t rx[4096];
	struct tp_wire_decoder dec;
	struct tp_wire_out out;
	uint8_t tx[TP_WIRE_MAX_ENCODED + 8 * TP_GUEST_REPLY_ROOM];
	struct tp_guest_command commands[TP_GUEST_COMMANDS];
	uint8_t in_bytes[TP_GUEST_COMMANDS][TP_WIRE_STDIN_WINDOW];
};

/*
 * Serves PORT (the caller's, non-blocking) for as long as it is plugged in, whether a host is there
 * or not. Returns the errno that ended it. SIGCHLD gets blocked and SIGPIPE ignored, so there is
 * one per process. G is all zero before. Descriptors 0 to 2 must be open.
 */
int tp_guest_serve(struct tp_guest *g, int port, const struct tp_guest_world *world);

/* --- between the helper's files --- */

/* Sends the frame in g->out; there must be room (tp_guest_tx_room). */
void tp_guest_send(struct tp_guest *g);
size_t tp_guest_tx_room(const struct tp_guest *g);

/* helper_fresh.c: carries the steps out; what failed is in DONE. */
void tp_guest_fresh(const struct tp_guest_world *world, const struct tp_wire_fresh *fresh,
	struct tp_wire_fresh_done *done);

/* helper_command.c. Requests that make no sense any more (a command that is gone) are ignored. */
void tp_guest_commands_init(struct tp_guest *g);
void tp_guest_exec(struct tp_guest *g, const struct tp_wire_frame *frame);
void tp_guest_stdin(struct tp_guest *g, const struct tp_wire_frame *frame);
void tp_guest_stdin_eof(struct tp_guest *g, uint32_t stream);
void tp_guest_signal(struct tp_guest *g, uint32_t stream, uint32_t signal);
void tp_guest_credit(struct tp_guest *g, uint32_t stream, uint32_t bytes);
void tp_guest_detach(struct tp_guest *g, uint32_t stream);
void tp_guest_detach_all(struct tp_guest *g);
bool tp_guest_any_attached(const struct tp_guest *g);
void tp_guest_reap(struct tp_guest *g);
/* An edge on descriptor number WHICH (0 in, 1 out, 2 err) of command INDEX. */
void tp_guest_pipe_ready(struct tp_guest *g, uint32_t index, uint32_t which);
/* Moves what can be moved without blocking, some for each; says whether anything was. */
bool tp_guest_pump_commands(struct tp_guest *g);

#endif
