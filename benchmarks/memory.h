/* SPDX-License-Identifier: Apache-2.0 */
/* What memory a process has, and where it goes. */
#ifndef TP_BENCH_MEMORY_H
#define TP_BENCH_MEMORY_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * A QEMU process's memory by what it is for, as far as its mappings tell
 * (Documentation/filesystems/proc.rst, /proc/PID/smaps).
 */
enum bench_use {
	BENCH_USE_GUEST,   /* the base, or a guest's own RAM file */
	BENCH_USE_CODE,	   /* what TCG translated: writable and executable */
	BENCH_USE_HEAP,	   /* malloc's main arena */
	BENCH_USE_PROGRAM, /* of QEMU's file and its libraries: relocated and written data */
	BENCH_USE_OTHER,   /* small blocks, further arenas, stacks, what QEMU maps for itself */
	BENCH_USES
};
extern const char *const bench_use_names[BENCH_USES];

/* Bytes. */
struct bench_memory {
	uint64_t private_bytes; /* that only this process has */
	uint64_t proportional;	/* that, and its share of what it has in common with others (PSS) */
	uint64_t page_tables;	/* the kernel's, on top */
	uint64_t by_use[BENCH_USES]; /* of private_bytes */
};

/* IO, e.g. because PID has ended or may not be looked into. */
struct torpor_error *bench_memory_of(pid_t pid, struct bench_memory *memory_out) TP_MUST_USE;

/* The same of the text of smaps; page_tables is left alone. */
void bench_memory_read(FILE *smaps, struct bench_memory *memory_out);

#endif
