/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choosing a machine, and the QEMU for it.
 *
 * Beside the QEMU that runs everything there may be one that was built for microvm and KVM alone
 * (qemu-system-x86_64-microvm): half the memory for each process, and quicker to start. It is used
 * for microvm templates under KVM, where a kernel was seen to boot with it. The machine type
 * microvm has no versions, so a state goes to a QEMU of the very version that wrote it if there is
 * a choice.
 */
#include "pool/machine.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/accel.h"
#include "engine/kept.h"

/* One that doesn't even answer by then is of no use. */
#define ASK_TIMEOUT_NS (10 * TP_NSEC_PER_SEC)

void tp_qemu_use_deinit(struct tp_qemu_use *use)
{
	free(use->program);
	free(use->version);
	free(use->identity);
	*use = (struct tp_qemu_use){0};
}

/* --- Asking --- */

struct torpor_error *tp_machine_ask(struct torpor_engine *engine, const char *program,
	enum tp_accel accel, const struct tp_call *call, struct tp_qemu_info *info_out)
{
	struct tp_direct_options options = tp_engine_direct_options(engine);
	TP_FREE char *kept = tp_asprintf("%s/qemu.json", engine->state_dir);

	if (program)
		options.qemu = program;
	return tp_qemu_ask(&options, accel, kept, call, info_out);
}

struct torpor_error *tp_machine_resolve(struct torpor_engine *engine, const char *program,
	enum tp_accel accel, const char *cpu, const struct tp_call *call,
	struct tp_guest_config *config)
{
	TP_QEMU_INFO struct tp_qemu_info info = {0};
	TP_FREE char *machine_type = NULL;
	TP_FREE char *cpu_model = NULL;

	TP_TRY(tp_machine_ask(engine, program, accel, call, &info));
	TP_TRY(tp_qemu_machine(&info, tp_machine_name(config->machine), &machine_type));
	TP_TRY(cpu ? tp_qemu_cpu_resolve(&info, cpu, config->machine, &cpu_model)
		   : tp_qemu_cpu_choose(&info, &cpu_model));
	free(config->machine_type);
	free(config->cpu_model);
	free(config->qemu_version);
	config->machine_type = TP_TAKE(machine_type);
	config->cpu_model = TP_TAKE(cpu_model);
	config->qemu_version = tp_strdup(info.version);
	config->accel = accel;
	return NULL;
}

/* --- Proving --- */

struct torpor_error *tp_machine_prove(struct torpor_engine *engine, const char *program,
	uint32_t traits, const struct tp_guest_config *config, const struct tp_boot_files *files,
	const struct tp_call *call, char **why_not_out)
{
	TP_FREE char *cache = tp_asprintf("%s/accel.json", engine->state_dir);
	TP_ACCEL_RESULT struct tp_accel_result result = {0};
	struct tp_accel_probe probe = {
		.config = config,
		.program = program,
		.traits = traits,
		.kernel = files->kernel,
		.initrd = files->initrd,
		.append = files->append,
	};

	TP_TRY(tp_accel_prove(
		engine->launcher, program ? program : engine->qemu, &probe, cache, call, &result));
	*why_not_out = result.ok ? NULL : TP_TAKE(result.why_not);
	return NULL;
}

struct torpor_error *tp_machine_try_kvm(struct torpor_engine *engine, const char *program,
	const struct tp_boot_files *files, const char *cpu, const struct tp_call *call,
	struct tp_guest_config *config, char **why_not_out)
{
	TP_QEMU_INFO struct tp_qemu_info info = {0};
	struct torpor_error *err =
		tp_machine_resolve(engine, program, TP_ACCEL_KVM, cpu, call, config);

	if (err && torpor_error_code(err) == TORPOR_E_QEMU) {
		*why_not_out = tp_strdup(torpor_error_message(err));
		torpor_error_free(err);
		return NULL;
	}
	if (err)
		return err;
	TP_TRY(tp_machine_ask(engine, program, TP_ACCEL_KVM, call, &info));
	return tp_machine_prove(engine, program, info.traits, config, files, call, why_not_out);
}

/* --- Does it fit? --- */

void tp_machine_fit_deinit(struct tp_machine_fit *fit)
{
	free(fit->qemu);
	free(fit->machine);
	free(fit->cpu);
	*fit = (struct tp_machine_fit){0};
}

void tp_machine_look(const struct tp_guest_config *config, const struct tp_qemu_info *info,
	struct tp_machine_fit *fit_out)
{
	TP_FREE char *machine_type = NULL;
	TP_ERROR struct torpor_error *unknown =
		tp_qemu_machine(info, config->machine_type, &machine_type);

	*fit_out = (struct tp_machine_fit){
		.qemu = tp_qemu_version_why_not(
			config->machine, info->version, config->qemu_version),
		.machine = unknown ? tp_asprintf("QEMU %s has no machine type %s", info->version,
					     config->machine_type)
				   : NULL,
		.cpu = tp_qemu_cpu_why_not(info, config->cpu_model),
	};
}

