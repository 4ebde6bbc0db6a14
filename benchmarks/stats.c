/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return (x > y) - (x < y);
}

void bench_sort(double *values, size_t n)
{
	if (n > 0)
		qsort(values, n, sizeof(*values), by_value);
}

double bench_rank(const double *values, size_t n, unsigned int percent)
{
	return values[TP_MAX(TP_DIV_UP(n * percent, 100), (size_t)1) - 1];
}

double bench_median(const double *values, size_t n)
{
	return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

struct step {
	double from; /* values of this size and above */
	double unit;
	int digits;
	const char *name;
};

static const struct step times[] = {
	{1e9, 1e9, 2, " s"},
	{1e6, 1e6, 2, " ms"},
	{0, 1e3, 0, " us"},
};
static const struct step sizes[] = {
	{(double)TP_GIB, (double)TP_GIB, 2, " GiB"},
	{(double)TP_MIB, (double)TP_MIB, 2, " MiB"},
	{0, (double)TP_KIB, 1, " KiB"},
};
static const struct step ratios[] = {{100, 1, 0, ""}, {0, 1, 2, ""}};
static const struct step others[] = {{0, 1, 0, ""}};

static const struct step *steps_of(const char *unit)
{
	if (strcmp(unit, "ns") == 0)
		return times;
	if (strcmp(unit, "bytes") == 0)
		return sizes;
	return strcmp(unit, "ratio") == 0 ? ratios : others;
}

const char *bench_people(char text[32], const char *unit, double value)
{
	const struct step *step = steps_of(unit);

	while (step->from > fabs(value))
		step++;
	snprintf(text, 32, "%.*f%s", step->digits, value / step->unit, step->name);
	return text;
}

const char *bench_people_short(char text[32], const char *unit, double value)
{
	bench_people(text, unit, value);
	char *dot = strchr(text, '.');
	if (!dot)
		return text;
	char *end = dot + 1 + strspn(dot + 1, "0123456789");
	char *cut = end;
	while (cut[-1] == '0')
		cut--;
	if (cut[-1] == '.')
		cut--;
	memmove(cut, end, strlen(end) + 1);
	return text;
}
