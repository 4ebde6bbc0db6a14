/* SPDX-License-Identifier: Apache-2.0 */
/* Asking a QEMU that has no machine. */
#include "engine/inspect.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "engine/spawn.h"
#include "engine/strv.h"

#define OUTPUT_SIZE	(16 * TP_KIB)
#define OUTPUT_TAIL_MAX 1000
#define END_TIMEOUT_NS	(5 * TP_NSEC_PER_SEC)

static const char step[] = "ask QEMU";

struct tp_inspector {
	struct tp_spawner *spawner;
	struct tp_process process;
	struct tp_qmp *qmp;
	int output_fd;
};

/* ---- the process ---- */

static void build_args(
	const struct tp_direct_options *options, enum tp_accel accel, struct tp_strv *argv)
{
	static const char *const fixed[] = {
		"-nodefaults",
		"-no-user-config",
		"-display",
		"none",
		"-msg",
		"timestamp=off",
		"-machine",
		"none",
		"-mon",
		"chardev=qmp,mode=control",
		NULL,
	};

	tp_strv_add(argv, options->qemu ? options->qemu : TP_DEFAULT_QEMU);
	if (options->firmware_dir) {
		tp_strv_add(argv, "-L");
		tp_strv_add(argv, options->firmware_dir);
	}
	tp_strv_add(argv, "-accel");
	tp_strv_add(argv, tp_accel_name(accel));
	tp_strv_add(argv, "-chardev");
	tp_strv_addf(argv, "socket,id=qmp,fd=%d", TP_SPAWN_FIRST_FD);
	tp_strv_add_all(argv, fixed);
}

/* Starts QEMU with one end of a pair of sockets; the other is *FD_OUT. */
static struct torpor_error *spawn(struct tp_inspector *inspector,
	const struct tp_direct_options *options, enum tp_accel accel, const struct tp_call *call,
	int *fd_out)
{
	TP_STRV struct tp_strv argv = {0};
	int pair[2];

	build_args(options, accel, &argv);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return tp_error_errno(errno, "make sockets for", "QEMU");
	TP_FD int ours = pair[0];
	TP_FD int theirs = pair[1];
	struct tp_spawn_spec spec = {
		.argv = argv.v,
		.fds = &theirs,
		.n_fds = 1,
		.output_fd = inspector->output_fd,
		.bound = true,
		.record_fd = -1,
		.lock_fd = -1,
	};
	TP_TRY(tp_spawner_start(inspector->spawner, &spec, call, &inspector->process));
	*fd_out = TP_TAKE_FD(ours);
	return NULL;
}

/* QEMU's own words in place of the news that it has gone. */
static struct torpor_error *explain(struct tp_inspector *inspector, struct torpor_error *err)
{
	if (!err || torpor_error_code(err) != TORPOR_E_QEMU)
		return err;
	TP_FREE char *tail = tp_output_tail(inspector->output_fd, OUTPUT_TAIL_MAX);
	if (!*tail)
		return err;
	torpor_error_free(err);
	return tp_error(TORPOR_E_QEMU, step, NULL, "%s", tail);
}

/* A program that can't be started, or ends without a word, may not be QEMU at all. */
static struct torpor_error *doubt(struct torpor_error *err, const char *program)
{
	enum torpor_errc code = err ? torpor_error_code(err) : TORPOR_E_INTERNAL;

	if (code == TORPOR_E_NOT_FOUND || code == TORPOR_E_DENIED)
		return tp_error_hint(err, "Install qemu-system-x86, or name another QEMU.");
	if (code == TORPOR_E_QEMU)
		return tp_error_hint(tp_error_in(err, "run", program),
			"%s must be a QEMU system emulator for x86-64.", program);
	return err;
}

static struct torpor_error *start(struct tp_inspector *inspector,
	const struct tp_direct_options *options, enum tp_accel accel, const struct tp_call *call)
{
	const char *program = options->qemu ? options->qemu : TP_DEFAULT_QEMU;
	int qmp_fd = -1;

	TP_TRY(doubt(spawn(inspector, options, accel, call, &qmp_fd), program));
	struct torpor_error *err = tp_qmp_open(qmp_fd, "QEMU", call, &inspector->qmp);
	TP_FREE char *tail = tp_output_tail(inspector->output_fd, OUTPUT_TAIL_MAX);
	return *tail ? explain(inspector, err) : doubt(err, program);
}

struct torpor_error *tp_inspector_start(const struct tp_direct_options *options,
	enum tp_accel accel, const struct tp_call *call, struct tp_inspector **inspector_out)
{
	TP_CLEANUP(tp_inspector_end)
	struct tp_inspector *inspector = tp_calloc(1, sizeof(*inspector));

	inspector->process.pidfd = -1;
	inspector->output_fd = -1;
	TP_TRY(tp_output_new(OUTPUT_SIZE, &inspector->output_fd));
	TP_TRY(tp_spawner_new(options->exec_helper, &inspector->spawner));
	TP_TRY(start(inspector, options, accel, call));
	*inspector_out = TP_TAKE(inspector);
	return NULL;
}

struct tp_inspector *tp_inspector_end(struct tp_inspector *inspector)
{
	struct tp_call call = tp_call_within(END_TIMEOUT_NS);

	if (!inspector)
		return NULL;
	tp_qmp_close(inspector->qmp);
	if (inspector->process.pidfd >= 0)
		tp_error_log(tp_process_kill(&inspector->process, &call, NULL));
	tp_process_deinit(&inspector->process);
	tp_spawner_free(inspector->spawner);
	tp_close(inspector->output_fd);
	free(inspector);
	return NULL;
}

/* ---- questions ---- */

const char *tp_inspect_version(const struct tp_inspector *inspector)
{
	return tp_qmp_version(inspector->qmp);
}

struct torpor_error *tp_inspect(struct tp_inspector *inspector, const char *command, json_t *args,
	const struct tp_call *call, json_t **reply_out)
{
	return tp_qmp_execute(inspector->qmp, command, args, -1, call, reply_out);
}
