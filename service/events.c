/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events: a ring, and readers that wait for it.
 *
 * A reader's call must end with its deadline, with its cancel descriptor, or with an event,
 * whichever comes first. So each reader that waits has an eventfd of its own in the ring's list,
 * polled beside the cancel descriptor; publishing writes to those of the readers that may see the
 * event. Turned down: a condition variable, which can't be polled; one eventfd for all, which wakes
 * a thousand readers for an event that one of them may see, and never knows when it may be emptied.
 *
 * An id is the time of its event, in microseconds: numbers that count would tell each tenant how
 * much all the others do, and so would the id of a "reset" if it were that of the newest event. Ids
 * that are encrypted for each tenant would hide that too, but wouldn't grow; counting for each
 * tenant needs a mark for each, and what is everybody's in all of them.
 *
 * Whether a reader missed something can't be told from its id alone: an idle tenant's last event
 * may be far older than the ring, and it has still missed nothing. So the ring remembers, of each
 * tenant, the newest event of its that has dropped out. Tenants are interned for that: one small
 * record for each tenant that had an event since the start, never freed before the end.
 */
#include "service/events.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "service/service_priv.h"

#define MARK	       "events"
#define TENANT_BUCKETS 256

struct owner {
	struct owner *next; /* in its bucket */
	char *tenant;	    /* "": everybody */
	uint64_t dropped;   /* its newest event that isn't in the ring any more; 0: none */
};

struct slot {
	uint64_t id; /* 0: none yet */
	const char *type;
	struct owner *owner;
	char session[TP_ID_LEN + 1]; /* "": none */
	char *text; /* the data: as JSON values it would take eight times the memory */
};

struct reader {
	struct reader *next;
	const struct tp_event_filter *filter;
	int fd;
};

struct tp_event_ring {
	struct tp_records *records;

	/* By the lock. */
	pthread_mutex_t lock;
	uint64_t first;		   /* no id of this start is below it, none of earlier ones above */
	uint64_t first_ns;	   /* when that is, by CLOCK_MONOTONIC */
	uint64_t next;		   /* none from here on was given */
	uint64_t limit;		   /* ids below it may be given: the mark is durable */
	struct tp_commit *raising; /* of the mark, under way */
	uint64_t raised;	   /* what it becomes */
	uint64_t count;		   /* of events: the Nth, from 0, is in slot N % TP_EVENT_RING */
	uint64_t dropped;	   /* the newest that isn't in the ring any more; 0: none */
	struct slot slots[TP_EVENT_RING];
	struct owner everybody;
	struct owner *owners[TENANT_BUCKETS];
	struct reader *readers;
	bool draining;
};

/* --- ids, and the mark --- */

/* By the lock: the id of an event that would come now. */
static uint64_t id_now(const struct tp_event_ring *ring)
{
	uint64_t passed_us = (tp_now_ns() - ring->first_ns) / TP_NSEC_PER_USEC;

	return TP_MAX(ring->next, ring->first + passed_us);
}

/* A step ahead of ID. */
static void submit_mark(struct tp_event_ring *ring, uint64_t id)
{
	struct tp_change *change = tp_change_new();

	ring->raised = id + TP_EVENT_STEP_US;
	tp_change_raise(change, MARK, ring->raised);
	ring->raising = tp_records_submit(ring->records, change);
}

static struct torpor_error *wait_mark(struct tp_event_ring *ring)
{
	TP_TRY(tp_commit_wait(TP_TAKE(ring->raising)));
	ring->limit = ring->raised;
	return NULL;
}

/*
 * By the lock. The mark is raised when half a step is left, which is waited for only where that was
 * too long ago. An event is never held back for a mark that can't be written: what a later start
 * can't tell then is whether a reader has missed something.
 */
static uint64_t next_id(struct tp_event_ring *ring)
{
	uint64_t id = id_now(ring);

	if (!ring->raising && ring->limit < id + TP_EVENT_STEP_US / 2)
		submit_mark(ring, id);
	while (id >= ring->limit) {
		if (!ring->raising)
			submit_mark(ring, id);
		struct torpor_error *err = wait_mark(ring);
		if (err)
			ring->limit = ring->raised;
		tp_error_log(tp_error_in(err, "keep the place of", "events"));
	}
	ring->next = id + 1;
	return id;
}

struct torpor_error *tp_events_new(struct tp_records *records, struct tp_event_ring **ring_out)
{
	uint64_t mark;

