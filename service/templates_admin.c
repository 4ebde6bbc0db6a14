/* SPDX-License-Identifier: Apache-2.0 */
/* Templates as they are shown, built and removed. */
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "service/templates_priv.h"

/* --- views --- */

json_t *tp_templates_pool_json(const struct tp_supply_view *view)
{
	const struct tp_policy_stock *stock = &view->stock;

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "warm", (json_int_t)stock->warm,
		"shells", (json_int_t)stock->shells, "warm_target", (json_int_t)view->warm_target,
		"shell_target", (json_int_t)view->shell_target, "starting",
		(json_int_t)(stock->starting_warm + stock->starting_shells), "waiting",
		(json_int_t)stock->waiting);
}

/* By the lock: how far building has come; null if that isn't going on. */
static json_t *progress_json(const struct tp_template_entry *entry)
{
	if (!entry || !entry->building || !entry->stage[0])
		return json_null();
	return json_pack("{s:s, s:s}", "stage", entry->stage, "line", entry->line);
}

/* By the lock: of one that is being built for the first time. */
static json_t *unborn_json(const struct tp_template_entry *entry)
{
	return json_pack("{s:s, s:s, s:o}", "name", entry->name, "state", "building", "progress",
		progress_json(entry));
}

/* Adds "state", "reason", "progress" and "pool" to VIEW. */
static void add_state(struct tp_service *service, const char *name, json_t *view)
{
	struct tp_templates *templates = service->templates;
	struct tp_supply_view supply = {0};
	const char *state = "stored";

	bool supplied = tp_supply_view(service->supply, name, &supply);
	pthread_mutex_lock(&templates->lock);
	const struct tp_template_entry *entry = tp_template_entry_find(templates, name);
	if (entry && entry->building)
		state = "building";
	else if (supplied)
		state = supply.degraded ? "degraded" : "ready";
	const char *reason = supplied && supply.degraded ? supply.reason : NULL;
	if (!supplied && entry && entry->failure)
		reason = entry->failure;
	json_object_set_new(view, "reason", reason ? json_string(reason) : json_null());
	json_object_set_new(view, "progress", progress_json(entry));
	pthread_mutex_unlock(&templates->lock);
	json_object_set_new(view, "state", json_string(state));
	json_object_set_new(view, "pool", tp_templates_pool_json(&supply));
}

static json_t *view_of(struct tp_service *service, const struct torpor_template_info *info)
{
	json_t *view = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:o}", "name",
		info->name, "id", info->id, "machine", info->machine_type, "accel", info->accel,
		"cpu", info->cpu, "qemu", info->qemu_version, "memory_bytes",
		(json_int_t)info->memory, "vcpus", (json_int_t)info->vcpus, "image_bytes",
		(json_int_t)info->image_bytes, "boot_ms", tp_ms_json(info->boot_ns), "created",
		tp_time_json(info->created_unix_ns));

	add_state(service, info->name, view);
	return view;
}

struct torpor_error *tp_service_template(struct tp_service *service, const struct tp_actor *actor,
	const char *name, json_t **view_out)
{
	struct torpor_template_info info;

	TP_TRY(tp_actor_may(actor, TP_PERM_READ, NULL));
	TP_TRY(torpor_template_lookup(service->engine, name, &info));
	*view_out = view_of(service, &info);
	return NULL;
}

/* Those that are being built for the first time aren't stored yet. */
static void add_unborn(struct tp_templates *templates, json_t *list)
{
	pthread_mutex_lock(&templates->lock);
	for (const struct tp_template_entry *entry = templates->entries; entry;
		entry = entry->next) {
		bool stored = false;
		size_t i;
		json_t *view;
		json_array_foreach (list, i, view) {
			stored = stored || strcmp(json_string_value(json_object_get(view, "name")),
						   entry->name) == 0;
		}
		if (entry->building && !stored)
			json_array_append_new(list, unborn_json(entry));
	}
	pthread_mutex_unlock(&templates->lock);
}

struct torpor_error *tp_service_templates(
	struct tp_service *service, const struct tp_actor *actor, json_t **view_out)
{
	TP_FREE struct torpor_template_info *infos = NULL;
	size_t count;

	TP_TRY(tp_actor_may(actor, TP_PERM_READ, NULL));
	TP_TRY(torpor_template_list(service->engine, &infos, &count));
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, view_of(service, &infos[i]));
	add_unborn(service->templates, list);
	*view_out = json_pack("{s:o}", "templates", list);
	return NULL;
}

