/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a session on a real guest: start, use, park, resume, checkpoint, fork, end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

#define ALL_FRESH                                                                                  \
	(TORPOR_FRESH_CLOCK | TORPOR_FRESH_RANDOM | TORPOR_FRESH_HOSTNAME | TORPOR_FRESH_MACHINE_ID)

static struct torpor_engine *engine;
static struct torpor_template *tmpl;

static void open_all(void)
{
	engine = it_open();
	tmpl = it_template(engine);
}

static void close_all(void)
{
	torpor_template_close(tmpl);
	engine = torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0, "a guest outlived its engine");
}

TestSuite(life, .init = open_all, .fini = close_all, .timeout = 300);

Test(life, a_started_session_has_its_own_identity)
{
	struct torpor_session_spec spec = {.name = it_name("named"), .hostname = "alpha"};
	struct torpor_session *session;
	struct torpor_resume_report report;

	it_ok(torpor_session_start(tmpl, &spec, NULL, &report, &session));
	cr_assert_eq(report.fresh, ALL_FRESH);
	cr_assert_gt(report.running_ns, 0);
	cr_assert_geq(report.ready_ns, report.running_ns);
	cr_assert_str_eq(it_run(session, "hostname"), "alpha");
	cr_assert_eq(strlen(it_run(session, "cat /etc/machine-id")), 32);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(life, a_parked_session_has_no_process_and_goes_on_where_it_was)
{
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session_info info;
	struct torpor_park_report park;
	struct torpor_resume_report resume;
	char boot_id[64];
	char counter[64];

	snprintf(boot_id, sizeof(boot_id), "%s",
		it_run(session, "cat /proc/sys/kernel/random/boot_id"));
	it_run(session, "head -c 3000000 /dev/urandom > /data; sha256sum /data > /sum; "
			"setsid sh -c 'i=0; while :; do i=$((i+1)); echo $i >> /count; sleep 0.1; "
			"done' </dev/null >/dev/null 2>&1 & echo $! > /pid");
	it_run(session, "while [ ! -s /count ]; do sleep 0.1; done");
	it_ok(torpor_session_info(session, &info));
	cr_assert(it_process_exists(info.pid, info.start_time));

	it_ok(torpor_session_park(session, NULL, &park));
	cr_assert_not(it_process_exists(info.pid, info.start_time));
	cr_assert_leq(park.captured_ns, park.durable_ns);
	cr_assert_leq(park.durable_ns, park.gone_ns);
	cr_assert_gt(park.pages, 700);
	it_ok(torpor_session_info(session, &info));
	cr_assert_eq(info.state, TORPOR_SESSION_PARKED);
	struct stat st;
	cr_assert_eq(stat(info.image_path, &st), 0);
	cr_assert_eq((uint64_t)st.st_size, park.image_bytes);

	it_ok(torpor_session_resume(session, NULL, &resume));
	cr_assert_eq(resume.fresh, TORPOR_FRESH_CLOCK | TORPOR_FRESH_RANDOM);
	cr_assert_eq(resume.pages, park.pages);
	cr_assert_str_eq(it_run(session, "cat /proc/sys/kernel/random/boot_id"), boot_id);
	it_run(session, "sha256sum -c /sum");
	snprintf(counter, sizeof(counter), "%s", it_run(session, "tail -n 1 /count"));
	it_run(session,
		"n=$(tail -n 1 /count); while [ $(tail -n 1 /count) = $n ]; do sleep 0.1; done; "
		"awk '$1 != NR {exit 1}' /count && kill -0 $(cat /pid)");
	it_ok(torpor_session_destroy(session, NULL));
	cr_assert_neq(stat(info.image_path, &st), 0, "destroying left the image");
}

Test(life, a_checkpoint_leaves_the_guest_running)
{
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session *copy;
	const char *name = it_name("checkpoint");
	struct torpor_park_report report;
	struct torpor_session_info info;

	it_run(session, "echo before > /state");
	it_ok(torpor_session_checkpoint(session, name, NULL, &report));
	cr_assert_gt(report.pause_ns, 0);
	cr_assert_eq(report.gone_ns, 0);
	it_run(session, "echo after > /state");
	it_ok(torpor_session_info(session, &info));
	cr_assert_eq(info.state, TORPOR_SESSION_RUNNING);

	it_ok(torpor_session_open(engine, name, NULL, NULL, &copy));
	it_ok(torpor_session_resume(copy, NULL, NULL));
	cr_assert_str_eq(it_run(copy, "cat /state"), "before");
	cr_assert_str_eq(it_run(session, "cat /state"), "after");
	it_ok(torpor_session_destroy(copy, NULL));
	it_ok(torpor_session_destroy(session, NULL));
}

Test(life, forks_share_the_past_and_nothing_else)
{
	enum { COUNT = 3 };
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session *forks[COUNT];
	struct torpor_session_spec specs[COUNT];
	struct torpor_resume_report reports[COUNT];
	char ids[COUNT][64];
	char randoms[COUNT][80];

	it_run(session, "echo shared > /past");
	it_ok(torpor_session_park(session, NULL, NULL));
	for (int i = 0; i < COUNT; i++)
		specs[i] = (struct torpor_session_spec){.name = it_name("fork")};
	it_ok(torpor_session_fork(session, specs, COUNT, NULL, reports, forks));
	for (int i = 0; i < COUNT; i++) {
		cr_assert_eq(reports[i].fresh, ALL_FRESH);
		cr_assert_str_eq(it_run(forks[i], "cat /past"), "shared");
		cr_assert_str_eq(it_run(forks[i], "hostname"), specs[i].name);
		snprintf(ids[i], sizeof(ids[i]), "%s", it_run(forks[i], "cat /etc/machine-id"));
		snprintf(randoms[i], sizeof(randoms[i]), "%s",
			it_run(forks[i], "head -c 32 /dev/urandom | sha256sum | cut -c1-64"));
		for (int j = 0; j < i; j++) {
			cr_assert_str_neq(ids[i], ids[j]);
			cr_assert_str_neq(randoms[i], randoms[j]);
		}
	}
	for (int i = 0; i < COUNT; i++)
		it_ok(torpor_session_destroy(forks[i], NULL));
	it_ok(torpor_session_destroy(session, NULL));
}

Test(life, exec_tells_status_signal_and_output)
{
	struct torpor_session *session = it_start(tmpl);
	struct torpor_exec_result result;
	const char *const status_argv[] = {"sh", "-c", "exit 7", NULL};
	const char *const signal_argv[] = {"sh", "-c", "kill -9 $$", NULL};
	const char *const none_argv[] = {"/no/such/program", NULL};

	it_ok(torpor_session_exec(
		session, &(struct torpor_exec){.argv = status_argv}, NULL, &result));
	cr_assert(result.exited && result.status == 7);
	it_ok(torpor_session_exec(
		session, &(struct torpor_exec){.argv = signal_argv}, NULL, &result));
	cr_assert(!result.exited && result.status == 9);
	it_fails(torpor_session_exec(
			 session, &(struct torpor_exec){.argv = none_argv}, NULL, &result),
		TORPOR_E_NOT_FOUND);
	cr_assert_eq(strlen(it_run(session, "seq 1 30000")), 168893);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(life, closing_the_engine_with_a_parked_session_keeps_it)
{
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session_info info;

	it_run(session, "echo kept > /kept");
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_info(session, &info));
	torpor_session_close(session);
	it_ok(torpor_session_open(engine, info.name, NULL, NULL, &session));
	it_ok(torpor_session_resume(session, NULL, NULL));
	cr_assert_str_eq(it_run(session, "cat /kept"), "kept");
	cr_assert_str_eq(it_run(session, "hostname"), info.hostname);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(life, a_parked_sessions_name_is_taken)
{
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session_info info;
	struct torpor_session *other;

	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_info(session, &info));
	torpor_session_close(session);
	struct torpor_session_spec spec = {.name = info.name};
	it_fails(torpor_session_start(tmpl, &spec, NULL, NULL, &other), TORPOR_E_EXISTS);
	it_ok(torpor_session_open(engine, info.name, NULL, NULL, &session));
	it_ok(torpor_session_destroy(session, NULL));
	it_ok(torpor_session_start(tmpl, &spec, NULL, NULL, &other));
	it_ok(torpor_session_destroy(other, NULL));
}

Test(life, two_engines_of_one_process_share_a_state_directory)
{
	struct torpor_engine *other = it_open();
	struct torpor_template *other_tmpl = it_template(other);
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session *other_session = it_start(other_tmpl);

	it_run(session, "true");
	it_run(other_session, "true");
	it_ok(torpor_session_destroy(other_session, NULL));
	it_run(session, "true");
	it_ok(torpor_session_destroy(session, NULL));
	torpor_template_close(other_tmpl);
	torpor_engine_close(other);
}
