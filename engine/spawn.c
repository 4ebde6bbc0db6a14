/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spawner: a thread, a queue of requests, and the children that nobody waits for.
 *
 * Descriptors travel in two steps, since a source may have the number that another one is to
 * get: all are first duplicated above the whole target range, then each onto its target in the
 * child. Behind the program's own come those that only torpor-exec uses:
 *
 *   3 ... 3+n-1   the program's
 *   3+n           where an exec failure's errno is written; closed by a successful exec
 *   3+n+1, ...    record_fd and lock_fd, where given
 */
#include "engine/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/strv.h"

#define MAX_FDS 32

/* One posix_spawn, on the stack of the thread that waits for it. */
struct request {
	const char *helper;
	char *const *argv;
	const posix_spawn_file_actions_t *actions;
	int errnum;
	pid_t pid;
	int pidfd;
	bool done;
	struct request *next;
};

struct tp_spawner {
	/* Fixed. */
	char *helper;
	int wake_fd; /* eventfd: there is something new under the lock */
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t done; /* a request was done */
	/* Under the lock. */
	struct request *requests;
	int *disowned; /* pidfds that the thread is to take over */
	size_t n_disowned;
	bool ending;

	/* The thread's own: entry 0 is wake_fd, the others are disowned children. */
	struct pollfd *polled;
	size_t n_polled;
};

/* ---- identity ---- */

void tp_process_deinit(struct tp_process *process)
{
	process->pidfd = tp_close(process->pidfd);
}

/* Field 22, counted behind the last ')': the name before it may hold anything. */
static bool parse_start_time(const char *stat, uint64_t *start_time_out)
{
	const char *at = strrchr(stat, ')');
	char *end;

	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		return false;
	*start_time_out = strtoull(at, &end, 10);
	return end != at;
}

static struct torpor_error *no_such_process(pid_t pid)
{
	TP_FREE char *name = tp_asprintf("%ld", (long)pid);

	return tp_error(TORPOR_E_NOT_FOUND, "look up process", name, "there is none");
}

struct torpor_error *tp_process_start_time(pid_t pid, uint64_t *start_time_out)
{
	TP_FREE char *path = tp_asprintf("/proc/%ld/stat", (long)pid);
	TP_FREE char *stat = NULL;
	size_t len;

	struct torpor_error *err = tp_read_file(AT_FDCWD, path, 4096, &stat, &len);
	if (err) {
		bool gone = torpor_error_errno(err) == ENOENT || torpor_error_errno(err) == ESRCH;
		if (!gone)
			return err;
		torpor_error_free(err);
		return no_such_process(pid);
	}
	if (!parse_start_time(stat, start_time_out))
		return tp_error(TORPOR_E_INTERNAL, "read", path, "it has no start time");
	return NULL;
}

struct torpor_error *tp_process_open(pid_t pid, uint64_t start_time, struct tp_process *process_out)
{
	uint64_t found;

	if (pid <= 0)
		return no_such_process(pid);
	TP_FD int pidfd = pidfd_open(pid, 0);
	if (pidfd < 0 && (errno == ESRCH || errno == EINVAL))
		return no_such_process(pid);
	if (pidfd < 0)
		return tp_error_errno(errno, "open process", NULL);
	/* Read behind the open: if this is the right one, so is what was opened. */
	TP_TRY(tp_process_start_time(pid, &found));
	if (found != start_time)
		return no_such_process(pid);
	*process_out = (struct tp_process){
		.pid = pid, .start_time = start_time, .pidfd = TP_TAKE_FD(pidfd)};
	return NULL;
}

