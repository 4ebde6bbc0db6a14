/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper: one thread that looks, and workers. */
#include "service/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "service/keeper_priv.h"
#include "service/metrics.h"
#include "service/templates.h"

#define PASS_GAP_NS  (10 * TP_NSEC_PER_MSEC)
#define SCAN_NS	     (60 * TP_NSEC_PER_SEC)
#define TOUCH_NS     (60 * TP_NSEC_PER_SEC)
#define FORGET_NS    (3600 * TP_NSEC_PER_SEC)
#define TEMPLATES_NS (10 * TP_NSEC_PER_SEC)
#define PUBLISH_NS   TP_NSEC_PER_SEC

/* --- making and ending --- */

struct torpor_error *tp_keeper_new(struct tp_service *service, struct tp_keeper **keeper_out)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_condattr_t attr;

	if (fd < 0)
		return tp_error_errno(errno, "make", "keeper");
	struct tp_keeper *keeper = tp_calloc(1, sizeof(*keeper));
	keeper->service = service;
	keeper->stop_fd = fd;
	keeper->chores_end = &keeper->chores;
	pthread_mutex_init(&keeper->lock, NULL);
	tp_keeper_read_from(keeper, "/proc/meminfo", "/proc/pressure/memory");
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&keeper->look, &attr);
	pthread_condattr_destroy(&attr);
	pthread_cond_init(&keeper->work, NULL);
	*keeper_out = keeper;
	return NULL;
}

void tp_keeper_read_from(struct tp_keeper *keeper, const char *meminfo, const char *stalls)
{
	pthread_mutex_lock(&keeper->lock);
	free(keeper->meminfo);
	free(keeper->stalls);
	keeper->meminfo = tp_strdup(meminfo);
	keeper->stalls = tp_strdup(stalls);
	pthread_mutex_unlock(&keeper->lock);
}

static void free_news(struct news *news)
{
	while (news) {
		struct news *next = news->next;
		free(news->name);
		free(news);
		news = next;
	}
}

struct tp_keeper *tp_keeper_free(struct tp_keeper *keeper)
{
	if (!keeper)
		return NULL;
	assert(!keeper->started);
	free_news(keeper->news);
	while (keeper->chores) {
		struct tp_chore *next = keeper->chores->next;
		free(keeper->chores);
		keeper->chores = next;
	}
	for (size_t i = 0; i < keeper->n_changed; i++)
		free(keeper->changed[i]);
	free(keeper->changed);
	free(keeper->oom_pids);
	free(keeper->kept);
	free(keeper->meminfo);
	free(keeper->stalls);
	pthread_cond_destroy(&keeper->look);
	pthread_cond_destroy(&keeper->work);
	pthread_mutex_destroy(&keeper->lock);
	tp_close(keeper->stop_fd);
	free(keeper);
	return NULL;
}

/* --- news --- */

static void tell(struct tp_keeper *keeper, int kind, const char *name)
{
	struct news *news = tp_calloc(1, sizeof(*news));

	news->kind = kind;
	news->name = tp_strdup(name);
	pthread_mutex_lock(&keeper->lock);
	news->next = keeper->news;
	keeper->news = news;
	keeper->woken = true;
	pthread_cond_signal(&keeper->look);
	pthread_mutex_unlock(&keeper->lock);
}

void tp_keeper_engine_event(void *data, enum torpor_event event, const char *name)
{
	tell(data, event == TORPOR_EVENT_STOCK ? NEWS_STOCK : NEWS_SESSION, name);
}

void tp_keeper_pool_changed(void *data, const char *template_name)
{
	struct tp_service *service = data;

	tell(service->keeper, NEWS_POOL, template_name);
}

void tp_keeper_wake(struct tp_service *service)
{
	struct tp_keeper *keeper = service->keeper;

	pthread_mutex_lock(&keeper->lock);
	keeper->woken = true;
	pthread_cond_signal(&keeper->look);
	pthread_mutex_unlock(&keeper->lock);
}

void tp_keeper_rescan(struct tp_keeper *keeper)
{
	pthread_mutex_lock(&keeper->lock);
	keeper->periodic[TP_CHORE_PARKED].next_ns = 0;
	keeper->periodic[TP_CHORE_TEMPLATES].next_ns = 0;
	keeper->woken = true;
	pthread_cond_signal(&keeper->look);
	pthread_mutex_unlock(&keeper->lock);
}

