/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two QEMUs on one host, the default one and a newer one (TORPOR_TEST_QEMU10): what the older has
 * parked the newer resumes, and not the other way round. Not in the default run: scripts/check
 * --long gets the newer one.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "engine/control.h"
#include "inside.h"
#include "support.h"

static struct torpor_engine *older;
static struct torpor_engine *newer;

static void open_both(void)
{
	const char *qemu = getenv("TORPOR_TEST_QEMU10");

	cr_assert_not_null(qemu, "TORPOR_TEST_QEMU10 is not set: run this through scripts/check");
	older = it_open();
	newer = it_open_with((struct torpor_engine_options){.qemu = qemu});
}

static void close_both(void)
{
	newer = torpor_engine_close(newer);
	older = torpor_engine_close(older);
	cr_assert_eq(it_qemu_children(), 0, "a guest outlived its engine");
}

TestSuite(versions, .init = open_both, .fini = close_both, .timeout = 290);

static struct torpor_session *open_in(struct torpor_engine *engine, const char *name)
{
	struct torpor_session *session;

	it_ok(torpor_session_open(engine, name, NULL, NULL, &session));
	return session;
}

static void refused_by_the_older(const char *name)
{
	struct torpor_session *session = open_in(older, name);
	struct torpor_error *err = torpor_session_resume(session, NULL, NULL);

	cr_assert_eq(torpor_error_code(err), TORPOR_E_MISMATCH);
	cr_assert_not_null(
		strstr(torpor_error_message(err), "is the older"), "%s", torpor_error_message(err));
	torpor_error_free(err);
	torpor_session_close(session);
}

/* Parks by the given path with the newer QEMU, and has it back there. */
static void there_and_back(struct torpor_session *session, enum tp_path path)
{
	struct torpor_park_report report;
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	newer->capture.path = path;
	it_ok(torpor_session_park(session, NULL, &report));
	cr_assert_eq((enum tp_path)report.path, path);
	refused_by_the_older(info.name);
	it_ok(torpor_session_resume(session, NULL, NULL));
	newer->capture.path = TP_PATH_AUTO;
	it_run(session, "sha256sum -c /sum");
}

Test(versions, what_the_older_parked_the_newer_resumes)
{
	struct torpor_template *tmpl = it_template(older);
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session_info info;

	it_run(session, "head -c 3000000 /dev/urandom > /data; sha256sum /data > /sum");
	it_ok(torpor_session_info(session, &info));
	it_ok(torpor_session_park(session, NULL, NULL));
	torpor_session_close(session);
	torpor_template_close(tmpl);

	session = open_in(newer, info.name);
	it_ok(torpor_session_resume(session, NULL, NULL));
	it_run(session, "sha256sum -c /sum");
	there_and_back(session, TP_PATH_DIRECT);
	there_and_back(session, TP_PATH_STREAM);

	struct torpor_session_spec spec = {.name = it_name("fork")};
	struct torpor_session *fork;
	it_ok(torpor_session_fork(session, &spec, 1, NULL, NULL, &fork));
	it_run(fork, "sha256sum -c /sum");
	it_ok(torpor_session_destroy(fork, NULL));
	it_ok(torpor_session_destroy(session, NULL));
}

Test(versions, a_guest_that_rebooted_goes_over_too)
{
	struct torpor_template *tmpl = it_template(older);
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session_info info;

	in_reboot(session);
	it_run(session, "head -c 3000000 /dev/urandom > /data; sha256sum /data > /sum");
	it_ok(torpor_session_info(session, &info));
	cr_assert_gt(info.reboots, 0);
	it_ok(torpor_session_park(session, NULL, NULL));
	torpor_session_close(session);
	torpor_template_close(tmpl);

	session = open_in(newer, info.name);
	it_ok(torpor_session_resume(session, NULL, NULL));
	it_run(session, "sha256sum -c /sum");
	it_ok(torpor_session_destroy(session, NULL));
}

Test(versions, a_template_of_the_newer_is_refused_by_the_older)
{
	TP_FREE char *kernel = tp_asprintf("%s/vmlinuz", it_guest_dir());
	TP_FREE char *initrd = tp_asprintf("%s/initrd.img", it_guest_dir());
	struct torpor_template_spec spec = {
		.name = "versions", .kernel = kernel, .initrd = initrd, .replace = true};
	struct torpor_template *tmpl;

	it_ok(torpor_template_build(newer, &spec, NULL, NULL, NULL, NULL, &tmpl));
	torpor_template_close(tmpl);
	/* Its machine is one that the older doesn't know; QEMU would say so when a guest starts. */
	struct torpor_error *err = torpor_template_open(older, "versions", NULL, &tmpl);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_MISMATCH);
	cr_assert_not_null(strstr(torpor_error_message(err), "has no machine type pc-i440fx-1"),
		"%s", torpor_error_message(err));
	torpor_error_free(err);
	it_ok(torpor_template_remove(newer, "versions"));
}

