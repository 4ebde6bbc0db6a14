/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers of templates, pool, tenants, tokens, audit, events, and what is beside the API. */
#include "support.h"

#define TEMPLATE "/v1/templates/{name}"
#define TENANT	 "/v1/tenants/{name}"
#define BUILD	 "{\"name\": \"t\", \"kernel\": \"/k\"}"

/* Runs a request whose path is PARAMS, a NULL ends them. */
static struct torpor_error *ask(const char *method, const char *pattern, const char *body,
	const char *name, const char *second, json_t *query)
{
	struct fake fake;

	stub_reset();
	fake_init(&fake, body);
	fake.req.params[0] = name;
	fake.req.params[1] = second;
	fake.query = query;
	struct torpor_error *err = fake_call(&fake, route_handler(method, pattern));
	fake_deinit(&fake);
	json_decref(query);
	return err;
}

Test(rest, operations_pass_names_on)
{
	static const char *const cases[][6] = {
		{"GET", "/v1/templates", NULL, NULL, NULL, "{\"fn\": \"templates\"}"},
		{"GET", TEMPLATE, NULL, "t1", NULL, "{\"fn\": \"template\", \"name\": \"t1\"}"},
		{"DELETE", TEMPLATE, NULL, "t1", NULL,
			"{\"fn\": \"remove_template\", \"name\": \"t1\"}"},
		{"GET", "/v1/pool", NULL, NULL, NULL, "{\"fn\": \"pool\"}"},
		{"GET", "/v1/history/host", NULL, NULL, NULL, "{\"fn\": \"host_history\"}"},
		{"GET", "/v1/history/pool", NULL, NULL, NULL, "{\"fn\": \"pool_history\"}"},
		{"GET", "/v1/sessions/{id}/history", NULL, ID, NULL,
			"{\"fn\": \"history\", \"id\": \"" ID "\"}"},
		{"GET", "/v1/sessions/{id}/lineage", NULL, ID, NULL,
			"{\"fn\": \"lineage\", \"id\": \"" ID "\"}"},
		{"GET", "/v1/tenants", NULL, NULL, NULL, "{\"fn\": \"tenants\"}"},
		{"GET", TENANT, NULL, "bob", NULL, "{\"fn\": \"tenant\", \"name\": \"bob\"}"},
		{"DELETE", TENANT, NULL, "bob", NULL,
			"{\"fn\": \"remove_tenant\", \"name\": \"bob\"}"},
		{"GET", TENANT "/tokens", NULL, "bob", NULL,
			"{\"fn\": \"tokens\", \"tenant\": \"bob\"}"},
		{"DELETE", TENANT "/tokens/{id}", NULL, "bob", "3f9c",
			"{\"fn\": \"remove_token\", \"tenant\": \"bob\", \"id\": \"3f9c\"}"},
		{"GET", "/v1/self", NULL, NULL, NULL, "{\"fn\": \"self\"}"},
		{"GET", "/v1/audit", NULL, NULL, NULL,
			"{\"fn\": \"audit\", \"before\": 0, \"limit\": 100}"},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++) {
		must(ask(cases[i][0], cases[i][1], cases[i][2], cases[i][3], cases[i][4], NULL));
		must_ask(cases[i][5]);
	}
}

Test(rest, names_that_are_none)
{
	static const char *const cases[][4] = {
		{"GET", TEMPLATE, NULL, "template"},
		{"DELETE", TEMPLATE, NULL, "template"},
		{"GET", TENANT, NULL, "tenant"},
		{"PATCH", TENANT, "{}", "tenant"},
		{"DELETE", TENANT, NULL, "tenant"},
		{"GET", TENANT "/tokens", NULL, "tenant"},
		{"POST", TENANT "/tokens", "{}", "tenant"},
		{"DELETE", TENANT "/tokens/{id}", NULL, "tenant"},
	};
	static const char *const bad[] = {"", "..", "a/b", "\xff", "a\n",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++)
		for (size_t j = 0; j < TP_ARRAY_LEN(bad); j++) {
			must_fail(ask(cases[i][0], cases[i][1], cases[i][2], bad[j], "x", NULL),
				TORPOR_E_NOT_FOUND, cases[i][3]);
			cr_assert_eq(json_array_size(stub.calls), 0);
		}
	must_fail(ask("DELETE", TENANT "/tokens/{id}", NULL, "bob", "..", NULL), TORPOR_E_NOT_FOUND,
		"token");
	must_fail(ask("DELETE", "/v1/sessions/{id}/images/{name}", NULL, ID, "../x", NULL),
		TORPOR_E_NOT_FOUND, "image");
}

