/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A park that fails, wherever it fails: the guest runs as if nothing had been asked, and nothing of
 * the image is to be seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "engine/control.h"
#include "fault.h"
#include "pool/session.h"

static struct torpor_engine *engine;
static struct torpor_template *tmpl;

static void open_all(void)
{
	engine = it_open();
	tmpl = it_template(engine);
}

static void close_all(void)
{
	it_fault_clear();
	tp_io_force_sync(false);
	torpor_template_close(tmpl);
	engine = torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0, "a guest outlived its engine");
}

TestSuite(park_fails, .init = open_all, .fini = close_all, .timeout = 400);
/* With an engine of their own. */
TestSuite(park_fails_otherwise, .timeout = 400);

static enum torpor_session_state state_of(struct torpor_session *session)
{
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	return info.state;
}

/* The image of the last park, and what its file held. */
struct older {
	char path[512];
	uint8_t *bytes;
	size_t len;
};

static struct older park_and_resume(struct torpor_session *session)
{
	struct torpor_session_info info;
	struct older older;

	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_info(session, &info));
	snprintf(older.path, sizeof(older.path), "%s", info.image_path);
	older.bytes = it_read(older.path, &older.len);
	cr_assert_not_null(older.bytes);
	it_ok(torpor_session_resume(session, NULL, NULL));
	return older;
}

static void check_untouched(const struct older *older)
{
	size_t len;
	uint8_t *bytes = it_read(older->path, &len);

	cr_assert(bytes && len == older->len && memcmp(bytes, older->bytes, len) == 0,
		"the older image was touched");
	free(bytes);
}

static void check_runs_on(struct torpor_session *session)
{
	it_fault_clear();
	cr_assert_eq(state_of(session), TORPOR_SESSION_RUNNING);
	cr_assert_eq(it_own_parts(engine->state_dir), 0, "a part of an image is left");
	it_count_check(session);
	it_clock_check(session);
}

/* Park, or checkpoint into an image that mustn't come to be. */
struct attempt {
	struct torpor_session *session;
	const char *checkpoint; /* NULL: park */
};

static struct torpor_error *try(const struct attempt *a, const struct torpor_call *call)
{
	if (a->checkpoint)
		return torpor_session_checkpoint(a->session, a->checkpoint, call, NULL);
	return torpor_session_park(a->session, call, NULL);
}

static bool image_exists(const char *name)
{
	return faccessat(engine->images_fd, name, F_OK, 0) == 0;
}

/* Undoes what an attempt that succeeded did. */
static void take_up_again(const struct attempt *a)
{
	if (a->checkpoint)
		cr_assert_eq(unlinkat(engine->images_fd, a->checkpoint, 0), 0);
	else
		it_ok(torpor_session_resume(a->session, NULL, NULL));
}

static void expect(struct torpor_error *err, enum torpor_errc code, const char *name,
	const char *what, unsigned int nth)
{
	cr_assert_not_null(err, "%s %u failed and nobody noticed", what, nth);
	cr_assert_eq(torpor_error_code(err), code, "%s %u: %s is %s", what, nth,
		torpor_error_message(err), torpor_errc_name(torpor_error_code(err)));
	cr_assert_not_null(strstr(torpor_error_message(err), name), "%s: %s names no session", what,
		torpor_error_message(err));
	torpor_error_free(err);
}

