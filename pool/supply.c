/* SPDX-License-Identifier: Apache-2.0 */
/* The supply: templates in it, deciding, trimming, telling. supply_priv.h has the drawing. */
#include "pool/supply.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "pool/supply_priv.h"

#define DEFAULT_QUEUE_MAX 256

/* --- The bell --- */

void tp_supply_ring(struct tp_supply *supply)
{
	pthread_mutex_lock(&supply->bell_lock);
	supply->rung = true;
	pthread_cond_signal(&supply->bell);
	pthread_mutex_unlock(&supply->bell_lock);
}

/* Waits until it was rung, or UNTIL_NS. */
static void wait_for_bell(struct tp_supply *supply, uint64_t until_ns)
{
	struct timespec until = {.tv_sec = (time_t)(until_ns / TP_NSEC_PER_SEC),
		.tv_nsec = (long)(until_ns % TP_NSEC_PER_SEC)};
	int rc = 0;

	pthread_mutex_lock(&supply->bell_lock);
	while (!supply->rung && rc == 0)
		rc = pthread_cond_timedwait(&supply->bell, &supply->bell_lock, &until);
	supply->rung = false;
	pthread_mutex_unlock(&supply->bell_lock);
}

/* --- Templates in supply --- */

struct tp_supplied *tp_supplied_find(
	struct tp_supply *supply, const struct torpor_template *tmpl, const char *name)
{
	for (struct tp_supplied *s = supply->supplied; s; s = s->next)
		if (tmpl ? s->tmpl == tmpl : strcmp(s->tmpl->name, name) == 0)
			return s;
	return NULL;
}

static struct tp_supplied *supplied_new(struct torpor_template *tmpl)
{
	struct tp_supplied *supplied = tp_calloc(1, sizeof(*supplied));

	supplied->tmpl = tp_template_ref(tmpl);
	supplied->memory_bytes = tmpl->base->record.guest.memory_bytes;
	supplied->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	supplied->refs = 1;
	return supplied;
}

bool tp_supplied_put(struct tp_supplied *supplied)
{
	return --supplied->refs == 0;
}

void tp_supplied_free(struct tp_supplied *supplied)
{
	tp_close(supplied->cancel_fd);
	torpor_template_close(supplied->tmpl);
	free(supplied);
}

struct tp_policy_stock tp_supplied_stock(
	const struct tp_supply *supply, const struct tp_supplied *supplied)
{
	struct tp_policy_stock stock = {
		.starting_warm = supplied->starting[TP_KIND_WARM],
		.starting_shells = supplied->starting[TP_KIND_SHELL],
		.waiting = supplied->waiting,
		.pressure = supply->pressure,
		.nothing = supply->fully,
	};

	supply->ops->count(supplied->tmpl, &stock.warm, &stock.shells);
	return stock;
}

static void unreserve(struct tp_supply *supply, struct tp_supplied *supplied, unsigned int keep)
{
	for (; supplied->reserved > keep; supplied->reserved--)
		supply->options.unreserve(supply->options.data, supplied->memory_bytes);
}

void tp_supplied_reconcile(struct tp_supply *supply, struct tp_supplied *supplied)
{
	struct tp_policy_stock stock = tp_supplied_stock(supply, supplied);

	unreserve(supply, supplied,
		stock.warm + stock.shells + stock.starting_warm + stock.starting_shells);
}

/* splitmix64 */
static uint16_t chance(struct tp_supply *supply)
{
	uint64_t z = supply->chance += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (uint16_t)(z >> 48);
}

void tp_supplied_failed(
	struct tp_supply *supply, struct tp_supplied *supplied, const struct torpor_error *err)
{
	supplied->failures++;
	snprintf(supplied->reason, sizeof(supplied->reason), "%s", torpor_error_message(err));
	tp_policy_failed(&supplied->policy, &supplied->config, chance(supply), tp_now_ns());
}

unsigned int tp_supplied_retry_after(const struct tp_supplied *supplied)
{
	uint64_t now = tp_now_ns(), due = supplied->policy.not_before_ns;
	bool trying = supplied->spawning > 0 || supplied->starting[TP_KIND_WARM] > 0 ||
		      supplied->starting[TP_KIND_SHELL] > 0;

	if (due > now)
		return (unsigned int)TP_DIV_UP(due - now, TP_NSEC_PER_SEC);
	/* One tries for all. */
	return trying ? 1 : 0;
}

