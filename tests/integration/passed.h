/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of this program's own probes are passed, in what order, with what arguments: a tracer
 * inside, so that neither rights nor a tool are needed. Each probe's nop becomes a breakpoint,
 * whose signal is handled here.
 *
 * x86-64 only, as the way in which a probe's note says where arguments are.
 */
#ifndef TP_TESTS_INTEGRATION_PASSED_H
#define TP_TESTS_INTEGRATION_PASSED_H

#include <stddef.h>
#include <stdint.h>

#define IT_PASSED_MAX 4096

struct it_passed {
	const char *probe; /* "park__begin" */
	char who[65];	   /* the first argument, a string; empty where it was NULL */
	uint64_t second;   /* the second one, 0 where there is none */
	char command[33];  /* the second one of qmp probes */
};

/* Begins to note; all failures end the test. Returns how many places there are to note. */
unsigned int it_passed_begin(void);

/* What was passed since the beginning, or since it_passed_forget; valid until that. */
const struct it_passed *it_passed(size_t *n_out);
void it_passed_forget(void);

/* The first that has WHO and PROBE, or NULL. */
const struct it_passed *it_passed_find(const char *who, const char *probe);

/* What WHO has passed but for QMP commands, separated by blanks; valid until the next call. */
const char *it_passed_by(const char *who);

#endif
