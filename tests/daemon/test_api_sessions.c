/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers of sessions: every field reaches the service, and nothing that is out of bounds. */
#include "support.h"

#define SESSION "/v1/sessions/{id}"

/* DEADLINE is SECONDS behind a moment between ENTERED and now. */
static void must_end_in(uint64_t entered_ns, uint64_t seconds)
{
	cr_assert_geq(stub.call.deadline_ns, entered_ns + seconds * TP_NSEC_PER_SEC);
	cr_assert_leq(stub.call.deadline_ns, tp_now_ns() + seconds * TP_NSEC_PER_SEC);
}

Test(create, passes_all_fields_on)
{
	passes("POST", "/v1/sessions", "{\"template\": \"minimal\"}",
		"{\"fn\": \"create\", \"template\": \"minimal\"}");
	passes("POST", "/v1/sessions",
		"{\"template\": \"t\", \"name\": \"n\", \"env\": {\"A_1\": \"b\\nc\"}, \"ttl_s\": "
		"1,"
		" \"idle_s\": 0, \"retention_s\": 315360000, \"labels\": {\"a/b\": \"c d\"},"
		" \"limits\": {\"cpus\": 0.5, \"pids\": 64, \"nofile\": null}, \"wait_s\": 7}",
		"{\"fn\": \"create\", \"template\": \"t\", \"name\": \"n\", \"env\": {\"A_1\": "
		"\"b\\nc\"}, \"ttl_s\": 1, \"idle_s\": 0, \"retention_s\": 315360000, \"labels\": "
		"{\"a/b\": \"c d\"}, \"limits\": {\"cpus\": 0.5, \"pids\": 64, \"nofile\": null}}");
}

Test(create, answers_201_with_the_location)
{
	struct fake fake;

	stub_reset();
	fake_init(&fake, "{\"template\": \"minimal\"}");
	must(fake_call(&fake, route_handler("POST", "/v1/sessions")));
	cr_assert_eq(fake.reply.status, 201);
	cr_assert_str_eq(made_by("/v1/sessions", &fake), ID);
	must_be(fake.reply.body, "{\"id\": \"" ID "\", \"name\": \"demo\"}");
	cr_assert_str_eq(stub.actor.tenant, "alice");
	cr_assert_str_eq(stub.actor.how, "token 3f9c");
	fake_deinit(&fake);
}

static void create_with(const char *body, uint64_t deadline_ns)
{
	struct fake fake;

	stub_reset();
	fake_init(&fake, body);
	fake.req.call.deadline_ns = deadline_ns;
	must(fake_call(&fake, api_create));
	fake_deinit(&fake);
}

Test(create, has_as_long_as_it_says)
{
	uint64_t entered_ns = tp_now_ns();

	create_with("{\"template\": \"t\"}", TP_NO_DEADLINE);
	must_end_in(entered_ns, 60);
	create_with("{\"template\": \"t\", \"wait_s\": 600}", TP_NO_DEADLINE);
	must_end_in(entered_ns, 600);
	create_with("{\"template\": \"t\"}", 77);
	cr_assert_eq(stub.call.deadline_ns, 77);
	create_with("{\"template\": \"t\", \"wait_s\": 600}", 77);
	cr_assert_eq(stub.call.deadline_ns, 77);
}

Test(create, failures_come_through)
{
	struct fake fake;

	stub_reset();
	stub.code = TORPOR_E_LIMIT;
	stub.reason = "tenant-sessions";
	fake_init(&fake, "{\"template\": \"minimal\"}");
	struct torpor_error *err = fake_call(&fake, api_create);
	cr_assert_str_eq(torpor_error_reason(err), "tenant-sessions");
	must_fail(err, TORPOR_E_LIMIT, "as told");
	cr_assert_null(fake.reply.body);
	fake_deinit(&fake);
}

