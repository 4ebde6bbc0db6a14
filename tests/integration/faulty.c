/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that dies by kill -9 at a chosen moment of what it does.
 *
 *   faulty STATE SCENARIO OPERATION NTH
 *
 * OPERATION and NTH say at which operation on the disk (fault.h), from the scenario's own part on.
 * OPERATION "us" is NTH microseconds from there instead, and "end" the end of the scenario. What it
 * has achieved it prints, a line each:
 *
 *   base DEV INODE     a template is in use
 *   pid PID            a guest runs, or a shell waits
 *   parked NAME        that park was acknowledged
 *   template NAME      that template was
 *   handover JSON      what a later engine may adopt
 *
 * Scenarios: build (of the ticker), start, park, repark (over an older image), resume, fork. Guests
 * die with them, but not in these: kept-idle (two sessions), kept-stock (a session, and what
 * waits), kept-paused, kept-loaded and kept-running (in the hooks of a start), kept-reboot,
 * kept-park, kept-stream (a park by that path), kept-checkpoint, kept-own (a park after a reboot).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "pool/session.h"
#include "storage/io.h"

static const char *operation;
static unsigned int nth;
static atomic_uint seen;

static void die(void)
{
	raise(SIGKILL);
}

static void must(struct torpor_error *err)
{
	if (!err)
		return;
	fprintf(stderr, "faulty: %s\n", torpor_error_message(err));
	exit(1);
}

/* --- The moment --- */

static const char *const op_names[] = {
	[TP_IO_CREATE] = "create",
	[TP_IO_ALLOCATE] = "allocate",
	[TP_IO_READ] = "read",
	[TP_IO_WRITE] = "write",
	[TP_IO_TRUNCATE] = "truncate",
	[TP_IO_SYNC] = "sync",
	[TP_IO_RENAME] = "rename",
	[TP_IO_SYNC_DIR] = "sync-dir",
	[TP_IO_UNLINK] = "unlink",
};

static int hook(void *data, struct tp_io_event *event)
{
	(void)data;
	if (strcmp(op_names[event->op], operation) == 0 && atomic_fetch_add(&seen, 1) + 1 == nth)
		die();
	return 0;
}

static void *die_later(void *data)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	struct itimerspec in = {
		.it_value = {.tv_sec = nth / 1000000, .tv_nsec = (long)(nth % 1000000) * 1000 + 1}};
	uint64_t ticks;

	(void)data;
	if (fd < 0 || timerfd_settime(fd, 0, &in, NULL) < 0 ||
		read(fd, &ticks, sizeof(ticks)) != sizeof(ticks))
		perror("faulty: timer");
	die();
	return NULL;
}

/* From here on it may happen. */
static void arm(void)
{
	pthread_t thread;

	if (strcmp(operation, "us") == 0)
		pthread_create(&thread, NULL, die_later, NULL);
	else
		tp_io_set_hook(hook, NULL);
}

/* --- What it does --- */

static struct torpor_template *open_template(struct torpor_engine *engine)
{
	struct torpor_template *tmpl;

	must(torpor_template_open(engine, "minimal", NULL, &tmpl));
	printf("base %ju %ju\n", (uintmax_t)tmpl->base->dev, (uintmax_t)tmpl->base->inode);
	return tmpl;
}

static void tell_pid(struct torpor_session *session)
{
	struct torpor_session_info info;

	must(torpor_session_info(session, &info));
	printf("pid %d\n", info.pid);
}

static struct torpor_session *start(struct torpor_template *tmpl, const char *name)
{
	struct torpor_session *session;

	must(torpor_session_start(
		tmpl, &(struct torpor_session_spec){.name = name}, NULL, NULL, &session));
	tell_pid(session);
	return session;
}

static void run(struct torpor_session *session, const char *script)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct torpor_exec_result result;

	must(torpor_session_exec(session, &(struct torpor_exec){.argv = argv}, NULL, &result));
	if (!result.exited || result.status != 0) {
		fprintf(stderr, "faulty: %s failed\n", script);
		exit(1);
	}
}

