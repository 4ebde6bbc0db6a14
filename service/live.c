/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of live sessions, and whose turn it is on each.
 *
 * Whoever waits for an operation to end has an eventfd of its own, made for the wait, in a list of
 * the session's: a condition variable can't be woken by a call's cancellation, and a turn as the
 * core's (pool/turn.h) would cost each of a thousand sessions descriptors that hardly ever serve.
 * All who wait are woken, look again, and the first one wins.
 *
 * Events are published by the operation while it still has the session, so that they come in the
 * order of what happened.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "service/service_priv.h"

struct tp_live_waiter {
	int fd;
	struct tp_live_waiter *next;
};

/* --- The table; under the lock --- */

static size_t bucket_of(const char *id)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (; *id; id++)
		hash = (hash ^ (uint8_t)*id) * 16777619u;
	return hash % LIVE_BUCKETS;
}

static struct tp_live *find(struct tp_service *service, const char *id)
{
	struct tp_live *live = service->live[bucket_of(id)];

	while (live && strcmp(live->id, id) != 0)
		live = live->next;
	return live;
}

static struct tp_live *insert(struct tp_service *service, const char *id, const char *tenant,
	uint64_t created_ns, enum tp_state state)
{
	struct tp_live *live = tp_calloc(1, sizeof(*live));
	size_t bucket = bucket_of(id);

	snprintf(live->id, sizeof(live->id), "%s", id);
	snprintf(live->tenant, sizeof(live->tenant), "%s", tenant);
	live->created_ns = created_ns;
	live->state = state;
	live->next = service->live[bucket];
	service->live[bucket] = live;
	service->live_count++;
	return live;
}

static bool forgettable(const struct tp_live *live)
{
	return live->refs == 0 && !live->core &&
	       (live->state == TP_STATE_PARKED || live->state == TP_STATE_ERROR ||
		       live->state == TP_STATE_DESTROYED);
}

static void forget(struct tp_service *service, struct tp_live *live)
{
	size_t bucket = bucket_of(live->id);
	struct tp_live **at = &service->live[bucket];

	while (*at != live)
		at = &(*at)->next;
	*at = live->next;
	service->live_count--;
	service->forgotten[bucket]++;
	tp_session_row_deinit(&live->row);
	free(live);
}

static void wake(struct tp_service *service, struct tp_live *live)
{
	for (struct tp_live_waiter *waiter = live->waiters; waiter; waiter = waiter->next) {
		uint64_t one = 1;
		ssize_t n = write(waiter->fd, &one, sizeof(one));
		(void)n; /* a full counter is as readable as it gets */
	}
	pthread_cond_broadcast(&service->changed);
}

/* Waits, without the lock meanwhile, until something about LIVE has changed. */
static struct torpor_error *wait_for_change(
	struct tp_service *service, struct tp_live *live, const struct tp_call *call)
{
	TP_FD int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct tp_live_waiter waiter = {.fd = fd, .next = live->waiters};

	if (fd < 0)
		return tp_error_errno(errno, "make", "event descriptor");
	live->waiters = &waiter;
	pthread_mutex_unlock(&service->lock);
	struct torpor_error *err = tp_wait_fd(fd, POLLIN, call, "wait for session", live->id);
	pthread_mutex_lock(&service->lock);
	struct tp_live_waiter **at = &live->waiters;
	while (*at != &waiter)
		at = &(*at)->next;
	*at = waiter.next;
	return err;
}

static bool owned(const struct tp_live *live)
{
	return live->busy || tp_state_passing(live->state);
}

static struct torpor_error *wait_for_turn(
	struct tp_service *service, struct tp_live *live, const struct tp_call *call)
{
	while (owned(live))
		TP_TRY(wait_for_change(service, live, call));
	if (live->state == TP_STATE_DESTROYED)
		return tp_no_session(live->id);
	return NULL;
}

/* --- Getting and putting --- */

/* The state of a session that isn't live; its row says that it has no process. */
static enum tp_state state_of_row(const struct tp_session_row *row)
{
	enum tp_state state = TP_STATE_ERROR;

	if (tp_state_parse(row->state, &state) && state == TP_STATE_PARKED)
		return state;
	if (state != TP_STATE_ERROR)
		tp_log(TP_LOG_WARNING, "session %s is recorded as %s, but nobody has its guest",
			row->id, row->state);
	return TP_STATE_ERROR;
}

/* A reference on what the table has of that id; also *FORGOTTEN_OUT, for the bucket. */
static struct tp_live *get_live(struct tp_service *service, const char *id, uint32_t *forgotten_out)
{
	pthread_mutex_lock(&service->lock);
	struct tp_live *live = find(service, id);
	if (live)
		live->refs++;
	*forgotten_out = service->forgotten[bucket_of(id)];
	pthread_mutex_unlock(&service->lock);
	return live;
}

