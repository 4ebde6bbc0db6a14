/* SPDX-License-Identifier: Apache-2.0 */
/* The ways into RUNNING: loading into a shell, booting anew. */
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/probe.h"
#include "engine/agent.h"
#include "engine/control.h"
#include "engine/qmp.h"
#include "pool/session.h"
#include "pool/watch.h"
#include "snapshot/restore.h"

#define DEAF_MOST 2 /* warm guests that a start waits for in vain */

/* --- Into a process --- */

/* From here on the session has the process. */
static void take_shell(struct torpor_session *session, struct tp_shell *shell)
{
	session->guest = TP_TAKE(shell->guest);
	session->memory = shell->memory;
	shell->memory = TP_MEMORY_NONE;
	session->helper = TP_TAKE(shell->helper);
	if (session->record.helper && !session->helper)
		session->helper = tp_helper_new(tp_guest_take_helper_fd(session->guest));
	free(session->record.guest.qemu_version);
	session->record.guest.qemu_version =
		tp_strdup(tp_qmp_version(tp_guest_qmp(session->guest)));
}

static struct torpor_error *get_shell(struct torpor_session *session, const struct tp_image *image,
	const struct tp_call *call, bool *waited, struct tp_shell **shell_out)
{
	if (image && tp_image_meta(image)->kind == TP_IMAGE_FULL)
		return tp_shell_start_own(session->tmpl, &session->record.guest, call, shell_out);
	return tp_shell_take(session->tmpl, call, waited, shell_out);
}

/* By the QEMU that is at hand; the image is NULL for the template's own state. */
static struct torpor_error *check(const struct torpor_session *session,
	const struct tp_image *image, const struct tp_base *base, const char *version)
{
	if (!image)
		return tp_restore_check_qemu(
			&session->tmpl->base->record, version, session->tmpl->name);
	return tp_restore_check(image, &session->record, base, version, session->name);
}

/* What can be told before there is a process. */
static struct torpor_error *check_ahead(
	struct torpor_session *session, const struct tp_image *image, const struct tp_call *call)
{
	struct torpor_template *tmpl = session->tmpl;
	bool own = image && tp_image_meta(image)->kind == TP_IMAGE_FULL;

	TP_TRY(tp_template_find_qemu(tmpl, call));
	TP_TRY(check(session, image, own ? NULL : tmpl->base, tmpl->qemu.version));
	/* A guest with a base is its template's. */
	const char *field =
		own ? tp_guest_config_difference(&session->record.guest, &tmpl->base->record.guest)
		    : NULL;
	if (!field || strcmp(field, "qemu_version") == 0)
		return NULL;
	return tp_machine_check(
		tmpl->engine, tmpl->qemu.program, &session->record.guest, session->name, call);
}

/* Whether a process that failed to load is still there to be blamed. */
static bool lives(struct tp_guest *guest)
{
	struct pollfd end = {.fd = tp_guest_pidfd(guest), .events = POLLIN};

	return poll(&end, 1, 0) == 0;
}

/* One attempt to load; the shell is the caller's, to end if it fails. */
static struct torpor_error *load(struct torpor_session *session, const struct tp_image *image,
	struct tp_shell *shell, const struct tp_call *call, struct torpor_resume_report *report)
{
	enum tp_path path;

	TP_TRY(tp_restore(shell->guest, &shell->memory, &session->record, image,
		session->engine->capture.path, session->engine->workers, call, &path));
	report->path = (enum torpor_path)path;
	return NULL;
}

/*
 * Gets a process and loads it. One that dies under the load is replaced once; so is one that has
 * waited, whatever it did to itself meanwhile. A new one that says no will say it again.
 */
