/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Templates in use.
 *
 * Taking one into use fills its base, which costs what its RAM does; so each has a turn, and of two
 * that come at once the second finds it filled. Whoever fills does that to its end, whatever its
 * own deadline: others profit too, and a template that takes longer than anybody's patience would
 * never come into use otherwise.
 */
#include "service/templates.h"

#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/config.h"
#include "pool/turn.h"
#include "service/service_priv.h"

/* Where all templates are taken into use, their bases may have 1/2 of the host's memory. */
#define ALL_BASES_SHARE 2

struct entry {
	/* Constant. */
	struct entry *next;
	char *name;
	struct tp_turn *turn; /* of whoever takes it into use or out */

	/* By the lock. */
	struct torpor_template *tmpl; /* NULL: not in use */
	uint64_t used_ns;	      /* CLOCK_MONOTONIC */
	bool building;
	char *failure; /* why it couldn't be taken into use last; NULL: it could, or wasn't tried */
};

struct tp_templates {
	/* By the lock. */
	pthread_mutex_t lock;
	struct entry *entries; /* of every template ever used, until the end */
	struct tp_template_config *configs;
	size_t n_configs;
	struct tp_policy_config policy; /* of those without configuration */
	uint64_t charged;		/* bytes of bases, to the host's memory */
};

struct tp_templates *tp_templates_new(void)
{
	struct tp_templates *templates = tp_calloc(1, sizeof(*templates));

	pthread_mutex_init(&templates->lock, NULL);
	return templates;
}

static void free_configs(struct tp_template_config *configs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(configs[i].name);
	free(configs);
}

struct tp_templates *tp_templates_free(struct tp_templates *templates)
{
	if (!templates)
		return NULL;
	while (templates->entries) {
		struct entry *entry = templates->entries;
		templates->entries = entry->next;
		torpor_template_close(entry->tmpl);
		tp_turn_free(entry->turn);
		free(entry->failure);
		free(entry->name);
		free(entry);
	}
	free_configs(templates->configs, templates->n_configs);
	pthread_mutex_destroy(&templates->lock);
	free(templates);
	return NULL;
}

/* --- entries; by the lock --- */

static struct entry *find(struct tp_templates *templates, const char *name)
{
	struct entry *entry = templates->entries;

	while (entry && strcmp(entry->name, name) != 0)
		entry = entry->next;
	return entry;
}

/* The entry of NAME, which is a template's or will be; made if missing. */
static struct torpor_error *get_entry(
	struct tp_templates *templates, const char *name, struct entry **entry_out)
{
	struct torpor_error *err = NULL;

	pthread_mutex_lock(&templates->lock);
	struct entry *entry = find(templates, name);
	if (!entry) {
		struct tp_turn *turn;
		err = tp_turn_new(&turn);
		if (!err) {
			entry = tp_calloc(1, sizeof(*entry));
			entry->name = tp_strdup(name);
			entry->turn = turn;
			entry->next = templates->entries;
			templates->entries = entry;
		}
	}
	pthread_mutex_unlock(&templates->lock);
	if (!err)
		*entry_out = entry;
	return err;
}

static const struct tp_template_config *config_of(
	const struct tp_templates *templates, const char *name)
{
	for (size_t i = 0; i < templates->n_configs; i++) {
		if (strcmp(templates->configs[i].name, name) == 0)
			return &templates->configs[i];
	}
	return NULL;
}

static struct tp_policy_config policy_of(struct tp_templates *templates, const char *name)
{
	pthread_mutex_lock(&templates->lock);
	const struct tp_template_config *config = config_of(templates, name);
	struct tp_policy_config policy = config ? config->policy : templates->policy;
	pthread_mutex_unlock(&templates->lock);
	return policy;
}

static bool has_stock(const struct tp_policy_config *policy)
{
	return policy->warm_min > 0 || policy->shells_min > 0;
}

/* Under the lock: whether guests of it are to wait all the time. */
static bool keeps_stock(const struct tp_templates *templates, const char *name)
{
	const struct tp_template_config *config = config_of(templates, name);

	if (config)
		return has_stock(&config->policy);
	return templates->n_configs == 0 && has_stock(&templates->policy);
}

