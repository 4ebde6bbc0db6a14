/* SPDX-License-Identifier: Apache-2.0 */
/* Between crash_world.c and crash_check.c. */
#ifndef TP_TESTS_INTEGRATION_CRASH_PRIV_H
#define TP_TESTS_INTEGRATION_CRASH_PRIV_H

#include "crash_world.h"

/* In the environment of all that belongs to a world: its directory. */
#define WORLD_MARK "TORPOR_TEST_WORLD"

struct crash_world {
	const char *torpord;
	char *dir;	 /* log, configuration, socket */
	char *state_dir; /* below it */
	char *socket;
	unsigned int stock;
	pid_t pid;   /* 0: it doesn't run */
	pid_t *pids; /* of all torpords so far */
	size_t n_pids;
	bool was_killed;
	struct torpor_client *client;
};

extern struct crash_world world;

/* Ends all guests of this world. How many there were. */
unsigned int world_end_guests(void);

#endif
