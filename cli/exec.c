/* SPDX-License-Identifier: Apache-2.0 */
/* torpor exec */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"

#define EXEC_FAILED 125 /* Torpor's own failures: commands seldom end so */

enum { KEY_WAKE = 512, KEY_ENV, KEY_CWD, KEY_TIMEOUT, KEY_KEEP };

struct exec {
	struct cli *cli;
	const char *id;
	struct torpor_client_exec exec;
	const char **env;
	size_t n_env;
	struct torpor_client_exec_result result;
	bool lost_output;
};

static const struct argp_option options[] = {
	{"wake", KEY_WAKE, NULL, 0, "Resume the session first if it is parked", 0},
	{"env", KEY_ENV, "NAME=VALUE", 0, "In the command's environment; as often as needed", 0},
	{"cwd", KEY_CWD, "DIR", 0, "Where it starts (default: /)", 0},
	{"timeout", KEY_TIMEOUT, "TIME", 0, "It is ended after that (default: never)", 0},
	{"keep", KEY_KEEP, NULL, 0,
		"Leave the command running when torpor is interrupted or loses the connection", 0},
	{0},
};

static void add_env(struct exec *exec, const char *pair)
{
	exec->env = reallocarray(exec->env, exec->n_env + 2, sizeof(*exec->env));
	if (!exec->env)
		abort();
	exec->env[exec->n_env++] = pair;
	exec->env[exec->n_env] = NULL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct exec *exec = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = exec->cli;
		return 0;
	case KEY_WAKE:
		exec->exec.wake = true;
		return 0;
	case KEY_ENV:
		add_env(exec, arg);
		return 0;
	case KEY_CWD:
		exec->exec.cwd = arg;
		return 0;
	case KEY_TIMEOUT:
		exec->exec.timeout_s = (unsigned int)cli_need_duration(state, "--timeout", arg);
		return 0;
	case KEY_KEEP:
		exec->exec.kill_on_disconnect = false;
		return 0;
	case ARGP_KEY_ARG:
		if (!exec->id) {
			exec->id = arg;
			return 0;
		}
		/* The rest is the command's own, options too. */
		exec->exec.argv = (const char *const *)&state->argv[state->next - 1];
		state->next = state->argc;
		return 0;
	case ARGP_KEY_END:
		if (!exec->id || !exec->exec.argv)
			argp_error(state, "a session and a command are needed");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "ID [--] COMMAND [ARGUMENT...]",
	.doc = "Runs a command in a session's guest, with standard input unless that is a "
	       "terminal, and ends as the command did: 128 and the number for a signal, 125 if "
	       "torpor failed.",
	.children = cli_remote,
};

static void write_output(void *data, int stream, const void *bytes, size_t len)
{
	struct exec *exec = data;
	struct pollfd to = {
		.fd = stream == 2 ? STDERR_FILENO : STDOUT_FILENO,
		.events = POLLOUT,
	};
	const char *at = bytes;

	while (len > 0 && !exec->lost_output) {
		ssize_t n = write(to.fd, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			/* Others with the same output have made it so. */
			poll(&to, 1, -1);
			continue;
		}
		if (n <= 0) {
			/* Nobody reads it any more: as a pipe would end a local command. */
			exec->lost_output = true;
			torpor_cancel_trigger(exec->cli->cancel);
			return;
		}
		at += n;
		len -= (size_t)n;
	}
}

static struct torpor_error *run(struct cli *cli, struct torpor_client *client, void *input)
{
	struct exec *exec = input;
	struct torpor_remote_session session;
	struct torpor_error *err = torpor_client_find(client, exec->id, &cli->call, &session);

	if (err)
		return err;
	err = torpor_client_exec(client, session.id, &exec->exec, &cli->call, &exec->result);
	torpor_remote_session_deinit(&session);
	return err;
}

int cli_exec(struct cli *cli, int argc, char **argv)
{
	struct exec exec = {
		.cli = cli,
		.exec =
			{
				.kill_on_disconnect = true,
				.has_stdin_fd = !isatty(STDIN_FILENO),
				.stdin_fd = STDIN_FILENO,
				.output = write_output,
				.output_data = &exec,
			},
	};

	argp_err_exit_status = EXEC_FAILED;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &exec);
	exec.exec.env = exec.env;
	int status = cli_with_client(cli, run, &exec);
	free(exec.env);
	if (status != CLI_OK)
		return EXEC_FAILED;
	return exec.result.exited ? exec.result.status : 128 + exec.result.status;
}