static struct torpor_error *load_shell(struct torpor_session *session, const struct tp_image *image,
	const struct tp_call *call, struct torpor_resume_report *report,
	struct tp_shell **shell_out)
{
	TP_TRY(check_ahead(session, image, call));
	for (;;) {
		struct tp_shell *shell;
		uint64_t start = tp_now_ns();
		bool waited = false;
		TP_TRY(get_shell(session, image, call, &waited, &shell));
		report->source = waited ? TORPOR_SOURCE_SHELL : TORPOR_SOURCE_SPAWN;
		session->source = report->source;
		report->shell_ns += waited ? 0 : tp_now_ns() - start;
		TP_PROBE3(
			wake__process, session->name, report->source, tp_guest_name(shell->guest));

		struct torpor_error *err = check(session, image, shell->memory.base,
			tp_qmp_version(tp_guest_qmp(shell->guest)));
		if (err) {
			/* What is refused leaves no process behind that wasn't there before. */
			if (waited)
				tp_shell_put(session->tmpl, shell);
			else
				tp_shell_free(shell);
			return err;
		}
		err = tp_session_explain(
			session, shell->guest, load(session, image, shell, call, report), call);
		if (!err) {
			*shell_out = shell;
			return NULL;
		}
		bool final = !waited && lives(shell->guest);
		tp_shell_free(shell);
		if (torpor_error_code(err) != TORPOR_E_QEMU || final || report->shells_replaced > 0)
			return err;
		report->shells_replaced++;
		tp_error_log(tp_error_in(err, "replace the shell of", session->name));
	}
}

/* --- Out of that process --- */

/* One call's way into RUNNING, with whatever process. */
struct waking {
	uint32_t steps;
	const struct tp_session_hooks *hooks;
	uint64_t entered_ns;
	const struct tp_call *call;
	bool waited; /* the process that is tried now: its answers have a time of their own */
	struct torpor_resume_report report; /* of that one */
};

/* What a process that fails says of the next one. */
enum failing {
	FAILED, /* that would, too */
	DIED,	/* it ended by itself: another one may do better */
	DEAF,	/* it didn't answer in time, and the same */
};

static struct torpor_error *call_hook(
	tp_session_hook *hook, const struct waking *w, struct torpor_session *session)
{
	return hook ? hook(w->hooks->data, session) : NULL;
}

/* For the next answer of the process that is tried. */
static struct tp_call patiently(const struct torpor_session *session, const struct waking *w)
{
	return w->waited ? tp_call_bounded(w->call, session->engine->deaf_after_ns) : *w->call;
}

/* Passes ERR through: of a step that patience bounded, and where that is over, not the call. */
static struct torpor_error *listened(
	struct torpor_error *err, const struct waking *w, bool *deaf_out)
{
	if (err && torpor_error_code(err) == TORPOR_E_TIMEOUT) {
		TP_ERROR struct torpor_error *over = tp_call_check(w->call, "wait", NULL);
		*deaf_out = !over;
	}
	return err;
}

/* The loaded guest runs and becomes fresh. *DEAF_OUT: or it didn't answer. */
static struct torpor_error *run(struct torpor_session *session, struct waking *w, bool *deaf_out)
{
	struct torpor_resume_report *report = &w->report;
	uint64_t resumed_ns;

	TP_TRY(call_hook(w->hooks->on_loaded, w, session));
	TP_PROBE1(wake__placed, session->name);
	struct tp_call soon = patiently(session, w);
	/* Written now, so that the time in it is as young as can be. */
	TP_TRY(listened(tp_session_send_fresh(session, w->steps, &soon), w, deaf_out));
	TP_TRY(listened(tp_guest_cont(session->guest, &soon, &resumed_ns), w, deaf_out));
	TP_PROBE2(wake__running, session->name, resumed_ns);
	report->running_ns = resumed_ns - w->entered_ns;
	TP_TRY(call_hook(w->hooks->on_running, w, session));
	TP_PROBE1(wake__submitted, session->name);
	/* An agent's steps may fail one by one, and then it goes on without. */
	soon = session->helper ? patiently(session, w) : *w->call;
	TP_TRY(listened(tp_session_wait_fresh(
				session, w->steps, &soon, &report->fresh, &report->clock_error_ns),
		w, deaf_out));
	TP_PROBE2(wake__fresh, session->name, report->fresh);
	if (session->helper)
		report->ready_ns = tp_now_ns() - w->entered_ns;
	return tp_watch(session);
}

