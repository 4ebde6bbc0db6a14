/* SPDX-License-Identifier: Apache-2.0 */
/* The ways into RUNNING: loading into a shell, booting anew; and making a guest fresh. */
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/probe.h"
#include "engine/agent.h"
#include "engine/control.h"
#include "engine/qmp.h"
#include "pool/session.h"
#include "pool/watch.h"
#include "snapshot/restore.h"

#define SEED_BYTES     32
#define CLOCK_SAMPLES  4
#define CLOCK_DOUBT_NS (5 * TP_NSEC_PER_MSEC) /* good enough to not ask again */

/* --- Making fresh --- */

static const struct {
	enum torpor_fresh public;
	enum tp_wire_step wire;
} steps_table[] = {
	{TORPOR_FRESH_CLOCK, TP_WIRE_STEP_CLOCK},
	{TORPOR_FRESH_RANDOM, TP_WIRE_STEP_SEED},
	{TORPOR_FRESH_HOSTNAME, TP_WIRE_STEP_HOSTNAME},
	{TORPOR_FRESH_MACHINE_ID, TP_WIRE_STEP_MACHINE_ID},
};

static uint32_t to_wire(uint32_t fresh)
{
	uint32_t wire = 0;

	for (size_t i = 0; i < TP_ARRAY_LEN(steps_table); i++) {
		if (fresh & steps_table[i].public)
			wire |= steps_table[i].wire;
	}
	return wire;
}

static uint32_t from_wire(uint32_t wire)
{
	uint32_t fresh = 0;

	for (size_t i = 0; i < TP_ARRAY_LEN(steps_table); i++) {
		if (wire & steps_table[i].wire)
			fresh |= steps_table[i].public;
	}
	return fresh;
}

static struct tp_fresh fresh_request(
	const struct torpor_session *session, uint32_t steps, const uint8_t *seed)
{
	struct tp_fresh fresh = {
		.nonce = session->nonce,
		.steps = to_wire(steps),
		.realtime_ns = (int64_t)tp_realtime_ns(),
		.seed = seed,
		.seed_len = SEED_BYTES,
		.hostname = session->record.hostname,
	};

	memcpy(fresh.machine_id, session->record.machine_id, sizeof(fresh.machine_id));
	return fresh;
}

struct torpor_error *tp_session_send_fresh(
	struct torpor_session *session, uint32_t steps, const struct tp_call *call)
{
	uint8_t seed[SEED_BYTES];

	if (!session->helper)
		return NULL;
	if (getrandom(seed, sizeof(seed), 0) != sizeof(seed) ||
		getrandom(&session->nonce, sizeof(session->nonce), 0) != sizeof(session->nonce))
		return tp_error(TORPOR_E_IO, "make a seed for", session->name,
			"the host has no random bytes");
	struct tp_fresh fresh = fresh_request(session, steps, seed);
	session->sent_realtime_ns = (uint64_t)fresh.realtime_ns;
	struct torpor_error *err = tp_helper_send_fresh(session->helper, &fresh, call);
	explicit_bzero(seed, sizeof(seed));
	return err;
}

static struct torpor_error *agent_set_names(
	struct torpor_session *session, struct tp_agent *agent, const struct tp_call *call)
{
	static const char script[] = "hostname \"$1\" && echo \"$1\" > /etc/hostname; "
				     "echo \"$2\" > /etc/machine-id";
	char id[2 * TP_MACHINE_ID_LEN + 1];
	TP_AGENT_EXIT struct tp_agent_exit how = {0};

	tp_hex(session->record.machine_id, TP_MACHINE_ID_LEN, id);
	const char *const argv[] = {
		"/bin/sh", "-c", script, "sh", session->record.hostname, id, NULL};
	TP_TRY(tp_agent_run(agent, argv, call, &how));
	if (how.status != 0)
		return tp_error(TORPOR_E_GUEST, "set names in", session->name,
			"the command failed with status %d", how.status);
	return NULL;
}

