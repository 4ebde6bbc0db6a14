/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Importing a domain of libvirt's: a session that begins parked.
 *
 * It is recorded while the domain stands still behind a durable image: whatever fails until then
 * takes the image away and lets the domain go on.
 */
#include <string.h>

#include "base/mem.h"
#include "pool/import.h"
#include "service/op.h"

#define MADE_UP_FROM "imported"

struct importing {
	struct tp_service *service;
	const struct tp_import_spec *spec;
	struct tp_op *op;
	const struct tp_call *call;
	struct tp_live *live;
	struct tp_session_row row; /* owned: as it is to be committed */
	struct torpor_import_report report;
	uint64_t entered_ns;
};

/* --- What is recorded --- */

static void put_json(char **field, const json_t *object)
{
	tp_row_set_json(field, object ? json_deep_copy(object) : json_object());
}

/* All of the row but what comes with the image. */
static void describe(struct importing *importing)
{
	const struct tp_import_spec *spec = importing->spec;
	struct tp_session_row *row = &importing->row;
	struct tp_live *live = importing->live;
	char no_template[2 * TP_IDENTITY_LEN + 1];

	memset(no_template, '0', sizeof(no_template) - 1);
	no_template[sizeof(no_template) - 1] = '\0';
	row->id = tp_strdup(live->id);
	row->tenant = tp_strdup(live->tenant);
	row->name = spec->name ? tp_strdup(spec->name) : tp_op_make_name(MADE_UP_FROM);
	row->template_name = tp_strdup(TP_NO_TEMPLATE);
	row->template_id = tp_strdup(no_template);
	row->state = tp_strdup(tp_state_name(TP_STATE_STARTING));
	put_json(&row->labels, spec->labels);
	put_json(&row->env, NULL);
	put_json(&row->limits, NULL);
	put_json(&row->info, NULL);
	row->ttl_s = spec->timers.ttl_s;
	row->idle_s = spec->timers.idle_s;
	row->retention_s = spec->timers.retention_s;
	row->created_ns = live->created_ns;
	row->changed_ns = live->created_ns;
	row->active_ns = live->created_ns;
}

static json_t *timing_of(const struct torpor_import_report *report, uint64_t total_ns)
{
	struct torpor_park_report park = {
		.captured_ns = report->captured_ns,
		.durable_ns = report->durable_ns,
		.gone_ns = report->durable_ns,
		.pages = report->pages,
		.image_bytes = report->image_bytes,
	};

	strcpy(park.note, report->note);
	return tp_park_timing(&park, total_ns);
}

static struct torpor_error *describe_parked(
	struct importing *importing, const struct torpor_import_report *report)
{
	struct tp_session_row *row = &importing->row;
	TP_FREE char *path = tp_image_file(importing->service, row->id);
	json_t *info = tp_row_json(row->info);
	uint64_t now = tp_realtime_ns();
	struct torpor_image_info image;

	TP_TRY(torpor_image_inspect(path, NULL, &image));
	tp_row_set(&row->park_uuid, image.uuid);
	row->park_bytes = image.file_bytes;
	torpor_image_info_deinit(&image);
	row->memory_bytes = report->memory_bytes;
	json_object_set_new(info, "vcpus", json_integer(report->vcpus));
	json_object_set_new(info, "parked_ns", json_integer((json_int_t)now));
	tp_info_add(info, "parks", 1);
	tp_info_last(info, "park", timing_of(report, tp_now_ns() - importing->entered_ns));
	tp_row_set_json(&row->info, info);
	tp_row_set(&row->state, tp_state_name(TP_STATE_PARKED));
	row->changed_ns = now;
	return NULL;
}

/* The image is durable: now it is recorded, or taken back. */
static struct torpor_error *record(void *data, const struct torpor_import_report *report)
{
	struct importing *importing = data;
	struct tp_service *service = importing->service;
	struct tp_session_row *row = &importing->row;
	struct tp_change *change;

