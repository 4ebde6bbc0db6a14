/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests that wait and are deaf, not dead: found by asking, and passed over by starts.
 *
 * There is no QEMU: a start that gets to a process of its own fails with NOT_FOUND.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "pool/build.h"
#include "pool/session.h"
#include "scripted.h"
#include "snapshot/base_private.h"

/* Of those that are well, for an answer on a host however busy; nobody waits for so long. */
#define LONG_NS (60 * TP_NSEC_PER_SEC)
/* Of those that are deaf: this is waited for. */
#define SHORT_NS (50 * TP_NSEC_PER_MSEC)

static char dir[] = "/tmp/torpor-deaf-XXXXXX";
static struct torpor_engine *engine;
static struct torpor_template *tmpl;

static void ok(struct torpor_error *err)
{
	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
}

static void set_up(void)
{
	struct torpor_engine_options options = {.qemu = "/none/qemu", .deaf_after_ns = LONG_NS};
	struct tp_base *base = tp_base_new();

	cr_assert(mkdtemp(dir));
	options.state_dir = dir;
	ok(torpor_engine_open(&options, &engine));
	base->record.guest.memory_bytes = 16 * TP_MIB;
	ok(tp_memfd("torpor-base", base->record.guest.memory_bytes, &base->fd));
	base->record.guest.vcpus = 1;
	base->record.guest.cpu_model = tp_strdup("qemu64");
	base->record.guest.machine_type = tp_strdup("pc-i440fx-7.2");
	base->record.guest.qemu_version = tp_strdup("7.2.22");
	base->record.template_name = tp_strdup("minimal");
	base->record.helper = true;
	tmpl = tp_template_adopt(engine, "minimal", base, NULL, 0, 0);
}

static void tear_down(void)
{
	TP_FREE char *command = tp_asprintf("rm -r %s", dir);

	torpor_template_close(tmpl);
	torpor_engine_close(engine);
	cr_assert_eq(system(command), 0); /* NOLINT(cert-env33-c): the test's own directory */
}

TestSuite(deaf, .init = set_up, .fini = tear_down);

/* --- What a service sees --- */

/* One letter for each hook: loaded, running, dropped. */
struct seen {
	char hooks[16];
	const char *deaf; /* the hook that each deaf one is silent behind, one after the other */
	bool fail_dropped;
};

/* Only what doesn't come is waited for shortly. */
static void note(struct seen *seen, const char *letter)
{
	strncat(seen->hooks, letter, sizeof(seen->hooks) - strlen(seen->hooks) - 1);
	if (seen->deaf && *seen->deaf == *letter) {
		engine->deaf_after_ns = SHORT_NS;
		seen->deaf++;
	}
}

static struct torpor_error *on_loaded(void *data, struct torpor_session *session)
{
	(void)session;
	note(data, "l");
	return NULL;
}

static struct torpor_error *on_running(void *data, struct torpor_session *session)
{
	(void)session;
	note(data, "r");
	return NULL;
}

static struct torpor_error *on_dropped(void *data, struct torpor_session *session)
{
	struct seen *seen = data;

	note(seen, "d");
	cr_assert_eq(kill(tp_session_pid(session), 0), 0, "its process had ended before");
	engine->deaf_after_ns = LONG_NS;
	return seen->fail_dropped ? tp_error(TORPOR_E_IO, "drop", NULL, "as wanted") : NULL;
}

static struct torpor_error *start(struct seen *seen, const struct tp_call *call,
	struct torpor_resume_report *report, struct torpor_session **session_out)
{
	struct torpor_session_spec spec = {.name = "s1"};
	struct tp_session_hooks hooks = {.on_loaded = on_loaded,
		.on_running = on_running,
		.on_dropped = on_dropped,
		.data = seen};

	return tp_session_start_from(tmpl, NULL, &tmpl->base->record, &spec, &hooks, tp_now_ns(),
		call, report, session_out);
}

static void must_fail(struct seen *seen, const struct tp_call *call, enum torpor_errc code)
{
	struct torpor_session *session;
	TP_ERROR struct torpor_error *err = start(seen, call, NULL, &session);

	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), code, "%s", torpor_error_message(err));
}

