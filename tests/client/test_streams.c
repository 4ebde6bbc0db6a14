/* SPDX-License-Identifier: Apache-2.0 */
/* Commands and events. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "client/client_priv.h"
#include "support.h"

/* --- commands --- */

static void take(void *data, int stream, const void *bytes, size_t len)
{
	TP_FREE char *line = tp_asprintf("%d:%.*s|", stream, (int)len, (const char *)bytes);

	tp_buf_put(data, line, strlen(line));
}

#define EXEC "> POST /v1/sessions/" K3 "/exec\n>h Accept: text/event-stream\n"

Test(exec, a_command)
{
	struct peer peer;
	TP_BUF struct tp_buf got = {0};
	struct torpor_client_exec_result result;
	struct torpor_client *client = ct_open(&peer,
		EXEC ">!h Idempotency-Key\n>!h Torpor-Timeout\n"
		     ">b {\"argv\":[\"sh\",\"-c\",\"x\"],\"env\":{\"A\":\"1\"},\"cwd\":\"/tmp\","
		     "\"stdin\":\"aGkA\",\"encoding\":\"base64\",\"timeout_s\":9,\"wake\":true,"
		     "\"kill_on_disconnect\":true}\n"
		     "<stream\n"
		     "<chunk event: started\\ndata: {}\\n\\nevent: std\n"
		     "<chunk out\\ndata: {\"data\":\"aGVsbG8=\"}\\n\\n: beat\\n\\n\n"
		     "<chunk event: stderr\\ndata: {\"data\":\"b29wcw==\"}\\n\\n\n"
		     "<chunk event: stdout\\ndata: {\"data\":\"YWdhaW4=\"}\\n\\n\n"
		     "<chunk event: exit\\ndata: {\"exit_status\":3,\"signal\":null}\\n\\n\n"
		     "<last\n");
	struct torpor_client_exec exec = {
		.argv = (const char *const[]){"sh", "-c", "x", NULL},
		.env = (const char *const[]){"A=1", NULL},
		.cwd = "/tmp",
		.stdin_bytes = "hi",
		.stdin_len = 3,
		.timeout_s = 9,
		.wake = true,
		.kill_on_disconnect = true,
		.output = take,
		.output_data = &got,
	};

	ct_ok(torpor_client_exec(client, K3, &exec, NULL, &result));
	cr_assert(result.exited);
	cr_assert_eq(result.status, 3);
	tp_buf_put_u8(&got, '\0');
	cr_assert_str_eq((char *)got.data, "1:hello|2:oops|1:again|");
	ct_close(&peer, client);
}

static const struct torpor_client_exec plain = {.argv = (const char *const[]){"x", NULL}};

Test(exec, a_signal_and_standard_input)
{
	struct peer peer;
	struct torpor_client_exec_result result;
	struct torpor_client_exec exec = plain;
	int fds[2];
	struct torpor_client *client = ct_open(&peer, EXEC
		">b {\"argv\":[\"x\"],\"stdin\":\"cGlwZWQ=\",\"encoding\":\"base64\"}\n"
		"<stream\n"
		"<chunk event: exit\\ndata: {\"exit_status\":null,\"signal\":9}\\n\\n\n<last\n");

	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(write(fds[1], "piped", 5), 5);
	close(fds[1]);
	exec.has_stdin_fd = true;
	exec.stdin_fd = fds[0];
	ct_ok(torpor_client_exec(client, K3, &exec, NULL, &result));
	close(fds[0]);
	cr_assert_not(result.exited);
	cr_assert_eq(result.status, 9);
	ct_close(&peer, client);
}

