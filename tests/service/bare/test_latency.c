/* SPDX-License-Identifier: Apache-2.0 */
/* Latencies of the last hour and the last day. */
#include <stdio.h>
#include <string.h>

#include "bare.h"
#include "base/mem.h"
#include "service/latency.h"

#define S     TP_NSEC_PER_SEC
#define MS    TP_NSEC_PER_MSEC
#define BEGIN (UINT64_C(1800000000) * TP_NSEC_PER_SEC)

static struct tp_latency *latency;

static void set_up(void)
{
	latency = tp_latency_new(BEGIN);
}

static void tear_down(void)
{
	tp_latency_free(latency);
}

TestSuite(latency, .init = set_up, .fini = tear_down);

static json_t *show(enum tp_window window, uint64_t now_s)
{
	return tp_latency_json(latency, window, BEGIN + now_s * S);
}

/* A member of all templates' KIND: "claim", "park" ... */
static double figure(const json_t *view, const char *kind, const char *name)
{
	const json_t *value =
		json_object_get(json_object_get(json_object_get(view, "all"), kind), name);

	cr_assert(json_is_number(value), "%s %s", kind, name);
	return json_number_value(value);
}

static json_int_t sum(const json_t *figures, const char *column)
{
	json_int_t all = 0;
	size_t i;
	json_t *value;

	json_array_foreach (json_object_get(json_object_get(figures, "series"), column), i, value)
		all += json_integer_value(value);
	return all;
}

static void must_be_near(double value, double wanted)
{
	cr_assert(value > wanted / 1.1 && value < wanted * 1.1, "%g, not about %g", value, wanted);
}

Test(latency, percentiles)
{
	/* 1 to 1000 ms, in no order. */
	for (uint64_t i = 0; i < 1000; i++)
		tp_latency_note(
			latency, TP_LATENCY_PARK, "t", (i * 7 % 1000 + 1) * MS, BEGIN + i * S);
	TP_JSON json_t *view = show(TP_WINDOW_HOUR, 1000);

	cr_assert_eq(figure(view, "park", "count"), 1000);
	must_be_near(figure(view, "park", "p50_ms"), 500);
	must_be_near(figure(view, "park", "p90_ms"), 900);
	must_be_near(figure(view, "park", "p95_ms"), 950);
	must_be_near(figure(view, "park", "p99_ms"), 990);
	cr_assert_eq(figure(view, "park", "max_ms"), 1000);
	cr_assert_eq(figure(view, "park", "mean_ms"), 500.5);
	const json_t *parks = json_object_get(json_object_get(view, "all"), "park");
	size_t i;
	json_t *bucket;
	json_int_t all = 0;
	double before = 0;
	json_array_foreach (json_object_get(parks, "buckets"), i, bucket) {
		double edge = json_number_value(json_array_get(bucket, 0));
		cr_assert_gt(edge, before);
		before = edge;
		all += json_integer_value(json_array_get(bucket, 1));
	}
	cr_assert_eq(all, 1000);
	/* Nothing else happened. */
	TP_JSON json_t *none = bare_json(
		"{'count': 0, 'mean_ms': null, 'p50_ms': null, 'p90_ms': null, 'p95_ms': null,"
		" 'p99_ms': null, 'max_ms': null, 'buckets': []}");
	cr_assert(json_equal(json_object_get(json_object_get(view, "all"), "resume"), none));
}

Test(latency, extremes_have_their_buckets)
{
	tp_latency_note(latency, TP_LATENCY_RESUME, "t", 0, BEGIN);
	tp_latency_note(latency, TP_LATENCY_RESUME, "t", 3600 * S, BEGIN);
	TP_JSON json_t *view = show(TP_WINDOW_HOUR, 1);
	cr_assert_eq(figure(view, "resume", "count"), 2);
	cr_assert_eq(figure(view, "resume", "max_ms"), 3600000);
	cr_assert_leq(figure(view, "resume", "p50_ms"), 0.12);
}

