/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tenants: a copy of the records' rows in memory, kept with them, and each one's rate.
 *
 * The functions of service_priv.h and tp_service_rate take no lock but the copy's own, and may be
 * called with the service's lock held.
 */
#ifndef TP_SERVICE_TENANTS_H
#define TP_SERVICE_TENANTS_H

#include "service/service.h"

struct tp_tenants;

/* Reads them, making the default one where it is missing. RECORDS must outlive it. */
struct torpor_error *tp_tenants_new(
	struct tp_records *records, struct tp_tenants **tenants_out) TP_MUST_USE;
/* Takes NULL. Returns NULL. */
struct tp_tenants *tp_tenants_free(struct tp_tenants *tenants);
/* The defaults from now on; before anything else is asked. */
void tp_tenants_configure(struct tp_tenants *tenants, const struct tp_service_config *config);

/* Takes one of TENANT's requests at NOW_NS (CLOCK_MONOTONIC). 0: granted, else seconds to wait. */
unsigned int tp_tenants_take(struct tp_tenants *tenants, const char *tenant, uint64_t now_ns);

/* The names of all; *NAMES_OUT is one array of the caller's, each to be freed too. */
size_t tp_tenants_names(struct tp_tenants *tenants, char ***names_out);

#endif
