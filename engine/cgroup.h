/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of one guest's process, as far as this host can enforce them: cgroup v2
 * (Documentation/admin-guide/cgroup-v2.rst) and resource limits (prlimit(2)).
 *
 * What can't be enforced is said, not dropped: every placement comes back with the list of limits
 * that are wishes here, and why.
 */
#ifndef TP_ENGINE_CGROUP_H
#define TP_ENGINE_CGROUP_H

#include <jansson.h>
#include <sys/types.h>

#include "base/error.h"

/* 0: none. */
struct tp_limits {
	double cpus;		  /* processors' worth of time: cpu.max */
	uint64_t memory_bytes;	  /* memory.max, and 15/16 of it memory.high */
	uint32_t pids;		  /* pids.max */
	uint32_t nofile;	  /* RLIMIT_NOFILE of QEMU */
	uint64_t io_bytes_per_s;  /* io.max, for the disk under the state directory */
	uint64_t net_bytes_per_s; /* no guest has a network device yet: never enforced */
};

struct tp_cgroup;

/*
 * The tree at ROOT (NULL: the cgroup that this process is in, found through /proc/self/cgroup; "":
 * none). Groups are made below it. Never fails for lack of one: then nothing is enforced by it.
 * Controllers that ROOT offers are enabled for its children; the hierarchy is otherwise left alone.
 *
 * A cgroup with processes in it can't give limits to its children. If this process is the only one
 * in ROOT it moves into a group of its own below it ("torpor-self"); no other process is ever moved
 * out of the way. So this is to be called before any guest is started.
 *
 * ROOT must be of a cgroup v2 file system. For tests the environment variable TORPOR_CGROUP_PLAIN
 * makes do with a plain directory that has a file cgroup.controllers; what is written there is
 * created, and enforces nothing.
 */
struct torpor_error *tp_cgroup_open(const char *root, struct tp_cgroup **cgroup_out) TP_MUST_USE;
/* The same without changing anything, only for tp_cgroup_can: what opening it would come to. */
struct torpor_error *tp_cgroup_look(const char *root, struct tp_cgroup **cgroup_out) TP_MUST_USE;
/* Takes NULL. Returns NULL. Groups of guests that run stay. */
struct tp_cgroup *tp_cgroup_close(struct tp_cgroup *cgroup);
TP_DEFINE_CLEANUP(struct tp_cgroup *, tp_cgroup_close)

/*
 * io_bytes_per_s is about the disk that the file or directory PATH lies on; without this it can't
 * be enforced. Before groups are placed.
 */
void tp_cgroup_set_disk(struct tp_cgroup *cgroup, const char *path);

/* The whole disk's number, "8:0", or NULL, and then why. Valid as long as CGROUP. */
const char *tp_cgroup_disk(const struct tp_cgroup *cgroup);
const char *tp_cgroup_why_no_disk(const struct tp_cgroup *cgroup);

/*
 * Puts process PID under LIMITS: first those of the group NAME (characters of session ids and
 * names), which is made if missing, then the process into it. Without a limit that a group enforces
 * none is made; in one that is there, limits that aren't among LIMITS end (but nofile, which can
 * only be lowered). *UNENFORCED_OUT is a new array of texts "cpus: the cgroup has no cpu
 * controller", empty if all hold. An error only if the system fails where it said that it could;
 * NOT_FOUND if there is no such process, as where PID is 0. Any thread.
 */
struct torpor_error *tp_cgroup_place(struct tp_cgroup *cgroup, const char *name, pid_t pid,
	const struct tp_limits *limits, json_t **unenforced_out) TP_MUST_USE;

/* Removes the group, which must be empty; what isn't there is fine, what can't be removed is
 * logged. */
void tp_cgroup_remove(struct tp_cgroup *cgroup, const char *name);
/* Removes all groups without processes. */
void tp_cgroup_sweep(struct tp_cgroup *cgroup);

/* The limits that this host can enforce and those that it can't, with reasons: for `doctor`. Texts
 * as above; both new arrays. */
void tp_cgroup_can(struct tp_cgroup *cgroup, json_t **can_out, json_t **cannot_out);

#endif
