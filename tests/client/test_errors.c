/* SPDX-License-Identifier: Apache-2.0 */
/* What fails: problems, lost connections, deadlines, cancellations, answers that are none. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/call.h"
#include "support.h"

static struct torpor_error *ask(struct torpor_client *client, const struct torpor_call *call)
{
	return torpor_client_request(client, "GET", "/v1/self", NULL, call, NULL, NULL);
}

static struct torpor_error *change(struct torpor_client *client, const struct torpor_call *call)
{
	return torpor_client_park(client, K3, call, NULL);
}

Test(errors, a_refusal_is_what_it_was)
{
	struct peer peer;
	struct torpor_client *client = ct_open(&peer,
		"> POST /v1/sessions/" K3 "/park\n"
		"< 429 application/problem+json\n"
		"<h Retry-After: 5\n"
		"<b {\"type\":\"urn:torpor:problem:limit\",\"title\":\"A limit was reached\","
		"\"status\":429,\"detail\":\"create session: tenant alice: has 100 of 100 "
		"sessions\","
		"\"hint\":\"Destroy or park some.\",\"reason\":\"tenant-sessions\","
		"\"retry_after_s\":5}\n");
	struct torpor_error *err = change(client, NULL);

	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_LIMIT);
	cr_assert_str_eq(
		torpor_error_message(err), "create session: tenant alice: has 100 of 100 sessions");
	cr_assert_str_eq(torpor_error_hint(err), "Destroy or park some.");
	cr_assert_str_eq(torpor_error_reason(err), "tenant-sessions");
	cr_assert_eq(torpor_error_retry_after(err), 5);
	torpor_error_free(err);
	ct_close(&peer, client);
}

Test(errors, every_code)
{
	static const struct {
		const char *status;
		enum torpor_errc code;
	} cases[] = {{"400", TORPOR_E_INVALID}, {"404", TORPOR_E_NOT_FOUND},
		{"409", TORPOR_E_EXISTS}, {"409", TORPOR_E_BUSY}, {"504", TORPOR_E_TIMEOUT},
		{"409", TORPOR_E_CANCELLED}, {"503", TORPOR_E_NOMEM}, {"507", TORPOR_E_NOSPACE},
		{"500", TORPOR_E_IO}, {"500", TORPOR_E_CORRUPT}, {"409", TORPOR_E_MISMATCH},
		{"501", TORPOR_E_UNSUPPORTED}, {"403", TORPOR_E_DENIED}, {"502", TORPOR_E_QEMU},
		{"502", TORPOR_E_GUEST}, {"429", TORPOR_E_LIMIT}, {"500", TORPOR_E_INTERNAL}};
	char script[8192];
	size_t len = 0;
	struct peer peer;

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++)
		len += (size_t)snprintf(script + len, sizeof(script) - len,
			"> GET /v1/self\n< %s application/problem+json\n"
			"<b {\"type\":\"urn:torpor:problem:%s\",\"detail\":\"step: why\"}\n",
			cases[i].status, torpor_errc_name(cases[i].code));
	struct torpor_client *client = ct_open(&peer, script);
	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++)
		ct_fails(ask(client, NULL), cases[i].code, "step: why");
	ct_close(&peer, client);
}

Test(errors, what_explains_nothing)
{
	struct peer peer;
	struct torpor_client *client = ct_open(&peer,
		"> GET /v1/self\n< 502 text/html\n<b <html>a proxy</html>\n"
		"> GET /v1/self\n< 503 application/problem+json\n<h Retry-After: 9\n<b no JSON\n"
		"> GET /v1/self\n< 404 application/problem+json\n<b [1]\n"
		"> GET /v1/self\n< 302 -\n<h Location: http://elsewhere/\n"
		"> GET /v1/self\n< 400 application/problem+json\n"
		"<b {\"type\":\"about:blank\",\"title\":\"No\\u001b[2Jstep\\nat all\"}\n");

	ct_fails(ask(client, NULL), TORPOR_E_IO, "GET /v1/self: answered with status 502");
	struct torpor_error *err = ask(client, NULL);
	cr_assert_eq(torpor_error_retry_after(err), 9);
	ct_fails(err, TORPOR_E_LIMIT, "503");
	ct_fails(ask(client, NULL), TORPOR_E_NOT_FOUND, "404");
	/* Tokens don't follow to wherever an answer points. */
	ct_fails(ask(client, NULL), TORPOR_E_CORRUPT, "302");
	/* What reaches a terminal is one line, without control characters. */
	ct_fails(ask(client, NULL), TORPOR_E_INVALID, "torpord: No [2Jstep at all");
	ct_close(&peer, client);
}

