/* SPDX-License-Identifier: Apache-2.0 */
/* torpor-compare: what `scripts/bench` runs. Not installed. */
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/bench_priv.h"
#include "pool/template.h"
#include "run.h"

struct command {
	struct cmp_plan plan;
	const char *state_dir;
	const char *template_name;
	const char *out_path;
	bool quick;
};

enum {
	KEY_STATE = 512,
	KEY_TEMPLATE,
	KEY_OUT,
	KEY_WORK,
	KEY_RUN,
	KEY_QEMU10,
	KEY_QEMU10_DATA,
	KEY_LIBVIRT,
	KEY_PEERS,
	KEY_ROUNDS,
	KEY_MORE_ROUNDS,
	KEY_QUIET,
	KEY_QUICK,
	KEY_CELLS,
};

static const struct argp_option known[] = {
	{"state", KEY_STATE, "DIR", 0, "Torpor's state directory, with the template", 0},
	{"template", KEY_TEMPLATE, "NAME", 0, "The template (default: minimal)", 0},
	{"out", KEY_OUT, "FILE", 0, "Where samples go", 0},
	{"work", KEY_WORK, "DIR", 0, "For the peers' files", 0},
	{"run", KEY_RUN, "DIR", 0, "For sockets", 0},
	{"qemu10", KEY_QEMU10, "FILE", 0, "A newer QEMU's program", 0},
	{"qemu10-data", KEY_QEMU10_DATA, "DIR", 0, "Its firmware", 0},
	{"libvirt", KEY_LIBVIRT, "DIR", 0, "What scripts/bench-libvirt started", 0},
	{"peers", KEY_PEERS, "NAME,...", 0, "Only these", 0},
	{"cells", KEY_CELLS, "NAME,...", 0,
		"Only these, each named for RAM and what is written: " CMP_FIRST_CELL
		", 256M-20M, 1G-idle, 1G-20M, 1G-200M, 4G-idle, 4G-20M, 4G-200M",
		0},
	{"rounds", KEY_ROUNDS, "N", 0, "Rounds of the first cell (default: 20)", 0},
	{"more-rounds", KEY_MORE_ROUNDS, "N", 0, "Rounds of the others (default: 7)", 0},
	{"quiet", KEY_QUIET, "MS", 0, "That guests run between (default: 1000)", 0},
	{"quick", KEY_QUICK, NULL, 0, "Only the first cell, two rounds", 0},
	{0},
};

static unsigned int number(struct argp_state *state, const char *arg)
{
	char *end;
	unsigned long value = strtoul(arg, &end, 10);

	if (*arg < '0' || *arg > '9' || *end || value < 1 || value > 100000)
		argp_error(state, "a number from 1 to 100000 is needed, not \"%s\"", arg);
	return (unsigned int)value;
}

/* NAME: NULL if all are known. */
static void refuse_unknown(struct argp_state *state, const char *what, char *name)
{
	TP_FREE char *unknown = name;

	if (unknown)
		argp_error(state, "there is no %s \"%s\"", what, unknown);
}

