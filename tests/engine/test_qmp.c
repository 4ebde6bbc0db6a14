/* SPDX-License-Identifier: Apache-2.0 */
/* The QMP client against a scripted QEMU. */
#include "engine/qmp.h"

#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/control.h"
#include "peer.h"
#include "support.h"

#define GREETING                                                                                   \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "         \
	"\"package\": \"x\"}, \"capabilities\": [\"oob\"]}}"
#define OPENING                                                                                    \
	{PEER_REPLY, GREETING}, {PEER_EXPECT, "{\"execute\": \"qmp_capabilities\"}"},              \
	{                                                                                          \
		PEER_REPLY, "{\"return\": {}, \"id\": $ID}"                                        \
	}
#define OK                                                                                         \
	{                                                                                          \
		PEER_REPLY, "{\"return\": {}, \"id\": $ID}"                                        \
	}
#define EVENT(name, data)                                                                          \
	{                                                                                          \
		PEER_REPLY, "{\"timestamp\": {\"seconds\": 12, \"microseconds\": 34}, "            \
			    "\"event\": \"" name "\", \"data\": " data "}"                         \
	}
#define EXPECT(text)                                                                               \
	{                                                                                          \
		PEER_EXPECT, text                                                                  \
	}
#define CLOSE                                                                                      \
	{                                                                                          \
		PEER_CLOSE, NULL                                                                   \
	}

static struct peer peer;
static struct tp_qmp *qmp;
static struct tp_call call;

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	call = tp_call_within(OBJECT_TIMEOUT_NS);
}

TestSuite(qmp, .init = setup);

static void open_with(const struct peer_step *steps)
{
	peer_start(&peer, steps);
	must(tp_qmp_open(peer.other_fd, "s1", &call, &qmp));
}

static void finish(void)
{
	qmp = tp_qmp_close(qmp);
	peer_end(&peer);
}

static struct torpor_error *run(const char *command)
{
	return tp_qmp_execute(qmp, command, NULL, -1, &call, NULL);
}

static void must_not_open(const struct peer_step *steps, const char *part)
{
	peer_start(&peer, steps);
	must_fail(tp_qmp_open(peer.other_fd, "s1", &call, &qmp), TORPOR_E_QEMU, part);
	peer_end(&peer);
}

Test(qmp, greeting_arguments_and_results)
{
	static const struct peer_step steps[] = {OPENING,
		EXPECT("{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"fd:x\"}}"),
		{PEER_REPLY, "{\"return\": {\"answer\": 42}, \"id\": $ID}"}, CLOSE};
	json_t *result;

	open_with(steps);
	cr_assert_str_eq(tp_qmp_version(qmp), "7.2.22");
	must(tp_qmp_execute(qmp, "migrate", json_pack("{s:s}", "uri", "fd:x"), -1, &call, &result));
	cr_assert_eq(json_integer_value(json_object_get(result, "answer")), 42);
	json_decref(result);
	finish();
}

Test(qmp, descriptors_go_along)
{
	static const struct peer_step steps[] = {OPENING,
		{PEER_EXPECT_FD, "{\"execute\": \"getfd\", \"arguments\": {\"fdname\": \"a\"}}"},
		OK, EXPECT("{\"execute\": \"stop\"}"), OK, CLOSE};

	open_with(steps);
	must(tp_qmp_execute(
		qmp, "getfd", json_pack("{s:s}", "fdname", "a"), STDIN_FILENO, &call, NULL));
	must(run("stop"));
	finish();
}

