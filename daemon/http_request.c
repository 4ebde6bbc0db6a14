/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exchanges: a request and its reply.
 *
 *   http_on_uri        the request line is there: an exchange begins
 *   http_on_request    first call: header. Whatever can be refused by it, is: who asks, what, how
 *                      large; the body is then only thrown away, and the answer comes behind it
 * (one that came before would end the connection, and be lost with it) further calls: body last
 * call: the handler, and the answer http_on_completed  the answer is sent, or the connection has
 * ended
 */
#include "daemon/http_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/fd.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/probe.h"
#include "daemon/config_value.h"

#define TIMEOUT_DEFAULT_S 60
#define TIMEOUT_MAX_S	  600
#define KEY_MAX		  128
#define DISCARD_MAX	  (64 * TP_MIB) /* of a body that is refused anyway */

/* --- what handlers ask for --- */

static struct http_exchange *exchange_of(const struct http_request *req)
{
	return (struct http_exchange *)req;
}

const char *http_query(const struct http_request *req, const char *name)
{
	const struct http_query *query = &exchange_of(req)->query;

	for (size_t i = 0; i < query->n; i++) {
		if (strcmp(query->pairs[i].name, name) == 0)
			return query->pairs[i].value;
	}
	return NULL;
}

const char *http_header(const struct http_request *req, const char *name)
{
	return MHD_lookup_connection_value(exchange_of(req)->mhd, MHD_HEADER_KIND, name);
}

struct torpor_error *http_query_number(const struct http_request *req, const char *name,
	uint64_t min, uint64_t max, uint64_t default_value, uint64_t *value_out)
{
	const char *text = http_query(req, name);
	uint64_t value = default_value;

	if (text && (!tp_value_number(text, &value) || value < min || value > max))
		return tp_error(TORPOR_E_INVALID, "read the query", name,
			"it is no whole number from %" PRIu64 " to %" PRIu64, min, max);
	*value_out = value;
	return NULL;
}

struct torpor_error *http_gone_fd(struct http_request *req, int *fd_out)
{
	struct http_exchange *ex = exchange_of(req);

	if (ex->gone_fd < 0)
		TP_TRY(http_watch_gone(ex->conn->fd, ex->http->cancel_fd, &ex->gone_fd));
	*fd_out = ex->gone_fd;
	return NULL;
}

/* --- beginning and end --- */

static struct http_conn *conn_of(struct MHD_Connection *mhd)
{
	return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static struct http_exchange *exchange_new(
	struct http *http, const char *uri, struct MHD_Connection *mhd)
{
	struct http_exchange *ex = tp_calloc(1, sizeof(*ex));

	ex->http = http;
	ex->mhd = mhd;
	ex->conn = conn_of(mhd);
	ex->gone_fd = -1;
	ex->started_ns = tp_now_ns();
	tp_random_id(ex->id, REQUEST_ID_LEN);
	ex->path = tp_strdup(uri);
	char *question = strchr(ex->path, '?');
	if (question) {
		*question = '\0';
		ex->query_text = question + 1;
	}
	pthread_mutex_lock(&http->lock);
	ex->bounds = http->bounds;
	pthread_mutex_unlock(&http->lock);
	return ex;
}

static void exchange_free(struct http_exchange *ex)
{
	/* First: a producer may use all of the rest. */
	http_stream_free(ex->stream);
	if (ex->repeating)
		tp_service_repeat_end(ex->http->options.service, &ex->req.actor);
	torpor_error_free(ex->refusal);
	json_decref(ex->req.body);
	http_match_deinit(&ex->match);
	http_query_deinit(&ex->query);
	tp_buf_deinit(&ex->body);
	tp_close(ex->gone_fd);
	if (ex->credential)
		OPENSSL_cleanse(ex->credential, strlen(ex->credential));
	free(ex->credential);
	free(ex->path);
	free(ex);
}

void *http_on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
	struct http_exchange *ex = exchange_new(cls, uri, mhd);

