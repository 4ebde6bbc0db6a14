/* SPDX-License-Identifier: Apache-2.0 */
/* What the keeper's workers do; each chore like any client's request, but by "torpord". */
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "service/fault_points_recover.h"
#include "service/keeper_priv.h"
#include "service/metrics.h"
#include "service/repeats.h"
#include "service/templates.h"

#define PARK_WITHIN    (120 * TP_NSEC_PER_SEC)
#define DESTROY_WITHIN (60 * TP_NSEC_PER_SEC)
#define PING_WITHIN    (5 * TP_NSEC_PER_SEC)

/* The daemon, for TENANT, and why: the audit log shows it. */
static struct tp_actor self(const char *tenant, const char *why)
{
	struct tp_actor actor = tp_actor_self(tenant);

	snprintf(actor.how, sizeof(actor.how), "torpord (%s)", why);
	return actor;
}

static struct tp_call call_within(uint64_t timeout_ns, int cancel_fd)
{
	struct tp_call call = tp_call_within(timeout_ns);

	call.cancel_fd = cancel_fd;
	return call;
}

/* NULL, or TP_CHORE_FAILED of ERR, which is logged unless there was nothing to be done any more. */
static enum tp_chore_outcome outcome(
	struct tp_service *service, struct torpor_error *err, const char *why)
{
	if (!err) {
		tp_count_kept(service, why);
		return TP_CHORE_DONE;
	}
	if (torpor_error_code(err) == TORPOR_E_NOT_FOUND ||
		torpor_error_code(err) == TORPOR_E_CANCELLED) {
		torpor_error_free(err);
		return TP_CHORE_DONE;
	}
	tp_error_log(tp_error_in(err, "keep sessions", why));
	return TP_CHORE_FAILED;
}

static enum tp_chore_outcome destroy(struct tp_service *service, const char *tenant, const char *id,
	const char *why, int cancel_fd)
{
	struct tp_actor actor = self(tenant, why);
	struct tp_call call = call_within(DESTROY_WITHIN, cancel_fd);
	bool ended;

	tp_fault(TP_FAULT_KEEPER_DESTROY);
	struct torpor_error *err = tp_destroy_due(service, &actor, id, &call, &ended);
	return err || ended ? outcome(service, err, why) : TP_CHORE_DONE;
}

/* --- parking --- */

static enum tp_chore_outcome park_idle(
	struct tp_service *service, const struct tp_chore *chore, int cancel_fd)
{
	struct tp_actor actor = self(chore->tenant, "idle");
	struct tp_call call = call_within(PARK_WITHIN, cancel_fd);
	bool parked;

	tp_fault(TP_FAULT_KEEPER_PARK);
	struct torpor_error *err =
		tp_park_idle(service, &actor, chore->id, chore->active_ns, &call, &parked);
	return err || parked ? outcome(service, err, "idle") : TP_CHORE_DONE;
}

static enum tp_chore_outcome park(
	struct tp_service *service, const struct tp_chore *chore, const char *why, int cancel_fd)
{
	struct tp_actor actor = self(chore->tenant, why);
	struct tp_call call = call_within(PARK_WITHIN, cancel_fd);
	json_t *view = NULL;

	tp_fault(TP_FAULT_KEEPER_PARK);
	struct torpor_error *err = tp_service_park(service, &actor, chore->id, &call, &view);
	json_decref(view);
	return outcome(service, err, why);
}

/* --- signs of life --- */

static enum tp_chore_outcome ask(struct torpor_session *core)
{
	struct torpor_call call = {.timeout_ns = PING_WITHIN};
	struct torpor_ping_report report;

	struct torpor_error *err = torpor_session_ping(core, &call, &report);
	enum torpor_errc code = err ? torpor_error_code(err) : TORPOR_E_INVALID;
	torpor_error_free(err);
	if (!err)
		return TP_CHORE_DONE;
	/* One that boots anew, or has ended, isn't deaf: events tell of those. */
	bool silent = code == TORPOR_E_TIMEOUT || code == TORPOR_E_GUEST;
	return silent && tp_session_state(core) == TORPOR_SESSION_RUNNING ? TP_CHORE_MISSED
									  : TP_CHORE_UNTOLD;
}