/* --- templates --- */

Test(templates, build_passes_all_fields_on)
{
	passes("POST", "/v1/templates", BUILD,
		"{\"fn\": \"build_template\", \"name\": \"t\", \"memory\": 0, \"vcpus\": 0, "
		"\"kernel\": \"/k\"}");
	passes("POST", "/v1/templates",
		"{\"name\": \"t\", \"kernel\": \"/k\", \"initrd\": \"/i\", \"append\": \"a b=c\", "
		"\"memory_bytes\": 1099511627776, \"vcpus\": 255, \"machine\": \"microvm\", "
		"\"accel\": \"tcg\", \"cpu\": \"Westmere-v1,+x\", \"ready_line\": \"login:\", "
		"\"replace\": true}",
		"{\"fn\": \"build_template\", \"name\": \"t\", \"kernel\": \"/k\", \"initrd\": "
		"\"/i\", \"append\": \"a b=c\", \"memory\": 1099511627776, \"vcpus\": 255, "
		"\"machine\": \"microvm\", \"accel\": \"tcg\", \"cpu\": \"Westmere-v1,+x\", "
		"\"ready_line\": \"login:\", \"replace\": true}");
}

Test(templates, build_refuses_what_is_out_of_bounds)
{
	static const char *const cases[][2] = {
		{"\"kernel\": \"/k\"", "\"name\" is missing"},
		{"\"name\": \"t\"", "\"kernel\" is missing"},
		{"\"name\": \"t\", \"kernel\": \"k\"", "\"kernel\" must be an absolute path"},
		{"\"name\": \"t\", \"kernel\": \"/k\", \"initrd\": \"\"", "\"initrd\" must be"},
		{"\"name\": \"t\", \"kernel\": \"/k\", \"append\": \"a\\nb\"", "\"append\" must"},
		{"\"name\": \"t\", \"kernel\": \"/k\", \"memory_bytes\": 16777215",
			"\"memory_bytes\" must be"},
		{"\"name\": \"t\", \"kernel\": \"/k\", \"memory_bytes\": 16777217",
			"\"memory_bytes\" must be a multiple"},
		{"\"name\": \"t\", \"kernel\": \"/k\", \"vcpus\": 256", "\"vcpus\" must be"},
		{"\"name\": \"t\", \"kernel\": \"/k\", \"machine\": \"pdp11\"",
			"one of: pc, q35, microvm"},
		{"\"name\": \"t\", \"kernel\": \"/k\", \"accel\": \"xen\"", "one of: auto, kvm"},
		{"\"name\": \"t\", \"kernel\": \"/k\", \"cpu\": \"a b\"",
			"\"cpu\" must be a model"},
		{"\"name\": \"t\", \"kernel\": \"/k\", \"disk\": \"/d\"", "\"disk\" is no field"},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++) {
		TP_FREE char *body = tp_asprintf("{%s}", cases[i][0]);

		refuses("POST", "/v1/templates", body, cases[i][1]);
	}
}

