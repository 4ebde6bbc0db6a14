/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions, from the inside.
 *
 *             start, fork, adopt                 open
 *                     |                            |
 *                     v            park            v
 *      +---------> RUNNING  -------------------> PARKED
 *      |            |   ^   <-------------------   ^
 *      |      pause |   | unpause   resume         |
 *      | boots      v   |             park         |
 *      | anew      PAUSED  ------------------------+
 *      |              ^
 *      |              | adopt
 *      |
 *   REBOOTING  <----- from RUNNING and PAUSED: the guest resets itself
 *      |
 *      | can't boot
 *      v
 *    ENDED     <----- from RUNNING and PAUSED: it powers off, or its process dies
 *
 * A checkpoint leaves RUNNING and PAUSED as they are. Every state can be closed or destroyed. A
 * session that is adopted begins in PARKED like all others, unseen. What a guest began before it
 * was paused ends in PAUSED: one that had just reset itself boots anew, and runs then.
 */
#ifndef TP_POOL_SESSION_H
#define TP_POOL_SESSION_H

#include "engine/cgroup.h"
#include "engine/helper.h"
#include "pool/template.h"
#include "storage/image_reader.h"

/* What is made fresh in a guest that goes on in the same place. */
#define TP_WAKE_STEPS ((uint32_t)TORPOR_FRESH_CLOCK | (uint32_t)TORPOR_FRESH_RANDOM)

struct torpor_session {
	/* Constant. */
	struct torpor_engine *engine;
	struct torpor_template *tmpl; /* counted */
	char *name;		      /* what it goes by here, for those who haven't the turn */
	struct tp_turn *turn;	      /* calls take turns */
	uint64_t watch_id;	      /* unique in the engine */
	int retire_fd;		      /* readable once nobody wants the session any more */

	/* By the engine's lock. */
	struct torpor_session *next;
	unsigned int endings; /* rounds that the watcher's thread has before it, 2 at most */
	char *guest_name;     /* of the guest that is watched; NULL: none is */
	enum tp_stir stir;    /* what was heard last of its vCPUs */

	/* By whoever has the turn. */
	struct tp_record record;
	char *image_name; /* under images/; or NULL */
	char *image_path; /* of the image to resume from: a path as given, or NULL: image_name's */
	struct tp_guest *guest;
	struct tp_memory memory;
	struct tp_helper *helper;  /* NULL: the guest has none */
	uint64_t nonce;		   /* of the last request to make it fresh */
	uint64_t sent_realtime_ns; /* the time in that request */
	uint32_t owed;		   /* names that it isn't known to have yet (enum torpor_fresh) */
	uint64_t entered_ns;	   /* when the last start, resume or fork was entered */
	enum torpor_source source; /* of the process that it has, or had last */
	char *end_reason;	   /* in ENDED */

	/* By info_lock; written by whoever has the turn. */
	pthread_mutex_t info_lock;
	struct torpor_session_info info;
};

/*
 * Moves the session to STATE, and shows its guest where that is RUNNING or PAUSED; asserts that the
 * drawing above has that arrow.
 */
void tp_session_set_state(struct torpor_session *session, enum torpor_session_state state);

enum torpor_session_state tp_session_state(struct torpor_session *session);

/* BUSY unless its guest is there: RUNNING or PAUSED. */
struct torpor_error *tp_session_require_guest(
	struct torpor_session *session, const char *step) TP_MUST_USE;

/* BUSY unless the session is in STATE, with its reason where it has ended. */
struct torpor_error *tp_session_require(struct torpor_session *session,
	enum torpor_session_state state, const char *step) TP_MUST_USE;

/*
 * Takes the session's turn. What is due to a guest that ended meanwhile is done before: one that
 * reset itself has booted anew. With URGENT whoever has the turn is told to make way.
 */
struct torpor_error *tp_session_enter(
	struct torpor_session *session, bool urgent, const struct tp_call *call) TP_MUST_USE;
void tp_session_leave(struct torpor_session *session);

/*
 * ERR, or where that came of GUEST's end, in its place how it ended. Connections and memory go a
 * moment before the process has, and only with that is it known: that is waited for, shortly.
 */
struct torpor_error *tp_session_explain(const struct torpor_session *session,
	struct tp_guest *guest, struct torpor_error *err, const struct tp_call *call) TP_MUST_USE;

/* A new session in PARKED, of TMPL, which is counted up; in the engine's list. EXISTS. */
struct torpor_error *tp_session_new(struct torpor_template *tmpl, const struct tp_record *record,
	struct torpor_session **session_out) TP_MUST_USE;

