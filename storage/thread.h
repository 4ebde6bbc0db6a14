/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of storage's own. Internal to storage. */
#ifndef TP_STORAGE_THREAD_H
#define TP_STORAGE_THREAD_H

#include <pthread.h>

#include "base/error.h"

/* Starts a thread that takes no signals: those are for the program's own. STEP is for the error. */
struct torpor_error *tp_thread_start(
	pthread_t *thread_out, void *(*run)(void *), void *arg, const char *step) TP_MUST_USE;

#endif
