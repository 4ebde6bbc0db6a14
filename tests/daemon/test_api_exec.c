/* SPDX-License-Identifier: Apache-2.0 */
/* Commands: what is asked of the service, whole answers, and streams. */
#include "support.h"

#define EXEC "/v1/sessions/{id}/exec"

#define EURO "\xe2\x82\xac"
#define FFFD "\xef\xbf\xbd"

static struct fake fake;

static void run_with(const char *body, bool streamed)
{
	fake_init(&fake, body);
	fake.req.wants_events = streamed;
	must(fake_call(&fake, route_handler("POST", EXEC)));
}

static void outputs(const struct stub_chunk *chunks, size_t n)
{
	stub_reset();
	stub.chunks = chunks;
	stub.n_chunks = n;
	stub.result = (struct torpor_exec_result){.exited = true};
}

Test(exec, passes_all_fields_on)
{
	passes("POST", EXEC, "{\"argv\": [\"ls\"]}",
		"{\"fn\": \"exec\", \"id\": \"" ID "\", \"argv\": [\"ls\"]}");
	passes("POST", EXEC,
		"{\"argv\": [\"sh\", \"\", \"x\"], \"env\": {\"A\": \"b\"}, \"cwd\": \"/tmp\", "
		"\"stdin\": \"in\", \"wake\": true, \"kill_on_disconnect\": true, \"timeout_s\": "
		"5, "
		"\"encoding\": \"utf-8\"}",
		"{\"fn\": \"exec\", \"id\": \"" ID "\", \"argv\": [\"sh\", \"\", \"x\"], "
		"\"env\": {\"A\": \"b\"}, \"cwd\": \"/tmp\", \"wake\": true, "
		"\"kill_on_cancel\": true}");
	cr_assert_str_eq(stub.input, "in");
}

Test(exec, input)
{
	passes("POST", EXEC, "{\"argv\": [\"a\"]}",
		"{\"fn\": \"exec\", \"id\": \"" ID "\", \"argv\": [\"a\"]}");
	cr_assert_null(stub.input);
	passes("POST", EXEC, "{\"argv\": [\"a\"], \"stdin\": \"\"}",
		"{\"fn\": \"exec\", \"id\": \"" ID "\", \"argv\": [\"a\"]}");
	cr_assert_str_eq(stub.input, "", "an empty input is one");
	passes("POST", EXEC,
		"{\"argv\": [\"a\"], \"stdin\": \"Zm9vYg==\", \"encoding\": \"base64\"}",
		"{\"fn\": \"exec\", \"id\": \"" ID "\", \"argv\": [\"a\"]}");
	cr_assert_str_eq(stub.input, "foob");
	passes("POST", EXEC, "{\"argv\": [\"a\"], \"stdin\": \"Zm9vYg==\"}",
		"{\"fn\": \"exec\", \"id\": \"" ID "\", \"argv\": [\"a\"]}");
	cr_assert_str_eq(stub.input, "Zm9vYg==");
}

Test(exec, time)
{
	uint64_t entered_ns = tp_now_ns();

	stub_reset();
	run_with("{\"argv\": [\"a\"]}", false);
	cr_assert_eq(stub.call.deadline_ns, TP_NO_DEADLINE);
	cr_assert_eq(stub.call.cancel_fd, http_stream_gone_fd(NULL), "not cancelled by its client");
	fake_deinit(&fake);
	run_with("{\"argv\": [\"a\"], \"timeout_s\": 86400}", false);
	cr_assert_geq(stub.call.deadline_ns, entered_ns + 86400 * TP_NSEC_PER_SEC);
	cr_assert_leq(stub.call.deadline_ns, tp_now_ns() + 86400 * TP_NSEC_PER_SEC);
	fake_deinit(&fake);
}

/* A body whose argv is COUNT strings of LEN bytes. */
static char *argv_body(size_t count, size_t len)
{
	json_t *argv = json_array();
	TP_FREE char *word = tp_calloc(1, len + 1);

	memset(word, 'x', len);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(argv, json_string(word));
	json_t *body = json_pack("{so}", "argv", argv);
	char *text = json_dumps(body, 0);
	json_decref(body);
	return text;
}

Test(exec, arguments_have_bounds)
{
	static const struct {
		size_t count, len;
		const char *part;
	} bad[] = {
		{0, 0, "\"argv\" must be an array of 1 to 512 strings"},
		{513, 1, "\"argv\" must be an array of 1 to 512 strings"},
		{1, 16384, "\"argv\" must have at most 16384 bytes in all"},
		{2, 8192, "\"argv\" must have at most 16384 bytes in all"},
		{1, 0, "\"argv\" must begin with the command"},
	};
	static const size_t good[][2] = {{512, 31}, {1, 16383}, {2, 8191}};

	for (size_t i = 0; i < TP_ARRAY_LEN(bad); i++) {
		TP_FREE char *body = argv_body(bad[i].count, bad[i].len);

		refuses("POST", EXEC, body, bad[i].part);
	}
	for (size_t i = 0; i < TP_ARRAY_LEN(good); i++) {
		TP_FREE char *body = argv_body(good[i][0], good[i][1]);

		stub_reset();
		run_with(body, false);
		cr_assert_eq(json_array_size(stub.calls), 1);
		fake_deinit(&fake);
	}
}

