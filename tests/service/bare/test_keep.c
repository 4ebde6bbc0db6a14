/* SPDX-License-Identifier: Apache-2.0 */
/* What is due to sessions, and what memory pressure comes to, by a clock of the test's own. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/keep.h"

#define S     TP_NSEC_PER_SEC
#define START (1000000 * S) /* of the real clock */

static struct tp_live_brief a_brief(void)
{
	struct tp_live_brief brief = {
		.id = "aaaaaaaaaaaaaaaa",
		.tenant = "alice",
		.state = TP_STATE_RUNNING,
		.pid = 1,
		.active_ns = START,
		.started_ns = START,
	};

	return brief;
}

static struct tp_keep_time at(uint64_t offset_ns)
{
	/* The clocks have nothing to do with each other but their pace. */
	return (struct tp_keep_time){.real_ns = START + offset_ns, .mono_ns = 77 * S + offset_ns};
}

static enum tp_due due(struct tp_kept *kept, const struct tp_live_brief *brief, uint64_t offset_ns,
	uint64_t *wait_out)
{
	struct tp_keep_time time = at(offset_ns);

	return tp_kept_due(kept, brief, &time, wait_out);
}

/* --- time --- */

Test(keep, ttl_is_from_the_start_in_every_state_with_a_process)
{
	struct tp_live_brief brief = a_brief();
	struct tp_kept kept = {0};
	uint64_t wait;

	brief.ttl_s = 60;
	cr_assert_eq(due(&kept, &brief, 59 * S, &wait), TP_DUE_NOTHING);
	cr_assert_eq(wait, S, "waits %ju", (uintmax_t)wait);
	cr_assert_eq(due(&kept, &brief, 60 * S, &wait), TP_DUE_EXPIRED);
	brief.state = TP_STATE_PAUSED;
	cr_assert_eq(due(&kept, &brief, 60 * S, &wait), TP_DUE_EXPIRED);
	brief.state = TP_STATE_PARKING;
	cr_assert_eq(due(&kept, &brief, 60 * S, &wait), TP_DUE_NOTHING);
	/* Parked, and looked at by somebody. */
	brief.state = TP_STATE_PARKED;
	brief.started_ns = 0;
	cr_assert_eq(due(&kept, &brief, 1000000 * S, &wait), TP_DUE_NOTHING);
	brief.started_ns = START;
	brief.state = TP_STATE_RUNNING;
	brief.ttl_s = 0;
	cr_assert_eq(due(&kept, &brief, 1000000 * S, &wait), TP_DUE_NOTHING);
	cr_assert_eq(wait, UINT64_MAX);
}

Test(keep, nothing_is_begun_twice_and_failures_wait_longer_each_time)
{
	struct tp_live_brief brief = a_brief();
	struct tp_kept kept = {.under_way = true};
	uint64_t wait;
	uint64_t last = 0;

	brief.ttl_s = 1;
	cr_assert_eq(due(&kept, &brief, 2 * S, &wait), TP_DUE_NOTHING);
	for (int i = 0; i < 20; i++) {
		tp_kept_done(&kept, true, at(2 * S).mono_ns);
		cr_assert_eq(due(&kept, &brief, 2 * S, &wait), TP_DUE_NOTHING);
		cr_assert_geq(wait, last);
		last = wait;
	}
	cr_assert_eq(last, 600 * S);
	cr_assert_eq(due(&kept, &brief, 2 * S + last, &wait), TP_DUE_EXPIRED);
	tp_kept_done(&kept, false, at(2 * S).mono_ns);
	cr_assert_eq(due(&kept, &brief, 2 * S, &wait), TP_DUE_EXPIRED);
}

Test(keep, lost_comes_before_all_else)
{
	struct tp_live_brief brief = a_brief();
	struct tp_kept kept = {0};
	uint64_t wait;

	brief.ttl_s = 1;
	brief.lost = true;
	cr_assert_eq(due(&kept, &brief, 5 * S, &wait), TP_DUE_LOST);
}

