/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that take jobs from one queue. */
#include "storage/workers.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "storage/codec.h"

#define MAX_THREADS	64
#define DEFAULT_THREADS 8
/* Codecs kept beyond one for each thread: for callers that work on their own thread. */
#define SPARE_CODECS 2

struct tp_workers {
	pthread_t threads[MAX_THREADS];
	unsigned int count;

	pthread_mutex_t lock;
	pthread_cond_t submitted; /* something is queued, or `ending` was set */
	/* By lock. */
	struct tp_job *first;
	struct tp_job **end;
	bool ending;
	struct tp_codec *codecs[MAX_THREADS + SPARE_CODECS]; /* a stack */
	unsigned int n_codecs;
};

static unsigned int usable_processors(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 1;
	return (unsigned int)TP_MAX(CPU_COUNT(&set), 1);
}

static bool has_enough(const struct tp_group *group)
{
	return group->most > 0 && group->busy >= group->most;
}

/*
 * Takes the first queued job of a group that may have another thread, or the first of GROUP, off
 * the queue. Needs the lock.
 */
static struct tp_job *take_job(struct tp_workers *workers, const struct tp_group *group)
{
	for (struct tp_job **at = &workers->first; *at; at = &(*at)->next) {
		struct tp_job *job = *at;
		if (group ? job->group != group : has_enough(job->group))
			continue;
		*at = job->next;
		if (workers->end == &job->next)
			workers->end = at;
		return job;
	}
	return NULL;
}

/* Runs JOB and tells its group. Called with the lock held, and returns with it. */
static void run_job(struct tp_workers *workers, struct tp_job *job)
{
	struct tp_group *group = job->group;

	pthread_mutex_unlock(&workers->lock);
	job->run(job);
	pthread_mutex_lock(&workers->lock);
	group->pending--;
	group->finished++;
	if (group->watched) {
		group->watched = false;
		/* Under the lock: once it is released the group may be gone. */
		eventfd_write(group->event_fd, 1);
	}
}

/* The same, as one of the threads that may be held back. The group is there until the lock is
 * released. */
static void run_job_of(struct tp_workers *workers, struct tp_job *job, struct tp_group *group)
{
	group->busy++;
	run_job(workers, job);
	group->busy--;
}

static void *worker(void *arg)
{
	struct tp_workers *workers = arg;

	pthread_setname_np(pthread_self(), "torpor-worker");
	pthread_mutex_lock(&workers->lock);
	for (;;) {
		struct tp_job *job = take_job(workers, NULL);
		if (job)
			run_job_of(workers, job, job->group);
		else if (workers->ending && !workers->first)
			break;
		else
			pthread_cond_wait(&workers->submitted, &workers->lock);
	}
	pthread_mutex_unlock(&workers->lock);
	return NULL;
}

/* Starts a thread that takes no signals: those are for the program's own threads. */
static int start_thread(struct tp_workers *workers)
{
	sigset_t all;
	sigset_t before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int errnum = pthread_create(&workers->threads[workers->count], NULL, worker, workers);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (errnum == 0)
		workers->count++;
	return errnum;
}

struct torpor_error *tp_workers_new(unsigned int count, struct tp_workers **workers_out)
{
	TP_CLEANUP(tp_workers_free) struct tp_workers *workers = tp_calloc(1, sizeof(*workers));

	if (count > MAX_THREADS)
		return tp_error(TORPOR_E_INVALID, "start workers", NULL,
			"%u threads are more than %d", count, MAX_THREADS);
	if (count == 0)
		count = TP_MIN(usable_processors(), (unsigned int)DEFAULT_THREADS);
	workers->end = &workers->first;
	pthread_mutex_init(&workers->lock, NULL);
	pthread_cond_init(&workers->submitted, NULL);
	while (workers->count < count) {
		int errnum = start_thread(workers);
		if (errnum != 0)
			return tp_error_errno(errnum, "start workers", NULL);
	}
	*workers_out = TP_TAKE(workers);
	return NULL;
}

struct tp_workers *tp_workers_free(struct tp_workers *workers)
{
	if (!workers)
		return NULL;
	pthread_mutex_lock(&workers->lock);
	workers->ending = true;
	pthread_cond_broadcast(&workers->submitted);
	pthread_mutex_unlock(&workers->lock);
	for (unsigned int i = 0; i < workers->count; i++)
		pthread_join(workers->threads[i], NULL);
	for (unsigned int i = 0; i < workers->n_codecs; i++)
		tp_codec_free(workers->codecs[i]);
	pthread_cond_destroy(&workers->submitted);
	pthread_mutex_destroy(&workers->lock);
	free(workers);
	return NULL;
}

unsigned int tp_workers_count(const struct tp_workers *workers)
{
	return workers->count;
}

struct tp_codec *tp_workers_take_codec(struct tp_workers *workers)
{
	struct tp_codec *codec = NULL;

