/* SPDX-License-Identifier: Apache-2.0 */
/* The guest agent's client against scripted guests, most of them hostile. */
#include "engine/agent.h"

#include <malloc.h>
#include <signal.h>
#include <string.h>

#include "base/mem.h"
#include "peer.h"
#include "support.h"

#define EXPECT(text)                                                                               \
	{                                                                                          \
		PEER_EXPECT, text                                                                  \
	}
#define REPLY(text)                                                                                \
	{                                                                                          \
		PEER_REPLY, text                                                                   \
	}
#define EXPECT_SYNC EXPECT("{\"execute\": \"guest-sync-delimited\"}")
#define SYNC	    EXPECT_SYNC, REPLY("\377{\"return\": $ID}")
#define CLOSE                                                                                      \
	{                                                                                          \
		PEER_CLOSE, NULL                                                                   \
	}

static struct peer peer;
static struct tp_agent *agent;
static struct tp_call call;

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	call = tp_call_within(OBJECT_TIMEOUT_NS);
}

TestSuite(agent, .init = setup);

static void open_with(const struct peer_step *steps)
{
	peer_start(&peer, steps);
	agent = tp_agent_open(peer.other_fd, "s1");
}

static void finish(void)
{
	agent = tp_agent_close(agent);
	peer_end(&peer);
}

Test(agent, synchronises_once)
{
	static const struct peer_step steps[] = {SYNC, EXPECT("{\"execute\": \"guest-ping\"}"),
		REPLY("{\"return\": {}}"),
		EXPECT("{\"execute\": \"guest-set-time\", \"arguments\": {\"time\": 1234567890}}"),
		REPLY("{\"return\": {}}"), EXPECT("{\"execute\": \"guest-info\"}"),
		REPLY("{\"return\": {\"version\": \"7.2.22\", \"supported_commands\": []}}"),
		CLOSE};
	TP_FREE char *version = NULL;

	open_with(steps);
	must(tp_agent_ping(agent, &call));
	must(tp_agent_set_time(agent, 1234567890, &call));
	must(tp_agent_version(agent, &call, &version));
	cr_assert_str_eq(version, "7.2.22");
	finish();
}

/* What others left in the port: half a line, old answers, an answer with another id. */
Test(agent, garbage_before_the_synchronisation)
{
	static const struct peer_step steps[] = {
		{PEER_SEND, "rn\": {}}\n{\"return\": {}}\n\001\002\n\377{\"return\": 1}\n"},
		{PEER_SEND, "half a line"}, SYNC, EXPECT("{\"execute\": \"guest-ping\"}"),
		REPLY("{\"return\": {}}"), CLOSE};

	open_with(steps);
	must(tp_agent_ping(agent, &call));
	finish();
}

Test(agent, refusals_keep_the_connection)
{
	static const struct peer_step steps[] = {SYNC, EXPECT("{\"execute\": \"guest-set-time\"}"),
		REPLY("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no hwclock\"}}"),
		EXPECT("{\"execute\": \"guest-frob\"}"),
		REPLY("{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"what?\"}}"),
		EXPECT("{\"execute\": \"guest-ping\"}"), REPLY("{\"return\": {}}"), CLOSE};

	open_with(steps);
	must_fail(tp_agent_set_time(agent, 1, &call), TORPOR_E_GUEST, "no hwclock");
	must_fail(tp_agent_execute(agent, "guest-frob", NULL, &call, NULL), TORPOR_E_UNSUPPORTED,
		"what?");
	must(tp_agent_ping(agent, &call));
	finish();
}

Test(agent, nonsense_makes_it_synchronise_again)
{
	static const struct peer_step steps[] = {SYNC, EXPECT("{\"execute\": \"guest-ping\"}"),
		REPLY("nonsense"), SYNC, EXPECT("{\"execute\": \"guest-ping\"}"),
		REPLY("{\"return\": {}}"), CLOSE};

	open_with(steps);
	must_fail(tp_agent_ping(agent, &call), TORPOR_E_GUEST, "guest-ping s1");
	must(tp_agent_ping(agent, &call));
	finish();
}

