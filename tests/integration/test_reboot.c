/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that reset themselves, power off, or lose their QEMU. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "pool/session.h"

#define LONG_NS UINT64_C(120000000000)

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

TestSuite(reboot, .init = open_all, .fini = close_all, .timeout = 400);

static struct torpor_session_info info_of(struct torpor_session *session)
{
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	return info;
}

/* Runs what ends the guest's process, which may end before it answers. */
static void run_to_its_end(struct torpor_session *session, const char *script)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct torpor_call call = {.timeout_ns = LONG_NS};
	struct torpor_exec_result result;
	struct torpor_error *err =
		torpor_session_exec(session, &(struct torpor_exec){.argv = argv}, &call, &result);

	if (!err)
		return;
	cr_assert_eq(torpor_error_code(err), TORPOR_E_QEMU, "%s", torpor_error_message(err));
	cr_assert_not_null(
		strstr(torpor_error_message(err), "QEMU ended"), "%s", torpor_error_message(err));
	torpor_error_free(err);
}

/*
 * The guest resets itself, and the next call waits until it has booted anew. A command that answers
 * before the guest goes down is followed by one that its end ends.
 */
static void reboot_by(struct torpor_session *session, const char *command)
{
	unsigned int before = info_of(session).reboots;
	struct torpor_call call = {.timeout_ns = LONG_NS};
	char script[128];

	snprintf(script, sizeof(script), "%s; while :; do sleep 1; done", command);
	run_to_its_end(session, script);
	it_ok(torpor_session_ping(session, &call, NULL));
	struct torpor_session_info info = info_of(session);
	cr_assert_eq(info.state, TORPOR_SESSION_RUNNING);
	cr_assert_eq(info.reboots, before + 1);
	cr_assert_not(info.has_base);
	cr_assert(it_process_exists(info.pid, info.start_time));
}

/* For the reason WHY, or OR. */
static void check_park_refused_or(struct torpor_session *session, const char *why, const char * or)
{
	struct torpor_error *err = torpor_session_park(session, NULL, NULL);

	cr_assert_not_null(err);
	const char *message = torpor_error_message(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_BUSY, "%s", message);
	cr_assert(strstr(message, why) || strstr(message, or),
		"neither \"%s\" nor \"%s\" in \"%s\"", why, or, message);
	torpor_error_free(err);
}

static void check_park_refused(struct torpor_session *session, const char *why)
{
	check_park_refused_or(session, why, why);
}

Test(reboot, it_boots_anew_and_is_itself)
{
	struct torpor_session *session = it_start(tmpl);
	char *hostname = strdup(it_run(session, "hostname"));
	char *machine_id = strdup(it_run(session, "cat /etc/machine-id"));
	char *boot_id = strdup(it_run(session, "cat /proc/sys/kernel/random/boot_id"));

	it_run(session, "echo lost > /mark");
	reboot_by(session, "reboot -f");
	cr_assert_str_eq(it_run(session, "hostname"), hostname);
	cr_assert_str_eq(it_run(session, "cat /etc/machine-id"), machine_id);
	cr_assert_str_neq(it_run(session, "cat /proc/sys/kernel/random/boot_id"), boot_id);
	it_run(session, "[ ! -e /mark ]");
	it_clock_check(session);

	/* Parked and resumed, it goes on where it was. */
	it_count_start(session);
	it_run(session, "head -c 3000000 /dev/urandom > /data; sha256sum /data > /sum");
	for (int i = 0; i < 2; i++) {
		struct torpor_park_report park;
		struct torpor_resume_report resume;
		struct torpor_image_info image;
		it_ok(torpor_session_park(session, NULL, &park));
		cr_assert_eq(park.path, TORPOR_PATH_OWN);
		cr_assert_eq(it_qemu_children(), 0);
		it_ok(torpor_image_inspect(info_of(session).image_path, NULL, &image));
		cr_assert_str_eq(image.kind, "full");
		torpor_image_info_deinit(&image);
		it_ok(torpor_session_resume(session, NULL, &resume));
		cr_assert_eq(resume.path, TORPOR_PATH_OWN);
		cr_assert_eq(info_of(session).reboots, 1);
		it_count_check(session);
		it_clock_check(session);
		it_run(session, "sha256sum -c /sum");
	}

	/* And reboots again, in the orderly way. */
	reboot_by(session, "reboot");
	cr_assert_str_eq(it_run(session, "hostname"), hostname);
	cr_assert_str_eq(it_run(session, "cat /etc/machine-id"), machine_id);
	it_ok(torpor_session_destroy(session, NULL));
	free(hostname);
	free(machine_id);
	free(boot_id);
}

