/* SPDX-License-Identifier: Apache-2.0 */
/*
 * owner child|RUN_DIR bound|kept: starts a child, or a guest "x" in RUN_DIR, writes its pid to
 * standard output, and waits to be killed.
 *
 * A program and not a fork() of the tests': they have threads, and what one of those holds at that
 * moment (an allocator's lock, under sanitizers) the child would wait for forever. Without
 * Criterion, whose tests' processes can't start another one of its programs.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/direct.h"
#include "pc_config.h"

static void or_die(struct torpor_error *err)
{
	if (!err)
		return;
	fprintf(stderr, "owner: %s\n", torpor_error_message(err));
	_exit(1);
}

static pid_t start_child(bool bound, const struct tp_call *call)
{
	struct tp_spawn_spec spec = {
		.argv = (char *const[]){(char *)"sleep", (char *)"1000", NULL},
		.bound = bound,
		.record_fd = -1,
		.lock_fd = -1,
	};
	struct tp_spawner *spawner;
	struct tp_process child;

	or_die(tp_output_new(4096, &spec.output_fd));
	or_die(tp_spawner_new(NULL, &spawner));
	or_die(tp_spawner_start(spawner, &spec, call, &child));
	return child.pid;
}

static pid_t start_guest(const char *run_dir, bool bound, const struct tp_call *call)
{
	struct tp_direct_options options = {.bound = bound, .run_dir = run_dir};
	struct tp_guest_config config = pc_config();
	struct tp_guest_spec spec = {
		.config = &config,
		.name = "x",
		.role = TP_ROLE_INCOMING,
		.console_fd = -1,
	};
	struct tp_launcher *launcher;
	struct tp_guest *guest;

	or_die(tp_memfd("test-ram", config.memory_bytes, &spec.ram_fd));
	or_die(tp_direct_launcher_new(&options, &launcher));
	or_die(tp_launcher_start(launcher, &spec, call, &guest));
	return tp_guest_pid(guest);
}

int main(int argc, char **argv)
{
	struct tp_call call = tp_call_within(OBJECT_TIMEOUT_NS);

	if (argc != 3)
		return 2;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	bool bound = strcmp(argv[2], "bound") == 0;
	pid_t pid = strcmp(argv[1], "child") == 0 ? start_child(bound, &call)
						  : start_guest(argv[1], bound, &call);
	if (write(STDOUT_FILENO, &pid, sizeof(pid)) != sizeof(pid))
		return 1;
	for (;;)
		pause();
}
