/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Families of sessions: who was forked from whom, with the images in between.
 *
 * The records know of each session what it was forked from. So the way up is followed one by one,
 * and the way down is found in one pass over the tenant's sessions, which costs what a list by
 * label does.
 */
#include <string.h>

#include "base/mem.h"
#include "service/images.h"
#include "service/op.h"

#define NODES_MAX 500
#define DEPTH_MAX 100
#define FORKS_MAX 20000 /* that are looked at */

struct family {
	struct tp_service *service;
	struct tp_session_row *forks; /* the tenant's */
	size_t n_forks;
	json_t *nodes;
	bool truncated;
};

/* --- the forks of a tenant --- */

static struct torpor_error *take_fork(void *data, const struct tp_session_row *row)
{
	struct family *family = data;

	if (!row->forked_from)
		return NULL;
	if (family->n_forks == FORKS_MAX) {
		family->truncated = true;
		return NULL;
	}
	family->forks = tp_reallocarray(family->forks, family->n_forks + 1, sizeof(*family->forks));
	tp_session_row_copy(row, &family->forks[family->n_forks++]);
	return NULL;
}

static void family_deinit(struct family *family)
{
	for (size_t i = 0; i < family->n_forks; i++)
		tp_session_row_deinit(&family->forks[i]);
	free(family->forks);
	json_decref(family->nodes);
}

/* --- nodes --- */

/* False: there are too many. */
static bool add_node(struct family *family, json_t *node)
{
	if (json_array_size(family->nodes) >= NODES_MAX) {
		family->truncated = true;
		json_decref(node);
		return false;
	}
	json_array_append_new(family->nodes, node);
	return true;
}

/* A number in INFO, two members deep; null if it isn't there. */
static json_t *info_number(const json_t *info, const char *first, const char *second)
{
	json_t *value = json_object_get(json_object_get(info, first), second);

	return json_is_number(value) ? json_incref(value) : json_null();
}

static void add_image(struct family *family, const struct tp_image_row *row, const json_t *info)
{
	bool park = !row->label;
	const char *name = park ? TP_PARK_LABEL : row->label;
	json_t *last = json_object_get(json_object_get(info, "last"), "park");
	json_t *took = park ? json_incref(json_object_get(last, "total_ms"))
			    : info_number(info, "checkpoints", name);

	add_node(family, json_pack("{s:o, s:s, s:s, s:s, s:s, s:n, s:o, s:I, s:o}", "id",
				 json_sprintf("%s/%s", row->session, name), "kind", row->kind,
				 "parent", row->session, "session", row->session, "name", name,
				 "state", "created", tp_time_json(row->created_ns), "bytes",
				 (json_int_t)row->bytes, "took_ms", took ? took : json_null()));
}

static json_t *state_of(struct tp_service *service, const struct tp_session_row *row)
{
	struct tp_live *live = tp_live_peek(service, row->id);

	if (!live)
		return json_string(row->state);
	pthread_mutex_lock(&service->lock);
	enum tp_state state = live->state;
	pthread_mutex_unlock(&service->lock);
	tp_live_put(service, live);
	return json_string(tp_state_name(state));
}

static bool add_session(struct family *family, const struct tp_session_row *row, const char *parent)
{
	TP_JSON json_t *info = tp_row_json(row->info);
	json_t *took = json_object_get(info, "started_ms");

	return add_node(family,
		json_pack("{s:s, s:s, s:s?, s:s, s:s?, s:o, s:o, s:n, s:o}", "id", row->id, "kind",
			"session", "parent", parent, "session", row->id, "name", row->name, "state",
			state_of(family->service, row), "created", tp_time_json(row->created_ns),
			"bytes", "took_ms", took ? json_incref(took) : json_null()));
}

/* --- the way down --- */

/* What FORK hangs on: the checkpoint that it came from, if that is still there, else its source. */
static char *parent_of(const struct tp_session_row *fork, const struct tp_images *images)
{
	TP_JSON json_t *info = tp_row_json(fork->info);
	const char *label = json_string_value(json_object_get(info, "fork_image"));

	if (label && tp_images_checkpoint(images, label))
		return tp_asprintf("%s/%s", fork->forked_from, label);
	return tp_strdup(fork->forked_from);
}

