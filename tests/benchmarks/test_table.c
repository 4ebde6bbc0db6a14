/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in the table, and where: nobody may overlook what makes the run worthless. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lines.h"

static char *table_of(const struct report *r)
{
	TP_FREE bool *drawn = tp_calloc(report_n_pictures, sizeof(*drawn));
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	drawn[1] = true;
	report_write_table(r, drawn, out);
	cr_assert_eq(fclose(out), 0);
	return text;
}

static const char *has(const char *table, const char *part)
{
	const char *at = strstr(table, part);

	cr_assert_not_null(at, "no \"%s\" in:\n%s", part, table);
	return at;
}

static void has_not(const char *table, const char *part)
{
	cr_assert_null(strstr(table, part), "\"%s\" in:\n%s", part, table);
}

static void any_sample(void)
{
	sample_line(1, "somebody", "save", "\"bytes\":4096");
}

/* --- flags --- */

Test(table, a_quiet_run_has_no_warning)
{
	REPORT_SCOPE struct report r = {0};

	line("{\"context\":\"cores\",\"value\":2}");
	line("{\"context\":\"load_start\",\"value\":1.9}");
	line("{\"context\":\"noise\",\"value\":{\"noisy\":false}}");
	line("{\"context\":\"swapped_pages\",\"value\":0}");
	line("{\"context\":\"throttled\",\"value\":0}");
	line("{\"context\":\"quick\",\"value\":false}");
	line("{\"context\":\"flags\",\"value\":[]}");
	any_sample();
	must_read(&r);
	TP_FREE char *table = table_of(&r);
	has_not(table, "This run was");
}

Test(table, what_disturbed_the_run_stands_above_all)
{
	REPORT_SCOPE struct report r = {0};

	line("{\"context\":\"cores\",\"value\":2}");
	line("{\"context\":\"load_start\",\"value\":2.0}");
	line("{\"context\":\"noise\",\"value\":{\"noisy\":true}}");
	line("{\"context\":\"swapped_pages\",\"value\":1}");
	line("{\"context\":\"throttled\",\"value\":3}");
	line("{\"context\":\"flags\",\"value\":[\"noisy\",\"haunted\"]}");
	any_sample();
	must_read(&r);
	TP_FREE char *table = table_of(&r);
	const char *facts = has(table, "| fact | value |");
	static const char *const flags[] = {"noisy: somebody", "loaded: the load",
		"throttled: ", "swapping: memory", "haunted: the harness says so"};
	for (size_t i = 0; i < TP_ARRAY_LEN(flags); i++) {
		TP_FREE char *bold = tp_asprintf("**This run was %s", flags[i]);
		cr_assert_lt(has(table, bold), facts, "%s is too far down", flags[i]);
	}
	cr_assert_null(strstr(has(table, "was noisy") + 1, "was noisy"), "it is said once");
}

Test(table, a_disturbed_torpor_bench_is_told_too)
{
	REPORT_SCOPE struct report r = {0};

	line("{\"context\":\"quick\",\"value\":true}");
	must_read_bench(&r);
	any_sample();
	must_read(&r);
	TP_FREE char *table = table_of(&r);
	has(table, "**This run was quick: it shows that everything works");
}

/* --- figures --- */

/* N rounds of a save; ours takes 1 ms and more in each, theirs ten times that. */
static void saves(unsigned int n)
{
	for (unsigned int round = 1; round <= n; round++) {
		TP_FREE char *ours =
			tp_asprintf("\"standstill_ns\":500000,\"durable_ns\":%u,\"bytes\":16384",
				round * 1000000);
		TP_FREE char *theirs = tp_asprintf("\"durable_ns\":%u", round * 10000000);
		sample_line(round, REPORT_OURS, "save", ours);
		sample_line(round, "libvirt-raw", "save", theirs);
	}
}

Test(table, few_samples_have_a_range_and_no_percentiles)
{
	REPORT_SCOPE struct report r = {0};

	peer_line(REPORT_OURS, true, true);
	peer_line("libvirt-raw", true, false);
	saves(8);
	must_read(&r);
	TP_FREE char *table = table_of(&r);
	has(table, "## 256 MiB of RAM, idle\n");
	has(table, "| torpor-direct | 8 | 0 | 500 us | 4.00 ms | – | 16.0 KiB | – | – | – | yes | "
		   "yes |\n");
	has(table,
		"| torpor-direct | durable | 8 | 4.00 ms | – | – | 1.00 ms to 8.00 ms | – | – |\n");
	has(table, "| libvirt-raw | durable | 8 | 40.00 ms | – | – | 10.00 ms to 80.00 ms | "
		   "10.0 (10.0 to 10.0), n=8 | – |\n");
	has(table, "| libvirt-raw | what libvirt-raw runs | yes | no |\n");
}

