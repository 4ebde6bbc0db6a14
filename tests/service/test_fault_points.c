/* SPDX-License-Identifier: Apache-2.0 */
/* The table of fault points against the source: a point that is not in it is never tested. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "service/fault_points.h"

#define NAME(name, what) name,
static const char *const table[] = {TP_FAULT_POINTS(NAME) TP_FAULT_POINTS_GONE(NAME)};

static bool seen[TP_ARRAY_LEN(table)];

static void mark(const char *name, const char *file)
{
	for (size_t i = 0; i < TP_ARRAY_LEN(table); i++) {
		if (strcmp(table[i], name) == 0) {
			seen[i] = true;
			return;
		}
	}
	cr_expect(false, "%s: %s isn't in service/fault_points.h", file, name);
}

/* Calls MARK for each text in quotes behind BEFORE. */
static void scan(const char *source, const char *before, const char *file, const char *suffix)
{
	for (const char *at = source; (at = strstr(at, before)); at++) {
		const char *begin = at + strlen(before);
		TP_FREE char *name = tp_strndup(begin, strcspn(begin, "\""));
		TP_FREE char *full = tp_asprintf("%s%s", name, suffix);
		mark(full, file);
	}
}

Test(fault_points, are_all_in_the_table)
{
	static const char *const steps[] = {".loaded", ".running", ".submitted", ".committed"};
	glob_t found;

	cr_assert_eq(glob(SERVICE_DIR "/*.c", 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		const char *file = found.gl_pathv[i];
		TP_FREE char *source = NULL;
		size_t len;
		cr_assert_null(tp_read_file(AT_FDCWD, file, 1 << 20, &source, &len));
		scan(source, "tp_fault(\"", file, "");
		scan(source, "tp_fault_check(\"", file, "");
		scan(source, "_point = \"", file, "");
		for (size_t step = 0; step < TP_ARRAY_LEN(steps); step++)
			scan(source, ".fault = \"", file, steps[step]);
	}
	globfree(&found);
	for (size_t i = 0; i < TP_ARRAY_LEN(table); i++)
		cr_expect(seen[i], "%s is in the table, and nowhere else", table[i]);
}
