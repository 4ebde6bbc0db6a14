/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill -9 at any moment: clients do things at random until torpord dies under them; the next one
 * must have all that was acknowledged, and of what was not all or nothing.
 *
 *   it_crash_rounds ROUNDS SEED [STOCK]
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/macros.h"
#include "crash_model.h"
#include "crash_world.h"

#define CLIENTS	     3
#define ANSWERS_MIN  4
#define ANSWERS_MORE 20
#define PATIENCE_S   120

static atomic_bool killed;
static sem_t answered;

static void *work(void *data)
{
	struct model *model = data;

	while (!atomic_load(&killed)) {
		struct torpor_error *err = model_step(model);
		bool stop = err != NULL;
		if (err && !atomic_load(&killed))
			world_complain("%s", torpor_error_message(err));
		torpor_error_free(err);
		sem_post(&answered);
		if (stop)
			break;
	}
	return NULL;
}

static void await_answers(unsigned int n)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	while (n > 0) {
		if (sem_timedwait(&answered, &until) == 0)
			n--;
		else if (errno == ETIMEDOUT) {
			world_complain("there are no answers for %d s", PATIENCE_S);
			return;
		}
	}
}

static void one_round(struct model **models)
{
	pthread_t threads[CLIENTS];

	atomic_store(&killed, false);
	sem_init(&answered, 0, 0);
	for (int i = 0; i < CLIENTS; i++) {
		model_connect(models[i]);
		if (pthread_create(&threads[i], NULL, work, models[i]) != 0)
			abort();
	}
	await_answers(ANSWERS_MIN + (unsigned int)rand() % ANSWERS_MORE);
	poll(NULL, 0, rand() % 30); /* anywhere within an operation */
	atomic_store(&killed, true);
	kill(world_pid(), SIGKILL);
	for (int i = 0; i < CLIENTS; i++) {
		pthread_join(threads[i], NULL);
		model_disconnect(models[i]);
	}
	sem_destroy(&answered);
	world_kill();
}

static void look(struct model **models)
{
	world_start(NULL);
	world_check_at_once();
	for (int i = 0; i < CLIENTS; i++) {
		model_connect(models[i]);
		model_reconcile(models[i]);
		model_disconnect(models[i]);
	}
	if (atoi(world_ask("SELECT count(*) FROM sessions WHERE restores > 0")) > 0)
		world_complain("a session was put back to its last park");
	world_check();
}

int main(int argc, char **argv)
{
	struct model *models[CLIENTS];

	if (argc < 3) {
		fprintf(stderr, "usage: it_crash_rounds ROUNDS SEED [STOCK]\n");
		return 2;
	}
	int rounds = atoi(argv[1]);
	unsigned int seed = (unsigned int)strtoul(argv[2], NULL, 10);
	unsigned int stock = argc > 3 ? (unsigned int)strtoul(argv[3], NULL, 10) : 0;
	srand(seed);
	world_open("rounds", stock);
	world_label("start");
	for (unsigned int i = 0; i < CLIENTS; i++)
		models[i] = model_new(i, NULL, seed * CLIENTS + i);
	world_start(NULL);
	for (int i = 0; i < rounds; i++) {
		world_label("seed %u, round %d", seed, i + 1);
		one_round(models);
		look(models);
		printf("round %d: %s sessions, %s with guests\n", i + 1,
			world_ask("SELECT count(*) FROM sessions"),
			world_ask("SELECT count(*) FROM sessions WHERE handover IS NOT NULL"));
		fflush(stdout);
	}
	for (unsigned int i = 0; i < CLIENTS; i++)
		model_free(models[i]);
	world_label("the end");
	unsigned int complaints = world_close();
	printf("%d rounds, %u complaints\n", rounds, complaints);
	return complaints > 0;
}
