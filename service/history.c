/* SPDX-License-Identifier: Apache-2.0 */
/* What was noted, and where. */
#include "service/history_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* What wasn't looked at for so long isn't looked at any more. */
#define FRESH_NS (3 * TP_HISTORY_STEP_S * TP_NSEC_PER_SEC)

/* --- making and ending --- */

struct tp_history *tp_history_new(uint64_t now_ns)
{
	struct tp_history *history = tp_calloc(1, sizeof(*history));

	pthread_mutex_init(&history->lock, NULL);
	history->since_ns = now_ns;
	history->host = TP_RING(struct host_point, TP_HISTORY_POINTS);
	history->host_coarse = TP_RING(struct host_point, TP_HISTORY_POINTS);
	history->parks = TP_RING(uint64_t, TP_HISTORY_PARKS);
	return history;
}

static void free_entry(struct entry *entry)
{
	for (uint32_t i = 0; i < entry->states.n; i++)
		free(((struct state_point *)tp_ring_at(&entry->states, i))->reason);
	for (uint32_t i = 0; i < entry->operations.n; i++)
		free(((struct operation_point *)tp_ring_at(&entry->operations, i))->name);
	tp_ring_deinit(&entry->fine);
	tp_ring_deinit(&entry->coarse);
	tp_ring_deinit(&entry->states);
	tp_ring_deinit(&entry->operations);
	free(entry);
}

struct tp_history *tp_history_free(struct tp_history *history)
{
	if (!history)
		return NULL;
	for (size_t i = 0; i < HISTORY_BUCKETS; i++) {
		while (history->entries[i]) {
			struct entry *entry = history->entries[i];
			history->entries[i] = entry->next;
			free_entry(entry);
		}
	}
	tp_ring_deinit(&history->host);
	tp_ring_deinit(&history->host_coarse);
	tp_ring_deinit(&history->parks);
	pthread_mutex_destroy(&history->lock);
	free(history);
	return NULL;
}

/* --- entries; by the lock --- */

