/* SPDX-License-Identifier: Apache-2.0 */
/* torpor: the command line. */
#include "cli/cli.h"

#include <argp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

const char *argp_program_version = "torpor " TORPOR_VERSION;

static const struct cli_command commands[] = {
	{"acquire", "start a session from a template", cli_acquire},
	{"ls", "list sessions", cli_ls},
	{"show", "show a session", cli_show},
	{"exec", "run a command in a session", cli_exec},
	{"park", "park sessions: no process is left", cli_park},
	{"resume", "resume parked sessions", cli_resume},
	{"pause", "stop sessions' processors", cli_pause},
	{"unpause", "let paused sessions go on", cli_unpause},
	{"checkpoint", "keep what a session is now", cli_checkpoint},
	{"fork", "make new sessions of one", cli_fork},
	{"set", "change a session's name, timers, labels, limits", cli_set},
	{"history", "what was: of a session, the host, the pool", cli_history},
	{"tree", "what a session was forked from, and what of it", cli_tree},
	{"rm", "remove sessions", cli_rm},
	{"top", "a live view of sessions and pool", cli_top},
	{"events", "print what happens", cli_events},
	{"pool", "what waits for sessions to come", cli_pool},
	{"dashboard", "print a link that signs a browser in", cli_dashboard},
	{"tenant", "list, show, make, change, remove tenants", cli_tenant},
	{"token", "list, make, remove tenants' tokens", cli_token},
	{"audit", "what was done, and by whom", cli_audit},
	{"template", "build, list, inspect, remove templates", cli_template},
	{"image", "inspect and verify image files", cli_image},
	{"import", "park a domain of libvirt's", cli_import},
	{"export", "write an image as a save file of libvirt's", cli_export},
	{"doctor", "what this host can do, and what to do about the rest", cli_doctor},
	{"demo", "show it: start, park, resume and fork a real guest, with figures", cli_demo},
	{"bench", "measure park and resume on this host", cli_bench},
	{0},
};

static struct torpor_cancel *on_signal_cancel;

static void on_signal(int number)
{
	(void)number;
	torpor_cancel_trigger(on_signal_cancel);
}

/* The first signal cancels what is going on; a second one ends the process as usual. */
static void catch_signals(struct cli *cli)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

	on_signal_cancel = cli->cancel;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* What stands before the command: common options, of all commands, and the command itself. */
struct before {
	struct cli *cli;
	int command; /* index of its word; 0: none */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct before *before = state->input;

	(void)arg;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = before->cli;
		return 0;
	case ARGP_KEY_ARG:
		before->command = state->next - 1;
		state->next = state->argc; /* the rest is the command's own */
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static char *list_commands(int key, const char *text, void *input)
{
	char *out = NULL;
	size_t len = 0;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)text;
	FILE *f = open_memstream(&out, &len);
	if (!f)
		return NULL;
	fputs("Commands:\n", f);
	for (const struct cli_command *c = commands; c->name; c++)
		fprintf(f, "  %-10s %s\n", c->name, c->summary);
	fputs("\nTry `torpor COMMAND --help`. All take --json; man torpor has the rest.", f);
	fclose(f);
	return out;
}

static const struct argp argp = {
	.parser = parse,
	.args_doc = "COMMAND [ARGUMENT...]",
	.doc = "Park and resume virtual machines at the cost of what they changed.\v",
	.children = cli_all,
	.help_filter = list_commands,
};

int main(int argc, char **argv)
{
	struct cli cli = {0};
	struct before before = {.cli = &cli};

	argp_err_exit_status = CLI_USAGE;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &before);
	if (before.command == 0) {
		argp_help(&argp, stderr,
			ARGP_HELP_USAGE | ARGP_HELP_PRE_DOC | ARGP_HELP_LONG | ARGP_HELP_POST_DOC,
			argv[0]);
		return CLI_USAGE;
	}
	struct torpor_error *err = torpor_cancel_new(&cli.cancel);
	if (err)
		return cli_finish(&cli, err);
	cli.call.cancel = cli.cancel;
	catch_signals(&cli);
	int status = cli_dispatch(
		&cli, "torpor", commands, argc - before.command, argv + before.command);
	torpor_cancel_free(cli.cancel);
	return status;
}
