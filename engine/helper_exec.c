/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands in the guest, through the helper.
 *
 * What comes for a command is taken by whichever thread reads, and waits in the command's queue for
 * its own thread, which gives it to the sink. The window is granted anew only for what the sink has
 * taken: that bounds the queue, and holds up in the guest a command whose output nobody takes, and
 * no other.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "engine/helper_link.h"

#define DEFAULT_WINDOW (64 * TP_KIB)

/* From the loss of the connection to what tp_helper_retire says of it. */
#define END_PATIENCE (2 * TP_NSEC_PER_SEC)

struct tp_command {
	/* Constant. */
	struct tp_helper *h; /* counted */
	struct tp_exec spec;
	uint32_t stream;
	uint32_t window;

	/* By the helper's lock: changed by who reads, and by who follows. */
	struct tp_command *next;
	struct tp_link_waiter waiter;
	bool sent;
	bool started;
	bool ended;		  /* the guest says so */
	bool dropped;		  /* nobody follows it any more */
	struct torpor_error *err; /* why it can't be followed to its end; owned */
	struct tp_exec_result result;
	uint32_t granted;    /* output that may still come */
	uint32_t consumed;   /* output that was taken, and for which nothing new was granted yet */
	struct tp_buf queue; /* output that came, piece by piece: stream, length, bytes */
	uint32_t in_room;    /* input that may still be sent */

	/* By who follows. */
	bool in_ended;
	struct tp_buf batch; /* of the queue, being given to the sink */
	struct tp_wire_out out;
};

static const char run_step[] = "run a command through";

static struct torpor_error *misbehaves(const char *how)
{
	return tp_error(TORPOR_E_GUEST, run_step, HELPER_PEER, "%s", how);
}

static struct torpor_error *refuse(struct torpor_error *err)
{
	return tp_error_refusal(
		tp_error_hint(err, "Try again when one has ended; %u can run at a time.",
			TP_WIRE_MAX_COMMANDS),
		"session-commands", 1);
}

/* --- frames that come --- */

/* LEN bytes of output are nobody's burden any more. */
static void consume(struct tp_command *cmd, uint32_t len)
{
	cmd->consumed += len;
	if (cmd->consumed < cmd->window / 2 || cmd->ended || cmd->err)
		return;
	tp_link_queue_u32(cmd->h, TP_WIRE_CREDIT, cmd->stream, cmd->consumed);
	cmd->granted += cmd->consumed;
	cmd->consumed = 0;
}

static struct torpor_error *take_output(
	struct tp_command *cmd, const struct tp_wire_frame *frame, int stream)
{
	if (!cmd->started)
		return misbehaves("it sent output of a command that hasn't started");
	if (frame->len > cmd->granted)
		return misbehaves("it sent more output than was granted");
	if (frame->len == 0)
		return NULL;
	cmd->h->stray = 0;
	cmd->granted -= frame->len;
	if (!cmd->spec.sink) {
		consume(cmd, frame->len);
		return NULL;
	}
	tp_buf_put_u8(&cmd->queue, (uint8_t)stream);
	tp_buf_put_be32(&cmd->queue, frame->len);
	tp_buf_put(&cmd->queue, frame->payload, frame->len);
	return NULL;
}

static struct torpor_error *take_credit(struct tp_command *cmd, const struct tp_wire_frame *frame)
{
	uint32_t bytes;

	if (!tp_wire_get_u32(frame, &bytes))
		return tp_link_malformed(run_step, "CREDIT");
	if (!cmd->started || bytes == 0 || bytes > TP_WIRE_STDIN_WINDOW - cmd->in_room)
		return misbehaves("it granted more input than it had room for");
	cmd->h->stray = 0;
	cmd->in_room += bytes;
	return NULL;
}

static struct torpor_error *take_exit(struct tp_command *cmd, const struct tp_wire_frame *frame)
{
	struct tp_wire_exit ex;

	if (!tp_wire_get_exit(frame, &ex))
		return tp_link_malformed(run_step, "EXIT");
	if (!cmd->started)
		return misbehaves("it ended a command that hasn't started");
	cmd->ended = true;
	cmd->result = (struct tp_exec_result){
		.signaled = ex.kind == TP_WIRE_SIGNALED,
		.value = ex.value,
	};
	return NULL;
}

static struct torpor_error *take_failed(struct tp_command *cmd, const struct tp_wire_frame *frame)
{
	struct tp_wire_failed failed;

	if (!tp_wire_get_failed(frame, &failed))
		return tp_link_malformed(run_step, "FAILED");
	if (cmd->started)
		return misbehaves("it could not start a command that had started");
	cmd->ended = true;
	if (!strerrordesc_np(failed.error))
		return misbehaves("it could not start the command, and names no known errno");
	struct torpor_error *err = tp_error_errno(failed.error, failed.text, cmd->spec.argv[0]);
	if (failed.error == EAGAIN)
		err = refuse(tp_error_recode(err, TORPOR_E_LIMIT));
	return tp_error_in(err, run_step, HELPER_PEER);
}

