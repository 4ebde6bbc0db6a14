/* SPDX-License-Identifier: Apache-2.0 */
/* torpor tenant, torpor token */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define TENANTS "/v1/tenants/"

/* Asks, and prints the answer with PRINT, or as it is for programs. */
static struct torpor_error *ask_and_print(struct cli *cli, struct torpor_client *client,
	const char *path, void (*print)(const json_t *json))
{
	json_t *json;
	struct torpor_error *err = cli_ask(cli, client, "GET", path, NULL, &json);

	if (err)
		return err;
	if (cli->json) {
		cli_print_json(json);
		return NULL;
	}
	print(json);
	json_decref(json);
	return NULL;
}

/* --- tenants --- */

/* A limit or a use: its name says what kind of number it is. */
static const char *limit_text(const json_t *limits, const char *field)
{
	static char numbers[8][24];
	static unsigned int next;
	const json_t *value = json_object_get(limits, field);
	json_int_t number = json_integer_value(value);
	size_t len = strlen(field);

	if (!json_is_integer(value))
		return "default";
	if (strstr(field, "bytes"))
		return cli_size((uint64_t)number);
	if (len > 2 && strcmp(field + len - 2, "_s") == 0)
		return number ? cli_duration(number) : "never";
	char *text = numbers[next++ % 8];
	snprintf(text, sizeof(numbers[0]), "%jd", (intmax_t)number);
	return text;
}

static void print_tenants(const json_t *json)
{
	json_t *tenant;
	size_t i;

	printf("%-24s %10s %10s %12s %12s %10s\n", "NAME", "UID", "SESSIONS", "MEMORY", "PARKED",
		"PER MINUTE");
	json_array_foreach (json_object_get(json, "tenants"), i, tenant) {
		const json_t *limits = json_object_get(tenant, "limits");
		char uid[24] = "-";
		if (json_is_integer(json_object_get(tenant, "uid")))
			snprintf(uid, sizeof(uid), "%jd", (intmax_t)cli_integer(tenant, "uid"));
		printf("%-24s %10s %10s %12s %12s %10s\n", cli_field(tenant, "name"), uid,
			limit_text(limits, "sessions"), limit_text(limits, "memory_bytes"),
			limit_text(limits, "parked_bytes"),
			limit_text(limits, "requests_per_minute"));
	}
}

static void print_tenant(const json_t *json)
{
	static const char *const fields[] = {"sessions", "memory_bytes", "parked_bytes",
		"requests_per_minute", "ttl_s", "idle_s", "retention_s"};
	const json_t *limits = json_object_get(json, "limits");
	const char *key;
	json_t *value;

	printf("%-20s %s\n", "name", cli_field(json, "name"));
	if (json_is_integer(json_object_get(json, "uid")))
		printf("%-20s %jd\n", "uid", (intmax_t)cli_integer(json, "uid"));
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		printf("%-20s %s\n", fields[i], limit_text(limits, fields[i]));
	json_object_foreach (json_object_get(json, "usage"), key, value) {
		if (json_is_integer(value))
			printf("uses %-15s %s\n", key,
				limit_text(json_object_get(json, "usage"), key));
	}
}

static struct torpor_error *list_tenants(struct cli *cli, struct torpor_client *client, void *input)
{
	(void)input;
	return ask_and_print(cli, client, "/v1/tenants", print_tenants);
}

static struct torpor_error *show_tenant(struct cli *cli, struct torpor_client *client, void *input)
{
	const struct cli_words *words = input;
	char *path = cli_path(TENANTS, words->words[0], "");
	struct torpor_error *err = ask_and_print(cli, client, path, print_tenant);

	free(path);
	return err;
}

static struct torpor_error *remove_tenant(
	struct cli *cli, struct torpor_client *client, void *input)
{
	const struct cli_words *words = input;
	char *path = cli_path(TENANTS, words->words[0], "");
	struct torpor_error *err = cli_ask(cli, client, "DELETE", path, NULL, NULL);