static void park(struct torpor_session *session, const char *name)
{
	must(torpor_session_park(session, NULL, NULL));
	printf("parked %s\n", name);
}

static void do_build(struct torpor_engine *engine)
{
	struct torpor_template_spec spec = {
		.name = "built",
		.kernel = getenv("TORPOR_TEST_TICKER"),
		.accel = "tcg",
		.memory = 16 * TP_MIB,
		.ready_line = "torpor ticker",
	};
	struct torpor_template *tmpl;

	arm();
	must(torpor_template_build(engine, &spec, NULL, NULL, NULL, NULL, &tmpl));
	printf("template built\n");
}

static void do_start(struct torpor_engine *engine)
{
	struct torpor_template *tmpl = open_template(engine);

	must(torpor_template_prepare(tmpl, 1, NULL));
	arm();
	start(tmpl, "s1");
	start(tmpl, "s2");
}

static void do_park(struct torpor_engine *engine)
{
	struct torpor_session *session = start(open_template(engine), "s1");

	run(session, "echo new > /mark; head -c 2000000 /dev/urandom > /data");
	arm();
	park(session, "s1");
}

static void do_repark(struct torpor_engine *engine)
{
	struct torpor_session *session = start(open_template(engine), "s1");

	run(session, "echo old > /mark");
	park(session, "s1");
	must(torpor_session_resume(session, NULL, NULL));
	tell_pid(session);
	run(session, "echo new > /mark; head -c 2000000 /dev/urandom > /data");
	arm();
	park(session, "s1");
}

static void do_resume(struct torpor_engine *engine)
{
	struct torpor_session *session = start(open_template(engine), "s1");

	run(session, "echo new > /mark; head -c 2000000 /dev/urandom > /data");
	park(session, "s1");
	arm();
	must(torpor_session_resume(session, NULL, NULL));
	tell_pid(session);
}

static void do_fork(struct torpor_engine *engine)
{
	struct torpor_session *session = start(open_template(engine), "s1");
	struct torpor_session_spec specs[] = {{.name = "f1"}, {.name = "f2"}, {.name = "f3"}};
	struct torpor_session *forks[3];

	run(session, "echo new > /mark; head -c 2000000 /dev/urandom > /data");
	arm();
	must(torpor_session_fork(session, specs, 3, NULL, NULL, forks));
	for (int i = 0; i < 3; i++)
		tell_pid(forks[i]);
}

/* --- Guests that outlive it --- */

static void tell_handover(struct torpor_session *session)
{
	char *handover;

	must(torpor_session_handover(session, &handover));
	printf("handover %s\n", handover);
	free(handover);
}

/* Has the guest count; it misses no number as long as it isn't thrown back. */
static void count(struct torpor_session *session)
{
	run(session, "setsid sh -c 'i=0; while :; do i=$((i+1)); echo $i >> /count; sleep 0.05; "
		     "done' </dev/null >/dev/null 2>&1 & echo $! > /counter; "
		     "while [ ! -s /count ]; do sleep 0.05; done");
}

static struct torpor_session *start_counting(struct torpor_template *tmpl, const char *name)
{
	struct torpor_session *session = start(tmpl, name);

	count(session);
	return session;
}

static void do_idle(struct torpor_engine *engine)
{
	struct torpor_template *tmpl = open_template(engine);

	tell_handover(start_counting(tmpl, "s1"));
	tell_handover(start_counting(tmpl, "s2"));
}

static void do_stock(struct torpor_engine *engine)
{
	struct torpor_template *tmpl = open_template(engine);

	tell_handover(start_counting(tmpl, "s1"));
	must(torpor_template_prepare_warm(tmpl, 1, NULL));
	must(torpor_template_prepare(tmpl, 1, NULL));
	printf("pid %d\n", tp_guest_pid(tmpl->shells.first->guest));
}

static void do_paused(struct torpor_engine *engine)
{
	struct torpor_session *session = start_counting(open_template(engine), "s1");

	must(torpor_session_pause(session, NULL));
	tell_handover(session);
}

/* As a service does that records a session before it runs. */
static struct torpor_error *tell_and_die(void *data, struct torpor_session *session)
{
	char *handover;