Test(errors, answers_that_are_none)
{
	struct peer peer;
	struct torpor_client *client = ct_open(&peer,
		"> POST /v1/sessions/" K3 "/park\n< 200 application/json\n<b {\"id\":\n"
		"> POST /v1/sessions/" K3 "/park\n< 200 application/json\n<b []\n"
		"> POST /v1/sessions/" K3 "/park\n< 200 application/json\n"
		"<b {\"id\":\"k3v9q2m7x4tz0d8h-and-more\",\"state\":\"x\"}\n"
		"> POST /v1/sessions/" K3 "/park\n< 204 -\n"
		"> POST /v1/sessions/" K3 "/park\n<raw SSH-2.0-nonsense\\r\\n\n<close\n");

	ct_fails(change(client, NULL), TORPOR_E_CORRUPT, "isn't JSON");
	ct_fails(change(client, NULL), TORPOR_E_CORRUPT, "\"id\"");
	ct_fails(change(client, NULL), TORPOR_E_CORRUPT, "\"id\"");
	struct torpor_remote_session session;
	ct_fails(torpor_client_park(client, K3, NULL, &session), TORPOR_E_CORRUPT, "isn't JSON");
	ct_fails(change(client, NULL), TORPOR_E_CORRUPT, "HTTP");
	ct_close(&peer, client);
}

Test(errors, an_endless_answer_is_cut)
{
	struct peer peer;
	struct torpor_client *client = ct_open(&peer,
		"> GET /v1/self\n"
		"<raw HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\n\\r\\n\n"
		"<flood xxxxxxxxxxxxxxxx\n");

	ct_fails(ask(client, NULL), TORPOR_E_CORRUPT, "longer than");
	ct_close(&peer, client);
}

Test(errors, nobody_listens)
{
	struct torpor_client *client;
	struct torpor_client_options options = {.socket_path = "/nowhere/torpord.sock"};

	ct_ok(torpor_client_open(&options, &client));
	struct torpor_error *err = ask(client, NULL);
	cr_assert_not_null(err);
	cr_assert_not_null(strstr(torpor_error_hint(err), "isn't running"));
	ct_fails(err, TORPOR_E_IO, "connect to /nowhere/torpord.sock: No such file");
	torpor_client_close(client);
	options = (struct torpor_client_options){.url = "http://127.0.0.1:1"};
	ct_ok(torpor_client_open(&options, &client));
	ct_fails(ask(client, NULL), TORPOR_E_IO, "connect to http://127.0.0.1:1");
	torpor_client_close(client);
}

Test(errors, a_lost_connection_is_tried_again_once)
{
	struct peer peer;
	struct torpor_client *client =
		ct_open(&peer, "> POST /v1/sessions/" K3 "/park\n>h Idempotency-Key\n<close\n"
			       "> POST /v1/sessions/" K3 "/park\n>key\n>new\n"
			       "< 200 application/json\n<b " SESSION(K3, "demo", "parked") "\n");

	ct_ok(change(client, NULL));
	ct_close(&peer, client);
}

Test(errors, a_kept_connection_that_died_is_no_failure)
{
	struct peer peer;
	struct torpor_client *client =
		ct_open(&peer, "> GET /v1/self\n< 200 application/json\n<b {}\n<close\n<signal\n"
			       "> POST /v1/sessions/" K3 "/park\n>new\n"
			       "< 200 application/json\n<b " SESSION(K3, "demo", "parked") "\n");

	ct_ok(ask(client, NULL));
	peer_wait_signal(&peer);
	ct_ok(change(client, NULL));
	ct_close(&peer, client);
}

Test(errors, cut_in_the_middle_of_an_answer)
{
	struct peer peer;
	struct torpor_client *client = ct_open(&peer,
		"> POST /v1/sessions/" K3 "/park\n"
		"<raw HTTP/1.1 200 OK\\r\\nContent-Length: 500\\r\\n\\r\\n{\"id\n<close\n"
		"> POST /v1/sessions/" K3 "/park\n>key\n"
		"< 200 application/json\n<b " SESSION(K3, "demo", "parked") "\n");

	ct_ok(change(client, NULL));
	ct_close(&peer, client);
}

Test(errors, lost_twice_is_a_failure)
{
	struct peer peer;
	struct torpor_client *client =
		ct_open(&peer, "> POST /v1/sessions/" K3 "/park\n<close\n"
			       "> POST /v1/sessions/" K3 "/park\n>key\n<close\n");

	ct_fails(change(client, NULL), TORPOR_E_IO, "closed the connection");
	ct_close(&peer, client);
}

Test(errors, the_first_request_is_still_under_way)
{
	struct peer peer;
	struct torpor_client *client = ct_open(&peer,
		"> POST /v1/sessions/" K3 "/park\n<close\n"
		"> POST /v1/sessions/" K3 "/park\n>key\n"
		"< 409 application/problem+json\n<h Retry-After: 1\n"
		"<b {\"type\":\"urn:torpor:problem:busy\",\"detail\":\"repeat: under way\"}\n"
		"> POST /v1/sessions/" K3 "/park\n>key\n"
		"< 200 application/json\n<h Idempotency-Replayed: true\n"
		"<b " SESSION(K3, "demo", "parked") "\n");

	ct_ok(change(client, NULL));
	ct_close(&peer, client);
}