void tp_keeper_pressure(struct tp_keeper *keeper, struct tp_pressure_view *view_out)
{
	pthread_mutex_lock(&keeper->lock);
	*view_out = keeper->shown;
	pthread_mutex_unlock(&keeper->lock);
}

/* --- chores; by the lock --- */

static struct tp_chore *add_chore(struct tp_keeper *keeper, enum tp_chore_kind kind,
	const struct tp_live_brief *brief, const char *id)
{
	struct tp_chore *chore = tp_calloc(1, sizeof(*chore));

	chore->kind = kind;
	if (brief) {
		snprintf(chore->tenant, sizeof(chore->tenant), "%s", brief->tenant);
		chore->active_ns = brief->active_ns;
	}
	if (id)
		snprintf(chore->id, sizeof(chore->id), "%s", id);
	*keeper->chores_end = chore;
	keeper->chores_end = &chore->next;
	pthread_cond_signal(&keeper->work);
	return chore;
}

void tp_keeper_changed(struct tp_service *service, const char *id)
{
	struct tp_keeper *keeper = service->keeper;

	pthread_mutex_lock(&keeper->lock);
	add_chore(keeper, TP_CHORE_GONE, NULL, id);
	keeper->woken = true;
	pthread_cond_signal(&keeper->look);
	pthread_mutex_unlock(&keeper->lock);
}

/* One that nothing else is begun beside. */
static void add_counted(struct tp_keeper *keeper, enum tp_chore_kind kind, struct tp_kept *kept,
	const struct tp_live_brief *brief)
{
	kept->under_way = true;
	add_chore(keeper, kind, brief, kept->id)->counted = true;
}

static int by_id(const void *a, const void *b)
{
	/* An id is the first thing in both kinds of struct. */
	return strcmp(a, b);
}

static_assert(offsetof(struct tp_kept, id) == 0, "by_id compares what both begin with");
static_assert(offsetof(struct tp_live_brief, id) == 0, "by_id compares what both begin with");

static struct tp_kept *find_kept(struct tp_keeper *keeper, const char *id)
{
	if (keeper->n_kept == 0)
		return NULL;
	return bsearch(id, keeper->kept, keeper->n_kept, sizeof(*keeper->kept), by_id);
}

/* A session's chore is over. */
static void note_session(
	struct tp_keeper *keeper, const struct tp_chore *chore, enum tp_chore_outcome outcome)
{
	struct tp_kept *kept = find_kept(keeper, chore->id);

	if (chore->kind == TP_CHORE_PRESSURE)
		keeper->parking = false;
	if (!kept || !chore->counted)
		return;
	if (outcome == TP_CHORE_MISSED)
		kept->missed++;
	else if (outcome != TP_CHORE_UNTOLD)
		kept->missed = 0;
	tp_kept_done(kept, outcome == TP_CHORE_FAILED, tp_now_ns());
	if (kept->missed >= TP_DEAF_AFTER) {
		kept->missed = 0;
		add_counted(keeper, TP_CHORE_DEAF, kept, NULL);
	}
}

static void note_over(
	struct tp_keeper *keeper, const struct tp_chore *chore, enum tp_chore_outcome outcome)
{
	pthread_mutex_lock(&keeper->lock);
	if (chore->id[0])
		note_session(keeper, chore, outcome);
	else
		keeper->periodic[chore->kind].under_way = false;
	keeper->woken = true;
	pthread_cond_signal(&keeper->look);
	pthread_mutex_unlock(&keeper->lock);
}

/* Parked sessions are looked at again at AT_NS (CLOCK_REALTIME), if not before. */
static void look_at_parked_at(struct tp_keeper *keeper, uint64_t at_ns)
{
	struct periodic *periodic = &keeper->periodic[TP_CHORE_PARKED];
	uint64_t real = tp_realtime_ns();
	uint64_t wait = at_ns > real ? at_ns - real : 0;

	if (wait >= SCAN_NS)
		return;
	pthread_mutex_lock(&keeper->lock);
	periodic->next_ns = TP_MIN(periodic->next_ns, tp_now_ns() + wait);
	pthread_mutex_unlock(&keeper->lock);
}