Test(exec, what_goes_wrong)
{
	struct peer peer;
	struct torpor_client_exec_result result;
	struct torpor_client *client = ct_open(&peer, EXEC
		"< 409 application/problem+json\n"
		"<b {\"type\":\"urn:torpor:problem:busy\",\"detail\":\"exec: it is parked\"}\n" EXEC
		"<stream\n"
		"<chunk event: error\\ndata: {\"type\":\"urn:torpor:problem:guest\","
		"\"detail\":\"exec: the helper is deaf\"}\\n\\n\n<last\n" EXEC
		"<stream\n<chunk event: started\\ndata: {}\\n\\n\n<last\n" EXEC
		"<stream\n<chunk event: stdout\\ndata: {\"data\":\"!\"}\\n\\n\n<mute\n" EXEC
		"<stream\n<chunk event: exit\\ndata: {}\\n\\n\n<mute\n" EXEC
		"<stream\n<chunk event: exit\\ndata: nothing\\n\\n\n<mute\n" EXEC
		"< 200 application/json\n<b {\"exit_status\":0}\n" EXEC
		"<stream\n<chunk event: error\\ndata: {}\\n\\n\n<mute\n");

	ct_fails(torpor_client_exec(client, K3, &plain, NULL, &result), TORPOR_E_BUSY, "parked");
	ct_fails(torpor_client_exec(client, K3, &plain, NULL, &result), TORPOR_E_GUEST, "deaf");
	ct_fails(torpor_client_exec(client, K3, &plain, NULL, &result), TORPOR_E_IO,
		"before it told");
	ct_fails(torpor_client_exec(client, K3, &plain, NULL, &result), TORPOR_E_CORRUPT, "base64");
	ct_fails(torpor_client_exec(client, K3, &plain, NULL, &result), TORPOR_E_CORRUPT,
		"an end that is none");
	ct_fails(torpor_client_exec(client, K3, &plain, NULL, &result), TORPOR_E_CORRUPT,
		"isn't JSON");
	ct_fails(torpor_client_exec(client, K3, &plain, NULL, &result), TORPOR_E_CORRUPT,
		"no stream of events");
	ct_fails(torpor_client_exec(client, K3, &plain, NULL, &result), TORPOR_E_CORRUPT,
		"without saying which");
	ct_close(&peer, client);
}

Test(exec, is_never_sent_twice)
{
	struct peer peer;
	struct torpor_client_exec_result result;
	/* First on a connection that was kept: there curl itself would send it again. */
	struct torpor_client *client = ct_open(
		&peer, "> GET /v1/self\n< 200 application/json\n<b {}\n" EXEC ">new\n<close\n");

	ct_ok(torpor_client_request(client, "GET", "/v1/self", NULL, NULL, NULL, NULL));
	ct_fails(torpor_client_exec(client, K3, &plain, NULL, &result), TORPOR_E_IO,
		"closed the connection");
	ct_close(&peer, client);
}

Test(exec, bounds)
{
	struct peer peer;
	struct torpor_client_exec_result result;
	struct torpor_client_exec exec = plain;
	struct torpor_client *client = ct_open(&peer, "");
	size_t much = 1 << 20;
	TP_FREE char *text = tp_malloc(much + 1);

	memset(text, 'x', much);
	text[much] = '\0';
	exec.stdin_bytes = text;
	exec.stdin_len = much;
	ct_fails(torpor_client_exec(client, K3, &exec, NULL, &result), TORPOR_E_LIMIT,
		"standard input");
	exec.stdin_len = 0;
	exec.has_stdin_fd = true;
	exec.stdin_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	ct_fails(torpor_client_exec(client, K3, &exec, NULL, &result), TORPOR_E_LIMIT,
		"standard input");
	close(exec.stdin_fd);
	exec.has_stdin_fd = false;
	exec.argv = (const char *const[]){text, NULL};
	ct_fails(torpor_client_exec(client, K3, &exec, NULL, &result), TORPOR_E_LIMIT,
		"the request has more than");
	exec.argv = (const char *const[]){NULL};
	ct_fails(
		torpor_client_exec(client, K3, &exec, NULL, &result), TORPOR_E_INVALID, "no words");
	ct_close(&peer, client);
}

/* --- events --- */

static bool note(void *data, const struct torpor_client_event *event)
{
	TP_FREE char *line =
		tp_asprintf("%ju %s %s|", (uintmax_t)event->id, event->type, event->data);

	tp_buf_put(data, line, strlen(line));
	return strcmp(event->type, "end") != 0;
}

