/* SPDX-License-Identifier: Apache-2.0 */
/* When a target is met, when it isn't, and when nobody can say. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "lines.h"

#define RESUME_LIBVIRT "resume, against the best libvirt way"
#define PARK_QEMU      "park until durable, against the best durable QEMU-native way that frees memory"
#define RESUME_FLOOR   "resume idle, against the floor"
#define TAIL	       "resume idle until running: p99 over p50"

static struct report_judgement verdict_on(const struct report *r, const char *name)
{
	for (size_t i = 0; i < report_n_targets; i++) {
		struct report_judgement judgement = report_judge(r, i);
		if (strcmp(judgement.name, name) == 0)
			return judgement;
	}
	cr_assert_fail("there is no target \"%s\"", name);
	return (struct report_judgement){0};
}

static void assert_verdict(const struct report *r, const char *name, enum report_verdict verdict)
{
	struct report_judgement judgement = verdict_on(r, name);

	cr_assert_eq(judgement.verdict, verdict, "%s: %s, %g of %zu, %s", name,
		report_verdict_names[judgement.verdict], judgement.value.middle, judgement.value.n,
		judgement.note);
}

static void peers(void)
{
	static const char *const names[] = {
		"libvirt-raw", "libvirt-managed", "libvirt-lzop", "libvirt-xz", "qemu10-mapped"};

	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++)
		peer_line(names[i], true, true);
}

TestSuite(verdicts, .init = peers);

/* --- by pairs --- */

Test(verdicts, at_least_is_met_at_the_limit)
{
	REPORT_SCOPE struct report r = {0};

	sample_lines(1, 7, REPORT_OURS, "restore", "running_ns", 1000);
	sample_lines(1, 7, "libvirt-raw", "restore", "running_ns", 40000);
	must_read(&r);
	struct report_judgement judgement = verdict_on(&r, RESUME_LIBVIRT);
	cr_assert_eq(judgement.verdict, REPORT_MET);
	cr_assert_eq(judgement.value.middle, 40);
	cr_assert_eq(judgement.value.n, 7);
	cr_assert_eq(judgement.limit, 40);
	cr_assert(judgement.at_least);
	cr_assert_str_eq(judgement.of, "libvirt-raw / " REPORT_OURS);
	cr_assert_str_eq(judgement.note, "");
}

Test(verdicts, at_least_is_not_met_below_it)
{
	REPORT_SCOPE struct report r = {0};

	sample_lines(1, 7, REPORT_OURS, "restore", "running_ns", 1000);
	sample_lines(1, 7, "libvirt-raw", "restore", "running_ns", 39999);
	must_read(&r);
	assert_verdict(&r, RESUME_LIBVIRT, REPORT_NOT_MET);
}

Test(verdicts, at_most_is_met_at_the_limit_and_not_above)
{
	REPORT_SCOPE struct report met = {0};
	REPORT_SCOPE struct report missed = {0};

	sample_lines(1, 7, REPORT_OURS, "restore", "running_ns", 1300);
	sample_lines(1, 7, REPORT_FLOOR, "restore", "running_ns", 1000);
	must_read(&met);
	assert_verdict(&met, RESUME_FLOOR, REPORT_MET);
	sample_lines(1, 7, REPORT_OURS, "restore", "running_ns", 1301);
	sample_lines(1, 7, REPORT_FLOOR, "restore", "running_ns", 1000);
	must_read(&missed);
	assert_verdict(&missed, RESUME_FLOOR, REPORT_NOT_MET);
}

Test(verdicts, the_hardest_way_counts)
{
	REPORT_SCOPE struct report r = {0};

	sample_lines(1, 7, REPORT_OURS, "restore", "running_ns", 1000);
	sample_lines(1, 7, "libvirt-raw", "restore", "running_ns", 90000);
	sample_lines(1, 7, "libvirt-managed", "restore", "running_ns", 30000);
	sample_lines(1, 7, "libvirt-lzop", "restore", "running_ns", 80000);
	/* It may lose the guest. */
	peer_line("libvirt-loose", false, true);
	sample_lines(1, 7, "libvirt-loose", "restore", "running_ns", 1000);
	/* Not a libvirt way. */
	sample_lines(1, 7, "qemu-zstd", "restore", "running_ns", 2000);
	must_read(&r);
	struct report_judgement judgement = verdict_on(&r, RESUME_LIBVIRT);
	cr_assert_eq(judgement.verdict, REPORT_NOT_MET);
	cr_assert_str_eq(judgement.of, "libvirt-managed / " REPORT_OURS);
	cr_assert_eq(judgement.value.middle, 30);
}

