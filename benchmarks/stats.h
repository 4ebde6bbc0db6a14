/* SPDX-License-Identifier: Apache-2.0 */
/* Summing up what was measured: the same rules wherever figures are printed. */
#ifndef TP_BENCH_STATS_H
#define TP_BENCH_STATS_H

#include <stdbool.h>
#include <stddef.h>

/* So many values a percentile needs before it says anything. */
#define BENCH_NEEDED_FOR_P90 20
#define BENCH_NEEDED_FOR_P99 100

/* Ascending, in place. */
void bench_sort(double *values, size_t n);

/* A percentile by nearest rank, so a value that was measured. N is at least 1; VALUES are sorted.
 */
double bench_rank(const double *values, size_t n, unsigned int percent);

/*
 * The middle of sorted values; of an even number the mean of the two, so that a verdict doesn't
 * lean to one side. N is at least 1.
 */
double bench_median(const double *values, size_t n);

/* For people: UNIT is "ns", "bytes", "ratio" or anything else. Returns TEXT. */
const char *bench_people(char text[32], const char *unit, double value);
/* The same without zeros behind the point: "10 ms". Returns TEXT. */
const char *bench_people_short(char text[32], const char *unit, double value);

#endif
