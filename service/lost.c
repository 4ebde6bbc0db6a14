/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests that end, or boot anew, by themselves, or are stopped and continued by others.
 *
 * One that died, or is deaf, is put back to its last park, where there is one: its tenant finds the
 * session as it was then, and `restores` says so. Not one that powered itself off: somebody in it
 * wanted that. Its session is parked at what it was at its last park, or in ERROR.
 */
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "service/op.h"
#include "service/starting.h"

#define PATIENCE_NS (150 * TP_NSEC_PER_SEC) /* a guest that boots anew has its session's turn */

/* pool/watch.c */
#define POWERED_OFF "the guest powered off"
#define DEAF	    "the guest gave no sign of life"

/* What is to become of the session. */
struct verdict {
	char *reason; /* owned */
	bool restore;
	enum tp_state state;
};

/* --- How it ended --- */

/* Asks once more: it may be another guest by now than the one that was found deaf. */
static bool is_silent(struct tp_service *service, struct tp_live *live)
{
	struct torpor_session *core = live->core;

	/* It works for somebody: that is a sign of life. */
	if (tp_live_is_busy(service, live))
		return false;
	struct torpor_error *err = torpor_session_ping(core, NULL, NULL);
	enum torpor_errc code = err ? torpor_error_code(err) : TORPOR_E_INVALID;
	torpor_error_free(err);
	return (code == TORPOR_E_TIMEOUT || code == TORPOR_E_GUEST) &&
	       tp_session_state(core) == TORPOR_SESSION_RUNNING;
}

/* Why the guest of LIVE (held) has ended, or is to; NULL if all is well. The caller's to free. */
static char *find_reason(struct tp_service *service, struct tp_live *live, bool deaf)
{
	struct tp_call call = tp_call_within(PATIENCE_NS);
	char *reason = NULL;

	if (tp_session_state(live->core) == TORPOR_SESSION_ENDED) {
		struct torpor_error *err = tp_session_enter(live->core, false, &call);
		if (!err) {
			reason = tp_strdup(live->core->end_reason);
			tp_session_leave(live->core);
		}
		tp_error_log(err);
		return reason ? reason : tp_strdup("the guest ended");
	}
	return deaf && is_silent(service, live) ? tp_strdup(DEAF) : NULL;
}

/* How often it was restored within the window; those are kept in INFO, with NOW_NS if ADD. */
static unsigned int count_restores(json_t *info, uint64_t now_ns, bool add)
{
	const uint64_t window = TP_RESTORES_WINDOW_S * TP_NSEC_PER_SEC;
	json_t *kept = json_array();
	size_t i;
	json_t *at;

	json_array_foreach (json_object_get(info, "restored_ns"), i, at) {
		uint64_t then = (uint64_t)json_integer_value(at);
		/* In the future where the clock was set back since, for a while or for years. */
		if (then + window > now_ns && then < now_ns + window)
			json_array_append(kept, at);
	}
	unsigned int count = (unsigned int)json_array_size(kept);
	if (add && count < TP_RESTORES_MAX)
		json_array_append_new(kept, json_integer((json_int_t)now_ns));
	json_object_set_new(info, "restored_ns", kept);
	return count;
}

/* Takes CAUSE. ROW is what is to be committed. */
static struct verdict judge(struct tp_session_row *row, char *cause)
{
	json_t *info = tp_row_json(row->info);
	uint64_t now = tp_realtime_ns();
	bool wanted = row->park_uuid && strcmp(cause, POWERED_OFF) != 0;
	bool often = count_restores(info, now, wanted) >= TP_RESTORES_MAX;
	struct verdict verdict = {.restore = wanted && !often, .state = TP_STATE_ERROR};

	if (row->park_uuid && !(wanted && often))
		verdict.state = TP_STATE_PARKED;
	if (wanted && often)
		verdict.reason = tp_asprintf("%s, as %d times in the last %d minutes", cause,
			TP_RESTORES_MAX, TP_RESTORES_WINDOW_S / 60);
	else
		verdict.reason = tp_strdup(cause);
	free(cause);
	tp_row_set_json(&row->info, info);
	tp_row_set(&row->state, tp_state_name(verdict.state));
	tp_row_set(&row->reason, verdict.reason);
	tp_row_set(&row->handover, NULL);
	row->changed_ns = now;
	row->restores += verdict.restore;
	return verdict;
}

