/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks that outlive who took them.
 *
 * flock(2) and F_OFD_SETLK lock an open file, and that belongs to all who share it. A process that
 * is killed while it starts a child leaves its locks to that child until the child's exec closes
 * the descriptors (execve(2), "close-on-exec"), and the kernel keeps the files of a ring that was
 * at work for a moment longer. Who comes next finds locked what nobody has, for some milliseconds
 * as a rule: it looks again instead of believing in an owner.
 */
#ifndef TP_BASE_LOCK_H
#define TP_BASE_LOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* How long to look again. */
#define TP_LOCK_PATIENCE_NS (1000ull * 1000 * 1000)

/* Whether no process PID runs; one that waits to be reaped doesn't. What isn't known runs. */
bool tp_pid_has_ended(pid_t pid);

/* Sleeps for a millisecond. False, at once, if UNTIL_NS (CLOCK_MONOTONIC) has come. */
bool tp_lock_await(uint64_t until_ns);

/* flock(FD, LOCK_EX | LOCK_NB), again for TP_LOCK_PATIENCE_NS while others have it. 0, or -1. */
int tp_lock_soon(int fd);

#endif
