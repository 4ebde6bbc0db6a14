/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands that talk to torpord share. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

#define SHORT_ID 8

int cli_with_client(struct cli *cli, cli_act_fn *act, void *input)
{
	struct torpor_client *client;
	struct torpor_error *err = torpor_client_open(&cli->remote, &client);

	if (err)
		return cli_finish(cli, err);
	err = act(cli, client, input);
	torpor_client_close(client);
	return cli_finish(cli, err);
}

struct torpor_error *cli_ask(struct cli *cli, struct torpor_client *client, const char *method,
	const char *path, json_t *body, json_t **json_out)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	char *answer;
	struct torpor_error *err = torpor_client_request(
		client, method, path, text, &cli->call, NULL, json_out ? &answer : NULL);

	json_decref(body);
	free(text);
	if (err || !json_out)
		return err;
	*json_out = json_loads(answer, 0, NULL);
	free(answer);
	return NULL;
}

char *cli_path(const char *before, const char *name, const char *tail)
{
	char *escaped = torpor_client_escape(name);
	char *path = NULL;

	if (asprintf(&path, "%s%s%s", before, escaped, tail) < 0)
		abort();
	free(escaped);
	return path;
}

char *cli_image_path(const char *session, const char *image, const char *tail)
{
	char *images = cli_path("/v1/sessions/", session, "/images/");
	char *path = cli_path(images, image, tail);

	free(images);
	return path;
}

/* --- what is shown --- */

/* The next of a few buffers, so that several results fit into one printf. */
static char *copy_text(const char *text, size_t len)
{
	static char buffers[16][512];
	static unsigned int next;
	char *copy = buffers[next++ % 16];

	if (len > sizeof(buffers[0]) - 1)
		len = sizeof(buffers[0]) - 1;
	for (size_t i = 0; i < len; i++)
		copy[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
	copy[len] = '\0';
	return copy;
}

const char *cli_short(const char *id)
{
	return copy_text(id, strnlen(id, SHORT_ID));
}

const char *cli_field(const json_t *json, const char *field)
{
	const char *text = json_string_value(json_object_get(json, field));

	return text && *text ? copy_text(text, strlen(text)) : "-";
}

int64_t cli_integer(const json_t *json, const char *field)
{
	return json_integer_value(json_object_get(json, field));
}

double cli_real(const json_t *json, const char *field)
{
	return json_number_value(json_object_get(json, field));
}

const char *cli_ago(const json_t *json, const char *field)
{
	const char *text = json_string_value(json_object_get(json, field));
	struct tm tm = {0};

	if (!text || !strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
		return "-";
	time_t then = timegm(&tm);
	time_t now = time(NULL);
	return cli_duration(now > then ? now - then : 0);
}

/* --- words --- */

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct cli_words *words = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = words->cli;
		return 0;
	case ARGP_KEY_ARG:
		if (words->n == words->max)
			argp_error(state, "\"%s\" is one argument too many", arg);
		words->words[words->n++] = arg;
		return 0;
	case ARGP_KEY_END:
		if (words->n < words->min)
			argp_error(state, "%s is needed", words->args_doc);
		return 0;
	default:
		return words->option ? words->option(key, arg, state) : ARGP_ERR_UNKNOWN;
	}
}

void cli_parse_words(struct cli_words *words, int argc, char **argv)
{
	struct argp argp = {
		.options = words->options,
		.parser = parse,
		.args_doc = words->args_doc,
		.doc = words->doc,
		.children = cli_remote,
	};

	words->words = calloc((size_t)argc + 1, sizeof(*words->words));
	if (!words->words)
		abort();
	argp_parse(&argp, argc, argv, 0, NULL, words);
}