/* Each operation of each kind fails once. How many there are is counted first. */
static void fail_each(const struct attempt *a, const struct older *older)
{
	static const struct {
		enum tp_io_op op;
		int errnum;
		enum torpor_errc code;
	} faults[] = {
		{TP_IO_CREATE, EACCES, TORPOR_E_DENIED},
		{TP_IO_ALLOCATE, ENOSPC, TORPOR_E_NOSPACE},
		{TP_IO_WRITE, ENOSPC, TORPOR_E_NOSPACE},
		{TP_IO_WRITE, EIO, TORPOR_E_IO},
		{TP_IO_TRUNCATE, EIO, TORPOR_E_IO},
		{TP_IO_SYNC, EIO, TORPOR_E_IO},
		{TP_IO_RENAME, EIO, TORPOR_E_IO},
	};
	struct it_fault counted = {0};

	it_fault_set(&counted);
	it_ok(try(a, NULL));
	it_fault_clear();
	take_up_again(a);
	/* That was a newer image; the older one stands for those that mustn't change. */
	if (!a->checkpoint)
		it_write(older->path, older->bytes, older->len);

	for (size_t i = 0; i < TP_ARRAY_LEN(faults); i++) {
		unsigned int n = atomic_load(&counted.seen[faults[i].op]);
		cr_assert_gt(n, 0, "a park does no %s", it_op_name(faults[i].op));
		for (unsigned int nth = 1; nth <= n; nth += 1 + n / 6) {
			struct it_fault fault = {
				.op = faults[i].op, .nth = nth, .errnum = faults[i].errnum};
			it_fault_set(&fault);
			struct torpor_error *err = try(a, NULL);
			it_fault_clear();
			/* Compression isn't the same each time: the last write may be gone. */
			if (!err && !atomic_load(&fault.struck) && faults[i].op == TP_IO_WRITE) {
				take_up_again(a);
				it_write(older->path, older->bytes, older->len);
				continue;
			}
			expect(err, faults[i].code, a->session->name, it_op_name(faults[i].op),
				nth);
			check_untouched(older);
			cr_assert(!a->checkpoint || !image_exists(a->checkpoint));
			check_runs_on(a->session);
		}
	}
}

static struct torpor_session *start_counting(void)
{
	struct torpor_session *session = it_start(tmpl);

	it_count_start(session);
	it_run(session, "head -c 6000000 /dev/urandom > /data");
	return session;
}

Test(park_fails, wherever_the_disk_fails)
{
	struct torpor_session *session = start_counting();
	struct older older = park_and_resume(session);

	fail_each(&(struct attempt){.session = session}, &older);
	tp_io_force_sync(true);
	fail_each(&(struct attempt){.session = session, .checkpoint = it_name("cp")}, &older);
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_resume(session, NULL, NULL));
	it_count_check(session);
	it_ok(torpor_session_destroy(session, NULL));
	free(older.bytes);
}

/* The one step behind the rename: a new name goes again, a replaced image stays complete. */
Test(park_fails, when_the_directory_cannot_be_synced)
{
	struct torpor_session *session = start_counting();
	struct it_fault fault = {.op = TP_IO_SYNC_DIR, .nth = 1, .errnum = EIO};
	bool decoded = false;

	it_fault_set(&fault);
	expect(torpor_session_park(session, NULL, NULL), TORPOR_E_IO, session->name, "sync-dir", 1);
	cr_assert_not(image_exists(session->name));
	check_runs_on(session);

	struct older older = park_and_resume(session);
	struct it_fault again = {.op = TP_IO_SYNC_DIR, .nth = 1, .errnum = EIO};
	it_fault_set(&again);
	expect(torpor_session_park(session, NULL, NULL), TORPOR_E_IO, session->name, "sync-dir", 2);
	check_runs_on(session);
	it_ok(torpor_image_verify(engine, older.path, NULL, &decoded));
	cr_assert(decoded);
	it_ok(torpor_session_destroy(session, NULL));
	free(older.bytes);
}

/* The guest stands still for longer than a clock may be off. */
static void hold(void *data)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec in = {.it_value.tv_sec = 4};
	uint64_t ticks;

	(void)data;
	cr_assert(fd >= 0 && timerfd_settime(fd, 0, &in, NULL) == 0);
	cr_assert_eq(read(fd, &ticks, sizeof(ticks)), (ssize_t)sizeof(ticks));
	close(fd);
}

Test(park_fails, late_and_the_clock_is_right_all_the_same)
{
	struct torpor_session *session = start_counting();
	struct it_fault fault = {.op = TP_IO_SYNC, .nth = 1, .errnum = EIO, .act = hold};

	it_fault_set(&fault);
	expect(torpor_session_park(session, NULL, NULL), TORPOR_E_IO, session->name, "sync", 1);
	check_runs_on(session);
	it_ok(torpor_session_destroy(session, NULL));
}

/* --- A file system that is really full --- */

static void fill(const char *path)
{
	static char block[65536];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	cr_assert(fd >= 0);
	memset(block, 'x', sizeof(block));
	for (size_t len = sizeof(block); len >= 512;) {
		if (write(fd, block, len) <= 0)
			len /= 2;
	}
	close(fd);
}