/*
 * Counts those that turned out to be deaf. As failed starts of the template: all that are found at
 * once as one, since it may be one thing that befell them.
 */
static void count_deaf(struct tp_supply *supply, struct tp_supplied *supplied)
{
	unsigned int deaf = supply->ops->take_deaf(supplied->tmpl);

	if (deaf == 0)
		return;
	supplied->deaf += deaf;
	TP_ERROR struct torpor_error *err = tp_error(TORPOR_E_GUEST, "keep guest waiting of",
		supplied->tmpl->name, "it doesn't answer any more");
	tp_supplied_failed(supply, supplied, err);
}

/* --- Deciding --- */

static void decide(struct tp_supply *supply, struct tp_supplied *supplied, uint64_t now_ns)
{
	struct tp_policy_stock stock = tp_supplied_stock(supply, supplied);

	tp_policy_decide(&supplied->policy, &supplied->config, &stock, now_ns, &supplied->decision);
}

/* One look at all templates; when to look again. */
static uint64_t look(struct tp_supply *supply)
{
	uint64_t now = tp_now_ns();

	for (struct tp_supplied *s = supply->supplied; s; s = s->next) {
		count_deaf(supply, s);
		tp_supplied_reconcile(supply, s);
		decide(supply, s, now);
	}
	uint64_t again = tp_supply_hand_out(supply, now);
	for (struct tp_supplied *s = supply->supplied; s; s = s->next)
		again = TP_MIN(again, TP_MIN(s->decision.look_again_ns, s->ask_ns));
	return again;
}

/* Between these what waits of the template is worked on, and the lock is given up. */
static void begin_work(struct tp_supply *supply, struct tp_supplied *supplied)
{
	supplied->refs++;
	supplied->worked_on = true;
	pthread_mutex_unlock(&supply->lock);
}

static void end_work(struct tp_supply *supply, struct tp_supplied *supplied)
{
	pthread_mutex_lock(&supply->lock);
	supplied->worked_on = false;
	tp_supplied_reconcile(supply, supplied);
	pthread_cond_broadcast(&supply->idle);
}

/* Ends what is too much; what was promised stays. */
static void trim(struct tp_supply *supply, struct tp_supplied *supplied)
{
	struct tp_policy_decision *d = &supplied->decision;
	unsigned int warm = d->drop_warm > 0
				    ? TP_MAX(d->warm_target, supplied->promised[TP_KIND_WARM])
				    : UINT32_MAX;
	unsigned int shells = d->drop_shells > 0
				      ? TP_MAX(d->shell_target, supplied->promised[TP_KIND_SHELL])
				      : UINT32_MAX;

	d->drop_warm = 0;
	d->drop_shells = 0;
	begin_work(supply, supplied);
	supply->ops->shrink(supplied->tmpl, warm, shells);
	end_work(supply, supplied);
}

/* Those that wait, whether they are well; who isn't is gone then, and looked at next. */
static void ask(struct tp_supply *supply, struct tp_supplied *supplied)
{
	supplied->ask_ns = tp_now_ns() + supply->options.ask_every_ns;
	begin_work(supply, supplied);
	supply->ops->ask(supplied->tmpl);
	end_work(supply, supplied);
	tp_supply_ring(supply);
}

static struct tp_supplied *next_to_ask(struct tp_supply *supply)
{
	struct tp_supplied *s = supply->supplied;
	uint64_t now = tp_now_ns();

	while (s && s->ask_ns > now)
		s = s->next;
	return s;
}

static struct tp_supplied *next_to_trim(struct tp_supply *supply)
{
	struct tp_supplied *s = supply->supplied;

	while (s && s->decision.drop_warm == 0 && s->decision.drop_shells == 0)
		s = s->next;
	return s;
}

/* --- Telling --- */

static struct tp_shown what_is_shown(
	const struct tp_supply *supply, const struct tp_supplied *supplied)
{
	struct tp_policy_stock stock = tp_supplied_stock(supply, supplied);

	return (struct tp_shown){{stock.warm, stock.shells, stock.starting_warm,
		stock.starting_shells, stock.waiting, supplied->decision.warm_target,
		supplied->decision.shell_target,
		tp_policy_degraded(&supplied->policy, &supplied->config)}};
}

/* The next of which other things are shown now than were told last; they count as told. */
static struct tp_supplied *next_to_tell(struct tp_supply *supply)
{
	for (struct tp_supplied *s = supply->supplied; s; s = s->next) {
		struct tp_shown shown = what_is_shown(supply, s);
		if (memcmp(&shown, &s->shown, sizeof(shown)) == 0)
			continue;
		s->shown = shown;
		return s;
	}
	return NULL;
}

