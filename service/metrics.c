/* SPDX-License-Identifier: Apache-2.0 */
/* Counting, and the text of what was counted. scrape.c has what is asked for at that moment. */
#include "service/metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "service/latency.h"
#include "service/service_priv.h"

enum kind {
	COUNTER,
	GAUGE,
	HISTOGRAM,
};

static const char *const kind_names[] = {
	[COUNTER] = "counter",
	[GAUGE] = "gauge",
	[HISTOGRAM] = "histogram",
};

static const struct family {
	enum kind kind;
	const char *name;
	const char *help;
	const char *labels[TP_METRIC_LABELS];
} families[] = {
	[TP_FAMILY_CLAIM] = {HISTOGRAM, "torpor_claim_duration_seconds",
		"From a request for a session to its answer.", {"template", "source"}},
	[TP_FAMILY_RESUME] = {HISTOGRAM, "torpor_resume_duration_seconds",
		"From a request to resume to its answer.", {"template", "source"}},
	[TP_FAMILY_PARK] = {HISTOGRAM, "torpor_park_duration_seconds",
		"From a request to park to its answer.", {"template"}},
	[TP_FAMILY_CHECKPOINT] = {HISTOGRAM, "torpor_checkpoint_duration_seconds",
		"From a request for a checkpoint to its answer.", {"template"}},
	[TP_FAMILY_COMMIT] = {HISTOGRAM, "torpor_commit_duration_seconds",
		"Waiting until records and audit log are durable.", {NULL}},
	[TP_FAMILY_REQUEST_TIME] = {HISTOGRAM, "torpor_request_duration_seconds",
		"HTTP requests, streams left out.", {"route"}},
	[TP_FAMILY_REQUESTS] = {COUNTER, "torpor_requests_total", "HTTP requests answered.",
		{"route", "status"}},
	[TP_FAMILY_FAILURES] = {COUNTER, "torpor_failures_total",
		"Operations that failed, refusals left out.", {"operation", "template"}},
	[TP_FAMILY_REFUSALS] = {COUNTER, "torpor_refusals_total", "Requests refused.", {"reason"}},
	[TP_FAMILY_KEPT] = {COUNTER, "torpor_keeper_actions_total",
		"What was done to sessions unasked: parked, ended, restored.", {"why"}},
	[TP_FAMILY_SESSIONS] = {GAUGE, "torpor_sessions", "Sessions by state.", {"state"}},
	[TP_FAMILY_STOCK] = {GAUGE, "torpor_pool_stock", "Guests that wait.", {"template", "kind"}},
	[TP_FAMILY_TARGET] = {GAUGE, "torpor_pool_target", "Guests that should wait.",
		{"template", "kind"}},
	[TP_FAMILY_STARTING] = {GAUGE, "torpor_pool_starting", "Guests being started for stock.",
		{"template"}},
	[TP_FAMILY_SERVED] = {COUNTER, "torpor_pool_served_total", "Starts by what served them.",
		{"template", "source"}},
	[TP_FAMILY_START_FAILURES] = {COUNTER, "torpor_pool_start_failures_total",
		"Starts that failed.", {"template"}},
	[TP_FAMILY_DEAF] = {COUNTER, "torpor_pool_deaf_total",
		"Guests that waited and were ended because they didn't answer.", {"template"}},
	[TP_FAMILY_DEGRADED] = {GAUGE, "torpor_pool_degraded",
		"1 while the template's starts keep failing.", {"template"}},
	[TP_FAMILY_QUEUE] = {GAUGE, "torpor_pool_queue", "Claims that wait for a slot.", {NULL}},
	[TP_FAMILY_MEMORY] = {GAUGE, "torpor_memory_bytes",
		"The host's budget, what is charged to it, and the bases' part of that.", {"what"}},
	[TP_FAMILY_MEMORY_AVAILABLE] = {GAUGE, "torpor_memory_available_bytes",
		"What the host has available.", {NULL}},
	[TP_FAMILY_IMAGE_BYTES] = {GAUGE, "torpor_image_bytes", "Parked sessions and checkpoints.",
		{NULL}},
	[TP_FAMILY_PRESSURE] = {GAUGE, "torpor_memory_pressure",
		"0: none; 1: less stock; 2: no stock; 3: idle sessions are parked.", {NULL}},
	[TP_FAMILY_EVENTS] = {COUNTER, "torpor_events_last_id", "Id of the newest event.", {NULL}},
	[TP_FAMILY_CHANGES] = {COUNTER, "torpor_records_changes_total",
		"Changes of the records that are durable.", {NULL}},
	[TP_FAMILY_COMMITS] = {COUNTER, "torpor_records_commits_total",
		"Syncs of the records that these shared.", {NULL}},
	[TP_FAMILY_AUDITED] = {COUNTER, "torpor_audit_entries_total",
		"Entries of the audit log that are durable.", {NULL}},
	[TP_FAMILY_AUDIT_LOST] = {COUNTER, "torpor_audit_lost_total",
		"Entries that could not be written.", {NULL}},
	[TP_FAMILY_RESIDENT] = {GAUGE, "torpor_process_resident_bytes", "torpord's own memory.",
		{NULL}},
	[TP_FAMILY_FDS] = {GAUGE, "torpor_process_open_fds", "torpord's descriptors.", {NULL}},
	[TP_FAMILY_STARTED] = {GAUGE, "torpor_process_start_time_seconds",
		"When the service was opened, since the epoch.", {NULL}},
};

