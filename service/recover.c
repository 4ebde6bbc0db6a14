/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery, in this order, each step of which may be the last before the process is killed:
 *
 *   guests that are recorded are taken over       nothing is changed by that
 *   files and rows of images are compared
 *   what was found is committed, all of it or none
 *   guests that nobody has are ended              they were never acknowledged, or given up
 *   files that no row has are removed             the same
 */
#include "service/recover.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "service/fault_points_recover.h"
#include "service/recover_priv.h"
#include "service/tenants.h"

#define OPENINGS "openings" /* how often these records were opened */

static void deinit(struct tp_recovery *recovery)
{
	for (size_t i = 0; i < recovery->n_found; i++) {
		struct tp_found *found = &recovery->found[i];
		tp_session_row_deinit(&found->row);
		torpor_session_close(found->core);
		free(found->gone);
		free(found->image.damage);
	}
	for (size_t i = 0; i < recovery->n_strays; i++)
		free(recovery->strays[i]);
	free(recovery->found);
	free(recovery->strays);
	tp_change_free(recovery->change);
}

/* --- what becomes of a session --- */

static void put_image(struct tp_change *change, const struct tp_session_row *row,
	const struct tp_found_image *image)
{
	tp_change_put_image(change, &(struct tp_image_row){
					    .name = row->id,
					    .session = row->id,
					    .tenant = row->tenant,
					    .kind = (char[]){"park"},
					    .template_id = row->template_id,
					    .bytes = image->bytes,
					    .created_ns = image->created_ns,
				    });
}

/* What the row says of the image, brought up to date. True if that was necessary. */
static bool update_image(struct tp_recovery *recovery, struct tp_found *found)
{
	struct tp_session_row *row = &found->row;
	const struct tp_found_image *image = &found->image;

	if (image->newer) {
		json_t *info = tp_row_json(row->info);
		json_object_set_new(info, "parked_ns", json_integer((json_int_t)image->created_ns));
		tp_row_set_json(&row->info, info);
		tp_row_set(&row->park_uuid, image->uuid);
		row->park_bytes = image->bytes;
		put_image(recovery->change, row, image);
		return true;
	}
	if (image->there || !row->park_uuid)
		return false;
	tp_row_set(&row->park_uuid, NULL);
	row->park_bytes = 0;
	return true;
}

/* For the audit log. */
static void audit(struct tp_recovery *recovery, const struct tp_session_row *row)
{
	struct tp_audit_ticket ticket;
	TP_JSON json_t *detail =
		json_pack("{s:s, s:s?}", "state", row->state, "reason", row->reason);
	struct tp_audit_entry entry = {
		.tenant = row->tenant,
		.actor = "torpord",
		.op = "recover",
		.object = row->id,
		.outcome = "ok",
		.detail = detail,
	};

	/* The entry about all of it follows, and is waited for. */
	tp_audit_append(recovery->service->audit, &entry, &ticket);
}

/* Its guest is gone: parked, if there is an image. */
static void lose_guest(struct tp_recovery *recovery, struct tp_found *found)
{
	struct tp_session_row *row = &found->row;
	const struct tp_found_image *image = &found->image;
	bool parked = image->there && !image->damage;
	TP_FREE char *reason = NULL;

	/* The newest there can be: the guest stood still from there on. */
	if (parked && image->newer)
		reason = NULL;
	else if (parked)
		reason = tp_asprintf("%s; this is its last image", found->gone);
	else
		reason = tp_asprintf("%s; %s", found->gone,
			image->damage ? image->damage : "there is no image of it");
	tp_row_set(&row->state, tp_state_name(parked ? TP_STATE_PARKED : TP_STATE_ERROR));
	tp_row_set(&row->reason, reason);
	tp_row_set(&row->handover, NULL);
	row->changed_ns = image->newer ? image->created_ns : tp_realtime_ns();
	if (parked)
		recovery->parked++;
	else
		recovery->failed++;
	tp_log(TP_LOG_WARNING, "session %s is %s now%s%s", row->id, row->state, reason ? ": " : "",
		reason ? reason : "");
}

static void settle_session(struct tp_recovery *recovery, struct tp_found *found)
{
	struct tp_session_row *row = &found->row;
	bool update = update_image(recovery, found);

	if (!found->core) {
		lose_guest(recovery, found);
		update = true;
	} else {
		enum torpor_session_state state = tp_session_state(found->core);
		const char *name = tp_state_name(
			state == TORPOR_SESSION_PAUSED ? TP_STATE_PAUSED : TP_STATE_RUNNING);
		recovery->adopted++;
		update = update || strcmp(row->state, name) != 0;
		tp_row_set(&row->state, name);
	}
	if (!update)
		return;
	tp_change_put_session(recovery->change, row);
	recovery->changed = true;
	audit(recovery, row);
}

/* --- committing --- */

