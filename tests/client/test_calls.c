/* SPDX-License-Identifier: Apache-2.0 */
/* What each call asks for, byte for byte, and what it makes of the answer. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

Test(calls, create)
{
	struct peer peer;
	struct torpor_remote_session session;
	struct torpor_client *client = ct_open(&peer,
		"> POST /v1/sessions\n"
		">h Content-Type: application/json\n"
		">h Accept: application/json\n"
		">h Idempotency-Key\n"
		">h Torpor-Timeout: 60\n"
		">!h Authorization\n"
		">!h Expect\n"
		">b "
		"{\"template\":\"minimal\",\"name\":\"demo\",\"env\":{\"A\":\"1\",\"B\":\"x=y\"},"
		"\"labels\":{\"team\":\"a\"},\"limits\":{\"pids\":5},\"ttl_s\":3600,"
		"\"retention_s\":0,\"wait_s\":7}\n"
		"< 201 application/json\n"
		"<b {\"id\":\"k3v9q2m7x4tz0d8h\",\"name\":\"demo\",\"tenant\":\"default\","
		"\"template\":\"minimal\",\"state\":\"running\",\"source\":\"warm\","
		"\"guest\":{\"memory_bytes\":268435456,\"private_bytes\":4096},\"image\":null,"
		"\"timing\":{\"source\":\"warm\",\"loaded_ms\":0,\"running_ms\":1.5,"
		"\"ready_ms\":3.1,\"total_ms\":3.25}}\n");
	struct torpor_client_spec spec = {
		.template_name = "minimal",
		.name = "demo",
		.env = (const char *const[]){"A=1", "B=x=y", NULL},
		.labels = (const char *const[]){"team=a", NULL},
		.limits = "{\"pids\": 5}",
		.has_timers = true,
		.ttl_s = 3600,
		.idle_s = TORPOR_CLIENT_UNSET,
		.wait_s = 7,
	};

	ct_ok(torpor_client_create(client, &spec, NULL, &session));
	cr_assert_str_eq(session.id, K3);
	cr_assert_str_eq(session.name, "demo");
	cr_assert_str_eq(session.state, "running");
	cr_assert_str_eq(session.source, "warm");
	cr_assert_eq(session.memory_bytes, 268435456);
	cr_assert_eq(session.private_bytes, 4096);
	cr_assert_eq(session.image_bytes, 0);
	cr_assert_eq(session.timing.running_ns, 1500000);
	cr_assert_eq(session.timing.ready_ns, 3100000);
	cr_assert_eq(session.timing.total_ns, 3250000);
	cr_assert_not_null(strstr(session.json, "\"total_ms\""));
	torpor_remote_session_deinit(&session);
	ct_close(&peer, client);
}

Test(calls, create_refuses_what_is_none)
{
	struct peer peer;
	struct torpor_remote_session session;
	struct torpor_client *client = ct_open(&peer, "");
	struct torpor_client_spec spec = {0};

	ct_fails(torpor_client_create(client, &spec, NULL, &session), TORPOR_E_INVALID,
		"template's name");
	spec.template_name = "m";
	spec.env = (const char *const[]){"novalue", NULL};
	ct_fails(torpor_client_create(client, &spec, NULL, &session), TORPOR_E_INVALID,
		"\"novalue\" isn't NAME=value");
	spec.env = (const char *const[]){"A=\xff", NULL};
	ct_fails(torpor_client_create(client, &spec, NULL, &session), TORPOR_E_INVALID, "UTF-8");
	spec.env = NULL;
	spec.limits = "[1]";
	ct_fails(torpor_client_create(client, &spec, NULL, &session), TORPOR_E_INVALID,
		"JSON object");
	ct_close(&peer, client);
}

Test(calls, life)
{
	struct peer peer;
	struct torpor_remote_session s;
	struct torpor_client *client = ct_open(&peer,
		"> POST /v1/sessions/" K3 "/park\n"
		">h Idempotency-Key\n"
		">h Content-Length: 0\n"
		">!h Content-Type\n"
		"< 200 application/json\n"
		"<b {\"id\":\"" K3 "\",\"state\":\"parked\",\"image\":{\"bytes\":12800},\"timing\":"
		"{\"captured_ms\":1,\"durable_ms\":4.5,\"gone_ms\":9,\"total_ms\":9.5}}\n"
		"> DELETE /v1/sessions/" K3 "/park\n"
		">h Idempotency-Key\n"
		">same\n"
		"< 204 -\n"
		"> POST /v1/sessions/" K3 "/resume\n"
		"< 200 application/json\n<b " SESSION(K3, "demo",
			"running") "\n"
				   "> POST /v1/sessions/" K3 "/pause\n"
				   "< 200 application/json\n<b " SESSION(K3, "demo",
					   "paused") "\n"
						     "> POST /v1/sessions/" K3 "/unpause\n"
						     "< 200 application/json\n<b " SESSION(K3,
							     "demo",
							     "running") "\n"
									"> POST /v1/sessions/" K3
									"/checkpoint\n"
									">b {\"name\":\"before\"}\n"
									"< 200 application/json\n"
									"<b {\"id\":\"" K3
									"\",\"state\":\"running\","
									"\"checkpoint\":{\"name\":"
									"\"before\","
									"\"bytes\":777},\"timing\":"
									"{\"pause_ms\":2,\"durable_"
									"ms\":5}}\n"
									"> POST /v1/sessions/" K3
									"/checkpoint\n"
									">b {}\n"
									"< 200 "
									"application/"
									"json\n<b " SESSION(K3,
										"demo",
										"running") "\n"
											   "> "
											   "DELETE "
											   "/v1/"
											   "session"
											   "s/" K3
											   "\n"
											   ">same\n"
											   "< 204 "
											   "-\n");

	ct_ok(torpor_client_park(client, K3, NULL, &s));
	cr_assert_str_eq(s.state, "parked");
	cr_assert_eq(s.image_bytes, 12800);
	cr_assert_eq(s.timing.captured_ns, 1000000);
	cr_assert_eq(s.timing.durable_ns, 4500000);
	cr_assert_eq(s.timing.gone_ns, 9000000);
	torpor_remote_session_deinit(&s);
	ct_ok(torpor_client_cancel_park(client, K3, NULL));
	ct_ok(torpor_client_resume(client, K3, NULL, NULL));
	ct_ok(torpor_client_pause(client, K3, NULL, &s));
	cr_assert_str_eq(s.state, "paused");
	torpor_remote_session_deinit(&s);
	ct_ok(torpor_client_unpause(client, K3, NULL, NULL));
	ct_ok(torpor_client_checkpoint(client, K3, "before", NULL, &s));
	cr_assert_str_eq(s.checkpoint, "before");
	cr_assert_eq(s.checkpoint_bytes, 777);
	cr_assert_eq(s.timing.pause_ns, 2000000);
	torpor_remote_session_deinit(&s);
	ct_ok(torpor_client_checkpoint(client, K3, NULL, NULL, NULL));
	ct_ok(torpor_client_destroy(client, K3, NULL));
	ct_close(&peer, client);
}

Test(calls, keys_differ)
{
	struct peer peer;
	struct torpor_client *client = ct_open(&peer, "> DELETE /v1/sessions/" K3 "\n< 204 -\n"
						      "> DELETE /v1/sessions/" K3 "\n< 204 -\n");

	ct_ok(torpor_client_destroy(client, K3, NULL));
	ct_ok(torpor_client_destroy(client, K3, NULL));
	cr_assert_neq(strcmp(peer.key, peer.last_key), 0);
	cr_assert_eq(strlen(peer.key), 32);
	ct_close(&peer, client);
}

Test(calls, fork)
{
	struct peer peer;
	struct torpor_remote_session *sessions;
	size_t n;
	struct torpor_client *client = ct_open(&peer,
		"> POST /v1/sessions/" K3 "/fork\n"
		">b {\"count\":2,\"image\":\"before\"}\n"
		"< 201 application/json\n"
		"<b {\"sessions\":[" SESSION("aaaa", "f1", "running") "," SESSION(
			"bbbb", "f2", "running") "],\"timing\":{\"total_ms\":5}}\n"
						 "> POST /v1/sessions/" K3 "/fork\n"
						 ">b {}\n"
						 "< 201 application/json\n"
						 "<b {\"sessions\":[" SESSION("aaaa", "f1",
							 "running") ",{\"name\":\"no id\"}]}\n");

	ct_ok(torpor_client_fork(client, K3,
		&(struct torpor_client_fork){.count = 2, .image = "before"}, NULL, &sessions, &n));
	cr_assert_eq(n, 2);
	cr_assert_str_eq(sessions[1].id, "bbbb");
	torpor_remote_sessions_free(sessions, n);
	ct_fails(torpor_client_fork(client, K3, NULL, NULL, &sessions, &n), TORPOR_E_CORRUPT,
		"\"id\"");
	ct_close(&peer, client);
}

static bool count(void *data, const struct torpor_remote_session *session)
{
	cr_assert_eq(session->id[0], 'a');
	return --*(int *)data > 0;
}

Test(calls, list_goes_through_the_pages)
{
	struct peer peer;
	int left = 100;
	struct torpor_client *client = ct_open(&peer,
		"> GET /v1/sessions?limit=200&state=running&template=m%2F1&label=team%3Da%20b\n"
		">!h Idempotency-Key\n"
		"< 200 application/json\n"
		"<b {\"sessions\":[" SESSION("a1", "1", "running") "," SESSION(
			"a2", "2", "running") "],\"next\":\"c+1\"}\n"
					      "> GET "
					      "/v1/"
					      "sessions?limit=200&state=running&template=m%2F1&"
					      "label=team%3Da%20b"
					      "&cursor=c%2B1\n"
					      "< 200 application/json\n"
					      "<b {\"sessions\":[" SESSION(
						      "a3", "3", "running") "],\"next\":null}\n");
	struct torpor_client_filter filter = {
		.state = "running", .template_name = "m/1", .label = "team=a b"};

	ct_ok(torpor_client_list(client, &filter, NULL, count, &left));
	cr_assert_eq(left, 97);
	ct_close(&peer, client);
}

Test(calls, list_ends_when_it_is_enough)
{
	struct peer peer;
	int left = 1;
	struct torpor_client *client = ct_open(&peer,
		"> GET /v1/sessions?limit=200\n"
		"< 200 application/json\n"
		"<b {\"sessions\":[" SESSION("a1", "1", "running") "," SESSION("a2", "2",
			"running") "],\"next\":\"c1\"}\n"
				   "> GET /v1/sessions?limit=2\n"
				   "< 200 application/json\n"
				   "<b {\"sessions\":[" SESSION("a1", "1", "running") "," SESSION(
					   "a2", "2",
					   "running") "],\"next\":\"c1\"}\n"
						      "> GET /v1/sessions?limit=200\n"
						      "< 200 application/json\n"
						      "<b {\"sessions\":[],\"next\":\"c1\"}\n");

	ct_ok(torpor_client_list(client, NULL, NULL, count, &left));
	cr_assert_eq(left, 0);
	left = 10;
	ct_ok(torpor_client_list(
		client, &(struct torpor_client_filter){.limit = 2}, NULL, count, &left));
	cr_assert_eq(left, 8);
	/* An empty page that names a successor doesn't go on for ever. */
	ct_ok(torpor_client_list(client, NULL, NULL, count, &left));
	ct_close(&peer, client);
}