	TP_PROBE2(request__begin, ex->id, ex->path);
	http_conn_until(ex->conn, ex->bounds.request_timeout_ns, false);
	return ex;
}

void http_on_completed(
	void *cls, struct MHD_Connection *mhd, void **req_cls, enum MHD_RequestTerminationCode toe)
{
	struct http *http = cls;
	struct http_exchange *ex = *req_cls;

	(void)mhd;
	if (!ex)
		return;
	struct http_conn *conn = ex->conn;
	TP_PROBE2(request__end, ex->id, toe);
	if (toe != MHD_REQUEST_TERMINATED_COMPLETED_OK)
		tp_log(TP_LOG_DEBUG, "request %s: the connection ended before the answer did",
			ex->id);
	http_conn_until(conn, TP_NO_DEADLINE, false); /* as long as a producer takes */
	exchange_free(ex);
	*req_cls = NULL;
	http_conn_until(conn, http_bounds(http).request_timeout_ns, true);
}

/* --- refusing --- */

/* The first reason stays. Takes ERR. */
static void refuse(struct http_exchange *ex, struct torpor_error *err, int status)
{
	if (!err)
		return;
	if (ex->refusal) {
		torpor_error_free(err);
		return;
	}
	ex->refusal = err;
	ex->refusal_status = status;
}

static struct torpor_error *bad(const char *step, const char *why)
{
	return tp_error(TORPOR_E_INVALID, step, NULL, "%s", why);
}

/* --- the header --- */

struct header_walk {
	size_t bytes;
	const char *twice; /* a name that mustn't be there more than once, and is */
	unsigned int seen; /* bits of singles */
};

static const char *const singles[] = {
	"Authorization",
	"Content-Length",
	"Content-Type",
	"Cookie",
	"Host",
	"Idempotency-Key",
	"Last-Event-ID",
	"Origin",
	"Sec-Fetch-Site",
	"Torpor-Tenant",
	"Torpor-Timeout",
	"Transfer-Encoding",
};

static enum MHD_Result each_header(
	void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct header_walk *walk = cls;

	(void)kind;
	walk->bytes += strlen(name) + (value ? strlen(value) : 0) + 4;
	for (size_t i = 0; i < TP_ARRAY_LEN(singles); i++) {
		if (strcasecmp(name, singles[i]) != 0)
			continue;
		if (walk->seen & (1u << i))
			walk->twice = singles[i];
		walk->seen |= 1u << i;
	}
	return MHD_YES;
}

/* A proxy in front may read one of two, and we the other: so there must not be two. */
static void check_headers(struct http_exchange *ex)
{
	struct header_walk walk = {0};

	MHD_get_connection_values(ex->mhd, MHD_HEADER_KIND, each_header, &walk);
	if (walk.bytes > HTTP_HEADERS_MAX)
		refuse(ex, bad("read the header", "it is longer than 32 KiB"), 431);
	if (walk.twice)
		refuse(ex,
			tp_error(TORPOR_E_INVALID, "read the header", walk.twice,
				"it is there twice"),
			0);
	if (http_header(&ex->req, "Content-Length") && http_header(&ex->req, "Transfer-Encoding"))
		refuse(ex,
			bad("read the header", "Content-Length and Transfer-Encoding exclude "
					       "each other"),
			0);
}

static void find_route(struct http_exchange *ex, const char *method)
{
	refuse(ex, http_match(ex->http->options.routes, method, ex->path, &ex->match), 0);
	refuse(ex, http_query_parse(ex->query_text, &ex->query), 0);
	for (size_t i = 0; i < HTTP_PARAMS_MAX; i++)
		ex->req.params[i] = ex->match.params[i];
	if (ex->match.route || ex->refusal)
		return;
	if (ex->match.allow)
		refuse(ex,
			tp_error(TORPOR_E_INVALID, "route", method, "this path is for %s only",
				ex->match.allow),
			405);
	refuse(ex, tp_error(TORPOR_E_NOT_FOUND, "route", NULL, "there is no such path"), 0);
}

