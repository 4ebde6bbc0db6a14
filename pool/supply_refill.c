/* SPDX-License-Identifier: Apache-2.0 */
/* The supply's starts ahead. */
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "pool/supply_priv.h"

/* Memory that isn't there is asked for again after so long, since nobody tells when it is. */
#define RESERVE_AGAIN_NS TP_NSEC_PER_SEC

/* A start that takes longer has failed. */
#define START_TIMEOUT_NS RESUME_TIMEOUT_NS

/* Of the threads that start ahead, below those of claims. */
#define REFILL_NICE 10

/* --- Handing out --- */

static bool may_begin(const struct tp_supply *supply)
{
	return supply->refilling < supply->options.refill_slots &&
	       tp_policy_may_start_ahead(supply->slots_used + supply->waiting, supply->passed,
		       supply->options.refill_every);
}

static bool wants_start(const struct tp_supplied *supplied)
{
	return supplied->decision.start_warm || supplied->decision.start_shell;
}

/* Of those that want a start the one that was given none for longest. */
static struct tp_supplied *next_in_turn(struct tp_supply *supply)
{
	struct tp_supplied *next = NULL;

	for (struct tp_supplied *s = supply->supplied; s; s = s->next)
		if (wants_start(s) && (!next || s->turn < next->turn))
			next = s;
	return next;
}

static void hand_out(struct tp_supply *supply, struct tp_supplied *supplied)
{
	enum tp_kind kind = supplied->decision.start_warm ? TP_KIND_WARM : TP_KIND_SHELL;

	supplied->refs++;
	supplied->reserved++;
	supplied->jobs[kind]++;
	supplied->starting[kind]++;
	supplied->turn = ++supply->turns;
	supply->refilling++;
	supply->passed = 0;
	pthread_cond_signal(&supply->work);
}

uint64_t tp_supply_hand_out(struct tp_supply *supply, uint64_t now_ns)
{
	const struct tp_supply_options *options = &supply->options;
	uint64_t again = UINT64_MAX;
	struct tp_supplied *s;

	while (may_begin(supply) && (s = next_in_turn(supply))) {
		if (!options->reserve(options->data, s->memory_bytes)) {
			s->decision.start_warm = s->decision.start_shell = false;
			again = now_ns + RESERVE_AGAIN_NS;
			continue;
		}
		hand_out(supply, s);
		struct tp_policy_stock stock = tp_supplied_stock(supply, s);
		tp_policy_decide(&s->policy, &s->config, &stock, now_ns, &s->decision);
	}
	return again;
}

/* The start is over, or was never begun. */
static void end_start(struct tp_supply *supply, struct tp_supplied *supplied, enum tp_kind kind)
{
	supplied->starting[kind]--;
	supply->refilling--;
	tp_supplied_reconcile(supply, supplied);
	pthread_cond_broadcast(&supply->idle);
}

void tp_supplied_drop_jobs(struct tp_supply *supply, struct tp_supplied *supplied)
{
	for (enum tp_kind kind = 0; kind < TP_KINDS; kind++)
		for (; supplied->jobs[kind] > 0; supplied->jobs[kind]--) {
			end_start(supply, supplied, kind);
			supplied->refs--; /* never the last: whoever drops them has one */
		}
}

/* --- Starting --- */

static struct tp_supplied *take_job(struct tp_supply *supply, enum tp_kind *kind_out)
{
	for (struct tp_supplied *s = supply->supplied; s; s = s->next)
		for (enum tp_kind kind = 0; kind < TP_KINDS; kind++)
			if (s->jobs[kind] > 0) {
				s->jobs[kind]--;
				*kind_out = kind;
				return s;
			}
	return NULL;
}

/* By the lock. What was broken off because nobody wants it any more says nothing. */
static void account(struct tp_supply *supply, struct tp_supplied *supplied, enum tp_kind kind,
	const struct torpor_error *err, uint64_t took_ns)
{
	if (!err) {
		tp_policy_started(&supplied->policy, &supplied->config,
			kind == TP_KIND_WARM ? took_ns : 0, tp_now_ns());
		return;
	}
	if (supplied->removed || supply->stopping)
		return;
	tp_supplied_failed(supply, supplied, err);
	tp_log(TP_LOG_WARNING, "start ahead: %s", torpor_error_message(err));
}

/* Does one job. By the lock, which is given up meanwhile. */
static void start_one(struct tp_supply *supply, struct tp_supplied *supplied, enum tp_kind kind)
{
	struct tp_call call = tp_call_within(START_TIMEOUT_NS);
	uint64_t took_ns = 0;

	call.cancel_fd = supplied->cancel_fd;
	pthread_mutex_unlock(&supply->lock);
	TP_ERROR struct torpor_error *err =
		kind == TP_KIND_WARM ? supply->ops->add_warm(supplied->tmpl, &call, &took_ns)
				     : supply->ops->add_shell(supplied->tmpl, &call, &took_ns);
	pthread_mutex_lock(&supply->lock);
	account(supply, supplied, kind, err, took_ns);
	end_start(supply, supplied, kind);
	tp_supply_serve(supply);
	if (tp_supplied_put(supplied)) {
		pthread_mutex_unlock(&supply->lock);
		tp_supplied_free(supplied);
		pthread_mutex_lock(&supply->lock);
	}
	tp_supply_ring(supply);
}

void *tp_supply_refill(void *data)
{
	struct tp_supply *supply = data;
	enum tp_kind kind;

	/* On Linux this is the thread's alone. That it may always be lowered is all that is asked.
	 */
	setpriority(PRIO_PROCESS, (id_t)gettid(), REFILL_NICE);
	pthread_mutex_lock(&supply->lock);
	while (!supply->stopping) {
		struct tp_supplied *supplied = take_job(supply, &kind);
		if (supplied)
			start_one(supply, supplied, kind);
		else
			pthread_cond_wait(&supply->work, &supply->lock);
	}
	pthread_mutex_unlock(&supply->lock);
	return NULL;
}
