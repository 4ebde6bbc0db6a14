/* SPDX-License-Identifier: Apache-2.0 */
/* Latencies of the last hour and the last day. */
#include "service/latency.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "service/service_priv.h"

#define BUCKETS	   168 /* 0.1 ms * 2^(i/8): to more than three minutes */
#define PER_OCTAVE 8
#define FIRST_US   100.0

struct dist {
	uint64_t count;
	uint64_t sum_us;
	uint64_t max_us;
	uint32_t buckets[BUCKETS];
};

/* What happened in one step. */
struct slot {
	uint64_t step; /* since 1970 */
	uint32_t failures[TP_LATENCY_FAILURES];
	struct dist *kinds[TP_LATENCY_KINDS]; /* owned; NULL: nothing */
};

/* The last hour, or day: the slot of a step is the one at its number modulo their number. */
#define MINUTES	 60
#define QUARTERS 96

struct tmpl {
	struct tmpl *next;
	char *name;
	struct slot minutes[MINUTES];
	struct slot quarters[QUARTERS];
};

struct tp_latency {
	uint64_t since_ns; /* constant */

	pthread_mutex_t lock;

	/* By the lock. */
	struct tmpl *templates; /* in the order in which they came */
	size_t count;
};

struct tp_latency *tp_latency_new(uint64_t now_ns)
{
	struct tp_latency *latency = tp_calloc(1, sizeof(*latency));

	pthread_mutex_init(&latency->lock, NULL);
	latency->since_ns = now_ns;
	return latency;
}

static void clear(struct slot *slot)
{
	for (size_t i = 0; i < TP_LATENCY_KINDS; i++)
		free(slot->kinds[i]);
	*slot = (struct slot){0};
}

struct tp_latency *tp_latency_free(struct tp_latency *latency)
{
	if (!latency)
		return NULL;
	while (latency->templates) {
		struct tmpl *tmpl = latency->templates;
		latency->templates = tmpl->next;
		for (size_t i = 0; i < MINUTES; i++)
			clear(&tmpl->minutes[i]);
		for (size_t i = 0; i < QUARTERS; i++)
			clear(&tmpl->quarters[i]);
		free(tmpl->name);
		free(tmpl);
	}
	pthread_mutex_destroy(&latency->lock);
	free(latency);
	return NULL;
}

/* --- noting; by the lock --- */

static struct tmpl *tmpl_of(struct tp_latency *latency, const char *name)
{
	struct tmpl **at = &latency->templates;

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	if (*at)
		return *at;
	if (latency->count >= TP_LATENCY_TEMPLATES && strcmp(name, "other") != 0)
		return tmpl_of(latency, "other");
	*at = tp_calloc(1, sizeof(**at));
	(*at)->name = tp_strdup(name);
	latency->count++;
	return *at;
}

static uint64_t step_s(enum tp_window window)
{
	return window == TP_WINDOW_HOUR ? 60 : 900;
}

static uint64_t slots_of(enum tp_window window)
{
	return window == TP_WINDOW_HOUR ? MINUTES : QUARTERS;
}

static struct slot *place_of(struct tmpl *tmpl, enum tp_window window, uint64_t step)
{
	struct slot *slots = window == TP_WINDOW_HOUR ? tmpl->minutes : tmpl->quarters;

	return &slots[step % slots_of(window)];
}

/* The slot of the step that NOW_NS is in, emptied if it has been another's. */
static struct slot *slot_now(struct tmpl *tmpl, enum tp_window window, uint64_t now_ns)
{
	uint64_t step = now_ns / TP_NSEC_PER_SEC / step_s(window);
	struct slot *slot = place_of(tmpl, window, step);

	if (slot->step != step) {
		clear(slot);
		slot->step = step;
	}
	return slot;
}

static size_t bucket_of(uint64_t us)
{
	double i = us > FIRST_US ? floor(log2((double)us / FIRST_US) * PER_OCTAVE) : 0;

	return (size_t)TP_MIN(i, (double)(BUCKETS - 1));
}

static double edge_ms(size_t bucket)
{
	return FIRST_US / 1000 * exp2((double)bucket / PER_OCTAVE);
}