/* --- building --- */

/* One build of a name at a time. */
static struct torpor_error *begin_building(
	struct tp_templates *templates, struct tp_template_entry *entry)
{
	pthread_mutex_lock(&templates->lock);
	bool building = entry->building;
	entry->building = true;
	if (!building)
		entry->stage[0] = entry->line[0] = '\0';
	pthread_mutex_unlock(&templates->lock);
	if (building)
		return tp_error(TORPOR_E_BUSY, "build template", entry->name, "it is being built");
	return NULL;
}

static void end_building(struct tp_templates *templates, struct tp_template_entry *entry)
{
	pthread_mutex_lock(&templates->lock);
	entry->building = false;
	pthread_mutex_unlock(&templates->lock);
}

struct build {
	struct tp_service *service;
	struct tp_template_entry *entry;
	const struct torpor_template_spec *spec;
	torpor_progress_fn *progress; /* or NULL */
	void *data;
	const struct tp_call *call;
};

/* To those who watch, whoever builds it. */
static void publish_building(struct tp_service *service, const struct tp_template_entry *entry)
{
	struct torpor_template_info info;

	struct torpor_error *err = torpor_template_lookup(service->engine, entry->name, &info);
	if (!err) {
		tp_template_publish(service, entry->name);
		return;
	}
	torpor_error_free(err);
	pthread_mutex_lock(&service->templates->lock);
	json_t *view = entry->building
			       ? unborn_json(entry)
			       : json_pack("{s:s, s:s}", "name", entry->name, "state", "removed");
	pthread_mutex_unlock(&service->templates->lock);
	tp_publish(service, "template", NULL, NULL, view);
}

