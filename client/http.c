/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request over libcurl.
 *
 * Each link is a curl multi handle with one easy handle in it, driven by the calling thread:
 * curl_multi_poll waits for the connection and the call's cancellation at once, which the easy
 * interface can't. The multi handle keeps the connection for the next call.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "client/client_priv.h"

#define IDLE_MAX 8 /* links that are kept */

void tp_http_answer_deinit(struct tp_http_answer *answer)
{
	tp_buf_deinit(&answer->body);
}

/* --- links --- */

struct tp_link *tp_link_free(struct tp_link *link)
{
	if (link) {
		curl_easy_cleanup(link->easy);
		curl_multi_cleanup(link->multi);
		free(link);
	}
	return NULL;
}

static struct torpor_error *link_get(struct torpor_client *client, struct tp_link **link_out)
{
	pthread_mutex_lock(&client->lock);
	struct tp_link *link = client->idle;
	if (link) {
		client->idle = link->next;
		client->n_idle--;
	}
	pthread_mutex_unlock(&client->lock);
	if (!link) {
		link = tp_calloc(1, sizeof(*link));
		link->multi = curl_multi_init();
		link->easy = curl_easy_init();
	}
	if (!link->multi || !link->easy) {
		tp_link_free(link);
		return tp_error(TORPOR_E_NOMEM, "set up", "libcurl", "it gives no handle");
	}
	link->next = NULL;
	*link_out = link;
	return NULL;
}

static void link_put(struct torpor_client *client, struct tp_link *link)
{
	pthread_mutex_lock(&client->lock);
	bool keep = client->n_idle < IDLE_MAX;
	if (keep) {
		link->next = client->idle;
		client->idle = link;
		client->n_idle++;
	}
	pthread_mutex_unlock(&client->lock);
	if (!keep)
		tp_link_free(link);
}

/* --- a transfer --- */

/* Whether METHOD and PATH can stand in a request line. */
static bool is_request_line(const char *method, const char *path)
{
	for (const char *at = method; *at; at++) {
		if (*at < 'A' || *at > 'Z')
			return false;
	}
	for (const char *at = path; *at; at++) {
		if (*at <= ' ' || *at > '~' || *at == '#')
			return false;
	}
	return method[0] && path[0] == '/';
}

static struct torpor_error *check(const struct tp_http_request *request)
{
	if (!is_request_line(request->method, request->path))
		return tp_error(TORPOR_E_INVALID, "send", request->method,
			"it isn't a method in capitals with a path that begins with /");
	if (request->body && strlen(request->body) > TP_BODY_MAX)
		return tp_error(TORPOR_E_LIMIT, request->method, request->path,
			"the request has more than %ju bytes, which torpord doesn't take",
			(uintmax_t)TP_BODY_MAX);
	return NULL;
}

struct transfer {
	struct torpor_client *client;
	const struct tp_http_request *request;
	CURL *easy;
	struct curl_slist *headers;
	struct tp_http_answer answer;
	struct torpor_error *failure; /* of a callback */
	bool ended;		      /* the stream's function said that it is enough */
	uint64_t heard_ns;	      /* when bytes came last */
	char curl_says[CURL_ERROR_SIZE];
};

static void transfer_deinit(struct transfer *t)
{
	curl_slist_free_all(t->headers);
	tp_http_answer_deinit(&t->answer);
	torpor_error_free(t->failure);
}

static void add_header(struct transfer *t, const char *line)
{
	struct curl_slist *list = line ? curl_slist_append(t->headers, line) : NULL;

	if (list)
		t->headers = list;
}

static void add_headers(struct transfer *t)
{
	const struct tp_http_request *request = t->request;

	add_header(t, request->stream ? "Accept: text/event-stream" : "Accept: application/json");
	/* curl would call an empty body a form, and wait for leave to send a large one. */
	add_header(t, request->body ? "Content-Type: application/json" : "Content-Type:");
	add_header(t, "Expect:");
	add_header(t, t->client->auth_header);
	add_header(t, t->client->tenant_header);
	if (request->key) {
		TP_FREE char *line = tp_asprintf("Idempotency-Key: %s", request->key);
		add_header(t, line);
	}
	if (request->timeout_s) {
		TP_FREE char *line = tp_asprintf("Torpor-Timeout: %u", request->timeout_s);
		add_header(t, line);
	}
	if (request->last_event_id) {
		TP_FREE char *line =
			tp_asprintf("Last-Event-ID: %ju", (uintmax_t)request->last_event_id);
		add_header(t, line);
	}
}

