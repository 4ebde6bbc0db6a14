/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting processes from a process that may be large and have many threads.
 *
 * The parent only does posix_spawn, which copies no page tables, of a small static program,
 * torpor-exec. That one puts things in order (signals, descriptors, who it dies with), writes
 * down who it is, and becomes the program wanted.
 *
 * A bound process gets SIGKILL when the *thread* that started it ends (prctl(2),
 * PR_SET_PDEATHSIG). So a spawner owns one lasting thread that does all its starting: what is
 * bound lives as long as the spawner, and never longer than this process.
 */
#ifndef TP_ENGINE_SPAWN_H
#define TP_ENGINE_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/call.h"
#include "base/fd.h"

/* The first descriptor number that a started program finds its descriptors at. */
#define TP_SPAWN_FIRST_FD 3

/* One process. The pair of pid and start time never names another one, in this boot. */
struct tp_process {
	pid_t pid;
	uint64_t start_time; /* field 22 of /proc/PID/stat, in clock ticks since boot */
	int pidfd;	     /* owned; readable once the process has ended */
};

struct tp_spawn_spec {
	/* argv[0] is the program: a path, or a name to be looked up in PATH. NULL-terminated. */
	char *const *argv;
	/*
	 * Descriptors to hand over, not taken: fds[i] becomes number TP_SPAWN_FIRST_FD + i. The
	 * program gets no others but 0 (/dev/null), 1 and 2 (both output_fd).
	 */
	const int *fds;
	size_t n_fds;
	int output_fd;
	/* Dies with the spawner; otherwise it gets a session of its own and lives on. */
	bool bound;
	/*
	 * Written before the program starts, so that no started process goes unrecorded, however
	 * its parent ends: {"pid": N, "start_time": N} and a newline. -1: not wanted.
	 */
	int record_fd;
	/* Stays open in torpor-exec until the program starts: to hold a flock. -1: none. */
	int lock_fd;
};

struct tp_spawner;

/*
 * HELPER is the path of torpor-exec; NULL: $TORPOR_EXEC, else the one in the build directory if
 * the running program lies there, else the installed one. Fails with NOT_FOUND if it isn't
 * executable.
 */
struct torpor_error *tp_spawner_new(
	const char *helper, struct tp_spawner **spawner_out) TP_MUST_USE;

/* The path of torpor-exec. Valid as long as SPAWNER. */
const char *tp_spawner_helper(const struct tp_spawner *spawner);

/* Ends the thread, and with it all processes still bound. No call may be under way. NULL is fine.
 */
struct tp_spawner *tp_spawner_free(struct tp_spawner *spawner);
TP_DEFINE_CLEANUP(struct tp_spawner *, tp_spawner_free)

/*
 * Starts a process and returns when the program itself runs (its exec has succeeded). Any number
 * of threads may call at once. NOT_FOUND, DENIED ... if it can't be executed; on failure no
 * process is left. PROCESS_OUT is a child of this process, to be waited for by the caller, or
 * handed to tp_spawner_disown.
 */
struct torpor_error *tp_spawner_start(struct tp_spawner *spawner, const struct tp_spawn_spec *spec,
	const struct tp_call *call, struct tp_process *process_out) TP_MUST_USE;

/*
 * Hands over the waiting for a child that nobody is interested in any more (it may go on
 * running): the spawner keeps it from becoming a zombie. Takes the pidfd.
 */
void tp_spawner_disown(struct tp_spawner *spawner, struct tp_process *process);

/* Closes the pidfd; the process goes on. */
void tp_process_deinit(struct tp_process *process);

/* NOT_FOUND if there is no such process. A zombie is one. */
struct torpor_error *tp_process_start_time(pid_t pid, uint64_t *start_time_out) TP_MUST_USE;

/* Opens the process with this identity; NOT_FOUND if it is gone, or its pid is another's now. */
struct torpor_error *tp_process_open(
	pid_t pid, uint64_t start_time, struct tp_process *process_out) TP_MUST_USE;

/* Whether it has ended (a zombie has). Doesn't block. */
bool tp_process_ended(const struct tp_process *process);

/*
 * Sends SIGKILL and waits until the process has ended. If it is this process's child it is
 * reaped, and *STATUS_OUT (may be NULL) is as of wait(2); else -1. An ended process is fine.
 */
struct torpor_error *tp_process_kill(
	const struct tp_process *process, const struct tp_call *call, int *status_out) TP_MUST_USE;

/* Takes the status of an ended child, as wait(2) gives it; -1 if it isn't a child or goes on. */
int tp_process_reap(const struct tp_process *process);

/*
 * A file for a process's output that holds no more than SIZE bytes: what comes later is refused
 * to the writer. Never blocks it and needs no reader.
 */
struct torpor_error *tp_output_new(size_t size, int *fd_out) TP_MUST_USE;

/*
 * The end of what was written, at most MAX bytes, in one line: newlines become "; ", other
 * control characters "?". Never NULL; "" if there is nothing. The caller's to free.
 */
char *tp_output_tail(int fd, size_t max);

#endif
