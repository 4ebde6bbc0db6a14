/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy of the warm pool. docs/POOL.md has it in words and a picture.
 *
 * What should wait is what may be asked for while one more is being started: the most claims that
 * came within such a time, anywhere in the window. A bucket is the finest that is known, and what
 * came in one may have come all at once, so that the time is rounded up to whole buckets. An
 * average over the window was turned down: load comes in bursts, and an average never covers one.
 *
 * It doesn't swing: targets rise at once and fall only when the peak has left the window, and what
 * is a little too much is left to be claimed.
 */
#include "pool/policy.h"

#include <limits.h>

const struct tp_policy_config tp_policy_defaults = TP_POLICY_DEFAULTS;

/* The boost is halved so often within a window. */
#define HALVINGS 8

const char *tp_policy_config_error(const struct tp_policy_config *config)
{
	if (config->warm_min > config->warm_max)
		return "more warm guests are to wait at least than at most";
	if (config->shells_min > config->shells_max)
		return "more shells are to wait at least than at most";
	if (config->warm_max > TP_POLICY_MOST || config->shells_max > TP_POLICY_MOST)
		return "no more than 1000 may wait of each kind";
	if (config->window_ns < TP_POLICY_WINDOW_MIN || config->window_ns > TP_POLICY_WINDOW_MAX)
		return "the window must be from one second to one day";
	if (config->failure_percent > 100)
		return "the share of failed starts must be from 0 to 100 percent";
	if (config->start_slow_ns == 0)
		return "the time that a start may take must be above zero";
	if (config->backoff_min_ns == 0 || config->backoff_min_ns > config->backoff_max_ns)
		return "the backoff must be above zero, and at least no more than at most";
	if (config->degraded_after == 0)
		return "a template is degraded after one failed start or more";
	return NULL;
}

static uint64_t later(uint64_t ns, uint64_t by)
{
	return by > UINT64_MAX - ns ? UINT64_MAX : ns + by;
}

/* --- What happened --- */

static uint64_t bucket_ns(const struct tp_policy_config *config)
{
	return config->window_ns / TP_POLICY_BUCKETS;
}

/* The bucket of NOW_NS, emptied if it was an older one. */
static size_t bucket_at(
	struct tp_policy *policy, const struct tp_policy_config *config, uint64_t now_ns)
{
	uint64_t number = now_ns / bucket_ns(config);
	size_t i = number % TP_POLICY_BUCKETS;

	if (policy->buckets[i].number != number) {
		policy->buckets[i].number = number;
		policy->buckets[i].warm = 0;
		policy->buckets[i].shells = 0;
		policy->buckets[i].starts = 0;
		policy->buckets[i].failures = 0;
	}
	return i;
}

static void count(uint32_t *counter)
{
	if (*counter < UINT32_MAX)
		(*counter)++;
}

void tp_policy_claimed(struct tp_policy *policy, const struct tp_policy_config *config,
	bool warm_would_do, uint64_t now_ns)
{
	size_t i = bucket_at(policy, config, now_ns);

	count(warm_would_do ? &policy->buckets[i].warm : &policy->buckets[i].shells);
}

void tp_policy_started(struct tp_policy *policy, const struct tp_policy_config *config,
	uint64_t took_ns, uint64_t now_ns)
{
	uint64_t average = policy->start_ns_average;

	count(&policy->buckets[bucket_at(policy, config, now_ns)].starts);
	policy->failed_in_row = 0;
	policy->not_before_ns = 0;
	if (took_ns > 0)
		policy->start_ns_average =
			average == 0 ? took_ns : average - average / 4 + took_ns / 4;
}

/* Doubled with each failure in a row, then spread over the upper half of that. */
static uint64_t backoff(
	const struct tp_policy_config *config, unsigned int failed_in_row, uint16_t jitter)
{
	uint64_t ns = config->backoff_min_ns;

	for (unsigned int i = 1; i < failed_in_row && ns < config->backoff_max_ns; i++)
		ns = ns > config->backoff_max_ns / 2 ? config->backoff_max_ns : ns * 2;
	uint64_t half = ns / 2;
	return ns - half + half / UINT16_MAX * jitter + half % UINT16_MAX * jitter / UINT16_MAX;
}

