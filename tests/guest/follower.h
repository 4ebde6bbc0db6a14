/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several commands on one connection, each followed by a thread of its own. The guest is the
 * test's thread, frame by frame, so that what comes in which order is the test's to say.
 */
#ifndef TP_TESTS_GUEST_FOLLOWER_H
#define TP_TESTS_GUEST_FOLLOWER_H

#include <pthread.h>
#include <semaphore.h>

#include "base/buf.h"
#include "engine/helper.h"
#include "failure.h"
#include "peer.h"

#define WINDOW 1000

extern struct peer guest;
extern int host_fd; /* the helper's */
extern struct tp_helper *h;
extern struct tp_call call;

/* With a small socket buffer, so that it is soon full; and introduced, as after a resume. */
void commands_setup(void);
void commands_teardown(void);

#define COMMANDS_TEST(name)                                                                        \
	Test(commands, name, .init = commands_setup, .fini = commands_teardown, .timeout = 60)

struct follower {
	struct tp_exec spec;
	struct tp_command *command;
	uint32_t stream;
	pthread_t thread;
	struct tp_buf out, err; /* what was printed */
	int cancel_fd;
	bool asks;   /* for what became of the guest */
	bool stalls; /* its sink waits: tells `stalled`, and waits for `go` */
	sem_t stalled, go;
	size_t to_give; /* of input */
	struct torpor_error *failure;
	struct tp_exec_result result;
};

void make(struct follower *f);
/* Follows it; for a thread. */
void *follow(void *data);
/* Makes it and follows it; the guest has got it, and has started it. */
void start(struct follower *f);
void print(struct follower *f, enum tp_wire_type type, const char *text);
void print_much(struct follower *f, size_t len);
void send_exit(struct follower *f, int32_t value);
/* Its thread has come back, with EXPECTED (0: success). */
void join(struct follower *f, int expected, const char *why);
/* The guest has ended it with VALUE: its thread comes back with that. */
void finish(struct follower *f, int32_t value);
void forget(struct follower *f);
void check_text(const struct tp_buf *printed, const char *text);

struct tp_fresh clock_alone(uint64_t nonce);
struct tp_wire_fresh receive_fresh(void);
void answer_fresh(uint64_t nonce, uint32_t done_steps, uint32_t failed_steps);
/* The host asks, beside all that it does, and gets the answer. */
void check_ping(void);

#endif