/*
 * Before the guest ends: has those who follow its commands get CODE and WHY. What was told first
 * holds. What its commands have sent before still gets to their callers.
 */
void tp_session_tell_end(struct torpor_session *session, enum torpor_errc code, const char *why);

/*
 * Ends the guest, as far as there is one, and forgets its memory and channels. Where nothing else
 * was told, those who follow its commands get that it was ended.
 */
struct torpor_error *tp_session_end_guest(
	struct torpor_session *session, const struct tp_call *call) TP_MUST_USE;

/*
 * Ends the guest, whatever it does (a boot is broken off), and leaves the session without one:
 * PARKED, with the image of its last park if there is one, or ENDED. Calls that wait for their turn
 * fail then, so that the handle can be closed once they are back.
 */
struct torpor_error *tp_session_quit(
	struct torpor_session *session, const struct tp_call *call) TP_MUST_USE;

/*
 * The record of a new session: FROM's, with the names of SPEC and a machine-id of its own.
 * INVALID for names that are none.
 */
struct torpor_error *tp_session_describe(const struct tp_record *from,
	const struct torpor_session_spec *spec, struct tp_record *record_out) TP_MUST_USE;

struct tp_session_hooks;

/* A new running session from the template (IMAGE is NULL) or an image of record FROM. */
struct torpor_error *tp_session_start_from(struct torpor_template *tmpl,
	const struct tp_image *image, const struct tp_record *from,
	const struct torpor_session_spec *spec, const struct tp_session_hooks *hooks,
	uint64_t entered_ns, const struct tp_call *call, struct torpor_resume_report *report_out,
	struct torpor_session **session_out) TP_MUST_USE;

/* --- steps in between, for those above who have something to do there --- */

/*
 * Each is called on the thread of the call, which has the session's turn: it may ask
 * tp_session_pid, tp_session_source and tp_session_handover_locked, and nothing else of the
 * session. An error from one fails the call as any other failure there would. Where that or
 * anything else fails the process is given up: on_dropped is called, then it is ended. Where it had
 * waited warm and turned out to be dead or deaf, the hooks are called again with the next one. A
 * handover taken in on_loaded or on_running of a start or fork says that the guest isn't known to
 * have its names, and they are set again when whoever adopts it stops and continues it; one taken
 * after the call doesn't.
 */
typedef struct torpor_error *tp_session_hook(void *data, struct torpor_session *session);

struct tp_session_hooks {
	tp_session_hook
		*on_loaded; /* start, resume, fork: it has its process, which stands still */
	tp_session_hook
		*on_running; /* the same: vCPUs run; that it is fresh is not yet confirmed */
	tp_session_hook *on_dropped; /* the same: it failed; this process ends next */
	tp_session_hook
		*on_durable; /* park: image durable, process still there; an error takes it back */
	void *data;
};

/* As the public calls, with HOOKS (may be NULL). */
struct torpor_error *tp_session_start_hooked(struct torpor_template *tmpl,
	const struct torpor_session_spec *spec, const struct tp_session_hooks *hooks,
	const struct torpor_call *call, struct torpor_resume_report *report_out,
	struct torpor_session **session_out) TP_MUST_USE;
struct torpor_error *tp_session_resume_hooked(struct torpor_session *session,
	const struct tp_session_hooks *hooks, const struct torpor_call *call,
	struct torpor_resume_report *report_out) TP_MUST_USE;
struct torpor_error *tp_session_park_hooked(struct torpor_session *session,
	const struct tp_session_hooks *hooks, const struct torpor_call *call,
	struct torpor_park_report *report_out) TP_MUST_USE;
/* HOOKS: COUNT of them, one for each fork, or NULL. */
struct torpor_error *tp_session_fork_hooked(struct torpor_session *source,
	const struct torpor_session_spec *specs, size_t count, const struct tp_session_hooks *hooks,
	const struct torpor_call *call, struct torpor_resume_report *reports_out,
	struct torpor_session **sessions_out) TP_MUST_USE;

/*
 * Has the session's guest shown to others as TITLE's, of TENANT (either may be NULL: not known);
 * by whoever has the turn. It lasts as long as the guest's process.
 */
void tp_session_label(struct torpor_session *session, const char *title, const char *tenant);

/*
 * Puts the session's guest under LIMITS where that is its launcher's business; *UNENFORCED_OUT is
 * NULL where it isn't, else as tp_guest_limit gives it. By whoever has the turn.
 */