#define FOUND(list)                                                                                \
	"> GET /v1/sessions?limit=50&match=k3v9\n< 200 application/json\n<b {\"sessions\":[" list  \
	"],\"next\":null}\n"

Test(calls, find)
{
	struct peer peer;
	struct torpor_remote_session s;
	struct torpor_client *client = ct_open(&peer,
		FOUND(SESSION("k3v9aaaa", "x", "running")) FOUND(
			SESSION("k3v9aaaa", "x", "running") "," SESSION("zzzz", "k3v9", "parked"))
			FOUND(SESSION("zzzz", "k3v9", "parked") "," SESSION("k3v9", "x", "running"))
				FOUND(SESSION("k3v9aaaa", "x", "running") "," SESSION(
					"k3v9bbbb", "y", "parked")) FOUND(""));

	ct_ok(torpor_client_find(client, "k3v9", NULL, &s));
	cr_assert_str_eq(s.id, "k3v9aaaa");
	torpor_remote_session_deinit(&s);
	/* A name counts before the beginning of an id, */
	ct_ok(torpor_client_find(client, "k3v9", NULL, &s));
	cr_assert_str_eq(s.id, "zzzz");
	torpor_remote_session_deinit(&s);
	/* and a whole id before a name. */
	ct_ok(torpor_client_find(client, "k3v9", NULL, &s));
	cr_assert_str_eq(s.id, "k3v9");
	torpor_remote_session_deinit(&s);
	ct_fails(torpor_client_find(client, "k3v9", NULL, &s), TORPOR_E_INVALID,
		"it could be k3v9aaaa x, k3v9bbbb y");
	ct_fails(torpor_client_find(client, "k3v9", NULL, &s), TORPOR_E_NOT_FOUND, "k3v9");
	ct_fails(torpor_client_find(client, "", NULL, &s), TORPOR_E_INVALID, "empty");
	ct_close(&peer, client);
}

