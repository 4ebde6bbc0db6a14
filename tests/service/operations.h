/* SPDX-License-Identifier: Apache-2.0 */
/* Operations, each done in one way, by alice on the session of that id. */
#ifndef TP_TESTS_SERVICE_OPERATIONS_H
#define TP_TESTS_SERVICE_OPERATIONS_H

#include "fake.h"

extern struct tp_service *service;
extern struct tp_actor alice;
extern struct tp_call forever;

void open_world(void);
void close_world(void);

typedef struct torpor_error *operation_fn(const char *id, json_t **view_out);

operation_fn create; /* of another; its id isn't looked at */
operation_fn park;
operation_fn resume;
operation_fn pause_it;
operation_fn unpause;
operation_fn checkpoint;
operation_fn fork_it; /* three times */
operation_fn destroy;
operation_fn change;	   /* its name, to "renamed" */
operation_fn remove_image; /* "cp-1", the first checkpoint */

/* Does it, which must succeed. */
void must(operation_fn *operation, const char *id);

#endif
