/* SPDX-License-Identifier: Apache-2.0 */
/* Importing, with a step in between for those who record it. */
#ifndef TP_POOL_IMPORT_H
#define TP_POOL_IMPORT_H

#include "pool/engine.h"

/*
 * Called with the image durable and the domain standing still behind it. An error takes the import
 * back: the image is removed, the domain goes on.
 */
typedef struct torpor_error *tp_import_hook(void *data, const struct torpor_import_report *report);

/* As torpor_import; no session is opened. HOOK may be NULL. */
struct torpor_error *tp_import(struct torpor_engine *engine, const struct torpor_import_spec *spec,
	const char *hostname, tp_import_hook *hook, void *data, const struct tp_call *call,
	struct torpor_import_report *report_out, char **name_out) TP_MUST_USE;

#endif