/* Lines are a guest's console's, and may be anything. */
static void copy_ascii(char *text, size_t size, const char *from)
{
	size_t n = strnlen(from, size - 1);

	for (size_t i = 0; i < n; i++)
		text[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
	text[n] = '\0';
}

static void on_progress(void *data, const char *stage, const char *line)
{
	struct build *how = data;
	struct tp_template_entry *entry = how->entry;

	pthread_mutex_lock(&how->service->templates->lock);
	bool new = strcmp(entry->stage, stage) != 0;
	copy_ascii(entry->stage, sizeof(entry->stage), stage);
	copy_ascii(entry->line, sizeof(entry->line), line);
	pthread_mutex_unlock(&how->service->templates->lock);
	/* Not for each of a hundred lines. */
	if (new)
		publish_building(how->service, entry);
	if (how->progress)
		how->progress(how->data, stage, line);
}

/* By the entry's turn. TMPL, which was built, is taken, unless it was removed since. */
static struct torpor_error *put_to_use(
	struct tp_service *service, struct tp_template_entry *entry, struct torpor_template *tmpl)
{
	struct torpor_template_info info;

	struct torpor_error *err = torpor_template_lookup(service->engine, entry->name, &info);
	if (err) {
		torpor_template_close(tmpl);
		return err;
	}
	tp_template_put_to_use(service, entry, tmpl);
	return NULL;
}

/* While `building`: builds, puts to use, records. */
static struct torpor_error *build(struct tp_service *service, struct tp_template_entry *entry,
	struct build *how, const struct tp_op *op)
{
	struct torpor_cancel cancel;
	struct torpor_call call = tp_call_public(how->call, &cancel);
	struct torpor_template_report report;
	struct torpor_template *tmpl;
	struct tp_call forever = tp_call_within(TP_NO_DEADLINE);

	if (how->call->deadline_ns == TP_NO_DEADLINE)
		call.timeout_ns = 0; /* the build's own bound */
	TP_TRY(torpor_template_build(
		service->engine, how->spec, on_progress, how, &call, &report, &tmpl));
	/* It is there whatever becomes of the entry: a failure from here on doesn't undo it. */
	struct torpor_error *err = tp_turn_take(entry->turn, &forever, entry->name);
	if (err) {
		torpor_template_close(tmpl);
		return err;
	}
	err = put_to_use(service, entry, tmpl);
	tp_turn_give(entry->turn);
	tp_template_note_failure(service->templates, entry, err);
	TP_TRY(err);
	return tp_settle(service, op, NULL, NULL);
}

struct torpor_error *tp_service_build_template(struct tp_service *service,
	const struct tp_actor *actor, const struct torpor_template_spec *spec,
	torpor_progress_fn *progress, void *data, const struct tp_call *call, json_t **view_out)
{
	TP_JSON json_t *result = json_pack("{s:s}", "template", spec->name);
	struct tp_op op = {.actor = actor,
		.op = "template-build",
		.object = spec->name,
		.status = 201,
		.result = result};
	struct build how = {
		.service = service, .spec = spec, .progress = progress, .data = data, .call = call};
	struct tp_template_entry *entry;

	TP_TRY(tp_refuse(service, &op, tp_actor_must_be_admin(actor)));
	TP_TRY(tp_refuse(service, &op, tp_check_name("template", spec->name)));
	TP_TRY(tp_template_entry_get(service->templates, spec->name, &entry));
	TP_TRY(tp_refuse(service, &op, begin_building(service->templates, entry)));
	how.entry = entry;
	publish_building(service, entry);
	struct torpor_error *err = build(service, entry, &how, &op);
	end_building(service->templates, entry);
	if (err)
		publish_building(service, entry);
	TP_TRY(tp_refuse(service, &op, err));
	tp_template_publish(service, spec->name);
	return tp_service_template(service, actor, spec->name, view_out);
}

/* --- removing --- */

static struct torpor_error *needed(const char *name, const char *by)
{
	return tp_error_hint(tp_error(TORPOR_E_BUSY, "remove template", name, "%s need it", by),
		"Destroy them first; or remove it by force, and they can't be resumed any more.");
}

/* By the entry's turn: nobody has it any more; or BUSY, and all is as before. */
static struct torpor_error *take_out(
	struct tp_service *service, struct tp_template_entry *entry, bool force)
{
	struct tp_templates *templates = service->templates;
	struct tp_policy_config policy = tp_template_policy(templates, entry->name);

	pthread_mutex_lock(&templates->lock);
	struct torpor_template *tmpl = TP_TAKE(entry->tmpl);
	pthread_mutex_unlock(&templates->lock);
	if (!tmpl)
		return NULL;
	tp_supply_remove(service->supply, entry->name);
	pthread_mutex_lock(&service->engine->lock);
	bool others = tmpl->refs > 1;
	pthread_mutex_unlock(&service->engine->lock);
	if (others && !force) {
		pthread_mutex_lock(&templates->lock);
		entry->tmpl = tmpl;
		pthread_mutex_unlock(&templates->lock);
		tp_supply_add(service->supply, tmpl, &policy);
		return needed(entry->name, "sessions that are being made");
	}
	torpor_template_close(tmpl);
	tp_templates_charge(service);
	return NULL;
}

/* By the entry's turn. */
static struct torpor_error *remove_entry(
	struct tp_service *service, struct tp_template_entry *entry, bool force)
{
	struct torpor_template_info info;
	uint64_t users;

	TP_TRY(torpor_template_lookup(service->engine, entry->name, &info));
	TP_TRY(tp_records_template_users(service->records, info.id, &users));
	if (users > 0 && !force)
		return needed(entry->name, "sessions or checkpoints");
	TP_TRY(take_out(service, entry, force));
	return torpor_template_remove(service->engine, entry->name);
}

struct torpor_error *tp_service_remove_template(
	struct tp_service *service, const struct tp_actor *actor, const char *name, bool force)
{
	TP_JSON json_t *detail = json_pack("{s:b}", "force", force);
	struct tp_op op = {.actor = actor,
		.op = "template-remove",
		.object = name,
		.detail = detail,
		.status = 204};
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
	struct torpor_template_info info;
	struct tp_template_entry *entry;

	TP_TRY(tp_refuse(service, &op, tp_actor_must_be_admin(actor)));
	TP_TRY(tp_refuse(service, &op, torpor_template_lookup(service->engine, name, &info)));
	TP_TRY(tp_template_entry_get(service->templates, name, &entry));
	TP_TRY(tp_refuse(service, &op, tp_turn_take(entry->turn, &call, name)));
	struct torpor_error *err = remove_entry(service, entry, force);
	tp_turn_give(entry->turn);
	TP_TRY(tp_refuse(service, &op, err));
	tp_publish(service, "template", NULL, NULL,
		json_pack("{s:s, s:s}", "name", name, "state", "removed"));
	return tp_settle(service, &op, NULL, NULL);
}