/* "application/json", whatever its parameters. */
static bool is_json(const char *type)
{
	static const char json[] = "application/json";
	size_t len = strlen(json);

	return type && strncasecmp(type, json, len) == 0 &&
	       (type[len] == '\0' || strchr("; \t", type[len]));
}

static bool announces_body(const struct http_exchange *ex)
{
	const char *length = http_header(&ex->req, "Content-Length");

	return http_header(&ex->req, "Transfer-Encoding") || (length && strcmp(length, "0") != 0);
}

static bool takes_body(const struct http_exchange *ex)
{
	return strcmp(ex->req.method, "POST") == 0 || strcmp(ex->req.method, "PATCH") == 0 ||
	       strcmp(ex->req.method, "PUT") == 0;
}

static struct torpor_error *too_large(const struct http_exchange *ex)
{
	return tp_error(TORPOR_E_INVALID, "read the body", NULL,
		"it is larger than %" PRIu64 " bytes", ex->bounds.max_body);
}

static void check_body_header(struct http_exchange *ex)
{
	const char *length = http_header(&ex->req, "Content-Length");
	uint64_t bytes;

	if (!announces_body(ex))
		return;
	if (!takes_body(ex))
		refuse(ex, bad("read the body", "this method takes none"), 0);
	else if (!is_json(http_header(&ex->req, "Content-Type")))
		refuse(ex, bad("read the body", "its Content-Type isn't application/json"), 415);
	if (length && (!tp_value_number(length, &bytes) || bytes > ex->bounds.max_body))
		refuse(ex, too_large(ex), 413);
}

/* Nothing is changed by it. */
static bool reads(const struct http_exchange *ex)
{
	return strcmp(ex->req.method, "GET") == 0 || strcmp(ex->req.method, "HEAD") == 0;
}

/* The admin may act for a tenant; nobody else may even ask. */
static struct torpor_error *choose_tenant(struct http_exchange *ex)
{
	const char *tenant = http_header(&ex->req, "Torpor-Tenant");
	struct tp_actor *actor = &ex->req.actor;

	if (!tenant)
		return NULL;
	if (!actor->admin)
		return tp_error(TORPOR_E_DENIED, "act for another tenant", NULL,
			"Torpor-Tenant is the admin's");
	if (!*tenant || strlen(tenant) >= sizeof(actor->tenant))
		return bad("act for another tenant", "Torpor-Tenant is no tenant's name");
	TP_TRY(tp_service_check_tenant(ex->http->options.service, tenant));
	strcpy(actor->tenant, tenant);
	return NULL;
}

static void identify(struct http_exchange *ex)
{
	const struct http_route *route = ex->match.route;
	struct torpor_error *err = http_identify(ex);

	if (err && (route->flags & HTTP_OPEN)) {
		torpor_error_free(err);
		return;
	}
	if (err) {
		bool unknown = torpor_error_code(err) == TORPOR_E_DENIED;
		refuse(ex, err, unknown ? 401 : 0);
		return;
	}
	/* A browser shows its cookie whoever's page makes it ask. */
	if (ex->login_id[0] && !reads(ex))
		refuse(ex, http_check_same_site(ex), 0);
	refuse(ex, choose_tenant(ex), 0);
}

/* Reads the time that the client gives it; the default otherwise. */
static struct torpor_error *read_timeout(struct http_exchange *ex, uint64_t *timeout_out)
{
	const char *text = http_header(&ex->req, "Torpor-Timeout");
	uint64_t seconds;

