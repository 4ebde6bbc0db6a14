/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logins of browsers, as far as the service has to do with them: what the audit log says, and which
 * were ended.
 *
 * A login that was ended must stay so across a restart, and for no longer than it would have
 * lasted. That is what is kept of a request that may be repeated, and so it is one: its key can't
 * be sent by anybody, as it isn't printable.
 */
#include <string.h>

#include "base/mem.h"
#include "service/repeats.h"
#include "service/service_priv.h"

static_assert(TP_LOGIN_MEMORY_NS <= TP_REPEAT_KEEP_NS, "a login that was ended is remembered");

static char *key_of(const char *login)
{
	return tp_asprintf("\tlogin %s", login);
}

struct torpor_error *tp_service_login(struct tp_service *service, const struct tp_actor *actor)
{
	struct tp_op op = {.actor = actor, .op = "login"};

	return tp_settle(service, &op, NULL, NULL);
}

struct torpor_error *tp_service_logout(
	struct tp_service *service, const struct tp_actor *actor, const char *login)
{
	struct tp_op op = {.actor = actor, .op = "logout"};
	TP_FREE char *key = key_of(login);
	TP_FREE char *tenant = tp_strdup(actor->tenant);
	struct tp_change *change = tp_change_new();

	tp_change_put_repeat(change, &(struct tp_repeat_row){
					     .tenant = tenant,
					     .key = key,
					     .status = 204,
					     .created_ns = tp_realtime_ns(),
				     });
	return tp_settle(service, &op, change, NULL);
}

struct torpor_error *tp_service_check_login(
	struct tp_service *service, const struct tp_actor *actor, const char *login)
{
	TP_FREE char *key = key_of(login);
	struct tp_repeat_row row = {0};
	struct torpor_error *err = tp_records_repeat(service->records, actor->tenant, key, &row);

	if (!err) {
		tp_repeat_row_deinit(&row);
		return tp_error(TORPOR_E_DENIED, "open", "a login", "it was ended");
	}
	if (torpor_error_code(err) != TORPOR_E_NOT_FOUND)
		return err;
	torpor_error_free(err);
	return NULL;
}
