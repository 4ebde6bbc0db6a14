/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one engine tells a later one of a session whose guest it leaves behind, as JSON text. It is
 * read back with the distrust that all files get.
 */
#ifndef TP_POOL_HANDOVER_H
#define TP_POOL_HANDOVER_H

#include "pool/session.h"

struct tp_handover {
	char *guest; /* its name in the run directory */
	pid_t pid;
	uint64_t start_time;
	uint8_t template_id[TP_IDENTITY_LEN];
	bool has_base;
	struct tp_record record;
	char *image_name; /* or NULL, as a session has it */
	char *image_path; /* likewise */
	uint32_t owed;
	uint64_t entered_ns; /* CLOCK_MONOTONIC, of the same boot */
	/* Pages of the small blocks that didn't hold what the base holds when they were loaded. */
	struct tp_handover_page {
		uint64_t number; /* behind main RAM */
		uint8_t bytes[TP_PAGE_SIZE];
	} * small;
	size_t n_small;
};

void tp_handover_deinit(struct tp_handover *handover);
static inline void tp_handover_deinit_cleanup_(struct tp_handover *handover)
{
	tp_handover_deinit(handover);
}
#define TP_HANDOVER __attribute__((cleanup(tp_handover_deinit_cleanup_)))

/* CORRUPT for what is none, MISMATCH for one of another version. */
struct torpor_error *tp_handover_parse(
	const char *text, struct tp_handover *handover_out) TP_MUST_USE;

#endif