Test(park_fails_otherwise, on_a_full_disk)
{
	char *dir = it_own_dir();
	char *state = it_own_state();
	char command[9000];
	char filler[4200];

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("tmpfs", dir, "tmpfs", 0, "size=72m") < 0) {
		fprintf(stderr,
			"*** NOT TESTED: a disk that is really full: this user can't mount a "
			"tmpfs of its own (%s) ***\n",
			strerror(errno));
		it_remove_tree(state);
		it_remove_tree(dir);
		return;
	}
	snprintf(command, sizeof(command), "cp -a %s/templates %s", state, dir);
	cr_assert_eq(system(command), 0);
	/* A libvirtd wouldn't see this process's own disk; that is on trial, and not the launcher.
	 */
	engine = it_open_with(
		(struct torpor_engine_options){.state_dir = dir, .launcher = "direct"});
	tmpl = it_template(engine);
	struct torpor_session *session = start_counting();
	struct attempt attempts[] = {{.session = session}, {session, it_name("cp")}};

	snprintf(filler, sizeof(filler), "%s/filler", dir);
	for (int i = 0; i < 2; i++) {
		fill(filler);
		struct torpor_error *err = try(&attempts[i], NULL);
		cr_assert_not_null(err);
		cr_assert_not_null(
			strstr(torpor_error_hint(err), dir), "%s", torpor_error_hint(err));
		expect(err, TORPOR_E_NOSPACE, session->name, "a full disk", 1);
		check_runs_on(session);
		cr_assert_eq(it_entries(dir, "images", ""), 0);
		cr_assert_eq(unlink(filler), 0);
	}
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_resume(session, NULL, NULL));
	it_count_check(session);
	it_ok(torpor_session_destroy(session, NULL));
	close_all();
	cr_assert_eq(umount(dir), 0);
	it_remove_tree(state);
	it_remove_tree(dir);
}

/* --- QEMU --- */

static void kill_qemu(void *data)
{
	(void)data;
	cr_assert_eq(it_kill_qemus(), 1);
}

/* Before anything was captured the guest is lost with its process; behind that it is in the image.
 */
Test(park_fails, when_qemu_dies)
{
	static const enum tp_io_op ops[] = {
		TP_IO_CREATE, TP_IO_ALLOCATE, TP_IO_WRITE, TP_IO_SYNC, TP_IO_RENAME};

	for (size_t i = 0; i < TP_ARRAY_LEN(ops); i++) {
		struct torpor_session *session = it_start(tmpl);
		struct it_fault fault = {.op = ops[i], .nth = 1, .act = kill_qemu};
		it_run(session, "head -c 3000000 /dev/urandom > /data; echo here > /mark");
		it_fault_set(&fault);
		struct torpor_error *err = torpor_session_park(session, NULL, NULL);
		it_fault_clear();
		cr_assert(atomic_load(&fault.struck));
		cr_assert_eq(it_own_parts(engine->state_dir), 0);
		if (!err) {
			cr_assert_geq(ops[i], TP_IO_WRITE, "%s", it_op_name(ops[i]));
			cr_assert_eq(state_of(session), TORPOR_SESSION_PARKED);
			it_ok(torpor_session_resume(session, NULL, NULL));
			cr_assert_str_eq(it_run(session, "cat /mark"), "here");
		} else {
			cr_assert_lt(ops[i], TP_IO_SYNC, "%s", torpor_error_message(err));
			cr_assert(strstr(torpor_error_message(err), it_killed()), "%s",
				torpor_error_message(err));
			expect(err, TORPOR_E_QEMU, session->name, it_op_name(ops[i]), 1);
			err = torpor_session_park(session, NULL, NULL);
			cr_assert_not_null(err);
			cr_assert(strstr(torpor_error_message(err), it_killed()));
			expect(err, TORPOR_E_BUSY, session->name, "again", 1);
			cr_assert_eq(state_of(session), TORPOR_SESSION_ENDED);
			cr_assert_not(image_exists(session->name));
		}
		it_ok(torpor_session_destroy(session, NULL));
		cr_assert_eq(it_qemu_children(), 0);
	}
}