#define EVENTS "> GET /v1/events\n>h Accept: text/event-stream\n"
#define END    "<chunk event: end\\ndata: 0\\n\\n\n<mute\n"

Test(events, of_one_session_after_a_number)
{
	struct peer peer;
	TP_BUF struct tp_buf got = {0};
	struct torpor_client_events events = {.session = K3, .after = 16};
	struct torpor_client *client = ct_open(&peer,
		"> GET /v1/events?session=" K3 "\n>h Last-Event-ID: 16\n"
		"<stream\n<chunk id: 17\\nevent: session\\ndata: {\"a\":1}\\n\\n\n" END);

	ct_ok(torpor_client_events(client, &events, NULL, note, &got));
	tp_buf_put_u8(&got, '\0');
	cr_assert_str_eq((char *)got.data, "17 session {\"a\":1}|17 end 0|");
	ct_close(&peer, client);
}

Test(events, go_on_behind_the_last_one)
{
	struct peer peer;
	TP_BUF struct tp_buf got = {0};
	struct torpor_client *client = ct_open(&peer, EVENTS
		">!h Last-Event-ID\n<stream\n"
		"<chunk id: 1\\nevent: pool\\ndata: a\\n\\nid: 2\\nevent: pool\\ndata: b\\n\\n\n"
		"<chunk id: 3\\nevent: pool\\ndata: cut of\n<close\n" EVENTS
		">h Last-Event-ID: 2\n<stream\n"
		"<chunk id: 3\\nevent: pool\\ndata: c\\n\\n\n<last\n" EVENTS
		">h Last-Event-ID: 3\n<close\n" EVENTS ">h Last-Event-ID: 3\n"
		"< 503 application/problem+json\n"
		"<b {\"type\":\"urn:torpor:problem:limit\",\"detail\":\"events: "
		"draining\"}\n" EVENTS ">h Last-Event-ID: 3\n<stream\n"
		"<chunk event: reset\\nid: 9\\ndata: {}\\n\\n\n" END);

	ct_ok(torpor_client_events(client, NULL, NULL, note, &got));
	tp_buf_put_u8(&got, '\0');
	cr_assert_str_eq((char *)got.data, "1 pool a|2 pool b|3 pool c|9 reset {}|9 end 0|");
	ct_close(&peer, client);
}

Test(events, are_missing_where_there_is_none_to_go_on_behind)
{
	struct peer peer;
	TP_BUF struct tp_buf got = {0};
	struct torpor_client *client = ct_open(&peer,
		EVENTS "<stream\n<chunk :\\n\\n\n<close\n" EVENTS
		       ">!h Last-Event-ID\n<close\n" EVENTS ">!h Last-Event-ID\n<stream\n"
		       "<chunk :\\n\\nevent: usage\\ndata: u\\n\\n\n<close\n" EVENTS
		       ">!h Last-Event-ID\n<stream\n"
		       "<chunk id: 8\\nevent: pool\\ndata: a\\n\\n\n<close\n" EVENTS
		       ">h Last-Event-ID: 8\n<stream\n" END);

	ct_ok(torpor_client_events(client, NULL, NULL, note, &got));
	tp_buf_put_u8(&got, '\0');
	cr_assert_str_eq((char *)got.data, "0 reset {}|0 usage u|0 reset {}|8 pool a|0 end 0|");
	ct_close(&peer, client);
}

static bool refuse(void *data, const struct torpor_client_event *event)
{
	note(data, event);
	return false;
}

Test(events, end_with_the_word_that_some_are_missing)
{
	struct peer peer;
	TP_BUF struct tp_buf got = {0};
	struct torpor_client *client = ct_open(&peer,
		EVENTS "<stream\n<chunk :\\n\\n\n<close\n" EVENTS
		       "<stream\n<chunk id: 8\\nevent: pool\\ndata: a\\n\\n\n<mute\n");

	ct_ok(torpor_client_events(client, NULL, NULL, refuse, &got));
	tp_buf_put_u8(&got, '\0');
	cr_assert_str_eq((char *)got.data, "0 reset {}|");
	ct_close(&peer, client);
}