/* --- configuration --- */

void tp_templates_configure(struct tp_service *service, const struct tp_service_config *config)
{
	struct tp_templates *templates = service->templates;
	struct tp_template_config *configs =
		tp_calloc(config->n_templates ? config->n_templates : 1, sizeof(*configs));

	for (size_t i = 0; i < config->n_templates; i++) {
		configs[i] = config->templates[i];
		configs[i].name = tp_strdup(config->templates[i].name);
	}
	pthread_mutex_lock(&templates->lock);
	struct tp_template_config *old = templates->configs;
	size_t n_old = templates->n_configs;
	templates->configs = configs;
	templates->n_configs = config->n_templates;
	templates->policy = config->policy;
	struct entry *first = templates->entries;
	pthread_mutex_unlock(&templates->lock);
	free_configs(old, n_old);

	/* Entries last, and new ones come before the first. */
	for (struct entry *entry = first; entry; entry = entry->next) {
		struct tp_policy_config policy = policy_of(templates, entry->name);
		pthread_mutex_lock(&templates->lock);
		struct torpor_template *tmpl = entry->tmpl ? tp_template_ref(entry->tmpl) : NULL;
		pthread_mutex_unlock(&templates->lock);
		if (tmpl)
			tp_supply_add(service->supply, tmpl, &policy);
		torpor_template_close(tmpl);
	}
}

struct tp_timers tp_template_timers(struct tp_service *service, const char *name)
{
	struct tp_templates *templates = service->templates;
	struct tp_timers timers = {TP_UNSET, TP_UNSET, TP_UNSET};

	pthread_mutex_lock(&templates->lock);
	const struct tp_template_config *config = config_of(templates, name);
	if (config)
		timers = config->timers;
	pthread_mutex_unlock(&templates->lock);
	return timers;
}

bool tp_templates_retain(struct tp_service *service)
{
	struct tp_templates *templates = service->templates;
	bool retain = false;

	pthread_mutex_lock(&templates->lock);
	for (size_t i = 0; i < templates->n_configs; i++)
		retain = retain || templates->configs[i].timers.retention_s != TP_UNSET;
	pthread_mutex_unlock(&templates->lock);
	return retain;
}

/* --- memory --- */

/* Whether a template before TMPL in the engine's list has the same base. */
static bool counted_before(const struct torpor_template *first, const struct torpor_template *tmpl)
{
	const struct torpor_template *at = first;

	while (at->base != tmpl->base)
		at = at->next;
	return at != tmpl;
}

static uint64_t bytes_of_bases(struct torpor_engine *engine)
{
	uint64_t bytes = 0;

	pthread_mutex_lock(&engine->lock);
	for (const struct torpor_template *tmpl = engine->templates; tmpl; tmpl = tmpl->next) {
		if (!counted_before(engine->templates, tmpl))
			bytes += tp_base_pages(tmpl->base) * TP_PAGE_SIZE;
	}
	pthread_mutex_unlock(&engine->lock);
	return bytes;
}

/* What the bases that are in use come to, whoever uses them: sessions keep replaced ones, too. */
static void charge_bases(struct tp_service *service)
{
	struct tp_templates *templates = service->templates;

	pthread_mutex_lock(&templates->lock);
	uint64_t bytes = bytes_of_bases(service->engine);
	tp_admission_base(service->admission, (int64_t)(bytes - templates->charged));
	templates->charged = bytes;
	pthread_mutex_unlock(&templates->lock);
}

/* --- into use --- */

/* A handle of the caller's own, if the template is in use. */
static struct torpor_template *in_use(struct tp_templates *templates, const char *name)
{
	struct torpor_template *tmpl = NULL;

	pthread_mutex_lock(&templates->lock);
	struct entry *entry = find(templates, name);
	if (entry && entry->tmpl) {
		entry->used_ns = tp_now_ns();
		tmpl = tp_template_ref(entry->tmpl);
	}
	pthread_mutex_unlock(&templates->lock);
	return tmpl;
}

