/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions as torpord tells them, and pairs as it takes them. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "client/client_priv.h"

static struct torpor_error *wrong(const char *field)
{
	return tp_error(
		TORPOR_E_CORRUPT, "read", "session", "torpord's answer has no sound \"%s\"", field);
}

/* Copies the string FIELD; one that may be missing or null leaves "". */
static struct torpor_error *take_text(
	const json_t *json, const char *field, bool needed, char *to, size_t room)
{
	const json_t *value = json_object_get(json, field);
	size_t len = json_string_length(value);

	to[0] = '\0';
	if (!json_is_string(value))
		return needed ? wrong(field) : NULL;
	if (len >= room || (needed && len == 0))
		return wrong(field);
	memcpy(to, json_string_value(value), len + 1);
	return NULL;
}

static uint64_t take_number(const json_t *json, const char *field)
{
	json_int_t value = json_integer_value(json_object_get(json, field));

	return value > 0 ? (uint64_t)value : 0;
}

static uint64_t take_ms(const json_t *json, const char *field)
{
	double ms = json_number_value(json_object_get(json, field));

	return ms > 0 && ms < 1e12 ? (uint64_t)(ms * 1e6 + 0.5) : 0;
}

static void take_timing(const json_t *json, struct torpor_remote_timing *timing)
{
	*timing = (struct torpor_remote_timing){
		.loaded_ns = take_ms(json, "loaded_ms"),
		.running_ns = take_ms(json, "running_ms"),
		.ready_ns = take_ms(json, "ready_ms"),
		.captured_ns = take_ms(json, "captured_ms"),
		.pause_ns = take_ms(json, "pause_ms"),
		.durable_ns = take_ms(json, "durable_ms"),
		.gone_ns = take_ms(json, "gone_ms"),
		.total_ns = take_ms(json, "total_ms"),
	};
}

struct torpor_error *tp_session_parse(const json_t *json, struct torpor_remote_session *session_out)
{
	struct torpor_remote_session s = {0};
	const json_t *guest = json_object_get(json, "guest");
	const json_t *checkpoint = json_object_get(json, "checkpoint");

	TP_TRY(take_text(json, "id", true, s.id, sizeof(s.id)));
	TP_TRY(take_text(json, "name", false, s.name, sizeof(s.name)));
	TP_TRY(take_text(json, "tenant", false, s.tenant, sizeof(s.tenant)));
	TP_TRY(take_text(json, "template", false, s.template_name, sizeof(s.template_name)));
	TP_TRY(take_text(json, "state", true, s.state, sizeof(s.state)));
	TP_TRY(take_text(json, "source", false, s.source, sizeof(s.source)));
	TP_TRY(take_text(json, "created", false, s.created, sizeof(s.created)));
	TP_TRY(take_text(checkpoint, "name", false, s.checkpoint, sizeof(s.checkpoint)));
	s.checkpoint_bytes = take_number(checkpoint, "bytes");
	s.memory_bytes = take_number(guest, "memory_bytes");
	s.private_bytes = take_number(guest, "private_bytes");
	s.image_bytes = take_number(json_object_get(json, "image"), "bytes");
	take_timing(json_object_get(json, "timing"), &s.timing);
	s.json = json_dumps(json, JSON_COMPACT);
	*session_out = s;
	return NULL;
}

void torpor_remote_session_deinit(struct torpor_remote_session *session)
{
	free(session->json);
	session->json = NULL;
}

struct torpor_remote_session *torpor_remote_sessions_free(
	struct torpor_remote_session *sessions, size_t n)
{
	for (size_t i = 0; i < n; i++)
		torpor_remote_session_deinit(&sessions[i]);
	free(sessions);
	return NULL;
}

struct torpor_error *tp_pairs_json(const char *const *pairs, const char *what, json_t **json_out)
{
	TP_JSON json_t *json = json_object();

	for (; pairs && *pairs; pairs++) {
		const char *equals = strchr(*pairs, '=');
		if (!equals || equals == *pairs)
			return tp_error(
				TORPOR_E_INVALID, "use", what, "\"%s\" isn't NAME=value", *pairs);
		TP_FREE char *name = tp_strndup(*pairs, (size_t)(equals - *pairs));
		if (json_object_set_new(json, name, json_string(equals + 1)) != 0)
			return tp_error(TORPOR_E_INVALID, "use", what, "\"%s\" isn't UTF-8", name);
	}
	*json_out = TP_TAKE(json);
	return NULL;
}
