/* SPDX-License-Identifier: Apache-2.0 */
/* Machines that Torpor didn't put together: read off command lines, checked, and started again. */
#include "engine/foreign.h"

#include <string.h>

#include "base/mem.h"
#include "engine/args.h"
#include "support.h"

/* As libvirt 9 gives it, for a domain of plain XML. */
#define BEFORE                                                                                     \
	"LC_ALL=C PATH=/usr/bin HOME=/var/lib/libvirt/qemu/domain--1-plain "                       \
	"/usr/bin/qemu-system-x86_64 -name guest=plain,debug-threads=on -S -object "               \
	"'{\"qom-type\":\"secret\",\"id\":\"masterKey0\",\"format\":\"raw\",\"file\":\"/x\"}' "
#define MACHINE "-machine pc-i440fx-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram "
#define CPU	"-accel tcg -cpu qemu64,hypervisor=on,lahf-lm=on,svm=off "
#define MEMORY                                                                                     \
	"-m 256 -object '{\"qom-type\":\"memory-backend-ram\",\"id\":\"pc.ram\",\"size\":"         \
	"268435456}' "
#define SMP "-overcommit mem-lock=off -smp 2,sockets=2,cores=1,threads=1 "
#define PLAIN                                                                                      \
	"-uuid d8bf7f66-c076-4d98-b17c-23227ee9d8e5 -display none -no-user-config -nodefaults "    \
	"-chardev socket,id=charmonitor,path=/x,server=on,wait=off -mon "                          \
	"chardev=charmonitor,id=monitor,mode=control -rtc base=utc -no-shutdown -boot strict=on "  \
	"-kernel /x -append 'console=ttyS0 quiet' "
#define DEVICES                                                                                    \
	"-device '{\"driver\":\"virtio-serial-pci\",\"id\":\"virtio-serial0\",\"bus\":\"pci.0\","  \
	"\"addr\":\"0x2\"}' -chardev null,id=charserial0 -device "                                 \
	"'{\"driver\":\"isa-serial\",\"chardev\":\"charserial0\",\"id\":\"serial0\",\"index\":0}'" \
	" -device '{\"driver\":\"virtserialport\",\"bus\":\"virtio-serial0.0\",\"nr\":1,"          \
	"\"chardev\":\"charchannel0\",\"id\":\"channel0\",\"name\":\"org.qemu.guest_agent.0\"}' "  \
	"-audiodev '{\"id\":\"audio1\",\"driver\":\"none\"}' "
#define WHOLE BEFORE MACHINE CPU MEMORY SMP PLAIN DEVICES

static struct tp_guest_config read_line(const char *line)
{
	struct tp_guest_config config;

	must(tp_foreign_from_argv(line, &config));
	return config;
}

Test(foreign, a_command_line_of_libvirts)
{
	TP_GUEST_CONFIG struct tp_guest_config config = read_line(WHOLE);

	cr_assert_str_eq(config.machine_type, "pc-i440fx-7.2");
	cr_assert_eq(config.machine, TP_MACHINE_PC);
	cr_assert_eq(config.accel, TP_ACCEL_TCG);
	cr_assert_str_eq(config.cpu_model, "qemu64,+hypervisor,+lahf-lm,-svm");
	cr_assert_eq(config.memory_bytes, 256 * TP_MIB);
	cr_assert_eq(config.vcpus, 2);
	cr_assert(config.channels);
	cr_assert_null(config.qemu_version);
	cr_assert_str_eq(tp_foreign_ram_id(config.foreign), "pc.ram");
	cr_assert_eq(json_array_size(json_object_get(config.foreign, "devices")), 3);
	TP_FREE char *topology = tp_foreign_topology(config.foreign);
	TP_FREE char *options = tp_foreign_machine_options(config.foreign);
	cr_assert_str_eq(topology, ",sockets=2,cores=1,threads=1");
	cr_assert_str_eq(options, ",usb=off");
}

