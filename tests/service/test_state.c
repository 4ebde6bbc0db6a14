/* SPDX-License-Identifier: Apache-2.0 */
/* The table of states against the drawing in service/state.h, written down here once more. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/macros.h"
#include "service/state.h"

static const struct {
	enum tp_state from, to;
} drawing[] = {
	{TP_STATE_CREATED, TP_STATE_STARTING},
	{TP_STATE_CREATED, TP_STATE_DESTROYED},
	{TP_STATE_STARTING, TP_STATE_RUNNING},
	{TP_STATE_STARTING, TP_STATE_PARKED},
	{TP_STATE_STARTING, TP_STATE_DESTROYED},
	{TP_STATE_RUNNING, TP_STATE_PAUSED},
	{TP_STATE_RUNNING, TP_STATE_PARKING},
	{TP_STATE_RUNNING, TP_STATE_STOPPING},
	{TP_STATE_RUNNING, TP_STATE_PARKED},
	{TP_STATE_RUNNING, TP_STATE_ERROR},
	{TP_STATE_PAUSED, TP_STATE_RUNNING},
	{TP_STATE_PAUSED, TP_STATE_PARKING},
	{TP_STATE_PAUSED, TP_STATE_STOPPING},
	{TP_STATE_PAUSED, TP_STATE_PARKED},
	{TP_STATE_PAUSED, TP_STATE_ERROR},
	{TP_STATE_PARKING, TP_STATE_PARKED},
	{TP_STATE_PARKING, TP_STATE_RUNNING},
	{TP_STATE_PARKING, TP_STATE_PAUSED},
	{TP_STATE_PARKING, TP_STATE_ERROR},
	{TP_STATE_PARKED, TP_STATE_RESUMING},
	{TP_STATE_PARKED, TP_STATE_STOPPING},
	{TP_STATE_RESUMING, TP_STATE_RUNNING},
	{TP_STATE_RESUMING, TP_STATE_PARKED},
	{TP_STATE_RESUMING, TP_STATE_ERROR},
	{TP_STATE_STOPPING, TP_STATE_DESTROYED},
	{TP_STATE_STOPPING, TP_STATE_RUNNING},
	{TP_STATE_STOPPING, TP_STATE_PAUSED},
	{TP_STATE_STOPPING, TP_STATE_PARKED},
	{TP_STATE_STOPPING, TP_STATE_ERROR},
	{TP_STATE_ERROR, TP_STATE_RESUMING},
	{TP_STATE_ERROR, TP_STATE_STOPPING},
};

static bool drawn(enum tp_state from, enum tp_state to)
{
	for (size_t i = 0; i < TP_ARRAY_LEN(drawing); i++) {
		if (drawing[i].from == from && drawing[i].to == to)
			return true;
	}
	return false;
}

Test(state, every_pair_is_as_drawn)
{
	for (unsigned int from = 0; from < TP_STATE_COUNT; from++) {
		for (unsigned int to = 0; to < TP_STATE_COUNT; to++)
			cr_expect_eq(tp_state_may(from, to), drawn(from, to), "%s to %s",
				tp_state_name(from), tp_state_name(to));
	}
}

Test(state, names_are_read_back)
{
	for (unsigned int i = 0; i < TP_STATE_COUNT; i++) {
		enum tp_state state = TP_STATE_COUNT;
		cr_expect(tp_state_parse(tp_state_name(i), &state));
		cr_expect_eq(state, i);
	}
	enum tp_state state;
	cr_expect_not(tp_state_parse("Running", &state));
	cr_expect_not(tp_state_parse("", &state));
}

Test(state, a_passing_state_can_always_be_left)
{
	for (unsigned int from = 0; from < TP_STATE_COUNT; from++) {
		bool left = false;
		for (unsigned int to = 0; to < TP_STATE_COUNT; to++)
			left = left || (tp_state_may(from, to) && !tp_state_passing(to));
		if (tp_state_passing(from))
			cr_expect(left, "%s", tp_state_name(from));
	}
}
