/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims: who may go ahead.
 *
 * A claim goes ahead with what waits, which is promised to it until it ends, or with a start slot.
 * For slots the order is that of coming. What waits of a template can be promised to a claim behind
 * one of another template that still waits for a slot: it takes nothing from that one.
 */
#include <errno.h>
#include <limits.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "pool/supply_priv.h"

#define RETRY_MOST_S 60

/* --- What a claim may take of stock --- */

static unsigned int less(unsigned int a, unsigned int b)
{
	return a > b ? a - b : 0;
}

/*
 * Promises to the claim what waits for it, as much as it needs; true if that is all it needs. A
 * promise holds until its claim ends, also once that has taken what it was promised: then one that
 * waits is overlooked for some milliseconds, and whoever is given a slot instead finds it.
 */
static bool promise(struct tp_supply *supply, struct tp_claim *claim, bool only_all)
{
	struct tp_supplied *s = claim->supplied;

	if (!s || s->removed)
		return false;
	struct tp_policy_stock stock = tp_supplied_stock(supply, s);
	unsigned int warm = claim->warm_would_do ? less(stock.warm, s->promised[TP_KIND_WARM]) : 0;
	unsigned int shells = less(stock.shells, s->promised[TP_KIND_SHELL]);
	warm = TP_MIN(warm, claim->count);
	shells = TP_MIN(shells, claim->count - warm);
	bool all = warm + shells == claim->count;
	if (!all && only_all)
		return false;
	claim->promised_warm = warm;
	claim->promised_shells = shells;
	s->promised[TP_KIND_WARM] += warm;
	s->promised[TP_KIND_SHELL] += shells;
	return all;
}

static void give_back(struct tp_supply *supply, struct tp_claim *claim)
{
	if (claim->supplied) {
		claim->supplied->promised[TP_KIND_WARM] -= claim->promised_warm;
		claim->supplied->promised[TP_KIND_SHELL] -= claim->promised_shells;
		claim->supplied->spawning -= claim->slot;
	}
	supply->slots_used -= claim->slot;
	claim->promised_warm = claim->promised_shells = 0;
	claim->slot = false;
}

/* --- The queue --- */

static bool hopeless(const struct tp_claim *claim)
{
	const struct tp_supplied *s = claim->supplied;

	return s && tp_policy_degraded(&s->policy, &s->config) && tp_supplied_retry_after(s) > 0;
}

static bool try_grant(struct tp_supply *supply, struct tp_waiter *waiter)
{
	struct tp_claim *claim = waiter->claim;

	if (promise(supply, claim, true)) {
		waiter->state = TP_GRANTED;
	} else if (hopeless(claim)) {
		waiter->state = TP_REFUSED;
	} else if (supply->slots_used < supply->options.start_slots) {
		promise(supply, claim, false);
		claim->slot = true;
		supply->slots_used++;
		supply->passed += supply->passed < UINT_MAX;
		if (claim->supplied)
			claim->supplied->spawning++;
		waiter->state = TP_GRANTED;
	}
	return waiter->state != TP_WAITS;
}

static void append(struct tp_supply *supply, struct tp_waiter *waiter)
{
	struct tp_waiter **at = &supply->waiters;

	while (*at)
		at = &(*at)->next;
	*at = waiter;
	supply->waiting++;
	if (waiter->claim->supplied)
		waiter->claim->supplied->waiting++;
}

/* *AT waits no longer. */
static void unlink_at(struct tp_supply *supply, struct tp_waiter **at)
{
	struct tp_waiter *waiter = *at;

	*at = waiter->next;
	supply->waiting--;
	if (waiter->claim->supplied)
		waiter->claim->supplied->waiting--;
}

static void unlink_waiter(struct tp_supply *supply, struct tp_waiter *waiter)
{
	struct tp_waiter **at = &supply->waiters;

	while (*at != waiter)
		at = &(*at)->next;
	unlink_at(supply, at);
}

void tp_supply_serve(struct tp_supply *supply)
{
	struct tp_waiter **at = &supply->waiters;
	uint64_t one = 1;

	while (*at) {
		struct tp_waiter *waiter = *at;
		if (!try_grant(supply, waiter)) {
			at = &waiter->next;
			continue;
		}
		unlink_at(supply, at);
		if (waiter->fd >= 0 && write(waiter->fd, &one, sizeof(one)) < 0)
			assert(errno == EAGAIN);
	}
}

/* --- Refusals --- */

static struct torpor_error *refuse_degraded(
	const struct tp_supplied *supplied, unsigned int retry_after_s)
{
	struct torpor_error *err = tp_error(TORPOR_E_LIMIT, "claim guest of template",
		supplied->tmpl->name, "its guests don't start (%u times in a row); the last: %s",
		supplied->policy.failed_in_row, supplied->reason);

	return tp_error_refusal(
		tp_error_hint(err, "It is tried again in %u s; see `torpor pool`.", retry_after_s),
		"template-degraded", retry_after_s);
}

/* About what those in the queue take, one after the other on all slots. */
static unsigned int queue_time_s(const struct tp_supply *supply, const struct tp_claim *claim)
{
	uint64_t each = claim->supplied ? claim->supplied->policy.start_ns_average : 0;
	uint64_t all = TP_MIN(each, TP_NSEC_PER_SEC * RETRY_MOST_S) * supply->waiting /
		       supply->options.start_slots;

	return (unsigned int)TP_MIN(1 + all / TP_NSEC_PER_SEC, (uint64_t)RETRY_MOST_S);
}