	if (!text) {
		*timeout_out = ex->match.route->flags & HTTP_LONG
				       ? TP_NO_DEADLINE
				       : TIMEOUT_DEFAULT_S * TP_NSEC_PER_SEC;
		return NULL;
	}
	if (!tp_value_number(text, &seconds) || seconds < 1 || seconds > TIMEOUT_MAX_S)
		return tp_error(TORPOR_E_INVALID, "read the header", "Torpor-Timeout",
			"it is no number of seconds from 1 to %d", TIMEOUT_MAX_S);
	*timeout_out = seconds * TP_NSEC_PER_SEC;
	return NULL;
}

static struct torpor_error *read_key(struct http_exchange *ex)
{
	const struct http_route *route = ex->match.route;
	const char *key = http_header(&ex->req, "Idempotency-Key");
	size_t len = key ? strlen(key) : 0;

	if (!key || !(route->flags & (HTTP_MUTATING | HTTP_NO_REPEAT)))
		return NULL;
	if (route->flags & HTTP_NO_REPEAT)
		return tp_error(TORPOR_E_INVALID, "read the header", "Idempotency-Key",
			"what this does can't be repeated safely");
	for (size_t i = 0; i < len; i++) {
		if (key[i] < ' ' || key[i] > '~')
			len = 0;
	}
	if (len < 1 || len > KEY_MAX)
		return tp_error(TORPOR_E_INVALID, "read the header", "Idempotency-Key",
			"it isn't 1 to %d printable characters", KEY_MAX);
	strcpy(ex->req.actor.key, key);
	return NULL;
}

/* Counts it, whether or not it will be any good. */
static struct torpor_error *check_rate(struct http_exchange *ex)
{
	/* Nobody's, of those that need no identity, are nobody's to count. */
	if (!(ex->match.route->flags & HTTP_MUTATING) || !ex->req.actor.tenant[0])
		return NULL;
	return tp_service_rate(ex->http->options.service, &ex->req.actor);
}

static void begin(struct http_exchange *ex, const char *method)
{
	struct http_request *req = &ex->req;
	const char *accept;
	uint64_t timeout;

	req->daemon = ex->http->options.daemon;
	req->service = ex->http->options.service;
	req->connection = ex->mhd;
	req->method = method;
	req->path = ex->path;
	req->local = ex->conn->local;
	req->call.cancel_fd = ex->http->cancel_fd;
	accept = http_header(req, "Accept");
	req->wants_events = accept && strcasestr(accept, "text/event-stream");

	check_headers(ex);
	find_route(ex, method);
	if (!ex->refusal)
		identify(ex);
	if (!ex->refusal)
		refuse(ex, read_timeout(ex, &timeout), 0);
	if (!ex->refusal)
		refuse(ex, read_key(ex), 0);
	if (!ex->refusal)
		refuse(ex, check_rate(ex), 0);
	check_body_header(ex);
}

/* --- the body --- */

static void take_body(struct http_exchange *ex, const char *data, size_t len)
{
	ex->body_seen += len;
	if (!ex->refusal && ex->body_seen > ex->bounds.max_body)
		refuse(ex, too_large(ex), 413);
	if (ex->refusal)
		tp_buf_deinit(&ex->body);
	else
		tp_buf_put(&ex->body, data, len);
}

static struct torpor_error *parse_body(struct http_exchange *ex)
{
	json_error_t where;

	if (!takes_body(ex))
		return NULL;
	if (ex->body.len == 0) {
		ex->req.body = json_object();
		return NULL;
	}
	json_t *body =
		json_loadb((char *)ex->body.data, ex->body.len, JSON_REJECT_DUPLICATES, &where);
	tp_buf_deinit(&ex->body);
	/* What jansson says quotes the text, which may be anything. */
	if (!body)
		return tp_error(TORPOR_E_INVALID, "read the body", NULL,
			"line %d, column %d: it is no JSON (or an object has a key twice, or it is "
			"too deep)",
			where.line, where.column);
	if (!json_is_object(body)) {
		json_decref(body);
		return bad("read the body", "it is no JSON object");
	}
	ex->req.body = body;
	return NULL;
}

/* --- repeating --- */

