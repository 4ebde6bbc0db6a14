/* SPDX-License-Identifier: Apache-2.0 */
/* torpor events */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum { KEY_SESSION = 512, KEY_AFTER };

struct watching {
	struct cli *cli;
	const char *session; /* as it was given, or NULL */
	uint64_t after;
};

static const struct argp_option options[] = {
	{"session", KEY_SESSION, "ID", 0, "Only those of that session", 0},
	{"after", KEY_AFTER, "N", 0, "Those behind event N (default: from now on)", 0},
	{0},
};

static error_t option(int key, char *arg, struct argp_state *state)
{
	struct watching *watching = ((struct cli_words *)state->input)->input;

	switch (key) {
	case KEY_SESSION:
		watching->session = arg;
		return 0;
	case KEY_AFTER:
		watching->after = cli_need_number(state, "--after", arg, 1, UINT64_MAX - 1);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* What an event is about, in a few words. */
static void print_subject(const char *type, const json_t *data)
{
	if (strcmp(type, "session") == 0)
		printf("%s %s %s", cli_short(cli_field(data, "id")), cli_field(data, "name"),
			cli_field(data, "state"));
	else if (strcmp(type, "reset") == 0)
		printf("events are missing");
	else if (json_object_get(data, "state"))
		printf("%s %s", cli_field(data, "name"), cli_field(data, "state"));
	else
		printf("%s", cli_field(data, "name"));
	if (json_is_string(json_object_get(data, "reason")))
		printf(" (%s)", cli_field(data, "reason"));
}

static bool print_event(void *data, const struct torpor_client_event *event)
{
	const struct watching *watching = data;
	json_t *json = json_loadb(event->data, event->data_len, 0, NULL);

	if (watching->cli->json) {
		cli_print_json(json_pack("{s:I, s:s, s:o?}", "id", (json_int_t)event->id, "event",
			event->type, "data", json));
		return !ferror(stdout);
	}
	printf("%ju %s ", (uintmax_t)event->id, event->type);
	print_subject(event->type, json);
	putchar('\n');
	fflush(stdout);
	json_decref(json);
	return !ferror(stdout);
}

static struct torpor_error *watch(struct cli *cli, struct torpor_client *client, void *input)
{
	struct watching *watching = input;
	struct torpor_client_events wanted = {.after = watching->after};
	struct torpor_remote_session session = {0};
	struct torpor_error *err = NULL;

	if (watching->session)
		err = torpor_client_find(client, watching->session, &cli->call, &session);
	if (err)
		return err;
	wanted.session = watching->session ? session.id : NULL;
	err = torpor_client_events(client, &wanted, &cli->call, print_event, watching);
	torpor_remote_session_deinit(&session);
	/* Being interrupted is how this is meant to end. */
	if (err && torpor_error_code(err) == TORPOR_E_CANCELLED)
		return torpor_error_free(err);
	return err;
}

int cli_events(struct cli *cli, int argc, char **argv)
{
	struct watching watching = {.cli = cli};
	struct cli_words words = {
		.cli = cli,
		.args_doc = "",
		.doc = "Prints what happens to sessions, templates, pool and tenants, a line each, "
		       "until it is interrupted.",
		.options = options,
		.option = option,
		.input = &watching,
	};

	cli_parse_words(&words, argc, argv);
	int status = cli_with_client(cli, watch, &watching);
	free(words.words);
	return status;
}
