/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values against the JSON Schemas of an OpenAPI 3.1 document: as much of JSON Schema 2020-12 as
 * daemon/openapi.json uses. A keyword that isn't known is a failure, so that nothing in the
 * document goes unchecked.
 *
 * One thing is stricter than JSON Schema: an object with `properties` and without
 * `additionalProperties` may have no others. To clients that leaves room for more; here a member
 * that the document doesn't have is one that somebody forgot to describe.
 */
#ifndef TP_TESTS_DAEMON_SCHEMA_H
#define TP_TESTS_DAEMON_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>

/* Whether VALUE is what SCHEMA says. If not, *WHY_OUT says where and what; the caller's to free. */
bool schema_valid(const json_t *doc, const json_t *schema, const json_t *value, char **why_out);

/*
 * Whether the document has this answer: METHOD in capitals, PATH as in the document, BODY NULL for
 * none. Problems are looked up like all others.
 */
bool schema_check(const json_t *doc, const char *method, const char *path, int status,
	const json_t *body, char **why_out);

/* The same for the body of a request. */
bool schema_check_request(const json_t *doc, const char *method, const char *path,
	const json_t *body, char **why_out);

/* What a "#/..." stands for, or NULL; JSON that isn't a reference stands for itself. */
const json_t *schema_resolve(const json_t *doc, const json_t *json);

/* The operation, or NULL. */
const json_t *schema_operation(const json_t *doc, const char *method, const char *path);

#endif
