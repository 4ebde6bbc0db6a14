/* SPDX-License-Identifier: Apache-2.0 */
/* Warm guests: as fresh as any when they are claimed, and nobody's loss when they die. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "deaf.h"
#include "engine/control.h"
#include "events.h"
#include "fault.h"
#include "pool/session.h"

#define ALL_FRESH                                                                                  \
	(TORPOR_FRESH_CLOCK | TORPOR_FRESH_RANDOM | TORPOR_FRESH_HOSTNAME | TORPOR_FRESH_MACHINE_ID)

static struct it_events events = IT_EVENTS_INIT;
static struct torpor_engine *engine;
static struct torpor_template *tmpl;

static void setup(void)
{
	engine = it_open_with(
		(struct torpor_engine_options){.on_event = it_events_note, .event_data = &events});
	tmpl = it_template(engine);
}

static void teardown(void)
{
	torpor_template_close(tmpl);
	torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0);
}

TestSuite(warm, .init = setup, .fini = teardown, .timeout = 300);

static struct torpor_session *claim(struct torpor_resume_report *report)
{
	struct torpor_session_spec spec = {.name = it_name("it")};
	struct torpor_session *session;

	it_ok(torpor_session_start(tmpl, &spec, NULL, report, &session));
	return session;
}

static void check_stock(unsigned int warm, unsigned int shells)
{
	unsigned int warm_now;
	unsigned int shells_now;

	tp_stock_count(tmpl, &warm_now, &shells_now);
	cr_assert_eq(warm_now, warm, "%u warm guests, not %u", warm_now, warm);
	cr_assert_eq(shells_now, shells, "%u shells, not %u", shells_now, shells);
}

/* What makes a guest one of its own. */
struct identity {
	char hostname[65];
	char machine_id[64];
	char random[80];
};

static struct identity identity_of(struct torpor_session *session)
{
	struct identity id;

	snprintf(id.hostname, sizeof(id.hostname), "%s", it_run(session, "hostname"));
	snprintf(
		id.machine_id, sizeof(id.machine_id), "%s", it_run(session, "cat /etc/machine-id"));
	snprintf(id.random, sizeof(id.random), "%s",
		it_run(session, "head -c 32 /dev/urandom | sha256sum | cut -c1-64"));
	return id;
}

Test(warm, a_start_takes_a_warm_guest_then_a_shell_then_a_new_process)
{
	static const enum torpor_source sources[] = {
		TORPOR_SOURCE_WARM, TORPOR_SOURCE_WARM, TORPOR_SOURCE_SHELL, TORPOR_SOURCE_SPAWN};
	struct torpor_session *sessions[4];
	struct identity ids[4];

	it_ok(torpor_template_prepare(tmpl, 1, NULL));
	it_ok(torpor_template_prepare_warm(tmpl, 2, NULL));
	check_stock(2, 1);
	cr_assert_eq(it_qemu_children(), 3);
	for (int i = 0; i < 4; i++) {
		struct torpor_resume_report report;
		struct torpor_session_info info;
		sessions[i] = claim(&report);
		cr_assert_eq(report.source, sources[i], "%s at %d",
			torpor_source_name(report.source), i);
		cr_assert_eq(report.fresh, ALL_FRESH);
		cr_assert_leq(report.loaded_ns, report.running_ns);
		cr_assert_leq(report.running_ns, report.ready_ns);
		it_ok(torpor_session_info(sessions[i], &info));
		ids[i] = identity_of(sessions[i]);
		cr_assert_str_eq(ids[i].hostname, info.name);
		it_clock_check(sessions[i]);
		for (int j = 0; j < i; j++) {
			cr_assert_str_neq(ids[i].machine_id, ids[j].machine_id);
			cr_assert_str_neq(ids[i].random, ids[j].random);
		}
	}
	check_stock(0, 0);
	cr_assert_eq(it_qemu_children(), 4);
	for (int i = 0; i < 4; i++)
		it_ok(torpor_session_destroy(sessions[i], NULL));
}

