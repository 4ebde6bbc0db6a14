/* SPDX-License-Identifier: Apache-2.0 */
/* A real QEMU and a QMP exchange. */
#include "qemu.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

/* No QEMU here takes longer for anything, even under sanitizers beside other work. */
#define PATIENCE (120 * TP_NSEC_PER_SEC)

/* Above the numbers that QEMU knows its descriptors by. */
#define SPARE_FDS 20

static void must(struct torpor_error *err)
{
	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
}

/* Gives N descriptors the numbers from FIRST on, in the program that is about to run. */
static void hand_over(const int *fds, int n, int first)
{
	int high[8];

	/* Out of the way first. */
	for (int i = 0; i < n; i++)
		high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, SPARE_FDS);
	for (int i = 0; i < n; i++)
		if (high[i] < 0 || dup2(high[i], first + i) < 0)
			_exit(127);
}

/* FDS are to be QEMU_MEMORY_FD and what follows it. */
static void exec_qemu(const int *fds, int n_fds, const char *const *args)
{
	static const char *const common[] = {"qemu-system-x86_64", "-accel", "tcg,tb-size=32",
		"-nodefaults", "-no-user-config", "-rtc", "clock=vm", "-display", "none",
		"-chardev", "socket,id=qmp,fd=8", "-mon", "chardev=qmp,mode=control", "-chardev",
		"socket,id=console,fd=9", "-device", "isa-debugcon,iobase=0x402,chardev=console"};
	const char *argv[64];
	size_t n = 0;

	for (size_t i = 0; i < TP_ARRAY_LEN(common); i++)
		argv[n++] = common[i];
	for (size_t i = 0; args[i] && n + 1 < TP_ARRAY_LEN(argv); i++)
		argv[n++] = args[i];
	argv[n] = NULL;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	hand_over(fds, n_fds, QEMU_MEMORY_FD);
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

void qemu_start(struct qemu *q, int memory, const char *const *args)
{
	int *const ours[] = {&q->qmp, &q->console};
	int theirs[1 + TP_ARRAY_LEN(ours)] = {memory};

	*q = (struct qemu){0};
	for (size_t i = 0; i < TP_ARRAY_LEN(ours); i++) {
		int pair[2];
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		*ours[i] = pair[0];
		theirs[1 + i] = pair[1];
	}
	q->pid = fork();
	cr_assert_geq(q->pid, 0);
	if (q->pid == 0)
		exec_qemu(theirs, TP_ARRAY_LEN(theirs), args);
	for (size_t i = 0; i < TP_ARRAY_LEN(ours); i++)
		tp_close(theirs[1 + i]);
	qemu_await(q, "\"QMP\"", NULL);
	qemu_run(q, "{\"execute\": \"qmp_capabilities\"}");
	qemu_run(q, "{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\": "
		    "[{\"capability\": \"events\", \"state\": true}]}}");
}

void qemu_end(struct qemu *q)
{
	kill(q->pid, SIGKILL);
	cr_assert_eq(waitpid(q->pid, NULL, 0), q->pid);
	tp_close(q->qmp);
	tp_close(q->console);
	free(q->line);
}

/* One line into q->line, byte by byte: QMP says little. */
static void read_line(struct qemu *q)
{
	struct tp_call call = tp_call_within(PATIENCE);
	size_t n = 0;

	do {
		if (n + 2 > q->line_room) {
			q->line_room = q->line_room ? q->line_room * 2 : 4096;
			q->line = tp_reallocarray(q->line, q->line_room, 1);
		}
		must(tp_read_stream(q->qmp, &q->line[n], 1, &call, "QMP"));
	} while (q->line[n++] != '\n');
	q->line[n] = '\0';
}

void qemu_await(struct qemu *q, const char *words, const char *unless)
{
	do {
		read_line(q);
		cr_assert(!unless || !strstr(q->line, unless), "%s", q->line);
	} while (!strstr(q->line, words));
}

const char *qemu_run(struct qemu *q, const char *fmt, ...)
{
	struct tp_call call = tp_call_within(PATIENCE);
	va_list ap;

	va_start(ap, fmt);
	TP_FREE char *command = tp_vasprintf(fmt, ap);
	va_end(ap);
	must(tp_write_stream(q->qmp, command, strlen(command), &call, "QMP"));
	qemu_await(q, "{\"return\":", "{\"error\":");
	return q->line;
}

void qemu_await_console(struct qemu *q, const char *words)
{
	struct tp_call call = tp_call_within(PATIENCE);
	char seen[256] = "";
	size_t n = 0;

	while (!strstr(seen, words)) {
		if (n == sizeof(seen) - 1) {
			memmove(seen, seen + n / 2, n - n / 2);
			n -= n / 2;
		}
		must(tp_read_stream(q->console, &seen[n], 1, &call, "firmware"));
		n += seen[n] != '\0';
		seen[n] = '\0';
	}
}

int qemu_open_socket(struct qemu *q, const char *name)
{
	union {
		struct cmsghdr header;
		uint8_t bytes[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
			     .cmsg_level = SOL_SOCKET,
			     .cmsg_type = SCM_RIGHTS}};
	TP_FREE char *command =
		tp_asprintf("{\"execute\": \"getfd\", \"arguments\": {\"fdname\": \"%s\"}}", name);
	struct iovec text = {.iov_base = command, .iov_len = strlen(command)};
	struct msghdr message = {.msg_iov = &text,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	memcpy(CMSG_DATA(&control.header), &pair[1], sizeof(int));
	cr_assert_eq(sendmsg(q->qmp, &message, 0), (ssize_t)text.iov_len);
	qemu_await(q, "{\"return\":", "{\"error\":");
	tp_close(pair[1]);
	return pair[0];
}

char *qemu_monitor(struct qemu *q, const char *command)
{
	const char *line = qemu_run(q,
		"{\"execute\": \"human-monitor-command\", \"arguments\": {\"command-line\": "
		"\"%s\"}}",
		command);
	const char *from = strstr(line, "\": \"");
	char *text = tp_strdup(from ? from + 4 : "");
	char *to = text;

	/* Of JSON's escapes only those of line ends occur. */
	for (const char *at = text; *at && *at != '"'; at++) {
		if (at[0] == '\\' && at[1] != '\0')
			*to++ = *++at == 'n' ? '\n' : '\r';
		else
			*to++ = *at;
	}
	*to = '\0';
	return text;
}
