/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's command line.
 *
 * All devices are named here with fixed ids and addresses of their own choosing: the line is
 * part of what makes a clone able to load its template's state. Left out on purpose: balloon and
 * free page reporting (they punch holes into a base), network and disks (they come with the
 * features that need them), a kernel for clones (14 MB each, and never read).
 */
#include "engine/args.h"

#include <inttypes.h>

#include "base/mem.h"
#include "engine/foreign.h"

static void add_general(const struct tp_qemu_args *args, struct tp_strv *argv)
{
	static const char *const fixed[] = {
		"-nodefaults",
		"-no-user-config",
		"-display",
		"none",
		"-vga",
		"none",
		"-msg",
		"timestamp=off",
		/* A guest's reboot is Torpor's to decide on: a clone has no kernel to boot. */
		"-action",
		"reboot=shutdown",
		NULL,
	};

	tp_strv_add(argv, args->program);
	if (args->firmware_dir) {
		tp_strv_add(argv, "-L");
		tp_strv_add(argv, args->firmware_dir);
	}
	tp_strv_add(argv, "-name");
	tp_strv_addf(argv, "guest=%s,process=torpor-%s", args->guest_name, args->guest_name);
	tp_strv_add_all(argv, fixed);
	if (!(args->traits & TP_QEMU_NO_SANDBOX))
		tp_strv_add_all(argv, (const char *const[]){"-sandbox",
					      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
					      "resourcecontrol=deny",
					      NULL});
}

/* What main RAM is called, in QEMU and in its streams. */
static const char *ram_id(const struct tp_guest_config *config)
{
	return config->foreign ? tp_foreign_ram_id(config->foreign) : "ram";
}

/* TYPE names the machine, with a comma behind it; "" where it has been named already. */
static void add_machine(const struct tp_guest_config *config, const struct tp_qemu_args *args,
	const char *type, struct tp_strv *argv)
{
	/* Spelled out where microvm's default depends on the accelerator. */
	static const char *const options[] = {
		[TP_MACHINE_PC] = "",
		[TP_MACHINE_MICROVM] = ",acpi=on,pcie=off,isa-serial=on,rtc=on",
		/* There are no disks, and so nothing for a controller that q35 would have. */
		[TP_MACHINE_Q35] = ",sata=off",
	};

	tp_strv_add(argv, "-machine");
	TP_FREE char *own = config->foreign ? tp_foreign_machine_options(config->foreign)
					    : tp_strdup(options[config->machine]);
	tp_strv_addf(argv, "%smemory-backend=%s%s,mem-merge=off,dump-guest-core=off%s", type,
		ram_id(config),
		args->traits & TP_QEMU_NO_SUPPRESS_VMDESC ? "" : ",suppress-vmdesc=on", own);
}

static void add_processors(const struct tp_guest_config *config, struct tp_strv *argv)
{
	tp_strv_add(argv, "-accel");
	if (config->accel == TP_ACCEL_TCG)
		tp_strv_addf(argv, "tcg,tb-size=%d", TP_TCG_BUFFER_MIB);
	else
		tp_strv_add(argv, "kvm");
	tp_strv_add(argv, "-cpu");
	tp_strv_addf(argv, "%s,enforce", config->cpu_model);
	tp_strv_add(argv, "-smp");
	TP_FREE char *topology =
		config->foreign ? tp_foreign_topology(config->foreign) : tp_strdup("");
	tp_strv_addf(argv, "%u%s", config->vcpus, topology);
}

static const char *fd_dir(const struct tp_qemu_args *args)
{
	return args->fd_dir ? args->fd_dir : "/proc/self/fd";
}

static void add_memory(
	const struct tp_guest_config *config, const struct tp_qemu_args *args, struct tp_strv *argv)
{
	/* Then QEMU itself can't write into what all clones share, seal or no seal. */
	bool readonly = !args->ram_shared && args->traits & TP_QEMU_READONLY_RAM;

	tp_strv_add(argv, "-object");
	tp_strv_addf(argv,
		"memory-backend-file,id=%s,mem-path=%s/%d,size=%" PRIu64 ",share=%s%s,prealloc=off",
		ram_id(config), fd_dir(args), args->ram_fd, config->memory_bytes,
		args->ram_shared ? "on" : "off", readonly ? ",readonly=on,rom=off" : "");
}

static void add_console(const struct tp_qemu_args *args, struct tp_strv *argv)
{
	tp_strv_add(argv, "-chardev");
	if (args->console_fd >= 0)
		tp_strv_addf(argv, "file,id=console,path=%s/%d,append=on", fd_dir(args),
			args->console_fd);
	else
		tp_strv_add(argv, "null,id=console");
}

