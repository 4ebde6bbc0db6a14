/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Templates in use: opened once, in supply, and charged to the host's memory.
 *
 * Those that are configured to have stock are taken into use when the service opens; others with
 * their first session, and out again once they have had none for TP_TEMPLATE_IDLE_NS.
 */
#ifndef TP_SERVICE_TEMPLATES_H
#define TP_SERVICE_TEMPLATES_H

#include "service/service.h"

#define TP_TEMPLATE_IDLE_NS (600 * TP_NSEC_PER_SEC)

struct tp_templates;

struct tp_templates *tp_templates_new(void);
/* All sessions and the supply must be gone. Takes NULL. Returns NULL. */
struct tp_templates *tp_templates_free(struct tp_templates *templates);

/* Takes over what is configured for each; those in use are told to the supply. */
void tp_templates_configure(struct tp_service *service, const struct tp_service_config *config);
/*
 * Takes into use what is configured to have stock, and what sessions that run were made from.
 * Blocks as long as filling takes.
 */
void tp_templates_prepare(struct tp_service *service, const struct tp_call *call);
/* What tp_templates_prepare has not done yet, as text; NULL: nothing. */
char *tp_templates_missing(struct tp_service *service);
/* Lets go of those that nobody has needed for long. */
void tp_templates_release(struct tp_service *service, uint64_t now_ns);
/* Of each that is in use: EACH(DATA, name). Without a lock. */
void tp_templates_each(struct tp_service *service,
	void (*each)(void *data, struct tp_service *service, const char *name), void *data);
/* {"warm", "shells", ...} of docs/API.md; all zero for those not in use. */
struct tp_supply_view;
json_t *tp_templates_pool_json(const struct tp_supply_view *view);

#endif
