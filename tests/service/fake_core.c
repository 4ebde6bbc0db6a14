/* SPDX-License-Identifier: Apache-2.0 */
/* The world of the tests: the core, that is guests and images. */
#include "fake_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "pool/import.h"

const char *torpor_engine_state_dir(const struct torpor_engine *engine)
{
	(void)engine;
	return fake_dir;
}

const char *torpor_source_name(enum torpor_source source)
{
	return source == TORPOR_SOURCE_WARM ? "warm" : "shell";
}

static struct torpor_session *new_core(const char *name)
{
	struct torpor_session *core = tp_calloc(1, sizeof(*core));

	core->tmpl = &fake_template;
	core->name = tp_strdup(name);
	core->record.helper = true;
	pthread_mutex_init(&core->info_lock, NULL);
	core->info.state = TORPOR_SESSION_PARKED;
	pthread_mutex_lock(&fake.lock);
	fake.handles++;
	pthread_mutex_unlock(&fake.lock);
	return core;
}

void tp_session_set_state(struct torpor_session *core, enum torpor_session_state state)
{
	pthread_mutex_lock(&core->info_lock);
	core->info.state = state;
	core->info.pid = core->guest ? 4711 : 0;
	pthread_mutex_unlock(&core->info_lock);
}

enum torpor_session_state tp_session_state(struct torpor_session *core)
{
	pthread_mutex_lock(&core->info_lock);
	enum torpor_session_state state = core->info.state;
	pthread_mutex_unlock(&core->info_lock);
	return state;
}

static void give_guest(struct torpor_session *core)
{
	core->guest = (struct tp_guest *)core; /* any but NULL */
	pthread_mutex_lock(&fake.lock);
	fake.guests++;
	pthread_mutex_unlock(&fake.lock);
}

void fake_take_guest(struct torpor_session *core)
{
	if (!core->guest)
		return;
	core->guest = NULL;
	pthread_mutex_lock(&fake.lock);
	fake.guests--;
	pthread_mutex_unlock(&fake.lock);
}

/* Limits are set on processes here, and nobody looks at labels. */
void tp_session_label(struct torpor_session *core, const char *title, const char *tenant)
{
	(void)core;
	(void)title;
	(void)tenant;
}

struct torpor_error *tp_session_limit(
	struct torpor_session *core, const struct tp_limits *limits, json_t **unenforced_out)
{
	(void)core;
	(void)limits;
	*unenforced_out = NULL;
	return NULL;
}

int tp_session_pid(struct torpor_session *core)
{
	return core->guest ? 4711 : 0;
}

enum torpor_source tp_session_source(const struct torpor_session *core)
{
	(void)core;
	return fake.source;
}

bool tp_session_busy(struct torpor_session *core)
{
	(void)core;
	return false;
}

struct torpor_error *tp_session_handover_locked(struct torpor_session *core, char **handover_out)
{
	*handover_out = tp_asprintf("{\"name\":\"%s\"}", core->name);
	return NULL;
}

struct torpor_error *torpor_session_handover(struct torpor_session *core, char **handover_out)
{
	return tp_session_handover_locked(core, handover_out);
}

struct torpor_error *torpor_handover_end(
	struct torpor_engine *engine, const char *handover, const struct torpor_call *call)
{
	(void)engine;
	(void)handover;
	(void)call;
	return NULL;
}

/* It has its process, and is given up. */
static struct torpor_error *drop(struct torpor_session *core, const struct tp_session_hooks *hooks)
{
	struct torpor_error *err = hooks->on_dropped(hooks->data, core);

	pthread_mutex_lock(&fake.lock);
	fake.recorded_dropped = fake_find_session(core->name);
	fake.repeat_dropped_ns = fake.repeat_created_ns;
	pthread_mutex_unlock(&fake.lock);
	fake_take_guest(core);
	return err;
}

