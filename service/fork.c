/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fork: many new sessions from one, all or none.
 *
 * The source is held meanwhile: its image, or its guest, stays what it is. The new sessions are
 * recorded in one commit, once all of them are fresh.
 */
#include <string.h>

#include "base/fault.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/probe.h"
#include "service/images.h"
#include "service/op.h"
#include "service/starting.h"

#define FORKS_MAX 100

/* One of those to be. */
struct fork {
	struct tp_starting starting;
	struct torpor_session *core;
	char *hostname; /* owned */
};

struct forking {
	struct tp_service *service;
	struct tp_op *op;
	struct tp_live *source; /* held */
	const struct tp_fork_spec *spec;
	const struct tp_call *call;
	uint64_t entered_ns;
	struct fork *forks; /* spec->count */
	struct torpor_resume_report *reports;
	json_t *ids;
};

static struct torpor_error *check_spec(const struct tp_fork_spec *spec)
{
	if (spec->count < 1 || spec->count > FORKS_MAX)
		return tp_error(
			TORPOR_E_INVALID, "check", "count", "1 to %d forks at a time", FORKS_MAX);
	for (size_t i = 0; spec->names && i < spec->count; i++) {
		if (spec->names[i])
			TP_TRY(tp_check_name("name", spec->names[i]));
	}
	TP_TRY(tp_check_timers(&spec->timers));
	return tp_check_labels(spec->labels);
}

/* --- Those to be --- */

static void describe(struct forking *forking, size_t i)
{
	const struct tp_fork_spec *spec = forking->spec;
	const struct tp_session_row *from = &forking->source->row;
	struct tp_live *live = forking->forks[i].starting.live;
	struct tp_session_row *row = &forking->forks[i].starting.row;
	const char *name = spec->names ? spec->names[i] : NULL;
	TP_JSON json_t *from_info = tp_row_json(from->info);
	json_t *info = json_object();

	row->id = tp_strdup(live->id);
	row->tenant = tp_strdup(live->tenant);
	row->name = name ? tp_strdup(name) : tp_op_make_name(from->name);
	row->template_name = tp_strdup(from->template_name);
	row->template_id = tp_strdup(from->template_id);
	row->state = tp_strdup(tp_state_name(TP_STATE_STARTING));
	row->labels =
		spec->labels ? json_dumps(spec->labels, JSON_COMPACT) : tp_strdup(from->labels);
	row->env = tp_strdup(from->env);
	row->limits = tp_strdup(from->limits);
	json_object_set(info, "vcpus", json_object_get(from_info, "vcpus"));
	if (spec->image)
		json_object_set_new(info, "fork_image", json_string(spec->image));
	tp_row_set_json(&row->info, info);
	row->forked_from = tp_strdup(from->id);
	row->memory_bytes = from->memory_bytes;
	row->ttl_s = spec->timers.ttl_s;
	row->idle_s = spec->timers.idle_s;
	row->retention_s = spec->timers.retention_s;
	row->created_ns = live->created_ns;
	row->changed_ns = live->created_ns;
	row->active_ns = live->created_ns;
}

static void make_live(struct forking *forking, size_t i)
{
	struct tp_service *service = forking->service;
	struct fork *fork = &forking->forks[i];
	TP_ROW struct tp_session_row draft = {0};
	bool done;

	fork->starting = (struct tp_starting){
		.service = service,
		.live = tp_live_new(service, forking->source->tenant),
		.fault = "fork",
	};
	describe(forking, i);
	fork->hostname = tp_op_hostname(fork->starting.row.name);
	tp_session_row_copy(&fork->starting.row, &draft);
	tp_live_set_row(service, fork->starting.live, &draft, false);
	struct torpor_error *err = tp_live_begin(
		service, fork->starting.live, TP_STATE_STARTING, 0, forking->call, &done);
	assert(!err); /* nobody else knows it */
	(void)err;
	json_array_append_new(forking->ids, json_string(fork->starting.live->id));
}

static void drop_live(struct forking *forking, size_t i, bool failed)
{
	struct tp_service *service = forking->service;
	struct fork *fork = &forking->forks[i];

	if (failed) {
		if (fork->core)
			tp_error_log(torpor_session_destroy(fork->core, NULL));
		tp_cgroup_remove(service->cgroup, fork->starting.live->id);
		tp_live_end(service, fork->starting.live, TP_STATE_DESTROYED);
	}
	tp_session_row_deinit(&fork->starting.row);
	free(fork->hostname);
	tp_live_put(service, fork->starting.live);
}