Test(exec, refuses_what_is_out_of_bounds)
{
	static const char *const cases[][2] = {
		{"{}", "\"argv\" is missing"},
		{"{\"argv\": \"ls\"}", "\"argv\" must be an array"},
		{"{\"argv\": [1]}", "\"argv\" must hold strings"},
		{"{\"argv\": [\"a\"], \"cwd\": \"tmp\"}", "\"cwd\" must be an absolute path"},
		{"{\"argv\": [\"a\"], \"encoding\": \"latin1\"}", "one of: utf-8, base64"},
		{"{\"argv\": [\"a\"], \"stdin\": \"Zg=\", \"encoding\": \"base64\"}",
			"\"stdin\" must be base64"},
		{"{\"argv\": [\"a\"], \"timeout_s\": 0}", "\"timeout_s\" must be"},
		{"{\"argv\": [\"a\"], \"timeout_s\": 86401}", "\"timeout_s\" must be"},
		{"{\"argv\": [\"a\"], \"wake\": \"yes\"}", "\"wake\" must be true or false"},
		{"{\"argv\": [\"a\"], \"env\": {\"A B\": \"\"}}", "\"env\" has a key"},
		{"{\"argv\": [\"a\"], \"tty\": true}", "\"tty\" is no field"},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(cases); i++)
		refuses("POST", EXEC, cases[i][0], cases[i][1]);
}

/* --- whole --- */

Test(whole, answers_with_all_output)
{
	static const struct stub_chunk chunks[] = {
		{1, "a\xe2", 2}, {2, "err\xff", 4}, {1, "\x82\xac", 2}, {1, "\0b\xc3", 3}};

	outputs(chunks, TP_ARRAY_LEN(chunks));
	stub.result.status = 3;
	run_with("{\"argv\": [\"a\"]}", false);
	must_be(fake.reply.body, "{\"exit_status\": 3, \"signal\": null, \"stdout\": \"a" EURO FFFD
				 "b" FFFD "\", \"stderr\": \"err" FFFD "\", \"truncated\": false}");
	fake_deinit(&fake);
}

Test(whole, a_signal)
{
	outputs(NULL, 0);
	stub.result = (struct torpor_exec_result){.exited = false, .status = 9};
	run_with("{\"argv\": [\"a\"]}", false);
	must_be(fake.reply.body, "{\"exit_status\": null, \"signal\": 9, \"stdout\": \"\", "
				 "\"stderr\": \"\", \"truncated\": false}");
	fake_deinit(&fake);
}

Test(whole, base64)
{
	static const struct stub_chunk chunks[] = {{1, "fo", 2}, {1, "\xff\0", 2}};

	outputs(chunks, TP_ARRAY_LEN(chunks));
	run_with("{\"argv\": [\"a\"], \"encoding\": \"base64\"}", false);
	must_be(fake.reply.body, "{\"exit_status\": 0, \"signal\": null, \"stdout\": \"Zm//AA==\", "
				 "\"stderr\": \"\", \"truncated\": false}");
	fake_deinit(&fake);
}

/* Of each stream 1 MiB is kept; a character that this cuts is left out. */
Test(whole, output_has_bounds)
{
	TP_FREE char *big = tp_malloc(API_OUTPUT_MAX + 1);
	struct stub_chunk chunks[] = {{1, big, API_OUTPUT_MAX - 1}, {1, EURO, 3}, {1, "more", 4},
		{2, big, API_OUTPUT_MAX}};

	memset(big, 'x', API_OUTPUT_MAX + 1);
	outputs(chunks, 4);
	run_with("{\"argv\": [\"a\"]}", false);
	cr_assert_eq(
		json_string_length(json_object_get(fake.reply.body, "stdout")), API_OUTPUT_MAX - 1);
	cr_assert_eq(
		json_string_length(json_object_get(fake.reply.body, "stderr")), API_OUTPUT_MAX);
	cr_assert(json_is_true(json_object_get(fake.reply.body, "truncated")));
	fake_deinit(&fake);

	outputs(chunks + 3, 1);
	run_with("{\"argv\": [\"a\"]}", false);
	cr_assert(json_is_false(json_object_get(fake.reply.body, "truncated")));
	fake_deinit(&fake);
}

static void fails_as(enum torpor_errc code, const char *reason, enum torpor_errc answered)
{
	stub_reset();
	stub.code = code;
	stub.reason = reason;
	fake_init(&fake, "{\"argv\": [\"a\"]}");
	must_fail(fake_call(&fake, route_handler("POST", EXEC)), answered, "as told");
	fake_deinit(&fake);
}