Test(create, refuses_what_is_out_of_bounds)
{
	static const char *const cases[][2] = {
		{"{}", "\"template\" is missing"},
		{"{\"template\": \"../x\"}", "\"template\" must be a name"},
		{"{\"template\": \"t\", \"tenant\": \"bob\"}", "\"tenant\" is no field"},
		{"{\"template\": \"t\", \"name\": \"a b\"}", "\"name\" must be a name"},
		{"{\"template\": \"t\", \"ttl_s\": -1}", "\"ttl_s\" must be a whole number from 0"},
		{"{\"template\": \"t\", \"idle_s\": 315360001}", "\"idle_s\" must be"},
		{"{\"template\": \"t\", \"retention_s\": \"1\"}", "\"retention_s\" must be"},
		{"{\"template\": \"t\", \"wait_s\": 601}", "\"wait_s\" must be"},
		{"{\"template\": \"t\", \"env\": {\"A=\": \"\"}}", "\"env\" has a key"},
		{"{\"template\": \"t\", \"env\": {\"\": \"\"}}", "\"env\" has a key"},
		{"{\"template\": \"t\", \"env\": {\"1A\": \"\"}}", "\"env\" has a key"},
		{"{\"template\": \"t\", \"env\": {\"A\": 1}}", "\"env\" must have strings"},
		{"{\"template\": \"t\", \"labels\": {\"a=b\": \"\"}}", "\"labels\" has a key"},
		{"{\"template\": \"t\", \"labels\": {\"a\": \"\\u001b\"}}", "control characters"},
		{"{\"template\": \"t\", \"limits\": {\"cpus\": 0}}", "\"limits.cpus\" must be"},
		{"{\"template\": \"t\", \"limits\": {\"unenforced\": []}}",
			"\"limits.unenforced\" is no"},
		{"{\"template\": \"t\", \"limits\": []}", "\"limits\" must be an object"},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++)
		refuses("POST", "/v1/sessions", cases[i][0], cases[i][1]);
}

/* An env of ENTRIES variables of LEN bytes each, names of 4 bytes included. */
static char *env_body(size_t entries, size_t len)
{
	json_t *env = json_object();
	TP_FREE char *value = tp_calloc(1, len);

	memset(value, 'x', len - 4);
	for (size_t i = 0; i < entries; i++) {
		TP_FREE char *name = tp_asprintf("N%03zu", i);

		json_object_set_new(env, name, json_string(value));
	}
	json_t *body = json_pack("{ss so}", "template", "t", "env", env);
	char *text = json_dumps(body, 0);
	json_decref(body);
	return text;
}

Test(create, environments_have_bounds)
{
	static const struct {
		size_t entries, len;
		const char *part;
	} bad[] = {
		{65, 4, "\"env\" must be an object of at most 64 strings"},
		{1, 4097, "\"env\" has an entry of more than 4096 bytes"},
		{2, 4095, "\"env\" must have at most 8192 bytes in all"},
	};
	static const size_t good[][2] = {{64, 126}, {1, 4096}, {2, 4094}};

	for (size_t i = 0; i < TP_ARRAY_LEN(bad); i++) {
		TP_FREE char *body = env_body(bad[i].entries, bad[i].len);

		refuses("POST", "/v1/sessions", body, bad[i].part);
	}
	for (size_t i = 0; i < TP_ARRAY_LEN(good); i++) {
		TP_FREE char *body = env_body(good[i][0], good[i][1]);

		create_with(body, TP_NO_DEADLINE);
	}
}

/* --- listing --- */

static struct torpor_error *list(json_t *query)
{
	struct fake fake;

	stub_reset();
	fake_init(&fake, NULL);
	fake.query = query;
	struct torpor_error *err = fake_call(&fake, route_handler("GET", "/v1/sessions"));
	fake_deinit(&fake);
	json_decref(query);
	return err;
}

Test(list, passes_all_filters_on)
{
	must(list(NULL));
	must_ask("{\"fn\": \"list\", \"limit\": 100}");
	must(list(json_pack("{ss ss ss ss ss ss}", "state", "parked", "template", "t", "label",
		"team/x=a=b", "match", "k3v9", "limit", "1000", "cursor", "c0ffee")));
	must_ask("{\"fn\": \"list\", \"state\": \"parked\", \"template\": \"t\", \"label_key\": "
		 "\"team/x\", \"label_value\": \"a=b\", \"match\": \"k3v9\", \"limit\": 1000, "
		 "\"cursor\": \"c0ffee\"}");
	must(list(json_pack("{ss}", "label", "team=")));
	must_ask("{\"fn\": \"list\", \"label_key\": \"team\", \"label_value\": \"\", \"limit\": "
		 "100}");
}

