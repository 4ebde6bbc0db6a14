/* SPDX-License-Identifier: Apache-2.0 */
/* Percentiles, medians, and figures as people read them. */
#include <criterion/criterion.h>
#include <math.h>

#include "base/macros.h"
#include "benchmarks/stats.h"

/* 1 to 200. */
static double numbers[200];

static void count(void)
{
	for (size_t i = 0; i < TP_ARRAY_LEN(numbers); i++)
		numbers[i] = (double)(i + 1);
}

TestSuite(stats, .init = count);

Test(stats, percentiles_are_values_that_were_measured)
{
	cr_assert_eq(bench_rank(numbers, 100, 50), 50);
	cr_assert_eq(bench_rank(numbers, 100, 90), 90);
	cr_assert_eq(bench_rank(numbers, 100, 99), 99);
	cr_assert_eq(bench_rank(numbers, 200, 99), 198);
	cr_assert_eq(bench_rank(numbers, 20, 90), 18);
	cr_assert_eq(bench_rank(numbers, 20, 10), 2);
	/* Where the rank isn't whole the next one counts. */
	cr_assert_eq(bench_rank(numbers, 7, 50), 4);
	cr_assert_eq(bench_rank(numbers, 101, 99), 100);
	cr_assert_eq(bench_rank(numbers, 7, 90), 7);
	cr_assert_eq(bench_rank(numbers, 1, 1), 1);
	cr_assert_eq(bench_rank(numbers, 1, 99), 1);
	cr_assert_eq(bench_rank(numbers, 5, 0), 1, "there is none below the least");
}

Test(stats, a_median_of_an_even_number_is_between_two)
{
	cr_assert_eq(bench_median(numbers, 1), 1);
	cr_assert_eq(bench_median(numbers, 2), 1.5);
	cr_assert_eq(bench_median(numbers, 7), 4);
	cr_assert_eq(bench_median(numbers, 8), 4.5);
}

Test(stats, sorting_is_by_value)
{
	double values[] = {3, -1, 1e12, 0.5, 3};
	const double sorted[] = {-1, 0.5, 3, 3, 1e12};

	bench_sort(values, TP_ARRAY_LEN(values));
	for (size_t i = 0; i < TP_ARRAY_LEN(values); i++)
		cr_assert_eq(values[i], sorted[i]);
	bench_sort(NULL, 0);
}

Test(stats, figures_are_in_units_that_fit_them)
{
	char text[32];

	cr_assert_str_eq(bench_people(text, "ns", 12000), "12 us");
	cr_assert_str_eq(bench_people(text, "ns", 999999), "1000 us");
	cr_assert_str_eq(bench_people(text, "ns", 1.25e6), "1.25 ms");
	cr_assert_str_eq(bench_people(text, "ns", -1.25e6), "-1.25 ms");
	cr_assert_str_eq(bench_people(text, "ns", 2.5e9), "2.50 s");
	cr_assert_str_eq(bench_people(text, "bytes", 1536), "1.5 KiB");
	cr_assert_str_eq(bench_people(text, "bytes", 20.0 * TP_MIB), "20.00 MiB");
	cr_assert_str_eq(bench_people(text, "bytes", 4.0 * TP_GIB), "4.00 GiB");
	cr_assert_str_eq(bench_people(text, "ratio", 1.234), "1.23");
	cr_assert_str_eq(bench_people(text, "ratio", 1234.5), "1234");
	cr_assert_str_eq(bench_people(text, "count", 17), "17");
}

Test(stats, short_figures_lose_zeros_and_nothing_else)
{
	char text[32];

	cr_assert_str_eq(bench_people_short(text, "ns", 10e6), "10 ms");
	cr_assert_str_eq(bench_people_short(text, "ns", 12.5e6), "12.5 ms");
	cr_assert_str_eq(bench_people_short(text, "ns", 200e3), "200 us");
	cr_assert_str_eq(bench_people_short(text, "bytes", 256.0 * TP_MIB), "256 MiB");
	cr_assert_str_eq(bench_people_short(text, "bytes", 20e6), "19.07 MiB");
	cr_assert_str_eq(bench_people_short(text, "bytes", 0), "0 KiB");
	cr_assert_str_eq(bench_people_short(text, "ratio", 2), "2");
}
