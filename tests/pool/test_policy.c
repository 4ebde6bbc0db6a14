/* SPDX-License-Identifier: Apache-2.0 */
/* The policy: each rule, far ahead in time, at the ends of configuration, and at random. */
#include <criterion/criterion.h>

#include "pool/policy.h"

#define SECOND TP_NSEC_PER_SEC
#define START  (1000 * SECOND) /* any time */

static struct tp_policy_config config;
static struct tp_policy policy;

static void fresh(void)
{
	config = tp_policy_defaults;
	policy = (struct tp_policy){0};
}

static struct tp_policy_decision decide(const struct tp_policy_stock *stock, uint64_t now_ns)
{
	struct tp_policy_decision decision;

	tp_policy_decide(&policy, &config, stock, now_ns, &decision);
	return decision;
}

static void claim(unsigned int n, uint64_t now_ns)
{
	for (unsigned int i = 0; i < n; i++)
		tp_policy_claimed(&policy, &config, true, now_ns);
}

static const struct tp_policy_stock empty = {0};

TestSuite(policy, .init = fresh);

Test(policy, without_load_the_minimum_waits)
{
	struct tp_policy_decision d = decide(&empty, START);

	cr_assert_eq(d.warm_target, 1);
	cr_assert_eq(d.shell_target, 1);
	cr_assert(d.start_warm);
	cr_assert_not(d.start_shell);

	struct tp_policy_stock one = {.warm = 1};
	d = decide(&one, START);
	cr_assert_not(d.start_warm);
	cr_assert(d.start_shell);

	struct tp_policy_stock starting = {.starting_warm = 1, .starting_shells = 1};
	d = decide(&starting, START);
	cr_assert_not(d.start_warm);
	cr_assert_not(d.start_shell);
}

Test(policy, the_most_at_a_time_is_expected_again_until_it_leaves_the_window)
{
	claim(4, START);
	cr_assert_eq(decide(&empty, START).warm_target, 5, "4 and a quarter");
	cr_assert_eq(decide(&empty, START).shell_target, 1);
	cr_assert_eq(decide(&empty, START + 58 * SECOND).warm_target, 5);
	cr_assert_eq(decide(&empty, START + 61 * SECOND).warm_target, 1);
}

Test(policy, spread_claims_need_no_more_than_those_of_one_start)
{
	for (uint64_t i = 0; i < 60; i++)
		claim(1, START + i * SECOND);
	cr_assert_eq(decide(&empty, START + 59 * SECOND).warm_target, 1);

	/* The longer a start takes, the more come meanwhile. */
	tp_policy_started(&policy, &config, 4 * SECOND, START + 59 * SECOND);
	config.start_slow_ns = 10 * SECOND;
	cr_assert_geq(decide(&empty, START + 59 * SECOND).warm_target, 5);
}

Test(policy, resumes_call_for_shells_alone)
{
	for (int i = 0; i < 3; i++)
		tp_policy_claimed(&policy, &config, false, START);
	cr_assert_eq(decide(&empty, START).warm_target, 1);
	cr_assert_eq(decide(&empty, START).shell_target, 3);
}

Test(policy, never_above_the_maximum)
{
	claim(1000, START);
	cr_assert_eq(decide(&empty, START).warm_target, 8);
	config.warm_max = 3;
	cr_assert_eq(decide(&empty, START).warm_target, 3);
	struct tp_policy_stock much = {.warm = 4};
	cr_assert_eq(decide(&much, START).drop_warm, 1, "no slack above the maximum");
}

Test(policy, a_long_queue_grows_it_at_once)
{
	struct tp_policy_stock ten = {.waiting = 10}, eleven = {.waiting = 11};

	config.warm_max = 20;
	cr_assert_eq(decide(&ten, START).warm_target, 1);
	cr_assert_eq(decide(&eleven, START).warm_target, 11);
	/* It decays: halved eight times in a window. */
	cr_assert_eq(decide(&empty, START + 8 * SECOND).warm_target, 5);
	cr_assert_eq(decide(&empty, START + 60 * SECOND).warm_target, 1);
}

