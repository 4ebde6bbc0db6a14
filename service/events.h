/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring of events: what was published last, for those who read on from an id.
 *
 * Ids are times, in microseconds since 1970, and grow by themselves. They do across restarts too,
 * whatever becomes of the clock: the records keep a mark that no id has reached, raised in steps of
 * TP_EVENT_STEP_US ahead, so that no event costs a commit; a restart goes on from the mark if the
 * clock is behind it.
 *
 * Publishing never waits for a reader, and takes no lock but the ring's.
 */
#ifndef TP_SERVICE_EVENTS_H
#define TP_SERVICE_EVENTS_H

#include "service/service.h"

#define TP_EVENT_RING	 4096
#define TP_EVENT_STEP_US (UINT64_C(3600) * 1000000)

struct tp_event_ring;

/* RECORDS must outlive it. */
struct torpor_error *tp_events_new(
	struct tp_records *records, struct tp_event_ring **ring_out) TP_MUST_USE;
/* Nobody may be waiting. Takes NULL. Returns NULL. */
struct tp_event_ring *tp_events_free(struct tp_event_ring *ring);

/*
 * TYPE is of static storage; DATA is taken, and not changed by anybody from now on. SESSION and
 * TENANT may be NULL.
 */
void tp_events_publish(struct tp_event_ring *ring, const char *type, const char *tenant,
	const char *session, json_t *data);
uint64_t tp_events_last(struct tp_event_ring *ring);
/* For tests: as if so much time had passed. */
void tp_events_let_pass(struct tp_event_ring *ring, uint64_t us);

/* What a reader may see. */
struct tp_event_filter {
	const char *tenant;  /* its own and everybody's; NULL: all */
	const char *session; /* nothing but this one's; NULL: all */
};

/* As tp_service_next_event. */
struct torpor_error *tp_events_next(struct tp_event_ring *ring,
	const struct tp_event_filter *filter, uint64_t after, const struct tp_call *call,
	struct tp_event *event_out) TP_MUST_USE;
/* From now on reading is CANCELLED. */
void tp_events_drain(struct tp_event_ring *ring);

#endif
