/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's tests share. */
#ifndef TP_TESTS_ENGINE_SUPPORT_H
#define TP_TESTS_ENGINE_SUPPORT_H

#include <criterion/criterion.h>

#include "base/error.h"
#include "engine/config.h"
#include "engine/launcher.h"

#define OBJECT_TIMEOUT_NS (20 * TP_NSEC_PER_SEC)

/* Fails the test with the error's message; frees it. */
void must(struct torpor_error *err);

/* Expects a failure with CODE whose message holds PART (NULL: any); frees it. */
void must_fail(struct torpor_error *err, enum torpor_errc code, const char *part);

/* A pc guest of 64 MiB under TCG. The strings are static: no deinit. */
struct tp_guest_config pc_config(void);

/* Makes a directory; removed, with what is in it, by remove_tree. The caller frees the name. */
char *make_directory(void);
void remove_tree(const char *path);

/* How many entries PATH has. */
size_t count_entries(const char *path);

/* Whether a process with this pid exists and is no zombie. */
bool process_runs(pid_t pid);

#endif
