/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of a relay share. */
#ifndef TP_ENGINE_LIBVIRT_RELAY_PRIV_H
#define TP_ENGINE_LIBVIRT_RELAY_PRIV_H

#include <errno.h>
#include <jansson.h>

#include "base/buf.h"
#include "base/fd.h"
#include "engine/libvirt_relay.h"

/* Events that nobody has taken up, in bytes; later ones are dropped. */
#define TP_RELAY_EVENTS_MAX ((size_t)256 * TP_KIB)

struct tp_relay {
	struct tp_link_client client; /* the first member: see relay_of */
	struct tp_relays *relays;
	char *name;
	int qmp_wake_fd;
	int side_wake_fd;
	pthread_mutex_t lock;
	/* By the lock. */
	unsigned int refs;    /* the owner's, and its threads' */
	struct tp_buf events; /* whole lines, to be passed on */
	bool ended;
	bool closed; /* by its owner */
	char *why;   /* it ended; the first account */
	char *title; /* to be written down, with metadata; NULL: nothing is */
	char *metadata;
};

/* Drops a reference. */
void tp_relay_unref(struct tp_relay *relay);

/* The threads' work, until there is no more of it. FD is taken. */
void tp_relay_serve_qmp(struct tp_relay *relay, int fd);
void tp_relay_serve_side(struct tp_relay *relay, int fd);

void tp_relay_ended(struct tp_relay *relay, const char *why);
bool tp_relay_has_ended(struct tp_relay *relay);

/* The domain, on whatever connection there is now: each thread has a handle of its own. */
struct tp_relay_handle {
	virDomainPtr domain; /* NULL at first */
	uint64_t generation;
};
/* NOT_FOUND if it is gone. */
struct torpor_error *tp_relay_domain(
	struct tp_relay *relay, struct tp_relay_handle *handle) TP_MUST_USE;
void tp_relay_handle_deinit(struct tp_relay_handle *handle);
/* After a call failed with WHY: whether that is because the domain is gone; notes it then. */
bool tp_relay_look_for_end(struct tp_relay *relay, struct tp_relay_handle *handle, const char *why);

/* Lines from our own process's end of a socket. */
struct tp_relay_lines {
	int fd;	       /* owned */
	int passed_fd; /* came with the line that is read next; owned, -1 */
	struct tp_buf buf;
};
/* Blocks; false at the end. All lines must have been taken before, so that descriptors and lines
 * stay together. */
bool tp_relay_read(struct tp_relay_lines *in);
/* The caller's to free; NULL if no line is complete. */
char *tp_relay_next_line(struct tp_relay_lines *in);
void tp_relay_lines_deinit(struct tp_relay_lines *in);

/* Blocks; false if the other end has closed. */
bool tp_relay_write(int fd, const void *data, size_t len);
/* A line; takes MESSAGE. */
bool tp_relay_write_json(int fd, json_t *message);

#endif
