/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Park and resume.
 *
 * A park is committed while the guest's process is still there, standing still behind a durable
 * image: only with the commit is there no way back. Whatever fails before it, or a cancel, has the
 * guest run on.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "service/op.h"
#include "service/starting.h"

/* --- Park --- */

struct parking {
	struct tp_service *service;
	const struct tp_op *op;
	struct tp_live *live;
	struct tp_call call; /* also ended by tp_service_cancel_park */
	uint64_t entered_ns;
	struct tp_session_row row; /* as it is to be committed */
	uint64_t execs;		   /* those that went into the row */
	bool submitted;		   /* the commit was: it may have gone through */
};

/* A descriptor that is readable once either is; the caller's to close. A_FD may be -1. */
static struct torpor_error *either(int a_fd, int b_fd, int *fd_out)
{
	TP_FD int fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};

	if (fd < 0 || epoll_ctl(fd, EPOLL_CTL_ADD, b_fd, &event) < 0 ||
		(a_fd >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, a_fd, &event) < 0))
		return tp_error_errno(errno, "combine", "cancellations");
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}

/* CANCEL ends the park from here on; NULL: nobody does any more. */
static void set_cancel(
	struct tp_service *service, struct tp_live *live, struct torpor_cancel *cancel)
{
	pthread_mutex_lock(&service->lock);
	live->cancel = cancel;
	live->no_way_back = !cancel;
	if (cancel && live->taken_back)
		torpor_cancel_trigger(cancel);
	pthread_mutex_unlock(&service->lock);
}

/* What the row says of the image that is there now; none if there is none. */
static struct torpor_error *describe_image(struct tp_service *service, struct tp_session_row *row)
{
	TP_FREE char *path = tp_image_file(service, row->id);
	struct torpor_image_info info;

	TP_TRY(torpor_image_inspect(path, NULL, &info));
	tp_row_set(&row->park_uuid, info.uuid);
	row->park_bytes = info.file_bytes;
	torpor_image_info_deinit(&info);
	return NULL;
}

static void put_park_image(struct tp_change *change, const struct tp_session_row *row)
{
	tp_change_put_image(change, &(struct tp_image_row){
					    .name = row->id,
					    .session = row->id,
					    .tenant = row->tenant,
					    .kind = (char[]){"park"},
					    .template_id = row->template_id,
					    .bytes = row->park_bytes,
					    .created_ns = row->changed_ns,
				    });
}

static void describe_parked(struct parking *parking)
{
	struct tp_session_row *row = &parking->row;
	json_t *info = tp_row_json(row->info);
	uint64_t now = tp_realtime_ns();
	struct torpor_park_report report = {
		.durable_ns = tp_now_ns() - parking->entered_ns, .image_bytes = row->park_bytes};

	pthread_mutex_lock(&parking->service->lock);
	parking->execs = parking->live->execs_total;
	pthread_mutex_unlock(&parking->service->lock);
	json_object_set_new(info, "parked_ns", json_integer((json_int_t)now));
	tp_info_add(info, "parks", 1);
	tp_info_add(info, "execs", parking->execs);
	tp_info_last(info, "park", tp_park_timing(&report, report.durable_ns));
	tp_row_set_json(&row->info, info);
	tp_row_set(&row->state, tp_state_name(TP_STATE_PARKED));
	tp_row_set(&row->reason, NULL);
	tp_row_set(&row->handover, NULL);
	row->changed_ns = now;
}

/* What records ROW, with the image of its park or without one. */
static struct tp_change *change_to(const struct tp_session_row *row)
{
	struct tp_change *change = tp_change_new();

	tp_change_put_session(change, row);
	if (row->park_uuid)
		put_park_image(change, row);
	else
		tp_change_remove_image(change, row->id);
	return change;
}

/*
 * A park that fails with its image durable: the records are put back to a session that runs, with
 * the image that the core leaves (the new one where it has replaced another, else none). Before the
 * core takes that away: should this process die behind it, none is recorded as parked without one.
 * Where that fails, too, it is left to the keeper.
 */