	(void)data;
	must(tp_session_handover_locked(session, &handover));
	printf("pid %d\nhandover %s\n", tp_session_pid(session), handover);
	die();
	return NULL;
}

static void start_hooked(struct torpor_engine *engine, const struct tp_session_hooks *hooks)
{
	struct torpor_template *tmpl = open_template(engine);
	struct torpor_session_spec spec = {.name = "s1"};
	struct torpor_session *session;

	/* NTH: from a warm guest, else a shell. */
	must(nth == 1 ? torpor_template_prepare_warm(tmpl, 1, NULL)
		      : torpor_template_prepare(tmpl, 1, NULL));
	must(tp_session_start_hooked(tmpl, &spec, hooks, NULL, NULL, &session));
}

static void do_loaded(struct torpor_engine *engine)
{
	start_hooked(engine, &(struct tp_session_hooks){.on_loaded = tell_and_die});
}

static void do_running(struct torpor_engine *engine)
{
	start_hooked(engine, &(struct tp_session_hooks){.on_running = tell_and_die});
}

static struct torpor_session *start_rebooted(struct torpor_engine *engine)
{
	static const char *const argv[] = {"reboot", "-f", NULL};
	struct torpor_session *session = start(open_template(engine), "s1");
	struct torpor_exec_result result;
	struct torpor_session_info info = {0};

	/* Its end comes in the midst of this call; later ones wait for the boot. */
	torpor_error_free(
		torpor_session_exec(session, &(struct torpor_exec){.argv = argv}, NULL, &result));
	while (info.reboots == 0 || info.state != TORPOR_SESSION_RUNNING) {
		torpor_error_free(torpor_session_ping(session, NULL, NULL));
		must(torpor_session_info(session, &info));
	}
	count(session);
	tell_pid(session);
	tell_handover(session);
	return session;
}

static void do_reboot(struct torpor_engine *engine)
{
	start_rebooted(engine);
}

static void do_own_park(struct torpor_engine *engine)
{
	struct torpor_session *session = start_rebooted(engine);

	arm();
	park(session, "s1");
}

static void do_kept_park(struct torpor_engine *engine)
{
	struct torpor_session *session = start_counting(open_template(engine), "s1");

	run(session, "head -c 8000000 /dev/urandom > /data; sha256sum /data > /sum");
	tell_handover(session);
	arm();
	park(session, "s1");
}

static void do_checkpoint(struct torpor_engine *engine)
{
	struct torpor_session *session = start_counting(open_template(engine), "s1");

	run(session, "head -c 8000000 /dev/urandom > /data; sha256sum /data > /sum");
	tell_handover(session);
	arm();
	must(torpor_session_checkpoint(session, "c1", NULL, NULL));
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(struct torpor_engine *engine);
		bool keep;
		enum torpor_path path;
	} scenarios[] = {
		{"build", do_build},
		{"start", do_start},
		{"park", do_park},
		{"repark", do_repark},
		{"resume", do_resume},
		{"fork", do_fork},
		{"kept-idle", do_idle, true},
		{"kept-stock", do_stock, true},
		{"kept-paused", do_paused, true},
		{"kept-loaded", do_loaded, true},
		{"kept-running", do_running, true},
		{"kept-reboot", do_reboot, true},
		{"kept-own", do_own_park, true},
		{"kept-park", do_kept_park, true},
		{"kept-stream", do_kept_park, true, TORPOR_PATH_STREAM},
		{"kept-checkpoint", do_checkpoint, true},
	};
	struct torpor_engine *engine;

	if (argc != 5)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	operation = argv[3];
	nth = (unsigned int)strtoul(argv[4], NULL, 10);
	for (size_t i = 0; i < TP_ARRAY_LEN(scenarios); i++) {
		if (strcmp(scenarios[i].name, argv[2]) != 0)
			continue;
		struct torpor_engine_options options = {.state_dir = argv[1],
			.keep_guests = scenarios[i].keep,
			.path = scenarios[i].path};
		must(torpor_engine_open(&options, &engine));
		scenarios[i].run(engine);
	}
	die();
	return 0;
}