/* ROW, its images, and what was forked from it; parents before children. */
static struct torpor_error *descend(struct family *family, const struct tp_session_row *row,
	const char *parent, unsigned int depth)
{
	TP_IMAGES struct tp_images images = {0};
	TP_JSON json_t *info = tp_row_json(row->info);

	if (depth > DEPTH_MAX) {
		family->truncated = true;
		return NULL;
	}
	if (!add_session(family, row, parent))
		return NULL;
	TP_TRY(tp_images_read(family->service, row->id, &images));
	for (size_t i = 0; i < images.count; i++)
		add_image(family, &images.rows[i], info);
	for (size_t i = 0; i < family->n_forks; i++) {
		const struct tp_session_row *fork = &family->forks[i];
		if (strcmp(fork->forked_from, row->id) != 0)
			continue;
		TP_FREE char *hangs_on = parent_of(fork, &images);
		TP_TRY(descend(family, fork, hangs_on, depth + 1));
	}
	return NULL;
}

/* The forks of a session that is gone. */
static struct torpor_error *descend_from_gone(struct family *family, const char *gone)
{
	add_node(family, json_pack("{s:s, s:s, s:n, s:s, s:n, s:n, s:n, s:n, s:n}", "id", gone,
				 "kind", "gone", "parent", "session", gone, "name", "state",
				 "created", "bytes", "took_ms"));
	for (size_t i = 0; i < family->n_forks; i++) {
		if (strcmp(family->forks[i].forked_from, gone) == 0)
			TP_TRY(descend(family, &family->forks[i], gone, 1));
	}
	return NULL;
}

/* --- the way up --- */

/* ROW becomes its oldest ancestor that is there; *GONE_OUT is what that was forked from, if it
 * isn't (the caller's to free), else NULL. */
static struct torpor_error *climb(
	struct family *family, struct tp_session_row *row, char **gone_out)
{
	*gone_out = NULL;
	for (unsigned int depth = 0; row->forked_from && depth < DEPTH_MAX; depth++) {
		struct tp_session_row above = {0};
		struct torpor_error *err = tp_records_session(
			family->service->records, row->tenant, row->forked_from, &above);
		if (err && torpor_error_code(err) == TORPOR_E_NOT_FOUND) {
			torpor_error_free(err);
			*gone_out = tp_strdup(row->forked_from);
			return NULL;
		}
		if (err)
			return err;
		tp_session_row_deinit(row);
		*row = above;
	}
	return NULL;
}

static struct torpor_error *find_family(
	struct family *family, struct tp_session_row *row, json_t **view_out)
{
	TP_FREE char *tenant = tp_strdup(row->tenant);
	struct tp_session_filter theirs = {.tenant = tenant};
	TP_FREE char *gone = NULL;
	TP_FREE char *id = tp_strdup(row->id);

	TP_TRY(tp_records_sessions(family->service->records, &theirs, take_fork, family));
	TP_TRY(climb(family, row, &gone));
	if (gone)
		TP_TRY(descend_from_gone(family, gone));
	else
		TP_TRY(descend(family, row, NULL, 0));
	*view_out = json_pack("{s:s, s:b, s:O}", "session", id, "truncated", family->truncated,
		"nodes", family->nodes);
	return NULL;
}

struct torpor_error *tp_service_lineage(
	struct tp_service *service, const struct tp_actor *actor, const char *id, json_t **view_out)
{
	struct family family = {.service = service, .nodes = json_array()};
	TP_ROW struct tp_session_row row = {0};
	struct tp_live *live;

	struct torpor_error *err = tp_actor_may(actor, TP_PERM_READ, id);
	/* A family is more than one session. */
	if (!err && actor->session[0])
		err = tp_error(TORPOR_E_DENIED, "authorize", NULL,
			"the token is for session %s alone", actor->session);
	if (!err)
		err = tp_live_get(service, actor, id, &live);
	if (!err) {
		tp_live_copy_row(service, live, &row);
		tp_live_put(service, live);
		err = find_family(&family, &row, view_out);
	}
	family_deinit(&family);
	return err;
}
