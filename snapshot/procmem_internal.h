/* SPDX-License-Identifier: Apache-2.0 */
/* What the files behind procmem.h share. */
#ifndef TP_SNAPSHOT_PROCMEM_INTERNAL_H
#define TP_SNAPSHOT_PROCMEM_INTERNAL_H

#include "snapshot/procmem.h"

/* A failed system call on process PID: its code and hint follow from ERRNUM as procmem.h says. */
struct torpor_error *tp_procmem_error(int errnum, const char *step, pid_t pid) TP_MUST_USE;

/* A line of /proc/PID/maps. */
struct tp_vma {
	struct tp_mapping range;
	char perms[5]; /* "rw-p" */
	bool named;    /* has a path or a name such as [heap] */
};

/* All of the process's, ascending. *VMAS_OUT is allocated and the caller's to free. */
struct torpor_error *tp_procmem_vmas(
	pid_t pid, struct tp_vma **vmas_out, size_t *n_out) TP_MUST_USE;

/* tp_procmem_find_anon() among VMAS. */
struct tp_mapping *tp_procmem_anon_among(const struct tp_vma *vmas, size_t n_vmas, uint64_t min_len,
	uint64_t max_len, size_t *n_out) TP_MUST_USE;

#endif
