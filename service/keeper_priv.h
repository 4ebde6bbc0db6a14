/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's parts: keeper.c looks and decides, chores.c does. */
#ifndef TP_SERVICE_KEEPER_PRIV_H
#define TP_SERVICE_KEEPER_PRIV_H

#include "service/keeper.h"

#define KEEPER_WORKERS 4

enum tp_chore_kind {
	TP_CHORE_LOST,	   /* the guest may have ended, or booted anew */
	TP_CHORE_EXPIRE,   /* destroy: its time is over */
	TP_CHORE_IDLE,	   /* park: nobody uses it */
	TP_CHORE_PRESSURE, /* park: the host needs its memory */
	TP_CHORE_PING,
	TP_CHORE_DEAF, /* end its guest, and bring it back */
	TP_CHORE_GONE, /* it isn't live any more: when is something due to it? */
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

#endif