static void put_back(struct parking *parking)
{
	struct tp_service *service = parking->service;
	struct tp_live *live = parking->live;
	TP_ROW struct tp_session_row row = {0};

	tp_live_copy_row(service, live, &row);
	int64_t before = (int64_t)row.park_bytes;
	struct torpor_error *none = row.park_uuid ? describe_image(service, &row) : NULL;
	if (none) {
		torpor_error_free(none);
		tp_row_set(&row.park_uuid, NULL);
	}
	if (!row.park_uuid)
		row.park_bytes = 0;
	struct torpor_error *err = tp_settle_take_back(service, parking->op, change_to(&row));
	tp_admission_images(service->admission, live->tenant, (int64_t)row.park_bytes - before);
	tp_live_set_row(service, live, &row, true);
	pthread_mutex_lock(&service->lock);
	live->unrecorded = err;
	pthread_mutex_unlock(&service->lock);
	tp_error_log(err);
}

struct torpor_error *tp_park_record_again(struct tp_service *service, struct tp_live *live)
{
	TP_ROW struct tp_session_row row = {0};

	tp_live_copy_row(service, live, &row);
	TP_TRY(tp_records_commit(service->records, change_to(&row)));
	tp_live_set_row(service, live, &row, true);
	return NULL;
}

/* Unless somebody has cancelled it. */
static struct torpor_error *record_park(struct parking *parking)
{
	struct tp_service *service = parking->service;

	TP_TRY(tp_call_check(&parking->call, "park", parking->live->id));
	TP_TRY(tp_fault_check("park.durable"));
	TP_TRY(describe_image(service, &parking->row));
	describe_parked(parking);
	parking->submitted = true;
	TP_TRY(tp_settle(service, parking->op, change_to(&parking->row), NULL));
	return tp_fault_check("park.committed");
}

/* The image is durable, the process still there: now it is recorded, or taken back. */
static struct torpor_error *on_durable(void *data, struct torpor_session *core)
{
	struct parking *parking = data;

	(void)core;
	/* From here on nobody can cancel; whoever did before has won. */
	set_cancel(parking->service, parking->live, NULL);
	struct torpor_error *err = record_park(parking);
	if (err && (parking->submitted || parking->live->row.park_uuid))
		put_back(parking);
	return err;
}

static void count_parked(struct parking *parking)
{
	struct tp_service *service = parking->service;
	struct tp_live *live = parking->live;
	int64_t grown = (int64_t)parking->row.park_bytes - (int64_t)live->row.park_bytes;

	tp_admission_images(service->admission, live->tenant, grown);
	tp_op_give_place(service, live);
	pthread_mutex_lock(&service->lock);
	live->execs_total -= parking->execs;
	pthread_mutex_unlock(&service->lock);
}

static struct torpor_error *park_cancellable(
	struct parking *parking, struct torpor_park_report *report)
{
	struct tp_session_hooks hooks = {.on_durable = on_durable, .data = parking};
	TP_FD int cancel_fd = -1;
	struct torpor_cancel *cancel;
	struct torpor_cancel combined;

	TP_TRY(torpor_cancel_new(&cancel));
	struct torpor_error *err = either(parking->call.cancel_fd, cancel->fd, &cancel_fd);
	if (!err) {
		parking->call.cancel_fd = cancel_fd;
		struct torpor_call call = tp_call_public(&parking->call, &combined);
		set_cancel(parking->service, parking->live, cancel);
		err = tp_session_park_hooked(parking->live->core, &hooks, &call, report);
		set_cancel(parking->service, parking->live, NULL);
	}
	torpor_cancel_free(cancel);
	return err;
}

/* Of a session in PARKING. */
static struct torpor_error *park_begun(struct parking *parking, struct torpor_park_report *report)
{
	struct tp_service *service = parking->service;
	struct tp_live *live = parking->live;
	struct tp_tenant_limits limits;

