/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Templates in use.
 *
 * Taking one into use fills its base, which costs what its RAM does; so each has a turn, and of two
 * that come at once the second finds it filled. Whoever fills does that to its end, whatever its
 * own deadline: others profit too, and a template that takes longer than anybody's patience would
 * never come into use otherwise.
 */
#include "service/templates_priv.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "pool/turn.h"

/* Where all templates are taken into use, their bases may have 1/2 of the host's memory. */
#define ALL_BASES_SHARE 2

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
		struct tp_template_entry *entry = templates->entries;
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

struct tp_template_entry *tp_template_entry_find(struct tp_templates *templates, const char *name)
{
	struct tp_template_entry *entry = templates->entries;

	while (entry && strcmp(entry->name, name) != 0)
		entry = entry->next;
	return entry;
}

/* The entry of NAME, which is a template's or will be; made if missing. */
struct torpor_error *tp_template_entry_get(
	struct tp_templates *templates, const char *name, struct tp_template_entry **entry_out)
{
	struct torpor_error *err = NULL;

	pthread_mutex_lock(&templates->lock);
	struct tp_template_entry *entry = tp_template_entry_find(templates, name);
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

struct tp_policy_config tp_template_policy(struct tp_templates *templates, const char *name)
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
	struct tp_template_entry *first = templates->entries;
	pthread_mutex_unlock(&templates->lock);
	free_configs(old, n_old);

	/* Entries last, and new ones come before the first. */
	for (struct tp_template_entry *entry = first; entry; entry = entry->next) {
		struct tp_policy_config policy = tp_template_policy(templates, entry->name);
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
void tp_templates_charge(struct tp_service *service)
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
	struct tp_template_entry *entry = tp_template_entry_find(templates, name);
	if (entry && entry->tmpl) {
		entry->used_ns = tp_now_ns();
		tmpl = tp_template_ref(entry->tmpl);
	}
	pthread_mutex_unlock(&templates->lock);
	return tmpl;
}

void tp_template_note_failure(struct tp_templates *templates, struct tp_template_entry *entry,
	const struct torpor_error *err)
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
	struct tp_template_entry *entry = tp_template_entry_find(templates, name);
	pthread_mutex_unlock(&templates->lock);
	if (entry)
		tp_template_note_failure(templates, entry, err);
}

/* By the entry's turn: TMPL is the entry's handle from now on; the one that was is let go. */
void tp_template_put_to_use(
	struct tp_service *service, struct tp_template_entry *entry, struct torpor_template *tmpl)
{
	struct tp_templates *templates = service->templates;
	struct tp_policy_config policy = tp_template_policy(templates, entry->name);

	pthread_mutex_lock(&templates->lock);
	struct torpor_template *old = entry->tmpl;
	entry->tmpl = tmpl;
	entry->used_ns = tp_now_ns();
	pthread_mutex_unlock(&templates->lock);
	if (old)
		tp_supply_remove(service->supply, entry->name);
	tp_supply_add(service->supply, tmpl, &policy);
	torpor_template_close(old);
	tp_templates_charge(service);
}

/* By the entry's turn. */
static struct torpor_error *open_entry(struct tp_service *service, struct tp_template_entry *entry,
	struct torpor_template **tmpl_out)
{
	struct torpor_template *tmpl = in_use(service->templates, entry->name);

	if (!tmpl) {
		struct torpor_template *own;
		TP_TRY(torpor_template_open(service->engine, entry->name, NULL, &own));
		tmpl = tp_template_ref(own);
		tp_template_put_to_use(service, entry, own);
	}
	*tmpl_out = tmpl;
	return NULL;
}

void tp_template_publish(struct tp_service *service, const char *name)
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
	struct tp_template_entry *entry;

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
	TP_TRY(tp_template_entry_get(templates, name, &entry));
	TP_TRY(tp_turn_take(entry->turn, call, name));
	err = open_entry(service, entry, tmpl_out);
	tp_turn_give(entry->turn);
	tp_template_note_failure(templates, entry, err);
	if (!err)
		tp_template_publish(service, name);
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
			const struct tp_template_entry *entry =
				of ? tp_template_entry_find(templates, of) : NULL;
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
		const struct tp_template_entry *entry =
			tp_template_entry_find(templates, config->name);
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
		struct tp_template_entry *entry;
		if (!name)
			return;
		/* Why it failed is shown by tp_templates_missing, as long as it is so. */
		struct torpor_error *err = tp_template_entry_get(service->templates, name, &entry);
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
		const struct tp_template_entry *entry = tp_template_entry_find(templates, name);
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
	struct tp_service *service, struct tp_template_entry *entry, uint64_t now_ns)
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
	struct tp_template_entry *first = templates->entries;
	pthread_mutex_unlock(&templates->lock);
	for (struct tp_template_entry *entry = first; entry; entry = entry->next) {
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
			tp_template_publish(service, entry->name);
	}
	tp_templates_charge(service);
}

void tp_templates_each(struct tp_service *service,
	void (*each)(void *data, struct tp_service *service, const char *name), void *data)
{
	struct tp_templates *templates = service->templates;

	pthread_mutex_lock(&templates->lock);
	struct tp_template_entry *first = templates->entries;
	pthread_mutex_unlock(&templates->lock);
	for (struct tp_template_entry *entry = first; entry; entry = entry->next) {
		pthread_mutex_lock(&templates->lock);
		bool used = entry->tmpl;
		pthread_mutex_unlock(&templates->lock);
		if (used)
			each(data, service, entry->name);
	}
}
