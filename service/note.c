/* SPDX-License-Identifier: Apache-2.0 */
/* From what happens to sessions to their history. */
#include "base/mem.h"
#include "service/history.h"
#include "service/service_priv.h"

void tp_note_state(struct tp_service *service, struct tp_live *live)
{
	pthread_mutex_lock(&service->lock);
	bool known = live->recorded && tp_state_passing(live->state);
	TP_FREE char *reason = tp_strdup(live->row.reason);
	struct tp_state_note note = {
		.state = live->state,
		.reason = reason,
		.before = live->before,
		.before_ns = known ? live->row.changed_ns : 0,
	};
	pthread_mutex_unlock(&service->lock);
	/* While it goes on, a reason is that of the state before. */
	if (tp_state_passing(note.state))
		note.reason = NULL;
	tp_history_state(service->history, live->id, live->tenant, &note, tp_realtime_ns());
}

void tp_note_operation(struct tp_service *service, const struct tp_live *live, const char *op,
	uint64_t took_ns, const char *source, uint64_t image_bytes, const char *name)
{
	struct tp_operation_note note = {
		.op = op,
		.source = source,
		.took_ns = took_ns,
		.image_bytes = image_bytes,
		.name = name,
	};

	tp_history_operation(service->history, live->id, live->tenant, &note, tp_realtime_ns());
}
