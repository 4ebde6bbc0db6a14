/* SPDX-License-Identifier: Apache-2.0 */
/*
 * torpor-exec: puts a fresh process in order and becomes the program wanted.
 *
 *   torpor-exec [--bound PARENT] [--session] [--keep N] [--status FD] [--record FD] -- PROGRAM
 * ARG...
 *
 *   --bound PARENT  die with the thread that started us; PARENT is its process's pid
 *   --session       become the leader of a session of its own
 *   --keep N        leave the N descriptors from 3 on open for PROGRAM; all others are closed
 *                   at the moment it starts
 *   --status FD     where to write errno (an int) if PROGRAM can't be started
 *   --record FD     where to write our pid and start time first
 *
 *   torpor-exec --hold UID GID
 *
 * Holds the descriptors from 3 on for others to open through /proc/PID/fd, as that user and group:
 * who hasn't its user's rights can't. Writes a newline once they can, and stays until it is killed.
 *
 * Ends with 127 and a line on standard error if it fails. Linked statically: it runs once for
 * each guest, and the dynamic linker would cost more than all it does. It allocates nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define FIRST_FD    3
#define EXIT_FAILED 127

struct options {
	pid_t bound_to; /* 0: not bound */
	bool session;
	int keep;
	int status_fd;
	int record_fd;
	char **argv;
};

static int status_fd = -1;

static _Noreturn void fail(const char *what, int errnum)
{
	dprintf(STDERR_FILENO, "torpor-exec: %s: %s\n", what, strerrordesc_np(errnum));
	if (status_fd >= 0 && write(status_fd, &errnum, sizeof(errnum)) < 0)
		_exit(EXIT_FAILED);
	_exit(EXIT_FAILED);
}

static int number(const char *text)
{
	char *end;

	errno = 0;
	long value = text ? strtol(text, &end, 10) : -1;
	if (!text || errno || end == text || *end || value < 0 || value > 1 << 30)
		fail("a number is malformed", EINVAL);
	return (int)value;
}

static struct options parse(char **argv)
{
	struct options o = {.status_fd = -1, .record_fd = -1};

	for (argv++; *argv && strcmp(*argv, "--") != 0; argv++) {
		if (strcmp(*argv, "--session") == 0)
			o.session = true;
		else if (strcmp(*argv, "--bound") == 0)
			o.bound_to = number(*++argv);
		else if (strcmp(*argv, "--keep") == 0)
			o.keep = number(*++argv);
		else if (strcmp(*argv, "--status") == 0)
			o.status_fd = status_fd = number(*++argv);
		else if (strcmp(*argv, "--record") == 0)
			o.record_fd = number(*++argv);
		else
			fail(*argv, EINVAL);
	}
	if (!*argv || !argv[1])
		fail("no program was given", EINVAL);
	o.argv = argv + 1;
	return o;
}

/* From here on our death follows the parent's; if that came first we have another parent now. */
static void bind_to_parent(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fail("bind to the parent", errno);
	if (getppid() != parent)
		fail("the parent is gone", ESRCH);
}

static void reset_signals(void)
{
	sigset_t none;

	/* Numbers that don't exist or can't be changed are refused, which is fine. */
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		fail("unblock signals", errno);
}

/* Our start time: field 22 of /proc/self/stat, counted behind the ')' that ends the name. */
static unsigned long long start_time(void)
{
	char stat[1024];
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, stat, sizeof(stat) - 1);

	if (n < 0)
		fail("read /proc/self/stat", errno);
	stat[n] = '\0';
	const char *at = strrchr(stat, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		fail("read /proc/self/stat", EINVAL);
	return strtoull(at, NULL, 10);
}

static void record(int fd)
{
	char text[96];
	int len = snprintf(text, sizeof(text), "{\"pid\": %ld, \"start_time\": %llu}\n",
		(long)getpid(), start_time());

	if (write(fd, text, (size_t)len) != len)
		fail("record the process", errno ? errno : EIO);
}

static _Noreturn void hold(uid_t uid, gid_t gid)
{
	if ((getuid() != uid || getgid() != gid) &&
		(setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
			setresuid(uid, uid, uid) < 0))
		fail("become the user that QEMU runs as", errno);
	/* Changing the user has hidden /proc/PID/fd from it. */
	if (prctl(PR_SET_DUMPABLE, 1) < 0)
		fail("open /proc/self to others", errno);
	/* And dropped what binds us to our parent, which is asked for anew; it is there still, or
	 * nobody reads what is written next. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || write(STDOUT_FILENO, "\n", 1) != 1)
		fail("tell that all is ready", errno ? errno : EIO);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	if (argc < 1)
		fail("no arguments", EINVAL);
	if (argc == 4 && strcmp(argv[1], "--hold") == 0)
		hold((uid_t)number(argv[2]), (gid_t)number(argv[3]));
	struct options o = parse(argv);

	if (o.bound_to)
		bind_to_parent(o.bound_to);
	if (o.session && setsid() < 0)
		fail("start a session", errno);
	reset_signals();
	if (close_range((unsigned int)(FIRST_FD + o.keep), ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		fail("close descriptors", errno);
	if (o.record_fd >= 0)
		record(o.record_fd);
	execvp(o.argv[0], o.argv);
	fail(o.argv[0], errno);
}
