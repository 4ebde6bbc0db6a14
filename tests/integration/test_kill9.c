/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that dies by kill -9, whatever it was doing: its guests die with it, its base is gone,
 * the next opening sweeps the rest, and what was acknowledged is there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"

TestSuite(kill9, .timeout = 400);

/* Long, and only reached by what hangs. */
#define PATIENCE_MS 60000

enum { GUESTS_MAX = 16 };

/* What a victim told before it died. */
struct victim {
	int pidfds[GUESTS_MAX]; /* of its guests; -1: gone before it could be opened */
	size_t n_guests;
	unsigned long long dev;
	unsigned long long inode; /* of its base; 0: it had none */
	unsigned int parks;
	bool template_stored;
};

static void note(struct victim *v, const char *line)
{
	int pid;

	if (sscanf(line, "pid %d", &pid) == 1) {
		cr_assert_lt(v->n_guests, GUESTS_MAX);
		v->pidfds[v->n_guests++] = pidfd_open(pid, 0);
	}
	sscanf(line, "base %llu %llu", &v->dev, &v->inode);
	v->parks += strncmp(line, "parked ", 7) == 0;
	v->template_stored |= strncmp(line, "template ", 9) == 0;
}

/* Runs a victim to its end. */
static struct victim run(const char *state, const char *scenario, const char *op, unsigned int nth)
{
	struct victim v = {0};
	char number[16];
	char line[256];
	int pipe_fds[2];
	int status;

	snprintf(number, sizeof(number), "%u", nth);
	cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(pipe_fds[1], STDOUT_FILENO);
		execl(getenv("TORPOR_TEST_FAULTY"), "faulty", state, scenario, op, number, NULL);
		_exit(127);
	}
	close(pipe_fds[1]);
	FILE *f = fdopen(pipe_fds[0], "r");
	while (fgets(line, sizeof(line), f))
		note(&v, line);
	fclose(f);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
		"%s at %s %u ended otherwise: 0x%x", scenario, op, nth, (unsigned int)status);
	return v;
}

static void check_guests_gone(const struct victim *v)
{
	for (size_t i = 0; i < v->n_guests; i++) {
		struct pollfd end = {.fd = v->pidfds[i], .events = POLLIN};
		if (end.fd < 0)
			continue;
		cr_assert_eq(poll(&end, 1, PATIENCE_MS), 1, "a bound guest outlives its engine");
		close(end.fd);
	}
}

/* Whether a process has that file open or mapped. */
static bool has_file(const char *pid, const struct victim *v)
{
	char path[64];
	char line[1024];
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%.16s/maps", pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		unsigned int major_number;
		unsigned int minor_number;
		unsigned long long inode;
		if (sscanf(line, "%*s %*s %*s %x:%x %llu", &major_number, &minor_number, &inode) ==
				3 &&
			inode == v->inode && makedev(major_number, minor_number) == v->dev)
			found = true;
	}
	if (f)
		fclose(f);
	snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
	DIR *dir = opendir(path);
	struct dirent *entry;
	while (dir && (entry = readdir(dir))) {
		struct stat st;
		if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && st.st_ino == v->inode &&
			st.st_dev == v->dev)
			found = true;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* All guests are gone: those that weren't told of as well. */
static void check_base_gone(const struct victim *v)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	cr_assert_not_null(proc);
	while (v->inode && (entry = readdir(proc))) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !has_file(entry->d_name, v))
			continue;
		/* Killed, but not yet at its end. */
		int pidfd = pidfd_open(atoi(entry->d_name), 0);
		struct pollfd end = {.fd = pidfd, .events = POLLIN};
		if (pidfd < 0)
			continue;
		cr_assert_eq(
			poll(&end, 1, PATIENCE_MS), 1, "process %s keeps the base", entry->d_name);
		close(pidfd);
	}
	closedir(proc);
}

