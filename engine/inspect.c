/* SPDX-License-Identifier: Apache-2.0 */
/* Asking a QEMU that has no machine. */
#include "engine/inspect.h"

#include <errno.h>
#include <string.h>
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

static struct torpor_error *ask(struct tp_inspector *inspector, const char *command,
	const struct tp_call *call, json_t **reply_out)
{
	return tp_qmp_execute(inspector->qmp, command, NULL, -1, call, reply_out);
}

/* The entry of a list whose member KEY is VALUE, borrowed, or NULL. */
static json_t *entry_with(json_t *list, const char *key, const char *value)
{
	json_t *entry;
	size_t i;

	json_array_foreach (list, i, entry) {
		const char *found = json_string_value(json_object_get(entry, key));
		if (found && strcmp(found, value) == 0)
			return entry;
	}
	return NULL;
}

struct torpor_error *tp_inspect_machine(struct tp_inspector *inspector, const char *alias,
	const struct tp_call *call, char **machine_type_out)
{
	json_t *machines;
	struct torpor_error *err = NULL;

	TP_TRY(ask(inspector, "query-machines", call, &machines));
	json_t *machine = entry_with(machines, "name", alias);
	if (!machine)
		machine = entry_with(machines, "alias", alias);
	const char *name = json_string_value(json_object_get(machine, "name"));
	if (name)
		*machine_type_out = tp_strdup(name);
	else
		err = tp_error(TORPOR_E_UNSUPPORTED, "look up machine", alias,
			"this QEMU has none of that name");
	json_decref(machines);
	return err;
}

struct torpor_error *tp_inspect_cpu(
	struct tp_inspector *inspector, const struct tp_call *call, char **cpu_model_out)
{
	json_t *definitions;

	TP_TRY(ask(inspector, "query-cpu-definitions", call, &definitions));
	struct torpor_error *err = tp_cpu_choose(definitions, cpu_model_out);
	json_decref(definitions);
	return err;
}

/* MODEL less the features in MISSING, an array of strings. */
static char *model_without(const char *model, json_t *missing)
{
	char *edited = tp_strdup(model);
	json_t *feature;
	size_t i;

	json_array_foreach (missing, i, feature) {
		const char *name = json_string_value(feature);
		char *longer = tp_asprintf("%s,-%s", edited, name ? name : "");
		free(edited);
		edited = longer;
	}
	return edited;
}

struct torpor_error *tp_cpu_choose(json_t *definitions, char **cpu_model_out)
{
	static const char *const wanted[] = {"Westmere-v1", "Nehalem-v1", "qemu64-v1"};
	json_t *missing = NULL;

	for (size_t i = 0; i < TP_ARRAY_LEN(wanted); i++) {
		json_t *model = entry_with(definitions, "name", wanted[i]);
		missing = json_object_get(model, "unavailable-features");
		if (json_is_array(missing) && json_array_size(missing) == 0) {
			*cpu_model_out = tp_strdup(wanted[i]);
			return NULL;
		}
	}
	/* The last one is the smallest. What it lacks is left out, in a name that must be sound. */
	const char *smallest = wanted[TP_ARRAY_LEN(wanted) - 1];
	if (!json_is_array(missing))
		return tp_error(TORPOR_E_UNSUPPORTED, "choose a CPU model", NULL,
			"this QEMU has no %s or doesn't say what the host lacks for it", smallest);
	TP_FREE char *model = model_without(smallest, missing);
	if (!tp_cpu_model_ok(model))
		return tp_error(TORPOR_E_UNSUPPORTED, "choose a CPU model", NULL,
			"the host lacks too much for %s", smallest);
	*cpu_model_out = TP_TAKE(model);
	return NULL;
}
