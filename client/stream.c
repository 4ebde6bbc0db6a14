/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that are answered with events, and the stream of events that mends itself. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "client/client_priv.h"
#include "client/sse.h"

#define SILENCE_NS  (45 * TP_NSEC_PER_SEC) /* torpord says something every 15 s */
#define GIVE_UP_NS  (60 * TP_NSEC_PER_SEC)
#define BACKOFF_MIN (100 * TP_NSEC_PER_MSEC)
#define BACKOFF_MAX (5 * TP_NSEC_PER_SEC)

/* --- one stream --- */

struct reading {
	const struct tp_event_stream *stream;
	struct tp_sse sse;
	struct torpor_error *failure; /* that an event told */
	bool begun;
	bool ended; /* by the caller's function */
};

static uint64_t number_of(const char *id)
{
	char *end;

	if (*id < '0' || *id > '9')
		return 0;
	uint64_t number = strtoumax(id, &end, 10);
	return *end ? 0 : number;
}

static bool on_event(void *data, const struct tp_sse_event *event)
{
	struct reading *reading = data;
	struct torpor_client_event shown = {
		.id = number_of(event->id),
		.type = event->type,
		.data = event->data,
		.data_len = event->len,
	};

	if (strcmp(event->type, "error") == 0) {
		reading->failure = tp_problem_parse(event->data, event->len);
		if (!reading->failure)
			reading->failure = tp_error(TORPOR_E_CORRUPT, reading->stream->method,
				reading->stream->path,
				"torpord told an error without saying which");
		return false;
	}
	reading->ended = !reading->stream->fn(reading->stream->data, &shown);
	return !reading->ended;
}

static struct torpor_error *on_bytes(void *data, const void *bytes, size_t len, bool *end)
{
	struct reading *reading = data;
	const struct tp_event_stream *stream = reading->stream;

	if (!reading->begun && stream->begun && !stream->begun(stream->data)) {
		reading->ended = true;
		*end = true;
		return NULL;
	}
	reading->begun = true;
	struct torpor_error *err = tp_sse_feed(&reading->sse, bytes, len);
	*end = reading->sse.ended;
	return err;
}

struct torpor_error *tp_event_stream(struct torpor_client *client,
	const struct tp_event_stream *stream, const struct tp_call *call,
	struct tp_http_fate *fate_out, bool *ended_out)
{
	struct reading reading = {.stream = stream};
	struct tp_http_answer answer = {0};
	struct tp_http_request request = {
		.method = stream->method,
		.path = stream->path,
		.body = stream->body,
		.last_event_id = stream->last_event_id,
		.silence_ns = stream->silence_ns,
		.stream = on_bytes,
		.stream_data = &reading,
	};

	tp_sse_init(&reading.sse, on_event, &reading);
	struct torpor_error *err = tp_http_once(client, &request, call, &answer, fate_out);
	tp_sse_deinit(&reading.sse);
	if (!err && (answer.status < 200 || answer.status > 299))
		err = tp_problem_error(&answer, stream->method, stream->path);
	tp_http_answer_deinit(&answer);
	*ended_out = reading.ended;
	return tp_error_first(reading.failure, err);
}

struct torpor_error *torpor_client_stream(struct torpor_client *client, const char *method,
	const char *path, const char *body, const struct torpor_call *public_call,
	torpor_client_event_fn *fn, void *data)
{
	struct tp_call call = tp_call_from(public_call, TP_NO_DEADLINE);
	struct tp_event_stream stream = {
		.method = method,
		.path = path,
		.body = body,
		.fn = fn,
		.data = data,
	};
	struct tp_http_fate fate;
	bool ended;

	return tp_event_stream(client, &stream, &call, &fate, &ended);
}

/* --- the events of everything, for as long as they are wanted --- */

struct following {
	torpor_client_event_fn *fn;
	void *data;
	uint64_t last_id;
	bool heard; /* since the connection was made */
	bool gap;   /* one was lost that had given no event to go on behind */
};

