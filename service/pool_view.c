/* SPDX-License-Identifier: Apache-2.0 */
/* The pool as docs/API.md shows it; and for the admin the host. */
#include "service/pool_view.h"

#include <string.h>

#include "base/mem.h"
#include "service/keeper.h"
#include "service/templates.h"

struct torpor_error *tp_count_states(
	struct tp_service *service, uint64_t counts_out[TP_STATE_COUNT])
{
	uint64_t counts[TP_STATE_COUNT] = {0};
	struct tp_usage usage;

	TP_TRY(tp_records_usage(service->records, NULL, &usage));
	pthread_mutex_lock(&service->lock);
	for (size_t i = 0; i < LIVE_BUCKETS; i++) {
		for (const struct tp_live *live = service->live[i]; live; live = live->next)
			counts[live->state]++;
	}
	pthread_mutex_unlock(&service->lock);
	/* Those that are being resumed are still recorded as parked. */
	uint64_t resuming = TP_MIN(counts[TP_STATE_RESUMING], usage.parked);
	uint64_t others = usage.live + usage.parked;
	counts[TP_STATE_PARKED] = usage.parked - resuming;
	counts[TP_STATE_ERROR] = usage.sessions > others ? usage.sessions - others : 0;
	counts[TP_STATE_DESTROYED] = 0;
	memcpy(counts_out, counts, sizeof(counts));
	return NULL;
}

/* --- templates --- */

static json_t *rate_json(const struct tp_supply_view *supply)
{
	uint64_t all = 0;

	for (size_t i = 0; i < TP_ARRAY_LEN(supply->served); i++)
		all += supply->served[i];
	if (all == 0)
		return json_null();
	return json_real((double)supply->served[TORPOR_SOURCE_WARM] / (double)all);
}

static void add_template(void *data, struct tp_service *service, const char *name)
{
	struct tp_supply_view supply;

	if (!tp_supply_view(service->supply, name, &supply))
		return;
	json_t *served =
		json_pack("{s:I, s:I, s:I}", "warm", (json_int_t)supply.served[TORPOR_SOURCE_WARM],
			"shell", (json_int_t)supply.served[TORPOR_SOURCE_SHELL], "spawn",
			(json_int_t)supply.served[TORPOR_SOURCE_SPAWN]);
	json_array_append_new(data,
		json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:I, s:o}", "name", name, "state",
			supply.degraded ? "degraded" : "ready", "reason",
			supply.degraded ? json_string(supply.reason) : json_null(), "pool",
			tp_templates_pool_json(&supply), "served", served, "hit_rate",
			rate_json(&supply), "failures", (json_int_t)supply.failures, "deaf",
			(json_int_t)supply.deaf, "start_ms", tp_ms_json(supply.start_ns_average)));
}

/* --- the host --- */

static struct torpor_error *host_json(struct tp_service *service, json_t **host_out)
{
	uint64_t counts[TP_STATE_COUNT];
	struct tp_admission_view admission;
	struct tp_pressure_view pressure;
	struct tp_usage usage;
	json_t *can;
	json_t *cannot;

	TP_TRY(tp_count_states(service, counts));
	TP_TRY(tp_records_usage(service->records, NULL, &usage));
	tp_admission_view(service->admission, &admission);
	tp_keeper_pressure(service->keeper, &pressure);
	tp_cgroup_can(service->cgroup, &can, &cannot);
	pthread_mutex_lock(&service->lock);
	uint64_t max_sessions = service->config.admission.max_sessions;
	pthread_mutex_unlock(&service->lock);

	json_t *sessions = json_object();
	for (unsigned int i = 0; i < TP_STATE_COUNT; i++) {
		if (i != TP_STATE_DESTROYED)
			json_object_set_new(sessions, tp_state_name((enum tp_state)i),
				json_integer((json_int_t)counts[i]));
	}
	json_t *memory = json_pack("{s:I, s:I, s:I, s:I, s:I, s:s}", "budget_bytes",
		(json_int_t)admission.host_memory, "used_bytes", (json_int_t)admission.charged,
		"bases_bytes", (json_int_t)admission.bases, "available_bytes",
		(json_int_t)pressure.available, "reserve_bytes", (json_int_t)pressure.reserve,
		"pressure", tp_pressure_name(pressure.level));
	*host_out = json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:{s:o, s:o}}", "memory", memory,
		"sessions", sessions, "guests", (json_int_t)admission.sessions, "max_guests",
		(json_int_t)max_sessions, "stock", (json_int_t)admission.stock, "image_bytes",
		(json_int_t)usage.image_bytes, "limits", "enforced", can, "unenforced", cannot);
	return NULL;
}

struct torpor_error *tp_service_pool(
	struct tp_service *service, const struct tp_actor *actor, json_t **view_out)
{
	json_t *host = NULL;

	TP_TRY(tp_actor_may(actor, TP_PERM_READ, NULL));
	if (actor->admin)
		TP_TRY(host_json(service, &host));
	json_t *list = json_array();
	tp_templates_each(service, add_template, list);
	json_t *view = json_pack("{s:o, s:I}", "templates", list, "queue",
		(json_int_t)tp_supply_waiting(service->supply));
	if (host)
		json_object_set_new(view, "host", host);
	*view_out = view;
	return NULL;
}
