/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU as a child process.
 *
 * The sockets are bound and listening before QEMU exists, and QEMU inherits them: connecting
 * succeeds at once and the first answer is waited for on the connection itself, so that nothing
 * is polled for. When QEMU ends early its copies of the sockets close, and with them our
 * connections, which is how that is noticed.
 */
#include "engine/direct.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/rundir.h"

#define DEFAULT_QEMU	"qemu-system-x86_64"
#define OUTPUT_SIZE	(64 * TP_KIB)
#define OUTPUT_TAIL_MAX 1000

struct direct_launcher {
	struct tp_launcher base;
	char *qemu;
	char *firmware_dir; /* or NULL */
	bool bound;
	int run_dir_fd;
	struct tp_spawner *spawner;
};

struct direct_guest {
	struct tp_guest base;
	int dir_fd;    /* holds the lock */
	int output_fd; /* what QEMU wrote; -1 where it can't be read (found, and not ours to look
			  into) */
};

static struct direct_launcher *direct_of(struct tp_launcher *launcher)
{
	return (struct direct_launcher *)launcher;
}

/* ---- starting ---- */

/* The listening ends, from their making until QEMU has them. */
struct listeners {
	int qmp;
	int agent;
	int helper;
};

static void listeners_close(struct listeners *l)
{
	l->qmp = tp_close(l->qmp);
	l->agent = tp_close(l->agent);
	l->helper = tp_close(l->helper);
}

/* One socket with our connection already in its backlog. */
static struct torpor_error *listen_and_connect(
	int dir_fd, const char *socket, const char *name, int *listener_out, int *connected_out)
{
	TP_FD int listener = -1;

	TP_TRY(tp_rundir_listen(dir_fd, socket, name, &listener));
	TP_TRY(tp_rundir_connect(dir_fd, socket, name, connected_out));
	*listener_out = TP_TAKE_FD(listener);
	return NULL;
}

/* On failure what was opened is in L and GUEST all the same. */
static struct torpor_error *make_sockets(
	struct direct_guest *guest, bool channels, struct listeners *l, int *qmp_fd_out)
{
	const char *name = guest->base.name;
	int agent_fd = -1;

	TP_TRY(listen_and_connect(guest->dir_fd, "qmp", name, &l->qmp, qmp_fd_out));
	if (!channels)
		return NULL;
	TP_TRY(listen_and_connect(guest->dir_fd, "agent", name, &l->agent, &agent_fd));
	guest->base.agent = tp_agent_open(agent_fd, name);
	return listen_and_connect(
		guest->dir_fd, "helper", name, &l->helper, &guest->base.helper_fd);
}

/* The descriptors QEMU gets. */
struct handed {
	int fds[5]; /* RAM, QMP, agent, helper, console */
	size_t n;
};

/* Hands FD over, unless it is -1; its number in QEMU, or -1. */
static int hand_over(struct handed *h, int fd)
{
	if (fd < 0)
		return -1;
	assert(h->n < TP_ARRAY_LEN(h->fds));
	h->fds[h->n] = fd;
	return TP_SPAWN_FIRST_FD + (int)h->n++;
}

/* Builds the command line and starts it: afterwards guest->base.process is set. */
static struct torpor_error *spawn(struct direct_launcher *launcher, struct direct_guest *guest,
	const struct tp_guest_spec *spec, const struct listeners *l, const struct tp_call *call)
{
	TP_STRV struct tp_strv argv = {0};
	TP_FD int record_fd = -1;
	struct handed handed = {.n = 0};
	struct tp_qemu_args args = {
		.program = spec->program ? spec->program : launcher->qemu,
		.traits = spec->traits,
		.guest_name = spec->name,
		.firmware_dir = launcher->firmware_dir,
		.role = spec->role,
		.kernel = spec->kernel,
		.initrd = spec->initrd,
		.append = spec->append,
		.ram_shared = spec->ram_shared,
	};

	args.ram_fd = hand_over(&handed, spec->ram_fd);
	args.qmp_fd = hand_over(&handed, l->qmp);
	args.agent_fd = hand_over(&handed, l->agent);
	args.helper_fd = hand_over(&handed, l->helper);
	args.console_fd = hand_over(&handed, spec->console_fd);
	TP_TRY(tp_rundir_record(guest->dir_fd, spec->name, &record_fd));
	tp_qemu_args_build(spec->config, &args, &argv);
	struct tp_spawn_spec what = {
		.argv = argv.v,
		.fds = handed.fds,
		.n_fds = handed.n,
		.output_fd = guest->output_fd,
		.bound = launcher->bound,
		.record_fd = record_fd,
		.lock_fd = guest->dir_fd,
	};
	return tp_spawner_start(launcher->spawner, &what, call, &guest->base.process);
}

