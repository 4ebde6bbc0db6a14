/* SPDX-License-Identifier: Apache-2.0 */
/* What happens, as it happens: GET /v1/events. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "daemon/api.h"

struct event_job {
	struct tp_service *service;
	struct tp_actor actor;
	char session[TP_ID_LEN + 1]; /* "": all */
	uint64_t after;
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

static void stream_events(void *data, struct http_stream *stream)
{
	struct event_job *job = data;
	const char *session = job->session[0] ? job->session : NULL;
	struct tp_call call = {TP_NO_DEADLINE, http_stream_gone_fd(stream)};
	struct torpor_error *err;
	struct tp_event event;

	do {
		err = tp_service_next_event(
			job->service, &job->actor, session, job->after, &call, &event);
		if (!err)
			job->after = event.id;
	} while (!err && http_stream_send(stream, event.id, event.type, event.data));
	if (err && torpor_error_code(err) != TORPOR_E_CANCELLED)
		api_stream_error(stream, err);
	else
		torpor_error_free(err);
}

struct torpor_error *api_events(struct http_request *req, struct http_reply *reply)
{
	TP_FREE struct event_job *job = tp_calloc(1, sizeof(*job));

	job->service = req->service;
	job->actor = req->actor;
	TP_TRY(read_after(req, &job->after));
	TP_TRY(read_session(req, job->session));
	reply->produce = stream_events;
	reply->data = TP_TAKE(job);
	reply->free_data = free;
	return NULL;
}
