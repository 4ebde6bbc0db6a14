/* SPDX-License-Identifier: Apache-2.0 */
/* The service as a whole: configuration, opening, reloading, draining, closing. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "service/events.h"
#include "service/keeper.h"
#include "service/latency.h"
#include "service/metrics.h"
#include "service/recover.h"
#include "service/repeats.h"
#include "service/sampler.h"
#include "service/templates.h"
#include "service/tenants.h"

#define LOCK_NAME "torpord.lock"

#define STOP_THREADS 4
#define STOP_WITHIN  (120 * TP_NSEC_PER_SEC)

/* --- configuration --- */

void tp_service_config_init(struct tp_service_config *config)
{
	*config = (struct tp_service_config){
		.admission =
			{
				.max_sessions = 1000,
				/* A clone's QEMU has 13 to 20 MB of its own; guests write some
				 * of their RAM. */
				.guest_overhead = 24 * TP_MIB,
				.guest_share_percent = 10,
			},
		.tenant_limits =
			{
				.sessions = 100,
				.memory_bytes = 64 * TP_GIB,
				.parked_bytes = 64 * TP_GIB,
			},
		.requests_per_minute = 100,
		.timers = {.ttl_s = 3600, .idle_s = 0, .retention_s = INT64_C(30) * 86400},
		.policy = tp_policy_defaults,
		.health_every_ns = 30 * TP_NSEC_PER_SEC,
		.refill_every = TP_POLICY_REFILL_EVERY,
		.queue_max = 256,
		.engine.deaf_after_ns = 5 * TP_NSEC_PER_SEC,
		.ask_every_ns = 10 * TP_NSEC_PER_SEC,
	};
}

static struct torpor_error *invalid(const char *what, const char *why)
{
	return tp_error(TORPOR_E_INVALID, "check configuration", what, "%s", why);
}

static struct torpor_error *check_template(
	const struct tp_service_config *config, const struct tp_template_config *tmpl)
{
	const char *why = tp_policy_config_error(&tmpl->policy);

	TP_TRY(tp_check_name("template", tmpl->name));
	if (why)
		return invalid(tmpl->name, why);
	for (const struct tp_template_config *at = config->templates; at < tmpl; at++) {
		if (strcmp(at->name, tmpl->name) == 0)
			return invalid(tmpl->name, "it is configured twice");
	}
	return tp_check_timers(&tmpl->timers);
}

static struct torpor_error *check(const struct tp_service_config *config)
{
	const char *why = tp_policy_config_error(&config->policy);

	if (why)
		return invalid("pool", why);
	if (config->timers.ttl_s < 0 || config->timers.idle_s < 0 || config->timers.retention_s < 0)
		return invalid("timers", "the widest ones can't be unset");
	TP_TRY(tp_check_timers(&config->timers));
	for (size_t i = 0; i < config->n_templates; i++)
		TP_TRY(check_template(config, &config->templates[i]));
	return NULL;
}

static void copy_config(const struct tp_service_config *from, struct tp_service_config *config_out)
{
	struct tp_service_config config = *from;

	config.engine.state_dir = tp_strdup(from->engine.state_dir);
	config.engine.qemu = tp_strdup(from->engine.qemu);
	config.engine.qemu_microvm = tp_strdup(from->engine.qemu_microvm);
	config.engine.exec_helper = tp_strdup(from->engine.exec_helper);
	config.engine.launcher = tp_strdup(from->engine.launcher);
	config.engine.connect = tp_strdup(from->engine.connect);
	config.cgroup_root = tp_strdup(from->cgroup_root);
	config.templates =
		tp_calloc(from->n_templates ? from->n_templates : 1, sizeof(*config.templates));
	for (size_t i = 0; i < from->n_templates; i++) {
		config.templates[i] = from->templates[i];
		config.templates[i].name = tp_strdup(from->templates[i].name);
	}
	*config_out = config;
}

