/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's tests share. */
#ifndef TP_TESTS_ENGINE_SUPPORT_H
#define TP_TESTS_ENGINE_SUPPORT_H

#include <criterion/criterion.h>
#include <pthread.h>

#include "base/error.h"
#include "engine/launcher.h"
#include "engine/spawn.h"
#include "pc_config.h"

/* Fails the test with the error's message; frees it. */
void must(struct torpor_error *err);

/* Expects a failure with CODE whose message holds PART (NULL: any); frees it. */
void must_fail(struct torpor_error *err, enum torpor_errc code, const char *part);

/* Makes a directory; removed, with what is in it, by remove_tree. The caller frees the name. */
char *make_directory(void);
void remove_tree(const char *path);

/* Writes DIR.mute, a QEMU that starts and never says a word. The caller frees the name. */
char *mute_qemu(const char *dir);

/* How many entries PATH has. */
size_t count_entries(const char *path);

/* Whether a process with this pid exists and is no zombie. */
bool process_runs(pid_t pid);

/*
 * A process that starts a guest "x" in RUN_DIR is killed while its child isn't QEMU yet: that has
 * the lock of the guest's directory, and goes on once somebody has looked whose the lock is. The
 * thread that lets it is waited for by late_start_end.
 */
struct late_start {
	pthread_t thread;
	int watch_fd;
	int go_fd; /* the child waits for its end */
};
void owner_dies_at_a_start(const char *run_dir, struct late_start *late);
void late_start_end(struct late_start *late);

/* What another process started (a guest in RUN_DIR, a child for NULL) that was killed since. */
struct tp_process left_by_an_owner(const char *run_dir, bool bound, const struct tp_call *call);

#endif
