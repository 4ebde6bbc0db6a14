/* SPDX-License-Identifier: Apache-2.0 */
/* The supply over stock without guests: order, refusals, failures, pressure, ends. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "fake_stock.h"

#define PATIENCE_S 30

static struct fake one, two;
static struct tp_supply *supply;
static struct tp_policy_config config;
static struct tp_call forever;
static unsigned int refill_every; /* 0: never */
static unsigned int refill_slots = 1;
static uint64_t ask_every_ns; /* 0: never */

/* Nothing waits ahead of demand. */
static void no_stock(void)
{
	config.warm_min = config.warm_max = config.shells_min = config.shells_max = 0;
}

static void open_supply(unsigned int start_slots, unsigned int queue_max)
{
	struct tp_supply_options options = {
		.start_slots = start_slots,
		.refill_slots = refill_slots,
		.refill_every = refill_every,
		.queue_max = queue_max,
		.ask_every_ns = ask_every_ns,
		.reserve = fake_reserve,
		.unreserve = fake_unreserve,
		.changed = fake_tell,
	};

	supply = tp_supply_new_with(&options, &fake_ops);
}

static void set_up(void)
{
	forever = tp_call_within(TP_NO_DEADLINE);
	config = tp_policy_defaults;
	fake_init(&one, "one");
	fake_init(&two, "two");
}

static void tear_down(void)
{
	tp_supply_free(supply);
	cr_assert_eq(fake_reserved, 0, "%u stay reserved", fake_reserved);
	fake_deinit(&one);
	fake_deinit(&two);
}

TestSuite(supply, .init = set_up, .fini = tear_down);

static struct tp_supply_view view(const struct fake *fake)
{
	struct tp_supply_view v = {0};

	cr_assert(tp_supply_view(supply, fake->tmpl.name, &v));
	return v;
}

/* Waits for CONDITION, which is looked at after each change of a fake or of what the supply shows.
 * A change between looking and waiting isn't missed for long. */