/* A migration that somebody else started is under way, which QEMU allows one of only. */
Test(park_fails_otherwise, when_qemu_refuses)
{
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
	int ends[2];

	engine = it_open_with((struct torpor_engine_options){.path = TORPOR_PATH_STREAM});
	tmpl = it_template(engine);
	struct torpor_session *session = start_counting();
	struct attempt attempts[] = {{.session = session}, {session, it_name("cp")}};
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
		it_ok(tp_guest_migrate_start(session->guest, ends[1], false, &call));
		expect(try(&attempts[i], NULL), TORPOR_E_QEMU, session->name, "migrate", 1);
		close(ends[0]);
		close(ends[1]);
		check_runs_on(session);
		cr_assert_not(image_exists(session->name));
		torpor_error_free(tp_guest_migrate_cancel(session->guest, &call));
	}
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_resume(session, NULL, NULL));
	it_count_check(session);
	it_ok(torpor_session_destroy(session, NULL));
	close_all();
}

/* --- Not wanted any more --- */

static void trigger(void *data)
{
	torpor_cancel_trigger(data);
}

/* QEMU keeps the one descriptor that device state goes to, and no other however often it failed. */
static void check_descriptors(struct torpor_session *session)
{
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
	json_t *sets;

	it_ok(tp_guest_execute(session->guest, "query-fdsets", NULL, -1, &call, &sets));
	cr_assert_leq(json_array_size(sets), 1, "%zu sets of descriptors are left in QEMU",
		json_array_size(sets));
	json_decref(sets);
}

static void cancel_everywhere(
	const struct attempt *a, const struct older *older, unsigned int stride)
{
	for (unsigned int nth = 1;; nth += stride) {
		struct torpor_cancel *cancel;
		it_ok(torpor_cancel_new(&cancel));
		struct it_fault fault = {
			.op = IT_ANY_OP, .nth = nth, .act = trigger, .data = cancel};
		struct torpor_call call = {.cancel = cancel};
		it_fault_set(&fault);
		struct torpor_error *err = try(a, &call);
		it_fault_clear();
		bool struck = atomic_load(&fault.struck);
		torpor_cancel_free(cancel);
		if (!err) {
			/* From the rename on it's too late. */
			take_up_again(a);
			it_count_check(a->session);
			if (!a->checkpoint)
				it_write(older->path, older->bytes, older->len);
			if (!struck)
				return;
			continue;
		}
		cr_assert(struck);
		expect(err, TORPOR_E_CANCELLED, a->session->name, "operation", nth);
		check_untouched(older);
		check_runs_on(a->session);
	}
}

static void give_up_everywhere(const struct attempt *a, const struct older *older)
{
	for (uint64_t ns = 200000;; ns = ns * 2) {
		struct torpor_call call = {.timeout_ns = ns};
		struct torpor_error *err = try(a, &call);
		if (!err) {
			take_up_again(a);
			it_count_check(a->session);
			if (!a->checkpoint)
				it_write(older->path, older->bytes, older->len);
			return;
		}
		expect(err, TORPOR_E_TIMEOUT, a->session->name, "ns", (unsigned int)ns);
		check_untouched(older);
		check_runs_on(a->session);
		check_descriptors(a->session);
	}
}

static void unwanted_everywhere(unsigned int stride)
{
	struct torpor_session *session = start_counting();
	struct older older = park_and_resume(session);
	struct attempt park = {.session = session};
	struct attempt checkpoint = {.session = session, .checkpoint = it_name("cp")};

	cancel_everywhere(&park, &older, stride);
	cancel_everywhere(&checkpoint, &older, stride);
	give_up_everywhere(&park, &older);
	give_up_everywhere(&checkpoint, &older);
	check_descriptors(session);
	it_ok(torpor_session_destroy(session, NULL));
	free(older.bytes);
}

Test(park_fails, when_it_is_not_wanted_any_more)
{
	unwanted_everywhere(1);
}

Test(park_fails_otherwise, when_a_stream_is_not_wanted_any_more)
{
	engine = it_open_with((struct torpor_engine_options){.path = TORPOR_PATH_STREAM});
	tmpl = it_template(engine);
	unwanted_everywhere(4);
	close_all();
}
