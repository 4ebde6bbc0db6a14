/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands in the guest, and signs of life.
 *
 * A command through the helper needs its session's turn only until it is made: its stream belongs
 * to the connection, lasts as long as the guest's process, and stands still when that does. So
 * operations don't wait for commands, nor commands for each other. The agent knows nothing of
 * streams; a command through it has the turn until it ends, or somebody urgent wants it.
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "engine/agent.h"
#include "pool/session.h"
#include "pool/turn.h"

static const char run_step[] = "run a command in";

struct tp_session_command {
	struct torpor_exec exec;
	struct tp_command *command; /* NULL: it has ended, with RESULT */
	struct torpor_exec_result result;
};

/* --- Through the helper: streamed --- */

static struct torpor_error *give_output(void *data, int stream, const void *bytes, size_t len)
{
	const struct torpor_exec *exec = data;

	exec->output(exec->output_data, stream, bytes, len);
	return NULL;
}

static struct torpor_error *make_helper_command(struct torpor_session *session,
	const struct tp_call *call, struct tp_session_command *command)
{
	const struct torpor_exec *exec = &command->exec;
	struct tp_exec inner = {
		.argv = exec->argv,
		.env = exec->env,
		.cwd = exec->cwd,
		.kill_on_cancel = exec->kill_on_cancel,
		.has_stdin_fd = exec->has_stdin,
		.stdin_fd = exec->stdin_fd,
		.sink = exec->output ? give_output : NULL,
		.data = &command->exec,
	};

	return tp_command_new(session->helper, &inner, call, &command->command);
}

/* --- Through the agent: whole output at the end, no input, no environment --- */

static struct torpor_error *run_by_agent(struct torpor_session *session, const struct tp_call *call,
	struct tp_session_command *command)
{
	const struct torpor_exec *exec = &command->exec;
	TP_AGENT_EXIT struct tp_agent_exit how = {0};

	if (exec->has_stdin || exec->env || exec->cwd)
		return tp_error_hint(
			tp_error(TORPOR_E_UNSUPPORTED, run_step, session->name,
				"without Torpor's helper there is no input, environment or "
				"directory for it"),
			"Build the template from a guest that runs torpor-helper.");
	TP_TRY(tp_agent_run(tp_guest_agent(session->guest), exec->argv, call, &how));
	if (exec->output && how.out_len > 0)
		exec->output(exec->output_data, 1, how.out, how.out_len);
	if (exec->output && how.err_len > 0)
		exec->output(exec->output_data, 2, how.err, how.err_len);
	command->result = (struct torpor_exec_result){
		.exited = how.signal == 0, .status = how.signal ? how.signal : how.status};
	return NULL;
}

/* --- Both --- */

static struct torpor_error *make_any(struct torpor_session *session, const struct tp_call *call,
	struct tp_session_command *command)
{
	if (session->helper)
		return make_helper_command(session, call, command);
	if (session->record.agent)
		return run_by_agent(session, call, command);
	return tp_error(TORPOR_E_UNSUPPORTED, run_step, session->name,
		"its guest has neither Torpor's helper nor qemu-guest-agent");
}

/* A descriptor that is readable once either is; the caller's to close. A_FD may be -1. */
static struct torpor_error *either(int a_fd, int b_fd, int *fd_out)
{
	TP_FD int fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};

	if (fd < 0 || epoll_ctl(fd, EPOLL_CTL_ADD, b_fd, &event) < 0 ||
		(a_fd >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, a_fd, &event) < 0))
		return tp_error_errno(errno, "combine", "cancellations");
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}

/* Whether the caller doesn't want it any more. */
static bool is_cancelled(const struct tp_call *call)
{
	struct pollfd cancel = {.fd = call->cancel_fd, .events = POLLIN};

	return call->cancel_fd >= 0 && poll(&cancel, 1, 0) > 0;
}

