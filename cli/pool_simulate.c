/* SPDX-License-Identifier: Apache-2.0 */
/* torpor pool simulate: what a policy would have given for a recorded load. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "cli/cli.h"
#include "pool/simulate.h"

enum {
	KEY_WARM_MIN = 512,
	KEY_WARM_MAX,
	KEY_SHELLS_MIN,
	KEY_SHELLS_MAX,
	KEY_WINDOW,
	KEY_WARM_START,
	KEY_SHELL_START,
	KEY_SLOTS,
	KEY_REFILL,
	KEY_REFILL_EVERY,
	KEY_FAILURES,
	KEY_SEED,
	KEY_FIXED,
};

static const struct argp_option options[] = {
	{"warm-min", KEY_WARM_MIN, "N", 0, "Warm guests that wait at least (default: 1)", 1},
	{"warm-max", KEY_WARM_MAX, "N", 0, "Warm guests that wait at most (default: 8)", 1},
	{"shells-min", KEY_SHELLS_MIN, "N", 0, "Shells that wait at least (default: 1)", 1},
	{"shells-max", KEY_SHELLS_MAX, "N", 0, "Shells that wait at most (default: 4)", 1},
	{"window", KEY_WINDOW, "SECONDS", 0, "How far back demand is looked at (default: 60)", 1},
	{"fixed", KEY_FIXED, "N", 0,
		"Compare with a policy by which N warm guests wait, whatever comes", 1},
	{"warm-start", KEY_WARM_START, "MS", 0, "What a warm guest takes to start (default: 150)",
		2},
	{"shell-start", KEY_SHELL_START, "MS", 0, "What a shell takes to start (default: 60)", 2},
	{"slots", KEY_SLOTS, "N", 0, "Claims that start a guest themselves at a time (default: 2)",
		2},
	{"refill", KEY_REFILL, "N", 0, "Starts ahead at a time (default: 1)", 2},
	{"refill-every", KEY_REFILL_EVERY, "N", 0,
		"One start ahead after N of claims', while there are such (default: 4)", 2},
	{"failures", KEY_FAILURES, "PERCENT", 0, "Starts ahead that fail (default: 0)", 2},
	{"seed", KEY_SEED, "N", 0, "Of chance, for failures (default: 1)", 2},
	{0},
};

struct simulation {
	struct cli *cli;
	const char *path;
	struct tp_simulate_options options;
	bool compare;
	unsigned int fixed;
};

/* A whole number up to MAX; doesn't return for anything else. */
static uint64_t number(struct argp_state *state, const char *text, uint64_t max)
{
	char *end;

	errno = 0;
	uint64_t value = strtoumax(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value > max)
		argp_error(state, "\"%s\" isn't a number from 0 to %ju", text, (uintmax_t)max);
	return value;
}

static unsigned int count(struct argp_state *state, const char *text)
{
	return (unsigned int)number(state, text, 1000000);
}

static uint64_t time_ns(struct argp_state *state, const char *text, uint64_t unit_ns)
{
	return number(state, text, 1000000) * unit_ns;
}

static error_t parse_number(int key, char *arg, struct argp_state *state)
{
	struct simulation *s = state->input;

	switch (key) {
	case KEY_WARM_MIN:
		s->options.policy.warm_min = count(state, arg);
		return 0;
	case KEY_WARM_MAX:
		s->options.policy.warm_max = count(state, arg);
		return 0;
	case KEY_SHELLS_MIN:
		s->options.policy.shells_min = count(state, arg);
		return 0;
	case KEY_SHELLS_MAX:
		s->options.policy.shells_max = count(state, arg);
		return 0;
	case KEY_WINDOW:
		s->options.policy.window_ns = time_ns(state, arg, TP_NSEC_PER_SEC);
		return 0;
	case KEY_WARM_START:
		s->options.warm_start_ns = time_ns(state, arg, TP_NSEC_PER_MSEC);
		return 0;
	case KEY_SHELL_START:
		s->options.shell_start_ns = time_ns(state, arg, TP_NSEC_PER_MSEC);
		return 0;
	case KEY_SLOTS:
		s->options.start_slots = count(state, arg);
		return 0;
	case KEY_REFILL:
		s->options.refill_slots = count(state, arg);
		return 0;
	case KEY_REFILL_EVERY:
		s->options.refill_every = count(state, arg);
		return 0;
	case KEY_FAILURES:
		s->options.failure_percent = count(state, arg);
		return 0;
	case KEY_SEED:
		s->options.seed = number(state, arg, UINT64_MAX);
		return 0;
	case KEY_FIXED:
		s->compare = true;
		s->fixed = count(state, arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct simulation *s = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = s->cli;
		return 0;
	case ARGP_KEY_ARG:
		if (s->path)
			argp_error(state, "one trace, not \"%s\" as well", arg);
		s->path = arg;
		return 0;
	case ARGP_KEY_END:
		if (!s->path)
			argp_error(state, "the trace is missing");
		return 0;
	default:
		return parse_number(key, arg, state);
	}
}

static json_t *report_json(const struct tp_simulate_report *r)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:I}",
		"claims", (json_int_t)r->claims, "from_warm", (json_int_t)r->from_warm,
		"from_shell", (json_int_t)r->from_shell, "from_spawn", (json_int_t)r->from_spawn,
		"hit_rate", r->hit_rate, "wait_p50_ms", (double)r->wait_p50_ns / 1e6, "wait_p99_ms",
		(double)r->wait_p99_ns / 1e6, "wait_max_ms", (double)r->wait_max_ns / 1e6,
		"memory_gib_hours", r->memory_gib_hours, "warm_peak", (json_int_t)r->warm_peak,
		"held_peak", (json_int_t)r->held_peak, "starts", (json_int_t)r->starts,
		"failed_starts", (json_int_t)r->failed_starts);
}