Test(whole, failures_come_through)
{
	fails_as(TORPOR_E_NOT_FOUND, NULL, TORPOR_E_NOT_FOUND);
	fails_as(TORPOR_E_LIMIT, "host-memory", TORPOR_E_LIMIT);
	/* The guest takes no command that long. */
	fails_as(TORPOR_E_LIMIT, NULL, TORPOR_E_INVALID);
}

/* --- streamed --- */

Test(stream, output_becomes_events)
{
	static const struct stub_chunk chunks[] = {{1, "a\xe2\x82", 3}, {2, "\xe2", 1},
		{1, "\xac", 1}, {2, "x", 1}, {1, "\xf0\x9f", 2}};

	outputs(chunks, TP_ARRAY_LEN(chunks));
	stub.result.status = 1;
	run_with("{\"argv\": [\"a\"], \"kill_on_disconnect\": true, \"stdin\": \"in\"}", true);
	must_be(stub.sent,
		"[{\"type\": \"started\", \"data\": {\"session\": \"" ID "\"}},"
		" {\"type\": \"stdout\", \"data\": {\"data\": \"a\"}},"
		" {\"type\": \"stdout\", \"data\": {\"data\": \"" EURO "\"}},"
		" {\"type\": \"stderr\", \"data\": {\"data\": \"" FFFD "x\"}},"
		" {\"type\": \"stdout\", \"data\": {\"data\": \"" FFFD "\"}},"
		" {\"type\": \"exit\", \"data\": {\"exit_status\": 1, \"signal\": null}}]");
	must_ask("{\"fn\": \"exec\", \"id\": \"" ID "\", \"argv\": [\"a\"], \"kill_on_cancel\": "
		 "true}");
	cr_assert_str_eq(stub.input, "in");
	cr_assert_str_eq(stub.actor.tenant, "alice");
	cr_assert_eq(stub.call.cancel_fd, http_stream_gone_fd(NULL), "not cancelled by its reader");
	fake_deinit(&fake);
}

Test(stream, base64_stands_for_itself_in_each_event)
{
	static const struct stub_chunk chunks[] = {{1, "f", 1}, {1, "\xff", 1}};

	outputs(chunks, TP_ARRAY_LEN(chunks));
	run_with("{\"argv\": [\"a\"], \"encoding\": \"base64\"}", true);
	must_be(json_array_get(stub.sent, 1),
		"{\"type\": \"stdout\", \"data\": {\"data\": \"Zg==\"}}");
	must_be(json_array_get(stub.sent, 2),
		"{\"type\": \"stdout\", \"data\": {\"data\": \"/w==\"}}");
	fake_deinit(&fake);
}

/* There is no bound on all of it, but on one event; no character is lost at the cuts. */
Test(stream, large_output_comes_in_pieces)
{
	size_t len = 3 * (1u << 20);
	TP_FREE char *big = tp_malloc(len);
	struct stub_chunk chunk = {1, big, len};
	size_t total = 0;
	size_t i;
	json_t *event;

	for (size_t at = 0; at < len; at += 3)
		memcpy(big + at, EURO, 3);
	outputs(&chunk, 1);
	run_with("{\"argv\": [\"a\"]}", true);
	json_array_foreach (stub.sent, i, event) {
		const json_t *data = json_object_get(json_object_get(event, "data"), "data");

		cr_assert_leq(json_string_length(data), 32768 + 3);
		cr_assert_eq(json_string_length(data) % 3, 0);
		cr_assert(!data || !strstr(json_string_value(data), FFFD));
		total += json_string_length(data);
	}
	cr_assert_eq(total, len);
	fake_deinit(&fake);
}

Test(stream, failures_are_its_last_event)
{
	static const struct stub_chunk chunks[] = {{1, "a", 1}};

	outputs(chunks, 1);
	stub.code = TORPOR_E_GUEST;
	run_with("{\"argv\": [\"a\"]}", true);
	cr_assert_eq(json_array_size(stub.sent), 3);
	must_be(json_array_get(stub.sent, 2), "{\"type\": \"error\", \"data\": {\"code\": "
					      "\"guest\", \"detail\": \"stub: as told\"}}");
	fake_deinit(&fake);
}

/* What is wrong with the request is told before a stream begins. */
Test(stream, bad_requests_have_a_status)
{
	stub_reset();
	fake_init(&fake, "{\"argv\": []}");
	fake.req.wants_events = true;
	must_fail(fake_call(&fake, route_handler("POST", EXEC)), TORPOR_E_INVALID, "argv");
	cr_assert_eq(json_array_size(stub.sent), 0);
	fake_deinit(&fake);
}

/* A stream that is never begun (its reader was gone) leaks nothing: ASan looks. */
Test(stream, never_begun)
{
	stub_reset();
	fake_init(&fake, "{\"argv\": [\"a\"], \"stdin\": \"x\"}");
	fake.req.wants_events = true;
	must(route_handler("POST", EXEC)(&fake.req, &fake.reply));
	cr_assert_eq(json_array_size(stub.calls), 0);
	fake_deinit(&fake);
}