/* Of a copy. */
static void config_deinit(struct tp_service_config *config)
{
	free((char *)config->engine.state_dir);
	free((char *)config->engine.qemu);
	free((char *)config->engine.qemu_microvm);
	free((char *)config->engine.exec_helper);
	free((char *)config->engine.launcher);
	free((char *)config->engine.connect);
	free((char *)config->cgroup_root);
	for (size_t i = 0; i < config->n_templates; i++)
		free(config->templates[i].name);
	free(config->templates);
}

/* The budget, where none is set: 80 % of what the host has. */
static struct torpor_error *resolve_budget(
	const struct tp_service_config *config, struct tp_admission_config *admission_out)
{
	TP_FREE char *meminfo = NULL;
	struct tp_host_memory memory;
	size_t len;

	*admission_out = config->admission;
	if (config->admission.host_memory > 0)
		return NULL;
	TP_TRY(tp_read_file(AT_FDCWD, "/proc/meminfo", 64 * TP_KIB, &meminfo, &len));
	TP_TRY(tp_memory_parse(meminfo, NULL, &memory));
	admission_out->host_memory = memory.total / 5 * 4;
	return NULL;
}

/* --- opening --- */

static struct torpor_error *lock_state(struct tp_service *service)
{
	TP_FREE char *path = tp_asprintf("%s/" LOCK_NAME, service->state_dir);

	service->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (service->lock_fd < 0)
		return tp_error_errno(errno, "open", path);
	if (tp_lock_soon(service->lock_fd) == 0)
		return NULL;
	if (errno != EWOULDBLOCK)
		return tp_error_errno(errno, "lock", path);
	return tp_error_hint(tp_error(TORPOR_E_BUSY, "lock state directory", service->state_dir,
				     "another torpord has it"),
		"Stop that one first, or choose another state directory.");
}

static struct torpor_error *open_engine(struct tp_service *service)
{
	struct torpor_engine_options options = service->config.engine;

	options.keep_guests = true;
	options.on_event = tp_keeper_engine_event;
	options.event_data = service->keeper;
	/* Recovery sweeps, in the pass that it makes over all images. */
	TP_TRY(tp_engine_open_unswept(&options, &service->engine));
	service->state_dir = tp_strdup(torpor_engine_state_dir(service->engine));
	return NULL;
}

static struct torpor_error *open_records(struct tp_service *service)
{
	uint8_t hash[TP_HASH_LEN];
	uint64_t seq;

	TP_TRY(tp_records_open(service->state_dir, TP_RECORDS_NAME, &service->records));
	TP_TRY(tp_records_audit_head(service->records, &seq, hash));
	TP_TRY(tp_audit_open(service->state_dir, TP_AUDIT_NAME, seq, hash, &service->audit));
	TP_TRY(tp_events_new(service->records, &service->events));
	return tp_tenants_new(service->records, &service->tenants);
}

static bool reserve(void *data, uint64_t memory_bytes)
{
	struct tp_service *service = data;

	return tp_admit_stock(service->admission, memory_bytes);
}

static void unreserve(void *data, uint64_t memory_bytes)
{
	struct tp_service *service = data;

	tp_admit_stock_undo(service->admission, memory_bytes);
}

static struct torpor_error *open_pool(struct tp_service *service)
{
	const struct tp_service_config *config = &service->config;
	struct tp_admission_config admission;
	struct tp_supply_options supply = {
		.start_slots = config->start_slots,
		.refill_slots = config->refill_slots,
		.refill_every = config->refill_every,
		.queue_max = config->queue_max,
		.ask_every_ns = config->ask_every_ns,
		.reserve = reserve,
		.unreserve = unreserve,
		.changed = tp_keeper_pool_changed,
		.data = service,
	};

	TP_TRY(resolve_budget(config, &admission));
	service->admission = tp_admission_new(&admission);
	TP_TRY(tp_cgroup_open(config->cgroup_root, &service->cgroup));
	tp_cgroup_set_disk(service->cgroup, service->state_dir);
	service->supply = tp_supply_new(&supply);
	service->templates = tp_templates_new();
	return NULL;
}

