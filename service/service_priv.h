/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service, from the inside.
 *
 * Live sessions (struct tp_live) are those with a process or with an operation under way; all
 * others are rows in the records and cost nothing here. An operation:
 *
 *   tp_live_get         finds it, or makes a live one of its row; NOT_FOUND for another's
 *   tp_live_begin       waits until no other operation is under way, and moves it into a passing
 *                       state; or tp_live_hold, for operations that the drawing has no state for
 *   ...                 the guest
 *   tp_settle           commits the change and the audit entry, waits for both
 *   tp_live_end         moves it into the state it has reached, tells the events, wakes who waits
 *   tp_live_put         gives it back; one that is parked, in error or gone is forgotten with the
 *                       last
 *
 * Locks: service->lock guards the table and every tp_live's fields by it; it is never held across a
 * call that can block. The one operation that is under way (passing state, or `busy`) owns what is
 * marked so.
 *
 * Commands and signs of life don't own the session, only its guest's handle for a while
 * (tp_live_use): an operation that closes the handle waits for them (tp_live_detach). A command
 * needs it only until it is made.
 */
#ifndef TP_SERVICE_SERVICE_PRIV_H
#define TP_SERVICE_SERVICE_PRIV_H

#include <pthread.h>

#include "engine/cgroup.h"
#include "pool/session.h"
#include "pool/supply.h"
#include "service/service.h"
#include "service/state.h"
#include "storage/audit.h"

#define LIVE_BUCKETS 1024

struct tp_live_waiter;

struct tp_live {
	/* Constant. */
	char id[TP_ID_LEN + 1];
	char tenant[65];
	uint64_t created_ns; /* CLOCK_REALTIME */

	/* By the service's lock. */
	struct tp_live *next; /* in its bucket */
	unsigned int refs;
	enum tp_state state;
	enum tp_state before;		/* the passing state */
	bool busy;			/* an operation without a passing state is under way */
	struct tp_live_waiter *waiters; /* for the end of the operation, or of uses */
	unsigned int uses;		/* of `core`, by tp_live_use */
	bool recorded;			/* false until the first commit */
	struct tp_session_row row;	/* as committed last, but for figures; as it is going to
					   be, until recorded */
	unsigned int execs;		/* under way: it isn't idle */
	uint64_t execs_total;		/* since it is live */
	uint64_t active_ns;		/* CLOCK_REALTIME: its tenant last asked for something */
	uint64_t started_ns; /* CLOCK_REALTIME: it got its process (not: its guest rebooted) */
	struct torpor_cancel *cancel; /* of the park that is under way, from its first step until
					 it is durable */
	bool taken_back;	      /* that park, maybe before it had `cancel` */
	bool no_way_back;	      /* from it */
	bool lost;		      /* its guest may have ended: to be dealt with */

	/* Written by the operation that is under way, under the lock. */
	struct torpor_session *core; /* NULL without process */
	bool unrecorded;	     /* the records may say that it is parked, and `row` doesn't */
};

struct tp_service_metrics;
struct tp_event_ring;
struct tp_history;
struct tp_latency;
struct tp_sampler;
struct tp_keeper;
struct tp_templates;
struct tp_tenants;
struct tp_repeats;

struct tp_service {
	/* Constant after opening. */
	struct torpor_engine *engine;
	struct tp_records *records;
	struct tp_audit *audit;
	struct tp_admission *admission;
	struct tp_supply *supply;
	struct tp_cgroup *cgroup;
	struct tp_event_ring *events;
	struct tp_service_metrics *metrics;
	struct tp_history *history;
	struct tp_latency *latency;
	struct tp_sampler *sampler;
	struct tp_keeper *keeper;
	struct tp_templates *templates;
	struct tp_tenants *tenants;
	struct tp_repeats *repeats;
	char *state_dir;
	int lock_fd; /* of the state directory: one service at a time */

