/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Warm guests: everything that a start has to do is done ahead, but for the guest's identity.
 *
 * The guest is loaded, runs, and is made fresh once under names that nobody will see, so that what
 * its helper needs for that is in memory (and translated, where QEMU translates). Then it is
 * stopped. Who claims it writes what makes it a session of its own, clock and randomness included,
 * and lets it go on: however long it has waited, it is as fresh as any.
 */
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "engine/agent.h"
#include "engine/control.h"
#include "engine/qmp.h"
#include "pool/template.h"
#include "snapshot/restore.h"

#define SEED_BYTES 32
/* Enough for a claim to be quick under TCG; each costs little, and the image some 200 bytes. */
#define ROUNDS 4

static struct torpor_error *load(
	struct torpor_template *tmpl, struct tp_shell *shell, const struct tp_call *call)
{
	const struct tp_record *record = &tmpl->base->record;
	struct torpor_engine *engine = tmpl->engine;

	TP_TRY(tp_restore_check_qemu(
		record, tp_qmp_version(tp_guest_qmp(shell->guest)), tmpl->name));
	return tp_restore(shell->guest, &shell->memory, record, NULL, engine->capture.path,
		engine->workers, call, &shell->loaded_by);
}

/* Random names and all: what can be mistaken for nobody's. */
static struct torpor_error *make_fresh(
	struct torpor_template *tmpl, struct tp_shell *shell, const struct tp_call *call)
{
	uint8_t seed[SEED_BYTES];
	struct tp_fresh fresh = {
		.steps = TP_WIRE_ALL_STEPS,
		.realtime_ns = (int64_t)tp_realtime_ns(),
		.seed = seed,
		.seed_len = sizeof(seed),
		.hostname = tmpl->base->record.template_name,
	};
	struct tp_fresh_done done;

	if (getrandom(seed, sizeof(seed), 0) != sizeof(seed) ||
		getrandom(&fresh.nonce, sizeof(fresh.nonce), 0) != sizeof(fresh.nonce) ||
		getrandom(fresh.machine_id, sizeof(fresh.machine_id), 0) !=
			sizeof(fresh.machine_id))
		return tp_error(
			TORPOR_E_IO, "make a seed for", tmpl->name, "the host has no random bytes");
	struct torpor_error *err = tp_helper_send_fresh(shell->helper, &fresh, call);
	explicit_bzero(seed, sizeof(seed));
	if (err)
		return err;
	TP_TRY(tp_guest_cont(shell->guest, call, NULL));
	return tp_helper_wait_fresh(shell->helper, &fresh, call, &done);
}

/* What follows where the message was late, by nothing. */
static struct torpor_error *shift_clock(struct tp_shell *shell, const struct tp_call *call)
{
	struct tp_fresh shift = {.nonce = tp_now_ns(), .steps = TP_WIRE_STEP_CLOCK_SHIFT};
	struct tp_helper_pong pong;
	struct tp_fresh_done done;

	TP_TRY(tp_helper_ping(shell->helper, call, &pong));
	TP_TRY(tp_helper_send_fresh(shell->helper, &shift, call));
	return tp_helper_wait_fresh(shell->helper, &shift, call, &done);
}

/*
 * As a claim will find it: stopped, with a message waiting. Waking up to one takes other code than
 * reading it, so the guest does so more than once.
 */
static struct torpor_error *run_helper(
	struct torpor_template *tmpl, struct tp_shell *shell, const struct tp_call *call)
{
	for (int i = 0; i < ROUNDS; i++) {
		TP_TRY(make_fresh(tmpl, shell, call));
		TP_TRY(shift_clock(shell, call));
		TP_TRY(tp_guest_stop(shell->guest, call));
	}
	return NULL;
}

/* Lets the guest run until it has answered; one that has nobody to answer stays as it was loaded.
 */
static struct torpor_error *run(
	struct torpor_template *tmpl, struct tp_shell *shell, const struct tp_call *call)
{
	const struct tp_record *record = &tmpl->base->record;

	if (record->helper) {
		shell->helper = tp_helper_new(tp_guest_take_helper_fd(shell->guest));
		return run_helper(tmpl, shell, call);
	}
	if (!record->agent)
		return NULL;
	TP_TRY(tp_guest_cont(shell->guest, call, NULL));
	TP_TRY(tp_agent_ping(tp_guest_agent(shell->guest), call));
	return tp_guest_stop(shell->guest, call);
}

struct torpor_error *tp_warm_start(
	struct torpor_template *tmpl, const struct tp_call *call, struct tp_shell **shell_out)
{
	TP_CLEANUP(tp_shell_free) struct tp_shell *shell = NULL;

	TP_TRY(tp_shell_start_ahead(tmpl, call, &shell));
	TP_TRY(load(tmpl, shell, call));
	TP_TRY(run(tmpl, shell, call));
	*shell_out = TP_TAKE(shell);
	return NULL;
}
