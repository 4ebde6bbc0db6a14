/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every blocking call takes: until when, and whether it is still wanted.
 *
 * A struct tp_call is passed by const pointer, belongs to the caller, and may be shared by
 * threads. Nothing in Torpor waits for a peer without one.
 */
#ifndef TP_BASE_CALL_H
#define TP_BASE_CALL_H

#include <poll.h>
#include <stdbool.h>
#include <time.h>

#include <torpor/call.h>

#include "base/error.h"

#define TP_NO_DEADLINE UINT64_MAX

struct tp_call {
	uint64_t deadline_ns; /* CLOCK_MONOTONIC, or TP_NO_DEADLINE */
	int cancel_fd;	      /* readable (and never read) once cancelled, or -1 */
};

/* CLOCK_MONOTONIC, CLOCK_REALTIME in nanoseconds. */
uint64_t tp_now_ns(void);
uint64_t tp_realtime_ns(void);

/* A call that can't be cancelled and ends TIMEOUT_NS from now. */
struct tp_call tp_call_within(uint64_t timeout_ns);

/* A public call as everything inside takes it; DEFAULT_NS where CALL gives no bound. */
struct tp_call tp_call_from(const struct torpor_call *call, uint64_t default_ns);

struct torpor_cancel {
	int fd; /* readable for good once triggered: an eventfd, or what a tp_call was given */
};

/*
 * The other way round, for those above public functions who have a struct tp_call. *CANCEL is the
 * caller's room for its cancellation, and must last as long as the result.
 */
struct torpor_call tp_call_public(const struct tp_call *call, struct torpor_cancel *cancel);

/* CALL, but ended TIMEOUT_NS from now if that comes first: for bounded steps within a call. */
struct tp_call tp_call_bounded(const struct tp_call *call, uint64_t timeout_ns);

/* TIMEOUT or CANCELLED if CALL is over; NULL while it goes on. Doesn't block. */
struct torpor_error *tp_call_check(
	const struct tp_call *call, const char *step, const char *object) TP_MUST_USE;

/*
 * Waits until one of FDS is ready, as poll(2) does, setting revents. Fails with TIMEOUT,
 * CANCELLED, or poll's own error; STEP and OBJECT say in the message what was waited for.
 */
struct torpor_error *tp_wait_fds(struct pollfd *fds, size_t n, const struct tp_call *call,
	const char *step, const char *object) TP_MUST_USE;

/* The same for one descriptor; ready also when it has an error or was hung up on. */
struct torpor_error *tp_wait_fd(int fd, short events, const struct tp_call *call, const char *step,
	const char *object) TP_MUST_USE;

#endif
