/* SPDX-License-Identifier: Apache-2.0 */
/* Options, output and dispatch for all commands. */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	KEY_STATE = 256,
	KEY_QEMU,
	KEY_JSON,
	KEY_SOCKET,
	KEY_LAUNCHER,
	KEY_CONNECT,
	KEY_URL,
	KEY_TOKEN_FILE,
	KEY_CA_FILE,
	KEY_TENANT
};

/* Of the commands that work on a state directory, */
#define LOCAL_OPTIONS                                                                              \
	{"state", KEY_STATE, "DIR", 0,                                                             \
		"Where templates and images live (default: /var/lib/torpor for root, else the "    \
		"XDG state directory)",                                                            \
		10},                                                                               \
		{"launcher", KEY_LAUNCHER, "NAME", 0,                                              \
			"Who runs QEMU: direct, Torpor itself (the default), or libvirt", 10},     \
		{"connect", KEY_CONNECT, "URI", 0,                                                 \
			"Which libvirt (default: qemu:///system; of import: libvirt's own)", 10},  \
	{                                                                                          \
		"qemu", KEY_QEMU, "FILE", 0, "The QEMU to run (default: qemu-system-x86_64)", 10   \
	}

/* of those that talk to torpord, */
#define REMOTE_OPTIONS                                                                             \
	{"socket", KEY_SOCKET, "FILE", 0,                                                          \
		"The socket of torpord (default: " TORPOR_DEFAULT_SOCKET ")", 10},                 \
		{"url", KEY_URL, "URL", 0, "torpord's address instead, https://HOST:PORT", 10},    \
		{"token-file", KEY_TOKEN_FILE, "FILE", 0,                                          \
			"A file with the token that says who "                                     \
			"calls",                                                                   \
			10},                                                                       \
		{"ca-file", KEY_CA_FILE, "FILE", 0,                                                \
			"Whose certificates are trusted (default: the system's)", 10},             \
	{                                                                                          \
		"tenant", KEY_TENANT, "NAME", 0, "For whom the admin acts (default: default)", 10  \
	}

/* and of all. */
#define SHARED_OPTIONS                                                                             \
	{"json", KEY_JSON, NULL, 0, "Print JSON", 10},                                             \
	{                                                                                          \
		"verbose", 'v', NULL, 0, "Print what goes on to standard error", 10                \
	}

static const struct argp_option local_options[] = {LOCAL_OPTIONS, SHARED_OPTIONS, {0}};
static const struct argp_option remote_options[] = {REMOTE_OPTIONS, SHARED_OPTIONS, {0}};
static const struct argp_option all_options[] = {
	LOCAL_OPTIONS, REMOTE_OPTIONS, SHARED_OPTIONS, {0}};

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
	case KEY_LAUNCHER:
		cli->launcher = arg;
		return 0;
	case KEY_CONNECT:
		cli->connect = arg;
		return 0;
	case KEY_SOCKET:
		cli->remote.socket_path = arg;
		return 0;
	case KEY_URL:
		cli->remote.url = arg;
		return 0;
	case KEY_TOKEN_FILE:
		cli->remote.token_file = arg;
		return 0;
	case KEY_CA_FILE:
		cli->remote.ca_file = arg;
		return 0;
	case KEY_TENANT:
		cli->remote.tenant = arg;
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

static const struct argp local = {.options = local_options, .parser = parse};
static const struct argp remote = {.options = remote_options, .parser = parse};
static const struct argp all = {.options = all_options, .parser = parse};

const struct argp_child cli_common[] = {{&local, 0, "Common options:", 10}, {0}};
const struct argp_child cli_remote[] = {{&remote, 0, "Common options:", 10}, {0}};
const struct argp_child cli_all[] = {{&all, 0, "Common options:", 10}, {0}};

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
		.launcher = cli->launcher,
		.connect = cli->connect,
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
		cli_print_json(json_pack("{s:{s:s, s:s, s:s*, s:s*}}", "error", "code",
			torpor_errc_name(torpor_error_code(err)), "message",
			torpor_error_message(err), "hint", hint, "reason",
			torpor_error_reason(err)));
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

const char *cli_duration(int64_t seconds)
{
	size_t room;
	char *text = next_buffer(&room);

	if (seconds < 120)
		snprintf(text, room, "%jd s", (intmax_t)seconds);
	else if (seconds < 2 * 3600)
		snprintf(text, room, "%jd min", (intmax_t)(seconds / 60));
	else if (seconds < 2 * 86400)
		snprintf(text, room, "%jd h", (intmax_t)(seconds / 3600));
	else
		snprintf(text, room, "%jd d", (intmax_t)(seconds / 86400));
	return text;
}

bool cli_parse_duration(const char *text, int64_t *seconds_out)
{
	static const struct {
		char letter;
		int64_t seconds;
	} units[] = {{'\0', 1}, {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	char *end;

	if (strcmp(text, "never") == 0) {
		*seconds_out = 0;
		return true;
	}
	errno = 0;
	intmax_t value = strtoimax(text, &end, 10);
	if (*text < '0' || *text > '9' || errno || value > INT32_MAX || (*end && end[1]))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (units[i].letter == *end) {
			*seconds_out = value * units[i].seconds;
			return true;
		}
	}
	return false;
}

int64_t cli_need_duration(struct argp_state *state, const char *option, const char *arg)
{
	int64_t seconds = 0;

	if (!cli_parse_duration(arg, &seconds))
		argp_error(state, "%s takes a time such as 90s, 15m, 1h, 2d or never, not \"%s\"",
			option, arg);
	return seconds;
}

uint64_t cli_need_number(
	struct argp_state *state, const char *option, const char *arg, uint64_t min, uint64_t max)
{
	char *end;

	errno = 0;
	uintmax_t value = strtoumax(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end || errno || value < min || value > max)
		argp_error(state, "%s takes a number from %ju to %ju, not \"%s\"", option,
			(uintmax_t)min, (uintmax_t)max, arg);
	return value;
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
