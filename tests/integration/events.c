/* SPDX-License-Identifier: Apache-2.0 */
/* Noting events. */
#include "events.h"

#include <stdio.h>
#include <string.h>

void it_events_note(void *data, enum torpor_event event, const char *name)
{
	struct it_events *events = data;

	pthread_mutex_lock(&events->lock);
	if (events->n < IT_EVENTS_MAX) {
		events->of[events->n].event = event;
		snprintf(events->of[events->n].name, sizeof(events->of[0].name), "%s", name);
		events->n++;
	}
	pthread_cond_broadcast(&events->more);
	pthread_mutex_unlock(&events->lock);
}

static unsigned int count(const struct it_events *events, enum torpor_event event, const char *name)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < events->n; i++)
		n += events->of[i].event == event && strcmp(events->of[i].name, name) == 0;
	return n;
}

unsigned int it_events_count(struct it_events *events, enum torpor_event event, const char *name)
{
	pthread_mutex_lock(&events->lock);
	unsigned int n = count(events, event, name);
	pthread_mutex_unlock(&events->lock);
	return n;
}

void it_events_wait(
	struct it_events *events, enum torpor_event event, const char *name, unsigned int wanted)
{
	pthread_mutex_lock(&events->lock);
	while (count(events, event, name) < wanted)
		pthread_cond_wait(&events->more, &events->lock);
	pthread_mutex_unlock(&events->lock);
}
