/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: images of a session that goes on; and what images a session has. */
#include "service/images.h"

#include <string.h>

#include "base/fault.h"
#include "base/id.h"
#include "base/mem.h"
#include "engine/config.h"
#include "service/op.h"

#define CHECKPOINTS_MAX 100
#define SUFFIX_LEN	8

/* --- A session's images --- */

static struct torpor_error *list_one(void *data, const struct tp_image_row *row)
{
	struct tp_images *images = data;

	images->rows = tp_reallocarray(images->rows, images->count + 1, sizeof(*images->rows));
	tp_image_row_copy(row, &images->rows[images->count++]);
	images->bytes += row->bytes;
	return NULL;
}

struct torpor_error *tp_images_read(
	struct tp_service *service, const char *id, struct tp_images *images_out)
{
	struct tp_images images = {0};

	struct torpor_error *err = tp_records_images(service->records, id, list_one, &images);
	if (err) {
		tp_images_deinit(&images);
		return err;
	}
	*images_out = images;
	return NULL;
}

void tp_images_deinit(struct tp_images *images)
{
	for (size_t i = 0; i < images->count; i++)
		tp_image_row_deinit(&images->rows[i]);
	free(images->rows);
	*images = (struct tp_images){0};
}

const struct tp_image_row *tp_images_checkpoint(const struct tp_images *images, const char *label)
{
	for (size_t i = 0; i < images->count; i++) {
		if (images->rows[i].label && strcmp(images->rows[i].label, label) == 0)
			return &images->rows[i];
	}
	return NULL;
}

struct torpor_error *tp_no_checkpoint(const char *id, const char *label)
{
	/* What can't be a label isn't repeated. */
	return tp_error(TORPOR_E_NOT_FOUND, "find checkpoint of session", id,
		"there is none called %s", tp_guest_name_ok(label) ? label : "so");
}

static const struct tp_image_row *newest(const struct tp_images *images)
{
	const struct tp_image_row *found = NULL;

	for (size_t i = 0; i < images->count; i++) {
		if (!found || images->rows[i].created_ns > found->created_ns)
			found = &images->rows[i];
	}
	return found;
}

/* --- Making one --- */

/* The first of cp-1, cp-2 ... that is free; the caller's to free. */
static char *make_label(const struct tp_images *images)
{
	for (unsigned int n = 1;; n++) {
		char *label = tp_asprintf("cp-%u", n);
		if (!tp_images_checkpoint(images, label))
			return label;
		free(label);
	}
}

static struct torpor_error *check_label(
	const char *id, const char *label, const struct tp_images *images)
{
	if (images->count >= CHECKPOINTS_MAX)
		return tp_error_hint(
			tp_error(TORPOR_E_LIMIT, "checkpoint", id, "it has %d of %d images",
				CHECKPOINTS_MAX, CHECKPOINTS_MAX),
			"Remove checkpoints that aren't needed any more.");
	if (label && tp_images_checkpoint(images, label))
		return tp_error(TORPOR_E_EXISTS, "checkpoint", id, "it has one called %s", label);
	return NULL;
}

static json_t *describe(const struct tp_image_row *row)
{
	json_t *checkpoint = json_object();

	json_object_set_new(checkpoint, "name", json_string(row->label));
	json_object_set_new(checkpoint, "bytes", json_integer((json_int_t)row->bytes));
	json_object_set_new(checkpoint, "created", tp_time_json(row->created_ns));
	return checkpoint;
}

static struct torpor_error *record(
	struct tp_service *service, struct tp_op op, const struct tp_image_row *row)
{
	struct tp_change *change = tp_change_new();
	TP_JSON json_t *result = tp_op_result(row->session);

	json_object_set_new(result, "checkpoint", describe(row));
	op.result = result;
	tp_change_put_image(change, row);
	struct torpor_error *err = tp_settle(service, &op, change, NULL);
	if (!err)
		err = tp_fault_check("checkpoint.committed");
	if (err) {
		change = tp_change_new();
		tp_change_remove_image(change, row->name);
		tp_settle_undo(service, &op, change);
	}
	return err;
}