static struct torpor_error *take_started(struct tp_command *cmd, const struct tp_wire_frame *frame)
{
	uint32_t pid;

	if (!tp_wire_get_u32(frame, &pid))
		return tp_link_malformed(run_step, "STARTED");
	if (cmd->started)
		return misbehaves("it started a command twice");
	cmd->started = true;
	return NULL;
}

static struct torpor_error *take(struct tp_command *cmd, const struct tp_wire_frame *frame)
{
	switch (frame->type) {
	case TP_WIRE_STARTED:
		return take_started(cmd, frame);
	case TP_WIRE_STDOUT:
		return take_output(cmd, frame, STDOUT_FILENO);
	case TP_WIRE_STDERR:
		return take_output(cmd, frame, STDERR_FILENO);
	case TP_WIRE_CREDIT:
		return take_credit(cmd, frame);
	case TP_WIRE_EXIT:
		return take_exit(cmd, frame);
	case TP_WIRE_FAILED:
		return take_failed(cmd, frame);
	default:
		return NULL;
	}
}

/* Whether what comes is still meant for somebody. */
static bool listens(const struct tp_command *cmd)
{
	return !cmd->ended && !cmd->dropped && !cmd->err;
}

void tp_commands_take(struct tp_helper *h, const struct tp_wire_frame *frame)
{
	struct tp_command *cmd = h->commands;

	while (cmd && (cmd->stream != frame->stream || !cmd->sent || !listens(cmd)))
		cmd = cmd->next;
	if (!cmd)
		return;
	cmd->err = take(cmd, frame);
	tp_link_wake(&cmd->waiter);
}

void tp_commands_fail(struct tp_helper *h, const char *what)
{
	for (struct tp_command *cmd = h->commands; cmd; cmd = cmd->next) {
		if (!listens(cmd))
			continue;
		cmd->err = misbehaves(what);
		tp_link_wake(&cmd->waiter);
	}
}

static unsigned int count_commands(const struct tp_helper *h)
{
	unsigned int n = 0;

	for (const struct tp_command *cmd = h->commands; cmd; cmd = cmd->next)
		n += listens(cmd);
	return n;
}

bool tp_commands_any(const struct tp_helper *h)
{
	return count_commands(h) > 0;
}

/* --- output, to the sink --- */

/* Gives all that has come by now. */
static struct torpor_error *deliver(struct tp_command *cmd)
{
	struct tp_buf batch = cmd->queue;

	cmd->queue = cmd->batch;
	cmd->batch = batch;
	struct tp_reader r = tp_reader_over(batch.data, batch.len);
	while (tp_reader_left(&r) > 0) {
		int stream = tp_read_u8(&r);
		uint32_t len = tp_read_be32(&r);
		const void *bytes = tp_read_bytes(&r, len);
		tp_link_unlock(cmd->h);
		struct torpor_error *err = cmd->spec.sink(cmd->spec.data, stream, bytes, len);
		tp_link_lock(cmd->h);
		TP_TRY(err);
		consume(cmd, len);
		tp_link_write(cmd->h);
	}
	cmd->batch.len = 0;
	return NULL;
}

/* --- input --- */

static bool has_stdin(const struct tp_exec *spec)
{
	return spec->source || spec->has_stdin_fd;
}

/* Whether standard input can be sent now: there is room at the other end, and none due here. */
static bool wants_stdin(const struct tp_command *cmd)
{
	return cmd->started && listens(cmd) && !cmd->in_ended && cmd->in_room > 0 &&
	       !tp_link_has_output(cmd->h);
}

static struct torpor_error *read_stdin(
	const struct tp_exec *spec, void *bytes, size_t room, ssize_t *n_out)
{
	size_t len = 0;

	if (spec->source) {
		TP_TRY(spec->source(spec->data, bytes, room, &len));
		assert(len <= room);
		*n_out = (ssize_t)len;
		return NULL;
	}
	*n_out = read(spec->stdin_fd, bytes, room);
	if (*n_out < 0 && errno != EAGAIN && errno != EINTR)
		return tp_error_errno(errno, "read", "standard input");
	return NULL;
}

static struct torpor_error *send_stdin(struct tp_command *cmd)
{
	size_t room = TP_MIN(cmd->in_room, TP_WIRE_MAX_PAYLOAD);
	ssize_t n;