Test(foreign, older_ways_to_say_things)
{
	TP_GUEST_CONFIG struct tp_guest_config config =
		read_line("qemu -machine pc-q35-7.2,memory-backend=pc.ram -no-acpi -no-hpet "
			  "-accel kvm -cpu Westmere,-svm,+aes -m size=262144k "
			  "-object \"{\\\"qom-type\\\":\\\"memory-backend-memfd\\\"}\" "
			  "-global PIIX4_PM.disable_s3=1 -smp 1,maxcpus=1");

	cr_assert_eq(config.machine, TP_MACHINE_Q35);
	cr_assert_eq(config.accel, TP_ACCEL_KVM);
	cr_assert_str_eq(config.cpu_model, "Westmere,-svm,+aes");
	cr_assert_eq(config.memory_bytes, 256 * TP_MIB);
	cr_assert_not(config.channels);
	TP_FREE char *options = tp_foreign_machine_options(config.foreign);
	cr_assert_str_eq(options, ",acpi=off,hpet=off");
}

static void assert_refused(const char *line, const char *words)
{
	struct tp_guest_config config;

	must_fail(tp_foreign_from_argv(line, &config), TORPOR_E_UNSUPPORTED, words);
}

/* Everything that isn't known is a reason, since a guest may see it. */
Test(foreign, what_is_refused)
{
	assert_refused(WHOLE "-netdev user,id=n0", "-netdev user");
	assert_refused(WHOLE "-blockdev '{\"driver\":\"file\"}'", "-blockdev");
	assert_refused(WHOLE "-drive file=/x", "-drive file=/x");
	assert_refused(WHOLE "-vnc :0", "-vnc");
	assert_refused(WHOLE "-display gtk", "a display: gtk");
	assert_refused(WHOLE "-device '{\"driver\":\"virtio-net-pci\"}'", "virtio-net-pci");
	assert_refused(
		WHOLE "-device '{\"driver\":\"vfio-pci\",\"host\":\"0000:01:00.0\"}'", "vfio-pci");
	assert_refused(WHOLE "-device virtio-rng-pci", "isn't told as JSON");
	assert_refused(WHOLE "-device '{\"driver\":\"isa-serial\",\"iobase\":1016}'", "iobase");
	assert_refused(WHOLE "-object '{\"qom-type\":\"rng-random\"}'", "rng-random");
	assert_refused(WHOLE "-object '{\"qom-type\":\"memory-backend-ram\"}'", "an object");
	assert_refused(WHOLE "-global virtio-net-pci.mq=on", "virtio-net-pci.mq=on");
	assert_refused(WHOLE "-audiodev '{\"driver\":\"alsa\"}'", "sound");
	assert_refused(BEFORE "-machine pc-i440fx-7.2,nvdimm=on " CPU MEMORY, "nvdimm");
	assert_refused(BEFORE "-machine microvm " CPU MEMORY, "neither pc nor q35");
	assert_refused(BEFORE MACHINE "-cpu host,migratable=on,level=13 " MEMORY, "level");
	assert_refused(BEFORE MACHINE CPU "-m size=1048576k,slots=16,maxmem=4G", "plain size");
	assert_refused(BEFORE MACHINE CPU MEMORY "-smp 1,maxcpus=4", "room for processors");
	assert_refused(BEFORE MACHINE CPU "-m 256", "memory of one piece");
	assert_refused(BEFORE CPU MEMORY, "machine");
	assert_refused("", "machine");
	assert_refused(WHOLE "-device", "no value for");
	assert_refused(WHOLE "-device '{'", "JSON");
}

/* --- out of a file --- */

static json_t *good(void)
{
	TP_GUEST_CONFIG struct tp_guest_config config = read_line(WHOLE);

	return json_deep_copy(config.foreign);
}

/* Puts VALUE (taken) in place of what is at KEY; then nobody takes it. */
static void assert_bad(const char *key, json_t *value, const char *words)
{
	json_t *foreign = good();

	must(tp_foreign_check(foreign));
	json_object_set_new(foreign, key, value);
	must_fail(tp_foreign_check(foreign), TORPOR_E_INVALID, words);
	json_decref(foreign);
}