static_assert(TP_ARRAY_LEN(families) == TP_FAMILY_COUNT, "every family is described");

/* Upper bounds in seconds, as text and number. */
static const struct {
	const char *text;
	uint64_t ns;
} buckets[] = {
	{"0.001", 1000000},
	{"0.0025", 2500000},
	{"0.005", 5000000},
	{"0.01", 10000000},
	{"0.025", 25000000},
	{"0.05", 50000000},
	{"0.1", 100000000},
	{"0.25", 250000000},
	{"0.5", 500000000},
	{"1", 1000000000},
	{"2.5", 2500000000},
	{"5", 5000000000},
	{"10", 10000000000},
	{"30", 30000000000},
	{"60", 60000000000},
};

struct series {
	struct series *next;
	char *values[TP_METRIC_LABELS]; /* NULL where the family has fewer */
	uint64_t count;
	uint64_t sum_ns;
	uint64_t under[TP_ARRAY_LEN(buckets)]; /* observations in that bucket alone */
};

struct tp_service_metrics {
	uint64_t since_ns; /* constant */

	/* By the lock. */
	pthread_mutex_t lock;
	struct {
		struct series *first; /* in the order of their first use */
		size_t count;
	} families[TP_FAMILY_COUNT];
};

struct tp_service_metrics *tp_metrics_new(void)
{
	struct tp_service_metrics *metrics = tp_calloc(1, sizeof(*metrics));

	pthread_mutex_init(&metrics->lock, NULL);
	metrics->since_ns = tp_realtime_ns();
	return metrics;
}

uint64_t tp_metrics_since(const struct tp_service_metrics *metrics)
{
	return metrics->since_ns;
}

struct tp_service_metrics *tp_metrics_free(struct tp_service_metrics *metrics)
{
	if (!metrics)
		return NULL;
	for (size_t i = 0; i < TP_FAMILY_COUNT; i++) {
		while (metrics->families[i].first) {
			struct series *series = metrics->families[i].first;
			metrics->families[i].first = series->next;
			for (size_t l = 0; l < TP_METRIC_LABELS; l++)
				free(series->values[l]);
			free(series);
		}
	}
	pthread_mutex_destroy(&metrics->lock);
	free(metrics);
	return NULL;
}

/* --- counting --- */

static bool has_values(const struct series *series, const char *const values[TP_METRIC_LABELS])
{
	for (size_t i = 0; i < TP_METRIC_LABELS; i++) {
		if (series->values[i] && strcmp(series->values[i], values[i]) != 0)
			return false;
	}
	return true;
}

/* By the lock. */
static struct series *series_of(
	struct tp_service_metrics *metrics, enum tp_family family, const char *a, const char *b)
{
	const struct family *described = &families[family];
	struct series **at = &metrics->families[family].first;
	const char *values[TP_METRIC_LABELS] = {a ? a : "", b ? b : ""};