Test(qmp, refusals)
{
	static const struct peer_step steps[] = {OPENING, EXPECT("{\"execute\": \"a\"}"),
		{PEER_REPLY, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no luck\"}, "
			     "\"id\": $ID}"},
		EXPECT("{\"execute\": \"b\"}"),
		{PEER_REPLY, "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"what?\"}, "
			     "\"id\": $ID}"},
		EXPECT("{\"execute\": \"c\"}"), OK, CLOSE};
	json_t *untouched = (json_t *)&peer;

	open_with(steps);
	must_fail(tp_qmp_execute(qmp, "a", NULL, -1, &call, &untouched), TORPOR_E_QEMU,
		"a s1: no luck (GenericError)");
	cr_assert_eq((void *)untouched, (void *)&peer);
	must_fail(run("b"), TORPOR_E_UNSUPPORTED, "CommandNotFound");
	must(run("c"));
	finish();
}

#define GREETING_AGAIN                                                                             \
	{                                                                                          \
		PEER_REPLY, "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7, \"minor\": 2, "     \
			    "\"micro\": 22}}, \"capabilities\": []}}"                              \
	}
#define NOT_NEGOTIATED                                                                             \
	{                                                                                          \
		PEER_REPLY, "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": "              \
			    "\"Expecting capabilities negotiation\"}, \"id\": $ID}"                \
	}

Test(qmp, a_second_greeting_is_answered_too)
{
	static const struct peer_step steps[] = {OPENING, GREETING_AGAIN,
		EXPECT("{\"execute\": \"a\"}"), NOT_NEGOTIATED,
		EXPECT("{\"execute\": \"qmp_capabilities\"}"), OK, EXPECT("{\"execute\": \"a\"}"),
		OK, CLOSE};

	open_with(steps);
	must(run("a"));
	finish();
}

Test(qmp, a_second_greeting_may_also_do_no_harm)
{
	static const struct peer_step steps[] = {OPENING, GREETING_AGAIN,
		EXPECT("{\"execute\": \"a\"}"), OK, EXPECT("{\"execute\": \"b\"}"), NOT_NEGOTIATED,
		EXPECT("{\"execute\": \"qmp_capabilities\"}"), NOT_NEGOTIATED, CLOSE};

	open_with(steps);
	must(run("a"));
	must_fail(run("b"), TORPOR_E_UNSUPPORTED, "Expecting");
	finish();
}

Test(qmp, human_monitor)
{
	static const struct peer_step steps[] = {OPENING,
		EXPECT("{\"execute\": \"human-monitor-command\", "
		       "\"arguments\": {\"command-line\": \"gpa2hva 0\"}}"),
		{PEER_REPLY, "{\"return\": \"at 0x1\\r\\n\", \"id\": $ID}"}, CLOSE};
	TP_FREE char *text = NULL;

	open_with(steps);
	must(tp_qmp_hmp(qmp, "gpa2hva 0", &call, &text));
	cr_assert_str_eq(text, "at 0x1\r\n");
	finish();
}

Test(qmp, events_wait_in_their_order)
{
	static const struct peer_step steps[] = {OPENING, EXPECT("{\"execute\": \"a\"}"),
		EVENT("STOP", "{}"), EVENT("RESUME", "{\"n\": 1}"), EVENT("MIGRATION", "{}"),
		EVENT("RESUME", "{\"n\": 2}"), OK, EXPECT("{\"execute\": \"b\"}"), OK,
		EVENT("LATE", "{}"), CLOSE};
	static const char *const wanted[] = {"RESUME", "NOTHING", NULL};
	static const char *const late[] = {"LATE", NULL};
	static const char *const both[] = {"MIGRATION", "STOP", NULL};
	struct tp_qmp_event event;

	open_with(steps);
	must(run("a"));
	for (int i = 1; i <= 2; i++) {
		must(tp_qmp_wait_event(qmp, wanted, &call, &event));
		cr_assert_str_eq(event.name, "RESUME");
		cr_assert_eq(json_integer_value(json_object_get(event.data, "n")), i);
		cr_assert_eq(event.realtime_ns, 12 * TP_NSEC_PER_SEC + 34000);
		cr_assert_leq(event.received_ns, tp_now_ns());
		tp_qmp_event_deinit(&event);
	}
	cr_assert_not(tp_qmp_take_event(qmp, wanted, &event));
	must(run("b"));
	must(tp_qmp_wait_event(qmp, late, &call, &event));
	tp_qmp_event_deinit(&event);
	must(tp_qmp_wait_event(qmp, both, &call, &event));
	cr_assert_str_eq(event.name, "STOP");
	tp_qmp_event_deinit(&event);
	tp_qmp_forget_events(qmp, NULL);
	cr_assert_not(tp_qmp_take_event(qmp, both, &event));
	finish();
}

