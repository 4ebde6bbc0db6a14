/* SPDX-License-Identifier: Apache-2.0 */
/* The direct launcher with a real QEMU; no guest operating system is needed. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/control.h"
#include "engine/direct.h"
#include "real_launcher.h"
#include "support.h"

TestSuite(launcher, .init = launcher_setup, .fini = launcher_teardown);

Test(launcher, starts_a_shell_and_leaves_nothing)
{
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest *guest = start(launcher, "s1", TP_ROLE_INCOMING, ram);
	pid_t pid = tp_guest_pid(guest);
	uint64_t start_time;

	cr_assert_eq(count_entries(run_dir), 1);
	cr_assert(process_runs(pid));
	must(tp_process_start_time(pid, &start_time));
	cr_assert_eq(start_time, tp_guest_start_time(guest));
	cr_assert_str_eq(tp_guest_name(guest), "s1");
	cr_assert_not_null(tp_guest_agent(guest));
	TP_FD int helper = tp_guest_take_helper_fd(guest);
	cr_assert_geq(helper, 0);
	cr_assert_eq(tp_guest_take_helper_fd(guest), -1);
	assert_status(guest, "inmigrate");
	must(tp_guest_end(guest, &call));
	cr_assert_not(process_runs(pid));
	cr_assert_eq(count_entries(run_dir), 0);
}

Test(launcher, both_machines_and_a_base_larger_than_ram)
{
	struct tp_guest_config config = pc_config();
	TP_FD int ram = new_ram(65 * TP_MIB);
	struct tp_guest *guest;

	cr_assert_eq(fcntl(ram, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
	config.machine = TP_MACHINE_MICROVM;
	config.machine_type = (char *)"microvm";
	struct tp_guest_spec spec = spec_of(&config, "m1", TP_ROLE_INCOMING, ram);
	must(tp_launcher_start(launcher, &spec, &call, &guest));
	must_fail(tp_guest_cont(guest, &call, NULL), TORPOR_E_BUSY, "inmigrate");
	must(tp_guest_end(guest, &call));
	guest = start(launcher, "p1", TP_ROLE_INCOMING, ram);
	assert_status(guest, "inmigrate");
	must(tp_guest_end(guest, &call));
}

struct feeder {
	pthread_t thread;
	int stream;
	int socket;
};

/* Writes the whole stream to the socket and closes it. */
static void *feed(void *data)
{
	struct feeder *feeder = data;
	TP_FREE char *bytes = NULL;
	TP_FREE char *path = tp_asprintf("/proc/self/fd/%d", feeder->stream);
	size_t len;

	must(tp_read_file(AT_FDCWD, path, 16 * TP_MIB, &bytes, &len));
	must(tp_write_stream(feeder->socket, bytes, len, &call, "stream"));
	close(feeder->socket);
	return NULL;
}

/* Firmware that finds nothing to boot is guest enough for the whole way round. */
static void load_template_into_clone(bool through_socket)
{
	TP_FD int ram = new_ram(64 * TP_MIB);
	TP_FD int stream = new_ram(0);
	struct tp_guest *template = start(launcher, "t", TP_ROLE_BOOT, ram);
	uint64_t before;
	uint64_t resumed;

	assert_status(template, "running");
	must(tp_guest_stop(template, &call));
	assert_status(template, "paused");
	must(tp_guest_migrate_to_fd(template, stream, true, &call));
	assert_status(template, "postmigrate");
	must(tp_guest_end(template, &call));
	cr_assert_gt(lseek(stream, 0, SEEK_END), 10000);
	lseek(stream, 0, SEEK_SET);

	struct tp_guest *clone = start(launcher, "c", TP_ROLE_INCOMING, ram);
	if (through_socket) {
		struct feeder feeder = {.stream = stream};
		int pair[2];
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		feeder.socket = pair[1];
		cr_assert_eq(pthread_create(&feeder.thread, NULL, feed, &feeder), 0);
		must(tp_guest_load_from_fd(clone, pair[0], true, &call));
		pthread_join(feeder.thread, NULL);
		close(pair[0]);
	} else {
		must(tp_guest_load_from_fd(clone, stream, true, &call));
	}
	assert_status(clone, "paused");
	before = tp_now_ns();
	must(tp_guest_cont(clone, &call, &resumed));
	cr_assert_leq(resumed, tp_now_ns());
	cr_assert_geq(resumed + TP_NSEC_PER_SEC, before);
	assert_status(clone, "running");
	must(tp_guest_cont(clone, &call, NULL));
	must(tp_guest_end(clone, &call));
}