void tp_policy_failed(struct tp_policy *policy, const struct tp_policy_config *config,
	uint16_t jitter, uint64_t now_ns)
{
	size_t i = bucket_at(policy, config, now_ns);

	count(&policy->buckets[i].starts);
	count(&policy->buckets[i].failures);
	if (policy->failed_in_row < UINT_MAX)
		policy->failed_in_row++;
	policy->not_before_ns = later(now_ns, backoff(config, policy->failed_in_row, jitter));
}

bool tp_policy_degraded(const struct tp_policy *policy, const struct tp_policy_config *config)
{
	return policy->failed_in_row >= config->degraded_after;
}

/* --- What it comes to --- */

struct demand {
	uint64_t warm; /* the most claims within the time that a start takes */
	uint64_t shells;
	uint64_t starts; /* in the window */
	uint64_t failures;
	bool any;	    /* somebody asked, or something was started, in the window */
	uint64_t leaves_ns; /* when the oldest of it leaves the window; if there is any */
};

/* The most in SPAN buckets in a row, of those of the window with the oldest first. */
static uint64_t peak(const uint32_t *counts, size_t span)
{
	uint64_t sum = 0, most = 0;

	for (size_t i = 0; i < TP_POLICY_BUCKETS; i++) {
		sum += counts[i];
		if (i >= span)
			sum -= counts[i - span];
		most = TP_MAX(most, sum);
	}
	return most;
}

static struct demand look_back(
	const struct tp_policy *policy, const struct tp_policy_config *config, uint64_t now_ns)
{
	uint32_t warm[TP_POLICY_BUCKETS] = {0}, shells[TP_POLICY_BUCKETS] = {0};
	uint64_t len = bucket_ns(config), now = now_ns / len;
	uint64_t span = TP_MAX(TP_DIV_UP(policy->start_ns_average, len), UINT64_C(1));
	struct demand demand = {0};

	for (uint64_t age = TP_MIN(now, TP_POLICY_BUCKETS - UINT64_C(1)) + 1; age-- > 0;) {
		size_t i = (now - age) % TP_POLICY_BUCKETS;
		if (policy->buckets[i].number != now - age)
			continue;
		size_t place = TP_POLICY_BUCKETS - 1 - age;
		warm[place] = policy->buckets[i].warm;
		shells[place] = policy->buckets[i].shells;
		demand.starts += policy->buckets[i].starts;
		demand.failures += policy->buckets[i].failures;
		if (!demand.any && (warm[place] || shells[place] || policy->buckets[i].starts)) {
			demand.any = true;
			demand.leaves_ns = later((now - age) * len, TP_POLICY_BUCKETS * len);
		}
	}
	demand.warm = peak(warm, TP_MIN(span, (uint64_t)TP_POLICY_BUCKETS));
	demand.shells = peak(shells, TP_MIN(span, (uint64_t)TP_POLICY_BUCKETS));
	return demand;
}

/* Starts can't be relied on: they take long, or fail. That matters where somebody asks. */
static bool starts_are_poor(const struct tp_policy *policy, const struct tp_policy_config *config,
	const struct demand *demand)
{
	if (demand->warm == 0 || demand->starts == 0)
		return false;
	return policy->start_ns_average > config->start_slow_ns ||
	       demand->failures * 100 > demand->starts * config->failure_percent;
}

/* Raises the boost while something calls for it, and lets it decay from then on. */
static void boost(struct tp_policy *policy, const struct tp_policy_config *config,
	const struct tp_policy_stock *stock, const struct demand *demand, uint64_t now_ns)
{
	uint64_t half_life = config->window_ns / HALVINGS, wanted = 0;
	uint64_t since = now_ns > policy->boosted_ns ? now_ns - policy->boosted_ns : 0;
	uint64_t halvings = policy->boost > 0 ? since / half_life : 0;

	policy->boost = halvings < 32 ? policy->boost >> halvings : 0;
	policy->boosted_ns = later(policy->boosted_ns, halvings * half_life);
	if (stock->waiting > config->waiting_high)
		wanted = stock->waiting;
	if (starts_are_poor(policy, config, demand))
		wanted = TP_MAX(wanted, 1 + demand->warm / 2);
	if (wanted > 0 && wanted >= policy->boost) {
		policy->boost = (unsigned int)TP_MIN(wanted, (uint64_t)TP_POLICY_MOST);
		policy->boosted_ns = now_ns;
	}
}

