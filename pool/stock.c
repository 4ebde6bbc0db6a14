/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What waits of a template: shells and warm guests.
 *
 * Each is watched while it waits, and asked now and then. Whoever takes one out of its list under
 * the engine's lock has it: a claim, the watcher that saw it die, or a shrinking. A death that is
 * seen after that finds nobody of that number.
 */
#include <poll.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/qmp.h"
#include "pool/template.h"
#include "pool/watch.h"

/* --- Lists --- */

void tp_stock_put(struct torpor_template *tmpl, struct tp_stock *stock, struct tp_shell *shell)
{
	struct torpor_engine *engine = tmpl->engine;

	pthread_mutex_lock(&engine->lock);
	shell->watch_id = ++engine->last_watch_id;
	shell->next = stock->first;
	stock->first = shell;
	stock->count++;
	tp_watch_waiting(engine, shell);
	pthread_mutex_unlock(&engine->lock);
}

/* Takes *AT out of its list; under the lock. */
static struct tp_shell *unlink_at(
	struct torpor_engine *engine, struct tp_stock *stock, struct tp_shell **at)
{
	struct tp_shell *shell = *at;

	*at = shell->next;
	shell->next = NULL;
	stock->count--;
	tp_unwatch_waiting(engine, shell);
	return shell;
}

static struct tp_shell *pop(struct torpor_engine *engine, struct tp_stock *stock)
{
	struct tp_shell *shell = NULL;

	pthread_mutex_lock(&engine->lock);
	if (stock->first)
		shell = unlink_at(engine, stock, &stock->first);
	pthread_mutex_unlock(&engine->lock);
	return shell;
}

struct tp_shell *tp_stock_take(struct torpor_template *tmpl, struct tp_stock *stock)
{
	struct tp_shell *shell;

	while ((shell = pop(tmpl->engine, stock))) {
		struct pollfd end = {.fd = tp_guest_pidfd(shell->guest), .events = POLLIN};
		if (poll(&end, 1, 0) == 0)
			return shell;
		tp_shell_free(shell);
		tp_watcher_tell(tmpl->engine->watcher, TORPOR_EVENT_STOCK, tmpl->name);
	}
	return NULL;
}

static struct tp_shell *take_from(
	struct torpor_engine *engine, struct tp_stock *stock, uint64_t watch_id)
{
	for (struct tp_shell **at = &stock->first; *at; at = &(*at)->next) {
		if ((*at)->watch_id == watch_id)
			return unlink_at(engine, stock, at);
	}
	return NULL;
}

struct tp_shell *tp_stock_take_watched(
	struct torpor_engine *engine, uint64_t watch_id, char tmpl_name[65])
{
	struct tp_shell *shell = NULL;

	pthread_mutex_lock(&engine->lock);
	for (struct torpor_template *t = engine->templates; t && !shell; t = t->next) {
		shell = take_from(engine, &t->warm, watch_id);
		if (!shell)
			shell = take_from(engine, &t->shells, watch_id);
		if (shell)
			snprintf(tmpl_name, 65, "%s", t->name);
	}
	pthread_mutex_unlock(&engine->lock);
	return shell;
}

/* --- Those that are deaf --- */

/* Where those of STOCK begin that were put there before WATCH_ID; under the lock. */
static struct tp_shell **older_than(struct tp_stock *stock, uint64_t watch_id)
{
	struct tp_shell **at = &stock->first;

	while (*at && (*at)->watch_id >= watch_id)
		at = &(*at)->next;
	return at;
}

/*
 * Under the lock, as everything with one that waits: a claim may have it a moment later. False if
 * it is deaf.
 */
static bool ask(struct torpor_engine *engine, struct tp_shell *shell)
{
	struct tp_qmp *qmp = tp_guest_qmp(shell->guest);
	uint64_t now = tp_now_ns();

	if (shell->asked_ns && !tp_qmp_answered(qmp))
		return now - shell->asked_ns < engine->deaf_after_ns;
	shell->asked_ns = now;
	/* One that has closed its socket doesn't answer either. */
	torpor_error_free(tp_qmp_ask(qmp));
	return true;
}

/*
 * Asks the next one that is older than *WATCH_ID, which is brought there. *DEAF_OUT is the caller's
 * if it is deaf, else NULL. False if there was none. One at a time, so that claims get in between.
 */
static bool ask_next(struct torpor_engine *engine, struct tp_stock *stock, uint64_t *watch_id,
	struct tp_shell **deaf_out)
{
	pthread_mutex_lock(&engine->lock);
	struct tp_shell **at = older_than(stock, *watch_id);
	bool found = *at;
	if (found)
		*watch_id = (*at)->watch_id;
	*deaf_out = found && !ask(engine, *at) ? unlink_at(engine, stock, at) : NULL;
	pthread_mutex_unlock(&engine->lock);
	return found;
}

