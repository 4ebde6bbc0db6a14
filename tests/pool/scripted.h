/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests without QEMU: a process that only stands there, and a thread that speaks for it on its
 * sockets, as far as it is to answer.
 */
#ifndef TP_TESTS_POOL_SCRIPTED_H
#define TP_TESTS_POOL_SCRIPTED_H

#include <semaphore.h>
#include <stdatomic.h>

#include "pool/template.h"

/* What it answers. */
#define SCRIPTED_QMP	1u
#define SCRIPTED_HELPER 2u
#define SCRIPTED_WELL	3u

struct scripted {
	pid_t pid;
	atomic_uint answers;
	sem_t asked; /* posted for each query-status that it gets, */
	sem_t told;  /* and that it has answered */
	pthread_t thread;
	int qmp_fd;
	int helper_fd;
};

/*
 * A warm guest of TMPL that waits; or a shell, which has no helper's connection yet. The thread
 * ends with the guest.
 */
void scripted_wait_warm(struct scripted *guest, struct torpor_template *tmpl, unsigned int answers);
void scripted_wait_shell(
	struct scripted *guest, struct torpor_template *tmpl, unsigned int answers);
/* Its control socket closes, its process goes on. */
void scripted_close_qmp(struct scripted *guest);
/* It must have been ended: waits for the thread, and says whether the process is gone. */
bool scripted_ended(struct scripted *guest);

#endif