/* --- Starting them --- */

static struct torpor_error *fork_core(struct forking *forking, struct torpor_session *core)
{
	size_t count = forking->spec->count;
	TP_FREE struct torpor_session_spec *specs = tp_calloc(count, sizeof(*specs));
	TP_FREE struct tp_session_hooks *hooks = tp_calloc(count, sizeof(*hooks));
	TP_FREE struct torpor_session **cores = tp_calloc(count, sizeof(struct torpor_session *));
	struct torpor_cancel cancel;
	struct tp_claim claim;

	for (size_t i = 0; i < count; i++) {
		specs[i].name = forking->forks[i].starting.live->id;
		specs[i].hostname = forking->forks[i].hostname;
		hooks[i] = tp_starting_hooks(&forking->forks[i].starting);
	}
	TP_TRY(tp_claim_begin(forking->service->supply, core->tmpl, (unsigned int)count, false,
		forking->call, &claim));
	struct torpor_call call = tp_call_public(forking->call, &cancel);
	struct torpor_error *err =
		tp_session_fork_hooked(core, specs, count, hooks, &call, forking->reports, cores);
	tp_claim_end(&claim, err, err ? NULL : &forking->reports[0]);
	for (size_t i = 0; !err && i < count; i++)
		forking->forks[i].core = cores[i];
	return err;
}

static struct torpor_error *record(struct forking *forking)
{
	struct tp_service *service = forking->service;
	size_t count = forking->spec->count;
	struct tp_change *change = tp_change_new();

	for (size_t i = 0; i < count; i++) {
		struct tp_starting *starting = &forking->forks[i].starting;
		tp_starting_confirmed(starting, &forking->reports[i]);
		tp_change_put_session(change, &starting->row);
	}
	struct torpor_error *err = tp_settle(service, forking->op, change, NULL);
	TP_PROBE2(fork__recorded, forking->source->id, err != NULL);
	if (!err)
		err = tp_fault_check("fork.committed");
	if (!err)
		return NULL;
	change = tp_change_new();
	for (size_t i = 0; i < count; i++)
		tp_change_remove_session(change, forking->forks[i].starting.live->id);
	tp_settle_undo(service, forking->op, change);
	return err;
}

/* The one that took longest: what the call waited for. */
static const struct torpor_resume_report *slowest(const struct forking *forking)
{
	const struct torpor_resume_report *found = &forking->reports[0];

	for (size_t i = 1; i < forking->spec->count; i++) {
		const struct torpor_resume_report *report = &forking->reports[i];
		if (TP_MAX(report->ready_ns, report->running_ns) >
			TP_MAX(found->ready_ns, found->running_ns))
			found = report;
	}
	return found;
}

static void finish(struct forking *forking, json_t **view_out)
{
	struct tp_service *service = forking->service;
	json_t *sessions = json_array();
	json_t *view = json_object();
	uint64_t took_ns = tp_now_ns() - forking->entered_ns;
	json_t *timing = tp_resume_timing(slowest(forking), took_ns);

	for (size_t i = 0; i < forking->spec->count; i++) {
		struct fork *fork = &forking->forks[i];
		TP_JSON json_t *own = tp_resume_timing(&forking->reports[i], took_ns);
		tp_starting_done(&fork->starting, fork->core, &forking->reports[i], own);
		tp_live_end(service, fork->starting.live, TP_STATE_RUNNING);
		tp_note_operation(service, fork->starting.live, "fork", took_ns,
			torpor_source_name(forking->reports[i].source), 0, NULL);
		json_array_append_new(sessions, tp_live_view(service, fork->starting.live, false));
	}
	json_object_set_new(view, "sessions", sessions);
	json_object_set_new(view, "timing", timing);
	*view_out = view;
}

/* With places for all. CORE is the source's, or a handle on its image. */
static struct torpor_error *fork_admitted(
	struct forking *forking, struct torpor_session *core, json_t **view_out)
{
	size_t count = forking->spec->count;
	TP_FREE struct fork *forks = tp_calloc(count, sizeof(*forks));
	TP_FREE struct torpor_resume_report *reports = tp_calloc(count, sizeof(*reports));
	TP_JSON json_t *result = json_object();

