/* SPDX-License-Identifier: Apache-2.0 */
/* The direct launcher, and guests of it. */
#include "real_launcher.h"

#include <signal.h>
#include <stdlib.h>

#include "base/mem.h"
#include "engine/control.h"
#include "engine/direct.h"
#include "support.h"

char *run_dir;
struct tp_launcher *launcher;
struct tp_call call;

struct tp_launcher *launcher_with(const char *qemu, bool bound)
{
	struct tp_direct_options options = {.qemu = qemu, .bound = bound, .run_dir = run_dir};
	struct tp_launcher *l;

	must(tp_direct_launcher_new(&options, &l));
	return l;
}

void launcher_setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	run_dir = make_directory();
	launcher = launcher_with(NULL, true);
	call = tp_call_within(OBJECT_TIMEOUT_NS);
}

static bool nobody_keeps(void *data, const char *name)
{
	(void)data;
	(void)name;
	return false;
}

void launcher_teardown(void)
{
	unsigned int count;

	torpor_error_free(tp_launcher_end_orphans(launcher, nobody_keeps, NULL, &call, &count));
	tp_launcher_free(launcher);
	remove_tree(run_dir);
	free(run_dir);
}

int new_ram(uint64_t size)
{
	int fd;

	must(tp_memfd("test-ram", size, &fd));
	return fd;
}

struct tp_guest_spec spec_of(
	const struct tp_guest_config *config, const char *name, enum tp_role role, int ram_fd)
{
	return (struct tp_guest_spec){
		.config = config,
		.name = name,
		.role = role,
		.ram_fd = ram_fd,
		.ram_shared = role == TP_ROLE_BOOT,
		.console_fd = -1,
	};
}

struct tp_guest *start(struct tp_launcher *l, const char *name, enum tp_role role, int ram_fd)
{
	struct tp_guest_config config = pc_config();
	struct tp_guest_spec spec = spec_of(&config, name, role, ram_fd);
	struct tp_guest *guest;

	must(tp_launcher_start(l, &spec, &call, &guest));
	return guest;
}

void assert_status(struct tp_guest *guest, const char *expected)
{
	TP_FREE char *status = NULL;

	must(tp_guest_query_status(guest, &call, &status));
	cr_assert_str_eq(status, expected);
}