Test(templates, build_answers_201_and_has_ten_minutes)
{
	uint64_t entered_ns = tp_now_ns();
	struct fake fake;

	stub_reset();
	fake_init(&fake, BUILD);
	must(fake_call(&fake, api_build_template));
	cr_assert_eq(fake.reply.status, 201);
	cr_assert_str_eq(made_by("/v1/templates", &fake), "demo");
	cr_assert_geq(stub.call.deadline_ns, entered_ns + 600 * TP_NSEC_PER_SEC);
	cr_assert_leq(stub.call.deadline_ns, tp_now_ns() + 600 * TP_NSEC_PER_SEC);
	fake_deinit(&fake);
}

Test(templates, progress_becomes_events)
{
	static const char *const lines[] = {"booting", "bad \xff\x1b[0m", NULL};
	struct fake fake;

	stub_reset();
	stub.progress = lines;
	fake_init(&fake, BUILD);
	fake.req.wants_events = true;
	must(fake_call(&fake, api_build_template));
	must_be(stub.sent,
		"[{\"type\": \"progress\", \"data\": {\"stage\": \"boot\", \"line\": \"booting\"}},"
		" {\"type\": \"progress\", \"data\": {\"stage\": \"boot\", \"line\": \"bad "
		"??[0m\"}},"
		" {\"type\": \"done\", \"data\": {\"id\": \"" ID "\", \"name\": \"demo\"}}]");
	must_ask("{\"fn\": \"build_template\", \"name\": \"t\", \"memory\": 0, \"vcpus\": 0, "
		 "\"kernel\": \"/k\"}");
	cr_assert_eq(stub.call.cancel_fd, http_stream_gone_fd(NULL));
	fake_deinit(&fake);

	stub_reset();
	stub.code = TORPOR_E_QEMU;
	fake_init(&fake, BUILD);
	fake.req.wants_events = true;
	must(fake_call(&fake, api_build_template));
	must_be(stub.sent, "[{\"type\": \"error\", \"data\": {\"code\": \"qemu\", \"detail\": "
			   "\"stub: as told\"}}]");
	fake_deinit(&fake);
}

Test(templates, removal_by_force)
{
	must(ask("DELETE", TEMPLATE, NULL, "t1", NULL, json_pack("{ss}", "force", "true")));
	must_ask("{\"fn\": \"remove_template\", \"name\": \"t1\", \"force\": true}");
	must(ask("DELETE", TEMPLATE, NULL, "t1", NULL, json_pack("{ss}", "force", "false")));
	must_ask("{\"fn\": \"remove_template\", \"name\": \"t1\"}");
	must_fail(ask("DELETE", TEMPLATE, NULL, "t1", NULL, json_pack("{ss}", "force", "1")),
		TORPOR_E_INVALID, "force");
}

/* --- tenants, tokens, audit --- */

Test(tenants, bodies_are_handed_on)
{
	static const char body[] =
		"{\"name\": \"bob\", \"uid\": 1000, \"limits\": {\"sessions\": 0, "
		"\"memory_bytes\": 1, "
		"\"parked_bytes\": null, \"requests_per_minute\": 1, \"ttl_s\": 2, \"idle_s\": 3, "
		"\"retention_s\": 4}}";
	TP_FREE char *asked = tp_asprintf(
		"{\"fn\": \"put_tenant\", \"name\": \"bob\", \"new\": true, \"body\": %s}", body);

	must(ask("POST", "/v1/tenants", body, NULL, NULL, NULL));
	must_ask(asked);
	must(ask("PATCH", TENANT, "{\"uid\": null}", "bob", NULL, NULL));
	must_ask("{\"fn\": \"put_tenant\", \"name\": \"bob\", \"body\": {\"uid\": null}}");
	must(ask("POST", TENANT "/tokens", "{\"label\": \"l\", \"expires_s\": 5, \"admin\": true}",
		"bob", NULL, NULL));
	must_ask("{\"fn\": \"new_token\", \"tenant\": \"bob\", \"body\": {\"label\": \"l\", "
		 "\"expires_s\": 5, \"admin\": true}}");
}