	forking->forks = forks;
	forking->reports = reports;
	forking->ids = json_array();
	json_object_set_new(result, "sessions", forking->ids);
	for (size_t i = 0; i < count; i++)
		make_live(forking, i);
	forking->op->result = result;
	forking->op->detail = result;
	struct torpor_error *err = fork_core(forking, core);
	if (!err)
		err = record(forking);
	if (!err)
		finish(forking, view_out);
	forking->op->result = NULL;
	forking->op->detail = NULL;
	for (size_t i = 0; i < count; i++)
		drop_live(forking, i, err);
	return err;
}

static struct torpor_error *fork_from(
	struct forking *forking, struct torpor_session *core, json_t **view_out)
{
	struct tp_service *service = forking->service;
	const char *tenant = forking->source->tenant;
	unsigned int count = (unsigned int)forking->spec->count;
	uint64_t memory_bytes = forking->source->row.memory_bytes;
	struct tp_tenant_limits limits;

	tp_tenant_limits(service, tenant, &limits);
	TP_TRY(tp_fault_check("fork.begin"));
	TP_TRY(tp_admit(service->admission, tenant, &limits, count, memory_bytes, false));
	struct torpor_error *err = fork_admitted(forking, core, view_out);
	if (err)
		tp_admit_undo(service->admission, tenant, count, memory_bytes);
	return err;
}

/* --- The source --- */

/* The file that it is forked from; NULL: its guest, as it is. The caller's to free. */
static struct torpor_error *find_image(struct forking *forking, char **path_out)
{
	const struct tp_live *source = forking->source;
	TP_IMAGES struct tp_images images = {0};
	const char *name = source->id;

	*path_out = NULL;
	if (!forking->spec->image && source->core)
		return NULL;
	if (!forking->spec->image && !source->row.park_uuid)
		return tp_error(TORPOR_E_BUSY, "fork", source->id, "there is no image of it");
	if (forking->spec->image) {
		TP_TRY(tp_images_read(forking->service, source->id, &images));
		const struct tp_image_row *row =
			tp_images_checkpoint(&images, forking->spec->image);
		if (!row)
			return tp_no_checkpoint(source->id, forking->spec->image);
		name = row->name;
	}
	*path_out = tp_image_file(forking->service, name);
	return NULL;
}

static struct torpor_error *fork_held(struct forking *forking, json_t **view_out)
{
	char handle_name[] = "fork-0123456789abcdef";
	TP_FREE char *path = NULL;
	struct torpor_cancel cancel;
	struct torpor_session *core;

	TP_TRY(find_image(forking, &path));
	if (!path)
		return fork_from(forking, forking->source->core, view_out);
	tp_random_id(handle_name + 5, 16);
	struct torpor_call call = tp_call_public(forking->call, &cancel);
	struct torpor_error *err =
		torpor_session_open(forking->service->engine, handle_name, path, &call, &core);
	if (err) {
		/* NOT_FOUND would be read as "no such session". */
		if (torpor_error_code(err) == TORPOR_E_NOT_FOUND)
			err = tp_error_recode(err, TORPOR_E_MISMATCH);
		return err;
	}
	err = fork_from(forking, core, view_out);
	torpor_session_close(core);
	return err;
}

static struct torpor_error *fork_session(struct forking *forking, const char *id, json_t **view_out)
{
	const struct tp_actor *actor = forking->op->actor;
	bool done;

	TP_TRY(check_spec(forking->spec));
	TP_TRY(tp_actor_may(actor, TP_PERM_CREATE, id));
	/* Whoever is bound to one session makes no others. */
	TP_TRY(tp_actor_may(actor, TP_PERM_CREATE, NULL));
	TP_TRY(tp_op_check_accepting(forking->service));
	TP_TRY(tp_op_get(forking->service, actor, TP_PERM_CREATE, id, &forking->source));
	struct torpor_error *err = tp_live_hold(forking->service, forking->source,
		TP_LIVE_IN(RUNNING) | TP_LIVE_IN(PAUSED) | TP_LIVE_IN(PARKED) | TP_LIVE_IN(ERROR),
		0, "fork", forking->call, &done);
	if (!err) {
		err = fork_held(forking, view_out);
		tp_live_end(forking->service, forking->source, forking->source->state);
	}
	tp_live_put(forking->service, forking->source);
	return err;
}

struct torpor_error *tp_service_fork(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_fork_spec *spec, const struct tp_call *call,
	json_t **view_out)
{
	struct tp_op op = tp_op_on(actor, "fork", id, 201, NULL);
	struct forking forking = {
		.service = service,
		.op = &op,
		.spec = spec,
		.call = call,
		.entered_ns = tp_now_ns(),
	};

	return tp_refuse(service, &op, fork_session(&forking, id, view_out));
}
