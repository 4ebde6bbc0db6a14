/* SPDX-License-Identifier: Apache-2.0 */
/* Rounds over all peers, cell by cell. */
#ifndef TP_COMPARE_RUN_H
#define TP_COMPARE_RUN_H

#include <stdio.h>

#include "compare.h"

/* 256 MiB of RAM, of which the guest writes none. */
#define CMP_FIRST_CELL "256M-idle"

struct cmp_plan {
	struct cmp_places places;
	const char *peers;	  /* names with commas between; NULL: all */
	const char *cells;	  /* the same: "256M-idle,4G-200M" */
	unsigned int rounds;	  /* of the first cell, 256 MiB and idle */
	unsigned int more_rounds; /* of all others */
	unsigned int quiet_ms;	  /* that a guest runs between restore and save */
	FILE *out;		  /* samples.jsonl */
};

/*
 * Writes a line for each peer and each sample. A failed sample is a line too; a peer that fails
 * thrice in a row takes no further part in its cell. CANCELLED ends the run; what was measured is
 * written by then.
 */
struct torpor_error *cmp_run(const struct cmp_plan *plan, const struct tp_call *call) TP_MUST_USE;

/* Whether a cell of the plan has guests with that much RAM. */
bool cmp_wants_size(const struct cmp_plan *plan, uint64_t ram_bytes);

/* The first name in LIST that no cell, or peer, has, the caller's to free; NULL: all are known. */
char *cmp_unknown_cell(const char *list);
char *cmp_unknown_peer(const char *list);

#endif