void tp_latency_note(struct tp_latency *latency, enum tp_latency_kind kind,
	const char *template_name, uint64_t took_ns, uint64_t now_ns)
{
	uint64_t us = took_ns / TP_NSEC_PER_USEC;

	pthread_mutex_lock(&latency->lock);
	struct tmpl *tmpl = tmpl_of(latency, template_name);
	for (enum tp_window window = TP_WINDOW_HOUR; window <= TP_WINDOW_DAY; window++) {
		struct slot *slot = slot_now(tmpl, window, now_ns);
		if (!slot->kinds[kind])
			slot->kinds[kind] = tp_calloc(1, sizeof(struct dist));
		struct dist *dist = slot->kinds[kind];
		dist->count++;
		dist->sum_us += us;
		dist->max_us = TP_MAX(dist->max_us, us);
		dist->buckets[bucket_of(us)]++;
	}
	pthread_mutex_unlock(&latency->lock);
}

void tp_latency_fail(struct tp_latency *latency, enum tp_latency_failure failure,
	const char *template_name, uint64_t now_ns)
{
	pthread_mutex_lock(&latency->lock);
	struct tmpl *tmpl = tmpl_of(latency, template_name);
	for (enum tp_window window = TP_WINDOW_HOUR; window <= TP_WINDOW_DAY; window++)
		slot_now(tmpl, window, now_ns)->failures[failure]++;
	pthread_mutex_unlock(&latency->lock);
}

/* --- adding up --- */

static void add_dist(struct dist *sum, const struct dist *dist)
{
	if (!dist)
		return;
	sum->count += dist->count;
	sum->sum_us += dist->sum_us;
	sum->max_us = TP_MAX(sum->max_us, dist->max_us);
	for (size_t i = 0; i < BUCKETS; i++)
		sum->buckets[i] += dist->buckets[i];
}

/* Milliseconds, to the microsecond. */
static json_t *ms(double value)
{
	return json_real(round(value * 1000) / 1000);
}

/* Within its bucket evenly; never more than there was. */
static double percentile_ms(const struct dist *dist, double share)
{
	double rank = ceil(share * (double)dist->count);
	double before = 0;
	size_t i = 0;

	while (i + 1 < BUCKETS && before + dist->buckets[i] < rank)
		before += dist->buckets[i++];
	double low = i ? edge_ms(i) : 0;
	double in = dist->buckets[i] ? (rank - before) / dist->buckets[i] : 1;
	return TP_MIN(low + (edge_ms(i + 1) - low) * in, (double)dist->max_us / 1000);
}

static json_t *percentile(const struct dist *dist, double share)
{
	return dist->count ? ms(percentile_ms(dist, share)) : json_null();
}

static json_t *dist_json(const struct dist *dist)
{
	json_t *buckets = json_array();
	bool any = dist->count > 0;

	for (size_t i = 0; i < BUCKETS; i++) {
		if (dist->buckets[i])
			json_array_append_new(buckets, json_pack("[o, I]", ms(edge_ms(i + 1)),
							       (json_int_t)dist->buckets[i]));
	}
	return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "count",
		(json_int_t)dist->count, "mean_ms",
		any ? ms((double)dist->sum_us / (double)dist->count / 1000) : json_null(), "p50_ms",
		percentile(dist, 0.5), "p90_ms", percentile(dist, 0.9), "p95_ms",
		percentile(dist, 0.95), "p99_ms", percentile(dist, 0.99), "max_ms",
		any ? ms((double)dist->max_us / 1000) : json_null(), "buckets", buckets);
}

/* What happened to one template, or to all, in one step or in all of them. */
struct sums {
	struct dist kinds[TP_LATENCY_KINDS];
	uint64_t failures[TP_LATENCY_FAILURES];
};

/* ONLY NULL: all templates. */
static void add_step(const struct tp_latency *latency, const struct tmpl *only,
	enum tp_window window, uint64_t step, struct sums *sums)
{
	for (struct tmpl *tmpl = latency->templates; tmpl; tmpl = tmpl->next) {
		const struct slot *slot = place_of(tmpl, window, step);
		if ((only && tmpl != only) || slot->step != step)
			continue;
		for (size_t i = 0; i < TP_LATENCY_KINDS; i++)
			add_dist(&sums->kinds[i], slot->kinds[i]);
		for (size_t i = 0; i < TP_LATENCY_FAILURES; i++)
			sums->failures[i] += slot->failures[i];
	}
}

/* Claims, wherever they were served from. */
static void add_claims(const struct sums *sums, struct dist *claims)
{
	for (size_t i = TP_LATENCY_WARM; i <= TP_LATENCY_SPAWN; i++)
		add_dist(claims, &sums->kinds[i]);
}

static void append(json_t *series, const char *name, json_t *value)
{
	json_array_append_new(json_object_get(series, name), value);
}

static json_t *count_of(const struct sums *sums, enum tp_latency_kind kind)
{
	return json_integer((json_int_t)sums->kinds[kind].count);
}

