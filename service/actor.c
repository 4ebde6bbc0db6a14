/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what; and what those are told who may not. */
#include <stdio.h>
#include <string.h>

#include "service/service_priv.h"

static const char id_digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";

struct tp_actor tp_actor_self(const char *tenant)
{
	struct tp_actor self = {
		.how = "torpord", .admin = true, .self = true, .perms = TP_PERM_ALL};

	snprintf(self.tenant, sizeof(self.tenant), "%s", tenant);
	return self;
}

bool tp_id_ok(const char *id)
{
	return strlen(id) == TP_ID_LEN && strspn(id, id_digits) == TP_ID_LEN;
}

struct torpor_error *tp_no_session(const char *id)
{
	/* What can't be an id isn't repeated: it could be anything. */
	return tp_error(TORPOR_E_NOT_FOUND, "find session", tp_id_ok(id) ? id : NULL,
		"there is none of that id");
}

static const char *perm_name(enum tp_perm perm)
{
	switch (perm) {
	case TP_PERM_READ:
		return "read";
	case TP_PERM_EXEC:
		return "exec";
	case TP_PERM_OPERATE:
		return "operate";
	default:
		return "create";
	}
}

struct torpor_error *tp_actor_may(const struct tp_actor *actor, enum tp_perm perm, const char *id)
{
	if (actor->session[0] && id && strcmp(actor->session, id) != 0)
		return tp_no_session(id);
	if (!(actor->perms & perm))
		return tp_error_hint(tp_error(TORPOR_E_DENIED, "authorize", NULL,
					     "the permission \"%s\" is missing", perm_name(perm)),
			"Ask for a token that has it.");
	/* Whoever is bound to one session makes no others. */
	if (actor->session[0] && !id && perm == TP_PERM_CREATE)
		return tp_error(TORPOR_E_DENIED, "authorize", NULL,
			"the token is for session %s alone", actor->session);
	return NULL;
}

struct torpor_error *tp_actor_must_be_admin(const struct tp_actor *actor)
{
	if (actor->admin)
		return NULL;
	return tp_error(TORPOR_E_DENIED, "authorize", NULL, "this is for the admin");
}