static long status_of(struct transfer *t)
{
	long status = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

static bool type_is(struct transfer *t, const char *type)
{
	const char *found = NULL;
	size_t len = strlen(type);

	curl_easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &found);
	return found && strncasecmp(found, type, len) == 0 &&
	       (!found[len] || strchr("; \t", found[len]));
}

static bool is_good(long status)
{
	return status >= 200 && status < 300;
}

static struct torpor_error *take_stream(struct transfer *t, const char *bytes, size_t len)
{
	if (!type_is(t, "text/event-stream"))
		return tp_error(TORPOR_E_CORRUPT, t->request->method, t->request->path,
			"the answer is no stream of events");
	return t->request->stream(t->request->stream_data, bytes, len, &t->ended);
}

static size_t on_body(char *bytes, size_t one, size_t len, void *data)
{
	struct transfer *t = data;

	t->heard_ns = tp_now_ns();
	if (t->request->stream && is_good(status_of(t)))
		t->failure = take_stream(t, bytes, one * len);
	else if (t->answer.body.len + len > TP_ANSWER_MAX)
		t->failure = tp_error(TORPOR_E_CORRUPT, t->request->method, t->request->path,
			"the answer is longer than %ju bytes", (uintmax_t)TP_ANSWER_MAX);
	else
		tp_buf_put(&t->answer.body, bytes, len);
	return t->failure || t->ended ? 0 : len;
}

static void set_target(struct transfer *t)
{
	const struct torpor_client *client = t->client;
	TP_FREE char *url = tp_asprintf("%s%s", client->base, t->request->path);

	curl_easy_setopt(t->easy, CURLOPT_URL, url);
	curl_easy_setopt(t->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(t->easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	if (client->is_socket) {
		curl_easy_setopt(t->easy, CURLOPT_UNIX_SOCKET_PATH, client->where);
		curl_easy_setopt(t->easy, CURLOPT_NOPROXY, "*");
	}
	if (client->ca_file)
		curl_easy_setopt(t->easy, CURLOPT_CAINFO, client->ca_file);
}

static void set_options(struct transfer *t)
{
	const struct tp_http_request *request = t->request;
	CURL *easy = t->easy;

	curl_easy_reset(easy);
	set_target(t);
	if (strcmp(request->method, "POST") == 0 || request->body) {
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE,
			(long)(request->body ? strlen(request->body) : 0));
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body ? request->body : "");
	}
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
	add_headers(t);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "torpor-client");
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->curl_says);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	if (request->stream) {
		/* On a kept connection that died curl would send it again by itself. */
		curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
		curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
		curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	}
}

static int ms_left(uint64_t until_ns)
{
	uint64_t now = tp_now_ns();

	if (until_ns <= now)
		return 0;
	return (int)TP_MIN(TP_DIV_UP(until_ns - now, TP_NSEC_PER_MSEC), UINT64_C(60000));
}

/* When the peer has been silent for too long. */
static uint64_t silent_at(const struct transfer *t)
{
	return t->request->silence_ns ? t->heard_ns + t->request->silence_ns : TP_NO_DEADLINE;
}

/* Until the transfer is over one way or the other; *RESULT_OUT is curl's word for it. */
static struct torpor_error *drive(
	struct transfer *t, struct tp_link *link, const struct tp_call *call, CURLcode *result_out)
{
	struct curl_waitfd cancel = {.fd = call->cancel_fd, .events = CURL_WAIT_POLLIN};
	int running = 1;
	int queued;

	for (;;) {
		CURLMcode bad = curl_multi_perform(link->multi, &running);
		if (!bad && running) {
			TP_TRY(tp_call_check(call, t->request->method, t->request->path));
			if (tp_now_ns() >= silent_at(t)) {
				*result_out = CURLE_OPERATION_TIMEDOUT;
				return NULL;
			}
			uint64_t until = TP_MIN(call->deadline_ns, silent_at(t));
			bad = curl_multi_poll(
				link->multi, &cancel, call->cancel_fd >= 0, ms_left(until), NULL);
		}
		if (bad)
			return tp_error(TORPOR_E_INTERNAL, t->request->method, t->request->path,
				"libcurl: %s", curl_multi_strerror(bad));
		if (!running)
			break;
	}
	CURLMsg *message = curl_multi_info_read(link->multi, &queued);
	*result_out = message ? message->data.result : CURLE_RECV_ERROR;
	return NULL;
}

/* --- what became of it --- */

