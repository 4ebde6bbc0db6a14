/* SPDX-License-Identifier: Apache-2.0 */
/* Errors as HTTP has them: status, and problem details (RFC 9457). docs/API.md has the table. */
#ifndef TP_DAEMON_PROBLEM_H
#define TP_DAEMON_PROBLEM_H

#include "daemon/http.h"

/* The HTTP status for ERR. */
int http_problem_status(const struct torpor_error *err);
/* The body for ERR, answered with STATUS (http_problem for one that isn't its own); new. */
json_t *http_problem_json(const struct torpor_error *err, int status);

#endif