static struct torpor_error *save(struct tp_service *service, const struct tp_op *op,
	struct tp_live *live, struct tp_image_row *row, const struct tp_call *call,
	struct torpor_park_report *report)
{
	struct torpor_cancel cancel;
	struct torpor_call public = tp_call_public(call, &cancel);

	TP_TRY(tp_fault_check("checkpoint.begin"));
	TP_TRY(torpor_session_checkpoint(live->core, row->name, &public, report));
	row->bytes = report->image_bytes;
	row->created_ns = tp_realtime_ns();
	struct torpor_error *err = tp_fault_check("checkpoint.durable");
	if (!err)
		err = record(service, *op, row);
	if (err) {
		tp_image_unlink(service, row->name);
		return err;
	}
	tp_admission_images(service->admission, live->tenant, (int64_t)row->bytes);
	return NULL;
}

static json_t *view_checkpoint(struct tp_service *service, struct tp_live *live,
	const struct tp_image_row *row, const struct torpor_park_report *report, uint64_t took_ns)
{
	json_t *view = tp_live_view(service, live, false);

	json_object_set_new(view, "checkpoint", describe(row));
	json_object_set_new(view, "timing", tp_checkpoint_timing(report, took_ns));
	return view;
}

/* How long it took, among what is shown of the session; of those that are gone that is forgotten.
 * Not worth a sync of its own. */
static void note_took(struct tp_service *service, struct tp_live *live,
	const struct tp_images *images, const char *label, uint64_t took_ns)
{
	TP_ROW struct tp_session_row row = {0};
	struct tp_change *change = tp_change_new();
	json_t *kept = json_object();
	const char *key;
	json_t *value;

	tp_live_copy_row(service, live, &row);
	json_t *info = tp_row_json(row.info);
	json_object_foreach (json_object_get(info, "checkpoints"), key, value) {
		if (tp_images_checkpoint(images, key))
			json_object_set(kept, key, value);
	}
	json_object_set_new(kept, label, tp_ms_json(took_ns));
	json_object_set_new(info, "checkpoints", kept);
	tp_row_set_json(&row.info, info);
	tp_change_note_session(change, row.id, row.info);
	tp_error_log(tp_error_in(tp_records_commit(service->records, change), "note", live->id));
	tp_live_set_row(service, live, &row, true);
}

/* Of a session that is held. */
static struct torpor_error *checkpoint_held(struct tp_service *service, const struct tp_op *op,
	struct tp_live *live, const char *label, const struct tp_call *call, json_t **view_out)
{
	uint64_t entered_ns = tp_now_ns();
	TP_IMAGES struct tp_images images = {0};
	struct torpor_park_report report = {0};
	struct tp_tenant_limits limits;
	char suffix[SUFFIX_LEN + 1];

	tp_tenant_limits(service, live->tenant, &limits);
	TP_TRY(tp_admit_image(service->admission, live->tenant, &limits));
	TP_TRY(tp_images_read(service, live->id, &images));
	TP_TRY(check_label(live->id, label, &images));
	const struct tp_image_row *parent = newest(&images);
	tp_random_id(suffix, SUFFIX_LEN);
	TP_FREE char *name = tp_asprintf("%s.%s", live->id, suffix);
	TP_FREE char *made_up = label ? tp_strdup(label) : make_label(&images);
	struct tp_image_row row = {
		.name = name,
		.session = live->id,
		.tenant = live->tenant,
		.kind = (char[]){"checkpoint"},
		.label = made_up,
		.parent = parent ? parent->name : NULL,
		.template_id = live->row.template_id,
	};
	struct torpor_error *err = save(service, op, live, &row, call, &report);
	if (err) {
		tp_count_failure(service, TP_MEASURED_CHECKPOINT, live->row.template_name);
		return err;
	}
	uint64_t took_ns = tp_now_ns() - entered_ns;
	tp_measure(service, TP_MEASURED_CHECKPOINT, live->row.template_name, NULL, took_ns);
	tp_note_operation(service, live, "checkpoint", took_ns, NULL, row.bytes, row.label);
	note_took(service, live, &images, row.label, took_ns);
	tp_live_publish(service, live);
	*view_out = view_checkpoint(service, live, &row, &report, took_ns);
	return NULL;
}