/* An answer that comes after its command was given up isn't taken for the next one's. */
Test(agent, a_late_answer)
{
	static const struct peer_step steps[] = {SYNC, EXPECT("{\"execute\": \"guest-info\"}"),
		{PEER_TELL, "got it"}, EXPECT_SYNC, REPLY("{\"return\": {\"version\": \"late\"}}"),
		REPLY("\377{\"return\": $ID}"), EXPECT("{\"execute\": \"guest-info\"}"),
		REPLY("{\"return\": {\"version\": \"timely\"}}"), CLOSE};
	TP_FREE char *version = NULL;

	open_with(steps);
	struct tp_call given_up = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = peer.told_fd};
	must_fail(tp_agent_version(agent, &given_up, &version), TORPOR_E_CANCELLED, NULL);
	must(tp_agent_version(agent, &call, &version));
	cr_assert_str_eq(version, "timely");
	finish();
}

Test(agent, nobody_answers)
{
	static const struct peer_step steps[] = {EXPECT_SYNC, EXPECT("{}"), CLOSE};

	open_with(steps);
	call = tp_call_within(50 * TP_NSEC_PER_MSEC);
	must_fail(tp_agent_ping(agent, &call), TORPOR_E_TIMEOUT, "synchronise");
	agent = tp_agent_close(agent);
	pthread_join(peer.thread, NULL);
	free(peer.failure);
}

Test(agent, the_port_closes)
{
	static const struct peer_step steps[] = {EXPECT_SYNC, CLOSE};

	open_with(steps);
	must_fail(tp_agent_ping(agent, &call), TORPOR_E_GUEST, "closed");
	finish();
}

Test(agent, a_line_without_end)
{
	static const struct peer_step steps[] = {
		EXPECT_SYNC, {PEER_FLOOD, "aaaaaaaaaaaaaaaa"}, CLOSE};

	open_with(steps);
	must_fail(tp_agent_ping(agent, &call), TORPOR_E_GUEST, "longer");
	finish();
}

Test(agent, lines_without_end)
{
	static const struct peer_step steps[] = {
		EXPECT_SYNC, {PEER_FLOOD, "\377{\"return\": 1}\n\n\n"}, CLOSE};

	open_with(steps);
	call.deadline_ns = TP_NO_DEADLINE;
	must_fail(tp_agent_ping(agent, &call), TORPOR_E_GUEST, "only garbage");
	finish();
}

Test(agent, a_version_for_the_terminal)
{
	static const struct peer_step steps[] = {SYNC, EXPECT("{\"execute\": \"guest-info\"}"),
		REPLY("{\"return\": {\"version\": \"\\u001b[2J\"}}"),
		EXPECT("{\"execute\": \"guest-info\"}"), REPLY("{\"return\": {\"version\": 7}}"),
		EXPECT("{\"execute\": \"guest-info\"}"), REPLY("{\"return\": []}"), CLOSE};
	TP_FREE char *version = NULL;

	open_with(steps);
	for (int i = 0; i < 3; i++)
		must_fail(tp_agent_version(agent, &call, &version), TORPOR_E_GUEST, "no version");
	finish();
}

Test(agent, programs)
{
	static const struct peer_step steps[] = {SYNC,
		EXPECT("{\"execute\": \"guest-exec\", \"arguments\": {\"path\": \"/bin/x\", "
		       "\"arg\": [\"a\", \"b\"], \"capture-output\": true}}"),
		REPLY("{\"return\": {\"pid\": 12}}"),
		EXPECT("{\"execute\": \"guest-exec-status\", \"arguments\": {\"pid\": 12}}"),
		REPLY("{\"return\": {\"exited\": false}}"),
		EXPECT("{\"execute\": \"guest-exec-status\", \"arguments\": {\"pid\": 12}}"),
		REPLY("{\"return\": {\"exited\": true, \"exitcode\": 3, \"out-data\": "
		      "\"aGVsbG8AIQ==\", \"err-data\": \"YQo=\", \"err-truncated\": true}}"),
		EXPECT("{\"execute\": \"guest-exec\"}"), REPLY("{\"return\": {\"pid\": 13}}"),
		EXPECT("{\"execute\": \"guest-exec-status\"}"),
		REPLY("{\"return\": {\"exited\": true, \"signal\": 9}}"), CLOSE};
	static const char *const argv[] = {"/bin/x", "a", "b", NULL};
	TP_AGENT_EXIT struct tp_agent_exit how = {0};

	open_with(steps);
	must(tp_agent_run(agent, argv, &call, &how));
	cr_assert_eq(how.status, 3);
	cr_assert_eq(how.signal, 0);
	cr_assert_eq(how.out_len, 7);
	cr_assert_arr_eq(how.out, "hello\0!", 8);
	cr_assert_str_eq(how.err, "a\n");
	cr_assert(how.truncated);
	tp_agent_exit_deinit(&how);
	must(tp_agent_run(agent, argv, &call, &how));
	cr_assert_eq(how.status, -1);
	cr_assert_eq(how.signal, 9);
	cr_assert_eq(how.out_len, 0);
	cr_assert_not(how.truncated);
	finish();
}

