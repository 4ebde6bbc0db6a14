/* SPDX-License-Identifier: Apache-2.0 */
/* Simulated loads, and what they show of the policy. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "pool/simulate.h"

struct load {
	char *text;
	size_t len;
	FILE *file;
};

/* Stays where it is: the stream has its address. */
static void load_begin(struct load *load)
{
	load->file = open_memstream(&load->text, &load->len);
}

static void load_claims(struct load *load, unsigned int n, uint64_t at_ms)
{
	for (unsigned int i = 0; i < n; i++)
		fprintf(load->file, "%ju claim 1000\n", (uintmax_t)at_ms);
}

static struct torpor_error *simulate_text(const char *text, size_t len,
	const struct tp_simulate_options *options, struct tp_simulate_report *report)
{
	FILE *file = fmemopen((void *)(uintptr_t)text, len, "r");
	struct torpor_error *err = tp_simulate(file, options, report);

	fclose(file);
	return err;
}

static struct tp_simulate_report load_run(
	struct load *load, const struct tp_simulate_options *options)
{
	struct tp_simulate_report report;

	fclose(load->file);
	struct torpor_error *err = simulate_text(load->text, load->len, options, &report);
	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
	free(load->text);
	cr_assert_eq(report.claims, report.from_warm + report.from_shell + report.from_spawn);
	return report;
}

static struct tp_simulate_options defaults(void)
{
	return tp_simulate_defaults;
}

Test(simulate, a_trickle_is_served_by_the_minimum)
{
	struct tp_simulate_options options = defaults();
	struct load load;

	load_begin(&load);
	for (uint64_t minute = 1; minute <= 240; minute++)
		load_claims(&load, 1, minute * 60000);
	struct tp_simulate_report report = load_run(&load, &options);
	cr_assert_eq(report.claims, 240);
	cr_assert_eq(report.hit_rate, 1.0);
	cr_assert_eq(report.warm_peak, 1);
	cr_assert_eq(report.wait_max_ns, options.warm_claim_ns);
	/* One warm guest and one shell through four hours, but for the moments in which one starts.
	 */
	double gib = (double)(options.warm_bytes + options.shell_bytes) / (double)TP_GIB;
	cr_assert_leq(report.memory_gib_hours, 4 * gib);
	cr_assert_geq(report.memory_gib_hours, 3.95 * gib);
}

static double hit_rate_of_bursts(unsigned int bursts, struct tp_simulate_report *report_out)
{
	struct tp_simulate_options options = defaults();
	struct load load;

	load_begin(&load);
	options.policy.warm_max = 64;
	for (unsigned int i = 0; i < bursts; i++)
		load_claims(&load, 64, 10000 + i * 30000);
	*report_out = load_run(&load, &options);
	return report_out->hit_rate;
}

Test(simulate, the_second_burst_finds_more_than_the_first)
{
	struct tp_simulate_report first, both;
	double first_rate = hit_rate_of_bursts(1, &first);

	hit_rate_of_bursts(2, &both);
	double second_rate = (double)(both.from_warm - first.from_warm) / 64;
	cr_assert_lt(first_rate, 0.25, "%f", first_rate);
	cr_assert_gt(second_rate, 0.9, "%f", second_rate);
}

Test(simulate, a_steady_load_hits)
{
	struct tp_simulate_options options = defaults();
	struct load load;

	load_begin(&load);
	for (uint64_t i = 1; i < 2000; i++)
		load_claims(&load, 1, i * 500);
	struct tp_simulate_report report = load_run(&load, &options);
	cr_assert_eq(report.hit_rate, 1.0);
	cr_assert_eq(report.wait_p99_ns, options.warm_claim_ns);
	cr_assert_leq(report.starts, 2002, "no more is started than is used: %ju",
		(uintmax_t)report.starts);
}

Test(simulate, a_ramp_is_followed)
{
	struct tp_simulate_options options = defaults();
	struct load load;

	load_begin(&load);
	/* From one in 2 s to five a second, through ten minutes. */
	for (double at = 1000; at < 600000; at += 2000 - 1800 * at / 600000)
		load_claims(&load, 1, (uint64_t)at);
	struct tp_simulate_report report = load_run(&load, &options);
	cr_assert_geq(report.hit_rate, 0.98, "%f", report.hit_rate);
	cr_assert_gt(report.warm_peak, 3);
	cr_assert_leq(report.warm_peak, 8);
}

/* Starts of claims overlap from the first burst on: with no turn of theirs, none ahead is made. */
static struct tp_simulate_report without_gaps(unsigned int refill_every)
{
	struct tp_simulate_options options = defaults();
	struct load load;

