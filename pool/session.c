/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: making, opening, closing, destroying, asking. */
#include "pool/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "pool/turn.h"
#include "pool/watch.h"

/* From the loss of a connection to the end of the process. */
#define END_PATIENCE (2 * TP_NSEC_PER_SEC)

/* --- States --- */

static const char *const state_names[] = {
	[TORPOR_SESSION_RUNNING] = "running",
	[TORPOR_SESSION_PARKED] = "parked",
	[TORPOR_SESSION_PAUSED] = "paused",
	[TORPOR_SESSION_REBOOTING] = "rebooting",
	[TORPOR_SESSION_ENDED] = "ended",
};

/* The arrows of the drawing in session.h. */
static const bool allowed[TP_ARRAY_LEN(state_names)][TP_ARRAY_LEN(state_names)] = {
	[TORPOR_SESSION_PARKED][TORPOR_SESSION_RUNNING] = true,
	[TORPOR_SESSION_PARKED][TORPOR_SESSION_PAUSED] = true,
	[TORPOR_SESSION_RUNNING][TORPOR_SESSION_PARKED] = true,
	[TORPOR_SESSION_RUNNING][TORPOR_SESSION_PAUSED] = true,
	[TORPOR_SESSION_RUNNING][TORPOR_SESSION_REBOOTING] = true,
	[TORPOR_SESSION_RUNNING][TORPOR_SESSION_ENDED] = true,
	[TORPOR_SESSION_PAUSED][TORPOR_SESSION_RUNNING] = true,
	[TORPOR_SESSION_PAUSED][TORPOR_SESSION_PARKED] = true,
	[TORPOR_SESSION_PAUSED][TORPOR_SESSION_REBOOTING] = true,
	[TORPOR_SESSION_PAUSED][TORPOR_SESSION_ENDED] = true,
	[TORPOR_SESSION_REBOOTING][TORPOR_SESSION_RUNNING] = true,
	[TORPOR_SESSION_REBOOTING][TORPOR_SESSION_ENDED] = true,
};

const char *torpor_source_name(enum torpor_source source)
{
	static const char *const names[] = {
		[TORPOR_SOURCE_SPAWN] = "spawn",
		[TORPOR_SOURCE_SHELL] = "shell",
		[TORPOR_SOURCE_WARM] = "warm",
	};

	return names[source];
}

const char *torpor_session_state_name(enum torpor_session_state state)
{
	return state_names[state];
}

void tp_session_set_state(struct torpor_session *session, enum torpor_session_state state)
{
	pthread_mutex_lock(&session->info_lock);
	assert(allowed[session->info.state][state]);
	session->info.state = state;
	session->info.pid = 0;
	session->info.start_time = 0;
	if (state == TORPOR_SESSION_RUNNING || state == TORPOR_SESSION_PAUSED) {
		session->info.pid = tp_guest_pid(session->guest);
		session->info.start_time = tp_guest_start_time(session->guest);
		session->info.has_base = session->memory.base;
	}
	pthread_mutex_unlock(&session->info_lock);
}

enum torpor_session_state tp_session_state(struct torpor_session *session)
{
	pthread_mutex_lock(&session->info_lock);
	enum torpor_session_state state = session->info.state;
	pthread_mutex_unlock(&session->info_lock);
	return state;
}

static struct torpor_error *wrong_state(
	struct torpor_session *session, enum torpor_session_state wanted, const char *step)
{
	enum torpor_session_state state = tp_session_state(session);
	const char *name = session->name;

	if (state == TORPOR_SESSION_ENDED)
		return tp_error(TORPOR_E_BUSY, step, name, "the session has ended: %s",
			session->end_reason);
	return tp_error(TORPOR_E_BUSY, step, name, "the session is %s, not %s", state_names[state],
		state_names[wanted]);
}

struct torpor_error *tp_session_require(
	struct torpor_session *session, enum torpor_session_state wanted, const char *step)
{
	if (tp_session_state(session) == wanted)
		return NULL;
	return wrong_state(session, wanted, step);
}