	/* By the lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* CLOCK_MONOTONIC; a live session's state has changed, or was given
				   back */
	struct tp_service_config config; /* its pointers are the service's own */
	struct tp_live *live[LIVE_BUCKETS];
	uint32_t forgotten[LIVE_BUCKETS]; /* how often a session of the bucket was forgotten */
	size_t live_count;
	bool draining;
	bool recovered;
};

/* The daemon itself, for the audit log: may do anything, for TENANT. */
struct tp_actor tp_actor_self(const char *tenant);
/* DENIED without PERM (or where the actor is bound to another session: NOT_FOUND). ID may be NULL.
 */
struct torpor_error *tp_actor_may(
	const struct tp_actor *actor, enum tp_perm perm, const char *id) TP_MUST_USE;
struct torpor_error *tp_actor_must_be_admin(const struct tp_actor *actor) TP_MUST_USE;
/* What every unknown session is answered with. */
struct torpor_error *tp_no_session(const char *id) TP_MUST_USE;
/* Whether ID looks like one: 16 characters of 0-9a-z. */
bool tp_id_ok(const char *id);

/* --- live.c --- */

struct torpor_error *tp_live_get(struct tp_service *service, const struct tp_actor *actor,
	const char *id, struct tp_live **live_out) TP_MUST_USE;
/* The live session of that id, whosever it is; NULL if there is none. To be put. */
struct tp_live *tp_live_peek(struct tp_service *service, const char *id);
/* TENANT's live sessions in STATES (bits); each to be put, the list the caller's to free. */
size_t tp_live_list(struct tp_service *service, const char *tenant, unsigned int states,
	bool unrecorded_only, struct tp_live ***lives_out);
/* A new one in CREATED, without a row yet. */
struct tp_live *tp_live_new(struct tp_service *service, const char *tenant);
/* One that recovery found running: ROW and CORE are taken. Not held: nothing to put. */
void tp_live_adopt(struct tp_service *service, struct tp_session_row *row,
	struct torpor_session *core, enum tp_state state);
void tp_live_put(struct tp_service *service, struct tp_live *live);

#define TP_LIVE_IN(state) (1u << TP_STATE_##state)

/*
 * Waits for the operation under way, if any. Then, if the state is one of DONE (bits, TP_LIVE_IN):
 * *DONE_OUT, nothing to do. If there is an arrow to PASSING: moves there. BUSY otherwise, naming
 * the state; NOT_FOUND if it is gone.
 */
struct torpor_error *tp_live_begin(struct tp_service *service, struct tp_live *live,
	enum tp_state passing, unsigned int done, const struct tp_call *call,
	bool *done_out) TP_MUST_USE;
/* The same for an operation without a passing state: from one of STATES. STEP is for the message.
 */
struct torpor_error *tp_live_hold(struct tp_service *service, struct tp_live *live,
	unsigned int states, unsigned int done, const char *step, const struct tp_call *call,
	bool *done_out) TP_MUST_USE;
/*
 * The operation's end: moves on, asserting the arrow (one that was held may stay where it is), and
 * publishes the session's event. Sessions that come to have no process must be detached before.
 */
void tp_live_end(struct tp_service *service, struct tp_live *live, enum tp_state state);

/* By the operation, for what changes beside the state: publishes the session's event. */
void tp_live_publish(struct tp_service *service, struct tp_live *live);
/* By the operation: the row from now on, which is taken (zeroed); RECORDED: it is committed. */
void tp_live_set_row(struct tp_service *service, struct tp_live *live, struct tp_session_row *row,
	bool recorded);
/* A copy of the row, to be changed and committed; active_ns is as of now. */
void tp_live_copy_row(
	struct tp_service *service, struct tp_live *live, struct tp_session_row *row_out);