static void check_stock(unsigned int warm, unsigned int shells, unsigned int deaf)
{
	unsigned int warm_now;
	unsigned int shells_now;

	tp_stock_count(tmpl, &warm_now, &shells_now);
	cr_expect_eq(warm_now, warm, "%u warm guests, not %u", warm_now, warm);
	cr_expect_eq(shells_now, shells, "%u shells, not %u", shells_now, shells);
	cr_expect_eq(tp_stock_take_deaf(tmpl), deaf);
	cr_expect_eq(tp_stock_take_deaf(tmpl), 0, "told twice");
}

static void check_ended(struct scripted *guest)
{
	cr_expect(scripted_ended(guest), "a process is left");
}

/* --- A start meets one --- */

/* The newest is taken first. */
static void go_on_behind(unsigned int answers, const char *silent_behind, const char *hooks)
{
	struct tp_call call = tp_call_within(TP_NO_DEADLINE);
	struct seen seen = {.deaf = silent_behind};
	struct torpor_resume_report report;
	struct torpor_session *session;
	struct scripted well, deaf;

	scripted_wait_warm(&well, tmpl, SCRIPTED_WELL);
	scripted_wait_warm(&deaf, tmpl, answers);
	ok(start(&seen, &call, &report, &session));
	cr_expect_str_eq(seen.hooks, hooks);
	cr_expect_eq(report.source, TORPOR_SOURCE_WARM);
	cr_expect_eq(tp_session_pid(session), well.pid);
	cr_expect_eq(session->owed, 0);
	check_ended(&deaf);
	check_stock(0, 0, 1);
	torpor_session_close(session);
	check_ended(&well);
}

Test(deaf, a_start_goes_on_where_qemu_does_not_answer)
{
	go_on_behind(0, "l", "ldlr");
}

Test(deaf, a_start_goes_on_where_the_helper_does_not_answer)
{
	go_on_behind(SCRIPTED_QMP, "r", "lrdlr");
}

Test(deaf, behind_two_it_takes_a_process_of_its_own)
{
	struct tp_call call = tp_call_within(TP_NO_DEADLINE);
	struct seen seen = {.deaf = "rl"};
	struct scripted well, deaf[2];

	scripted_wait_warm(&well, tmpl, SCRIPTED_WELL);
	scripted_wait_warm(&deaf[0], tmpl, 0);
	scripted_wait_warm(&deaf[1], tmpl, SCRIPTED_QMP);
	must_fail(&seen, &call, TORPOR_E_NOT_FOUND);
	cr_expect_str_eq(seen.hooks, "lrdld");
	check_ended(&deaf[0]);
	check_ended(&deaf[1]);
	check_stock(1, 0, 2);
	tp_stock_shrink(tmpl, 0, 0);
	check_ended(&well);
}

/* What its caller brings about is nobody's deafness. */
Test(deaf, the_calls_own_end_is_told_as_such)
{
	struct tp_call call = tp_call_within(SHORT_NS);
	struct seen seen = {0};
	struct scripted well, deaf;

	scripted_wait_warm(&well, tmpl, SCRIPTED_WELL);
	scripted_wait_warm(&deaf, tmpl, 0);
	must_fail(&seen, &call, TORPOR_E_TIMEOUT);
	cr_expect_str_eq(seen.hooks, "ld");
	check_ended(&deaf);
	check_stock(1, 0, 0);
	tp_stock_shrink(tmpl, 0, 0);
	check_ended(&well);
}

Test(deaf, a_hook_that_fails_fails_the_start)
{
	struct tp_call call = tp_call_within(TP_NO_DEADLINE);
	struct seen seen = {.deaf = "r", .fail_dropped = true};
	struct scripted well, deaf;

	scripted_wait_warm(&well, tmpl, SCRIPTED_WELL);
	scripted_wait_warm(&deaf, tmpl, SCRIPTED_QMP);
	must_fail(&seen, &call, TORPOR_E_IO);
	cr_expect_str_eq(seen.hooks, "lrd");
	check_ended(&deaf);
	check_stock(1, 0, 0);
	tp_stock_shrink(tmpl, 0, 0);
	check_ended(&well);
}

