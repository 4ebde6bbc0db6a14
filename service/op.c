/* SPDX-License-Identifier: Apache-2.0 */
/* What operations on a session have in common. */
#include "service/op.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/id.h"
#include "base/mem.h"

#define MADE_UP_LEN 6 /* characters at the end of a name that is made up */

json_t *tp_op_result(const char *id)
{
	json_t *result = json_object();

	json_object_set_new(result, "session", json_string(id));
	return result;
}

struct tp_op tp_op_on(const struct tp_actor *actor, const char *name, const char *id, int status,
	const json_t *result)
{
	return (struct tp_op){
		.actor = actor,
		.op = name,
		.object = tp_id_ok(id) ? id : NULL,
		.status = status,
		.result = result,
	};
}

struct torpor_error *tp_op_get(struct tp_service *service, const struct tp_actor *actor,
	enum tp_perm perm, const char *id, struct tp_live **live_out)
{
	struct tp_live *live;

	TP_TRY(tp_actor_may(actor, perm, id));
	TP_TRY(tp_live_get(service, actor, id, &live));
	if (!actor->self)
		tp_live_touch(service, live);
	*live_out = live;
	return NULL;
}

struct torpor_error *tp_op_done_already(
	struct tp_service *service, const struct tp_op *op, struct tp_live *live, json_t **view_out)
{
	TP_TRY(tp_settle(service, op, NULL, NULL));
	*view_out = tp_live_view(service, live, false);
	return NULL;
}

char *tp_image_file(struct tp_service *service, const char *name)
{
	return tp_asprintf("%s/images/%s", torpor_engine_state_dir(service->engine), name);
}

void tp_image_unlink(struct tp_service *service, const char *name)
{
	TP_FREE char *path = tp_image_file(service, name);

	if (unlink(path) < 0 && errno != ENOENT)
		tp_error_log(tp_error_errno(errno, "remove image", path));
}

void tp_op_end_guest(struct tp_service *service, struct tp_live *live)
{
	struct tp_call call = tp_call_within(RESUME_TIMEOUT_NS);

	if (!live->core)
		return;
	struct torpor_error *err = tp_session_quit(live->core, &call);
	/* Closing the handle of a guest that couldn't be ended would let it run on. */
	if (err && live->row.handover)
		err = tp_error_first(
			err, torpor_handover_end(service->engine, live->row.handover, NULL));
	tp_error_log(err);
	tp_live_detach(service, live);
}

void tp_op_give_place(struct tp_service *service, const struct tp_live *live)
{
	tp_cgroup_remove(service->cgroup, live->id);
	tp_admit_undo(service->admission, live->tenant, 1, live->row.memory_bytes);
}

struct torpor_error *tp_op_check_accepting(struct tp_service *service)
{
	pthread_mutex_lock(&service->lock);
	bool draining = service->draining;
	pthread_mutex_unlock(&service->lock);
	if (!draining)
		return NULL;
	return tp_error_refusal(
		tp_error(TORPOR_E_LIMIT, "create session", NULL, "torpord is about to end"),
		"draining", 5);
}

char *tp_op_make_name(const char *from)
{
	char text[MADE_UP_LEN + 1];

	tp_random_id(text, MADE_UP_LEN);
	return tp_asprintf("%.*s-%s", 64 - 1 - MADE_UP_LEN, from, text);
}

char *tp_op_hostname(const char *name)
{
	char *hostname = tp_strdup(name);

	/* Names may have underscores, names of hosts may not (RFC 1123). */
	for (char *at = strchr(hostname, '_'); at; at = strchr(at, '_'))
		*at = '-';
	return hostname;
}

void tp_info_add(json_t *info, const char *key, uint64_t by)
{
	json_int_t before = json_integer_value(json_object_get(info, key));

	json_object_set_new(info, key, json_integer(before + (json_int_t)by));
}

void tp_info_last(json_t *info, const char *key, json_t *timing)
{
	json_t *last = json_object_get(info, "last");

	if (!last) {
		last = json_object();
		json_object_set_new(info, "last", last);
	}
	json_object_set_new(last, key, timing);
}