/* By the operation: CORE has the guest from now on, and is the live session's. */
void tp_live_attach(struct tp_service *service, struct tp_live *live, struct torpor_session *core);
/*
 * By the operation, once the guest has ended or the core session is parked (so that uses come to an
 * end by themselves): takes CORE away, waits for the last use, closes it.
 */
void tp_live_detach(struct tp_service *service, struct tp_live *live);

/*
 * A call on the guest beside operations: waits for the one under way, then the handle may be used
 * until tp_live_unuse. BUSY unless the state is one of STATES.
 */
struct torpor_error *tp_live_use(struct tp_service *service, struct tp_live *live,
	unsigned int states, const char *step, const struct tp_call *call,
	struct torpor_session **core_out) TP_MUST_USE;
void tp_live_unuse(struct tp_service *service, struct tp_live *live);

/*
 * By whoever uses or owns it: whether a command or an operation is under way in its guest, which
 * may be too busy with that to give signs of life.
 */
bool tp_live_is_busy(struct tp_service *service, struct tp_live *live);

/* Its tenant has asked for something: it isn't idle. */
void tp_live_touch(struct tp_service *service, struct tp_live *live);

/* Copies of all live sessions' ids and states at this moment; the caller's to free. */
struct tp_live_brief {
	char id[TP_ID_LEN + 1];
	char tenant[65];
	enum tp_state state;
	int pid;
	uint64_t active_ns;
	uint64_t started_ns;   /* as in struct tp_live; 0 without a process */
	int64_t ttl_s, idle_s; /* as they hold: nothing unset */
	unsigned int execs;
	bool lost;
	bool has_image;
	bool has_base; /* its RAM is a clone's: what it didn't write is shared */
};
size_t tp_live_briefs(struct tp_service *service, struct tp_live_brief **briefs_out);

/* --- create.c --- */

/*
 * As tp_service_destroy, if the session's time is over (ttl_s, or without a process retention_s)
 * once no other operation is under way. *ENDED_OUT says whether it was.
 */
struct torpor_error *tp_destroy_due(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call, bool *ended_out) TP_MUST_USE;

/* --- sleep.c --- */

/*
 * As tp_service_park, if nobody has used the session since ACTIVE_NS (of its brief) and no command
 * runs in it once no other operation is under way. *PARKED_OUT says whether it was.
 */
struct torpor_error *tp_park_idle(struct tp_service *service, const struct tp_actor *actor,
	const char *id, uint64_t active_ns, const struct tp_call *call,
	bool *parked_out) TP_MUST_USE;
/* By the operation, of one that is `unrecorded`: records what it is. */
struct torpor_error *tp_park_record_again(
	struct tp_service *service, struct tp_live *live) TP_MUST_USE;

/* --- lost.c --- */

/*
 * The session of that id has, perhaps, no guest any more: it ended by itself, or (DEAF) it gave no
 * sign of life for too long and is ended now. Without need nothing happens. With an image the
 * session is PARKED, then resumed (at most TP_RESTORES_MAX times in TP_RESTORES_WINDOW_S, and not
 * if the guest powered off); else it is in ERROR, with the reason. Blocks as a resume does. False:
 * it couldn't be looked at, and is `lost` until it could.
 */
#define TP_RESTORES_MAX	     3
#define TP_RESTORES_WINDOW_S 600
bool tp_live_guest_lost(struct tp_service *service, const char *id, bool deaf);
/* Its guest may have booted anew, or others have stopped or continued it: records how to take it
 * over now, and what state it is in. False: as above. */
bool tp_live_guest_changed(struct tp_service *service, const char *id);

/* --- settle.c --- */

/*
 * The end of every operation: writes the audit entry (outcome from ERR, which stays the caller's),
 * adds its place to CHANGE (taken; NULL: nothing to commit) and ACTOR's repeat key with STATUS and
 * RESULT (borrowed; what tp_service_repeat_begin makes the answer of: {"session": id}, {"sessions":
 * [ids]}, {"template": name} ..., or NULL), and waits for both. An error means that the operation
 * is to be undone; of the change it may be there or not, if the audit log couldn't be written:
 * tp_settle_undo.
 */
