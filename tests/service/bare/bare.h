/* SPDX-License-Identifier: Apache-2.0 */
/* A service without engine, and so without guests: what can be tested of records, tenants, views.
 */
#ifndef TESTS_SERVICE_BARE_H
#define TESTS_SERVICE_BARE_H

#include <criterion/criterion.h>

#include "service/service_priv.h"

/* Fails the test with what ERR says, unless it is NULL. */
#define must(call)                                                                                 \
	do {                                                                                       \
		struct torpor_error *must_err_ = (call);                                           \
		cr_assert_null(must_err_, "%s: %s", #call,                                         \
			must_err_ ? torpor_error_message(must_err_) : "");                         \
	} while (0)

/* Fails the test unless CALL fails with CODE. */
#define must_fail(call, code)                                                                      \
	do {                                                                                       \
		struct torpor_error *must_err_ = (call);                                           \
		cr_assert_not_null(must_err_, "%s succeeded", #call);                              \
		cr_assert_eq(torpor_error_code(must_err_), code, "%s: %s", #call,                  \
			torpor_error_message(must_err_));                                          \
		torpor_error_free(must_err_);                                                      \
	} while (0)

/* A new directory under TMPDIR with an empty images/; the caller's to free. */
char *bare_dir(void);
/* Removes it with all that is in it, and frees the name. */
void bare_remove_dir(char *dir);

/* With real records and audit log in DIR, the defaults of a service, and nothing else. */
struct tp_service *bare_open(const char *dir);
struct tp_service *bare_close(struct tp_service *service);

struct tp_actor bare_admin(void);
struct tp_actor bare_tenant(const char *name);

/* Puts a session's row, of that state and with the park image UUID (or NULL). */
void bare_put_session(struct tp_service *service, const char *id, const char *tenant,
	const char *state, const char *uuid);
void bare_put_image(struct tp_service *service, const char *name, const char *session,
	const char *tenant, const char *kind);

/* JSON from text with ' for ". */
json_t *bare_json(const char *text);

#endif
