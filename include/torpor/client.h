/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of a torpord, from a program.
 *
 *   struct torpor_client *client;
 *   struct torpor_remote_session session;
 *   struct torpor_client_exec_result result;
 *
 *   torpor_client_open(NULL, &client);
 *   torpor_client_create(client, &(struct torpor_client_spec){.template_name = "minimal"}, NULL,
 *           &session);
 *   torpor_client_exec(client, session.id, &(struct torpor_client_exec){.argv = argv}, NULL,
 *           &result);
 *   torpor_client_park(client, session.id, NULL, NULL);
 *
 * Errors: torpor/error.h has the contract; a refusal of torpord's is the same error here as there,
 * with its hint, reason and time to wait. IO with "connect to" in the message: nobody listens.
 *
 * Threads: any thread may call any function; calls wait for nothing but their own answers. No call
 * may be under way when the client is closed.
 *
 * A request that changes something carries a key by which torpord knows it again. If the connection
 * is lost before the answer came, it is sent once more; nothing happens twice. Commands (exec) are
 * never sent twice.
 *
 * A call that ends by its deadline or its cancellation gives up waiting; torpord may go on with
 * what it was asked. Ids and names must come from torpord or be checked by the caller; what can't
 * be part of a path is escaped.
 */
#ifndef TORPOR_CLIENT_H
#define TORPOR_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <torpor/call.h>
#include <torpor/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct torpor_client;

#define TORPOR_DEFAULT_SOCKET "/run/torpor/torpord.sock"

/* All may be left out. The environment isn't looked at in a program with more rights than its user.
 */
struct torpor_client_options {
	/* Where torpord is, one of them; both NULL: $TORPOR_URL, $TORPOR_SOCKET, the default. */
	const char *socket_path;
	const char *url; /* "https://host:port", also http */

	/* Who calls, one of them; both NULL: $TORPOR_TOKEN, $TORPOR_TOKEN_FILE, nobody named. */
	const char *token;
	const char *token_file;

	const char *ca_file; /* PEM; NULL: $TORPOR_CA_FILE, the system's */
	const char *tenant;  /* for whom the admin acts; NULL: "default" */
	uint64_t timeout_ns; /* of calls without a bound of their own; 0: 60 s */
};

/* OPTIONS may be NULL. Doesn't connect: the first call does. */
struct torpor_error *torpor_client_open(
	const struct torpor_client_options *options, struct torpor_client **client_out);

/* Takes NULL. Returns NULL. */
struct torpor_client *torpor_client_close(struct torpor_client *client);

/* Where it calls: the socket's path or the URL. Valid as long as CLIENT. */
const char *torpor_client_where(const struct torpor_client *client);

/* --- sessions --- */

/* How a session got where it is. What wasn't measured is 0. Intervals start with the request. */
struct torpor_remote_timing {
	uint64_t loaded_ns; /* create, resume, fork: memory and devices are in place */
	uint64_t running_ns;
	uint64_t ready_ns;    /* and everything is fresh */
	uint64_t captured_ns; /* park */
	uint64_t pause_ns;    /* checkpoint: how long the guest stood still */
	uint64_t durable_ns;  /* park, checkpoint */
	uint64_t gone_ns;     /* park */
	uint64_t total_ns;    /* as torpord measured it */
};

struct torpor_remote_session {
	char id[17];
	char name[65];
	char tenant[65];
	char template_name[65];
	char state[16];		/* "running", "parked" ...: docs/API.md */
	char source[16];	/* where its process came from: "warm", "shell", "spawn"; or "" */
	char created[40];	/* RFC 3339 */
	uint64_t memory_bytes;	/* the guest's RAM; 0 without a process */
	uint64_t private_bytes; /* that only it has; 0 where it wasn't measured */
	uint64_t image_bytes;	/* of its park; 0: none */
	char checkpoint[65];	/* the checkpoint just made, or "" */
	uint64_t checkpoint_bytes;
	struct torpor_remote_timing timing; /* of the call that gave it */
	char *json;			    /* the whole answer, one line */
};

