/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's tests share. */
#include "support.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

void must(struct torpor_error *err)
{
	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
}

void must_fail(struct torpor_error *err, enum torpor_errc code, const char *part)
{
	cr_assert_not_null(err, "it should have failed");
	cr_assert_eq(torpor_error_code(err), code, "code is %s, in: %s",
		torpor_errc_name(torpor_error_code(err)), torpor_error_message(err));
	if (part)
		cr_assert_not_null(strstr(torpor_error_message(err), part), "no \"%s\" in: %s",
			part, torpor_error_message(err));
	torpor_error_free(err);
}

char *make_directory(void)
{
	char *path = tp_strdup("/tmp/torpor-engine-XXXXXX");

	cr_assert_not_null(mkdtemp(path));
	return path;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void remove_tree(const char *path)
{
	cr_assert_eq(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

char *mute_qemu(const char *dir)
{
	char *path = tp_asprintf("%s.mute", dir);
	FILE *file = fopen(path, "w");

	cr_assert_not_null(file);
	fputs("#!/bin/sh\nexec sleep 1000\n", file);
	fclose(file);
	cr_assert_eq(chmod(path, 0700), 0);
	return path;
}

size_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t n = 0;

	cr_assert_not_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(dir);
	return n;
}

bool process_runs(pid_t pid)
{
	char path[64];
	char text[512] = "";

	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
	FILE *file = fopen(path, "r");
	if (!file)
		return false;
	size_t n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	const char *state = n > 0 ? strrchr(text, ')') : NULL;
	return state && strncmp(state, ") Z", 3) != 0 && strncmp(state, ") X", 3) != 0;
}

/* What a late start waits at; all numbers that it gets otherwise are below, and at 35 and above. */
#define GO_FD 30

/* Its standard output is REPORT_FD; GO_FD is -1 or what its child shall have under that number. */
static pid_t start_owner(const char *run_dir, bool bound, int report_fd, int go_fd)
{
	const char *argv[] = {OWNER, run_dir ? run_dir : "child", bound ? "bound" : "kept", NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, report_fd, STDOUT_FILENO);
	if (go_fd >= 0)
		posix_spawn_file_actions_adddup2(&actions, go_fd, GO_FD);
	cr_assert_eq(posix_spawn(&pid, OWNER, &actions, NULL, (char *const *)argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

static void *let_it_go_on(void *data)
{
	struct late_start *late = data;
	char event[sizeof(struct inotify_event) + NAME_MAX + 1];

	cr_assert_gt(read(late->watch_fd, event, sizeof(event)), 0);
	late->go_fd = tp_close(late->go_fd);
	return NULL;
}

/* Lets it go on when the owner's file is read. */
static void watch_owner(const char *run_dir, struct late_start *late)
{
	TP_FREE char *path = tp_asprintf("%s/x/owner", run_dir);

	late->watch_fd = inotify_init1(IN_CLOEXEC);
	cr_assert_geq(late->watch_fd, 0);
	cr_assert_geq(inotify_add_watch(late->watch_fd, path, IN_ACCESS), 0);
	cr_assert_eq(pthread_create(&late->thread, NULL, let_it_go_on, late), 0);
}

void owner_dies_at_a_start(const char *run_dir, struct late_start *late)
{
	static const char script[] = "#!/bin/sh\n"
				     "echo > \"$STARTED\"\n"
				     "read -r go </proc/self/fd/30\n"
				     "exec \"$REAL_EXEC\" \"$@\"\n";
	TP_FREE char *slow = tp_asprintf("%s.slow", run_dir);
	TP_FREE char *started = tp_asprintf("%s.started", run_dir);
	int none = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int fd = open(slow, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	struct tp_spawner *spawner;
	int go[2];
	char byte;

	must(tp_spawner_new(NULL, &spawner));
	setenv("REAL_EXEC", tp_spawner_helper(spawner), 1);
	tp_spawner_free(spawner);
	cr_assert_eq(write(fd, script, strlen(script)), (ssize_t)strlen(script));
	close(fd);
	cr_assert_eq(mkfifo(started, 0600), 0);
	cr_assert_eq(pipe2(go, O_CLOEXEC), 0);
	setenv("STARTED", started, 1);
	setenv("TORPOR_EXEC", slow, 1);
	pid_t owner = start_owner(run_dir, false, none, go[0]);
	unsetenv("TORPOR_EXEC");
	fd = open(started, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(read(fd, &byte, 1), 1);
	kill(owner, SIGKILL);
	waitpid(owner, NULL, 0);
	close(fd);
	close(none);
	close(go[0]);
	late->go_fd = go[1];
	watch_owner(run_dir, late);
	unlink(started);
	unlink(slow);
}

void late_start_end(struct late_start *late)
{
	pthread_join(late->thread, NULL);
	close(late->watch_fd);
}

struct tp_process left_by_an_owner(const char *run_dir, bool bound, const struct tp_call *call)
{
	int report[2];
	pid_t pid;
	uint64_t start_time;
	struct tp_process process;

	cr_assert_eq(pipe2(report, O_CLOEXEC), 0);
	pid_t owner = start_owner(run_dir, bound, report[1], -1);
	close(report[1]); /* so that its end is an end of the report */
	must(tp_read_stream(report[0], &pid, sizeof(pid), call, "report"));
	must(tp_process_start_time(pid, &start_time));
	must(tp_process_open(pid, start_time, &process));
	kill(owner, SIGKILL);
	waitpid(owner, NULL, 0);
	close(report[0]);
	return process;
}