/* What differs is the clock of the day, by which QEMU tells when. */
Test(qmp, a_guest_does_not_go_on_before_it_is_told_to)
{
	uint64_t second_ago = tp_realtime_ns() - TP_NSEC_PER_SEC;
	TP_FREE char *resume = tp_asprintf("{\"event\": \"RESUME\", \"timestamp\": "
					   "{\"seconds\": %ju, \"microseconds\": %ju}}",
		(uintmax_t)(second_ago / TP_NSEC_PER_SEC),
		(uintmax_t)(second_ago % TP_NSEC_PER_SEC / TP_NSEC_PER_USEC));
	const struct peer_step steps[] = {
		OPENING, EXPECT("{\"execute\": \"cont\"}"), {PEER_REPLY, resume}, OK, CLOSE};
	uint64_t resumed_ns;

	open_with(steps);
	struct tp_guest guest = {.name = (char *)"s1", .qmp = qmp};
	uint64_t before_ns = tp_now_ns();
	must(tp_guest_cont(&guest, &call, &resumed_ns));
	cr_assert_geq(resumed_ns, before_ns);
	cr_assert_leq(resumed_ns, tp_now_ns());
	finish();
}

Test(qmp, events_of_some_names_are_forgotten)
{
	static const struct peer_step steps[] = {OPENING, EXPECT("{\"execute\": \"a\"}"),
		EVENT("STOP", "{}"), EVENT("RESUME", "{}"), EVENT("STOP", "{}"),
		EVENT("MIGRATION", "{}"), OK, CLOSE};
	static const char *const stop[] = {"STOP", NULL};
	static const char *const rest[] = {"RESUME", "MIGRATION", NULL};
	struct tp_qmp_event event;

	open_with(steps);
	must(run("a"));
	tp_qmp_forget_events(qmp, stop);
	cr_assert_not(tp_qmp_take_event(qmp, stop, &event));
	cr_assert(tp_qmp_take_event(qmp, rest, &event));
	cr_assert_str_eq(event.name, "RESUME");
	tp_qmp_event_deinit(&event);
	cr_assert(tp_qmp_take_event(qmp, rest, &event));
	tp_qmp_event_deinit(&event);
	finish();
}

/* More events than are kept: the oldest go, the reason for the shutdown stays. */
Test(qmp, the_queue_is_bounded)
{
	static struct peer_step steps[5 + 1 + TP_QMP_EVENTS_MAX + 3] = {OPENING,
		EXPECT("{\"execute\": \"a\"}"), EVENT("SHUTDOWN", "{\"reason\": \"guest-reset\"}"),
		EVENT("FIRST", "{}")};
	static const struct peer_step noise = EVENT("NOISE", "{}");
	static const struct peer_step ok = OK;
	static const char *const lost[] = {"FIRST", "SHUTDOWN", NULL};
	static const char *const noises[] = {"NOISE", NULL};
	struct tp_qmp_event event;
	size_t n = 6;

	for (size_t i = 0; i < TP_QMP_EVENTS_MAX; i++)
		steps[n++] = noise;
	steps[n++] = ok;
	open_with(steps);
	must(run("a"));
	cr_assert_str_eq(tp_qmp_shutdown_reason(qmp), "guest-reset");
	cr_assert_not(tp_qmp_take_event(qmp, lost, &event));
	for (n = 0; tp_qmp_take_event(qmp, noises, &event); n++)
		tp_qmp_event_deinit(&event);
	cr_assert_eq(n, TP_QMP_EVENTS_MAX);
	finish();
}