static struct torpor_error *open_parts(struct tp_service *service)
{
	service->metrics = tp_metrics_new();
	service->repeats = tp_repeats_new();
	service->history = tp_history_new(tp_realtime_ns());
	service->latency = tp_latency_new(tp_realtime_ns());
	TP_TRY(tp_keeper_new(service, &service->keeper));
	TP_TRY(open_engine(service));
	TP_TRY(lock_state(service));
	TP_TRY(open_records(service));
	TP_TRY(open_pool(service));
	tp_tenants_configure(service->tenants, &service->config);
	tp_templates_configure(service, &service->config);
	TP_TRY(tp_recover(service));
	pthread_mutex_lock(&service->lock);
	service->recovered = true;
	pthread_mutex_unlock(&service->lock);
	TP_TRY(tp_sampler_start(service, &service->sampler));
	return tp_keeper_start(service->keeper);
}

static struct tp_service *new_service(const struct tp_service_config *config)
{
	struct tp_service *service = tp_calloc(1, sizeof(*service));
	pthread_condattr_t attr;

	service->lock_fd = -1;
	pthread_mutex_init(&service->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&service->changed, &attr);
	pthread_condattr_destroy(&attr);
	copy_config(config, &service->config);
	return service;
}

static struct tp_service *free_service(struct tp_service *service);

struct torpor_error *tp_service_open(
	const struct tp_service_config *config, struct tp_service **service_out)
{
	TP_TRY(check(config));
	struct tp_service *service = new_service(config);
	struct torpor_error *err = open_parts(service);

	if (err) {
		free_service(service);
		return tp_error_in(err, "open", "service");
	}
	*service_out = service;
	return NULL;
}

/* --- reloading --- */

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* The first setting that differs and can't while it runs; NULL: none. */
static const char *fixed_difference(
	const struct tp_service_config *a, const struct tp_service_config *b)
{
	const struct torpor_engine_options *ea = &a->engine;
	const struct torpor_engine_options *eb = &b->engine;

	if (!same(ea->state_dir, eb->state_dir))
		return "state_dir";
	if (!same(ea->qemu, eb->qemu) || !same(ea->exec_helper, eb->exec_helper) ||
		!same(ea->qemu_microvm, eb->qemu_microvm))
		return "qemu";
	if (!same(ea->launcher, eb->launcher) || !same(ea->connect, eb->connect))
		return "launcher";
	if (ea->workers != eb->workers || ea->staging_bytes != eb->staging_bytes ||
		ea->zstd_level != eb->zstd_level || ea->no_io_uring != eb->no_io_uring ||
		ea->path != eb->path || ea->scan != eb->scan)
		return "engine";
	if (a->start_slots != b->start_slots || a->refill_slots != b->refill_slots ||
		a->refill_every != b->refill_every || a->queue_max != b->queue_max)
		return "pool's slots and queue";
	if (ea->deaf_after_ns != eb->deaf_after_ns || a->ask_every_ns != b->ask_every_ns)
		return "pool's deaf_after and ask_interval";
	if (!same(a->cgroup_root, b->cgroup_root))
		return "cgroup";
	return NULL;
}

struct torpor_error *tp_service_reload(
	struct tp_service *service, const struct tp_service_config *config)
{
	struct tp_admission_config admission;
	struct tp_service_config copy;

	TP_TRY(check(config));
	/* What can't change is constant after opening. */
	const char *fixed = fixed_difference(&service->config, config);
	if (fixed)
		return tp_error_hint(invalid(fixed, "this can't be changed while torpord runs"),
			"Restart torpord: guests go on meanwhile.");
	TP_TRY(resolve_budget(config, &admission));
	copy_config(config, &copy);
	pthread_mutex_lock(&service->lock);
	struct tp_service_config old = service->config;
	service->config = copy;
	pthread_mutex_unlock(&service->lock);
	tp_admission_configure(service->admission, &admission);
	tp_tenants_configure(service->tenants, config);
	tp_templates_configure(service, config);
	tp_keeper_rescan(service->keeper);
	config_deinit(&old);
	return NULL;
}

