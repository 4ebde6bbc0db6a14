/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scripted peer on a socket pair: a thread that plays steps in order and checks what it is
 * sent. For clients of line protocols.
 */
#ifndef TP_TESTS_ENGINE_PEER_H
#define TP_TESTS_ENGINE_PEER_H

#include <pthread.h>
#include <stddef.h>

enum peer_action {
	PEER_EXPECT,	/* read a line; it must be JSON with everything that `text` has */
	PEER_EXPECT_FD, /* the same, and a descriptor must come along */
	PEER_REPLY,	/* send `text` as a line, $ID being the id of the last line read */
	PEER_SEND,	/* send `text` as it is */
	PEER_TELL,	/* make told_fd readable; `text` is for people */
	PEER_FLOOD,	/* send `text` over and over until the other end closes */
	PEER_CLOSE,	/* close; nothing follows */
};

struct peer_step {
	enum peer_action action;
	const char *text;
};

struct peer {
	pthread_t thread;
	const struct peer_step *steps; /* the last one has a NULL text, or is PEER_CLOSE */
	int fd;
	int other_fd; /* the client's end */
	int told_fd;  /* an eventfd; may cancel a call of the client's */
	char line[65536];
	size_t len;
	char *failure; /* what didn't match, or NULL */
};

/* Starts playing STEPS, which must last as long as the peer. other_fd is for the client to take. */
void peer_start(struct peer *peer, const struct peer_step *steps);

/* Waits for the script's end, the client having closed; fails the test if something didn't match.
 */
void peer_end(struct peer *peer);

#endif