Test(qmp, the_end_and_its_reason)
{
	static const struct peer_step steps[] = {OPENING, EXPECT("{\"execute\": \"quit\"}"),
		EVENT("SHUTDOWN", "{\"guest\": false, \"reason\": \"host-qmp-quit\"}"), CLOSE};

	open_with(steps);
	must_fail(run("quit"), TORPOR_E_QEMU, "QEMU closed its control socket");
	cr_assert(tp_qmp_closed(qmp));
	cr_assert_str_eq(tp_qmp_shutdown_reason(qmp), "host-qmp-quit");
	must_fail(run("stop"), TORPOR_E_QEMU, "host-qmp-quit");
	finish();
}

/* QEMU says why and closes while we write: the write fails, and the reason is still read. */
Test(qmp, the_reason_survives_a_failed_write)
{
	static const struct peer_step steps[] = {
		OPENING, EVENT("SHUTDOWN", "{\"reason\": \"guest-shutdown\"}"), CLOSE};
	struct pollfd closed = {.events = POLLRDHUP};

	open_with(steps);
	closed.fd = peer.other_fd;
	cr_assert_eq(poll(&closed, 1, 20000), 1);
	shutdown(peer.other_fd, SHUT_WR);
	must_fail(run("stop"), TORPOR_E_QEMU, "guest-shutdown");
	cr_assert_str_eq(tp_qmp_shutdown_reason(qmp), "guest-shutdown");
	finish();
}

Test(qmp, drain_learns_of_the_end)
{
	static const struct peer_step steps[] = {
		OPENING, EVENT("SHUTDOWN", "{\"reason\": \"host-signal\"}"), CLOSE};
	struct pollfd closed = {.events = POLLRDHUP};

	open_with(steps);
	closed.fd = peer.other_fd;
	cr_assert_eq(poll(&closed, 1, 20000), 1);
	tp_qmp_drain(qmp);
	cr_assert(tp_qmp_closed(qmp));
	cr_assert_str_eq(tp_qmp_shutdown_reason(qmp), "host-signal");
	finish();
}

/* libvirt ends QEMU when the guest has shut down: that isn't why. */
Test(qmp, what_the_guest_did_is_the_reason)
{
	static const struct peer_step steps[] = {OPENING,
		EVENT("SHUTDOWN", "{\"reason\": \"host-signal\"}"),
		EVENT("SHUTDOWN", "{\"reason\": \"guest-reset\"}"),
		EVENT("SHUTDOWN", "{\"reason\": \"host-signal\"}"), CLOSE};

	open_with(steps);
	must(tp_qmp_drain_to_end(qmp, &call));
	cr_assert(tp_qmp_closed(qmp));
	cr_assert_str_eq(tp_qmp_shutdown_reason(qmp), "guest-reset");
	finish();
}

Test(qmp, the_end_is_waited_for)
{
	static const struct peer_step steps[] = {
		OPENING, EXPECT("{\"execute\": \"stop\"}"), OK, CLOSE};
	struct tp_call soon = tp_call_within(20 * TP_NSEC_PER_MSEC);

	open_with(steps);
	must_fail(tp_qmp_drain_to_end(qmp, &soon), TORPOR_E_TIMEOUT, "");
	cr_assert_not(tp_qmp_closed(qmp));
	must(run("stop"));
	finish();
}