bool tp_process_ended(const struct tp_process *process)
{
	struct pollfd p = {.fd = process->pidfd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* The status of a child that ended, or -1; takes it. */
static int reap(int pidfd)
{
	siginfo_t info = {0};
	int rc;

	do {
		rc = waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG);
	} while (rc < 0 && errno == EINTR);
	if (rc < 0 || info.si_pid == 0)
		return -1;
	if (info.si_code == CLD_EXITED)
		return W_EXITCODE(info.si_status, 0);
	return W_EXITCODE(0, info.si_status);
}

int tp_process_reap(const struct tp_process *process)
{
	return reap(process->pidfd);
}

struct torpor_error *tp_process_kill(
	const struct tp_process *process, const struct tp_call *call, int *status_out)
{
	/* ESRCH: it has ended and was reaped. */
	if (pidfd_send_signal(process->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return tp_error_errno(errno, "kill process", NULL);
	TP_TRY(tp_wait_fd(process->pidfd, POLLIN, call, "wait for the end of", "process"));
	int status = tp_process_reap(process);
	if (status_out)
		*status_out = status;
	return NULL;
}

/* ---- the thread ---- */

/* Does one request; the caller of tp_spawner_start is waiting for it. */
static void spawn_one(struct request *r)
{
	r->errnum = posix_spawn(&r->pid, r->helper, r->actions, NULL, r->argv, environ);
	if (r->errnum != 0)
		return;
	r->pidfd = pidfd_open(r->pid, 0);
	if (r->pidfd < 0) {
		r->errnum = errno;
		kill(r->pid, SIGKILL);
		waitpid(r->pid, NULL, 0);
	}
}

static void take_over(struct tp_spawner *s, int pidfd)
{
	s->polled = tp_reallocarray(s->polled, s->n_polled + 1, sizeof(*s->polled));
	s->polled[s->n_polled++] = (struct pollfd){.fd = pidfd, .events = POLLIN};
}

static void reap_ended(struct tp_spawner *s)
{
	for (size_t i = s->n_polled; i-- > 1;) {
		if (s->polled[i].revents) {
			reap(s->polled[i].fd);
			tp_close(s->polled[i].fd);
			s->polled[i] = s->polled[--s->n_polled];
		}
	}
}

/* Empties the queue. Returns false once the spawner is ending. */
static bool serve(struct tp_spawner *s)
{
	pthread_mutex_lock(&s->lock);
	for (struct request *r; (r = s->requests);) {
		s->requests = r->next;
		pthread_mutex_unlock(&s->lock);
		spawn_one(r);
		pthread_mutex_lock(&s->lock);
		r->done = true;
		pthread_cond_broadcast(&s->done);
	}
	for (size_t i = 0; i < s->n_disowned; i++)
		take_over(s, s->disowned[i]);
	s->n_disowned = 0;
	bool go_on = !s->ending;
	pthread_mutex_unlock(&s->lock);
	return go_on;
}

static void *run(void *data)
{
	struct tp_spawner *s = data;
	uint64_t ticks;

	take_over(s, s->wake_fd);
	do {
		while (poll(s->polled, s->n_polled, -1) < 0 && errno == EINTR)
			;
		if (s->polled[0].revents && read(s->wake_fd, &ticks, sizeof(ticks)) < 0)
			tp_log(TP_LOG_WARNING, "read the spawner's eventfd: %m");
		reap_ended(s);
	} while (serve(s));
	return NULL;
}

static void wake(struct tp_spawner *s)
{
	/* Fails only if the counter is full, and then the thread is awake. */
	if (eventfd_write(s->wake_fd, 1) < 0)
		tp_log(TP_LOG_WARNING, "wake the spawner: %m");
}

/* ---- finding torpor-exec ---- */

static bool runs_from_build_directory(void)
{
	char exe[4096];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe));
	size_t root = strlen(TP_BUILD_ROOT "/");

	return n > 0 && (size_t)n > root && memcmp(exe, TP_BUILD_ROOT "/", root) == 0;
}

static const char *default_helper(void)
{
	const char *helper = secure_getenv("TORPOR_EXEC");

	if (helper && *helper)
		return helper;
	if (runs_from_build_directory())
		return TP_EXEC_BUILT;
	return TP_EXEC_INSTALLED;
}

/* ---- the spawner ---- */

const char *tp_spawner_helper(const struct tp_spawner *spawner)
{
	return spawner->helper;
}

struct tp_spawner *tp_spawner_free(struct tp_spawner *s)
{
	if (!s)
		return NULL;
	pthread_mutex_lock(&s->lock);
	s->ending = true;
	pthread_mutex_unlock(&s->lock);
	wake(s);
	pthread_join(s->thread, NULL);
	for (size_t i = 1; i < s->n_polled; i++)
		tp_close(s->polled[i].fd);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->done);
	tp_close(s->wake_fd);
	free(s->polled);
	free(s->disowned);
	free(s->helper);
	free(s);
	return NULL;
}

struct torpor_error *tp_spawner_new(const char *helper, struct tp_spawner **spawner_out)
{
	if (!helper)
		helper = default_helper();
	if (access(helper, X_OK) < 0)
		return tp_error_hint(tp_error_errno(errno, "find torpor-exec at", helper),
			"set TORPOR_EXEC to where torpor-exec is");

