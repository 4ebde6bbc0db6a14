/* SPDX-License-Identifier: Apache-2.0 */
/* Making a guest fresh: by its helper, else by its agent as far as that can. */
#include <string.h>
#include <sys/random.h>

#include "base/hex.h"
#include "base/mem.h"
#include "engine/agent.h"
#include "pool/session.h"

#define SEED_BYTES     32
#define CLOCK_SAMPLES  4
#define CLOCK_DOUBT_NS (5 * TP_NSEC_PER_MSEC) /* good enough to not ask again */

static const struct {
	enum torpor_fresh public;
	enum tp_wire_step wire;
} steps_table[] = {
	{TORPOR_FRESH_CLOCK, TP_WIRE_STEP_CLOCK},
	{TORPOR_FRESH_RANDOM, TP_WIRE_STEP_SEED},
	{TORPOR_FRESH_HOSTNAME, TP_WIRE_STEP_HOSTNAME},
	{TORPOR_FRESH_MACHINE_ID, TP_WIRE_STEP_MACHINE_ID},
};

static uint32_t to_wire(uint32_t fresh)
{
	uint32_t wire = 0;

	for (size_t i = 0; i < TP_ARRAY_LEN(steps_table); i++) {
		if (fresh & steps_table[i].public)
			wire |= steps_table[i].wire;
	}
	return wire;
}

static uint32_t from_wire(uint32_t wire)
{
	uint32_t fresh = 0;

	for (size_t i = 0; i < TP_ARRAY_LEN(steps_table); i++) {
		if (wire & steps_table[i].wire)
			fresh |= steps_table[i].public;
	}
	return fresh;
}

static struct tp_fresh fresh_request(
	const struct torpor_session *session, uint32_t steps, const uint8_t *seed)
{
	struct tp_fresh fresh = {
		.nonce = session->nonce,
		.steps = to_wire(steps),
		.realtime_ns = (int64_t)tp_realtime_ns(),
		.seed = seed,
		.seed_len = SEED_BYTES,
		.hostname = session->record.hostname,
	};

	memcpy(fresh.machine_id, session->record.machine_id, sizeof(fresh.machine_id));
	return fresh;
}

struct torpor_error *tp_session_send_fresh(
	struct torpor_session *session, uint32_t steps, const struct tp_call *call)
{
	uint8_t seed[SEED_BYTES];

	if (!session->helper)
		return NULL;
	if (getrandom(seed, sizeof(seed), 0) != sizeof(seed) ||
		getrandom(&session->nonce, sizeof(session->nonce), 0) != sizeof(session->nonce))
		return tp_error(TORPOR_E_IO, "make a seed for", session->name,
			"the host has no random bytes");
	struct tp_fresh fresh = fresh_request(session, steps, seed);
	session->sent_realtime_ns = (uint64_t)fresh.realtime_ns;
	struct torpor_error *err = tp_helper_send_fresh(session->helper, &fresh, call);
	explicit_bzero(seed, sizeof(seed));
	return err;
}

static struct torpor_error *agent_set_names(
	struct torpor_session *session, struct tp_agent *agent, const struct tp_call *call)
{
	static const char script[] = "hostname \"$1\" && echo \"$1\" > /etc/hostname; "
				     "echo \"$2\" > /etc/machine-id";
	char id[2 * TP_MACHINE_ID_LEN + 1];
	TP_AGENT_EXIT struct tp_agent_exit how = {0};

	tp_hex(session->record.machine_id, TP_MACHINE_ID_LEN, id);
	const char *const argv[] = {
		"/bin/sh", "-c", script, "sh", session->record.hostname, id, NULL};
	TP_TRY(tp_agent_run(agent, argv, call, &how));
	if (how.status != 0)
		return tp_error(TORPOR_E_GUEST, "set names in", session->name,
			"the command failed with status %d", how.status);
	return NULL;
}

