/* SPDX-License-Identifier: Apache-2.0 */
/* Creating sessions, and ending them. */
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/probe.h"
#include "service/images.h"
#include "service/keep.h"
#include "service/op.h"
#include "service/starting.h"

/* --- Create --- */

struct creating {
	struct tp_starting starting;
	const struct tp_create_spec *spec;
	struct tp_op *op;
	const struct tp_call *call;
	struct torpor_template *tmpl;
	struct torpor_template_info info; /* the template's */
	uint64_t entered_ns;
	struct torpor_resume_report report;
	json_t **view_out;
};

static struct torpor_error *check_spec(const struct tp_create_spec *spec)
{
	struct tp_limits limits;

	TP_TRY(tp_check_name("template", spec->template_name ? spec->template_name : ""));
	if (spec->name)
		TP_TRY(tp_check_name("name", spec->name));
	TP_TRY(tp_check_timers(&spec->timers));
	TP_TRY(tp_check_env(spec->env));
	TP_TRY(tp_check_labels(spec->labels));
	return tp_parse_limits(spec->limits, &limits);
}

static void put_json(char **field, const json_t *object)
{
	tp_row_set_json(field, object ? json_deep_copy(object) : json_object());
}

/* All of the row but what comes with the process. */
static void describe(struct creating *creating)
{
	const struct tp_create_spec *spec = creating->spec;
	struct tp_session_row *row = &creating->starting.row;
	struct tp_live *live = creating->starting.live;
	json_t *limits = spec->limits ? json_deep_copy(spec->limits) : json_object();
	json_t *info = json_object();

	row->id = tp_strdup(live->id);
	row->tenant = tp_strdup(live->tenant);
	row->name = spec->name ? tp_strdup(spec->name) : tp_op_make_name(creating->info.name);
	row->template_name = tp_strdup(creating->info.name);
	row->template_id = tp_strdup(creating->info.id);
	row->state = tp_strdup(tp_state_name(TP_STATE_STARTING));
	put_json(&row->labels, spec->labels);
	put_json(&row->env, spec->env);
	json_object_del(limits, "unenforced");
	tp_row_set_json(&row->limits, limits);
	json_object_set_new(info, "vcpus", json_integer(creating->info.vcpus));
	tp_row_set_json(&row->info, info);
	row->memory_bytes = creating->info.memory;
	row->ttl_s = spec->timers.ttl_s;
	row->idle_s = spec->timers.idle_s;
	row->retention_s = spec->timers.retention_s;
	row->created_ns = live->created_ns;
	row->changed_ns = live->created_ns;
	row->active_ns = live->created_ns;
}

static struct torpor_error *start_core(struct creating *creating, struct torpor_session **core_out)
{
	struct tp_starting *starting = &creating->starting;
	struct tp_session_hooks hooks = tp_starting_hooks(starting);
	TP_FREE char *hostname = tp_op_hostname(starting->row.name);
	struct torpor_session_spec spec = {.name = starting->live->id, .hostname = hostname};
	struct torpor_cancel cancel;
	struct tp_claim claim;

	TP_TRY(tp_claim_begin(
		starting->service->supply, creating->tmpl, 1, true, creating->call, &claim));
	TP_PROBE1(claim__granted, starting->live->id);
	struct torpor_call call = tp_call_public(creating->call, &cancel);
	struct torpor_error *err = tp_session_start_hooked(
		creating->tmpl, &spec, &hooks, &call, &creating->report, core_out);
	tp_claim_end(&claim, err, err ? NULL : &creating->report);
	return err;
}

/* Of a session in STARTING. */
static struct torpor_error *start(struct creating *creating)
{
	struct tp_starting *starting = &creating->starting;
	struct torpor_session *core = NULL;

