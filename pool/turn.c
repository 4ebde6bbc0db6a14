/* SPDX-License-Identifier: Apache-2.0 */
/* Turns. */
#include "pool/turn.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

struct tp_turn {
	/* Semaphores; nobody has the turn while one is readable. */
	int token_fd;
	int reserved_fd; /* holds the token where it was given while `reserved` was above zero */
	int wanted_fd;	 /* readable while `urgent` is above zero */
	pthread_mutex_t lock;
	/* By the lock. */
	unsigned int urgent;   /* urgent callers that wait */
	unsigned int reserved; /* turns reserved and not yet taken */
};

struct torpor_error *tp_turn_new(struct tp_turn **turn_out)
{
	TP_FD int token_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	TP_FD int reserved_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	TP_FD int wanted_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (token_fd < 0 || reserved_fd < 0 || wanted_fd < 0)
		return tp_error_errno(errno, "make", "event descriptor");
	struct tp_turn *turn = tp_calloc(1, sizeof(*turn));
	turn->token_fd = TP_TAKE_FD(token_fd);
	turn->reserved_fd = TP_TAKE_FD(reserved_fd);
	turn->wanted_fd = TP_TAKE_FD(wanted_fd);
	pthread_mutex_init(&turn->lock, NULL);
	*turn_out = turn;
	return NULL;
}

struct tp_turn *tp_turn_free(struct tp_turn *turn)
{
	if (turn) {
		tp_close(turn->token_fd);
		tp_close(turn->reserved_fd);
		tp_close(turn->wanted_fd);
		pthread_mutex_destroy(&turn->lock);
		free(turn);
	}
	return NULL;
}

struct torpor_error *tp_turn_take(
	struct tp_turn *turn, const struct tp_call *call, const char *object)
{
	uint64_t token;

	for (;;) {
		/* First come: another may have been faster between poll and read. */
		if (read(turn->token_fd, &token, sizeof(token)) == sizeof(token))
			return NULL;
		if (errno != EAGAIN && errno != EINTR)
			return tp_error_errno(errno, "take turn on", object);
		TP_TRY(tp_wait_fd(turn->token_fd, POLLIN, call, "wait for session", object));
	}
}

static void change_urgent(struct tp_turn *turn, int by)
{
	uint64_t value = 1;

	pthread_mutex_lock(&turn->lock);
	turn->urgent += (unsigned int)by;
	/* The eventfd follows the count: set while above zero, else drained. */
	ssize_t n = turn->urgent > 0 ? write(turn->wanted_fd, &value, sizeof(value))
				     : read(turn->wanted_fd, &value, sizeof(value));
	(void)n;
	pthread_mutex_unlock(&turn->lock);
}

struct torpor_error *tp_turn_take_urgently(
	struct tp_turn *turn, const struct tp_call *call, const char *object)
{
	change_urgent(turn, 1);
	struct torpor_error *err = tp_turn_take(turn, call, object);
	change_urgent(turn, -1);
	return err;
}

static void put_token(int fd)
{
	uint64_t token = 1;
	ssize_t n = write(fd, &token, sizeof(token));

	assert(n == sizeof(token));
	(void)n;
}

void tp_turn_give(struct tp_turn *turn)
{
	pthread_mutex_lock(&turn->lock);
	put_token(turn->reserved > 0 ? turn->reserved_fd : turn->token_fd);
	pthread_mutex_unlock(&turn->lock);
}

bool tp_turn_taken(struct tp_turn *turn)
{
	struct pollfd fds[] = {
		{.fd = turn->token_fd, .events = POLLIN},
		{.fd = turn->reserved_fd, .events = POLLIN},
	};

	return poll(fds, TP_ARRAY_LEN(fds), 0) == 0;
}

/* --- Reserved turns --- */

void tp_turn_reserve(struct tp_turn *turn)
{
	pthread_mutex_lock(&turn->lock);
	turn->reserved++;
	pthread_mutex_unlock(&turn->lock);
}

void tp_turn_drop_reserved(struct tp_turn *turn)
{
	uint64_t token;

	pthread_mutex_lock(&turn->lock);
	turn->reserved--;
	if (turn->reserved == 0 && read(turn->reserved_fd, &token, sizeof(token)) == sizeof(token))
		put_token(turn->token_fd);
	pthread_mutex_unlock(&turn->lock);
}

/* The token may also lie free, from before the reservation. */
static bool take_either(struct tp_turn *turn)
{
	uint64_t token;

	return read(turn->reserved_fd, &token, sizeof(token)) == sizeof(token) ||
	       read(turn->token_fd, &token, sizeof(token)) == sizeof(token);
}

struct torpor_error *tp_turn_take_reserved(struct tp_turn *turn, const char *object)
{
	struct tp_call call = tp_call_within(TP_NO_DEADLINE);

	while (!take_either(turn)) {
		struct pollfd fds[] = {
			{.fd = turn->reserved_fd, .events = POLLIN},
			{.fd = turn->token_fd, .events = POLLIN},
		};
		TP_TRY(tp_wait_fds(fds, TP_ARRAY_LEN(fds), &call, "wait for session", object));
	}
	pthread_mutex_lock(&turn->lock);
	turn->reserved--;
	pthread_mutex_unlock(&turn->lock);
	return NULL;
}

int tp_turn_wanted_fd(struct tp_turn *turn)
{
	return turn->wanted_fd;
}