static void add_com1(struct tp_strv *argv)
{
	/* The board's own, on all machine types. */
	tp_strv_add(argv, "-serial");
	tp_strv_add(argv, "chardev:console");
}

static void add_listener(const char *id, int fd, struct tp_strv *argv)
{
	tp_strv_add(argv, "-chardev");
	tp_strv_addf(argv, "socket,id=%s,fd=%d,server=on,wait=off", id, fd);
}

static void add_port(const char *id, int fd, int nr, const char *name, struct tp_strv *argv)
{
	add_listener(id, fd, argv);
	tp_strv_add(argv, "-device");
	tp_strv_addf(argv, "virtserialport,id=%s-port,bus=channels.0,nr=%d,chardev=%s,name=%s", id,
		nr, id, name);
}

static void add_channels(
	const struct tp_guest_config *config, const struct tp_qemu_args *args, struct tp_strv *argv)
{
	static const char *const controllers[] = {
		[TP_MACHINE_PC] = "virtio-serial-pci,id=channels,max_ports=4,addr=4",
		[TP_MACHINE_MICROVM] = "virtio-serial-device,id=channels,max_ports=4",
		[TP_MACHINE_Q35] = "virtio-serial-pci,id=channels,max_ports=4,addr=4",
	};

	tp_strv_add(argv, "-device");
	tp_strv_add(argv, controllers[config->machine]);
	add_port("agent", args->agent_fd, 1, "org.qemu.guest_agent.0", argv);
	add_port("helper", args->helper_fd, 2, "org.torpor.0", argv);
}

static void add_role(const struct tp_qemu_args *args, struct tp_strv *argv)
{
	const struct {
		const char *option;
		const char *value;
	} boot[] = {
		{"-kernel", args->kernel},
		{"-initrd", args->initrd},
		{"-append", args->append},
	};

	if (args->role == TP_ROLE_INCOMING) {
		tp_strv_add_all(argv, (const char *const[]){"-S", "-incoming", "defer", NULL});
		return;
	}
	for (size_t i = 0; i < TP_ARRAY_LEN(boot); i++) {
		if (boot[i].value) {
			tp_strv_add(argv, boot[i].option);
			tp_strv_add(argv, boot[i].value);
		}
	}
}

/* All devices are its own; ours are only the sockets behind its ports. */
static void add_foreign(
	const struct tp_guest_config *config, const struct tp_qemu_args *args, struct tp_strv *argv)
{
	if (config->channels) {
		add_listener("agent", args->agent_fd, argv);
		add_listener("helper", args->helper_fd, argv);
	}
	tp_foreign_add_args(config->foreign, config->channels, argv);
}

/* A GUID of its own for each process tells the guest that it is a copy. Not on microvm. */
static void add_generation(const struct tp_guest_config *config, struct tp_strv *argv)
{
	if (config->machine != TP_MACHINE_MICROVM)
		tp_strv_add_all(argv,
			(const char *const[]){"-device", "vmgenid,id=generation,guid=auto", NULL});
}

void tp_qemu_args_build(
	const struct tp_guest_config *config, const struct tp_qemu_args *args, struct tp_strv *argv)
{
	TP_FREE char *type = tp_asprintf("%s,", config->machine_type);

	add_general(args, argv);
	add_machine(config, args, type, argv);
	add_processors(config, argv);
	tp_strv_add(argv, "-m");
	tp_strv_addf(argv, "%" PRIu64 "M", config->memory_bytes / TP_MIB);
	add_memory(config, args, argv);
	add_listener("qmp", args->qmp_fd, argv);
	tp_strv_add_all(argv, (const char *const[]){"-mon", "chardev=qmp,mode=control", NULL});
	add_console(args, argv);
	if (config->foreign) {
		add_foreign(config, args, argv);
		add_role(args, argv);
		return;
	}
	add_com1(argv);
	if (config->channels)
		add_channels(config, args, argv);
	add_generation(config, argv);
	add_role(args, argv);
}

void tp_qemu_args_override(
	const struct tp_guest_config *config, const struct tp_qemu_args *args, struct tp_strv *argv)
{
	if (args->firmware_dir)
		tp_strv_add_all(argv, (const char *const[]){"-L", args->firmware_dir, NULL});
	add_machine(config, args, "", argv);
	tp_strv_add(argv, "-cpu");
	tp_strv_addf(argv, "%s,enforce", config->cpu_model);
	/* What QEMU makes of a bare number; libvirt would make sockets of it. */
	tp_strv_add(argv, "-smp");
	tp_strv_addf(argv, "%u,sockets=1,cores=%u,threads=1", config->vcpus, config->vcpus);
	add_memory(config, args, argv);
	add_console(args, argv);
	add_com1(argv);
	add_generation(config, argv);
	add_role(args, argv);
}
