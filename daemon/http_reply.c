/* SPDX-License-Identifier: Apache-2.0 */
/* From what a handler says to libmicrohttpd's response. */
#include "daemon/http_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/probe.h"
#include "daemon/problem.h"

#define SLOWEST (16 * TP_KIB) /* bytes a second that a client must take, beside the first */

static void put_header(struct MHD_Response *response, const char *name, const char *value)
{
	/* MHD_NO only for what can't stand in a header: then it is better missing. */
	if (MHD_add_response_header(response, name, value) != MHD_YES)
		tp_log(TP_LOG_WARNING, "a header %s could not be set", name);
}

static void put_number(struct MHD_Response *response, const char *name, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	put_header(response, name, text);
}

/* The client's own, if it can be repeated to it. */
static void put_request_id(struct http_exchange *ex, struct MHD_Response *response)
{
	const char *theirs = http_header(&ex->req, "X-Request-Id");

	if (theirs && *theirs && strlen(theirs) <= 64)
		put_header(response, "X-Request-Id", theirs);
	else
		put_header(response, "X-Request-Id", ex->id);
}

/* The log and the metrics; then it is on its way. */
static enum MHD_Result send_response(
	struct http_exchange *ex, int status, struct MHD_Response *response)
{
	const struct http_route *route = ex->match.route;
	uint64_t took = tp_now_ns() - ex->started_ns;
	char name[160];

	TP_PROBE2(request__handled, ex->id, status);
	pthread_mutex_lock(&ex->http->lock);
	bool draining = ex->http->draining;
	pthread_mutex_unlock(&ex->http->lock);
	put_request_id(ex, response);
	put_header(response, "X-Content-Type-Options", "nosniff");
	if (draining)
		put_header(response, "Connection", "close");
	snprintf(name, sizeof(name), "%s %s", route ? route->method : "any",
		route ? route->pattern : "unknown");
	tp_service_count_request(ex->http->options.service, name, status, took);
	/* The path, and nothing behind it; what is no text is made so by the log. */
	tp_log(TP_LOG_DEBUG, "request %s (%s): %s %.200s: %d in %.1f ms", ex->id,
		ex->req.actor.how[0] ? ex->req.actor.how : "nobody", ex->req.method, ex->path,
		status, (double)took / 1e6);
	enum MHD_Result result = MHD_queue_response(ex->mhd, (unsigned int)status, response);
	MHD_destroy_response(response);
	return result;
}

/* BODY (LEN bytes, OWNED: from malloc, and taken), or NULL for none. */
static struct MHD_Response *response_over(
	struct http_exchange *ex, const void *body, size_t len, bool owned, const char *type)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		len, (void *)body, owned ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);

	if (!response)
		abort(); /* out of memory, as for all small allocations */
	if (body)
		put_header(response, "Content-Type", type);
	http_conn_until(
		ex->conn, ex->bounds.request_timeout_ns + len / SLOWEST * TP_NSEC_PER_SEC, false);
	return response;
}

/* TEXT is taken; NULL: no body. */
static struct MHD_Response *response_of(struct http_exchange *ex, char *text, const char *type)
{
	return response_over(ex, text, text ? strlen(text) : 0, text != NULL, type);
}

/* What a handler adds, and what holds where it says nothing else. */
static void put_handlers_headers(struct MHD_Response *response, struct http_reply *reply)
{
	put_header(response, "Cache-Control",
		reply->cache_control ? reply->cache_control : "no-store");
	for (size_t i = 0; i < reply->n_headers; i++) {
		if (reply->headers[i].value)
			put_header(response, reply->headers[i].name, reply->headers[i].value);
		free(reply->headers[i].value);
	}
	reply->n_headers = 0;
}

static char *dump(json_t *taken)
{
	char *text = json_dumps(taken, HTTP_JSON);

	json_decref(taken);
	return text;
}

enum MHD_Result http_reply_problem(struct http_exchange *ex, struct torpor_error *err, int status)
{
	unsigned int retry_after = torpor_error_retry_after(err);

	if (!status)
		status = http_problem_status(err);
	if (status >= 500)
		tp_log(TP_LOG_INFO, "%s %.200s: %s", ex->req.method, ex->path,
			torpor_error_message(err));
	struct MHD_Response *response =
		response_of(ex, dump(http_problem_json(err, status)), "application/problem+json");
	put_header(response, "Cache-Control", "no-store");
	if (status == 401)
		put_header(response, "WWW-Authenticate", "Bearer");
	if (status == 405)
		put_header(response, "Allow", ex->match.allow);
	if (retry_after)
		put_number(response, "Retry-After", retry_after);
	torpor_error_free(err);
	return send_response(ex, status, response);
}

static enum MHD_Result send_stream(struct http_exchange *ex, struct http_reply *reply)
{
	struct MHD_Response *response = http_stream_response(ex->stream);

	if (!response)
		abort();
	put_header(response, "Content-Type", "text/event-stream");
	put_handlers_headers(response, reply);
	http_conn_until(ex->conn, ex->bounds.request_timeout_ns, false);
	return send_response(ex, reply->status ? reply->status : 200, response);
}

enum MHD_Result http_reply_send(struct http_exchange *ex, struct http_reply *reply)
{
	const char *type = reply->content_type;
	char *text = TP_TAKE(reply->text);
	TP_FREE char *location = NULL;

	if (ex->stream)
		return send_stream(ex, reply);
	if (reply->body) {
		/* Of what was made the first time, too, where this repeats that. */
		location =
			reply->status == 201 ? http_location(ex->match.route, reply->body) : NULL;
		text = dump(TP_TAKE(reply->body));
		type = "application/json";
		if (!text)
			return http_reply_problem(ex,
				tp_error(TORPOR_E_INTERNAL, "answer", NULL,
					"the answer can't be written as JSON"),
				0);
	}
	int status = reply->status ? reply->status : text || reply->bytes ? 200 : 204;
	if (!type)
		type = "text/plain";
	struct MHD_Response *response =
		reply->bytes ? response_over(ex, reply->bytes, reply->len, false, type)
			     : response_of(ex, text, type);
	put_handlers_headers(response, reply);
	if (location)
		put_header(response, "Location", location);
	if (reply->replayed)
		put_header(response, "Idempotency-Replayed", "true");
	return send_response(ex, status, response);
}
