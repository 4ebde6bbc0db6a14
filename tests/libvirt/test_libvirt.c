/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is special about guests that libvirt runs: others see them, and may meddle. The other is a
 * client of libvirt's that no one here wrote (python3-libvirt), told what to do by client.py.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "events.h"
#include "pool/session.h"

static struct it_events events = IT_EVENTS_INIT;
static struct torpor_engine *engine;
static struct torpor_template *tmpl;

static void open_all(void)
{
	struct torpor_engine_options options = {.on_event = it_events_note, .event_data = &events};

	engine = it_open_with(options);
	tmpl = it_template(engine);
}

static void close_all(void)
{
	torpor_template_close(tmpl);
	engine = torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0, "a guest outlived its engine");
}

TestSuite(libvirt, .init = open_all, .fini = close_all, .timeout = 300);

/* What the other client prints, in a buffer of this function's. */
static const char *client(const char *command, const char *title, const char *rest)
{
	static char text[4096];
	TP_FREE char *line = tp_asprintf("/usr/bin/python3 %s '%s' %s '%s' %s", CLIENT,
		getenv("TORPOR_CONNECT"), command, title, rest);

	FILE *f = popen(line, "re"); /* NOLINT(cert-env33-c): the test's own words */
	cr_assert_not_null(f);
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	int status = pclose(f);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s gave %d", line, status);
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return text;
}

static enum torpor_session_state state_of(struct torpor_session *session)
{
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	return info.state;
}

static int pid_of(struct torpor_session *session)
{
	struct torpor_session_info info;

	it_ok(torpor_session_info(session, &info));
	return info.pid;
}

/* The line of /proc/PID/FILE that begins with KEY, in a buffer of this function's. */
static const char *proc_line(int pid, const char *file, const char *key)
{
	static char line[512];
	TP_FREE char *path = tp_asprintf("/proc/%d/%s", pid, file);
	FILE *f = fopen(path, "re");

	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f) && strncmp(line, key, strlen(key)) != 0)
		;
	fclose(f);
	cr_assert_eq(strncmp(line, key, strlen(key)), 0, "%s has no %s", path, key);
	return line;
}

Test(libvirt, shows_sessions_to_others)
{
	struct torpor_session *session = it_start(tmpl);
	TP_FREE char *title = tp_strdup(session->name);
	TP_FREE char *wanted =
		tp_asprintf("session=%s template=%s tenant=acme", title, IT_TEMPLATE);

	tp_session_label(session, title, "acme");
	TP_FREE char *name = tp_strdup(client("await", title, wanted));
	cr_assert_str_eq(name, tp_guest_name(session->guest));
	cr_assert_str_eq(client("state", title, ""), "running");
	unsigned int uid = 0;
	sscanf(proc_line(pid_of(session), "status", "Uid:"), "Uid: %u", &uid);
	cr_assert_neq(uid, 0, "QEMU runs as root");
	it_ok(torpor_session_park(session, NULL, NULL));
	client("gone", title, "");
	it_ok(torpor_session_resume(session, NULL, NULL));
	client("await", title, "");
	it_ok(torpor_session_destroy(session, NULL));
	client("gone", title, "");
}

Test(libvirt, others_suspend_and_resume)
{
	struct torpor_session *session = it_start(tmpl);
	TP_FREE char *title = tp_strdup(session->name);

	client("await", title, "");
	client("suspend", title, "");
	it_events_wait(&events, TORPOR_EVENT_SESSION, title, 1);
	cr_assert_eq(state_of(session), TORPOR_SESSION_PAUSED);
	client("resume", title, "");
	it_events_wait(&events, TORPOR_EVENT_SESSION, title, 2);
	cr_assert_eq(state_of(session), TORPOR_SESSION_RUNNING);
	cr_assert_str_eq(it_run(session, "echo on"), "on");
	/* What we do ourselves is no news, whatever libvirt tells of it. */
	it_ok(torpor_session_pause(session, NULL));
	cr_assert_str_eq(client("state", title, ""), "paused");
	it_ok(torpor_session_unpause(session, NULL));
	cr_assert_str_eq(client("state", title, ""), "running");
	cr_assert_eq(it_events_count(&events, TORPOR_EVENT_SESSION, title), 2);
	/* A session that others have suspended is parked as any that is paused. */
	it_run(session, "echo here > /mark");
	client("suspend", title, "");
	it_events_wait(&events, TORPOR_EVENT_SESSION, title, 3);
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_resume(session, NULL, NULL));
	cr_assert_str_eq(it_run(session, "cat /mark"), "here");
	it_ok(torpor_session_destroy(session, NULL));
}

Test(libvirt, others_destroy)
{
	struct torpor_session *session = it_start(tmpl);
	TP_FREE char *title = tp_strdup(session->name);

	client("await", title, "");
	client("destroy", title, "");
	it_events_wait(&events, TORPOR_EVENT_SESSION, title, 1);
	cr_assert_eq(state_of(session), TORPOR_SESSION_ENDED);
	TP_ERROR struct torpor_error *err = torpor_session_park(session, NULL, NULL);
	cr_assert_not_null(err);
	cr_assert(strstr(torpor_error_message(err), "it was destroyed through libvirt"), "%s",
		torpor_error_message(err));
	it_ok(torpor_session_destroy(session, NULL));
}

