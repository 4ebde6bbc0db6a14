/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pause and unpause: the process stays, its vCPUs stand still.
 *
 * Nothing is stored, so nothing outlives the process. Time goes on outside, so a guest that is let
 * go on is made fresh as one that is resumed.
 */
#include "base/mem.h"
#include "engine/control.h"
#include "pool/session.h"

/* A pause doesn't break a command through the agent off, so it waits for one only shortly. */
#define PAUSE_PATIENCE (5 * TP_NSEC_PER_SEC)

static struct torpor_error *enter_shortly(
	struct torpor_session *session, const struct tp_call *call)
{
	struct tp_call shortly = tp_call_bounded(call, PAUSE_PATIENCE);
	struct torpor_error *err = tp_session_enter(session, false, &shortly);

	if (!err || torpor_error_code(err) != TORPOR_E_TIMEOUT ||
		shortly.deadline_ns == call->deadline_ns)
		return err;
	torpor_error_free(err);
	return tp_error_hint(tp_error(TORPOR_E_BUSY, "wait for session", session->name,
				     "another operation is under way, or a command through the "
				     "agent"),
		"Try again when it is over; a park doesn't wait for commands.");
}

static struct torpor_error *pause_guest(struct torpor_session *session, const struct tp_call *call)
{
	TP_TRY(tp_session_require(session, TORPOR_SESSION_RUNNING, "pause"));
	struct torpor_error *err = tp_session_explain(
		session, session->guest, tp_guest_stop(session->guest, call), call);
	if (err) {
		/* The command may be carried out all the same. */
		struct tp_call patient = tp_call_within(RESUME_TIMEOUT_NS);
		return tp_error_first(err, tp_session_let_run(session, &patient, NULL));
	}
	tp_session_set_state(session, TORPOR_SESSION_PAUSED);
	return NULL;
}

struct torpor_error *torpor_session_pause(
	struct torpor_session *session, const struct torpor_call *public_call)
{
	struct tp_call call = tp_call_from(public_call, PAUSE_TIMEOUT_NS);

	struct torpor_error *err = enter_shortly(session, &call);
	if (!err) {
		err = pause_guest(session, &call);
		tp_session_leave(session);
	}
	return tp_error_in(err, "pause session", session->name);
}

static struct torpor_error *unpause_guest(
	struct torpor_session *session, const struct tp_call *call)
{
	TP_TRY(tp_session_require(session, TORPOR_SESSION_PAUSED, "unpause"));
	struct torpor_error *err = tp_session_explain(
		session, session->guest, tp_session_let_run(session, call, NULL), call);
	/* One that isn't known to be fresh doesn't run. */
	if (err) {
		struct tp_call soon = tp_call_within(CLEANUP_TIMEOUT_NS);
		return tp_error_first(err, tp_guest_stop(session->guest, &soon));
	}
	tp_session_set_state(session, TORPOR_SESSION_RUNNING);
	return NULL;
}

struct torpor_error *torpor_session_unpause(
	struct torpor_session *session, const struct torpor_call *public_call)
{
	struct tp_call call = tp_call_from(public_call, PAUSE_TIMEOUT_NS);

	struct torpor_error *err = tp_session_enter(session, false, &call);
	if (!err) {
		err = unpause_guest(session, &call);
		tp_session_leave(session);
	}
	return tp_error_in(err, "unpause session", session->name);
}