/* Frees what SESSION holds; all zeros is fine. */
void torpor_remote_session_deinit(struct torpor_remote_session *session);
/* N of them and the array. Takes NULL. Returns NULL. */
struct torpor_remote_session *torpor_remote_sessions_free(
	struct torpor_remote_session *sessions, size_t n);

#define TORPOR_CLIENT_UNSET INT64_C(-1) /* as torpord has it configured */

struct torpor_client_spec {
	const char *template_name;
	const char *name;	   /* NULL: torpord makes one up */
	const char *const *env;	   /* NULL-terminated NAME=value, or NULL */
	const char *const *labels; /* the same */
	const char *limits;	   /* a JSON object as in docs/API.md, or NULL */
	/* Seconds; 0: never. A spec of zeros is unset where HAS_TIMERS is false. */
	bool has_timers;
	int64_t ttl_s; /* or TORPOR_CLIENT_UNSET, as for the others */
	int64_t idle_s;
	int64_t retention_s;
	unsigned int wait_s; /* how long to wait for a place; 0: torpord's own */
};

/* A new session, running and fresh. */
struct torpor_error *torpor_client_create(struct torpor_client *client,
	const struct torpor_client_spec *spec, const struct torpor_call *call,
	struct torpor_remote_session *session_out);

struct torpor_error *torpor_client_get(struct torpor_client *client, const char *id,
	const struct torpor_call *call, struct torpor_remote_session *session_out);

/*
 * The session whose id is or begins with TEXT (4 characters or more), or whose name is TEXT. A
 * whole id counts before a name, a name before the beginning of an id. INVALID if it fits several,
 * with the candidates in the message.
 */
struct torpor_error *torpor_client_find(struct torpor_client *client, const char *text,
	const struct torpor_call *call, struct torpor_remote_session *session_out);

struct torpor_client_filter {
	const char *state, *template_name, *match; /* or NULL */
	const char *label;			   /* NAME=value, or NULL */
	size_t limit;				   /* 0: all */
};
/* SESSION is valid during the call; false ends the listing. */
typedef bool torpor_client_each_fn(void *data, const struct torpor_remote_session *session);

/* Newest first. FILTER may be NULL. Pages are fetched as they are needed. */
struct torpor_error *torpor_client_list(struct torpor_client *client,
	const struct torpor_client_filter *filter, const struct torpor_call *call,
	torpor_client_each_fn *each, void *data);

/* SESSION_OUT may be NULL in all of these. */
struct torpor_error *torpor_client_park(struct torpor_client *client, const char *id,
	const struct torpor_call *call, struct torpor_remote_session *session_out);
/* Cancels a park that is under way: the guest runs on. BUSY if there is none, or it is too late. */
struct torpor_error *torpor_client_cancel_park(
	struct torpor_client *client, const char *id, const struct torpor_call *call);
struct torpor_error *torpor_client_resume(struct torpor_client *client, const char *id,
	const struct torpor_call *call, struct torpor_remote_session *session_out);
struct torpor_error *torpor_client_pause(struct torpor_client *client, const char *id,
	const struct torpor_call *call, struct torpor_remote_session *session_out);
struct torpor_error *torpor_client_unpause(struct torpor_client *client, const char *id,
	const struct torpor_call *call, struct torpor_remote_session *session_out);
/* NAME may be NULL: torpord makes one up. */
struct torpor_error *torpor_client_checkpoint(struct torpor_client *client, const char *id,
	const char *name, const struct torpor_call *call,
	struct torpor_remote_session *session_out);

struct torpor_client_fork {
	unsigned int count; /* 0: 1 */
	const char *image;  /* a checkpoint; NULL: as the session is now */
};
/* *SESSIONS_OUT is an array of *N_OUT, for torpor_remote_sessions_free. */
struct torpor_error *torpor_client_fork(struct torpor_client *client, const char *id,
	const struct torpor_client_fork *fork, const struct torpor_call *call,
	struct torpor_remote_session **sessions_out, size_t *n_out);

