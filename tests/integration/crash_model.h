/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that does things at random to sessions of its own, and knows what must come of it, also
 * when torpord died before it had answered.
 */
#ifndef TP_TESTS_INTEGRATION_CRASH_MODEL_H
#define TP_TESTS_INTEGRATION_CRASH_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <torpor/error.h>

struct model;

/* WHO is in its sessions' names, which no other model uses. TENANT NULL: "default". */
struct model *model_new(unsigned int who, const char *tenant, uint64_t seed);
void model_free(struct model *model);

/* To the torpord that runs now. */
void model_connect(struct model *model);
void model_disconnect(struct model *model);

/* Does one thing and checks its answer. After an error, what was asked for may have happened. */
struct torpor_error *model_step(struct model *model);

/* What is there must be what there was before or behind the last step, if that failed; from then on
 * it is known again. */
void model_reconcile(struct model *model);

/* Destroys all that it has. */
void model_clear(struct model *model);

#endif