	TP_FD int wake_fd = eventfd(0, EFD_CLOEXEC);
	if (wake_fd < 0)
		return tp_error_errno(errno, "start spawner", NULL);
	struct tp_spawner *s = tp_calloc(1, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->done, NULL);
	s->helper = tp_strdup(helper);
	s->wake_fd = wake_fd;
	int errnum = pthread_create(&s->thread, NULL, run, s);
	if (errnum != 0) {
		free(s->helper);
		free(s);
		return tp_error_errno(errnum, "start spawner", NULL);
	}
	TP_TAKE_FD(wake_fd);
	*spawner_out = s;
	return NULL;
}

void tp_spawner_disown(struct tp_spawner *s, struct tp_process *process)
{
	pthread_mutex_lock(&s->lock);
	s->disowned = tp_reallocarray(s->disowned, s->n_disowned + 1, sizeof(*s->disowned));
	s->disowned[s->n_disowned++] = TP_TAKE_FD(process->pidfd);
	pthread_mutex_unlock(&s->lock);
	wake(s);
}

/* ---- starting ---- */

/* What goes into the child, in the order of its numbers from TP_SPAWN_FIRST_FD on. */
struct placement {
	int fds[MAX_FDS];
	size_t n;
};

static void placement_deinit(struct placement *p)
{
	for (size_t i = 0; i < p->n; i++)
		tp_close(p->fds[i]);
}

/* Duplicates FD to a number that is nobody's target. */
static struct torpor_error *place(struct placement *p, int fd)
{
	if (p->n == MAX_FDS)
		return tp_error(TORPOR_E_INVALID, "start process", NULL, "too many descriptors");
	int high = fcntl(fd, F_DUPFD_CLOEXEC, TP_SPAWN_FIRST_FD + MAX_FDS);
	if (high < 0)
		return tp_error_errno(errno, "duplicate a descriptor", NULL);
	p->fds[p->n++] = high;
	return NULL;
}

static int number_of_last(const struct placement *p)
{
	return TP_SPAWN_FIRST_FD + (int)p->n - 1;
}

/* Places all descriptors, and writes torpor-exec's argument vector. */
static struct torpor_error *prepare(const struct tp_spawner *s, const struct tp_spawn_spec *spec,
	int status_fd, struct placement *p, struct tp_strv *argv)
{
	tp_strv_add(argv, s->helper);
	if (spec->bound) {
		tp_strv_add(argv, "--bound");
		tp_strv_addf(argv, "%ld", (long)getpid());
	} else {
		tp_strv_add(argv, "--session");
	}
	for (size_t i = 0; i < spec->n_fds; i++)
		TP_TRY(place(p, spec->fds[i]));
	tp_strv_add(argv, "--keep");
	tp_strv_addf(argv, "%zu", spec->n_fds);
	TP_TRY(place(p, status_fd));
	tp_strv_add(argv, "--status");
	tp_strv_addf(argv, "%d", number_of_last(p));
	if (spec->record_fd >= 0) {
		TP_TRY(place(p, spec->record_fd));
		tp_strv_add(argv, "--record");
		tp_strv_addf(argv, "%d", number_of_last(p));
	}
	if (spec->lock_fd >= 0)
		TP_TRY(place(p, spec->lock_fd));
	tp_strv_add(argv, "--");
	tp_strv_add_all(argv, (const char *const *)spec->argv);
	return NULL;
}

