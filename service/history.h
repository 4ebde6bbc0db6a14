/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was: of sessions their states, what was done to them and what their processes used; of the
 * host its memory. For plots, in memory alone, and bounded: an hour in steps of 5 s, a day in steps
 * of 2 min, of at most TP_HISTORY_SESSIONS sessions; those without a process go first, the longest
 * untouched before others. A restart begins anew.
 *
 * Times are CLOCK_REALTIME, in nanoseconds, and are given by who notes: nothing here looks at a
 * clock. If it was set back, what was noted for the time that comes again is dropped.
 *
 * Any thread may call anything; only the history's own lock is taken, so it may be called with
 * others held.
 */
#ifndef TP_SERVICE_HISTORY_H
#define TP_SERVICE_HISTORY_H

#include <jansson.h>

#include "service/service.h"
#include "service/state.h"

#define TP_HISTORY_STEP_S     5
#define TP_HISTORY_COARSE_S   120
#define TP_HISTORY_POINTS     720 /* of each */
#define TP_HISTORY_SESSIONS   1024
#define TP_HISTORY_STATES     128 /* of a session */
#define TP_HISTORY_OPERATIONS 64  /* the same */
#define TP_HISTORY_PARKS      256 /* whose memory is remembered */

struct tp_history;

struct tp_history *tp_history_new(uint64_t now_ns);
/* Takes NULL. Returns NULL. */
struct tp_history *tp_history_free(struct tp_history *history);

/* --- what is noted --- */

/* A session's state. BEFORE: what it was since BEFORE_NS, for one that isn't known yet (0: that
 * isn't known either). */
struct tp_state_note {
	enum tp_state state;
	const char *reason; /* or NULL */
	enum tp_state before;
	uint64_t before_ns;
};
/* DESTROYED: the session is forgotten. The same state again changes nothing. */
void tp_history_state(struct tp_history *history, const char *id, const char *tenant,
	const struct tp_state_note *note, uint64_t now_ns);

/* Something that was done, and came to its end at NOW_NS. */
struct tp_operation_note {
	const char *op;	    /* static storage */
	const char *source; /* the same, or NULL */
	uint64_t took_ns;
	uint64_t image_bytes; /* 0: none was written */
	const char *name;     /* of a checkpoint, or NULL */
};
void tp_history_operation(struct tp_history *history, const char *id, const char *tenant,
	const struct tp_operation_note *note, uint64_t now_ns);

/* A session's process as it was found at NOW_NS; all of one look have the same. */
struct tp_process_sample {
	int pid;
	uint64_t cpu_ns;
	uint64_t private_bytes;
	uint64_t shared_bytes;
};
void tp_history_sample(struct tp_history *history, const char *id, const char *tenant,
	enum tp_state state, const struct tp_process_sample *sample, uint64_t now_ns);

struct tp_host_sample {
	uint64_t total_bytes;
	uint64_t available_bytes;
	uint64_t sessions_bytes; /* private memory of sessions' processes */
	uint64_t bases_bytes;
	uint64_t image_bytes;
	uint64_t saved_bytes; /* what those that are parked would take */
	uint64_t running;     /* with a process */
	uint64_t parked;
};
void tp_history_host(
	struct tp_history *history, const struct tp_host_sample *sample, uint64_t now_ns);

/* --- what is shown --- */

enum tp_window { TP_WINDOW_HOUR, TP_WINDOW_DAY };
const char *tp_window_name(enum tp_window window);
uint64_t tp_window_step_s(enum tp_window window);
uint64_t tp_window_ns(enum tp_window window);

/* The last sample of a session's process; false if it is older than three steps, or there is none.
 */
struct tp_usage_now {
	uint64_t private_bytes;
	uint64_t shared_bytes;
	double cpu_percent; /* of one processor; below 0: not known yet */
};
bool tp_history_last(struct tp_history *history, const char *id, int pid, uint64_t now_ns,
	struct tp_usage_now *usage_out);

/* What the process of a session took when it was parked, on average: of TENANT's, or of all (NULL);
 * 0: none was seen. */
uint64_t tp_history_parked_mean(struct tp_history *history, const char *tenant);

/* As docs/API.md has them. Of a session that isn't known "states" is empty. */
json_t *tp_history_session_json(
	struct tp_history *history, const char *id, enum tp_window window, uint64_t now_ns);
/* "from", "samples"; of the host, or of TENANT's sessions (SESSION: of that one alone). */
json_t *tp_history_host_json(struct tp_history *history, enum tp_window window, uint64_t now_ns);
json_t *tp_history_tenant_json(struct tp_history *history, const char *tenant, const char *session,
	enum tp_window window, uint64_t now_ns);

#endif