/* What the agent can do for a guest without helper. Each step may fail by itself. */
static uint32_t fresh_by_agent(
	struct torpor_session *session, uint32_t steps, const struct tp_call *call)
{
	struct tp_agent *agent = tp_guest_agent(session->guest);
	const uint32_t names = TORPOR_FRESH_HOSTNAME | TORPOR_FRESH_MACHINE_ID;
	uint32_t done = 0;
	struct torpor_error *err;

	if (!agent || !session->record.agent)
		return 0;
	if (steps & TORPOR_FRESH_CLOCK) {
		err = tp_agent_set_time(agent, tp_realtime_ns(), call);
		done |= err ? 0 : TORPOR_FRESH_CLOCK;
		tp_error_log(err);
	}
	if (steps & names) {
		err = agent_set_names(session, agent, call);
		done |= err ? 0 : names;
		tp_error_log(err);
	}
	return done;
}

/*
 * The guest's clock minus the host's, from a reading that was taken between two of the host's; and
 * how far off that may be.
 */
struct clock_reading {
	int64_t offset_ns;
	uint64_t doubt_ns;
};

static struct clock_reading read_clock(int64_t guest_ns, uint64_t before_ns, uint64_t after_ns)
{
	uint64_t doubt = (after_ns - before_ns) / 2;

	return (struct clock_reading){
		.offset_ns = guest_ns - (int64_t)(before_ns + doubt), .doubt_ns = doubt};
}

/* Asks for the guest's time until the answer is quick, or a few times; the quickest counts. */
static struct torpor_error *measure_clock(
	struct torpor_session *session, const struct tp_call *call, struct clock_reading *best_out)
{
	struct clock_reading best = {.doubt_ns = UINT64_MAX};

	for (int i = 0; i < CLOCK_SAMPLES && best.doubt_ns > CLOCK_DOUBT_NS; i++) {
		struct tp_helper_pong pong;
		uint64_t before = tp_realtime_ns();
		TP_TRY(tp_helper_ping(session->helper, call, &pong));
		struct clock_reading reading =
			read_clock(pong.realtime_ns, before, tp_realtime_ns());
		if (reading.doubt_ns < best.doubt_ns)
			best = reading;
	}
	*best_out = best;
	return NULL;
}

/* Corrects a clock that was set by a message of unknown delay. */
static struct torpor_error *shift_clock(
	struct torpor_session *session, const struct tp_call *call, int64_t *error_out)
{
	struct clock_reading reading;
	struct tp_fresh_done done;

	TP_TRY(measure_clock(session, call, &reading));
	struct tp_fresh shift = {
		.nonce = ++session->nonce,
		.steps = TP_WIRE_STEP_CLOCK_SHIFT,
		.realtime_ns = -reading.offset_ns,
	};
	uint64_t before = tp_realtime_ns();
	TP_TRY(tp_helper_send_fresh(session->helper, &shift, call));
	TP_TRY(tp_helper_wait_fresh(session->helper, &shift, call, &done));
	reading = read_clock(done.realtime_ns, before, tp_realtime_ns());
	/* What lies within the doubt can't be told from right. */
	*error_out = (uint64_t)llabs(reading.offset_ns) > reading.doubt_ns ? reading.offset_ns : 0;
	return NULL;
}

struct torpor_error *tp_session_wait_fresh(struct torpor_session *session, uint32_t steps,
	const struct tp_call *call, uint32_t *fresh_out, int64_t *clock_error_out)
{
	static const uint8_t no_seed[SEED_BYTES];
	struct tp_fresh_done done;

	*clock_error_out = 0;
	if (!session->helper) {
		*fresh_out = fresh_by_agent(session, steps, call);
		return NULL;
	}
	struct tp_fresh fresh = fresh_request(session, steps, no_seed);
	TP_TRY(tp_helper_wait_fresh(session->helper, &fresh, call, &done));
	*fresh_out = from_wire(done.done);
	/* The time in the message was right when it was written; the guest's is as late as that. */
	uint64_t since = tp_realtime_ns() - session->sent_realtime_ns;
	*clock_error_out = -(int64_t)since;
	if (since <= CLOCK_DOUBT_NS || !(done.done & TP_WIRE_STEP_CLOCK))
		return NULL;
	return shift_clock(session, call, clock_error_out);
}
