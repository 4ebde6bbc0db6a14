/* SPDX-License-Identifier: Apache-2.0 */
/* Rounds over all peers, cell by cell. */
#ifndef TP_COMPARE_RUN_H
#define TP_COMPARE_RUN_H

#include <stdio.h>

#include "compare.h"

struct cmp_plan {
	struct cmp_places places;
	const char *peers;	 /* names with commas between; NULL: all */
	unsigned int rounds;	 /* of the first cell, 256 MiB and idle */
	unsigned int more_rounds; /* of all others */
	bool first_cell_only;
	unsigned int quiet_ms; /* that a guest runs between restore and save */
	FILE *out;	       /* samples.jsonl */
};

/*
 * Writes a line for each peer and each sample. A failed sample is a line too; a peer that fails
 * thrice in a row takes no further part in its cell. CANCELLED ends the run; what was measured is
 * written by then.
 */
struct torpor_error *cmp_run(const struct cmp_plan *plan, const struct tp_call *call) TP_MUST_USE;

#endif