Test(events, end_where_nothing_can_be_mended)
{
	struct peer peer;
	TP_BUF struct tp_buf got = {0};
	struct torpor_client *client = ct_open(&peer,
		/* The first connection, */
		EVENTS
		"<close\n" EVENTS "< 503 application/problem+json\n"
		"<b {\"type\":\"urn:torpor:problem:limit\",\"detail\":\"events: draining\"}\n"
		/* and a later one that is refused for good. */
		EVENTS "<stream\n<chunk : hello\\n\\n\n<close\n" EVENTS
		"< 401 application/problem+json\n"
		"<b {\"type\":\"urn:torpor:problem:denied\",\"detail\":\"events: expired\"}\n");

	ct_fails(torpor_client_events(client, NULL, NULL, note, &got), TORPOR_E_IO, "closed");
	ct_fails(torpor_client_events(client, NULL, NULL, note, &got), TORPOR_E_LIMIT, "draining");
	ct_fails(torpor_client_events(client, NULL, NULL, note, &got), TORPOR_E_DENIED, "expired");
	ct_close(&peer, client);
}

#define S TP_NSEC_PER_SEC

Test(events, are_not_given_up_where_it_was_quiet)
{
	struct tp_retry retry = {0};

	/* A torpord that isn't there, for a minute, */
	cr_assert(tp_retry_end(&retry, false, 100 * S, 100 * S, 100 * S));
	cr_assert_eq(retry.backoff_ns, S / 10);
	cr_assert(tp_retry_end(&retry, false, 130 * S, 130 * S, 160 * S));
	cr_assert_eq(retry.backoff_ns, S / 5);
	cr_assert_not(tp_retry_end(&retry, false, 161 * S, 161 * S, 161 * S));
	/* or one that answers and then says nothing. */
	retry = (struct tp_retry){0};
	cr_assert(tp_retry_end(&retry, false, 100 * S, 101 * S, 145 * S));
	cr_assert_not(tp_retry_end(&retry, false, 170 * S, 171 * S, 215 * S));
	/* One that is restarted now and then, with nothing to tell in between but that it is there.
	 */
	retry = (struct tp_retry){0};
	cr_assert(tp_retry_end(&retry, false, 100 * S, 101 * S, 101 * S));
	cr_assert(tp_retry_end(&retry, false, 102 * S, 700 * S, 701 * S));
	cr_assert(tp_retry_end(&retry, false, 702 * S, 703 * S, 703 * S));
	cr_assert(tp_retry_end(&retry, true, 800 * S, 800 * S, 800 * S));
	cr_assert_eq(retry.backoff_ns, S / 10);
	cr_assert_eq(retry.failing_since_ns, 0);
}

static bool cancel_at_once(void *data, const struct torpor_client_event *event)
{
	(void)event;
	torpor_cancel_trigger(data);
	return true;
}

Test(events, are_cancelled)
{
	struct peer peer;
	struct torpor_cancel *cancel;

	ct_ok(torpor_cancel_new(&cancel));
	struct torpor_call call = {.cancel = cancel};
	struct torpor_client *client =
		ct_open(&peer, EVENTS "<stream\n<chunk event: pool\\ndata: {}\\n\\n\n<mute\n");
	ct_fails(torpor_client_events(client, NULL, &call, cancel_at_once, cancel),
		TORPOR_E_CANCELLED, "cancelled");
	ct_close(&peer, client);
	torpor_cancel_free(cancel);
}

Test(events, of_any_request)
{
	struct peer peer;
	TP_BUF struct tp_buf got = {0};
	struct torpor_client *client =
		ct_open(&peer, "> POST /v1/templates\n>b {}\n<stream\n"
			       "<chunk event: progress\\ndata: {}\\n\\nevent: done\\ndata: "
			       "{\"x\":1}\\n\\n\n<last\n");

	ct_ok(torpor_client_stream(client, "POST", "/v1/templates", "{}", NULL, note, &got));
	tp_buf_put_u8(&got, '\0');
	cr_assert_str_eq((char *)got.data, "0 progress {}|0 done {\"x\":1}|");
	ct_close(&peer, client);
}
