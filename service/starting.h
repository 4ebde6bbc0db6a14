/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What create, resume and fork have in common: a session that gets a process.
 *
 * Once the process is there it is put under its limits; once its vCPUs run, the row is complete and
 * is handed to the records, so that the commit and the guest's confirmation that it is fresh go on
 * at the same time. Only with both does the call return.
 *
 * A process that had waited and is found dead or deaf is replaced (pool/session.h). Before it ends
 * the records are put back, so that at no moment one is recorded that isn't there: torpord may die
 * at any of them. The next process's row is committed as if it were the first.
 */
#ifndef TP_SERVICE_STARTING_H
#define TP_SERVICE_STARTING_H

#include "service/service_priv.h"

struct tp_starting {
	struct tp_service *service;
	struct tp_live *live;
	struct tp_session_row row; /* owned: as it is to be committed */
	const struct tp_op *op;	   /* NULL: whoever has several settles them together */
	const char *fault;	   /* names of fault points begin with it */
	bool begun;		   /* the commit is under way, or through */
	bool audited;		   /* one was begun before, with the audit entry */
	struct tp_settling settling;
};

/* For the core's call. Valid as long as STARTING, where it is. */
struct tp_session_hooks tp_starting_hooks(struct tp_starting *starting);

/* To the row: what the guest has confirmed. For those that are recorded once that is known. */
void tp_starting_confirmed(struct tp_starting *starting, const struct torpor_resume_report *report);

/* Waits for the commit, if it was begun. */
struct torpor_error *tp_starting_wait(struct tp_starting *starting) TP_MUST_USE;

/*
 * After a failure: if the commit was begun, waits for it, and puts the records back: the live
 * session's row where it is recorded, else none. The guest is the caller's to end.
 */
void tp_starting_undo(struct tp_starting *starting);

/*
 * After success: CORE and row are the live session's; what the guest has confirmed and TIMING (as
 * the answer has it; borrowed) are added to the row, and noted in the records.
 */
void tp_starting_done(struct tp_starting *starting, struct torpor_session *core,
	const struct torpor_resume_report *report, const json_t *timing);

/*
 * Puts the guest of CORE, session ID, under LIMITS: through its launcher, or from outside.
 * *UNENFORCED_OUT as tp_cgroup_place has it. By whoever has CORE's turn.
 */
struct torpor_error *tp_limit_guest(struct tp_service *service, const char *id,
	struct torpor_session *core, const struct tp_limits *limits,
	json_t **unenforced_out) TP_MUST_USE;

#endif
