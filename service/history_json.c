/* SPDX-License-Identifier: Apache-2.0 */
/* The history as docs/API.md shows it: columns, as plots want them. */
#include <string.h>

#include "base/mem.h"
#include "service/history_priv.h"
#include "service/service_priv.h"

const char *tp_window_name(enum tp_window window)
{
	return window == TP_WINDOW_HOUR ? "hour" : "day";
}

uint64_t tp_window_step_s(enum tp_window window)
{
	return window == TP_WINDOW_HOUR ? TP_HISTORY_STEP_S : TP_HISTORY_COARSE_S;
}

uint64_t tp_window_ns(enum tp_window window)
{
	return (window == TP_WINDOW_HOUR ? UINT64_C(3600) : UINT64_C(86400)) * TP_NSEC_PER_SEC;
}

/* How far back it goes. */
static uint64_t begin_of(enum tp_window window, uint64_t since_ns, uint64_t now_ns)
{
	uint64_t length_ns = tp_window_ns(window);

	return TP_MAX(since_ns, now_ns > length_ns ? now_ns - length_ns : 0);
}

static json_t *frame(enum tp_window window, uint64_t from_ns, uint64_t now_ns)
{
	return json_pack("{s:s, s:I, s:o, s:o}", "window", tp_window_name(window), "step_s",
		(json_int_t)tp_window_step_s(window), "from", tp_time_json(from_ns), "now",
		tp_time_json(now_ns));
}

static void append(json_t *columns, const char *name, json_t *value)
{
	json_array_append_new(json_object_get(columns, name), value);
}

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static json_t *at_ms(uint32_t at_s)
{
	return number((uint64_t)at_s * 1000);
}

/* A step that only begins before FROM_NS belongs to it. */
static bool is_since(uint32_t at_s, uint64_t from_ns, uint64_t step_s)
{
	return (at_s + step_s) * TP_NSEC_PER_SEC > from_ns;
}

static json_t *percent(double value)
{
	if (value < 0)
		return json_null();
	return json_real((double)(int64_t)(value * 100 + 0.5) / 100);
}

/* --- a session --- */

static json_t *samples_json(const struct entry *entry, enum tp_window window, uint64_t from_ns)
{
	json_t *columns = json_pack(
		"{s:[], s:[], s:[], s:[]}", "at", "cpu_percent", "private_bytes", "shared_bytes");
	const struct tp_ring *ring = window == TP_WINDOW_HOUR ? &entry->fine : &entry->coarse;

	for (uint32_t i = 0; i < ring->n; i++) {
		const struct point *point = tp_ring_at(ring, i);
		if (!is_since(point->at_s, from_ns, tp_window_step_s(window)))
			continue;
		append(columns, "at", at_ms(point->at_s));
		append(columns, "cpu_percent", percent(point->cpu_percent));
		append(columns, "private_bytes", number(point->private_kib * (uint64_t)TP_KIB));
		append(columns, "shared_bytes", number(point->shared_kib * (uint64_t)TP_KIB));
	}
	return columns;
}

/* From the one that held at FROM_NS on. */
static json_t *states_json(const struct entry *entry, uint64_t from_ns)
{
	json_t *list = json_array();
	uint32_t first = 0;

	for (uint32_t i = 0; i < entry->states.n; i++) {
		const struct state_point *point = tp_ring_at(&entry->states, i);
		if (point->at_ns <= from_ns)
			first = i;
	}
	for (uint32_t i = first; i < entry->states.n; i++) {
		const struct state_point *point = tp_ring_at(&entry->states, i);
		json_array_append_new(list,
			json_pack("{s:o, s:s, s:s?}", "at", tp_time_json(point->at_ns), "state",
				tp_state_name(point->state), "reason", point->reason));
	}
	return list;
}

static json_t *operations_json(const struct entry *entry, uint64_t from_ns)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < entry->operations.n; i++) {
		const struct operation_point *point = tp_ring_at(&entry->operations, i);
		if (point->at_ns < from_ns)
			continue;
		json_array_append_new(list,
			json_pack("{s:o, s:s, s:o, s:s?, s:o, s:s?}", "at",
				tp_time_json(point->at_ns), "op", point->op, "took_ms",
				tp_ms_json(point->took_ns), "source", point->source, "image_bytes",
				point->image_bytes ? number(point->image_bytes) : json_null(),
				"name", point->name));
	}
	return list;
}

json_t *tp_history_session_json(
	struct tp_history *history, const char *id, enum tp_window window, uint64_t now_ns)
{
	static const struct entry nothing;