Test(tenants, creations_answer_201)
{
	struct fake fake;

	stub_reset();
	fake_init(&fake, "{\"name\": \"demo\"}");
	must(fake_call(&fake, api_new_tenant));
	cr_assert_eq(fake.reply.status, 201);
	cr_assert_str_eq(made_by("/v1/tenants", &fake), "demo");
	fake_deinit(&fake);
	fake_init(&fake, "{}");
	fake.req.params[0] = "demo";
	must(fake_call(&fake, api_new_token));
	cr_assert_eq(fake.reply.status, 201);
	fake_deinit(&fake);
}

Test(tenants, bodies_are_bounded)
{
	static const char *const cases[][2] = {
		{"{}", "\"name\" is missing"},
		{"{\"name\": \"a b\"}", "\"name\" must be a name"},
		{"{\"name\": \"a\", \"uid\": 4294967295}", "\"uid\" must be"},
		{"{\"name\": \"a\", \"uid\": -1}", "\"uid\" must be"},
		{"{\"name\": \"a\", \"admin\": true}", "\"admin\" is no field"},
		{"{\"name\": \"a\", \"limits\": {\"sessions\": -1}}",
			"\"limits.sessions\" must be"},
		{"{\"name\": \"a\", \"limits\": {\"cpus\": 1}}", "\"limits.cpus\" is no field"},
		{"{\"name\": \"a\", \"limits\": {\"requests_per_minute\": 0}}",
			"\"limits.requests_per_minute\" must be"},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++)
		refuses("POST", "/v1/tenants", cases[i][0], cases[i][1]);
	refuses("PATCH", TENANT, "{\"name\": \"a\"}", "\"name\" is no field");
	refuses("POST", TENANT "/tokens", "{\"expires_s\": 0}", "\"expires_s\" must be");
	refuses("POST", TENANT "/tokens", "{\"admin\": 1}", "\"admin\" must be");
	refuses("POST", TENANT "/tokens", "{\"label\": \"\\n\"}", "\"label\" must");
	refuses("POST", TENANT "/tokens", "{\"token\": \"x\"}", "\"token\" is no field");
}

Test(audit, passes_its_query_on)
{
	must(ask("GET", "/v1/audit", NULL, NULL, NULL,
		json_pack("{ss ss ss}", "session", ID, "before", "70", "limit", "5")));
	must_ask("{\"fn\": \"audit\", \"session\": \"" ID "\", \"before\": 70, \"limit\": 5}");
	must_fail(ask("GET", "/v1/audit", NULL, NULL, NULL, json_pack("{ss}", "limit", "1001")),
		TORPOR_E_INVALID, "limit");
	must_fail(ask("GET", "/v1/audit", NULL, NULL, NULL, json_pack("{ss}", "before", "0")),
		TORPOR_E_INVALID, "before");
	must_fail(ask("GET", "/v1/audit", NULL, NULL, NULL, json_pack("{ss}", "session", ID "0")),
		TORPOR_E_INVALID, "session");
}

/* --- history --- */

Test(rest, history_of_an_hour_or_a_day)
{
	static const char *const patterns[] = {
		"/v1/history/host", "/v1/history/pool", "/v1/sessions/{id}/history"};

	for (size_t i = 0; i < TP_ARRAY_LEN(patterns); i++) {
		must(ask("GET", patterns[i], NULL, ID, NULL, json_pack("{ss}", "window", "day")));
		cr_assert(json_is_true(json_object_get(json_array_get(stub.calls, 0), "day")));
		must(ask("GET", patterns[i], NULL, ID, NULL, json_pack("{ss}", "window", "hour")));
		cr_assert_null(json_object_get(json_array_get(stub.calls, 0), "day"));
		must_fail(ask("GET", patterns[i], NULL, ID, NULL, json_pack("{ss}", "window", "x")),
			TORPOR_E_INVALID, "window");
	}
}

/* --- events --- */

static struct torpor_error *listen(json_t *query, json_t *headers)
{
	struct fake fake;

	fake_init(&fake, NULL);
	fake.query = query;
	fake.headers = headers;
	struct torpor_error *err = fake_call(&fake, route_handler("GET", "/v1/events"));
	fake_deinit(&fake);
	json_decref(query);
	json_decref(headers);
	return err;
}