static error_t parse_place(int key, const char *arg, struct command *command)
{
	struct cmp_places *places = &command->plan.places;

	switch (key) {
	case KEY_STATE:
		command->state_dir = arg;
		return 0;
	case KEY_TEMPLATE:
		command->template_name = arg;
		return 0;
	case KEY_OUT:
		command->out_path = arg;
		return 0;
	case KEY_WORK:
		places->work_dir = arg;
		return 0;
	case KEY_RUN:
		places->run_dir = arg;
		return 0;
	case KEY_QEMU10:
		places->qemu10 = arg;
		return 0;
	case KEY_QEMU10_DATA:
		places->qemu10_data = arg;
		return 0;
	case KEY_LIBVIRT:
		places->libvirt = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct command *command = state->input;
	struct cmp_plan *plan = &command->plan;

	switch (key) {
	case KEY_PEERS:
		refuse_unknown(state, "peer", cmp_unknown_peer(arg));
		plan->peers = arg;
		return 0;
	case KEY_ROUNDS:
		plan->rounds = number(state, arg);
		return 0;
	case KEY_MORE_ROUNDS:
		plan->more_rounds = number(state, arg);
		return 0;
	case KEY_QUIET:
		plan->quiet_ms = number(state, arg);
		return 0;
	case KEY_QUICK:
		command->quick = true;
		plan->rounds = 2;
		plan->quiet_ms = 300;
		plan->cells = CMP_FIRST_CELL;
		return 0;
	case KEY_CELLS:
		refuse_unknown(state, "cell", cmp_unknown_cell(arg));
		plan->cells = arg;
		return 0;
	case ARGP_KEY_END:
		if (!command->state_dir || !command->out_path || !plan->places.work_dir ||
			!plan->places.run_dir)
			argp_error(state, "--state, --out, --work and --run are needed");
		return 0;
	default:
		return parse_place(key, arg, command);
	}
}

static const struct argp argp = {
	.options = known,
	.parser = parse,
	.doc = "Measures Torpor and its peers on the same guest, in turns. `scripts/bench` "
	       "prepares "
	       "what it needs; benchmarks/README.md has the method.",
};

/* --- context --- */

/* Of the machine, before and after: swapping and throttling make a run worthless. */
struct disturbance {
	uint64_t swapped;
	uint64_t throttled;
};

static struct disturbance disturbed_so_far(void)
{
	return (struct disturbance){.swapped = cmp_swapped(), .throttled = cmp_throttled()};
}

static void print_disturbance(struct bench *b, struct disturbance before)
{
	struct disturbance now = disturbed_so_far();

	bench_print_fact(
		b, "swapped_pages", json_integer((json_int_t)(now.swapped - before.swapped)));
	bench_print_fact(
		b, "throttled", json_integer((json_int_t)(now.throttled - before.throttled)));
}

static void print_plan(struct bench *b, const struct command *command)
{
	bench_print_fact(b, "rounds", json_integer(command->plan.rounds));
	bench_print_fact(b, "more_rounds", json_integer(command->plan.more_rounds));
}

/* --- the run --- */

static const uint64_t sizes[] = {256 * TP_MIB, TP_GIB, 4 * TP_GIB};

static struct torpor_error *build_templates(struct bench *b, const struct cmp_plan *plan)
{
	for (size_t i = 0; i < TP_ARRAY_LEN(sizes); i++) {
		if (!cmp_wants_size(plan, sizes[i]))
			continue;
		TP_FREE char *name = cmp_template_name(sizes[i]);
		TP_TRY(bench_template_of_size(b, name, sizes[i]));
	}
	return NULL;
}

/* What all peers boot, and how: taken from the template, so that it is the same guest. */
static struct torpor_error *run_on(struct command *command, struct bench *b)
{
	struct cmp_places *places = &command->plan.places;
	struct tp_call call = {
		.deadline_ns = TP_NO_DEADLINE,
		.cancel_fd = b->options->call.cancel ? b->options->call.cancel->fd : -1,
	};

	TP_TRY(torpor_template_open(b->engine, command->template_name, NULL, &b->tmpl));
	TP_TRY(torpor_template_info(b->tmpl, &b->info));
	TP_TRY(build_templates(b, &command->plan));
	TP_FREE char *kernel = tp_template_path(b->tmpl, TEMPLATE_KERNEL);
	TP_FREE char *initrd = tp_template_path(b->tmpl, TEMPLATE_INITRD);
	TP_FREE char *append = tp_strdup(b->tmpl->base->record.append);
	places->kernel = kernel;
	places->initrd = initrd;
	places->append = append;
	places->accel = b->info.accel;
	places->cpu = b->info.cpu;
	places->machine = b->info.machine_type;
	bench_print_context(b);
	print_plan(b, command);
	struct disturbance before = disturbed_so_far();
	/* The run's guests have engines of their own: this base would only lie in memory. */
	b->tmpl = torpor_template_close(b->tmpl);
	struct torpor_error *err = cmp_run(&command->plan, &call);
	b->tmpl = NULL;
	bench_print_quietness(b);
	print_disturbance(b, before);
	return err;
}

static struct torpor_error *run(struct command *command, struct torpor_cancel *cancel)
{
	struct bench_options options = {
		.engine = {.state_dir = command->state_dir},
		.template_name = command->template_name,
		.quick = command->quick,
		.out = command->plan.out,
		.version = TORPOR_VERSION,
		.call = {.cancel = cancel},
	};
	struct bench b = {
		.options = &options,
		.n = command->plan.rounds,
		.quiet_ms = command->plan.quiet_ms,
		.cores = (unsigned int)sysconf(_SC_NPROCESSORS_ONLN),
		.payload_fd = -1,
		.load_start = bench_load_average(),
	};

	cmp_bench = &b;
	TP_TRY(torpor_engine_open(&options.engine, &b.engine));
	struct torpor_engine *own = b.engine;
	struct torpor_error *err = run_on(command, &b);
	torpor_template_close(b.tmpl);
	torpor_engine_close(own);
	tp_close(b.payload_fd);
	bench_figures_deinit(&b);
	return err;
}

/* SIGINT and SIGTERM cancel what goes on; guests are ended on the way out. */
static int cancel_on_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
	struct command command = {
		.template_name = "minimal",
		.plan = {.rounds = 20, .more_rounds = 7, .quiet_ms = 1000},
	};

	argp_parse(&argp, argc, argv, 0, NULL, &command);
	command.plan.places.qemu = TP_DEFAULT_QEMU;
	struct torpor_cancel cancel = {.fd = cancel_on_signals()};
	command.plan.out = fopen(command.out_path, "we");
	if (!command.plan.out) {
		fprintf(stderr, "torpor-compare: create %s: %s\n", command.out_path,
			strerror(errno));
		return 1;
	}
	TP_ERROR struct torpor_error *err = run(&command, &cancel);
	bool lost = fclose(command.plan.out) != 0;
	if (err)
		fprintf(stderr, "torpor-compare: %s\n", torpor_error_message(err));
	if (lost)
		fprintf(stderr, "torpor-compare: %s: not written completely\n", command.out_path);
	return err || lost ? 1 : 0;
}
