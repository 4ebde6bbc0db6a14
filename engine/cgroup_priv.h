/* SPDX-License-Identifier: Apache-2.0 */
/* The seam by which tests play the kernel's part in a cgroup tree. */
#ifndef TP_ENGINE_CGROUP_PRIV_H
#define TP_ENGINE_CGROUP_PRIV_H

#include <stdbool.h>

#include "engine/cgroup.h"

/* Writes TEXT to FILE of the group open as GROUP_FD; 0 or an errno. */
typedef int tp_cgroup_write_fn(void *data, int group_fd, const char *file, const char *text);

/* As tp_cgroup_open (CHANGE) and tp_cgroup_look, of a plain directory, with WRITE for writing. */
struct torpor_error *tp_cgroup_open_with(const char *root, bool change, tp_cgroup_write_fn *write,
	void *data, struct tp_cgroup **cgroup_out) TP_MUST_USE;

/*
 * Where a cgroup v2 hierarchy is mounted, and which of its cgroups is at that place, as the file
 * MOUNTINFO tells (proc(5)). False if it isn't mounted. Both are the caller's to free.
 */
bool tp_cgroup_find_mount(const char *mountinfo, char **point_out, char **root_out);

#endif