/* --- idleness --- */

/* The steps of a session that is used at START, with 40 s to idle and CPU_PERCENT of load. */
static bool parks(unsigned int cpu_percent)
{
	struct tp_live_brief brief = a_brief();
	struct tp_kept kept = {0};
	uint64_t wait;

	brief.idle_s = 40;
	cr_assert_eq(due(&kept, &brief, 0, &wait), TP_DUE_NOTHING);
	cr_assert_eq(wait, 5 * S);
	cr_assert_eq(due(&kept, &brief, 5 * S, &wait), TP_DUE_MEASURE);
	cr_assert_not(tp_kept_idle(&kept, &brief, 3 * S, START + 5 * S));
	cr_assert_eq(due(&kept, &brief, 39 * S, &wait), TP_DUE_NOTHING);
	cr_assert_eq(wait, S);
	cr_assert_eq(due(&kept, &brief, 40 * S, &wait), TP_DUE_MEASURE);
	return tp_kept_idle(&kept, &brief, 3 * S + 35 * S / 100 * cpu_percent, START + 40 * S);
}

Test(keep, idle_is_unused_and_without_load)
{
	cr_assert(parks(0));
	cr_assert(parks(1));
	cr_assert_not(parks(2));
	cr_assert_not(parks(50));
}

Test(keep, load_before_the_last_use_says_nothing)
{
	struct tp_live_brief brief = a_brief();
	struct tp_kept kept = {.cpu_ns = 0, .cpu_read_ns = START - 10 * S};
	uint64_t wait;

	/* All of a processor up to the last use, nothing since. */
	brief.idle_s = 8;
	cr_assert_eq(due(&kept, &brief, 2 * S, &wait), TP_DUE_MEASURE);
	cr_assert_not(tp_kept_idle(&kept, &brief, 10 * S, START + 2 * S));
	cr_assert_eq(due(&kept, &brief, 8 * S, &wait), TP_DUE_MEASURE);
	cr_assert(tp_kept_idle(&kept, &brief, 10 * S, START + 8 * S));
}

Test(keep, a_loaded_one_is_measured_again_over_a_fresh_period)
{
	struct tp_live_brief brief = a_brief();
	struct tp_kept kept = {0};
	uint64_t wait;

	brief.idle_s = 40;
	tp_kept_idle(&kept, &brief, 0, START + 5 * S);
	cr_assert_not(tp_kept_idle(&kept, &brief, 30 * S, START + 40 * S));
	cr_assert_eq(due(&kept, &brief, 41 * S, &wait), TP_DUE_NOTHING);
	cr_assert_eq(wait, 19 * S);
	cr_assert_eq(due(&kept, &brief, 60 * S, &wait), TP_DUE_MEASURE);
	cr_assert(tp_kept_idle(&kept, &brief, 30 * S, START + 60 * S));
}

Test(keep, commands_pauses_and_never_keep_from_idling)
{
	struct tp_live_brief brief = a_brief();
	struct tp_kept kept = {.cpu_read_ns = START};
	uint64_t wait;

	brief.idle_s = 1;
	brief.execs = 1;
	cr_assert_eq(due(&kept, &brief, 100 * S, &wait), TP_DUE_NOTHING);
	brief.execs = 0;
	brief.state = TP_STATE_PAUSED;
	cr_assert_eq(due(&kept, &brief, 100 * S, &wait), TP_DUE_NOTHING);
	brief.state = TP_STATE_RUNNING;
	brief.idle_s = 0;
	cr_assert_eq(due(&kept, &brief, 100 * S, &wait), TP_DUE_NOTHING);
	brief.idle_s = 1;
	cr_assert_eq(due(&kept, &brief, 100 * S, &wait), TP_DUE_MEASURE);
}

/* --- signs of life --- */