/* What the agent can do for a guest without helper. Each step may fail by itself. */
static uint32_t fresh_by_agent(
	struct torpor_session *session, uint32_t steps, const struct tp_call *call)
{
	struct tp_agent *agent = tp_guest_agent(session->guest);
	const uint32_t names = TORPOR_FRESH_HOSTNAME | TORPOR_FRESH_MACHINE_ID;
	uint32_t done = 0;
	struct torpor_error *err;

	if (!agent || !session->record.agent)
		return 0;
	if (steps & TORPOR_FRESH_CLOCK) {
		err = tp_agent_set_time(agent, tp_realtime_ns(), call);
		done |= err ? 0 : TORPOR_FRESH_CLOCK;
		tp_error_log(err);
	}
	if (steps & names) {
		err = agent_set_names(session, agent, call);
		done |= err ? 0 : names;
		tp_error_log(err);
	}
	return done;
}

/*
 * The guest's clock minus the host's, from a reading that was taken between two of the host's; and
 * how far off that may be.
 */
struct clock_reading {
	int64_t offset_ns;
	uint64_t doubt_ns;
};

static struct clock_reading read_clock(int64_t guest_ns, uint64_t before_ns, uint64_t after_ns)
{
	uint64_t doubt = (after_ns - before_ns) / 2;

	return (struct clock_reading){
		.offset_ns = guest_ns - (int64_t)(before_ns + doubt), .doubt_ns = doubt};
}

/* Asks for the guest's time until the answer is quick, or a few times; the quickest counts. */
static struct torpor_error *measure_clock(
	struct torpor_session *session, const struct tp_call *call, struct clock_reading *best_out)
{
	struct clock_reading best = {.doubt_ns = UINT64_MAX};

	for (int i = 0; i < CLOCK_SAMPLES && best.doubt_ns > CLOCK_DOUBT_NS; i++) {
		struct tp_helper_pong pong;
		uint64_t before = tp_realtime_ns();
		TP_TRY(tp_helper_ping(session->helper, call, &pong));
		struct clock_reading reading =
			read_clock(pong.realtime_ns, before, tp_realtime_ns());
		if (reading.doubt_ns < best.doubt_ns)
			best = reading;
	}
	*best_out = best;
	return NULL;
}

/* Corrects a clock that was set by a message of unknown delay. */
static struct torpor_error *shift_clock(
	struct torpor_session *session, const struct tp_call *call, int64_t *error_out)
{
	struct clock_reading reading;
	struct tp_fresh_done done;

	TP_TRY(measure_clock(session, call, &reading));
	struct tp_fresh shift = {
		.nonce = ++session->nonce,
		.steps = TP_WIRE_STEP_CLOCK_SHIFT,
		.realtime_ns = -reading.offset_ns,
	};
	uint64_t before = tp_realtime_ns();
	TP_TRY(tp_helper_send_fresh(session->helper, &shift, call));
	TP_TRY(tp_helper_wait_fresh(session->helper, &shift, call, &done));
	reading = read_clock(done.realtime_ns, before, tp_realtime_ns());
	/* What lies within the doubt can't be told from right. */
	*error_out = (uint64_t)llabs(reading.offset_ns) > reading.doubt_ns ? reading.offset_ns : 0;
	return NULL;
}

struct torpor_error *tp_session_wait_fresh(struct torpor_session *session, uint32_t steps,
	const struct tp_call *call, uint32_t *fresh_out, int64_t *clock_error_out)
{
	static const uint8_t no_seed[SEED_BYTES];
	struct tp_fresh_done done;

	*clock_error_out = 0;
	if (!session->helper) {
		*fresh_out = fresh_by_agent(session, steps, call);
		return NULL;
	}
	struct tp_fresh fresh = fresh_request(session, steps, no_seed);
	TP_TRY(tp_helper_wait_fresh(session->helper, &fresh, call, &done));
	*fresh_out = from_wire(done.done);
	/* The time in the message was right when it was written; the guest's is as late as that. */
	uint64_t since = tp_realtime_ns() - session->sent_realtime_ns;
	*clock_error_out = -(int64_t)since;
	if (since <= CLOCK_DOUBT_NS || !(done.done & TP_WIRE_STEP_CLOCK))
		return NULL;
	return shift_clock(session, call, clock_error_out);
}

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
		return tp_shell_start_own(session->engine, &session->record.guest, call, shell_out);
	return tp_shell_take(session->tmpl, call, waited, shell_out);
}