static size_t allocated(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

/* An agent is there as long as its guest, and what it said long ago is nobody's. */
Test(agent, room_for_a_long_answer_is_given_back)
{
	const size_t len = 3 * TP_MIB;
	TP_FREE char *output = tp_malloc(len + 1);
	static const char *const argv[] = {"/bin/x", NULL};

	memset(output, 'A', len);
	output[len] = '\0';
	TP_FREE char *answer = tp_asprintf(
		"{\"return\": {\"exited\": true, \"exitcode\": 0, \"out-data\": \"%s\"}}", output);
	const struct peer_step steps[] = {SYNC, EXPECT("{\"execute\": \"guest-exec\"}"),
		REPLY("{\"return\": {\"pid\": 1}}"), EXPECT("{\"execute\": \"guest-exec-status\"}"),
		REPLY(answer), EXPECT("{\"execute\": \"guest-ping\"}"), REPLY("{\"return\": {}}"),
		CLOSE};
	TP_AGENT_EXIT struct tp_agent_exit how = {0};

	open_with(steps);
	size_t before = allocated();
	must(tp_agent_run(agent, argv, &call, &how));
	cr_assert_eq(how.out_len, len / 4 * 3);
	tp_agent_exit_deinit(&how);
	must(tp_agent_ping(agent, &call));
	cr_assert_lt(allocated(), before + TP_MIB);
	finish();
}

Test(agent, malformed_statuses)
{
	static const char *const bad[] = {"{\"return\": {}}", "{\"return\": {\"exited\": 1}}",
		"{\"return\": {\"exited\": true}}", "{\"return\": []}",
		"{\"return\": {\"exited\": true, \"exitcode\": \"0\"}}",
		"{\"return\": {\"exited\": true, \"exitcode\": 0, \"out-data\": 1}}",
		"{\"return\": {\"exited\": true, \"exitcode\": 0, \"out-data\": \"abc\"}}",
		"{\"return\": {\"exited\": true, \"exitcode\": 0, \"out-data\": \"ab=c\"}}",
		"{\"return\": {\"exited\": true, \"exitcode\": 0, \"out-data\": \"====\"}}",
		"{\"return\": {\"exited\": true, \"exitcode\": 0, \"out-data\": \"ab c\"}}"};
	static const char *const argv[] = {"/bin/x", NULL};

	for (size_t i = 0; i < TP_ARRAY_LEN(bad); i++) {
		const struct peer_step steps[] = {SYNC, EXPECT("{\"execute\": \"guest-exec\"}"),
			REPLY("{\"return\": {\"pid\": 1}}"),
			EXPECT("{\"execute\": \"guest-exec-status\"}"), REPLY(bad[i]), CLOSE};
		TP_AGENT_EXIT struct tp_agent_exit how = {0};
		open_with(steps);
		must_fail(tp_agent_run(agent, argv, &call, &how), TORPOR_E_GUEST, NULL);
		cr_assert_null(how.out);
		finish();
	}
}

/* Without it the program would do something else than it was told. */
Test(agent, an_argument_that_is_not_utf8_is_not_left_out)
{
	static const struct peer_step steps[] = {CLOSE};
	static const char *const argv[] = {"/bin/rm", "-r", "/tmp/", "\xff", NULL};
	static const char *const path[] = {"/bin/\xff", NULL};
	TP_AGENT_EXIT struct tp_agent_exit how = {0};

	open_with(steps);
	must_fail(tp_agent_run(agent, argv, &call, &how), TORPOR_E_INVALID, "UTF-8");
	must_fail(tp_agent_run(agent, path, &call, &how), TORPOR_E_INVALID, "UTF-8");
	finish();
}

Test(agent, a_program_without_pid)
{
	static const struct peer_step steps[] = {SYNC, EXPECT("{\"execute\": \"guest-exec\"}"),
		REPLY("{\"return\": {\"pid\": \"1\"}}"), CLOSE};
	static const char *const argv[] = {"/bin/x", NULL};
	TP_AGENT_EXIT struct tp_agent_exit how = {0};

	open_with(steps);
	must_fail(tp_agent_run(agent, argv, &call, &how), TORPOR_E_GUEST, "no pid");
	finish();
}