/* SHA-256 over all that makes it this request and no other. */
static void fingerprint(struct http_exchange *ex)
{
	TP_FREE char *body = json_dumps(ex->req.body, JSON_COMPACT | JSON_SORT_KEYS);
	TP_FREE char *text = tp_asprintf("%s\n%s\n%s\n%s", ex->req.method, ex->path,
		ex->query_text ? ex->query_text : "", body ? body : "");

	EVP_Digest(text, strlen(text), ex->req.actor.print, NULL, EVP_sha256(), NULL);
}

/* *DONE_OUT: REPLY is what it was the first time. */
static struct torpor_error *begin_repeat(
	struct http_exchange *ex, struct http_reply *reply, bool *done_out)
{
	struct torpor_error *err;
	bool replayed = false;

	*done_out = false;
	if (!ex->req.actor.key[0])
		return NULL;
	fingerprint(ex);
	err = tp_service_repeat_begin(
		ex->http->options.service, &ex->req.actor, &replayed, &reply->status, &reply->body);
	if (err && torpor_error_code(err) == TORPOR_E_BUSY && !torpor_error_retry_after(err))
		return tp_error_refusal(err, torpor_error_reason(err), 1);
	if (err)
		return err;
	ex->repeating = !replayed;
	reply->replayed = *done_out = replayed;
	return NULL;
}

static void end_repeat(struct http_exchange *ex)
{
	if (ex->repeating)
		tp_service_repeat_end(ex->http->options.service, &ex->req.actor);
	ex->repeating = false;
}

/* --- the handler --- */

static struct torpor_error *handle(struct http_exchange *ex, struct http_reply *reply)
{
	uint64_t timeout;
	bool done;

	if (ex->refusal)
		return TP_TAKE(ex->refusal);
	TP_TRY(parse_body(ex));
	TP_TRY(read_timeout(ex, &timeout));
	ex->req.call.deadline_ns =
		timeout == TP_NO_DEADLINE ? TP_NO_DEADLINE : tp_now_ns() + timeout;
	TP_TRY(begin_repeat(ex, reply, &done));
	if (!done)
		TP_TRY(ex->match.route->handler(&ex->req, reply));
	if (reply->produce)
		return http_stream_start(ex, reply);
	return NULL;
}

/* What a handler had put in before it failed. */
static void reply_deinit(struct http_reply *reply)
{
	json_decref(reply->body);
	free(reply->text);
	for (size_t i = 0; i < reply->n_headers; i++)
		free(reply->headers[i].value);
	if (reply->data && reply->free_data)
		reply->free_data(reply->data);
}

static enum MHD_Result answer(struct http_exchange *ex)
{
	struct http_reply reply = {0};

	http_conn_until(ex->conn, TP_NO_DEADLINE, false);
	int status = ex->refusal_status;
	struct torpor_error *err = handle(ex, &reply);
	/* A stream's goes on as long as the stream. */
	if (!ex->stream)
		end_repeat(ex);
	if (!err)
		return http_reply_send(ex, &reply);
	reply_deinit(&reply);
	return http_reply_problem(ex, err, status);
}

enum MHD_Result http_on_request(void *cls, struct MHD_Connection *mhd, const char *url,
	const char *method, const char *version, const char *upload_data, size_t *upload_data_size,
	void **req_cls)
{
	struct http_exchange *ex = *req_cls;

	(void)cls;
	(void)mhd;
	(void)url;
	(void)version;
	if (!ex->begun) {
		ex->begun = true;
		begin(ex, method);
		/* Who asks before sending gets the answer before sending. */
		if (ex->refusal && http_header(&ex->req, "Expect"))
			return answer(ex);
		return MHD_YES;
	}
	if (*upload_data_size > 0) {
		take_body(ex, upload_data, *upload_data_size);
		*upload_data_size = 0;
		return ex->body_seen > DISCARD_MAX + ex->bounds.max_body ? MHD_NO : MHD_YES;
	}
	return answer(ex);
}