	pthread_mutex_lock(&workers->lock);
	if (workers->n_codecs > 0)
		codec = workers->codecs[--workers->n_codecs];
	pthread_mutex_unlock(&workers->lock);
	return codec ? codec : tp_codec_new();
}

void tp_workers_give_codec(struct tp_workers *workers, struct tp_codec *codec)
{
	pthread_mutex_lock(&workers->lock);
	if (codec && workers->n_codecs < workers->count + SPARE_CODECS)
		workers->codecs[workers->n_codecs++] = TP_TAKE(codec);
	pthread_mutex_unlock(&workers->lock);
	tp_codec_free(codec);
}

struct torpor_error *tp_group_init(struct tp_group *group, struct tp_workers *workers)
{
	int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (event_fd < 0)
		return tp_error_errno(errno, "create event", NULL);
	*group = (struct tp_group){.workers = workers, .event_fd = event_fd};
	return NULL;
}

void tp_group_deinit(struct tp_group *group)
{
	assert(group->pending == 0);
	group->event_fd = tp_close(group->event_fd);
}

void tp_group_submit_quietly(struct tp_group *group, struct tp_job *job)
{
	struct tp_workers *workers = group->workers;

	job->group = group;
	job->next = NULL;
	pthread_mutex_lock(&workers->lock);
	group->pending++;
	*workers->end = job;
	workers->end = &job->next;
	pthread_mutex_unlock(&workers->lock);
}

void tp_group_submit(struct tp_group *group, struct tp_job *job)
{
	tp_group_submit_quietly(group, job);
	pthread_cond_signal(&group->workers->submitted);
}

void tp_group_hold_back(struct tp_group *group)
{
	struct tp_workers *workers = group->workers;

	pthread_mutex_lock(&workers->lock);
	group->most = TP_MAX(workers->count - 1, 1u);
	pthread_mutex_unlock(&workers->lock);
}

void tp_group_wake(struct tp_group *group)
{
	struct tp_workers *workers = group->workers;

	pthread_mutex_lock(&workers->lock);
	group->most = 0;
	pthread_mutex_unlock(&workers->lock);
	pthread_cond_broadcast(&workers->submitted);
}

bool tp_group_help(struct tp_group *group)
{
	struct tp_workers *workers = group->workers;

	pthread_mutex_lock(&workers->lock);
	struct tp_job *job = take_job(workers, group);
	if (job)
		run_job(workers, job);
	pthread_mutex_unlock(&workers->lock);
	return job;
}

uint64_t tp_group_finished(struct tp_group *group)
{
	pthread_mutex_lock(&group->workers->lock);
	uint64_t finished = group->finished;
	pthread_mutex_unlock(&group->workers->lock);
	return finished;
}

static size_t group_pending(struct tp_group *group)
{
	pthread_mutex_lock(&group->workers->lock);
	size_t pending = group->pending;
	pthread_mutex_unlock(&group->workers->lock);
	return pending;
}

/* Makes event_fd tell of the next job that finishes; false if more than SEEN already have. */
static bool group_watch(struct tp_group *group, uint64_t seen)
{
	eventfd_t ignored;

	pthread_mutex_lock(&group->workers->lock);
	bool watch = group->finished == seen;
	if (watch) {
		(void)eventfd_read(group->event_fd, &ignored);
		group->watched = true;
	}
	pthread_mutex_unlock(&group->workers->lock);
	return watch;
}

struct torpor_error *tp_group_wait_some(struct tp_group *group, uint64_t seen, struct pollfd *fds,
	size_t n_fds, const struct tp_call *call, const char *step, const char *object)
{
	struct pollfd all[5];

	assert(n_fds < TP_ARRAY_LEN(all));
	if (!group_watch(group, seen))
		return NULL;
	if (n_fds > 0)
		memcpy(all, fds, n_fds * sizeof(*fds));
	all[n_fds] = (struct pollfd){.fd = group->event_fd, .events = POLLIN};
	TP_TRY(tp_wait_fds(all, n_fds + 1, call, step, object));
	if (n_fds > 0)
		memcpy(fds, all, n_fds * sizeof(*fds));
	return NULL;
}

struct torpor_error *tp_group_wait(
	struct tp_group *group, const struct tp_call *call, const char *step, const char *object)
{
	for (;;) {
		uint64_t seen = tp_group_finished(group);
		if (group_pending(group) == 0)
			return NULL;
		TP_TRY(tp_call_check(call, step, object));
		if (!tp_group_help(group))
			TP_TRY(tp_group_wait_some(group, seen, NULL, 0, call, step, object));
	}
}

void tp_group_join(struct tp_group *group, bool cancel)
{
	static const struct tp_call forever = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = -1};

	if (cancel)
		atomic_store(&group->cancelled, true);
	while (group_pending(group) > 0)
		tp_error_log(tp_group_wait(group, &forever, "wait for workers", NULL));
}