/* A guest with a process goes the way into RUNNING, with the hooks. */
static struct torpor_error *run_once(
	struct torpor_session *core, const struct tp_session_hooks *hooks)
{
	give_guest(core);
	struct torpor_error *err = hooks->on_loaded(hooks->data, core);
	if (!err)
		err = hooks->on_running(hooks->data, core);
	if (!err && fake.fail_fresh)
		err = tp_error(TORPOR_E_GUEST, "make fresh", core->name, "no answer");
	return err ? tp_error_first(err, drop(core, hooks)) : NULL;
}

/* It has run, and is given up for another one. */
static struct torpor_error *drop_once(
	struct torpor_session *core, const struct tp_session_hooks *hooks)
{
	fake.fail_commits += fake.fail_take_back;
	fake.fail_take_back = false;
	return drop(core, hooks);
}

static struct torpor_error *run(struct torpor_session *core, const struct tp_session_hooks *hooks,
	struct torpor_resume_report *report)
{
	if (fake.replace_process) {
		fake.replace_process = false;
		TP_TRY(run_once(core, hooks));
		TP_TRY(drop_once(core, hooks));
	}
	TP_TRY(run_once(core, hooks));
	tp_session_set_state(core, TORPOR_SESSION_RUNNING);
	*report = (struct torpor_resume_report){
		.source = fake.source, .fresh = 15, .ready_ns = 2000000, .running_ns = 1};
	return NULL;
}

struct torpor_error *tp_session_start_hooked(struct torpor_template *tmpl,
	const struct torpor_session_spec *spec, const struct tp_session_hooks *hooks,
	const struct torpor_call *call, struct torpor_resume_report *report_out,
	struct torpor_session **session_out)
{
	struct torpor_session *core = new_core(spec->name);

	(void)tmpl;
	(void)call;
	struct torpor_error *err = run(core, hooks, report_out);
	if (err) {
		torpor_session_close(core);
		return err;
	}
	*session_out = core;
	return NULL;
}

char *fake_file_of(const char *name)
{
	return tp_asprintf("%s/images/%s", fake_dir, name);
}

static void make_file(const char *name)
{
	TP_FREE char *path = fake_file_of(name);
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);

	assert(fd >= 0);
	assert(write(fd, "0123456789", 10) == 10);
	close(fd);
}

static bool has_file(const char *name)
{
	TP_FREE char *path = fake_file_of(name);

	return access(path, F_OK) == 0;
}

struct torpor_error *torpor_image_inspect(
	const char *path, const struct torpor_call *call, struct torpor_image_info *info_out)
{
	struct stat stat_of;

	(void)call;
	if (stat(path, &stat_of) < 0)
		return tp_error_errno(errno, "open", path);
	*info_out = (struct torpor_image_info){
		.uuid = "00000000-0000-4000-8000-000000000000", .file_bytes = 10};
	return NULL;
}

void torpor_image_info_deinit(struct torpor_image_info *info)
{
	(void)info;
}

/* There is every domain but "none". */
struct torpor_error *tp_import(struct torpor_engine *engine, const struct torpor_import_spec *spec,
	const char *hostname, tp_import_hook *hook, void *data, const struct tp_call *call,
	struct torpor_import_report *report_out, char **name_out)
{
	struct torpor_import_report report = {
		.image_bytes = 10, .memory_bytes = FAKE_MEMORY, .vcpus = 3, .note = "a note"};

	(void)engine;
	(void)call;
	assert(tp_guest_name_ok(hostname));
	if (strcmp(spec->domain, "none") == 0)
		return tp_error(TORPOR_E_NOT_FOUND, "look up domain", "none", "as told");
	make_file(spec->name);
	fake.files++;
	struct torpor_error *err = hook(data, &report);
	if (err) {
		TP_FREE char *path = fake_file_of(spec->name);
		fake.files--;
		unlink(path);
		return err;
	}
	*report_out = report;
	*name_out = tp_strdup(spec->name);
	return NULL;
}

