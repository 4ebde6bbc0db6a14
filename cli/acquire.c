/* SPDX-License-Identifier: Apache-2.0 */
/* torpor acquire, torpor fork: new sessions. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum {
	KEY_NAME = 512,
	KEY_TTL,
	KEY_IDLE,
	KEY_RETENTION,
	KEY_ENV,
	KEY_LABEL,
	KEY_LIMIT,
	KEY_WAIT,
	KEY_IMAGE,
};

/* "k3v9q2m7 demo running (warm, 3.1 ms)" */
static void print_line(const struct torpor_remote_session *session, uint64_t ns)
{
	printf("%s %s %s", cli_short(session->id), session->name, session->state);
	if (session->source[0] && ns)
		printf(" (%s, %s)", session->source, cli_time(ns));
	else if (session->source[0])
		printf(" (%s)", session->source);
	putchar('\n');
}

/* --- acquire --- */

struct acquire {
	struct torpor_client_spec spec;
	const char **env; /* NULL-terminated, as labels */
	size_t n_env;
	const char **labels;
	size_t n_labels;
	json_t *limits;
	bool quiet;
};

static const struct argp_option acquire_options[] = {
	{"name", KEY_NAME, "NAME", 0, "Its name (default: one is made up)", 0},
	{"ttl", KEY_TTL, "TIME", 0, "It is destroyed after that, such as 90s, 15m, 1h, 2d, never",
		0},
	{"idle", KEY_IDLE, "TIME", 0, "It is parked when it was left alone for so long", 0},
	{"retention", KEY_RETENTION, "TIME", 0, "It is destroyed when it was parked for so long",
		0},
	{"env", KEY_ENV, "NAME=VALUE", 0, "In the environment of its commands; as often as needed",
		0},
	{"label", KEY_LABEL, "NAME=VALUE", 0, "A label; as often as needed", 0},
	{"limit", KEY_LIMIT, "NAME=VALUE", 0,
		"A limit: cpus, memory, pids, nofile, io, net; as often as needed", 0},
	{"wait", KEY_WAIT, "TIME", 0, "How long to wait for a place", 0},
	{"quiet", 'q', NULL, 0, "Print nothing but the id", 0},
	{0},
};

/* Appends to a NULL-terminated list. */
static void append(const char ***list, size_t *n, const char *text)
{
	const char **longer = reallocarray(*list, *n + 2, sizeof(*longer));

	if (!longer)
		abort();
	longer[(*n)++] = text;
	longer[*n] = NULL;
	*list = longer;
}

