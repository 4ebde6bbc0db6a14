/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulation of the supply by events: claims come, starts end, the policy is asked in between.
 *
 * Time is the trace's own. Nothing here waits, and chance is a seeded generator.
 */
#include "pool/simulate.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

const struct tp_simulate_options tp_simulate_defaults = {
	.policy = TP_POLICY_DEFAULTS,
	.warm_start_ns = 150 * TP_NSEC_PER_MSEC,
	.shell_start_ns = 60 * TP_NSEC_PER_MSEC,
	.warm_claim_ns = 5 * TP_NSEC_PER_MSEC,
	.shell_claim_ns = 30 * TP_NSEC_PER_MSEC,
	.start_slots = 2,
	.refill_slots = 1,
	.refill_every = TP_POLICY_REFILL_EVERY,
	.seed = 1,
	.warm_bytes = 24 * TP_MIB,
	.shell_bytes = 16 * TP_MIB,
};

#define LINE_MAX_LEN 255
#define SLOTS_MAX    1024
/* Bounds of times, so that no sum of them overflows. */
#define TRACE_MAX_MS UINT64_C(31622400000) /* 366 days */
#define TAKES_MAX_NS (3600 * TP_NSEC_PER_SEC)

#define NO_END UINT64_MAX

struct claim {
	uint64_t at_ns;
	uint64_t hold_ns;   /* or NO_END */
	uint64_t served_ns; /* when its guest ran */
	bool warm_would_do;
	struct claim *next; /* in its queue */
};

struct trace {
	struct claim *claims;
	size_t n;
};

/* --- Reading a trace --- */

static struct torpor_error *no_line(size_t number, const char *why)
{
	TP_FREE char *line = tp_asprintf("line %zu", number);

	return tp_error_hint(tp_error(TORPOR_E_INVALID, "read trace", line, "%s", why),
		"A line is: milliseconds, claim or resume, milliseconds held or -.");
}

/* A whole word of digits, at most TRACE_MAX_MS. */
static bool parse_ms(const char *word, uint64_t *ns_out)
{
	char *end;

	if (!word || !isdigit((unsigned char)*word))
		return false;
	errno = 0;
	uint64_t ms = strtoumax(word, &end, 10);
	if (errno || *end || ms > TRACE_MAX_MS)
		return false;
	*ns_out = ms * TP_NSEC_PER_MSEC;
	return true;
}

/* LINE is cut into words. *FOUND_OUT is false where it is empty or a comment. */
static const char *parse_line(char *line, bool *found_out, struct claim *claim_out)
{
	static const char spaces[] = " \t\r\n";
	char *rest;

	line[strcspn(line, "#")] = '\0';
	const char *at = strtok_r(line, spaces, &rest);
	*found_out = at;
	if (!at)
		return NULL;
	const char *kind = strtok_r(NULL, spaces, &rest);
	const char *hold = strtok_r(NULL, spaces, &rest);
	struct claim claim = {.hold_ns = NO_END};
	if (!parse_ms(at, &claim.at_ns))
		return "it doesn't begin with milliseconds (up to 366 days)";
	if (!kind || (strcmp(kind, "claim") != 0 && strcmp(kind, "resume") != 0))
		return "its second word is neither claim nor resume";
	if (!hold || (strcmp(hold, "-") != 0 && !parse_ms(hold, &claim.hold_ns)))
		return "its third word is neither milliseconds (up to 366 days) nor -";
	if (strtok_r(NULL, spaces, &rest))
		return "it has more than three words";
	claim.warm_would_do = strcmp(kind, "claim") == 0;
	*claim_out = claim;
	return NULL;
}

static struct torpor_error *append(struct trace *trace, size_t number, const struct claim *claim)
{
	if (trace->n == TP_SIMULATE_LINES_MAX)
		return tp_error(TORPOR_E_LIMIT, "read trace", NULL, "it has more than %d claims",
			TP_SIMULATE_LINES_MAX);
	if (trace->n > 0 && claim->at_ns < trace->claims[trace->n - 1].at_ns)
		return no_line(number, "it is earlier than the one before");
	/* Grows by doubling: whenever the count is a power of two it is full. */
	if ((trace->n & (trace->n - 1)) == 0)
		trace->claims = tp_reallocarray(
			trace->claims, TP_MAX(trace->n * 2, (size_t)1), sizeof(*claim));
	trace->claims[trace->n++] = *claim;
	return NULL;
}