struct tp_op {
	const struct tp_actor *actor;
	const char *op;
	const char *object;   /* NULL: there is none yet */
	const json_t *detail; /* borrowed, or NULL */
	int status;	      /* HTTP, for the repeat; 0: not to be recorded */
	const json_t *result; /* borrowed, or NULL */
};
struct torpor_error *tp_settle(struct tp_service *service, const struct tp_op *op,
	struct tp_change *change, const struct torpor_error *err) TP_MUST_USE;
/* For what fails or is refused: the audit entry alone. ERR is passed through; NULL stays NULL. */
struct torpor_error *tp_refuse(
	struct tp_service *service, const struct tp_op *op, struct torpor_error *err) TP_MUST_USE;
/* In two steps, for a commit that is under way while the guest goes on. */
struct tp_settling {
	struct tp_commit *commit; /* NULL: nothing to commit */
	struct tp_audit_ticket ticket;
	uint64_t begun_ns;
};
void tp_settle_begin(struct tp_service *service, const struct tp_op *op, struct tp_change *change,
	const struct torpor_error *err, struct tp_settling *settling_out);
struct torpor_error *tp_settle_wait(
	struct tp_service *service, struct tp_settling *settling) TP_MUST_USE;
/*
 * OP goes on by another way although its commit has gone through: commits CHANGE (taken), which
 * puts the records back as tp_settle_undo does. Then again, in its second step as before: the audit
 * entry is there already.
 */
struct torpor_error *tp_settle_take_back(
	struct tp_service *service, const struct tp_op *op, struct tp_change *change) TP_MUST_USE;
void tp_settle_again(struct tp_service *service, const struct tp_op *op, struct tp_change *change,
	struct tp_settling *settling);
/*
 * OP failed although its commit may have gone through: commits CHANGE (taken), which puts the
 * records back, and has the repeat forgotten. A failure is logged: recovery is left with it.
 */
void tp_settle_undo(struct tp_service *service, const struct tp_op *op, struct tp_change *change);

/* --- templates.c --- */

/* The template, in use and in supply; filled first if it isn't. To be closed. */
struct torpor_error *tp_template_use(struct tp_service *service, const char *name,
	const struct tp_call *call, struct torpor_template **tmpl_out) TP_MUST_USE;
struct tp_timers tp_template_timers(struct tp_service *service, const char *name);

/* --- tenants.c --- */

/* As they hold, nothing unset. */
void tp_tenant_limits(
	struct tp_service *service, const char *tenant, struct tp_tenant_limits *limits_out);
struct tp_timers tp_tenant_timers(struct tp_service *service, const char *tenant);
/*
 * NOT_FOUND if the tenant is gone, or about to be. For whoever makes a session, once that is in the
 * table of live ones: a removal looks there, after it has told that it is under way.
 */
struct torpor_error *tp_tenant_check_stays(
	struct tp_service *service, const char *tenant) TP_MUST_USE;
/* A session's timers as they hold: its own, its template's, its tenant's, the defaults. */
struct tp_timers tp_timers_of(struct tp_service *service, const struct tp_session_row *row);

/* --- events.c --- */

/* DATA is taken. SESSION and TENANT may be NULL: everybody's. */
void tp_publish(struct tp_service *service, const char *type, const char *tenant,
	const char *session, json_t *data);

/* --- note.c: for the history --- */

/* LIVE's state, as it is now. */
void tp_note_state(struct tp_service *service, struct tp_live *live);
/* Something was done to LIVE, and took so long. SOURCE, IMAGE_BYTES and NAME as in struct
 * tp_operation_note (service/history.h). */
void tp_note_operation(struct tp_service *service, const struct tp_live *live, const char *op,
	uint64_t took_ns, const char *source, uint64_t image_bytes, const char *name);

