/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "benchmarks/bench_priv.h"

#define PEERS_MAX	  32
#define FAILURES_IN_A_ROW 3
#define ENOUGH		  7 /* samples of a slow peer */
#define MEMORY_EVERY	  8 /* rounds, there is one more that looks at memory, and doesn't count */
#define OPERATION_S	  300

static const struct {
	const char *name;
	struct cmp_cell cell;
} cells[] = {
	{CMP_FIRST_CELL, {256 * TP_MIB, 0}},
	{"256M-20M", {256 * TP_MIB, 20 * TP_MIB}},
	{"1G-idle", {TP_GIB, 0}},
	{"1G-20M", {TP_GIB, 20 * TP_MIB}},
	{"1G-200M", {TP_GIB, 200 * TP_MIB}},
	{"4G-idle", {4 * TP_GIB, 0}},
	{"4G-20M", {4 * TP_GIB, 20 * TP_MIB}},
	{"4G-200M", {4 * TP_GIB, 200 * TP_MIB}},
};

/* A peer in a cell. */
struct seat {
	const struct cmp_peer_ops *ops;
	struct cmp_guest *guest; /* put aside between its turns; NULL: it takes no further part */
	unsigned int failed_in_a_row;
	uint64_t kept_bytes; /* what stays of the guest, and all it needs, when it is put aside */
	uint64_t used_aside; /* the machine's memory before this cycle, all guests put aside */
};

struct run {
	const struct cmp_plan *plan;
	const struct tp_call *call;
	const struct cmp_cell *cell;
	unsigned int round;   /* all of them, so that each has a number of its own */
	unsigned int rounds;  /* that count, in all */
	unsigned int counted; /* of these, before this one */
	bool looks_at_memory; /* all the time, which costs: this round's times don't count */
	struct seat seats[PEERS_MAX];
	size_t n_seats;
};

/* What surrounds an operation. */
struct meter {
	bool with_peak;
	struct cmp_peak *peak;
	uint64_t busy_before;
	uint64_t busy_ns;
	uint64_t peak_bytes;
};

static void meter_start(struct meter *meter, bool with_peak)
{
	*meter = (struct meter){.with_peak = with_peak};
	if (with_peak)
		meter->peak = cmp_peak_start();
	meter->busy_before = cmp_cpu_busy_ns();
}

static void meter_end(struct meter *meter)
{
	meter->busy_ns = cmp_cpu_busy_ns() - meter->busy_before;
	meter->peak_bytes = cmp_peak_end(meter->peak);
	meter->peak = NULL;
}

/* --- lines --- */

static const char *save_op(const struct seat *seat)
{
	return seat->ops->save_op ? seat->ops->save_op : "save";
}

static const char *restore_op(const struct seat *seat)
{
	return seat->ops->restore_op ? seat->ops->restore_op : "restore";
}

/* Takes LINE. */
static void write_line(struct run *run, json_t *line)
{
	json_dumpf(line, run->plan->out, JSON_COMPACT);
	fputc('\n', run->plan->out);
	fflush(run->plan->out);
	json_decref(line);
}

static void tell_peer(struct run *run, const struct cmp_peer_ops *ops, const char *why)
{
	write_line(run, json_pack("{s:s, s:s, s:b, s:b, s:b, s:s?}", "peer", ops->name, "summary",
				ops->summary, "durable", (int)ops->durable, "frees",
				(int)ops->frees, "available", why == NULL, "why", why));
}

static json_t *sample_line(struct run *run, const struct seat *seat, const char *op,
	const struct meter *meter, const struct torpor_error *err)
{
	return json_pack("{s:i, s:s, s:I, s:I, s:s, s:b, s:s?}", "round", (int)run->round, "peer",
		seat->ops->name, "ram", (json_int_t)run->cell->ram_bytes, "payload",
		(json_int_t)run->cell->payload_bytes, "op", op, "counted", !meter->with_peak,
		"error", err ? torpor_error_message(err) : NULL);
}

static void put(json_t *line, const char *name, uint64_t value)
{
	json_object_set_new(line, name, json_integer((json_int_t)value));
}

static uint64_t above(uint64_t value, uint64_t before)
{
	return value > before ? value - before : 0;
}

/*
 * What is the guest's own of USED: others that are put aside hold memory as well, so only what
 * came since the cycle began can be its own, and what it had before.
 */
static uint64_t grown(const struct seat *seat, uint64_t used)
{
	return above(used + seat->kept_bytes, seat->used_aside);
}

static void put_meter(json_t *line, const struct seat *seat, const struct meter *meter)
{
	if (seat->ops->does_more)
		return;
	put(line, "cpu_ns", meter->busy_ns);
	if (meter->with_peak)
		put(line, "peak_bytes", grown(seat, meter->peak_bytes));
}