static enum tp_chore_outcome ping(
	struct tp_service *service, const struct tp_chore *chore, int cancel_fd)
{
	struct tp_actor actor = self(chore->tenant, "health");
	struct tp_call call = call_within(PING_WITHIN, cancel_fd);
	enum tp_chore_outcome outcome = TP_CHORE_UNTOLD;
	struct torpor_session *core;
	struct tp_live *live;

	struct torpor_error *err = tp_live_get(service, &actor, chore->id, &live);
	if (err) {
		torpor_error_free(err);
		return TP_CHORE_UNTOLD;
	}
	err = tp_live_use(service, live, TP_LIVE_IN(RUNNING), "ask", &call, &core);
	if (!err) {
		/* One that works for somebody isn't put back to its last park for being slow. */
		if (!tp_live_is_busy(service, live))
			outcome = ask(core);
		tp_live_unuse(service, live);
	}
	torpor_error_free(err);
	tp_live_put(service, live);
	return outcome;
}

/* --- sessions without process --- */

/* Sessions of one group whose time is over: what changed at changed_ns or before. */
struct due {
	struct tp_due_group group;
	char *template_name; /* owned; the group's */
	char *tenant;
};

struct scan {
	struct tp_service *service;
	uint64_t now_ns;
	uint64_t next_ns;
	struct due *due; /* owned */
	size_t n;
};

static struct torpor_error *scan_group(void *data, const struct tp_due_group *group)
{
	struct scan *scan = data;
	struct tp_session_row row = {
		.tenant = (char *)group->tenant,
		.template_name = (char *)group->template_name,
		.ttl_s = TP_UNSET,
		.idle_s = TP_UNSET,
		.retention_s = group->retention_s,
		.changed_ns = group->changed_ns,
	};
	struct tp_timers timers = tp_timers_of(scan->service, &row);
	uint64_t at;

	if (!tp_parked_due(&row, &timers, scan->now_ns, &at)) {
		scan->next_ns = TP_MIN(scan->next_ns, at);
		return NULL;
	}
	scan->due = tp_reallocarray(scan->due, scan->n + 1, sizeof(*scan->due));
	struct due *due = &scan->due[scan->n++];
	due->template_name = tp_strdup(group->template_name);
	due->tenant = tp_strdup(group->tenant);
	due->group = (struct tp_due_group){
		.template_name = due->template_name,
		.tenant = due->tenant,
		.retention_s = group->retention_s,
		.changed_ns = scan->now_ns - (at - group->changed_ns),
	};
	return NULL;
}

struct ids {
	char (*ids)[TP_ID_LEN + 1]; /* owned */
	size_t n;
};

static struct torpor_error *collect_id(void *data, const char *id)
{
	struct ids *ids = data;

	if ((ids->n & (ids->n - 1)) == 0)
		ids->ids = tp_reallocarray(ids->ids, ids->n ? 2 * ids->n : 1, sizeof(*ids->ids));
	snprintf(ids->ids[ids->n++], sizeof(*ids->ids), "%s", id);
	return NULL;
}

/* Ending many takes a while, in which the later ones may have been resumed, or told to be kept. */
static bool still_due(struct tp_service *service, const char *id, uint64_t now_ns)
{
	struct tp_live *live = tp_live_peek(service, id);
	bool sleeps = true;

	if (live) {
		pthread_mutex_lock(&service->lock);
		sleeps = live->state == TP_STATE_PARKED || live->state == TP_STATE_ERROR;
		pthread_mutex_unlock(&service->lock);
		tp_live_put(service, live);
	}
	return sleeps && tp_chore_gone(service, id) <= now_ns;
}

/* False: not all of them; there was a failure, or the keeper ends. */
static bool end_group(struct scan *scan, const struct due *due, int cancel_fd)
{
	struct tp_call call = call_within(TP_NO_DEADLINE, cancel_fd);
	struct ids ids = {0};
	bool failed = false;

	struct torpor_error *err =
		tp_records_sessions_due(scan->service->records, &due->group, collect_id, &ids);
	for (size_t i = 0; i < ids.n && !err; i++) {
		err = tp_call_check(&call, "look at", "parked sessions");
		if (!err && still_due(scan->service, ids.ids[i], scan->now_ns))
			failed |= destroy(scan->service, due->tenant, ids.ids[i], "retention",
					  cancel_fd) == TP_CHORE_FAILED;
	}
	free(ids.ids);
	if (!err)
		return !failed;
	(void)outcome(scan->service, err, "retention");
	return false;
}