/* libvirt asks the guest agent, and that runs what a distribution's guest has as /sbin/shutdown. */
Test(libvirt, others_shut_the_guest_down)
{
	struct torpor_session *session = it_start(tmpl);
	TP_FREE char *title = tp_strdup(session->name);

	it_run(session, "printf '#!/bin/sh\\nexec poweroff -f\\n' > /sbin/shutdown\n"
			"chmod 755 /sbin/shutdown");
	client("await", title, "");
	client("shutdown", title, "");
	it_events_wait(&events, TORPOR_EVENT_SESSION, title, 1);
	cr_assert_eq(state_of(session), TORPOR_SESSION_ENDED);
	client("gone", title, "");
	TP_ERROR struct torpor_error *err = torpor_session_park(session, NULL, NULL);
	cr_assert_not_null(err);
	cr_assert(strstr(torpor_error_message(err), "the guest powered off"), "%s",
		torpor_error_message(err));
	it_ok(torpor_session_destroy(session, NULL));
}

/*
 * A restarted libvirtd finds its guests again; meanwhile nobody notices anything. (Guests that are
 * to end with their engine are libvirtd's to end, when it loses the connection: those are not.)
 */
Test(libvirt, goes_on_when_libvirtd_is_restarted)
{
	close_all();
	engine = it_open_with((struct torpor_engine_options){
		.keep_guests = true, .on_event = it_events_note, .event_data = &events});
	tmpl = it_template(engine);
	struct torpor_session *session = it_start(tmpl);
	TP_FREE char *title = tp_strdup(session->name);
	int pid = pid_of(session);

	it_run(session, "echo here > /mark");
	client("await", title, "");
	int status = system(getenv("TORPOR_TEST_LIBVIRTD_RESTART")); /* NOLINT(cert-env33-c) */
	cr_assert_eq(status, 0);
	cr_assert_eq(pid_of(session), pid);
	cr_assert_eq(state_of(session), TORPOR_SESSION_RUNNING);
	cr_assert_str_eq(it_run(session, "cat /mark"), "here");
	it_ok(torpor_session_pause(session, NULL));
	it_ok(torpor_session_unpause(session, NULL));
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_resume(session, NULL, NULL));
	cr_assert_str_eq(it_run(session, "cat /mark"), "here");
	/* What others do is heard of again. */
	client("await", title, "");
	client("suspend", title, "");
	it_events_wait(&events, TORPOR_EVENT_SESSION, title, 1);
	cr_assert_eq(state_of(session), TORPOR_SESSION_PAUSED);
	it_ok(torpor_session_destroy(session, NULL));
}

/* Where the host lets libvirtd make cgroups it reports what was set; what it refuses is told, in
 * its words. */
Test(libvirt, limits_are_set_or_told)
{
	struct torpor_session *session = it_start(tmpl);
	TP_FREE char *title = tp_strdup(session->name);
	struct tp_limits limits = {
		.cpus = 0.5, .memory_bytes = 512 * TP_MIB, .pids = 100, .nofile = 777};
	struct tp_call call = tp_call_within(30 * TP_NSEC_PER_SEC);
	json_t *list;

	client("await", title, "");
	it_ok(tp_session_enter(session, false, &call));
	it_ok(tp_session_limit(session, &limits, &list));
	tp_session_leave(session);
	TP_FREE char *text = json_dumps(list, JSON_COMPACT);
	json_decref(list);
	if (!strstr(text, "\"cpus: libvirt: "))
		cr_assert_str_eq(client("limits", title, ""), "50000 524288", "%s", text);
	else
		cr_assert(strstr(text, "\"memory_bytes: libvirt: "), "%s", text);
	cr_assert(strstr(text, "\"pids: libvirt has no such limit"), "%s", text);
	/* As a root that isn't allowed to, in a container, it is told. */
	cr_assert(strstr(text, "\"nofile: Operation not permitted") ||
		  strstr(proc_line(pid_of(session), "limits", "Max open files"), " 777 "));
	cr_assert_str_eq(it_run(session, "echo on"), "on");
	it_ok(torpor_session_destroy(session, NULL));
}

Test(libvirt, what_it_cannot_run_is_refused)
{
	TP_FREE char *kernel = tp_asprintf("%s/vmlinuz", it_guest_dir());
	struct torpor_template_spec spec = {
		.name = "refused", .kernel = kernel, .machine = "microvm", .accel = "tcg"};
	struct torpor_template *none;

	TP_ERROR struct torpor_error *err =
		torpor_template_build(engine, &spec, NULL, NULL, NULL, NULL, &none);
	cr_assert_not_null(err);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_UNSUPPORTED, "%s", torpor_error_message(err));
	TP_ERROR struct torpor_error *no_such =
		torpor_engine_open(&(struct torpor_engine_options){.state_dir = engine->state_dir,
					   .launcher = "libvirt",
					   .connect = "qemu:///system?socket=/nobody/listens"},
			&(struct torpor_engine *){NULL});
	cr_assert_not_null(no_such);
	cr_assert(strstr(torpor_error_message(no_such), "/nobody/listens"), "%s",
		torpor_error_message(no_such));
	cr_assert_not_null(torpor_error_hint(no_such));
}