/* --- the end --- */

void tp_service_drain(struct tp_service *service)
{
	pthread_mutex_lock(&service->lock);
	service->draining = true;
	pthread_mutex_unlock(&service->lock);
	tp_events_drain(service->events);
}

struct stop {
	struct tp_service *service;
	struct tp_live_brief *briefs;
	size_t n;
	atomic_size_t next;
	struct tp_call call;
};

static void *park_some(void *data)
{
	struct stop *stop = data;

	for (;;) {
		size_t i = atomic_fetch_add(&stop->next, 1);
		if (i >= stop->n)
			return NULL;
		const struct tp_live_brief *brief = &stop->briefs[i];
		struct tp_actor actor = tp_actor_self(brief->tenant);
		json_t *view = NULL;
		if (!brief->pid)
			continue;
		snprintf(actor.how, sizeof(actor.how), "torpord (stop)");
		/* One that can't be parked runs on, as all do without this setting. */
		tp_error_log(tp_error_in(
			tp_service_park(stop->service, &actor, brief->id, &stop->call, &view),
			"stop", "torpord"));
		json_decref(view);
	}
}

static void park_all(struct tp_service *service)
{
	struct stop stop = {.service = service, .call = tp_call_within(STOP_WITHIN)};
	pthread_t threads[STOP_THREADS];
	size_t started = 0;

	stop.n = tp_live_briefs(service, &stop.briefs);
	while (started + 1 < STOP_THREADS &&
		pthread_create(&threads[started], NULL, park_some, &stop) == 0)
		started++;
	park_some(&stop);
	while (started > 0)
		pthread_join(threads[--started], NULL);
	free(stop.briefs);
}

/* Their guests are kept. */
static void close_sessions(struct tp_service *service)
{
	for (size_t i = 0; i < LIVE_BUCKETS; i++) {
		while (service->live[i]) {
			struct tp_live *live = service->live[i];
			service->live[i] = live->next;
			torpor_session_close(live->core);
			tp_session_row_deinit(&live->row);
			free(live);
		}
	}
}

/* In the reverse order of opening, as far as that came. */
static struct tp_service *free_service(struct tp_service *service)
{
	tp_sampler_stop(service->sampler);
	tp_keeper_stop(service->keeper);
	close_sessions(service);
	tp_supply_free(service->supply);
	tp_templates_free(service->templates);
	tp_cgroup_close(service->cgroup);
	tp_admission_free(service->admission);
	tp_tenants_free(service->tenants);
	tp_events_free(service->events);
	tp_audit_close(service->audit);
	tp_records_close(service->records);
	torpor_engine_close(service->engine);
	tp_keeper_free(service->keeper);
	tp_repeats_free(service->repeats);
	tp_metrics_free(service->metrics);
	tp_history_free(service->history);
	tp_latency_free(service->latency);
	tp_close(service->lock_fd);
	config_deinit(&service->config);
	pthread_cond_destroy(&service->changed);
	pthread_mutex_destroy(&service->lock);
	free(service->state_dir);
	free(service);
	return NULL;
}

struct tp_service *tp_service_close(struct tp_service *service)
{
	if (!service)
		return NULL;
	tp_service_drain(service);
	tp_keeper_stop(service->keeper);
	if (service->config.park_on_stop)
		park_all(service);
	return free_service(service);
}

/* --- readiness --- */

char *tp_service_not_ready(struct tp_service *service)
{
	pthread_mutex_lock(&service->lock);
	bool draining = service->draining;
	bool recovered = service->recovered;
	pthread_mutex_unlock(&service->lock);
	if (draining)
		return tp_strdup("torpord is about to end");
	if (!recovered)
		return tp_strdup("recovery isn't over");
	return tp_templates_missing(service);
}