/* The lock is given up meanwhile. */
static void tell(struct tp_supply *supply, struct tp_supplied *supplied)
{
	supplied->refs++;
	pthread_mutex_unlock(&supply->lock);
	if (supply->options.changed)
		supply->options.changed(supply->options.data, supplied->tmpl->name);
	pthread_mutex_lock(&supply->lock);
}

/* Counts down after the lock was given up in between. */
static void put_locked(struct tp_supply *supply, struct tp_supplied *supplied)
{
	if (!tp_supplied_put(supplied))
		return;
	pthread_mutex_unlock(&supply->lock);
	tp_supplied_free(supplied);
	pthread_mutex_lock(&supply->lock);
}

static void *run_decider(void *data)
{
	struct tp_supply *supply = data;
	struct tp_supplied *s;

	pthread_mutex_lock(&supply->lock);
	while (!supply->stopping) {
		uint64_t again = look(supply);
		tp_supply_serve(supply);
		while (!supply->stopping && (s = next_to_trim(supply))) {
			trim(supply, s);
			put_locked(supply, s);
		}
		while (!supply->stopping && (s = next_to_ask(supply))) {
			ask(supply, s);
			put_locked(supply, s);
		}
		while (!supply->stopping && (s = next_to_tell(supply))) {
			tell(supply, s);
			put_locked(supply, s);
		}
		if (supply->stopping)
			break;
		pthread_mutex_unlock(&supply->lock);
		wait_for_bell(supply, again);
		pthread_mutex_lock(&supply->lock);
	}
	pthread_mutex_unlock(&supply->lock);
	return NULL;
}

/* --- Making and freeing --- */

static struct tp_supply_options fill_in(const struct tp_supply_options *options)
{
	struct tp_supply_options o = *options;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	if (o.start_slots == 0)
		o.start_slots = processors > 0 ? (unsigned int)processors : 1;
	if (o.refill_slots == 0)
		o.refill_slots = 1;
	if (o.queue_max == 0)
		o.queue_max = DEFAULT_QUEUE_MAX;
	return o;
}

static void start_thread(pthread_t *thread, void *(*run)(void *), struct tp_supply *supply)
{
	int rc = pthread_create(thread, NULL, run, supply);

	/* As with small allocations: there is nothing to be done without it. */
	if (rc) {
		fprintf(stderr, "torpor: can't start a thread: %s\n", strerrordesc_np(rc));
		abort();
	}
}

