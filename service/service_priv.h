/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service, from the inside.
 *
 * Live sessions (struct tp_live) are those with a process or with an operation under way; all
 * others are rows in the records and cost nothing here. An operation:
 *
 *   tp_live_get         finds it, or makes a live one of its row; NOT_FOUND for another's
 *   tp_live_begin       waits until no other operation is under way, and moves it into a passing
 * state
 *   ...                 the guest
 *   tp_settle           commits the change and the audit entry, waits for both
 *   tp_live_end         moves it into the state it has reached, tells the events, wakes who waits
 *   tp_live_put         gives it back; one that is parked, in error or gone is forgotten with the
 * last
 *
 * Locks: service->lock guards the table and every tp_live's fields by it; it is never held across a
 * call that can block. An operation (passing state) owns what is marked so.
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

struct tp_live {
	char id[TP_ID_LEN + 1]; /* constant */

	/* By the service's lock. */
	struct tp_live *next; /* in its bucket */
	unsigned int refs;
	enum tp_state state;
	enum tp_state before;	   /* the passing state */
	uint64_t created_ns;	   /* CLOCK_REALTIME */
	struct tp_session_row row; /* as committed last; id NULL: not yet */
	unsigned int execs;	   /* under way: it isn't idle */
	uint64_t active_ns;	   /* CLOCK_REALTIME: its tenant last asked for something */
	uint64_t cpu_ns;	   /* of its process, and when that was read: idleness */
	uint64_t cpu_read_ns;
	struct torpor_cancel *cancel; /* of the park that is under way, until it is durable */
	bool lost;		      /* its guest has ended by itself: to be dealt with */
	unsigned int deaf;	      /* signs of life that did not come, in a row */

	/* By whoever moved it into a passing state; else constant. */
	struct torpor_session *core; /* NULL without process */
};

struct tp_service_metrics;
struct tp_event_ring;
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

/* --- live.c --- */

struct torpor_error *tp_live_get(struct tp_service *service, const struct tp_actor *actor,
	const char *id, struct tp_live **live_out) TP_MUST_USE;
/* A new one in CREATED, without a row yet. */
struct tp_live *tp_live_new(struct tp_service *service, const char *tenant);
/* One that recovery found running: ROW and CORE are taken. */
void tp_live_adopt(struct tp_service *service, struct tp_session_row *row,
	struct torpor_session *core, enum tp_state state);
void tp_live_put(struct tp_service *service, struct tp_live *live);
/*
 * Waits for the operation under way, if any. Then, if the state is one of DONE (bits, 1 << state):
 * *DONE_OUT, nothing to do. If there is an arrow to PASSING: moves there. BUSY otherwise, naming
 * the state.
 */
struct torpor_error *tp_live_begin(struct tp_service *service, struct tp_live *live,
	enum tp_state passing, unsigned int done, const struct tp_call *call,
	bool *done_out) TP_MUST_USE;
/* Moves on, asserting the arrow; publishes the session's event. */
void tp_live_end(struct tp_service *service, struct tp_live *live, enum tp_state state);
/* Its tenant has asked for something: it isn't idle. */
void tp_live_touch(struct tp_service *service, struct tp_live *live);

/* Copies of all live sessions' ids and states at this moment; the caller's to free. */
struct tp_live_brief {
	char id[TP_ID_LEN + 1];
	char tenant[65];
	enum tp_state state;
	int pid;
	uint64_t active_ns;
	uint64_t created_ns;
	int64_t ttl_s, idle_s; /* as they hold: nothing unset */
	unsigned int execs;
	bool lost;
	bool has_image;
};
size_t tp_live_briefs(struct tp_service *service, struct tp_live_brief **briefs_out);

/* --- settle.c --- */

/*
 * The end of every operation: writes the audit entry (outcome from ERR, which stays the caller's),
 * adds its place to CHANGE (taken; NULL: nothing to commit) and ACTOR's repeat key with STATUS and
 * RESULT (borrowed; what tp_service_repeat_begin makes the answer of: {"session": id}, {"sessions":
 * [ids]}, {"template": name} ..., or NULL), and waits for both. An error means that nothing was
 * recorded: the operation is to be undone.
 */
struct tp_op {
	const struct tp_actor *actor;
	const char *op;
	const char *object;
	const json_t *detail; /* borrowed, or NULL */
	int status;	      /* HTTP, for the repeat; 0: not to be recorded */
	const json_t *result; /* borrowed, or NULL */
};
struct torpor_error *tp_settle(struct tp_service *service, const struct tp_op *op,
	struct tp_change *change, const struct torpor_error *err) TP_MUST_USE;
/* For what fails or is refused: the audit entry alone. ERR is passed through. */
struct torpor_error *tp_refuse(
	struct tp_service *service, const struct tp_op *op, struct torpor_error *err) TP_MUST_USE;
/* In two steps, for a commit that is under way while the guest goes on. */
struct tp_settling {
	struct tp_commit *commit;
	struct tp_audit_ticket ticket;
	bool audited;
};
void tp_settle_begin(struct tp_service *service, const struct tp_op *op, struct tp_change *change,
	const struct torpor_error *err, struct tp_settling *settling_out);
struct torpor_error *tp_settle_wait(
	struct tp_service *service, struct tp_settling *settling) TP_MUST_USE;

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
/* A session's timers as they hold: its own, its template's, its tenant's, the defaults. */
struct tp_timers tp_timers_of(struct tp_service *service, const struct tp_session_row *row);

/* --- events.c --- */

/* DATA is taken. SESSION and TENANT may be NULL: everybody's. */
void tp_publish(struct tp_service *service, const char *type, const char *tenant,
	const char *session, json_t *data);

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

/* --- view.c --- */

/* The session as docs/API.md has it; live may be NULL (a row alone). FULL: with figures of the
 * process. */
json_t *tp_session_view(struct tp_service *service, const struct tp_session_row *row,
	const struct tp_live *live, bool full);
json_t *tp_time_json(uint64_t realtime_ns); /* null for 0 */

#endif