static struct torpor_error *refuse_full(
	const struct tp_supply *supply, const struct tp_claim *claim)
{
	struct torpor_error *err =
		tp_error(TORPOR_E_LIMIT, "claim guest of template", claim->tmpl->name,
			"%u claims wait already, which is the most", supply->options.queue_max);

	return tp_error_refusal(tp_error_hint(err, "Try again later, or let more guests wait ahead "
						   "of demand (warm_max)."),
		"queue-full", queue_time_s(supply, claim));
}

/* --- Beginning and ending --- */

static void count_demand(struct tp_claim *claim)
{
	struct tp_supplied *s = claim->supplied;

	for (unsigned int i = 0; s && i < claim->count; i++)
		tp_policy_claimed(&s->policy, &s->config, claim->warm_would_do, claim->entered_ns);
}

/* Waits its turn. By the lock, which is given up meanwhile. */
static struct torpor_error *wait_turn(
	struct tp_supply *supply, struct tp_waiter *waiter, const struct tp_call *call)
{
	const char *name = waiter->claim->tmpl->name;
	TP_FD int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0) {
		unlink_waiter(supply, waiter);
		return tp_error_errno(errno, "wait for a guest of template", name);
	}
	waiter->fd = fd;
	tp_supply_ring(supply);
	pthread_mutex_unlock(&supply->lock);
	struct torpor_error *err =
		tp_wait_fd(fd, POLLIN, call, "wait for a guest of template", name);
	pthread_mutex_lock(&supply->lock);
	if (err && waiter->state == TP_WAITS)
		unlink_waiter(supply, waiter);
	if (err && waiter->state == TP_GRANTED)
		give_back(supply, waiter->claim);
	return err;
}

/* By the lock, which is given up where it has to wait. */
static struct torpor_error *begin(
	struct tp_supply *supply, struct tp_claim *claim, const struct tp_call *call)
{
	struct tp_waiter waiter = {.claim = claim, .fd = -1};

	append(supply, &waiter);
	tp_supply_serve(supply);
	if (waiter.state == TP_WAITS && supply->waiting > supply->options.queue_max) {
		unlink_waiter(supply, &waiter);
		return refuse_full(supply, claim);
	}
	if (waiter.state != TP_REFUSED)
		count_demand(claim);
	if (waiter.state == TP_WAITS)
		TP_TRY(wait_turn(supply, &waiter, call));
	if (waiter.state == TP_REFUSED)
		return refuse_degraded(
			claim->supplied, TP_MAX(tp_supplied_retry_after(claim->supplied), 1U));
	return NULL;
}

/* Lets others go ahead and leaves the lock. */
static void leave(struct tp_supply *supply, struct tp_supplied *done_with)
{
	tp_supply_serve(supply);
	bool last = done_with && tp_supplied_put(done_with);
	pthread_mutex_unlock(&supply->lock);
	if (last)
		tp_supplied_free(done_with);
	tp_supply_ring(supply);
}

struct torpor_error *tp_claim_begin(struct tp_supply *supply, struct torpor_template *tmpl,
	unsigned int count, bool warm_would_do, const struct tp_call *call,
	struct tp_claim *claim_out)
{
	struct tp_claim claim = {
		.supply = supply,
		.tmpl = tmpl,
		.count = count,
		.warm_would_do = warm_would_do,
		.entered_ns = tp_now_ns(),
	};

	pthread_mutex_lock(&supply->lock);
	claim.supplied = tp_supplied_find(supply, tmpl, NULL);
	if (claim.supplied)
		claim.supplied->refs++;
	struct torpor_error *err = begin(supply, &claim, call);
	leave(supply, err ? claim.supplied : NULL);
	if (!err)
		*claim_out = claim;
	return err;
}

/* Whether ERR is the template's: that QEMU or the guest failed, and not the call. */
static bool template_failed(const struct torpor_error *err)
{
	switch (torpor_error_code(err)) {
	case TORPOR_E_QEMU:
	case TORPOR_E_GUEST:
	case TORPOR_E_CORRUPT:
	case TORPOR_E_MISMATCH:
	case TORPOR_E_NOMEM:
	case TORPOR_E_UNSUPPORTED:
	case TORPOR_E_DENIED:
		return true;
	default:
		return false;
	}
}

static void account(struct tp_supply *supply, const struct tp_claim *claim,
	const struct torpor_error *err, const struct torpor_resume_report *report)
{
	struct tp_supplied *s = claim->supplied;

	/* A resume or a fork has an image of its own that may be at fault. */
	if (!s || !claim->warm_would_do)
		return;
	if (err) {
		if (claim->slot && template_failed(err))
			tp_supplied_failed(supply, s, err);
		return;
	}
	if (!report)
		return;
	s->served[report->source] += claim->count;
	if (report->source == TORPOR_SOURCE_SPAWN)
		tp_policy_started(&s->policy, &s->config,
			TP_MAX(report->ready_ns, report->running_ns), tp_now_ns());
}

void tp_claim_end(struct tp_claim *claim, const struct torpor_error *err,
	const struct torpor_resume_report *report)
{
	struct tp_supply *supply = claim->supply;

	pthread_mutex_lock(&supply->lock);
	account(supply, claim, err, report);
	give_back(supply, claim);
	leave(supply, claim->supplied);
}