/*
 * A live one of ROW, which was read when the bucket's count was FORGOTTEN. NULL if the row may be
 * out of date: one of the bucket was live meanwhile, and is forgotten.
 */
static struct tp_live *get_of_row(
	struct tp_service *service, struct tp_session_row *row, uint32_t forgotten)
{
	pthread_mutex_lock(&service->lock);
	struct tp_live *live = find(service, row->id);
	if (!live && service->forgotten[bucket_of(row->id)] == forgotten) {
		live = insert(service, row->id, row->tenant, row->created_ns, state_of_row(row));
		live->active_ns = row->active_ns;
		live->recorded = true;
		live->row = *row;
		*row = (struct tp_session_row){0};
	}
	if (live)
		live->refs++;
	pthread_mutex_unlock(&service->lock);
	return live;
}

struct tp_live *tp_live_peek(struct tp_service *service, const char *id)
{
	uint32_t forgotten;

	return get_live(service, id, &forgotten);
}

size_t tp_live_list(struct tp_service *service, const char *tenant, unsigned int states,
	bool unrecorded_only, struct tp_live ***lives_out)
{
	size_t n = 0;

	pthread_mutex_lock(&service->lock);
	struct tp_live **lives = tp_calloc(service->live_count + 1, sizeof(struct tp_live *));
	for (size_t bucket = 0; bucket < LIVE_BUCKETS; bucket++) {
		for (struct tp_live *live = service->live[bucket]; live; live = live->next) {
			if (!(states & (1u << live->state)) ||
				(unrecorded_only && live->recorded) ||
				strcmp(live->tenant, tenant) != 0)
				continue;
			live->refs++;
			lives[n++] = live;
		}
	}
	pthread_mutex_unlock(&service->lock);
	*lives_out = lives;
	return n;
}

static struct torpor_error *get_any(
	struct tp_service *service, const char *tenant, const char *id, struct tp_live **live_out)
{
	struct tp_live *live = NULL;

	while (!live) {
		uint32_t forgotten;
		live = get_live(service, id, &forgotten);
		if (live)
			break;
		TP_ROW struct tp_session_row row = {0};
		TP_TRY(tp_records_session(service->records, tenant, id, &row));
		live = get_of_row(service, &row, forgotten);
	}
	*live_out = live;
	return NULL;
}

struct torpor_error *tp_live_get(struct tp_service *service, const struct tp_actor *actor,
	const char *id, struct tp_live **live_out)
{
	struct tp_live *live;

	if (!tp_id_ok(id))
		return tp_no_session(id);
	struct torpor_error *err = get_any(service, actor->tenant, id, &live);
	if (err && torpor_error_code(err) == TORPOR_E_NOT_FOUND) {
		torpor_error_free(err);
		return tp_no_session(id);
	}
	if (err)
		return err;
	pthread_mutex_lock(&service->lock);
	bool gone = live->state == TP_STATE_DESTROYED;
	pthread_mutex_unlock(&service->lock);
	if (gone || strcmp(live->tenant, actor->tenant) != 0) {
		tp_live_put(service, live);
		return tp_no_session(id);
	}
	*live_out = live;
	return NULL;
}

struct tp_live *tp_live_new(struct tp_service *service, const char *tenant)
{
	char id[TP_ID_LEN + 1];

	pthread_mutex_lock(&service->lock);
	do {
		tp_random_id(id, TP_ID_LEN);
	} while (find(service, id));
	struct tp_live *live = insert(service, id, tenant, tp_realtime_ns(), TP_STATE_CREATED);
	live->active_ns = live->created_ns;
	live->refs = 1;
	pthread_mutex_unlock(&service->lock);
	return live;
}

void tp_live_adopt(struct tp_service *service, struct tp_session_row *row,
	struct torpor_session *core, enum tp_state state)
{
	TP_JSON json_t *info = tp_row_json(row->info);
	json_int_t started_ns = json_integer_value(json_object_get(info, "started_ns"));

	pthread_mutex_lock(&service->lock);
	struct tp_live *live = insert(service, row->id, row->tenant, row->created_ns, state);
	live->active_ns = row->active_ns;
	live->started_ns = started_ns > 0 ? (uint64_t)started_ns : row->created_ns;
	live->recorded = true;
	live->row = *row;
	*row = (struct tp_session_row){0};
	live->core = core;
	pthread_mutex_unlock(&service->lock);
}

void tp_live_put(struct tp_service *service, struct tp_live *live)
{
	pthread_mutex_lock(&service->lock);
	live->refs--;
	if (forgettable(live))
		forget(service, live);
	pthread_cond_broadcast(&service->changed);
	pthread_mutex_unlock(&service->lock);
}

/* --- Operations --- */

