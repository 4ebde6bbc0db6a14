/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for locks that nobody has. */
#include "base/lock.h"

#include <errno.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <time.h>

#include "base/call.h"
#include "base/fd.h"

bool tp_pid_has_ended(pid_t pid)
{
	if (pid <= 0)
		return false;
	TP_FD int pidfd = pidfd_open(pid, 0);
	struct pollfd end = {.fd = pidfd, .events = POLLIN};
	/* EINVAL: it is the number of a thread, so no process has it. */
	if (pidfd < 0)
		return errno == ESRCH || errno == EINVAL;
	return poll(&end, 1, 0) > 0;
}

bool tp_lock_await(uint64_t until_ns)
{
	const struct timespec moment = {.tv_nsec = TP_NSEC_PER_MSEC};

	if (tp_now_ns() >= until_ns)
		return false;
	clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
	return true;
}

int tp_lock_soon(int fd)
{
	const uint64_t until_ns = tp_now_ns() + TP_LOCK_PATIENCE_NS;
	int rc;

	do {
		rc = flock(fd, LOCK_EX | LOCK_NB);
	} while (rc < 0 && errno == EWOULDBLOCK && tp_lock_await(until_ns));
	return rc;
}