static void note_failure(
	struct tp_templates *templates, struct entry *entry, const struct torpor_error *err)
{
	pthread_mutex_lock(&templates->lock);
	free(entry->failure);
	entry->failure = err ? tp_strdup(torpor_error_message(err)) : NULL;
	pthread_mutex_unlock(&templates->lock);
}

/* The same where there is no such template, if there is an entry nevertheless. */
static void note_missing(
	struct tp_templates *templates, const char *name, const struct torpor_error *err)
{
	pthread_mutex_lock(&templates->lock);
	struct entry *entry = find(templates, name);
	pthread_mutex_unlock(&templates->lock);
	if (entry)
		note_failure(templates, entry, err);
}

/* By the entry's turn: TMPL is the entry's handle from now on; the one that was is let go. */
static void put_to_use(
	struct tp_service *service, struct entry *entry, struct torpor_template *tmpl)
{
	struct tp_templates *templates = service->templates;
	struct tp_policy_config policy = policy_of(templates, entry->name);

	pthread_mutex_lock(&templates->lock);
	struct torpor_template *old = entry->tmpl;
	entry->tmpl = tmpl;
	entry->used_ns = tp_now_ns();
	pthread_mutex_unlock(&templates->lock);
	if (old)
		tp_supply_remove(service->supply, entry->name);
	tp_supply_add(service->supply, tmpl, &policy);
	torpor_template_close(old);
	charge_bases(service);
}

/* By the entry's turn. */
static struct torpor_error *open_entry(
	struct tp_service *service, struct entry *entry, struct torpor_template **tmpl_out)
{
	struct torpor_template *tmpl = in_use(service->templates, entry->name);

	if (!tmpl) {
		struct torpor_template *own;
		TP_TRY(torpor_template_open(service->engine, entry->name, NULL, &own));
		tmpl = tp_template_ref(own);
		put_to_use(service, entry, own);
	}
	*tmpl_out = tmpl;
	return NULL;
}

static void publish(struct tp_service *service, const char *name)
{
	struct tp_actor self = tp_actor_self(TP_DEFAULT_TENANT);
	json_t *view;

	struct torpor_error *err = tp_service_template(service, &self, name, &view);
	if (!err)
		tp_publish(service, "template", NULL, NULL, view);
	torpor_error_free(err);
}

struct torpor_error *tp_template_use(struct tp_service *service, const char *name,
	const struct tp_call *call, struct torpor_template **tmpl_out)
{
	struct tp_templates *templates = service->templates;
	struct torpor_template_info info;
	struct entry *entry;

	struct torpor_template *tmpl = in_use(templates, name);
	if (tmpl) {
		*tmpl_out = tmpl;
		return NULL;
	}
	/* Entries are for templates that there are, or should be: other names cost nothing. */
	struct torpor_error *err = torpor_template_lookup(service->engine, name, &info);
	if (err) {
		note_missing(templates, name, err);
		return err;
	}
	TP_TRY(get_entry(templates, name, &entry));
	TP_TRY(tp_turn_take(entry->turn, call, name));
	err = open_entry(service, entry, tmpl_out);
	tp_turn_give(entry->turn);
	note_failure(templates, entry, err);
	if (!err)
		publish(service, name);
	return err;
}

/* The first template of a live session that isn't in use here, and was not tried in vain. */
static char *next_of_sessions(struct tp_service *service)
{
	struct tp_templates *templates = service->templates;
	char *name = NULL;

	pthread_mutex_lock(&service->lock);
	pthread_mutex_lock(&templates->lock);
	for (size_t i = 0; i < LIVE_BUCKETS; i++) {
		for (const struct tp_live *live = service->live[i]; live && !name;
			live = live->next) {
			const char *of = live->core ? live->row.template_name : NULL;
			const struct entry *entry = of ? find(templates, of) : NULL;
			if (of && !(entry && (entry->tmpl || entry->failure)))
				name = tp_strdup(of);
		}
	}
	pthread_mutex_unlock(&templates->lock);
	pthread_mutex_unlock(&service->lock);
	return name;
}

