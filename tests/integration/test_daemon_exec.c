/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of one session at once, through the real torpord: streamed ones, and others beside. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "base/macros.h"
#include "daemon.h"
#include "guest/wire.h"

static struct it_daemon torpord;
static struct it_who alice;

/* Called by the tests themselves: after a failure in a suite's init there is no fini. */
static const char *begin(void)
{
	struct it_who admin = {.daemon = &torpord};

	it_daemon_init(&torpord,
		"[tenants]\nrequests_per_minute = 100000\n[pool]\nwarm_min = 1\nwarm_max = 1\n");
	it_daemon_start(&torpord);
	alice = admin;
	alice.token = it_tenant(&admin, "alice", NULL);
	return it_string(
		it_expect(&alice, 201, "POST", "/v1/sessions", "{\"template\": \"minimal\"}"),
		"id");
}

static void end(void)
{
	it_daemon_deinit(&torpord);
}

TestSuite(daemon_exec, .fini = end, .timeout = 300);

static void post(const char *id, const char *op)
{
	it_expect(&alice, 200, "POST", it_text("/v1/sessions/%s/%s", id, op), NULL);
}

/* A streamed command, which has printed "up". */
static struct it_stream listen_to(const char *id, const char *script)
{
	struct it_stream stream = it_stream_open(&alice, "POST", it_session(id, "/exec"),
		it_text("{\"argv\": [\"sh\", \"-c\", \"echo up; %s\"]}", script));

	cr_assert_str_eq(it_stream_next(&stream).type, "started");
	struct it_event event = it_stream_next(&stream);
	cr_assert_str_eq(event.type, "stdout");
	cr_assert(strncmp(it_string(event.data, "data"), "up\n", 3) == 0);
	return stream;
}

/* Output may still come; the park is the end. */
static void expect_parked(struct it_stream *stream)
{
	struct it_event event;

	while (event = it_stream_next(stream), strcmp(event.type, "stdout") == 0)
		;
	cr_assert_str_eq(event.type, "error");
	cr_assert_eq(it_number(event.data, "status"), 409);
	cr_assert_str_eq(it_string(event.data, "type"), "urn:torpor:problem:busy");
	cr_assert(strstr(it_string(event.data, "detail"), "the session was parked"), "%s",
		it_string(event.data, "detail"));
	cr_assert_str_eq(it_stream_next(stream).type, "");
	it_stream_close(stream);
}

/* --- others, at the same time --- */

struct other {
	const char *id;
	unsigned int number;
	pthread_t thread;
};

static void *run_other(void *data)
{
	struct other *other = data;
	const char *text = it_text("%u", other->number);

	for (int i = 0; i < 3; i++)
		cr_assert_str_eq(
			it_script(&alice, other->id, it_text("echo %u | cat", other->number)),
			text);
	return NULL;
}

static void check_others(const char *id)
{
	struct other others[4];

	for (unsigned int i = 0; i < TP_ARRAY_LEN(others); i++) {
		others[i] = (struct other){.id = id, .number = 100 + i};
		cr_assert_eq(pthread_create(&others[i].thread, NULL, run_other, &others[i]), 0);
	}
	for (unsigned int i = 0; i < TP_ARRAY_LEN(others); i++)
		pthread_join(others[i].thread, NULL);
}

#define COUNT_SLEEPS "ps -o args | grep -c '^sleep 1000$'"

Test(daemon_exec, others_run_beside_a_streamed_one_and_a_park_cuts_it)
{
	const char *id = begin();
	struct it_stream server = listen_to(id, "sleep 1000");

	check_others(id);
	post(id, "park");
	expect_parked(&server);
	post(id, "resume");
	cr_assert_str_eq(it_script(&alice, id, COUNT_SLEEPS), "1");
	struct it_stream again = listen_to(id, "sleep 1000");
	check_others(id);
	cr_assert_str_eq(it_script(&alice, id, COUNT_SLEEPS), "2");
	it_expect(&alice, 204, "DELETE", it_session(id, ""), NULL);
	cr_assert_str_eq(it_stream_next(&again).type, "error");
	it_stream_close(&again);
}

Test(daemon_exec, a_stream_goes_on_after_checkpoint_pause_and_fork)
{
	const char *id = begin();
	struct it_stream stream = listen_to(id,
		"while [ ! -e /tmp/stop ]; do mv /tmp/say /tmp/said 2>/dev/null && cat /tmp/said; "
		"sleep 0.1; done; exit 5");
	static const char *const ops[] = {"checkpoint", "pause", "unpause", "fork"};
	struct it_event event;

	for (size_t i = 0; i < TP_ARRAY_LEN(ops); i++) {
		it_expect(&alice, strcmp(ops[i], "fork") == 0 ? 201 : 200, "POST",
			it_text("/v1/sessions/%s/%s", id, ops[i]), NULL);
		if (strcmp(ops[i], "pause") == 0)
			continue;
		it_script(&alice, id, it_text("echo %s >/tmp/x; mv /tmp/x /tmp/say", ops[i]));
		event = it_stream_next(&stream);
		cr_assert_str_eq(event.type, "stdout");
		cr_assert_str_eq(it_string(event.data, "data"), it_text("%s\n", ops[i]));
	}
	it_script(&alice, id, "touch /tmp/stop");
	event = it_stream_next(&stream);
	cr_assert_str_eq(event.type, "exit");
	cr_assert_eq(it_number(event.data, "exit_status"), 5);
	it_stream_close(&stream);
}

/* Its client reads nothing until all is over, and is still there to read that. */
Test(daemon_exec, one_that_nobody_reads_holds_up_nothing)
{
	const char *id = begin();
	struct it_stream stream = listen_to(id, "exec yes");

	/* Until it can't write any more. */
	it_script(&alice, id,
		"p=$(pidof yes); until [ \"$a\" ] && [ \"$a\" = \"$b\" ]; do "
		"a=$(cut -d ' ' -f 14,15 /proc/$p/stat); sleep 1; "
		"b=$(cut -d ' ' -f 14,15 /proc/$p/stat); done");
	check_others(id);
	post(id, "pause");
	post(id, "unpause");
	check_others(id);
	post(id, "park");
	post(id, "resume");
	check_others(id);
	expect_parked(&stream);
}

Test(daemon_exec, one_more_than_can_run_is_refused)
{
	const char *id = begin();
	struct it_stream streams[TP_WIRE_MAX_COMMANDS];

	for (size_t i = 0; i < TP_ARRAY_LEN(streams); i++)
		streams[i] = listen_to(id, "exec sleep 1000");
	const struct it_answer *answer =
		it_ask(&alice, "POST", it_session(id, "/exec"), "{\"argv\": [\"true\"]}");
	cr_assert_eq(answer->status, 429, "%s", answer->text);
	cr_assert_str_eq(it_string(answer->body, "reason"), "session-commands");
	cr_assert_str_eq(it_string(answer->body, "type"), "urn:torpor:problem:limit");
	cr_assert(it_header(answer, "Retry-After"));
	/* They aren't in the way once they were left. */
	post(id, "park");
	for (size_t i = 0; i < TP_ARRAY_LEN(streams); i++)
		expect_parked(&streams[i]);
	post(id, "resume");
	check_others(id);
}
