/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines and cancellation. */
#include "base/call.h"

#include <errno.h>
#include <string.h>

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * TP_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t tp_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t tp_realtime_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

struct tp_call tp_call_within(uint64_t timeout_ns)
{
	static const struct tp_call forever = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = -1};

	return tp_call_bounded(&forever, timeout_ns);
}

struct tp_call tp_call_bounded(const struct tp_call *call, uint64_t timeout_ns)
{
	struct tp_call bounded = *call;
	uint64_t now = tp_now_ns();

	if (timeout_ns < TP_NO_DEADLINE - now)
		bounded.deadline_ns = TP_MIN(call->deadline_ns, now + timeout_ns);
	return bounded;
}

static struct torpor_error *timed_out(const char *step, const char *object)
{
	return tp_error(TORPOR_E_TIMEOUT, step, object, "no answer before the deadline");
}

static struct torpor_error *cancelled(const char *step, const char *object)
{
	return tp_error(TORPOR_E_CANCELLED, step, object, "cancelled");
}

struct torpor_error *tp_call_check(const struct tp_call *call, const char *step, const char *object)
{
	struct pollfd cancel = {.fd = call->cancel_fd, .events = POLLIN};

	if (call->cancel_fd >= 0 && poll(&cancel, 1, 0) > 0)
		return cancelled(step, object);
	if (call->deadline_ns != TP_NO_DEADLINE && tp_now_ns() >= call->deadline_ns)
		return timed_out(step, object);
	return NULL;
}

/* Time left as ppoll takes it; NULL for no end. A deadline that has passed leaves zero. */
static const struct timespec *time_left(const struct tp_call *call, struct timespec *ts)
{
	uint64_t now = tp_now_ns();
	uint64_t left = call->deadline_ns > now ? call->deadline_ns - now : 0;

	if (call->deadline_ns == TP_NO_DEADLINE)
		return NULL;
	ts->tv_sec = (time_t)(left / TP_NSEC_PER_SEC);
	ts->tv_nsec = (long)(left % TP_NSEC_PER_SEC);
	return ts;
}

struct torpor_error *tp_wait_fds(struct pollfd *fds, size_t n, const struct tp_call *call,
	const char *step, const char *object)
{
	struct pollfd all[9];
	struct timespec ts;

	assert(n + 1 <= TP_ARRAY_LEN(all));
	memcpy(all, fds, n * sizeof(*fds));
	all[n] = (struct pollfd){.fd = call->cancel_fd, .events = POLLIN};
	for (;;) {
		int ready = ppoll(all, n + 1, time_left(call, &ts), NULL);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready < 0)
			return tp_error_errno(errno, step, object);
		if (all[n].revents)
			return cancelled(step, object);
		if (ready == 0)
			return timed_out(step, object);
		memcpy(fds, all, n * sizeof(*fds));
		return NULL;
	}
}

struct torpor_error *tp_wait_fd(
	int fd, short events, const struct tp_call *call, const char *step, const char *object)
{
	struct pollfd one = {.fd = fd, .events = events};

	return tp_wait_fds(&one, 1, call, step, object);
}