	free(path);
	if (!err && cli->json)
		cli_print_json(json_pack("{s:s}", "removed", words->words[0]));
	return err;
}

/* --- tenants that are made and changed --- */

enum {
	KEY_UID = 512,
	KEY_SESSIONS,
	KEY_MEMORY,
	KEY_PARKED,
	KEY_REQUESTS,
	KEY_TTL,
	KEY_IDLE,
	KEY_RETENTION,
	KEY_LABEL,
	KEY_EXPIRES,
	KEY_ADMIN
};

static const struct argp_option tenant_options[] = {
	{"uid", KEY_UID, "N", 0, "The system's user that is this tenant on the socket", 0},
	{"sessions", KEY_SESSIONS, "N", 0,
		"How many sessions it may have; as for all limits, \"default\" takes its own away",
		0},
	{"memory", KEY_MEMORY, "SIZE", 0, "How much memory its guests may have together", 0},
	{"parked", KEY_PARKED, "SIZE", 0, "How much room its images may take", 0},
	{"requests", KEY_REQUESTS, "N", 0, "Changing requests in a minute", 0},
	{"ttl", KEY_TTL, "TIME", 0, "Its sessions are destroyed after that", 0},
	{"idle", KEY_IDLE, "TIME", 0, "They are parked when left alone for so long", 0},
	{"retention", KEY_RETENTION, "TIME", 0, "They are destroyed when parked for so long", 0},
	{0},
};

struct tenant_change {
	json_t *body;
	json_t *limits;
};

static void set_limit(struct tenant_change *change, const char *field, json_t *value)
{
	json_object_set_new(change->limits, field, value);
}

static json_t *size_limit(struct argp_state *state, const char *option, const char *arg)
{
	uint64_t bytes = 0;

	if (!cli_parse_size(arg, &bytes) || bytes > INT64_MAX)
		argp_error(state, "%s takes a size such as 8G, not \"%s\"", option, arg);
	return json_integer((json_int_t)bytes);
}