static struct torpor_error *checkpoint(struct tp_service *service, const struct tp_op *op,
	const char *id, const char *label, const struct tp_call *call, json_t **view_out)
{
	struct tp_live *live;
	bool done;

	if (label)
		TP_TRY(tp_check_name("checkpoint", label));
	if (label && strcmp(label, TP_PARK_LABEL) == 0)
		return tp_error(TORPOR_E_INVALID, "check", "checkpoint",
			"\"park\" is what the last park is called");
	TP_TRY(tp_op_get(service, op->actor, TP_PERM_OPERATE, id, &live));
	struct torpor_error *err = tp_live_hold(service, live,
		TP_LIVE_IN(RUNNING) | TP_LIVE_IN(PAUSED), 0, "checkpoint", call, &done);
	if (!err) {
		err = checkpoint_held(service, op, live, label, call, view_out);
		tp_live_end(service, live, live->state);
	}
	tp_live_put(service, live);
	return err;
}

struct torpor_error *tp_service_checkpoint(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const char *label, const struct tp_call *call, json_t **view_out)
{
	struct tp_op op = tp_op_on(actor, "checkpoint", id, 200, NULL);

	return tp_refuse(service, &op, checkpoint(service, &op, id, label, call, view_out));
}

/* --- Showing and removing --- */

/* What the tenant calls the image of that file name, or null. */
static json_t *name_of(const struct tp_images *images, const char *file)
{
	for (size_t i = 0; file && i < images->count; i++) {
		const struct tp_image_row *row = &images->rows[i];
		if (strcmp(row->name, file) == 0)
			return json_string(row->label ? row->label : TP_PARK_LABEL);
	}
	return json_null();
}

static json_t *view_images(const struct tp_images *images)
{
	json_t *list = json_array();
	json_t *view = json_object();

	for (size_t i = 0; i < images->count; i++) {
		const struct tp_image_row *row = &images->rows[i];
		json_t *image = json_object();
		json_object_set_new(
			image, "name", json_string(row->label ? row->label : TP_PARK_LABEL));
		json_object_set_new(image, "kind", json_string(row->kind));
		json_object_set_new(image, "bytes", json_integer((json_int_t)row->bytes));
		json_object_set_new(image, "created", tp_time_json(row->created_ns));
		json_object_set_new(image, "parent", name_of(images, row->parent));
		json_array_append_new(list, image);
	}
	json_object_set_new(view, "images", list);
	return view;
}

struct torpor_error *tp_service_images(
	struct tp_service *service, const struct tp_actor *actor, const char *id, json_t **view_out)
{
	TP_IMAGES struct tp_images images = {0};
	struct tp_live *live;

	TP_TRY(tp_actor_may(actor, TP_PERM_READ, id));
	TP_TRY(tp_live_get(service, actor, id, &live));
	struct torpor_error *err = tp_images_read(service, id, &images);
	tp_live_put(service, live);
	if (err)
		return err;
	*view_out = view_images(&images);
	return NULL;
}

/* What the tenant calls LABEL: a checkpoint, or the last park. */
static const struct tp_image_row *find_image(const struct tp_images *images, const char *label)
{
	for (size_t i = 0; i < images->count; i++) {
		const struct tp_image_row *row = &images->rows[i];
		if (strcmp(row->label ? row->label : TP_PARK_LABEL, label) == 0)
			return row;
	}
	return NULL;
}

static json_t *view_need(const struct torpor_need *need)
{
	json_t *view = json_object();

	json_object_set_new(view, "subject", json_string(need->subject));
	json_object_set_new(view, "needed", json_string(need->needed));
	json_object_set_new(view, "met", json_boolean(need->met));
	json_object_set_new(
		view, "why_not", need->why_not ? json_string(need->why_not) : json_null());
	return view;
}

static json_t *text_or_null(const char *text)
{
	return *text ? json_string(text) : json_null();
}