Test(events, begin_where_they_are_told)
{
	stub_reset();
	must(listen(NULL, NULL));
	must_ask("{\"fn\": \"next_event\", \"after\": 41}");
	/* It looks around now and then. */
	cr_assert_leq(stub.call.deadline_ns, tp_now_ns() + 5 * TP_NSEC_PER_SEC);
	cr_assert_eq(stub.call.cancel_fd, http_stream_gone_fd(NULL));
	cr_assert_str_eq(stub.actor.tenant, "alice");
	cr_assert_eq(json_array_size(stub.sent), 0, "the end of a stream is no error");
	stub_reset();
	must(listen(json_pack("{ss}", "after", "7"), NULL));
	must_ask("{\"fn\": \"next_event\", \"after\": 7}");
	stub_reset();
	must(listen(json_pack("{ss}", "after", "7"), json_pack("{ss}", "Last-Event-ID", "9")));
	must_ask("{\"fn\": \"next_event\", \"after\": 9}");
}

Test(events, follow_one_another)
{
	json_t *data = json_pack("{ss}", "id", ID);
	const struct tp_event events[] = {
		{8, "session", data}, {100, "reset", data}, {101, "pool", data}};

	stub_reset();
	stub.events = events;
	stub.n_events = 3;
	must(listen(json_pack("{ss}", "after", "7"), NULL));
	must_be(stub.sent, "[{\"id\": 8, \"type\": \"session\", \"data\": {\"id\": \"" ID "\"}},"
			   " {\"id\": 100, \"type\": \"reset\", \"data\": {\"id\": \"" ID "\"}},"
			   " {\"id\": 101, \"type\": \"pool\", \"data\": {\"id\": \"" ID "\"}}]");
	must_be(stub.calls, "[{\"fn\": \"next_event\", \"after\": 7},"
			    " {\"fn\": \"next_event\", \"after\": 8},"
			    " {\"fn\": \"next_event\", \"after\": 100},"
			    " {\"fn\": \"next_event\", \"after\": 101}]");
	json_decref(data);
}

Test(events, end_with_their_reader)
{
	json_t *data = json_object();
	const struct tp_event events[] = {{8, "a", data}, {9, "b", data}, {10, "c", data}};

	stub_reset();
	stub.events = events;
	stub.n_events = 3;
	stub.patience = 2;
	must(listen(NULL, NULL));
	cr_assert_eq(json_array_size(stub.sent), 2);
	cr_assert_eq(json_array_size(stub.calls), 2);
	json_decref(data);
}

/* Of who loses the right to read: with the next event, which isn't sent, or without one. */
Test(events, end_with_their_reader_s_login)
{
	json_t *data = json_object();
	const struct tp_event events[] = {{8, "a", data}};

	stub_reset();
	stub.events = events;
	stub.n_events = 1;
	stub.over = true;
	must(listen(NULL, NULL));
	must_be(stub.sent, "[{\"type\": \"error\", \"data\": {\"code\": \"denied\", "
			   "\"detail\": \"identify: as told\"}}]");
	json_decref(data);

	stub_reset();
	stub.code = TORPOR_E_TIMEOUT;
	stub.over = true;
	must(listen(NULL, NULL));
	cr_assert_eq(json_array_size(stub.calls), 1);
	cr_assert_eq(json_array_size(stub.sent), 1);

	/* Usage isn't sent either. */
	stub_reset();
	stub.over = true;
	must(listen(json_pack("{ss}", "usage", "5"), NULL));
	cr_assert_eq(json_array_size(stub.calls), 0);
	cr_assert_eq(json_array_size(stub.sent), 1);
}