Test(launcher, a_clone_loads_its_template_from_a_memfd)
{
	load_template_into_clone(false);
}

Test(launcher, a_clone_loads_its_template_from_a_socket)
{
	load_template_into_clone(true);
}

/* tests/kvm/ticker.S */
#define TICKER_COUNT   0x200000
#define TICKER_PATTERN 0x400000
#define TICKER_KEY     0x5a5a5a5au

/* The count of the next whole "tick XXXXXXXX" line on the console. */
static uint32_t next_tick(int console_fd)
{
	char line[64];
	size_t len;
	unsigned int count = 0;

	do {
		for (len = 0; len < sizeof(line) - 1; len++) {
			must(tp_read_stream(console_fd, line + len, 1, &call, "console"));
			if (line[len] == '\n')
				break;
		}
		line[len] = '\0';
	} while (sscanf(line, "tick %8x", &count) != 1);
	return count;
}

static uint32_t word_at(int ram, uint64_t address)
{
	uint32_t word;

	must(tp_pread_full(ram, &word, sizeof(word), address, "RAM"));
	return word;
}

/* A guest that runs is stopped, its state moved to another process, and goes on there. */
static void carry_ticker(struct tp_guest_config *config)
{
	TP_FD int ram = new_ram(config->memory_bytes);
	TP_FD int stream = new_ram(0);
	struct tp_guest_spec spec = spec_of(config, "t", TP_ROLE_BOOT, ram);
	struct tp_guest *guest;
	int console[2];

	cr_assert_eq(pipe2(console, O_CLOEXEC), 0);
	spec.kernel = TICKER;
	spec.console_fd = console[1];
	must(tp_launcher_start(launcher, &spec, &call, &guest));
	uint32_t seen = next_tick(console[0]);
	must(tp_guest_stop(guest, &call));
	must(tp_guest_migrate_to_fd(guest, stream, true, &call));
	must(tp_guest_end(guest, &call));
	uint32_t stopped_at = word_at(ram, TICKER_COUNT);
	cr_assert_geq(stopped_at, seen);
	for (uint32_t at = TICKER_PATTERN; at < TICKER_PATTERN + 4 * TP_MIB; at += 4096)
		cr_assert_eq(word_at(ram, at), at ^ TICKER_KEY);

	spec = spec_of(config, "c", TP_ROLE_INCOMING, ram);
	int other[2];
	cr_assert_eq(pipe2(other, O_CLOEXEC), 0);
	spec.console_fd = other[1];
	lseek(stream, 0, SEEK_SET);
	must(tp_launcher_start(launcher, &spec, &call, &guest));
	must(tp_guest_load_from_fd(guest, stream, true, &call));
	must(tp_guest_cont(guest, &call, NULL));
	/* Stopped between counting and printing, it prints that very count here. */
	uint32_t went_on = next_tick(other[0]);
	cr_assert_geq(went_on, stopped_at);
	cr_assert_lt(went_on - stopped_at, 0x20000);
	cr_assert_gt(next_tick(other[0]), went_on);
	cr_assert_eq(word_at(ram, TICKER_COUNT), stopped_at, "the base was written to");
	must(tp_guest_end(guest, &call));
	for (int i = 0; i < 2; i++) {
		close(console[i]);
		close(other[i]);
	}
}

Test(launcher, a_guest_goes_on_in_another_process)
{
	struct tp_guest_config config = pc_config();

	carry_ticker(&config);
}

/* Without /dev/kvm there is nothing to test, which engine-accel's test tells of as a result. */
Test(launcher, a_kvm_guest_goes_on_in_another_process)
{
	struct tp_guest_config config = pc_config();

	config.accel = TP_ACCEL_KVM;
	config.cpu_model = (char *)"qemu64-v1,-pni,-svm";
	config.channels = false;
	if (access("/dev/kvm", R_OK | W_OK) == 0)
		carry_ticker(&config);
	else
		cr_log_warn("NOT TESTED: this host has no /dev/kvm");
}

Test(launcher, devices_are_saved_more_than_once)
{
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest *guest = start(launcher, "t", TP_ROLE_BOOT, ram);
	struct tp_device_file state;
	uint8_t magic[8];

	must(tp_guest_stop(guest, &call));
	must(tp_device_file_init(&state, guest, &call));
	for (int i = 0; i < 3; i++) {
		must(tp_guest_save_devices(guest, &state, &call));
		must(tp_pread_full(state.read_fd, magic, sizeof(magic), 0, "state"));
		cr_assert_arr_eq(magic, "QEVM\0\0\0\3", 8);
	}
	tp_device_file_deinit(&state);
	assert_status(guest, "paused");
	must(tp_guest_end(guest, &call));
}