static unsigned int target(uint64_t demand, unsigned int boosted, unsigned int min,
	unsigned int max, const struct tp_policy_stock *stock)
{
	uint64_t wanted = demand + demand / 4 + boosted;

	if (stock->nothing)
		return 0;
	if (stock->pressure)
		return min;
	return (unsigned int)TP_MIN(TP_MAX(wanted, (uint64_t)min), (uint64_t)max);
}

/* What is too much. A little above the target may wait on, unless there is a reason against it. */
static unsigned int surplus(unsigned int have, unsigned int target, unsigned int max, bool strict)
{
	unsigned int slack = strict ? 0 : 1 + target / 4;

	if (have > max)
		return have - target;
	return have > target + slack ? have - target : 0;
}

/* Which kind to start: that of which less is there, measured by its target. */
static void choose_start(const struct tp_policy_stock *stock, struct tp_policy_decision *decision)
{
	uint64_t warm = (uint64_t)stock->warm + stock->starting_warm;
	uint64_t shells = (uint64_t)stock->shells + stock->starting_shells;
	bool lacks_warm = warm < decision->warm_target;
	bool lacks_shells = shells < decision->shell_target;
	bool warm_first = warm * decision->shell_target <= shells * decision->warm_target;

	decision->start_warm = lacks_warm && (warm_first || !lacks_shells);
	decision->start_shell = lacks_shells && !decision->start_warm;
}

/* After a failed start: not before the backoff is over, and then one at a time. */
static bool may_start(
	const struct tp_policy *policy, const struct tp_policy_stock *stock, uint64_t now_ns)
{
	if (policy->failed_in_row == 0)
		return true;
	return now_ns >= policy->not_before_ns && stock->starting_warm == 0 &&
	       stock->starting_shells == 0;
}

bool tp_policy_may_start_ahead(unsigned int claims, unsigned int passed, unsigned int every)
{
	return claims == 0 || (every > 0 && passed >= every);
}

/* The next time at which this decision could be another one by itself. */
static uint64_t look_again(const struct tp_policy *policy, const struct tp_policy_config *config,
	const struct demand *demand, uint64_t now_ns)
{
	uint64_t at = later(now_ns, config->window_ns);

	if (demand->any && demand->leaves_ns > now_ns)
		at = TP_MIN(at, demand->leaves_ns);
	if (policy->boost > 0)
		at = TP_MIN(at, later(policy->boosted_ns, config->window_ns / HALVINGS));
	if (policy->not_before_ns > now_ns)
		at = TP_MIN(at, policy->not_before_ns);
	return at;
}

void tp_policy_decide(struct tp_policy *policy, const struct tp_policy_config *config,
	const struct tp_policy_stock *stock, uint64_t now_ns,
	struct tp_policy_decision *decision_out)
{
	struct demand demand = look_back(policy, config, now_ns);
	bool pressed = stock->pressure || stock->nothing;
	struct tp_policy_decision d = {0};

	boost(policy, config, stock, &demand, now_ns);
	d.warm_target =
		target(demand.warm, policy->boost, config->warm_min, config->warm_max, stock);
	d.shell_target = target(demand.shells, 0, config->shells_min, config->shells_max, stock);
	d.drop_warm = surplus(stock->warm, d.warm_target, config->warm_max,
		pressed || (demand.warm == 0 && policy->boost == 0));
	d.drop_shells = surplus(
		stock->shells, d.shell_target, config->shells_max, pressed || demand.shells == 0);
	if (may_start(policy, stock, now_ns))
		choose_start(stock, &d);
	d.degraded = tp_policy_degraded(policy, config);
	d.look_again_ns = look_again(policy, config, &demand, now_ns);
	*decision_out = d;
}