Test(policy, how_often_it_is_asked_does_not_matter)
{
	struct tp_policy_stock queue = {.waiting = 64};
	struct tp_policy often;

	config.warm_max = 64;
	decide(&queue, START);
	often = policy;
	struct tp_policy_decision once = decide(&empty, START + 20 * SECOND), last = {0};
	for (uint64_t ms = 0; ms <= 20000; ms += 7)
		tp_policy_decide(&often, &config, &empty, START + ms * TP_NSEC_PER_MSEC, &last);
	tp_policy_decide(&often, &config, &empty, START + 20 * SECOND, &last);
	cr_assert_eq(once.warm_target, last.warm_target);
	cr_assert_eq(once.warm_target, 16);
}

Test(policy, slow_starts_grow_it_where_somebody_asks)
{
	tp_policy_started(&policy, &config, 3 * SECOND, START);
	cr_assert_eq(decide(&empty, START).warm_target, 1, "nobody asks");
	claim(2, START);
	cr_assert_eq(decide(&empty, START).warm_target, 4, "2 and half of it and one");
}

Test(policy, one_quick_start_is_no_reason)
{
	tp_policy_started(&policy, &config, SECOND, START);
	claim(2, START);
	cr_assert_eq(decide(&empty, START).warm_target, 2);
}

Test(policy, failures_grow_it_where_somebody_asks)
{
	claim(2, START);
	for (int i = 0; i < 19; i++)
		tp_policy_started(&policy, &config, 0, START);
	tp_policy_failed(&policy, &config, 0, START);
	cr_assert_eq(decide(&empty, START + SECOND).warm_target, 2, "5 percent");
	tp_policy_failed(&policy, &config, 0, START);
	cr_assert_eq(decide(&empty, START + SECOND).warm_target, 4, "more than 5 percent");
}

Test(policy, a_failed_start_is_not_tried_again_before_its_backoff)
{
	uint64_t now = START, expected = 100 * TP_NSEC_PER_MSEC;

	config.degraded_after = 100;
	for (int i = 0; i < 12; i++) {
		tp_policy_failed(&policy, &config, UINT16_MAX, now);
		struct tp_policy_decision d = decide(&empty, now + expected - 1);
		cr_assert_not(d.start_warm || d.start_shell, "try %d", i);
		cr_assert_eq(d.look_again_ns, now + expected, "try %d", i);
		now += expected;
		cr_assert(decide(&empty, now).start_warm, "try %d", i);
		expected = TP_MIN(expected * 2, 30 * SECOND);
	}
}

Test(policy, jitter_spreads_the_backoff_over_its_upper_half)
{
	tp_policy_failed(&policy, &config, 0, START);
	cr_assert_eq(policy.not_before_ns, START + 50 * TP_NSEC_PER_MSEC);
	fresh();
	tp_policy_failed(&policy, &config, UINT16_MAX / 2, START);
	cr_assert_gt(policy.not_before_ns, START + 70 * TP_NSEC_PER_MSEC);
	cr_assert_lt(policy.not_before_ns, START + 80 * TP_NSEC_PER_MSEC);
}

Test(policy, while_it_fails_one_is_tried_at_a_time)
{
	struct tp_policy_stock trying = {.starting_shells = 1};

	config.warm_min = 4;
	cr_assert(decide(&trying, START).start_warm);
	tp_policy_failed(&policy, &config, 0, START);
	cr_assert_not(decide(&trying, START + 60 * SECOND).start_warm);
	cr_assert(decide(&empty, START + 60 * SECOND).start_warm);
}

Test(policy, starts_ahead_have_their_turn)
{
	cr_expect(tp_policy_may_start_ahead(0, 0, 0), "there is a gap");
	cr_expect(tp_policy_may_start_ahead(0, 0, 4));
	cr_expect_not(tp_policy_may_start_ahead(1, 3, 4), "claims go first");
	cr_expect(tp_policy_may_start_ahead(1, 4, 4));
	cr_expect(tp_policy_may_start_ahead(1000, 1000, 4));
	cr_expect_not(tp_policy_may_start_ahead(1, 1000, 0), "never");
}

