/* SPDX-License-Identifier: Apache-2.0 */
/* A child process whose memory tests look into. */
#include "subject.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void subject_start(struct subject *s, void (*body)(int fd, struct subject_notes *notes), int fd)
{
	int ready[2];
	char byte = 0;

	s->notes = mmap(
		NULL, sizeof(*s->notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(s->notes, MAP_FAILED);
	cr_assert_eq(pipe(ready), 0);
	s->pid = fork();
	cr_assert_geq(s->pid, 0);
	if (s->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		body(fd, s->notes);
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1, "the child failed");
	close(ready[0]);
}

void subject_kill(struct subject *s)
{
	siginfo_t info;

	kill(s->pid, SIGKILL);
	cr_assert_eq(waitid(P_PID, (id_t)s->pid, &info, WEXITED | WNOWAIT), 0);
}

void subject_end(struct subject *s)
{
	kill(s->pid, SIGKILL);
	cr_assert_eq(waitpid(s->pid, NULL, 0), s->pid);
	munmap(s->notes, sizeof(*s->notes));
}