/* --- What becomes of it --- */

static void record(struct tp_service *service, struct tp_live *live,
	const struct tp_session_row *row, const struct verdict *verdict)
{
	struct tp_actor self = tp_actor_self(live->tenant);
	TP_JSON json_t *detail = json_object();
	struct tp_op op = {
		.actor = &self, .op = "guest-lost", .object = live->id, .detail = detail};
	struct tp_change *change = tp_change_new();

	json_object_set_new(detail, "reason", json_string(verdict->reason));
	json_object_set_new(detail, "state", json_string(tp_state_name(verdict->state)));
	tp_change_put_session(change, row);
	/* Should this fail: its guest is gone all the same, as recovery would find out. */
	tp_error_log(
		tp_error_in(tp_settle(service, &op, change, NULL), "record the end of", live->id));
	tp_fault("lost.committed");
}

/* It is to be looked after again, or not any more. */
static void set_lost(struct tp_service *service, struct tp_live *live, bool lost)
{
	pthread_mutex_lock(&service->lock);
	live->lost = lost;
	pthread_mutex_unlock(&service->lock);
}

/* True if it is to be resumed now. */
static bool lose_held(struct tp_service *service, struct tp_live *live, bool deaf)
{
	enum tp_state before = live->state;
	TP_ROW struct tp_session_row row = {0};

	set_lost(service, live, false);
	char *cause = find_reason(service, live, deaf);
	if (!cause) {
		tp_live_end(service, live, before);
		return false;
	}
	tp_log(TP_LOG_WARNING, "session %s: %s", live->id, cause);
	tp_fault("lost.begin");
	tp_live_copy_row(service, live, &row);
	struct verdict verdict = judge(&row, cause);
	record(service, live, &row, &verdict);
	tp_op_end_guest(service, live);
	tp_op_give_place(service, live);
	tp_live_set_row(service, live, &row, true);
	tp_live_end(service, live, verdict.state);
	free(verdict.reason);
	return verdict.restore;
}

static void restore(struct tp_service *service, const struct tp_live *live)
{
	struct tp_actor self = tp_actor_self(live->tenant);
	struct tp_call call = tp_call_within(2 * RESUME_TIMEOUT_NS);
	json_t *view = NULL;

	tp_error_log(tp_error_in(
		tp_service_resume(service, &self, live->id, &call, &view), "restore", live->id));
	json_decref(view);
}

/*
 * The live session of that id, held; NULL if it has no guest. To be put. *AGAIN_OUT: it couldn't be
 * had, which the keeper sees by `lost`.
 */
static struct tp_live *hold_running(struct tp_service *service, const char *id, bool *again_out)
{
	struct tp_call call = tp_call_within(PATIENCE_NS);
	struct tp_live *live = tp_live_peek(service, id);
	bool done;

	*again_out = false;
	if (!live)
		return NULL;
	struct torpor_error *err = tp_live_hold(service, live,
		TP_LIVE_IN(RUNNING) | TP_LIVE_IN(PAUSED), 0, "look after", &call, &done);
	if (!err)
		return live;
	/* Parked, destroyed meanwhile: then there is nothing to do. */
	*again_out = torpor_error_code(err) != TORPOR_E_BUSY &&
		     torpor_error_code(err) != TORPOR_E_NOT_FOUND;
	if (*again_out) {
		set_lost(service, live, true);
		tp_error_log(err);
	} else {
		torpor_error_free(err);
	}
	tp_live_put(service, live);
	return NULL;
}

bool tp_live_guest_lost(struct tp_service *service, const char *id, bool deaf)
{
	bool again;
	struct tp_live *live = hold_running(service, id, &again);

	if (!live)
		return !again;
	if (lose_held(service, live, deaf))
		restore(service, live);
	tp_live_put(service, live);
	return true;
}

/* --- One that booted anew, or that others paused or continued --- */

