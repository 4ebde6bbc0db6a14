/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that are repeated.
 *
 * A key is taken first and looked up then: whoever comes while it is taken is told so, and whoever
 * comes later finds the outcome, which was committed before the key was given back.
 */
#include "service/repeats.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "service/service_priv.h"

struct under_way {
	struct under_way *next;
	char *tenant;
	char *key;
	uint8_t print[TP_HASH_LEN];
};

struct tp_repeats {
	/* By the lock. */
	pthread_mutex_t lock;
	struct under_way *first;
};

struct tp_repeats *tp_repeats_new(void)
{
	struct tp_repeats *repeats = tp_calloc(1, sizeof(*repeats));

	pthread_mutex_init(&repeats->lock, NULL);
	return repeats;
}

struct tp_repeats *tp_repeats_free(struct tp_repeats *repeats)
{
	if (!repeats)
		return NULL;
	assert(!repeats->first);
	pthread_mutex_destroy(&repeats->lock);
	free(repeats);
	return NULL;
}

/* --- under way --- */

/* By the lock: where it is in the list, or its end. */
static struct under_way **find(struct tp_repeats *repeats, const struct tp_actor *actor)
{
	struct under_way **at = &repeats->first;

	while (*at &&
		(strcmp((*at)->key, actor->key) != 0 || strcmp((*at)->tenant, actor->tenant) != 0))
		at = &(*at)->next;
	return at;
}

static struct torpor_error *mismatch(const struct tp_actor *actor)
{
	return tp_error_hint(tp_error(TORPOR_E_MISMATCH, "repeat request", NULL,
				     "its key \"%s\" was another request's", actor->key),
		"Use a new key for each request, and the same one only to repeat it.");
}

static struct torpor_error *take(struct tp_repeats *repeats, const struct tp_actor *actor)
{
	struct torpor_error *err = NULL;

	pthread_mutex_lock(&repeats->lock);
	struct under_way **at = find(repeats, actor);
	if (!*at) {
		*at = tp_calloc(1, sizeof(**at));
		(*at)->tenant = tp_strdup(actor->tenant);
		(*at)->key = tp_strdup(actor->key);
		memcpy((*at)->print, actor->print, sizeof((*at)->print));
	} else if (memcmp((*at)->print, actor->print, sizeof((*at)->print)) != 0) {
		err = mismatch(actor);
	} else {
		err = tp_error_refusal(tp_error(TORPOR_E_BUSY, "repeat request", NULL,
					       "the first one is still under way"),
			"under-way", 1);
	}
	pthread_mutex_unlock(&repeats->lock);
	return err;
}

void tp_service_repeat_end(struct tp_service *service, const struct tp_actor *actor)
{
	struct tp_repeats *repeats = service->repeats;

	if (!actor->key[0])
		return;
	pthread_mutex_lock(&repeats->lock);
	struct under_way **at = find(repeats, actor);
	struct under_way *entry = *at;
	assert(entry);
	*at = entry->next;
	pthread_mutex_unlock(&repeats->lock);
	free(entry->tenant);
	free(entry->key);
	free(entry);
}

/* --- the answer, made anew --- */

/* VIEW, or where the object is gone, what is left to say about it. */
static struct torpor_error *or_gone(struct torpor_error *err, const char *key, const char *value,
	const char *state, json_t **view_inout)
{
	if (!err)
		return NULL;
	if (torpor_error_code(err) != TORPOR_E_NOT_FOUND)
		return err;
	torpor_error_free(err);
	*view_inout = json_pack("{s:s, s:s}", key, value, "state", state);
	return NULL;
}

static struct torpor_error *session_view(
	struct tp_service *service, const struct tp_actor *actor, const char *id, json_t **view_out)
{
	return or_gone(
		tp_service_get(service, actor, id, view_out), "id", id, "destroyed", view_out);
}

static struct torpor_error *sessions_view(struct tp_service *service, const struct tp_actor *actor,
	const json_t *ids, json_t **view_out)
{
	TP_JSON json_t *list = json_array();
	size_t i;
	json_t *id;

	json_array_foreach ((json_t *)ids, i, id) {
		json_t *one = NULL;
		TP_TRY(session_view(service, actor, json_string_value(id), &one));
		json_array_append_new(list, one);
	}
	*view_out = json_pack("{s:O}", "sessions", list);
	return NULL;
}

