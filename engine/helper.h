/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's end of the resident helper in the guest (docs/GUEST.md).
 *
 * A struct tp_helper speaks over one connection to the port's socket chardev. What the guest sends
 * is checked; frames that belong to nothing that is going on are passed over, and a guest that
 * sends nothing else for long gets TORPOR_E_GUEST. After a call that was cancelled or timed out the
 * object is as usable as before. When QEMU closes the connection calls fail with TORPOR_E_QEMU.
 *
 * Threads: requests (ping, fresh, making a command) are made one at a time, by whoever owns the
 * helper. Commands that were made are followed by a thread each, beside each other and beside
 * requests, and hold on to the connection by themselves. No thread runs here but those that are in
 * a call, and each call is over when it returns.
 */
#ifndef TP_ENGINE_HELPER_H
#define TP_ENGINE_HELPER_H

#include <sys/types.h>

#include "base/call.h"
#include "guest/wire.h"

struct tp_helper;

/* Takes FD, a connected stream socket. Nothing is sent yet, and nothing waited for. */
struct tp_helper *tp_helper_new(int fd);
/*
 * Closes the connection; what the guest still runs goes on. Commands that are followed come to
 * their end with it, as by tp_helper_retire. Takes NULL. Returns NULL.
 */
struct tp_helper *tp_helper_free(struct tp_helper *h);
TP_DEFINE_CLEANUP(struct tp_helper *, tp_helper_free)

/*
 * Says what becomes of the guest, and ends the connection, but for what has arrived already. Those
 * who follow commands get CODE, OBJECT and WHY from tp_command_explain. What was said first holds.
 */
void tp_helper_retire(
	struct tp_helper *h, enum torpor_errc code, const char *object, const char *why);

/* The connection; readable when the guest has said something, as it does when it has booted. */
int tp_helper_fd(const struct tp_helper *h);

struct tp_helper_pong {
	uint8_t boot_id[TP_WIRE_ID_SIZE];
	int64_t realtime_ns; /* the guest's clock when it answered */
};

/*
 * Asks the guest for a sign of life. It needn't have booted yet: QEMU keeps the question until
 * the helper opens the port.
 */
struct torpor_error *tp_helper_ping(struct tp_helper *h, const struct tp_call *call,
	struct tp_helper_pong *pong_out) TP_MUST_USE;

/* What makes a clone one of its own. Pointers are the caller's, for the time of the call. */
struct tp_fresh {
	uint64_t nonce;	     /* a new one each time; told again by the answer */
	uint32_t steps;	     /* wanted, of enum tp_wire_step */
	uint32_t optional;   /* steps of these that may fail */
	int64_t realtime_ns; /* with TP_WIRE_STEP_CLOCK_SHIFT, which comes alone, the difference */
	uint8_t machine_id[TP_WIRE_ID_SIZE];
	const uint8_t *seed; /* TP_WIRE_MIN_SEED to TP_WIRE_MAX_SEED bytes */
	size_t seed_len;
	const char
		*hostname; /* 1 to TP_WIRE_MAX_HOSTNAME printable characters, no blank, no slash */
};

struct tp_fresh_done {
	uint32_t done;	 /* steps */
	uint32_t failed; /* steps; only optional ones if the call succeeded */
	int error;	 /* the guest's errno for the first of them, or 0 */
	uint32_t count;	 /* of such requests since the helper was started */
	int64_t realtime_ns;
	int64_t boottime_ns;
};

/*
 * Only writes the request, so the guest may be stopped and find it when it wakes. Commands of other
 * hosts are detached by it; those of this connection go on (with a guest whose helper is too old
 * for that they end with TORPOR_E_GUEST).
 */
struct torpor_error *tp_helper_send_fresh(
	struct tp_helper *h, const struct tp_fresh *fresh, const struct tp_call *call) TP_MUST_USE;

/*
 * Waits for the answer to FRESH, the last that was sent. TORPOR_E_GUEST if a step that isn't
 * optional failed. Answers to earlier requests are passed over.
 */