char *tp_machine_fit_text(const struct tp_machine_fit *fit, const struct tp_guest_config *config)
{
	/* A machine type that is newer than QEMU says more than the version alone. */
	if (fit->machine || fit->qemu)
		return tp_strdup(fit->machine ? fit->machine : fit->qemu);
	return fit->cpu ? tp_asprintf("CPU model %s: %s", config->cpu_model, fit->cpu) : NULL;
}

/* The first thing that speaks against it, as an error; NULL if nothing does. */
static struct torpor_error *refuse(
	const struct tp_machine_fit *fit, const struct tp_guest_config *config, const char *object)
{
	TP_FREE char *why = tp_machine_fit_text(fit, config);

	if (!why)
		return NULL;
	struct torpor_error *err =
		tp_error(TORPOR_E_MISMATCH, "find a QEMU for", object, "%s", why);
	if (!fit->machine && !fit->qemu)
		return tp_error_hint(
			err, "Use a host that has it, or build the template anew on this one.");
	return tp_error_hint(err, "Use QEMU %s%s, or build the template anew with this one.",
		config->qemu_version, config->machine == TP_MACHINE_MICROVM ? "" : " or newer");
}

struct torpor_error *tp_machine_check(struct torpor_engine *engine, const char *program,
	const struct tp_guest_config *config, const char *object, const struct tp_call *call)
{
	TP_QEMU_INFO struct tp_qemu_info info = {0};
	TP_MACHINE_FIT struct tp_machine_fit fit = {0};

	TP_TRY(tp_machine_ask(engine, program, config->accel, call, &info));
	tp_machine_look(config, &info, &fit);
	return refuse(&fit, config, object);
}

/* --- The QEMU for it --- */

const char *tp_machine_small_qemu(const struct torpor_engine *engine, enum tp_machine machine)
{
	return machine == TP_MACHINE_MICROVM ? engine->qemu_microvm : NULL;
}

static struct torpor_error *use_of(struct torpor_engine *engine, const char *program,
	const struct tp_guest_config *config, const struct tp_qemu_info *info,
	struct tp_qemu_use *use_out)
{
	TP_FREE char *identity = NULL;

	TP_TRY(tp_program_identity(program ? program : engine->qemu, &identity));
	*use_out = (struct tp_qemu_use){
		.program = tp_strdup(program),
		.version = tp_strdup(info->version),
		.traits = info->traits,
		.identity = TP_TAKE(identity),
		.portable = tp_qemu_cpu_portable(info, config->cpu_model),
	};
	return NULL;
}

/*
 * Whether the small QEMU is to run CONFIG; then *USE_OUT is set. MUST: the engine's own can't, so
 * another version does, too. A small QEMU that doesn't do is no failure.
 */
static struct torpor_error *try_small(struct torpor_engine *engine,
	const struct tp_guest_config *config, const struct tp_boot_files *files, bool must,
	const struct tp_call *call, struct tp_qemu_use *use_out)
{
	const char *program = tp_machine_small_qemu(engine, config->machine);
	TP_QEMU_INFO struct tp_qemu_info info = {0};
	TP_MACHINE_FIT struct tp_machine_fit fit = {0};
	TP_FREE char *why_not = NULL;

	struct tp_call soon = tp_call_bounded(call, ASK_TIMEOUT_NS);

	if (!program || config->accel != TP_ACCEL_KVM || !files->kernel)
		return NULL;
	TP_ERROR struct torpor_error *broken =
		tp_machine_ask(engine, program, TP_ACCEL_KVM, &soon, &info);
	if (broken) {
		tp_log(TP_LOG_DEBUG, "%s isn't used: %s", program, torpor_error_message(broken));
		return tp_call_check(call, "ask", program);
	}
	tp_machine_look(config, &info, &fit);
	if (fit.qemu || fit.machine || fit.cpu ||
		(!must && strcmp(info.version, config->qemu_version) != 0))
		return NULL;
	TP_TRY(tp_machine_prove(engine, program, info.traits, config, files, call, &why_not));
	if (!why_not)
		return use_of(engine, program, config, &info, use_out);
	tp_log(TP_LOG_INFO, "%s isn't used: %s", program, why_not);
	return NULL;
}

struct torpor_error *tp_machine_find_qemu(struct torpor_engine *engine,
	const struct tp_guest_config *config, const struct tp_boot_files *files, const char *object,
	const struct tp_call *call, struct tp_qemu_use *use_out)
{
	TP_QEMU_INFO struct tp_qemu_info info = {0};
	TP_MACHINE_FIT struct tp_machine_fit fit = {0};
	struct tp_qemu_use small = {0};
	struct torpor_error *err = tp_machine_ask(engine, NULL, config->accel, call, &info);

	if (!err) {
		tp_machine_look(config, &info, &fit);
		err = refuse(&fit, config, object);
	}
	struct torpor_error *over = try_small(engine, config, files, err != NULL, call, &small);
	if (over)
		return tp_error_first(over, err);
	if (small.version) {
		torpor_error_free(err);
		*use_out = small;
		return NULL;
	}
	if (err)
		return err;
	return use_of(engine, NULL, config, &info, use_out);
}