/* What is recorded in the state directory's run/ dies too, told of or not. */
static void check_recorded_gone(const char *state)
{
	char path[4200];
	struct dirent *entry;

	snprintf(path, sizeof(path), "%s/run", state);
	DIR *dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		char record[4600];
		int pid;
		snprintf(record, sizeof(record), "%s/%s/process", path, entry->d_name);
		FILE *f = fopen(record, "re");
		if (!f)
			continue;
		int got = fscanf(f, "{\"pid\": %d", &pid);
		fclose(f);
		int pidfd = got == 1 ? pidfd_open(pid, 0) : -1;
		if (pidfd < 0)
			continue;
		struct pollfd end = {.fd = pidfd, .events = POLLIN};
		cr_assert_eq(poll(&end, 1, PATIENCE_MS), 1, "the guest %s lives", entry->d_name);
		close(pidfd);
	}
	if (dir)
		closedir(dir);
}

/* The next engine sweeps; what was acknowledged is there, and what wasn't is whole or nothing. */
static void check_aftermath(const char *state, const char *scenario, const struct victim *v)
{
	struct torpor_engine *engine =
		it_open_with((struct torpor_engine_options){.state_dir = state});
	struct torpor_session *session;
	struct torpor_template_info info;

	it_check_swept(state);
	struct torpor_error *err = torpor_session_open(engine, "s1", NULL, NULL, &session);
	if (err) {
		cr_assert_eq(torpor_error_code(err), TORPOR_E_NOT_FOUND, "%s",
			torpor_error_message(err));
		cr_assert_eq(
			v->parks, 0, "an acknowledged park is lost: %s", torpor_error_message(err));
		torpor_error_free(err);
	} else {
		it_ok(torpor_session_resume(session, NULL, NULL));
		const char *mark = it_run(session, "cat /mark");
		bool may_be_old = strcmp(scenario, "repark") == 0 && v->parks == 1;
		cr_assert(strcmp(mark, "new") == 0 || (may_be_old && strcmp(mark, "old") == 0),
			"%s resumed as %s", scenario, mark);
		it_ok(torpor_session_destroy(session, NULL));
	}
	err = torpor_template_lookup(engine, "built", &info);
	cr_assert(!err || !v->template_stored, "an acknowledged template is lost");
	torpor_error_free(err);
	torpor_error_free(torpor_template_remove(engine, "built"));
	torpor_engine_close(engine);
	it_check_swept(state);
	cr_assert_eq(it_entries(state, "images", ""), 0);
}

static void kill_at(const char *state, const char *scenario, const char *op, unsigned int nth)
{
	struct victim v = run(state, scenario, op, nth);

	check_guests_gone(&v);
	check_recorded_gone(state);
	check_base_gone(&v);
	check_aftermath(state, scenario, &v);
}

Test(kill9, at_steps_of_a_park)
{
	static const struct {
		const char *op;
		unsigned int nth;
	} points[] = {{"create", 1}, {"allocate", 1}, {"write", 1}, {"truncate", 1}, {"sync", 1},
		{"rename", 1}, {"sync-dir", 1}, {"end", 0}};
	char *state = it_own_state();

	for (size_t i = 0; i < TP_ARRAY_LEN(points); i++)
		kill_at(state, i % 2 ? "park" : "repark", points[i].op, points[i].nth);
	kill_at(state, "repark", "rename", 1);
	it_remove_tree(state);
}

Test(kill9, at_any_moment_of_starting_resuming_and_forking)
{
	static const char *const scenarios[] = {"start", "resume", "fork"};
	static const unsigned int moments[] = {2000, 60000};
	char *state = it_own_state();

	for (size_t s = 0; s < TP_ARRAY_LEN(scenarios); s++) {
		for (size_t i = 0; i < TP_ARRAY_LEN(moments); i++)
			kill_at(state, scenarios[s], "us", moments[i]);
		kill_at(state, scenarios[s], "end", 0);
	}
	kill_at(state, "resume", "read", 3);
	kill_at(state, "fork", "sync", 1);
	it_remove_tree(state);
}

Test(kill9, at_any_moment_of_a_template_build)
{
	static const char *const ops[] = {
		"create", "write", "truncate", "sync", "rename", "sync-dir"};
	static const unsigned int moments[] = {100, 5000, 20000, 60000, 200000, 500000};
	char *state = it_own_state();

	for (size_t i = 0; i < TP_ARRAY_LEN(ops); i++)
		kill_at(state, "build", ops[i], 1);
	for (size_t i = 0; i < TP_ARRAY_LEN(moments); i++)
		kill_at(state, "build", "us", moments[i]);
	kill_at(state, "build", "end", 0);
	it_remove_tree(state);
}