	TP_TRY(tp_records_number(records, MARK, &mark));
	struct tp_event_ring *ring = tp_calloc(1, sizeof(*ring));
	ring->records = records;
	/* The clock may have been set back. */
	ring->first = TP_MAX(mark, tp_realtime_ns() / TP_NSEC_PER_USEC);
	ring->first_ns = tp_now_ns();
	ring->next = ring->first;
	pthread_mutex_init(&ring->lock, NULL);
	submit_mark(ring, ring->first);
	struct torpor_error *err = wait_mark(ring);
	if (err) {
		tp_events_free(ring);
		return tp_error_in(err, "keep the place of", "events");
	}
	*ring_out = ring;
	return NULL;
}

void tp_events_let_pass(struct tp_event_ring *ring, uint64_t us)
{
	pthread_mutex_lock(&ring->lock);
	ring->first_ns -= us * TP_NSEC_PER_USEC;
	pthread_mutex_unlock(&ring->lock);
}

struct tp_event_ring *tp_events_free(struct tp_event_ring *ring)
{
	if (!ring)
		return NULL;
	assert(!ring->readers);
	if (ring->raising)
		tp_error_log(tp_commit_wait(TP_TAKE(ring->raising)));
	for (size_t i = 0; i < TP_EVENT_RING; i++)
		free(ring->slots[i].text);
	for (size_t i = 0; i < TENANT_BUCKETS; i++) {
		while (ring->owners[i]) {
			struct owner *owner = ring->owners[i];
			ring->owners[i] = owner->next;
			free(owner->tenant);
			free(owner);
		}
	}
	pthread_mutex_destroy(&ring->lock);
	free(ring);
	return NULL;
}

/* --- who sees what --- */