/* --- metrics.c --- */

enum tp_measured {
	TP_MEASURED_CLAIM,  /* by source, template */
	TP_MEASURED_RESUME, /* by source, template */
	TP_MEASURED_PARK,   /* by template; to the answer */
	TP_MEASURED_CHECKPOINT,
	TP_MEASURED_COMMIT,
	TP_MEASURED_COUNT
};
void tp_measure(struct tp_service *service, enum tp_measured what, const char *template_name,
	const char *source, uint64_t took_ns);
void tp_count_failure(struct tp_service *service, enum tp_measured what, const char *template_name);
/* Refusals by reason are counted by tp_refuse. */

/* --- keeper.c --- */

/* Look at timers, deaths and memory now rather than later. Any thread. */
void tp_keeper_wake(struct tp_service *service);
/* The timers of session ID were changed; also of one that is parked. Any thread. */
void tp_keeper_changed(struct tp_service *service, const char *id);

/* --- view.c --- */

/* The session as docs/API.md has it; live may be NULL (a row alone). FULL: with figures of the
 * process. */
json_t *tp_session_view(struct tp_service *service, const struct tp_session_row *row,
	struct tp_live *live, bool full);
json_t *tp_time_json(uint64_t realtime_ns); /* null for 0 */
/* The view of a live session as it is now. */
json_t *tp_live_view(struct tp_service *service, struct tp_live *live, bool full);
json_t *tp_ms_json(uint64_t duration_ns); /* in milliseconds, to the microsecond */
/* "timing" of docs/API.md. TOTAL_NS: from the call's entry to now. */
json_t *tp_resume_timing(const struct torpor_resume_report *report, uint64_t total_ns);
json_t *tp_park_timing(const struct torpor_park_report *report, uint64_t total_ns);
json_t *tp_checkpoint_timing(const struct torpor_park_report *report, uint64_t total_ns);
json_t *tp_fresh_json(uint32_t fresh); /* enum torpor_fresh, as a list of names */

/* --- row.c --- */

void tp_session_row_copy(const struct tp_session_row *from, struct tp_session_row *row_out);
void tp_image_row_copy(const struct tp_image_row *from, struct tp_image_row *row_out);
/* Replaces a string of a row by a copy of TEXT (may be NULL). */
void tp_row_set(char **field, const char *text);
/* The info (labels, env, limits) of a row as an object, a new reference; empty if it is none. */
json_t *tp_row_json(const char *text);
/* Puts a JSON object (taken) into a field of a row. */
void tp_row_set_json(char **field, json_t *object);
static inline void tp_row_deinit_cleanup_(struct tp_session_row *row)
{
	tp_session_row_deinit(row);
}
#define TP_ROW __attribute__((cleanup(tp_row_deinit_cleanup_)))

static inline void tp_json_decref_cleanup_(json_t **json)
{
	json_decref(*json);
}
#define TP_JSON __attribute__((cleanup(tp_json_decref_cleanup_)))

/* --- check.c: what tenants send --- */

struct torpor_error *tp_check_name(const char *what, const char *name) TP_MUST_USE;
/*
 * EXISTS if a session of TENANT is recorded under NAME. Only spares the work: two that come at once
 * are told apart by the commit.
 */
struct torpor_error *tp_check_name_free(
	struct tp_service *service, const char *tenant, const char *name) TP_MUST_USE;
struct torpor_error *tp_check_timers(const struct tp_timers *timers) TP_MUST_USE;
struct torpor_error *tp_check_labels(const json_t *labels) TP_MUST_USE;
struct torpor_error *tp_check_env(const json_t *env) TP_MUST_USE;
/* LIMITS (may be NULL) as in docs/API.md; "unenforced" is passed over. */
struct torpor_error *tp_parse_limits(
	const json_t *limits, struct tp_limits *limits_out) TP_MUST_USE;

#endif
