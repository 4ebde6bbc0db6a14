/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions that get a process. */
#include "service/starting.h"

#include <stdio.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/probe.h"
#include "service/op.h"

/* NAME of the operation's fault points. */
static struct torpor_error *fault(const struct tp_starting *starting, const char *name)
{
	char point[64];

	snprintf(point, sizeof(point), "%s.%s", starting->fault, name);
	return tp_fault_check(point);
}

struct torpor_error *tp_limit_guest(struct tp_service *service, const char *id,
	struct torpor_session *core, const struct tp_limits *limits, json_t **unenforced_out)
{
	TP_TRY(tp_session_limit(core, limits, unenforced_out));
	if (*unenforced_out)
		return NULL;
	return tp_cgroup_place(service->cgroup, id, tp_session_pid(core), limits, unenforced_out);
}

/* Puts the process under the session's limits; what can't be enforced is noted. */
static struct torpor_error *place(struct tp_starting *starting, struct torpor_session *core)
{
	json_t *limits_json = tp_row_json(starting->row.limits);
	struct tp_limits limits;
	json_t *unenforced = NULL;

	struct torpor_error *err = tp_parse_limits(limits_json, &limits);
	if (!err)
		err = tp_limit_guest(
			starting->service, starting->live->id, core, &limits, &unenforced);
	if (err) {
		json_decref(limits_json);
		return err;
	}
	json_object_set_new(limits_json, "unenforced", unenforced);
	tp_row_set_json(&starting->row.limits, limits_json);
	return NULL;
}

static struct torpor_error *on_loaded(void *data, struct torpor_session *core)
{
	struct tp_starting *starting = data;

	TP_TRY(fault(starting, "loaded"));
	tp_session_label(core, starting->row.name ? starting->row.name : starting->live->id,
		starting->live->tenant);
	return place(starting, core);
}

/* What is known when vCPUs run; what the guest confirms, and figures, follow (tp_starting_done). */
static void describe_running(struct tp_session_row *row, enum torpor_source source, char *handover)
{
	json_t *info = tp_row_json(row->info);
	uint64_t now = tp_realtime_ns();

	json_object_set_new(info, "started_ns", json_integer((json_int_t)now));
	json_object_set_new(info, "since_ns", json_integer((json_int_t)now));
	json_object_set_new(info, "source", json_string(torpor_source_name(source)));
	/* Of the process before. */
	json_object_del(info, "fresh");
	tp_row_set_json(&row->info, info);
	free(row->handover);
	row->handover = handover;
	tp_row_set(&row->state, tp_state_name(TP_STATE_RUNNING));
	tp_row_set(&row->reason, NULL);
	row->changed_ns = now;
	row->active_ns = now;
}

static void begin(struct tp_starting *starting)
{
	struct tp_service *service = starting->service;
	struct tp_change *change = tp_change_new();

	tp_change_put_session(change, &starting->row);
	if (starting->audited)
		tp_settle_again(service, starting->op, change, &starting->settling);
	else
		tp_settle_begin(service, starting->op, change, NULL, &starting->settling);
	starting->audited = true;
	starting->begun = true;
}

static struct torpor_error *on_running(void *data, struct torpor_session *core)
{
	struct tp_starting *starting = data;
	char *handover;

	TP_TRY(fault(starting, "running"));
	TP_TRY(tp_session_handover_locked(core, &handover));
	describe_running(&starting->row, tp_session_source(core), handover);
	if (starting->op)
		begin(starting);
	return fault(starting, "submitted");
}

/* The live session's row as it was before the start, or none where it is new. */
static struct tp_change *back(const struct tp_starting *starting)
{
	struct tp_change *change = tp_change_new();
	TP_ROW struct tp_session_row old = {0};

	tp_live_copy_row(starting->service, starting->live, &old);
	if (starting->live->recorded)
		tp_change_put_session(change, &old);
	else
		tp_change_remove_session(change, starting->live->id);
	return change;
}

/* Before its process ends: no session is recorded, or its request's repeat answered, without one.
 */
static struct torpor_error *on_dropped(void *data, struct torpor_session *core)
{
	struct tp_starting *starting = data;
	struct tp_service *service = starting->service;

	(void)core;
	if (!starting->begun)
		return NULL;
	struct torpor_error *err = tp_settle_wait(service, &starting->settling);
	struct torpor_error *kept = tp_settle_take_back(service, starting->op, back(starting));
	starting->begun = kept;
	err = tp_error_first(err, kept);
	if (err)
		return err;
	return tp_fault_check("create.dropped");
}

struct tp_session_hooks tp_starting_hooks(struct tp_starting *starting)
{
	return (struct tp_session_hooks){
		.on_loaded = on_loaded,
		.on_running = on_running,
		.on_dropped = on_dropped,
		.data = starting,
	};
}

struct torpor_error *tp_starting_wait(struct tp_starting *starting)
{
	if (!starting->begun)
		return NULL;
	TP_TRY(tp_settle_wait(starting->service, &starting->settling));
	TP_PROBE1(wake__recorded, starting->live->id);
	return fault(starting, "committed");
}

void tp_starting_undo(struct tp_starting *starting)
{
	if (!starting->begun)
		return;
	if (starting->settling.commit) {
		/* How it went doesn't matter any more. */
		torpor_error_free(tp_settle_wait(starting->service, &starting->settling));
	}
	tp_settle_undo(starting->service, starting->op, back(starting));
	starting->begun = false;
}

void tp_starting_confirmed(struct tp_starting *starting, const struct torpor_resume_report *report)
{
	json_t *info = tp_row_json(starting->row.info);

	json_object_set_new(info, "fresh", tp_fresh_json(report->fresh));
	tp_row_set_json(&starting->row.info, info);
}

/*
 * The row was committed while the guest confirmed; a second commit for what it said would make the
 * next claim wait. So this goes along with that one, or follows soon.
 */
static void note(const struct tp_starting *starting)
{
	struct tp_change *change = tp_change_new();

	tp_change_note_session(change, starting->row.id, starting->row.info);
	tp_error_log(tp_error_in(
		tp_records_commit(starting->service->records, change), "note", starting->live->id));
}

void tp_starting_done(struct tp_starting *starting, struct torpor_session *core,
	const struct torpor_resume_report *report, const json_t *timing)
{
	tp_starting_confirmed(starting, report);
	json_t *info = tp_row_json(starting->row.info);
	tp_info_last(info, "resume", json_incref((json_t *)timing));
	/* Of its first process: how long its start took. */
	if (!starting->live->recorded)
		json_object_set(info, "started_ms", json_object_get(timing, "total_ms"));
	tp_row_set_json(&starting->row.info, info);
	note(starting);
	tp_live_attach(starting->service, starting->live, core);
	tp_live_set_row(starting->service, starting->live, &starting->row, true);
}