Test(list, refuses_what_is_out_of_bounds)
{
	static const char *const bad[][2] = {
		{"state", "asleep"},
		{"state", ""},
		{"template", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
		{"match", "\xff"},
		{"match", "a\n"},
		{"label", "team"},
		{"label", "=a"},
		{"label", "te am=a"},
		{"limit", "0"},
		{"limit", "1001"},
		{"limit", "ten"},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(bad); i++) {
		/* Not all of it is UTF-8. */
		json_t *query = json_object();

		json_object_set_new(query, bad[i][0], json_string_nocheck(bad[i][1]));
		must_fail(list(query), TORPOR_E_INVALID, bad[i][0]);
		cr_assert_eq(json_array_size(stub.calls), 0);
	}
}

/* --- from libvirt --- */

Test(session, imports)
{
	passes("POST", "/v1/imports", "{\"domain\": \"d 1\"}",
		"{\"fn\": \"import\", \"domain\": \"d 1\"}");
	passes("POST", "/v1/imports",
		"{\"domain\": \"d\", \"connect\": \"qemu:///system\", \"name\": \"n\", "
		"\"keep\": true, \"ttl_s\": 1, \"labels\": {\"a\": \"b\"}}",
		"{\"fn\": \"import\", \"domain\": \"d\", \"connect\": \"qemu:///system\", "
		"\"name\": \"n\", \"keep\": true, \"ttl_s\": 1, \"labels\": {\"a\": "
		"\"b\"}}");
	refuses("POST", "/v1/imports", "{}", "\"domain\" is missing");
	refuses("POST", "/v1/imports", "{\"domain\": \"\"}", "\"domain\" must");
	refuses("POST", "/v1/imports", "{\"domain\": \"d\", \"name\": \"../x\"}",
		"\"name\" must be a name");
	refuses("POST", "/v1/imports", "{\"domain\": \"d\", \"disk\": 1}", "is no field");
}

/* --- one session --- */

Test(session, operations_pass_the_id_on)
{
	static const char *const cases[][4] = {
		{"GET", SESSION, NULL, "{\"fn\": \"get\", \"id\": \"" ID "\"}"},
		{"DELETE", SESSION, NULL, "{\"fn\": \"destroy\", \"id\": \"" ID "\"}"},
		{"POST", SESSION "/park", "{}", "{\"fn\": \"park\", \"id\": \"" ID "\"}"},
		{"DELETE", SESSION "/park", NULL, "{\"fn\": \"cancel_park\", \"id\": \"" ID "\"}"},
		{"POST", SESSION "/resume", "{}", "{\"fn\": \"resume\", \"id\": \"" ID "\"}"},
		{"POST", SESSION "/pause", "{}", "{\"fn\": \"pause\", \"id\": \"" ID "\"}"},
		{"POST", SESSION "/unpause", "{}", "{\"fn\": \"unpause\", \"id\": \"" ID "\"}"},
		{"POST", SESSION "/checkpoint", "{}",
			"{\"fn\": \"checkpoint\", \"id\": \"" ID "\"}"},
		{"POST", SESSION "/checkpoint", "{\"name\": \"c1\"}",
			"{\"fn\": \"checkpoint\", \"id\": \"" ID "\", \"name\": \"c1\"}"},
		{"GET", SESSION "/images", NULL, "{\"fn\": \"images\", \"id\": \"" ID "\"}"},
		{"DELETE", SESSION "/images/{name}", NULL,
			"{\"fn\": \"remove_image\", \"id\": \"" ID "\", \"name\": \"before\"}"},
		{"GET", SESSION "/images/{name}/where", NULL,
			"{\"fn\": \"image_where\", \"id\": \"" ID "\", \"name\": \"before\"}"},
		{"GET", SESSION "/metrics", NULL,
			"{\"fn\": \"session_metrics\", \"id\": \"" ID "\"}"},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++)
		passes(cases[i][0], cases[i][1], cases[i][2], cases[i][3]);
}

Test(session, operations_take_no_fields)
{
	static const char *const operations[] = {
		SESSION "/park", SESSION "/resume", SESSION "/pause", SESSION "/unpause"};

	for (size_t i = 0; i < TP_ARRAY_LEN(operations); i++)
		refuses("POST", operations[i], "{\"force\": true}", "\"force\" is no field");
	refuses("POST", SESSION "/checkpoint", "{\"name\": \"../x\"}", "\"name\" must be a name");
	refuses("POST", SESSION "/checkpoint", "{\"label\": \"x\"}", "\"label\" is no field");
}

/* What can't be an id is answered like one that doesn't exist, and never reaches the service. */
Test(session, ids_that_are_none)
{
	static const char *const bad[] = {"", "k3v9", "K3V9Q2M7X4TZ0D8H", "k3v9q2m7x4tz0d8h0",
		"k3v9q2m7x4tz0d8/", "k3v9q2m7x4tz0d8h/", "../../etc/passwd", "\xff\xff",
		"k3v9q2m7x4tz0d8\n"};

	for (const struct http_route *route = http_routes; route->method; route++) {
		if (strncmp(route->pattern, SESSION, strlen(SESSION)) != 0)
			continue;
		for (size_t i = 0; i < TP_ARRAY_LEN(bad); i++) {
			struct fake fake;

			stub_reset();
			fake_init(&fake,
				strstr(route->pattern, "exec") ? "{\"argv\": [\"a\"]}" : "{}");
			fake.req.params[0] = bad[i];
			struct torpor_error *err = fake_call(&fake, route->handler);
			/* Its message can be answered as JSON, whatever the id was. */
			json_t *text = json_string(torpor_error_message(err));
			cr_assert_not_null(text);
			json_decref(text);
			must_fail(err, TORPOR_E_NOT_FOUND, "session");
			cr_assert_eq(json_array_size(stub.calls), 0);
			fake_deinit(&fake);
		}
	}
}

Test(session, change_passes_all_fields_on)
{
	passes("PATCH", SESSION, "{}", "{\"fn\": \"change\", \"id\": \"" ID "\"}");
	passes("PATCH", SESSION,
		"{\"name\": \"n\", \"ttl_s\": 0, \"idle_s\": 5, \"retention_s\": 6, \"labels\": "
		"{}}",
		"{\"fn\": \"change\", \"id\": \"" ID "\", \"name\": \"n\", \"ttl_s\": 0, "
		"\"idle_s\": 5, \"retention_s\": 6, \"labels\": {}}");
	passes("PATCH", SESSION, "{\"limits\": {\"pids\": 5}}",
		"{\"fn\": \"change\", \"id\": \"" ID "\", \"limits\": {\"pids\": 5}}");
	refuses("PATCH", SESSION, "{\"limits\": {\"pids\": 0}}", "\"limits.pids\"");
	refuses("PATCH", SESSION, "{\"env\": {}}", "\"env\" is no field");
	refuses("PATCH", SESSION, "{\"tenant\": \"bob\"}", "\"tenant\" is no field");
}

/* --- fork --- */

Test(fork, passes_all_fields_on)
{
	passes("POST", SESSION "/fork", "{}",
		"{\"fn\": \"fork\", \"id\": \"" ID "\", \"count\": 1}");
	passes("POST", SESSION "/fork", "{\"names\": [\"a\", \"b\"]}",
		"{\"fn\": \"fork\", \"id\": \"" ID "\", \"count\": 2, \"names\": [\"a\", \"b\"]}");
	passes("POST", SESSION "/fork",
		"{\"count\": 100, \"image\": \"i\", \"ttl_s\": 1, \"idle_s\": 2, "
		"\"retention_s\": 3, \"labels\": {\"k\": \"v\"}}",
		"{\"fn\": \"fork\", \"id\": \"" ID "\", \"count\": 100, \"image\": \"i\", "
		"\"ttl_s\": 1, \"idle_s\": 2, \"retention_s\": 3, \"labels\": {\"k\": \"v\"}}");
}

Test(fork, refuses_what_is_out_of_bounds)
{
	static const char *const cases[][2] = {
		{"{\"count\": 0}", "\"count\" must be a whole number from 1 to 100"},
		{"{\"count\": 101}", "\"count\" must be"},
		{"{\"count\": 3, \"names\": [\"a\", \"b\"]}",
			"as many entries as \"count\" says: 3"},
		{"{\"count\": 1, \"names\": [\"a\", \"b\"]}",
			"as many entries as \"count\" says: 1"},
		{"{\"names\": []}", "\"names\" must be an array of 1 to 100"},
		{"{\"names\": [\"a b\"]}", "\"names\" must hold names"},
		{"{\"names\": [1]}", "\"names\" must hold strings"},
		{"{\"image\": \"a/b\"}", "\"image\" must be a name"},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++)
		refuses("POST", SESSION "/fork", cases[i][0], cases[i][1]);
}

Test(fork, answers_201)
{
	struct fake fake;

	stub_reset();
	fake_init(&fake, "{}");
	must(fake_call(&fake, api_fork));
	cr_assert_eq(fake.reply.status, 201);
	fake_deinit(&fake);
}