static struct torpor_error *connect_error(struct transfer *t)
{
	const struct torpor_client *client = t->client;
	long errnum = 0;

	curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &errnum);
	if (errnum == EACCES || errnum == EPERM)
		return tp_error_hint(tp_error_errno((int)errnum, "connect to", client->where),
			"Who may call torpord is said by its socket's group; see torpord.conf.");
	struct torpor_error *err =
		errnum ? tp_error_recode(tp_error_errno((int)errnum, "connect to", client->where),
				 TORPOR_E_IO)
		       : tp_error(TORPOR_E_IO, "connect to", client->where, "%s", t->curl_says);
	return tp_error_hint(
		err, client->is_socket
			     ? "torpord isn't running there. Start it with `systemctl start "
			       "torpord`, or say "
			       "where it listens with --socket, --url, TORPOR_SOCKET or TORPOR_URL."
			     : "torpord doesn't listen there, or the way to it is blocked.");
}

static struct torpor_error *tls_error(struct transfer *t)
{
	return tp_error_hint(
		tp_error(TORPOR_E_DENIED, "connect to", t->client->where, "%s", t->curl_says),
		"Its certificate must be valid for that name. Where it is signed by an authority "
		"of "
		"your own, name that with --ca-file or TORPOR_CA_FILE.");
}

static struct torpor_error *result_error(
	struct transfer *t, CURLcode result, struct tp_http_fate *fate)
{
	const char *method = t->request->method;
	const char *path = t->request->path;

	switch (result) {
	case CURLE_OK:
		return NULL;
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return connect_error(t);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CONNECT_ERROR:
		return tls_error(t);
	case CURLE_URL_MALFORMAT:
		return tp_error(TORPOR_E_INVALID, method, path, "%s is no URL of a torpord",
			t->client->where);
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_PARTIAL_FILE:
	case CURLE_OPERATION_TIMEDOUT:
		fate->lost = true;
		return tp_error(TORPOR_E_IO, method, path,
			result == CURLE_OPERATION_TIMEDOUT ? "torpord fell silent"
							   : "torpord closed the connection");
	default:
		return tp_error(TORPOR_E_CORRUPT, method, path, "%s",
			t->curl_says[0] ? t->curl_says : curl_easy_strerror(result));
	}
}

static void finish_answer(struct transfer *t)
{
	curl_off_t retry_after = 0;

	t->answer.status = (int)status_of(t);
	t->answer.is_problem = type_is(t, "application/problem+json");
	curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &retry_after);
	t->answer.retry_after_s = (unsigned int)TP_MIN(TP_MAX(retry_after, 0), 86400);
	tp_buf_put_u8(&t->answer.body, '\0');
	t->answer.body.len--;
}

static struct torpor_error *run(struct transfer *t, struct tp_link *link,
	const struct tp_call *call, struct tp_http_fate *fate)
{
	CURLcode result = CURLE_OK;

	set_options(t);
	if (curl_multi_add_handle(link->multi, t->easy) != CURLM_OK)
		return tp_error(TORPOR_E_INTERNAL, t->request->method, t->request->path,
			"libcurl doesn't take the request");
	struct torpor_error *err = drive(t, link, call, &result);
	if (!err && t->failure)
		err = TP_TAKE(t->failure);
	else if (!err && !t->ended)
		err = result_error(t, result, fate);
	fate->began = is_good(status_of(t));
	fate->heard_ns = t->heard_ns;
	if (!err)
		finish_answer(t);
	curl_multi_remove_handle(link->multi, t->easy);
	return err;
}

struct torpor_error *tp_http_once(struct torpor_client *client,
	const struct tp_http_request *request, const struct tp_call *call,
	struct tp_http_answer *answer_out, struct tp_http_fate *fate_out)
{
	struct transfer t = {.client = client, .request = request, .heard_ns = tp_now_ns()};
	struct tp_link *link;

	*fate_out = (struct tp_http_fate){0};
	TP_TRY(check(request));
	TP_TRY(tp_call_check(call, request->method, request->path));
	TP_TRY(link_get(client, &link));
	t.easy = link->easy;
	struct torpor_error *err = run(&t, link, call, fate_out);
	if (!err) {
		*answer_out = t.answer;
		t.answer = (struct tp_http_answer){0};
	}
	/* Nothing of this call may be reachable from the handle any more, the token least of all.
	 */
	curl_easy_reset(link->easy);
	link_put(client, link);
	transfer_deinit(&t);
	return err;
}
