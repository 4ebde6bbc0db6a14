/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A world for the service's operations without guests, disk or time: records, audit log, admission,
 * supply, cgroups and the core, as counters and lists. Each can be told to fail.
 *
 * What is counted must be what it was after an operation that failed: fake_take and fake_same.
 */
#ifndef TP_TESTS_SERVICE_FAKE_H
#define TP_TESTS_SERVICE_FAKE_H

#include "service/service_priv.h"

#define FAKE_TEMPLATE "minimal"
#define FAKE_MEMORY   (256 * TP_MIB)

struct fake {
	pthread_mutex_t lock;

	/* The world. */
	unsigned int places;
	uint64_t memory_bytes;
	int64_t image_bytes;
	unsigned int claims;	/* begun and not ended */
	unsigned int groups;	/* processes placed under limits */
	double cpus;		/* the limit of the last of them */
	unsigned int guests;	/* processes */
	unsigned int handles;	/* of the core */
	unsigned int templates; /* handles on them */
	unsigned int files;	/* images */

	/* What happened. */
	char audit[4096];  /* "create:ok park:io " */
	char states[4096]; /* events: "starting running " */
	char event[2048];  /* the last one's data */
	unsigned int commits;
	unsigned int notes; /* that were no commits of their own */
	unsigned int refusals;
	char timers_of[17];	    /* the session whose timers the keeper was told to look at */
	uint64_t repeat_created_ns; /* of the repeat that was put last */
	uint64_t repeat_dropped_ns; /* the same when a process was given up and ended */
	bool recorded_dropped;	    /* and whether its session was recorded then */
	int repeat_status;
	char repeat_result[512];

	/* Orders. */
	unsigned int max_places; /* 0: no bound */
	bool tenant_leaves;	 /* all do, as soon as a session of theirs is to be made */
	unsigned int fail_commits;
	unsigned int fail_audit;
	enum torpor_errc fail_resume; /* 0: no */
	bool fail_fresh;	      /* vCPUs run, but nothing confirms */
	bool hold_park;		      /* a park waits until it is cancelled, or let go */
	bool late_cancel;	      /* which it doesn't see any more: its image is durable */
	bool powers_off;	      /* how the next guest to end does */
	bool lose_notes;	      /* as if killed before they are written */
	enum torpor_source source;    /* of the next processes */
	bool replace_process;	      /* the next start gives its first process up */
	bool fail_take_back;	      /* and the commit then fails */
	bool fail_undo;		      /* the next commit that is waited for at once fails */
	bool undo_failed;	      /* one did */
	void (*on_read)(void);	      /* once, behind the next reading of a session's row */
};

extern struct fake fake;

/* A new world, and a service over it. */
struct tp_service *fake_open(void);
void fake_close(struct tp_service *service);

/* Has the fault point strike the first time it is reached; NULL: none. */
void fake_fault(const char *point);

struct tp_actor fake_actor(const char *tenant);
/* Creates one, which must succeed; its id is the caller's to free. */
char *fake_create(struct tp_service *service, const struct tp_actor *actor, const char *name);
/* The guest of that session ends, as it would by itself. */
void fake_end_guest(struct tp_service *service, const char *id);
/* What is recorded as a session's state; static storage; NULL: no such session. */
const char *fake_recorded_state(const char *id);
/* Its info, a new reference. */
json_t *fake_recorded_info(const char *id);
size_t fake_recorded_sessions(void);
size_t fake_recorded_images(void);
/* Puts a parked session of that age straight into the records. */
void fake_record_parked(const char *id, const char *tenant, const char *name, uint64_t created_ns);
/* Lets a held park go on. */
void fake_let_go(void);
/* Waits until the session is in that state. */
void fake_wait_state(struct tp_service *service, const char *id, enum tp_state state);

/* The world as text, for comparison; the caller's to free. */
char *fake_take(struct tp_service *service);

#endif