Test(verdicts, a_raw_image_is_no_compressed_one)
{
	REPORT_SCOPE struct report r = {0};

	sample_lines(1, 7, REPORT_OURS, "save", "bytes", 10000);
	sample_lines(1, 7, "libvirt-raw", "save", "bytes", 90000);
	sample_lines(1, 7, "libvirt-xz", "save", "bytes", 20e6);
	must_read(&r);
	struct report_judgement judgement =
		verdict_on(&r, "idle image, against the best compressed libvirt one");
	cr_assert_eq(judgement.verdict, REPORT_MET);
	cr_assert_eq(judgement.value.middle, 2000);
}

Test(verdicts, ways_that_lose_or_keep_something_are_no_match)
{
	REPORT_SCOPE struct report r = {0};

	peer_line("qemu-ignore-shared", false, true);
	peer_line("qemu-hoarder", true, false);
	sample_lines(1, 7, REPORT_OURS, "save", "durable_ns", 1000);
	sample_lines(1, 7, "qemu-ignore-shared", "save", "durable_ns", 2000);
	sample_lines(1, 7, "qemu-hoarder", "save", "durable_ns", 3000);
	sample_lines(1, 7, "qemu10-mapped", "save", "durable_ns", 20000);
	/* Nobody says what this one does. */
	sample_lines(1, 7, "qemu-unknown", "save", "durable_ns", 4000);
	must_read(&r);
	struct report_judgement judgement = verdict_on(&r, PARK_QEMU);
	cr_assert_eq(judgement.verdict, REPORT_MET);
	cr_assert_str_eq(judgement.of, "qemu10-mapped / " REPORT_OURS);
}

Test(verdicts, the_median_over_pairs_counts)
{
	REPORT_SCOPE struct report r = {0};

	sample_lines(1, 7, REPORT_OURS, "restore", "running_ns", 1000);
	sample_lines(1, 3, "libvirt-raw", "restore", "running_ns", 10000);
	sample_lines(4, 7, "libvirt-raw", "restore", "running_ns", 50000);
	must_read(&r);
	struct report_judgement judgement = verdict_on(&r, RESUME_LIBVIRT);
	cr_assert_eq(judgement.verdict, REPORT_MET);
	cr_assert_eq(judgement.value.middle, 50);
	cr_assert_eq(judgement.value.low, 10);
	cr_assert_eq(judgement.value.high, 50);
}

Test(verdicts, too_few_pairs_are_no_measurement)
{
	REPORT_SCOPE struct report r = {0};

	sample_lines(1, 7, REPORT_OURS, "restore", "running_ns", 1000);
	sample_lines(2, 8, "libvirt-raw", "restore", "running_ns", 90000);
	must_read(&r);
	struct report_judgement judgement = verdict_on(&r, RESUME_LIBVIRT);
	cr_assert_eq(judgement.verdict, REPORT_NOT_MEASURED);
	cr_assert_str_eq(judgement.note, "6 of the 7 needed");
}

/* A way of which little is known may be the best one: no other takes its place. */
Test(verdicts, a_way_with_few_pairs_is_not_passed_over)
{
	REPORT_SCOPE struct report r = {0};

	sample_lines(1, 7, REPORT_OURS, "restore", "running_ns", 1000);
	sample_lines(1, 7, "libvirt-raw", "restore", "running_ns", 90000);
	sample_lines(1, 2, "libvirt-managed", "restore", "running_ns", 30000);
	must_read(&r);
	assert_verdict(&r, RESUME_LIBVIRT, REPORT_NOT_MEASURED);
}

Test(verdicts, failures_are_told)
{
	REPORT_SCOPE struct report r = {0};

	sample_lines(1, 7, REPORT_OURS, "restore", "running_ns", 1000);
	sample_lines(1, 7, "libvirt-raw", "restore", "running_ns", 90000);
	failed_line(8, REPORT_OURS, "restore", "broke");
	failed_line(8, "libvirt-raw", "restore", "broke");
	failed_line(8, "libvirt-raw", "save", "broke");
	for (unsigned int round = 1; round < 8; round++)
		failed_line(round, "libvirt-xz", "restore", "broke");
	must_read(&r);
	struct report_judgement judgement = verdict_on(&r, RESUME_LIBVIRT);
	cr_assert_eq(judgement.verdict, REPORT_MET);
	cr_assert_eq(judgement.failures, 2);
	cr_assert_str_eq(judgement.note, "without libvirt-xz: no pair");
}

Test(verdicts, other_cells_have_no_say)
{
	REPORT_SCOPE struct report r = {0};

	cell(TP_GIB, 0);
	sample_lines(1, 7, REPORT_OURS, "restore", "running_ns", 1000);
	sample_lines(1, 7, "libvirt-raw", "restore", "running_ns", 90000);
	must_read(&r);
	assert_verdict(&r, RESUME_LIBVIRT, REPORT_NOT_MEASURED);
}