static void append_step(json_t *series, uint64_t at_s, const struct sums *sums)
{
	struct dist claims = {0};

	add_claims(sums, &claims);
	append(series, "at", json_integer((json_int_t)at_s * 1000));
	append(series, "warm", count_of(sums, TP_LATENCY_WARM));
	append(series, "shell", count_of(sums, TP_LATENCY_SHELL));
	append(series, "spawn", count_of(sums, TP_LATENCY_SPAWN));
	append(series, "resumes", count_of(sums, TP_LATENCY_RESUME));
	append(series, "parks", count_of(sums, TP_LATENCY_PARK));
	append(series, "claim_p95_ms", percentile(&claims, 0.95));
	append(series, "resume_p95_ms", percentile(&sums->kinds[TP_LATENCY_RESUME], 0.95));
	append(series, "park_p95_ms", percentile(&sums->kinds[TP_LATENCY_PARK], 0.95));
}

static void put_totals(json_t *view, const struct sums *sums)
{
	struct dist claims = {0};

	add_claims(sums, &claims);
	json_object_set_new(view, "claims",
		json_pack("{s:o, s:o, s:o}", "warm", count_of(sums, TP_LATENCY_WARM), "shell",
			count_of(sums, TP_LATENCY_SHELL), "spawn",
			count_of(sums, TP_LATENCY_SPAWN)));
	json_object_set_new(view, "hit_rate",
		claims.count ? json_real((double)sums->kinds[TP_LATENCY_WARM].count /
					 (double)claims.count)
			     : json_null());
	json_object_set_new(view, "failures",
		json_pack("{s:I, s:I, s:I}", "claim",
			(json_int_t)sums->failures[TP_LATENCY_FAILED_CLAIM], "resume",
			(json_int_t)sums->failures[TP_LATENCY_FAILED_RESUME], "park",
			(json_int_t)sums->failures[TP_LATENCY_FAILED_PARK]));
	json_object_set_new(view, "claim", dist_json(&claims));
	json_object_set_new(view, "resume", dist_json(&sums->kinds[TP_LATENCY_RESUME]));
	json_object_set_new(view, "park", dist_json(&sums->kinds[TP_LATENCY_PARK]));
	json_object_set_new(view, "checkpoint", dist_json(&sums->kinds[TP_LATENCY_CHECKPOINT]));
}

static json_t *view_of(const struct tp_latency *latency, const struct tmpl *only,
	enum tp_window window, uint64_t now_ns)
{
	uint64_t last = now_ns / TP_NSEC_PER_SEC / step_s(window);
	uint64_t first = last - (slots_of(window) - 1);
	TP_FREE struct sums *all = tp_calloc(1, sizeof(*all));
	json_t *view = json_object();
	json_t *series = json_pack("{s:[], s:[], s:[], s:[], s:[], s:[], s:[], s:[], s:[]}", "at",
		"warm", "shell", "spawn", "resumes", "parks", "claim_p95_ms", "resume_p95_ms",
		"park_p95_ms");

	if (only)
		json_object_set_new(view, "name", json_string(only->name));
	/* Nothing is known of what was before. */
	first = TP_MAX(first, latency->since_ns / TP_NSEC_PER_SEC / step_s(window));
	for (uint64_t step = first; step <= last; step++) {
		TP_FREE struct sums *sums = tp_calloc(1, sizeof(*sums));
		add_step(latency, only, window, step, sums);
		append_step(series, step * step_s(window), sums);
		add_step(latency, only, window, step, all);
	}
	put_totals(view, all);
	json_object_set_new(view, "series", series);
	return view;
}

json_t *tp_latency_json(struct tp_latency *latency, enum tp_window window, uint64_t now_ns)
{
	uint64_t length_ns = slots_of(window) * step_s(window) * TP_NSEC_PER_SEC;
	uint64_t from_ns = TP_MAX(latency->since_ns, now_ns > length_ns ? now_ns - length_ns : 0);
	json_t *list = json_array();

	pthread_mutex_lock(&latency->lock);
	for (const struct tmpl *tmpl = latency->templates; tmpl; tmpl = tmpl->next)
		json_array_append_new(list, view_of(latency, tmpl, window, now_ns));
	json_t *all = view_of(latency, NULL, window, now_ns);
	pthread_mutex_unlock(&latency->lock);
	return json_pack("{s:s, s:I, s:o, s:o, s:o, s:o}", "window", tp_window_name(window),
		"step_s", (json_int_t)step_s(window), "from", tp_time_json(from_ns), "now",
		tp_time_json(now_ns), "templates", list, "all", all);
}
