/* SPDX-License-Identifier: Apache-2.0 */
/* What all launchers have in common: checks before, errors and ends of guests after. */
#include "engine/launcher.h"

#include <errno.h>
#include <poll.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/probe.h"

/* How long an end is waited for where the caller gave no time. */
#define END_TIMEOUT_NS (5 * TP_NSEC_PER_SEC)
/* QEMU's socket closes a moment before the process ends. */
#define EXIT_TIMEOUT_NS (2 * TP_NSEC_PER_SEC)
/* libvirtd tells of it when it has put its own things in order. */
#define DRAIN_TIMEOUT_NS (5 * TP_NSEC_PER_SEC)

static struct torpor_error *check_spec(const struct tp_guest_spec *spec)
{
	bool boots = spec->kernel || spec->initrd || spec->append;

	if (!tp_guest_name_ok(spec->name))
		return tp_error(TORPOR_E_INVALID, "start guest", NULL, "its name is malformed");
	TP_TRY(tp_error_in(tp_guest_config_check(spec->config), "start", spec->name));
	if (spec->role == TP_ROLE_INCOMING && boots)
		return tp_error(TORPOR_E_INVALID, "start", spec->name,
			"a guest that loads a state has no kernel to boot");
	if (spec->ram_fd < 0)
		return tp_error(TORPOR_E_INVALID, "start", spec->name, "it has no memory");
	return NULL;
}

struct torpor_error *tp_launcher_start(struct tp_launcher *launcher,
	const struct tp_guest_spec *spec, const struct tp_call *call, struct tp_guest **guest_out)
{
	TP_TRY(check_spec(spec));
	TP_TRY(launcher->ops->start(launcher, spec, call, guest_out));
	(*guest_out)->traits = spec->traits;
	return NULL;
}

struct torpor_error *tp_launcher_find(struct tp_launcher *launcher, const char *name,
	const struct tp_call *call, struct tp_guest **guest_out)
{
	if (!tp_guest_name_ok(name))
		return tp_error(TORPOR_E_INVALID, "find guest", NULL, "its name is malformed");
	return launcher->ops->find(launcher, name, call, guest_out);
}

struct torpor_error *tp_launcher_end(struct tp_launcher *launcher, const char *name, pid_t pid,
	uint64_t start_time, const struct tp_call *call)
{
	if (!tp_guest_name_ok(name))
		return tp_error(TORPOR_E_INVALID, "end guest", NULL, "its name is malformed");
	return tp_error_in(
		launcher->ops->end(launcher, name, pid, start_time, call), "end guest", name);
}

/* Whether it was there to be ended; one that has ended or has an owner is none. */
static bool end_orphan(struct tp_launcher *launcher, const char *name, const struct tp_call *call)
{
	struct torpor_error *err = tp_launcher_end(launcher, name, 0, 0, call);

	if (!err)
		return true;
	if (torpor_error_code(err) == TORPOR_E_NOT_FOUND || torpor_error_code(err) == TORPOR_E_BUSY)
		torpor_error_free(err);
	else
		tp_error_log(err);
	return false;
}

struct torpor_error *tp_launcher_end_orphans(struct tp_launcher *launcher,
	bool (*keep)(void *data, const char *name), void *data, const struct tp_call *call,
	unsigned int *count_out)
{
	unsigned int count = 0;
	char **names;
	size_t n;

	TP_TRY(launcher->ops->list(launcher, &names, &n));
	for (size_t i = 0; i < n; i++) {
		if (!keep(data, names[i]))
			count += end_orphan(launcher, names[i], call);
		free(names[i]);
	}
	free(names);
	*count_out = count;
	return NULL;
}

struct torpor_error *tp_launcher_sweep(struct tp_launcher *launcher, const struct tp_call *call)
{
	return launcher->ops->sweep(launcher, call);
}

bool tp_launcher_has_limits(const struct tp_launcher *launcher)
{
	return launcher->ops->limit;
}

void tp_launcher_on_stir(struct tp_launcher *launcher, tp_stir_fn *stir, void *data)
{
	if (launcher->ops->on_stir)
		launcher->ops->on_stir(launcher, stir, data);
}

struct tp_launcher *tp_launcher_free(struct tp_launcher *launcher)
{
	if (launcher)
		launcher->ops->free(launcher);
	return NULL;
}

const char *tp_guest_name(const struct tp_guest *guest)
{
	return guest->name;
}

struct tp_qmp *tp_guest_qmp(struct tp_guest *guest)
{
	return guest->qmp;
}

pid_t tp_guest_pid(const struct tp_guest *guest)
{
	return guest->process.pid;
}

uint64_t tp_guest_start_time(const struct tp_guest *guest)
{
	return guest->process.start_time;
}

int tp_guest_pidfd(const struct tp_guest *guest)
{
	return guest->process.pidfd;
}

struct tp_agent *tp_guest_agent(struct tp_guest *guest)
{
	return guest->agent;
}

int tp_guest_take_helper_fd(struct tp_guest *guest)
{
	return TP_TAKE_FD(guest->helper_fd);
}

void tp_guest_describe(struct tp_guest *guest, const struct tp_guest_label *label)
{
	if (guest->launcher->ops->describe)
		guest->launcher->ops->describe(guest, label);
}

