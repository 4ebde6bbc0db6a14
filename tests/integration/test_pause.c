/* SPDX-License-Identifier: Apache-2.0 */
/* Pause: the process stays and stands still, and all that can be done to a running one can be. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "events.h"
#include "fault.h"
#include "inside.h"
#include "pool/session.h"

static struct it_events events = IT_EVENTS_INIT;
static struct torpor_engine *engine;
static struct torpor_template *tmpl;

static void open_with(enum torpor_path path)
{
	engine = it_open_with((struct torpor_engine_options){
		.path = path, .on_event = it_events_note, .event_data = &events});
	tmpl = it_template(engine);
}

static void setup(void)
{
	open_with(TORPOR_PATH_AUTO);
}

static void teardown(void)
{
	torpor_template_close(tmpl);
	torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0);
}

TestSuite(pause, .init = setup, .fini = teardown, .timeout = 300);

static struct torpor_session *start_paused(void)
{
	struct torpor_session *session = it_start(tmpl);

	it_count_start(session);
	it_ok(torpor_session_pause(session, NULL));
	return session;
}

static void check_state(struct torpor_session *session, enum torpor_session_state state)
{
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	cr_assert_eq(info.state, state, "it is %s, not %s", torpor_session_state_name(info.state),
		torpor_session_state_name(state));
	bool has_process = state == TORPOR_SESSION_PAUSED || state == TORPOR_SESSION_RUNNING;
	cr_assert_eq(info.pid != 0, has_process);
}

/* By QEMU's own account. */
static void check_stands(struct torpor_session *session)
{
	struct tp_call call = in_call();
	char *status;

	check_state(session, TORPOR_SESSION_PAUSED);
	it_ok(tp_guest_query_status(session->guest, &call, &status));
	cr_assert_str_neq(status, "running");
	free(status);
}

static void check_goes_on(struct torpor_session *session)
{
	it_ok(torpor_session_unpause(session, NULL));
	check_state(session, TORPOR_SESSION_RUNNING);
	it_count_check(session);
	it_clock_check(session);
}

Test(pause, it_stands_still_and_goes_on_with_the_right_clock)
{
	struct torpor_session *session = start_paused();
	struct torpor_session *other = it_start(tmpl);
	const char *const argv[] = {"true", NULL};
	struct torpor_exec_result result;

	check_stands(session);
	it_fails(torpor_session_pause(session, NULL), TORPOR_E_BUSY);
	it_fails(torpor_session_ping(session, NULL, NULL), TORPOR_E_BUSY);
	it_fails(torpor_session_exec(session, &(struct torpor_exec){.argv = argv}, NULL, &result),
		TORPOR_E_BUSY);
	it_fails(torpor_session_resume(session, NULL, NULL), TORPOR_E_BUSY);
	it_fails(torpor_session_unpause(other, NULL), TORPOR_E_BUSY);
	it_run(other, "sleep 3");
	check_goes_on(session);
	it_ok(torpor_session_destroy(session, NULL));
	it_ok(torpor_session_destroy(other, NULL));
}

Test(pause, a_paused_one_is_parked_and_runs_once_resumed)
{
	struct torpor_session *session = start_paused();

	it_ok(torpor_session_park(session, NULL, NULL));
	check_state(session, TORPOR_SESSION_PARKED);
	it_fails(torpor_session_pause(session, NULL), TORPOR_E_BUSY);
	it_ok(torpor_session_resume(session, NULL, NULL));
	check_state(session, TORPOR_SESSION_RUNNING);
	it_count_check(session);
	it_ok(torpor_session_destroy(session, NULL));
}

/* Checkpoints and forks leave it as it is, however often; also by the way that QEMU doesn't go
 * twice. */
static void check_copies(void)
{
	struct torpor_session *session = start_paused();
	struct torpor_session_spec spec = {.name = it_name("it")};
	const char *name = it_name("cp");
	struct torpor_park_report report;
	struct torpor_session *fork;
	struct torpor_session *copy;

	for (int i = 0; i < 3; i++) {
		it_ok(torpor_session_checkpoint(session, name, NULL, &report));
		cr_assert_eq(report.pause_ns, 0);
		check_stands(session);
	}
	it_ok(torpor_session_fork(session, &spec, 1, NULL, NULL, &fork));
	check_stands(session);
	it_count_check(fork);
	cr_assert_str_eq(it_run(fork, "hostname"), spec.name);
	it_ok(torpor_session_open(engine, name, NULL, NULL, &copy));
	it_ok(torpor_session_resume(copy, NULL, NULL));
	it_count_check(copy);
	check_goes_on(session);
	it_ok(torpor_session_pause(session, NULL));
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_resume(session, NULL, NULL));
	it_count_check(session);
	it_ok(torpor_session_destroy(copy, NULL));
	it_ok(torpor_session_destroy(fork, NULL));
	it_ok(torpor_session_destroy(session, NULL));
}

Test(pause, copies_leave_it_paused)
{
	check_copies();
}

Test(pause, copies_by_the_stream_path_leave_it_paused)
{
	torpor_template_close(tmpl);
	torpor_engine_close(engine);
	open_with(TORPOR_PATH_STREAM);
	check_copies();
}

Test(pause, copies_of_one_that_rebooted_leave_it_paused)
{
	struct torpor_session *session = it_start(tmpl);

	in_reboot(session);
	it_count_start(session);
	it_ok(torpor_session_pause(session, NULL));
	for (int i = 0; i < 2; i++) {
		it_ok(torpor_session_checkpoint(session, it_name("cp"), NULL, NULL));
		check_stands(session);
	}
	check_goes_on(session);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(pause, a_park_that_fails_leaves_it_paused)
{
	static const enum tp_io_op ops[] = {
		TP_IO_CREATE, TP_IO_WRITE, TP_IO_SYNC, TP_IO_RENAME, TP_IO_SYNC_DIR};
	struct torpor_session *session = start_paused();

	for (size_t i = 0; i < TP_ARRAY_LEN(ops); i++) {
		struct it_fault fault = {.op = ops[i], .nth = 1, .errnum = ENOSPC};
		it_fault_set(&fault);
		struct torpor_error *err = torpor_session_park(session, NULL, NULL);
		it_fault_clear();
		cr_assert_not_null(err, "%s", it_op_name(ops[i]));
		torpor_error_free(err);
		check_stands(session);
	}
	check_goes_on(session);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(pause, its_death_is_noticed)
{
	struct torpor_session *session = start_paused();
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	cr_assert_eq(kill(info.pid, SIGKILL), 0);
	it_events_wait(&events, TORPOR_EVENT_SESSION, info.name, 1);
	check_state(session, TORPOR_SESSION_ENDED);
	it_fails(torpor_session_unpause(session, NULL), TORPOR_E_BUSY);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(pause, closing_a_paused_one_ends_it)
{
	struct torpor_session *session = start_paused();

	torpor_session_close(session);
	cr_assert_eq(it_qemu_children(), 0);
}