/* Small memory aside, these calls can't fail. */
static void add_actions(
	posix_spawn_file_actions_t *actions, const struct placement *p, int output_fd)
{
	posix_spawn_file_actions_init(actions);
	/* First, as its number may be one of the targets below. */
	posix_spawn_file_actions_adddup2(actions, output_fd, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(actions, output_fd, STDERR_FILENO);
	for (size_t i = 0; i < p->n; i++)
		posix_spawn_file_actions_adddup2(actions, p->fds[i], TP_SPAWN_FIRST_FD + (int)i);
	posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
}

/* Queues one posix_spawn and waits for it; nobody's answer is waited for in there. */
static struct torpor_error *submit(struct tp_spawner *s, const struct placement *p, int output_fd,
	char *const *argv, struct tp_process *process_out)
{
	posix_spawn_file_actions_t actions;

	add_actions(&actions, p, output_fd);
	struct request r = {.helper = s->helper, .argv = argv, .actions = &actions, .pidfd = -1};
	pthread_mutex_lock(&s->lock);
	struct request **at = &s->requests;
	while (*at)
		at = &(*at)->next;
	*at = &r;
	pthread_mutex_unlock(&s->lock);
	wake(s);
	pthread_mutex_lock(&s->lock);
	while (!r.done)
		pthread_cond_wait(&s->done, &s->lock);
	pthread_mutex_unlock(&s->lock);
	posix_spawn_file_actions_destroy(&actions);
	if (r.errnum != 0)
		return tp_error_errno(r.errnum, "start", s->helper);
	*process_out = (struct tp_process){.pid = r.pid, .pidfd = r.pidfd};
	return NULL;
}

/* Waits until the exec has succeeded (the pipe closes) or its errno has come. */
static struct torpor_error *wait_for_exec(
	int status_fd, const char *program, const struct tp_call *call)
{
	int errnum;
	ssize_t n;

	TP_TRY(tp_wait_fd(status_fd, POLLIN, call, "start", program));
	do {
		n = read(status_fd, &errnum, sizeof(errnum));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return tp_error_errno(errno, "start", program);
	if (n == sizeof(errnum))
		return tp_error_errno(errnum, "start", program);
	return NULL;
}

/* Ends a child that isn't wanted after all; if that takes long the spawner sees to it. */
static void discard(struct tp_spawner *s, struct tp_process *process)
{
	struct tp_call soon = tp_call_within(5 * TP_NSEC_PER_SEC);
	struct torpor_error *err = tp_process_kill(process, &soon, NULL);

	if (err) {
		tp_error_log(err);
		tp_spawner_disown(s, process);
	}
	tp_process_deinit(process);
}

struct torpor_error *tp_spawner_start(struct tp_spawner *s, const struct tp_spawn_spec *spec,
	const struct tp_call *call, struct tp_process *process_out)
{
	__attribute__((cleanup(placement_deinit))) struct placement p = {.n = 0};
	TP_STRV struct tp_strv argv = {0};
	struct tp_process process = {.pidfd = -1};
	int pipe_fds[2];

	TP_TRY(tp_call_check(call, "start", spec->argv[0]));
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return tp_error_errno(errno, "start", spec->argv[0]);
	TP_FD int status_fd = pipe_fds[0];
	TP_FD int status_write_fd = pipe_fds[1];
	TP_TRY(prepare(s, spec, status_write_fd, &p, &argv));
	TP_TRY(submit(s, &p, spec->output_fd, argv.v, &process));
	/* Only the child's copies shall keep the pipe, and the lock, from here on. */
	status_write_fd = tp_close(status_write_fd);
	placement_deinit(&p);
	p.n = 0;

	struct torpor_error *err = wait_for_exec(status_fd, spec->argv[0], call);
	if (!err)
		err = tp_process_start_time(process.pid, &process.start_time);
	if (err) {
		discard(s, &process);
		return err;
	}
	*process_out = process;
	return NULL;
}

/* ---- output ---- */

struct torpor_error *tp_output_new(size_t size, int *fd_out)
{
	TP_FD int fd = -1;

	TP_TRY(tp_memfd("torpor-output", size, &fd));
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return tp_error_errno(errno, "seal", "output file");
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}

/* The bytes before the first NUL, none of which was written: the file was made of zeros. */
static char *read_output(int fd, size_t *len_out)
{
	uint64_t size = 0;
	struct torpor_error *err = tp_file_size(fd, "output", &size);
	char *text = tp_calloc(size + 1, 1);

	if (!err && size > 0)
		err = tp_pread_full(fd, text, size, 0, "output");
	tp_error_log(err);
	*len_out = strlen(text);
	return text;
}

char *tp_output_tail(int fd, size_t max)
{
	size_t len;
	TP_FREE char *text = read_output(fd, &len);
	char *line = NULL;
	size_t line_len = 0;

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	const char *at = text + (len > max ? len - max : 0);
	FILE *out = open_memstream(&line, &line_len);
	if (!out)
		return tp_strdup("");
	for (; at < text + len; at++) {
		if (*at == '\n')
			fputs("; ", out);
		else
			fputc((unsigned char)*at < ' ' || *at == 0x7f ? '?' : *at, out);
	}
	if (fclose(out) != 0) {
		free(line);
		return tp_strdup("");
	}
	return line;
}