static error_t tenant_option(int key, char *arg, struct argp_state *state)
{
	struct tenant_change *change = ((struct cli_words *)state->input)->input;
	bool none = arg && strcmp(arg, "default") == 0;

	switch (key) {
	case KEY_UID:
		json_object_set_new(change->body, "uid",
			json_integer((json_int_t)cli_need_number(
				state, "--uid", arg, 0, UINT32_MAX - 1)));
		return 0;
	case KEY_SESSIONS:
		set_limit(change, "sessions",
			none ? json_null()
			     : json_integer((json_int_t)cli_need_number(
				       state, "--sessions", arg, 0, INT32_MAX)));
		return 0;
	case KEY_MEMORY:
		set_limit(change, "memory_bytes",
			none ? json_null() : size_limit(state, "--memory", arg));
		return 0;
	case KEY_PARKED:
		set_limit(change, "parked_bytes",
			none ? json_null() : size_limit(state, "--parked", arg));
		return 0;
	case KEY_REQUESTS:
		set_limit(change, "requests_per_minute",
			none ? json_null()
			     : json_integer((json_int_t)cli_need_number(
				       state, "--requests", arg, 1, INT32_MAX)));
		return 0;
	case KEY_TTL:
		set_limit(change, "ttl_s",
			none ? json_null() : json_integer(cli_need_duration(state, "--ttl", arg)));
		return 0;
	case KEY_IDLE:
		set_limit(change, "idle_s",
			none ? json_null() : json_integer(cli_need_duration(state, "--idle", arg)));
		return 0;
	case KEY_RETENTION:
		set_limit(change, "retention_s",
			none ? json_null()
			     : json_integer(cli_need_duration(state, "--retention", arg)));
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static struct torpor_error *put_tenant(struct cli *cli, struct torpor_client *client,
	const struct cli_words *words, const char *method, const char *path)
{
	const struct tenant_change *change = words->input;
	json_t *json;
	struct torpor_error *err =
		cli_ask(cli, client, method, path, json_incref(change->body), &json);

	if (err)
		return err;
	if (cli->json) {
		cli_print_json(json);
		return NULL;
	}
	print_tenant(json);
	json_decref(json);
	return NULL;
}

static struct torpor_error *add_tenant(struct cli *cli, struct torpor_client *client, void *input)
{
	const struct cli_words *words = input;
	const struct tenant_change *change = words->input;

	json_object_set_new(change->body, "name", json_string(words->words[0]));
	return put_tenant(cli, client, words, "POST", "/v1/tenants");
}

static struct torpor_error *set_tenant(struct cli *cli, struct torpor_client *client, void *input)
{
	const struct cli_words *words = input;
	char *path = cli_path(TENANTS, words->words[0], "");
	struct torpor_error *err = put_tenant(cli, client, words, "PATCH", path);

	free(path);
	return err;
}

static int run_change(struct cli *cli, int argc, char **argv, const char *doc, cli_act_fn *act)
{
	struct tenant_change change = {.body = json_object(), .limits = json_object()};
	struct cli_words words = {
		.cli = cli,
		.args_doc = "NAME",
		.doc = doc,
		.min = 1,
		.max = 1,
		.options = tenant_options,
		.option = tenant_option,
		.input = &change,
	};

	cli_parse_words(&words, argc, argv);
	if (json_object_size(change.limits) > 0)
		json_object_set(change.body, "limits", change.limits);
	int status = cli_with_client(cli, act, &words);
	json_decref(change.limits);
	json_decref(change.body);
	free(words.words);
	return status;
}

static int run_words(struct cli *cli, int argc, char **argv, const char *args_doc, size_t n,
	const char *doc, cli_act_fn *act)
{
	struct cli_words words = {.cli = cli, .args_doc = args_doc, .doc = doc, .min = n, .max = n};

	cli_parse_words(&words, argc, argv);
	int status = cli_with_client(cli, act, &words);
	free(words.words);
	return status;
}

static int tenant_ls(struct cli *cli, int argc, char **argv)
{
	return run_words(
		cli, argc, argv, "", 0, "Lists the tenants with their limits.", list_tenants);
}

static int tenant_show(struct cli *cli, int argc, char **argv)
{
	return run_words(cli, argc, argv, "NAME", 1, "Shows a tenant's limits, and what it uses.",
		show_tenant);
}

static int tenant_add(struct cli *cli, int argc, char **argv)
{
	return run_change(cli, argc, argv, "Makes a tenant.", add_tenant);
}

static int tenant_set(struct cli *cli, int argc, char **argv)
{
	return run_change(cli, argc, argv, "Changes a tenant's limits.", set_tenant);
}

static int tenant_rm(struct cli *cli, int argc, char **argv)
{
	return run_words(cli, argc, argv, "NAME", 1,
		"Removes a tenant that has no sessions, with its tokens.", remove_tenant);
}

int cli_tenant(struct cli *cli, int argc, char **argv)
{
	static const struct cli_command commands[] = {
		{"ls", "list, with limits", tenant_ls},
		{"show", "one, with what it uses", tenant_show},
		{"add", "make one", tenant_add},
		{"set", "change limits", tenant_set},
		{"rm", "remove one", tenant_rm},
		{0},
	};

	return cli_dispatch(cli, "torpor tenant", commands, argc - 1, argv + 1);
}

/* --- tokens --- */

static void print_tokens(const json_t *json)
{
	json_t *token;
	size_t i;

	printf("%-16s %-24s %8s  %s\n", "ID", "LABEL", "AGE", "EXPIRES");
	json_array_foreach (json_object_get(json, "tokens"), i, token)
		printf("%-16s %-24s %8s  %s\n", cli_field(token, "id"), cli_field(token, "label"),
			cli_ago(token, "created"), cli_field(token, "expires"));
}

static struct torpor_error *list_tokens(struct cli *cli, struct torpor_client *client, void *input)
{
	const struct cli_words *words = input;
	char *path = cli_path(TENANTS, words->words[0], "/tokens");
	struct torpor_error *err = ask_and_print(cli, client, path, print_tokens);

	free(path);
	return err;
}

static const struct argp_option token_options[] = {
	{"label", KEY_LABEL, "TEXT", 0, "What it is for", 0},
	{"expires", KEY_EXPIRES, "TIME", 0, "It is worth nothing after that (default: never)", 0},
	{"admin", KEY_ADMIN, NULL, 0, "The admin's, who may do everything", 0},
	{0},
};

static error_t token_option(int key, char *arg, struct argp_state *state)
{
	json_t *body = ((struct cli_words *)state->input)->input;
	int64_t seconds;

	switch (key) {
	case KEY_LABEL:
		if (json_object_set_new(body, "label", json_string(arg)) != 0)
			argp_error(state, "--label takes UTF-8");
		return 0;
	case KEY_EXPIRES:
		seconds = cli_need_duration(state, "--expires", arg);
		if (seconds > 0)
			json_object_set_new(body, "expires_s", json_integer(seconds));
		return 0;
	case KEY_ADMIN:
		json_object_set_new(body, "admin", json_true());
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static struct torpor_error *add_token(struct cli *cli, struct torpor_client *client, void *input)
{
	const struct cli_words *words = input;
	char *path = cli_path(TENANTS, words->words[0], "/tokens");
	json_t *json = NULL;
	struct torpor_error *err =
		cli_ask(cli, client, "POST", path, json_incref(words->input), &json);

	free(path);
	if (err)
		return err;
	const char *token = json_string_value(json_object_get(json, "token"));
	if (cli->json) {
		cli_print_json(json);
		return NULL;
	}
	/* Alone on standard output, for a file. */
	puts(token ? token : "");
	fprintf(stderr, "Its id is %s. The token isn't shown again.\n", cli_field(json, "id"));
	json_decref(json);
	return NULL;
}

static struct torpor_error *remove_token(struct cli *cli, struct torpor_client *client, void *input)
{
	const struct cli_words *words = input;
	char *of_tenant = cli_path(TENANTS, words->words[0], "/tokens/");
	char *path = cli_path(of_tenant, words->words[1], "");
	struct torpor_error *err = cli_ask(cli, client, "DELETE", path, NULL, NULL);

	free(path);
	free(of_tenant);
	if (!err && cli->json)
		cli_print_json(json_pack("{s:s}", "removed", words->words[1]));
	return err;
}

static int token_ls(struct cli *cli, int argc, char **argv)
{
	return run_words(cli, argc, argv, "TENANT", 1, "Lists a tenant's tokens.", list_tokens);
}

static int token_add(struct cli *cli, int argc, char **argv)
{
	struct cli_words words = {
		.cli = cli,
		.args_doc = "TENANT",
		.doc = "Makes a token for a tenant and prints it. It is shown this once.",
		.min = 1,
		.max = 1,
		.options = token_options,
		.option = token_option,
		.input = json_object(),
	};

	cli_parse_words(&words, argc, argv);
	int status = cli_with_client(cli, add_token, &words);
	json_decref(words.input);
	free(words.words);
	return status;
}

static int token_rm(struct cli *cli, int argc, char **argv)
{
	return run_words(cli, argc, argv, "TENANT ID", 2,
		"Removes a token: it is worth nothing from now on.", remove_token);
}

int cli_token(struct cli *cli, int argc, char **argv)
{
	static const struct cli_command commands[] = {
		{"ls", "list a tenant's", token_ls},
		{"add", "make one", token_add},
		{"rm", "remove one", token_rm},
		{0},
	};

	return cli_dispatch(cli, "torpor token", commands, argc - 1, argv + 1);
}