Test(foreign, nothing_else_comes_out_of_a_file)
{
	assert_bad("ram_id", json_string("pc.ram,share=on"), "ram_id");
	assert_bad("ram_id", json_integer(1), "wrong type");
	assert_bad("other", json_string("x"), "not known");
	assert_bad("machine", json_pack("{s:s}", "firmware", "/etc/shadow"), "firmware");
	assert_bad("machine", json_pack("{s:s}", "usb", "on,firmware=/x"), "usb");
	assert_bad("smp", json_pack("{s:i}", "cores", 0), "smp");
	assert_bad("smp", json_pack("{s:i}", "maxcpus", 4), "smp");
	assert_bad("globals", json_pack("[[s, s, s]]", "driver", "romfile", "/x"), "driver");
	assert_bad("globals", json_pack("[[s, s, s]]", "PIIX4_PM", "a=b,c", "1"), "PIIX4_PM");
	assert_bad("globals", json_pack("[[s, s]]", "PIIX4_PM", "x"), "PIIX4_PM");
	assert_bad("devices", json_pack("[{s:s}]", "driver", "virtio-blk-pci"), "virtio-blk-pci");
	assert_bad("devices", json_pack("[{s:s, s:s}]", "driver", "VGA", "romfile", "/x"), "VGA");
	assert_bad("devices", json_pack("[{s:s, s:s}]", "driver", "qemu-xhci", "romfile", "/x"),
		"romfile");
	assert_bad("devices", json_pack("[{s:s, s:{}}]", "driver", "qemu-xhci", "bus"), "bus");
	assert_bad("devices", json_pack("[s]", "VGA"), "no device");
	assert_bad("devices", json_pack("{}"), "devices");
	json_t *many = json_array();
	for (int i = 0; i < 65; i++)
		json_array_append_new(many, json_pack("{s:s}", "driver", "vmgenid"));
	assert_bad("devices", many, "devices");
}

/* As a file says it and as it is read back. */
Test(foreign, a_configuration_with_one)
{
	TP_GUEST_CONFIG struct tp_guest_config config = read_line(WHOLE);
	TP_GUEST_CONFIG struct tp_guest_config again = {0};

	config.qemu_version = tp_strdup("7.2.22");
	must(tp_guest_config_check(&config));
	json_t *json = tp_guest_config_to_json(&config);
	must(tp_guest_config_from_json(json, &again));
	cr_assert_null(tp_guest_config_difference(&config, &again));
	json_t *device = json_array_get(json_object_get(again.foreign, "devices"), 0);
	TP_GUEST_CONFIG struct tp_guest_config other = read_line(WHOLE);
	other.qemu_version = tp_strdup("7.2.22");
	cr_assert_null(tp_guest_config_difference(&config, &other));
	json_object_set_new(device, "addr", json_string("0x3"));
	cr_assert_str_eq(tp_guest_config_difference(&other, &again), "foreign");
	json_object_set_new(device, "driver", json_string("nvme"));
	struct tp_guest_config bad;
	must_fail(tp_guest_config_from_json(json, &bad), TORPOR_E_CORRUPT, "nvme");
	json_decref(json);
}

static bool has_argument(const struct tp_strv *argv, const char *words)
{
	for (size_t i = 0; i < argv->n; i++) {
		if (strstr(argv->v[i], words))
			return true;
	}
	return false;
}

Test(foreign, it_is_started_with_its_own_devices_and_our_sockets)
{
	TP_GUEST_CONFIG struct tp_guest_config config = read_line(WHOLE);
	TP_STRV struct tp_strv argv = {0};
	struct tp_qemu_args args = {
		.program = "qemu",
		.guest_name = "s1",
		.role = TP_ROLE_INCOMING,
		.ram_fd = 3,
		.ram_shared = true,
		.qmp_fd = 4,
		.agent_fd = 5,
		.helper_fd = 6,
		.console_fd = -1,
	};

	tp_qemu_args_build(&config, &args, &argv);
	cr_assert(has_argument(&argv, "pc-i440fx-7.2,memory-backend=pc.ram,suppress-vmdesc=on,"
				      "mem-merge=off,dump-guest-core=off,usb=off"));
	cr_assert(has_argument(&argv, "memory-backend-file,id=pc.ram,mem-path=/proc/self/fd/3"));
	cr_assert(has_argument(&argv, "2,sockets=2,cores=1,threads=1"));
	cr_assert(has_argument(&argv, "\"driver\":\"isa-serial\",\"chardev\":\"console\""));
	cr_assert(has_argument(&argv, "\"chardev\":\"agent\""));
	cr_assert(has_argument(&argv, "socket,id=agent,fd=5"));
	cr_assert_not(has_argument(&argv, "org.torpor.0"));
	cr_assert_not(has_argument(&argv, "chardev:console"));
	cr_assert_not(has_argument(&argv, "vmgenid"));
	cr_assert_not(has_argument(&argv, "charchannel0"));
}