struct tp_supply *tp_supply_new_with(
	const struct tp_supply_options *options, const struct tp_stock_ops *ops)
{
	struct tp_supply *supply = tp_calloc(1, sizeof(*supply));
	pthread_condattr_t monotonic;

	supply->options = fill_in(options);
	supply->ops = ops;
	supply->chance = tp_now_ns();
	pthread_mutex_init(&supply->bell_lock, NULL);
	pthread_mutex_init(&supply->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&supply->bell, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_cond_init(&supply->work, NULL);
	pthread_cond_init(&supply->idle, NULL);
	supply->refillers = tp_calloc(supply->options.refill_slots, sizeof(*supply->refillers));
	start_thread(&supply->decider, run_decider, supply);
	for (unsigned int i = 0; i < supply->options.refill_slots; i++)
		start_thread(&supply->refillers[i], tp_supply_refill, supply);
	return supply;
}

static void break_off_starts(struct tp_supplied *supplied)
{
	uint64_t one = 1;
	ssize_t n = write(supplied->cancel_fd, &one, sizeof(one));

	(void)n;
}

/* Takes it out of the list and waits until nothing works on it; then ends what waits of it. */
static void take_out(struct tp_supply *supply, struct tp_supplied *supplied)
{
	struct tp_supplied **at = &supply->supplied;

	while (*at != supplied)
		at = &(*at)->next;
	*at = supplied->next;
	supplied->removed = true;
	break_off_starts(supplied);
	tp_supplied_drop_jobs(supply, supplied);
	while (supplied->worked_on || supplied->starting[TP_KIND_WARM] > 0 ||
		supplied->starting[TP_KIND_SHELL] > 0)
		pthread_cond_wait(&supply->idle, &supply->lock);
	pthread_mutex_unlock(&supply->lock);
	supply->ops->shrink(supplied->tmpl, 0, 0);
	pthread_mutex_lock(&supply->lock);
	unreserve(supply, supplied, 0);
	tp_supply_serve(supply);
	put_locked(supply, supplied);
}

struct tp_supply *tp_supply_free(struct tp_supply *supply)
{
	if (!supply)
		return NULL;
	pthread_mutex_lock(&supply->lock);
	supply->stopping = true;
	for (struct tp_supplied *s = supply->supplied; s; s = s->next)
		break_off_starts(s);
	pthread_cond_broadcast(&supply->work);
	pthread_mutex_unlock(&supply->lock);
	tp_supply_ring(supply);
	pthread_join(supply->decider, NULL);
	for (unsigned int i = 0; i < supply->options.refill_slots; i++)
		pthread_join(supply->refillers[i], NULL);
	pthread_mutex_lock(&supply->lock);
	while (supply->supplied)
		take_out(supply, supply->supplied);
	pthread_mutex_unlock(&supply->lock);
	assert(!supply->waiters && supply->slots_used == 0);
	pthread_cond_destroy(&supply->bell);
	pthread_cond_destroy(&supply->work);
	pthread_cond_destroy(&supply->idle);
	pthread_mutex_destroy(&supply->bell_lock);
	pthread_mutex_destroy(&supply->lock);
	free(supply->refillers);
	free(supply);
	return NULL;
}

/* --- From outside --- */

void tp_supply_add(struct tp_supply *supply, struct torpor_template *tmpl,
	const struct tp_policy_config *config)
{
	pthread_mutex_lock(&supply->lock);
	struct tp_supplied *supplied = tp_supplied_find(supply, NULL, tmpl->name);
	while (supplied && supplied->tmpl != tmpl) {
		take_out(supply, supplied);
		supplied = tp_supplied_find(supply, NULL, tmpl->name);
	}
	if (!supplied) {
		supplied = supplied_new(tmpl);
		supplied->ask_ns = supply->options.ask_every_ns > 0
					   ? tp_now_ns() + supply->options.ask_every_ns
					   : UINT64_MAX;
		supplied->next = supply->supplied;
		supply->supplied = supplied;
	}
	supplied->config = *config;
	decide(supply, supplied, tp_now_ns());
	pthread_mutex_unlock(&supply->lock);
	tp_supply_ring(supply);
}

void tp_supply_remove(struct tp_supply *supply, const char *template_name)
{
	pthread_mutex_lock(&supply->lock);
	struct tp_supplied *supplied = tp_supplied_find(supply, NULL, template_name);
	if (supplied)
		take_out(supply, supplied);
	pthread_mutex_unlock(&supply->lock);
}

void tp_supply_lost(struct tp_supply *supply, const char *template_name)
{
	/* Stock is counted whenever it is looked at; it only has to be. */
	(void)template_name;
	tp_supply_ring(supply);
}

void tp_supply_press(struct tp_supply *supply, bool on, bool fully)
{
	pthread_mutex_lock(&supply->lock);
	supply->pressure = on;
	supply->fully = on && fully;
	pthread_mutex_unlock(&supply->lock);
	tp_supply_ring(supply);
}

bool tp_supply_view(
	struct tp_supply *supply, const char *template_name, struct tp_supply_view *view_out)
{
	pthread_mutex_lock(&supply->lock);
	struct tp_supplied *s = tp_supplied_find(supply, NULL, template_name);
	if (s) {
		/* What a claim has found is told to who asks behind it. */
		count_deaf(supply, s);
		*view_out = (struct tp_supply_view){
			.stock = tp_supplied_stock(supply, s),
			.warm_target = s->decision.warm_target,
			.shell_target = s->decision.shell_target,
			.failures = s->failures,
			.deaf = s->deaf,
			.start_ns_average = s->policy.start_ns_average,
			.degraded = tp_policy_degraded(&s->policy, &s->config),
		};
		memcpy(view_out->served, s->served, sizeof(s->served));
		if (view_out->degraded) {
			memcpy(view_out->reason, s->reason, sizeof(s->reason));
			view_out->retry_after_s = tp_supplied_retry_after(s);
		}
	}
	pthread_mutex_unlock(&supply->lock);
	return s;
}

unsigned int tp_supply_waiting(struct tp_supply *supply)
{
	pthread_mutex_lock(&supply->lock);
	unsigned int waiting = supply->waiting;
	pthread_mutex_unlock(&supply->lock);
	return waiting;
}
