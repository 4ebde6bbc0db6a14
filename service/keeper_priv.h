/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper's parts: keeper.c looks at sessions and decides, keeper_host.c looks at the host,
 * chores.c does.
 */
#ifndef TP_SERVICE_KEEPER_PRIV_H
#define TP_SERVICE_KEEPER_PRIV_H

#include "service/keeper.h"

#define KEEPER_WORKERS 4

#define TP_KEEPER_TICK_NS TP_NSEC_PER_SEC /* it looks at least so often */

enum tp_chore_kind {
	TP_CHORE_LOST,	   /* the guest may have ended, or booted anew */
	TP_CHORE_EXPIRE,   /* destroy: its time is over */
	TP_CHORE_IDLE,	   /* park: nobody uses it */
	TP_CHORE_PRESSURE, /* park: the host needs its memory */
	TP_CHORE_PING,
	TP_CHORE_DEAF, /* end its guest, and bring it back */
	TP_CHORE_GONE, /* not live any more, or changed: when is something due to it? */
	/* Of no session. */
	TP_CHORE_PARKED,    /* end those whose time is over among all without process */
	TP_CHORE_TOUCH,	    /* record when sessions were used last */
	TP_CHORE_FORGET,    /* outcomes of requests that are too old to be repeated */
	TP_CHORE_TEMPLATES, /* into use, and out */
	TP_CHORE_COUNT
};

struct tp_chore {
	struct tp_chore *next;
	enum tp_chore_kind kind;
	char id[TP_ID_LEN + 1]; /* of the session; or empty */
	char tenant[65];
	uint64_t active_ns; /* IDLE: as it was decided */
	bool counted;	    /* nothing else is begun with the session before its end */
};

enum tp_chore_outcome {
	TP_CHORE_DONE,
	TP_CHORE_FAILED,
	TP_CHORE_MISSED, /* PING: no sign of life */
	TP_CHORE_UNTOLD, /* PING: it couldn't be asked, which says nothing */
};

/* Does it; on a worker. CANCEL_FD is readable once the keeper ends. */
enum tp_chore_outcome tp_chore_do(
	struct tp_service *service, const struct tp_chore *chore, int cancel_fd);

/* GONE: when something is due to the session, if it is parked (CLOCK_REALTIME), or UINT64_MAX. */
uint64_t tp_chore_gone(struct tp_service *service, const char *id);
/*
 * PARKED: ends sessions without process that are due; *NEXT_NS_OUT is when the next one will be
 * (CLOCK_REALTIME), or UINT64_MAX.
 */
void tp_chore_parked(struct tp_service *service, int cancel_fd, uint64_t *next_ns_out);
/* TOUCH: of those used since SINCE_NS (CLOCK_REALTIME). */
void tp_chore_touch(struct tp_service *service, uint64_t since_ns);

/* --- the keeper itself --- */

/* Something that was told from outside, on any thread. */
struct news {
	struct news *next;
	enum {
		NEWS_SESSION,
		NEWS_STOCK,
		NEWS_POOL,
	} kind;
	char *name;
};

/* What is done every so often. */
struct periodic {
	uint64_t next_ns; /* CLOCK_MONOTONIC */
	bool under_way;
};

struct tp_keeper {
	/* Constant after starting. */
	struct tp_service *service;
	int stop_fd; /* readable once it ends */
	pthread_t looker;
	pthread_t workers[KEEPER_WORKERS];
	unsigned int n_workers;
	bool started;

	/* By the lock. */
	pthread_mutex_t lock;
	pthread_cond_t look; /* CLOCK_MONOTONIC: there is news, or it is woken */
	pthread_cond_t work; /* there are chores */
	char *meminfo;	     /* paths that memory is read from */
	char *stalls;
	bool woken;
	bool stopping;
	struct news *news; /* newest first */
	struct tp_chore *chores;
	struct tp_chore **chores_end;
	struct tp_kept *kept; /* by id */
	size_t n_kept;
	bool parking; /* for memory: one at a time */
	struct periodic periodic[TP_CHORE_COUNT];
	struct tp_pressure_view shown;

	/* The looker's own. */
	struct tp_pressure pressure;
	uint64_t over_ns; /* since when more is charged than the budget has; 0: it isn't */
	bool pressed;	  /* the supply, as told last */
	bool pressed_fully;
	uint64_t memory_ns;  /* when it was read last */
	uint64_t publish_ns; /* when changes of the pool may be told again */
	char **changed;	     /* templates whose pool changed since */
	size_t n_changed;
	int *oom_pids; /* processes of sessions that the kernel has been told about */
	size_t n_oom_pids;
};

/* --- keeper_host.c; on the looker's thread --- */

/* Once a tick: how short of memory the host is, which the supply is told. */
void tp_keeper_look_at_memory(struct tp_keeper *keeper, uint64_t now_ns);
/* Which processes the kernel should end rather than others, should it have to. */
void tp_keeper_tell_of_sessions(
	struct tp_keeper *keeper, const struct tp_live_brief *briefs, size_t n);
void tp_keeper_tell_of_stock(struct torpor_engine *engine);

#endif