/* It stands still while it waits: its clock would be as late as it has waited. */
Test(warm, what_waits_has_been_prepared_for_its_first_park)
{
	struct torpor_session *session[2];
	struct torpor_park_report report;

	it_ok(torpor_template_prepare_warm(tmpl, 1, NULL));
	it_ok(torpor_template_prepare(tmpl, 1, NULL));
	for (size_t i = 0; i < TP_ARRAY_LEN(session); i++) {
		session[i] = claim(NULL);
		cr_expect_not_null(session[i]->memory.small_addresses);
		cr_expect_geq(session[i]->memory.devices.read_fd, 0);
		it_run(session[i], "echo here > /data");
	}
	for (size_t i = 0; i < TP_ARRAY_LEN(session); i++) {
		it_ok(torpor_session_park(session[i], NULL, &report));
		cr_expect_eq(report.path, TORPOR_PATH_DIRECT);
		it_ok(torpor_session_resume(session[i], NULL, NULL));
		cr_expect_str_eq(it_run(session[i], "cat /data"), "here");
		it_ok(torpor_session_destroy(session[i], NULL));
	}
}

Test(warm, one_that_has_waited_has_the_right_clock)
{
	struct torpor_resume_report report;

	it_ok(torpor_template_prepare_warm(tmpl, 2, NULL));
	struct torpor_session *other = claim(&report);
	it_run(other, "sleep 3");
	it_ok(torpor_session_destroy(other, NULL));
	struct torpor_session *session = claim(&report);
	cr_assert_eq(report.source, TORPOR_SOURCE_WARM);
	it_clock_check(session);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(warm, a_resume_takes_shells_only)
{
	struct torpor_session *session = it_start(tmpl);
	struct torpor_resume_report report;

	it_run(session, "echo mine > /mine");
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_template_prepare_warm(tmpl, 1, NULL));
	it_ok(torpor_session_resume(session, NULL, &report));
	cr_assert_eq(report.source, TORPOR_SOURCE_SPAWN);
	check_stock(1, 0);
	cr_assert_str_eq(it_run(session, "cat /mine"), "mine");
	it_ok(torpor_session_destroy(session, NULL));
}

Test(warm, a_claimed_guest_parks_resumes_and_reboots_as_any)
{
	struct torpor_resume_report report;
	struct torpor_park_report park;

	it_ok(torpor_template_prepare_warm(tmpl, 1, NULL));
	struct torpor_session *session = claim(&report);
	cr_assert_eq(report.source, TORPOR_SOURCE_WARM);
	struct identity id = identity_of(session);
	it_count_start(session);
	it_ok(torpor_session_park(session, NULL, &park));
	it_ok(torpor_session_resume(session, NULL, NULL));
	it_count_check(session);
	cr_assert_str_eq(it_run(session, "cat /etc/machine-id"), id.machine_id);
	cr_assert_str_eq(it_run(session, "hostname"), id.hostname);
	it_ok(torpor_session_destroy(session, NULL));
}

/* --- Deaths --- */

Test(warm, one_that_dies_is_taken_out_and_told)
{
	it_ok(torpor_template_prepare_warm(tmpl, 2, NULL));
	it_ok(torpor_template_prepare(tmpl, 1, NULL));
	cr_assert_eq(kill(tp_guest_pid(tmpl->warm.first->guest), SIGKILL), 0);
	it_events_wait(&events, TORPOR_EVENT_STOCK, IT_TEMPLATE, 1);
	check_stock(1, 1);
	cr_assert_eq(kill(tp_guest_pid(tmpl->shells.first->guest), SIGKILL), 0);
	it_events_wait(&events, TORPOR_EVENT_STOCK, IT_TEMPLATE, 2);
	check_stock(1, 0);
	cr_assert_eq(it_qemu_children(), 1, "a dead one wasn't reaped");
}

