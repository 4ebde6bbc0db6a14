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
	uint64_t first; /* the first id of this start */
	uint64_t next;
	uint64_t limit;		   /* ids below it may be given: the mark is durable */
	struct tp_commit *raising; /* of the mark, under way */
	uint64_t raised;	   /* what it becomes */
	struct slot slots[TP_EVENT_RING];
	struct owner everybody;
	struct owner *owners[TENANT_BUCKETS];
	struct reader *readers;
	bool draining;
};

/* --- the mark --- */

static void submit_mark(struct tp_event_ring *ring)
{
	struct tp_change *change = tp_change_new();

	ring->raised = ring->limit + TP_EVENT_STEP;
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
 * By the lock. The mark is raised when half a step is left, which is waited for only where a whole
 * half of it was used up during that commit. An event is never held back for a mark that can't be
 * written: what a later start can't tell then is whether a reader has missed something.
 */
static uint64_t next_id(struct tp_event_ring *ring)
{
	if (!ring->raising && ring->limit - ring->next < TP_EVENT_STEP / 2)
		submit_mark(ring);
	if (ring->next == ring->limit) {
		struct torpor_error *err = wait_mark(ring);
		if (err)
			ring->limit = ring->raised;
		tp_error_log(tp_error_in(err, "keep the place of", "events"));
	}
	return ring->next++;
}

struct torpor_error *tp_events_new(struct tp_records *records, struct tp_event_ring **ring_out)
{
	uint64_t mark;

	TP_TRY(tp_records_number(records, MARK, &mark));
	struct tp_event_ring *ring = tp_calloc(1, sizeof(*ring));
	ring->records = records;
	ring->limit = mark;
	pthread_mutex_init(&ring->lock, NULL);
	submit_mark(ring);
	struct torpor_error *err = wait_mark(ring);
	if (err) {
		tp_events_free(ring);
		return tp_error_in(err, "keep the place of", "events");
	}
	ring->first = ring->next = mark + 1;
	/* The mark itself may be given too, so that the next start begins behind it. */
	ring->limit++;
	*ring_out = ring;
	return NULL;
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
	/* Of everything: what came before the ring's oldest. */
	return ring->next - ring->first > TP_EVENT_RING ? ring->next - TP_EVENT_RING - 1 : 0;
}

/* --- publishing --- */

void tp_events_publish(struct tp_event_ring *ring, const char *type, const char *tenant,
	const char *session, json_t *data)
{
	char *text = json_dumps(data, JSON_COMPACT | JSON_ENCODE_ANY);

	json_decref(data);
	pthread_mutex_lock(&ring->lock);
	uint64_t id = next_id(ring);
	struct slot *slot = &ring->slots[id % TP_EVENT_RING];
	char *old = slot->text;
	if (slot->id)
		slot->owner->dropped = slot->id;
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

/* By the lock. Moves *AFTER_INOUT over what the reader doesn't see; false: nothing is there yet. */
static bool look(struct tp_event_ring *ring, const struct tp_event_filter *filter,
	uint64_t *after_inout, struct tp_event *event_out)
{
	uint64_t after = *after_inout;
	uint64_t last = ring->next - 1;

	/* From before this start, from the future, or fallen behind. */
	if (after + 1 < ring->first || after > last || after < dropped_for(ring, filter)) {
		*event_out = (struct tp_event){.id = last, .type = "reset", .data = json_object()};
		return true;
	}
	uint64_t oldest = last >= TP_EVENT_RING ? last - TP_EVENT_RING + 1 : 0;
	for (uint64_t id = TP_MAX(TP_MAX(after + 1, ring->first), oldest); id <= last; id++) {
		const struct slot *slot = &ring->slots[id % TP_EVENT_RING];
		if (sees(ring, filter, slot)) {
			*event_out = (struct tp_event){.id = id,
				.type = slot->type,
				.data = json_loads(slot->text, JSON_DECODE_ANY, NULL)};
			return true;
		}
	}
	*after_inout = last;
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