static size_t bucket_of(const char *id)
{
	uint32_t hash = 2166136261u;

	for (const char *c = id; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 16777619u;
	return hash % HISTORY_BUCKETS;
}

struct entry *tp_history_find(struct tp_history *history, const char *id)
{
	struct entry *entry = history->entries[bucket_of(id)];

	while (entry && strcmp(entry->id, id) != 0)
		entry = entry->next;
	return entry;
}

static void drop(struct tp_history *history, struct entry *gone)
{
	struct entry **at = &history->entries[bucket_of(gone->id)];

	while (*at != gone)
		at = &(*at)->next;
	*at = gone->next;
	history->count--;
	free_entry(gone);
}

/* Whether its session has a process: then it is looked at in each step. */
static bool has_process(const struct entry *entry, uint64_t now_ns)
{
	return entry->state != TP_STATE_PARKED && entry->state != TP_STATE_ERROR &&
	       now_ns < entry->touched_ns + FRESH_NS;
}

/* The one that is missed least; NULL: all have a process. */
static struct entry *least_needed(struct tp_history *history, uint64_t now_ns)
{
	struct entry *found = NULL;

	for (size_t i = 0; i < HISTORY_BUCKETS; i++) {
		for (struct entry *at = history->entries[i]; at; at = at->next) {
			if (!has_process(at, now_ns) &&
				(!found || at->touched_ns < found->touched_ns))
				found = at;
		}
	}
	return found;
}

/* NULL: there is no room for another. */
static struct entry *entry_of(
	struct tp_history *history, const char *id, const char *tenant, uint64_t now_ns)
{
	struct entry *entry = tp_history_find(history, id);

	if (entry) {
		entry->touched_ns = now_ns;
		return entry;
	}
	if (history->count >= TP_HISTORY_SESSIONS) {
		struct entry *least = least_needed(history, now_ns);
		if (!least)
			return NULL;
		drop(history, least);
	}
	entry = tp_calloc(1, sizeof(*entry));
	snprintf(entry->id, sizeof(entry->id), "%s", id);
	snprintf(entry->tenant, sizeof(entry->tenant), "%s", tenant);
	entry->since_ns = entry->touched_ns = now_ns;
	entry->state = TP_STATE_COUNT;
	entry->fine = TP_RING(struct point, TP_HISTORY_POINTS);
	entry->coarse = TP_RING(struct point, TP_HISTORY_POINTS);
	entry->states = TP_RING(struct state_point, TP_HISTORY_STATES);
	entry->operations = TP_RING(struct operation_point, TP_HISTORY_OPERATIONS);
	struct entry **bucket = &history->entries[bucket_of(id)];
	entry->next = *bucket;
	*bucket = entry;
	history->count++;
	return entry;
}

/* --- states and operations --- */

static void push_state(struct entry *entry, enum tp_state state, const char *reason, uint64_t at_ns)
{
	if (tp_ring_full(&entry->states))
		free(((struct state_point *)tp_ring_at(&entry->states, 0))->reason);
	struct state_point *point = tp_ring_push(&entry->states);
	point->at_ns = at_ns;
	point->state = state;
	point->reason = reason ? tp_strdup(reason) : NULL;
	entry->state = state;
}

/* What its process took when it was seen last. */
static void note_park(struct tp_history *history, struct entry *entry)
{
	const struct point *last = tp_ring_last(&entry->fine);

	if (!last)
		return;
	entry->parked_kib = last->private_kib;
	if (tp_ring_full(&history->parks))
		history->parks_kib -= *(uint64_t *)tp_ring_at(&history->parks, 0);
	*(uint64_t *)tp_ring_push(&history->parks) = last->private_kib;
	history->parks_kib += last->private_kib;
}

static void note_state(struct tp_history *history, struct entry *entry,
	const struct tp_state_note *note, uint64_t now_ns)
{
	if (entry->state == TP_STATE_COUNT && note->before_ns) {
		push_state(entry, note->before, NULL, note->before_ns);
		entry->since_ns = note->before_ns;
	}
	if (entry->state == note->state)
		return;
	if (note->state == TP_STATE_PARKED)
		note_park(history, entry);
	push_state(entry, note->state, note->reason, now_ns);
}

void tp_history_state(struct tp_history *history, const char *id, const char *tenant,
	const struct tp_state_note *note, uint64_t now_ns)
{
	struct entry *entry;

	pthread_mutex_lock(&history->lock);
	if (note->state == TP_STATE_DESTROYED) {
		entry = tp_history_find(history, id);
		if (entry)
			drop(history, entry);
	} else {
		entry = entry_of(history, id, tenant, now_ns);
		if (entry)
			note_state(history, entry, note, now_ns);
	}
	pthread_mutex_unlock(&history->lock);
}

void tp_history_operation(struct tp_history *history, const char *id, const char *tenant,
	const struct tp_operation_note *note, uint64_t now_ns)
{
	pthread_mutex_lock(&history->lock);
	struct entry *entry = entry_of(history, id, tenant, now_ns);
	if (entry) {
		if (tp_ring_full(&entry->operations))
			free(((struct operation_point *)tp_ring_at(&entry->operations, 0))->name);
		struct operation_point *point = tp_ring_push(&entry->operations);
		*point = (struct operation_point){
			.at_ns = now_ns,
			.op = note->op,
			.source = note->source,
			.took_ns = note->took_ns,
			.image_bytes = note->image_bytes,
			.name = tp_strdup(note->name),
		};
	}
	pthread_mutex_unlock(&history->lock);
}

/* --- samples --- */

/* The time that comes again, if the clock was set back, is noted anew. SIZE: both kinds of points
 * begin with their time. */
static void make_room(struct tp_ring *ring, uint32_t at_s)
{
	while (ring->n > 0 && *(const uint32_t *)tp_ring_last(ring) >= at_s)
		tp_ring_pop(ring);
}

/* Percent of one processor since the sample before; below 0: there was none of that process. */
static float cpu_since(struct entry *entry, const struct tp_process_sample *sample, uint64_t now_ns)
{
	float percent = -1;

	if (entry->pid == sample->pid && now_ns > entry->sampled_ns &&
		sample->cpu_ns >= entry->cpu_ns)
		percent = (float)((double)(sample->cpu_ns - entry->cpu_ns) * 100 /
				  (double)(now_ns - entry->sampled_ns));
	entry->pid = sample->pid;
	entry->cpu_ns = sample->cpu_ns;
	entry->sampled_ns = now_ns;
	return percent;
}

/* Of a coarse step the mean of processor time, and the most of memory. */
static void add_coarse(struct entry *entry, const struct point *point)
{
	uint32_t at_s = point->at_s - point->at_s % TP_HISTORY_COARSE_S;
	struct point *last = tp_ring_last(&entry->coarse);

	if (!last || last->at_s != at_s) {
		make_room(&entry->coarse, at_s);
		last = tp_ring_push(&entry->coarse);
		last->at_s = at_s;
		last->cpu_percent = -1;
		entry->cpu_sum = 0;
		entry->cpu_count = 0;
	}
	last->private_kib = TP_MAX(last->private_kib, point->private_kib);
	last->shared_kib = TP_MAX(last->shared_kib, point->shared_kib);
	if (point->cpu_percent < 0)
		return;
	entry->cpu_sum += point->cpu_percent;
	entry->cpu_count++;
	last->cpu_percent = entry->cpu_sum / (float)entry->cpu_count;
}

static uint32_t step_of(uint64_t now_ns)
{
	uint64_t now_s = now_ns / TP_NSEC_PER_SEC;

	return (uint32_t)(now_s - now_s % TP_HISTORY_STEP_S);
}

static uint32_t kib(uint64_t bytes)
{
	return (uint32_t)TP_MIN(bytes / TP_KIB, (uint64_t)UINT32_MAX);
}

void tp_history_sample(struct tp_history *history, const char *id, const char *tenant,
	enum tp_state state, const struct tp_process_sample *sample, uint64_t now_ns)
{
	struct tp_state_note note = {.state = state};

	pthread_mutex_lock(&history->lock);
	struct entry *entry = entry_of(history, id, tenant, now_ns);
	if (entry) {
		/* One that was there before torpord. */
		if (entry->state == TP_STATE_COUNT)
			note_state(history, entry, &note, now_ns);
		make_room(&entry->fine, step_of(now_ns));
		struct point *point = tp_ring_push(&entry->fine);
		point->at_s = step_of(now_ns);
		point->private_kib = kib(sample->private_bytes);
		point->shared_kib = kib(sample->shared_bytes);
		point->cpu_percent = cpu_since(entry, sample, now_ns);
		add_coarse(entry, point);
	}
	pthread_mutex_unlock(&history->lock);
}

void tp_history_host(
	struct tp_history *history, const struct tp_host_sample *sample, uint64_t now_ns)
{
	struct tp_ring *rings[] = {&history->host, &history->host_coarse};
	uint32_t steps[] = {TP_HISTORY_STEP_S, TP_HISTORY_COARSE_S};

	pthread_mutex_lock(&history->lock);
	for (size_t i = 0; i < TP_ARRAY_LEN(rings); i++) {
		uint32_t at_s = step_of(now_ns) / steps[i] * steps[i];
		make_room(rings[i], at_s);
		struct host_point *point = tp_ring_push(rings[i]);
		point->at_s = at_s;
		point->sample = *sample;
	}
	pthread_mutex_unlock(&history->lock);
}

/* --- figures --- */

bool tp_history_last(struct tp_history *history, const char *id, int pid, uint64_t now_ns,
	struct tp_usage_now *usage_out)
{
	bool fresh = false;

	pthread_mutex_lock(&history->lock);
	const struct entry *entry = tp_history_find(history, id);
	const struct point *last = entry ? tp_ring_last(&entry->fine) : NULL;
	if (last && entry->pid == pid && now_ns < entry->sampled_ns + FRESH_NS) {
		fresh = true;
		*usage_out = (struct tp_usage_now){
			.private_bytes = last->private_kib * (uint64_t)TP_KIB,
			.shared_bytes = last->shared_kib * (uint64_t)TP_KIB,
			.cpu_percent = last->cpu_percent,
		};
	}
	pthread_mutex_unlock(&history->lock);
	return fresh;
}

uint64_t tp_history_parked_mean(struct tp_history *history, const char *tenant)
{
	uint64_t sum_kib = 0;
	uint64_t n = 0;

	pthread_mutex_lock(&history->lock);
	if (!tenant) {
		sum_kib = history->parks_kib;
		n = history->parks.n;
	}
	for (size_t i = 0; tenant && i < HISTORY_BUCKETS; i++) {
		for (const struct entry *at = history->entries[i]; at; at = at->next) {
			if (at->parked_kib == 0 || strcmp(at->tenant, tenant) != 0)
				continue;
			sum_kib += at->parked_kib;
			n++;
		}
	}
	pthread_mutex_unlock(&history->lock);
	return n ? sum_kib * TP_KIB / n : 0;
}
