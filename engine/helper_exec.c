/* SPDX-License-Identifier: Apache-2.0 */
/* Commands in the guest, through the helper. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/helper_link.h"

#define DEFAULT_WINDOW (64 * TP_KIB)

/* A command being run. */
struct run {
	struct tp_helper *h;
	const struct tp_exec *spec;
	uint32_t stream;
	bool started;
	bool ended;
	uint32_t window;   /* the whole of it */
	uint32_t granted;  /* output that may still come */
	uint32_t consumed; /* output that the sink has, and for which nothing new was granted yet */
	uint32_t in_room;  /* input that may still be sent */
	bool in_ended;
	struct tp_exec_result result;
};

static const char run_step[] = "run a command through";

static struct torpor_error *misbehaves(const char *how)
{
	return tp_error(TORPOR_E_GUEST, run_step, HELPER_PEER, "%s", how);
}

static struct torpor_error *take_output(
	struct run *run, const struct tp_wire_frame *frame, int stream)
{
	const struct tp_exec *spec = run->spec;

	if (!run->started)
		return misbehaves("it sent output of a command that hasn't started");
	if (frame->len > run->granted)
		return misbehaves("it sent more output than was granted");
	if (frame->len == 0)
		return NULL;
	run->h->stray = 0;
	run->granted -= frame->len;
	run->consumed += frame->len;
	if (spec->sink)
		TP_TRY(spec->sink(spec->data, stream, frame->payload, frame->len));
	if (run->consumed >= run->window / 2) {
		tp_link_queue_u32(run->h, TP_WIRE_CREDIT, run->stream, run->consumed);
		run->granted += run->consumed;
		run->consumed = 0;
	}
	return NULL;
}

static struct torpor_error *take_credit(struct run *run, const struct tp_wire_frame *frame)
{
	uint32_t bytes;

	if (!tp_wire_get_u32(frame, &bytes))
		return tp_link_malformed(run_step, "CREDIT");
	if (!run->started || bytes == 0 || bytes > TP_WIRE_STDIN_WINDOW - run->in_room)
		return misbehaves("it granted more input than it had room for");
	run->h->stray = 0;
	run->in_room += bytes;
	return NULL;
}

static struct torpor_error *take_exit(struct run *run, const struct tp_wire_frame *frame)
{
	struct tp_wire_exit ex;

	if (!tp_wire_get_exit(frame, &ex))
		return tp_link_malformed(run_step, "EXIT");
	if (!run->started)
		return misbehaves("it ended a command that hasn't started");
	run->ended = true;
	run->result = (struct tp_exec_result){
		.signaled = ex.kind == TP_WIRE_SIGNALED,
		.value = ex.value,
	};
	return NULL;
}

static struct torpor_error *take_failed(struct run *run, const struct tp_wire_frame *frame)
{
	struct tp_wire_failed failed;

	if (!tp_wire_get_failed(frame, &failed))
		return tp_link_malformed(run_step, "FAILED");
	if (run->started)
		return misbehaves("it could not start a command that had started");
	run->ended = true;
	if (!strerrordesc_np(failed.error))
		return misbehaves("it could not start the command, and names no known errno");
	struct torpor_error *err = tp_error_errno(failed.error, failed.text, run->spec->argv[0]);
	if (failed.error == EAGAIN)
		err = tp_error_recode(err, TORPOR_E_LIMIT);
	return tp_error_in(err, run_step, HELPER_PEER);
}

static struct torpor_error *take_frame(struct run *run, const struct tp_wire_frame *frame)
{
	uint32_t pid;

	/* We were attached before, so it isn't its first. */
	if (frame->type == TP_WIRE_HELLO)
		return misbehaves("it was started anew while the command ran");
	if (frame->stream != run->stream)
		return NULL;
	switch (frame->type) {
	case TP_WIRE_STARTED:
		if (!tp_wire_get_u32(frame, &pid))
			return tp_link_malformed(run_step, "STARTED");
		if (run->started)
			return misbehaves("it started a command twice");
		run->started = true;
		return NULL;
	case TP_WIRE_STDOUT:
		return take_output(run, frame, STDOUT_FILENO);
	case TP_WIRE_STDERR:
		return take_output(run, frame, STDERR_FILENO);
	case TP_WIRE_CREDIT:
		return take_credit(run, frame);
	case TP_WIRE_EXIT:
		return take_exit(run, frame);
	case TP_WIRE_FAILED:
		return take_failed(run, frame);
	default:
		return NULL;
	}
}