Test(table, percentiles_come_with_enough_samples)
{
	REPORT_SCOPE struct report some = {0};
	REPORT_SCOPE struct report many = {0};

	saves(20);
	must_read(&some);
	TP_FREE char *table = table_of(&some);
	has(table, "| torpor-direct | durable | 20 | 10.00 ms | 18.00 ms | – | – | – | – |\n");
	saves(100);
	must_read(&many);
	TP_FREE char *other = table_of(&many);
	has(other,
		"| torpor-direct | durable | 100 | 50.00 ms | 90.00 ms | 99.00 ms | – | – | – |\n");
}

Test(table, processor_time_is_a_mean)
{
	REPORT_SCOPE struct report r = {0};

	sample_lines(1, 3, REPORT_OURS, "restore", "cpu_ns", 0);
	sample_lines(4, 4, REPORT_OURS, "restore", "cpu_ns", 10e6);
	must_read(&r);
	TP_FREE char *table = table_of(&r);
	has(table, "| torpor-direct | 4 | 0 | – | – | – | – | 2.50 ms | – | ? | ? |\n");
}

Test(table, a_boot_is_compared_with_a_resume)
{
	REPORT_SCOPE struct report r = {0};

	sample_lines(1, 3, REPORT_OURS, "restore", "running_ns", 2e6);
	sample_lines(1, 3, REPORT_FLOOR, "restore", "running_ns", 1e6);
	sample_lines(1, 3, "cold-boot", "boot", "running_ns", 3e9);
	must_read(&r);
	TP_FREE char *table = table_of(&r);
	has(table, "| cold-boot (boot) | running | 3 | 3.00 s | – | – | 3.00 s to 3.00 s | "
		   "1500 (1500 to 1500), n=3 | 3000 (3000 to 3000), n=3 |\n");
	has(table, "| torpor-direct | running | 3 | 2.00 ms | – | – | 2.00 ms to 2.00 ms | – | "
		   "2.00 (2.00 to 2.00), n=3 |\n");
}

/* --- what went wrong --- */

Test(table, failures_are_bold_and_say_why)
{
	REPORT_SCOPE struct report r = {0};

	any_sample();
	failed_line(7, "libvirt-xz", "save", "it <broke> | badly\\nand again");
	must_read(&r);
	TP_FREE char *table = table_of(&r);
	has(table, "| libvirt-xz | 0 | **1** | – | – | – | – | – | – | – | ? | ? |\n");
	has(table, "| 7 | libvirt-xz | 256.00 MiB | 0.0 KiB | save | "
		   "it &lt;broke> \\| badly and again |\n");
}

Test(table, what_could_not_run_and_what_others_say_stand_apart)
{
	REPORT_SCOPE struct report r = {0};

	line("{\"peer\":\"crosvm\",\"summary\":\"crosvm suspend\",\"durable\":true,"
	     "\"frees\":true,\"available\":false,\"why\":\"there is no KVM\"}");
	any_sample();
	must_read(&r);
	r.published = json_pack("[{s:s,s:s,s:f,s:s,s:s,s:s}]", "who", "them", "figure", "resume",
		"value", 41.8, "unit", "ms", "conditions", "their host", "source", "https://them");
	TP_FREE char *table = table_of(&r);
	const char *compared = has(table, "## What was compared");
	const char *absent = has(table, "## What could not run here");
	const char *published = has(table, "## Published by others, not measured here");
	const char *verdicts = has(table, "## Verdicts");
	cr_assert(compared < absent && absent < published && published < verdicts);
	cr_assert_gt(has(table, "crosvm"), absent, "it is among those that were measured");
	cr_assert_lt(has(table, "| crosvm | crosvm suspend | there is no KVM |\n"), published);
	cr_assert_gt(
		has(table, "| them | resume | 41.8 ms | their host | https://them |\n"), published);
}

/* --- verdicts and pictures --- */

Test(table, verdicts_say_met_not_met_and_not_measured)
{
	REPORT_SCOPE struct report r = {0};

	peer_line("libvirt-raw", true, true);
	sample_lines(1, 7, REPORT_OURS, "restore", "running_ns", 1000);
	sample_lines(1, 7, "libvirt-raw", "restore", "running_ns", 90000);
	sample_lines(1, 7, REPORT_FLOOR, "restore", "running_ns", 500);
	must_read(&r);
	TP_FREE char *table = table_of(&r);
	has(table, "Targets: 1 met, 1 NOT MET, ");
	has(table,
		"| resume, against the best libvirt way | libvirt-raw / torpor-direct | 90.0 | 7 "
		"| 0 | at least 40 | met |\n");
	has(table, "| resume idle, against the floor | torpor-direct / floor | 2.00 | 7 | 0 | "
		   "at most 1.3 | **NOT MET** |\n");
	has(table, "| resume dirty, against the floor | – | – | 0 | 0 | at most 1.5 | "
		   "not measured (0 of the 7 needed) |\n");
}

Test(table, only_pictures_that_are_there_are_shown)
{
	REPORT_SCOPE struct report r = {0};

	any_sample();
	must_read(&r);
	TP_FREE char *table = table_of(&r);
	for (size_t i = 0; i < report_n_pictures; i++) {
		TP_FREE char *link = tp_asprintf("](%s)", report_pictures[i].file);
		if (i == 1)
			has(table, link);
		else
			has_not(table, link);
	}
}
