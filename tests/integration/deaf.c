/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that are deaf, not dead. */
#include "deaf.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENDS_WITHIN_MS 60000

struct it_held {
	pid_t pid;
	int pidfd;
	pthread_t tracer; /* what it has seized goes on when that thread ends */
	sem_t ready;
	pid_t thread; /* 0: none is held */
};

/* Processor time so far, in clock ticks. */
static unsigned long ticks_of(pid_t pid, pid_t thread)
{
	unsigned long user = 0;
	unsigned long system = 0;
	char path[64];
	char line[512] = "";

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, thread);
	FILE *f = fopen(path, "re");
	if (!f)
		return 0;
	const char *name_end = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	fclose(f);
	if (!name_end || sscanf(name_end, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
				 &user, &system) != 2)
		return 0;
	return user + system;
}

/* QEMU's thread for its monitors, which libvirt keeps busy; named only where libvirt runs QEMU. */
static bool is_monitors(pid_t pid, pid_t thread)
{
	char path[64];
	char name[32] = "";

	snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", pid, thread);
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	bool read = fgets(name, sizeof(name), f);
	fclose(f);
	return read && strncmp(name, "IO mon", strlen("IO mon")) == 0;
}

/* The guest has run: no other thread but the first one has done as much. 0: there is none. */
static pid_t busiest_but_first(pid_t pid)
{
	unsigned long most = 0;
	pid_t busiest = 0;
	char path[64];
	struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		pid_t thread = atoi(entry->d_name);
		unsigned long ticks = thread > 0 && thread != pid ? ticks_of(pid, thread) : 0;
		if (ticks > most && !is_monitors(pid, thread)) {
			most = ticks;
			busiest = thread;
		}
	}
	if (dir)
		closedir(dir);
	return busiest;
}

static pid_t hold_processor(pid_t pid)
{
	pid_t thread = busiest_but_first(pid);
	int status;

	if (thread == 0 || ptrace(PTRACE_SEIZE, thread, NULL, NULL) < 0)
		return 0;
	if (ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) < 0 ||
		waitpid(thread, &status, __WALL) != thread || !WIFSTOPPED(status))
		return 0;
	return thread;
}

static void *trace(void *data)
{
	struct it_held *held = data;
	int status;
	bool over;

	held->thread = hold_processor(held->pid);
	sem_post(&held->ready);
	/* The thread of a process that is killed is to be reaped by who traces it. */
	do {
		over = !held->thread ||
		       (waitpid(held->thread, &status, __WALL) < 0 ? errno != EINTR
								   : !WIFSTOPPED(status));
	} while (!over);
	return NULL;
}

struct it_held *it_hold(pid_t pid)
{
	struct it_held *held = calloc(1, sizeof(*held));

	held->pid = pid;
	held->pidfd = pidfd_open(pid, 0);
	sem_init(&held->ready, 0, 0);
	if (held->pidfd < 0 || pthread_create(&held->tracer, NULL, trace, held) != 0)
		abort();
	while (sem_wait(&held->ready) < 0)
		;
	if (held->thread)
		return held;
	it_held_ended(held);
	return NULL;
}

bool it_held_ended(struct it_held *held)
{
	struct pollfd end = {.events = POLLIN};

	if (!held)
		return false;
	end.fd = held->pidfd;
	bool ended = !held->thread || poll(&end, 1, ENDS_WITHIN_MS) > 0;
	if (!ended)
		kill(held->pid, SIGKILL);
	pthread_join(held->tracer, NULL);
	sem_destroy(&held->ready);
	close(held->pidfd);
	free(held);
	return ended;
}
