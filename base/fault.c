/* SPDX-License-Identifier: Apache-2.0 */
/* Fault points. */
#include "base/fault.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

/* Constant after tp_fault_init. */
static char *wanted; /* NULL: none */
static bool fails;

static atomic_long left; /* until it strikes */

void tp_fault_init(void)
{
	const char *text = getenv("TORPOR_FAULT");

	free(wanted);
	wanted = NULL;
	if (!text || !*text)
		return;
	wanted = tp_strdup(text);
	long count = 1;
	char *colon = strchr(wanted, ':');
	if (colon) {
		char *end;
		*colon = '\0';
		count = strtol(colon + 1, &end, 10);
		fails = strcmp(end, ":fail") == 0;
	}
	atomic_init(&left, count);
}

static bool strikes(const char *name)
{
	return wanted && strcmp(wanted, name) == 0 && atomic_fetch_sub(&left, 1) == 1;
}

void tp_fault(const char *name)
{
	if (strikes(name) && !fails)
		kill(getpid(), SIGKILL);
}

struct torpor_error *tp_fault_check(const char *name)
{
	if (!strikes(name))
		return NULL;
	if (!fails)
		kill(getpid(), SIGKILL);
	return tp_error(TORPOR_E_IO, "pass", name, "a fault was asked for");
}
