/* SPDX-License-Identifier: Apache-2.0 */
/* Changing what a session is called, its timers and labels. */
#include "base/fault.h"
#include "base/mem.h"
#include "service/op.h"

struct changes {
	const char *name;		/* or NULL */
	const struct tp_timers *timers; /* or NULL */
	const json_t *labels;		/* or NULL */
};

static struct torpor_error *check(const struct changes *changes)
{
	if (changes->name)
		TP_TRY(tp_check_name("name", changes->name));
	if (changes->timers)
		TP_TRY(tp_check_timers(changes->timers));
	return tp_check_labels(changes->labels);
}

static void apply(const struct changes *changes, struct tp_session_row *row)
{
	const struct tp_timers *timers = changes->timers;

	if (changes->name)
		tp_row_set(&row->name, changes->name);
	if (changes->labels)
		tp_row_set_json(&row->labels, json_deep_copy(changes->labels));
	if (timers && timers->ttl_s != TP_UNSET)
		row->ttl_s = timers->ttl_s;
	if (timers && timers->idle_s != TP_UNSET)
		row->idle_s = timers->idle_s;
	if (timers && timers->retention_s != TP_UNSET)
		row->retention_s = timers->retention_s;
}

static struct torpor_error *change_held(struct tp_service *service, const struct tp_op *op,
	struct tp_live *live, const struct changes *changes)
{
	TP_ROW struct tp_session_row row = {0};
	struct tp_change *change = tp_change_new();

	tp_live_copy_row(service, live, &row);
	apply(changes, &row);
	tp_change_put_session(change, &row);
	struct torpor_error *err = tp_settle(service, op, change, NULL);
	if (!err)
		err = tp_fault_check("change.committed");
	if (err) {
		change = tp_change_new();
		tp_change_put_session(change, &live->row);
		tp_settle_undo(service, op, change);
		return err;
	}
	tp_live_set_row(service, live, &row, true);
	tp_live_publish(service, live);
	/* Its timers may be over already. */
	tp_keeper_changed(service, live->id);
	return NULL;
}

static struct torpor_error *change(struct tp_service *service, const struct tp_op *op,
	const char *id, const struct changes *changes, const struct tp_call *call,
	json_t **view_out)
{
	struct tp_live *live;
	bool done;

	TP_TRY(check(changes));
	TP_TRY(tp_op_get(service, op->actor, TP_PERM_OPERATE, id, &live));
	struct torpor_error *err = tp_live_hold(service, live,
		TP_LIVE_IN(RUNNING) | TP_LIVE_IN(PAUSED) | TP_LIVE_IN(PARKED) | TP_LIVE_IN(ERROR),
		0, "change", call, &done);
	if (!err) {
		err = change_held(service, op, live, changes);
		tp_live_end(service, live, live->state);
		if (!err)
			*view_out = tp_live_view(service, live, false);
	}
	tp_live_put(service, live);
	return err;
}

struct torpor_error *tp_service_change(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const char *name, const struct tp_timers *timers, const json_t *labels,
	const struct tp_call *call, json_t **view_out)
{
	struct changes changes = {.name = name, .timers = timers, .labels = labels};
	TP_JSON json_t *result = tp_op_result(id);
	struct tp_op op = tp_op_on(actor, "change", id, 200, result);

	return tp_refuse(service, &op, change(service, &op, id, &changes, call, view_out));
}
