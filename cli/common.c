/* SPDX-License-Identifier: Apache-2.0 */
/* Options, output and dispatch for all commands. */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_STATE = 256, KEY_QEMU, KEY_JSON };

static const struct argp_option options[] = {
	{"state", KEY_STATE, "DIR", 0,
		"Where templates and images live (default: /var/lib/torpor for root, else the XDG "
		"state directory)",
		10},
	{"qemu", KEY_QEMU, "FILE", 0, "The QEMU to run (default: qemu-system-x86_64)", 10},
	{"json", KEY_JSON, NULL, 0, "Print JSON", 10},
	{"verbose", 'v', NULL, 0, "Print what goes on to standard error", 10},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct cli *cli = state->input;

	switch (key) {
	case KEY_STATE:
		cli->state_dir = arg;
		return 0;
	case KEY_QEMU:
		cli->qemu = arg;
		return 0;
	case KEY_JSON:
		cli->json = true;
		return 0;
	case 'v':
		cli->verbose = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp common = {.options = options, .parser = parse};

const struct argp_child cli_common[] = {{&common, 0, "Common options:", 10}, {0}};

int cli_dispatch(struct cli *cli, const char *program, const struct cli_command *commands, int argc,
	char **argv)
{
	char full_name[64];

	for (const struct cli_command *c = commands; argc > 0 && c->name; c++) {
		if (strcmp(c->name, argv[0]) != 0)
			continue;
		/* Its help and complaints begin with all that was typed. */
		snprintf(full_name, sizeof(full_name), "%s %s", program, c->name);
		argv[0] = full_name;
		return c->run(cli, argc, argv);
	}
	if (argc > 0 && strcmp(argv[0], "--help") != 0 && strcmp(argv[0], "-?") != 0) {
		fprintf(stderr, "%s: there is no command \"%s\"\n", program, argv[0]);
		fprintf(stderr, "Try `%s --help`.\n", program);
		return CLI_USAGE;
	}
	FILE *to = argc > 0 ? stdout : stderr;
	fprintf(to, "Usage: %s COMMAND [ARGUMENT...]\n\nCommands:\n", program);
	for (const struct cli_command *c = commands; c->name; c++)
		fprintf(to, "  %-10s %s\n", c->name, c->summary);
	return argc > 0 ? CLI_OK : CLI_USAGE;
}

static void print_log(void *data, int level, const char *line)
{
	const struct cli *cli = data;

	if (level >= 2 || cli->verbose)
		fprintf(stderr, "torpor: %s\n", line);
}

struct torpor_error *cli_open(struct cli *cli, struct torpor_engine **engine_out)
{
	struct torpor_engine_options engine_options = {
		.state_dir = cli->state_dir,
		.qemu = cli->qemu,
		.log = print_log,
		.log_data = cli,
	};

	return torpor_engine_open(&engine_options, engine_out);
}

int cli_finish(const struct cli *cli, struct torpor_error *err)
{
	if (!err)
		return CLI_OK;
	const char *hint = torpor_error_hint(err);
	if (cli->json) {
		cli_print_json(json_pack("{s:{s:s, s:s, s:s?}}", "error", "code",
			torpor_errc_name(torpor_error_code(err)), "message",
			torpor_error_message(err), "hint", hint));
	} else {
		fprintf(stderr, "torpor: %s\n", torpor_error_message(err));
		if (hint)
			fprintf(stderr, "        %s\n", hint);
	}
	torpor_error_free(err);
	return CLI_FAILED;
}

void cli_print_json(json_t *value)
{
	json_dumpf(value, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(value);
}

/* The next of a few buffers, so that several results fit into one printf. */
static char *next_buffer(size_t *room)
{
	static char buffers[16][32];
	static unsigned int next;

	*room = sizeof(buffers[0]);
	return buffers[next++ % 16];
}

const char *cli_size(uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	size_t room;
	char *text = next_buffer(&room);
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit < 4) {
		value /= 1024;
		unit++;
	}
	snprintf(text, room, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return text;
}

const char *cli_time(uint64_t ns)
{
	size_t room;
	char *text = next_buffer(&room);

	if (ns < 1000000)
		snprintf(text, room, "%.0f us", (double)ns / 1e3);
	else if (ns < UINT64_C(10000000000))
		snprintf(text, room, "%.*f ms", ns < 100000000 ? 1 : 0, (double)ns / 1e6);
	else
		snprintf(text, room, "%.1f s", (double)ns / 1e9);
	return text;
}

bool cli_parse_size(const char *text, uint64_t *bytes_out)
{
	static const char suffixes[] = "KMGT";
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	uint64_t value = strtoumax(text, &end, 10);
	const char *suffix = *end ? strchr(suffixes, *end) : NULL;
	unsigned int shift = suffix ? 10 * (unsigned int)(suffix - suffixes + 1) : 0;
	if (*end && (!suffix || end[1]))
		return false;
	if (errno || value > UINT64_MAX >> shift)
		return false;
	*bytes_out = value << shift;
	return true;
}
