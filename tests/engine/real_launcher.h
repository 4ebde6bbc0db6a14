/* SPDX-License-Identifier: Apache-2.0 */
/* The direct launcher over a run directory of each test's own, and guests without a system in them.
 */
#ifndef TP_TESTS_ENGINE_REAL_LAUNCHER_H
#define TP_TESTS_ENGINE_REAL_LAUNCHER_H

#include "engine/launcher.h"

extern char *run_dir;
extern struct tp_launcher *launcher; /* its guests end with this process */
extern struct tp_call call;

void launcher_setup(void);
/* Ends what a failed test has left. */
void launcher_teardown(void);

/* Another one over the same directory; QEMU NULL: the default. BOUND: guests end with this process.
 */
struct tp_launcher *launcher_with(const char *qemu, bool bound);

int new_ram(uint64_t size);
/* CONFIG must outlive it. */
struct tp_guest_spec spec_of(
	const struct tp_guest_config *config, const char *name, enum tp_role role, int ram_fd);
struct tp_guest *start(struct tp_launcher *l, const char *name, enum tp_role role, int ram_fd);
void assert_status(struct tp_guest *guest, const char *expected);

#endif
