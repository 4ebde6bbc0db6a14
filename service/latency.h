/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long claims, resumes, parks and checkpoints took, over the last hour and the last day: counts
 * in buckets whose edges lie 9 % apart, for each template, an hour in steps of a minute and a day
 * in steps of a quarter of an hour. In memory alone; a step in which nothing happened takes none.
 *
 * For what isn't about now, but about all time, there is service/metrics.h.
 *
 * Any thread; times are given as in service/history.h.
 */
#ifndef TP_SERVICE_LATENCY_H
#define TP_SERVICE_LATENCY_H

#include "service/history.h"

#define TP_LATENCY_TEMPLATES 32 /* more are counted together, as "other" */

struct tp_latency;

struct tp_latency *tp_latency_new(uint64_t now_ns);
/* Takes NULL. Returns NULL. */
struct tp_latency *tp_latency_free(struct tp_latency *latency);

enum tp_latency_kind {
	TP_LATENCY_WARM, /* claims, by where they were served from */
	TP_LATENCY_SHELL,
	TP_LATENCY_SPAWN,
	TP_LATENCY_RESUME,
	TP_LATENCY_PARK,
	TP_LATENCY_CHECKPOINT,
	TP_LATENCY_KINDS
};
void tp_latency_note(struct tp_latency *latency, enum tp_latency_kind kind,
	const char *template_name, uint64_t took_ns, uint64_t now_ns);

enum tp_latency_failure {
	TP_LATENCY_FAILED_CLAIM,
	TP_LATENCY_FAILED_RESUME,
	TP_LATENCY_FAILED_PARK,
	TP_LATENCY_FAILURES
};
void tp_latency_fail(struct tp_latency *latency, enum tp_latency_failure failure,
	const char *template_name, uint64_t now_ns);

/* As docs/API.md has it. */
json_t *tp_latency_json(struct tp_latency *latency, enum tp_window window, uint64_t now_ns);

#endif
