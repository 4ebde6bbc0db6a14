/* SPDX-License-Identifier: Apache-2.0 */
/* torpor bench: the benchmarks, as a command. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "benchmarks/bench.h"
#include "cli/cli.h"

struct bench_command {
	struct cli *cli;
	struct bench_options options;
	const char *out_path; /* NULL: standard output */
	char torpord[PATH_MAX];
};

enum { KEY_TEMPLATE = 512, KEY_SCENARIO, KEY_QUIET, KEY_QUICK, KEY_OUT, KEY_TABLE, KEY_DAEMON };

static const struct argp_option options[] = {
	{"template", KEY_TEMPLATE, "NAME", 0, "The template to use (default: minimal)", 0},
	{"scenario", KEY_SCENARIO, "NAME,...", 0, "What to measure (default: everything)", 0},
	{NULL, 'n', "N", 0, "Samples of each figure (default: 20); --n is the same", 0},
	{"n", 'n', "N", OPTION_HIDDEN, NULL, 0},
	{"quiet", KEY_QUIET, "MS", 0,
		"How long guests are left alone before a sample (default: 5000)", 0},
	{"quick", KEY_QUICK, NULL, 0,
		"Few samples, little quiet, no scale_ram: shows that it works, no more", 0},
	{"out", KEY_OUT, "FILE", 0, "Write there instead of to standard output", 0},
	{"daemon", KEY_DAEMON, "FILE", OPTION_ARG_OPTIONAL,
		"Measure through a torpord of its own (FILE is its program; default: beside "
		"torpor)",
		0},
	{"table", KEY_TABLE, NULL, 0, "Print a table instead of JSON lines", 0},
	{0},
};

static unsigned int number(struct argp_state *state, const char *arg, unsigned long max)
{
	char *end;
	unsigned long value = strtoul(arg, &end, 10);

	if (*arg < '0' || *arg > '9' || *end || value < 1 || value > max)
		argp_error(state, "a number from 1 to %lu is needed, not \"%s\"", max, arg);
	return (unsigned int)value;
}

/* In a build tree ../daemon/torpord, installed ../sbin/torpord, else on PATH. */
static const char *find_torpord(struct bench_command *command)
{
	static const char *const places[] = {"../daemon/torpord", "../sbin/torpord"};
	char *path = command->torpord;
	size_t room = sizeof(command->torpord);
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[len > 0 ? len : 0] = '\0';
	char *slash = strrchr(self, '/');
	for (size_t i = 0; slash && i < sizeof(places) / sizeof(places[0]); i++) {
		int n = snprintf(path, room, "%.*s/%s", (int)(slash - self), self, places[i]);
		if (n > 0 && (size_t)n < room && access(path, X_OK) == 0)
			return path;
	}
	return "torpord";
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct bench_command *command = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = command->cli;
		return 0;
	case KEY_TEMPLATE:
		command->options.template_name = arg;
		return 0;
	case KEY_SCENARIO:
		command->options.scenarios = arg;
		return 0;
	case 'n':
		command->options.n = number(state, arg, 100000);
		return 0;
	case KEY_QUIET:
		command->options.quiet_ms = number(state, arg, 3600000);
		return 0;
	case KEY_QUICK:
		command->options.quick = true;
		return 0;
	case KEY_OUT:
		command->out_path = arg;
		return 0;
	case KEY_DAEMON:
		command->options.daemon = arg ? arg : find_torpord(command);
		return 0;
	case KEY_TABLE:
		command->options.table = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static char *list_scenarios(int key, const char *text, void *input)
{
	char *out = NULL;
	size_t len = 0;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)text;
	FILE *f = open_memstream(&out, &len);
	if (!f)
		return NULL;
	fputs("Scenarios:\n", f);
	for (const struct bench_scenario_name *s = bench_scenario_names; s->name; s++)
		fprintf(f, "  %-16s %s\n", s->name, s->summary);
	fputs("\nScenarios that share guests are measured together. benchmarks/README.md has the "
	      "method.",
		f);
	fclose(f);
	return out;
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.doc = "Measures park and resume beside what they can't cost less than, on this host, and "
	       "prints JSON lines.\v",
	.children = cli_common,
	.help_filter = list_scenarios,
};

/* Of the process as a whole, since the library sees only its options. */
static void print_warning(void *data, int level, const char *line)
{
	const struct cli *cli = data;

	if (level >= 2 || cli->verbose)
		fprintf(stderr, "torpor: %s\n", line);
}

int cli_bench(struct cli *cli, int argc, char **argv)
{
	struct bench_command command = {
		.cli = cli,
		.options = {.template_name = "minimal", .version = TORPOR_VERSION},
	};

	argp_parse(&argp, argc, argv, 0, NULL, &command);
	command.options.engine = (struct torpor_engine_options){
		.state_dir = cli->state_dir,
		.qemu = cli->qemu,
		.launcher = cli->launcher,
		.connect = cli->connect,
		.log = print_warning,
		.log_data = cli,
	};
	command.options.call = cli->call;
	command.options.out = command.out_path ? fopen(command.out_path, "we") : stdout;
	if (!command.options.out) {
		fprintf(stderr, "torpor: create %s: %s\n", command.out_path, strerror(errno));
		return CLI_FAILED;
	}
	struct torpor_error *err = bench_run(&command.options);
	bool lost = ferror(command.options.out);
	if (command.out_path && fclose(command.options.out) != 0)
		lost = true;
	int status = cli_finish(cli, err);
	if (lost)
		fprintf(stderr, "torpor: the output could not be written completely\n");
	return lost ? CLI_FAILED : status;
}