	tp_tenant_limits(service, live->tenant, &limits);
	TP_TRY(tp_admit_image(service->admission, live->tenant, &limits));
	TP_TRY(tp_fault_check("park.begin"));
	tp_live_copy_row(service, live, &parking->row);
	TP_TRY(park_cancellable(parking, report));
	tp_fault("park.gone");
	count_parked(parking);
	tp_live_detach(service, live);
	tp_live_set_row(service, live, &parking->row, true);
	return NULL;
}

/* It runs on, unless the guest ended meanwhile: that is the keeper's to see. */
static void run_on(struct tp_service *service, struct tp_live *live)
{
	bool ended = tp_session_state(live->core) == TORPOR_SESSION_ENDED;

	pthread_mutex_lock(&service->lock);
	/* Something else that is to be looked after still is. */
	live->lost = live->lost || ended || live->unrecorded;
	bool lost = live->lost;
	pthread_mutex_unlock(&service->lock);
	tp_live_end(service, live, live->before);
	if (lost)
		tp_keeper_wake(service);
}

/* Nobody has asked for anything since ACTIVE_NS, and no command runs. */
static bool is_idle(struct tp_service *service, struct tp_live *live, uint64_t active_ns)
{
	pthread_mutex_lock(&service->lock);
	bool idle = live->execs == 0 && live->active_ns == active_ns;
	pthread_mutex_unlock(&service->lock);
	return idle;
}

/* ONLY_IDLE: unless it has been used since that time (NULL: in any case); *VIEW_OUT is NULL then.
 */
static struct torpor_error *park_live(struct tp_service *service, const struct tp_op *op,
	struct tp_live *live, const uint64_t *only_idle, const struct tp_call *call,
	json_t **view_out)
{
	struct parking parking = {
		.service = service,
		.op = op,
		.live = live,
		.call = *call,
		.entered_ns = tp_now_ns(),
	};
	struct torpor_park_report report = {0};
	bool done;

	if (only_idle && !is_idle(service, live, *only_idle))
		return NULL;
	TP_TRY(tp_live_begin(service, live, TP_STATE_PARKING, TP_LIVE_IN(PARKED), call, &done));
	if (done)
		return tp_op_done_already(service, op, live, view_out);
	/* From here on nobody else begins anything in it. */
	if (only_idle && !is_idle(service, live, *only_idle)) {
		run_on(service, live);
		return NULL;
	}
	struct torpor_error *err = park_begun(&parking, &report);
	tp_session_row_deinit(&parking.row);
	if (err) {
		tp_count_failure(service, TP_MEASURED_PARK, live->row.template_name);
		run_on(service, live);
		return err;
	}
	uint64_t took_ns = tp_now_ns() - parking.entered_ns;
	tp_measure(service, TP_MEASURED_PARK, live->row.template_name, NULL, took_ns);
	tp_note_operation(service, live, "park", took_ns, NULL, report.image_bytes, NULL);
	tp_live_end(service, live, TP_STATE_PARKED);
	*view_out = tp_live_view(service, live, false);
	json_object_set_new(*view_out, "timing", tp_park_timing(&report, took_ns));
	return NULL;
}

static struct torpor_error *park(struct tp_service *service, const struct tp_op *op, const char *id,
	const uint64_t *only_idle, const struct tp_call *call, json_t **view_out)
{
	struct tp_live *live;

	TP_TRY(tp_op_get(service, op->actor, TP_PERM_OPERATE, id, &live));
	struct torpor_error *err = park_live(service, op, live, only_idle, call, view_out);
	tp_live_put(service, live);
	return err;
}

struct torpor_error *tp_service_park(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call, json_t **view_out)
{
	TP_JSON json_t *result = tp_op_result(id);
	struct tp_op op = tp_op_on(actor, "park", id, 200, result);

	return tp_refuse(service, &op, park(service, &op, id, NULL, call, view_out));
}

struct torpor_error *tp_park_idle(struct tp_service *service, const struct tp_actor *actor,
	const char *id, uint64_t active_ns, const struct tp_call *call, bool *parked_out)
{
	TP_JSON json_t *result = tp_op_result(id);
	TP_JSON json_t *view = NULL;
	struct tp_op op = tp_op_on(actor, "park", id, 200, result);

	struct torpor_error *err = park(service, &op, id, &active_ns, call, &view);
	*parked_out = !err && view;
	return tp_refuse(service, &op, err);
}