	while (*at && !has_values(*at, values))
		at = &(*at)->next;
	if (*at)
		return *at;
	if (described->labels[0] && metrics->families[family].count >= TP_METRICS_SERIES &&
		strcmp(values[0], "other") != 0)
		return series_of(metrics, family, "other", "other");
	*at = tp_calloc(1, sizeof(**at));
	for (size_t i = 0; i < TP_METRIC_LABELS; i++)
		(*at)->values[i] = described->labels[i] ? tp_strdup(values[i]) : NULL;
	metrics->families[family].count++;
	return *at;
}

void tp_metrics_count(struct tp_service_metrics *metrics, enum tp_family family,
	const char *value_a, const char *value_b)
{
	assert(families[family].kind == COUNTER);
	pthread_mutex_lock(&metrics->lock);
	series_of(metrics, family, value_a, value_b)->count++;
	pthread_mutex_unlock(&metrics->lock);
}

void tp_metrics_observe(struct tp_service_metrics *metrics, enum tp_family family,
	const char *value_a, const char *value_b, uint64_t took_ns)
{
	size_t i = 0;

	assert(families[family].kind == HISTOGRAM);
	while (i < TP_ARRAY_LEN(buckets) && took_ns > buckets[i].ns)
		i++;
	pthread_mutex_lock(&metrics->lock);
	struct series *series = series_of(metrics, family, value_a, value_b);
	series->count++;
	series->sum_ns += took_ns;
	if (i < TP_ARRAY_LEN(buckets))
		series->under[i]++;
	pthread_mutex_unlock(&metrics->lock);
}

/* --- the text --- */

static void put(struct tp_buf *out, const char *fmt, ...) TP_PRINTF(2, 3);
static void put(struct tp_buf *out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	TP_FREE char *text = tp_vasprintf(fmt, ap);
	va_end(ap);
	tp_buf_put(out, text, strlen(text));
}

/* As the format wants it: backslash, quote and newline escaped. */
static void put_value(struct tp_buf *out, const char *value)
{
	for (const char *c = value; *c; c++) {
		if (*c == '\n')
			tp_buf_put(out, "\\n", 2);
		else if (*c == '\\' || *c == '"')
			put(out, "\\%c", *c);
		else
			tp_buf_put(out, c, 1);
	}
}

/* {a="...",b="...",le="..."}, or nothing where there is no label. LE may be NULL. */
static void put_labels(
	struct tp_buf *out, enum tp_family family, const char *const *values, const char *le)
{
	const char *separator = "{";

	for (size_t i = 0; i < TP_METRIC_LABELS && families[family].labels[i]; i++) {
		put(out, "%s%s=\"", separator, families[family].labels[i]);
		put_value(out, values[i] ? values[i] : "");
		put(out, "\"");
		separator = ",";
	}
	if (le)
		put(out, "%sle=\"%s\"", separator, le);
	if (le || families[family].labels[0])
		put(out, "}");
}

void tp_metric_head(struct tp_buf *out, enum tp_family family)
{
	const struct family *f = &families[family];

	put(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, kind_names[f->kind]);
}

void tp_metric_sample(struct tp_buf *out, enum tp_family family, const char *value_a,
	const char *value_b, double value)
{
	const char *values[TP_METRIC_LABELS] = {value_a, value_b};

	put(out, "%s", families[family].name);
	put_labels(out, family, values, NULL);
	put(out, " %.17g\n", value);
}

static void put_histogram(struct tp_buf *out, enum tp_family family, const struct series *series)
{
	const char *name = families[family].name;
	const char *const *values = (const char *const *)series->values;
	uint64_t so_far = 0;

	for (size_t i = 0; i <= TP_ARRAY_LEN(buckets); i++) {
		bool last = i == TP_ARRAY_LEN(buckets);
		so_far = last ? series->count : so_far + series->under[i];
		put(out, "%s_bucket", name);
		put_labels(out, family, values, last ? "+Inf" : buckets[i].text);
		put(out, " %ju\n", (uintmax_t)so_far);
	}
	put(out, "%s_sum", name);
	put_labels(out, family, values, NULL);
	put(out, " %.9f\n%s_count", (double)series->sum_ns / (double)TP_NSEC_PER_SEC, name);
	put_labels(out, family, values, NULL);
	put(out, " %ju\n", (uintmax_t)series->count);
}

