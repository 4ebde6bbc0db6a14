/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many threads run commands through one connection to the real helper, beside requests, and the
 * connection goes away under them a few times: each gets what is its own, or is told why not. A
 * plain program, since Criterion can't run under the race detector.
 *
 *   stress_commands [SEED]
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/helper.h"
#include "guest/helper.h"

#define THREADS	    36 /* more than can run commands at a time */
#define ROUNDS	    30 /* of each */
#define CONNECTIONS 4  /* one after the other */
#define PARKED	    "the session was parked"

static _Noreturn void fail(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	abort();
}

static void must(struct torpor_error *err, const char *what)
{
	if (err)
		fail(what, torpor_error_message(err));
}

/* --- the guests: processes, all made before there are threads --- */

static int change_nothing(int64_t ns)
{
	(void)ns;
	return 0;
}

static pid_t start_guest(int *host_fd)
{
	static struct tp_guest guest;
	static const struct tp_guest_world world = {
		.set_clock = change_nothing, .shift_clock = change_nothing};
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		fail("socketpair", "failed");
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fds[0]);
		fcntl(fds[1], F_SETFL, O_NONBLOCK);
		_exit(tp_guest_serve(&guest, fds[1], &world));
	}
	close(fds[1]);
	*host_fd = fds[0];
	return pid;
}

/* --- the session: whoever has the turn makes commands and requests --- */

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int host_fds[CONNECTIONS];
static unsigned int connection; /* by the turn */
static struct tp_helper *h;	/* by the turn */
static atomic_uint answered, refused, cut, hurried;

static struct tp_call patient(void)
{
	return tp_call_within(300 * TP_NSEC_PER_SEC);
}

static void make_fresh(uint64_t nonce, uint32_t steps)
{
	struct tp_fresh fresh = {.nonce = nonce, .steps = steps};
	struct tp_fresh_done done;
	struct tp_call call = patient();

	must(tp_helper_send_fresh(h, &fresh, &call), "send");
	must(tp_helper_wait_fresh(h, &fresh, &call, &done), "wait");
	if (done.done != steps)
		fail("fresh", "not all was done");
}

static void connect_next(void)
{
	h = tp_helper_new(host_fds[connection++]);
	make_fresh(1, TP_WIRE_STEP_CLOCK);
}

/* As a park and a resume in another process. */
static void park(void)
{
	pthread_mutex_lock(&turn);
	tp_helper_retire(h, TORPOR_E_BUSY, "s1", PARKED);
	tp_helper_free(h);
	connect_next();
	pthread_mutex_unlock(&turn);
}

static void ask(unsigned int i)
{
	struct tp_call call = patient();
	struct tp_helper_pong pong;

	pthread_mutex_lock(&turn);
	if (i % 3 == 0)
		make_fresh(i + 2, TP_WIRE_STEP_CLOCK);
	else if (i % 3 == 1)
		make_fresh(i + 2, TP_WIRE_STEP_CLOCK_SHIFT);
	else
		must(tp_helper_ping(h, &call, &pong), "ping");
	pthread_mutex_unlock(&turn);
}

/* --- commands --- */

enum kind {
	ECHO,	/* prints a line of its own */
	CAT,	/* gets its input back */
	PRINT,	/* much, to a sink that takes its time */
	SLEEP,	/* until its time is over */
	REFUSE, /* its sink fails */
	KINDS
};

struct job {
	enum kind kind;
	unsigned int salt;
	unsigned int seed;	 /* of the sink's choices */
	char word[16], line[17]; /* what echo is given, and prints */
	size_t to_give, given, taken;
	bool wrong;
};

/* Of its output, and of CAT's input. */
static uint8_t byte_at(const struct job *job, size_t i)
{
	if (job->kind == ECHO)
		return i < strlen(job->line) ? (uint8_t)job->line[i] : 0xff;
	return job->kind == CAT ? (uint8_t)(job->salt + i * 7 / 3) : 0;
}

static struct torpor_error *give(void *data, void *bytes, size_t room, size_t *len_out)
{
	struct job *job = data;
	size_t len = TP_MIN(room, job->to_give - job->given);

	for (size_t i = 0; i < len; i++)
		((uint8_t *)bytes)[i] = byte_at(job, job->given + i);
	job->given += len;
	*len_out = len;
	return NULL;
}

static struct torpor_error *take(void *data, int stream, const void *bytes, size_t len)
{
	struct job *job = data;
	const uint8_t *at = bytes;