struct torpor_error *tp_session_require_guest(struct torpor_session *session, const char *step)
{
	if (tp_session_state(session) == TORPOR_SESSION_PAUSED)
		return NULL;
	return tp_session_require(session, TORPOR_SESSION_RUNNING, step);
}

struct torpor_error *tp_session_enter(
	struct torpor_session *session, bool urgent, const struct tp_call *call)
{
	struct tp_turn *turn = session->turn;

	for (;;) {
		TP_TRY(urgent ? tp_turn_take_urgently(turn, call, session->name)
			      : tp_turn_take(turn, call, session->name));
		if (!tp_watch_ended(session))
			return NULL;
		tp_turn_give(turn);
	}
}

void tp_session_leave(struct torpor_session *session)
{
	tp_turn_give(session->turn);
}

bool tp_session_busy(struct torpor_session *session)
{
	return tp_turn_taken(session->turn);
}

int tp_session_pid(struct torpor_session *session)
{
	return session->guest ? tp_guest_pid(session->guest) : 0;
}

void tp_session_label(struct torpor_session *session, const char *title, const char *tenant)
{
	struct tp_guest_label label = {
		.session = title,
		.tenant = tenant,
		.template_name = session->record.template_name,
	};

	if (session->guest)
		tp_guest_describe(session->guest, &label);
}

struct torpor_error *tp_session_limit(
	struct torpor_session *session, const struct tp_limits *limits, json_t **unenforced_out)
{
	*unenforced_out = NULL;
	if (!session->guest || !tp_launcher_has_limits(session->engine->launcher))
		return NULL;
	return tp_guest_limit(session->guest, limits, unenforced_out);
}

enum torpor_source tp_session_source(const struct torpor_session *session)
{
	return session->source;
}

struct torpor_error *tp_session_explain(const struct torpor_session *session,
	struct tp_guest *guest, struct torpor_error *err, const struct tp_call *call)
{
	struct tp_call soon = tp_call_bounded(call, END_PATIENCE);
	TP_GUEST_EXIT struct tp_guest_exit how = {0};

	if (!err || (torpor_error_code(err) != TORPOR_E_QEMU && torpor_error_errno(err) != EPIPE &&
			    torpor_error_errno(err) != ECONNRESET))
		return err;
	TP_ERROR struct torpor_error *unknown = tp_wait_fd(
		tp_guest_pidfd(guest), POLLIN, &soon, "wait for the end of", session->name);
	if (!unknown)
		unknown = tp_guest_exit_reason(guest, &how);
	if (unknown)
		return err;
	torpor_error_free(err);
	TP_FREE char *why = tp_guest_exit_text(&how);
	return tp_error(TORPOR_E_QEMU, "talk to", session->name, "%s", why);
}

/* --- Making and freeing --- */

static void free_session(struct torpor_session *session)
{
	tp_record_deinit(&session->record);
	free(session->guest_name);
	tp_turn_free(session->turn);
	tp_close(session->retire_fd);
	pthread_mutex_destroy(&session->info_lock);
	free(session->name);
	free(session->image_name);
	free(session->image_path);
	free(session->end_reason);
	torpor_template_close(session->tmpl);
	free(session);
}

/* Enters the session into the engine's list, unless one of that name is there. */
static struct torpor_error *enlist(struct torpor_engine *engine, struct torpor_session *session)
{
	const char *name = session->name;
	struct torpor_session *other;

	pthread_mutex_lock(&engine->lock);
	for (other = engine->sessions; other; other = other->next) {
		if (strcmp(other->name, name) == 0)
			break;
	}
	if (!other) {
		session->watch_id = ++engine->last_watch_id;
		session->next = engine->sessions;
		engine->sessions = session;
	}
	pthread_mutex_unlock(&engine->lock);
	if (other)
		return tp_error_hint(tp_error(TORPOR_E_EXISTS, "make session", name,
					     "there is one of that name"),
			"Choose another name, or close that one.");
	return NULL;
}

