/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A torpord of a test's own that may die at any moment, and what must be true of what it leaves:
 * records, processes, directories and files agree. One world for each program; its directory is
 * made anew, next to that of the other tests, whose template it uses.
 *
 * What isn't as it should be is printed under the label and counted; the program goes on.
 */
#ifndef TP_TESTS_INTEGRATION_CRASH_WORLD_H
#define TP_TESTS_INTEGRATION_CRASH_WORLD_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>
#include <torpor/client.h>

#include "base/error.h"

/* STOCK warm guests and as many shells wait for claims. */
void world_open(const char *name, unsigned int stock);
/* Ends all sessions and torpord, which must leave nothing. The number of complaints so far. */
unsigned int world_close(void);

/* What is under way, for complaints. */
void world_label(const char *format, ...) TP_PRINTF(1, 2);
void world_complain(const char *format, ...) TP_PRINTF(1, 2);
unsigned int world_complaints(void);

/*
 * Starts torpord with TORPOR_FAULT=FAULT (NULL: none) and waits until it is ready. False if it
 * ended before that.
 */
bool world_start(const char *fault);
void world_kill(void);
/* Waits for torpord to end by itself; true if that was by SIGKILL, as at a fault point. */
bool world_died(void);
/* Whether it runs. */
bool world_lives(void);
pid_t world_pid(void);

/* Of the torpord that runs now. */
struct torpor_client *world_client(void);
const char *world_socket(void);
const char *world_dir(void);

/* A request that must succeed; its error is complained about. False then. */
bool world_do(const char *method, const char *path, const char *body);
/* One that may fail: the error, the caller's. The answer, if wanted, too. */
struct torpor_error *world_try(
	const char *method, const char *path, const char *body, char **answer_out);

/* The first column of the first row, as text; "" if there is none. Valid for eight calls. */
const char *world_ask(const char *format, ...) TP_PRINTF(1, 2);
/* Waits up to a minute until the answer is WANTED; complains if it never is. */
void world_await(const char *wanted, const char *format, ...) TP_PRINTF(2, 3);

/* All that must always be true while nothing is under way. What was just ended gets a moment. */
void world_check(void);
/* The same without that moment, which recovery doesn't get. */
void world_check_at_once(void);

/* What SCRIPT prints in the guest, without the last newline; "?" and a complaint if it fails.
 * Valid until the next call of this thread. */
const char *world_run(struct torpor_client *client, const char *id, const char *script);

/* The process of a guest that waits warm; 0 and a complaint if there is none. */
pid_t world_warm_guest(void);

/* Ends a guest as a crash of QEMU would. */
void world_kill_guest(const char *id);

#endif
