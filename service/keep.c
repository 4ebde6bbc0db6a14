/* SPDX-License-Identifier: Apache-2.0 */
/* What is due, decided. */
#include "service/keep.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NEVER UINT64_MAX

/* After a failed try: 5 s, doubled with each further one, 10 minutes at most. */
#define RETRY_MIN_NS (5 * TP_NSEC_PER_SEC)
#define RETRY_MAX_NS (600 * TP_NSEC_PER_SEC)

/* From the last use to the first reading of the processor time, at most. */
#define SETTLE_MAX_NS (5 * TP_NSEC_PER_SEC)

static uint64_t seconds(int64_t s)
{
	return (uint64_t)s * TP_NSEC_PER_SEC;
}

/* How long from NOW until AT; 0 if that is over. Never stays never. */
static uint64_t until(uint64_t at, uint64_t now)
{
	if (at == NEVER)
		return NEVER;
	return at > now ? at - now : 0;
}

/* --- live sessions --- */

static bool can_idle(const struct tp_live_brief *brief)
{
	return brief->state == TP_STATE_RUNNING && brief->idle_s > 0 && brief->execs == 0;
}

/* Between the last use and the reading that others are compared with. */
static uint64_t settling(const struct tp_live_brief *brief)
{
	return TP_MIN(seconds(brief->idle_s) / 4, SETTLE_MAX_NS);
}

static bool has_baseline(const struct tp_kept *kept, const struct tp_live_brief *brief)
{
	return kept->cpu_read_ns && kept->cpu_read_ns >= brief->active_ns;
}

/*
 * When the processor time is to be read next: first shortly after the last use, then when the
 * session has been idle for long enough, as seen from its tenant and from that reading.
 */
static uint64_t measure_at(const struct tp_kept *kept, const struct tp_live_brief *brief)
{
	uint64_t idle = seconds(brief->idle_s);

	if (!can_idle(brief))
		return NEVER;
	if (!has_baseline(kept, brief))
		return brief->active_ns + settling(brief);
	return TP_MAX(brief->active_ns + idle, kept->cpu_read_ns + idle / 2);
}

/* Spread over the period, so that not all guests are asked at once. */
static uint64_t first_ping(const char *id, const struct tp_keep_time *time)
{
	uint64_t hash = 14695981039346656037u;

	for (; *id; id++)
		hash = (hash ^ (uint8_t)*id) * 1099511628211u;
	return time->mono_ns + hash % time->health_every_ns + 1;
}

/* CLOCK_MONOTONIC, or NEVER. */
static uint64_t ping_at(
	struct tp_kept *kept, const struct tp_live_brief *brief, const struct tp_keep_time *time)
{
	if (brief->state != TP_STATE_RUNNING || time->health_every_ns == 0)
		return NEVER;
	if (kept->next_ping_ns == 0)
		kept->next_ping_ns = first_ping(kept->id, time);
	return kept->next_ping_ns;
}

enum tp_due tp_kept_due(struct tp_kept *kept, const struct tp_live_brief *brief,
	const struct tp_keep_time *time, uint64_t *wait_ns_out)
{
	uint64_t expires = brief->started_ns && brief->ttl_s > 0
				   ? brief->started_ns + seconds(brief->ttl_s)
				   : NEVER;
	uint64_t measure = measure_at(kept, brief);
	uint64_t ping = ping_at(kept, brief, time);

	*wait_ns_out = NEVER;
	if (kept->under_way || tp_state_passing(brief->state))
		return TP_DUE_NOTHING;
	if (kept->not_before_ns > time->mono_ns) {
		*wait_ns_out = kept->not_before_ns - time->mono_ns;
		return TP_DUE_NOTHING;
	}
	if (brief->lost)
		return TP_DUE_LOST;
	if (time->real_ns >= expires)
		return TP_DUE_EXPIRED;
	if (time->real_ns >= measure)
		return TP_DUE_MEASURE;
	if (time->mono_ns >= ping) {
		kept->next_ping_ns = time->mono_ns + time->health_every_ns;
		return TP_DUE_PING;
	}
	*wait_ns_out = TP_MIN(TP_MIN(until(expires, time->real_ns), until(measure, time->real_ns)),
		until(ping, time->mono_ns));
	return TP_DUE_NOTHING;
}

bool tp_kept_idle(
	struct tp_kept *kept, const struct tp_live_brief *brief, uint64_t cpu_ns, uint64_t real_ns)
{
	bool compares =
		has_baseline(kept, brief) && real_ns > kept->cpu_read_ns && cpu_ns >= kept->cpu_ns;
	uint64_t used = compares ? cpu_ns - kept->cpu_ns : 0;
	uint64_t period = compares ? real_ns - kept->cpu_read_ns : 0;

	if (compares && used < period / 100 * TP_IDLE_CPU_PERCENT)
		return true;
	kept->cpu_ns = cpu_ns;
	kept->cpu_read_ns = real_ns;
	return false;
}

