/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests of the service with real guests share: a state directory for each test, a process that
 * serves and is killed, and short ways to ask.
 */
#ifndef TP_TESTS_INTEGRATION_SERVING_H
#define TP_TESTS_INTEGRATION_SERVING_H

#include <sys/types.h>

#include "service/service_priv.h"
#include "support.h"

/* A new state directory, with the template that all tests share. */
const char *serving_dir(void);

/* The service's defaults over DIR: little stock, no timers, no pings. */
struct tp_service_config serving_config(const char *dir);

extern struct tp_actor serving_actor; /* the tenant "default" */

/* All of these fail the test if they fail; views are new references. */
struct tp_service *serving_open(const char *dir);
/* Destroys its sessions, so that no guest is left, and closes it. */
void serving_end(struct tp_service *service);
/* The id in VIEW, which is taken; valid until 64 more were kept. */
const char *serving_keep_id(json_t *view);
/* The id of a new session, kept in that way. */
const char *serving_create(struct tp_service *service, const char *name);
json_t *serving_get(struct tp_service *service, const char *id);
void serving_park(struct tp_service *service, const char *id);
void serving_resume(struct tp_service *service, const char *id);
/* What SCRIPT, which must succeed, printed in the guest; valid until the next call. */
const char *serving_run(struct tp_service *service, const char *id, const char *script);
/* Kills a guest that is no child of this process, and waits for its end. */
void serving_kill_guest(int pid);
/* Its process; 0 without one. */
int serving_pid(struct tp_service *service, const char *id);
void serving_assert_state(struct tp_service *service, const char *id, const char *state);
/* Waits for an event that says so. */
void serving_await_state(struct tp_service *service, const char *id, const char *state);

/*
 * Runs SCENARIO on a service over DIR in a process of its own, with the fault point FAULT (NULL:
 * none). That process is killed, as by `kill -9`, when the scenario has returned, or by the fault.
 * What the scenario told is in the parent's serving_told.
 */
struct serving_told {
	char ids[8][TP_ID_LEN + 1];
	int pids[8];
	size_t n;
	bool returned; /* the fault didn't strike */
};
typedef void serving_scenario(struct tp_service *service);
extern struct serving_told *serving_told; /* in memory that both share */
void serving_kill_after(const char *dir, const char *fault, serving_scenario *scenario);
/* In a scenario: this one is of interest. Its pid is told too. */
void serving_tell(struct tp_service *service, const char *id);

/* Whether there is such a process and it hasn't ended (a zombie has). */
bool serving_runs(int pid);
/* Ends guests that a failed test has left, and removes its directory: for .fini. */
void serving_clean_up(void);
/* Guests in DIR's run directory that run. */
unsigned int serving_guests(const char *dir);

#endif