static void delist(struct torpor_session *session)
{
	struct torpor_engine *engine = session->engine;

	pthread_mutex_lock(&engine->lock);
	struct torpor_session **at = &engine->sessions;
	while (*at != session)
		at = &(*at)->next;
	*at = session->next;
	pthread_mutex_unlock(&engine->lock);
}

struct torpor_error *tp_session_new(struct torpor_template *tmpl, const struct tp_record *record,
	struct torpor_session **session_out)
{
	TP_FD int retire_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct tp_turn *turn;

	if (retire_fd < 0)
		return tp_error_errno(errno, "make", "event descriptor");
	TP_TRY(tp_turn_new(&turn));
	struct torpor_session *session = tp_calloc(1, sizeof(*session));
	session->engine = tmpl->engine;
	session->tmpl = tp_template_ref(tmpl);
	session->name = tp_strdup(record->session_name);
	session->turn = turn;
	session->retire_fd = TP_TAKE_FD(retire_fd);
	session->memory = TP_MEMORY_NONE;
	tp_record_copy(&session->record, record);
	pthread_mutex_init(&session->info_lock, NULL);
	session->info.state = TORPOR_SESSION_PARKED;
	session->info.has_base = true;
	session->info.reboots = record->reboots;
	snprintf(session->info.name, sizeof(session->info.name), "%s", record->session_name);
	snprintf(session->info.hostname, sizeof(session->info.hostname), "%s", record->hostname);

	struct torpor_error *err = enlist(tmpl->engine, session);
	if (err) {
		free_session(session);
		return err;
	}
	*session_out = session;
	return NULL;
}

void tp_session_tell_end(struct torpor_session *session, enum torpor_errc code, const char *why)
{
	if (session->helper)
		tp_helper_retire(session->helper, code, session->name, why);
}

struct torpor_error *tp_session_end_guest(
	struct torpor_session *session, const struct tp_call *call)
{
	struct torpor_error *err = NULL;

	tp_session_tell_end(session, TORPOR_E_BUSY, "its guest was ended");
	if (session->guest) {
		tp_unwatch(session);
		err = tp_guest_end(TP_TAKE(session->guest), call);
	}
	session->helper = tp_helper_free(session->helper);
	tp_memory_deinit(&session->memory);
	return err;
}

/* Lets a kept guest run on, or ends it. */
static struct torpor_error *leave_guest(struct torpor_session *session)
{
	struct tp_call call = tp_call_within(CLEANUP_TIMEOUT_NS);

	if (session->guest && session->engine->keep_guests) {
		tp_session_tell_end(session, TORPOR_E_BUSY,
			"the session was closed; the command was left running");
		tp_unwatch(session);
		TP_TRY(tp_guest_release(TP_TAKE(session->guest)));
	}
	return tp_session_end_guest(session, &call);
}

/*
 * Takes the turn for good, and waits for the watcher to be done with the session. A guest that is
 * booting anew is waited for only if it is to be KEPT.
 */
static void retire(struct torpor_session *session, bool kept)
{
	struct tp_call call = tp_call_within(TP_NO_DEADLINE);

	if (!kept && eventfd_write(session->retire_fd, 1) < 0)
		tp_log(TP_LOG_WARNING, "retire session %s: %m", session->name);

	tp_error_log(tp_turn_take_urgently(session->turn, &call, session->name));
	delist(session);
	tp_turn_give(session->turn);
	tp_watcher_wait(session);
}

struct torpor_session *torpor_session_close(struct torpor_session *session)
{
	if (!session)
		return NULL;
	retire(session, session->engine->keep_guests);
	tp_error_log(leave_guest(session));
	free_session(session);
	return NULL;
}

struct torpor_error *torpor_session_destroy(
	struct torpor_session *session, const struct torpor_call *public_call)
{
	struct tp_call call = tp_call_from(public_call, CLEANUP_TIMEOUT_NS);
	struct torpor_engine *engine = session->engine;