struct torpor_error *torpor_image_where(struct torpor_engine *engine, const char *path,
	const struct torpor_call *call, struct torpor_where *where_out)
{
	(void)engine;
	(void)call;
	if (access(path, F_OK) < 0)
		return tp_error_errno(errno, "open", path);
	*where_out = (struct torpor_where){
		.portable = true,
		.qemu_version = "10.0.2",
		.accel = "tcg",
		.needs = {{"qemu", tp_strdup(strrchr(path, '/') + 1), false,
				  tp_strdup("it is older")},
			{"cpu", tp_strdup("CPU model X-v1"), true, NULL}},
		.n_needs = 2,
	};
	return NULL;
}

void torpor_where_deinit(struct torpor_where *where)
{
	for (size_t i = 0; i < where->n_needs; i++) {
		free(where->needs[i].needed);
		free(where->needs[i].why_not);
	}
	*where = (struct torpor_where){0};
}

static struct torpor_error *wait_at_gate(const struct torpor_call *call)
{
	struct pollfd fds[] = {
		{.fd = call->cancel->fd, .events = POLLIN}, {.fd = fake_gate[0], .events = POLLIN}};

	while (poll(fds, 2, -1) < 0)
		;
	return fds[0].revents && !fake.late_cancel
		       ? tp_error(TORPOR_E_CANCELLED, "park", NULL, "cancelled")
		       : NULL;
}

struct torpor_error *tp_session_park_hooked(struct torpor_session *core,
	const struct tp_session_hooks *hooks, const struct torpor_call *call,
	struct torpor_park_report *report_out)
{
	bool had_file = has_file(core->name);

	if (fake.hold_park)
		TP_TRY(wait_at_gate(call));
	make_file(core->name);
	struct torpor_error *err = hooks->on_durable(hooks->data, core);
	if (err) {
		TP_FREE char *path = fake_file_of(core->name);
		/* Should this process die behind that, the session would be lost. */
		assert(fake.undo_failed || strcmp(fake_recorded_state(core->name), "parked") != 0);
		if (!had_file)
			unlink(path);
		return err;
	}
	fake_take_guest(core);
	tp_session_set_state(core, TORPOR_SESSION_PARKED);
	*report_out = (struct torpor_park_report){.image_bytes = 10};
	return NULL;
}

struct torpor_error *torpor_session_checkpoint(struct torpor_session *core, const char *name,
	const struct torpor_call *call, struct torpor_park_report *report_out)
{
	(void)core;
	(void)call;
	make_file(name);
	*report_out = (struct torpor_park_report){.image_bytes = 10};
	return NULL;
}

struct torpor_error *torpor_session_open(struct torpor_engine *engine, const char *name,
	const char *path, const struct torpor_call *call, struct torpor_session **session_out)
{
	TP_FREE char *own = fake_file_of(name);

	(void)engine;
	(void)call;
	if (access(path ? path : own, F_OK) < 0)
		return tp_error_errno(errno, "open", path ? path : own);
	*session_out = new_core(name);
	return NULL;
}

struct torpor_error *tp_session_resume_hooked(struct torpor_session *core,
	const struct tp_session_hooks *hooks, const struct torpor_call *call,
	struct torpor_resume_report *report_out)
{
	(void)call;
	if (fake.fail_resume)
		return tp_error(fake.fail_resume, "resume", core->name, "as ordered");
	return run(core, hooks, report_out);
}

struct torpor_error *tp_session_fork_hooked(struct torpor_session *source,
	const struct torpor_session_spec *specs, size_t count, const struct tp_session_hooks *hooks,
	const struct torpor_call *call, struct torpor_resume_report *reports_out,
	struct torpor_session **sessions_out)
{
	struct torpor_error *err = NULL;
	size_t n = 0;

	(void)source;
	(void)call;
	while (n < count && !err) {
		sessions_out[n] = new_core(specs[n].name);
		err = run(sessions_out[n], &hooks[n], &reports_out[n]);
		n++;
	}
	while (err && n > 0) {
		fake_take_guest(sessions_out[--n]);
		sessions_out[n] = torpor_session_close(sessions_out[n]);
	}
	return err;
}