Test(reboot, a_full_image_is_checkpointed_forked_and_refused_like_any)
{
	struct torpor_session *session = it_start(tmpl);
	struct torpor_session_spec specs[] = {{.name = it_name("f")}, {.name = it_name("f")}};
	struct torpor_session *forks[2];
	struct torpor_session *opened;
	struct it_fault fault = {.op = TP_IO_SYNC, .nth = 1, .errnum = 5};
	const char *checkpoint = it_name("cp");
	size_t len;

	reboot_by(session, "reboot -f");
	it_count_start(session);
	it_run(session, "echo past > /mark");
	it_ok(torpor_session_fork(session, specs, 2, NULL, NULL, forks));
	for (int i = 0; i < 2; i++) {
		cr_assert_str_eq(it_run(forks[i], "cat /mark"), "past");
		cr_assert_str_eq(it_run(forks[i], "hostname"), specs[i].name);
		it_count_check(forks[i]);
		it_ok(torpor_session_destroy(forks[i], NULL));
	}

	/* A failed park of it is taken back as well, as is a cancelled one wherever it is. */
	it_fault_set(&fault);
	it_fails(torpor_session_park(session, NULL, NULL), TORPOR_E_IO);
	it_fault_clear();
	it_count_check(session);
	for (uint64_t ns = 1000000;; ns *= 2) {
		struct torpor_call call = {.timeout_ns = ns};
		struct torpor_error *err =
			torpor_session_checkpoint(session, checkpoint, &call, NULL);
		it_count_check(session);
		if (!err)
			break;
		cr_assert_eq(
			torpor_error_code(err), TORPOR_E_TIMEOUT, "%s", torpor_error_message(err));
		torpor_error_free(err);
		cr_assert_eq(it_own_parts(engine->state_dir), 0);
	}

	it_ok(torpor_session_open(engine, checkpoint, NULL, NULL, &opened));
	cr_assert_not(info_of(opened).has_base);
	cr_assert_eq(info_of(opened).reboots, 1);
	it_ok(torpor_session_resume(opened, NULL, NULL));
	it_count_check(opened);
	it_ok(torpor_session_park(opened, NULL, NULL));

	/* Damaged it is refused, and nothing is left. */
	struct torpor_session_info info = info_of(opened);
	uint8_t *bytes = it_read(info.image_path, &len);
	bytes[len / 3] ^= 4;
	it_write(info.image_path, bytes, len);
	int before = (int)it_qemu_children();
	it_fails(torpor_session_resume(opened, NULL, NULL), TORPOR_E_CORRUPT);
	cr_assert_eq((int)it_qemu_children(), before);
	bytes[len / 3] ^= 4;
	it_write(info.image_path, bytes, len);
	it_ok(torpor_session_resume(opened, NULL, NULL));
	it_count_check(opened);
	free(bytes);
	it_ok(torpor_session_destroy(opened, NULL));
	it_ok(torpor_session_destroy(session, NULL));
}