Test(keep, pings_are_spread_and_then_regular)
{
	struct tp_live_brief brief = a_brief();
	unsigned int in_first_half = 0;
	uint64_t wait;

	for (unsigned int i = 0; i < 200; i++) {
		struct tp_kept kept = {0};
		struct tp_keep_time time = at(0);
		snprintf(kept.id, sizeof(kept.id), "session%09u", i);
		time.health_every_ns = 10 * S;
		cr_assert_eq(tp_kept_due(&kept, &brief, &time, &wait), TP_DUE_NOTHING);
		cr_assert_leq(wait, 10 * S);
		in_first_half += wait < 5 * S;
		time.mono_ns += wait;
		cr_assert_eq(tp_kept_due(&kept, &brief, &time, &wait), TP_DUE_PING);
		cr_assert_eq(tp_kept_due(&kept, &brief, &time, &wait), TP_DUE_NOTHING);
		cr_assert_eq(wait, 10 * S);
	}
	cr_assert_gt(in_first_half, 60);
	cr_assert_lt(in_first_half, 140);
}

Test(keep, the_paused_are_not_asked)
{
	struct tp_live_brief brief = a_brief();
	struct tp_kept kept = {.next_ping_ns = 1};
	struct tp_keep_time time = at(100 * S);
	uint64_t wait;

	time.health_every_ns = S;
	brief.state = TP_STATE_PAUSED;
	cr_assert_eq(tp_kept_due(&kept, &brief, &time, &wait), TP_DUE_NOTHING);
	brief.state = TP_STATE_RUNNING;
	time.health_every_ns = 0;
	cr_assert_eq(tp_kept_due(&kept, &brief, &time, &wait), TP_DUE_NOTHING);
}

/* --- without process --- */

Test(keep, the_parked_are_kept_as_long_as_they_should)
{
	struct tp_session_row row = {
		.state = (char[]){"parked"}, .created_ns = START, .changed_ns = START + 10 * S};
	struct tp_timers timers = {.ttl_s = 0, .idle_s = 1, .retention_s = 20};
	uint64_t next;

	cr_assert_not(tp_parked_due(&row, &timers, START + 29 * S, &next));
	cr_assert_eq(next, START + 30 * S);
	cr_assert(tp_parked_due(&row, &timers, START + 30 * S, &next));
	/* How long it may run says nothing about how long it may sleep. */
	timers.ttl_s = 15;
	cr_assert_not(tp_parked_due(&row, &timers, START + 29 * S, &next));
	timers = (struct tp_timers){0};
	cr_assert_not(tp_parked_due(&row, &timers, UINT64_MAX - 1, &next));
	cr_assert_eq(next, UINT64_MAX);
}

/* --- memory --- */

static enum tp_pressure_level step(
	struct tp_pressure *pressure, uint64_t available, double stalled, uint64_t at_s)
{
	struct tp_host_memory memory = {.total = 10000, .available = available, .stalled = stalled};

	return tp_pressure_step(pressure, &memory, 1000, at_s * S + 1);
}

