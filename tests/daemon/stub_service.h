/* SPDX-License-Identifier: Apache-2.0 */
/* In place of the service, for tests of the plumbing: one tenant, one token, and counters. */
#ifndef TP_TESTS_STUB_SERVICE_H
#define TP_TESTS_STUB_SERVICE_H

#include <stdatomic.h>

#include "service/service.h"

#define STUB_TOKEN	 "tpr_alice"
#define STUB_ADMIN_TOKEN "tpr_admin"
#define STUB_OLD_TOKEN	 "tpr_old" /* its time is over */
#define STUB_TENANT	 "alice"
#define STUB_UID	 4242

struct stub {
	_Atomic int refused;		 /* tp_service_count_refusal */
	_Atomic int counted;		 /* tp_service_count_request */
	_Atomic int rate_left;		 /* mutating requests until LIMIT "rate" */
	_Atomic int repeat_open;	 /* keys that are some request's at this moment */
	_Atomic int logins;		 /* tp_service_login, tp_service_logout */
	_Atomic bool revoked;		 /* STUB_TOKEN isn't valid any more */
	_Atomic uint64_t token_until_ns; /* its end; 0: none */
	char ended[96];			 /* the login that tp_service_logout was told of */
	char last_route[160];
};
extern struct stub stub;
void stub_reset(void);

#endif
