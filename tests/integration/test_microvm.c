/* SPDX-License-Identifier: Apache-2.0 */
/* Other machines than the shared template's: microvm, q35, and two processors. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "inside.h"
#include "support.h"

static struct torpor_engine *engine;
static struct torpor_template *tmpl;

static void open_engine(void)
{
	engine = it_open();
}

static void close_all(void)
{
	if (tmpl) {
		torpor_template_close(tmpl);
		it_ok(torpor_template_remove(engine, "machines"));
	}
	engine = torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0, "a guest outlived its engine");
}

TestSuite(machines, .init = open_engine, .fini = close_all, .timeout = 550);

static void build(struct torpor_template_spec spec)
{
	TP_FREE char *kernel = tp_asprintf("%s/vmlinuz", it_guest_dir());
	TP_FREE char *initrd = tp_asprintf("%s/initrd.img", it_guest_dir());

	spec.name = "machines";
	spec.kernel = kernel;
	spec.initrd = initrd;
	spec.replace = true;
	it_ok(torpor_template_build(engine, &spec, NULL, NULL, NULL, NULL, &tmpl));
}

static void start_work(struct torpor_session *session)
{
	it_run(session, "head -c 3000000 /dev/urandom > /data; sha256sum /data > /sum; "
			"setsid sh -c 'i=0; while :; do i=$((i+1)); echo $i >> /count; sleep 0.1; "
			"done' </dev/null >/dev/null 2>&1 & echo $! > /pid");
	it_run(session, "while [ ! -s /count ]; do sleep 0.1; done");
}

static void check_work(struct torpor_session *session)
{
	it_run(session, "sha256sum -c /sum");
	it_run(session,
		"n=$(tail -n 1 /count); while [ $(tail -n 1 /count) = $n ]; do sleep 0.1; done; "
		"awk '$1 != NR {exit 1}' /count && kill -0 $(cat /pid)");
}

/* Parks, compares memory, resumes; by each path. */
static void there_and_back(struct torpor_session *session)
{
	static const enum tp_path paths[] = {TP_PATH_DIRECT, TP_PATH_STREAM};
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	for (size_t i = 0; i < TP_ARRAY_LEN(paths); i++) {
		in_stop(session);
		struct in_ram before = in_ram_read(session->guest, &session->record.guest);
		engine->capture.path = paths[i];
		it_ok(torpor_session_park(session, NULL, NULL));
		struct tp_shell *shell = in_restore(session, info.name, paths[i]);
		struct in_ram after = in_ram_read(shell->guest, &session->record.guest);
		in_ram_compare(&before, &after, tp_path_name(paths[i]));
		in_ram_deinit(&before);
		in_ram_deinit(&after);
		tp_shell_free(shell);
		it_ok(torpor_session_resume(session, NULL, NULL));
		check_work(session);
	}
	engine->capture.path = TP_PATH_AUTO;
}

static void fork_one(struct torpor_session *session)
{
	struct torpor_session_spec spec = {.name = it_name("fork")};
	struct torpor_session *fork;

	it_ok(torpor_session_fork(session, &spec, 1, NULL, NULL, &fork));
	check_work(fork);
	cr_assert_str_eq(it_run(fork, "hostname"), spec.name);
	it_run(fork, "rm /data");
	check_work(session);
	it_ok(torpor_session_destroy(fork, NULL));
}

/* After a reboot the guest has all of its memory to itself; it parks all the same. */
static void reboot(struct torpor_session *session)
{
	in_reboot(session);
	it_run(session, "test ! -e /data");
	start_work(session);
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_resume(session, NULL, NULL));
	check_work(session);
}

/* The whole life of a session. */
static void live(const char *machine, const char *machine_type)
{
	struct torpor_template_info info;

	build((struct torpor_template_spec){.machine = machine});
	it_ok(torpor_template_info(tmpl, &info));
	cr_assert_eq(strncmp(info.machine_type, machine_type, strlen(machine_type)), 0, "it is %s",
		info.machine_type);
	cr_assert(info.helper && info.agent);
	struct torpor_session *session = it_start(tmpl);
	start_work(session);
	there_and_back(session);
	fork_one(session);
	reboot(session);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(machines, microvm)
{
	/* libvirt runs none and says so (tests/libvirt); they are the other launcher's. */
	if (it_with_libvirt()) {
		engine = torpor_engine_close(engine);
		engine = it_open_with((struct torpor_engine_options){.launcher = "direct"});
	}
	live("microvm", "microvm");
}

Test(machines, q35)
{
	live("q35", "pc-q35-");
}

Test(machines, two_processors)
{
	build((struct torpor_template_spec){.vcpus = 2});
	struct torpor_session *session = it_start(tmpl);
	cr_assert_str_eq(it_run(session, "nproc"), "2");
	start_work(session);
	/* One busy loop for each. */
	it_run(session, "for i in 1 2; do setsid sh -c 'while :; do :; done' </dev/null "
			">/dev/null 2>&1 & done");
	there_and_back(session);
	cr_assert_str_eq(it_run(session, "nproc"), "2");
	fork_one(session);
	it_ok(torpor_session_destroy(session, NULL));
}