static struct torpor_error *read_trace(FILE *file, struct trace *trace)
{
	char line[LINE_MAX_LEN + 2];
	struct claim claim;
	bool found;

	for (size_t number = 1; fgets(line, sizeof(line), file); number++) {
		if (strlen(line) == sizeof(line) - 1 && line[sizeof(line) - 2] != '\n')
			return no_line(number, "it is too long");
		const char *wrong = parse_line(line, &found, &claim);
		if (wrong)
			return no_line(number, wrong);
		if (found)
			TP_TRY(append(trace, number, &claim));
	}
	if (ferror(file))
		return tp_error_errno(errno ? errno : EIO, "read", "trace");
	return NULL;
}

/* --- The world --- */

enum ending {
	ENDS_WARM,  /* a warm guest was started ahead */
	ENDS_SHELL, /* a shell was */
	ENDS_SPAWN, /* a claim gives its slot back */
};

struct under_way {
	uint64_t at_ns;
	enum ending what;
	uint64_t took_ns;
};

/* Claims that wait, first come first served. */
struct queue {
	struct claim *first;
	struct claim **end;
};

struct world {
	const struct tp_simulate_options *options;
	struct tp_policy policy;
	struct tp_policy_stock stock;
	uint64_t now_ns;
	uint64_t chance;
	/* Which are under way, in no order; there is room for all slots. */
	struct under_way *under_way;
	size_t n_under_way;
	unsigned int spawning; /* of them */
	unsigned int refilling;
	unsigned int passed;	/* starts of claims since the last one ahead */
	struct queue queues[2]; /* by warm_would_do */
	uint64_t look_again_ns;
	double byte_ns; /* memory of what waited, times the time that it did */
	struct tp_simulate_report report;
};

