/* SPDX-License-Identifier: Apache-2.0 */
/* What handlers share: names in paths, timers, labels, answers. */
#include "daemon/api.h"

#include <stdio.h>
#include <string.h>

#include "daemon/utf8.h"

static bool is_session_id(const char *text)
{
	return strlen(text) == TP_ID_LEN &&
	       strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz") == TP_ID_LEN;
}

/* What was asked for is shown as far as it can be. */
static struct torpor_error *not_found(const char *what, const char *name)
{
	char shown[65];

	utf8_clip(name, shown, sizeof(shown));
	return tp_error(TORPOR_E_NOT_FOUND, what, shown, "there is none");
}

struct torpor_error *api_session_id(const struct http_request *req, const char **id_out)
{
	if (!is_session_id(req->params[0]))
		return tp_error_hint(not_found("session", req->params[0]),
			"Ids are %d characters of 0-9 a-z.", TP_ID_LEN);
	*id_out = req->params[0];
	return NULL;
}

struct torpor_error *api_name(
	const struct http_request *req, unsigned int i, const char *what, const char **name_out)
{
	if (!json_in_name_ok(req->params[i]))
		return not_found(what, req->params[i]);
	*name_out = req->params[i];
	return NULL;
}

struct torpor_error *api_no_fields(const struct http_request *req, const char *step)
{
	struct json_in in = json_in_over(req->body, step);

	return json_in_end(&in);
}

struct torpor_error *api_query_text(
	const struct http_request *req, const char *name, size_t max, const char **text_out)
{
	const char *text = http_query(req, name);
	char shown[API_QUERY_MAX + 2];

	assert(max < sizeof(shown) - 1);
	if (!text) {
		*text_out = NULL;
		return NULL;
	}
	/* What a clip doesn't change is short enough, UTF-8, and has no control characters. */
	utf8_clip(text, shown, max + 1);
	if (text[0] == '\0' || strcmp(text, shown) != 0)
		return tp_error(TORPOR_E_INVALID, "read query", name,
			"must be a text of 1 to %zu bytes without control characters", max);
	*text_out = text;
	return NULL;
}

struct tp_timers api_timers(struct json_in *in)
{
	return (struct tp_timers){
		.ttl_s = json_in_number(in, "ttl_s", 0, API_SECONDS_MAX, TP_UNSET),
		.idle_s = json_in_number(in, "idle_s", 0, API_SECONDS_MAX, TP_UNSET),
		.retention_s = json_in_number(in, "retention_s", 0, API_SECONDS_MAX, TP_UNSET),
	};
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool api_label_key_ok(const char *key, size_t len)
{
	if (len < 1 || len > API_LABEL_KEY_MAX || !is_alnum(key[0]))
		return false;
	for (size_t i = 1; i < len; i++)
		if (!is_alnum(key[i]) && (!key[i] || !strchr("._/-", key[i])))
			return false;
	return true;
}

const json_t *api_labels(struct json_in *in)
{
	static const struct json_in_map bounds = {
		.entries = API_LABELS_MAX,
		.key_ok = api_label_key_ok,
		.keys = "1 to 63 of A-Z a-z 0-9 . _ / -, the first a letter or digit",
		.value_len = API_LABEL_VALUE_MAX,
		.lines = true,
	};

	return json_in_map(in, "labels", &bounds);
}

static bool is_env_name(const char *key, size_t len)
{
	if (len < 1 || (key[0] >= '0' && key[0] <= '9'))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(key[i]) && key[i] != '_')
			return false;
	return true;
}

const json_t *api_env(struct json_in *in)
{
	static const struct json_in_map bounds = {
		.entries = API_ENV_MAX,
		.key_ok = is_env_name,
		.keys = "a variable's name: A-Z a-z 0-9 _, the first no digit",
		.value_len = API_ENV_ENTRY_MAX,
		.entry_bytes = API_ENV_ENTRY_MAX,
		.total_bytes = API_ENV_TOTAL_MAX,
	};

	return json_in_map(in, "env", &bounds);
}

struct tp_call api_call_within(const struct http_request *req, unsigned int seconds)
{
	if (req->call.deadline_ns != TP_NO_DEADLINE)
		return req->call;
	return tp_call_bounded(&req->call, seconds * TP_NSEC_PER_SEC);
}

void api_stream_error(struct http_stream *stream, struct torpor_error *err)
{
	http_stream_send(stream, 0, "error", http_problem(err, NULL));
	torpor_error_free(err);
}