	retire(session, false);
	struct torpor_error *err = tp_session_end_guest(session, &call);
	if (session->image_name && unlinkat(engine->images_fd, session->image_name, 0) < 0 &&
		errno != ENOENT)
		err = tp_error_first(
			err, tp_error_errno(errno, "remove image", session->image_name));
	free_session(session);
	return err;
}

/* --- Start --- */

/* The record of a new session: the template's, with names of its own. */
struct torpor_error *tp_session_describe(const struct tp_record *from,
	const struct torpor_session_spec *spec, struct tp_record *record_out)
{
	const char *hostname = spec->hostname ? spec->hostname : spec->name;

	if (!spec->name || !tp_guest_name_ok(spec->name))
		return tp_error_hint(tp_error(TORPOR_E_INVALID, "make session", spec->name,
					     "this can't be a name"),
			"Names are 1 to 64 of A-Z a-z 0-9 . _ - and start with a letter or digit.");
	if (!tp_guest_name_ok(hostname))
		return tp_error(TORPOR_E_INVALID, "make session", spec->name,
			"\"%s\" can't be a host name", hostname);
	tp_record_copy(record_out, from);
	free(record_out->session_name);
	free(record_out->hostname);
	record_out->is_session = true;
	record_out->session_name = tp_strdup(spec->name);
	record_out->hostname = tp_strdup(hostname);
	if (getrandom(record_out->machine_id, TP_MACHINE_ID_LEN, 0) != TP_MACHINE_ID_LEN) {
		tp_record_deinit(record_out);
		return tp_error(
			TORPOR_E_IO, "make session", spec->name, "the host has no random bytes");
	}
	/* A version 4 UUID, as machine-id(5) has it. */
	record_out->machine_id[6] = (record_out->machine_id[6] & 0x0f) | 0x40;
	record_out->machine_id[8] = (record_out->machine_id[8] & 0x3f) | 0x80;
	return NULL;
}

/* A session of that name may be parked: the new one would overwrite its image some day. */
static struct torpor_error *check_no_image(struct torpor_engine *engine, const char *name)
{
	if (faccessat(engine->images_fd, name, F_OK, 0) < 0)
		return NULL;
	return tp_error_hint(
		tp_error(TORPOR_E_EXISTS, "make session", name, "one of that name is parked"),
		"Choose another name; or resume that one, or remove %s/images/%s.",
		engine->state_dir, name);
}

struct torpor_error *tp_session_start_from(struct torpor_template *tmpl,
	const struct tp_image *image, const struct tp_record *from,
	const struct torpor_session_spec *spec, const struct tp_session_hooks *hooks,
	uint64_t entered_ns, const struct tp_call *call, struct torpor_resume_report *report_out,
	struct torpor_session **session_out)
{
	static const uint32_t all = TORPOR_FRESH_CLOCK | TORPOR_FRESH_RANDOM |
				    TORPOR_FRESH_HOSTNAME | TORPOR_FRESH_MACHINE_ID;
	TP_RECORD struct tp_record record = {0};
	struct torpor_resume_report report;
	struct torpor_session *session;

	TP_TRY(tp_session_describe(from, spec, &record));
	TP_TRY(check_no_image(tmpl->engine, spec->name));
	TP_TRY(tp_session_new(tmpl, &record, &session));
	/* With the turn: if its guest ends as soon as it runs, that is dealt with behind this. */
	struct torpor_error *err = tp_session_enter(session, false, call);
	if (!err) {
		err = tp_session_wake(session, image, all, hooks, entered_ns, call, &report);
		tp_session_leave(session);
	}
	if (err) {
		torpor_session_close(session);
		return tp_error_in(err, image ? "fork session" : "start session", spec->name);
	}
	if (report_out)
		*report_out = report;
	*session_out = session;
	return NULL;
}