Test(calls, ids_are_escaped)
{
	struct peer peer;
	struct torpor_remote_session s;
	struct torpor_client *client =
		ct_open(&peer, "> GET /v1/sessions/..%2Ftenants%3Fx%23%25%0D%0A\n"
			       "< 404 application/problem+json\n"
			       "<b {\"type\":\"urn:torpor:problem:not-found\",\"detail\":\"get "
			       "session: none\"}\n");

	ct_fails(torpor_client_get(client, "../tenants?x#%\r\n", NULL, &s), TORPOR_E_NOT_FOUND,
		"get session: none");
	ct_close(&peer, client);
}

Test(calls, any_other_request)
{
	struct peer peer;
	char *answer;
	int status;
	struct torpor_client *client = ct_open(&peer, "> PATCH /v1/tenants/alice\n"
						      ">h Idempotency-Key\n"
						      ">b {\"uid\": 5}\n"
						      "< 200 application/json\n"
						      "<b {\"name\":\"alice\"}\n"
						      "> DELETE /v1/tenants/alice\n"
						      "< 204 -\n");

	ct_ok(torpor_client_request(
		client, "PATCH", "/v1/tenants/alice", "{\"uid\": 5}", NULL, &status, &answer));
	cr_assert_eq(status, 200);
	cr_assert_str_eq(answer, "{\"name\":\"alice\"}");
	free(answer);
	ct_ok(torpor_client_request(
		client, "DELETE", "/v1/tenants/alice", NULL, NULL, &status, &answer));
	cr_assert_eq(status, 204);
	cr_assert_str_eq(answer, "");
	free(answer);
	/* What can't be a request line never leaves. */
	ct_fails(torpor_client_request(client, "GET", "/a b", NULL, NULL, NULL, NULL),
		TORPOR_E_INVALID, "path");
	ct_fails(torpor_client_request(client, "GET", "/a\r\nX: y", NULL, NULL, NULL, NULL),
		TORPOR_E_INVALID, "path");
	ct_fails(torpor_client_request(client, "get", "/", NULL, NULL, NULL, NULL),
		TORPOR_E_INVALID, "method");
	ct_close(&peer, client);
}

