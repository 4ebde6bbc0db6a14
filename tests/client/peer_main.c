/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer SCRIPT COMMAND...: runs COMMAND against a scripted torpord. The exit status is the
 * command's, or 99 if a request wasn't as the script has it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "peer.h"

#define SCRIPT_MAX (256 * TP_KIB)

static pid_t start(struct peer *peer, char **command)
{
	pid_t pid = fork();

	if (pid == 0) {
		setenv("TORPOR_SOCKET", peer->path, 1);
		execvp(command[0], command);
		_exit(127);
	}
	return pid;
}

int main(int argc, char **argv)
{
	struct peer peer;
	size_t len;
	char *script;
	int status;

	if (argc < 3)
		return 98;
	TP_ERROR struct torpor_error *err =
		tp_read_file(AT_FDCWD, argv[1], SCRIPT_MAX, &script, &len);
	if (err)
		return 98;
	peer_listen(&peer, script);
	pid_t pid = start(&peer, argv + 2);
	peer_play(&peer, pidfd_open(pid, 0));
	if (peer.failure)
		kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	TP_FREE char *failure = peer_end(&peer);
	free(script);
	if (failure) {
		fprintf(stderr, "peer: %s\n", failure);
		return 99;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
