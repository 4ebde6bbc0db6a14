/* SPDX-License-Identifier: Apache-2.0 */
/* Guests' directories: making, locking, removing. */
#include "engine/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/config.h"
#include "engine/spawn.h"

#define RECORD_NAME "process"
#define RECORD_MAX  256

/* The pid of the process that has the lock, or had it last. */
#define OWNER_NAME "owner"
#define OWNER_MAX  32

static const char *const entries[] = {"qmp", "agent", "helper", OWNER_NAME, RECORD_NAME};

struct torpor_error *tp_rundir_open(const char *path, int *rundir_fd_out)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return tp_error_errno(errno, "make run directory", path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return tp_error_errno(errno, "open run directory", path);
	*rundir_fd_out = fd;
	return NULL;
}

/* ---- locks ---- */

/*
 * The run directory's own lock, through a descriptor of its own, since a flock belongs to the
 * open file. Waits without a deadline: it is held for a few system calls only.
 */
static struct torpor_error *lock_rundir(int rundir_fd, int *lock_fd_out)
{
	TP_FD int fd = openat(rundir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return tp_error_errno(errno, "open", "run directory");
	do {
		rc = flock(fd, LOCK_EX);
	} while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return tp_error_errno(errno, "lock", "run directory");
	*lock_fd_out = TP_TAKE_FD(fd);
	return NULL;
}

/* Under the run directory's lock, so that what is locked is what NAME stands for. */
static struct torpor_error *open_locked(int rundir_fd, const char *name, int *dir_fd_out)
{
	TP_FD int fd = openat(rundir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return tp_error_errno(errno, "open directory of", name);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return tp_error(
				TORPOR_E_BUSY, "lock", name, "another process or thread owns it");
		return tp_error_errno(errno, "lock", name);
	}
	*dir_fd_out = TP_TAKE_FD(fd);
	return NULL;
}

/* ---- the owner ---- */

/* Only how long others look again depends on it: a full disk keeps nobody from what he locked. */
static void note_owner(int dir_fd, const char *name)
{
	TP_FD int fd = openat(dir_fd, OWNER_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || dprintf(fd, "%ld\n", (long)getpid()) < 0)
		tp_log(TP_LOG_WARNING, "note the owner of %s: %m", name);
}

/* Whether who had NAME's lock has ended. Not where that isn't known: it may be at writing it. */
static bool is_left(int rundir_fd, const char *name)
{
	TP_FREE char *path = tp_asprintf("%s/" OWNER_NAME, name);
	TP_FREE char *text = NULL;
	size_t len;
	struct torpor_error *err = tp_read_file(rundir_fd, path, OWNER_MAX, &text, &len);

	if (err) {
		torpor_error_free(err);
		return false;
	}
	return tp_pid_has_ended((pid_t)strtol(text, NULL, 10));
}

/*
 * The run directory's lock and NAME's. BUSY if that has an owner; what is locked though its owner
 * has ended is waited for until UNTIL_NS, without the run directory's lock.
 */
static struct torpor_error *lock_both(
	int rundir_fd, const char *name, uint64_t until_ns, int *lock_fd_out, int *dir_fd_out)
{
	for (;;) {
		TP_FD int lock_fd = -1;
		TP_TRY(lock_rundir(rundir_fd, &lock_fd));
		struct torpor_error *err = open_locked(rundir_fd, name, dir_fd_out);
		if (!err) {
			*lock_fd_out = TP_TAKE_FD(lock_fd);
			return NULL;
		}
		if (torpor_error_code(err) != TORPOR_E_BUSY || !is_left(rundir_fd, name))
			return err;
		lock_fd = tp_close(lock_fd);
		if (!tp_lock_await(until_ns))
			return err;
		torpor_error_free(err);
	}
}

struct torpor_error *tp_rundir_lock(int rundir_fd, const char *name, int *dir_fd_out)
{
	const uint64_t until_ns = tp_now_ns() + TP_LOCK_PATIENCE_NS;
	TP_FD int lock_fd = -1;
	TP_FD int dir_fd = -1;

