/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From libvirt and back: domains of a libvirtd of the test's own (scripts/bench-libvirt), made from
 * plain XML. Where there can be none, the program says why and exits with 77.
 */
#include <fcntl.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/fd.h"
#include "base/mem.h"
#include "daemon.h"
#include "inside.h"
#include "pool/import.h"
#include "support.h"

#define SKIP_CODE 77 /* what meson shows as SKIP */

static char daemon_dir[64];
static char uri[128];

static struct torpor_engine *engine;
static virConnectPtr host;

/* What a test leaves is ended by the next, or by the daemons' end. */
static void end_all_domains(void)
{
	virDomainPtr *domains;
	int n = virConnectListAllDomains(host, &domains, 0);

	cr_assert_geq(n, 0);
	for (int i = 0; i < n; i++) {
		virDomainDestroy(domains[i]);
		virDomainFree(domains[i]);
	}
	free(domains);
}

static void quiet(void *data, virErrorPtr error)
{
	(void)data;
	(void)error;
}

/* Of this process: the tests' run apart from the program's. */
static void name_daemon(const char *dir)
{
	snprintf(daemon_dir, sizeof(daemon_dir), "%s", dir);
	snprintf(uri, sizeof(uri), "qemu:///system?socket=%s/raw/libvirt-sock", dir);
}

static void open_all(void)
{
	/* Whatever the others' guests run on: what comes from libvirt runs without it. */
	unsetenv("TORPOR_LAUNCHER");
	unsetenv("TORPOR_CONNECT");
	name_daemon(getenv("TORPOR_TEST_LIBVIRT"));
	virSetErrorFunc(NULL, quiet);
	cr_assert_eq(virEventRegisterDefaultImpl(), 0);
	host = virConnectOpen(uri);
	cr_assert_not_null(host);
	engine = it_open();
}

static void close_all(void)
{
	end_all_domains();
	virConnectClose(host);
	engine = torpor_engine_close(engine);
	cr_assert_eq(it_qemu_children(), 0, "a guest outlived its engine");
}

TestSuite(libvirt, .init = open_all, .fini = close_all, .timeout = 290);

/* --- domains --- */

static const char *libvirt_says(void)
{
	return virGetLastErrorMessage();
}

/* A domain of the tests' guest; MORE goes among its devices. */
static virDomainPtr create(const char *name, const char *machine, const char *more)
{
	TP_FREE char *xml = tp_asprintf(
		"<domain type='qemu'><name>%s</name><memory unit='MiB'>256</memory>"
		"<vcpu>1</vcpu><os><type arch='x86_64' machine='%s'>hvm</type>"
		"<kernel>%s/vmlinuz</kernel><initrd>%s/initrd.img</initrd>"
		"<cmdline>console=ttyS0 quiet panic=-1</cmdline></os>"
		"<features><acpi/></features>"
		"<devices><serial type='null'><target port='0'/></serial>"
		"<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/>"
		"</channel>%s</devices></domain>",
		name, machine, it_guest_dir(), it_guest_dir(), more);
	virDomainPtr domain = virDomainCreateXML(host, xml, 0);

	cr_assert_not_null(domain, "%s", libvirt_says());
	return domain;
}

static void note_agent(
	virConnectPtr connect, virDomainPtr domain, int state, int reason, void *connected)
{
	(void)connect;
	(void)domain;
	(void)reason;
	if (state == VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED)
		*(bool *)connected = true;
}

/* A plain command to the agent; its "return", or NULL where it isn't there. A new reference. */
static json_t *ask_agent(virDomainPtr domain, const char *command)
{
	char *text = virDomainQemuAgentCommand(domain, command, 30, 0);
	json_t *reply = text ? json_loads(text, 0, NULL) : NULL;
	json_t *value = json_incref(json_object_get(reply, "return"));

	json_decref(reply);
	free(text);
	return value;
}

static void wait_for_agent(virDomainPtr domain)
{
	bool connected = false;
	int id = virConnectDomainEventRegisterAny(host, domain, VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE,
		VIR_DOMAIN_EVENT_CALLBACK(note_agent), &connected, NULL);

	cr_assert_geq(id, 0);
	/* It may have come before anybody listened. */
	json_t *pong = ask_agent(domain, "{\"execute\": \"guest-ping\"}");
	while (!pong) {
		while (!connected)
			cr_assert_eq(virEventRunDefaultImpl(), 0);
		connected = false;
		pong = ask_agent(domain, "{\"execute\": \"guest-ping\"}");
	}
	json_decref(pong);
	virConnectDomainEventDeregisterAny(host, id);
}