/* The first name that is configured to have stock and isn't in use, from the INDEX_INOUTth on. */
static char *next_unused(struct tp_templates *templates, size_t *index_inout)
{
	char *name = NULL;

	pthread_mutex_lock(&templates->lock);
	while (!name && *index_inout < templates->n_configs) {
		const struct tp_template_config *config = &templates->configs[(*index_inout)++];
		const struct entry *entry = find(templates, config->name);
		if (has_stock(&config->policy) && !(entry && entry->tmpl))
			name = tp_strdup(config->name);
	}
	pthread_mutex_unlock(&templates->lock);
	return name;
}

static void prepare_configured(struct tp_service *service, const struct tp_call *call)
{
	size_t index = 0;

	for (;;) {
		TP_FREE char *name = next_unused(service->templates, &index);
		struct torpor_template *tmpl = NULL;
		struct entry *entry;
		if (!name)
			return;
		/* Why it failed is shown by tp_templates_missing, as long as it is so. */
		struct torpor_error *err = get_entry(service->templates, name, &entry);
		if (!err)
			err = tp_template_use(service, name, call, &tmpl);
		torpor_error_free(err);
		torpor_template_close(tmpl);
	}
}

static int by_memory(const void *a, const void *b)
{
	uint64_t x = ((const struct torpor_template_info *)a)->memory;
	uint64_t y = ((const struct torpor_template_info *)b)->memory;

	return (x > y) - (x < y);
}

/* Nothing is said about any template: all that are stored, as long as there is room for the bases.
 */
static struct torpor_error *prepare_all(struct tp_service *service, const struct tp_call *call)
{
	struct torpor_template_info *infos;
	struct tp_admission_view view;
	size_t n;

	TP_TRY(torpor_template_list(service->engine, &infos, &n));
	if (n > 0)
		qsort(infos, n, sizeof(*infos), by_memory);
	for (size_t i = 0; i < n; i++) {
		struct torpor_template *tmpl = NULL;
		tp_admission_view(service->admission, &view);
		if (view.bases + infos[i].memory > view.host_memory / ALL_BASES_SHARE)
			break;
		tp_error_log(tp_template_use(service, infos[i].name, call, &tmpl));
		torpor_template_close(tmpl);
	}
	free(infos);
	return NULL;
}

static bool all_keep_stock(struct tp_templates *templates)
{
	pthread_mutex_lock(&templates->lock);
	bool all = templates->n_configs == 0 && has_stock(&templates->policy);
	pthread_mutex_unlock(&templates->lock);
	return all;
}

/* Those of sessions that were taken over: their bases are there already. */
static void prepare_for_sessions(struct tp_service *service, const struct tp_call *call)
{
	for (;;) {
		TP_FREE char *name = next_of_sessions(service);
		struct torpor_template *tmpl = NULL;
		if (!name)
			return;
		struct torpor_error *err = tp_template_use(service, name, call, &tmpl);
		bool failed = err;
		torpor_error_free(err);
		torpor_template_close(tmpl);
		/* One that is stored no more is left to its sessions. */
		if (failed)
			return;
	}
}

void tp_templates_prepare(struct tp_service *service, const struct tp_call *call)
{
	prepare_configured(service, call);
	prepare_for_sessions(service, call);
	if (all_keep_stock(service->templates))
		tp_error_log(prepare_all(service, call));
}

char *tp_templates_missing(struct tp_service *service)
{
	struct tp_templates *templates = service->templates;
	char *missing = NULL;
	size_t index = 0;

	for (;;) {
		TP_FREE char *name = next_unused(templates, &index);
		TP_FREE char *before = missing;
		if (!name)
			return TP_TAKE(before);
		pthread_mutex_lock(&templates->lock);
		const struct entry *entry = find(templates, name);
		const char *why = entry && entry->failure ? entry->failure : "not in use yet";
		missing = tp_asprintf(
			"%s%stemplate %s: %s", before ? before : "", before ? "; " : "", name, why);
		pthread_mutex_unlock(&templates->lock);
	}
}

