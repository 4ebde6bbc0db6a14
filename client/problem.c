/* SPDX-License-Identifier: Apache-2.0 */
/* From problem+json (RFC 9457) back to errors. */
#include <ctype.h>
#include <string.h>

#include "base/mem.h"
#include "client/client_priv.h"

#define PROBLEM_MAX (64 * TP_KIB) /* of an answer that is an error, as far as it is read */
#define TYPE_PREFIX "urn:torpor:problem:"

/* The reasons of docs/API.md; errors keep a pointer to them. */
static const char *const reasons[] = {
	"rate",
	"tenant-sessions",
	"tenant-memory",
	"tenant-parked-bytes",
	"session-commands",
	"host-sessions",
	"host-memory",
	"queue-full",
	"template-degraded",
	"draining",
	"connections",
	"under-way",
};

static const char *intern_reason(const char *reason)
{
	for (size_t i = 0; reason && i < TP_ARRAY_LEN(reasons); i++) {
		if (strcmp(reasons[i], reason) == 0)
			return reasons[i];
	}
	return NULL;
}

/* For answers that don't say it themselves: proxies' ones, or a broken torpord's. */
static enum torpor_errc code_of_status(int status)
{
	switch (status) {
	case 400:
	case 405:
	case 415:
		return TORPOR_E_INVALID;
	case 401:
	case 403:
		return TORPOR_E_DENIED;
	case 404:
		return TORPOR_E_NOT_FOUND;
	case 409:
		return TORPOR_E_BUSY;
	case 413:
	case 429:
	case 431:
	case 503:
		return TORPOR_E_LIMIT;
	case 501:
		return TORPOR_E_UNSUPPORTED;
	case 504:
		return TORPOR_E_TIMEOUT;
	case 507:
		return TORPOR_E_NOSPACE;
	default:
		return status < 400 ? TORPOR_E_CORRUPT : TORPOR_E_IO;
	}
}

/* 0: not one of ours. */
static enum torpor_errc code_of_type(const char *type)
{
	size_t prefix = strlen(TYPE_PREFIX);

	if (!type || strncmp(type, TYPE_PREFIX, prefix) != 0)
		return 0;
	for (enum torpor_errc code = TORPOR_E_INVALID; code <= TORPOR_E_INTERNAL; code++) {
		if (strcmp(torpor_errc_name(code), type + prefix) == 0)
			return code;
	}
	return 0;
}

/* What came from elsewhere is shown on terminals: one line, no control characters. */
static char *one_line(const char *text)
{
	char *line = tp_strdup(text);

	for (char *at = line; at && *at; at++) {
		if (iscntrl((unsigned char)*at))
			*at = ' ';
	}
	return line;
}

/* An error whose message is DETAIL, which begins with its steps as messages do. */
static struct torpor_error *error_of_detail(enum torpor_errc code, const char *detail)
{
	TP_FREE char *step = one_line(detail);
	char *why = strstr(step, ": ");

	if (!why)
		return tp_error(code, "torpord", NULL, "%s", step);
	*why = '\0';
	return tp_error(code, step, NULL, "%s", why + 2);
}

static struct torpor_error *error_of_json(const json_t *json, enum torpor_errc fallback)
{
	enum torpor_errc code = code_of_type(json_string_value(json_object_get(json, "type")));
	const char *detail = json_string_value(json_object_get(json, "detail"));
	const char *hint = json_string_value(json_object_get(json, "hint"));
	const char *reason = intern_reason(json_string_value(json_object_get(json, "reason")));
	json_int_t after = json_integer_value(json_object_get(json, "retry_after_s"));

	if (!detail)
		detail = json_string_value(json_object_get(json, "title"));
	if (!detail)
		return NULL;
	struct torpor_error *err = error_of_detail(code ? code : fallback, detail);
	TP_FREE char *hint_line = one_line(hint);
	if (hint_line)
		err = tp_error_hint(err, "%s", hint_line);
	if (reason || after > 0)
		err = tp_error_refusal(err, reason, (unsigned int)TP_MIN(TP_MAX(after, 0), 86400));
	return err;
}

struct torpor_error *tp_problem_parse(const char *text, size_t len)
{
	TP_JSON json_t *json = len <= PROBLEM_MAX ? json_loadb(text, len, 0, NULL) : NULL;

	return error_of_json(json, TORPOR_E_IO);
}

struct torpor_error *tp_problem_error(
	const struct tp_http_answer *answer, const char *method, const char *path)
{
	struct torpor_error *err = NULL;
	enum torpor_errc code = code_of_status(answer->status);

	if (answer->is_problem && answer->body.len <= PROBLEM_MAX) {
		TP_JSON json_t *json =
			json_loadb((const char *)answer->body.data, answer->body.len, 0, NULL);
		err = error_of_json(json, code);
	}
	if (!err) {
		err = tp_error(code, method, path, "answered with status %d and no explanation",
			answer->status);
		err = tp_error_hint(err, "Whether that is a torpord should be looked at.");
	}
	if (answer->retry_after_s && !torpor_error_retry_after(err))
		err = tp_error_refusal(err, torpor_error_reason(err), answer->retry_after_s);
	return err;
}
