/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real torpord, with real guests, as a process of the test's.
 *
 * Whoever asks is an `it_who`; every answer is held against the daemon's own /openapi.json. What
 * functions return (answers, texts) stays valid until it_daemon_deinit. Failures end the test.
 */
#ifndef TP_TESTS_IT_DAEMON_H
#define TP_TESTS_IT_DAEMON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/macros.h"

/* In the environment: the pid of a process of the program's that outlives a torpord's end, too. */
#define IT_DAEMON_SPARED "TORPOR_TEST_SPARED"

struct it_daemon {
	char dir[64]; /* its state, its socket, its configuration, its log */
	char socket[96];
	int port; /* TCP, with TLS */
	pid_t pid;
	int notify_fd;
	json_t *openapi;
};

/*
 * A state directory with the template that all tests share. CONFIG is put before what every test
 * has; a section that is there too ([daemon], [tcp], [pool]) may be begun again. NULL: nothing.
 */
void it_daemon_init(struct it_daemon *daemon, const char *config);
/* Ends it, and whatever guests it left; removes the directory. */
void it_daemon_deinit(struct it_daemon *daemon);

/* Until it says that it is ready, and then that its template's stock waits. */
void it_daemon_start(struct it_daemon *daemon);
/* SIGTERM, until it has ended with 0. */
void it_daemon_stop(struct it_daemon *daemon);
/* Says so, and returns: it_daemon_wait is for the rest. */
void it_daemon_term(struct it_daemon *daemon);
void it_daemon_wait(struct it_daemon *daemon);

/* The text, formatted. */
const char *it_text(const char *fmt, ...) TP_PRINTF(1, 2);

struct it_who {
	const struct it_daemon *daemon;
	bool tcp;
	const char *token;  /* or NULL */
	const char *header; /* one more, or NULL */
	bool quiet;	    /* a connection that breaks is status 0, not a failure */
};

struct it_answer {
	int status;
	json_t *body;	  /* NULL: none, or no JSON */
	const char *text; /* as it came */
	const char *head; /* all header lines */
};

/* BODY is a JSON text, or NULL. PATH is sent as it is. From any thread. */
const struct it_answer *it_ask(
	const struct it_who *who, const char *method, const char *path, const char *body);
/* The same, where nothing but STATUS will do; its body. */
const json_t *it_expect(const struct it_who *who, int status, const char *method, const char *path,
	const char *body);
/* The value of a header, or NULL. */
const char *it_header(const struct it_answer *answer, const char *name);

/* The member at PATH ("guest.memory_bytes", "sessions.0.id"). */
const char *it_string(const json_t *json, const char *path);
int64_t it_number(const json_t *json, const char *path);
const json_t *it_member(const json_t *json, const char *path); /* NULL: there is none */

/* The path of session ID, and what comes behind it. */
const char *it_session(const char *id, const char *rest);

/* A tenant NAME with LIMITS (a JSON text, or NULL) and a token of its, which is returned. */
const char *it_tenant(const struct it_who *admin, const char *name, const char *limits);

/* Runs SCRIPT in the guest of ID; what it printed, without the last newline. */
const char *it_script(const struct it_who *who, const char *id, const char *script);

/* --- server-sent events, over the UNIX socket --- */

struct it_stream {
	FILE *f;
	const struct it_daemon *daemon;
};
struct it_event {
	uint64_t id;	  /* 0: none */
	const char *type; /* "": the stream has ended */
	const json_t *data;
};

/* METHOD with BODY (may be NULL), headers of WHO; it must be answered with 200. */
struct it_stream it_stream_open(
	const struct it_who *who, const char *method, const char *path, const char *body);
void it_stream_close(struct it_stream *stream);
/* The next one; comments are passed over. Data of sessions is held against the schema. */
struct it_event it_stream_next(struct it_stream *stream);
/* Passes over all that isn't session ID (NULL: any) coming to STATE; fails at the end. */
struct it_event it_stream_until(struct it_stream *stream, const char *id, const char *state);

#endif
