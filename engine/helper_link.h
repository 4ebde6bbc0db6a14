/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection to the helper, for helper.c and helper_exec.c: frames out, frames in, who waits.
 *
 * The locking rule. One lock guards a helper's fields and those of its commands. Whoever waits
 * reads: of those who wait (tp_link_wait) one is the reader. It polls the connection without the
 * lock; then, with it, it reads what is there and hands each frame to its owner, a command or the
 * request that is under way. That changes nothing but the owner's fields, and wakes the owner, who
 * waits at an eventfd of its own. The lock is never held while something is waited for, or while a
 * sink or source is called.
 *
 * Nobody waits without a reader: whoever lets go of the lock while there is none (tp_link_unlock)
 * wakes one of those who wait, and that one becomes it.
 *
 * A thread for each guest that reads and hands out would be the other way. It would have to come
 * and go with the commands, and a command by itself would pay for two changes of threads.
 */
#ifndef TP_ENGINE_HELPER_LINK_H
#define TP_ENGINE_HELPER_LINK_H

#include <pthread.h>

#include "base/buf.h"
#include "engine/helper.h"

/* What messages call the other end. */
#define HELPER_PEER "the helper in the guest"

/* Somebody who waits now and then. By the lock. */
struct tp_link_waiter {
	struct tp_link_waiter *next;
	int wake_fd; /* eventfd, owned; -1: it is alone, and reads */
	bool waits;
	bool woken; /* wake_fd is readable */
};

struct tp_helper {
	/* Constant. */
	int fd; /* owned */

	pthread_mutex_t lock;

	/* All that follows by the lock. */
	unsigned int refs; /* the owner's, and one for each command */
	bool attached;	   /* the guest has answered us, so earlier hosts' commands are detached */
	bool opened;	   /* something was sent */

	/* --- helper_link.c --- */
	struct tp_link_waiter *waiters;
	struct tp_link_waiter *reader; /* who polls the connection; or NULL */
	bool lost;		       /* read to its end */
	int lost_errno;		       /* why, or 0: the other end has closed it */
	bool unheard;		       /* nobody reads what is written any more */
	bool clogged;		       /* the socket took less than was due */
	struct tp_buf out;	       /* encoded; [out_at, out.len) is still to be written */
	size_t out_at;
	struct tp_wire_decoder dec;
	uint8_t rx[16384];
	uint64_t stray; /* bytes received since something was received that was waited for */

	/* --- helper.c: the request that is under way; one at a time --- */
	struct tp_link_waiter asker;
	struct torpor_error *asker_err; /* what came of it instead of an answer; owned */
	uint64_t ping_nonce;
	bool ponged; /* PONG answers it */
	struct tp_wire_pong pong;
	uint64_t fresh_nonce;
	bool kept;	  /* it asked for TP_WIRE_STEP_KEEP */
	bool cannot_keep; /* the guest's helper doesn't know that */
	bool fresh_done;  /* DONE answers it */
	struct tp_wire_fresh_done done;

	/* --- helper.c: what became of the guest, for those who follow its commands --- */
	enum torpor_errc gone_code;
	char *gone_object; /* owned */
	char *gone_why;	   /* owned; NULL: nothing was said */

	/* --- helper_exec.c --- */
	struct tp_command *commands;
	uint32_t next_stream; /* by the owner */
};

static inline void tp_link_lock(struct tp_helper *h)
{
	pthread_mutex_lock(&h->lock);
}
void tp_link_unlock(struct tp_helper *h);

/* All others are called with the lock. */

/* WAITER's eventfd is the caller's to make before, and closed by tp_link_part. */
void tp_link_join(struct tp_helper *h, struct tp_link_waiter *waiter);
void tp_link_part(struct tp_helper *h, struct tp_link_waiter *waiter);
void tp_link_wake(struct tp_link_waiter *waiter);
void tp_link_wake_all(struct tp_helper *h);

/*
 * Waits until something about WAITER may have changed, or ALSO_FD (or -1) is readable, which
 * *ALSO_OUT says. The lock is not held meanwhile. To be called only when nothing is there that
 * WAITER waits for: what it is woken for comes after that.
 */
struct torpor_error *tp_link_wait(struct tp_helper *h, struct tp_link_waiter *waiter,
	const struct tp_call *call, const char *step, int also_fd, bool *also_out) TP_MUST_USE;

/* QEMU if the connection has come to its end, and all that came before was handed out. */
struct torpor_error *tp_link_check(const struct tp_helper *h) TP_MUST_USE;

/* Encodes a frame behind what is still to be written. */
void tp_link_queue(struct tp_helper *h, struct tp_wire_out *frame);
void tp_link_queue_u32(
	struct tp_helper *h, enum tp_wire_type type, uint32_t stream, uint32_t value);
void tp_link_queue_empty(struct tp_helper *h, enum tp_wire_type type, uint32_t stream);

/* Writes what the socket takes now, without waiting; whoever waits sees to the rest. */
void tp_link_write(struct tp_helper *h);
/* Whether something is still to be written. */
bool tp_link_has_output(const struct tp_helper *h);

/* Waits, as WAITER, until all that is due is written. */
struct torpor_error *tp_link_flush(struct tp_helper *h, struct tp_link_waiter *waiter,
	const struct tp_call *call, const char *step) TP_MUST_USE;

struct torpor_error *tp_link_malformed(const char *step, const char *what) TP_MUST_USE;

/* Drops a reference, without the lock; the last one closes the connection. */
void tp_link_unref(struct tp_helper *h);

/* --- who frames are for --- */

/* helper.c: a HELLO, PONG or FRESH_DONE. */
void tp_asker_take(struct tp_helper *h, const struct tp_wire_frame *frame);
/* The request that is under way, if one is, ends with ERR, which is taken. */
void tp_asker_fail(struct tp_helper *h, struct torpor_error *err);

/* helper_exec.c: anything else. */
void tp_commands_take(struct tp_helper *h, const struct tp_wire_frame *frame);
/* All commands end with GUEST, as the helper has done WHAT. */
void tp_commands_fail(struct tp_helper *h, const char *what);
/* Whether there is one that its caller follows, or is going to. */
bool tp_commands_any(const struct tp_helper *h);

#endif