/* Runs SCRIPT through the agent; what it printed, without the last newline. */
static const char *run_in(virDomainPtr domain, const char *script)
{
	static char output[4096];
	TP_FREE char *command =
		tp_asprintf("{\"execute\": \"guest-exec\", \"arguments\": {\"path\": "
			    "\"/bin/sh\", \"arg\": [\"-c\", \"%s\"], "
			    "\"capture-output\": true}}",
			script);
	json_t *started = ask_agent(domain, command);
	json_t *status = NULL;

	cr_assert_not_null(started, "%s: %s", script, libvirt_says());
	TP_FREE char *ask = tp_asprintf("{\"execute\": \"guest-exec-status\", \"arguments\": "
					"{\"pid\": %d}}",
		(int)json_integer_value(json_object_get(started, "pid")));
	json_decref(started);
	/* The agent tells by being asked, and not otherwise. */
	do {
		json_decref(status);
		status = ask_agent(domain, ask);
		cr_assert_not_null(status, "%s", libvirt_says());
	} while (!json_is_true(json_object_get(status, "exited")));
	cr_assert_eq(json_integer_value(json_object_get(status, "exitcode")), 0, "%s", script);
	const char *data = json_string_value(json_object_get(status, "out-data"));
	TP_BUF struct tp_buf bytes = {0};
	cr_assert(tp_base64_get(&bytes, data ? data : "", data ? strlen(data) : 0));
	snprintf(output, sizeof(output), "%.*s", (int)bytes.len, (const char *)bytes.data);
	output[strcspn(output, "\n")] = '\0';
	json_decref(status);
	return output;
}

static int state_of(virDomainPtr domain)
{
	int state = -1;

	virDomainGetState(domain, &state, NULL, 0);
	return state;
}

static bool exists(const char *name)
{
	virDomainPtr domain = virDomainLookupByName(host, name);

	if (domain)
		virDomainFree(domain);
	return domain != NULL;
}

/* --- from libvirt --- */

static struct torpor_session *import(
	const char *domain, bool keep, struct torpor_import_report *report)
{
	struct torpor_import_spec spec = {
		.connect = uri, .domain = domain, .name = it_name("imported"), .keep = keep};
	struct torpor_session *session;

	it_ok(torpor_import(engine, &spec, NULL, report, &session));
	return session;
}

static void check_import(const char *machine, const char *more)
{
	virDomainPtr domain = create("plain", machine, more);
	struct torpor_import_report report;
	struct torpor_resume_report resumed;
	struct torpor_session_info info;

	wait_for_agent(domain);
	run_in(domain, "head -c 3000000 /dev/urandom > /data; sha256sum /data > /sum");
	struct torpor_session *session = import("plain", false, &report);
	virDomainFree(domain);
	cr_assert_not(exists("plain"));
	cr_assert(report.agent);
	cr_assert_str_empty(report.note);
	fprintf(stderr, "%s: captured in %.0f ms, durable in %.0f, %ju bytes\n", machine,
		(double)report.captured_ns / 1e6, (double)report.durable_ns / 1e6,
		(uintmax_t)report.image_bytes);

	it_ok(torpor_session_resume(session, NULL, &resumed));
	cr_assert_eq(resumed.path, TORPOR_PATH_OWN);
	it_run(session, "sha256sum -c /sum");
	it_ok(torpor_session_info(session, &info));
	cr_assert_not(info.has_base);
	/* From now on it is a session like others. */
	it_run(session, "echo more > /more");
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_resume(session, NULL, NULL));
	it_run(session, "sha256sum -c /sum && grep -q more /more");
	struct torpor_session_spec spec = {.name = it_name("fork")};
	struct torpor_session *fork;
	it_ok(torpor_session_fork(session, &spec, 1, NULL, NULL, &fork));
	it_run(fork, "sha256sum -c /sum");
	it_ok(torpor_session_destroy(fork, NULL));
	it_ok(torpor_session_destroy(session, NULL));
}

