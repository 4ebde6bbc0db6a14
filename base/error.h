/* SPDX-License-Identifier: Apache-2.0 */
/* Making errors. The contract is in include/torpor/error.h. */
#ifndef TP_BASE_ERROR_H
#define TP_BASE_ERROR_H

#include <torpor/error.h>

#include "base/macros.h"

/*
 * A new error. STEP is what was being done ("write", "load device state"), OBJECT what it was
 * done to (a path, a session; NULL where there is none), FMT why it failed. All are copied.
 */
struct torpor_error *tp_error(enum torpor_errc code, const char *step, const char *object,
	const char *fmt, ...) TP_PRINTF(4, 5) TP_MUST_USE TP_NOT_NULL;

/* The same from an errno; its code follows from ERRNUM (ENOSPC is NOSPACE, EPERM is DENIED ...). */
struct torpor_error *tp_error_errno(
	int errnum, const char *step, const char *object) TP_MUST_USE TP_NOT_NULL;

/*
 * Puts an outer step around ERR and returns it: tp_error_in(err, "park", "s1") makes
 * "park s1: write /x: No space left on device". NULL stays NULL, so that calls can be wrapped.
 */
struct torpor_error *tp_error_in(
	struct torpor_error *err, const char *step, const char *object) TP_MUST_USE;

/* Sets what the user can do about it; the innermost hint stays. NULL stays NULL. Returns ERR. */
struct torpor_error *tp_error_hint(struct torpor_error *err, const char *fmt, ...)
	TP_PRINTF(2, 3) TP_MUST_USE;

/*
 * Makes ERR a refusal: REASON is a short word for programs (docs/API.md has the list; static
 * storage), RETRY_AFTER_S when it may be worth asking again, 0 where that can't be said. NULL stays
 * NULL. Returns ERR.
 */
struct torpor_error *tp_error_refusal(
	struct torpor_error *err, const char *reason, unsigned int retry_after_s) TP_MUST_USE;

/* Changes the code, where an outer layer knows better what kind of failure it is. Returns ERR. */
struct torpor_error *tp_error_recode(struct torpor_error *err, enum torpor_errc code) TP_MUST_USE;

/*
 * Keeps the first of two failures: where cleaning up after FIRST fails as well, LATER is logged
 * and freed. Returns FIRST, or LATER when FIRST is NULL.
 */
struct torpor_error *tp_error_first(
	struct torpor_error *first, struct torpor_error *later) TP_MUST_USE;

/* Logs ERR as a warning and frees it: for clean-up that nobody waits for. Takes NULL. */
void tp_error_log(struct torpor_error *err);

TP_DEFINE_CLEANUP(struct torpor_error *, torpor_error_free)
#define TP_ERROR TP_CLEANUP(torpor_error_free)

/* Hands a failure on to the caller. */
#define TP_TRY(call)                                                                               \
	do {                                                                                       \
		struct torpor_error *tp_try_err_ = (call);                                         \
		if (tp_try_err_)                                                                   \
			return tp_try_err_;                                                        \
	} while (0)

#endif