	struct torpor_error *err = start_core(creating, &core);
	if (!err)
		err = tp_starting_wait(starting);
	if (err) {
		tp_starting_undo(starting);
		if (core)
			tp_error_log(torpor_session_destroy(core, NULL));
		tp_cgroup_remove(starting->service->cgroup, starting->live->id);
		return err;
	}
	TP_JSON json_t *timing =
		tp_resume_timing(&creating->report, tp_now_ns() - creating->entered_ns);
	tp_starting_done(starting, core, &creating->report, timing);
	tp_live_end(starting->service, starting->live, TP_STATE_RUNNING);
	tp_note_operation(starting->service, starting->live, "create",
		tp_now_ns() - creating->entered_ns, torpor_source_name(creating->report.source), 0,
		NULL);
	*creating->view_out = tp_live_view(starting->service, starting->live, false);
	json_object_set(*creating->view_out, "timing", timing);
	return NULL;
}

/* With a place for it. */
static struct torpor_error *create_live(struct creating *creating)
{
	struct tp_starting *starting = &creating->starting;
	struct tp_service *service = starting->service;
	TP_ROW struct tp_session_row draft = {0};
	bool done;

	starting->live = tp_live_new(service, creating->op->actor->tenant);
	TP_PROBE3(claim__begin, starting->live->id, creating->info.name, creating->entered_ns);
	TP_JSON json_t *result = tp_op_result(starting->live->id);
	creating->op->object = starting->live->id;
	creating->op->result = result;
	describe(creating);
	tp_session_row_copy(&starting->row, &draft);
	tp_live_set_row(service, starting->live, &draft, false);
	struct torpor_error *err = tp_tenant_check_stays(service, starting->live->tenant);
	if (!err)
		err = tp_live_begin(
			service, starting->live, TP_STATE_STARTING, 0, creating->call, &done);
	if (!err)
		err = start(creating);
	tp_session_row_deinit(&starting->row);
	err = tp_refuse(service, creating->op, err);
	TP_PROBE2(claim__end, starting->live->id, err != NULL);
	if (err)
		tp_live_end(service, starting->live, TP_STATE_DESTROYED);
	tp_live_put(service, starting->live);
	creating->op->object = NULL;
	creating->op->result = NULL;
	return err;
}

static struct torpor_error *create_admitted(struct creating *creating)
{
	struct tp_service *service = creating->starting.service;
	const char *tenant = creating->op->actor->tenant;
	struct tp_tenant_limits limits;

	tp_tenant_limits(service, tenant, &limits);
	struct torpor_error *err =
		tp_admit(service->admission, tenant, &limits, 1, creating->info.memory, false);
	if (err)
		return tp_refuse(service, creating->op, err);
	err = create_live(creating);
	if (err)
		tp_admit_undo(service->admission, tenant, 1, creating->info.memory);
	return err;
}

static struct torpor_error *find_template(struct creating *creating)
{
	TP_TRY(tp_actor_may(creating->op->actor, TP_PERM_CREATE, NULL));
	TP_TRY(check_spec(creating->spec));
	TP_TRY(tp_op_check_accepting(creating->starting.service));
	TP_TRY(tp_fault_check("create.begin"));
	if (creating->spec->name)
		TP_TRY(tp_check_name_free(creating->starting.service, creating->op->actor->tenant,
			creating->spec->name));
	TP_TRY(tp_template_use(creating->starting.service, creating->spec->template_name,
		creating->call, &creating->tmpl));
	return torpor_template_info(creating->tmpl, &creating->info);
}

struct torpor_error *tp_service_create(struct tp_service *service, const struct tp_actor *actor,
	const struct tp_create_spec *spec, const struct tp_call *call, json_t **view_out)
{
	struct tp_op op = {.actor = actor, .op = "create", .status = 201};
	struct creating creating = {
		.starting = {.service = service, .op = &op, .fault = "create"},
		.spec = spec,
		.op = &op,
		.call = call,
		.entered_ns = tp_now_ns(),
		.view_out = view_out,
	};

	struct torpor_error *err = tp_refuse(service, &op, find_template(&creating));
	if (!err)
		err = create_admitted(&creating);
	if (!err)
		tp_measure(service, TP_MEASURED_CLAIM, creating.info.name,
			torpor_source_name(creating.report.source),
			tp_now_ns() - creating.entered_ns);
	else if (creating.tmpl)
		tp_count_failure(service, TP_MEASURED_CLAIM, creating.info.name);
	torpor_template_close(creating.tmpl);
	return err;
}

/* --- Destroy --- */