static bool tell_gap(void *data)
{
	struct following *following = data;
	struct torpor_client_event reset = {.type = "reset", .data = "{}", .data_len = 2};

	if (!following->gap)
		return true;
	following->gap = false;
	return following->fn(following->data, &reset);
}

static bool follow(void *data, const struct torpor_client_event *event)
{
	struct following *following = data;

	following->heard = true;
	if (event->id)
		following->last_id = event->id;
	return following->fn(following->data, event);
}

/* Nothing that another attempt could mend. */
static bool is_final(const struct torpor_error *err)
{
	switch (torpor_error_code(err)) {
	case TORPOR_E_IO:
	case TORPOR_E_LIMIT:
		return false;
	default:
		return true;
	}
}

/* Waits before the next attempt; the error is CALL's end. */
static struct torpor_error *back_off(
	const struct torpor_error *err, uint64_t backoff_ns, const struct tp_call *call)
{
	uint64_t asked = err ? torpor_error_retry_after(err) * TP_NSEC_PER_SEC : 0;
	struct tp_call wait = tp_call_bounded(call, TP_MAX(backoff_ns, asked));

	torpor_error_free(tp_wait_fd(-1, 0, &wait, "wait for", "events"));
	return tp_call_check(call, "wait for", "events");
}

bool tp_retry_end(
	struct tp_retry *retry, bool told, uint64_t started_ns, uint64_t heard_ns, uint64_t now_ns)
{
	uint64_t backoff_ns = retry->backoff_ns;

	retry->backoff_ns = TP_MIN(TP_MAX(backoff_ns * 2, BACKOFF_MIN), BACKOFF_MAX);
	/* Where nothing happens nothing is told, and the connection lasts all the same. */
	if (told || heard_ns > started_ns + BACKOFF_MAX) {
		*retry = (struct tp_retry){.backoff_ns = BACKOFF_MIN};
		return true;
	}
	if (retry->failing_since_ns == 0)
		retry->failing_since_ns = now_ns;
	return now_ns - retry->failing_since_ns <= GIVE_UP_NS;
}

/* Follows until it is no longer wanted: NULL. Begins anew wherever that can help. */
static struct torpor_error *follow_on(struct torpor_client *client, struct tp_event_stream *stream,
	struct following *following, const struct tp_call *call)
{
	struct tp_retry retry = {0};
	bool connected = false;

	for (;;) {
		struct tp_http_fate fate;
		bool ended;
		uint64_t started_ns = tp_now_ns();
		stream->last_event_id = following->last_id;
		following->heard = false;
		TP_ERROR struct torpor_error *err =
			tp_event_stream(client, stream, call, &fate, &ended);
		if (ended)
			return NULL;
		connected = connected || fate.began;
		following->gap = !following->last_id && (following->gap || fate.began);
		if (err && (!connected || (!fate.lost && is_final(err))))
			return TP_TAKE(err);
		if (!tp_retry_end(
			    &retry, following->heard, started_ns, fate.heard_ns, tp_now_ns()) &&
			err)
			return TP_TAKE(err);
		TP_TRY(back_off(err, retry.backoff_ns, call));
	}
}

struct torpor_error *torpor_client_events(struct torpor_client *client,
	const struct torpor_client_events *events, const struct torpor_call *public_call,
	torpor_client_event_fn *fn, void *data)
{
	struct tp_call call = tp_call_from(public_call, TP_NO_DEADLINE);
	struct following following = {.fn = fn, .data = data};
	TP_FREE char *path =
		tp_path_query(tp_strdup("/v1/events"), "session", events ? events->session : NULL);
	struct tp_event_stream stream = {
		.method = "GET",
		.path = path,
		.silence_ns = SILENCE_NS,
		.begun = tell_gap,
		.fn = follow,
		.data = &following,
	};

	following.last_id = events ? events->after : 0;
	return follow_on(client, &stream, &following, &call);
}