struct torpor_error *tp_helper_wait_fresh(struct tp_helper *h, const struct tp_fresh *fresh,
	const struct tp_call *call, struct tp_fresh_done *done_out) TP_MUST_USE;

/*
 * Output of a command, LEN > 0 bytes; STREAM is 1 (standard output) or 2 (standard error). The
 * bytes are the callee's only during the call. An error ends tp_command_follow, which returns it.
 * It may take its time: no more than the window comes meanwhile, and other commands don't wait.
 */
typedef struct torpor_error *tp_exec_sink(void *data, int stream, const void *bytes, size_t len);

/*
 * Standard input for a command: puts up to ROOM (> 0) bytes into BYTES and says how many in
 * *LEN_OUT, 0 at the end. Asked only when there is room for more; must not block.
 */
typedef struct torpor_error *tp_exec_source(void *data, void *bytes, size_t room, size_t *len_out);

struct tp_exec {
	const char *const *argv; /* NULL-terminated; argv[0] is looked for in the command's PATH */
	const char *const *env;	 /* NULL-terminated; NULL: the helper's own environment */
	const char *cwd;	 /* NULL: / */
	bool merge_stderr;	 /* all output is standard output */
	bool kill_on_cancel;	 /* else a command whose call ends early runs on, its output lost */
	/* Standard input is SOURCE, or STDIN_FD (read until its end; not owned) if HAS_STDIN_FD,
	 * or empty. */
	tp_exec_source *source;
	bool has_stdin_fd;
	int stdin_fd;
	tp_exec_sink *sink; /* NULL: output is thrown away */
	void *data;	    /* for SOURCE and SINK */
	uint32_t window;    /* bytes of output on the way at a time; 0: 64 KiB */
};

struct tp_exec_result {
	bool signaled;
	int value; /* exit status 0 to 255, or the signal */
};

struct tp_command;

/*
 * A command, to be followed. What SPEC points to is the caller's, and must last as long as the
 * command. A connection that nothing was asked on yet is introduced to the guest first, within
 * CALL. argv, env and cwd together take up to 16 KiB, else TORPOR_E_LIMIT; the same, as a refusal
 * ("session-commands"), if TP_WIRE_MAX_COMMANDS run already.
 */
struct torpor_error *tp_command_new(struct tp_helper *h, const struct tp_exec *spec,
	const struct tp_call *call, struct tp_command **command_out) TP_MUST_USE;
/* One that wasn't followed to its end runs on, or is killed (kill_on_cancel). Takes NULL. */
struct tp_command *tp_command_free(struct tp_command *command);
TP_DEFINE_CLEANUP(struct tp_command *, tp_command_free)

/*
 * Runs it in the guest, as the leader of a session of its own, until it ends; all output was given
 * to the sink then, by this thread. To be called once. Processes that it left behind go on without
 * being listened to. A command that could not be started gives the guest's errno
 * (torpor_error_errno) and its code. The refusal of tp_command_new may also come from the guest: a
 * helper of an earlier version counts those that nobody follows any more.
 */
struct torpor_error *tp_command_follow(struct tp_command *command, const struct tp_call *call,
	struct tp_exec_result *result_out) TP_MUST_USE;

/*
 * ERR of tp_command_follow, or where that came of the connection's end, in its place what
 * tp_helper_retire said, STEP being what failed. The connection may go a moment before that is
 * known: it is waited for, shortly.
 */
struct torpor_error *tp_command_explain(struct tp_command *command, struct torpor_error *err,
	const char *step, const struct tp_call *call) TP_MUST_USE;

/* All of it in one, by the owner of H. */
struct torpor_error *tp_helper_exec(struct tp_helper *h, const struct tp_exec *spec,
	const struct tp_call *call, struct tp_exec_result *result_out) TP_MUST_USE;

/*
 * Whether QEMU has consumed everything that was written, so that none of it is lost when the
 * machine is parked now.
 */
bool tp_helper_drained(struct tp_helper *h);

#endif