/* What says which object the answer is about; all else of a result is given again as it was. */
static bool names_object(const char *key)
{
	static const char *const keys[] = {"session", "sessions", "template", "tenant", "view"};

	for (size_t i = 0; i < TP_ARRAY_LEN(keys); i++) {
		if (strcmp(key, keys[i]) == 0)
			return true;
	}
	return false;
}

/*
 * RESULT as operations record it: what the object was, and beside that what the answer had more
 * ("checkpoint"), which is given again as it was.
 */
static struct torpor_error *make_view(struct tp_service *service, const struct tp_actor *actor,
	const json_t *result, json_t **view_out)
{
	const char *session = json_string_value(json_object_get(result, "session"));
	const char *tmpl = json_string_value(json_object_get(result, "template"));
	const char *tenant = json_string_value(json_object_get(result, "tenant"));
	const json_t *sessions = json_object_get(result, "sessions");
	const char *key;
	json_t *value;
	json_t *view = NULL;

	if (session)
		TP_TRY(session_view(service, actor, session, &view));
	else if (sessions)
		TP_TRY(sessions_view(service, actor, sessions, &view));
	else if (tmpl)
		TP_TRY(or_gone(tp_service_template(service, actor, tmpl, &view), "name", tmpl,
			"removed", &view));
	else if (tenant)
		TP_TRY(or_gone(tp_service_tenant(service, actor, tenant, &view), "name", tenant,
			"removed", &view));
	else
		view = json_deep_copy(json_object_get(result, "view"));
	json_object_foreach ((json_t *)result, key, value) {
		if (!names_object(key))
			json_object_set(view, key, value);
	}
	*view_out = view;
	return NULL;
}

static struct torpor_error *answer(struct tp_service *service, const struct tp_actor *actor,
	const struct tp_repeat_row *row, json_t **view_out)
{
	/* Whoever made the request may read its answer, whatever else they may. */
	struct tp_actor reader = *actor;
	TP_JSON json_t *result = row->result ? json_loads(row->result, 0, NULL) : NULL;

	reader.perms |= TP_PERM_READ;
	if (memcmp(row->print, actor->print, sizeof(row->print)) != 0)
		return mismatch(actor);
	if (!row->result || json_is_null(result)) {
		*view_out = NULL;
		return NULL;
	}
	if (!json_is_object(result))
		return tp_error(TORPOR_E_CORRUPT, "repeat request", NULL,
			"its outcome is recorded as nonsense");
	return make_view(service, &reader, result, view_out);
}

/* *FOUND_OUT: it was done before, and not too long ago. */
static struct torpor_error *look_up(struct tp_service *service, const struct tp_actor *actor,
	bool *found_out, int *status_out, json_t **view_out)
{
	struct tp_repeat_row row = {0};

	struct torpor_error *err =
		tp_records_repeat(service->records, actor->tenant, actor->key, &row);
	if (err && torpor_error_code(err) == TORPOR_E_NOT_FOUND) {
		*found_out = false;
		torpor_error_free(err);
		return NULL;
	}
	if (err)
		return err;
	*found_out = tp_realtime_ns() < row.created_ns + TP_REPEAT_KEEP_NS;
	if (*found_out) {
		err = answer(service, actor, &row, view_out);
		*status_out = row.status;
	}
	tp_repeat_row_deinit(&row);
	return err;
}

struct torpor_error *tp_service_repeat_begin(struct tp_service *service,
	const struct tp_actor *actor, bool *replayed_out, int *status_out, json_t **view_out)
{
	bool found = false;
	int status = 0;
	json_t *view = NULL;

	if (!actor->key[0]) {
		*replayed_out = false;
		return NULL;
	}
	TP_TRY(take(service->repeats, actor));
	struct torpor_error *err = look_up(service, actor, &found, &status, &view);
	if (err || found)
		tp_service_repeat_end(service, actor);
	if (err)
		return err;
	*replayed_out = found;
	if (found) {
		*status_out = status;
		*view_out = view;
	}
	return NULL;
}
