/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at sessions' processes and at the host every TP_HISTORY_STEP_S, on a thread of its own, and
 * notes what it finds in the history. A process costs two files of /proc: 20 us.
 */
#ifndef TP_SERVICE_SAMPLER_H
#define TP_SERVICE_SAMPLER_H

#include "service/history.h"

struct tp_sampler;

struct torpor_error *tp_sampler_start(
	struct tp_service *service, struct tp_sampler **sampler_out) TP_MUST_USE;
/* Takes NULL. Returns NULL. */
struct tp_sampler *tp_sampler_stop(struct tp_sampler *sampler);

/* One look, now. */
void tp_sampler_look(struct tp_service *service, uint64_t now_ns);

/* The host, or TENANT's part of it, as it is. */
struct torpor_error *tp_sample_host(struct tp_service *service, const char *tenant,
	uint64_t sessions_bytes, uint64_t running, struct tp_host_sample *sample_out) TP_MUST_USE;

/* What a parked session would take, and where that is from: "parks", "running", "charge". */
uint64_t tp_sample_per_parked(struct tp_service *service, const char *tenant,
	uint64_t sessions_bytes, uint64_t running, const char **from_out);

/* Memory of process PID, private to it and shared with others; false: it is gone. OWN_MEMORY: its
 * guest's RAM is a file that nobody else has. */
bool tp_sample_memory(int pid, bool own_memory, uint64_t *private_out, uint64_t *shared_out);

#endif