Test(launcher, a_stream_that_does_not_fit_is_explained)
{
	TP_FD int ram = new_ram(64 * TP_MIB);
	TP_FD int stream = new_ram(4096);
	struct tp_guest *guest = start(launcher, "c", TP_ROLE_INCOMING, ram);
	TP_GUEST_EXIT struct tp_guest_exit how = {0};

	must_fail(tp_guest_load_from_fd(guest, stream, true, &call), TORPOR_E_QEMU,
		"Not a migration stream");
	must(tp_guest_exit_reason(guest, &how));
	cr_assert_eq(how.status, W_EXITCODE(1, 0));
	must(tp_guest_end(guest, &call));
	cr_assert_eq(count_entries(run_dir), 0);
}

Test(launcher, capabilities)
{
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest *guest = start(launcher, "c", TP_ROLE_INCOMING, ram);

	must(tp_guest_set_capability(guest, "late-block-activate", true, &call));
	must_fail(tp_guest_set_capability(guest, "no-such-thing", true, &call),
		TORPOR_E_UNSUPPORTED, NULL);
	must_fail(tp_guest_execute(guest, "no-such-command", NULL, -1, &call, NULL),
		TORPOR_E_UNSUPPORTED, "CommandNotFound");
	must(tp_guest_end(guest, &call));
}

Test(launcher, exit_reason_tells_of_the_shutdown)
{
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest *guest = start(launcher, "t", TP_ROLE_BOOT, ram);
	TP_GUEST_EXIT struct tp_guest_exit how = {0};

	must_fail(tp_guest_exit_reason(guest, &how), TORPOR_E_BUSY, NULL);
	must(tp_guest_execute(guest, "system_reset", NULL, -1, &call, NULL));
	must(tp_wait_fd(tp_guest_pidfd(guest), POLLIN, &call, "wait for", "guest"));
	must(tp_guest_exit_reason(guest, &how));
	cr_assert_eq(how.status, 0);
	cr_assert_str_eq(how.shutdown_reason, "host-qmp-system-reset");
	must_fail(tp_guest_stop(guest, &call), TORPOR_E_QEMU, "host-qmp-system-reset");
	must(tp_guest_end(guest, &call));
}

/* Nothing was asked for, so the event is still unread when QEMU has ended. */
Test(launcher, exit_reason_reads_what_qemu_said_last)
{
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest *guest = start(launcher, "t", TP_ROLE_BOOT, ram);
	TP_GUEST_EXIT struct tp_guest_exit how = {0};

	cr_assert_eq(kill(tp_guest_pid(guest), SIGTERM), 0);
	must(tp_wait_fd(tp_guest_pidfd(guest), POLLIN, &call, "wait for", "guest"));
	must(tp_guest_exit_reason(guest, &how));
	cr_assert_str_eq(how.shutdown_reason, "host-signal");
	cr_assert_not_null(strstr(how.output_tail, "terminating on signal 15"));
	must(tp_guest_end(guest, &call));
}

static void must_not_start(
	struct tp_launcher *l, struct tp_guest_spec *spec, enum torpor_errc code, const char *part)
{
	struct tp_guest *guest;

	must_fail(tp_launcher_start(l, spec, &call, &guest), code, part);
	cr_assert_eq(count_entries(run_dir), 0, "files are left");
	cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
}

Test(launcher, a_missing_binary_is_named)
{
	struct tp_launcher *l = launcher_with("/nowhere/qemu", true);
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest_config config = pc_config();
	struct tp_guest_spec spec = spec_of(&config, "s", TP_ROLE_INCOMING, ram);

	must_not_start(l, &spec, TORPOR_E_NOT_FOUND, "/nowhere/qemu");
	tp_launcher_free(l);
}

Test(launcher, what_qemu_refuses_is_told_in_its_words)
{
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest_config config = pc_config();
	struct tp_guest_spec spec = spec_of(&config, "s", TP_ROLE_INCOMING, ram);

	config.cpu_model = (char *)"no-such-cpu";
	must_not_start(launcher, &spec, TORPOR_E_QEMU, "unable to find CPU model 'no-such-cpu'");
	config = pc_config();
	config.machine_type = (char *)"pc-i440fx-99.9";
	must_not_start(launcher, &spec, TORPOR_E_QEMU, "unsupported machine type");
}