struct torpor_error *tp_session_start_hooked(struct torpor_template *tmpl,
	const struct torpor_session_spec *spec, const struct tp_session_hooks *hooks,
	const struct torpor_call *public_call, struct torpor_resume_report *report_out,
	struct torpor_session **session_out)
{
	uint64_t entered_ns = tp_now_ns();
	struct tp_call call = tp_call_from(public_call, RESUME_TIMEOUT_NS);

	return tp_session_start_from(tmpl, NULL, &tmpl->base->record, spec, hooks, entered_ns,
		&call, report_out, session_out);
}

struct torpor_error *torpor_session_start(struct torpor_template *tmpl,
	const struct torpor_session_spec *spec, const struct torpor_call *call,
	struct torpor_resume_report *report_out, struct torpor_session **session_out)
{
	return tp_session_start_hooked(tmpl, spec, NULL, call, report_out, session_out);
}

/* --- Open --- */

static struct torpor_error *open_parked(struct torpor_engine *engine, const char *name,
	const char *path, const struct tp_call *call, struct torpor_session **session_out)
{
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;
	TP_RECORD struct tp_record record = {0};
	struct torpor_template *tmpl;
	struct torpor_session *session;

	TP_TRY(tp_image_open(
		path ? AT_FDCWD : engine->images_fd, path ? path : name, call, &image));
	const struct tp_image_meta *meta = tp_image_meta(image);
	TP_TRY(tp_record_parse(meta->config, name, &record));
	if (!record.is_session)
		return tp_error(TORPOR_E_MISMATCH, "open session", name, "it is a %s image",
			tp_image_kind_name(meta->kind));
	free(record.session_name);
	record.session_name = tp_strdup(name);
	if (meta->kind == TP_IMAGE_SESSION && tp_template_id_is_none(meta->template_id))
		return tp_error(TORPOR_E_CORRUPT, "open session", name, "it names no template");
	TP_TRY(tp_template_open_for(engine, meta->template_id, &record, call, &tmpl));
	struct torpor_error *err = tp_session_new(tmpl, &record, &session);
	torpor_template_close(tmpl);
	if (err)
		return err;
	session->image_name = path ? NULL : tp_strdup(name);
	session->image_path = tp_strdup(path);
	session->info.has_base = meta->kind == TP_IMAGE_SESSION;
	*session_out = session;
	return NULL;
}

struct torpor_error *torpor_session_open(struct torpor_engine *engine, const char *name,
	const char *path, const struct torpor_call *public_call,
	struct torpor_session **session_out)
{
	struct tp_call call = tp_call_from(public_call, OPEN_TIMEOUT_NS);

	if (!name || !tp_guest_name_ok(name))
		return tp_error(TORPOR_E_INVALID, "open session", name, "this can't be a name");
	return tp_error_in(
		open_parked(engine, name, path, &call, session_out), "open session", name);
}

/* --- Asking --- */

/* Memory that only this process has, by the kernel's own sum; 0 if it can't be read. */
static uint64_t private_bytes(int pid)
{
	TP_FREE char *path = tp_asprintf("/proc/%d/smaps_rollup", pid);
	TP_FREE char *text = NULL;
	uint64_t sum = 0;
	size_t len;

	struct torpor_error *err = tp_read_file(AT_FDCWD, path, 64 * TP_KIB, &text, &len);
	if (err) {
		torpor_error_free(err);
		return 0;
	}
	for (const char *line = text; line; line = strchr(line, '\n')) {
		uint64_t kib;
		line += *line == '\n';
		if (sscanf(line, "Private_Dirty: %ju", &kib) == 1 ||
			sscanf(line, "Private_Clean: %ju", &kib) == 1)
			sum += kib * TP_KIB;
	}
	return sum;
}

struct torpor_error *torpor_session_info(
	struct torpor_session *session, struct torpor_session_info *info_out)
{
	pthread_mutex_lock(&session->info_lock);
	*info_out = session->info;
	pthread_mutex_unlock(&session->info_lock);
	if (info_out->pid)
		info_out->private_bytes = private_bytes(info_out->pid);
	return NULL;
}
