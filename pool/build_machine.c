/* SPDX-License-Identifier: Apache-2.0 */
/* Which machine a template is built on, and which QEMU runs it. */
#include <string.h>

#include "base/mem.h"
#include "pool/build.h"
#include "pool/machine.h"

#define DEFAULT_MEMORY (256 * TP_MIB)

const char *tp_build_command_line(
	const struct torpor_template_spec *spec, const struct tp_guest_config *config)
{
	if (spec->append)
		return spec->append;
	if (config->machine == TP_MACHINE_MICROVM && config->accel == TP_ACCEL_TCG)
		return "console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz=1000000 no_timer_check";
	if (config->machine == TP_MACHINE_MICROVM)
		return "console=ttyS0 quiet panic=-1 reboot=t";
	return "console=ttyS0 quiet panic=-1";
}

struct choice {
	struct torpor_engine *engine;
	const struct torpor_template_spec *spec;
	torpor_progress_fn *progress; /* or NULL */
	void *progress_data;
	const struct tp_call *call;
	struct tp_guest_config *config;
};

static void say(const struct choice *c, const char *stage, const char *line)
{
	if (c->progress)
		c->progress(c->progress_data, stage, line);
}

static struct tp_boot_files files_of(const struct torpor_template_spec *spec)
{
	return (struct tp_boot_files){
		.kernel = spec->kernel, .initrd = spec->initrd, .append = spec->append};
}

static struct torpor_error *choose_accel(const struct choice *c)
{
	const struct torpor_template_spec *spec = c->spec;
	const char *wanted = spec->accel ? spec->accel : "auto";
	struct tp_guest_config *config = c->config;
	struct tp_boot_files files = files_of(spec);
	TP_FREE char *why_not = NULL;
	enum tp_accel accel;

	if (tp_accel_from_name(wanted, &accel))
		return tp_machine_resolve(c->engine, NULL, accel, spec->cpu, c->call, config);
	if (strcmp(wanted, "auto") != 0)
		return tp_error(TORPOR_E_INVALID, "build template", spec->name,
			"the accelerator is auto, kvm or tcg, not \"%s\"", wanted);
	say(c, "probe", "trying whether kvm runs this kernel (10 s at most)");
	TP_TRY(tp_machine_try_kvm(c->engine, NULL, &files, spec->cpu, c->call, config, &why_not));
	if (!why_not) {
		say(c, "probe", "kvm works");
		return NULL;
	}
	TP_FREE char *line = tp_asprintf("tcg, since kvm doesn't do: %s", why_not);
	say(c, "probe", line);
	return tp_machine_resolve(c->engine, NULL, TP_ACCEL_TCG, spec->cpu, c->call, config);
}

/* Under KVM the QEMU for microvm alone, where it boots this kernel; else CONFIG stays as it is. */
static struct torpor_error *choose_small(const struct choice *c)
{
	struct tp_guest_config *config = c->config;
	const char *program = tp_machine_small_qemu(c->engine, config->machine);
	TP_GUEST_CONFIG struct tp_guest_config small = tp_guest_config_copy(config);
	struct tp_boot_files files = files_of(c->spec);
	TP_FREE char *why_not = NULL;

	if (!program || config->accel != TP_ACCEL_KVM)
		return NULL;
	TP_TRY(tp_machine_try_kvm(
		c->engine, program, &files, c->spec->cpu, c->call, &small, &why_not));
	if (!why_not) {
		tp_guest_config_deinit(config);
		*config = small;
		small = (struct tp_guest_config){0};
	}
	TP_FREE char *line = why_not ? tp_asprintf("not %s: %s", program, why_not)
				     : tp_asprintf("it runs under %s", program);
	say(c, "probe", line);
	return NULL;
}

/* What was resolved may not be what was named: a name without version has got one. */
static void tell_cpu(const struct choice *c)
{
	const char *model = c->config->cpu_model;

	if (!c->spec->cpu || strcmp(c->spec->cpu, model) == 0)
		return;
	TP_FREE char *line = tp_asprintf(
		"CPU model %s is %s here, and is called so from now on", c->spec->cpu, model);
	say(c, "probe", line);
}

struct torpor_error *tp_build_choose_machine(struct torpor_engine *engine,
	const struct torpor_template_spec *spec, torpor_progress_fn *progress, void *progress_data,
	const struct tp_call *call, struct tp_guest_config *config, struct tp_qemu_use *qemu_out)
{
	const char *machine = spec->machine ? spec->machine : "pc";
	struct tp_boot_files files = files_of(spec);
	struct choice c = {
		.engine = engine,
		.spec = spec,
		.progress = progress,
		.progress_data = progress_data,
		.call = call,
		.config = config,
	};

	if (!tp_machine_from_name(machine, &config->machine))
		return tp_error(TORPOR_E_INVALID, "build template", spec->name,
			"the machine is pc, q35 or microvm, not \"%s\"", machine);
	config->memory_bytes = spec->memory ? spec->memory : DEFAULT_MEMORY;
	config->vcpus = spec->vcpus ? spec->vcpus : 1;
	config->channels = true;
	TP_TRY(choose_accel(&c));
	TP_TRY(choose_small(&c));
	tell_cpu(&c);
	return tp_machine_find_qemu(engine, config, &files, spec->name, call, qemu_out);
}