static enum tp_chore_outcome do_chore(struct tp_keeper *keeper, const struct tp_chore *chore)
{
	uint64_t next_ns;

	if (chore->kind == TP_CHORE_PARKED) {
		tp_chore_parked(keeper->service, keeper->stop_fd, &next_ns);
		look_at_parked_at(keeper, next_ns);
	} else if (chore->kind == TP_CHORE_GONE) {
		look_at_parked_at(keeper, tp_chore_gone(keeper->service, chore->id));
	} else if (chore->kind == TP_CHORE_TOUCH) {
		/* With the period before: what was used while that was recorded. */
		tp_chore_touch(keeper->service, tp_realtime_ns() - 2 * TOUCH_NS);
	} else {
		return tp_chore_do(keeper->service, chore, keeper->stop_fd);
	}
	return TP_CHORE_DONE;
}

static void *work(void *data)
{
	struct tp_keeper *keeper = data;

	pthread_mutex_lock(&keeper->lock);
	for (;;) {
		while (!keeper->chores && !keeper->stopping)
			pthread_cond_wait(&keeper->work, &keeper->lock);
		if (keeper->stopping)
			break;
		struct tp_chore *chore = keeper->chores;
		keeper->chores = chore->next;
		if (!keeper->chores)
			keeper->chores_end = &keeper->chores;
		pthread_mutex_unlock(&keeper->lock);
		note_over(keeper, chore, do_chore(keeper, chore));
		free(chore);
		pthread_mutex_lock(&keeper->lock);
	}
	pthread_mutex_unlock(&keeper->lock);
	return NULL;
}

/* --- looking: sessions --- */

/* By the lock. */
static void park_idlest(struct tp_keeper *keeper, struct tp_live_brief *briefs, size_t n)
{
	if (keeper->shown.level != TP_PRESSURE_PARK || keeper->parking ||
		keeper->shown.available >= keeper->shown.reserve)
		return;
	for (;;) {
		const struct tp_live_brief *idlest = tp_idlest(briefs, n);
		if (!idlest)
			return;
		struct tp_kept *kept = find_kept(keeper, idlest->id);
		if (kept && !kept->under_way && kept->not_before_ns <= tp_now_ns()) {
			keeper->parking = true;
			/* What that brings is seen with the next reading. */
			keeper->shown.available = keeper->shown.reserve;
			add_counted(keeper, TP_CHORE_PRESSURE, kept, idlest);
			return;
		}
		/* Not that one: its place in the list is this function's to use. */
		briefs[idlest - briefs].lost = true;
	}
}

static bool read_cpu(int pid, uint64_t *cpu_ns_out)
{
	TP_FREE char *text = NULL;
	char path[64];
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	struct torpor_error *err = tp_read_file(AT_FDCWD, path, 4 * TP_KIB, &text, &len);
	bool read = !err && tp_cpu_parse(text, cpu_ns_out);
	torpor_error_free(err);
	return read;
}

/* By the lock: one entry for each brief, in its order; what was known of those stays. */
static void follow(struct tp_keeper *keeper, const struct tp_live_brief *briefs, size_t n)
{
	struct tp_kept *kept = tp_calloc(n ? n : 1, sizeof(*kept));

	for (size_t i = 0; i < n; i++) {
		const struct tp_kept *before = find_kept(keeper, briefs[i].id);
		if (before)
			kept[i] = *before;
		else
			memcpy(kept[i].id, briefs[i].id, sizeof(kept[i].id));
	}
	for (size_t i = 0; i < keeper->n_kept; i++) {
		const char *id = keeper->kept[i].id;
		if (n == 0 || !bsearch(id, briefs, n, sizeof(*briefs), by_id))
			add_chore(keeper, TP_CHORE_GONE, NULL, id);
	}
	free(keeper->kept);
	keeper->kept = kept;
	keeper->n_kept = n;
}