	tp_wire_begin(&cmd->out, TP_WIRE_STDIN, cmd->stream);
	tp_link_unlock(cmd->h);
	struct torpor_error *err = read_stdin(&cmd->spec, tp_wire_payload(&cmd->out), room, &n);
	tp_link_lock(cmd->h);
	TP_TRY(err);
	if (n > 0) {
		cmd->out.len = (uint32_t)n;
		cmd->in_room -= cmd->out.len;
		tp_link_queue(cmd->h, &cmd->out);
	} else if (n == 0) {
		cmd->in_ended = true;
		tp_link_queue_empty(cmd->h, TP_WIRE_STDIN_EOF, cmd->stream);
	}
	tp_link_write(cmd->h);
	return NULL;
}

/* --- following --- */

/* Not before all else is written: a guest that reads nothing shall not cost memory. */
static void send_exec(struct tp_command *cmd)
{
	if (cmd->sent || tp_link_has_output(cmd->h))
		return;
	tp_link_queue(cmd->h, &cmd->out);
	cmd->sent = true;
	tp_link_write(cmd->h);
}

/* Until the command has ended. Whatever let go of the lock is followed by a look at all of it. */
static struct torpor_error *follow(struct tp_command *cmd, const struct tp_call *call)
{
	for (;;) {
		bool stdin_ready = false;

		if (cmd->queue.len > 0) {
			/* Of one that prints without end there is always more. */
			if (listens(cmd))
				TP_TRY(tp_call_check(call, run_step, HELPER_PEER));
			TP_TRY(deliver(cmd));
			continue;
		}
		if (cmd->err)
			return TP_TAKE(cmd->err);
		if (cmd->ended)
			return NULL;
		TP_TRY(tp_link_check(cmd->h));
		send_exec(cmd);
		if (cmd->spec.source && wants_stdin(cmd)) {
			TP_TRY(tp_call_check(call, run_step, HELPER_PEER));
			TP_TRY(send_stdin(cmd));
			continue;
		}
		int stdin_fd = wants_stdin(cmd) ? cmd->spec.stdin_fd : -1;
		TP_TRY(tp_link_wait(cmd->h, &cmd->waiter, call, run_step, stdin_fd, &stdin_ready));
		if (stdin_ready && wants_stdin(cmd))
			TP_TRY(send_stdin(cmd));
	}
}

/* Tells the guest, as far as that goes without waiting, that nobody follows the command. */
static void drop(struct tp_command *cmd)
{
	struct tp_helper *h = cmd->h;

	if (cmd->dropped)
		return;
	cmd->dropped = true;
	if (!cmd->sent || cmd->ended)
		return;
	if (cmd->spec.kill_on_cancel)
		tp_link_queue_u32(h, TP_WIRE_SIGNAL, cmd->stream, SIGKILL);
	tp_link_queue_empty(h, TP_WIRE_DETACH, cmd->stream);
	tp_link_write(h);
}

struct torpor_error *tp_command_follow(
	struct tp_command *cmd, const struct tp_call *call, struct tp_exec_result *result_out)
{
	tp_link_lock(cmd->h);
	struct torpor_error *err = follow(cmd, call);
	drop(cmd);
	if (!err)
		*result_out = cmd->result;
	tp_link_unlock(cmd->h);
	return err;
}

/* What was said of the guest's end, waiting for it; NULL if nothing is. */
static struct torpor_error *wait_for_reason(
	struct tp_command *cmd, const char *step, const struct tp_call *call)
{
	struct tp_call soon = tp_call_bounded(call, END_PATIENCE);
	struct tp_helper *h = cmd->h;
	TP_ERROR struct torpor_error *unknown = NULL;
	bool ready;

	while (h->lost && !h->gone_why && !unknown)
		unknown = tp_link_wait(h, &cmd->waiter, &soon, step, -1, &ready);
	if (!h->lost || !h->gone_why)
		return NULL;
	return tp_error(h->gone_code, step, h->gone_object, "%s", h->gone_why);
}

struct torpor_error *tp_command_explain(struct tp_command *cmd, struct torpor_error *err,
	const char *step, const struct tp_call *call)
{
	if (!err || torpor_error_code(err) != TORPOR_E_QEMU)
		return err;
	tp_link_lock(cmd->h);
	struct torpor_error *reason = wait_for_reason(cmd, step, call);
	tp_link_unlock(cmd->h);
	if (!reason)
		return err;
	torpor_error_free(err);
	return reason;
}

/* --- making --- */

static size_t count_strings(const char *const *strings)
{
	size_t n = 0;

	while (strings && strings[n])
		n++;
	return n;
}

/* The EXEC frame of it, to be sent. */
static struct torpor_error *put_exec(struct tp_command *cmd)
{
	const struct tp_exec *spec = &cmd->spec;
	size_t argc = count_strings(spec->argv);
	size_t envc = count_strings(spec->env);
	const char *cwd = spec->cwd ? spec->cwd : "";