Test(reboot, poweroff_ends_the_session)
{
	struct torpor_session *session = it_start(tmpl);
	const char *const argv[] = {"true", NULL};
	struct torpor_exec_result result;

	run_to_its_end(session, "poweroff -f; while :; do sleep 1; done");
	check_park_refused(session, "the guest powered off");
	cr_assert_eq(info_of(session).state, TORPOR_SESSION_ENDED);
	cr_assert_eq(info_of(session).pid, 0);
	it_fails(torpor_session_resume(session, NULL, NULL), TORPOR_E_BUSY);
	it_fails(torpor_session_exec(session, &(struct torpor_exec){.argv = argv}, NULL, &result),
		TORPOR_E_BUSY);
	it_fails(torpor_session_ping(session, NULL, NULL), TORPOR_E_BUSY);
	it_fails(torpor_session_checkpoint(session, "cp", NULL, NULL), TORPOR_E_BUSY);
	cr_assert_eq(it_qemu_children(), 0);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(reboot, a_killed_qemu_ends_the_session)
{
	struct torpor_session *session = it_start(tmpl);

	/* Nobody is talking to it. */
	cr_assert_eq(it_kill_qemus(), 1);
	check_park_refused(session, it_killed());
	cr_assert_eq(info_of(session).state, TORPOR_SESSION_ENDED);
	cr_assert_eq(it_qemu_children(), 0);
	torpor_session_close(session);

	/* Somebody is. */
	session = it_start(tmpl);
	run_to_its_end(session, "echo c > /proc/sysrq-trigger; while :; do sleep 1; done");
	/* panic=-1 on its command line: a crash is a reset. */
	struct torpor_call call = {.timeout_ns = LONG_NS};
	it_ok(torpor_session_ping(session, &call, NULL));
	cr_assert_eq(info_of(session).reboots, 1);
	cr_assert_eq(it_kill_qemus(), 1);
	it_fails(torpor_session_ping(session, NULL, NULL), TORPOR_E_BUSY);
	it_ok(torpor_session_destroy(session, NULL));
}

/* --- While it boots --- */

/* The guest has reset itself, and its new boot is under way. */
static void start_rebooting(struct torpor_session *session)
{
	struct torpor_session_info info = info_of(session);
	struct torpor_call call = {.timeout_ns = LONG_NS};

	run_to_its_end(session, "reboot -f; while :; do sleep 1; done");
	/*
	 * The old process is gone; a short call finds that and has the reboot started. Who deals
	 * with that may have told commands, and not have got to that yet.
	 */
	call.timeout_ns = 1000000;
	do {
		struct torpor_error *err = torpor_session_ping(session, &call, NULL);
		cr_assert(!err || torpor_error_code(err) == TORPOR_E_TIMEOUT, "%s",
			err ? torpor_error_message(err) : "");
		torpor_error_free(err);
	} while (info_of(session).state == TORPOR_SESSION_RUNNING && info_of(session).reboots == 0);
	cr_assert_not(it_process_exists(info.pid, info.start_time));
}

Test(reboot, it_can_be_closed_destroyed_and_given_up_meanwhile)
{
	struct torpor_call soon = {.timeout_ns = 50000000};
	struct torpor_session *session = it_start(tmpl);

	start_rebooting(session);
	/* Calls that can't wait that long don't, and harm nothing. */
	it_fails(torpor_session_park(session, &soon, NULL), TORPOR_E_TIMEOUT);
	it_fails(torpor_session_checkpoint(session, "cp", &soon, NULL), TORPOR_E_TIMEOUT);
	it_fails(torpor_session_fork(session, &(struct torpor_session_spec){.name = "f"}, 1, &soon,
			 NULL, &(struct torpor_session *){NULL}),
		TORPOR_E_TIMEOUT);
	cr_assert_eq(info_of(session).state, TORPOR_SESSION_REBOOTING);
	struct torpor_session_info info = info_of(session);
	cr_assert_eq(info.pid, 0);
	torpor_session_close(session);
	cr_assert_eq(it_qemu_children(), 0);

	session = it_start(tmpl);
	start_rebooting(session);
	it_ok(torpor_session_destroy(session, NULL));
	cr_assert_eq(it_qemu_children(), 0);

	/* Killed while it boots. */
	session = it_start(tmpl);
	start_rebooting(session);
	/* Whatever runs: the one that was there before may still be ending. */
	while (info_of(session).state == TORPOR_SESSION_REBOOTING)
		it_kill_qemus();
	check_park_refused(session, "could not boot anew");
	/* Wherever in its boot it was. */
	check_park_refused_or(session, it_killed_early(), it_killed());
	cr_assert_eq(info_of(session).state, TORPOR_SESSION_ENDED);
	cr_assert_eq(it_own_rundirs(engine->state_dir), 0);
	it_ok(torpor_session_destroy(session, NULL));
}

Test(reboot, a_guest_that_resets_while_it_is_parked_from_elsewhere)
{
	/* Parks that cross the guest's own end: either comes first, and neither is lost. */
	for (int i = 0; i < 4; i++) {
		struct torpor_session *session = it_start(tmpl);
		struct torpor_call call = {.timeout_ns = LONG_NS};
		run_to_its_end(session, "(reboot -f) >/dev/null 2>&1 &");
		struct torpor_error *err = torpor_session_park(session, &call, NULL);
		if (err) {
			cr_assert_eq(torpor_error_code(err), TORPOR_E_QEMU, "%s",
				torpor_error_message(err));
			torpor_error_free(err);
			it_ok(torpor_session_park(session, &call, NULL));
		}
		cr_assert_eq(info_of(session).state, TORPOR_SESSION_PARKED);
		cr_assert_eq(it_qemu_children(), 0);
		it_ok(torpor_session_destroy(session, NULL));
	}
}