/* By the lock. */
static void decide(struct tp_keeper *keeper, struct tp_kept *kept,
	const struct tp_live_brief *brief, const struct tp_keep_time *time, uint64_t *wait_inout)
{
	enum tp_chore_kind kind = TP_CHORE_COUNT;
	uint64_t wait;
	uint64_t cpu;

	switch (tp_kept_due(kept, brief, time, &wait)) {
	case TP_DUE_NOTHING:
		*wait_inout = TP_MIN(*wait_inout, wait);
		break;
	case TP_DUE_LOST:
		kind = TP_CHORE_LOST;
		break;
	case TP_DUE_EXPIRED:
		kind = TP_CHORE_EXPIRE;
		break;
	case TP_DUE_PING:
		kind = TP_CHORE_PING;
		break;
	case TP_DUE_MEASURE:
		if (read_cpu(brief->pid, &cpu) && tp_kept_idle(kept, brief, cpu, time->real_ns))
			kind = TP_CHORE_IDLE;
		break;
	}
	if (kind != TP_CHORE_COUNT)
		add_counted(keeper, kind, kept, brief);
}

static uint64_t health_every(struct tp_service *service)
{
	pthread_mutex_lock(&service->lock);
	uint64_t every = service->config.health_every_ns;
	pthread_mutex_unlock(&service->lock);
	return every;
}

/* How long nothing will be due by time. */
static uint64_t look_at_sessions(struct tp_keeper *keeper, uint64_t now_ns)
{
	TP_FREE struct tp_live_brief *briefs = NULL;
	size_t n = tp_live_briefs(keeper->service, &briefs);
	uint64_t wait = TP_KEEPER_TICK_NS;
	struct tp_keep_time time = {
		.real_ns = tp_realtime_ns(),
		.mono_ns = now_ns,
		.health_every_ns = health_every(keeper->service),
	};

	qsort(briefs, n, sizeof(*briefs), by_id);
	tp_keeper_tell_of_sessions(keeper, briefs, n);
	pthread_mutex_lock(&keeper->lock);
	follow(keeper, briefs, n);
	for (size_t i = 0; i < n; i++)
		decide(keeper, &keeper->kept[i], &briefs[i], &time, &wait);
	park_idlest(keeper, briefs, n);
	pthread_mutex_unlock(&keeper->lock);
	return wait;
}

/* --- looking: news, and what is done every so often --- */

static void note_changed(struct tp_keeper *keeper, const char *name)
{
	for (size_t i = 0; i < keeper->n_changed; i++) {
		if (strcmp(keeper->changed[i], name) == 0)
			return;
	}
	keeper->changed =
		tp_reallocarray(keeper->changed, keeper->n_changed + 1, sizeof(*keeper->changed));
	keeper->changed[keeper->n_changed++] = tp_strdup(name);
}

static void take_news(struct tp_keeper *keeper)
{
	pthread_mutex_lock(&keeper->lock);
	struct news *news = TP_TAKE(keeper->news);
	for (struct news *one = news; one; one = one->next) {
		if (one->kind == NEWS_SESSION)
			add_chore(keeper, TP_CHORE_LOST, NULL, one->name);
	}
	pthread_mutex_unlock(&keeper->lock);
	for (struct news *one = news; one; one = one->next) {
		if (one->kind == NEWS_STOCK)
			tp_supply_lost(keeper->service->supply, one->name);
		else if (one->kind == NEWS_POOL)
			note_changed(keeper, one->name);
	}
	free_news(news);
}

/* Changes of the pool come with every claim; readers are told once a second. */
static void publish_pool(struct tp_keeper *keeper, uint64_t now_ns)
{
	struct tp_supply_view view;

	if (now_ns < keeper->publish_ns || keeper->n_changed == 0)
		return;
	keeper->publish_ns = now_ns + PUBLISH_NS;
	tp_keeper_tell_of_stock(keeper->service->engine);
	for (size_t i = 0; i < keeper->n_changed; i++) {
		const char *name = keeper->changed[i];
		if (tp_supply_view(keeper->service->supply, name, &view))
			tp_publish(keeper->service, "pool", NULL, NULL,
				json_pack("{s:s, s:s, s:o, s:o}", "name", name, "state",
					view.degraded ? "degraded" : "ready", "reason",
					view.degraded ? json_string(view.reason) : json_null(),
					"pool", tp_templates_pool_json(&view)));
		free(keeper->changed[i]);
	}
	keeper->n_changed = 0;
}