/* Everything but the directory and the output, which GUEST has already. */
static struct torpor_error *start_in(struct direct_launcher *launcher, struct direct_guest *guest,
	const struct tp_guest_spec *spec, const struct tp_call *call)
{
	__attribute__((cleanup(listeners_close))) struct listeners l = {-1, -1, -1};
	TP_FD int qmp_fd = -1;

	TP_TRY(make_sockets(guest, spec->config->channels, &l, &qmp_fd));
	TP_TRY(spawn(launcher, guest, spec, &l, call));
	/* Now QEMU's are the only ones. */
	listeners_close(&l);
	struct torpor_error *err =
		tp_qmp_open(TP_TAKE_FD(qmp_fd), spec->name, call, &guest->base.qmp);
	return tp_guest_explain(&guest->base, err, "run", call);
}

static struct direct_guest *guest_new(struct direct_launcher *launcher, const char *name)
{
	struct direct_guest *guest = tp_calloc(1, sizeof(*guest));

	guest->base.launcher = &launcher->base;
	guest->base.name = tp_strdup(name);
	guest->base.bound = launcher->bound;
	guest->base.process.pidfd = -1;
	guest->base.helper_fd = -1;
	guest->base.exit_status = -1;
	guest->dir_fd = -1;
	guest->output_fd = -1;
	return guest;
}

/* A guest whose start failed: wherever it got to, nothing stays. */
static void undo_start(struct direct_launcher *launcher, struct direct_guest *guest)
{
	struct tp_guest *base = &guest->base;

	if (base->process.pidfd >= 0) {
		tp_guest_free(base);
		return;
	}
	tp_agent_close(base->agent);
	tp_close(base->helper_fd);
	if (guest->dir_fd >= 0)
		tp_rundir_remove(launcher->run_dir_fd, base->name, guest->dir_fd);
	tp_close(guest->dir_fd);
	tp_close(guest->output_fd);
	free(base->name);
	free(guest);
}

static struct torpor_error *direct_start(struct tp_launcher *base, const struct tp_guest_spec *spec,
	const struct tp_call *call, struct tp_guest **guest_out)
{
	struct direct_launcher *launcher = direct_of(base);
	struct direct_guest *guest = guest_new(launcher, spec->name);

	struct torpor_error *err =
		tp_rundir_create(launcher->run_dir_fd, spec->name, &guest->dir_fd);
	if (!err)
		err = tp_output_new(OUTPUT_SIZE, &guest->output_fd);
	if (!err)
		err = start_in(launcher, guest, spec, call);
	if (err) {
		undo_start(launcher, guest);
		return tp_error_in(err, "start guest", spec->name);
	}
	*guest_out = &guest->base;
	return NULL;
}

/* ---- finding ---- */