Test(latency, claims_by_where_they_were_served_from)
{
	for (int i = 0; i < 3; i++)
		tp_latency_note(latency, TP_LATENCY_WARM, "t", MS, BEGIN);
	tp_latency_note(latency, TP_LATENCY_SPAWN, "t", 100 * MS, BEGIN);
	tp_latency_note(latency, TP_LATENCY_SHELL, "u", 10 * MS, BEGIN);
	tp_latency_fail(latency, TP_LATENCY_FAILED_CLAIM, "u", BEGIN);
	TP_JSON json_t *view = show(TP_WINDOW_HOUR, 1);
	const json_t *all = json_object_get(view, "all");
	const json_t *t = json_array_get(json_object_get(view, "templates"), 0);
	TP_JSON json_t *claims = bare_json("{'warm': 3, 'shell': 1, 'spawn': 1}");
	TP_JSON json_t *failures = bare_json("{'claim': 1, 'resume': 0, 'park': 0}");

	cr_assert(json_equal(json_object_get(all, "claims"), claims));
	cr_assert(json_equal(json_object_get(all, "failures"), failures));
	cr_assert_float_eq(json_number_value(json_object_get(all, "hit_rate")), 0.6, 1e-9);
	cr_assert_eq(figure(view, "claim", "count"), 5);
	cr_assert_str_eq(json_string_value(json_object_get(t, "name")), "t");
	cr_assert_float_eq(json_number_value(json_object_get(t, "hit_rate")), 0.75, 1e-9);
	cr_assert_eq(sum(t, "warm"), 3);
	cr_assert_null(json_object_get(all, "name"));
}

Test(latency, windows_go_on)
{
	/* One a minute, for two days. */
	for (uint64_t i = 0; i < 2 * 1440; i++)
		tp_latency_note(latency, TP_LATENCY_PARK, "t", 10 * MS, BEGIN + i * 60 * S);
	TP_JSON json_t *hour = show(TP_WINDOW_HOUR, 2 * 86400 - 1);
	TP_JSON json_t *day = show(TP_WINDOW_DAY, 2 * 86400 - 1);

	cr_assert_eq(figure(hour, "park", "count"), 60);
	cr_assert_eq(sum(json_object_get(hour, "all"), "parks"), 60);
	cr_assert_eq(figure(day, "park", "count"), 1440);
	const json_t *series = json_object_get(json_object_get(day, "all"), "series");
	cr_assert_eq(json_array_size(json_object_get(series, "at")), 96);
	cr_assert_eq(json_integer_value(json_array_get(json_object_get(series, "parks"), 0)), 15);
	/* And what isn't followed by anything goes by itself. */
	TP_JSON json_t *later = show(TP_WINDOW_HOUR, 2 * 86400 + 1800);
	cr_assert_eq(figure(later, "park", "count"), 29);
	TP_JSON json_t *nothing = show(TP_WINDOW_DAY, 5 * 86400);
	cr_assert_eq(figure(nothing, "park", "count"), 0);
}

Test(latency, nothing_is_shown_of_before_it_began)
{
	TP_JSON json_t *view = show(TP_WINDOW_HOUR, 130);
	const json_t *series = json_object_get(json_object_get(view, "all"), "series");

	cr_assert_eq(json_array_size(json_object_get(series, "at")), 3);
}

Test(latency, templates_are_bounded)
{
	char name[32];

	for (int i = 0; i < 2 * TP_LATENCY_TEMPLATES; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		tp_latency_note(latency, TP_LATENCY_PARK, name, MS, BEGIN);
	}
	TP_JSON json_t *view = show(TP_WINDOW_HOUR, 1);
	const json_t *list = json_object_get(view, "templates");
	const json_t *last = json_array_get(list, TP_LATENCY_TEMPLATES);

	cr_assert_eq(json_array_size(list), TP_LATENCY_TEMPLATES + 1);
	cr_assert_str_eq(json_string_value(json_object_get(last, "name")), "other");
	cr_assert_eq(sum(last, "parks"), TP_LATENCY_TEMPLATES);
	cr_assert_eq(figure(view, "park", "count"), 2 * TP_LATENCY_TEMPLATES);
}