static struct torpor_error *cancel_park(
	struct tp_service *service, const struct tp_op *op, const char *id)
{
	struct tp_live *live;

	TP_TRY(tp_op_get(service, op->actor, TP_PERM_OPERATE, id, &live));
	pthread_mutex_lock(&service->lock);
	enum tp_state state = live->state;
	/* It is seen to be PARKING a moment before there is anything to cancel. */
	bool cancelled = state == TP_STATE_PARKING && !live->no_way_back;
	live->taken_back = cancelled;
	if (live->cancel)
		torpor_cancel_trigger(live->cancel);
	pthread_mutex_unlock(&service->lock);
	tp_live_put(service, live);
	if (cancelled)
		return tp_settle(service, op, NULL, NULL);
	return tp_error(TORPOR_E_BUSY, "cancel the park of", id, "%s",
		state == TP_STATE_PARKING ? "there is no way back any more"
					  : "it isn't being parked");
}

struct torpor_error *tp_service_cancel_park(
	struct tp_service *service, const struct tp_actor *actor, const char *id)
{
	struct tp_op op = tp_op_on(actor, "cancel-park", id, 204, NULL);

	return tp_refuse(service, &op, cancel_park(service, &op, id));
}

/* --- Resume --- */

struct resuming {
	struct tp_starting starting;
	const struct tp_call *call;
	uint64_t entered_ns;
	struct torpor_resume_report report;
	json_t *timing; /* owned */
};

/* NOT_FOUND would be read as "no such session": says what it is that is missing. */
static struct torpor_error *explain_missing(
	struct tp_service *service, const char *id, struct torpor_error *err)
{
	TP_FREE char *path = tp_image_file(service, id);

	if (!err || torpor_error_code(err) != TORPOR_E_NOT_FOUND)
		return err;
	return tp_error_recode(err, access(path, F_OK) < 0 ? TORPOR_E_CORRUPT : TORPOR_E_MISMATCH);
}

static struct torpor_error *resume_opened(struct resuming *resuming, struct torpor_session *core)
{
	struct tp_starting *starting = &resuming->starting;
	struct tp_service *service = starting->service;
	struct tp_session_hooks hooks = tp_starting_hooks(starting);
	struct torpor_cancel cancel;
	struct tp_claim claim;

	TP_TRY(tp_claim_begin(service->supply, core->tmpl, 1, false, resuming->call, &claim));
	struct torpor_call call = tp_call_public(resuming->call, &cancel);
	struct torpor_error *err = tp_session_resume_hooked(core, &hooks, &call, &resuming->report);
	tp_claim_end(&claim, err, &resuming->report);
	bool runs = !err;
	if (!err)
		err = tp_starting_wait(starting);
	if (err) {
		tp_starting_undo(starting);
		struct tp_call soon = tp_call_within(CLEANUP_TIMEOUT_NS);
		tp_error_log(runs ? tp_session_quit(core, &soon) : NULL);
		tp_cgroup_remove(service->cgroup, starting->live->id);
	}
	return err;
}

static struct torpor_error *resume_admitted(struct resuming *resuming)
{
	struct tp_starting *starting = &resuming->starting;
	struct tp_service *service = starting->service;
	struct torpor_cancel cancel;
	struct torpor_call call = tp_call_public(resuming->call, &cancel);
	struct torpor_session *core;

	TP_TRY(explain_missing(service, starting->live->id,
		torpor_session_open(service->engine, starting->live->id, NULL, &call, &core)));
	struct torpor_error *err = resume_opened(resuming, core);
	if (err) {
		torpor_session_close(core);
		return err;
	}
	resuming->timing = tp_resume_timing(&resuming->report, tp_now_ns() - resuming->entered_ns);
	tp_starting_done(starting, core, &resuming->report, resuming->timing);
	return NULL;
}