	pthread_mutex_lock(&history->lock);
	const struct entry *entry = tp_history_find(history, id);
	uint64_t since_ns = entry ? entry->since_ns : history->since_ns;
	if (!entry)
		entry = &nothing;
	uint64_t from_ns = begin_of(window, since_ns, now_ns);
	json_t *view = frame(window, from_ns, now_ns);
	json_object_set_new(view, "id", json_string(id));
	json_object_set_new(view, "samples", samples_json(entry, window, from_ns));
	json_object_set_new(view, "states", states_json(entry, from_ns));
	json_object_set_new(view, "operations", operations_json(entry, from_ns));
	pthread_mutex_unlock(&history->lock);
	return view;
}

/* --- the host --- */

json_t *tp_history_host_json(struct tp_history *history, enum tp_window window, uint64_t now_ns)
{
	pthread_mutex_lock(&history->lock);
	const struct tp_ring *ring =
		window == TP_WINDOW_HOUR ? &history->host : &history->host_coarse;
	uint64_t from_ns = begin_of(window, history->since_ns, now_ns);
	json_t *view = frame(window, from_ns, now_ns);
	json_t *columns = json_pack("{s:[], s:[], s:[], s:[], s:[], s:[], s:[], s:[], s:[]}", "at",
		"total_bytes", "available_bytes", "sessions_bytes", "bases_bytes", "image_bytes",
		"saved_bytes", "running", "parked");

	for (uint32_t i = 0; i < ring->n; i++) {
		const struct host_point *point = tp_ring_at(ring, i);
		const struct tp_host_sample *sample = &point->sample;
		if (!is_since(point->at_s, from_ns, tp_window_step_s(window)))
			continue;
		append(columns, "at", at_ms(point->at_s));
		append(columns, "total_bytes", number(sample->total_bytes));
		append(columns, "available_bytes", number(sample->available_bytes));
		append(columns, "sessions_bytes", number(sample->sessions_bytes));
		append(columns, "bases_bytes", number(sample->bases_bytes));
		append(columns, "image_bytes", number(sample->image_bytes));
		append(columns, "saved_bytes", number(sample->saved_bytes));
		append(columns, "running", number(sample->running));
		append(columns, "parked", number(sample->parked));
	}
	pthread_mutex_unlock(&history->lock);
	json_object_set_new(view, "samples", columns);
	return view;
}

/* --- a tenant: the sum of its sessions --- */

struct step {
	uint64_t private_kib;
	uint64_t running;
};

/* All points of one look have the same time, so that they can be added up. */
static void add_points(struct step steps[TP_HISTORY_POINTS + 1], const struct tp_ring *ring,
	uint64_t first_s, uint64_t step_s)
{
	for (uint32_t i = 0; i < ring->n; i++) {
		const struct point *point = tp_ring_at(ring, i);
		if (point->at_s < first_s)
			continue;
		uint64_t k = (point->at_s - first_s) / step_s;
		if (k > TP_HISTORY_POINTS)
			continue;
		steps[k].private_kib += point->private_kib;
		steps[k].running++;
	}
}

json_t *tp_history_tenant_json(struct tp_history *history, const char *tenant, const char *session,
	enum tp_window window, uint64_t now_ns)
{
	TP_FREE struct step *steps = tp_calloc(TP_HISTORY_POINTS + 1, sizeof(*steps));
	uint64_t step_s = tp_window_step_s(window);
	uint64_t from_ns = begin_of(window, history->since_ns, now_ns);
	uint64_t first_s = from_ns / TP_NSEC_PER_SEC / step_s * step_s;
	json_t *view = frame(window, from_ns, now_ns);
	json_t *columns = json_pack("{s:[], s:[], s:[]}", "at", "sessions_bytes", "running");

	pthread_mutex_lock(&history->lock);
	for (size_t i = 0; i < HISTORY_BUCKETS; i++) {
		for (const struct entry *at = history->entries[i]; at; at = at->next) {
			if (strcmp(at->tenant, tenant) == 0 &&
				(!session || strcmp(at->id, session) == 0))
				add_points(steps,
					window == TP_WINDOW_HOUR ? &at->fine : &at->coarse, first_s,
					step_s);
		}
	}
	pthread_mutex_unlock(&history->lock);
	uint64_t last =
		(now_ns / TP_NSEC_PER_SEC - TP_MIN(first_s, now_ns / TP_NSEC_PER_SEC)) / step_s;
	/* The newest step may not have been looked at yet. */
	for (uint64_t k = 0; k < last && k <= TP_HISTORY_POINTS; k++) {
		append(columns, "at", number((first_s + k * step_s) * 1000));
		append(columns, "sessions_bytes", number(steps[k].private_kib * TP_KIB));
		append(columns, "running", number(steps[k].running));
	}
	json_object_set_new(view, "samples", columns);
	return view;
}