/* --- out of use --- */

static bool has_sessions(struct tp_service *service, const char *name)
{
	bool has = false;

	pthread_mutex_lock(&service->lock);
	for (size_t i = 0; i < LIVE_BUCKETS; i++) {
		for (const struct tp_live *live = service->live[i]; live; live = live->next) {
			const char *of = live->row.template_name;
			has = has || (live->core && of && strcmp(of, name) == 0);
		}
	}
	pthread_mutex_unlock(&service->lock);
	return has;
}

/* The handle of an entry that has not been needed since before NOW_NS - TP_TEMPLATE_IDLE_NS. */
static struct torpor_template *take_idle(
	struct tp_service *service, struct entry *entry, uint64_t now_ns)
{
	struct tp_templates *templates = service->templates;
	struct torpor_template *tmpl = NULL;
	bool needed = has_sessions(service, entry->name);

	pthread_mutex_lock(&templates->lock);
	if (needed || keeps_stock(templates, entry->name))
		entry->used_ns = TP_MAX(entry->used_ns, now_ns);
	if (entry->tmpl && now_ns > entry->used_ns + TP_TEMPLATE_IDLE_NS)
		tmpl = TP_TAKE(entry->tmpl);
	pthread_mutex_unlock(&templates->lock);
	return tmpl;
}

void tp_templates_release(struct tp_service *service, uint64_t now_ns)
{
	struct tp_templates *templates = service->templates;
	struct tp_call at_once = tp_call_within(0);

	pthread_mutex_lock(&templates->lock);
	struct entry *first = templates->entries;
	pthread_mutex_unlock(&templates->lock);
	for (struct entry *entry = first; entry; entry = entry->next) {
		struct torpor_error *err = tp_turn_take(entry->turn, &at_once, entry->name);
		if (err) {
			torpor_error_free(err);
			continue;
		}
		struct torpor_template *tmpl = take_idle(service, entry, now_ns);
		if (tmpl)
			tp_supply_remove(service->supply, entry->name);
		torpor_template_close(tmpl);
		tp_turn_give(entry->turn);
		if (tmpl)
			publish(service, entry->name);
	}
	charge_bases(service);
}

void tp_templates_each(struct tp_service *service,
	void (*each)(void *data, struct tp_service *service, const char *name), void *data)
{
	struct tp_templates *templates = service->templates;

	pthread_mutex_lock(&templates->lock);
	struct entry *first = templates->entries;
	pthread_mutex_unlock(&templates->lock);
	for (struct entry *entry = first; entry; entry = entry->next) {
		pthread_mutex_lock(&templates->lock);
		bool used = entry->tmpl;
		pthread_mutex_unlock(&templates->lock);
		if (used)
			each(data, service, entry->name);
	}
}

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

