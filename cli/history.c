/* SPDX-License-Identifier: Apache-2.0 */
/* torpor history, torpor tree: what was, and what came of what. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum { KEY_DAY = 512, KEY_HOST, KEY_POOL };

struct looking {
	const char *id; /* as it was given, or NULL */
	bool day, host, pool;
};

static const struct argp_option options[] = {
	{"day", KEY_DAY, NULL, 0, "Of the last day (default: of the last hour)", 0},
	{"host", KEY_HOST, NULL, 0, "Of the host's memory", 0},
	{"pool", KEY_POOL, NULL, 0, "Of claims, resumes and parks", 0},
	{0},
};

static error_t option(int key, char *arg, struct argp_state *state)
{
	struct cli_words *words = state->input;
	struct looking *looking = words->input;

	(void)arg;
	switch (key) {
	case KEY_DAY:
		looking->day = true;
		return 0;
	case KEY_HOST:
		looking->host = true;
		return 0;
	case KEY_POOL:
		looking->pool = true;
		return 0;
	case ARGP_KEY_SUCCESS:
		if ((words->n > 0) + looking->host + looking->pool != 1)
			argp_error(state, "an ID, --host or --pool is needed, and one of them");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* --- a session --- */

/* "14:15:24.247" of a time. */
static const char *clock_of(const json_t *json)
{
	const char *at = cli_field(json, "at");

	return strlen(at) == 24 ? at + 11 : at;
}

static void print_states(const json_t *history)
{
	size_t i;
	json_t *state;

	json_array_foreach (json_object_get(history, "states"), i, state) {
		printf("%.12s  %s", clock_of(state), cli_field(state, "state"));
		if (json_is_string(json_object_get(state, "reason")))
			printf(" (%s)", cli_field(state, "reason"));
		putchar('\n');
	}
}

static void print_operations(const json_t *history)
{
	size_t i;
	json_t *operation;

	json_array_foreach (json_object_get(history, "operations"), i, operation) {
		printf("%.12s  %s took %.1f ms", clock_of(operation), cli_field(operation, "op"),
			cli_real(operation, "took_ms"));
		if (json_is_string(json_object_get(operation, "source")))
			printf(" (%s)", cli_field(operation, "source"));
		if (json_is_integer(json_object_get(operation, "image_bytes")))
			printf(" (%s)", cli_size((uint64_t)cli_integer(operation, "image_bytes")));
		putchar('\n');
	}
}

/* The most of a column. */
static double most(const json_t *samples, const char *name)
{
	double most = 0;
	size_t i;
	json_t *value;

	json_array_foreach (json_object_get(samples, name), i, value) {
		if (json_number_value(value) > most)
			most = json_number_value(value);
	}
	return most;
}

static void print_session(const json_t *history)
{
	const json_t *samples = json_object_get(history, "samples");

	print_states(history);
	print_operations(history);
	if (json_array_size(json_object_get(samples, "at")) > 0)
		printf("At most %s of its own, and %.1f %% of a processor.\n",
			cli_size((uint64_t)most(samples, "private_bytes")),
			most(samples, "cpu_percent"));
}

/* --- host, pool --- */

static void print_host(const json_t *history)
{
	const json_t *now = json_object_get(history, "current");
	uint64_t used = (uint64_t)cli_integer(now, "sessions_bytes");
	uint64_t saved = (uint64_t)cli_integer(now, "saved_bytes");

	printf("%jd running, %jd parked\n", (intmax_t)cli_integer(now, "running"),
		(intmax_t)cli_integer(now, "parked"));
	printf("sessions take %s; all of them running, about %s\n", cli_size(used),
		cli_size(used + saved));
	printf("images take %s on the disk\n", cli_size((uint64_t)cli_integer(now, "image_bytes")));
	if (json_object_get(now, "available_bytes"))
		printf("%s of %s are available on the host\n",
			cli_size((uint64_t)cli_integer(now, "available_bytes")),
			cli_size((uint64_t)cli_integer(now, "total_bytes")));
	printf("at most %s were taken since %s\n",
		cli_size((uint64_t)most(json_object_get(history, "samples"), "sessions_bytes")),
		cli_field(history, "from"));
}

static void print_latency(const char *name, const char *what, const json_t *latency)
{
	if (cli_integer(latency, "count") == 0)
		return;
	printf("%-24s %-10s %8jd %10.1f %10.1f %10.1f %10.1f\n", name, what,
		(intmax_t)cli_integer(latency, "count"), cli_real(latency, "p50_ms"),
		cli_real(latency, "p95_ms"), cli_real(latency, "p99_ms"),
		cli_real(latency, "max_ms"));
}

static void print_pool_history(const json_t *history)
{
	static const char *const kinds[] = {"claim", "resume", "park", "checkpoint"};
	size_t i;
	json_t *template;

	printf("%-24s %-10s %8s %10s %10s %10s %10s\n", "TEMPLATE", "WHAT", "COUNT", "P50 ms",
		"P95 ms", "P99 ms", "MAX ms");
	json_array_foreach (json_object_get(history, "templates"), i, template) {
		for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
			print_latency(cli_field(template, "name"), kinds[k],
				json_object_get(template, kinds[k]));
	}
}

/* --- history --- */

/* "/v1/sessions/ID" TAIL of the session that TEXT says; the caller's to free. */
static struct torpor_error *path_of(struct cli *cli, struct torpor_client *client, const char *text,
	const char *tail, char **path_out)
{
	struct torpor_remote_session session;
	struct torpor_error *err = torpor_client_find(client, text, &cli->call, &session);

	if (err)
		return err;
	*path_out = cli_path("/v1/sessions/", session.id, tail);
	torpor_remote_session_deinit(&session);
	return NULL;
}

static struct torpor_error *ask_for_history(struct cli *cli, struct torpor_client *client,
	const struct looking *looking, json_t **history_out)
{
	const char *window = looking->day ? "?window=day" : "";
	char *path = NULL;
	char *tail = NULL;
	struct torpor_error *err = NULL;

	if (asprintf(&tail, "/history%s", window) < 0)
		abort();
	if (looking->id)
		err = path_of(cli, client, looking->id, tail, &path);
	else if (asprintf(&path, "/v1/history/%s%s", looking->host ? "host" : "pool", window) < 0)
		abort();
	if (!err)
		err = cli_ask(cli, client, "GET", path, NULL, history_out);
	free(path);
	free(tail);
	return err;
}

static struct torpor_error *history(struct cli *cli, struct torpor_client *client, void *input)
{
	const struct looking *looking = input;
	json_t *json;
	struct torpor_error *err = ask_for_history(cli, client, looking, &json);

	if (err)
		return err;
	if (cli->json) {
		cli_print_json(json);
		return NULL;
	}
	if (looking->host)
		print_host(json);
	else if (looking->pool)
		print_pool_history(json);
	else
		print_session(json);
	json_decref(json);
	return NULL;
}

int cli_history(struct cli *cli, int argc, char **argv)
{
	struct looking looking = {0};
	struct cli_words words = {
		.cli = cli,
		.args_doc = "[ID]",
		.doc = "Shows what a session was and what was done to it, or the host, or the "
		       "pool, "
		       "as far back as torpord remembers.",
		.max = 1,
		.options = options,
		.option = option,
		.input = &looking,
	};

	cli_parse_words(&words, argc, argv);
	looking.id = words.n > 0 ? words.words[0] : NULL;
	int status = cli_with_client(cli, history, &looking);
	free(words.words);
	return status;
}

/* --- tree --- */

/* How deep NODE is: parents come before their children. */
static int depth_of(const json_t *nodes, const json_t *node)
{
	const char *parent = json_string_value(json_object_get(node, "parent"));
	size_t i;
	json_t *one;

	if (!parent)
		return 0;
	json_array_foreach (nodes, i, one) {
		const char *id = json_string_value(json_object_get(one, "id"));
		if (id && strcmp(id, parent) == 0)
			return one == node ? 0 : 1 + depth_of(nodes, one);
	}
	return 0;
}

static void print_node(const json_t *node)
{
	const char *kind = cli_field(node, "kind");

	if (strcmp(kind, "session") == 0)
		printf("%s %s %s", cli_short(cli_field(node, "session")), cli_field(node, "name"),
			cli_field(node, "state"));
	else if (strcmp(kind, "gone") == 0)
		printf("%s (destroyed)", cli_short(cli_field(node, "session")));
	else
		printf("%s %s, %s", kind, cli_field(node, "name"),
			cli_size((uint64_t)cli_integer(node, "bytes")));
	if (json_is_number(json_object_get(node, "took_ms")))
		printf(", took %.1f ms", cli_real(node, "took_ms"));
	putchar('\n');
}

static void print_tree(const json_t *json)
{
	const json_t *nodes = json_object_get(json, "nodes");
	size_t i;
	json_t *node;

	json_array_foreach (nodes, i, node) {
		printf("%*s", 2 * depth_of(nodes, node), "");
		print_node(node);
	}
	if (json_is_true(json_object_get(json, "truncated")))
		puts("... and more");
}

static struct torpor_error *tree(struct cli *cli, struct torpor_client *client, void *input)
{
	const struct cli_words *words = input;
	char *path;
	json_t *json;
	struct torpor_error *err = path_of(cli, client, words->words[0], "/lineage", &path);

	if (err)
		return err;
	err = cli_ask(cli, client, "GET", path, NULL, &json);
	free(path);
	if (err)
		return err;
	if (cli->json) {
		cli_print_json(json);
		return NULL;
	}
	print_tree(json);
	json_decref(json);
	return NULL;
}

int cli_tree(struct cli *cli, int argc, char **argv)
{
	struct cli_words words = {
		.cli = cli,
		.args_doc = "ID",
		.doc = "Shows a session's family: what it was forked from, and what of it, with "
		       "parks "
		       "and checkpoints.",
		.min = 1,
		.max = 1,
	};

	cli_parse_words(&words, argc, argv);
	int status = cli_with_client(cli, tree, &words);
	free(words.words);
	return status;
}