Test(libvirt, a_plain_domain_becomes_a_session)
{
	check_import("pc", "");
}

Test(libvirt, so_does_a_q35)
{
	check_import("q35", "<memballoon model='none'/>");
}

Test(libvirt, a_domain_that_is_kept_goes_on)
{
	virDomainPtr domain = create("kept", "pc", "<controller type='usb' model='none'/>");
	struct torpor_import_report report;

	wait_for_agent(domain);
	run_in(domain, "echo before > /word");
	struct torpor_session *session = import("kept", true, &report);
	cr_assert_eq(state_of(domain), VIR_DOMAIN_RUNNING);
	run_in(domain, "echo after > /word");
	it_ok(torpor_session_resume(session, NULL, NULL));
	cr_assert_str_eq(it_run(session, "cat /word"), "before");
	cr_assert_str_eq(run_in(domain, "cat /word"), "after");
	it_ok(torpor_session_destroy(session, NULL));
	/* And can be imported once more, also while somebody has it paused. */
	cr_assert_eq(virDomainSuspend(domain), 0);
	session = import("kept", true, &report);
	cr_assert_not(report.agent, "a paused one can't answer");
	cr_assert_eq(state_of(domain), VIR_DOMAIN_PAUSED);
	cr_assert_eq(virDomainResume(domain), 0);
	cr_assert_str_eq(run_in(domain, "cat /word"), "after");
	it_ok(torpor_session_destroy(session, NULL));
	virDomainFree(domain);
}

/* It says what is in the way, and leaves the domain as it was. */
static void expect_refused(const char *more, const char *words)
{
	virDomainPtr domain = create("refused", "pc", more);
	struct torpor_import_spec spec = {.connect = uri, .domain = "refused"};
	struct torpor_session *session;
	struct torpor_error *err = torpor_import(engine, &spec, NULL, NULL, &session);

	cr_assert_eq(torpor_error_code(err), TORPOR_E_UNSUPPORTED, "%s", torpor_error_message(err));
	cr_assert_not_null(
		strstr(torpor_error_message(err), words), "%s", torpor_error_message(err));
	torpor_error_free(err);
	cr_assert_eq(state_of(domain), VIR_DOMAIN_RUNNING);
	cr_assert_eq(virDomainDestroy(domain), 0);
	virDomainFree(domain);
	cr_assert_eq(it_partial_files(engine), 0);
}

