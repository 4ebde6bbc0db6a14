/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's command line, against golden vectors: state loads only where it is the same. */
#include <string.h>

#include "base/mem.h"
#include "engine/args.h"
#include "support.h"

static void assert_args(const struct tp_guest_config *config, const struct tp_qemu_args *args,
	const char *const *golden)
{
	TP_STRV struct tp_strv argv = {0};
	size_t i;

	tp_qemu_args_build(config, args, &argv);
	for (i = 0; golden[i]; i++) {
		cr_assert_lt(i, argv.n, "it ends before %s", golden[i]);
		cr_assert_str_eq(argv.v[i], golden[i], "argument %zu is %s, not %s", i, argv.v[i],
			golden[i]);
	}
	cr_assert_eq(argv.n, i, "%s is too much", argv.v[i]);
	cr_assert_null(argv.v[argv.n]);
}

#define GENERAL                                                                                    \
	"-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-msg",              \
		"timestamp=off", "-action", "reboot=shutdown", "-sandbox",                         \
		"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

static struct tp_qemu_args clone_args(void)
{
	return (struct tp_qemu_args){
		.program = "qemu-system-x86_64",
		.guest_name = "s1",
		.role = TP_ROLE_INCOMING,
		.ram_fd = 3,
		.qmp_fd = 4,
		.agent_fd = 5,
		.helper_fd = 6,
		.console_fd = -1,
	};
}

Test(args, a_clone)
{
	struct tp_guest_config config = pc_config();
	struct tp_qemu_args args = clone_args();
	static const char *const golden[] = {
		"qemu-system-x86_64",
		"-name",
		"guest=s1,process=torpor-s1",
		GENERAL,
		"-machine",
		"pc-i440fx-7.2,memory-backend=ram,suppress-vmdesc=on,mem-merge=off,"
		"dump-guest-core=off",
		"-accel",
		"tcg,tb-size=32",
		"-cpu",
		"qemu64-v1,-svm,enforce",
		"-smp",
		"1",
		"-m",
		"64M",
		"-object",
		"memory-backend-file,id=ram,mem-path=/proc/self/fd/3,size=67108864,share=off,"
		"prealloc=off",
		"-chardev",
		"socket,id=qmp,fd=4,server=on,wait=off",
		"-mon",
		"chardev=qmp,mode=control",
		"-chardev",
		"null,id=console",
		"-serial",
		"chardev:console",
		"-device",
		"virtio-serial-pci,id=channels,max_ports=4,addr=4",
		"-chardev",
		"socket,id=agent,fd=5,server=on,wait=off",
		"-device",
		"virtserialport,id=agent-port,bus=channels.0,nr=1,chardev=agent,"
		"name=org.qemu.guest_agent.0",
		"-chardev",
		"socket,id=helper,fd=6,server=on,wait=off",
		"-device",
		"virtserialport,id=helper-port,bus=channels.0,nr=2,chardev=helper,"
		"name=org.torpor.0",
		"-device",
		"vmgenid,id=generation,guid=auto",
		"-S",
		"-incoming",
		"defer",
		NULL,
	};

	assert_args(&config, &args, golden);
}

Test(args, a_booting_microvm)
{
	struct tp_guest_config config = pc_config();
	struct tp_qemu_args args = {
		.program = "/opt/qemu",
		.guest_name = "t",
		.firmware_dir = "/opt/fw",
		.role = TP_ROLE_BOOT,
		.kernel = "/boot/vmlinuz",
		.initrd = "/boot/initrd,with=comma",
		.append = "quiet console=ttyS0",
		.ram_fd = 3,
		.ram_shared = true,
		.qmp_fd = 4,
		.agent_fd = -1,
		.helper_fd = -1,
		.console_fd = 5,
	};
	static const char *const golden[] = {
		"/opt/qemu",
		"-L",
		"/opt/fw",
		"-name",
		"guest=t,process=torpor-t",
		GENERAL,
		"-machine",
		"microvm,memory-backend=ram,suppress-vmdesc=on,mem-merge=off,dump-guest-core=off,"
		"acpi=on,pcie=off,isa-serial=on,rtc=on",
		"-accel",
		"kvm",
		"-cpu",
		"Westmere-v1,enforce",
		"-smp",
		"4",
		"-m",
		"1024M",
		"-object",
		"memory-backend-file,id=ram,mem-path=/proc/self/fd/3,size=1073741824,share=on,"
		"prealloc=off",
		"-chardev",
		"socket,id=qmp,fd=4,server=on,wait=off",
		"-mon",
		"chardev=qmp,mode=control",
		"-chardev",
		"file,id=console,path=/proc/self/fd/5,append=on",
		"-serial",
		"chardev:console",
		"-kernel",
		"/boot/vmlinuz",
		"-initrd",
		"/boot/initrd,with=comma",
		"-append",
		"quiet console=ttyS0",
		NULL,
	};

	config.machine = TP_MACHINE_MICROVM;
	config.machine_type = (char *)"microvm";
	config.accel = TP_ACCEL_KVM;
	config.cpu_model = (char *)"Westmere-v1";
	config.memory_bytes = TP_GIB;
	config.vcpus = 4;
	config.channels = false;
	assert_args(&config, &args, golden);
}