	if (argc == 0)
		return tp_error(TORPOR_E_INVALID, run_step, HELPER_PEER, "no command was given");
	if (argc + envc > TP_WIRE_MAX_STRINGS || strlen(cwd) > TP_WIRE_MAX_CWD)
		return tp_error(TORPOR_E_LIMIT, run_step, HELPER_PEER,
			"more than %u arguments and variables, or a working directory of over %u "
			"bytes",
			TP_WIRE_MAX_STRINGS, TP_WIRE_MAX_CWD);
	struct tp_wire_exec exec = {
		.flags = (has_stdin(spec) ? TP_WIRE_EXEC_STDIN : 0) |
			 (spec->merge_stderr ? TP_WIRE_EXEC_MERGE_STDERR : 0),
		.window = cmd->window,
		.argc = (uint16_t)argc,
		.envc = (uint16_t)envc,
		.cwd = cwd,
	};
	tp_wire_begin(&cmd->out, TP_WIRE_EXEC, cmd->stream);
	tp_wire_put_exec(&cmd->out, &exec, spec->argv, spec->env);
	if (cmd->out.full)
		return tp_error(TORPOR_E_LIMIT, run_step, HELPER_PEER,
			"arguments and environment take more than %u bytes", TP_WIRE_MAX_PAYLOAD);
	return NULL;
}

/* Introduces this host to a guest that it has taken over: commands of earlier ones are detached. */
static struct torpor_error *attach(struct tp_helper *h, const struct tp_call *call)
{
	struct tp_helper_pong pong;

	tp_link_lock(h);
	bool attached = h->attached;
	tp_link_unlock(h);
	if (attached)
		return NULL;
	return tp_error_in(tp_helper_ping(h, call, &pong), "reach", HELPER_PEER);
}

/* Enters it among the helper's commands. */
static struct torpor_error *enlist(struct tp_helper *h, struct tp_command *cmd)
{
	if (count_commands(h) >= TP_WIRE_MAX_COMMANDS)
		return refuse(tp_error(TORPOR_E_LIMIT, run_step, HELPER_PEER,
			"%u commands run already", TP_WIRE_MAX_COMMANDS));
	cmd->h = h;
	h->refs++;
	h->stray = 0;
	cmd->next = h->commands;
	h->commands = cmd;
	tp_link_join(h, &cmd->waiter);
	return NULL;
}

static void delist(struct tp_command *cmd)
{
	struct tp_command **at = &cmd->h->commands;

	while (*at != cmd)
		at = &(*at)->next;
	*at = cmd->next;
	tp_link_part(cmd->h, &cmd->waiter);
}

struct torpor_error *tp_command_new(struct tp_helper *h, const struct tp_exec *spec,
	const struct tp_call *call, struct tp_command **command_out)
{
	TP_CLEANUP(tp_command_free) struct tp_command *cmd = NULL;
	uint32_t window = spec->window ? spec->window : DEFAULT_WINDOW;

	TP_TRY(attach(h, call));
	cmd = tp_calloc(1, sizeof(*cmd));
	cmd->waiter.wake_fd = -1;
	cmd->spec = *spec;
	cmd->stream = h->next_stream++; /* of the owner, like this call */
	cmd->window = cmd->granted = window;
	cmd->in_room = has_stdin(spec) ? TP_WIRE_STDIN_WINDOW : 0;
	cmd->in_ended = !has_stdin(spec);
	TP_TRY(put_exec(cmd));
	cmd->waiter.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (cmd->waiter.wake_fd < 0)
		return tp_error_errno(errno, "make", "event descriptor");
	tp_link_lock(h);
	struct torpor_error *err = enlist(h, cmd);
	tp_link_unlock(h);
	TP_TRY(err);
	*command_out = TP_TAKE(cmd);
	return NULL;
}

struct tp_command *tp_command_free(struct tp_command *cmd)
{
	if (!cmd)
		return NULL;
	if (cmd->h) {
		tp_link_lock(cmd->h);
		drop(cmd);
		delist(cmd);
		tp_link_unlock(cmd->h);
		tp_link_unref(cmd->h);
	} else {
		tp_close(cmd->waiter.wake_fd);
	}
	torpor_error_free(cmd->err);
	tp_buf_deinit(&cmd->queue);
	tp_buf_deinit(&cmd->batch);
	free(cmd);
	return NULL;
}

struct torpor_error *tp_helper_exec(struct tp_helper *h, const struct tp_exec *spec,
	const struct tp_call *call, struct tp_exec_result *result_out)
{
	TP_CLEANUP(tp_command_free) struct tp_command *cmd = NULL;

	TP_TRY(tp_command_new(h, spec, call, &cmd));
	return tp_command_follow(cmd, call, result_out);
}
