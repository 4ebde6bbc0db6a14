/* SPDX-License-Identifier: Apache-2.0 */
/* Short ways to say what is expected of a call. */
#ifndef TP_TESTS_SERVICE_EXPECT_H
#define TP_TESTS_SERVICE_EXPECT_H

#include <criterion/criterion.h>

#include "base/error.h"

#define ok(call)                                                                                   \
	do {                                                                                       \
		struct torpor_error *ok_err_ = (call);                                             \
		cr_assert_null(                                                                    \
			ok_err_, "%s: %s", #call, ok_err_ ? torpor_error_message(ok_err_) : "");   \
	} while (0)

#define fails(call, code)                                                                          \
	do {                                                                                       \
		struct torpor_error *fails_err_ = (call);                                          \
		cr_assert_not_null(fails_err_, "%s succeeded", #call);                             \
		cr_expect_eq(torpor_error_code(fails_err_), code, "%s: %s", #call,                 \
			torpor_error_message(fails_err_));                                         \
		torpor_error_free(fails_err_);                                                     \
	} while (0)

#endif