struct torpor_error *tp_session_limit(struct torpor_session *session,
	const struct tp_limits *limits, json_t **unenforced_out) TP_MUST_USE;

/* For hooks: as torpor_session_info's pid, the report's source, and torpor_session_handover. */
int tp_session_pid(struct torpor_session *session);
enum torpor_source tp_session_source(const struct torpor_session *session);
struct torpor_error *tp_session_handover_locked(
	struct torpor_session *session, char **handover_out) TP_MUST_USE;

/*
 * Whether the session's turn is taken: an operation is under way, or a command through the agent.
 */
bool tp_session_busy(struct torpor_session *session);

/* --- exec.c --- */

/* A command, to be followed. It doesn't need the session any more once it is made. */
struct tp_session_command;

/*
 * What EXEC points to must last as long as the command. BUSY unless the session is RUNNING. Where
 * the guest has no helper, this runs the command to its end. Otherwise as tp_command_new.
 */
struct torpor_error *tp_session_command_new(struct torpor_session *session,
	const struct torpor_exec *exec, const struct tp_call *call,
	struct tp_session_command **command_out) TP_MUST_USE;
/* One that wasn't followed to its end runs on, or is killed (kill_on_cancel). Takes NULL. */
struct tp_session_command *tp_session_command_free(struct tp_session_command *command);
TP_DEFINE_CLEANUP(struct tp_session_command *, tp_session_command_free)

/*
 * As torpor_session_exec, whatever is done to the session meanwhile; to be called once. BUSY if it
 * was parked or ended, QEMU if the guest ended.
 */
struct torpor_error *tp_session_command_follow(struct tp_session_command *command,
	const struct tp_call *call, struct torpor_exec_result *result_out) TP_MUST_USE;

/* --- wake.c: the ways into RUNNING --- */

/*
 * Loads IMAGE (NULL: the template's state) into a shell or a fresh process and runs it. STEPS are
 * what is to be made fresh (enum torpor_fresh). ENTERED_NS is when the public call was entered.
 * HOOKS may be NULL. On failure no process is left and the session is as before.
 */
struct torpor_error *tp_session_wake(struct torpor_session *session, const struct tp_image *image,
	uint32_t steps, const struct tp_session_hooks *hooks, uint64_t entered_ns,
	const struct tp_call *call, struct torpor_resume_report *report_out) TP_MUST_USE;

/* Boots the guest anew, over RAM of its own: after it reset itself. */
struct torpor_error *tp_session_boot(
	struct torpor_session *session, const struct tp_call *call) TP_MUST_USE;

/* Lets a stopped guest go on where it was, fresh. After a failure it may run or stand still. */
struct torpor_error *tp_session_let_run(struct torpor_session *session, const struct tp_call *call,
	uint64_t *resumed_ns_out) TP_MUST_USE;

/* --- fresh.c --- */

/*
 * Makes a running guest fresh: its helper, else its agent as far as that can. With SENT the request
 * was written already (tp_session_send_fresh) and only the answer is waited for.
 */
struct torpor_error *tp_session_send_fresh(
	struct torpor_session *session, uint32_t steps, const struct tp_call *call) TP_MUST_USE;
struct torpor_error *tp_session_wait_fresh(struct torpor_session *session, uint32_t steps,
	const struct tp_call *call, uint32_t *fresh_out, int64_t *clock_error_out) TP_MUST_USE;

/* --- park.c --- */

/*
 * Captures the guest into images/IMAGE_NAME. With CHECKPOINT it goes on as soon as it is copied,
 * else it is left stopped for its end. On failure it runs. A session that is PAUSED stays so in any
 * case. *STOP_NS_OUT is when `stop` was sent.
 */
struct torpor_error *tp_session_save(struct torpor_session *session, const char *image_name,
	bool checkpoint, const struct tp_call *call, uint64_t *stop_ns_out,
	struct torpor_park_report *report) TP_MUST_USE;

/* The image that a parked session would be resumed from. */
struct torpor_error *tp_session_open_image(struct torpor_session *session,
	const struct tp_call *call, struct tp_image **image_out) TP_MUST_USE;

/* Puts the path of the session's image into what torpor_session_info tells. */
void tp_session_show_image(struct torpor_session *session);

/* The session as IMAGE has it, but for the name that it goes by here. */
struct torpor_error *tp_session_read_record(const struct torpor_session *session,
	const struct tp_image *image, struct tp_record *record_out) TP_MUST_USE;

#endif
