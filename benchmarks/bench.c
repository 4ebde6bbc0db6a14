/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing scenarios, running them one after the other, and printing what came of it. */
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/daemon.h"

#define DEFAULT_N	 20
#define QUICK_N		 2
#define DEFAULT_QUIET_MS 5000
#define QUICK_QUIET_MS	 500

/* What is measured together is run together: either name brings the figures of both. */
enum group {
	CLAIM,
	IDLE,
	DIRTY,
	CHECKPOINT,
	FORK,
	SCALE,
	DENSITY,
	/* Through torpord. */
	DAEMON_CLAIM,
	DAEMON_SLEEP,
	DAEMON_DENSITY,
	DAEMON_RECORDS,
	DAEMON_CYCLES,
	GROUPS
};

const struct bench_scenario_name bench_scenario_names[] = {
	{"spawn_shell", "start a process that waits for a state"},
	{"claim_clone", "from that to a running guest from the template"},
	{"park_idle", "park a guest that did nothing, and its floor"},
	{"resume_idle", "resume it, and its floor"},
	{"park_dirty", "park a guest with 20 MiB of new files, and its floor"},
	{"resume_dirty", "resume it, and its floor"},
	{"checkpoint_idle", "save a guest that runs on"},
	{"fork_8", "eight from one image, beside eight resumes"},
	{"image_idle", "bytes of an idle guest's image"},
	{"scale_ram", "park and resume at 128 MiB, 1 GiB, 4 GiB, by both scans"},
	{"density", "memory of 1 to 100 clones, of guests that booted, and of one process"},
	{"daemon_claim", "claims of warm guests through torpord, quiet and while it refills"},
	{"daemon_sleep", "park and resume through torpord, beside the core's own"},
	{"daemon_density", "memory of 100 guests"},
	{"daemon_records", "lists, claims, resumes, restarts with up to 100,000 parked sessions"},
	{"daemon_cycles", "parks and resumes by four clients for a minute"},
	{0},
};

static const enum group group_of[] = {CLAIM, CLAIM, IDLE, IDLE, DIRTY, DIRTY, CHECKPOINT, FORK,
	IDLE, SCALE, DENSITY, DAEMON_CLAIM, DAEMON_SLEEP, DAEMON_DENSITY, DAEMON_RECORDS,
	DAEMON_CYCLES};
static_assert(TP_ARRAY_LEN(group_of) + 1 == TP_ARRAY_LEN(bench_scenario_names), "one for each");

static const struct {
	const char *title;
	struct torpor_error *(*run)(struct bench *b);
} groups[GROUPS] = {
	[CLAIM] = {"spawn_shell, claim_clone", bench_run_claim},
	[IDLE] = {"park_idle, resume_idle, image_idle", bench_run_idle},
	[DIRTY] = {"park_dirty, resume_dirty", bench_run_dirty},
	[CHECKPOINT] = {"checkpoint_idle", bench_run_checkpoint},
	[FORK] = {"fork_8", bench_run_fork},
	[SCALE] = {"scale_ram", bench_run_scale},
	[DENSITY] = {"density", bench_run_density},
	[DAEMON_CLAIM] = {"daemon_claim", bench_run_daemon_claim},
	[DAEMON_SLEEP] = {"daemon_sleep", bench_run_daemon_sleep},
	[DAEMON_DENSITY] = {"daemon_density", bench_run_daemon_density},
	[DAEMON_RECORDS] = {"daemon_records", bench_run_daemon_records},
	[DAEMON_CYCLES] = {"daemon_cycles", bench_run_daemon_cycles},
};

static struct torpor_error *choose_one(const char *name, bool chosen[GROUPS])
{
	for (size_t i = 0; i < TP_ARRAY_LEN(group_of); i++) {
		if (strcmp(bench_scenario_names[i].name, name) == 0) {
			chosen[group_of[i]] = true;
			return NULL;
		}
	}
	return tp_error_hint(
		tp_error(TORPOR_E_INVALID, "benchmark", name, "there is no such scenario"),
		"`torpor bench --help` lists them.");
}

static struct torpor_error *choose(const struct bench_options *options, bool chosen[GROUPS])
{
	char *rest = NULL;

	if (!options->scenarios) {
		for (int i = 0; i < GROUPS; i++)
			chosen[i] = (i >= DAEMON_CLAIM) == (options->daemon != NULL) &&
				    (i != SCALE || !options->quick);
		return NULL;
	}
	TP_FREE char *names = tp_strdup(options->scenarios);
	for (char *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
		TP_TRY(choose_one(name, chosen));
	for (int i = DAEMON_CLAIM; !options->daemon && i < GROUPS; i++) {
		if (chosen[i])
			return tp_error(TORPOR_E_INVALID, "benchmark", groups[i].title,
				"it goes through torpord: say --daemon");
	}
	return NULL;
}

static struct torpor_error *run_groups(struct bench *b, const bool chosen[GROUPS])
{
	for (int i = 0; i < GROUPS; i++) {
		if (!chosen[i])
			continue;
		bench_say("%s", groups[i].title);
		b->failed_in_a_row = 0;
		TP_TRY(groups[i].run(b));
	}
	return NULL;
}

static struct torpor_error *measure(struct bench *b, const bool chosen[GROUPS])
{
	const struct bench_options *options = b->options;

	TP_TRY(torpor_template_open(b->engine, options->template_name, &options->call, &b->tmpl));
	TP_TRY(torpor_template_info(b->tmpl, &b->info));
	bench_print_context(b);
	bench_add(b, "fill_base", "ns", (double)b->info.fill_ns);
	struct torpor_error *err = run_groups(b, chosen);
	/* Also what a failed or cancelled run measured until then. */
	bench_print(b);
	bench_print_quietness(b);
	fflush(options->out);
	return err;
}

static unsigned int or_default(
	unsigned int value, bool quick, unsigned int if_quick, unsigned int else_)
{
	return value ? value : quick ? if_quick : else_;
}

struct torpor_error *bench_run(const struct bench_options *options)
{
	bool chosen[GROUPS] = {false};
	struct bench b = {
		.options = options,
		.n = or_default(options->n, options->quick, QUICK_N, DEFAULT_N),
		.quiet_ms = or_default(
			options->quiet_ms, options->quick, QUICK_QUIET_MS, DEFAULT_QUIET_MS),
		.cores = (unsigned int)sysconf(_SC_NPROCESSORS_ONLN),
		.payload_fd = -1,
		.load_start = bench_load_average(),
	};

	TP_TRY(choose(options, chosen));
	TP_TRY(torpor_engine_open(&options->engine, &b.engine));
	struct torpor_error *err = measure(&b, chosen);
	torpor_template_close(b.tmpl);
	torpor_engine_close(b.engine);
	tp_close(b.payload_fd);
	bench_figures_deinit(&b);
	return err;
}