void tp_live_publish(struct tp_service *service, struct tp_live *live)
{
	tp_note_state(service, live);
	tp_publish(service, "session", live->tenant, live->id, tp_live_view(service, live, false));
}

static struct torpor_error *not_in_state(const struct tp_live *live, const char *step)
{
	return tp_error(TORPOR_E_BUSY, step, live->id, "the session is %s%s%s",
		tp_state_name(live->state), live->row.reason ? ": " : "",
		live->row.reason ? live->row.reason : "");
}

static const char *step_to(enum tp_state passing)
{
	switch (passing) {
	case TP_STATE_PARKING:
		return "park";
	case TP_STATE_RESUMING:
		return "resume";
	case TP_STATE_STOPPING:
		return "destroy";
	default:
		return "start";
	}
}

/* Under the lock, with the operation before over. */
static struct torpor_error *move(
	struct tp_live *live, enum tp_state passing, unsigned int done, bool *done_out)
{
	bool is_done = done & (1u << live->state);

	if (!is_done && !tp_state_may(live->state, passing))
		return not_in_state(live, step_to(passing));
	if (!is_done) {
		live->before = live->state;
		live->state = passing;
		live->taken_back = live->no_way_back = false;
	}
	*done_out = is_done;
	return NULL;
}

struct torpor_error *tp_live_begin(struct tp_service *service, struct tp_live *live,
	enum tp_state passing, unsigned int done, const struct tp_call *call, bool *done_out)
{
	struct torpor_error *err = NULL;
	bool is_done = false;

	pthread_mutex_lock(&service->lock);
	/* One that was just made is its maker's: CREATED is passing, but nobody is to be waited
	 * for. */
	if (live->state != TP_STATE_CREATED || passing != TP_STATE_STARTING)
		err = wait_for_turn(service, live, call);
	if (!err)
		err = move(live, passing, done, &is_done);
	pthread_cond_broadcast(&service->changed);
	pthread_mutex_unlock(&service->lock);
	if (err)
		return err;
	if (!is_done)
		tp_live_publish(service, live);
	*done_out = is_done;
	return NULL;
}

struct torpor_error *tp_live_hold(struct tp_service *service, struct tp_live *live,
	unsigned int states, unsigned int done, const char *step, const struct tp_call *call,
	bool *done_out)
{
	bool is_done = false;

	pthread_mutex_lock(&service->lock);
	struct torpor_error *err = wait_for_turn(service, live, call);
	if (!err) {
		is_done = done & (1u << live->state);
		if (!is_done && !(states & (1u << live->state)))
			err = not_in_state(live, step);
		else if (!is_done)
			live->busy = true;
	}
	pthread_mutex_unlock(&service->lock);
	if (!err)
		*done_out = is_done;
	return err;
}

void tp_live_end(struct tp_service *service, struct tp_live *live, enum tp_state state)
{
	pthread_mutex_lock(&service->lock);
	assert(owned(live));
	assert(tp_state_may(live->state, state) || (live->busy && live->state == state));
	assert(tp_state_passing(state) == false);
	bool moved = live->state != state;
	live->state = state;
	live->busy = true;
	pthread_mutex_unlock(&service->lock);
	if (moved)
		tp_live_publish(service, live);
	pthread_mutex_lock(&service->lock);
	live->busy = false;
	wake(service, live);
	pthread_mutex_unlock(&service->lock);
}

void tp_live_set_row(
	struct tp_service *service, struct tp_live *live, struct tp_session_row *row, bool recorded)
{
	pthread_mutex_lock(&service->lock);
	struct tp_session_row old = live->row;
	live->row = *row;
	live->recorded = recorded;
	live->unrecorded = false;
	pthread_mutex_unlock(&service->lock);
	*row = (struct tp_session_row){0};
	tp_session_row_deinit(&old);
}

void tp_live_copy_row(
	struct tp_service *service, struct tp_live *live, struct tp_session_row *row_out)
{
	pthread_mutex_lock(&service->lock);
	tp_session_row_copy(&live->row, row_out);
	row_out->active_ns = live->active_ns;
	pthread_mutex_unlock(&service->lock);
}

void tp_live_attach(struct tp_service *service, struct tp_live *live, struct torpor_session *core)
{
	pthread_mutex_lock(&service->lock);
	assert(owned(live) && !live->core);
	live->core = core;
	live->lost = false;
	live->started_ns = tp_realtime_ns();
	pthread_mutex_unlock(&service->lock);
}

void tp_live_detach(struct tp_service *service, struct tp_live *live)
{
	struct tp_call forever = tp_call_within(TP_NO_DEADLINE);
	struct torpor_error *err = NULL;

	pthread_mutex_lock(&service->lock);
	assert(owned(live));
	struct torpor_session *core = TP_TAKE(live->core);
	while (!err && live->uses > 0)
		err = wait_for_change(service, live, &forever);
	/* Without a descriptor to wait with there is still the condition. */
	while (live->uses > 0)
		pthread_cond_wait(&service->changed, &service->lock);
	live->lost = false;
	pthread_mutex_unlock(&service->lock);
	tp_error_log(err);
	torpor_session_close(core);
}