static json_t *view_where(const char *label, const struct torpor_where *where)
{
	json_t *view = json_object();
	json_t *needs = json_array();

	for (size_t i = 0; i < where->n_needs; i++)
		json_array_append_new(needs, view_need(&where->needs[i]));
	json_object_set_new(view, "image", json_string(label));
	json_object_set_new(view, "here", json_boolean(where->here));
	json_object_set_new(view, "portable", json_boolean(where->portable));
	json_object_set_new(view, "qemu", json_string(where->qemu_version));
	json_object_set_new(view, "machine", json_string(where->machine_type));
	json_object_set_new(view, "accel", json_string(where->accel));
	json_object_set_new(view, "cpu", json_string(where->cpu));
	json_object_set_new(view, "template", text_or_null(where->template_name));
	json_object_set_new(view, "template_id", text_or_null(where->template_id));
	json_object_set_new(view, "needs", needs);
	return view;
}

static struct torpor_error *where_of(struct tp_service *service, const char *id, const char *label,
	const struct tp_call *call, json_t **view_out)
{
	TP_IMAGES struct tp_images images = {0};
	struct torpor_cancel cancel;
	struct torpor_call public = tp_call_public(call, &cancel);
	struct torpor_where where;

	TP_TRY(tp_images_read(service, id, &images));
	const struct tp_image_row *row = find_image(&images, label);
	if (!row)
		return tp_no_checkpoint(id, label);
	TP_FREE char *path = tp_image_file(service, row->name);
	TP_TRY(torpor_image_where(service->engine, path, &public, &where));
	*view_out = view_where(label, &where);
	torpor_where_deinit(&where);
	return NULL;
}

struct torpor_error *tp_service_image_where(struct tp_service *service,
	const struct tp_actor *actor, const char *id, const char *label, const struct tp_call *call,
	json_t **view_out)
{
	struct tp_live *live;

	TP_TRY(tp_actor_may(actor, TP_PERM_READ, id));
	TP_TRY(tp_live_get(service, actor, id, &live));
	struct torpor_error *err = where_of(service, id, label, call, view_out);
	tp_live_put(service, live);
	return err;
}

/* Recorded first: a file without a row is removed by recovery, a row without file a lie. */
static struct torpor_error *remove_held(
	struct tp_service *service, const struct tp_op *op, struct tp_live *live, const char *label)
{
	TP_IMAGES struct tp_images images = {0};
	struct tp_change *change;

	TP_TRY(tp_images_read(service, live->id, &images));
	const struct tp_image_row *row = tp_images_checkpoint(&images, label);
	if (!row)
		return tp_no_checkpoint(live->id, label);
	change = tp_change_new();
	tp_change_remove_image(change, row->name);
	struct torpor_error *err = tp_settle(service, op, change, NULL);
	if (!err)
		err = tp_fault_check("remove-image.committed");
	if (err) {
		change = tp_change_new();
		tp_change_put_image(change, row);
		tp_settle_undo(service, op, change);
		return err;
	}
	tp_image_unlink(service, row->name);
	tp_admission_images(service->admission, live->tenant, -(int64_t)row->bytes);
	tp_live_publish(service, live);
	return NULL;
}

static struct torpor_error *remove_image(
	struct tp_service *service, const struct tp_op *op, const char *id, const char *label)
{
	struct tp_call call = tp_call_within(RESUME_TIMEOUT_NS);
	struct tp_live *live;
	bool done;

	TP_TRY(tp_op_get(service, op->actor, TP_PERM_OPERATE, id, &live));
	struct torpor_error *err = tp_live_hold(service, live,
		TP_LIVE_IN(RUNNING) | TP_LIVE_IN(PAUSED) | TP_LIVE_IN(PARKED) | TP_LIVE_IN(ERROR),
		0, "remove an image of", &call, &done);
	if (!err) {
		err = remove_held(service, op, live, label);
		tp_live_end(service, live, live->state);
	}
	tp_live_put(service, live);
	return err;
}

struct torpor_error *tp_service_remove_image(
	struct tp_service *service, const struct tp_actor *actor, const char *id, const char *label)
{
	struct tp_op op = tp_op_on(actor, "remove-image", id, 204, NULL);

	return tp_refuse(service, &op, remove_image(service, &op, id, label));
}