/* Of a session in RESUMING. */
static struct torpor_error *resume_begun(struct resuming *resuming)
{
	struct tp_starting *starting = &resuming->starting;
	struct tp_service *service = starting->service;
	struct tp_session_row *row = &starting->row;
	const char *tenant = starting->live->tenant;
	struct tp_tenant_limits limits;

	if (!row->park_uuid)
		return tp_error(TORPOR_E_BUSY, "resume", starting->live->id,
			"there is no image of it%s%s", row->reason ? ": " : "",
			row->reason ? row->reason : "");
	json_t *info = tp_row_json(row->info);
	tp_info_add(info, "resumes", 1);
	tp_row_set_json(&row->info, info);
	uint64_t memory_bytes = row->memory_bytes;
	tp_tenant_limits(service, tenant, &limits);
	TP_TRY(tp_fault_check("resume.begin"));
	TP_TRY(tp_admit(service->admission, tenant, &limits, 1, memory_bytes, false));
	struct torpor_error *err = resume_admitted(resuming);
	if (err)
		tp_admit_undo(service->admission, tenant, 1, memory_bytes);
	return err;
}

/* Its image is damaged: that is how it stays. */
static void record_damage(
	struct tp_service *service, struct tp_live *live, const struct torpor_error *err)
{
	struct tp_change *change = tp_change_new();
	TP_ROW struct tp_session_row row = {0};

	tp_live_copy_row(service, live, &row);
	tp_row_set(&row.state, tp_state_name(TP_STATE_ERROR));
	tp_row_set(&row.reason, torpor_error_message(err));
	row.changed_ns = tp_realtime_ns();
	tp_change_put_session(change, &row);
	tp_error_log(tp_error_in(
		tp_records_commit(service->records, change), "record the end of", live->id));
	tp_live_set_row(service, live, &row, true);
}

static struct torpor_error *resume_live(struct tp_service *service, const struct tp_op *op,
	struct tp_live *live, const struct tp_call *call, json_t **view_out)
{
	struct resuming resuming = {
		.starting = {.service = service, .live = live, .op = op, .fault = "resume"},
		.call = call,
		.entered_ns = tp_now_ns(),
	};
	bool done;

	TP_TRY(tp_live_begin(service, live, TP_STATE_RESUMING, TP_LIVE_IN(RUNNING), call, &done));
	if (done)
		return tp_op_done_already(service, op, live, view_out);
	tp_live_copy_row(service, live, &resuming.starting.row);
	struct torpor_error *err = resume_begun(&resuming);
	tp_session_row_deinit(&resuming.starting.row);
	if (err) {
		bool damaged = torpor_error_code(err) == TORPOR_E_CORRUPT;
		tp_count_failure(service, TP_MEASURED_RESUME, live->row.template_name);
		if (damaged)
			record_damage(service, live, err);
		tp_live_end(service, live, damaged ? TP_STATE_ERROR : live->before);
		return err;
	}
	uint64_t took_ns = tp_now_ns() - resuming.entered_ns;
	const char *source = torpor_source_name(resuming.report.source);
	tp_measure(service, TP_MEASURED_RESUME, live->row.template_name, source, took_ns);
	tp_note_operation(service, live, "resume", took_ns, source, 0, NULL);
	tp_live_end(service, live, TP_STATE_RUNNING);
	*view_out = tp_live_view(service, live, false);
	json_object_set_new(*view_out, "timing", resuming.timing);
	return NULL;
}

static struct torpor_error *resume(struct tp_service *service, const struct tp_op *op,
	const char *id, const struct tp_call *call, json_t **view_out)
{
	struct tp_live *live;

	TP_TRY(tp_op_get(service, op->actor, TP_PERM_OPERATE, id, &live));
	struct torpor_error *err = resume_live(service, op, live, call, view_out);
	tp_live_put(service, live);
	return err;
}

struct torpor_error *tp_service_resume(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call, json_t **view_out)
{
	TP_JSON json_t *result = tp_op_result(id);
	struct tp_op op = tp_op_on(actor, "resume", id, 200, result);

	return tp_refuse(service, &op, resume(service, &op, id, call, view_out));
}