void tp_metrics_write(struct tp_service_metrics *metrics, struct tp_buf *out)
{
	pthread_mutex_lock(&metrics->lock);
	for (enum tp_family family = 0; family < TP_FAMILY_SESSIONS; family++) {
		tp_metric_head(out, family);
		for (const struct series *series = metrics->families[family].first; series;
			series = series->next) {
			if (families[family].kind == HISTOGRAM)
				put_histogram(out, family, series);
			else
				tp_metric_sample(out, family, series->values[0], series->values[1],
					(double)series->count);
		}
	}
	pthread_mutex_unlock(&metrics->lock);
}

/* --- the service's --- */

static const struct {
	const char *name;
	enum tp_family family;
} measured[] = {
	[TP_MEASURED_CLAIM] = {"claim", TP_FAMILY_CLAIM},
	[TP_MEASURED_RESUME] = {"resume", TP_FAMILY_RESUME},
	[TP_MEASURED_PARK] = {"park", TP_FAMILY_PARK},
	[TP_MEASURED_CHECKPOINT] = {"checkpoint", TP_FAMILY_CHECKPOINT},
	[TP_MEASURED_COMMIT] = {"commit", TP_FAMILY_COMMIT},
};

static_assert(TP_ARRAY_LEN(measured) == TP_MEASURED_COUNT, "all that is measured has a family");

static_assert(TP_MEASURED_CLAIM == (int)TP_LATENCY_FAILED_CLAIM &&
		      TP_MEASURED_RESUME == (int)TP_LATENCY_FAILED_RESUME &&
		      TP_MEASURED_PARK == (int)TP_LATENCY_FAILED_PARK,
	"failures are counted as what is measured");

/* TP_LATENCY_KINDS: it isn't among what the last hour is shown of. */
static enum tp_latency_kind kind_of(enum tp_measured what, const char *source)
{
	static const enum tp_latency_kind claims[] = {
		[TORPOR_SOURCE_SPAWN] = TP_LATENCY_SPAWN,
		[TORPOR_SOURCE_SHELL] = TP_LATENCY_SHELL,
		[TORPOR_SOURCE_WARM] = TP_LATENCY_WARM,
	};

	switch (what) {
	case TP_MEASURED_CLAIM:
		for (size_t i = 0; i < TP_ARRAY_LEN(claims); i++) {
			if (strcmp(source, torpor_source_name((enum torpor_source)i)) == 0)
				return claims[i];
		}
		return TP_LATENCY_KINDS;
	case TP_MEASURED_RESUME:
		return TP_LATENCY_RESUME;
	case TP_MEASURED_PARK:
		return TP_LATENCY_PARK;
	case TP_MEASURED_CHECKPOINT:
		return TP_LATENCY_CHECKPOINT;
	default:
		return TP_LATENCY_KINDS;
	}
}

void tp_measure(struct tp_service *service, enum tp_measured what, const char *template_name,
	const char *source, uint64_t took_ns)
{
	tp_metrics_observe(service->metrics, measured[what].family, template_name, source, took_ns);
	enum tp_latency_kind kind = kind_of(what, source);
	if (kind != TP_LATENCY_KINDS)
		tp_latency_note(service->latency, kind, template_name, took_ns, tp_realtime_ns());
}

void tp_count_failure(struct tp_service *service, enum tp_measured what, const char *template_name)
{
	tp_metrics_count(service->metrics, TP_FAMILY_FAILURES, measured[what].name, template_name);
	if (what <= TP_MEASURED_PARK)
		tp_latency_fail(service->latency, (enum tp_latency_failure)what, template_name,
			tp_realtime_ns());
}

void tp_count_kept(struct tp_service *service, const char *why)
{
	tp_metrics_count(service->metrics, TP_FAMILY_KEPT, why, NULL);
}

void tp_service_count_refusal(struct tp_service *service, const char *reason)
{
	tp_metrics_count(service->metrics, TP_FAMILY_REFUSALS, reason, NULL);
}

void tp_service_count_request(
	struct tp_service *service, const char *route, int status, uint64_t took_ns)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", status);
	tp_metrics_count(service->metrics, TP_FAMILY_REQUESTS, route, text);
	tp_metrics_observe(service->metrics, TP_FAMILY_REQUEST_TIME, route, NULL, took_ns);
}
