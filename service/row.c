/* SPDX-License-Identifier: Apache-2.0 */
/* Rows: copies, and the JSON in a session's. */
#include <string.h>

#include "base/mem.h"
#include "service/service_priv.h"

void tp_session_row_copy(const struct tp_session_row *from, struct tp_session_row *row_out)
{
	struct tp_session_row row = *from;

	row.id = tp_strdup(from->id);
	row.tenant = tp_strdup(from->tenant);
	row.name = tp_strdup(from->name);
	row.template_name = tp_strdup(from->template_name);
	row.template_id = tp_strdup(from->template_id);
	row.state = tp_strdup(from->state);
	row.reason = tp_strdup(from->reason);
	row.handover = tp_strdup(from->handover);
	row.labels = tp_strdup(from->labels);
	row.env = tp_strdup(from->env);
	row.limits = tp_strdup(from->limits);
	row.info = tp_strdup(from->info);
	row.forked_from = tp_strdup(from->forked_from);
	row.park_uuid = tp_strdup(from->park_uuid);
	*row_out = row;
}

void tp_image_row_copy(const struct tp_image_row *from, struct tp_image_row *row_out)
{
	struct tp_image_row row = *from;

	row.name = tp_strdup(from->name);
	row.session = tp_strdup(from->session);
	row.tenant = tp_strdup(from->tenant);
	row.kind = tp_strdup(from->kind);
	row.label = tp_strdup(from->label);
	row.parent = tp_strdup(from->parent);
	row.template_id = tp_strdup(from->template_id);
	*row_out = row;
}

void tp_row_set(char **field, const char *text)
{
	char *old = *field;

	*field = tp_strdup(text);
	free(old);
}

json_t *tp_row_json(const char *text)
{
	json_t *object = text ? json_loads(text, 0, NULL) : NULL;

	if (json_is_object(object))
		return object;
	json_decref(object);
	return json_object();
}

void tp_row_set_json(char **field, json_t *object)
{
	char *old = *field;

	*field = json_dumps(object, JSON_COMPACT);
	assert(*field);
	free(old);
	json_decref(object);
}
