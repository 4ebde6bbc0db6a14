/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests that are deaf, not dead.
 *
 * A SIGSTOP makes QEMU deaf as a whole. Held, it answers on its socket, and the guest, which must
 * have run and have one processor, never gets on: the thread of that is kept from running by
 * ptrace(2).
 */
#ifndef TP_TESTS_INTEGRATION_DEAF_H
#define TP_TESTS_INTEGRATION_DEAF_H

#include <stdbool.h>
#include <sys/types.h>

struct it_held;

/* NULL if that isn't allowed, or it ends meanwhile. */
struct it_held *it_hold(pid_t pid);
/*
 * Whether the process has ended within a minute; if not it is killed. HELD is gone then. Takes
 * NULL: false.
 */
bool it_held_ended(struct it_held *held);

#endif
