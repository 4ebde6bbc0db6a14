/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is due to a session, and how short of memory the host is: pure functions of what is seen,
 * the time and the configuration. The keeper (keeper.h) sees and acts.
 */
#ifndef TP_SERVICE_KEEP_H
#define TP_SERVICE_KEEP_H

#include "service/service_priv.h"

/* What is remembered of a live session between two looks. Zeroed but for the id to begin with. */
struct tp_kept {
	char id[TP_ID_LEN + 1];
	bool under_way;		/* something is being done about it */
	uint64_t not_before_ns; /* CLOCK_MONOTONIC: after a failure nothing is tried before */
	unsigned int failures;	/* in a row */
	uint64_t cpu_ns;	/* of its process, when it was read last */
	uint64_t cpu_read_ns;	/* CLOCK_REALTIME, as times in briefs; 0: never */
	uint64_t next_ping_ns;	/* CLOCK_MONOTONIC; 0: not planned yet */
	unsigned int missed;	/* pings not answered, in a row */
};

enum tp_due {
	TP_DUE_NOTHING,
	TP_DUE_LOST,	/* its guest has ended */
	TP_DUE_EXPIRED, /* its time is over */
	TP_DUE_MEASURE, /* read its processor time, and ask tp_kept_idle */
	TP_DUE_PING,
};

struct tp_keep_time {
	uint64_t real_ns;
	uint64_t mono_ns;
	uint64_t health_every_ns; /* 0: never */
};

/* Pings missed in a row until a guest counts as deaf. */
#define TP_DEAF_AFTER 3
/* Of a processor: more, and a guest isn't idle whatever its tenant does. */
#define TP_IDLE_CPU_PERCENT 2

/* What is due to the session now; if nothing, *WAIT_NS_OUT is how long nothing will be by time. */
enum tp_due tp_kept_due(struct tp_kept *kept, const struct tp_live_brief *brief,
	const struct tp_keep_time *time, uint64_t *wait_ns_out);

/*
 * The processor time of its process was read. True if it was idle over the period that its timer
 * asks for, and is to be parked.
 */
bool tp_kept_idle(
	struct tp_kept *kept, const struct tp_live_brief *brief, uint64_t cpu_ns, uint64_t real_ns);

/* Something was done about it, or failed: when the next try may be made. */
void tp_kept_done(struct tp_kept *kept, bool failed, uint64_t mono_ns);

/* --- sessions without process --- */

/*
 * Whether a parked session, or one in error, has been kept for long enough. TIMERS as they hold;
 * *AT_NS_OUT is when that is (CLOCK_REALTIME), or UINT64_MAX.
 */
bool tp_parked_due(const struct tp_session_row *row, const struct tp_timers *timers,
	uint64_t real_ns, uint64_t *at_ns_out);

/* --- memory --- */

enum tp_pressure_level {
	TP_PRESSURE_NONE,
	TP_PRESSURE_LESS, /* no more stock than the minimum */
	TP_PRESSURE_BARE, /* no stock */
	TP_PRESSURE_PARK, /* idle sessions are parked, one at a time */
};
/* "none", "less", "bare", "park" */
const char *tp_pressure_name(enum tp_pressure_level level);

struct tp_pressure {
	enum tp_pressure_level level;
	uint64_t since_ns; /* of the level; CLOCK_MONOTONIC */
	uint64_t calm_ns;  /* since when there is enough; 0: there isn't */
};

struct tp_host_memory {
	uint64_t total;
	uint64_t available;
	double stalled; /* percent of time, "some avg10" of /proc/pressure/memory; 0: unknown */
};

/* A level up helps for so long before the next one; one down comes after so long of enough. */
#define TP_PRESSURE_UP_NS   (2 * TP_NSEC_PER_SEC)
#define TP_PRESSURE_DOWN_NS (10 * TP_NSEC_PER_SEC)
#define TP_PRESSURE_STALLED 20.0

/* RESERVE: less than this should never be available. Returns the level from now on. */
enum tp_pressure_level tp_pressure_step(struct tp_pressure *pressure,
	const struct tp_host_memory *memory, uint64_t reserve, uint64_t mono_ns);

/* The one to be parked first: unused for longest, those with commands under way last. NULL: none.
 */
const struct tp_live_brief *tp_idlest(const struct tp_live_brief *briefs, size_t n);

/* --- reading them --- */

struct torpor_error *tp_memory_parse(
	const char *meminfo, const char *pressure, struct tp_host_memory *memory_out) TP_MUST_USE;
/* Processor time in /proc/PID/stat's text; false if it is none. */
bool tp_cpu_parse(const char *stat, uint64_t *cpu_ns_out);

#endif