/* --- Uses beside operations --- */

struct torpor_error *tp_live_use(struct tp_service *service, struct tp_live *live,
	unsigned int states, const char *step, const struct tp_call *call,
	struct torpor_session **core_out)
{
	pthread_mutex_lock(&service->lock);
	struct torpor_error *err = wait_for_turn(service, live, call);
	if (!err && (!(states & (1u << live->state)) || !live->core))
		err = not_in_state(live, step);
	if (!err) {
		live->uses++;
		*core_out = live->core;
	}
	pthread_mutex_unlock(&service->lock);
	return err;
}

void tp_live_unuse(struct tp_service *service, struct tp_live *live)
{
	pthread_mutex_lock(&service->lock);
	if (--live->uses == 0)
		wake(service, live);
	pthread_mutex_unlock(&service->lock);
}

bool tp_live_is_busy(struct tp_service *service, struct tp_live *live)
{
	pthread_mutex_lock(&service->lock);
	bool busy = live->execs > 0 || (live->core && tp_session_busy(live->core));
	pthread_mutex_unlock(&service->lock);
	return busy;
}

void tp_live_touch(struct tp_service *service, struct tp_live *live)
{
	pthread_mutex_lock(&service->lock);
	live->active_ns = tp_realtime_ns();
	pthread_mutex_unlock(&service->lock);
}

/* --- Briefs --- */

/* What a brief is computed from without the lock. */
struct brief_source {
	char *template_name;
	struct tp_timers timers;
};

static int shown_pid(const struct tp_live *live)
{
	if (!live->core)
		return 0;
	pthread_mutex_lock(&live->core->info_lock);
	int pid = live->core->info.pid;
	pthread_mutex_unlock(&live->core->info_lock);
	return pid;
}

static bool shown_base(const struct tp_live *live)
{
	if (!live->core)
		return false;
	pthread_mutex_lock(&live->core->info_lock);
	bool has_base = live->core->info.has_base;
	pthread_mutex_unlock(&live->core->info_lock);
	return has_base;
}

static void brief_of(
	const struct tp_live *live, struct tp_live_brief *brief, struct brief_source *source)
{
	snprintf(brief->id, sizeof(brief->id), "%s", live->id);
	snprintf(brief->tenant, sizeof(brief->tenant), "%s", live->tenant);
	brief->state = live->state;
	brief->pid = shown_pid(live);
	brief->active_ns = live->active_ns;
	brief->started_ns = live->core ? live->started_ns : 0;
	brief->execs = live->execs;
	brief->lost = live->lost;
	brief->has_image = live->row.park_uuid;
	brief->has_base = shown_base(live);
	source->template_name = tp_strdup(live->row.template_name);
	source->timers = (struct tp_timers){
		.ttl_s = live->row.id ? live->row.ttl_s : TP_UNSET,
		.idle_s = live->row.id ? live->row.idle_s : TP_UNSET,
		.retention_s = live->row.id ? live->row.retention_s : TP_UNSET,
	};
}

/* The timers as they hold; that asks for locks. */
static void resolve(
	struct tp_service *service, struct tp_live_brief *brief, struct brief_source *source)
{
	struct tp_session_row row = {
		.id = brief->id,
		.tenant = brief->tenant,
		.template_name = source->template_name,
		.ttl_s = source->timers.ttl_s,
		.idle_s = source->timers.idle_s,
		.retention_s = source->timers.retention_s,
	};
	struct tp_timers timers = tp_timers_of(service, &row);

	brief->ttl_s = timers.ttl_s;
	brief->idle_s = timers.idle_s;
}

size_t tp_live_briefs(struct tp_service *service, struct tp_live_brief **briefs_out)
{
	size_t n = 0;

	pthread_mutex_lock(&service->lock);
	size_t count = service->live_count;
	struct tp_live_brief *briefs = tp_calloc(count ? count : 1, sizeof(*briefs));
	TP_FREE struct brief_source *sources = tp_calloc(count ? count : 1, sizeof(*sources));
	for (size_t bucket = 0; bucket < LIVE_BUCKETS; bucket++) {
		for (struct tp_live *live = service->live[bucket]; live; live = live->next, n++)
			brief_of(live, &briefs[n], &sources[n]);
	}
	pthread_mutex_unlock(&service->lock);
	assert(n == count);
	for (size_t i = 0; i < n; i++) {
		resolve(service, &briefs[i], &sources[i]);
		free(sources[i].template_name);
	}
	*briefs_out = briefs;
	return n;
}
