/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's directory under the run directory: RUNDIR/NAME/, mode 0700.
 *
 *   qmp, agent, helper   the sockets QEMU listens on
 *   process              {"pid": N, "start_time": N}, written by the process before it is QEMU
 *   owner                the pid of who has the lock, or had it last
 *
 * Whoever owns the guest holds a flock on RUNDIR/NAME. So a directory that can be locked and
 * whose process is gone (or was never recorded: torpor-exec holds the lock until it is) is
 * garbage, whatever was killed at which moment. A child that an owner was starting when it was
 * killed has the lock until it is QEMU: it is waited for (base/lock.h). Making and removing one
 * happens under a flock on RUNDIR itself, held for a few system calls, so that nobody locks a
 * directory that another one is about to unlink.
 */
#ifndef TP_ENGINE_RUNDIR_H
#define TP_ENGINE_RUNDIR_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/call.h"
#include "base/fd.h"
#include "engine/spawn.h"

/* Opens RUNDIR, making it (0700) if its parent is there. */
struct torpor_error *tp_rundir_open(const char *path, int *rundir_fd_out) TP_MUST_USE;

/*
 * Makes RUNDIR/NAME, or takes an abandoned one over, emptied; locked. EXISTS if it is owned, or
 * its guest runs.
 */
struct torpor_error *tp_rundir_create(int rundir_fd, const char *name, int *dir_fd_out) TP_MUST_USE;

/*
 * Opens and locks an existing one. NOT_FOUND; BUSY if it is owned. One whose owner has ended is
 * waited for until a child that it was starting has let go of it, a second at most (base/lock.h).
 */
struct torpor_error *tp_rundir_lock(int rundir_fd, const char *name, int *dir_fd_out) TP_MUST_USE;

/* What is recorded in it. NOT_FOUND if nothing is, CORRUPT if it is no record. */
struct torpor_error *tp_rundir_process(
	int dir_fd, const char *name, pid_t *pid_out, uint64_t *start_time_out) TP_MUST_USE;

/*
 * The process that is recorded in it; NOT_FOUND, too, if that has ended, or isn't the one of PID
 * and START_TIME (PID 0: whichever it is).
 */
struct torpor_error *tp_rundir_open_process(int dir_fd, const char *name, pid_t pid,
	uint64_t start_time, struct tp_process *process_out) TP_MUST_USE;

/*
 * Whether nobody has NAME, and no process is recorded that could be its guest. Who wants it at that
 * moment isn't told that it is owned.
 */
bool tp_rundir_is_abandoned(int rundir_fd, const char *name);

/* Opens the record for writing. */
struct torpor_error *tp_rundir_record(int dir_fd, const char *name, int *fd_out) TP_MUST_USE;

/* A listening stream socket DIR/SOCKET. */
struct torpor_error *tp_rundir_listen(
	int dir_fd, const char *socket, const char *name, int *fd_out) TP_MUST_USE;

/* Connects to it. NOT_FOUND if nobody listens. */
struct torpor_error *tp_rundir_connect(
	int dir_fd, const char *socket, const char *name, int *fd_out) TP_MUST_USE;

/* Removes RUNDIR/NAME, which is locked by DIR_FD. What can't be removed is logged. */
void tp_rundir_remove(int rundir_fd, const char *name, int dir_fd);

/* The names of all that are there; the caller's to free, each and the list. */
struct torpor_error *tp_rundir_list(int rundir_fd, char ***names_out, size_t *n_out) TP_MUST_USE;

/*
 * Removes all that are garbage. What CALL leaves no time for stays, for the next sweep, and is no
 * failure: it harms nobody, and who sweeps has come for something else.
 */
struct torpor_error *tp_rundir_sweep(int rundir_fd, const struct tp_call *call) TP_MUST_USE;

#endif
