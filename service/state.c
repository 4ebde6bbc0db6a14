/* SPDX-License-Identifier: Apache-2.0 */
/* States of sessions: names, and the arrows of the drawing. */
#include "service/state.h"

#include <assert.h>
#include <string.h>

#include "base/macros.h"

static const char *const names[] = {
	[TP_STATE_CREATED] = "created",
	[TP_STATE_STARTING] = "starting",
	[TP_STATE_RUNNING] = "running",
	[TP_STATE_PAUSED] = "paused",
	[TP_STATE_PARKING] = "parking",
	[TP_STATE_PARKED] = "parked",
	[TP_STATE_RESUMING] = "resuming",
	[TP_STATE_STOPPING] = "stopping",
	[TP_STATE_DESTROYED] = "destroyed",
	[TP_STATE_ERROR] = "error",
};

static_assert(TP_ARRAY_LEN(names) == TP_STATE_COUNT, "every state has a name");

#define TO(state) (1u << TP_STATE_##state)

/* The arrows of the drawing in state.h. */
static const unsigned int arrows[TP_STATE_COUNT] = {
	[TP_STATE_CREATED] = TO(STARTING) | TO(DESTROYED),
	[TP_STATE_STARTING] = TO(RUNNING) | TO(PARKED) | TO(DESTROYED),
	[TP_STATE_RUNNING] = TO(PAUSED) | TO(PARKING) | TO(STOPPING) | TO(PARKED) | TO(ERROR),
	[TP_STATE_PAUSED] = TO(RUNNING) | TO(PARKING) | TO(STOPPING) | TO(PARKED) | TO(ERROR),
	[TP_STATE_PARKING] = TO(PARKED) | TO(RUNNING) | TO(PAUSED) | TO(ERROR),
	[TP_STATE_PARKED] = TO(RESUMING) | TO(STOPPING),
	[TP_STATE_RESUMING] = TO(RUNNING) | TO(PARKED) | TO(ERROR),
	[TP_STATE_STOPPING] = TO(DESTROYED) | TO(RUNNING) | TO(PAUSED) | TO(PARKED) | TO(ERROR),
	[TP_STATE_DESTROYED] = 0,
	[TP_STATE_ERROR] = TO(RESUMING) | TO(STOPPING),
};

static const unsigned int passing =
	TO(CREATED) | TO(STARTING) | TO(PARKING) | TO(RESUMING) | TO(STOPPING);

const char *tp_state_name(enum tp_state state)
{
	return names[state];
}

bool tp_state_parse(const char *name, enum tp_state *state_out)
{
	for (unsigned int i = 0; i < TP_STATE_COUNT; i++) {
		if (strcmp(name, names[i]) == 0) {
			*state_out = (enum tp_state)i;
			return true;
		}
	}
	return false;
}

bool tp_state_may(enum tp_state from, enum tp_state to)
{
	return arrows[from] & (1u << to);
}

bool tp_state_passing(enum tp_state state)
{
	return passing & (1u << state);
}