Test(qmp, late_replies_are_dropped)
{
	static const struct peer_step steps[] = {OPENING, EXPECT("{\"execute\": \"slow\"}"),
		{PEER_TELL, "got it"}, EXPECT("{\"execute\": \"next\", \"id\": 3}"),
		{PEER_REPLY, "{\"return\": {\"late\": true}, \"id\": 2}"},
		{PEER_REPLY, "{\"return\": {\"late\": false}, \"id\": 3}"}, CLOSE};
	json_t *result;

	open_with(steps);
	struct tp_call given_up = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = peer.told_fd};
	must_fail(
		tp_qmp_execute(qmp, "slow", NULL, -1, &given_up, NULL), TORPOR_E_CANCELLED, "slow");
	must(tp_qmp_execute(qmp, "next", NULL, -1, &call, &result));
	cr_assert(json_is_false(json_object_get(result, "late")));
	json_decref(result);
	finish();
}

/* Nothing waits: the answer is there once something behind it was read. */
Test(qmp, a_question_is_answered_by_and_by)
{
	static const struct peer_step steps[] = {OPENING, EXPECT("{\"execute\": \"query-status\"}"),
		EVENT("A", "{}"), OK, EVENT("B", "{}"), EXPECT("{\"execute\": \"cont\"}"), OK,
		CLOSE};
	static const char *const b[] = {"B", NULL};
	TP_QMP_EVENT struct tp_qmp_event event = {0};

	open_with(steps);
	cr_assert(tp_qmp_answered(qmp), "nothing was asked");
	must(tp_qmp_ask(qmp));
	must(tp_qmp_wait_event(qmp, b, &call, &event));
	cr_assert(tp_qmp_answered(qmp));
	must(run("cont"));
	cr_assert(tp_qmp_answered(qmp));
	must_fail(tp_qmp_wait_event(qmp, b, &call, &event), TORPOR_E_QEMU, "closed");
	cr_assert_not(tp_qmp_answered(qmp), "its end is no answer");
	must_fail(tp_qmp_ask(qmp), TORPOR_E_QEMU, "closed");
	finish();
}

Test(qmp, a_question_that_is_not_answered_is_in_nobodys_way)
{
	static const struct peer_step steps[] = {OPENING, EXPECT("{\"execute\": \"query-status\"}"),
		EVENT("A", "{}"), EXPECT("{\"execute\": \"cont\"}"),
		{PEER_REPLY, "{\"return\": {\"status\": \"paused\"}, \"id\": 2}"}, OK,
		{PEER_SEND, NULL}};
	static const char *const a[] = {"A", NULL};
	TP_QMP_EVENT struct tp_qmp_event event = {0};

	open_with(steps);
	must(tp_qmp_ask(qmp));
	must(tp_qmp_wait_event(qmp, a, &call, &event));
	cr_assert_not(tp_qmp_answered(qmp));
	cr_assert_not(tp_qmp_answered(qmp));
	must(run("cont"));
	cr_assert(tp_qmp_answered(qmp));
	finish();
}

/* Somebody who only ever talks about other things is not well, and holds nobody up. */
Test(qmp, no_flood_is_an_answer)
{
	static const struct peer_step steps[] = {OPENING, EXPECT("{\"execute\": \"query-status\"}"),
		{PEER_FLOOD, "{\"event\": \"A\"}\n"}, {PEER_SEND, NULL}};
	static const char *const a[] = {"A", NULL};
	TP_QMP_EVENT struct tp_qmp_event event = {0};

	open_with(steps);
	must(tp_qmp_ask(qmp));
	must(tp_qmp_wait_event(qmp, a, &call, &event));
	for (int i = 0; i < 100; i++)
		cr_assert_not(tp_qmp_answered(qmp));
	finish();
}

/* A call that is over before it begins costs nothing: the next one works. */
Test(qmp, cancelled_calls)
{
	static const struct peer_step steps[] = {
		OPENING, EXPECT("{\"execute\": \"next\"}"), OK, CLOSE};
	static const char *const names[] = {"RESUME", NULL};
	struct tp_qmp_event event;
	TP_FD int cancel_fd = eventfd(1, EFD_CLOEXEC);
	struct tp_call cancelled = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = cancel_fd};

	open_with(steps);
	must_fail(tp_qmp_execute(qmp, "never", json_object(), -1, &cancelled, NULL),
		TORPOR_E_CANCELLED, "never");
	must_fail(tp_qmp_wait_event(qmp, names, &cancelled, &event), TORPOR_E_CANCELLED, "RESUME");
	must(run("next"));
	finish();
}