Test(warm, a_dead_one_is_passed_over)
{
	struct torpor_resume_report report;

	for (int i = 0; i < 10; i++) {
		it_ok(torpor_template_prepare_warm(tmpl, 1, NULL));
		it_ok(torpor_template_prepare(tmpl, 1, NULL));
		cr_assert_eq(kill(tp_guest_pid(tmpl->warm.first->guest), SIGKILL), 0);
		struct torpor_session *session = claim(&report);
		cr_assert_eq(report.source, TORPOR_SOURCE_SHELL);
		it_run(session, "true");
		it_events_wait(&events, TORPOR_EVENT_STOCK, IT_TEMPLATE, (unsigned int)i + 1);
		it_ok(torpor_session_destroy(session, NULL));
	}
}

/* --- Deafness --- */

static pid_t pid_of_first(const struct tp_stock *stock)
{
	return tp_guest_pid(stock->first->guest);
}

static void check_gone(pid_t pid)
{
	cr_assert(kill(pid, 0) < 0 && errno == ESRCH, "process %d is left", pid);
}

Test(warm, a_deaf_one_is_passed_over)
{
	static const enum torpor_source sources[] = {TORPOR_SOURCE_WARM, TORPOR_SOURCE_SHELL};
	struct torpor_resume_report report;

	it_ok(torpor_template_prepare(tmpl, 1, NULL));
	for (unsigned int i = 0; i < 2; i++) {
		it_ok(torpor_template_prepare_warm(tmpl, 2 - i, NULL));
		pid_t deaf = pid_of_first(&tmpl->warm);
		cr_assert_eq(kill(deaf, SIGSTOP), 0);
		struct torpor_session *session = claim(&report);
		cr_assert_eq(report.source, sources[i]);
		check_gone(deaf);
		cr_assert_eq(tp_stock_take_deaf(tmpl), 1);
		it_clock_check(session);
		it_events_wait(&events, TORPOR_EVENT_STOCK, IT_TEMPLATE, i + 1);
		it_ok(torpor_session_destroy(session, NULL));
	}
	cr_assert_eq(it_qemu_children(), 0);
}

/* Behind this all that it was asked before is answered. */
static void await_answers(struct tp_shell *shell)
{
	struct tp_call call = tp_call_within(TP_NO_DEADLINE);
	char *status;

	it_ok(tp_guest_query_status(shell->guest, &call, &status));
	free(status);
}

Test(warm, asking_finds_deaf_ones_and_is_in_nobodys_way)
{
	static const enum torpor_source sources[] = {TORPOR_SOURCE_WARM, TORPOR_SOURCE_SHELL};
	struct torpor_resume_report report;

	it_ok(torpor_template_prepare(tmpl, 2, NULL));
	it_ok(torpor_template_prepare_warm(tmpl, 2, NULL));
	pid_t deaf[] = {pid_of_first(&tmpl->warm), pid_of_first(&tmpl->shells)};
	for (int i = 0; i < 2; i++)
		cr_assert_eq(kill(deaf[i], SIGSTOP), 0);
	for (int i = 0; i < 10; i++)
		tp_stock_ask(tmpl);
	check_stock(2, 2);
	await_answers(tmpl->warm.first->next);
	await_answers(tmpl->shells.first->next);
	engine->deaf_after_ns = 1;
	tp_stock_ask(tmpl);
	check_stock(1, 1);
	for (int i = 0; i < 2; i++)
		check_gone(deaf[i]);
	cr_assert_eq(tp_stock_take_deaf(tmpl), 2);
	/* The last question may not be answered yet. */
	engine->deaf_after_ns = DEAF_AFTER_NS;
	for (int i = 0; i < 2; i++) {
		struct torpor_session *session = claim(&report);
		cr_assert_eq(report.source, sources[i]);
		it_run(session, "true");
		it_ok(torpor_session_destroy(session, NULL));
	}
}