static void start_periodic(struct tp_keeper *keeper, uint64_t now_ns)
{
	static const struct {
		enum tp_chore_kind kind;
		uint64_t every_ns;
	} all[] = {
		{TP_CHORE_PARKED, SCAN_NS},
		{TP_CHORE_TOUCH, TOUCH_NS},
		{TP_CHORE_FORGET, FORGET_NS},
		{TP_CHORE_TEMPLATES, TEMPLATES_NS},
	};

	pthread_mutex_lock(&keeper->lock);
	for (size_t i = 0; i < TP_ARRAY_LEN(all); i++) {
		struct periodic *periodic = &keeper->periodic[all[i].kind];
		if (periodic->under_way || now_ns < periodic->next_ns)
			continue;
		periodic->under_way = true;
		periodic->next_ns = now_ns + all[i].every_ns;
		add_chore(keeper, all[i].kind, NULL, NULL);
	}
	pthread_mutex_unlock(&keeper->lock);
}

/* --- the threads --- */

static void wait_until(struct tp_keeper *keeper, uint64_t at_ns)
{
	struct timespec at = {
		.tv_sec = (time_t)(at_ns / TP_NSEC_PER_SEC),
		.tv_nsec = (long)(at_ns % TP_NSEC_PER_SEC),
	};

	while (!keeper->woken && !keeper->stopping &&
		pthread_cond_timedwait(&keeper->look, &keeper->lock, &at) == 0)
		;
}

/* So that a busy service, which wakes it all the time, isn't looked at all the time. */
static void keep_apart(struct tp_keeper *keeper, uint64_t at_ns)
{
	struct timespec at = {
		.tv_sec = (time_t)(at_ns / TP_NSEC_PER_SEC),
		.tv_nsec = (long)(at_ns % TP_NSEC_PER_SEC),
	};

	while (!keeper->stopping && pthread_cond_timedwait(&keeper->look, &keeper->lock, &at) == 0)
		;
}

static void *look(void *data)
{
	struct tp_keeper *keeper = data;

	pthread_mutex_lock(&keeper->lock);
	while (!keeper->stopping) {
		keeper->woken = false;
		pthread_mutex_unlock(&keeper->lock);
		uint64_t now = tp_now_ns();
		take_news(keeper);
		tp_keeper_look_at_memory(keeper, now);
		uint64_t wait = look_at_sessions(keeper, now);
		start_periodic(keeper, now);
		publish_pool(keeper, now);
		pthread_mutex_lock(&keeper->lock);
		keep_apart(keeper, now + PASS_GAP_NS);
		wait_until(keeper, now + TP_MIN(wait, TP_KEEPER_TICK_NS));
	}
	pthread_mutex_unlock(&keeper->lock);
	return NULL;
}

struct torpor_error *tp_keeper_start(struct tp_keeper *keeper)
{
	uint64_t now = tp_now_ns();

	keeper->periodic[TP_CHORE_TOUCH].next_ns = now + TOUCH_NS;
	keeper->started = true;
	int rc = pthread_create(&keeper->looker, NULL, look, keeper);
	if (rc) {
		keeper->started = false;
		return tp_error_errno(rc, "start", "keeper");
	}
	while (keeper->n_workers < KEEPER_WORKERS) {
		rc = pthread_create(&keeper->workers[keeper->n_workers], NULL, work, keeper);
		if (rc) {
			tp_keeper_stop(keeper);
			return tp_error_errno(rc, "start", "keeper");
		}
		keeper->n_workers++;
	}
	return NULL;
}

void tp_keeper_stop(struct tp_keeper *keeper)
{
	if (!keeper || !keeper->started)
		return;
	pthread_mutex_lock(&keeper->lock);
	keeper->stopping = true;
	pthread_cond_broadcast(&keeper->look);
	pthread_cond_broadcast(&keeper->work);
	pthread_mutex_unlock(&keeper->lock);
	(void)eventfd_write(keeper->stop_fd, 1);
	pthread_join(keeper->looker, NULL);
	while (keeper->n_workers > 0)
		pthread_join(keeper->workers[--keeper->n_workers], NULL);
	keeper->started = false;
	tp_chore_touch(keeper->service, tp_realtime_ns() - 2 * TOUCH_NS);
}