static bool has_stdin(const struct tp_exec *spec)
{
	return spec->source || spec->has_stdin_fd;
}

/* Whether standard input can be sent now: there is room at the other end, and none due here. */
static bool wants_stdin(const struct run *run)
{
	return run->started && !run->in_ended && run->in_room > 0 && !tp_link_has_output(run->h);
}

static struct torpor_error *read_stdin(struct run *run, void *bytes, size_t room, ssize_t *n_out)
{
	const struct tp_exec *spec = run->spec;
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

static struct torpor_error *send_stdin(struct run *run)
{
	size_t room = TP_MIN(run->in_room, TP_WIRE_MAX_PAYLOAD);
	struct tp_wire_out out;
	ssize_t n;

	tp_wire_begin(&out, TP_WIRE_STDIN, run->stream);
	TP_TRY(read_stdin(run, tp_wire_payload(&out), room, &n));
	if (n > 0) {
		out.len = (uint32_t)n;
		run->in_room -= out.len;
		tp_link_queue(run->h, &out);
	} else if (n == 0) {
		run->in_ended = true;
		tp_link_queue_empty(run->h, TP_WIRE_STDIN_EOF, run->stream);
	}
	return tp_link_write_some(run->h);
}

/* Until the command has ended. */
static struct torpor_error *follow(struct run *run, const struct tp_call *call)
{
	for (;;) {
		struct tp_wire_frame frame;
		bool stdin_ready = false;

		while (!run->ended && tp_link_next(run->h, &frame))
			TP_TRY(take_frame(run, &frame));
		if (run->ended)
			return NULL;
		TP_TRY(tp_link_write_some(run->h));
		while (run->spec->source && wants_stdin(run))
			TP_TRY(send_stdin(run));
		int stdin_fd = wants_stdin(run) ? run->spec->stdin_fd : -1;
		TP_TRY(tp_link_exchange(run->h, call, run_step, stdin_fd, &stdin_ready));
		if (stdin_ready)
			TP_TRY(send_stdin(run));
	}
}

/* Tells the guest, as far as that goes without waiting, that nobody follows the command. */
static void abandon(struct run *run)
{
	if (run->ended)
		return;
	if (run->spec->kill_on_cancel)
		tp_link_queue_u32(run->h, TP_WIRE_SIGNAL, run->stream, SIGKILL);
	tp_link_queue_empty(run->h, TP_WIRE_DETACH, run->stream);
	torpor_error_free(
		tp_link_write_some(run->h)); /* the next call meets the same and says so */
}

static size_t count_strings(const char *const *strings)
{
	size_t n = 0;

	while (strings && strings[n])
		n++;
	return n;
}

static struct torpor_error *queue_exec(struct run *run)
{
	const struct tp_exec *spec = run->spec;
	size_t argc = count_strings(spec->argv);
	size_t envc = count_strings(spec->env);
	const char *cwd = spec->cwd ? spec->cwd : "";
	struct tp_wire_out out;

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
		.window = run->window,
		.argc = (uint16_t)argc,
		.envc = (uint16_t)envc,
		.cwd = cwd,
	};
	tp_wire_begin(&out, TP_WIRE_EXEC, run->stream);
	tp_wire_put_exec(&out, &exec, spec->argv, spec->env);
	if (out.full)
		return tp_error(TORPOR_E_LIMIT, run_step, HELPER_PEER,
			"arguments and environment take more than %u bytes", TP_WIRE_MAX_PAYLOAD);
	tp_link_queue(run->h, &out);
	return tp_link_write_some(run->h);
}

struct torpor_error *tp_helper_exec(struct tp_helper *h, const struct tp_exec *spec,
	const struct tp_call *call, struct tp_exec_result *result_out)
{
	uint32_t window = spec->window ? spec->window : DEFAULT_WINDOW;
	struct run run = {
		.h = h,
		.spec = spec,
		.stream = h->next_stream++,
		.window = window,
		.granted = window,
		.in_room = has_stdin(spec) ? TP_WIRE_STDIN_WINDOW : 0,
		.in_ended = !has_stdin(spec),
	};
	struct tp_helper_pong pong;

	if (!h->attached)
		TP_TRY(tp_error_in(tp_helper_ping(h, call, &pong), "reach", HELPER_PEER));
	TP_TRY(tp_link_begin(h, call, run_step));
	TP_TRY(queue_exec(&run));
	struct torpor_error *err = follow(&run, call);
	if (err) {
		abandon(&run);
		return err;
	}
	*result_out = run.result;
	return NULL;
}
