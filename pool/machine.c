/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing a machine. */
#include "pool/machine.h"

#include "base/mem.h"
#include "engine/accel.h"
#include "engine/inspect.h"

struct torpor_error *tp_machine_resolve(struct torpor_engine *engine, enum tp_accel accel,
	const char *cpu, const struct tp_call *call, struct tp_guest_config *config)
{
	struct tp_direct_options options = tp_engine_direct_options(engine);
	TP_CLEANUP(tp_inspector_end) struct tp_inspector *inspector = NULL;
	TP_FREE char *machine_type = NULL;
	TP_FREE char *cpu_model = tp_strdup(cpu);

	TP_TRY(tp_inspector_start(&options, accel, call, &inspector));
	TP_TRY(tp_inspect_machine(
		inspector, tp_machine_name(config->machine), call, &machine_type));
	if (!cpu_model)
		TP_TRY(tp_inspect_cpu(inspector, call, &cpu_model));
	free(config->machine_type);
	free(config->cpu_model);
	free(config->qemu_version);
	config->machine_type = TP_TAKE(machine_type);
	config->cpu_model = TP_TAKE(cpu_model);
	config->qemu_version = tp_strdup(tp_inspect_version(inspector));
	config->accel = accel;
	return NULL;
}

struct torpor_error *tp_machine_try_kvm(struct torpor_engine *engine,
	const struct tp_boot_files *files, const char *cpu, const struct tp_call *call,
	struct tp_guest_config *config, char **why_not_out)
{
	TP_FREE char *cache = tp_asprintf("%s/accel.json", engine->state_dir);
	TP_CLEANUP(tp_accel_result_deinit) struct tp_accel_result result = {0};
	struct tp_accel_probe probe = {
		.config = config,
		.kernel = files->kernel,
		.initrd = files->initrd,
		.append = files->append,
	};

	struct torpor_error *err = tp_machine_resolve(engine, TP_ACCEL_KVM, cpu, call, config);
	if (err && torpor_error_code(err) == TORPOR_E_QEMU) {
		*why_not_out = tp_strdup(torpor_error_message(err));
		torpor_error_free(err);
		return NULL;
	}
	if (err)
		return err;
	TP_TRY(tp_accel_prove(engine->launcher, engine->qemu, &probe, cache, call, &result));
	*why_not_out = result.ok ? NULL : TP_TAKE(result.why_not);
	return NULL;
}
