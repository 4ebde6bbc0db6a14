/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what. */
#include <string.h>

#include "base/mem.h"
#include "expect.h"
#include "fake.h"

#define ID    "aaaaaaaaaaaaaaaa"
#define OTHER "bbbbbbbbbbbbbbbb"

Test(actor, has_the_permissions_it_was_given_and_no_others)
{
	struct tp_actor actor = fake_actor("alice");

	for (uint32_t perms = 0; perms <= TP_PERM_ALL; perms++) {
		actor.perms = perms;
		for (uint32_t perm = 1; perm <= TP_PERM_CREATE; perm <<= 1) {
			if (perms & perm)
				ok(tp_actor_may(&actor, perm, ID));
			else
				fails(tp_actor_may(&actor, perm, ID), TORPOR_E_DENIED);
		}
	}
}

Test(actor, bound_to_a_session_sees_no_other_and_makes_none)
{
	struct tp_actor actor = fake_actor("alice");

	memcpy(actor.session, ID, sizeof(ID));
	ok(tp_actor_may(&actor, TP_PERM_CREATE, ID));
	ok(tp_actor_may(&actor, TP_PERM_READ, NULL));
	fails(tp_actor_may(&actor, TP_PERM_CREATE, NULL), TORPOR_E_DENIED);
	fails(tp_actor_may(&actor, TP_PERM_READ, OTHER), TORPOR_E_NOT_FOUND);
	/* Not even whether it would have had the permission is said. */
	actor.perms = 0;
	fails(tp_actor_may(&actor, TP_PERM_READ, OTHER), TORPOR_E_NOT_FOUND);
}

Test(actor, a_session_of_anothers_is_answered_like_one_that_is_not_there)
{
	struct tp_service *service = fake_open();
	struct tp_actor alice = fake_actor("alice");
	struct tp_actor mallory = fake_actor("mallory");
	TP_FREE char *id = fake_create(service, &alice, "s");
	TP_FREE char *parked_id = fake_create(service, &alice, "p");
	struct tp_call call = tp_call_within(TP_NO_DEADLINE);
	const char *ids[] = {id, parked_id};
	json_t *view = NULL;

	ok(tp_service_park(service, &alice, parked_id, &call, &view));
	json_decref(view);
	for (size_t i = 0; i < TP_ARRAY_LEN(ids); i++) {
		TP_ERROR struct torpor_error *others =
			tp_service_get(service, &mallory, ids[i], &view);
		ok(tp_service_destroy(service, &alice, ids[i], &call));
		TP_ERROR struct torpor_error *none =
			tp_service_get(service, &mallory, ids[i], &view);
		cr_assert(others && none);
		cr_expect_str_eq(torpor_error_message(others), torpor_error_message(none));
		cr_expect_eq(torpor_error_code(others), torpor_error_code(none));
		cr_expect(!torpor_error_hint(others) && !torpor_error_hint(none));
	}
	fake_close(service);
}

Test(actor, what_can_not_be_an_id_is_not_repeated)
{
	TP_ERROR struct torpor_error *err = tp_no_session("../../etc/passwd\xff");

	cr_expect_null(strstr(torpor_error_message(err), "passwd"));
	cr_expect_eq(torpor_error_code(err), TORPOR_E_NOT_FOUND);
}

Test(actor, torpord_may_do_anything_for_a_tenant)
{
	struct tp_actor self = tp_actor_self("alice");

	ok(tp_actor_may(&self, TP_PERM_CREATE, ID));
	ok(tp_actor_must_be_admin(&self));
	cr_expect_str_eq(self.tenant, "alice");
	struct tp_actor alice = fake_actor("alice");
	fails(tp_actor_must_be_admin(&alice), TORPOR_E_DENIED);
}