Test(errors, busy_is_not_waited_for_otherwise)
{
	struct peer peer;
	struct torpor_client *client = ct_open(&peer,
		"> POST /v1/sessions/" K3 "/park\n"
		"< 409 application/problem+json\n<h Retry-After: 1\n"
		"<b {\"type\":\"urn:torpor:problem:busy\",\"detail\":\"park: it is busy\"}\n");

	ct_fails(change(client, NULL), TORPOR_E_BUSY, "park: it is busy");
	ct_close(&peer, client);
}

Test(errors, a_deadline)
{
	struct peer peer;
	struct torpor_call call = {.timeout_ns = 50 * TP_NSEC_PER_MSEC};
	struct torpor_client *client =
		ct_open(&peer, ">? POST /v1/sessions/" K3 "/park\n"
			       ">h Torpor-Timeout: 1\n"
			       "<mute\n"
			       "> GET /v1/self\n>new\n< 200 application/json\n<b {}\n");

	ct_fails(change(client, &call), TORPOR_E_TIMEOUT, "POST /v1/sessions/" K3 "/park");
	/* The connection isn't used again: its answer may still come. */
	ct_ok(ask(client, NULL));
	ct_close(&peer, client);
}

Test(errors, torpord_is_told_the_bound)
{
	struct peer peer;
	struct torpor_call call = {.timeout_ns = UINT64_MAX};
	struct torpor_client *client = ct_open(&peer,
		"> POST /v1/sessions/" K3 "/park\n>h Torpor-Timeout: 600\n"
		"< 200 application/json\n<b " SESSION(K3, "demo",
			"parked") "\n"
				  "> POST /v1/sessions/" K3 "/park\n>h Torpor-Timeout: 7\n"
				  "< 200 application/json\n<b " SESSION(K3, "demo", "parked") "\n");

	ct_ok(change(client, &call));
	call.timeout_ns = 7900 * TP_NSEC_PER_MSEC;
	ct_ok(change(client, &call));
	ct_close(&peer, client);
}

struct cancelling {
	struct peer *peer;
	struct torpor_cancel *cancel;
	pid_t waiter;
};

/* Whether that thread of this process sleeps (proc(5), task/TID/stat). */
static bool is_asleep(pid_t tid)
{
	char path[64];
	char text[256] = "";

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	FILE *f = fopen(path, "re");
	cr_assert_not_null(f);
	cr_assert_not_null(fgets(text, sizeof(text), f));
	fclose(f);
	return strstr(text, ") S ");
}

static void *cancel_when_signalled(void *data)
{
	struct cancelling *cancelling = data;

	peer_wait_signal(cancelling->peer);
	/* It has sent its request, so there is nothing but the answer that it can sleep for. */
	while (!is_asleep(cancelling->waiter))
		sched_yield();
	torpor_cancel_trigger(cancelling->cancel);
	return NULL;
}

Test(errors, a_cancellation)
{
	struct peer peer;
	struct torpor_cancel *cancel;
	pthread_t thread;

	ct_ok(torpor_cancel_new(&cancel));
	struct torpor_call call = {.timeout_ns = UINT64_MAX, .cancel = cancel};
	/* On a kept connection, where no timer of curl's ends the wait by chance. */
	struct torpor_client *client =
		ct_open(&peer, "> GET /v1/self\n< 200 application/json\n<b {}\n"
			       "> POST /v1/sessions/" K3 "/park\n>same\n<signal\n<mute\n");
	struct cancelling cancelling = {.peer = &peer, .cancel = cancel, .waiter = gettid()};
	ct_ok(ask(client, NULL));
	cr_assert_eq(pthread_create(&thread, NULL, cancel_when_signalled, &cancelling), 0);
	ct_fails(change(client, &call), TORPOR_E_CANCELLED, "cancelled");
	pthread_join(thread, NULL);
	/* One that is cancelled already doesn't even begin. */
	ct_fails(change(client, &call), TORPOR_E_CANCELLED, "cancelled");
	ct_close(&peer, client);
	torpor_cancel_free(cancel);
}

static void *ask_often(void *data)
{
	for (int i = 0; i < 50; i++)
		ct_ok(ask(data, NULL));
	return NULL;
}

Test(errors, many_threads)
{
	struct peer peer;
	pthread_t threads[12];
	struct torpor_client *client = ct_open(&peer, "route GET /v1/self {}\n");

	for (size_t i = 0; i < TP_ARRAY_LEN(threads); i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, ask_often, client), 0);
	for (size_t i = 0; i < TP_ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	ct_close(&peer, client);
}