#define WAIT_FOR(condition)                                                                        \
	do {                                                                                       \
		uint64_t end_ = tp_now_ns() + PATIENCE_S * TP_NSEC_PER_SEC;                        \
		while (!(condition)) {                                                             \
			cr_assert_lt(tp_now_ns(), end_, "waited in vain for " #condition);         \
			wait_for_change();                                                         \
		}                                                                                  \
	} while (0)

static void wait_for_change(void)
{
	struct timespec soon;

	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec += 20 * 1000 * 1000;
	if (soon.tv_nsec >= 1000000000) {
		soon.tv_nsec -= 1000000000;
		soon.tv_sec++;
	}
	pthread_mutex_lock(&fake_lock);
	pthread_cond_timedwait(&fake_changed, &fake_lock, &soon);
	pthread_mutex_unlock(&fake_lock);
}

static unsigned int look_at(const unsigned int *figure)
{
	pthread_mutex_lock(&fake_lock);
	unsigned int value = *figure;
	pthread_mutex_unlock(&fake_lock);
	return value;
}

static struct tp_claim begin(struct fake *fake, unsigned int count, bool warm)
{
	struct tp_claim claim;
	TP_ERROR struct torpor_error *err =
		tp_claim_begin(supply, &fake->tmpl, count, warm, &forever, &claim);

	cr_assert_null(err, "%s", err ? torpor_error_message(err) : "");
	return claim;
}

static void end(struct tp_claim *claim, enum torpor_source source)
{
	struct torpor_resume_report report = {
		.source = source, .running_ns = 1000000, .ready_ns = 2000000};

	tp_claim_end(claim, NULL, &report);
}

static void assert_refused(struct fake *fake, const char *reason)
{
	struct tp_claim claim;
	TP_ERROR struct torpor_error *err =
		tp_claim_begin(supply, &fake->tmpl, 1, true, &forever, &claim);

	cr_assert_not_null(err, "it wasn't refused");
	cr_assert_eq(torpor_error_code(err), TORPOR_E_LIMIT);
	cr_assert_str_eq(torpor_error_reason(err), reason);
	cr_assert_gt(torpor_error_retry_after(err), 0);
	cr_assert_not_null(torpor_error_hint(err));
}

static bool is_full(const struct fake *fake, unsigned int warm, unsigned int shells)
{
	struct tp_supply_view v = view(fake);

	return v.stock.warm == warm && v.stock.shells == shells && v.stock.starting_warm == 0 &&
	       v.stock.starting_shells == 0;
}

Test(supply, it_fills_to_the_minimum_and_after_a_claim)
{
	config.warm_min = 2;
	open_supply(2, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	cr_assert_eq(view(&one).warm_target, 2, "at once");
	WAIT_FOR(is_full(&one, 2, 1));
	cr_assert_eq(look_at(&fake_reserved), 3);

	struct tp_claim claim = begin(&one, 1, true);
	cr_assert_not(claim.slot);
	cr_assert_eq(claim.promised_warm, 1);
	end(&claim, fake_take(&one, true));
	WAIT_FOR(is_full(&one, 2, 1) && look_at(&one.started) == 4);
	cr_assert_eq(view(&one).served[TORPOR_SOURCE_WARM], 1);
	cr_assert_eq(look_at(&fake_reserved), 3);
	cr_assert_eq(look_at(&one.in_start_peak), 1, "more at a time than refill slots");
	cr_assert_eq(one.niceness, 10);
}

Test(supply, a_claim_takes_warm_then_shells_then_a_slot)
{
	open_supply(1, 0);
	fake_gate(&one, false);
	one.warm = 1;
	one.shells = 1;
	tp_supply_add(supply, &one.tmpl, &config);
	struct tp_claim a = begin(&one, 1, true), b = begin(&one, 1, true),
			c = begin(&one, 1, true);
	cr_assert(a.promised_warm == 1 && a.promised_shells == 0 && !a.slot);
	cr_assert(b.promised_warm == 0 && b.promised_shells == 1 && !b.slot);
	cr_assert(c.slot);
	end(&c, TORPOR_SOURCE_SPAWN);
	end(&b, TORPOR_SOURCE_SHELL);
	end(&a, TORPOR_SOURCE_WARM);
	struct tp_supply_view v = view(&one);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(v.served[i], 1);
}

Test(supply, a_fork_needs_shells_for_all)
{
	no_stock();
	open_supply(1, 0);
	config.shells_max = config.shells_min = 3;
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(is_full(&one, 0, 3));
	struct tp_claim all = begin(&one, 3, false);
	cr_assert(!all.slot && all.promised_shells == 3);
	struct tp_claim none = begin(&one, 2, false);
	cr_assert(none.slot && none.promised_shells == 0);
	tp_claim_end(&none, NULL, NULL);
	tp_claim_end(&all, NULL, NULL);
	struct tp_claim more = begin(&one, 4, false);
	cr_assert(more.slot && more.promised_shells == 3);
	tp_claim_end(&more, NULL, NULL);
}

/* Starts ahead that are under way or about to be, once the decider has looked. */
static unsigned int starting_ahead(void)
{
	pthread_mutex_lock(&supply->lock);
	tp_supply_hand_out(supply, tp_now_ns());
	pthread_mutex_unlock(&supply->lock);
	return view(&one).stock.starting_warm;
}

Test(supply, while_claims_have_slots_one_start_ahead_goes_with_each_so_many_of_theirs)
{
	struct tp_claim begun[18];

	no_stock();
	refill_every = 3;
	refill_slots = 7;
	open_supply(TP_ARRAY_LEN(begun), 0);
	fake_gate(&one, false);
	tp_supply_add(supply, &one.tmpl, &config);
	begun[0] = begin(&one, 1, true);
	config.warm_min = config.warm_max = 100;
	tp_supply_add(supply, &one.tmpl, &config);
	for (unsigned int i = 1; i < TP_ARRAY_LEN(begun); i++) {
		cr_assert_eq(starting_ahead(), i / 3, "after %u claims", i);
		begun[i] = begin(&one, 1, true);
		cr_assert(begun[i].slot);
	}
	/* Until there is a gap. */
	for (unsigned int i = 0; i < TP_ARRAY_LEN(begun); i++) {
		cr_assert_leq(starting_ahead(), 6);
		tp_claim_end(&begun[i], NULL, NULL);
	}
	cr_assert_eq(starting_ahead(), 7);
}

/* --- Claims on threads --- */

#define CLAIMS 64

static struct {
	struct tp_claim claim;
	struct tp_call call;
	struct fake *fake;
	pthread_t thread;
	struct torpor_error *err;
	bool done; /* by fake_lock */
} claims[CLAIMS];
static unsigned int order[CLAIMS]; /* by fake_lock */
static unsigned int n_done;

static void *claim_on_thread(void *arg)
{
	unsigned int i = (unsigned int)(uintptr_t)arg;

	claims[i].err = tp_claim_begin(
		supply, &claims[i].fake->tmpl, 1, true, &claims[i].call, &claims[i].claim);
	pthread_mutex_lock(&fake_lock);
	claims[i].done = true;
	order[n_done++] = i;
	pthread_cond_broadcast(&fake_changed);
	pthread_mutex_unlock(&fake_lock);
	return NULL;
}

/* Begins claim I, and waits until it is done or waits in the queue. */
static void begin_on_thread(unsigned int i, struct fake *fake, const struct tp_call *call)
{
	unsigned int before = tp_supply_waiting(supply), done = look_at(&n_done);

	claims[i].fake = fake;
	claims[i].call = *call;
	cr_assert_eq(
		pthread_create(&claims[i].thread, NULL, claim_on_thread, (void *)(uintptr_t)i), 0);
	WAIT_FOR(tp_supply_waiting(supply) > before || look_at(&n_done) > done);
}

static void join(unsigned int i)
{
	pthread_join(claims[i].thread, NULL);
}

Test(supply, sixty_four_on_two_slots_go_ahead_in_order)
{
	no_stock();
	open_supply(2, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	for (unsigned int i = 0; i < CLAIMS; i++)
		begin_on_thread(i, &one, &forever);
	cr_assert_eq(look_at(&n_done), 2);
	cr_assert_eq(tp_supply_waiting(supply), CLAIMS - 2);
	cr_assert_eq(view(&one).stock.waiting, CLAIMS - 2);
	for (unsigned int i = 0; i < CLAIMS; i++) {
		WAIT_FOR(look_at(&n_done) >= TP_MIN(i + 2, CLAIMS));
		cr_assert_eq(look_at(&n_done), TP_MIN(i + 2, CLAIMS), "more than slots");
		cr_assert_eq(look_at(&order[i]), i);
		join(i);
		cr_assert_null(claims[i].err);
		cr_assert(claims[i].claim.slot);
		end(&claims[i].claim, TORPOR_SOURCE_SPAWN);
	}
	cr_assert_eq(view(&one).served[TORPOR_SOURCE_SPAWN], CLAIMS);
	cr_assert_eq(tp_supply_waiting(supply), 0);
}

Test(supply, a_claim_is_cancelled_while_it_waits)
{
	TP_FD int cancel_fd = eventfd(0, EFD_CLOEXEC);
	struct tp_call call = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = cancel_fd};
	uint64_t value = 1;

	no_stock();
	open_supply(1, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	struct tp_claim holds = begin(&one, 1, true);
	begin_on_thread(0, &one, &call);
	begin_on_thread(1, &one, &forever);
	cr_assert_eq(write(cancel_fd, &value, sizeof(value)), (ssize_t)sizeof(value));
	join(0);
	cr_assert_eq(torpor_error_code(claims[0].err), TORPOR_E_CANCELLED);
	torpor_error_free(claims[0].err);
	cr_assert_eq(tp_supply_waiting(supply), 1);
	end(&holds, TORPOR_SOURCE_SPAWN);
	join(1);
	cr_assert_null(claims[1].err);
	end(&claims[1].claim, TORPOR_SOURCE_SPAWN);
}

/* Both happen before its thread gets on: what it was given is given back. */
Test(supply, a_claim_is_cancelled_as_its_turn_comes)
{
	TP_FD int cancel_fd = eventfd(0, EFD_CLOEXEC);
	struct tp_call call = {.deadline_ns = TP_NO_DEADLINE, .cancel_fd = cancel_fd};
	uint64_t value = 1;

	open_supply(1, 0);
	struct tp_claim holds = begin(&one, 1, true);
	begin_on_thread(0, &one, &call);
	pthread_mutex_lock(&supply->lock);
	cr_assert_eq(write(cancel_fd, &value, sizeof(value)), (ssize_t)sizeof(value));
	supply->options.start_slots = 2;
	tp_supply_serve(supply);
	cr_assert_eq(supply->slots_used, 2);
	pthread_mutex_unlock(&supply->lock);
	join(0);
	cr_assert_eq(torpor_error_code(claims[0].err), TORPOR_E_CANCELLED);
	torpor_error_free(claims[0].err);
	pthread_mutex_lock(&supply->lock);
	cr_assert_eq(supply->slots_used, 1);
	pthread_mutex_unlock(&supply->lock);
	tp_claim_end(&holds, NULL, NULL);
}

Test(supply, a_claims_time_ends_while_it_waits)
{
	struct tp_call call = tp_call_within(0);
	struct tp_claim claim;

	open_supply(1, 0);
	struct tp_claim holds = begin(&one, 1, true);
	TP_ERROR struct torpor_error *err =
		tp_claim_begin(supply, &one.tmpl, 1, true, &call, &claim);
	cr_assert_eq(torpor_error_code(err), TORPOR_E_TIMEOUT);
	cr_assert_eq(tp_supply_waiting(supply), 0);
	tp_claim_end(&holds, NULL, NULL);
}

Test(supply, a_full_queue_refuses)
{
	no_stock();
	open_supply(1, 2);
	tp_supply_add(supply, &one.tmpl, &config);
	struct tp_claim holds = begin(&one, 1, true);
	begin_on_thread(0, &one, &forever);
	begin_on_thread(1, &one, &forever);
	assert_refused(&one, "queue-full");
	cr_assert_eq(tp_supply_waiting(supply), 2);
	end(&holds, TORPOR_SOURCE_SPAWN);
	join(0);
	begin_on_thread(2, &one, &forever);
	end(&claims[0].claim, TORPOR_SOURCE_SPAWN);
	join(1);
	end(&claims[1].claim, TORPOR_SOURCE_SPAWN);
	join(2);
	end(&claims[2].claim, TORPOR_SOURCE_SPAWN);
}

Test(supply, what_gets_ready_goes_to_who_waits)
{
	no_stock();
	open_supply(1, 0);
	tp_supply_add(supply, &two.tmpl, &config);
	config.warm_min = config.warm_max = 1;
	fake_gate(&one, false);
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(look_at(&one.in_start) == 1);
	struct tp_claim holds = begin(&two, 1, true);
	begin_on_thread(0, &two, &forever);
	begin_on_thread(1, &one, &forever);
	cr_assert_eq(look_at(&n_done), 0);
	fake_gate(&one, true);
	join(1);
	cr_assert_null(claims[1].err);
	cr_assert_eq(claims[1].claim.promised_warm, 1);
	cr_assert_not(claims[1].claim.slot, "the slot is for who came before");
	cr_assert_eq(tp_supply_waiting(supply), 1);
	end(&claims[1].claim, fake_take(&one, true));
	end(&holds, TORPOR_SOURCE_SPAWN);
	join(0);
	end(&claims[0].claim, TORPOR_SOURCE_SPAWN);
}

/* --- Failures --- */

Test(supply, a_degraded_template_is_refused_and_another_goes_on)
{
	config.degraded_after = 1;
	config.backoff_min_ns = config.backoff_max_ns = 3600 * TP_NSEC_PER_SEC;
	open_supply(2, 0);
	fake_set_failing(&one, true);
	tp_supply_add(supply, &one.tmpl, &config);
	tp_supply_add(supply, &two.tmpl, &config);
	WAIT_FOR(view(&one).degraded);
	assert_refused(&one, "template-degraded");
	struct tp_supply_view v = view(&one);
	cr_assert_not_null(strstr(v.reason, "it is broken"), "%s", v.reason);
	cr_assert_geq(v.retry_after_s, 1700);
	cr_assert_leq(v.retry_after_s, 3600);
	cr_assert_eq(v.failures, 1);

	WAIT_FOR(is_full(&two, 1, 1));
	struct tp_claim claim = begin(&two, 1, true);
	end(&claim, fake_take(&two, true));
	cr_assert_not(view(&two).degraded);
	cr_assert_eq(look_at(&one.failed), 1, "it is tried again too early");
}

Test(supply, it_is_tried_again_and_heals)
{
	config.degraded_after = 3;
	config.backoff_min_ns = config.backoff_max_ns = TP_NSEC_PER_MSEC;
	open_supply(2, 0);
	fake_set_failing(&one, true);
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(view(&one).degraded);
	WAIT_FOR(look_at(&one.failed) > 5);
	fake_set_failing(&one, false);
	WAIT_FOR(is_full(&one, 1, 1));
	cr_assert_not(view(&one).degraded);
	cr_assert_str_eq(view(&one).reason, "");
}

static void set_deaf(unsigned int *figure, unsigned int n)
{
	pthread_mutex_lock(&fake_lock);
	*figure = n;
	pthread_mutex_unlock(&fake_lock);
}

Test(supply, those_that_wait_are_asked_and_the_deaf_replaced)
{
	config.warm_min = 4;
	config.backoff_min_ns = TP_NSEC_PER_MSEC;
	ask_every_ns = TP_NSEC_PER_MSEC;
	open_supply(2, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(is_full(&one, 4, 1));
	WAIT_FOR(look_at(&one.asked) > 3);
	cr_assert_eq(view(&one).deaf, 0);
	set_deaf(&one.deaf_warm, 3);
	WAIT_FOR(view(&one).deaf == 3 && is_full(&one, 4, 1));
	cr_assert_eq(look_at(&one.started), 8);
	cr_assert_eq(view(&one).failures, 1, "those that are found at once are one failure");
	cr_assert_not(view(&one).degraded, "a start has healed it");
	cr_assert_eq(look_at(&fake_reserved), 5);
}

/* By claims; the engine tells when that was. */
Test(supply, deaf_ones_are_failures_of_the_template)
{
	config.degraded_after = 2;
	config.backoff_min_ns = config.backoff_max_ns = 3600 * TP_NSEC_PER_SEC;
	open_supply(2, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(is_full(&one, 1, 1));
	for (unsigned int i = 1; i <= 2; i++) {
		set_deaf(&one.deaf, 1);
		tp_supply_lost(supply, "one");
		WAIT_FOR(view(&one).deaf == i);
		cr_assert_eq(view(&one).failures, i);
	}
	struct tp_supply_view v = view(&one);
	cr_assert(v.degraded);
	cr_assert_not_null(strstr(v.reason, "doesn't answer"), "%s", v.reason);
	cr_assert_eq(look_at(&one.asked), 0, "asked although never");
}

static void fail_claim(struct fake *fake, enum torpor_errc code)
{
	struct tp_claim claim = begin(fake, 1, true);
	TP_ERROR struct torpor_error *err = tp_error(code, "start", "s1", "so it is");

	tp_claim_end(&claim, err, NULL);
}

Test(supply, claims_that_fail_to_start_degrade_it_too)
{
	static const enum torpor_errc callers[] = {TORPOR_E_TIMEOUT, TORPOR_E_CANCELLED,
		TORPOR_E_EXISTS, TORPOR_E_INVALID, TORPOR_E_LIMIT, TORPOR_E_IO};

	no_stock();
	config.degraded_after = 2;
	config.backoff_min_ns = config.backoff_max_ns = 3600 * TP_NSEC_PER_SEC;
	open_supply(2, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	for (size_t i = 0; i < TP_ARRAY_LEN(callers); i++)
		fail_claim(&one, callers[i]);
	cr_assert_eq(view(&one).failures, 0, "what a caller brings about counts");
	fail_claim(&one, TORPOR_E_GUEST);
	cr_assert_not(view(&one).degraded);
	fail_claim(&one, TORPOR_E_QEMU);
	cr_assert(view(&one).degraded);
	assert_refused(&one, "template-degraded");
}

Test(supply, those_that_wait_are_refused_once_it_is_degraded)
{
	no_stock();
	config.degraded_after = 1;
	config.backoff_min_ns = config.backoff_max_ns = 3600 * TP_NSEC_PER_SEC;
	open_supply(1, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	tp_supply_add(supply, &two.tmpl, &config);
	struct tp_claim holds = begin(&one, 1, true);
	for (unsigned int i = 0; i < 4; i++)
		begin_on_thread(i, i == 2 ? &two : &one, &forever);
	TP_ERROR struct torpor_error *err = tp_error(TORPOR_E_QEMU, "start", "s1", "so it is");
	tp_claim_end(&holds, err, NULL);
	for (unsigned int i = 0; i < 4; i++) {
		join(i);
		if (i == 2) {
			cr_assert_null(claims[i].err);
			end(&claims[i].claim, TORPOR_SOURCE_SPAWN);
			continue;
		}
		cr_assert_str_eq(torpor_error_reason(claims[i].err), "template-degraded");
		torpor_error_free(claims[i].err);
	}
}

Test(supply, one_claim_tries_for_all)
{
	no_stock();
	config.degraded_after = 1;
	config.backoff_min_ns = config.backoff_max_ns = 1;
	open_supply(4, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	fail_claim(&one, TORPOR_E_QEMU);
	struct tp_claim tries = begin(&one, 1, true);
	assert_refused(&one, "template-degraded");
	end(&tries, TORPOR_SOURCE_SPAWN);
	cr_assert_not(view(&one).degraded);
	struct tp_claim a = begin(&one, 1, true), b = begin(&one, 1, true);
	end(&a, TORPOR_SOURCE_SPAWN);
	end(&b, TORPOR_SOURCE_SPAWN);
}

/* --- Stock --- */

Test(supply, a_dead_one_is_replaced)
{
	open_supply(1, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(is_full(&one, 1, 1));
	pthread_mutex_lock(&fake_lock);
	one.warm--;
	pthread_mutex_unlock(&fake_lock);
	tp_supply_lost(supply, "one");
	WAIT_FOR(look_at(&one.started) == 3 && is_full(&one, 1, 1));
	cr_assert_eq(look_at(&fake_reserved), 2);
	tp_supply_lost(supply, "unknown");
}

Test(supply, pressure_leaves_the_minimum_and_then_nothing)
{
	config.warm_min = 1;
	open_supply(2, 0);
	one.warm = 5;
	one.shells = 3;
	tp_supply_add(supply, &one.tmpl, &config);
	/* In one claim: what comes at one time is what is expected again. */
	struct tp_claim three = begin(&one, 3, true);
	end(&three, TORPOR_SOURCE_WARM);
	WAIT_FOR(view(&one).warm_target == 3);
	tp_supply_press(supply, true, false);
	WAIT_FOR(is_full(&one, 1, 1));
	cr_assert(view(&one).stock.pressure);
	tp_supply_press(supply, true, true);
	WAIT_FOR(is_full(&one, 0, 0));
	cr_assert_eq(view(&one).warm_target, 0);
	tp_supply_press(supply, false, false);
	WAIT_FOR(is_full(&one, 3, 1));
}

Test(supply, what_is_promised_is_not_ended)
{
	open_supply(1, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(is_full(&one, 1, 1));
	struct tp_claim claim = begin(&one, 1, true);
	tp_supply_press(supply, true, true);
	WAIT_FOR(is_full(&one, 1, 0));
	end(&claim, fake_take(&one, true));
	WAIT_FOR(is_full(&one, 0, 0));
}

Test(supply, nothing_is_started_ahead_while_a_claim_starts_one)
{
	open_supply(1, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(is_full(&one, 1, 1));
	struct tp_claim holds = begin(&two, 1, true);
	cr_assert(holds.slot);
	cr_assert_eq(fake_take(&one, true), TORPOR_SOURCE_WARM);
	tp_supply_lost(supply, "one");
	/* That it is gone is told once it was looked at. */
	WAIT_FOR(look_at(&fake_reserved) == 1);
	cr_assert(is_full(&one, 0, 1));
	cr_assert_eq(look_at(&one.started), 2);
	tp_claim_end(&holds, NULL, NULL);
	WAIT_FOR(is_full(&one, 1, 1));
}

Test(supply, without_memory_nothing_is_started_until_there_is_some)
{
	fake_reserve_most = 1;
	open_supply(1, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(is_full(&one, 1, 0));
	cr_assert_eq(view(&one).warm_target, 1);
	cr_assert_eq(view(&one).shell_target, 1);
	pthread_mutex_lock(&fake_lock);
	fake_reserve_most = 10;
	pthread_mutex_unlock(&fake_lock);
	WAIT_FOR(is_full(&one, 1, 1));
}

Test(supply, templates_take_turns)
{
	config.warm_min = config.warm_max = 8;
	config.shells_min = config.shells_max = 0;
	fake_reserve_most = 8;
	open_supply(1, 0);
	fake_gate(&one, false);
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(look_at(&one.in_start) == 1);
	tp_supply_add(supply, &two.tmpl, &config);
	fake_gate(&one, true);
	WAIT_FOR(view(&one).stock.warm == 4 && view(&two).stock.warm == 4);
}

/* --- Ends --- */

Test(supply, it_is_freed_with_starts_under_way)
{
	fake_gate(&one, false);
	fake_gate(&two, false);
	open_supply(1, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	tp_supply_add(supply, &two.tmpl, &config);
	WAIT_FOR(look_at(&one.in_start) + look_at(&two.in_start) == 1);
	supply = tp_supply_free(supply);
	cr_assert_eq(one.in_start + two.in_start, 0);
	cr_assert_eq(one.cancelled + two.cancelled, 1);
}

Test(supply, a_template_is_removed_with_a_start_and_a_claim_under_way)
{
	struct tp_supply_view v;

	open_supply(1, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(is_full(&one, 1, 1));
	struct tp_claim claim = begin(&one, 1, true);
	fake_gate(&one, false);
	cr_assert_eq(fake_take(&one, true), TORPOR_SOURCE_WARM);
	tp_supply_lost(supply, "one");
	WAIT_FOR(look_at(&one.in_start) == 1);
	tp_supply_remove(supply, "one");
	cr_assert_eq(look_at(&one.in_start), 0);
	cr_assert_eq(look_at(&one.cancelled), 1);
	cr_assert_eq(look_at(&one.shells), 0);
	cr_assert_eq(look_at(&fake_reserved), 0);
	cr_assert_not(tp_supply_view(supply, "one", &v));
	tp_supply_remove(supply, "one");
	end(&claim, TORPOR_SOURCE_WARM);

	struct tp_claim unsupplied = begin(&one, 1, true);
	cr_assert(unsupplied.slot);
	tp_claim_end(&unsupplied, NULL, NULL);
}

Test(supply, another_template_takes_the_place_of_one_of_its_name)
{
	free(two.tmpl.name);
	two.tmpl.name = tp_strdup("one");
	open_supply(1, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(is_full(&one, 1, 1));
	tp_supply_add(supply, &two.tmpl, &config);
	cr_assert_eq(look_at(&one.warm) + look_at(&one.shells), 0);
	WAIT_FOR(look_at(&two.started) == 2 && is_full(&two, 1, 1));
}

Test(supply, a_configuration_is_changed)
{
	open_supply(1, 0);
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(is_full(&one, 1, 1));
	config.warm_min = 3;
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(is_full(&one, 3, 1));
	config.warm_min = 0;
	config.warm_max = 0;
	tp_supply_add(supply, &one.tmpl, &config);
	WAIT_FOR(is_full(&one, 0, 1));
}
