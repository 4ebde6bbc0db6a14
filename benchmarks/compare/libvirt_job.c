/* SPDX-License-Identifier: Apache-2.0 */
/* Libvirt's calls under a deadline. */
#include "benchmarks/compare/libvirt_job.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "base/mem.h"

struct cmp_job {
	/* Set before the thread starts. */
	int (*run)(void *data);
	void *data;
	const struct tp_call *call;
	struct tp_call while_well; /* its cancel_fd is an epoll over CALL's and failed_fd; owned */
	int returned_fd;
	int failed_fd;
	pthread_t thread;
	/* The thread's, until it was joined. */
	char *why; /* NULL: RUN succeeded */
};

static void *job_thread(void *data)
{
	struct cmp_job *job = data;

	/* libvirt keeps a thread's last error for that thread alone. */
	if (job->run(job->data) < 0) {
		job->why = tp_strdup(virGetLastErrorMessage());
		eventfd_write(job->failed_fd, 1);
	}
	eventfd_write(job->returned_fd, 1);
	return NULL;
}

static void job_free(struct cmp_job *job)
{
	tp_close(job->while_well.cancel_fd);
	tp_close(job->returned_fd);
	tp_close(job->failed_fd);
	free(job->why);
	free(job);
}

static bool add(int epoll_fd, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Signals are for the thread that waits. */
static int start_thread(struct cmp_job *job)
{
	sigset_t all;
	sigset_t before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&job->thread, NULL, job_thread, job);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

struct torpor_error *cmp_job_start(
	int (*run)(void *data), void *data, const struct tp_call *call, struct cmp_job **job_out)
{
	struct cmp_job *job = tp_calloc(1, sizeof(*job));
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	*job = (struct cmp_job){
		.run = run,
		.data = data,
		.call = call,
		.while_well = {.deadline_ns = call->deadline_ns, .cancel_fd = epoll_fd},
		.returned_fd = eventfd(0, EFD_CLOEXEC),
		.failed_fd = eventfd(0, EFD_CLOEXEC),
	};
	int rc = epoll_fd < 0 || job->returned_fd < 0 || job->failed_fd < 0 ||
				 !add(epoll_fd, call->cancel_fd) || !add(epoll_fd, job->failed_fd)
			 ? errno
			 : start_thread(job);
	if (rc != 0) {
		job_free(job);
		return tp_error_errno(rc, "start", "a thread for libvirt");
	}
	*job_out = job;
	return NULL;
}

const struct tp_call *cmp_job_call(const struct cmp_job *job)
{
	return &job->while_well;
}

struct torpor_error *cmp_job_end(
	struct cmp_job *job, const char *step, const char *object, void (*stop)(void *data))
{
	struct torpor_error *err = tp_wait_fd(job->returned_fd, POLLIN, job->call, step, object);

	if (err)
		stop(job->data);
	pthread_join(job->thread, NULL);
	if (!err && job->why)
		err = tp_error(TORPOR_E_QEMU, step, object, "%s", job->why);
	job_free(job);
	return err;
}
