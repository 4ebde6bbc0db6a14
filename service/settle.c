/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of operations: the audit entry and the commit, synced at the same time.
 *
 * Both go out at once, so that an answer waits for the slower of two syncs rather than for their
 * sum. The price: a crash in between may leave a commit whose audit entry is missing (opening the
 * log then records a gap), or an entry "ok" of what was not committed and never acknowledged. If
 * the commit fails while the process lives, a second entry with the failure follows.
 */
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "service/service_priv.h"

static struct tp_audit_ticket audit(
	struct tp_service *service, const struct tp_op *op, const struct torpor_error *err)
{
	struct tp_audit_entry entry = {
		.tenant = op->actor->tenant[0] ? op->actor->tenant : NULL,
		.actor = op->actor->how,
		.op = op->op,
		.object = op->object ? op->object : "",
		.outcome = err ? torpor_errc_name(torpor_error_code(err)) : "ok",
		.detail = op->detail,
	};
	struct tp_audit_ticket ticket;

	tp_audit_append(service->audit, &entry, &ticket);
	return ticket;
}

static bool repeatable(const struct tp_op *op)
{
	return op->actor->key[0] && op->status;
}

static void put_repeat(struct tp_change *change, const struct tp_op *op, uint64_t created_ns)
{
	TP_FREE char *tenant = tp_strdup(op->actor->tenant);
	TP_FREE char *key = tp_strdup(op->actor->key);
	TP_FREE char *result = op->result ? json_dumps(op->result, JSON_COMPACT) : NULL;
	struct tp_repeat_row row = {
		.tenant = tenant,
		.key = key,
		.status = op->status,
		.result = result,
		.created_ns = created_ns,
	};

	memcpy(row.print, op->actor->print, sizeof(row.print));
	tp_change_put_repeat(change, &row);
}

void tp_settle_begin(struct tp_service *service, const struct tp_op *op, struct tp_change *change,
	const struct torpor_error *err, struct tp_settling *settling_out)
{
	struct tp_settling settling = {.begun_ns = tp_now_ns(), .ticket = audit(service, op, err)};

	if (!err && repeatable(op)) {
		if (!change)
			change = tp_change_new();
		put_repeat(change, op, tp_realtime_ns());
	}
	if (change) {
		tp_change_audit_head(change, settling.ticket.seq, settling.ticket.hash);
		settling.commit = tp_records_submit(service->records, change);
	}
	*settling_out = settling;
}

struct torpor_error *tp_settle_wait(struct tp_service *service, struct tp_settling *settling)
{
	struct torpor_error *err = NULL;

	if (settling->commit) {
		err = tp_commit_wait(TP_TAKE(settling->commit));
		tp_measure(
			service, TP_MEASURED_COMMIT, NULL, NULL, tp_now_ns() - settling->begun_ns);
	}
	err = tp_error_first(err, tp_audit_wait(service->audit, &settling->ticket));
	return err ? err : tp_fault_check("settle.committed");
}

struct torpor_error *tp_settle(struct tp_service *service, const struct tp_op *op,
	struct tp_change *change, const struct torpor_error *err)
{
	struct tp_settling settling;

	tp_settle_begin(service, op, change, err, &settling);
	return tp_settle_wait(service, &settling);
}

struct torpor_error *tp_settle_take_back(
	struct tp_service *service, const struct tp_op *op, struct tp_change *change)
{
	/* An outcome from the beginning of time is too old to be repeated. */
	if (repeatable(op))
		put_repeat(change, op, 0);
	return tp_error_in(tp_records_commit(service->records, change), "take back", op->op);
}

void tp_settle_again(struct tp_service *service, const struct tp_op *op, struct tp_change *change,
	struct tp_settling *settling)
{
	if (repeatable(op))
		put_repeat(change, op, tp_realtime_ns());
	settling->begun_ns = tp_now_ns();
	settling->commit = tp_records_submit(service->records, change);
}

void tp_settle_undo(struct tp_service *service, const struct tp_op *op, struct tp_change *change)
{
	tp_error_log(tp_settle_take_back(service, op, change));
}

struct torpor_error *tp_refuse(
	struct tp_service *service, const struct tp_op *op, struct torpor_error *err)
{
	if (!err)
		return NULL;
	if (torpor_error_reason(err))
		tp_service_count_refusal(service, torpor_error_reason(err));
	struct tp_audit_ticket ticket = audit(service, op, err);
	return tp_error_first(err, tp_audit_wait(service->audit, &ticket));
}