void tp_kept_done(struct tp_kept *kept, bool failed, uint64_t mono_ns)
{
	uint64_t wait = RETRY_MIN_NS << TP_MIN(kept->failures, 7u);

	kept->under_way = false;
	kept->failures = failed ? kept->failures + 1 : 0;
	kept->not_before_ns = failed ? mono_ns + TP_MIN(wait, RETRY_MAX_NS) : 0;
}

/* --- without process --- */

bool tp_parked_due(const struct tp_session_row *row, const struct tp_timers *timers,
	uint64_t real_ns, uint64_t *at_ns_out)
{
	*at_ns_out =
		timers->retention_s > 0 ? row->changed_ns + seconds(timers->retention_s) : NEVER;
	return real_ns >= *at_ns_out;
}

/* --- memory --- */

const char *tp_pressure_name(enum tp_pressure_level level)
{
	static const char *const names[] = {
		[TP_PRESSURE_NONE] = "none",
		[TP_PRESSURE_LESS] = "less",
		[TP_PRESSURE_BARE] = "bare",
		[TP_PRESSURE_PARK] = "park",
	};

	return names[level];
}

/*
 * Stalls alone say little: a guest at the limit of its own group stalls too, on a host with memory
 * enough. They count where memory is scarce already.
 */
static bool is_short(const struct tp_host_memory *memory, uint64_t reserve)
{
	return memory->available < reserve ||
	       (memory->stalled >= TP_PRESSURE_STALLED && memory->available / 2 < reserve);
}

/* A quarter above the reserve, so that what relief brings back doesn't cause it anew. */
static bool is_enough(const struct tp_host_memory *memory, uint64_t reserve)
{
	return !is_short(memory, reserve) && memory->available >= reserve + reserve / 4;
}

static void set_level(struct tp_pressure *pressure, int level, uint64_t mono_ns)
{
	pressure->level = (enum tp_pressure_level)level;
	pressure->since_ns = mono_ns;
	pressure->calm_ns = 0;
}

enum tp_pressure_level tp_pressure_step(struct tp_pressure *pressure,
	const struct tp_host_memory *memory, uint64_t reserve, uint64_t mono_ns)
{
	int level = (int)pressure->level;
	bool waited =
		level == TP_PRESSURE_NONE || mono_ns - pressure->since_ns >= TP_PRESSURE_UP_NS;

	if (is_short(memory, reserve)) {
		pressure->calm_ns = 0;
		if (level < TP_PRESSURE_PARK && waited)
			set_level(pressure, level + 1, mono_ns);
		return pressure->level;
	}
	if (!is_enough(memory, reserve) || level == TP_PRESSURE_NONE) {
		pressure->calm_ns = 0;
		return pressure->level;
	}
	if (pressure->calm_ns == 0)
		pressure->calm_ns = mono_ns;
	if (mono_ns - pressure->calm_ns >= TP_PRESSURE_DOWN_NS)
		set_level(pressure, level - 1, mono_ns);
	return pressure->level;
}

static bool idler(const struct tp_live_brief *a, const struct tp_live_brief *b)
{
	if ((a->execs == 0) != (b->execs == 0))
		return a->execs == 0;
	return a->active_ns < b->active_ns;
}

const struct tp_live_brief *tp_idlest(const struct tp_live_brief *briefs, size_t n)
{
	const struct tp_live_brief *idlest = NULL;

	for (size_t i = 0; i < n; i++) {
		const struct tp_live_brief *brief = &briefs[i];
		bool can = brief->state == TP_STATE_RUNNING || brief->state == TP_STATE_PAUSED;
		if (can && !brief->lost && (!idlest || idler(brief, idlest)))
			idlest = brief;
	}
	return idlest;
}

/* --- reading --- */

static bool field_kib(const char *text, const char *key, uint64_t *bytes_out)
{
	const char *at = strstr(text, key);
	uintmax_t kib;

	/* A key begins a line. */
	if (!at || (at != text && at[-1] != '\n') || sscanf(at + strlen(key), " %ju kB", &kib) != 1)
		return false;
	*bytes_out = kib * TP_KIB;
	return true;
}

struct torpor_error *tp_memory_parse(
	const char *meminfo, const char *pressure, struct tp_host_memory *memory_out)
{
	struct tp_host_memory memory = {0};

	if (!field_kib(meminfo, "MemTotal:", &memory.total) ||
		!field_kib(meminfo, "MemAvailable:", &memory.available))
		return tp_error(TORPOR_E_UNSUPPORTED, "read", "/proc/meminfo",
			"it doesn't say how much is available");
	if (pressure && sscanf(pressure, "some avg10=%lf", &memory.stalled) != 1)
		memory.stalled = 0;
	*memory_out = memory;
	return NULL;
}

bool tp_cpu_parse(const char *stat, uint64_t *cpu_ns_out)
{
	/* The name, in parentheses, may hold anything; fields 14 and 15 are utime and stime. */
	const char *rest = strrchr(stat, ')');
	uintmax_t user;
	uintmax_t system;

	if (!rest || sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ju %ju", &user,
			     &system) != 2)
		return false;
	*cpu_ns_out = (user + system) * (TP_NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
	return true;
}