Test(libvirt, what_an_image_cannot_hold_is_refused)
{
	TP_FREE char *disk = tp_asprintf("%s/disk.raw", daemon_dir);
	TP_FD int fd = open(disk, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	TP_FREE char *xml = tp_asprintf("<disk type='file' device='disk'><source file='%s'/>"
					"<target dev='vda' bus='virtio'/></disk>",
		disk);

	cr_assert_eq(ftruncate(fd, 1 << 20), 0);
	expect_refused(xml, "-blockdev");
	expect_refused("<interface type='user'/>", "-netdev");
	expect_refused("<video><model type='vga'/></video>", "VGA");
	expect_refused("<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
		"rng-random");
}

Test(libvirt, an_import_that_fails_lets_the_domain_go_on)
{
	virDomainPtr domain = create("stays", "pc", "");
	struct torpor_import_spec spec = {.connect = uri, .domain = "stays", .name = "stays"};
	struct torpor_session *session;
	TP_FREE char *taken = tp_asprintf("%s/images/stays", engine->state_dir);

	wait_for_agent(domain);
	TP_FD int fd = open(taken, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	it_fails(torpor_import(engine, &spec, NULL, NULL, &session), TORPOR_E_EXISTS);
	unlink(taken);
	/* Enough to look, and not to read all of its memory. */
	for (uint64_t ms = 400; ms > 1; ms /= 2) {
		struct torpor_call call = {.timeout_ns = ms * TP_NSEC_PER_MSEC};
		spec.keep = true;
		struct torpor_error *err = torpor_import(engine, &spec, &call, NULL, &session);
		cr_assert_eq(state_of(domain), VIR_DOMAIN_RUNNING);
		if (!err)
			it_ok(torpor_session_destroy(session, NULL));
		else
			cr_assert_eq(torpor_error_code(err), TORPOR_E_TIMEOUT, "%s",
				torpor_error_message(err));
		torpor_error_free(err);
	}
	cr_assert_eq(it_partial_files(engine), 0);
	spec.domain = "nobody";
	it_fails(torpor_import(engine, &spec, NULL, NULL, &session), TORPOR_E_NOT_FOUND);
	cr_assert_str_eq(run_in(domain, "echo alive"), "alive");
	virDomainFree(domain);
}

/* As another import under the same name, which is done while the first one has begun to write. */
static void *take_name(void *watch)
{
	TP_FREE char *path = tp_asprintf("%s/images/twice", engine->state_dir);
	struct pollfd begun = {.fd = *(int *)watch, .events = POLLIN};

	cr_assert_eq(poll(&begun, 1, 30000), 1, "no import has begun");
	TP_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	return NULL;
}

Test(libvirt, an_import_takes_nobodys_image)
{
	virDomainPtr domain = create("twice", "pc", "");
	struct torpor_import_spec spec = {.connect = uri, .domain = "twice"};
	TP_FREE char *dir = tp_asprintf("%s/images", engine->state_dir);
	TP_FREE char *path = tp_asprintf("%s/twice", dir);
	TP_FD int watch = inotify_init1(IN_CLOEXEC);
	struct torpor_session *session;
	struct stat st;
	pthread_t thread;

	unlink(path);
	wait_for_agent(domain);
	cr_assert_geq(inotify_add_watch(watch, dir, IN_CREATE), 0);
	cr_assert_eq(pthread_create(&thread, NULL, take_name, &watch), 0);
	struct torpor_error *err = torpor_import(engine, &spec, NULL, NULL, &session);
	pthread_join(thread, NULL);
	cr_assert_eq(stat(path, &st), 0);
	unlink(path);
	it_fails(err, TORPOR_E_EXISTS);
	cr_assert_eq(st.st_size, 0);
	cr_assert_eq(it_partial_files(engine), 0);
	cr_assert_eq(state_of(domain), VIR_DOMAIN_RUNNING);
	virDomainFree(domain);
}

static struct torpor_error *end_domain(void *data, const struct torpor_import_report *report)
{
	(void)report;
	cr_assert_eq(virDomainDestroy(data), 0);
	return NULL;
}

Test(libvirt, an_import_stays_whose_domain_cannot_go_on)
{
	virDomainPtr domain = create("ends", "pc", "");
	struct torpor_import_spec spec = {
		.connect = uri, .domain = "ends", .name = it_name("imported"), .keep = true};
	struct tp_call call = tp_call_within(100 * TP_NSEC_PER_SEC);
	struct torpor_import_report report;
	struct torpor_session *session;
	TP_FREE char *name = NULL;

	it_ok(tp_import(engine, &spec, NULL, end_domain, domain, &call, &report, &name));
	cr_assert_not_null(strstr(report.note, "doesn't go on"), "\"%s\"", report.note);
	cr_assert_null(strstr(report.note, "no error"), "\"%s\"", report.note);
	virDomainFree(domain);
	it_ok(torpor_session_open(engine, name, NULL, NULL, &session));
	it_ok(torpor_session_destroy(session, NULL));
}

/* QEMU is asked by its own words; the answer has WORDS in it. */
static void tell_qemu(virDomainPtr domain, const char *command, const char *words)
{
	char *answer = NULL;

	cr_assert_eq(
		virDomainQemuMonitorCommand(domain, command, &answer, 0), 0, "%s", libvirt_says());
	cr_assert_not_null(strstr(answer, words), "%s: %s", command, answer);
	free(answer);
}

Test(libvirt, the_migration_of_others_is_left_alone)
{
	virDomainPtr domain = create("leaving", "pc", "");
	struct torpor_import_spec spec = {.connect = uri, .domain = "leaving"};
	struct torpor_session *session;
	int pair[2];

	wait_for_agent(domain);
	/* To somebody who never reads. */
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	char *answer = NULL;
	cr_assert_eq(virDomainQemuMonitorCommandWithFiles(domain,
			     "{\"execute\": \"getfd\", \"arguments\": {\"fdname\": \"away\"}}", 1,
			     (int[]){pair[1]}, NULL, NULL, &answer, 0),
		0);
	free(answer);
	tell_qemu(domain, "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"fd:away\"}}",
		"return");
	struct torpor_error *err = torpor_import(engine, &spec, NULL, NULL, &session);
	tell_qemu(domain, "{\"execute\": \"query-migrate\"}", "\"status\":\"active\"");
	it_fails(err, TORPOR_E_BUSY);
	cr_assert_eq(state_of(domain), VIR_DOMAIN_RUNNING);
	cr_assert_eq(it_partial_files(engine), 0);
	close(pair[0]);
	close(pair[1]);
	virDomainFree(domain);
}

/* --- and back --- */

/* libvirt runs the system's QEMU, and what a newer one has written stays out of that. */
static bool too_new(const char *image)
{
	struct torpor_where where;
	unsigned long theirs;
	unsigned int major, minor, micro;

	cr_assert_eq(virConnectGetVersion(host, &theirs), 0);
	it_ok(torpor_image_where(engine, image, NULL, &where));
	cr_assert_eq(sscanf(where.qemu_version, "%u.%u.%u", &major, &minor, &micro), 3);
	torpor_where_deinit(&where);
	bool newer = 1000000UL * major + 1000UL * minor + micro > theirs;
	if (newer)
		fprintf(stderr, "NOT TESTED: the way back: libvirt's QEMU is the older %lu\n",
			theirs);
	return newer;
}

/* What virsh restore does. */
static virDomainPtr restore(const char *file, const char *name)
{
	cr_assert_eq(virDomainRestore(host, file), 0, "%s", libvirt_says());
	virDomainPtr domain = virDomainLookupByName(host, name);
	cr_assert_not_null(domain);
	cr_assert_eq(state_of(domain), VIR_DOMAIN_RUNNING);
	return domain;
}

Test(libvirt, a_session_goes_to_libvirt)
{
	struct torpor_template *tmpl = it_template(engine);
	struct torpor_session *session = it_start(tmpl);
	TP_FREE char *file = tp_asprintf("%s/session.save", daemon_dir);
	struct torpor_session_info info;

	it_run(session, "head -c 3000000 /dev/urandom > /data; sha256sum /data > /sum");
	it_ok(torpor_session_info(session, &info));
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_image_export(engine, info.name, file, NULL));
	it_fails(torpor_image_export(engine, info.name, file, NULL), TORPOR_E_EXISTS);
	if (!too_new(info.name)) {
		virDomainPtr domain = restore(file, info.name);
		wait_for_agent(domain);
		run_in(domain, "sha256sum -c /sum");
		cr_assert_str_eq(run_in(domain, "hostname"), info.name);
		virDomainFree(domain);
	}
	/* The image is as it was. */
	it_ok(torpor_session_resume(session, NULL, NULL));
	it_run(session, "sha256sum -c /sum");
	it_ok(torpor_session_destroy(session, NULL));
	torpor_template_close(tmpl);
	unlink(file);
}

Test(libvirt, there_and_back_again)
{
	virDomainPtr domain = create("traveller", "pc", "");
	struct torpor_import_report report;
	TP_FREE char *file = tp_asprintf("%s/traveller.save", daemon_dir);
	struct torpor_session_info info;

	wait_for_agent(domain);
	run_in(domain, "head -c 3000000 /dev/urandom > /data; sha256sum /data > /sum");
	struct torpor_session *session = import("traveller", false, &report);
	virDomainFree(domain);
	it_ok(torpor_session_resume(session, NULL, NULL));
	it_run(session, "echo seen > /seen");
	it_ok(torpor_session_park(session, NULL, NULL));
	it_ok(torpor_session_info(session, &info));
	it_ok(torpor_image_export(engine, info.image_path, file, NULL));
	if (!too_new(info.image_path)) {
		domain = restore(file, "traveller");
		wait_for_agent(domain);
		run_in(domain, "sha256sum -c /sum");
		cr_assert_str_eq(run_in(domain, "cat /seen"), "seen");
		virDomainFree(domain);
	}
	it_ok(torpor_session_destroy(session, NULL));
	unlink(file);
}

/* --- through torpord --- */

/* From a domain to a session of torpord's, whose guest outlives it. */
Test(libvirt, torpord_has_it_as_a_session)
{
	virDomainPtr domain = create("served", "pc", "");
	struct it_daemon torpord;
	struct it_who admin = {.daemon = &torpord};

	wait_for_agent(domain);
	run_in(domain, "echo 42 > /answer");
	virDomainFree(domain);
	it_daemon_init(&torpord, NULL);
	it_daemon_start(&torpord);
	const json_t *session = it_expect(&admin, 201, "POST", "/v1/imports",
		it_text("{\"domain\": \"served\", \"connect\": \"%s\", \"name\": \"box\"}", uri));
	const char *id = it_string(session, "id");
	cr_assert_str_eq(it_string(session, "state"), "parked");
	cr_assert_not(exists("served"));
	it_expect(&admin, 404, "POST", "/v1/imports",
		it_text("{\"domain\": \"served\", \"connect\": \"%s\"}", uri));
	const json_t *where =
		it_expect(&admin, 200, "GET", it_session(id, "/images/park/where"), NULL);
	cr_assert(json_is_true(it_member(where, "here")));
	cr_assert(json_is_null(it_member(where, "template")));

	it_expect(&admin, 200, "POST", it_session(id, "/resume"), NULL);
	cr_assert_str_eq(it_script(&admin, id, "cat /answer"), "42");
	/* A new torpord takes it over as it runs. */
	it_daemon_stop(&torpord);
	it_daemon_start(&torpord);
	session = it_expect(&admin, 200, "GET", it_session(id, ""), NULL);
	cr_assert_str_eq(it_string(session, "state"), "running");
	cr_assert_str_eq(it_script(&admin, id, "cat /answer; echo 43 > /answer"), "42");
	it_expect(&admin, 200, "POST", it_session(id, "/park"), NULL);
	it_daemon_stop(&torpord);
	it_daemon_start(&torpord);
	it_expect(&admin, 200, "POST", it_session(id, "/resume"), NULL);
	cr_assert_str_eq(it_script(&admin, id, "cat /answer"), "43");
	it_expect(&admin, 204, "DELETE", it_session(id, ""), NULL);
	it_daemon_deinit(&torpord);
}

/* --- the daemons --- */

static int run_script(const char *verb)
{
	/* The system's programs: libvirt 9 doesn't get on with a QEMU 10 on PATH. */
	TP_FREE char *command = tp_asprintf("PATH=/usr/sbin:/usr/bin:/sbin:/bin '%s' %s '%s' %s",
		BENCH_LIBVIRT, verb, daemon_dir, strcmp(verb, "start") == 0 ? "raw" : "");

	return system(command);
}

/* What ends a torpord's guests takes them for its own otherwise. */
static void spare_daemons(void)
{
	TP_FREE char *path = tp_asprintf("%s/raw/reaper.pid", daemon_dir);
	TP_FREE char *text = NULL;
	size_t len;

	it_ok(tp_read_file(AT_FDCWD, path, 64, &text, &len));
	setenv(IT_DAEMON_SPARED, text, 1);
}

static const char *why_not(void)
{
	if (geteuid() != 0)
		return "libvirt's system mode needs root";
	if (access("/usr/sbin/libvirtd", X_OK) < 0)
		return "the package libvirt-daemon isn't installed";
	if (system("unshare --mount --net true 2>/dev/null") != 0)
		return "namespaces can't be made here";
	return NULL;
}

int main(int argc, char **argv)
{
	const char *reason = why_not();

	if (reason) {
		fprintf(stderr, "NOT TESTED: nothing with libvirt: %s\n", reason);
		return SKIP_CODE;
	}
	TP_FREE char *dir = tp_asprintf("/tmp/torpor-lv-%d", getpid());
	name_daemon(dir);
	if (run_script("start") != 0) {
		fprintf(stderr, "the private libvirtd doesn't start\n");
		return 1;
	}
	setenv("TORPOR_TEST_LIBVIRT", daemon_dir, 1);
	spare_daemons();
	struct criterion_test_set *tests = criterion_initialize();
	bool ok = !criterion_handle_args(argc, argv, true) || criterion_run_all_tests(tests);
	criterion_finalize(tests);
	return run_script("stop") != 0 || !ok;
}