#define BROKEN(name, text, part)                                                                   \
	Test(qmp, broken_by_##name)                                                                \
	{                                                                                          \
		static const struct peer_step steps[] = {                                          \
			OPENING, EXPECT("{\"execute\": \"a\"}"), {PEER_REPLY, text}, CLOSE};       \
		open_with(steps);                                                                  \
		must_fail(run("a"), TORPOR_E_QEMU, part);                                          \
		cr_assert(tp_qmp_closed(qmp));                                                     \
		must_fail(run("b"), TORPOR_E_QEMU, NULL);                                          \
		finish();                                                                          \
	}

BROKEN(malformed_json, "{\"return\": ", "broke its control protocol")
BROKEN(binary, "\001\002\377", "broke its control protocol")
BROKEN(an_array, "[]", "no JSON object")
BROKEN(an_empty_line, "", "broke its control protocol")
BROKEN(a_foreign_id, "{\"return\": {}, \"id\": 99}", "a reply to no command")
BROKEN(a_textual_id, "{\"return\": {}, \"id\": \"2\"}", "a reply to no command")
BROKEN(no_id, "{\"return\": {}}", "a reply to no command")
BROKEN(no_result, "{\"id\": $ID}", "without a result")
BROKEN(a_wordless_error, "{\"error\": {}, \"id\": $ID}", "without class or words")

Test(qmp, bad_greetings)
{
	static const struct peer_step silent[] = {CLOSE};
	static const struct peer_step foreign[] = {{PEER_REPLY, "220 smtp ready"}, CLOSE};
	static const struct peer_step versionless[] = {{PEER_REPLY, "{\"QMP\": {}}"}, CLOSE};

	must_not_open(silent, "closed its control socket");
	must_not_open(foreign, "broke its control protocol");
	must_not_open(versionless, "no version");
}

Test(qmp, a_line_without_end)
{
	static const struct peer_step steps[] = {
		OPENING, EXPECT("{\"execute\": \"a\"}"), {PEER_FLOOD, "xxxxxxxxxxxxxxxx"}, CLOSE};

	open_with(steps);
	must_fail(run("a"), TORPOR_E_QEMU, "too long");
	finish();
}

Test(qmp, events_without_end_do_not_outlast_the_deadline)
{
	static const struct peer_step steps[] = {OPENING, EXPECT("{\"execute\": \"query-status\"}"),
		{PEER_FLOOD, "{\"event\": \"NOISE\"}\n"}, CLOSE};

	open_with(steps);
	/* The flood comes, also where the time is over before the command is sent. */
	must(tp_qmp_ask(qmp));
	call = tp_call_within(100 * TP_NSEC_PER_MSEC);
	must_fail(run("a"), TORPOR_E_TIMEOUT, NULL);
	tp_qmp_drain(qmp);
	finish();
}

/* Many messages in one piece, and one message in many pieces. */
Test(qmp, pieces)
{
	static const struct peer_step steps[] = {OPENING, EXPECT("{\"execute\": \"a\"}"),
		{PEER_SEND, "{\"event\": \"A\"}\r\n{\"event\": \"B\"}\r\n{\"ret"},
		{PEER_SEND, "urn\": {}, \"i"}, {PEER_SEND, "d\": 2}"}, {PEER_SEND, "\r\n"}, CLOSE};
	static const char *const b[] = {"B", NULL};
	struct tp_qmp_event event;

	open_with(steps);
	must(run("a"));
	must(tp_qmp_wait_event(qmp, b, &call, &event));
	cr_assert_null(event.data);
	cr_assert_eq(event.realtime_ns, 0);
	tp_qmp_event_deinit(&event);
	finish();
}
