/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fixed pool of threads that everything in the process shares, and groups of jobs to wait for.
 *
 * Jobs are started in the order of submission. A job must not wait for another job. All
 * functions may be called from any thread.
 */
#ifndef TP_STORAGE_WORKERS_H
#define TP_STORAGE_WORKERS_H

#include <stdatomic.h>

#include "base/call.h"

struct tp_workers;
struct tp_codec;

/* COUNT threads; 0 means one for each processor this process may use, at most 8. */
struct torpor_error *tp_workers_new(
	unsigned int count, struct tp_workers **workers_out) TP_MUST_USE;
/* Finishes what was submitted and ends the threads. Takes NULL. Returns NULL. */
struct tp_workers *tp_workers_free(struct tp_workers *workers);
TP_DEFINE_CLEANUP(struct tp_workers *, tp_workers_free)

unsigned int tp_workers_count(const struct tp_workers *workers);

/*
 * A codec (storage/codec.h) for the caller's use alone until it is given back. They are kept and
 * used again, the last one given back first. NULL where there is no memory for another one.
 */
struct tp_codec *tp_workers_take_codec(struct tp_workers *workers);
void tp_workers_give_codec(struct tp_workers *workers, struct tp_codec *codec);

/* Jobs that belong together. Lives as long as any of its jobs; in place, not to be moved. */
struct tp_group {
	struct tp_workers *workers;
	int event_fd;	       /* readable once a job has finished while it was watched */
	atomic_bool cancelled; /* for jobs to look at: the result isn't wanted any more */
	/* By the pool's lock. */
	size_t pending;	   /* jobs submitted and not finished */
	unsigned int busy; /* threads at its jobs */
	unsigned int most; /* of them, until it is woken; 0: all */
	uint64_t finished; /* jobs finished so far */
	bool watched;	   /* somebody waits on event_fd */
};

struct torpor_error *tp_group_init(struct tp_group *group, struct tp_workers *workers) TP_MUST_USE;
/* The group must have no pending jobs. */
void tp_group_deinit(struct tp_group *group);

/*
 * A unit of work, owned by the submitter and untouched by the pool once `run` has begun, so that
 * `run` may free or submit it anew.
 */
struct tp_job {
	void (*run)(struct tp_job *job);
	struct tp_group *group;
	struct tp_job *next; /* the pool's */
};

void tp_group_submit(struct tp_group *group, struct tp_job *job);

/*
 * The same, but threads that sleep stay asleep until tp_group_wake, which is due before the group
 * is joined: for a submitter that has more urgent things to do on this processor first.
 */
void tp_group_submit_quietly(struct tp_group *group, struct tp_job *job);
void tp_group_wake(struct tp_group *group);

/*
 * Until tp_group_wake the group's jobs leave one thread idle, where there is more than one: so that
 * the submitter has a processor to itself.
 */
void tp_group_hold_back(struct tp_group *group);

/* Runs one queued job of the group on the caller's thread; false if none is queued. */
bool tp_group_help(struct tp_group *group);

/* How many jobs have finished so far. */
uint64_t tp_group_finished(struct tp_group *group);

/*
 * Waits until more than SEEN jobs have finished or one of FDS is ready (poll's events; at most 4).
 * For one thread at a time.
 */
struct torpor_error *tp_group_wait_some(struct tp_group *group, uint64_t seen, struct pollfd *fds,
	size_t n_fds, const struct tp_call *call, const char *step, const char *object) TP_MUST_USE;

/*
 * Waits until no job of the group is pending, helping with the group's own jobs meanwhile.
 * Fails with TIMEOUT or CANCELLED; jobs then go on, and tp_group_join is still due.
 */
struct torpor_error *tp_group_wait(struct tp_group *group, const struct tp_call *call,
	const char *step, const char *object) TP_MUST_USE;

/* Sets `cancelled` if CANCEL, and waits until no job is pending, however long it takes. */
void tp_group_join(struct tp_group *group, bool cancel);

#endif
