/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine tells by itself: noted on its thread, waited for by the test. */
#ifndef TP_TESTS_INTEGRATION_EVENTS_H
#define TP_TESTS_INTEGRATION_EVENTS_H

#include <pthread.h>

#include "support.h"

#define IT_EVENTS_MAX 256

struct it_events {
	pthread_mutex_t lock;
	pthread_cond_t more;
	/* By the lock. */
	unsigned int n;
	struct {
		enum torpor_event event;
		char name[65];
	} of[IT_EVENTS_MAX];
};
#define IT_EVENTS_INIT                                                                             \
	{                                                                                          \
		.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER                \
	}

/* For torpor_engine_options: on_event; event_data is a struct it_events. */
void it_events_note(void *data, enum torpor_event event, const char *name);

/* How many of that kind and name have come; waits until it is COUNT of them. */
unsigned int it_events_count(struct it_events *events, enum torpor_event event, const char *name);
void it_events_wait(
	struct it_events *events, enum torpor_event event, const char *name, unsigned int count);

#endif