Test(policy, degraded_after_failures_in_a_row_and_healed_by_one_success)
{
	for (int i = 0; i < 4; i++)
		tp_policy_failed(&policy, &config, 0, START);
	cr_assert_not(decide(&empty, START).degraded);
	tp_policy_failed(&policy, &config, 0, START);
	cr_assert(decide(&empty, START).degraded);
	tp_policy_started(&policy, &config, SECOND, START + SECOND);
	struct tp_policy_decision d = decide(&empty, START + SECOND);
	cr_assert_not(d.degraded);
	cr_assert(d.start_warm, "nor is there a backoff any more");
	for (int i = 0; i < 4; i++)
		tp_policy_failed(&policy, &config, 0, START + SECOND);
	cr_assert_not(decide(&empty, START + SECOND).degraded, "they are counted anew");
}

Test(policy, pressure_leaves_the_minimum_and_then_nothing)
{
	struct tp_policy_stock stock = {.warm = 6, .shells = 3};

	config.warm_min = 2;
	claim(5, START);
	cr_assert_eq(decide(&stock, START).drop_warm, 0);
	stock.pressure = true;
	struct tp_policy_decision d = decide(&stock, START);
	cr_assert_eq(d.warm_target, 2);
	cr_assert_eq(d.drop_warm, 4);
	cr_assert_eq(d.drop_shells, 2);
	stock.nothing = true;
	d = decide(&stock, START);
	cr_assert_eq(d.warm_target, 0);
	cr_assert_eq(d.shell_target, 0);
	cr_assert_eq(d.drop_warm, 6);
	cr_assert_eq(d.drop_shells, 3);
	cr_assert_not(d.start_warm || d.start_shell);
}

Test(policy, a_little_too_much_waits_on_while_somebody_asks)
{
	struct tp_policy_stock three = {.warm = 3, .shells = 1}, four = {.warm = 4, .shells = 1};

	claim(2, START);
	cr_assert_eq(decide(&three, START).drop_warm, 0, "one above 2");
	cr_assert_eq(decide(&four, START).drop_warm, 2);
	cr_assert_eq(decide(&three, START + 90 * SECOND).drop_warm, 2, "nobody has asked");
}

Test(policy, the_kind_that_is_missing_more_comes_first)
{
	struct tp_policy_stock stock = {.warm = 2, .shells = 0};

	config.warm_min = 4;
	config.shells_min = 4;
	cr_assert(decide(&stock, START).start_shell);
	stock.shells = 3;
	cr_assert(decide(&stock, START).start_warm);
}

/* Claims every half second, each served from stock; starts take 300 ms. */
Test(policy, a_steady_load_settles)
{
	struct tp_policy_stock stock = {0};
	unsigned int drops = 0, missed = 0, least = UINT32_MAX, most = 0;
	uint64_t ready_ns = 0;

	for (uint64_t ms = 0; ms < 600000; ms += 100) {
		uint64_t now = START + ms * TP_NSEC_PER_MSEC;
		if (stock.starting_warm && now >= ready_ns) {
			stock.starting_warm--;
			stock.warm++;
			tp_policy_started(&policy, &config, 300 * TP_NSEC_PER_MSEC, now);
		}
		if (ms % 500 == 0) {
			claim(1, now);
			if (stock.warm > 0)
				stock.warm--;
			else
				missed += ms > 120000;
		}
		struct tp_policy_decision d = decide(&stock, now);
		if (d.start_warm && !stock.starting_warm) {
			stock.starting_warm++;
			ready_ns = now + 300 * TP_NSEC_PER_MSEC;
		}
		stock.shells += d.start_shell;
		stock.warm -= d.drop_warm;
		drops += ms > 120000 ? d.drop_warm + d.drop_shells : 0;
		if (ms > 120000) {
			least = TP_MIN(least, d.warm_target);
			most = TP_MAX(most, d.warm_target);
		}
	}
	cr_assert_eq(missed, 0);
	cr_assert_eq(drops, 0, "it starts and drops in turns");
	cr_assert_eq(least, most, "the target swings from %u to %u", least, most);
}