static enum failing failing_of(const struct torpor_session *session, bool deaf)
{
	if (!lives(session->guest))
		return DIED;
	return deaf ? DEAF : FAILED;
}

/* The same; a failure ends the guest. *FAILING_OUT says what that was. */
static struct torpor_error *run_or_end(
	struct torpor_session *session, struct waking *w, enum failing *failing_out)
{
	bool deaf = false;
	struct torpor_error *err =
		tp_session_explain(session, session->guest, run(session, w, &deaf), w->call);

	if (!err)
		return NULL;
	*failing_out = failing_of(session, deaf);
	/* While it is there: what is known of it elsewhere shall not outlive it. */
	struct torpor_error *kept = call_hook(w->hooks->on_dropped, w, session);
	bool over = kept || *failing_out == FAILED;
	err = *failing_out == FAILED ? tp_error_first(err, kept) : tp_error_first(kept, err);
	*failing_out = over ? FAILED : *failing_out;
	struct tp_call soon = tp_call_within(CLEANUP_TIMEOUT_NS);
	return tp_error_first(err, tp_session_end_guest(session, &soon));
}

/* One that was taken out of the warm stock: it is the session's, however that goes. */
static struct torpor_error *wake_from(struct torpor_session *session, struct tp_shell *shell,
	struct waking *w, enum failing *failing_out)
{
	w->report = (struct torpor_resume_report){.source = TORPOR_SOURCE_WARM,
		.path = (enum torpor_path)shell->loaded_by,
		.loaded_ns = tp_now_ns() - w->entered_ns};
	w->waited = true;
	TP_PROBE3(wake__process, session->name, w->report.source, tp_guest_name(shell->guest));
	session->source = TORPOR_SOURCE_WARM;
	take_shell(session, shell);
	tp_shell_free(shell);
	return run_or_end(session, w, failing_out);
}

/*
 * From a warm guest, if one waits; *WOKEN_OUT says so. Those that are dead are passed over, and so
 * are those that are deaf, up to a number: then it may be the host, and what time is left is better
 * spent on a process of its own.
 */
static struct torpor_error *wake_warm(
	struct torpor_session *session, struct waking *w, bool *woken_out)
{
	struct torpor_template *tmpl = session->tmpl;
	unsigned int deaf = 0;
	struct tp_shell *shell;

	while (deaf < DEAF_MOST && (shell = tp_stock_take(tmpl, &tmpl->warm))) {
		enum failing failing = FAILED;
		struct torpor_error *err = wake_from(session, shell, w, &failing);
		*woken_out = !err;
		if (!err || failing == FAILED)
			return err;
		tp_error_log(tp_error_in(err, "replace the warm guest of", session->name));
		deaf += failing == DEAF;
		if (failing == DEAF)
			tp_stock_note_deaf(tmpl, 1);
		else
			tp_watcher_tell(tmpl->engine->watcher, TORPOR_EVENT_STOCK, tmpl->name);
	}
	return NULL;
}

static struct torpor_error *wake_cold(
	struct torpor_session *session, const struct tp_image *image, struct waking *w)
{
	TP_CLEANUP(tp_shell_free) struct tp_shell *shell = NULL;
	enum failing failing;

	w->report = (struct torpor_resume_report){0};
	w->waited = false;
	if (image) {
		w->report.pages = tp_image_page_count(image);
		w->report.image_bytes = tp_image_file_bytes(image);
	}
	TP_TRY(load_shell(session, image, w->call, &w->report, &shell));
	w->report.loaded_ns = tp_now_ns() - w->entered_ns;
	take_shell(session, shell);
	return run_or_end(session, w, &failing);
}

