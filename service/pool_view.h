/* SPDX-License-Identifier: Apache-2.0 */
/* What the host and its pool look like at this moment, for views and for scraping. */
#ifndef TP_SERVICE_POOL_VIEW_H
#define TP_SERVICE_POOL_VIEW_H

#include "service/service_priv.h"

/* Sessions by state: those with a process by what they do now, others as recorded. */
struct torpor_error *tp_count_states(
	struct tp_service *service, uint64_t counts_out[TP_STATE_COUNT]) TP_MUST_USE;

#endif