/* The session, its process and its images are gone. */
struct torpor_error *torpor_client_destroy(
	struct torpor_client *client, const char *id, const struct torpor_call *call);

/* --- commands --- */

/* STREAM is 1 for stdout, 2 for stderr. On the calling thread; BYTES is valid during the call. */
typedef void torpor_client_output_fn(void *data, int stream, const void *bytes, size_t len);

struct torpor_client_exec {
	const char *const *argv; /* NULL-terminated */
	const char *const *env;	 /* NULL-terminated NAME=value, or NULL */
	const char *cwd;	 /* NULL: the guest's default */
	const void *stdin_bytes; /* with stdin_len; at most 720 KiB, as for the next */
	size_t stdin_len;
	int stdin_fd; /* read to its end before the command starts, when has_stdin_fd; not taken */
	bool has_stdin_fd;
	unsigned int timeout_s;	 /* torpord ends it then; 0: never */
	bool wake;		 /* a parked session is resumed first */
	bool kill_on_disconnect; /* the command ends with the call; else it is left running */
	torpor_client_output_fn *output; /* as output arrives; may be NULL */
	void *output_data;
};

struct torpor_client_exec_result {
	bool exited; /* true: status is the exit status; false: the signal that ended it */
	int status;
};

/*
 * Runs a command and waits for it, beside others in the same session if need be. No default bound.
 * BUSY if the session is parked meanwhile: the command sleeps in it, and runs on unheard.
 */
struct torpor_error *torpor_client_exec(struct torpor_client *client, const char *id,
	const struct torpor_client_exec *exec, const struct torpor_call *call,
	struct torpor_client_exec_result *result_out);

/* --- events --- */

struct torpor_client_event {
	uint64_t id;	  /* 0: it has none */
	const char *type; /* "session", "reset" ... */
	const char *data; /* JSON text */
	size_t data_len;
};
/* EVENT is valid during the call; false ends the stream. On the calling thread. */
typedef bool torpor_client_event_fn(void *data, const struct torpor_client_event *event);

struct torpor_client_events {
	const char *session; /* only of that one; NULL: all */
	uint64_t after;	     /* those behind this one; 0: from now on */
};

/*
 * Gives events until FN says no, or CALL ends (no default bound). A connection that is lost, or
 * that has been silent for 45 s, is made anew behind the last event; where there was none yet, a
 * "reset" without an id comes first. After a minute of failures the last of them is returned. The
 * first connection isn't tried again. EVENTS may be NULL.
 */
struct torpor_error *torpor_client_events(struct torpor_client *client,
	const struct torpor_client_events *events, const struct torpor_call *call,
	torpor_client_event_fn *fn, void *data);

/* --- everything else --- */

/*
 * Any request of docs/API.md: METHOD, PATH with its query ("/v1/pool"), BODY a JSON text or NULL.
 * An answer that isn't 2xx is an error. *STATUS_OUT (may be NULL) is the status, *ANSWER_OUT (may
 * be NULL) the body, a string (empty for 204), the caller's to free.
 */
struct torpor_error *torpor_client_request(struct torpor_client *client, const char *method,
	const char *path, const char *body, const struct torpor_call *call, int *status_out,
	char **answer_out);

/*
 * The same for requests that are answered with events. NULL when the stream ended, or FN said no.
 * An event "error" is an error. Never sent twice. No default bound.
 */
struct torpor_error *torpor_client_stream(struct torpor_client *client, const char *method,
	const char *path, const char *body, const struct torpor_call *call,
	torpor_client_event_fn *fn, void *data);

/* TEXT as a part of a path or a query; the caller's to free. */
char *torpor_client_escape(const char *text);

#ifdef __cplusplus
}
#endif

#endif