void tp_chore_parked(struct tp_service *service, int cancel_fd, uint64_t *next_ns_out)
{
	struct scan scan = {.service = service, .now_ns = tp_realtime_ns(), .next_ns = UINT64_MAX};
	bool ended = true;

	tp_error_log(tp_error_in(tp_records_due_groups(service->records, scan_group, &scan),
		"look at", "parked sessions"));
	for (size_t i = 0; i < scan.n; i++) {
		ended = end_group(&scan, &scan.due[i], cancel_fd) && ended;
		free(scan.due[i].template_name);
		free(scan.due[i].tenant);
	}
	/* When those that are left are due is seen by looking again. */
	if (scan.n > 0)
		scan.next_ns = TP_MIN(scan.next_ns,
			scan.now_ns + (ended ? TP_NSEC_PER_SEC : 60 * TP_NSEC_PER_SEC));
	free(scan.due);
	*next_ns_out = scan.next_ns;
}

uint64_t tp_chore_gone(struct tp_service *service, const char *id)
{
	TP_ROW struct tp_session_row row = {0};
	uint64_t at;

	struct torpor_error *err = tp_records_session(service->records, NULL, id, &row);
	if (err) {
		torpor_error_free(err);
		return UINT64_MAX;
	}
	struct tp_timers timers = tp_timers_of(service, &row);
	(void)tp_parked_due(&row, &timers, tp_realtime_ns(), &at);
	return at;
}

/* --- records --- */

void tp_chore_touch(struct tp_service *service, uint64_t since_ns)
{
	TP_FREE struct tp_live_brief *briefs = NULL;
	struct tp_change *change = tp_change_new();
	size_t n = tp_live_briefs(service, &briefs);
	size_t touched = 0;

	for (size_t i = 0; i < n; i++) {
		if (briefs[i].active_ns < since_ns)
			continue;
		tp_change_touch_session(change, briefs[i].id, briefs[i].active_ns);
		touched++;
	}
	if (touched == 0)
		tp_change_free(change);
	else
		tp_error_log(tp_error_in(tp_records_commit(service->records, change), "record",
			"when sessions were used"));
}

static void forget(struct tp_service *service)
{
	struct tp_change *change = tp_change_new();

	tp_change_forget_repeats(change, tp_realtime_ns() - TP_REPEAT_KEEP_NS);
	tp_error_log(
		tp_error_in(tp_records_commit(service->records, change), "forget", "old requests"));
}

/* --- all --- */

static void templates(struct tp_service *service, int cancel_fd)
{
	struct tp_call call = call_within(TP_NO_DEADLINE, cancel_fd);

	tp_templates_prepare(service, &call);
	tp_templates_release(service, tp_now_ns());
}

/* What couldn't be done is tried again, after a while. */
static enum tp_chore_outcome look_after(struct tp_service *service, const char *id)
{
	bool done = tp_live_guest_lost(service, id, false);

	done = tp_live_guest_changed(service, id) && done;
	return done ? TP_CHORE_DONE : TP_CHORE_FAILED;
}

enum tp_chore_outcome tp_chore_do(
	struct tp_service *service, const struct tp_chore *chore, int cancel_fd)
{
	switch (chore->kind) {
	case TP_CHORE_LOST:
		tp_fault(TP_FAULT_KEEPER_LOST);
		return look_after(service, chore->id);
	case TP_CHORE_DEAF:
		tp_count_kept(service, "deaf");
		tp_live_guest_lost(service, chore->id, true);
		return TP_CHORE_DONE;
	case TP_CHORE_EXPIRE:
		return destroy(service, chore->tenant, chore->id, "ttl", cancel_fd);
	case TP_CHORE_IDLE:
		return park_idle(service, chore, cancel_fd);
	case TP_CHORE_PRESSURE:
		return park(service, chore, "pressure", cancel_fd);
	case TP_CHORE_PING:
		return ping(service, chore, cancel_fd);
	case TP_CHORE_FORGET:
		forget(service);
		return TP_CHORE_DONE;
	case TP_CHORE_TEMPLATES:
		templates(service, cancel_fd);
		return TP_CHORE_DONE;
	default:
		assert(!"a chore of the keeper's own");
		return TP_CHORE_DONE;
	}
}