struct torpor_error *torpor_session_pause(
	struct torpor_session *core, const struct torpor_call *call)
{
	(void)call;
	tp_session_set_state(core, TORPOR_SESSION_PAUSED);
	return NULL;
}

struct torpor_error *torpor_session_unpause(
	struct torpor_session *core, const struct torpor_call *call)
{
	(void)call;
	tp_session_set_state(core, TORPOR_SESSION_RUNNING);
	return NULL;
}

struct tp_session_command {
	struct torpor_exec exec;
};

struct torpor_error *tp_session_command_new(struct torpor_session *core,
	const struct torpor_exec *exec, const struct tp_call *call,
	struct tp_session_command **command_out)
{
	(void)call;
	if (tp_session_state(core) != TORPOR_SESSION_RUNNING)
		return tp_error(TORPOR_E_BUSY, "run", core->name, "it doesn't run");
	struct tp_session_command *command = tp_calloc(1, sizeof(*command));
	command->exec = *exec;
	*command_out = command;
	return NULL;
}

struct tp_session_command *tp_session_command_free(struct tp_session_command *command)
{
	free(command);
	return NULL;
}

struct torpor_error *tp_session_command_follow(struct tp_session_command *command,
	const struct tp_call *call, struct torpor_exec_result *result_out)
{
	const struct torpor_exec *exec = &command->exec;

	(void)call;
	/* Prints its environment: what it was given is what there is to check. */
	for (const char *const *env = exec->env; exec->output && *env; env++) {
		exec->output(exec->output_data, 1, *env, strlen(*env));
		exec->output(exec->output_data, 1, "\n", 1);
	}
	*result_out = (struct torpor_exec_result){.exited = true};
	return NULL;
}

struct torpor_error *torpor_session_ping(struct torpor_session *core,
	const struct torpor_call *call, struct torpor_ping_report *report_out)
{
	(void)core;
	(void)call;
	(void)report_out;
	return tp_error(TORPOR_E_TIMEOUT, "ping", NULL, "no answer");
}

struct torpor_error *torpor_session_info(
	struct torpor_session *core, struct torpor_session_info *info_out)
{
	pthread_mutex_lock(&core->info_lock);
	*info_out = core->info;
	pthread_mutex_unlock(&core->info_lock);
	info_out->private_bytes = 12345;
	return NULL;
}

struct torpor_error *tp_session_enter(
	struct torpor_session *core, bool urgent, const struct tp_call *call)
{
	(void)core;
	(void)urgent;
	(void)call;
	return NULL;
}

void tp_session_leave(struct torpor_session *core)
{
	(void)core;
}

struct torpor_error *tp_session_quit(struct torpor_session *core, const struct tp_call *call)
{
	(void)call;
	if (core->guest) {
		fake_take_guest(core);
		tp_session_set_state(core, TORPOR_SESSION_PARKED);
	}
	return NULL;
}

struct torpor_session *torpor_session_close(struct torpor_session *core)
{
	if (!core)
		return NULL;
	assert(!core->guest); /* it would run on, nobody's */
	pthread_mutex_lock(&fake.lock);
	fake.handles--;
	pthread_mutex_unlock(&fake.lock);
	pthread_mutex_destroy(&core->info_lock);
	free(core->end_reason);
	free(core->name);
	free(core);
	return NULL;
}

struct torpor_error *torpor_session_destroy(
	struct torpor_session *core, const struct torpor_call *call)
{
	(void)call;
	fake_take_guest(core);
	torpor_session_close(core);
	return NULL;
}

bool tp_guest_name_ok(const char *name)
{
	static const char chars[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = strlen(name);

	return len >= 1 && len <= 64 && strspn(name, chars) == len && !strchr("._-", name[0]);
}
