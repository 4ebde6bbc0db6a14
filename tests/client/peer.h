/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scripted torpord on a UNIX socket: checks the requests that it gets, in order, and plays
 * answers.
 *
 * A script is text, a step a line, what stands before it indented as one likes:
 *
 *   > METHOD PATH       a request comes, on whichever connection
 *   >? METHOD PATH      the same, if the other end doesn't give up before it has sent it: then
 *                       what stands here before the next request is left out
 *   >h Name: value      it has that header; without a value: has it at all
 *   >!h Name            it hasn't
 *   >b TEXT             its body is TEXT, byte for byte
 *   >key                it has the same Idempotency-Key as the request before
 *   >same, >new         it came on the connection of the request before; on a new one
 *   < STATUS TYPE       an answer with that type ("-": none), sent once the next two have been read
 *   <h Name: value      another header
 *   <b TEXT             another line of its body
 *   <stream             the head of a stream of events
 *   <chunk TEXT         a piece of it: TEXT with \n, \r and \\ as in C
 *   <last               its proper end
 *   <raw TEXT           bytes as they are, escaped in the same way
 *   <flood TEXT         the same over and over, until the other end closes
 *   <close              closes the connection
 *   <mute               keeps the connection open and says nothing: the other end closes it
 *   <signal             a byte goes to peer->signal_fd: the test may go on
 *   <open FIFO          opens a FIFO for writing, and closes it: who reads it may go on
 *   route METHOD PATH JSON     such a request is answered so whenever it comes; with routes the
 *                              script goes on until the peer is stopped
 *   route-events PATH TEXT     the same with a stream, which is left open
 */
#ifndef TP_TESTS_CLIENT_PEER_H
#define TP_TESTS_CLIENT_PEER_H

#include <pthread.h>
#include <stdbool.h>

#include "base/buf.h"

#define PEER_LINKS 16

struct peer {
	char dir[64];
	char path[80]; /* of the socket */
	int listen_fd;
	int stop_fd;	  /* readable: no more requests will come */
	int signal_fd[2]; /* an eventfd each way isn't needed: a pipe */
	pthread_t thread;
	const char *script;
	const char *at; /* next line */
	int line_number;

	int links[PEER_LINKS]; /* connections, or -1 */
	int link;	       /* of the last request */
	bool link_is_new;
	bool is_next;  /* the last request came in place of a >?, and is the next one's */
	bool left_out; /* so is what follows, up to that */
	int last_link; /* of the one before */
	struct tp_buf head;
	struct tp_buf body;
	char key[130];
	char last_key[130];

	struct tp_buf answer_head; /* of the answer that is being put together */
	struct tp_buf answer_body;
	bool answering;
	bool routes;
	char *failure; /* what didn't match, or NULL */
};

/* Listens; peer->path is where. */
void peer_listen(struct peer *peer, const char *script);
/* Plays the script on a thread of its own. */
void peer_start(struct peer *peer, const char *script);
/* Plays it on this one. STOP_FD is taken. */
void peer_play(struct peer *peer, int stop_fd);
/* No more requests will come: waits for the script's end. What didn't match, or NULL; free it. */
char *peer_end(struct peer *peer);
/* Waits for <signal. */
void peer_wait_signal(struct peer *peer);

#endif