Test(calls, who_calls)
{
	struct peer peer;
	struct torpor_client *client;

	torpor_client_close(ct_open(&peer, "> GET /v1/self\n"
					   ">h Authorization: Bearer tpr_secret\n"
					   ">h Torpor-Tenant: alice\n"
					   "< 200 application/json\n<b {}\n"
					   "> GET /v1/self\n"
					   ">h Authorization: Bearer tpr_file\n"
					   "< 200 application/json\n<b {}\n"
					   "> GET /v1/self\n"
					   ">h Authorization: Bearer tpr_env\n"
					   "< 200 application/json\n<b {}\n"));
	struct torpor_client_options options = {
		.socket_path = peer.path, .token = "tpr_secret", .tenant = "alice"};
	ct_ok(torpor_client_open(&options, &client));
	ct_ok(torpor_client_request(client, "GET", "/v1/self", NULL, NULL, NULL, NULL));
	torpor_client_close(client);

	char file[] = "/tmp/torpor-token.XXXXXX";
	int fd = mkstemp(file);
	cr_assert_eq(write(fd, "tpr_file\n", 9), 9);
	close(fd);
	options = (struct torpor_client_options){.socket_path = peer.path, .token_file = file};
	ct_ok(torpor_client_open(&options, &client));
	unlink(file);
	ct_ok(torpor_client_request(client, "GET", "/v1/self", NULL, NULL, NULL, NULL));
	torpor_client_close(client);

	setenv("TORPOR_TOKEN", "tpr_env", 1);
	setenv("TORPOR_SOCKET", peer.path, 1);
	ct_ok(torpor_client_open(NULL, &client));
	cr_assert_str_eq(torpor_client_where(client), peer.path);
	ct_ok(torpor_client_request(client, "GET", "/v1/self", NULL, NULL, NULL, NULL));
	ct_close(&peer, client);
}

Test(calls, options_that_make_no_sense)
{
	struct torpor_client *client;
	char long_path[300];

	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	ct_fails(torpor_client_open(
			 &(struct torpor_client_options){.socket_path = "/a", .url = "https://b"},
			 &client),
		TORPOR_E_INVALID, "not both");
	ct_fails(torpor_client_open(
			 &(struct torpor_client_options){.url = "file:///etc/passwd"}, &client),
		TORPOR_E_INVALID, "https://");
	ct_fails(torpor_client_open(&(struct torpor_client_options){.url = "https://u@h"}, &client),
		TORPOR_E_INVALID, "nothing else");
	ct_fails(torpor_client_open(
			 &(struct torpor_client_options){.socket_path = long_path}, &client),
		TORPOR_E_INVALID, "bytes");
	ct_fails(torpor_client_open(
			 &(struct torpor_client_options){.token = "a\r\nTorpor-Tenant: bob"},
			 &client),
		TORPOR_E_INVALID, "the token");
	ct_fails(torpor_client_open(&(struct torpor_client_options){.tenant = "a\r\n"}, &client),
		TORPOR_E_INVALID, "act for tenant");
	ct_fails(torpor_client_open(
			 &(struct torpor_client_options){.token_file = "/nowhere"}, &client),
		TORPOR_E_NOT_FOUND, "read token");
}
