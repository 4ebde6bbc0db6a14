/* SPDX-License-Identifier: Apache-2.0 */
/* The sockets that torpord listens on. */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "daemon/listen.h"

#define AT_ONCE 4

/* Takes PATH once GO ends, and has it until it is ended. */
static void try_to_listen(const char *path, int go, int told)
{
	int fd;
	char c;

	(void)!read(go, &c, 1);
	c = tp_listen_unix(path, 0600, NULL, &fd) ? 'n' : 'y';
	(void)!write(told, &c, 1);
	for (;;)
		pause();
}

/* How many of those have PATH that want it at the same time. */
static int winners_of(const char *path)
{
	pid_t pids[AT_ONCE];
	int go[2];
	int told[2];
	int winners = 0;

	cr_assert(pipe(go) == 0 && pipe(told) == 0);
	for (int i = 0; i < AT_ONCE; i++) {
		pids[i] = fork();
		if (pids[i] != 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(go[1]);
		try_to_listen(path, go[0], told[1]);
	}
	close(go[1]);
	for (int i = 0; i < AT_ONCE; i++) {
		char c;
		cr_assert(read(told[0], &c, 1) == 1);
		winners += c == 'y';
	}
	for (int i = 0; i < AT_ONCE; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	close(go[0]);
	close(told[0]);
	close(told[1]);
	return winners;
}

Test(sockets, one_of_those_who_want_a_name_has_it)
{
	char dir[] = "/tmp/torpord-test.XXXXXX";

	cr_assert(mkdtemp(dir));
	TP_FREE char *path = tp_asprintf("%s/sock", dir);
	for (int i = 0; i < 300; i++) /* the first takes a free name, the others a dead one's */
		cr_assert_eq(winners_of(path), 1);
	cr_assert(unlink(path) == 0 && rmdir(dir) == 0);
}