	load_begin(&load);
	options.refill_every = refill_every;
	load_claims(&load, 10, 1000);
	for (uint64_t at = 1085; at < 601000; at += 85)
		load_claims(&load, 1, at);
	return load_run(&load, &options);
}

Test(simulate, a_load_without_gaps_starves_nothing)
{
	struct tp_simulate_report starved = without_gaps(0);
	struct tp_simulate_report fair = without_gaps(TP_POLICY_REFILL_EVERY);

	cr_assert_leq(starved.from_warm, 2, "%ju", (uintmax_t)starved.from_warm);
	/* One start ahead at a time, of 150 ms, can be there for every other claim. */
	cr_assert_gt(fair.hit_rate, 0.49, "%f", fair.hit_rate);
	cr_assert_leq(fair.wait_p50_ns, starved.wait_p50_ns);
	cr_assert_leq(fair.wait_p99_ns, starved.wait_p99_ns);
	cr_assert_leq(fair.wait_max_ns, starved.wait_max_ns);
}

/* All start slots taken all the time, and others waiting: still no more than its share. */
Test(simulate, starts_ahead_have_no_more_than_their_share)
{
	struct tp_simulate_options options = defaults();
	struct load load;

	load_begin(&load);
	load_claims(&load, 1000, 1000);
	struct tp_simulate_report report = load_run(&load, &options);
	cr_assert_gt(report.starts, 100);
	cr_assert_leq(report.starts * TP_POLICY_REFILL_EVERY,
		report.from_spawn + 2 * TP_POLICY_REFILL_EVERY, "%ju ahead, %ju by claims",
		(uintmax_t)report.starts, (uintmax_t)report.from_spawn);
}

/* Two days: up to six at once every 20 s by day, one in half an hour by night. */
static void diurnal(struct load *load)
{
	load_begin(load);
	for (uint64_t at_s = 1; at_s < UINT64_C(2) * 24 * 3600; at_s += 20) {
		double day = sin(((double)at_s / 3600 - 6) / 24 * 2 * M_PI);
		if (day > 0)
			load_claims(load, 1 + (unsigned int)(6 * day), at_s * 1000);
		else if (at_s % 1800 == 1)
			load_claims(load, 1, at_s * 1000);
	}
}

Test(simulate, day_and_night_cost_less_than_always_the_most)
{
	struct tp_simulate_options options = defaults();
	struct load load;

	diurnal(&load);
	struct tp_simulate_report adaptive = load_run(&load, &options);

	options.policy.warm_min = options.policy.warm_max;
	diurnal(&load);
	struct tp_simulate_report most = load_run(&load, &options);
	options.policy.warm_min = options.policy.warm_max = 1;
	diurnal(&load);
	struct tp_simulate_report least = load_run(&load, &options);

	cr_assert_gt(adaptive.hit_rate, 0.9, "%f", adaptive.hit_rate);
	cr_assert_gt(adaptive.hit_rate, least.hit_rate + 0.2, "%f, %f", adaptive.hit_rate,
		least.hit_rate);
	cr_assert_lt(adaptive.memory_gib_hours, most.memory_gib_hours * 0.7, "%f, %f",
		adaptive.memory_gib_hours, most.memory_gib_hours);
}

Test(simulate, failing_starts_are_survived)
{
	struct tp_simulate_options options = defaults();
	struct load load;

	load_begin(&load);
	options.failure_percent = 100;
	for (uint64_t i = 1; i <= 100; i++)
		load_claims(&load, 1, i * 1000);
	struct tp_simulate_report report = load_run(&load, &options);
	cr_assert_eq(report.from_spawn, 98, "all but the minimum, which waited in the beginning");
	cr_assert_gt(report.failed_starts, 5);
	cr_assert_lt(
		report.failed_starts, 20, "they back off: %ju", (uintmax_t)report.failed_starts);
	cr_assert_eq(report.failed_starts, report.starts);
}

Test(simulate, the_same_seed_gives_the_same)
{
	struct tp_simulate_options options = defaults();
	struct tp_simulate_report reports[3] = {0};

	options.failure_percent = 30;
	for (int i = 0; i < 3; i++) {
		struct load load;
		load_begin(&load);
		for (uint64_t k = 1; k <= 500; k++)
			load_claims(&load, 1 + k % 3, k * 400);
		options.seed = i < 2 ? 7 : 8;
		reports[i] = load_run(&load, &options);
	}
	cr_assert_eq(reports[0].failed_starts, reports[1].failed_starts);
	cr_assert_eq(reports[0].from_warm, reports[1].from_warm);
	cr_assert_eq(reports[0].memory_gib_hours, reports[1].memory_gib_hours);
	cr_assert_neq(reports[0].memory_gib_hours, reports[2].memory_gib_hours);
}