Test(policy, time_far_ahead)
{
	struct tp_policy_stock stock = {.warm = 8, .shells = 4};
	uint64_t century = UINT64_C(100) * 365 * 24 * 3600 * SECOND;

	claim(100, START);
	tp_policy_failed(&policy, &config, 1, START);
	struct tp_policy_decision d = decide(&stock, START + century);
	cr_assert_eq(d.warm_target, 1);
	cr_assert_eq(d.drop_warm, 7);

	/* Up to the end of the clock. */
	for (uint64_t left = 10; left > 0; left--) {
		uint64_t now = UINT64_MAX - left * SECOND;
		claim(3, now);
		tp_policy_failed(&policy, &config, UINT16_MAX, now);
		d = decide(&empty, now);
		cr_assert_gt(d.look_again_ns, now);
		cr_assert_geq(d.warm_target, 3);
		cr_assert_not(d.start_warm || d.start_shell);
	}
	decide(&empty, UINT64_MAX);
}

Test(policy, another_window_forgets_rather_than_misplaces)
{
	claim(8, START);
	config.window_ns = TP_POLICY_WINDOW_MIN;
	cr_assert_eq(decide(&empty, START + 5 * SECOND).warm_target, 1);
	config.window_ns = TP_POLICY_WINDOW_MAX;
	cr_assert_leq(decide(&empty, START + 5 * SECOND).warm_target, 8);
}

