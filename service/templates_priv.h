/* SPDX-License-Identifier: Apache-2.0 */
/* Templates, for templates.c, which uses them, and templates_admin.c, which shows, builds, removes.
 */
#ifndef TP_SERVICE_TEMPLATES_PRIV_H
#define TP_SERVICE_TEMPLATES_PRIV_H

#include "pool/turn.h"
#include "service/service_priv.h"
#include "service/templates.h"

struct tp_template_entry {
	/* Constant. */
	struct tp_template_entry *next;
	char *name;
	struct tp_turn *turn; /* of whoever takes it into use or out */

	/* By the lock. */
	struct torpor_template *tmpl; /* NULL: not in use */
	uint64_t used_ns;	      /* CLOCK_MONOTONIC */
	bool building;
	char stage[16]; /* of building it: "boot" ...; "": it hasn't begun */
	char line[161]; /* what happened last, in ASCII */
	char *failure; /* why it couldn't be taken into use last; NULL: it could, or wasn't tried */
};

struct tp_templates {
	/* By the lock. */
	pthread_mutex_t lock;
	struct tp_template_entry *entries; /* of every template ever used, until the end */
	struct tp_template_config *configs;
	size_t n_configs;
	struct tp_policy_config policy; /* of those without configuration */
	uint64_t charged;		/* bytes of bases, to the host's memory */
};

/* By the lock. NULL if there is none. */
struct tp_template_entry *tp_template_entry_find(struct tp_templates *templates, const char *name);
/* The entry of NAME, which is a template's or will be; made if missing. */
struct torpor_error *tp_template_entry_get(struct tp_templates *templates, const char *name,
	struct tp_template_entry **entry_out) TP_MUST_USE;
struct tp_policy_config tp_template_policy(struct tp_templates *templates, const char *name);

/* By the entry's turn: TMPL is the entry's handle from now on; the one that was is let go. */
void tp_template_put_to_use(
	struct tp_service *service, struct tp_template_entry *entry, struct torpor_template *tmpl);
/* Why it couldn't be taken into use; NULL: it could. */
void tp_template_note_failure(struct tp_templates *templates, struct tp_template_entry *entry,
	const struct torpor_error *err);
/* Charges what the bases in use come to. */
void tp_templates_charge(struct tp_service *service);
/* Tells the events of its state. */
void tp_template_publish(struct tp_service *service, const char *name);

#endif