static unsigned int ask_all(struct torpor_engine *engine, struct tp_stock *stock)
{
	uint64_t watch_id = UINT64_MAX;
	struct tp_shell *deaf;
	unsigned int count = 0;

	while (ask_next(engine, stock, &watch_id, &deaf)) {
		count += deaf ? 1 : 0;
		tp_shell_free(deaf);
	}
	return count;
}

void tp_stock_ask(struct torpor_template *tmpl)
{
	unsigned int deaf =
		ask_all(tmpl->engine, &tmpl->warm) + ask_all(tmpl->engine, &tmpl->shells);

	if (deaf > 0)
		tp_stock_note_deaf(tmpl, deaf);
}

void tp_stock_note_deaf(struct torpor_template *tmpl, unsigned int count)
{
	struct torpor_engine *engine = tmpl->engine;

	pthread_mutex_lock(&engine->lock);
	tmpl->deaf += count;
	pthread_mutex_unlock(&engine->lock);
	tp_log(TP_LOG_WARNING, "%u that waited of template %s didn't answer for %ju ms: ended",
		count, tmpl->name, (uintmax_t)(engine->deaf_after_ns / TP_NSEC_PER_MSEC));
	tp_watcher_tell(engine->watcher, TORPOR_EVENT_STOCK, tmpl->name);
}

unsigned int tp_stock_take_deaf(struct torpor_template *tmpl)
{
	pthread_mutex_lock(&tmpl->engine->lock);
	unsigned int deaf = tmpl->deaf;
	tmpl->deaf = 0;
	pthread_mutex_unlock(&tmpl->engine->lock);
	return deaf;
}

/* --- More and fewer --- */

struct torpor_error *tp_stock_add_warm(
	struct torpor_template *tmpl, const struct tp_call *call, uint64_t *took_ns_out)
{
	uint64_t start = tp_now_ns();
	struct tp_shell *shell;

	TP_TRY(tp_error_in(tp_warm_start(tmpl, call, &shell), "prepare template", tmpl->name));
	tp_stock_put(tmpl, &tmpl->warm, shell);
	if (took_ns_out)
		*took_ns_out = tp_now_ns() - start;
	return NULL;
}

struct torpor_error *tp_stock_add_shell(
	struct torpor_template *tmpl, const struct tp_call *call, uint64_t *took_ns_out)
{
	uint64_t start = tp_now_ns();
	struct tp_shell *shell;

	TP_TRY(tp_error_in(
		tp_shell_start_ahead(tmpl, call, &shell), "prepare template", tmpl->name));
	tp_stock_put(tmpl, &tmpl->shells, shell);
	if (took_ns_out)
		*took_ns_out = tp_now_ns() - start;
	return NULL;
}

void tp_stock_count(struct torpor_template *tmpl, unsigned int *warm_out, unsigned int *shells_out)
{
	pthread_mutex_lock(&tmpl->engine->lock);
	*warm_out = tmpl->warm.count;
	*shells_out = tmpl->shells.count;
	pthread_mutex_unlock(&tmpl->engine->lock);
}

/* Takes one out of STOCK if there are more than KEEP. */
static struct tp_shell *pop_beyond(
	struct torpor_engine *engine, struct tp_stock *stock, unsigned int keep)
{
	struct tp_shell *shell = NULL;

	pthread_mutex_lock(&engine->lock);
	if (stock->count > keep)
		shell = unlink_at(engine, stock, &stock->first);
	pthread_mutex_unlock(&engine->lock);
	return shell;
}

static unsigned int shrink(struct torpor_engine *engine, struct tp_stock *stock, unsigned int keep)
{
	struct tp_shell *shell;
	unsigned int ended = 0;

	while ((shell = pop_beyond(engine, stock, keep))) {
		tp_shell_free(shell);
		ended++;
	}
	return ended;
}

unsigned int tp_stock_shrink(struct torpor_template *tmpl, unsigned int warm, unsigned int shells)
{
	return shrink(tmpl->engine, &tmpl->warm, warm) +
	       shrink(tmpl->engine, &tmpl->shells, shells);
}

struct torpor_error *torpor_template_prepare(
	struct torpor_template *tmpl, unsigned int count, const struct torpor_call *public_call)
{
	struct tp_call call = tp_call_from(public_call, RESUME_TIMEOUT_NS);
	unsigned int warm;
	unsigned int shells;

	for (tp_stock_count(tmpl, &warm, &shells); shells < count;
		tp_stock_count(tmpl, &warm, &shells))
		TP_TRY(tp_stock_add_shell(tmpl, &call, NULL));
	return NULL;
}

struct torpor_error *torpor_template_prepare_warm(
	struct torpor_template *tmpl, unsigned int count, const struct torpor_call *public_call)
{
	struct tp_call call = tp_call_from(public_call, RESUME_TIMEOUT_NS);
	unsigned int warm;
	unsigned int shells;

	for (tp_stock_count(tmpl, &warm, &shells); warm < count;
		tp_stock_count(tmpl, &warm, &shells))
		TP_TRY(tp_stock_add_warm(tmpl, &call, NULL));
	return NULL;
}