static struct torpor_error *commit(struct tp_recovery *recovery)
{
	struct tp_service *service = recovery->service;
	struct tp_actor self = tp_actor_self(TP_DEFAULT_TENANT);
	TP_JSON json_t *detail =
		json_pack("{s:i, s:i, s:i, s:i, s:i}", "adopted", (int)recovery->adopted, "parked",
			(int)recovery->parked, "failed", (int)recovery->failed, "images_lost",
			(int)recovery->images_lost, "images_swept", (int)recovery->n_strays);
	struct tp_op op = {.actor = &self, .op = "recover", .object = "torpord", .detail = detail};

	return tp_error_in(
		tp_settle(service, &op, TP_TAKE(recovery->change), NULL), "record", "recovery");
}

/* --- taking up --- */

static struct torpor_error *count_images(struct tp_service *service)
{
	char **names;
	size_t n = tp_tenants_names(service->tenants, &names);
	struct torpor_error *err = NULL;

	for (size_t i = 0; i < n; i++) {
		struct tp_usage usage;
		if (!err)
			err = tp_records_usage(service->records, names[i], &usage);
		if (!err)
			tp_admission_images(
				service->admission, names[i], (int64_t)usage.image_bytes);
		free(names[i]);
	}
	free(names);
	return err;
}

static struct torpor_error *take_up(struct tp_recovery *recovery)
{
	struct tp_service *service = recovery->service;

	for (size_t i = 0; i < recovery->n_found; i++) {
		struct tp_found *found = &recovery->found[i];
		struct tp_tenant_limits limits;
		if (!found->core)
			continue;
		tp_tenant_limits(service, found->row.tenant, &limits);
		TP_TRY(tp_admit(service->admission, found->row.tenant, &limits, 1,
			found->row.memory_bytes, true));
		enum tp_state state = TP_STATE_RUNNING;
		(void)tp_state_parse(found->row.state, &state);
		tp_live_adopt(service, &found->row, TP_TAKE(found->core), state);
	}
	return count_images(service);
}

/* --- what nobody has --- */

static bool keep_none(void *data, const char *guest)
{
	(void)data;
	(void)guest;
	return false;
}

static struct torpor_error *end_orphans(struct tp_service *service)
{
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
	unsigned int count = 0;

	/* Guests that were taken over are owned, which spares them. */
	TP_TRY(tp_engine_end_orphans(service->engine, keep_none, NULL, &call, &count));
	if (count > 0)
		tp_log(TP_LOG_INFO, "%u guests that nobody had are ended", count);
	tp_cgroup_sweep(service->cgroup);
	return NULL;
}

static void sweep_images(struct tp_recovery *recovery)
{
	for (size_t i = 0; i < recovery->n_strays; i++) {
		TP_FREE char *path = tp_asprintf(
			"%s/images/%s", recovery->service->state_dir, recovery->strays[i]);
		if (unlink(path) < 0 && errno != ENOENT)
			tp_log(TP_LOG_WARNING, "remove %s: %m", path);
		else
			tp_log(TP_LOG_INFO, "%s, which no session has, is removed", path);
	}
}

/* Whether these records are new: then they say nothing about files that were there before. */
static struct torpor_error *count_opening(struct tp_recovery *recovery, bool *first_out)
{
	uint64_t openings;

	TP_TRY(tp_records_number(recovery->service->records, OPENINGS, &openings));
	*first_out = openings == 0;
	if (openings > 0)
		return NULL;
	tp_change_raise(recovery->change, OPENINGS, 1);
	recovery->changed = true;
	return NULL;
}

static struct torpor_error *recover(struct tp_recovery *recovery)
{
	bool first;

	TP_TRY(count_opening(recovery, &first));
	TP_TRY(tp_recover_guests(recovery));
	tp_fault(TP_FAULT_RECOVER_ADOPTED);
	TP_TRY(tp_recover_images(recovery));
	for (size_t i = 0; i < recovery->n_found; i++)
		settle_session(recovery, &recovery->found[i]);
	if (recovery->changed)
		TP_TRY(commit(recovery));
	tp_fault(TP_FAULT_RECOVER_COMMITTED);
	TP_TRY(take_up(recovery));
	TP_TRY(end_orphans(recovery->service));
	tp_fault(TP_FAULT_RECOVER_ENDED);
	if (first && recovery->n_strays > 0)
		tp_log(TP_LOG_WARNING,
			"the records are new: %zu images that they don't know are left alone",
			recovery->n_strays);
	else
		sweep_images(recovery);
	tp_fault(TP_FAULT_RECOVER_SWEPT);
	tp_log(TP_LOG_INFO, "recovered: %u guests taken over, %u sessions parked, %u in error",
		recovery->adopted, recovery->parked, recovery->failed);
	return NULL;
}

struct torpor_error *tp_recover(struct tp_service *service)
{
	struct tp_recovery recovery = {.service = service, .change = tp_change_new()};
	struct torpor_error *err = recover(&recovery);

	deinit(&recovery);
	return tp_error_in(err, "recover", service->state_dir);
}