struct torpor_error *tp_session_wake(struct torpor_session *session, const struct tp_image *image,
	uint32_t steps, const struct tp_session_hooks *hooks, uint64_t entered_ns,
	const struct tp_call *call, struct torpor_resume_report *report_out)
{
	static const struct tp_session_hooks none;
	struct waking w = {.steps = steps,
		.hooks = hooks ? hooks : &none,
		.entered_ns = entered_ns,
		.call = call};
	bool woken = false;

	TP_PROBE3(wake__begin, session->name, session->tmpl->name, image != NULL);
	/* Until it is confirmed; what goes on in the same place has its names. */
	session->owed = steps & ~TP_WAKE_STEPS;
	if (!image)
		TP_TRY(wake_warm(session, &w, &woken));
	if (!woken)
		TP_TRY(wake_cold(session, image, &w));
	session->owed = 0;
	session->entered_ns = entered_ns;
	tp_session_set_state(session, TORPOR_SESSION_RUNNING);
	TP_PROBE2(wake__ready, session->name, w.report.pages);
	*report_out = w.report;
	return NULL;
}

/* --- Booting anew --- */

static struct torpor_error *start_boot(struct torpor_session *session, const struct tp_call *call)
{
	struct torpor_engine *engine = session->engine;
	TP_FREE char *name = tp_engine_guest_name(engine, "boot");
	TP_FREE char *kernel = tp_template_path(session->tmpl, TEMPLATE_KERNEL);
	TP_FREE char *initrd = tp_template_path(session->tmpl, TEMPLATE_INITRD);
	const struct tp_guest_config *config = &session->record.guest;
	struct tp_shell shell = {.memory = TP_MEMORY_NONE};
	TP_FD int ram_fd = -1;

	if (tp_template_is_none(session->tmpl))
		return tp_error(TORPOR_E_UNSUPPORTED, "boot anew", session->name,
			"it was imported, and has no kernel here");
	TP_TRY(tp_template_find_qemu(session->tmpl, call));
	TP_TRY(tp_memfd(TP_MEMORY_MEMFD, config->memory_bytes, &ram_fd));
	struct tp_guest_spec spec = {
		.config = config,
		.name = name,
		.role = TP_ROLE_BOOT,
		.program = session->tmpl->qemu.program,
		.traits = session->tmpl->qemu.traits,
		.kernel = kernel,
		.initrd = access(initrd, F_OK) == 0 ? initrd : NULL,
		.append = session->record.append,
		.ram_fd = ram_fd,
		.ram_shared = true,
		.console_fd = -1,
	};
	TP_TRY(tp_launcher_start(engine->launcher, &spec, call, &shell.guest));
	tp_memory_init_own(&shell.memory, TP_TAKE_FD(ram_fd), config->memory_bytes);
	take_shell(session, &shell);
	return NULL;
}

/* Waits for the helper, or the agent, and makes the guest fresh. */
static struct torpor_error *greet(struct torpor_session *session, const struct tp_call *call)
{
	static const uint32_t all = TORPOR_FRESH_CLOCK | TORPOR_FRESH_RANDOM |
				    TORPOR_FRESH_HOSTNAME | TORPOR_FRESH_MACHINE_ID;
	uint32_t fresh;
	int64_t clock_error;

	if (!session->helper && session->record.agent)
		TP_TRY(tp_agent_ping(tp_guest_agent(session->guest), call));
	TP_TRY(tp_session_send_fresh(session, all, call));
	return tp_session_wait_fresh(session, all, call, &fresh, &clock_error);
}

struct torpor_error *tp_session_boot(struct torpor_session *session, const struct tp_call *call)
{
	uint64_t entered_ns = tp_now_ns();

	TP_TRY(start_boot(session, call));
	TP_TRY(tp_session_explain(session, session->guest, greet(session, call), call));
	TP_TRY(tp_watch(session));
	session->owed = 0;
	session->entered_ns = entered_ns;
	session->record.reboots++;
	pthread_mutex_lock(&session->info_lock);
	session->info.reboots = session->record.reboots;
	pthread_mutex_unlock(&session->info_lock);
	return NULL;
}
