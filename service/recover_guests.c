/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking guests over.
 *
 * Each costs some round trips to its QEMU, and one that doesn't answer as long as the bound is; so
 * a few threads take one after the other.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "service/recover_priv.h"

#define THREADS 8

/* --- which --- */

static struct torpor_error *collect(void *data, const struct tp_session_row *row)
{
	struct tp_recovery *recovery = data;

	recovery->found =
		tp_reallocarray(recovery->found, recovery->n_found + 1, sizeof(*recovery->found));
	struct tp_found *found = &recovery->found[recovery->n_found++];
	*found = (struct tp_found){0};
	tp_session_row_copy(row, &found->row);
	return NULL;
}

static struct torpor_error *collect_without(void *data, const struct tp_session_row *row)
{
	return row->handover ? NULL : collect(data, row);
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct tp_found *)a)->row.id, ((const struct tp_found *)b)->row.id);
}

/* Those with a handover; and those that should have one. */
static struct torpor_error *collect_all(struct tp_recovery *recovery)
{
	static const char *const states[] = {"running", "paused"};
	struct tp_records *records = recovery->service->records;
	struct tp_session_filter with = {.with_process = true};

	TP_TRY(tp_records_sessions(records, &with, collect, recovery));
	for (size_t i = 0; i < TP_ARRAY_LEN(states); i++) {
		struct tp_session_filter filter = {.state = states[i]};
		TP_TRY(tp_records_sessions(records, &filter, collect_without, recovery));
	}
	if (recovery->n_found > 0)
		qsort(recovery->found, recovery->n_found, sizeof(*recovery->found), by_id);
	return NULL;
}

struct tp_found *tp_recovery_find(struct tp_recovery *recovery, const char *id)
{
	size_t low = 0;
	size_t high = recovery->n_found;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(id, recovery->found[middle].row.id);
		if (order == 0)
			return &recovery->found[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* --- one guest --- */

/*
 * The guest as it is recorded. One that stands still although it should run was in the middle of an
 * operation, which has no other end than this; one that runs although it should stand still, too.
 */
static void put_right(struct tp_found *found)
{
	bool should_stand = strcmp(found->row.state, "paused") == 0;
	enum torpor_session_state state = tp_session_state(found->core);
	struct torpor_error *err = NULL;

	if (state == TORPOR_SESSION_PAUSED && !should_stand)
		err = torpor_session_unpause(found->core, NULL);
	else if (state == TORPOR_SESSION_RUNNING && should_stand)
		err = torpor_session_pause(found->core, NULL);
	tp_error_log(tp_error_in(err, "go on with session", found->row.id));
}

static struct torpor_error *adopt_once(struct tp_service *service, struct tp_found *found)
{
	return torpor_session_adopt(service->engine, found->row.handover, NULL, &found->core);
}

static void adopt(struct tp_service *service, struct tp_found *found)
{
	if (!found->row.handover) {
		found->gone = tp_strdup("nothing is recorded about its guest");
		return;
	}
	struct torpor_error *err = adopt_once(service, found);
	/* What ended or is another's won't change; all else may be a moment's trouble. */
	if (err && torpor_error_code(err) != TORPOR_E_NOT_FOUND &&
		torpor_error_code(err) != TORPOR_E_MISMATCH) {
		tp_error_log(err);
		err = adopt_once(service, found);
	}
	if (!err) {
		put_right(found);
		return;
	}
	if (torpor_error_code(err) == TORPOR_E_NOT_FOUND)
		found->gone = tp_strdup("its guest ended while torpord didn't run");
	else
		found->gone = tp_asprintf(
			"its guest couldn't be taken over: %s", torpor_error_message(err));
	torpor_error_free(err);
}

/* --- all of them --- */

struct crowd {
	struct tp_recovery *recovery;
	atomic_size_t next;
};

static void *adopt_some(void *data)
{
	struct crowd *crowd = data;
	struct tp_recovery *recovery = crowd->recovery;

	for (;;) {
		size_t i = atomic_fetch_add(&crowd->next, 1);
		if (i >= recovery->n_found)
			return NULL;
		struct tp_found *found = &recovery->found[i];
		tp_recover_look(
			recovery->service, found->row.id, found->row.park_uuid, &found->image);
		adopt(recovery->service, found);
	}
}

struct torpor_error *tp_recover_guests(struct tp_recovery *recovery)
{
	struct crowd crowd = {.recovery = recovery};
	pthread_t threads[THREADS];
	size_t started = 0;

	TP_TRY(collect_all(recovery));
	while (started + 1 < TP_MIN(recovery->n_found, (size_t)THREADS) &&
		pthread_create(&threads[started], NULL, adopt_some, &crowd) == 0)
		started++;
	adopt_some(&crowd);
	while (started > 0)
		pthread_join(threads[--started], NULL);
	return NULL;
}
