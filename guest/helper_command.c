/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that the helper runs for the host: starting, feeding, forwarding, reaping. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/helper.h"

static const char default_path[] = "/bin:/sbin:/usr/bin:/usr/sbin";

void tp_guest_commands_init(struct tp_guest *g)
{
	for (uint32_t i = 0; i < TP_GUEST_COMMANDS; i++)
		g->commands[i] = (struct tp_guest_command){.in_bytes = g->in_bytes[i]};
}

/* The command that the host means by STREAM; detached ones it can't mean any more. */
static struct tp_guest_command *find(struct tp_guest *g, uint32_t stream)
{
	for (uint32_t i = 0; i < TP_GUEST_COMMANDS; i++) {
		struct tp_guest_command *cmd = &g->commands[i];
		if (cmd->pid && !cmd->detached && cmd->stream == stream)
			return cmd;
	}
	return NULL;
}

static struct tp_guest_command *find_free(struct tp_guest *g)
{
	for (uint32_t i = 0; i < TP_GUEST_COMMANDS; i++) {
		if (!g->commands[i].pid)
			return &g->commands[i];
	}
	return NULL;
}

/* Of those that are detached the one that has been for longest; or NULL. */
static struct tp_guest_command *find_oldest_detached(struct tp_guest *g)
{
	struct tp_guest_command *oldest = NULL;

	for (uint32_t i = 0; i < TP_GUEST_COMMANDS; i++) {
		struct tp_guest_command *cmd = &g->commands[i];
		if (cmd->pid && cmd->detached &&
			(!oldest || (int32_t)(cmd->detached_as - oldest->detached_as) < 0))
			oldest = cmd;
	}
	return oldest;
}

static void close_pipe(struct tp_guest_pipe *p)
{
	if (p->fd >= 0)
		close(p->fd);
	*p = (struct tp_guest_pipe){.fd = -1};
}

/* --- starting --- */

/* What the child needs; it shares the parent's memory until it has become the command. */
struct launch {
	const char *const *argv;
	const char *const *env;
	const char *cwd;
	int fds[3];
	int error; /* set by the child if it failed, with what it was doing */
	const char *step;
	char path[PATH_MAX];
};

static const char *find_path(const char *const *env)
{
	for (; *env; env++) {
		if (strncmp(*env, "PATH=", 5) == 0)
			return *env + 5;
	}
	return default_path;
}

/* As execvpe(3), but with the PATH that the command itself gets. Returns an errno. */
static int exec_search(struct launch *l)
{
	const char *name = l->argv[0];
	int error = ENOENT;

	if (strchr(name, '/') || !*name) {
		execve(name, (char **)l->argv, (char **)l->env);
		return errno;
	}
	for (const char *dir = find_path(l->env); dir;) {
		const char *end = strchrnul(dir, ':');
		size_t len = (size_t)(end - dir);
		if (len + strlen(name) + 2 <= sizeof(l->path)) {
			memcpy(l->path, dir, len);
			l->path[len] = '/';
			strcpy(l->path + len + (len > 0), name);
			execve(l->path, (char **)l->argv, (char **)l->env);
			if (errno != ENOENT && errno != ENOTDIR)
				error = errno;
		}
		dir = *end ? end + 1 : NULL;
	}
	return error;
}