Test(pressure, rises_step_by_step_and_goes_back_slowly)
{
	struct tp_pressure pressure = {0};

	cr_assert_eq(step(&pressure, 1000, 0, 0), TP_PRESSURE_NONE);
	cr_assert_eq(step(&pressure, 999, 0, 1), TP_PRESSURE_LESS);
	cr_assert_eq(step(&pressure, 999, 0, 2), TP_PRESSURE_LESS);
	cr_assert_eq(step(&pressure, 999, 0, 3), TP_PRESSURE_BARE);
	cr_assert_eq(step(&pressure, 999, 0, 5), TP_PRESSURE_PARK);
	cr_assert_eq(step(&pressure, 10, 0, 100), TP_PRESSURE_PARK);
	/* A little more than the reserve isn't enough to give the stock back. */
	cr_assert_eq(step(&pressure, 1200, 0, 200), TP_PRESSURE_PARK);
	cr_assert_eq(step(&pressure, 1250, 0, 300), TP_PRESSURE_PARK);
	cr_assert_eq(step(&pressure, 1250, 0, 309), TP_PRESSURE_PARK);
	cr_assert_eq(step(&pressure, 1250, 0, 310), TP_PRESSURE_BARE);
	cr_assert_eq(step(&pressure, 1250, 0, 311), TP_PRESSURE_BARE);
	/* Not enough for a moment: it begins anew. */
	cr_assert_eq(step(&pressure, 1100, 0, 315), TP_PRESSURE_BARE);
	cr_assert_eq(step(&pressure, 5000, 0, 316), TP_PRESSURE_BARE);
	cr_assert_eq(step(&pressure, 5000, 0, 325), TP_PRESSURE_BARE);
	cr_assert_eq(step(&pressure, 5000, 0, 326), TP_PRESSURE_LESS);
	cr_assert_eq(step(&pressure, 5000, 0, 327), TP_PRESSURE_LESS);
	cr_assert_eq(step(&pressure, 5000, 0, 337), TP_PRESSURE_NONE);
}

Test(pressure, stalls_count_only_where_memory_is_scarce)
{
	struct tp_pressure pressure = {0};

	cr_assert_eq(step(&pressure, 5000, 90, 0), TP_PRESSURE_NONE);
	cr_assert_eq(step(&pressure, 1900, 19, 1), TP_PRESSURE_NONE);
	cr_assert_eq(step(&pressure, 1900, 20, 2), TP_PRESSURE_LESS);
}

Test(pressure, the_idlest_go_first_and_the_working_last)
{
	struct tp_live_brief briefs[4];

	for (int i = 0; i < 4; i++) {
		briefs[i] = a_brief();
		briefs[i].active_ns = START + (uint64_t)i;
	}
	briefs[0].execs = 1;
	briefs[1].state = TP_STATE_PARKING;
	briefs[3].state = TP_STATE_PAUSED;
	cr_assert_eq(tp_idlest(briefs, 4), &briefs[2]);
	briefs[2].lost = true;
	cr_assert_eq(tp_idlest(briefs, 4), &briefs[3]);
	briefs[3].execs = 2;
	cr_assert_eq(tp_idlest(briefs, 4), &briefs[0]);
	cr_assert_null(tp_idlest(briefs, 0));
	cr_assert_null(tp_idlest(&briefs[1], 2));
}

/* --- texts --- */

Test(read, memory)
{
	struct tp_host_memory memory;
	static const char meminfo[] = "MemTotal:       16000 kB\nMemFree:  1 kB\n"
				      "MemAvailable:    4000 kB\nBuffers: 7 kB\n";

	cr_assert_null(tp_memory_parse(meminfo,
		"some avg10=12.34 avg60=0.00 avg300=0.00 total=0\nfull avg10=1.00\n", &memory));
	cr_assert_eq(memory.total, 16000 * TP_KIB);
	cr_assert_eq(memory.available, 4000 * TP_KIB);
	cr_assert_float_eq(memory.stalled, 12.34, 0.001);
	cr_assert_null(tp_memory_parse(meminfo, NULL, &memory));
	cr_assert_eq(memory.stalled, 0);
	struct torpor_error *err =
		tp_memory_parse("MemTotal: 1 kB\nxMemAvailable: 3 kB\n", NULL, &memory);
	cr_assert_not_null(err);
	torpor_error_free(err);
}

Test(read, processor_time_whatever_the_process_is_called)
{
	uint64_t ns;
	uint64_t tick = S / (uint64_t)sysconf(_SC_CLK_TCK);

	cr_assert(tp_cpu_parse("12 (q) x) 1 2 (3) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14", &ns));
	cr_assert_eq(ns, 23 * tick);
	cr_assert_not(tp_cpu_parse("12 (qemu", &ns));
	cr_assert_not(tp_cpu_parse("12 (qemu) S 1 2", &ns));
}
