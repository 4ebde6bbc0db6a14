/* SPDX-License-Identifier: Apache-2.0 */
/* Who may see what of the history; and what sessions use now. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "service/latency.h"
#include "service/sampler.h"
#include "service/service_priv.h"

static enum tp_window window_of(bool day)
{
	return day ? TP_WINDOW_DAY : TP_WINDOW_HOUR;
}

/* --- a session --- */

/* One that wasn't heard of since torpord started has been what it is. */
static void put_known_state(json_t *view, const struct tp_session_row *row, enum tp_state state)
{
	json_t *states = json_object_get(view, "states");

	if (json_array_size(states) > 0)
		return;
	json_array_append_new(
		states, json_pack("{s:o, s:s, s:s?}", "at", tp_time_json(row->changed_ns), "state",
				tp_state_name(state), "reason", row->reason));
	json_object_set_new(view, "from", tp_time_json(row->changed_ns));
}

struct torpor_error *tp_service_history(struct tp_service *service, const struct tp_actor *actor,
	const char *id, bool day, json_t **view_out)
{
	TP_ROW struct tp_session_row row = {0};
	struct tp_live *live;

	TP_TRY(tp_actor_may(actor, TP_PERM_READ, id));
	TP_TRY(tp_live_get(service, actor, id, &live));
	tp_live_copy_row(service, live, &row);
	pthread_mutex_lock(&service->lock);
	enum tp_state state = live->state;
	pthread_mutex_unlock(&service->lock);
	tp_live_put(service, live);
	json_t *view =
		tp_history_session_json(service->history, id, window_of(day), tp_realtime_ns());
	put_known_state(view, &row, state);
	*view_out = view;
	return NULL;
}

/* --- what is used now --- */

struct sums {
	uint64_t private_bytes;
	uint64_t running;
};

static bool sees(const struct tp_actor *actor, const struct tp_live_brief *brief)
{
	if (actor->session[0] && strcmp(actor->session, brief->id) != 0)
		return false;
	return actor->admin || strcmp(actor->tenant, brief->tenant) == 0;
}

static json_t *usage_of(const struct tp_live_brief *brief, const struct tp_usage_now *usage)
{
	return json_pack("[I, I, o, I, I]", (json_int_t)usage->private_bytes,
		(json_int_t)usage->shared_bytes,
		usage->cpu_percent < 0
			? json_null()
			: json_real((double)(int64_t)(usage->cpu_percent * 10 + 0.5) / 10),
		(json_int_t)(brief->active_ns / TP_NSEC_PER_MSEC), (json_int_t)brief->execs);
}

/* By session, those that ACTOR may see and that have a process. */
static json_t *usages(struct tp_service *service, const struct tp_actor *actor, uint64_t now_ns,
	struct sums *sums_out)
{
	TP_FREE struct tp_live_brief *briefs = NULL;
	size_t n = tp_live_briefs(service, &briefs);
	struct sums sums = {0};
	json_t *sessions = json_object();

	for (size_t i = 0; i < n; i++) {
		struct tp_usage_now usage;
		if (!briefs[i].pid || !sees(actor, &briefs[i]))
			continue;
		sums.running++;
		if (!tp_history_last(service->history, briefs[i].id, briefs[i].pid, now_ns, &usage))
			continue;
		sums.private_bytes += usage.private_bytes;
		json_object_set_new(sessions, briefs[i].id, usage_of(&briefs[i], &usage));
	}
	*sums_out = sums;
	return sessions;
}

static json_t *host_json(const struct tp_host_sample *sample)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "total_bytes",
		(json_int_t)sample->total_bytes, "available_bytes",
		(json_int_t)sample->available_bytes, "sessions_bytes",
		(json_int_t)sample->sessions_bytes, "bases_bytes", (json_int_t)sample->bases_bytes,
		"image_bytes", (json_int_t)sample->image_bytes, "saved_bytes",
		(json_int_t)sample->saved_bytes, "running", (json_int_t)sample->running, "parked",
		(json_int_t)sample->parked);
}

struct torpor_error *tp_service_usage(
	struct tp_service *service, const struct tp_actor *actor, json_t **view_out)
{
	uint64_t now_ns = tp_realtime_ns();
	struct tp_host_sample host;
	struct sums sums;

	TP_TRY(tp_actor_may(actor, TP_PERM_READ, NULL));
	json_t *view = json_pack("{s:I, s:o, s:n}", "at", (json_int_t)(now_ns / TP_NSEC_PER_MSEC),
		"sessions", usages(service, actor, now_ns, &sums), "host");
	if (actor->admin) {
		struct torpor_error *err =
			tp_sample_host(service, NULL, sums.private_bytes, sums.running, &host);
		if (err) {
			json_decref(view);
			return err;
		}
		json_object_set_new(view, "host", host_json(&host));
	}
	*view_out = view;
	return NULL;
}

/* --- host and pool --- */

static json_t *tenant_now(const struct tp_host_sample *sample)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "sessions_bytes",
		(json_int_t)sample->sessions_bytes, "image_bytes", (json_int_t)sample->image_bytes,
		"saved_bytes", (json_int_t)sample->saved_bytes, "running",
		(json_int_t)sample->running, "parked", (json_int_t)sample->parked);
}

struct torpor_error *tp_service_host_history(
	struct tp_service *service, const struct tp_actor *actor, bool day, json_t **view_out)
{
	uint64_t now_ns = tp_realtime_ns();
	const char *tenant = actor->admin ? NULL : actor->tenant;
	const char *session = actor->session[0] ? actor->session : NULL;
	struct tp_host_sample now;
	struct sums sums;
	const char *from;

	TP_TRY(tp_actor_may(actor, TP_PERM_READ, NULL));
	json_decref(usages(service, actor, now_ns, &sums));
	TP_TRY(tp_sample_host(service, tenant, sums.private_bytes, sums.running, &now));
	json_t *view = tenant ? tp_history_tenant_json(
					service->history, tenant, session, window_of(day), now_ns)
			      : tp_history_host_json(service->history, window_of(day), now_ns);
	uint64_t per_parked =
		tp_sample_per_parked(service, tenant, sums.private_bytes, sums.running, &from);
	json_object_set_new(view, "scope", json_string(tenant ? "tenant" : "host"));
	json_object_set_new(view, "current", tenant ? tenant_now(&now) : host_json(&now));
	json_object_set_new(view, "per_parked_bytes", json_integer((json_int_t)per_parked));
	json_object_set_new(view, "per_parked_from", json_string(from));
	*view_out = view;
	return NULL;
}

struct torpor_error *tp_service_pool_history(
	struct tp_service *service, const struct tp_actor *actor, bool day, json_t **view_out)
{
	/* How much all tenants do is nobody's business but the admin's. */
	TP_TRY(tp_actor_must_be_admin(actor));
	*view_out = tp_latency_json(service->latency, window_of(day), tp_realtime_ns());
	return NULL;
}
