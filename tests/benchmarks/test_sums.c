/* SPDX-License-Identifier: Apache-2.0 */
/* Which samples a figure is made of, and what a pair is. */
#include <criterion/criterion.h>
#include <math.h>

#include "base/mem.h"
#include "lines.h"

static void assert_values(const struct report_values *values, const double *expected, size_t n)
{
	cr_assert_eq(values->n, n, "%zu values, not %zu", values->n, n);
	for (size_t i = 0; i < n; i++)
		cr_assert_float_eq(values->v[i], expected[i], 1e-9, "value %zu is %g, not %g", i,
			values->v[i], expected[i]);
}

Test(sums, failed_and_disturbed_samples_are_left_out_of_times)
{
	REPORT_SCOPE struct report r = {0};

	sample_line(1, "a", "save", "\"durable_ns\":30,\"peak_bytes\":null,\"remaining_bytes\":4");
	uncounted_line(2, "a", "save", "\"durable_ns\":999,\"peak_bytes\":7,\"remaining_bytes\":5");
	failed_line(3, "a", "save", "broke");
	sample_line(4, "a", "save", "\"durable_ns\":10");
	sample_line(5, "a", "restore", "\"running_ns\":1");
	sample_line(6, "b", "save", "\"durable_ns\":2");
	must_read(&r);

	struct report_key key = key_of(&r, "a", REPORT_SAVE);
	REPORT_VALUES struct report_values times = report_values_of(&r, &key, REPORT_DURABLE);
	assert_values(&times, (const double[]){10, 30}, 2);
	REPORT_VALUES struct report_values peak = report_values_of(&r, &key, REPORT_PEAK);
	assert_values(&peak, (const double[]){7}, 1);
	REPORT_VALUES struct report_values left = report_values_of(&r, &key, REPORT_REMAINING);
	assert_values(&left, (const double[]){4, 5}, 2);

	struct report_counts counts = report_counts(&r, &key);
	cr_assert_eq(counts.all, 4);
	cr_assert_eq(counts.failed, 1);
	cr_assert_eq(counts.counted, 2);
}

Test(sums, cells_are_kept_apart_and_in_order)
{
	REPORT_SCOPE struct report r = {0};

	cell(TP_GIB, 20 * TP_MIB);
	sample_line(1, "a", "save", "\"durable_ns\":3");
	cell(TP_GIB, 0);
	sample_line(1, "a", "save", "\"durable_ns\":2");
	cell(256 * TP_MIB, 20 * TP_MIB);
	sample_line(1, "a", "save", "\"durable_ns\":1");
	sample_line(2, "a", "save", "\"durable_ns\":1");
	must_read(&r);

	TP_FREE struct report_cell *cells = NULL;
	cr_assert_eq(report_cells(&r, &cells), 3);
	cr_assert_eq(cells[0].ram, 256 * TP_MIB);
	cr_assert_eq(cells[1].payload, 0);
	cr_assert_eq(cells[2].payload, 20 * TP_MIB);
	struct report_key key = {0, cells[1], REPORT_SAVE};
	REPORT_VALUES struct report_values values = report_values_of(&r, &key, REPORT_DURABLE);
	assert_values(&values, (const double[]){2}, 1);
}

Test(sums, a_pair_is_of_the_same_round)
{
	REPORT_SCOPE struct report r = {0};

	sample_line(1, "a", "save", "\"durable_ns\":10");
	sample_line(1, "b", "save", "\"durable_ns\":5");
	sample_line(2, "b", "save", "\"durable_ns\":1");
	sample_line(4, "a", "save", "\"durable_ns\":60");
	sample_line(5, "a", "save", "\"durable_ns\":1");
	/* Not in the file's order, and one of a pair failed. */
	sample_line(3, "b", "save", "\"durable_ns\":4");
	sample_line(3, "a", "save", "\"durable_ns\":6");
	failed_line(4, "b", "save", "broke");
	uncounted_line(5, "b", "save", "\"durable_ns\":1");
	must_read(&r);

	struct report_key a = key_of(&r, "a", REPORT_SAVE);
	struct report_key b = key_of(&r, "b", REPORT_SAVE);
	REPORT_VALUES struct report_values ratios = report_ratios(&r, &a, &b, REPORT_DURABLE);
	assert_values(&ratios, (const double[]){1.5, 2}, 2);
}

Test(sums, several_samples_of_a_round_are_one_of_a_pair)
{
	REPORT_SCOPE struct report r = {0};

	sample_line(1, "a", "save", "\"durable_ns\":100");
	sample_line(1, "b", "save", "\"durable_ns\":1");
	sample_line(1, "b", "save", "\"durable_ns\":50");
	sample_line(1, "b", "save", "\"durable_ns\":10");
	sample_line(2, "a", "save", "\"durable_ns\":90");
	sample_line(2, "b", "save", "\"durable_ns\":40");
	sample_line(2, "b", "save", "\"durable_ns\":20");
	must_read(&r);

	struct report_key a = key_of(&r, "a", REPORT_SAVE);
	struct report_key b = key_of(&r, "b", REPORT_SAVE);
	REPORT_VALUES struct report_values ratios = report_ratios(&r, &a, &b, REPORT_DURABLE);
	assert_values(&ratios, (const double[]){3, 10}, 2);
}

Test(sums, nothing_is_divided_by_nothing)
{
	REPORT_SCOPE struct report r = {0};

	sample_line(1, "a", "restore", "\"process_ns\":7");
	sample_line(1, "b", "restore", "\"process_ns\":0");
	sample_line(2, "a", "restore", "\"running_ns\":7");
	must_read(&r);

	struct report_key a = key_of(&r, "a", REPORT_RESTORE);
	struct report_key b = key_of(&r, "b", REPORT_RESTORE);
	REPORT_VALUES struct report_values zero = report_ratios(&r, &a, &b, REPORT_PROCESS);
	cr_assert_eq(zero.n, 0);
	REPORT_VALUES struct report_values none = report_ratios(&r, &a, &b, REPORT_RUNNING);
	cr_assert_eq(none.n, 0);
	/* A peer that nobody knows has no samples. */
	struct report_key nobody = key_of(&r, "c", REPORT_RESTORE);
	REPORT_VALUES struct report_values still = report_ratios(&r, &a, &nobody, REPORT_RUNNING);
	cr_assert_eq(still.n, 0);
}

/* 1 to N. */
static struct report_values up_to(double *room, size_t n)
{
	for (size_t i = 0; i < n; i++)
		room[i] = (double)(i + 1);
	return (struct report_values){room, n};
}

Test(sums, a_spread_is_the_range_until_there_are_twenty)
{
	double room[20];
	struct report_values values = up_to(room, 19);
	struct report_spread spread = report_spread(&values);

	cr_assert_eq(spread.middle, 10);
	cr_assert_eq(spread.low, 1);
	cr_assert_eq(spread.high, 19);

	values = up_to(room, 20);
	spread = report_spread(&values);
	cr_assert_eq(spread.middle, 10.5);
	cr_assert_eq(spread.low, 2);
	cr_assert_eq(spread.high, 18);

	values = (struct report_values){0};
	cr_assert_eq(report_spread(&values).n, 0);
}
