/* SPDX-License-Identifier: Apache-2.0 */
/* Faults. */
#include "fault.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const op_names[] = {
	[TP_IO_CREATE] = "create",
	[TP_IO_ALLOCATE] = "allocate",
	[TP_IO_READ] = "read",
	[TP_IO_WRITE] = "write",
	[TP_IO_TRUNCATE] = "truncate",
	[TP_IO_SYNC] = "sync",
	[TP_IO_RENAME] = "rename",
	[TP_IO_SYNC_DIR] = "sync-dir",
	[TP_IO_UNLINK] = "unlink",
	[IT_ANY_OP] = "any",
};

const char *it_op_name(unsigned int op)
{
	return op_names[op];
}

unsigned int it_op_of(const char *name)
{
	for (unsigned int op = 0; op <= IT_ANY_OP; op++) {
		if (strcmp(op_names[op], name) == 0)
			return op;
	}
	cr_assert_fail("there is no operation %s", name);
	return 0;
}

/* --- The fault --- */

static int strike(void *data, struct tp_io_event *event)
{
	struct it_fault *fault = data;
	unsigned int of_kind = atomic_fetch_add(&fault->seen[event->op], 1) + 1;
	unsigned int of_all = atomic_fetch_add(&fault->seen[IT_ANY_OP], 1) + 1;

	bool now = fault->op == IT_ANY_OP ? of_all == fault->nth
					  : event->op == fault->op && of_kind == fault->nth;
	if (!now)
		return 0;
	atomic_store(&fault->struck, true);
	if (fault->act)
		fault->act(fault->data);
	return fault->errnum;
}

void it_fault_set(struct it_fault *fault)
{
	tp_io_set_hook(strike, fault);
}

void it_fault_clear(void)
{
	tp_io_set_hook(NULL, NULL);
}

/* --- In the guest --- */

void it_count_start(struct torpor_session *session)
{
	it_run(session, "setsid sh -c 'i=0; while :; do i=$((i+1)); echo $i >> /count; sleep 0.05; "
			"done' </dev/null >/dev/null 2>&1 & echo $! > /counter");
	it_run(session, "while [ ! -s /count ]; do sleep 0.05; done");
}

void it_count_check(struct torpor_session *session)
{
	it_run(session, "n=$(tail -n 1 /count); while [ $(tail -n 1 /count) = $n ]; do sleep 0.05; "
			"done; awk '$1 != NR {exit 1}' /count && kill -0 $(cat /counter)");
}

void it_clock_check(struct torpor_session *session)
{
	time_t before = time(NULL);
	time_t guest = (time_t)strtoll(it_run(session, "date +%s"), NULL, 10);
	time_t after = time(NULL);

	cr_assert(guest >= before - 1 && guest <= after + 1,
		"the guest's clock says %lld, the host's %lld to %lld", (long long)guest,
		(long long)before, (long long)after);
}

/* --- Files --- */

uint8_t *it_read(const char *path, size_t *len_out)
{
	struct stat st;
	FILE *f = fopen(path, "re");

	if (!f)
		return NULL;
	cr_assert_eq(fstat(fileno(f), &st), 0);
	uint8_t *bytes = malloc((size_t)st.st_size + 1);
	*len_out = fread(bytes, 1, (size_t)st.st_size, f);
	cr_assert_eq(*len_out, (size_t)st.st_size);
	fclose(f);
	return bytes;
}

void it_write(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "we");

	cr_assert(f && fwrite(bytes, 1, len, f) == len && fclose(f) == 0, "%s: %m", path);
}

static void shell(const char *fmt, const char *a, const char *b)
{
	char command[8192];
	const char *const argv[] = {"sh", "-c", command, NULL};
	int status;

	snprintf(command, sizeof(command), "%s %s %s", fmt, a, b);
	pid_t pid = fork();
	if (pid == 0) {
		execv("/bin/sh", (char *const *)argv);
		_exit(127);
	}
	cr_assert(waitpid(pid, &status, 0) == pid && status == 0, "%s gave %d", command, status);
}

char *it_own_dir(void)
{
	char *dir = malloc(4096);

	snprintf(dir, 4096, "%s-own-XXXXXX", getenv("TORPOR_TEST_STATE"));
	cr_assert_not_null(mkdtemp(dir), "%s: %m", dir);
	return dir;
}

