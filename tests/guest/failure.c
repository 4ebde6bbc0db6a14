/* SPDX-License-Identifier: Apache-2.0 */
/* What a call is expected to fail with. */
#include "failure.h"

#include <criterion/criterion.h>
#include <string.h>

void check(struct torpor_error *taken, int expected, const char *why)
{
	TP_ERROR struct torpor_error *err = taken;

	if (!expected) {
		cr_assert_null(err, "%s", torpor_error_message(err));
		return;
	}
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), (enum torpor_errc)expected, "%s",
		torpor_error_message(err));
	if (why)
		cr_assert(strstr(torpor_error_message(err), why), "%s", torpor_error_message(err));
}