Test(verdicts, dirty_targets_are_of_the_dirty_cell)
{
	REPORT_SCOPE struct report r = {0};

	cell(256 * TP_MIB, 20 * TP_MIB);
	sample_lines(1, 7, REPORT_OURS, "restore", "running_ns", 1600);
	sample_lines(1, 7, REPORT_FLOOR, "restore", "running_ns", 1000);
	sample_lines(1, 7, REPORT_OURS, "save", "standstill_ns", 1400);
	sample_lines(1, 7, REPORT_FLOOR, "save", "standstill_ns", 1000);
	must_read(&r);
	assert_verdict(&r, RESUME_FLOOR, REPORT_NOT_MEASURED);
	assert_verdict(&r, "resume dirty, against the floor", REPORT_NOT_MET);
	assert_verdict(&r, "park dirty until taken, against the floor", REPORT_MET);
	assert_verdict(&r, "park dirty until durable, against the floor", REPORT_NOT_MEASURED);
}

Test(verdicts, without_a_limit_nothing_is_judged)
{
	REPORT_SCOPE struct report r = {0};

	sample_lines(1, 7, REPORT_OURS, "restore", "answer_ns", 1000);
	sample_lines(1, 7, "libvirt-raw", "restore", "answer_ns", 1000);
	must_read(&r);
	assert_verdict(&r, "... to the first answer", REPORT_NOT_JUDGED);
}

Test(verdicts, one_sample_alone_decides_nothing)
{
	REPORT_SCOPE struct report r = {0};

	sample_line(1, "somebody", "save", "\"bytes\":1");
	must_read(&r);
	for (size_t i = 0; i < report_n_targets; i++)
		cr_assert_eq(report_judge(&r, i).verdict, REPORT_NOT_MEASURED);
}

/* --- tails --- */

/* N samples of 1000, the last two of them slower. */
static void tail_of(unsigned int n, double slow)
{
	sample_lines(1, n - 2, REPORT_OURS, "restore", "running_ns", 1000);
	sample_lines(n - 1, n, REPORT_OURS, "restore", "running_ns", slow);
}

Test(verdicts, a_tail_needs_a_hundred_samples)
{
	REPORT_SCOPE struct report few = {0};
	REPORT_SCOPE struct report enough = {0};

	tail_of(99, 1500);
	must_read(&few);
	assert_verdict(&few, TAIL, REPORT_NOT_MEASURED);
	tail_of(100, 1500);
	must_read(&enough);
	struct report_judgement judgement = verdict_on(&enough, TAIL);
	cr_assert_eq(judgement.verdict, REPORT_MET);
	cr_assert_float_eq(judgement.value.middle, 1.5, 1e-9);
}

Test(verdicts, a_long_tail_is_not_met)
{
	REPORT_SCOPE struct report r = {0};

	tail_of(100, 2001);
	must_read(&r);
	assert_verdict(&r, TAIL, REPORT_NOT_MET);
}

/* --- lines of torpor bench --- */

static void read_with_bench(struct report *r)
{
	must_read_bench(r);
	sample_line(1, "somebody", "save", "\"bytes\":1");
	must_read(r);
}

Test(bench_verdicts, torpor_bench_has_its_own)
{
	REPORT_SCOPE struct report r = {0};

	line("{\"name\":\"ratio_resume_idle\",\"unit\":\"ratio\",\"n\":20,\"value_p50\":1.4,"
	     "\"limit\":1.5,\"met\":true}");
	line("{\"name\":\"ratio_park_dirty\",\"unit\":\"ratio\",\"n\":6,\"value_p50\":1.1,"
	     "\"limit\":null,\"met\":null}");
	line("{\"name\":\"resume_idle.running\",\"unit\":\"ns\",\"n\":100,\"failures\":3,"
	     "\"p50\":10,\"p99\":19}");
	line("{\"name\":\"park_idle.durable\",\"unit\":\"ns\",\"n\":100,\"failures\":0,"
	     "\"p50\":10,\"p99\":null}");
	read_with_bench(&r);
	assert_verdict(&r, "torpor bench: resume idle, against the floor", REPORT_NOT_MET);
	assert_verdict(
		&r, "torpor bench: park dirty until taken, against the floor", REPORT_NOT_MEASURED);
	assert_verdict(&r, "torpor bench: resume dirty, against the floor", REPORT_NOT_MEASURED);
	assert_verdict(
		&r, "torpor bench: park idle until durable: p99 over p50", REPORT_NOT_MEASURED);
	struct report_judgement tail =
		verdict_on(&r, "torpor bench: resume idle until running: p99 over p50");
	cr_assert_eq(tail.verdict, REPORT_MET);
	cr_assert_eq(tail.failures, 3);
	cr_assert_float_eq(tail.value.middle, 1.9, 1e-9);
}