/* Takes ERR. Returns it if the run must end. */
static struct torpor_error *judge(struct seat *seat, const char *op, struct torpor_error *err)
{
	if (!err) {
		seat->failed_in_a_row = 0;
		return NULL;
	}
	if (torpor_error_code(err) == TORPOR_E_CANCELLED)
		return err;
	seat->failed_in_a_row++;
	bench_say("%s: %s failed: %s", seat->ops->name, op, torpor_error_message(err));
	torpor_error_free(err);
	return NULL;
}

/* --- one guest's turn --- */

static struct torpor_error *save(struct run *run, struct seat *seat, bool *saved)
{
	const char *op = save_op(seat);
	struct tp_call call = tp_call_bounded(run->call, OPERATION_S * TP_NSEC_PER_SEC);
	struct cmp_save out = {0};
	struct meter meter;

	TP_TRY(bench_settle(cmp_bench));
	meter_start(&meter, run->looks_at_memory);
	struct torpor_error *err = seat->ops->save(seat->guest, &call, &out);
	meter_end(&meter);
	*saved = !err;
	if (err || !seat->ops->save_uncounted) {
		json_t *line = sample_line(run, seat, op, &meter, err);
		if (!err) {
			put(line, "standstill_ns", out.standstill_ns);
			put(line, "durable_ns", out.durable_ns);
			put(line, "gone_ns", out.gone_ns);
			put(line, "bytes", out.bytes);
			put_meter(line, seat, &meter);
			if (!seat->ops->does_more)
				put(line, "remaining_bytes", grown(seat, cmp_memory_used()));
		}
		write_line(run, line);
	}
	return judge(seat, op, err);
}

static struct torpor_error *restore(struct run *run, struct seat *seat, bool *restored)
{
	const char *op = restore_op(seat);
	struct tp_call call = tp_call_bounded(run->call, OPERATION_S * TP_NSEC_PER_SEC);
	struct cmp_restore out = {0};
	struct torpor_error *err = NULL;
	struct meter meter;

	if (seat->ops->ready)
		err = seat->ops->ready(seat->guest, &call);
	TP_TRY(err ? NULL : bench_settle(cmp_bench));
	meter_start(&meter, run->looks_at_memory);
	if (!err)
		err = seat->ops->restore(seat->guest, &call, &out);
	meter_end(&meter);
	*restored = !err;
	json_t *line = sample_line(run, seat, op, &meter, err);
	if (!err) {
		put(line, "process_ns", out.process_ns);
		put(line, "running_ns", out.running_ns);
		put(line, "answer_ns", out.answer_ns);
		put_meter(line, seat, &meter);
	}
	write_line(run, line);
	return judge(seat, op, err);
}

static void leave(struct seat *seat)
{
	if (seat->guest)
		seat->ops->end(seat->guest);
	seat->guest = NULL;
}

/* A guest of its own, put aside. After a failure in between, a new one. */
static struct torpor_error *take_seat(struct run *run, struct seat *seat)
{
	struct tp_call call = tp_call_bounded(run->call, OPERATION_S * TP_NSEC_PER_SEC);
	struct cmp_save ignored;

	uint64_t used = cmp_memory_used();
	struct torpor_error *err =
		seat->ops->start(seat->ops, &run->plan->places, run->cell, &call, &seat->guest);
	if (!err)
		err = bench_quiet(cmp_bench, run->plan->quiet_ms);
	if (!err)
		err = seat->ops->save(seat->guest, &call, &ignored);
	seat->kept_bytes = above(cmp_memory_used(), used);
	if (err) {
		struct meter none = {0};
		write_line(run, sample_line(run, seat, restore_op(seat), &none, err));
		leave(seat);
	}
	return judge(seat, "start", err);
}

static struct torpor_error *cycle(struct run *run, struct seat *seat)
{
	bool done = false;

	if (!seat->guest)
		TP_TRY(take_seat(run, seat));
	if (!seat->guest)
		return NULL;
	seat->used_aside = cmp_memory_used();
	TP_TRY(restore(run, seat, &done));
	if (done) {
		TP_TRY(bench_quiet(cmp_bench, run->plan->quiet_ms));
		TP_TRY(save(run, seat, &done));
	}
	if (!done)
		leave(seat);
	return NULL;
}

/* The slow sit rounds out, as long as enough are left for a median. */
static unsigned int run_every(const struct run *run, const struct cmp_peer_ops *ops)
{
	unsigned int most = TP_MAX(run->rounds / ENOUGH, 1u);

	return TP_MIN(TP_MAX(ops->slow, 1u), most);
}

static struct torpor_error *take_turn(struct run *run, struct seat *seat)
{
	unsigned int times = run->looks_at_memory ? 1 : TP_MAX(seat->ops->often, 1u);