Test(simulate, resumes_take_shells_and_count_for_no_hit)
{
	struct tp_simulate_options options = defaults();
	struct tp_simulate_report report;
	static const char text[] = "# a comment\n\n"
				   "1000 resume 10   # and another\n"
				   "2000 resume -\n"
				   "2000 resume 500\n"
				   "2100 claim 1\n";

	cr_assert_null(simulate_text(text, strlen(text), &options, &report));
	cr_assert_eq(report.claims, 4);
	cr_assert_eq(report.from_shell, 2);
	cr_assert_eq(report.from_spawn, 1);
	cr_assert_eq(report.from_warm, 1);
	cr_assert_eq(report.hit_rate, 1.0);
	cr_assert_eq(report.held_peak, 3);
	cr_assert_eq(report.wait_p50_ns, options.shell_claim_ns);
	cr_assert_eq(report.wait_max_ns, options.shell_start_ns + options.shell_claim_ns);
}

Test(simulate, more_than_slots_wait_in_order)
{
	struct tp_simulate_options options = defaults();
	struct load load;

	load_begin(&load);
	options.policy.warm_min = options.policy.shells_min = 0;
	options.policy.warm_max = options.policy.shells_max = 0;
	options.start_slots = 2;
	load_claims(&load, 10, 1000);
	struct tp_simulate_report report = load_run(&load, &options);
	uint64_t each = options.shell_start_ns + options.shell_claim_ns;
	cr_assert_eq(report.wait_max_ns, 5 * each);
	cr_assert_eq(report.wait_p50_ns, 3 * each);
	cr_assert_eq(report.starts, 0);
	cr_assert_eq(report.hit_rate, 0);
}

Test(simulate, an_empty_trace)
{
	struct tp_simulate_options options = defaults();
	struct tp_simulate_report report;

	cr_assert_null(simulate_text("# none\n", 7, &options, &report));
	cr_assert_eq(report.claims, 0);
	cr_assert_eq(report.wait_p99_ns, 0);
	cr_assert_eq(report.hit_rate, 1);
}

static void assert_wrong(const char *text, const char *line)
{
	struct tp_simulate_options options = defaults();
	struct tp_simulate_report report;
	TP_ERROR struct torpor_error *err = simulate_text(text, strlen(text), &options, &report);

	cr_assert_not_null(err, "%s", text);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_INVALID);
	cr_assert_not_null(
		strstr(torpor_error_message(err), line), "%s", torpor_error_message(err));
}

Test(simulate, wrong_lines_are_named)
{
	TP_BUF struct tp_buf lengthy = {0};

	assert_wrong("x", "line 1");
	assert_wrong("1 claim 1\n\n-1 claim 1\n", "line 3");
	assert_wrong("1 claim\n", "line 1");
	assert_wrong("1\n", "line 1");
	assert_wrong("1 claims 1\n", "line 1");
	assert_wrong("1 claim 1 1\n", "line 1");
	assert_wrong("1 claim +1\n", "line 1");
	assert_wrong("1.5 claim 1\n", "line 1");
	assert_wrong("99999999999999999999999 claim 1\n", "line 1");
	assert_wrong("31622400001 claim 1\n", "line 1");
	assert_wrong("5 claim 1\n4 claim 1\n", "line 2");
	for (int i = 0; i < 40; i++)
		tp_buf_put(&lengthy, "          ", 10);
	tp_buf_put(&lengthy, "1 claim 1\n", 11);
	assert_wrong((const char *)lengthy.data, "line 1");
}

Test(simulate, wrong_options_are_told)
{
	struct tp_simulate_report report;

	for (int i = 0; i < 5; i++) {
		struct tp_simulate_options options = defaults();
		options.warm_start_ns = i == 0 ? 0 : options.warm_start_ns;
		options.shell_claim_ns = i == 1 ? UINT64_MAX : options.shell_claim_ns;
		options.start_slots = i == 2 ? 0 : options.start_slots;
		options.failure_percent = i == 3 ? 101 : 0;
		options.policy.warm_min = i == 4 ? 9 : 1;
		TP_ERROR struct torpor_error *err =
			simulate_text("1 claim 1\n", 10, &options, &report);
		cr_assert_not_null(err, "%d", i);
		cr_assert_eq(torpor_error_code(err), TORPOR_E_INVALID);
	}
}
