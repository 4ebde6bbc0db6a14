/* SPDX-License-Identifier: Apache-2.0 */
/* Starting threads. */
#include "storage/thread.h"

#include <signal.h>

struct torpor_error *tp_thread_start(
	pthread_t *thread_out, void *(*run)(void *), void *arg, const char *step)
{
	sigset_t all;
	sigset_t before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int errnum = pthread_create(thread_out, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return errnum == 0 ? NULL : tp_error_errno(errnum, step, NULL);
}