/* --- A start meets one that ends --- */

/* Its process ends while its helper still answers: nobody sees that before it is watched. */
static struct torpor_error *end_it(void *data, struct torpor_session *session)
{
	struct tp_call at_once = {.deadline_ns = tp_now_ns(), .cancel_fd = -1};
	int pidfd = tp_guest_pidfd(session->guest);
	struct pollfd end = {.fd = pidfd, .events = POLLIN};
	TP_ERROR struct torpor_error *err = tp_session_enter(session, false, &at_once);

	(void)data;
	cr_assert_eq(torpor_error_code(err), TORPOR_E_TIMEOUT, "it isn't the start's turn");
	cr_assert_eq(pidfd_send_signal(pidfd, SIGKILL, NULL, 0), 0);
	cr_assert_eq(poll(&end, 1, -1), 1);
	return NULL;
}

Test(deaf, one_that_ends_as_it_starts_is_dealt_with_behind_the_start)
{
	struct tp_call call = tp_call_within(LONG_NS);
	struct torpor_session_spec spec = {.name = "s1"};
	struct tp_session_hooks hooks = {.on_running = end_it};
	struct torpor_session_info info;
	struct torpor_session *session;
	struct scripted guest;

	scripted_wait_warm(&guest, tmpl, SCRIPTED_WELL);
	ok(tp_session_start_from(tmpl, NULL, &tmpl->base->record, &spec, &hooks, tp_now_ns(), &call,
		NULL, &session));
	do
		ok(torpor_session_info(session, &info));
	while (info.state == TORPOR_SESSION_RUNNING);
	cr_expect_eq(info.state, TORPOR_SESSION_ENDED);
	torpor_session_close(session);
	check_ended(&guest);
}

/* --- Asking --- */

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) < 0)
		;
}

Test(deaf, asking_finds_those_that_wait)
{
	struct tp_call call = tp_call_within(TP_NO_DEADLINE);
	struct seen seen = {0};
	struct torpor_resume_report report;
	struct torpor_session *session;
	struct scripted well, deaf, shell, deaf_shell;

	scripted_wait_warm(&deaf, tmpl, 0);
	scripted_wait_warm(&well, tmpl, SCRIPTED_WELL);
	scripted_wait_shell(&shell, tmpl, SCRIPTED_QMP);
	scripted_wait_shell(&deaf_shell, tmpl, 0);
	for (int i = 0; i < 3; i++) {
		tp_stock_ask(tmpl);
		wait_for(&well.told);
		wait_for(&shell.told);
		check_stock(2, 2, 0);
	}
	engine->deaf_after_ns = 1;
	tp_stock_ask(tmpl);
	check_ended(&deaf);
	check_ended(&deaf_shell);
	check_stock(1, 1, 2);
	/* Its answer is on the way, or wasn't looked for: no start is disturbed by that. */
	engine->deaf_after_ns = LONG_NS;
	ok(start(&seen, &call, &report, &session));
	cr_expect_eq(tp_session_pid(session), well.pid);
	torpor_session_close(session);
	check_ended(&well);
	tp_stock_shrink(tmpl, 0, 0);
	check_ended(&shell);
}

Test(deaf, one_that_has_not_answered_is_not_asked_again)
{
	struct scripted deaf;

	scripted_wait_warm(&deaf, tmpl, 0);
	for (int i = 0; i < 3; i++)
		tp_stock_ask(tmpl);
	wait_for(&deaf.asked);
	check_stock(1, 0, 0);
	/* Its socket's end comes behind all that was written. */
	tp_stock_shrink(tmpl, 0, 0);
	pthread_join(deaf.thread, NULL);
	cr_expect_lt(sem_trywait(&deaf.asked), 0, "its socket is filled with questions");
}

Test(deaf, one_without_its_socket_is)
{
	struct scripted guest;

	scripted_wait_warm(&guest, tmpl, SCRIPTED_WELL);
	scripted_close_qmp(&guest);
	tp_stock_ask(tmpl);
	check_stock(1, 0, 0);
	engine->deaf_after_ns = 1;
	tp_stock_ask(tmpl);
	check_ended(&guest);
	check_stock(0, 0, 1);
}
