/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: with a key by which torpord knows them again, and repeated once where that is safe. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/hex.h"
#include "base/mem.h"
#include "client/client_priv.h"

#define SERVER_TIMEOUT_MAX_S 600

/* --- paths --- */

char *torpor_client_escape(const char *text)
{
	static const char kept[] = "-._~";
	TP_BUF struct tp_buf buf = {0};

	for (const char *at = text; *at; at++) {
		unsigned char c = (unsigned char)*at;
		char code[4];
		if ((c < 128 && isalnum(c)) || strchr(kept, c)) {
			tp_buf_put_u8(&buf, c);
			continue;
		}
		snprintf(code, sizeof(code), "%%%02X", c);
		tp_buf_put(&buf, code, 3);
	}
	tp_buf_put_u8(&buf, '\0');
	char *escaped = (char *)buf.data;
	buf.data = NULL;
	return escaped;
}

char *tp_session_path(const char *id, const char *tail)
{
	TP_FREE char *escaped = torpor_client_escape(id);

	return tp_asprintf("/v1/sessions/%s%s", escaped, tail);
}

char *tp_path_query(char *path, const char *name, const char *value)
{
	if (!value)
		return path;
	TP_FREE char *before = path;
	TP_FREE char *escaped = torpor_client_escape(value);
	return tp_asprintf("%s%c%s=%s", before, strchr(before, '?') ? '&' : '?', name, escaped);
}

/* --- sending --- */

/* 128 random bits: two requests never have the same. */
static void make_key(char key[33])
{
	uint8_t bytes[16];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		abort();
	tp_hex(bytes, sizeof(bytes), key);
}

/* Waits SECONDS, or until CALL is over, which is the error then. */
static struct torpor_error *pause_for(unsigned int seconds, const struct tp_call *call)
{
	struct tp_call wait = tp_call_bounded(call, seconds * TP_NSEC_PER_SEC);
	struct torpor_error *err = tp_wait_fd(-1, 0, &wait, "wait for", "torpord");

	torpor_error_free(err);
	return tp_call_check(call, "wait for", "torpord");
}

/* torpord is still at the request that was sent before under the same key. */
static bool is_under_way(const struct tp_http_answer *answer)
{
	return answer->status == 409 && answer->retry_after_s > 0;
}

/* Sends REQUEST; once more if the connection is lost, and then again while torpord is still at it.
 */
static struct torpor_error *send_surely(struct torpor_client *client,
	const struct tp_http_request *request, const struct tp_call *call,
	struct tp_http_answer *answer_out)
{
	struct tp_http_fate fate;
	struct torpor_error *err = tp_http_once(client, request, call, answer_out, &fate);

	if (!err || !fate.lost)
		return err;
	torpor_error_free(err);
	for (;;) {
		struct tp_http_answer answer;
		TP_TRY(tp_http_once(client, request, call, &answer, &fate));
		if (!request->key || !is_under_way(&answer)) {
			*answer_out = answer;
			return NULL;
		}
		unsigned int seconds = answer.retry_after_s;
		tp_http_answer_deinit(&answer);
		TP_TRY(pause_for(seconds, call));
	}
}

/* The bound of a call as torpord is told it: it gives up first, and says more. */
static unsigned int server_timeout(
	const struct torpor_client *client, const struct torpor_call *call)
{
	uint64_t ns = call && call->timeout_ns ? call->timeout_ns : client->timeout_ns;

	return (unsigned int)TP_MIN(
		TP_MAX(ns / TP_NSEC_PER_SEC, UINT64_C(1)), (uint64_t)SERVER_TIMEOUT_MAX_S);
}

static struct torpor_error *exchange(struct torpor_client *client, const char *method,
	const char *path, const char *body, const struct torpor_call *public_call,
	struct tp_http_answer *answer_out)
{
	uint64_t bound = client->timeout_ns;
	struct tp_call call = tp_call_from(public_call,
		bound < TP_NO_DEADLINE - TP_CLIENT_GRACE_NS ? bound + TP_CLIENT_GRACE_NS : bound);
	bool reads = strcmp(method, "GET") == 0;
	struct tp_http_answer answer;
	char key[33];

	make_key(key);
	struct tp_http_request request = {
		.method = method,
		.path = path,
		.body = body,
		.key = reads ? NULL : key,
		.timeout_s = reads ? 0 : server_timeout(client, public_call),
	};
	TP_TRY(send_surely(client, &request, &call, &answer));
	if (answer.status < 200 || answer.status > 299) {
		struct torpor_error *err = tp_problem_error(&answer, method, path);
		tp_http_answer_deinit(&answer);
		return err;
	}
	*answer_out = answer;
	return NULL;
}

struct torpor_error *torpor_client_request(struct torpor_client *client, const char *method,
	const char *path, const char *body, const struct torpor_call *call, int *status_out,
	char **answer_out)
{
	struct tp_http_answer answer;

	TP_TRY(exchange(client, method, path, body, call, &answer));
	if (status_out)
		*status_out = answer.status;
	if (answer_out)
		*answer_out = (char *)TP_TAKE(answer.body.data);
	tp_http_answer_deinit(&answer);
	return NULL;
}

struct torpor_error *tp_client_ask(struct torpor_client *client, const char *method,
	const char *path, const json_t *body, const struct torpor_call *call, json_t **json_out)
{
	TP_FREE char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct tp_http_answer answer;
	json_t *json = NULL;

	TP_TRY(exchange(client, method, path, text, call, &answer));
	bool empty = answer.body.len == 0;
	if (!empty)
		json = json_loadb((const char *)answer.body.data, answer.body.len, 0, NULL);
	tp_http_answer_deinit(&answer);
	if (!json && (!empty || json_out))
		return tp_error(TORPOR_E_CORRUPT, method, path, "the answer isn't JSON");
	if (json_out)
		*json_out = json;
	else
		json_decref(json);
	return NULL;
}
