/* SPDX-License-Identifier: Apache-2.0 */
/* The host as the keeper sees it: its memory, and what its kernel is told of guests. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "service/keeper_priv.h"

/*
 * For the kernel, should it have to choose after all: guests before torpord, those that nobody has
 * yet before all others.
 */
#define OOM_SESSION 300
#define OOM_STOCK   600

/* --- memory --- */

static struct torpor_error *read_memory(struct tp_keeper *keeper, struct tp_host_memory *memory_out)
{
	TP_FREE char *meminfo = NULL;
	TP_FREE char *stalls = NULL;
	size_t len;

	pthread_mutex_lock(&keeper->lock);
	TP_FREE char *meminfo_path = tp_strdup(keeper->meminfo);
	TP_FREE char *stalls_path = tp_strdup(keeper->stalls);
	pthread_mutex_unlock(&keeper->lock);
	TP_TRY(tp_read_file(AT_FDCWD, meminfo_path, 64 * TP_KIB, &meminfo, &len));
	/* Not every kernel has that; then the other one has to do. */
	torpor_error_free(tp_read_file(AT_FDCWD, stalls_path, 4 * TP_KIB, &stalls, &len));
	return tp_memory_parse(meminfo, stalls, memory_out);
}

static uint64_t reserve_of(struct tp_keeper *keeper, const struct tp_host_memory *memory)
{
	struct tp_service *service = keeper->service;

	pthread_mutex_lock(&service->lock);
	uint64_t reserve = service->config.memory_reserve;
	pthread_mutex_unlock(&service->lock);
	return reserve ? reserve : memory->total / 20;
}

/*
 * Stock makes way for sessions, which are admitted as if nothing waited: while more is charged than
 * the budget has, it is to become less, and none if that doesn't help.
 */
static void press_supply(struct tp_keeper *keeper, uint64_t now_ns)
{
	struct tp_admission_view view;
	enum tp_pressure_level level = keeper->pressure.level;

	tp_admission_view(keeper->service->admission, &view);
	if (view.charged <= view.host_memory)
		keeper->over_ns = 0;
	else if (keeper->over_ns == 0)
		keeper->over_ns = now_ns;
	bool over = keeper->over_ns;
	bool on = level >= TP_PRESSURE_LESS || over;
	bool fully = level >= TP_PRESSURE_BARE ||
		     (over && now_ns - keeper->over_ns >= TP_PRESSURE_UP_NS);
	if (on == keeper->pressed && fully == keeper->pressed_fully)
		return;
	keeper->pressed = on;
	keeper->pressed_fully = fully;
	tp_supply_press(keeper->service->supply, on, fully);
}

void tp_keeper_look_at_memory(struct tp_keeper *keeper, uint64_t now_ns)
{
	enum tp_pressure_level before = keeper->pressure.level;
	struct tp_host_memory memory;

	if (keeper->memory_ns && now_ns - keeper->memory_ns < TP_KEEPER_TICK_NS)
		return;
	keeper->memory_ns = now_ns;
	struct torpor_error *err = read_memory(keeper, &memory);
	if (err) {
		tp_error_log(tp_error_in(err, "look at", "memory"));
		return;
	}
	uint64_t reserve = reserve_of(keeper, &memory);
	enum tp_pressure_level level =
		tp_pressure_step(&keeper->pressure, &memory, reserve, now_ns);
	pthread_mutex_lock(&keeper->lock);
	keeper->shown = (struct tp_pressure_view){
		.level = level, .available = memory.available, .reserve = reserve};
	pthread_mutex_unlock(&keeper->lock);
	if (level != before)
		tp_log(TP_LOG_WARNING,
			"memory pressure: %s (%ju MiB available, %ju MiB are the reserve)",
			tp_pressure_name(level), (uintmax_t)(memory.available / TP_MIB),
			(uintmax_t)(reserve / TP_MIB));
	press_supply(keeper, now_ns);
}

/* --- processes --- */

static void set_oom(int pid, int score)
{
	char path[64];
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", score);

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	TP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
	/* It may be gone; and where it isn't allowed, the kernel chooses by size. */
	if (fd >= 0 && write(fd, text, (size_t)len) < 0)
		tp_log(TP_LOG_DEBUG, "write %s: %m", path);
}

static bool told(const struct tp_keeper *keeper, int pid)
{
	for (size_t i = 0; i < keeper->n_oom_pids; i++) {
		if (keeper->oom_pids[i] == pid)
			return true;
	}
	return false;
}

void tp_keeper_tell_of_sessions(
	struct tp_keeper *keeper, const struct tp_live_brief *briefs, size_t n)
{
	int *pids = tp_calloc(n ? n : 1, sizeof(*pids));
	size_t n_pids = 0;

	for (size_t i = 0; i < n; i++) {
		if (briefs[i].pid == 0)
			continue;
		if (!told(keeper, briefs[i].pid))
			set_oom(briefs[i].pid, OOM_SESSION);
		pids[n_pids++] = briefs[i].pid;
	}
	free(keeper->oom_pids);
	keeper->oom_pids = pids;
	keeper->n_oom_pids = n_pids;
}

/* Processes that wait, of one template; by the engine's lock. */
static size_t add_pids(const struct tp_stock *stock, int **pids, size_t n)
{
	for (const struct tp_shell *shell = stock->first; shell; shell = shell->next) {
		*pids = tp_reallocarray(*pids, n + 1, sizeof(**pids));
		(*pids)[n++] = tp_guest_pid(shell->guest);
	}
	return n;
}

/* Of all that waits; one that is taken meanwhile is told about with its session's. */
void tp_keeper_tell_of_stock(struct torpor_engine *engine)
{
	TP_FREE int *pids = NULL;
	size_t n = 0;

	pthread_mutex_lock(&engine->lock);
	for (const struct torpor_template *tmpl = engine->templates; tmpl; tmpl = tmpl->next) {
		n = add_pids(&tmpl->shells, &pids, n);
		n = add_pids(&tmpl->warm, &pids, n);
	}
	/* Under the lock: what has been taken may have a session's score already. */
	for (size_t i = 0; i < n; i++)
		set_oom(pids[i], OOM_STOCK);
	pthread_mutex_unlock(&engine->lock);
}