static struct torpor_error *check(const struct torpor_session *session,
	const struct tp_image *image, const struct tp_shell *shell)
{
	const char *version = tp_qmp_version(tp_guest_qmp(shell->guest));

	if (!image)
		return tp_restore_check_qemu(
			&session->tmpl->base->record, version, session->tmpl->name);
	return tp_restore_check(
		image, &session->record, shell->memory.base, version, session->name);
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

/* Gets a process and loads it. A shell that dies under the load is replaced once. */
static struct torpor_error *load_shell(struct torpor_session *session, const struct tp_image *image,
	const struct tp_call *call, struct torpor_resume_report *report,
	struct tp_shell **shell_out)
{
	for (;;) {
		struct tp_shell *shell;
		uint64_t start = tp_now_ns();
		bool waited = false;
		TP_TRY(get_shell(session, image, call, &waited, &shell));
		report->source = waited ? TORPOR_SOURCE_SHELL : TORPOR_SOURCE_SPAWN;
		report->shell_ns += waited ? 0 : tp_now_ns() - start;
		TP_PROBE3(
			wake__process, session->name, report->source, tp_guest_name(shell->guest));

		struct torpor_error *err = check(session, image, shell);
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
		tp_shell_free(shell);
		if (torpor_error_code(err) != TORPOR_E_QEMU || report->shells_replaced > 0)
			return err;
		report->shells_replaced++;
		tp_error_log(tp_error_in(err, "replace the shell of", session->name));
	}
}

static struct torpor_error *call_hook(
	tp_session_hook *hook, void *data, struct torpor_session *session)
{
	return hook ? hook(data, session) : NULL;
}

/* The loaded guest runs and becomes fresh. */
static struct torpor_error *run(struct torpor_session *session, uint32_t steps,
	const struct tp_session_hooks *hooks, uint64_t entered_ns, const struct tp_call *call,
	struct torpor_resume_report *report)
{
	static const struct tp_session_hooks none;
	const struct tp_session_hooks *h = hooks ? hooks : &none;
	uint64_t resumed_ns;

	TP_TRY(call_hook(h->on_loaded, h->data, session));
	TP_PROBE1(wake__placed, session->name);
	/* Written now, so that the time in it is as young as can be. */
	TP_TRY(tp_session_send_fresh(session, steps, call));
	TP_TRY(tp_guest_cont(session->guest, call, &resumed_ns));
	TP_PROBE2(wake__running, session->name, resumed_ns);
	report->running_ns = resumed_ns - entered_ns;
	TP_TRY(call_hook(h->on_running, h->data, session));
	TP_PROBE1(wake__submitted, session->name);
	TP_TRY(tp_session_wait_fresh(
		session, steps, call, &report->fresh, &report->clock_error_ns));
	TP_PROBE2(wake__fresh, session->name, report->fresh);
	if (session->helper)
		report->ready_ns = tp_now_ns() - entered_ns;
	return tp_watch(session);
}

/*
 * The same; a failure ends the guest. *DIED_OUT says that its process went by itself, so that
 * another one may do better.
 */
static struct torpor_error *run_or_end(struct torpor_session *session, uint32_t steps,
	const struct tp_session_hooks *hooks, uint64_t entered_ns, const struct tp_call *call,
	struct torpor_resume_report *report, bool *died_out)
{
	struct tp_call soon = tp_call_within(CLEANUP_TIMEOUT_NS);

	*died_out = false;
	struct torpor_error *err = tp_session_explain(session, session->guest,
		run(session, steps, hooks, entered_ns, call, report), call);
	if (!err)
		return NULL;
	struct pollfd end = {.fd = tp_guest_pidfd(session->guest), .events = POLLIN};
	*died_out = poll(&end, 1, 0) > 0;
	return tp_error_first(err, tp_session_end_guest(session, &soon));
}

/* From a warm guest, if one waits; *WOKEN_OUT says so. Those that are dead are passed over. */
static struct torpor_error *wake_warm(struct torpor_session *session, uint32_t steps,
	const struct tp_session_hooks *hooks, uint64_t entered_ns, const struct tp_call *call,
	struct torpor_resume_report *report, bool *woken_out)
{
	struct torpor_template *tmpl = session->tmpl;
	struct tp_shell *shell;

	while ((shell = tp_stock_take(tmpl, &tmpl->warm))) {
		bool died;
		*report = (struct torpor_resume_report){.source = TORPOR_SOURCE_WARM,
			.path = (enum torpor_path)shell->loaded_by,
			.loaded_ns = tp_now_ns() - entered_ns};
		TP_PROBE3(
			wake__process, session->name, report->source, tp_guest_name(shell->guest));
		take_shell(session, shell);
		tp_shell_free(shell);
		struct torpor_error *err =
			run_or_end(session, steps, hooks, entered_ns, call, report, &died);
		*woken_out = !err;
		if (!err || !died)
			return err;
		tp_error_log(tp_error_in(err, "replace the warm guest of", session->name));
		tp_watcher_tell(tmpl->engine->watcher, TORPOR_EVENT_STOCK, tmpl->name);
	}
	return NULL;
}

static struct torpor_error *wake_cold(struct torpor_session *session, const struct tp_image *image,
	uint32_t steps, const struct tp_session_hooks *hooks, uint64_t entered_ns,
	const struct tp_call *call, struct torpor_resume_report *report)
{
	TP_CLEANUP(tp_shell_free) struct tp_shell *shell = NULL;
	bool died;

	*report = (struct torpor_resume_report){0};
	if (image) {
		report->pages = tp_image_page_count(image);
		report->image_bytes = tp_image_file_bytes(image);
	}
	TP_TRY(load_shell(session, image, call, report, &shell));
	report->loaded_ns = tp_now_ns() - entered_ns;
	take_shell(session, shell);
	return run_or_end(session, steps, hooks, entered_ns, call, report, &died);
}

struct torpor_error *tp_session_wake(struct torpor_session *session, const struct tp_image *image,
	uint32_t steps, const struct tp_session_hooks *hooks, uint64_t entered_ns,
	const struct tp_call *call, struct torpor_resume_report *report_out)
{
	struct torpor_resume_report report;
	bool woken = false;

	TP_PROBE3(wake__begin, session->name, session->tmpl->name, image != NULL);
	/* Until it is confirmed; what goes on in the same place has its names. */
	session->owed = steps & ~TP_WAKE_STEPS;
	if (!image)
		TP_TRY(wake_warm(session, steps, hooks, entered_ns, call, &report, &woken));
	if (!woken)
		TP_TRY(wake_cold(session, image, steps, hooks, entered_ns, call, &report));
	session->owed = 0;
	session->entered_ns = entered_ns;
	tp_session_set_state(session, TORPOR_SESSION_RUNNING);
	TP_PROBE2(wake__ready, session->name, report.pages);
	*report_out = report;
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

	TP_TRY(tp_memfd(TP_MEMORY_MEMFD, config->memory_bytes, &ram_fd));
	struct tp_guest_spec spec = {
		.config = config,
		.name = name,
		.role = TP_ROLE_BOOT,
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
	TP_TRY(greet(session, call));
	TP_TRY(tp_watch(session));
	session->owed = 0;
	session->entered_ns = entered_ns;
	session->record.reboots++;
	pthread_mutex_lock(&session->info_lock);
	session->info.reboots = session->record.reboots;
	pthread_mutex_unlock(&session->info_lock);
	return NULL;
}