/* Its new process comes under the same limits. */
static void place_again(struct tp_service *service, struct tp_live *live)
{
	TP_JSON json_t *limits_json = tp_row_json(live->row.limits);
	struct tp_call call = tp_call_within(PATIENCE_NS);
	struct tp_limits limits;
	json_t *unenforced = NULL;

	struct torpor_error *err = tp_parse_limits(limits_json, &limits);
	if (!err)
		err = tp_session_enter(live->core, false, &call);
	if (!err) {
		tp_session_label(
			live->core, live->row.name ? live->row.name : live->id, live->tenant);
		if (tp_session_pid(live->core))
			err = tp_limit_guest(service, live->id, live->core, &limits, &unenforced);
		tp_session_leave(live->core);
	}
	json_decref(unenforced);
	tp_error_log(tp_error_in(err, "limit", live->id));
}

static struct torpor_error *record_handover(
	struct tp_service *service, struct tp_live *live, const char *handover)
{
	struct tp_actor self = tp_actor_self(live->tenant);
	struct tp_op op = {.actor = &self, .op = "reboot", .object = live->id};
	struct tp_change *change = tp_change_new();
	TP_ROW struct tp_session_row row = {0};

	tp_live_copy_row(service, live, &row);
	json_t *info = tp_row_json(row.info);
	json_object_set_new(info, "since_ns", json_integer((json_int_t)tp_realtime_ns()));
	tp_row_set_json(&row.info, info);
	tp_row_set(&row.handover, handover);
	tp_change_put_session(change, &row);
	TP_TRY(tp_settle(service, &op, change, NULL));
	tp_live_set_row(service, live, &row, true);
	return NULL;
}

/* Others, who may speak to QEMU too, have stopped it or let it go on. */
static struct torpor_error *record_state(
	struct tp_service *service, struct tp_live *live, enum tp_state state)
{
	struct tp_actor self = tp_actor_self(live->tenant);
	TP_JSON json_t *detail = json_pack("{s:s}", "by", "others");
	struct tp_op op = {.actor = &self,
		.op = state == TP_STATE_PAUSED ? "pause" : "unpause",
		.object = live->id,
		.detail = detail};
	struct tp_change *change = tp_change_new();
	TP_ROW struct tp_session_row row = {0};

	tp_live_copy_row(service, live, &row);
	tp_row_set(&row.state, tp_state_name(state));
	row.changed_ns = tp_realtime_ns();
	tp_change_put_session(change, &row);
	TP_TRY(tp_settle(service, &op, change, NULL));
	tp_live_set_row(service, live, &row, true);
	return NULL;
}

/* LIVE, which is held, becomes what its guest is; *STATE_OUT is the state that it is in then. */
static struct torpor_error *follow_guest(
	struct tp_service *service, struct tp_live *live, enum tp_state *state_out)
{
	enum torpor_session_state core = tp_session_state(live->core);
	enum tp_state state = core == TORPOR_SESSION_PAUSED ? TP_STATE_PAUSED : TP_STATE_RUNNING;
	TP_FREE char *handover = NULL;

	if (core != TORPOR_SESSION_RUNNING && core != TORPOR_SESSION_PAUSED)
		return NULL;
	if (live->unrecorded)
		TP_TRY(tp_park_record_again(service, live));
	TP_TRY(torpor_session_handover(live->core, &handover));
	if (strcmp(handover, live->row.handover) != 0) {
		place_again(service, live);
		TP_TRY(record_handover(service, live, handover));
	}
	if (state != live->state)
		TP_TRY(record_state(service, live, state));
	*state_out = state;
	return NULL;
}

bool tp_live_guest_changed(struct tp_service *service, const char *id)
{
	bool again;
	struct tp_live *live = hold_running(service, id, &again);

	if (!live)
		return !again;
	enum tp_state state = live->state;
	struct torpor_error *err = follow_guest(service, live, &state);
	again = err;
	if (again)
		set_lost(service, live, true);
	tp_error_log(tp_error_in(err, "record what became of", live->id));
	tp_live_end(service, live, state);
	tp_live_put(service, live);
	return !again;
}