static void default_signals(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;

	sigaction(SIGPIPE, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * Runs in the child on the parent's memory (vfork), so it only makes system calls. Descriptors 0
 * to 2 are open in the helper, so those in l->fds are higher and dup2 overwrites none of them.
 */
static void become_command(struct launch *l)
{
	setsid();
	for (int i = 0; i < 3; i++)
		dup2(l->fds[i], i);
	close_range(3, UINT_MAX, 0);
	l->step = "enter the working directory";
	if (chdir(l->cwd) < 0) {
		l->error = errno;
		_exit(127);
	}
	default_signals();
	l->step = "execute";
	l->error = exec_search(l);
	_exit(127);
}

/* vfork: copying the page tables would cost a clone a page for each that is written afterwards. */
static pid_t spawn(struct launch *l)
{
	pid_t pid = vfork();

	if (pid == 0)
		become_command(l);
	return pid;
}

/* A pipe of which OURS is our end, non-blocking. */
static int make_pipe(struct tp_guest_pipe *ours, int *theirs, bool we_read)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return errno;
	*ours = (struct tp_guest_pipe){.fd = fds[we_read ? 0 : 1], .ready = !we_read, .last = -1};
	*theirs = fds[we_read ? 1 : 0];
	return fcntl(ours->fd, F_SETFL, O_NONBLOCK) < 0 ? errno : 0;
}

static int watch(struct tp_guest *g, struct tp_guest_command *cmd, uint32_t which, int fd)
{
	struct epoll_event ev = {
		.events = EPOLLET | (which == 0 ? EPOLLOUT : EPOLLIN),
		.data.u32 = (uint32_t)(cmd - g->commands) * 4 + which,
	};

	if (fd < 0)
		return 0;
	return epoll_ctl(g->epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? errno : 0;
}

/* Makes the three descriptors of the command; on failure some are open, and the caller's. */
static int make_pipes(struct tp_guest *g, struct tp_guest_command *cmd, uint32_t flags, int fds[3])
{
	int error;

	if (flags & TP_WIRE_EXEC_STDIN)
		error = make_pipe(&cmd->in, &fds[0], false);
	else
		error = (fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0 ? errno : 0;
	if (!error)
		error = make_pipe(&cmd->out, &fds[1], true);
	if (!error && (flags & TP_WIRE_EXEC_MERGE_STDERR))
		error = (fds[2] = fcntl(fds[1], F_DUPFD_CLOEXEC, 3)) < 0 ? errno : 0;
	else if (!error)
		error = make_pipe(&cmd->err, &fds[2], true);
	if (!error)
		error = watch(g, cmd, 0, cmd->in.fd);
	if (!error)
		error = watch(g, cmd, 1, cmd->out.fd);
	if (!error)
		error = watch(g, cmd, 2, cmd->err.fd);
	return error;
}

static void free_command(struct tp_guest_command *cmd)
{
	close_pipe(&cmd->in);
	close_pipe(&cmd->out);
	close_pipe(&cmd->err);
	cmd->pid = 0;
}

/* Starts the command in the free slot CMD. On failure the slot is free, STEP says what failed. */
static int start(struct tp_guest *g, struct tp_guest_command *cmd, const struct tp_wire_exec *exec,
	struct launch *l)
{
	pid_t pid = 0;

	for (int i = 0; i < 3; i++)
		l->fds[i] = -1;
	cmd->in.fd = cmd->out.fd = cmd->err.fd = -1;
	l->step = "make pipes";
	l->error = make_pipes(g, cmd, exec->flags, l->fds);
	if (!l->error) {
		l->step = "start a process";
		pid = spawn(l);
		if (pid < 0)
			l->error = errno;
	}
	for (int i = 0; i < 3; i++) {
		if (l->fds[i] >= 0)
			close(l->fds[i]);
	}
	if (l->error && pid > 0)
		waitpid(pid, NULL, 0);
	if (l->error)
		free_command(cmd);
	else
		cmd->pid = pid;
	return l->error;
}

static void send_failed(struct tp_guest *g, uint32_t stream, int error, const char *step)
{
	struct tp_wire_failed failed = {.error = error};

	strncpy(failed.text, step, sizeof(failed.text) - 1);
	tp_wire_begin(&g->out, TP_WIRE_FAILED, stream);
	tp_wire_put_failed(&g->out, &failed);
	tp_guest_send(g);
}

static void send_u32(struct tp_guest *g, enum tp_wire_type type, uint32_t stream, uint32_t value)
{
	tp_wire_begin(&g->out, type, stream);
	tp_wire_put_u32(&g->out, value);
	tp_guest_send(g);
}

/* Splits the request's strings into two NULL-terminated lists. */
static void arrange(struct launch *l, const struct tp_wire_exec *exec,
	const char *strings[TP_WIRE_MAX_STRINGS + 2])
{
	memmove(strings + exec->argc + 1, strings + exec->argc, exec->envc * sizeof(*strings));
	strings[exec->argc] = NULL;
	strings[exec->argc + 1 + exec->envc] = NULL;
	l->argv = strings;
	l->env = exec->envc ? strings + exec->argc + 1 : (const char *const *)environ;
	l->cwd = *exec->cwd ? exec->cwd : "/";
}

void tp_guest_exec(struct tp_guest *g, const struct tp_wire_frame *frame)
{
	static const char *strings[TP_WIRE_MAX_STRINGS + 2];
	static struct launch l;
	struct tp_guest_command *cmd = find_free(g);
	struct tp_guest_command *detached = find_oldest_detached(g);
	struct tp_wire_exec exec;

	if (!tp_wire_get_exec(frame, &exec, strings)) {
		send_failed(g, frame->stream, EINVAL, "read the request");
		return;
	}
	/* Answered so that the running command of that number isn't taken for the failed one. */
	if (find(g, frame->stream)) {
		send_failed(g, frame->stream, EEXIST, "use the stream's number again");
		return;
	}
	/* It runs on, with nobody to read what it writes. */
	if (!cmd && detached) {
		free_command(detached);
		cmd = detached;
	}
	if (!cmd) {
		send_failed(g, frame->stream, EAGAIN, "find a free place among the commands");
		return;
	}
	arrange(&l, &exec, strings);
	*cmd = (struct tp_guest_command){
		.stream = frame->stream,
		.window = exec.window,
		.in_granted = TP_WIRE_STDIN_WINDOW,
		.in_eof = !(exec.flags & TP_WIRE_EXEC_STDIN),
		.in_bytes = cmd->in_bytes,
	};
	if (start(g, cmd, &exec, &l) != 0)
		send_failed(g, frame->stream, l.error, l.step);
	else
		send_u32(g, TP_WIRE_STARTED, frame->stream, (uint32_t)cmd->pid);
}

/* --- what the host sends to a running command --- */

void tp_guest_stdin(struct tp_guest *g, const struct tp_wire_frame *frame)
{
	struct tp_guest_command *cmd = find(g, frame->stream);

	/* More than was granted is the host's mistake; there is no room for it. */
	if (!cmd || cmd->in_eof || frame->len > cmd->in_granted)
		return;
	cmd->in_granted -= frame->len;
	if (cmd->in.fd < 0)
		return;
	memmove(cmd->in_bytes, cmd->in_bytes + cmd->in_at, cmd->in_len - cmd->in_at);
	cmd->in_len -= cmd->in_at;
	cmd->in_at = 0;
	memcpy(cmd->in_bytes + cmd->in_len, frame->payload, frame->len);
	cmd->in_len += frame->len;
}

void tp_guest_stdin_eof(struct tp_guest *g, uint32_t stream)
{
	struct tp_guest_command *cmd = find(g, stream);

	if (cmd)
		cmd->in_eof = true;
}

void tp_guest_signal(struct tp_guest *g, uint32_t stream, uint32_t signal)
{
	struct tp_guest_command *cmd = find(g, stream);

	if (cmd && !cmd->ended && signal >= 1 && signal <= (uint32_t)SIGRTMAX)
		kill(-cmd->pid, (int)signal);
}

void tp_guest_credit(struct tp_guest *g, uint32_t stream, uint32_t bytes)
{
	struct tp_guest_command *cmd = find(g, stream);

	if (cmd)
		cmd->window = bytes > UINT32_MAX - cmd->window ? UINT32_MAX : cmd->window + bytes;
}

static void detach(struct tp_guest *g, struct tp_guest_command *cmd)
{
	cmd->detached = true;
	cmd->detached_as = g->detach_count++;
	close_pipe(&cmd->in);
	if (cmd->ended)
		free_command(cmd);
}

void tp_guest_detach(struct tp_guest *g, uint32_t stream)
{
	struct tp_guest_command *cmd = find(g, stream);

	if (cmd)
		detach(g, cmd);
}

void tp_guest_detach_all(struct tp_guest *g)
{
	for (uint32_t i = 0; i < TP_GUEST_COMMANDS; i++) {
		if (g->commands[i].pid && !g->commands[i].detached)
			detach(g, &g->commands[i]);
	}
}

bool tp_guest_any_attached(const struct tp_guest *g)
{
	for (uint32_t i = 0; i < TP_GUEST_COMMANDS; i++) {
		if (g->commands[i].pid && !g->commands[i].detached)
			return true;
	}
	return false;
}

/* --- the end of a command --- */

/*
 * What is in the pipe when the process has ended is its last output. It isn't read to its end:
 * that may never come, as a process that the command left behind can hold the other side.
 */
static void note_last_output(struct tp_guest_pipe *p)
{
	int left = 0;

	if (p->fd < 0)
		return;
	if (ioctl(p->fd, FIONREAD, &left) < 0 || left <= 0) {
		close_pipe(p);
		return;
	}
	p->last = left;
	p->ready = true;
}

void tp_guest_reap(struct tp_guest *g)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (uint32_t i = 0; i < TP_GUEST_COMMANDS; i++) {
			struct tp_guest_command *cmd = &g->commands[i];
			if (cmd->pid != pid || cmd->ended)
				continue;
			cmd->ended = true;
			cmd->status = status;
			close_pipe(&cmd->in);
			note_last_output(&cmd->out);
			note_last_output(&cmd->err);
			if (cmd->detached)
				free_command(cmd);
			break;
		}
	}
}

static void send_exit(struct tp_guest *g, const struct tp_guest_command *cmd)
{
	bool exited = WIFEXITED(cmd->status);
	struct tp_wire_exit ex = {
		.kind = exited ? TP_WIRE_EXITED : TP_WIRE_SIGNALED,
		.value = exited ? WEXITSTATUS(cmd->status) : WTERMSIG(cmd->status),
	};

	tp_wire_begin(&g->out, TP_WIRE_EXIT, cmd->stream);
	tp_wire_put_exit(&g->out, &ex);
	tp_guest_send(g);
}

/* --- moving bytes --- */

void tp_guest_pipe_ready(struct tp_guest *g, uint32_t index, uint32_t which)
{
	struct tp_guest_command *cmd = &g->commands[index];
	struct tp_guest_pipe *pipes[] = {&cmd->in, &cmd->out, &cmd->err};

	pipes[which]->ready = true;
}

/* Writes standard input on; what the command doesn't want any more is dropped, and granted. */
static bool pump_stdin(struct tp_guest_command *cmd)
{
	uint32_t len = cmd->in_len - cmd->in_at;
	bool moved = false;

	if (cmd->in.fd >= 0 && len > 0 && cmd->in.ready) {
		ssize_t n = write(cmd->in.fd, cmd->in_bytes + cmd->in_at, len);
		if (n > 0)
			cmd->in_at += (uint32_t)n;
		else if (errno == EAGAIN)
			cmd->in.ready = false;
		else if (errno != EINTR)
			close_pipe(&cmd->in);
		moved = true;
	}
	if (cmd->in.fd < 0 || cmd->in_at == cmd->in_len)
		cmd->in_at = cmd->in_len = 0;
	if (cmd->in.fd >= 0 && cmd->in_len == 0 && cmd->in_eof)
		close_pipe(&cmd->in);
	return moved;
}

/* Grants what was written on, in large steps: a byte typed shall not cost a frame back. */
static void grant_stdin(struct tp_guest *g, struct tp_guest_command *cmd)
{
	uint32_t held = cmd->in_granted + (cmd->in_len - cmd->in_at);
	uint32_t grant = TP_WIRE_STDIN_WINDOW - held;

	if (cmd->in_eof || cmd->ended || cmd->detached || grant < TP_WIRE_STDIN_WINDOW / 4 ||
		tp_guest_tx_room(g) < TP_GUEST_REPLY_ROOM)
		return;
	cmd->in_granted += grant;
	send_u32(g, TP_WIRE_CREDIT, cmd->stream, grant);
}

/* Reads up to ROOM bytes of output into g->out's payload; returns how many. */
static uint32_t read_output(struct tp_guest *g, struct tp_guest_pipe *p, uint32_t room)
{
	if (p->last >= 0 && room > (uint32_t)p->last)
		room = (uint32_t)p->last;

	ssize_t n = read(p->fd, tp_wire_payload(&g->out), room);
	if (n < 0 && errno == EAGAIN)
		p->ready = false;
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		close_pipe(p);
	if (n <= 0)
		return 0;
	if (p->last >= 0 && (p->last -= (int32_t)n) == 0)
		close_pipe(p);
	return (uint32_t)n;
}

/* Forwards or discards one piece of output. Only into an empty tx, where the largest fits. */
static bool pump_output(struct tp_guest *g, struct tp_guest_command *cmd, struct tp_guest_pipe *p,
	enum tp_wire_type type)
{
	uint32_t room = TP_WIRE_MAX_PAYLOAD;

	if (p->fd < 0 || !p->ready)
		return false;
	if (cmd->detached) {
		read_output(g, p, room);
		return true;
	}
	if (cmd->window == 0 || g->tx_at != g->tx_len)
		return false;
	tp_wire_begin(&g->out, type, cmd->stream);
	g->out.len = read_output(g, p, cmd->window < room ? cmd->window : room);
	if (g->out.len > 0) {
		cmd->window -= g->out.len;
		tp_guest_send(g);
	}
	return true;
}

static bool pump_command(struct tp_guest *g, struct tp_guest_command *cmd)
{
	bool moved = pump_stdin(cmd);

	grant_stdin(g, cmd);
	moved |= pump_output(g, cmd, &cmd->out, TP_WIRE_STDOUT);
	moved |= pump_output(g, cmd, &cmd->err, TP_WIRE_STDERR);
	if (cmd->ended && cmd->out.fd < 0 && cmd->err.fd < 0 &&
		tp_guest_tx_room(g) >= TP_GUEST_REPLY_ROOM) {
		send_exit(g, cmd);
		free_command(cmd);
		moved = true;
	}
	return moved;
}

bool tp_guest_pump_commands(struct tp_guest *g)
{
	bool moved = false;

	/* Each is first in turn, so that one that prints without end doesn't silence the others. */
	g->next_command = (g->next_command + 1) % TP_GUEST_COMMANDS;
	for (uint32_t i = 0; i < TP_GUEST_COMMANDS; i++) {
		struct tp_guest_command *cmd =
			&g->commands[(g->next_command + i) % TP_GUEST_COMMANDS];
		if (cmd->pid)
			moved |= pump_command(g, cmd);
	}
	return moved;
}