/* Adds "state", "reason" and "pool" to VIEW. */
static void add_state(struct tp_service *service, const char *name, json_t *view)
{
	struct tp_templates *templates = service->templates;
	struct tp_supply_view supply = {0};
	const char *state = "stored";

	bool supplied = tp_supply_view(service->supply, name, &supply);
	pthread_mutex_lock(&templates->lock);
	const struct entry *entry = find(templates, name);
	if (entry && entry->building)
		state = "building";
	else if (supplied)
		state = supply.degraded ? "degraded" : "ready";
	const char *reason = supplied && supply.degraded ? supply.reason : NULL;
	if (!supplied && entry && entry->failure)
		reason = entry->failure;
	json_object_set_new(view, "reason", reason ? json_string(reason) : json_null());
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
	for (const struct entry *entry = templates->entries; entry; entry = entry->next) {
		bool stored = false;
		size_t i;
		json_t *view;
		json_array_foreach (list, i, view) {
			stored = stored || strcmp(json_string_value(json_object_get(view, "name")),
						   entry->name) == 0;
		}
		if (entry->building && !stored)
			json_array_append_new(list,
				json_pack("{s:s, s:s}", "name", entry->name, "state", "building"));
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
static struct torpor_error *begin_building(struct tp_templates *templates, struct entry *entry)
{
	pthread_mutex_lock(&templates->lock);
	bool building = entry->building;
	entry->building = true;
	pthread_mutex_unlock(&templates->lock);
	if (building)
		return tp_error(TORPOR_E_BUSY, "build template", entry->name, "it is being built");
	return NULL;
}

static void end_building(struct tp_templates *templates, struct entry *entry)
{
	pthread_mutex_lock(&templates->lock);
	entry->building = false;
	pthread_mutex_unlock(&templates->lock);
}

struct build {
	const struct torpor_template_spec *spec;
	torpor_progress_fn *progress;
	void *data;
	const struct tp_call *call;
};

/* While `building`: builds, puts to use, records. */
static struct torpor_error *build(struct tp_service *service, struct entry *entry,
	const struct build *how, const struct tp_op *op)
{
	struct torpor_cancel cancel;
	struct torpor_call call = tp_call_public(how->call, &cancel);
	struct torpor_template_report report;
	struct torpor_template *tmpl;
	struct tp_call forever = tp_call_within(TP_NO_DEADLINE);

	if (how->call->deadline_ns == TP_NO_DEADLINE)
		call.timeout_ns = 0; /* the build's own bound */
	TP_TRY(torpor_template_build(
		service->engine, how->spec, how->progress, how->data, &call, &report, &tmpl));
	/* It is there whatever becomes of the entry: a failure from here on doesn't undo it. */
	struct torpor_error *err = tp_turn_take(entry->turn, &forever, entry->name);
	if (err) {
		torpor_template_close(tmpl);
		return err;
	}
	put_to_use(service, entry, tmpl);
	tp_turn_give(entry->turn);
	note_failure(service->templates, entry, NULL);
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
	struct build how = {.spec = spec, .progress = progress, .data = data, .call = call};
	struct entry *entry;

	TP_TRY(tp_refuse(service, &op, tp_actor_must_be_admin(actor)));
	TP_TRY(tp_refuse(service, &op, tp_check_name("template", spec->name)));
	TP_TRY(get_entry(service->templates, spec->name, &entry));
	TP_TRY(tp_refuse(service, &op, begin_building(service->templates, entry)));
	struct torpor_error *err = build(service, entry, &how, &op);
	end_building(service->templates, entry);
	TP_TRY(tp_refuse(service, &op, err));
	publish(service, spec->name);
	return tp_service_template(service, actor, spec->name, view_out);
}

/* --- removing --- */

static struct torpor_error *needed(const char *name, const char *by)
{
	return tp_error_hint(tp_error(TORPOR_E_BUSY, "remove template", name, "%s need it", by),
		"Destroy them first; or remove it by force, and they can't be resumed any more.");
}

/* By the entry's turn: nobody has it any more; or BUSY, and all is as before. */
static struct torpor_error *take_out(struct tp_service *service, struct entry *entry, bool force)
{
	struct tp_templates *templates = service->templates;
	struct tp_policy_config policy = policy_of(templates, entry->name);

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
	charge_bases(service);
	return NULL;
}

/* By the entry's turn. */
static struct torpor_error *remove_entry(
	struct tp_service *service, struct entry *entry, bool force)
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
	struct entry *entry;

	TP_TRY(tp_refuse(service, &op, tp_actor_must_be_admin(actor)));
	TP_TRY(tp_refuse(service, &op, torpor_template_lookup(service->engine, name, &info)));
	TP_TRY(get_entry(service->templates, name, &entry));
	TP_TRY(tp_refuse(service, &op, tp_turn_take(entry->turn, &call, name)));
	struct torpor_error *err = remove_entry(service, entry, force);
	tp_turn_give(entry->turn);
	TP_TRY(tp_refuse(service, &op, err));
	tp_publish(service, "template", NULL, NULL,
		json_pack("{s:s, s:s}", "name", name, "state", "removed"));
	return tp_settle(service, &op, NULL, NULL);
}