static void print_json(const struct simulation *s, const struct tp_simulate_report *reports)
{
	json_t *all = json_pack("{s:o}", "adaptive", report_json(&reports[0]));

	if (s->compare)
		json_object_set_new(all, "fixed", report_json(&reports[1]));
	cli_print_json(all);
}

static void print_count(const char *what, uint64_t a, uint64_t b, bool compare)
{
	printf("%-18s %12ju", what, (uintmax_t)a);
	if (compare)
		printf(" %12ju", (uintmax_t)b);
	putchar('\n');
}

static void print_text(const char *what, const char *a, const char *b, bool compare)
{
	printf("%-18s %12s", what, a);
	if (compare)
		printf(" %12s", b);
	putchar('\n');
}

static void print_share(const char *what, double a, double b, bool compare)
{
	printf("%-18s %10.1f %%", what, a * 100);
	if (compare)
		printf(" %10.1f %%", b * 100);
	putchar('\n');
}

static void print_amount(const char *what, double a, double b, bool compare)
{
	printf("%-18s %12.3f", what, a);
	if (compare)
		printf(" %12.3f", b);
	putchar('\n');
}

static void print_table(const struct simulation *s, const struct tp_simulate_report *reports)
{
	const struct tp_simulate_report *a = &reports[0], *b = &reports[1];
	bool both = s->compare;
	char fixed[32];

	snprintf(fixed, sizeof(fixed), "fixed %u", s->fixed);
	if (both)
		print_text("", "adaptive", fixed, both);
	print_count("claims", a->claims, b->claims, both);
	print_count("  from warm", a->from_warm, b->from_warm, both);
	print_count("  from a shell", a->from_shell, b->from_shell, both);
	print_count("  from a spawn", a->from_spawn, b->from_spawn, both);
	print_share("hit rate", a->hit_rate, b->hit_rate, both);
	print_text("wait p50", cli_time(a->wait_p50_ns), cli_time(b->wait_p50_ns), both);
	print_text("wait p99", cli_time(a->wait_p99_ns), cli_time(b->wait_p99_ns), both);
	print_text("wait max", cli_time(a->wait_max_ns), cli_time(b->wait_max_ns), both);
	print_amount("GiB-hours waiting", a->memory_gib_hours, b->memory_gib_hours, both);
	print_count("warm, at most", a->warm_peak, b->warm_peak, both);
	print_count("in use, at most", a->held_peak, b->held_peak, both);
	print_count("starts ahead", a->starts, b->starts, both);
	print_count("  failed", a->failed_starts, b->failed_starts, both);
}

static struct torpor_error *simulate(
	const struct simulation *s, FILE *trace, struct tp_simulate_report *reports)
{
	struct tp_simulate_options fixed = s->options;

	TP_TRY(tp_simulate(trace, &s->options, &reports[0]));
	if (!s->compare)
		return NULL;
	fixed.policy.warm_min = fixed.policy.warm_max = s->fixed;
	if (fseek(trace, 0, SEEK_SET) < 0)
		return tp_error_errno(errno, "read again", s->path);
	return tp_simulate(trace, &fixed, &reports[1]);
}

int cli_pool_simulate(struct cli *cli, int argc, char **argv)
{
	struct simulation s = {.cli = cli, .options = tp_simulate_defaults};
	struct tp_simulate_report reports[2] = {0};
	struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "TRACE",
		.doc = "Prints what a policy of the warm pool would have given for the load in "
		       "TRACE.",
		.children = cli_common,
	};

	argp_parse(&argp, argc, argv, 0, NULL, &s);
	FILE *trace = fopen(s.path, "re");
	if (!trace)
		return cli_finish(cli, tp_error_errno(errno, "open trace", s.path));
	struct torpor_error *err = simulate(&s, trace, reports);
	fclose(trace);
	if (err)
		return cli_finish(cli, tp_error_in(err, "simulate", s.path));
	if (cli->json)
		print_json(&s, reports);
	else
		print_table(&s, reports);
	return CLI_OK;
}
