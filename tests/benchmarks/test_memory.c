/* SPDX-License-Identifier: Apache-2.0 */
/* A process's mappings, and what its memory is for. */
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/macros.h"
#include "benchmarks/memory.h"

#define KIB(n) ((n)*TP_KIB)

static const char smaps[] =
	"55d0c0000000-55d0c0400000 r-xp 00000000 fe:00 11 /usr/bin/qemu-system-x86_64\n"
	"Rss:                4096 kB\nPss:                 100 kB\nPss_Dirty:            50 kB\n"
	"Private_Clean:         4 kB\nPrivate_Dirty:         0 kB\n"
	"55d0c1000000-55d0c1400000 rw-p 00000000 00:00 0                          [heap]\n"
	"Pss:                4500 kB\nPrivate_Clean:         0 kB\nPrivate_Dirty:      4500 kB\n"
	"7f0000000000-7f0010000000 rw-p 00000000 00:01 7    /memfd:torpor-base (deleted)\n"
	"Pss:                8000 kB\nPrivate_Clean:         0 kB\nPrivate_Dirty:      1000 kB\n"
	"7f0020000000-7f0022000000 rwxp 00000000 00:00 0 \n"
	"Pss:                6144 kB\nPrivate_Clean:         0 kB\nPrivate_Dirty:      6144 kB\n"
	"VmFlags: rd wr ex mr mw me ac\n"
	"7f0030000000-7f0030200000 rw-p 00000000 00:00 0 \n"
	"Pss:                2048 kB\nPrivate_Clean:         0 kB\nPrivate_Dirty:      2048 kB\n";

Test(memory, is_sorted_by_what_it_is_for)
{
	struct bench_memory memory;
	FILE *f = fmemopen((void *)smaps, strlen(smaps), "r");

	cr_assert_not_null(f);
	bench_memory_read(f, &memory);
	fclose(f);
	cr_expect_eq(memory.by_use[BENCH_USE_PROGRAM], KIB(4));
	cr_expect_eq(memory.by_use[BENCH_USE_HEAP], KIB(4500));
	cr_expect_eq(memory.by_use[BENCH_USE_GUEST], KIB(1000));
	cr_expect_eq(memory.by_use[BENCH_USE_CODE], KIB(6144));
	cr_expect_eq(memory.by_use[BENCH_USE_OTHER], KIB(2048));
	cr_expect_eq(memory.private_bytes, KIB(4 + 4500 + 1000 + 6144 + 2048));
	cr_expect_eq(memory.proportional, KIB(100 + 4500 + 8000 + 6144 + 2048));
}

Test(memory, of_a_process_that_runs_and_of_one_that_does_not)
{
	struct bench_memory memory;
	TP_ERROR struct torpor_error *own = bench_memory_of(getpid(), &memory);

	cr_assert_null(own);
	cr_expect_gt(memory.private_bytes, 0);
	cr_expect_geq(memory.proportional, memory.private_bytes);
	cr_expect_gt(memory.page_tables, 0);
	/* No process has that number (kernel: PID_MAX_LIMIT). */
	TP_ERROR struct torpor_error *none = bench_memory_of(1 << 30, &memory);
	cr_expect_eq(torpor_error_code(none), TORPOR_E_NOT_FOUND);
}
