/* SPDX-License-Identifier: Apache-2.0 */
/* Requests with a key that are under way: the records know only those that are done. */
#ifndef TP_SERVICE_REPEATS_H
#define TP_SERVICE_REPEATS_H

#include "service/service.h"

/* Outcomes are kept so long; then a key is new again. */
#define TP_REPEAT_KEEP_NS (UINT64_C(24) * 3600 * TP_NSEC_PER_SEC)

struct tp_repeats;

struct tp_repeats *tp_repeats_new(void);
/* Nothing may be under way. Takes NULL. Returns NULL. */
struct tp_repeats *tp_repeats_free(struct tp_repeats *repeats);

#endif
