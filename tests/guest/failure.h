/* SPDX-License-Identifier: Apache-2.0 */
/* What a call is expected to fail with. */
#ifndef TP_TESTS_GUEST_FAILURE_H
#define TP_TESTS_GUEST_FAILURE_H

#include "base/error.h"

/* Fails unless TAKEN is of code EXPECTED (0: NULL), and says WHY (may be NULL); frees it. */
void check(struct torpor_error *taken, int expected, const char *why);

#endif