Test(warm, shrinking_ends_those_beyond)
{
	it_ok(torpor_template_prepare_warm(tmpl, 2, NULL));
	it_ok(torpor_template_prepare(tmpl, 2, NULL));
	cr_assert_eq(tp_stock_shrink(tmpl, 3, 2), 0);
	cr_assert_eq(tp_stock_shrink(tmpl, 1, 0), 3);
	check_stock(1, 0);
	cr_assert_eq(it_qemu_children(), 1);
	cr_assert_eq(it_events_count(&events, TORPOR_EVENT_STOCK, IT_TEMPLATE), 0,
		"what was ended on purpose was told as a death");
}

/* --- Hooks --- */

struct seen {
	int loaded_pid;
	int running_pid;
	unsigned int calls;
	unsigned int runs;
	unsigned int drops;
	const char *fail_at; /* "loaded", "running", "durable" */
	bool kills;	     /* the first process it sees, in on_loaded */
};

static struct torpor_error *fail(const struct seen *seen, const char *at)
{
	if (seen->fail_at && strcmp(seen->fail_at, at) == 0)
		return tp_error(TORPOR_E_IO, "test", at, "as wanted");
	return NULL;
}

static struct torpor_error *on_loaded(void *data, struct torpor_session *session)
{
	struct seen *seen = data;

	seen->calls++;
	seen->loaded_pid = tp_session_pid(session);
	if (seen->kills && seen->calls == 1)
		kill(seen->loaded_pid, SIGKILL);
	return fail(seen, "loaded");
}

static struct torpor_error *on_running(void *data, struct torpor_session *session)
{
	struct seen *seen = data;

	seen->runs++;
	seen->running_pid = tp_session_pid(session);
	return fail(seen, "running");
}

/* What it was called for runs no more, or is deaf; but it is the session's still. */
static struct torpor_error *on_dropped(void *data, struct torpor_session *session)
{
	struct seen *seen = data;

	seen->drops++;
	cr_assert_eq(tp_session_pid(session), seen->loaded_pid);
	return fail(seen, "dropped");
}

static struct torpor_error *on_durable(void *data, struct torpor_session *session)
{
	(void)session;
	return fail(data, "durable");
}

static struct tp_session_hooks hooks_of(struct seen *seen)
{
	return (struct tp_session_hooks){.on_loaded = on_loaded,
		.on_running = on_running,
		.on_dropped = on_dropped,
		.on_durable = on_durable,
		.data = seen};
}

Test(warm, hooks_see_the_process_and_are_called_again_for_the_next)
{
	struct seen seen = {.kills = true};
	struct tp_session_hooks hooks = hooks_of(&seen);
	struct torpor_session_spec spec = {.name = it_name("it")};
	struct torpor_resume_report report;
	struct torpor_session_info info;
	struct torpor_session *session;

	it_ok(torpor_template_prepare_warm(tmpl, 1, NULL));
	it_ok(tp_session_start_hooked(tmpl, &spec, &hooks, NULL, &report, &session));
	it_ok(torpor_session_info(session, &info));
	cr_assert_eq(seen.calls, 2);
	cr_assert_eq(seen.drops, 1);
	cr_assert_eq(report.source, TORPOR_SOURCE_SPAWN);
	cr_assert_eq(seen.loaded_pid, info.pid);
	cr_assert_eq(seen.running_pid, info.pid);
	it_events_wait(&events, TORPOR_EVENT_STOCK, IT_TEMPLATE, 1);
	it_ok(torpor_session_destroy(session, NULL));
}