	TP_TRY(tp_call_check(importing->call, "import", importing->spec->domain));
	TP_TRY(describe_parked(importing, report));
	change = tp_change_new();
	tp_change_put_session(change, row);
	tp_change_put_image(change, &(struct tp_image_row){
					    .name = row->id,
					    .session = row->id,
					    .tenant = row->tenant,
					    .kind = (char[]){"park"},
					    .template_id = row->template_id,
					    .bytes = row->park_bytes,
					    .created_ns = row->changed_ns,
				    });
	struct torpor_error *err = tp_settle(service, importing->op, change, NULL);
	if (!err)
		return NULL;
	change = tp_change_new();
	tp_change_remove_session(change, row->id);
	tp_settle_undo(service, importing->op, change);
	return err;
}

/* --- The import --- */

static struct torpor_error *import_core(struct importing *importing)
{
	const struct tp_import_spec *spec = importing->spec;
	struct torpor_import_spec core = {
		.connect = spec->connect,
		.domain = spec->domain,
		.name = importing->live->id,
		.keep = spec->keep,
	};
	TP_FREE char *hostname = tp_op_hostname(importing->row.name);
	TP_FREE char *name = NULL;

	return tp_import(importing->service->engine, &core, hostname, record, importing,
		importing->call, &importing->report, &name);
}

/* Of a session in STARTING. */
static struct torpor_error *import_begun(struct importing *importing, json_t **view_out)
{
	struct tp_service *service = importing->service;
	struct tp_live *live = importing->live;

	TP_TRY(import_core(importing));
	tp_admission_images(service->admission, live->tenant, (int64_t)importing->row.park_bytes);
	tp_live_set_row(service, live, &importing->row, true);
	tp_live_end(service, live, TP_STATE_PARKED);
	*view_out = tp_live_view(service, live, false);
	json_object_set_new(*view_out, "timing",
		timing_of(&importing->report, tp_now_ns() - importing->entered_ns));
	return NULL;
}

static struct torpor_error *import_live(struct importing *importing, json_t **view_out)
{
	struct tp_service *service = importing->service;
	TP_ROW struct tp_session_row draft = {0};
	bool done;

	importing->live = tp_live_new(service, importing->op->actor->tenant);
	TP_JSON json_t *result = tp_op_result(importing->live->id);
	importing->op->object = importing->live->id;
	importing->op->result = result;
	describe(importing);
	tp_session_row_copy(&importing->row, &draft);
	tp_live_set_row(service, importing->live, &draft, false);
	struct torpor_error *err = tp_tenant_check_stays(service, importing->live->tenant);
	if (!err)
		err = tp_live_begin(
			service, importing->live, TP_STATE_STARTING, 0, importing->call, &done);
	if (!err)
		err = import_begun(importing, view_out);
	tp_session_row_deinit(&importing->row);
	err = tp_refuse(service, importing->op, err);
	if (err)
		tp_live_end(service, importing->live, TP_STATE_DESTROYED);
	tp_live_put(service, importing->live);
	importing->op->object = NULL;
	importing->op->result = NULL;
	return err;
}

static struct torpor_error *check(
	struct tp_service *service, const struct tp_actor *actor, const struct tp_import_spec *spec)
{
	struct tp_tenant_limits limits;

	TP_TRY(tp_actor_must_be_admin(actor));
	TP_TRY(tp_check_timers(&spec->timers));
	TP_TRY(tp_check_labels(spec->labels));
	TP_TRY(tp_op_check_accepting(service));
	if (spec->name) {
		TP_TRY(tp_check_name("name", spec->name));
		TP_TRY(tp_check_name_free(service, actor->tenant, spec->name));
	}
	tp_tenant_limits(service, actor->tenant, &limits);
	return tp_admit_image(service->admission, actor->tenant, &limits);
}

struct torpor_error *tp_service_import(struct tp_service *service, const struct tp_actor *actor,
	const struct tp_import_spec *spec, const struct tp_call *call, json_t **view_out)
{
	struct tp_op op = {.actor = actor, .op = "import", .status = 201};
	struct importing importing = {
		.service = service,
		.spec = spec,
		.op = &op,
		.call = call,
		.entered_ns = tp_now_ns(),
	};

	TP_TRY(tp_refuse(service, &op, check(service, actor, spec)));
	return import_live(&importing, view_out);
}