/* Between events, without an id, and at once. */
Test(events, usage_as_often_as_it_is_asked_for)
{
	json_t *data = json_object();
	const struct tp_event events[] = {{8, "a", data}};

	stub_reset();
	stub.events = events;
	stub.n_events = 1;
	must(listen(json_pack("{ss}", "usage", "5"), NULL));
	must_be(stub.sent, "[{\"type\": \"usage\", \"data\": {\"sessions\": {}}},"
			   " {\"id\": 8, \"type\": \"a\", \"data\": {}}]");
	cr_assert_leq(stub.call.deadline_ns, tp_now_ns() + 5 * TP_NSEC_PER_SEC);
	json_decref(data);

	stub_reset();
	must_fail(listen(json_pack("{ss}", "usage", "61"), NULL), TORPOR_E_INVALID, "usage");
	must_fail(listen(json_pack("{ss}", "usage", "0"), NULL), TORPOR_E_INVALID, "usage");
}

Test(events, of_one_session)
{
	stub_reset();
	must(listen(json_pack("{ss}", "session", ID), NULL));
	must_be(stub.calls, "[{\"fn\": \"get\", \"id\": \"" ID "\"},"
			    " {\"fn\": \"next_event\", \"session\": \"" ID "\", \"after\": 41}]");
	stub_reset();
	must_fail(listen(json_pack("{ss}", "session", "x"), NULL), TORPOR_E_NOT_FOUND, "session");
	stub.code = TORPOR_E_NOT_FOUND;
	must_fail(listen(json_pack("{ss}", "session", ID), NULL), TORPOR_E_NOT_FOUND, "as told");
	cr_assert_eq(json_array_size(stub.sent), 0);
}

Test(events, failures_are_told)
{
	stub_reset();
	stub.code = TORPOR_E_DENIED;
	must(listen(NULL, NULL));
	must_be(stub.sent, "[{\"type\": \"error\", \"data\": {\"code\": \"denied\", \"detail\": "
			   "\"stub: as told\"}}]");
}

Test(events, ids_that_are_none)
{
	static const char *const bad[] = {"", "x", "-1", "1 ", "1x", "9999999999999999999"};

	for (size_t i = 0; i < TP_ARRAY_LEN(bad); i++) {
		stub_reset();
		must_fail(listen(json_pack("{ss}", "after", bad[i]), NULL), TORPOR_E_INVALID,
			"the id of an event");
		must_fail(listen(NULL, json_pack("{ss}", "Last-Event-ID", bad[i])),
			TORPOR_E_INVALID, "the id of an event");
	}
}

/* --- beside the API --- */

static void get(struct fake *fake, const char *pattern)
{
	fake_init(fake, NULL);
	must(fake_call(fake, route_handler("GET", pattern)));
}

Test(watch, health)
{
	struct fake fake;

	stub_reset();
	get(&fake, "/healthz");
	must_be(fake.reply.body, "{\"status\": \"ok\"}");
	fake_deinit(&fake);
	get(&fake, "/readyz");
	must_be(fake.reply.body, "{\"status\": \"ready\", \"missing\": null}");
	cr_assert_eq(fake.reply.status, 200);
	fake_deinit(&fake);
	stub.missing = "template minimal";
	get(&fake, "/readyz");
	must_be(fake.reply.body, "{\"status\": \"not ready\", \"missing\": \"template minimal\"}");
	cr_assert_eq(fake.reply.status, 503);
	fake_deinit(&fake);
}

Test(watch, metrics_are_the_admins_or_local)
{
	struct fake fake;

	stub_reset();
	fake_init(&fake, NULL);
	must_fail(fake_call(&fake, api_metrics), TORPOR_E_DENIED, "metrics");
	cr_assert_eq(json_array_size(stub.calls), 0);
	fake.req.local = true;
	must(fake_call(&fake, api_metrics));
	cr_assert_str_eq(fake.reply.text, "torpor_sessions 1\n");
	cr_assert_not_null(strstr(fake.reply.content_type, "text/plain"));
	fake_deinit(&fake);
	fake_init(&fake, NULL);
	fake.req.actor.admin = true;
	must(fake_call(&fake, api_metrics));
	fake_deinit(&fake);
}