struct torpor_error *tp_guest_limit(
	struct tp_guest *guest, const struct tp_limits *limits, json_t **unenforced_out)
{
	if (!guest->launcher->ops->limit)
		return tp_error(
			TORPOR_E_UNSUPPORTED, "limit", guest->name, "its launcher has no limits");
	return guest->launcher->ops->limit(guest, limits, unenforced_out);
}

/* ---- how it ended ---- */

void tp_guest_exit_deinit(struct tp_guest_exit *how)
{
	free(how->shutdown_reason);
	free(how->output_tail);
	*how = (struct tp_guest_exit){0};
}

/* All that QEMU said before it ended: through libvirt it may still be on its way. */
static void drain_to_end(struct tp_qmp *qmp)
{
	struct tp_call soon = tp_call_within(DRAIN_TIMEOUT_NS);

	torpor_error_free(tp_qmp_drain_to_end(qmp, &soon));
}

struct torpor_error *tp_guest_exit_reason(struct tp_guest *guest, struct tp_guest_exit *how_out)
{
	if (!tp_process_ended(&guest->process))
		return tp_error(TORPOR_E_BUSY, "ask for the end of", guest->name, "it runs");
	if (guest->exit_status < 0)
		guest->exit_status = tp_process_reap(&guest->process);
	if (guest->qmp)
		drain_to_end(guest->qmp);
	const char *reason = guest->qmp ? tp_qmp_shutdown_reason(guest->qmp) : NULL;
	*how_out = (struct tp_guest_exit){
		.status = guest->exit_status,
		.shutdown_reason = tp_strdup(reason),
		.output_tail = guest->launcher->ops->output_tail(guest),
	};
	return NULL;
}

char *tp_guest_exit_text(const struct tp_guest_exit *how)
{
	TP_FREE char *status = tp_strdup("");

	if (how->status >= 0) {
		free(status);
		status = WIFSIGNALED(how->status)
				 ? tp_asprintf(" by signal %d", WTERMSIG(how->status))
				 : tp_asprintf(" with status %d", WEXITSTATUS(how->status));
	}
	return tp_asprintf("QEMU ended%s%s%s%s%s", status, how->shutdown_reason ? " after " : "",
		how->shutdown_reason ? how->shutdown_reason : "", *how->output_tail ? ": " : "",
		how->output_tail);
}

struct torpor_error *tp_guest_explain(struct tp_guest *guest, struct torpor_error *err,
	const char *step, const struct tp_call *call)
{
	struct tp_call soon = tp_call_bounded(call, EXIT_TIMEOUT_NS);
	TP_GUEST_EXIT struct tp_guest_exit how = {0};

	if (!err || torpor_error_code(err) != TORPOR_E_QEMU)
		return err;
	/* A process that ends has lost its memory before its sockets. */
	int errnum = torpor_error_errno(err);
	bool ends = errnum == ESRCH || errnum == ENOENT || !guest->qmp || tp_qmp_closed(guest->qmp);
	if (!ends)
		return err;
	struct torpor_error *unknown =
		tp_wait_fd(guest->process.pidfd, POLLIN, &soon, "wait for the end of", guest->name);
	if (!unknown)
		unknown = tp_guest_exit_reason(guest, &how);
	if (unknown) {
		torpor_error_free(unknown);
		return err;
	}
	torpor_error_free(err);
	TP_FREE char *why = tp_guest_exit_text(&how);
	return tp_error(TORPOR_E_QEMU, step, guest->name, "%s", why);
}

struct torpor_error *tp_guest_execute(struct tp_guest *guest, const char *command, json_t *args,
	int pass_fd, const struct tp_call *call, json_t **return_out)
{
	TP_PROBE2(qmp__command, guest->name, command);
	struct torpor_error *err =
		tp_qmp_execute(guest->qmp, command, args, pass_fd, call, return_out);

	TP_PROBE2(qmp__answer, guest->name, command);
	return tp_guest_explain(guest, err, command, call);
}

struct torpor_error *tp_guest_wait_event(struct tp_guest *guest, const char *const *names,
	const struct tp_call *call, struct tp_qmp_event *event_out)
{
	struct torpor_error *err = tp_qmp_wait_event(guest->qmp, names, call, event_out);

	return tp_guest_explain(guest, err, "run", call);
}

/* ---- its end ---- */

static void let_go(struct tp_guest *guest, bool ended)
{
	/* Our ends first: whoever finds the guest next gets on only when they are closed. */
	tp_qmp_close(guest->qmp);
	tp_agent_close(guest->agent);
	tp_close(guest->helper_fd);
	guest->launcher->ops->let_go(guest, ended);
	tp_process_deinit(&guest->process);
	free(guest->name);
	free(guest);
}

struct torpor_error *tp_guest_end(struct tp_guest *guest, const struct tp_call *call)
{
	if (!guest)
		return NULL;
	struct torpor_error *err = guest->launcher->ops->quit
					   ? guest->launcher->ops->quit(guest, call)
					   : tp_process_kill(&guest->process, call, NULL);
	err = tp_error_in(err, "end", guest->name);
	let_go(guest, !err);
	return err;
}

struct torpor_error *tp_guest_release(struct tp_guest *guest)
{
	if (guest->bound)
		return tp_error(TORPOR_E_INVALID, "release", guest->name,
			"it is bound to this process and would end with it");
	let_go(guest, false);
	return NULL;
}

struct tp_guest *tp_guest_free(struct tp_guest *guest)
{
	struct tp_call call = tp_call_within(END_TIMEOUT_NS);

	tp_error_log(tp_guest_end(guest, &call));
	return NULL;
}
