/* SPDX-License-Identifier: Apache-2.0 */
/* Ending a session's guest while the handle is kept. */
#include <errno.h>
#include <sys/eventfd.h>

#include "pool/session.h"

struct torpor_error *tp_session_quit(struct torpor_session *session, const struct tp_call *call)
{
	/* For good: whoever quits closes the session next. */
	if (eventfd_write(session->retire_fd, 1) < 0)
		return tp_error_errno(errno, "retire session", session->name);
	TP_TRY(tp_session_enter(session, true, call));
	bool had_guest = session->guest;
	struct torpor_error *err = tp_session_end_guest(session, call);
	if (had_guest)
		tp_session_set_state(session, TORPOR_SESSION_PARKED);
	tp_session_leave(session);
	return err;
}