	TP_TRY(lock_both(rundir_fd, name, until_ns, &lock_fd, &dir_fd));
	note_owner(dir_fd, name);
	*dir_fd_out = TP_TAKE_FD(dir_fd);
	return NULL;
}

/* ---- the process ---- */

struct torpor_error *tp_rundir_process(
	int dir_fd, const char *name, pid_t *pid_out, uint64_t *start_time_out)
{
	TP_FREE char *text = NULL;
	size_t len;
	json_int_t pid = 0;
	json_int_t start_time = 0;

	TP_TRY(tp_error_in(tp_read_file(dir_fd, RECORD_NAME, RECORD_MAX, &text, &len),
		"look up the process of", name));
	if (len == 0)
		return tp_error(
			TORPOR_E_NOT_FOUND, "look up the process of", name, "it was never started");
	json_t *json = json_loadb(text, len, 0, NULL);
	int rc = json_unpack_ex(
		json, NULL, JSON_STRICT, "{s:I, s:I}", "pid", &pid, "start_time", &start_time);
	json_decref(json);
	if (rc < 0 || pid <= 0 || pid > INT32_MAX || start_time < 0)
		return tp_error(TORPOR_E_CORRUPT, "look up the process of", name,
			"its record is malformed");
	*pid_out = (pid_t)pid;
	*start_time_out = (uint64_t)start_time;
	return NULL;
}

struct torpor_error *tp_rundir_open_process(int dir_fd, const char *name, pid_t pid,
	uint64_t start_time, struct tp_process *process_out)
{
	pid_t recorded_pid;
	uint64_t recorded_time;

	TP_TRY(tp_rundir_process(dir_fd, name, &recorded_pid, &recorded_time));
	if (pid != 0 && (recorded_pid != pid || recorded_time != start_time))
		return tp_error(TORPOR_E_NOT_FOUND, "open", name,
			"its process is another one now, %d", (int)recorded_pid);
	TP_TRY(tp_process_open(recorded_pid, recorded_time, process_out));
	if (!tp_process_ended(process_out))
		return NULL;
	tp_process_deinit(process_out);
	return tp_error(TORPOR_E_NOT_FOUND, "open", name, "it has ended");
}

/* Whether a process is recorded that still runs. What can't be found out counts as running. */
static bool runs(int dir_fd, const char *name)
{
	struct tp_process process;

	struct torpor_error *err = tp_rundir_open_process(dir_fd, name, 0, 0, &process);
	if (err) {
		enum torpor_errc code = torpor_error_code(err);
		torpor_error_free(err);
		return code != TORPOR_E_NOT_FOUND && code != TORPOR_E_CORRUPT;
	}
	tp_process_deinit(&process);
	return true;
}

bool tp_rundir_is_abandoned(int rundir_fd, const char *name)
{
	const uint64_t until_ns = tp_now_ns() + TP_LOCK_PATIENCE_NS;
	TP_FD int lock_fd = -1;
	TP_FD int dir_fd = -1;
	pid_t pid;
	uint64_t start_time;

	/* The run directory's lock is kept, as who comes meanwhile shall wait and not find an
	 * owner. */
	struct torpor_error *err = lock_both(rundir_fd, name, until_ns, &lock_fd, &dir_fd);
	if (!err)
		err = tp_rundir_process(dir_fd, name, &pid, &start_time);
	enum torpor_errc code = err ? torpor_error_code(err) : 0;
	torpor_error_free(err);
	return code == TORPOR_E_NOT_FOUND || code == TORPOR_E_CORRUPT;
}

struct torpor_error *tp_rundir_record(int dir_fd, const char *name, int *fd_out)
{
	int fd = openat(dir_fd, RECORD_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return tp_error_errno(errno, "make the record of", name);
	*fd_out = fd;
	return NULL;
}

/* ---- making and removing ---- */

static void empty(int dir_fd, const char *name)
{
	for (size_t i = 0; i < TP_ARRAY_LEN(entries); i++) {
		if (unlinkat(dir_fd, entries[i], 0) < 0 && errno != ENOENT)
			tp_log(TP_LOG_WARNING, "remove %s/%s: %m", name, entries[i]);
	}
}

/* Under the run directory's lock. */
static void remove_locked(int rundir_fd, const char *name, int dir_fd)
{
	empty(dir_fd, name);
	if (unlinkat(rundir_fd, name, AT_REMOVEDIR) < 0)
		tp_log(TP_LOG_WARNING, "remove directory of %s: %m", name);
}

struct torpor_error *tp_rundir_create(int rundir_fd, const char *name, int *dir_fd_out)
{
	TP_FD int lock_fd = -1;
	TP_FD int dir_fd = -1;

