/* SPDX-License-Identifier: Apache-2.0 */
/* Changing what a session is called, its timers, labels and limits. */
#include "base/fault.h"
#include "base/mem.h"
#include "service/op.h"
#include "service/starting.h"

static struct torpor_error *check(const struct tp_change_spec *spec)
{
	struct tp_limits limits;

	if (spec->name)
		TP_TRY(tp_check_name("name", spec->name));
	TP_TRY(tp_check_timers(&spec->timers));
	TP_TRY(tp_check_labels(spec->labels));
	return tp_parse_limits(spec->limits, &limits);
}

static void apply(const struct tp_change_spec *spec, struct tp_session_row *row)
{
	const struct tp_timers *timers = &spec->timers;

	if (spec->name)
		tp_row_set(&row->name, spec->name);
	if (spec->labels)
		tp_row_set_json(&row->labels, json_deep_copy(spec->labels));
	if (timers->ttl_s != TP_UNSET)
		row->ttl_s = timers->ttl_s;
	if (timers->idle_s != TP_UNSET)
		row->idle_s = timers->idle_s;
	if (timers->retention_s != TP_UNSET)
		row->retention_s = timers->retention_s;
}

/* --- limits --- */

#define PLACE_PATIENCE_NS (5 * TP_NSEC_PER_SEC)

/* Puts LIVE's process, if it has one, under LIMITS; *UNENFORCED_OUT are those that are wishes here.
 */
static struct torpor_error *place(struct tp_service *service, const struct tp_live *live,
	const json_t *limits, json_t **unenforced_out)
{
	struct tp_call call = tp_call_within(PLACE_PATIENCE_NS);
	struct tp_limits parsed;

	TP_TRY(tp_parse_limits(limits, &parsed));
	if (!live->core) {
		*unenforced_out = json_array();
		return NULL;
	}
	TP_TRY(tp_session_enter(live->core, false, &call));
	struct torpor_error *err =
		tp_limit_guest(service, live->id, live->core, &parsed, unenforced_out);
	tp_session_leave(live->core);
	if (err && torpor_error_code(err) == TORPOR_E_NOT_FOUND)
		err = tp_error_recode(err, TORPOR_E_BUSY);
	return err;
}

/* First the process, then the record: what can't be put in force isn't recorded. */
static struct torpor_error *apply_limits(struct tp_service *service, const struct tp_live *live,
	const json_t *limits, struct tp_session_row *row)
{
	json_t *unenforced;

	if (!limits)
		return NULL;
	TP_TRY(place(service, live, limits, &unenforced));
	json_t *kept = json_deep_copy(limits);
	json_object_set_new(kept, "unenforced", unenforced);
	tp_row_set_json(&row->limits, kept);
	return NULL;
}

static void put_back_limits(struct tp_service *service, const struct tp_live *live)
{
	TP_JSON json_t *limits = tp_row_json(live->row.limits);
	json_t *unenforced = NULL;

	tp_error_log(tp_error_in(
		place(service, live, limits, &unenforced), "put back limits of", live->id));
	json_decref(unenforced);
}

/* --- the change --- */

static struct torpor_error *record(struct tp_service *service, const struct tp_op *op,
	const struct tp_live *live, const struct tp_session_row *row)
{
	struct tp_change *change = tp_change_new();

	tp_change_put_session(change, row);
	struct torpor_error *err = tp_settle(service, op, change, NULL);
	if (!err)
		err = tp_fault_check("change.committed");
	if (!err)
		return NULL;
	change = tp_change_new();
	tp_change_put_session(change, &live->row);
	tp_settle_undo(service, op, change);
	return err;
}

static struct torpor_error *change_held(struct tp_service *service, const struct tp_op *op,
	struct tp_live *live, const struct tp_change_spec *spec)
{
	TP_ROW struct tp_session_row row = {0};

	tp_live_copy_row(service, live, &row);
	apply(spec, &row);
	TP_TRY(apply_limits(service, live, spec->limits, &row));
	struct torpor_error *err = record(service, op, live, &row);
	if (err) {
		if (spec->limits)
			put_back_limits(service, live);
		return err;
	}
	tp_live_set_row(service, live, &row, true);
	tp_live_publish(service, live);
	/* Its timers may be over already. */
	tp_keeper_changed(service, live->id);
	return NULL;
}

static struct torpor_error *change(struct tp_service *service, const struct tp_op *op,
	const char *id, const struct tp_change_spec *spec, const struct tp_call *call,
	json_t **view_out)
{
	struct tp_live *live;
	bool done;

	TP_TRY(check(spec));
	TP_TRY(tp_op_get(service, op->actor, TP_PERM_OPERATE, id, &live));
	struct torpor_error *err = tp_live_hold(service, live,
		TP_LIVE_IN(RUNNING) | TP_LIVE_IN(PAUSED) | TP_LIVE_IN(PARKED) | TP_LIVE_IN(ERROR),
		0, "change", call, &done);
	if (!err) {
		err = change_held(service, op, live, spec);
		tp_live_end(service, live, live->state);
		if (!err)
			*view_out = tp_live_view(service, live, false);
	}
	tp_live_put(service, live);
	return err;
}

struct torpor_error *tp_service_change(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_change_spec *spec, const struct tp_call *call,
	json_t **view_out)
{
	TP_JSON json_t *result = tp_op_result(id);
	struct tp_op op = tp_op_on(actor, "change", id, 200, result);

	return tp_refuse(service, &op, change(service, &op, id, spec, call, view_out));
}
