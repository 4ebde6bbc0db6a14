/* SPDX-License-Identifier: Apache-2.0 */
/* In place of daemon/routes.c: a table of routes that show what the plumbing does. */
#ifndef TP_TESTS_STUB_ROUTES_H
#define TP_TESTS_STUB_ROUTES_H

#include <semaphore.h>

#include "daemon/http.h"

/* Posted when a handler is entered that waits, when a producer begins, and when data was freed. */
extern _Atomic unsigned int stub_events; /* that streams took, so far */
extern sem_t stub_entered, stub_producing, stub_freed;
/* Eventfds: each count lets one go on of those that wait at that gate; -1: none does. */
extern int stub_gates[2];
/* One that waits at GATE goes on, or the next that comes there. */
void stub_let_go(unsigned int gate);

#endif