static error_t acquire_option(int key, char *arg, struct argp_state *state)
{
	struct acquire *acquire = ((struct cli_words *)state->input)->input;
	struct torpor_client_spec *spec = &acquire->spec;

	switch (key) {
	case KEY_NAME:
		spec->name = arg;
		return 0;
	case KEY_TTL:
		spec->ttl_s = cli_need_duration(state, "--ttl", arg);
		return 0;
	case KEY_IDLE:
		spec->idle_s = cli_need_duration(state, "--idle", arg);
		return 0;
	case KEY_RETENTION:
		spec->retention_s = cli_need_duration(state, "--retention", arg);
		return 0;
	case KEY_ENV:
		append(&acquire->env, &acquire->n_env, arg);
		return 0;
	case KEY_LABEL:
		append(&acquire->labels, &acquire->n_labels, arg);
		return 0;
	case KEY_LIMIT:
		cli_need_limit(state, acquire->limits, arg);
		return 0;
	case KEY_WAIT:
		spec->wait_s = (unsigned int)cli_need_duration(state, "--wait", arg);
		return 0;
	case 'q':
		acquire->quiet = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static struct torpor_error *acquire(struct cli *cli, struct torpor_client *client, void *input)
{
	struct acquire *acquire = input;
	struct torpor_remote_session session;
	struct torpor_call call = cli->call;

	/* Waiting for a place takes as long as was asked for, and the start comes behind it. */
	if (acquire->spec.wait_s)
		call.timeout_ns = (acquire->spec.wait_s + UINT64_C(60)) * UINT64_C(1000000000);
	struct torpor_error *err = torpor_client_create(client, &acquire->spec, &call, &session);
	if (err)
		return err;
	if (acquire->quiet)
		puts(session.id);
	else if (cli->json)
		puts(session.json);
	else
		print_line(&session, session.timing.total_ns);
	torpor_remote_session_deinit(&session);
	return NULL;
}

int cli_acquire(struct cli *cli, int argc, char **argv)
{
	struct acquire options = {
		.spec =
			{
				.has_timers = true,
				.ttl_s = TORPOR_CLIENT_UNSET,
				.idle_s = TORPOR_CLIENT_UNSET,
				.retention_s = TORPOR_CLIENT_UNSET,
			},
		.limits = json_object(),
	};
	struct cli_words words = {
		.cli = cli,
		.args_doc = "TEMPLATE",
		.doc = "Starts a session from a template, and prints its id, and where it came "
		       "from how fast.",
		.min = 1,
		.max = 1,
		.options = acquire_options,
		.option = acquire_option,
		.input = &options,
	};

	cli_parse_words(&words, argc, argv);
	options.spec.template_name = words.words[0];
	options.spec.env = options.env;
	options.spec.labels = options.labels;
	char *limits =
		json_object_size(options.limits) ? json_dumps(options.limits, JSON_COMPACT) : NULL;
	options.spec.limits = limits;
	int status = cli_with_client(cli, acquire, &options);
	free(limits);
	json_decref(options.limits);
	free(options.env);
	free(options.labels);
	free(words.words);
	return status;
}

/* --- fork --- */

struct forking {
	const char *of;
	struct torpor_client_fork fork;
	bool quiet;
};

static const struct argp_option fork_options[] = {
	{"count", 'n', "N", 0, "How many (default: 1)", 0},
	{"image", KEY_IMAGE, "NAME", 0, "From that checkpoint (default: as the session is)", 0},
	{"quiet", 'q', NULL, 0, "Print nothing but the ids", 0},
	{0},
};

static error_t fork_option(int key, char *arg, struct argp_state *state)
{
	struct forking *forking = ((struct cli_words *)state->input)->input;

	switch (key) {
	case 'n':
		forking->fork.count = (unsigned int)cli_need_number(state, "-n", arg, 1, 1000);
		return 0;
	case KEY_IMAGE:
		forking->fork.image = arg;
		return 0;
	case 'q':
		forking->quiet = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void print_forks(
	const struct forking *forking, const struct torpor_remote_session *sessions, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (forking->quiet)
			puts(sessions[i].id);
		else
			print_line(&sessions[i], 0);
	}
}

static void print_forks_json(const struct torpor_remote_session *sessions, size_t n)
{
	fputs("{\"sessions\":[", stdout);
	for (size_t i = 0; i < n; i++)
		printf("%s%s", i ? "," : "", sessions[i].json);
	puts("]}");
}

static struct torpor_error *fork_it(struct cli *cli, struct torpor_client *client, void *input)
{
	const struct forking *forking = input;
	struct torpor_remote_session source;
	struct torpor_remote_session *sessions;
	size_t n;

	struct torpor_error *err = torpor_client_find(client, forking->of, &cli->call, &source);
	if (err)
		return err;
	err = torpor_client_fork(client, source.id, &forking->fork, &cli->call, &sessions, &n);
	torpor_remote_session_deinit(&source);
	if (err)
		return err;
	if (cli->json && !forking->quiet)
		print_forks_json(sessions, n);
	else
		print_forks(forking, sessions, n);
	torpor_remote_sessions_free(sessions, n);
	return NULL;
}

int cli_fork(struct cli *cli, int argc, char **argv)
{
	struct forking forking = {.fork = {.count = 1}};
	struct cli_words words = {
		.cli = cli,
		.args_doc = "ID",
		.doc = "Makes new sessions of one that is parked or running, each with a host "
		       "name, a machine-id and a random generator of its own.",
		.min = 1,
		.max = 1,
		.options = fork_options,
		.option = fork_option,
		.input = &forking,
	};

	cli_parse_words(&words, argc, argv);
	forking.of = words.words[0];
	int status = cli_with_client(cli, fork_it, &forking);
	free(words.words);
	return status;
}