Test(launcher, senseless_requests_are_refused)
{
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest_config config = pc_config();
	struct tp_guest_spec spec = spec_of(&config, "a/b", TP_ROLE_INCOMING, ram);

	must_not_start(launcher, &spec, TORPOR_E_INVALID, "name");
	spec.name = "ok";
	spec.kernel = "/vmlinuz";
	must_not_start(launcher, &spec, TORPOR_E_INVALID, "kernel");
	spec.kernel = NULL;
	spec.ram_fd = -1;
	must_not_start(launcher, &spec, TORPOR_E_INVALID, "memory");
	spec.ram_fd = ram;
	config.vcpus = 0;
	must_not_start(launcher, &spec, TORPOR_E_INVALID, "vcpus");
}

Test(launcher, the_deadline_ends_a_start)
{
	TP_FREE char *qemu = mute_qemu(run_dir);
	struct tp_launcher *l = launcher_with(qemu, true);
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest_config config = pc_config();
	struct tp_guest_spec spec = spec_of(&config, "s", TP_ROLE_INCOMING, ram);

	call = tp_call_within(200 * TP_NSEC_PER_MSEC);
	must_not_start(l, &spec, TORPOR_E_TIMEOUT, NULL);
	cr_assert_lt(tp_now_ns(), call.deadline_ns + 10 * TP_NSEC_PER_SEC);
	tp_launcher_free(l);
	unlink(qemu);
}

static void *cancel_when_recorded(void *data)
{
	TP_FREE char *path = tp_asprintf("%s/s/process", run_dir);
	struct stat st;

	while (stat(path, &st) < 0 || st.st_size == 0)
		sched_yield();
	eventfd_write(*(int *)data, 1);
	return NULL;
}

Test(launcher, a_start_can_be_cancelled)
{
	TP_FREE char *qemu = mute_qemu(run_dir);
	struct tp_launcher *l = launcher_with(qemu, true);
	TP_FD int ram = new_ram(64 * TP_MIB);
	TP_FD int cancel_fd = eventfd(0, EFD_CLOEXEC);
	struct tp_guest_config config = pc_config();
	struct tp_guest_spec spec = spec_of(&config, "s", TP_ROLE_INCOMING, ram);
	pthread_t thread;

	call.cancel_fd = cancel_fd;
	cr_assert_eq(pthread_create(&thread, NULL, cancel_when_recorded, &cancel_fd), 0);
	must_not_start(l, &spec, TORPOR_E_CANCELLED, NULL);
	pthread_join(thread, NULL);
	tp_launcher_free(l);
	unlink(qemu);
}

struct parallel {
	pthread_t thread;
	char name[8];
	int ram;
};

static void *start_and_end(void *data)
{
	struct parallel *p = data;

	must(tp_guest_end(start(launcher, p->name, TP_ROLE_INCOMING, p->ram), &call));
	return NULL;
}

Test(launcher, ten_in_parallel)
{
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct parallel all[10];

	for (size_t i = 0; i < TP_ARRAY_LEN(all); i++) {
		all[i].ram = ram;
		snprintf(all[i].name, sizeof(all[i].name), "p%zu", i);
		cr_assert_eq(pthread_create(&all[i].thread, NULL, start_and_end, &all[i]), 0);
	}
	for (size_t i = 0; i < TP_ARRAY_LEN(all); i++)
		pthread_join(all[i].thread, NULL);
	cr_assert_eq(count_entries(run_dir), 0);
}

Test(launcher, a_long_run_directory_is_fine)
{
	TP_FREE char *component = tp_malloc(201);
	TP_FD int ram = new_ram(64 * TP_MIB);

	memset(component, 'd', 200);
	component[200] = '\0';
	TP_FREE char *path = tp_asprintf("%s/%s", run_dir, component);
	struct tp_direct_options options = {.bound = true, .run_dir = path};
	struct tp_launcher *l;
	must(tp_direct_launcher_new(&options, &l));
	must(tp_guest_end(start(l, "s", TP_ROLE_INCOMING, ram), &call));
	tp_launcher_free(l);
}

Test(launcher, the_console_is_written_where_it_was_asked)
{
	TP_FD int ram = new_ram(64 * TP_MIB);
	struct tp_guest_config config = pc_config();
	struct tp_guest_spec spec = spec_of(&config, "t", TP_ROLE_BOOT, ram);
	struct tp_guest *guest;
	char text[64] = "";
	int pipe_fds[2];

	cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	spec.console_fd = pipe_fds[1];
	spec.kernel = TICKER;
	must(tp_launcher_start(launcher, &spec, &call, &guest));
	must(tp_read_stream(pipe_fds[0], text, strlen("torpor ticker"), &call, "console"));
	cr_assert_str_eq(text, "torpor ticker");
	must(tp_guest_end(guest, &call));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}
