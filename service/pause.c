/* SPDX-License-Identifier: Apache-2.0 */
/* Pausing and letting go on. */
#include "base/fault.h"
#include "base/mem.h"
#include "service/op.h"

/* One way or the other; and the way back. */
struct turning {
	const char *op;
	enum tp_state from;
	enum tp_state to;
	struct torpor_error *(*turn)(struct torpor_session *, const struct torpor_call *);
	struct torpor_error *(*turn_back)(struct torpor_session *, const struct torpor_call *);
	const char *turned_point;
	const char *committed_point;
};

static const struct turning pausing = {
	.op = "pause",
	.from = TP_STATE_RUNNING,
	.to = TP_STATE_PAUSED,
	.turn = torpor_session_pause,
	.turn_back = torpor_session_unpause,
	.turned_point = "pause.turned",
	.committed_point = "pause.committed",
};
static const struct turning unpausing = {
	.op = "unpause",
	.from = TP_STATE_PAUSED,
	.to = TP_STATE_RUNNING,
	.turn = torpor_session_unpause,
	.turn_back = torpor_session_pause,
	.turned_point = "unpause.turned",
	.committed_point = "unpause.committed",
};

static struct torpor_error *record(struct tp_service *service, const struct tp_op *op,
	struct tp_live *live, const struct turning *turning)
{
	TP_ROW struct tp_session_row row = {0};
	struct tp_change *change = tp_change_new();

	tp_live_copy_row(service, live, &row);
	tp_row_set(&row.state, tp_state_name(turning->to));
	row.changed_ns = tp_realtime_ns();
	tp_change_put_session(change, &row);
	struct torpor_error *err = tp_settle(service, op, change, NULL);
	if (!err)
		err = tp_fault_check(turning->committed_point);
	if (err) {
		change = tp_change_new();
		tp_change_put_session(change, &live->row);
		tp_settle_undo(service, op, change);
		return err;
	}
	tp_live_set_row(service, live, &row, true);
	return NULL;
}

static struct torpor_error *turn_held(struct tp_service *service, const struct tp_op *op,
	struct tp_live *live, const struct turning *turning, const struct tp_call *call)
{
	struct torpor_cancel cancel;
	struct torpor_call public = tp_call_public(call, &cancel);

	TP_TRY(turning->turn(live->core, &public));
	struct torpor_error *err = tp_fault_check(turning->turned_point);
	if (!err)
		err = record(service, op, live, turning);
	if (err)
		err = tp_error_first(err, turning->turn_back(live->core, NULL));
	return err;
}

static struct torpor_error *turn_live(struct tp_service *service, const struct tp_op *op,
	struct tp_live *live, const struct turning *turning, const struct tp_call *call,
	json_t **view_out)
{
	bool done;

	TP_TRY(tp_live_hold(
		service, live, 1u << turning->from, 1u << turning->to, turning->op, call, &done));
	if (done)
		return tp_op_done_already(service, op, live, view_out);
	struct torpor_error *err = turn_held(service, op, live, turning, call);
	tp_live_end(service, live, err ? turning->from : turning->to);
	if (!err)
		*view_out = tp_live_view(service, live, false);
	return err;
}

static struct torpor_error *turn(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct turning *turning, const struct tp_call *call,
	json_t **view_out)
{
	TP_JSON json_t *result = tp_op_result(id);
	struct tp_op op = tp_op_on(actor, turning->op, id, 200, result);
	struct tp_live *live;

	struct torpor_error *err = tp_op_get(service, actor, TP_PERM_OPERATE, id, &live);
	if (!err) {
		err = turn_live(service, &op, live, turning, call, view_out);
		tp_live_put(service, live);
	}
	return tp_refuse(service, &op, err);
}

struct torpor_error *tp_service_pause(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call, json_t **view_out)
{
	return turn(service, actor, id, &pausing, call, view_out);
}

struct torpor_error *tp_service_unpause(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call, json_t **view_out)
{
	return turn(service, actor, id, &unpausing, call, view_out);
}