/* A microvm has no versions, and so it stays where it is: said before anything is started. */
Test(versions, a_microvm_goes_to_no_other_version)
{
	TP_FREE char *kernel = tp_asprintf("%s/vmlinuz", it_guest_dir());
	TP_FREE char *initrd = tp_asprintf("%s/initrd.img", it_guest_dir());
	struct torpor_template_spec spec = {.name = "versions-microvm",
		.machine = "microvm",
		.accel = "tcg",
		.kernel = kernel,
		.initrd = initrd,
		.replace = true};
	struct torpor_template *tmpl;
	struct torpor_session_info info;
	struct torpor_where where;

	it_ok(torpor_template_build(older, &spec, NULL, NULL, NULL, NULL, &tmpl));
	struct torpor_session *session = it_start(tmpl);
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_info(session, &info));
	torpor_session_close(session);
	torpor_template_close(tmpl);
	it_ok(torpor_image_where(older, info.image_path, NULL, &where));
	cr_assert(where.here);
	torpor_where_deinit(&where);
	it_ok(torpor_image_where(newer, info.image_path, NULL, &where));
	cr_assert_not(where.here);
	torpor_where_deinit(&where);
	it_fails(torpor_template_open(newer, "versions-microvm", NULL, &tmpl), TORPOR_E_MISMATCH);
	session = open_in(newer, info.name);
	it_fails(torpor_session_resume(session, NULL, NULL), TORPOR_E_MISMATCH);
	it_ok(torpor_session_destroy(session, NULL));
	it_ok(torpor_template_remove(older, "versions-microvm"));
}

/* --- ways that only one of them knows --- */

/* What QEMU was started with. */
static bool started_with(pid_t pid, const char *words)
{
	TP_FREE char *path = tp_asprintf("/proc/%d/cmdline", (int)pid);
	TP_FREE char *line = NULL;
	size_t len;

	it_ok(tp_read_file(AT_FDCWD, path, 64 * TP_KIB, &line, &len));
	return memmem(line, len, words, strlen(words)) != NULL;
}

/* Gives a waiting process a stream that breaks off, and says whether it is still there then. */
static bool survives_a_bad_load(struct torpor_engine *engine, char **why_out)
{
	struct tp_call call = in_call();
	struct torpor_template *tmpl = it_template(engine);
	struct tp_shell *shell;

	it_ok(tp_shell_start(tmpl, &call, &shell));
	it_ok(tp_write_stream(shell->memory.load_fd, "nonsense", 8, &call, "shell"));
	shell->memory.load_fd = tp_close(shell->memory.load_fd);
	struct torpor_error *err = tp_guest_load_wait(shell->guest, &call);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_QEMU);
	*why_out = tp_strdup(torpor_error_message(err));
	torpor_error_free(err);
	struct pollfd end = {.fd = tp_guest_pidfd(shell->guest), .events = POLLIN};
	bool there = poll(&end, 1, 0) == 0;
	tp_shell_free(shell);
	torpor_template_close(tmpl);
	return there;
}

/* The older one ends and leaves its last words; the newer one stays, and is asked. */
Test(versions, a_load_that_fails_is_explained_by_both)
{
	TP_FREE char *last_words = NULL;
	TP_FREE char *answer = NULL;

	cr_assert_not(survives_a_bad_load(older, &last_words));
	cr_assert_not_null(strstr(last_words, "QEMU ended"), "%s", last_words);
	cr_assert(survives_a_bad_load(newer, &answer));
	cr_assert_null(strstr(answer, "QEMU ended"), "%s", answer);
	cr_assert_null(strstr(answer, "doesn't say why"), "%s", answer);
}

/* The newer one opens the base read-only, so that it can't write into it even without the seal. */
Test(versions, the_base_is_opened_read_only_where_that_is_known)
{
	static const char words[] = ",readonly=on,rom=off";
	struct torpor_engine *engines[] = {older, newer};

	for (size_t i = 0; i < TP_ARRAY_LEN(engines); i++) {
		struct torpor_template *tmpl = it_template(engines[i]);
		struct torpor_session *session = it_start(tmpl);
		struct torpor_session_info info;
		it_ok(torpor_session_info(session, &info));
		cr_assert_eq(started_with(info.pid, words), i == 1);
		it_run(session, "head -c 3000000 /dev/urandom > /data");
		it_ok(torpor_session_destroy(session, NULL));
		torpor_template_close(tmpl);
	}
}