static size_t bucket_of(const char *tenant)
{
	uint32_t hash = 2166136261u;

	for (const char *c = tenant; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 16777619u;
	return hash % TENANT_BUCKETS;
}

/* By the lock. NULL if it has had no event. */
static struct owner *find_owner(struct tp_event_ring *ring, const char *tenant)
{
	struct owner *owner = ring->owners[bucket_of(tenant)];

	while (owner && strcmp(owner->tenant, tenant) != 0)
		owner = owner->next;
	return owner;
}

static struct owner *owner_of(struct tp_event_ring *ring, const char *tenant)
{
	if (!tenant)
		return &ring->everybody;
	struct owner *owner = find_owner(ring, tenant);
	if (owner)
		return owner;
	struct owner **bucket = &ring->owners[bucket_of(tenant)];
	owner = tp_calloc(1, sizeof(*owner));
	owner->tenant = tp_strdup(tenant);
	owner->next = *bucket;
	*bucket = owner;
	return owner;
}

static bool sees(const struct tp_event_ring *ring, const struct tp_event_filter *filter,
	const struct slot *slot)
{
	if (filter->session && strcmp(slot->session, filter->session) != 0)
		return false;
	return !filter->tenant || slot->owner == &ring->everybody ||
	       strcmp(slot->owner->tenant, filter->tenant) == 0;
}

/* The newest event that a reader of FILTER might have seen and can't any more. */
static uint64_t dropped_for(struct tp_event_ring *ring, const struct tp_event_filter *filter)
{
	uint64_t dropped = filter->session ? 0 : ring->everybody.dropped;

	if (filter->tenant) {
		const struct owner *owner = find_owner(ring, filter->tenant);
		return TP_MAX(dropped, owner ? owner->dropped : 0);
	}
	return ring->dropped;
}

/* --- publishing --- */

void tp_events_publish(struct tp_event_ring *ring, const char *type, const char *tenant,
	const char *session, json_t *data)
{
	char *text = json_dumps(data, JSON_COMPACT | JSON_ENCODE_ANY);

	json_decref(data);
	pthread_mutex_lock(&ring->lock);
	uint64_t id = next_id(ring);
	struct slot *slot = &ring->slots[ring->count++ % TP_EVENT_RING];
	char *old = slot->text;
	if (slot->id)
		slot->owner->dropped = ring->dropped = slot->id;
	*slot = (struct slot){
		.id = id, .type = type, .owner = owner_of(ring, tenant), .text = text};
	if (session)
		snprintf(slot->session, sizeof(slot->session), "%s", session);
	for (const struct reader *reader = ring->readers; reader; reader = reader->next) {
		if (sees(ring, reader->filter, slot))
			(void)eventfd_write(reader->fd, 1);
	}
	pthread_mutex_unlock(&ring->lock);
	free(old);
}

uint64_t tp_events_last(struct tp_event_ring *ring)
{
	pthread_mutex_lock(&ring->lock);
	uint64_t last = ring->next - 1;
	pthread_mutex_unlock(&ring->lock);
	return last;
}

void tp_events_drain(struct tp_event_ring *ring)
{
	pthread_mutex_lock(&ring->lock);
	ring->draining = true;
	for (const struct reader *reader = ring->readers; reader; reader = reader->next)
		(void)eventfd_write(reader->fd, 1);
	pthread_mutex_unlock(&ring->lock);
}

/* --- reading --- */

/* By the lock: which event is the first with a higher id than AFTER; count: none is. */
static uint64_t find_behind(const struct tp_event_ring *ring, uint64_t after)
{
	uint64_t low = ring->count > TP_EVENT_RING ? ring->count - TP_EVENT_RING : 0;
	uint64_t high = ring->count;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (ring->slots[middle % TP_EVENT_RING].id > after)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* By the lock. Moves *AFTER_INOUT over what the reader doesn't see; false: nothing is there yet. */
static bool look(struct tp_event_ring *ring, const struct tp_event_filter *filter,
	uint64_t *after_inout, struct tp_event *event_out)
{
	uint64_t after = *after_inout;
	uint64_t now = id_now(ring);

	/* From before this start, from the future, or fallen behind. */
	if (after + 1 < ring->first || after >= now || after < dropped_for(ring, filter)) {
		*event_out =
			(struct tp_event){.id = now - 1, .type = "reset", .data = json_object()};
		return true;
	}
	for (uint64_t n = find_behind(ring, after); n < ring->count; n++) {
		const struct slot *slot = &ring->slots[n % TP_EVENT_RING];
		if (sees(ring, filter, slot)) {
			*event_out = (struct tp_event){.id = slot->id,
				.type = slot->type,
				.data = json_loads(slot->text, JSON_DECODE_ANY, NULL)};
			return true;
		}
	}
	*after_inout = TP_MAX(after, ring->next - 1);
	return false;
}

static void leave(struct tp_event_ring *ring, const struct reader *reader)
{
	struct reader **at = &ring->readers;

	while (*at != reader)
		at = &(*at)->next;
	*at = reader->next;
}

/* Until an event is there that READER may see. */
static struct torpor_error *await(struct tp_event_ring *ring, struct reader *reader, uint64_t after,
	const struct tp_call *call, struct tp_event *event_out)
{
	for (;;) {
		eventfd_t count;
		pthread_mutex_lock(&ring->lock);
		bool draining = ring->draining;
		bool found = !draining && look(ring, reader->filter, &after, event_out);
		pthread_mutex_unlock(&ring->lock);
		if (found)
			return NULL;
		if (draining)
			return tp_error(TORPOR_E_CANCELLED, "wait for", "events",
				"the service comes to its end");
		TP_TRY(tp_wait_fd(reader->fd, POLLIN, call, "wait for", "events"));
		(void)eventfd_read(reader->fd, &count);
	}
}

struct torpor_error *tp_events_next(struct tp_event_ring *ring,
	const struct tp_event_filter *filter, uint64_t after, const struct tp_call *call,
	struct tp_event *event_out)
{
	TP_FD int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct reader reader = {.filter = filter, .fd = fd};

	if (fd < 0)
		return tp_error_errno(errno, "wait for", "events");
	pthread_mutex_lock(&ring->lock);
	reader.next = ring->readers;
	ring->readers = &reader;
	pthread_mutex_unlock(&ring->lock);

	struct torpor_error *err = await(ring, &reader, after, call, event_out);

	pthread_mutex_lock(&ring->lock);
	leave(ring, &reader);
	pthread_mutex_unlock(&ring->lock);
	return err;
}

/* --- the service's --- */

void tp_publish(struct tp_service *service, const char *type, const char *tenant,
	const char *session, json_t *data)
{
	tp_events_publish(service->events, type, tenant, session, data);
}

uint64_t tp_service_last_event(struct tp_service *service)
{
	return tp_events_last(service->events);
}

struct torpor_error *tp_service_next_event(struct tp_service *service, const struct tp_actor *actor,
	const char *session, uint64_t after, const struct tp_call *call, struct tp_event *event_out)
{
	TP_TRY(tp_actor_may(actor, TP_PERM_READ, session));
	struct tp_event_filter filter = {
		.tenant = actor->admin ? NULL : actor->tenant,
		.session = actor->session[0] ? actor->session : session,
	};
	return tp_events_next(service->events, &filter, after, call, event_out);
}
