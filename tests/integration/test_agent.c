/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that has qemu-guest-agent but not Torpor's helper: less is made fresh, and the report
 * says so; commands run through the agent.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool/session.h"
#include "support.h"

#define AGENT_ONLY "agent-only"

static struct torpor_engine *engine;
static struct torpor_template *tmpl;

/*
 * The minimal guest's initrd with another inittab behind it, which the kernel unpacks over the
 * first one (at a multiple of four bytes): the agent is started, the helper is not.
 */
static const char make_initrd[] =
	"set -e; work=$(mktemp -d); trap 'rm -r \"$work\"' EXIT; mkdir \"$work/etc\"; "
	"printf '%s\\n' "
	"'::respawn:/sbin/on-port org.qemu.guest_agent.0 /sbin/qemu-ga -m virtio-serial -p "
	"/dev/virtio-ports/org.qemu.guest_agent.0' > \"$work/etc/inittab\"; "
	"(cd \"$work\" && find etc | cpio --quiet -o -H newc) > \"$work/extra\"; "
	"cp \"$1\" \"$2\"; truncate -s %4 \"$2\"; cat \"$work/extra\" >> \"$2\"";

static void make_template(void)
{
	char kernel[4096];
	char initrd[4096];
	char ours[4096];
	char command[16384];

	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", it_guest_dir());
	snprintf(initrd, sizeof(initrd), "%s/initrd.img", it_guest_dir());
	snprintf(ours, sizeof(ours), "%s/agent-only.img", torpor_engine_state_dir(engine));
	setenv("MAKE_INITRD", make_initrd, 1);
	snprintf(command, sizeof(command), "sh -c \"$MAKE_INITRD\" sh '%s' '%s'", initrd, ours);
	cr_assert_eq(system(command), 0, "no initrd could be made");
	struct torpor_template_spec spec = {
		.name = AGENT_ONLY,
		.kernel = kernel,
		.initrd = ours,
		.accel = "tcg",
		.replace = true,
	};
	it_ok(torpor_template_build(engine, &spec, NULL, NULL, NULL, NULL, &tmpl));
	unlink(ours);
}

static atomic_bool enough;

/* Until a command fails with anything but BUSY: that error. */
static void *run_commands(void *data)
{
	const char *const argv[] = {"/bin/sleep", "1", NULL};
	struct torpor_exec_result result;
	struct torpor_error *err = NULL;

	while (!atomic_load(&enough) && !err) {
		err = torpor_session_exec(data, &(struct torpor_exec){.argv = argv}, NULL, &result);
		if (err && torpor_error_code(err) == TORPOR_E_BUSY) {
			torpor_error_free(err);
			err = NULL;
		}
	}
	return err;
}

/* Parks that have no time want the session and give up; that isn't a command's own cancellation. */
static void give_up_parks_beside_commands(struct torpor_session *session)
{
	pthread_t thread;
	void *err;

	cr_assert_eq(pthread_create(&thread, NULL, run_commands, session), 0);
	for (unsigned int i = 0; i < 1000; i++) {
		struct torpor_call hurried = {.timeout_ns = 1 + i % 50 * 2000};
		it_fails(torpor_session_park(session, &hurried, NULL), TORPOR_E_TIMEOUT);
	}
	atomic_store(&enough, true);
	pthread_join(thread, &err);
	it_ok(err);
}

struct command {
	struct torpor_session *session;
	struct torpor_error *err;
};

static void *run_long(void *data)
{
	struct command *command = data;
	const char *const argv[] = {"/bin/sleep", "1000", NULL};
	struct torpor_exec_result result;

	command->err = torpor_session_exec(
		command->session, &(struct torpor_exec){.argv = argv}, NULL, &result);
	return NULL;
}

/* A command through the agent has its session to itself; only what is urgent breaks it off. */
static void check_one_at_a_time(struct torpor_session *session)
{
	struct command command = {.session = session};
	pthread_t thread;

	cr_assert_not(tp_session_busy(session));
	cr_assert_eq(pthread_create(&thread, NULL, run_long, &command), 0);
	while (!tp_session_busy(session))
		sched_yield();
	it_fails(torpor_session_pause(session, NULL), TORPOR_E_BUSY);
	cr_assert(tp_session_busy(session));
	it_ok(torpor_session_park(session, NULL, NULL));
	pthread_join(thread, NULL);
	cr_assert_eq(torpor_error_code(command.err), TORPOR_E_BUSY);
	torpor_error_free(command.err);
	cr_assert_not(tp_session_busy(session));
	it_ok(torpor_session_resume(session, NULL, NULL));
}

Test(agent, a_guest_without_helper_lives_by_its_agent, .timeout = 300)
{
	struct torpor_template_info info;
	struct torpor_session_spec spec = {.name = it_name("agent"), .hostname = "by-agent"};
	struct torpor_session *session;
	struct torpor_resume_report report;
	struct torpor_ping_report ping;

	engine = it_open();
	make_template();
	it_ok(torpor_template_info(tmpl, &info));
	cr_assert(info.agent && !info.helper);

	it_ok(torpor_session_start(tmpl, &spec, NULL, &report, &session));
	cr_assert_eq(report.ready_ns, 0);
	cr_assert_not(report.fresh & TORPOR_FRESH_RANDOM, "an agent can't reseed");
	cr_assert(report.fresh & TORPOR_FRESH_HOSTNAME);
	cr_assert_str_eq(it_run(session, "hostname"), "by-agent");
	it_run(session, "echo kept > /kept");
	it_ok(torpor_session_ping(session, NULL, &ping));
	cr_assert(ping.agent);

	const char *const argv[] = {"/bin/cat", NULL};
	struct torpor_exec with_input = {.argv = argv, .has_stdin = true, .stdin_fd = 0};
	struct torpor_exec_result result;
	it_fails(torpor_session_exec(session, &with_input, NULL, &result), TORPOR_E_UNSUPPORTED);

	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_resume(session, NULL, &report));
	cr_assert_str_eq(it_run(session, "cat /kept"), "kept");
	give_up_parks_beside_commands(session);

	check_one_at_a_time(session);

	/* Paused, and claimed from a warm guest: what the agent can do is done then, too. */
	it_ok(torpor_session_pause(session, NULL));
	it_ok(torpor_session_unpause(session, NULL));
	cr_assert_str_eq(it_run(session, "cat /kept"), "kept");
	it_ok(torpor_session_destroy(session, NULL));
	spec.name = it_name("agent");
	it_ok(torpor_template_prepare_warm(tmpl, 1, NULL));
	it_ok(torpor_session_start(tmpl, &spec, NULL, &report, &session));
	cr_assert_eq(report.source, TORPOR_SOURCE_WARM);
	cr_assert(report.fresh & TORPOR_FRESH_HOSTNAME);
	cr_assert_str_eq(it_run(session, "hostname"), "by-agent");
	it_ok(torpor_session_destroy(session, NULL));
	torpor_template_close(tmpl);
	it_ok(torpor_template_remove(engine, AGENT_ONLY));
	torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0);
}