/* The template of all, and not what others are building beside it. */
char *it_own_state(void)
{
	char from[4200];
	char to[4200];
	char *dir = it_own_dir();

	torpor_engine_close(it_open()); /* makes the template if nobody has yet */
	snprintf(from, sizeof(from), "%s/templates/" IT_TEMPLATE, getenv("TORPOR_TEST_STATE"));
	snprintf(to, sizeof(to), "%s/templates", dir);
	cr_assert(mkdir(to, 0700) == 0, "%s: %m", to);
	shell("cp -a", from, to);
	return dir;
}

void it_remove_tree(char *dir)
{
	shell("rm -rf", dir, "");
	free(dir);
}

unsigned int it_entries(const char *state_dir, const char *sub, const char *prefix)
{
	char path[4200];
	struct dirent *entry;
	unsigned int count = 0;

	snprintf(path, sizeof(path), "%s/%s", state_dir, sub);
	DIR *dir = opendir(path);
	if (!dir)
		return 0;
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
	}
	closedir(dir);
	return count;
}

unsigned int it_own_rundirs(const char *state_dir)
{
	static const char *const kinds[] = {"shell", "boot", "own", "build"};
	unsigned int count = 0;

	for (size_t i = 0; i < TP_ARRAY_LEN(kinds); i++) {
		char prefix[64];
		snprintf(prefix, sizeof(prefix), "%s-%d-", kinds[i], getpid());
		count += it_entries(state_dir, "run", prefix);
	}
	return count;
}

unsigned int it_own_parts(const char *state_dir)
{
	char prefix[64];

	snprintf(prefix, sizeof(prefix), ".it-%d-", getpid());
	unsigned int count = it_entries(state_dir, "images", prefix);
	snprintf(prefix, sizeof(prefix), ".cp-%d-", getpid());
	return count + it_entries(state_dir, "images", prefix);
}

void it_check_swept(const char *state_dir)
{
	cr_assert_eq(it_entries(state_dir, "images", "."), 0, "a part of an image is left");
	cr_assert_eq(it_entries(state_dir, "templates", "."), 0, "a part of a template is left");
	cr_assert_eq(it_entries(state_dir, "run", ""), 0, "a guest's directory is left");
}

/* --- Processes --- */

unsigned int it_kill_qemus(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	unsigned int count = 0;

	cr_assert_not_null(proc);
	while ((entry = readdir(proc))) {
		if (!it_is_qemu_of(getpid(), entry->d_name))
			continue;
		int pidfd = pidfd_open(atoi(entry->d_name), 0);
		struct pollfd end = {.fd = pidfd, .events = POLLIN};
		/* One that had ended before may be reaped at any moment. */
		cr_assert(pidfd >= 0 || errno == ESRCH, "%m");
		if (pidfd < 0)
			continue;
		if (poll(&end, 1, 0) == 0) {
			bool killed = pidfd_send_signal(pidfd, SIGKILL, NULL, 0) == 0;
			cr_assert(killed || errno == ESRCH, "%m");
			count += killed;
			cr_assert_eq(poll(&end, 1, 60000), 1, "QEMU survived its kill");
		}
		close(pidfd);
	}
	closedir(proc);
	return count;
}

/* --- The command line --- */

int it_cli(const char *args, const char **stdout_out, const char **stderr_out)
{
	static char *out;
	static char *err;
	char command[16384];
	char paths[2][4200];
	size_t len;

	for (int i = 0; i < 2; i++)
		snprintf(paths[i], sizeof(paths[i]), "%s.cli-%d-%d", getenv("TORPOR_TEST_STATE"),
			getpid(), i);
	snprintf(command, sizeof(command), "%s %s >%s 2>%s </dev/null", getenv("TORPOR_TEST_CLI"),
		args, paths[0], paths[1]);
	int status = system(command); /* NOLINT(cert-env33-c): the test's own words */
	free(out);
	free(err);
	out = (char *)it_read(paths[0], &len);
	out[len] = '\0';
	err = (char *)it_read(paths[1], &len);
	err[len] = '\0';
	unlink(paths[0]);
	unlink(paths[1]);
	cr_assert(WIFEXITED(status), "%s didn't exit: %d; %s", command, status, err);
	if (stdout_out)
		*stdout_out = out;
	if (stderr_out)
		*stderr_out = err;
	return WEXITSTATUS(status);
}