static struct torpor_error *record_end(struct tp_service *service, const struct tp_op *op,
	struct tp_live *live, const struct tp_images *images)
{
	struct tp_change *change = tp_change_new();

	tp_change_remove_session(change, live->id);
	struct torpor_error *err = tp_settle(service, op, change, NULL);
	if (!err)
		err = tp_fault_check("destroy.committed");
	if (!err)
		return NULL;
	change = tp_change_new();
	tp_change_put_session(change, &live->row);
	for (size_t i = 0; i < images->count; i++)
		tp_change_put_image(change, &images->rows[i]);
	tp_settle_undo(service, op, change);
	return err;
}

/*
 * Of a session in STOPPING. Recorded first: if torpord dies behind that, the guest and the images
 * that are left over belong to nobody, and recovery ends and removes them. The other way round
 * would leave a session without what it was.
 */
static struct torpor_error *destroy_begun(
	struct tp_service *service, const struct tp_op *op, struct tp_live *live)
{
	TP_IMAGES struct tp_images images = {0};

	TP_TRY(tp_fault_check("destroy.begin"));
	TP_TRY(tp_images_read(service, live->id, &images));
	TP_TRY(record_end(service, op, live, &images));
	if (live->core) {
		tp_op_end_guest(service, live);
		tp_op_give_place(service, live);
	}
	tp_fault("destroy.ended");
	/* A park that was not recorded yet may have left one under its own name. */
	tp_image_unlink(service, live->id);
	for (size_t i = 0; i < images.count; i++)
		tp_image_unlink(service, images.rows[i].name);
	tp_admission_images(service->admission, live->tenant, -(int64_t)images.bytes);
	tp_fault("destroy.unlinked");
	return NULL;
}

/*
 * Whether the time of LIVE is over, which depends on whether it has a process. Out of date at once
 * but for whoever has the session.
 */
static bool is_due(struct tp_service *service, struct tp_live *live)
{
	TP_ROW struct tp_session_row row = {0};
	uint64_t now = tp_realtime_ns();
	uint64_t at;

	tp_live_copy_row(service, live, &row);
	pthread_mutex_lock(&service->lock);
	bool process = live->core;
	uint64_t started_ns = live->started_ns;
	pthread_mutex_unlock(&service->lock);
	struct tp_timers timers = tp_timers_of(service, &row);
	if (!process)
		return tp_parked_due(&row, &timers, now, &at);
	return timers.ttl_s > 0 && now >= started_ns + (uint64_t)timers.ttl_s * TP_NSEC_PER_SEC;
}

static struct torpor_error *destroy_live(struct tp_service *service, const struct tp_op *op,
	struct tp_live *live, bool only_due, const struct tp_call *call, bool *ended_out)
{
	bool done;

	if (only_due && !is_due(service, live))
		return NULL;
	TP_TRY(tp_live_begin(service, live, TP_STATE_STOPPING, 0, call, &done));
	/* It may have been parked, resumed or told to be kept while it was waited for. */
	if (only_due && !is_due(service, live)) {
		tp_live_end(service, live, live->before);
		return NULL;
	}
	struct torpor_error *err = destroy_begun(service, op, live);
	tp_live_end(service, live, err ? live->before : TP_STATE_DESTROYED);
	*ended_out = !err;
	return err;
}

static struct torpor_error *destroy(struct tp_service *service, const struct tp_op *op,
	const char *id, bool only_due, const struct tp_call *call, bool *ended_out)
{
	struct tp_live *live;

	TP_TRY(tp_op_get(service, op->actor, TP_PERM_CREATE, id, &live));
	struct torpor_error *err = destroy_live(service, op, live, only_due, call, ended_out);
	tp_live_put(service, live);
	return err;
}

struct torpor_error *tp_service_destroy(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call)
{
	struct tp_op op = tp_op_on(actor, "destroy", id, 204, NULL);
	bool ended;

	return tp_refuse(service, &op, destroy(service, &op, id, false, call, &ended));
}

struct torpor_error *tp_destroy_due(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call, bool *ended_out)
{
	struct tp_op op = tp_op_on(actor, "destroy", id, 204, NULL);

	*ended_out = false;
	return tp_refuse(service, &op, destroy(service, &op, id, true, call, ended_out));
}
