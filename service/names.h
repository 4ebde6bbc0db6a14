/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of names that is ticked off: what is in one list and not in another. For a hundred thousand
 * of them: three allocations that double, nothing sorted.
 */
#ifndef TP_SERVICE_NAMES_H
#define TP_SERVICE_NAMES_H

#include <stdbool.h>

#include "base/buf.h"

struct tp_name_slot {
	uint32_t hash;
	uint32_t entry; /* where it begins, plus 1; 0: free */
};

/* All zero: empty. */
struct tp_names {
	struct tp_buf entries;	    /* one behind the other: a byte, 1 once taken; the name; NUL */
	struct tp_name_slot *slots; /* open addressing; owned */
	size_t n_slots;		    /* a power of two, at least twice as many as entries; or 0 */
	size_t n;
};

void tp_names_deinit(struct tp_names *names);
/* NAME, which is copied, must not be in it. */
void tp_names_add(struct tp_names *names, const char *name);
/* Takes NAME; false if it isn't in it. Taking it again is the same. */
bool tp_names_take(struct tp_names *names, const char *name);
/* Those that weren't taken, in the order of adding: behind NAME, which it gave before, or the first
 * (NULL). NULL: no more. Valid until something is added. */
const char *tp_names_next_left(const struct tp_names *names, const char *name);

#endif