	if (job->kind == REFUSE)
		return tp_error(TORPOR_E_NOSPACE, "keep", NULL, "no room");
	for (size_t i = 0; i < len; i++) {
		job->wrong |= stream != 1 || at[i] != byte_at(job, job->taken++);
	}
	if (job->kind == PRINT && rand_r(&job->seed) % 4 == 0)
		sched_yield();
	return NULL;
}

#define MUCH	  300000
#define MUCH_TEXT "300000"

/* What became of a command that was answered. */
static void check(const struct job *job, const struct tp_exec_result *result)
{
	size_t expected = job->kind == ECHO  ? strlen(job->line)
			  : job->kind == CAT ? job->to_give
					     : MUCH;

	if (result->signaled || result->value != 0)
		fail("command", "it ended in another way than it does");
	if (job->wrong || job->taken != expected)
		fail("command", "its output isn't what it printed");
}

static void judge(const struct job *job, struct torpor_error *taken, bool hurry,
	const struct tp_exec_result *result)
{
	TP_ERROR struct torpor_error *err = taken;

	if (!err) {
		check(job, result);
		atomic_fetch_add(&answered, 1);
		return;
	}
	enum torpor_errc code = torpor_error_code(err);
	if (code == TORPOR_E_LIMIT && torpor_error_reason(err))
		atomic_fetch_add(&refused, 1);
	else if (code == TORPOR_E_BUSY && strstr(torpor_error_message(err), PARKED))
		atomic_fetch_add(&cut, 1);
	else if ((code == TORPOR_E_TIMEOUT && hurry) ||
		 (code == TORPOR_E_NOSPACE && job->kind == REFUSE))
		atomic_fetch_add(&hurried, 1);
	else
		must(TP_TAKE(err), "command");
}

static struct torpor_error *run(
	const struct tp_exec *spec, const struct tp_call *call, struct tp_exec_result *result)
{
	struct tp_command *command;
	struct tp_call soon = patient();

	pthread_mutex_lock(&turn);
	struct torpor_error *err = tp_command_new(h, spec, &soon, &command);
	pthread_mutex_unlock(&turn);
	if (err)
		return err;
	err = tp_command_explain(
		command, tp_command_follow(command, call, result), "run a command in", &soon);
	tp_command_free(command);
	return err;
}

static void run_some(unsigned int *seed)
{
	struct job job = {
		.kind = (enum kind)(rand_r(seed) % KINDS), .salt = (unsigned int)rand_r(seed)};
	bool hurry = job.kind == SLEEP || rand_r(seed) % 8 == 0;
	struct tp_call call =
		hurry ? tp_call_within((unsigned int)rand_r(seed) % 30000000) : patient();
	const char *const argvs[KINDS][5] = {
		[ECHO] = {"echo", job.word},
		[CAT] = {"cat"},
		[PRINT] = {"head", "-c", MUCH_TEXT, "/dev/zero"},
		[SLEEP] = {"sleep", "5"}, /* those that are cut off are left behind */
		[REFUSE] = {"echo", "x"},
	};
	struct tp_exec spec = {
		.argv = argvs[job.kind],
		.source = job.kind == CAT ? give : NULL,
		.sink = take,
		.data = &job,
		.kill_on_cancel = true,
		.window = 1000u << rand_r(seed) % 7,
	};
	struct tp_exec_result result;

	snprintf(job.word, sizeof(job.word), "%u", job.salt);
	snprintf(job.line, sizeof(job.line), "%u\n", job.salt);
	job.to_give = (size_t)(rand_r(seed) % 200000);
	judge(&job, run(&spec, &call, &result), hurry, &result);
}

static void *act(void *data)
{
	unsigned int seed = (unsigned int)(uintptr_t)data;

	for (int i = 0; i < ROUNDS; i++)
		run_some(&seed);
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned int seed = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : 1;
	pthread_t threads[THREADS];
	pid_t guests[CONNECTIONS];

	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < CONNECTIONS; i++)
		guests[i] = start_guest(&host_fds[i]);
	connect_next();
	for (unsigned int i = 0; i < THREADS; i++) {
		if (pthread_create(&threads[i], NULL, act, (void *)(uintptr_t)(seed + i)) != 0)
			fail("start", "no thread");
	}
	/* Each connection for a quarter of the work. */
	for (unsigned int i = 0; connection < CONNECTIONS; i++) {
		ask(i);
		unsigned int done = answered + refused + cut + hurried;
		if (done >= THREADS * ROUNDS / CONNECTIONS * connection)
			park();
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("%u answered, %u refused, %u cut off, %u given up\n", answered, refused, cut,
		hurried);
	tp_helper_free(h);
	for (int i = 0; i < CONNECTIONS; i++) {
		kill(guests[i], SIGKILL);
		waitpid(guests[i], NULL, 0);
	}
	return 0;
}