	if (run->counted % run_every(run, seat->ops) != 0)
		return NULL;
	for (unsigned int i = 0; i < times && seat->failed_in_a_row < FAILURES_IN_A_ROW; i++)
		TP_TRY(cycle(run, seat));
	return NULL;
}

/* --- a cell --- */

static struct torpor_error *one_round(struct run *run, bool looks_at_memory)
{
	run->looks_at_memory = looks_at_memory;
	for (size_t i = 0; i < run->n_seats; i++) {
		size_t turn = (i + run->round) % run->n_seats;
		TP_TRY(take_turn(run, &run->seats[turn]));
	}
	run->round++;
	return NULL;
}

static struct torpor_error *each_round(struct run *run)
{
	for (run->counted = 0; run->counted < run->rounds; run->counted++) {
		bench_say("%llu MiB, %llu MiB written: round %u of %u",
			(unsigned long long)(run->cell->ram_bytes / TP_MIB),
			(unsigned long long)(run->cell->payload_bytes / TP_MIB), run->counted + 1,
			run->rounds);
		if (run->counted % MEMORY_EVERY == 0)
			TP_TRY(one_round(run, true));
		TP_TRY(one_round(run, false));
	}
	return NULL;
}

/* Whether NAME is among LIST, which has commas between; all are, if there is none. */
static bool is_wanted(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = list; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (strncmp(at, name, len) == 0 && (at[len] == ',' || at[len] == '\0'))
			return true;
	}
	return list == NULL;
}

static void seat_all(struct run *run, const struct cmp_peer_ops *const *peers, bool tell)
{
	for (; *peers; peers++) {
		struct torpor_error *why = NULL;
		if (!is_wanted(run->plan->peers, (*peers)->name))
			continue;
		if ((*peers)->available)
			why = (*peers)->available(&run->plan->places);
		if (tell)
			tell_peer(run, *peers, why ? torpor_error_message(why) : NULL);
		if (!why && (*peers)->takes(run->cell) && run->n_seats < PEERS_MAX)
			run->seats[run->n_seats++] = (struct seat){.ops = *peers};
		torpor_error_free(why);
	}
}

/* TELL: whether the peers are told of too. */
static struct torpor_error *run_cell(
	const struct cmp_plan *plan, const struct tp_call *call, size_t number, bool tell)
{
	struct run run = {
		.plan = plan,
		.call = call,
		.cell = &cells[number].cell,
		.rounds = number == 0 ? plan->rounds : plan->more_rounds,
	};

	seat_all(&run, cmp_torpor_peers, tell);
	seat_all(&run, cmp_qemu_peers, tell);
	seat_all(&run, cmp_libvirt_peers, tell);
	struct torpor_error *err = each_round(&run);
	for (size_t i = 0; i < run.n_seats; i++)
		leave(&run.seats[i]);
	return err;
}

struct torpor_error *cmp_run(const struct cmp_plan *plan, const struct tp_call *call)
{
	bool tell = true;

	for (size_t i = 0; i < TP_ARRAY_LEN(cells); i++) {
		if (!is_wanted(plan->cells, cells[i].name))
			continue;
		TP_TRY(run_cell(plan, call, i, tell));
		tell = false;
	}
	return NULL;
}

bool cmp_wants_size(const struct cmp_plan *plan, uint64_t ram_bytes)
{
	for (size_t i = 0; i < TP_ARRAY_LEN(cells); i++) {
		if (cells[i].cell.ram_bytes == ram_bytes && is_wanted(plan->cells, cells[i].name))
			return true;
	}
	return false;
}

/* --- names --- */

static bool is_cell(const char *name)
{
	for (size_t i = 0; i < TP_ARRAY_LEN(cells); i++) {
		if (strcmp(cells[i].name, name) == 0)
			return true;
	}
	return false;
}

static bool is_peer(const char *name)
{
	const struct cmp_peer_ops *const *const all[] = {
		cmp_torpor_peers, cmp_qemu_peers, cmp_libvirt_peers};

	for (size_t i = 0; i < TP_ARRAY_LEN(all); i++) {
		for (const struct cmp_peer_ops *const *peers = all[i]; *peers; peers++) {
			if (strcmp((*peers)->name, name) == 0)
				return true;
		}
	}
	return false;
}

static char *find_unknown(const char *list, bool (*is_known)(const char *name))
{
	for (const char *at = list; at;) {
		const char *comma = strchrnul(at, ',');
		char *name = tp_strndup(at, (size_t)(comma - at));
		if (!is_known(name))
			return name;
		free(name);
		at = *comma ? comma + 1 : NULL;
	}
	return NULL;
}

char *cmp_unknown_cell(const char *list)
{
	return find_unknown(list, is_cell);
}

char *cmp_unknown_peer(const char *list)
{
	return find_unknown(list, is_peer);
}
