/* SPDX-License-Identifier: Apache-2.0 */
/* torpor set; and limits, as acquire takes them too. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* --- limits --- */

static const struct {
	const char *word;
	const char *field;
	bool size;
} limits[] = {
	{"cpus", "cpus", false},
	{"memory", "memory_bytes", true},
	{"pids", "pids", false},
	{"nofile", "nofile", false},
	{"io", "io_bytes_per_s", true},
	{"net", "net_bytes_per_s", true},
};

static json_t *limit_value(const char *text, bool size)
{
	uint64_t bytes;
	char *end;

	if (size)
		return cli_parse_size(text, &bytes) ? json_integer((json_int_t)bytes) : NULL;
	double number = strtod(text, &end);
	if (end == text || *end)
		return NULL;
	return strchr(text, '.') ? json_real(number) : json_integer((json_int_t)number);
}

void cli_need_limit(struct argp_state *state, json_t *object, const char *arg)
{
	const char *equals = strchr(arg, '=');

	if (strcmp(arg, "none") == 0)
		return;
	for (size_t i = 0; equals && i < sizeof(limits) / sizeof(limits[0]); i++) {
		size_t len = strlen(limits[i].word);
		if (len != (size_t)(equals - arg) || strncmp(limits[i].word, arg, len) != 0)
			continue;
		json_t *value = limit_value(equals + 1, limits[i].size);
		if (!value)
			break;
		json_object_set_new(object, limits[i].field, value);
		return;
	}
	argp_error(state,
		"--limit takes cpus=0.5, memory=512M, pids=64, nofile=1024, io=10M or net=10M (a "
		"second), or none, and not \"%s\"",
		arg);
}

/* --- set --- */

enum { KEY_NAME = 512, KEY_TTL, KEY_IDLE, KEY_RETENTION, KEY_LABEL, KEY_LIMIT };

static const struct argp_option options[] = {
	{"name", KEY_NAME, "NAME", 0, "Its new name", 0},
	{"ttl", KEY_TTL, "TIME", 0, "It is destroyed after that, such as 90s, 15m, 1h, 2d, never",
		0},
	{"idle", KEY_IDLE, "TIME", 0, "It is parked when it was left alone for so long", 0},
	{"retention", KEY_RETENTION, "TIME", 0, "It is destroyed when it was parked for so long",
		0},
	{"label", KEY_LABEL, "NAME=VALUE", 0,
		"A label, as often as needed; those it had are gone, and with none all are", 0},
	{"limit", KEY_LIMIT, "NAME=VALUE", 0,
		"A limit, as often as needed; those it had are gone, and with none all are", 0},
	{0},
};

static json_t *member(json_t *body, const char *name)
{
	json_t *object = json_object_get(body, name);

	if (object)
		return object;
	object = json_object();
	json_object_set_new(body, name, object);
	return object;
}

static void need_label(struct argp_state *state, json_t *labels, char *arg)
{
	char *equals = strchr(arg, '=');

	if (strcmp(arg, "none") == 0)
		return;
	if (!equals)
		argp_error(state, "--label takes NAME=VALUE, or none, and not \"%s\"", arg);
	*equals = '\0';
	json_object_set_new(labels, arg, json_string(equals + 1));
}

static error_t option(int key, char *arg, struct argp_state *state)
{
	json_t *body = ((struct cli_words *)state->input)->input;

	switch (key) {
	case KEY_NAME:
		json_object_set_new(body, "name", json_string(arg));
		return 0;
	case KEY_TTL:
		json_object_set_new(
			body, "ttl_s", json_integer(cli_need_duration(state, "--ttl", arg)));
		return 0;
	case KEY_IDLE:
		json_object_set_new(
			body, "idle_s", json_integer(cli_need_duration(state, "--idle", arg)));
		return 0;
	case KEY_RETENTION:
		json_object_set_new(body, "retention_s",
			json_integer(cli_need_duration(state, "--retention", arg)));
		return 0;
	case KEY_LABEL:
		need_label(state, member(body, "labels"), arg);
		return 0;
	case KEY_LIMIT:
		cli_need_limit(state, member(body, "limits"), arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void print_changed(const json_t *session)
{
	const json_t *unenforced =
		json_object_get(json_object_get(session, "limits"), "unenforced");
	size_t i;
	json_t *text;

	printf("%s %s %s\n", cli_short(cli_field(session, "id")), cli_field(session, "name"),
		cli_field(session, "state"));
	json_array_foreach (unenforced, i, text)
		fprintf(stderr, "limit %s isn't enforced on this host\n",
			json_string_value(text) ? json_string_value(text) : "?");
}

static struct torpor_error *set(struct cli *cli, struct torpor_client *client, void *input)
{
	const struct cli_words *words = input;
	struct torpor_remote_session session;
	json_t *answer;
	struct torpor_error *err =
		torpor_client_find(client, words->words[0], &cli->call, &session);

	if (err)
		return err;
	char *path = cli_path("/v1/sessions/", session.id, "");
	torpor_remote_session_deinit(&session);
	err = cli_ask(cli, client, "PATCH", path, json_incref(words->input), &answer);
	free(path);
	if (err)
		return err;
	if (cli->json) {
		cli_print_json(answer);
		return NULL;
	}
	print_changed(answer);
	json_decref(answer);
	return NULL;
}

int cli_set(struct cli *cli, int argc, char **argv)
{
	struct cli_words words = {
		.cli = cli,
		.args_doc = "ID",
		.doc = "Changes a session's name, timers, labels or limits; what isn't named "
		       "stays.",
		.min = 1,
		.max = 1,
		.options = options,
		.option = option,
		.input = json_object(),
	};

	cli_parse_words(&words, argc, argv);
	int status = cli_with_client(cli, set, &words);
	json_decref(words.input);
	free(words.words);
	return status;
}
