/* SPDX-License-Identifier: Apache-2.0 */
/* torpor pool show */
#include <stdlib.h>

#include "cli/cli.h"

static void print_template(const json_t *t)
{
	const json_t *pool = json_object_get(t, "pool");
	const json_t *served = json_object_get(t, "served");
	char warm[48];
	char shells[48];
	char counts[80];

	snprintf(warm, sizeof(warm), "%jd/%jd", (intmax_t)cli_integer(pool, "warm"),
		(intmax_t)cli_integer(pool, "warm_target"));
	snprintf(shells, sizeof(shells), "%jd/%jd", (intmax_t)cli_integer(pool, "shells"),
		(intmax_t)cli_integer(pool, "shell_target"));
	snprintf(counts, sizeof(counts), "%jd/%jd/%jd", (intmax_t)cli_integer(served, "warm"),
		(intmax_t)cli_integer(served, "shell"), (intmax_t)cli_integer(served, "spawn"));
	printf("%-20s %-9s %7s %7s %8jd %7jd %16s %5.0f %% %8jd %10s\n", cli_field(t, "name"),
		cli_field(t, "state"), warm, shells, (intmax_t)cli_integer(pool, "starting"),
		(intmax_t)cli_integer(pool, "waiting"), counts, cli_real(t, "hit_rate") * 100,
		(intmax_t)cli_integer(t, "failures"),
		cli_time((uint64_t)(cli_real(t, "start_ms") * 1e6)));
	if (json_is_string(json_object_get(t, "reason")))
		printf("  %s\n", cli_field(t, "reason"));
}

void cli_print_host(const json_t *pool)
{
	const json_t *host = json_object_get(pool, "host");
	const json_t *memory = json_object_get(host, "memory");
	const char *key;
	json_t *value;

	if (!json_is_object(host))
		return;
	printf("host: %s of %s in use, %s available",
		cli_size((uint64_t)cli_integer(memory, "used_bytes")),
		cli_size((uint64_t)cli_integer(memory, "budget_bytes")),
		cli_size((uint64_t)cli_integer(memory, "available_bytes")));
	json_object_foreach (json_object_get(host, "sessions"), key, value) {
		if (json_integer_value(value) > 0)
			printf(", %jd %s", (intmax_t)json_integer_value(value), key);
	}
	if (cli_integer(pool, "queue") > 0)
		printf(", %jd waiting", (intmax_t)cli_integer(pool, "queue"));
	putchar('\n');
}

void cli_print_pool(const json_t *pool)
{
	json_t *t;
	size_t i;

	printf("%-20s %-9s %7s %7s %8s %7s %16s %7s %8s %10s\n", "TEMPLATE", "STATE", "WARM",
		"SHELLS", "STARTING", "WAITING", "WARM/SHELL/SPAWN", "HITS", "FAILURES", "START");
	json_array_foreach (json_object_get(pool, "templates"), i, t)
		print_template(t);
}

static struct torpor_error *show(struct cli *cli, struct torpor_client *client, void *input)
{
	json_t *json;
	struct torpor_error *err = cli_ask(cli, client, "GET", "/v1/pool", NULL, &json);

	(void)input;
	if (err)
		return err;
	if (cli->json) {
		cli_print_json(json);
		return NULL;
	}
	cli_print_pool(json);
	cli_print_host(json);
	json_decref(json);
	return NULL;
}

static int run_show(struct cli *cli, int argc, char **argv)
{
	struct cli_words words = {
		.cli = cli,
		.args_doc = "",
		.doc = "Shows what waits for sessions to come: guests and shells, and how many "
		       "there should be; where sessions were served from; how many starts failed, "
		       "and how long they take.",
	};

	cli_parse_words(&words, argc, argv);
	free(words.words);
	return cli_with_client(cli, show, NULL);
}

int cli_pool(struct cli *cli, int argc, char **argv)
{
	static const struct cli_command commands[] = {
		{"show", "what waits, and how well it serves", run_show},
		{"simulate", "what a policy would have given for a recorded load", cli_pool_simulate},
		{0},
	};

	if (argc == 1)
		return run_show(cli, argc, argv);
	return cli_dispatch(cli, "torpor pool", commands, argc - 1, argv + 1);
}