/* splitmix64: the next 64 bits of chance. */
static uint64_t chance(struct world *world)
{
	uint64_t z = world->chance += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void pass_time(struct world *world, uint64_t to_ns)
{
	double waits = (double)world->stock.warm * (double)world->options->warm_bytes +
		       (double)world->stock.shells * (double)world->options->shell_bytes;

	world->byte_ns += waits * (double)(to_ns - world->now_ns);
	world->now_ns = to_ns;
}

static void begin(struct world *world, enum ending what, uint64_t took_ns)
{
	world->under_way[world->n_under_way++] = (struct under_way){
		.at_ns = world->now_ns + took_ns, .what = what, .took_ns = took_ns};
}

/* --- Claims --- */

static void enqueue(struct world *world, struct claim *claim)
{
	struct queue *queue = &world->queues[claim->warm_would_do];

	claim->next = NULL;
	*queue->end = claim;
	queue->end = &claim->next;
	world->stock.waiting++;
}

static struct claim *dequeue(struct world *world, struct queue *queue)
{
	struct claim *claim = queue->first;

	queue->first = claim->next;
	if (!queue->first)
		queue->end = &queue->first;
	world->stock.waiting--;
	return claim;
}

/* The queue whose first has waited longest; NULL if nobody waits. */
static struct queue *longest_waiting(struct world *world)
{
	struct claim *any = world->queues[true].first, *shell = world->queues[false].first;

	if (!any && !shell)
		return NULL;
	if (!any || (shell && shell < any))
		return &world->queues[false];
	return &world->queues[true];
}

/* One of those that wait goes ahead, if there is something for it. */
static bool serve_one(struct world *world)
{
	const struct tp_simulate_options *o = world->options;
	struct queue *longest = longest_waiting(world);

	if (world->stock.warm > 0 && world->queues[true].first) {
		struct claim *claim = dequeue(world, &world->queues[true]);
		world->stock.warm--;
		world->report.from_warm++;
		claim->served_ns = world->now_ns + o->warm_claim_ns;
		return true;
	}
	if (world->stock.shells > 0 && longest) {
		struct claim *claim = dequeue(world, longest);
		world->stock.shells--;
		world->report.from_shell++;
		claim->served_ns = world->now_ns + o->shell_claim_ns;
		return true;
	}
	if (world->spawning < o->start_slots && longest) {
		struct claim *claim = dequeue(world, longest);
		uint64_t takes = o->shell_start_ns + o->shell_claim_ns;
		world->spawning++;
		world->passed++;
		world->report.from_spawn++;
		claim->served_ns = world->now_ns + takes;
		begin(world, ENDS_SPAWN, takes);
		return true;
	}
	return false;
}

/* --- Starts ahead --- */

static void end_refill(struct world *world, const struct under_way *ended)
{
	const struct tp_policy_config *config = &world->options->policy;
	bool warm = ended->what == ENDS_WARM;

	world->refilling--;
	world->report.starts++;
	(*(warm ? &world->stock.starting_warm : &world->stock.starting_shells))--;
	if (chance(world) % 100 < world->options->failure_percent) {
		world->report.failed_starts++;
		tp_policy_failed(&world->policy, config, (uint16_t)chance(world), world->now_ns);
		return;
	}
	(*(warm ? &world->stock.warm : &world->stock.shells))++;
	world->report.warm_peak = TP_MAX(world->report.warm_peak, world->stock.warm);
	tp_policy_started(&world->policy, config, warm ? ended->took_ns : 0, world->now_ns);
}

static void begin_refill(struct world *world, bool warm)
{
	world->refilling++;
	world->passed = 0;
	(*(warm ? &world->stock.starting_warm : &world->stock.starting_shells))++;
	begin(world, warm ? ENDS_WARM : ENDS_SHELL,
		warm ? world->options->warm_start_ns : world->options->shell_start_ns);
}

/* Does what the policy says, as far as slots allow. */
static void follow_policy(struct world *world)
{
	struct tp_policy_decision decision;

	for (;;) {
		tp_policy_decide(&world->policy, &world->options->policy, &world->stock,
			world->now_ns, &decision);
		world->stock.warm -= decision.drop_warm;
		world->stock.shells -= decision.drop_shells;
		world->look_again_ns = decision.look_again_ns;
		if (!decision.start_warm && !decision.start_shell)
			return;
		if (world->refilling == world->options->refill_slots ||
			!tp_policy_may_start_ahead(world->spawning + world->stock.waiting,
				world->passed, world->options->refill_every))
			return;
		begin_refill(world, decision.start_warm);
	}
}

/* --- Events --- */

/* The one under way that ends first; of two at a time the one that began first. */
static size_t first_to_end(const struct world *world)
{
	size_t first = 0;

	for (size_t i = 1; i < world->n_under_way; i++)
		if (world->under_way[i].at_ns < world->under_way[first].at_ns)
			first = i;
	return first;
}

static void end_first(struct world *world)
{
	size_t first = first_to_end(world);
	struct under_way ended = world->under_way[first];

	pass_time(world, ended.at_ns);
	world->n_under_way--;
	memmove(&world->under_way[first], &world->under_way[first + 1],
		(world->n_under_way - first) * sizeof(ended));
	if (ended.what == ENDS_SPAWN)
		world->spawning--;
	else
		end_refill(world, &ended);
}

static void arrive(struct world *world, struct claim *claim)
{
	pass_time(world, claim->at_ns);
	world->report.claims++;
	tp_policy_claimed(
		&world->policy, &world->options->policy, claim->warm_would_do, world->now_ns);
	enqueue(world, claim);
}

static void run(struct world *world, struct trace *trace)
{
	size_t arrived = 0;

	follow_policy(world);
	while (arrived < trace->n || world->stock.waiting > 0) {
		uint64_t ends = world->n_under_way > 0 ? world->under_way[first_to_end(world)].at_ns
						       : NO_END;
		uint64_t comes = arrived < trace->n ? trace->claims[arrived].at_ns : NO_END;
		if (ends <= comes && ends <= world->look_again_ns)
			end_first(world);
		else if (comes <= world->look_again_ns)
			arrive(world, &trace->claims[arrived++]);
		else
			pass_time(world, world->look_again_ns);
		while (serve_one(world))
			continue;
		follow_policy(world);
	}
}

/* --- What it came to --- */

static int compare_ns(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Of N sorted values the one that PERCENT of them don't exceed. */
static uint64_t percentile(const uint64_t *sorted, size_t n, unsigned int percent)
{
	return n == 0 ? 0 : sorted[TP_DIV_UP(n * percent, 100) - 1];
}

static void report_waits(const struct trace *trace, struct tp_simulate_report *report)
{
	TP_FREE uint64_t *waits = tp_calloc(trace->n, sizeof(*waits));

	for (size_t i = 0; i < trace->n; i++)
		waits[i] = trace->claims[i].served_ns - trace->claims[i].at_ns;
	qsort(waits, trace->n, sizeof(*waits), compare_ns);
	report->wait_p50_ns = percentile(waits, trace->n, 50);
	report->wait_p99_ns = percentile(waits, trace->n, 99);
	report->wait_max_ns = percentile(waits, trace->n, 100);
}

/* The most guests in use at a time: beginnings and ends, each in order, walked side by side. */
static void report_held(const struct trace *trace, struct tp_simulate_report *report)
{
	TP_FREE uint64_t *begins = tp_calloc(trace->n, sizeof(*begins));
	TP_FREE uint64_t *ends = tp_calloc(trace->n, sizeof(*ends));
	uint64_t held = 0;
	size_t ended = 0;

	for (size_t i = 0; i < trace->n; i++) {
		const struct claim *claim = &trace->claims[i];
		begins[i] = claim->served_ns;
		ends[i] = claim->hold_ns == NO_END ? NO_END : claim->served_ns + claim->hold_ns;
	}
	qsort(begins, trace->n, sizeof(*begins), compare_ns);
	qsort(ends, trace->n, sizeof(*ends), compare_ns);
	for (size_t i = 0; i < trace->n; i++) {
		for (; ends[ended] < begins[i]; ended++)
			held--;
		held++;
		report->held_peak = TP_MAX(report->held_peak, held);
	}
}

static struct tp_simulate_report make_report(const struct world *world, const struct trace *trace)
{
	struct tp_simulate_report report = world->report;
	uint64_t could = 0;

	for (size_t i = 0; i < trace->n; i++)
		could += trace->claims[i].warm_would_do;
	report.hit_rate = could > 0 ? (double)report.from_warm / (double)could : 1;
	report.memory_gib_hours =
		world->byte_ns / (double)TP_GIB / (3600.0 * (double)TP_NSEC_PER_SEC);
	report_waits(trace, &report);
	report_held(trace, &report);
	return report;
}

static const char *options_error(const struct tp_simulate_options *o)
{
	const uint64_t takes[] = {
		o->warm_start_ns, o->shell_start_ns, o->warm_claim_ns, o->shell_claim_ns};

	for (size_t i = 0; i < TP_ARRAY_LEN(takes); i++)
		if (takes[i] == 0 || takes[i] > TAKES_MAX_NS)
			return "what starts and claims take must be above zero, an hour at most";
	if (o->start_slots == 0 || o->start_slots > SLOTS_MAX || o->refill_slots > SLOTS_MAX)
		return "the slots must be 1 to 1024 (those for starts ahead 0 to 1024)";
	if (o->failure_percent > 100)
		return "the share of failing starts must be 0 to 100 percent";
	return tp_policy_config_error(&o->policy);
}

static struct tp_simulate_report simulate(
	const struct tp_simulate_options *options, struct trace *trace)
{
	TP_FREE struct under_way *under_way =
		tp_calloc(options->start_slots + options->refill_slots, sizeof(*under_way));
	struct world world = {
		.options = options,
		.chance = options->seed,
		.under_way = under_way,
		.stock = {.warm = options->policy.warm_min, .shells = options->policy.shells_min},
		.report = {.warm_peak = options->policy.warm_min},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(world.queues); i++)
		world.queues[i].end = &world.queues[i].first;
	run(&world, trace);
	return make_report(&world, trace);
}

struct torpor_error *tp_simulate(FILE *file, const struct tp_simulate_options *options,
	struct tp_simulate_report *report_out)
{
	struct trace trace = {0};
	const char *wrong = options_error(options);

	if (wrong)
		return tp_error(TORPOR_E_INVALID, "simulate", NULL, "%s", wrong);
	struct torpor_error *err = read_trace(file, &trace);
	if (!err)
		*report_out = simulate(options, &trace);
	free(trace.claims);
	return err;
}