/* All that is different from a pc. */
Test(args, a_q35)
{
	struct tp_guest_config config = pc_config();
	struct tp_qemu_args args = clone_args();
	TP_STRV struct tp_strv pc = {0};
	TP_STRV struct tp_strv q35 = {0};

	tp_qemu_args_build(&config, &args, &pc);
	config.machine = TP_MACHINE_Q35;
	config.machine_type = (char *)"pc-q35-7.2";
	tp_qemu_args_build(&config, &args, &q35);
	cr_assert_eq(q35.n, pc.n);
	for (size_t i = 0; i < pc.n; i++) {
		if (strncmp(pc.v[i], "pc-i440fx", strlen("pc-i440fx")) == 0)
			cr_assert_str_eq(q35.v[i],
				"pc-q35-7.2,memory-backend=ram,suppress-vmdesc=on,mem-merge=off,"
				"dump-guest-core=off,sata=off");
		else
			cr_assert_str_eq(q35.v[i], pc.v[i]);
	}
}

/* Whether some argument holds WORDS. */
static bool holds(const struct tp_strv *argv, const char *words)
{
	for (size_t i = 0; i < argv->n; i++) {
		if (strstr(argv->v[i], words))
			return true;
	}
	return false;
}

static void assert_trait(uint32_t traits, bool shared, const char *words, bool without, bool with)
{
	struct tp_guest_config config = pc_config();
	struct tp_qemu_args args = clone_args();
	TP_STRV struct tp_strv plain = {0};
	TP_STRV struct tp_strv other = {0};

	args.ram_shared = shared;
	tp_qemu_args_build(&config, &args, &plain);
	args.traits = traits;
	tp_qemu_args_build(&config, &args, &other);
	cr_assert_eq(holds(&plain, words), without, "%s", words);
	cr_assert_eq(holds(&other, words), with, "%s", words);
}

Test(args, traits_of_qemu)
{
	assert_trait(TP_QEMU_NO_SANDBOX, false, "-sandbox", true, false);
	assert_trait(TP_QEMU_NO_SANDBOX, false, "spawn=deny", true, false);
	assert_trait(TP_QEMU_NO_SUPPRESS_VMDESC, false, "suppress-vmdesc", true, false);
	assert_trait(TP_QEMU_READONLY_RAM, false, ",readonly=on,rom=off", false, true);
	/* RAM of its own is written. */
	assert_trait(TP_QEMU_READONLY_RAM, true, "readonly", false, false);
	assert_trait(TP_QEMU_NO_SAVE_DEVICES | TP_QEMU_STAYS, false, "exit", false, false);
}

/* Behind libvirt's own line: only what that can't say, or says otherwise. */
Test(args, behind_libvirts)
{
	TP_STRV struct tp_strv argv = {0};
	struct tp_guest_config config = pc_config();
	struct tp_qemu_args args = clone_args();
	static const char *const golden[] = {"-machine",
		"memory-backend=ram,suppress-vmdesc=on,mem-merge=off,dump-guest-core=off", "-cpu",
		"qemu64-v1,-svm,enforce", "-smp", "3,sockets=1,cores=3,threads=1", "-object",
		"memory-backend-file,id=ram,mem-path=/proc/7/fd/3,size=67108864,share=off,"
		"prealloc=off",
		"-chardev", "file,id=console,path=/proc/7/fd/4,append=on", "-serial",
		"chardev:console", "-device", "vmgenid,id=generation,guid=auto", "-S", "-incoming",
		"defer", NULL};

	config.vcpus = 3;
	args.fd_dir = "/proc/7/fd";
	args.console_fd = 4;
	tp_qemu_args_override(&config, &args, &argv);
	for (size_t i = 0; golden[i]; i++)
		cr_assert_str_eq(i < argv.n ? argv.v[i] : "nothing", golden[i]);
	cr_assert_eq(argv.n, TP_ARRAY_LEN(golden) - 1);
}