Test(policy, wrong_configurations_are_told)
{
	cr_assert_null(tp_policy_config_error(&config));
#define WRONG(field, value)                                                                        \
	do {                                                                                       \
		struct tp_policy_config c = tp_policy_defaults;                                    \
		c.field = (value);                                                                 \
		cr_assert_not_null(tp_policy_config_error(&c), #field " " #value);                 \
	} while (0)
	WRONG(warm_min, 9);
	WRONG(warm_max, 1001);
	WRONG(shells_min, 5);
	WRONG(shells_max, 1001);
	WRONG(window_ns, 0);
	WRONG(window_ns, SECOND - 1);
	WRONG(window_ns, UINT64_MAX);
	WRONG(start_slow_ns, 0);
	WRONG(failure_percent, 101);
	WRONG(backoff_min_ns, 0);
	WRONG(backoff_min_ns, 31 * SECOND);
	WRONG(degraded_after, 0);
}

Test(policy, the_ends_of_configuration)
{
	struct tp_policy_config ends[] = {config, config};
	struct tp_policy_stock much = {
		.warm = UINT32_MAX, .shells = UINT32_MAX, .waiting = UINT32_MAX};

	ends[0].warm_min = ends[0].warm_max = ends[0].shells_min = ends[0].shells_max = 0;
	ends[0].window_ns = TP_POLICY_WINDOW_MIN;
	ends[0].waiting_high = 0;
	ends[0].backoff_min_ns = ends[0].backoff_max_ns = 1;
	ends[0].degraded_after = 1;
	ends[1].warm_min = ends[1].warm_max = TP_POLICY_MOST;
	ends[1].shells_min = ends[1].shells_max = TP_POLICY_MOST;
	ends[1].window_ns = TP_POLICY_WINDOW_MAX;
	ends[1].start_slow_ns = ends[1].backoff_min_ns = ends[1].backoff_max_ns = UINT64_MAX;
	ends[1].waiting_high = ends[1].degraded_after = UINT32_MAX;
	for (size_t i = 0; i < TP_ARRAY_LEN(ends); i++) {
		fresh();
		config = ends[i];
		cr_assert_null(tp_policy_config_error(&config));
		claim(2000, START);
		struct tp_policy_decision d = decide(&much, START);
		cr_assert_eq(d.warm_target, config.warm_max);
		cr_assert_eq(d.drop_warm, UINT32_MAX - config.warm_max);
		tp_policy_failed(&policy, &config, UINT16_MAX, START);
		d = decide(&empty, START);
		cr_assert_not(d.start_warm || d.start_shell);
		cr_assert_gt(d.look_again_ns, START);
	}
}

/* --- At random --- */

static uint64_t chance_state;

static uint64_t chance(uint64_t below)
{
	chance_state = chance_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (chance_state >> 33) % below;
}

static struct tp_policy_config any_config(void)
{
	struct tp_policy_config c = {
		.warm_min = (unsigned int)chance(10),
		.shells_min = (unsigned int)chance(10),
		.window_ns = TP_POLICY_WINDOW_MIN + chance(1000) * SECOND,
		.waiting_high = (unsigned int)chance(20),
		.start_slow_ns = 1 + chance(3 * SECOND),
		.failure_percent = (unsigned int)chance(101),
		.backoff_min_ns = 1 + chance(SECOND),
		.degraded_after = 1 + (unsigned int)chance(10),
	};

	c.warm_max = c.warm_min + (unsigned int)chance(20);
	c.shells_max = c.shells_min + (unsigned int)chance(20);
	c.backoff_max_ns = c.backoff_min_ns + chance(60 * SECOND);
	return c;
}

static struct tp_policy_stock any_stock(void)
{
	return (struct tp_policy_stock){
		.warm = (unsigned int)chance(30),
		.shells = (unsigned int)chance(30),
		.starting_warm = (unsigned int)chance(4),
		.starting_shells = (unsigned int)chance(4),
		.waiting = (unsigned int)chance(30),
		.pressure = chance(5) == 0,
		.nothing = chance(20) == 0,
	};
}

static void check(const struct tp_policy_stock *s, const struct tp_policy_decision *d,
	uint64_t now_ns, uint64_t seed)
{
	unsigned int low = s->nothing ? 0 : config.warm_min;

	cr_assert_geq(d->warm_target, low, "seed %ju", (uintmax_t)seed);
	cr_assert_leq(d->warm_target, config.warm_max, "seed %ju", (uintmax_t)seed);
	cr_assert_leq(d->shell_target, config.shells_max, "seed %ju", (uintmax_t)seed);
	cr_assert(!s->pressure || d->warm_target <= config.warm_min, "seed %ju", (uintmax_t)seed);
	cr_assert(!(d->start_warm && d->start_shell), "seed %ju", (uintmax_t)seed);
	cr_assert(!d->start_warm || s->warm + s->starting_warm < d->warm_target, "seed %ju",
		(uintmax_t)seed);
	cr_assert(!d->start_shell || s->shells + s->starting_shells < d->shell_target, "seed %ju",
		(uintmax_t)seed);
	cr_assert(!(d->start_warm && d->drop_warm), "seed %ju", (uintmax_t)seed);
	cr_assert(d->drop_warm == 0 || s->warm - d->drop_warm == d->warm_target, "seed %ju",
		(uintmax_t)seed);
	cr_assert(d->drop_shells == 0 || s->shells - d->drop_shells == d->shell_target, "seed %ju",
		(uintmax_t)seed);
	cr_assert(!(d->start_warm || d->start_shell) || now_ns >= policy.not_before_ns,
		"a start during backoff, seed %ju", (uintmax_t)seed);
	cr_assert_gt(d->look_again_ns, now_ns, "seed %ju", (uintmax_t)seed);
}

Test(policy, properties)
{
	for (uint64_t seed = 0; seed < 400; seed++) {
		uint64_t now = START;
		chance_state = seed;
		fresh();
		config = any_config();
		cr_assert_null(tp_policy_config_error(&config));
		for (int step = 0; step < 300; step++) {
			struct tp_policy_stock stock = any_stock();
			struct tp_policy_decision d, again;
			now += chance(3) ? chance(SECOND) : chance(2 * config.window_ns);
			switch (chance(4)) {
			case 0:
				claim((unsigned int)chance(20), now);
				break;
			case 1:
				tp_policy_started(&policy, &config, chance(5 * SECOND), now);
				break;
			case 2:
				tp_policy_failed(&policy, &config, (uint16_t)chance(65536), now);
				break;
			default:
				break;
			}
			d = decide(&stock, now);
			check(&stock, &d, now, seed);
			again = decide(&stock, now);
			cr_assert_eq(d.warm_target, again.warm_target);
			cr_assert_eq(d.look_again_ns, again.look_again_ns);
		}
	}
}
