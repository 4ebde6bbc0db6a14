/* SPDX-License-Identifier: Apache-2.0 */
/* Calls: until when, and whether still wanted. */
#ifndef TORPOR_CALL_H
#define TORPOR_CALL_H

#include <stdint.h>

#include <torpor/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A cancellation that any thread (or a signal handler) can trigger; any number of calls share it.
 */
struct torpor_cancel;

struct torpor_error *torpor_cancel_new(struct torpor_cancel **cancel_out);
void torpor_cancel_trigger(struct torpor_cancel *cancel); /* async-signal-safe */
/* Takes NULL. Returns NULL. No call may be using it any more. */
struct torpor_cancel *torpor_cancel_free(struct torpor_cancel *cancel);

/*
 * Passed to whatever can block; NULL means the function's own default bound and no cancellation.
 * After TIMEOUT or CANCELLED the object is as it was before the call, unless a function says more.
 */
struct torpor_call {
	uint64_t timeout_ns;	      /* from now; 0: the function's default; UINT64_MAX: none */
	struct torpor_cancel *cancel; /* may be NULL */
};

#ifdef __cplusplus
}
#endif

#endif