/* QEMU lets it run, but it doesn't. */
Test(warm, hooks_are_called_again_for_the_one_behind_a_deaf_one)
{
	struct seen seen = {0};
	struct tp_session_hooks hooks = hooks_of(&seen);
	struct torpor_session_spec spec = {.name = it_name("it")};
	struct torpor_resume_report report;
	struct torpor_session_info info;
	struct torpor_session *session;

	it_ok(torpor_template_prepare_warm(tmpl, 1, NULL));
	struct it_held *held = it_hold(pid_of_first(&tmpl->warm));
	cr_assert_not_null(held);
	it_ok(tp_session_start_hooked(tmpl, &spec, &hooks, NULL, &report, &session));
	cr_assert(it_held_ended(held));
	it_ok(torpor_session_info(session, &info));
	cr_assert_eq(report.source, TORPOR_SOURCE_SPAWN);
	cr_assert_eq(seen.calls, 2);
	cr_assert_eq(seen.runs, 2);
	cr_assert_eq(seen.drops, 1);
	cr_assert_eq(seen.running_pid, info.pid);
	cr_assert_eq(it_qemu_children(), 1);
	it_run(session, "true");
	it_ok(torpor_session_destroy(session, NULL));
}

Test(warm, a_hook_that_fails_fails_the_start)
{
	static const char *const places[] = {"loaded", "running", "dropped"};
	struct torpor_session *session;

	for (int i = 0; i < 3; i++) {
		struct seen seen = {.fail_at = places[i], .kills = i == 2};
		struct tp_session_hooks hooks = hooks_of(&seen);
		struct torpor_session_spec spec = {.name = it_name("it")};
		it_ok(torpor_template_prepare_warm(tmpl, 1, NULL));
		it_fails(tp_session_start_hooked(tmpl, &spec, &hooks, NULL, NULL, &session),
			TORPOR_E_IO);
		cr_assert_eq(it_qemu_children(), 0);
	}
}

Test(warm, a_hook_that_fails_takes_a_park_back)
{
	struct seen seen = {.fail_at = "durable"};
	struct tp_session_hooks hooks = hooks_of(&seen);
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session_info info;
	char path[4300];
	bool decoded = false;
	struct stat st;

	it_count_start(session);
	it_fails(tp_session_park_hooked(session, &hooks, NULL, NULL), TORPOR_E_IO);
	it_ok(torpor_session_info(session, &info));
	cr_assert_eq(info.state, TORPOR_SESSION_RUNNING);
	it_count_check(session);
	it_clock_check(session);
	snprintf(path, sizeof(path), "%s/images/%s", torpor_engine_state_dir(engine), info.name);
	cr_assert_neq(stat(path, &st), 0, "the image of a park that was taken back stays");

	/* Over an older image: one is left, and it is whole. */
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_resume(session, NULL, NULL));
	it_fails(tp_session_park_hooked(session, &hooks, NULL, NULL), TORPOR_E_IO);
	it_count_check(session);
	it_ok(torpor_image_verify(engine, path, NULL, &decoded));
	cr_assert(decoded);
	it_ok(torpor_session_destroy(session, NULL));
	cr_assert_neq(stat(path, &st), 0);
}

Test(warm, hooks_of_a_resume_and_of_forks_are_called)
{
	struct seen seen[3] = {0};
	struct tp_session_hooks hooks = hooks_of(&seen[0]);
	struct tp_session_hooks of_forks[2] = {hooks_of(&seen[1]), hooks_of(&seen[2])};
	struct torpor_session_spec specs[2] = {{.name = it_name("it")}, {.name = it_name("it")}};
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session *forks[2];
	struct torpor_session_info info;

	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(tp_session_resume_hooked(session, &hooks, NULL, NULL));
	it_ok(torpor_session_info(session, &info));
	cr_assert_eq(seen[0].running_pid, info.pid);
	it_ok(tp_session_fork_hooked(session, specs, 2, of_forks, NULL, NULL, forks));
	for (int i = 0; i < 2; i++) {
		it_ok(torpor_session_info(forks[i], &info));
		cr_assert_eq(seen[i + 1].running_pid, info.pid);
		it_ok(torpor_session_destroy(forks[i], NULL));
	}
	it_ok(torpor_session_destroy(session, NULL));
}
