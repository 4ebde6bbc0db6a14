/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call of libvirt on a thread of its own.
 *
 * libvirt's calls block until the daemon has answered, however long that takes, and while a guest
 * comes back its sockets want to be looked at. So the call goes to a thread, and the caller waits
 * with a struct tp_call as everywhere.
 */
#ifndef TP_COMPARE_LIBVIRT_JOB_H
#define TP_COMPARE_LIBVIRT_JOB_H

#include "base/call.h"

struct cmp_job;

/*
 * Starts RUN(DATA) on a thread. RUN returns what libvirt's calls do: negative on failure. CALL is
 * the one that waits until the end, and must last as long as the job.
 */
struct torpor_error *cmp_job_start(int (*run)(void *data), void *data, const struct tp_call *call,
	struct cmp_job **job_out) TP_MUST_USE;

/* The job's CALL, but cancelled as well once RUN has failed. Valid as long as JOB. */
const struct tp_call *cmp_job_call(const struct cmp_job *job);

/*
 * Waits for RUN to return, and frees JOB. QEMU, with libvirt's words, if it failed. If the job's
 * CALL is over before, STOP(DATA) has to make it return soon; only a daemon that doesn't answer any
 * more can hold this up then.
 */
struct torpor_error *cmp_job_end(struct cmp_job *job, const char *step, const char *object,
	void (*stop)(void *data)) TP_MUST_USE;

#endif
