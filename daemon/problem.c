/* SPDX-License-Identifier: Apache-2.0 */
/* Errors as HTTP has them. */
#include "daemon/problem.h"

#include <string.h>

#include "base/mem.h"

static const struct {
	int status;
	const char *title;
} table[] = {
	[TORPOR_E_INVALID] = {400, "The request makes no sense"},
	[TORPOR_E_NOT_FOUND] = {404, "There is no such thing"},
	[TORPOR_E_EXISTS] = {409, "It exists already"},
	[TORPOR_E_BUSY] = {409, "It can't be done in the present state"},
	[TORPOR_E_TIMEOUT] = {504, "The time is over"},
	[TORPOR_E_CANCELLED] = {409, "It was cancelled"},
	[TORPOR_E_NOMEM] = {503, "There is not enough memory"},
	[TORPOR_E_NOSPACE] = {507, "There is not enough room on the disk"},
	[TORPOR_E_IO] = {500, "The system failed to read or write"},
	[TORPOR_E_CORRUPT] = {500, "Stored data is damaged"},
	[TORPOR_E_MISMATCH] = {409, "It doesn't belong together"},
	[TORPOR_E_UNSUPPORTED] = {501, "This host can't do it"},
	[TORPOR_E_DENIED] = {403, "Rights are missing"},
	[TORPOR_E_QEMU] = {502, "QEMU failed"},
	[TORPOR_E_GUEST] = {502, "The guest failed"},
	[TORPOR_E_LIMIT] = {503, "A limit was reached"},
	[TORPOR_E_INTERNAL] = {500, "A defect in Torpor"},
};

static_assert(TP_ARRAY_LEN(table) == TORPOR_E_INTERNAL + 1, "every code has a status");

/* A tenant's own limits, and a session's, are the caller's to stay below; the host's are nobody's.
 */
static bool is_of_caller(const char *reason)
{
	return reason && (strcmp(reason, "rate") == 0 || strncmp(reason, "tenant-", 7) == 0 ||
				 strncmp(reason, "session-", 8) == 0);
}

/* Not what the caller may is in doubt, but who it is. */
static bool is_of_identity(const char *reason)
{
	return reason && (strcmp(reason, "login-over") == 0 || strcmp(reason, "code-wrong") == 0 ||
				 strncmp(reason, "token-", 6) == 0);
}

int http_problem_status(const struct torpor_error *err)
{
	enum torpor_errc code = torpor_error_code(err);

	if (code == TORPOR_E_DENIED && is_of_identity(torpor_error_reason(err)))
		return 401;
	if (code == TORPOR_E_LIMIT && is_of_caller(torpor_error_reason(err)))
		return 429;
	return table[code].status;
}

/* Messages quote what callers sent, which may be no UTF-8: then what isn't ASCII is replaced. */
static json_t *any_text(const char *text)
{
	json_t *string = json_string(text);

	if (string)
		return string;
	TP_FREE char *ascii = tp_strdup(text);
	for (char *at = ascii; *at; at++) {
		if (*at & 0x80)
			*at = '?';
	}
	return json_string(ascii);
}

json_t *http_problem_json(const struct torpor_error *err, int status)
{
	enum torpor_errc code = torpor_error_code(err);
	TP_FREE char *type = tp_asprintf("urn:torpor:problem:%s", torpor_errc_name(code));
	const char *title = status == 401 ? "Who asks is unknown" : table[code].title;
	const char *reason = torpor_error_reason(err);
	const char *hint = torpor_error_hint(err);
	unsigned int retry_after = torpor_error_retry_after(err);
	json_t *problem = json_pack("{s:s, s:s, s:i, s:o}", "type", type, "title", title, "status",
		status, "detail", any_text(torpor_error_message(err)));

	if (hint)
		json_object_set_new(problem, "hint", any_text(hint));
	if (reason)
		json_object_set_new(problem, "reason", json_string(reason));
	if (retry_after)
		json_object_set_new(problem, "retry_after_s", json_integer(retry_after));
	return problem;
}

json_t *http_problem(const struct torpor_error *err, int *status_out)
{
	int status = http_problem_status(err);

	if (status_out)
		*status_out = status;
	return http_problem_json(err, status);
}
