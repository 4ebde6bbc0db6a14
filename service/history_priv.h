/* SPDX-License-Identifier: Apache-2.0 */
/* The history, for history.c, which notes, and history_json.c, which shows. */
#ifndef TP_SERVICE_HISTORY_PRIV_H
#define TP_SERVICE_HISTORY_PRIV_H

#include <pthread.h>

#include "service/history.h"
#include "service/ring.h"

#define HISTORY_BUCKETS 1024

/* Points begin with their time, seconds since 1970, a multiple of their step. */
struct point {
	uint32_t at_s;
	float cpu_percent; /* below 0: not known */
	uint32_t private_kib;
	uint32_t shared_kib;
};

struct host_point {
	uint32_t at_s;
	struct tp_host_sample sample;
};

struct state_point {
	uint64_t at_ns;
	enum tp_state state;
	char *reason; /* owned, or NULL */
};

struct operation_point {
	uint64_t at_ns;
	const char *op;
	const char *source;
	uint64_t took_ns;
	uint64_t image_bytes;
	char *name; /* owned, or NULL */
};

/* Of a session. */
struct entry {
	struct entry *next; /* in its bucket */
	char id[TP_ID_LEN + 1];
	char tenant[65];
	uint64_t since_ns;	     /* what was before isn't known */
	uint64_t touched_ns;	     /* something was noted */
	enum tp_state state;	     /* the newest; TP_STATE_COUNT: none yet */
	struct tp_ring fine, coarse; /* of struct point */
	struct tp_ring states;	     /* of struct state_point */
	struct tp_ring operations;   /* of struct operation_point */
	uint32_t parked_kib;	     /* what its process took when it was parked last; 0: unknown */
	/* The sample before. */
	int pid;
	uint64_t cpu_ns;
	uint64_t sampled_ns;
	/* Of the newest coarse point. */
	float cpu_sum;
	uint32_t cpu_count;
};

struct tp_history {
	uint64_t since_ns; /* constant */

	pthread_mutex_t lock;

	/* By the lock. */
	struct entry *entries[HISTORY_BUCKETS];
	size_t count;
	struct tp_ring host, host_coarse; /* of struct host_point */
	struct tp_ring parks;		  /* of uint64_t: KiB */
	uint64_t parks_kib;		  /* their sum */
};

/* By the lock; NULL if there is none. */
struct entry *tp_history_find(struct tp_history *history, const char *id);

#endif
