/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures for Prometheus (text format 0.0.4).
 *
 * The families are fixed; what has labels is kept by their values, at most
 * TP_METRICS_SERIES of each family: further values are counted together as "other", so that nobody
 * can fill memory with names.
 */
#ifndef TP_SERVICE_METRICS_H
#define TP_SERVICE_METRICS_H

#include "base/buf.h"
#include "service/service.h"

#define TP_METRICS_SERIES 256
#define TP_METRIC_LABELS  2

enum tp_family {
	TP_FAMILY_CLAIM,
	TP_FAMILY_RESUME,
	TP_FAMILY_PARK,
	TP_FAMILY_CHECKPOINT,
	TP_FAMILY_COMMIT,
	TP_FAMILY_REQUEST_TIME,
	TP_FAMILY_REQUESTS,
	TP_FAMILY_FAILURES,
	TP_FAMILY_REFUSALS,
	TP_FAMILY_KEPT,
	/* Gauges, and counters that others keep: written as they are when they are asked for. */
	TP_FAMILY_SESSIONS,
	TP_FAMILY_STOCK,
	TP_FAMILY_TARGET,
	TP_FAMILY_STARTING,
	TP_FAMILY_SERVED,
	TP_FAMILY_START_FAILURES,
	TP_FAMILY_DEAF,
	TP_FAMILY_DEGRADED,
	TP_FAMILY_QUEUE,
	TP_FAMILY_MEMORY,
	TP_FAMILY_MEMORY_AVAILABLE,
	TP_FAMILY_IMAGE_BYTES,
	TP_FAMILY_PRESSURE,
	TP_FAMILY_EVENTS,
	TP_FAMILY_CHANGES,
	TP_FAMILY_COMMITS,
	TP_FAMILY_AUDITED,
	TP_FAMILY_AUDIT_LOST,
	TP_FAMILY_RESIDENT,
	TP_FAMILY_FDS,
	TP_FAMILY_STARTED,
	TP_FAMILY_COUNT
};

struct tp_service_metrics;

struct tp_service_metrics *tp_metrics_new(void);
/* Takes NULL. Returns NULL. */
struct tp_service_metrics *tp_metrics_free(struct tp_service_metrics *metrics);

/* When it was made: CLOCK_REALTIME, in nanoseconds. */
uint64_t tp_metrics_since(const struct tp_service_metrics *metrics);

/* Label values in the family's order; NULL where it has fewer. */
void tp_metrics_count(struct tp_service_metrics *metrics, enum tp_family family,
	const char *value_a, const char *value_b);
void tp_metrics_observe(struct tp_service_metrics *metrics, enum tp_family family,
	const char *value_a, const char *value_b, uint64_t took_ns);
/* What was counted and observed, as text. */
void tp_metrics_write(struct tp_service_metrics *metrics, struct tp_buf *out);

/* For what is asked for now: the family's head, and one sample of it. */
void tp_metric_head(struct tp_buf *out, enum tp_family family);
void tp_metric_sample(struct tp_buf *out, enum tp_family family, const char *value_a,
	const char *value_b, double value);

/* Something was done to a session by itself: "ttl", "idle", "retention", "pressure" ... */
void tp_count_kept(struct tp_service *service, const char *why);

#endif