	TP_TRY(lock_rundir(rundir_fd, &lock_fd));
	bool there = mkdirat(rundir_fd, name, 0700) < 0;
	if (there && errno != EEXIST)
		return tp_error_errno(errno, "make directory of", name);
	struct torpor_error *err = open_locked(rundir_fd, name, &dir_fd);
	if (err && torpor_error_code(err) == TORPOR_E_BUSY)
		return tp_error_recode(err, TORPOR_E_EXISTS);
	if (err)
		return err;
	if (there && runs(dir_fd, name))
		return tp_error(TORPOR_E_EXISTS, "make directory of", name, "such a guest runs");
	if (there)
		empty(dir_fd, name);
	note_owner(dir_fd, name);
	*dir_fd_out = TP_TAKE_FD(dir_fd);
	return NULL;
}

void tp_rundir_remove(int rundir_fd, const char *name, int dir_fd)
{
	TP_FD int lock_fd = -1;
	struct torpor_error *err = lock_rundir(rundir_fd, &lock_fd);

	if (err)
		tp_error_log(err);
	else
		remove_locked(rundir_fd, name, dir_fd);
}

/* One candidate; what is owned, runs or can't be opened stays. */
static void sweep_one(int rundir_fd, const char *name, uint64_t until_ns)
{
	TP_FD int lock_fd = -1;
	TP_FD int dir_fd = -1;
	struct torpor_error *err = lock_both(rundir_fd, name, until_ns, &lock_fd, &dir_fd);

	if (err && torpor_error_code(err) != TORPOR_E_BUSY &&
		torpor_error_code(err) != TORPOR_E_NOT_FOUND)
		tp_error_log(err);
	else if (err)
		torpor_error_free(err);
	else if (!runs(dir_fd, name))
		remove_locked(rundir_fd, name, dir_fd);
}

struct torpor_error *tp_rundir_list(int rundir_fd, char ***names_out, size_t *n_out)
{
	char **names = NULL;
	size_t n = 0;
	struct dirent *entry;
	int fd = openat(rundir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		struct torpor_error *err = tp_error_errno(errno, "open", "run directory");
		tp_close(fd);
		return err;
	}
	while ((entry = readdir(dir))) {
		if (!tp_guest_name_ok(entry->d_name))
			continue;
		names = tp_reallocarray(names, n + 1, sizeof(*names));
		names[n++] = tp_strdup(entry->d_name);
	}
	closedir(dir);
	*names_out = names;
	*n_out = n;
	return NULL;
}

struct torpor_error *tp_rundir_sweep(int rundir_fd, const struct tp_call *call)
{
	const uint64_t until_ns = tp_now_ns() + TP_LOCK_PATIENCE_NS;
	TP_ERROR struct torpor_error *over = NULL;
	char **names;
	size_t n;

	TP_TRY(tp_rundir_list(rundir_fd, &names, &n));
	for (size_t i = 0; i < n; i++) {
		if (!over)
			over = tp_call_check(call, "sweep", "run directory");
		if (!over)
			sweep_one(rundir_fd, names[i], until_ns);
		free(names[i]);
	}
	free(names);
	if (over)
		tp_log(TP_LOG_WARNING, "%s; the rest is left to the next sweep",
			torpor_error_message(over));
	return NULL;
}

/* ---- sockets ---- */

/* Through /proc, since a socket's path may have 107 bytes at most and a directory's far more. */
static struct sockaddr_un address(int dir_fd, const char *socket)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int len = snprintf(
		addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", dir_fd, socket);

	assert(len > 0 && (size_t)len < sizeof(addr.sun_path));
	return addr;
}

struct torpor_error *tp_rundir_listen(
	int dir_fd, const char *socket_name, const char *name, int *fd_out)
{
	struct sockaddr_un addr = address(dir_fd, socket_name);
	TP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1) < 0)
		return tp_error_errno(errno, "make sockets of", name);
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}

struct torpor_error *tp_rundir_connect(
	int dir_fd, const char *socket_name, const char *name, int *fd_out)
{
	struct sockaddr_un addr = address(dir_fd, socket_name);
	TP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return tp_error_errno(errno, "connect to", name);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		/* EAGAIN: the backlog is full, so somebody else is at it. */
		if (errno == EAGAIN)
			return tp_error(TORPOR_E_BUSY, "connect to", name, "others are waiting");
		if (errno == ECONNREFUSED)
			return tp_error(TORPOR_E_NOT_FOUND, "connect to", name, "nobody listens");
		return tp_error_errno(errno, "connect to", name);
	}
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}
