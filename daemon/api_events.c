/* SPDX-License-Identifier: Apache-2.0 */
/* What happens, as it happens: GET /v1/events. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "daemon/api.h"

/* Whoever reads may lose the right to: that is asked before an event is sent, but not more often
 * than the one, and in quiet times as often as the other. */
#define IDENTITY_NS TP_NSEC_PER_SEC
#define QUIET_NS    (5 * TP_NSEC_PER_SEC)

struct event_job {
	struct http_request *req;
	uint64_t identified_ns; /* CLOCK_MONOTONIC: when that was asked last; 0: not yet */
	struct tp_service *service;
	struct tp_actor actor;
	char session[TP_ID_LEN + 1]; /* "": all */
	uint64_t after;
	uint64_t usage_ns;	/* between two events "usage"; 0: none */
	uint64_t next_usage_ns; /* CLOCK_MONOTONIC */
};

/* DIGITS, up to INT64_MAX, and nothing else. */
static bool parse_id(const char *text, uint64_t *id_out)
{
	uint64_t id = 0;
	size_t len = strlen(text);

	if (len == 0 || len > 18)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		id = id * 10 + (uint64_t)(text[i] - '0');
	}
	*id_out = id;
	return true;
}

/* Behind which event: the header's, which a browser sends when it connects again, before ?after=;
 * with neither, what comes from now on. */
static struct torpor_error *read_after(const struct http_request *req, uint64_t *after_out)
{
	const char *last = http_header(req, "Last-Event-ID");

	if (!last)
		last = http_query(req, "after");
	if (!last)
		*after_out = tp_service_last_event(req->service);
	else if (!parse_id(last, after_out))
		return tp_error(TORPOR_E_INVALID, "read events", NULL,
			"Last-Event-ID and \"after\" must be the id of an event");
	return NULL;
}

/* NOT_FOUND for a session that the caller can't see is told before a stream begins. */
static struct torpor_error *read_session(
	const struct http_request *req, char session[TP_ID_LEN + 1])
{
	const char *id = http_query(req, "session");
	struct http_request inner = {.params = {id}};
	json_t *view;

	if (!id)
		return NULL;
	TP_TRY(api_session_id(&inner, &id));
	TP_TRY(tp_service_get(req->service, &req->actor, id, &view));
	json_decref(view);
	memcpy(session, id, TP_ID_LEN + 1);
	return NULL;
}

static struct torpor_error *check_identity(struct event_job *job)
{
	uint64_t now = tp_now_ns();

	if (now < job->identified_ns + IDENTITY_NS)
		return NULL;
	job->identified_ns = now;
	return http_still_identified(job->req);
}

/* CANCELLED: nobody reads any more, or the service comes to its end. */
static struct torpor_error *gone(void)
{
	return tp_error(TORPOR_E_CANCELLED, "send", "events", "the reader is gone");
}

/* What sessions use, if it is time for that; it has no id, as nobody can go on behind it. */
static struct torpor_error *send_usage(struct event_job *job, struct http_stream *stream)
{
	json_t *view;

	if (!job->usage_ns || tp_now_ns() < job->next_usage_ns)
		return NULL;
	TP_TRY(check_identity(job));
	job->next_usage_ns = tp_now_ns() + job->usage_ns;
	TP_TRY(tp_service_usage(job->service, &job->actor, &view));
	return http_stream_send(stream, 0, "usage", view) ? NULL : gone();
}

/* The next event, if there is one before it is time to look around. */
static struct torpor_error *send_next(struct event_job *job, struct http_stream *stream)
{
	struct tp_call call = tp_call_within(QUIET_NS);
	struct tp_event event;

	TP_TRY(send_usage(job, stream));
	if (job->usage_ns)
		call.deadline_ns = TP_MIN(call.deadline_ns, job->next_usage_ns);
	call.cancel_fd = http_stream_gone_fd(stream);
	struct torpor_error *err = tp_service_next_event(job->service, &job->actor,
		job->session[0] ? job->session : NULL, job->after, &call, &event);
	if (err && torpor_error_code(err) == TORPOR_E_TIMEOUT) {
		torpor_error_free(err);
		return check_identity(job);
	}
	if (err)
		return err;
	job->after = event.id;
	err = check_identity(job);
	if (err) {
		json_decref(event.data);
		return err;
	}
	return http_stream_send(stream, event.id, event.type, event.data) ? NULL : gone();
}

static void stream_events(void *data, struct http_stream *stream)
{
	struct event_job *job = data;
	struct torpor_error *err;

	do {
		err = send_next(job, stream);
	} while (!err);
	if (torpor_error_code(err) != TORPOR_E_CANCELLED)
		api_stream_error(stream, err);
	else
		torpor_error_free(err);
}

struct torpor_error *api_events(struct http_request *req, struct http_reply *reply)
{
	TP_FREE struct event_job *job = tp_calloc(1, sizeof(*job));
	uint64_t usage_s;

	TP_TRY(http_query_number(req, "usage", 1, API_USAGE_MAX, 0, &usage_s));
	job->usage_ns = usage_s * TP_NSEC_PER_SEC;
	job->req = req;
	job->service = req->service;
	job->actor = req->actor;
	TP_TRY(read_after(req, &job->after));
	TP_TRY(read_session(req, job->session));
	reply->produce = stream_events;
	reply->data = TP_TAKE(job);
	reply->free_data = free;
	return NULL;
}