/* QEMU's standard error is a memfd that can be opened again; -1 if that isn't permitted. */
static int open_output(pid_t pid)
{
	TP_FREE char *path = tp_asprintf("/proc/%ld/fd/2", (long)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		tp_log(TP_LOG_DEBUG, "open %s: %m", path);
	return fd;
}

/* A guest without channels has no such sockets. */
static struct torpor_error *connect_channels(struct direct_guest *guest)
{
	const char *name = guest->base.name;
	int agent_fd;

	if (faccessat(guest->dir_fd, "agent", F_OK, 0) < 0)
		return NULL;
	TP_TRY(tp_rundir_connect(guest->dir_fd, "agent", name, &agent_fd));
	guest->base.agent = tp_agent_open(agent_fd, name);
	return tp_rundir_connect(guest->dir_fd, "helper", name, &guest->base.helper_fd);
}

static struct torpor_error *find_in(
	struct direct_launcher *launcher, struct direct_guest *guest, const struct tp_call *call)
{
	const char *name = guest->base.name;
	int qmp_fd;

	TP_TRY(tp_rundir_lock(launcher->run_dir_fd, name, &guest->dir_fd));
	TP_TRY(tp_rundir_open_process(guest->dir_fd, name, 0, 0, &guest->base.process));
	guest->output_fd = open_output(guest->base.process.pid);
	TP_TRY(tp_rundir_connect(guest->dir_fd, "qmp", name, &qmp_fd));
	TP_TRY(tp_qmp_open(qmp_fd, name, call, &guest->base.qmp));
	return connect_channels(guest);
}

/* Closes all; the guest, if there is one, goes on. */
static void undo_find(struct direct_guest *guest)
{
	tp_qmp_close(guest->base.qmp);
	tp_agent_close(guest->base.agent);
	tp_close(guest->base.helper_fd);
	tp_process_deinit(&guest->base.process);
	tp_close(guest->output_fd);
	tp_close(guest->dir_fd);
	free(guest->base.name);
	free(guest);
}

static struct torpor_error *direct_find(struct tp_launcher *base, const char *name,
	const struct tp_call *call, struct tp_guest **guest_out)
{
	struct direct_launcher *launcher = direct_of(base);
	struct direct_guest *guest = guest_new(launcher, name);

	/* Found guests were started by others, and outlive us if they are released. */
	guest->base.bound = false;
	struct torpor_error *err = find_in(launcher, guest, call);
	if (err) {
		undo_find(guest);
		return tp_error_in(err, "find guest", name);
	}
	*guest_out = &guest->base;
	return NULL;
}

/* ---- ending others' ---- */

static struct torpor_error *direct_end(struct tp_launcher *base, const char *name, pid_t pid,
	uint64_t start_time, const struct tp_call *call)
{
	struct direct_launcher *launcher = direct_of(base);
	TP_FD int dir_fd = -1;
	struct tp_process process;

	TP_TRY(tp_rundir_lock(launcher->run_dir_fd, name, &dir_fd));
	TP_TRY(tp_rundir_open_process(dir_fd, name, pid, start_time, &process));
	struct torpor_error *err = tp_process_kill(&process, call, NULL);
	if (!err)
		tp_rundir_remove(launcher->run_dir_fd, name, dir_fd);
	tp_process_deinit(&process);
	return err;
}

static struct torpor_error *direct_list(struct tp_launcher *base, char ***names_out, size_t *n_out)
{
	return tp_rundir_list(direct_of(base)->run_dir_fd, names_out, n_out);
}

/* ---- the rest ---- */

static void direct_let_go(struct tp_guest *base, bool ended)
{
	struct direct_guest *guest = (struct direct_guest *)base;
	struct direct_launcher *launcher = direct_of(base->launcher);

	if (ended)
		tp_rundir_remove(launcher->run_dir_fd, base->name, guest->dir_fd);
	else
		tp_spawner_disown(launcher->spawner, &base->process);
	tp_close(guest->dir_fd);
	tp_close(guest->output_fd);
}

static char *direct_output_tail(struct tp_guest *base)
{
	struct direct_guest *guest = (struct direct_guest *)base;

	if (guest->output_fd < 0)
		return tp_strdup("");
	return tp_output_tail(guest->output_fd, OUTPUT_TAIL_MAX);
}

static struct torpor_error *direct_sweep(struct tp_launcher *base, const struct tp_call *call)
{
	return tp_rundir_sweep(direct_of(base)->run_dir_fd, call);
}

static void direct_free(struct tp_launcher *base)
{
	struct direct_launcher *launcher = direct_of(base);

	tp_spawner_free(launcher->spawner);
	tp_close(launcher->run_dir_fd);
	free(launcher->qemu);
	free(launcher->firmware_dir);
	free(launcher);
}

static const struct tp_launcher_ops direct_ops = {
	.start = direct_start,
	.find = direct_find,
	.end = direct_end,
	.list = direct_list,
	.sweep = direct_sweep,
	.free = direct_free,
	.let_go = direct_let_go,
	.output_tail = direct_output_tail,
};

struct torpor_error *tp_direct_launcher_new(
	const struct tp_direct_options *options, struct tp_launcher **launcher_out)
{
	TP_CLEANUP(tp_spawner_free) struct tp_spawner *spawner = NULL;
	TP_FD int run_dir_fd = -1;

	TP_TRY(tp_rundir_open(options->run_dir, &run_dir_fd));
	TP_TRY(tp_spawner_new(options->exec_helper, &spawner));
	struct direct_launcher *launcher = tp_calloc(1, sizeof(*launcher));
	launcher->base.ops = &direct_ops;
	launcher->qemu = tp_strdup(options->qemu ? options->qemu : TP_DEFAULT_QEMU);
	launcher->firmware_dir = tp_strdup(options->firmware_dir);
	launcher->bound = options->bound;
	launcher->run_dir_fd = TP_TAKE_FD(run_dir_fd);
	launcher->spawner = TP_TAKE(spawner);
	*launcher_out = &launcher->base;
	return NULL;
}