/* With the turn. Ends with the call, and also when a park or destroy wants the turn. */
static struct torpor_error *make_interruptible(struct torpor_session *session,
	const struct tp_call *call, struct tp_session_command *command)
{
	TP_FD int cancel_fd = -1;
	struct tp_call inner = *call;

	TP_TRY(tp_session_require(session, TORPOR_SESSION_RUNNING, run_step));
	TP_TRY(either(call->cancel_fd, tp_turn_wanted_fd(session->turn), &cancel_fd));
	inner.cancel_fd = cancel_fd;
	struct torpor_error *err = tp_session_explain(
		session, session->guest, make_any(session, &inner, command), call);
	/* Who wanted the turn may have given up by now; who else cancelled it hasn't. */
	if (err && torpor_error_code(err) == TORPOR_E_CANCELLED && !is_cancelled(call)) {
		torpor_error_free(err);
		return tp_error(TORPOR_E_BUSY, run_step, session->name,
			"the session is being parked or ended; if the command was started, it was "
			"left running");
	}
	return err;
}

struct torpor_error *tp_session_command_new(struct torpor_session *session,
	const struct torpor_exec *exec, const struct tp_call *call,
	struct tp_session_command **command_out)
{
	TP_CLEANUP(tp_session_command_free) struct tp_session_command *command = NULL;

	if (!exec->argv || !exec->argv[0])
		return tp_error(TORPOR_E_INVALID, run_step, session->name, "no command was given");
	command = tp_calloc(1, sizeof(*command));
	command->exec = *exec;
	TP_TRY(tp_session_enter(session, false, call));
	struct torpor_error *err = make_interruptible(session, call, command);
	tp_session_leave(session);
	if (err)
		return err;
	*command_out = TP_TAKE(command);
	return NULL;
}

struct tp_session_command *tp_session_command_free(struct tp_session_command *command)
{
	if (command) {
		tp_command_free(command->command);
		free(command);
	}
	return NULL;
}

struct torpor_error *tp_session_command_follow(struct tp_session_command *command,
	const struct tp_call *call, struct torpor_exec_result *result_out)
{
	struct tp_exec_result result;

	if (command->command) {
		TP_TRY(tp_command_explain(command->command,
			tp_command_follow(command->command, call, &result), run_step, call));
		command->result = (struct torpor_exec_result){
			.exited = !result.signaled, .status = result.value};
	}
	*result_out = command->result;
	return NULL;
}

struct torpor_error *torpor_session_exec(struct torpor_session *session,
	const struct torpor_exec *exec, const struct torpor_call *public_call,
	struct torpor_exec_result *result_out)
{
	struct tp_call call = tp_call_from(public_call, TP_NO_DEADLINE);
	TP_CLEANUP(tp_session_command_free) struct tp_session_command *command = NULL;

	TP_TRY(tp_session_command_new(session, exec, &call, &command));
	return tp_session_command_follow(command, &call, result_out);
}

static struct torpor_error *ping(struct torpor_session *session, const struct tp_call *call,
	struct torpor_ping_report *report)
{
	struct tp_helper_pong pong;

	TP_TRY(tp_session_require(session, TORPOR_SESSION_RUNNING, "ping"));
	report->agent = session->record.agent;
	uint64_t start = tp_now_ns();
	if (session->record.agent)
		TP_TRY(tp_agent_ping(tp_guest_agent(session->guest), call));
	else if (session->helper)
		TP_TRY(tp_helper_ping(session->helper, call, &pong));
	else
		return tp_error(TORPOR_E_UNSUPPORTED, "ping", session->name,
			"its guest has neither Torpor's helper nor qemu-guest-agent");
	uint64_t now = tp_now_ns();
	report->round_trip_ns = now - start;
	report->since_resume_ns = now - session->entered_ns;
	return NULL;
}

struct torpor_error *torpor_session_ping(struct torpor_session *session,
	const struct torpor_call *public_call, struct torpor_ping_report *report_out)
{
	struct tp_call call = tp_call_from(public_call, PING_TIMEOUT_NS);
	struct torpor_ping_report report = {0};

	TP_TRY(tp_session_enter(session, false, &call));
	struct torpor_error *err =
		tp_session_explain(session, session->guest, ping(session, &call, &report), &call);
	tp_session_leave(session);
	if (!err && report_out)
		*report_out = report;
	return err;
}
