/* SPDX-License-Identifier: Apache-2.0 */
/* torpor ls, torpor show. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define SHOWN 100 /* sessions without --all */

enum { KEY_STATE = 512, KEY_TEMPLATE, KEY_LABEL };

/* --- ls --- */

struct listing {
	struct cli *cli;
	struct torpor_client_filter filter;
	bool all;
	bool quiet;
	size_t shown;
	bool more; /* there are others that weren't shown */
};

static const struct argp_option ls_options[] = {
	{"all", 'a', NULL, 0, "All of them (default: the newest 100)", 0},
	{"state", KEY_STATE, "STATE", 0, "Only those that are running, parked, paused ...", 0},
	{"template", KEY_TEMPLATE, "NAME", 0, "Only those of that template", 0},
	{"label", KEY_LABEL, "NAME=VALUE", 0, "Only those with that label", 0},
	{"quiet", 'q', NULL, 0, "Print nothing but ids", 0},
	{0},
};

static error_t ls_option(int key, char *arg, struct argp_state *state)
{
	struct listing *listing = ((struct cli_words *)state->input)->input;

	switch (key) {
	case 'a':
		listing->all = true;
		return 0;
	case KEY_STATE:
		listing->filter.state = arg;
		return 0;
	case KEY_TEMPLATE:
		listing->filter.template_name = arg;
		return 0;
	case KEY_LABEL:
		listing->filter.label = arg;
		return 0;
	case 'q':
		listing->quiet = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void print_row(const struct torpor_remote_session *session)
{
	json_t *json = json_loads(session->json, 0, NULL);
	bool parked = strcmp(session->state, "parked") == 0;
	uint64_t size = parked ? session->image_bytes : session->private_bytes;

	printf("%-8s  %-24s %-9s %-16s %8s %8s %10s\n", cli_short(session->id), session->name,
		session->state, session->template_name, cli_ago(json, "created"),
		cli_ago(json, "last_active"), size ? cli_size(size) : "-");
	json_decref(json);
}

static bool print_session(void *data, const struct torpor_remote_session *session)
{
	struct listing *listing = data;

	if (!listing->all && listing->shown == SHOWN) {
		listing->more = true;
		return false;
	}
	if (listing->quiet)
		puts(session->id);
	else if (listing->cli->json)
		printf("%s%s", listing->shown ? "," : "{\"sessions\":[", session->json);
	else if (listing->shown == 0)
		printf("%-8s  %-24s %-9s %-16s %8s %8s %10s\n", "ID", "NAME", "STATE", "TEMPLATE",
			"AGE", "IDLE", "SIZE");
	if (!listing->quiet && !listing->cli->json)
		print_row(session);
	listing->shown++;
	return true;
}

static struct torpor_error *list(struct cli *cli, struct torpor_client *client, void *input)
{
	struct listing *listing = input;

	if (!listing->all)
		listing->filter.limit = SHOWN + 1;
	struct torpor_error *err =
		torpor_client_list(client, &listing->filter, &cli->call, print_session, listing);
	bool as_json = cli->json && !listing->quiet;
	if (as_json && (listing->shown > 0 || !err))
		puts(listing->shown ? "]}" : "{\"sessions\":[]}");
	if (err)
		return err;
	if (listing->shown == 0 && !listing->quiet && !cli->json)
		puts("There are no such sessions. `torpor acquire TEMPLATE` starts one.");
	if (listing->more && !as_json)
		fprintf(stderr, "There are more; --all shows them.\n");
	return NULL;
}

int cli_ls(struct cli *cli, int argc, char **argv)
{
	struct listing listing = {.cli = cli};
	struct cli_words words = {
		.cli = cli,
		.args_doc = "",
		.doc = "Lists sessions, the newest first. SIZE is that of the image of a parked "
		       "one.",
		.options = ls_options,
		.option = ls_option,
		.input = &listing,
	};

	cli_parse_words(&words, argc, argv);
	int status = cli_with_client(cli, list, &listing);
	free(words.words);
	return status;
}

/* --- show --- */

/* "name: value" pairs of an object, or nothing. */
static void print_pairs(const char *what, const json_t *pairs)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)pairs, key, value) {
		printf("%-12s %s=", what, key);
		for (const char *at = json_string_value(value); at && *at; at++)
			putchar((unsigned char)*at < ' ' || *at == 0x7f ? '?' : *at);
		putchar('\n');
	}
}

static void print_limits(const json_t *limits)
{
	const char *key;
	json_t *value;
	size_t i;

	json_object_foreach ((json_t *)limits, key, value) {
		if (json_is_integer(value))
			printf("%-12s %s=%jd\n", "limit", key, (intmax_t)json_integer_value(value));
		else if (json_is_real(value))
			printf("%-12s %s=%g\n", "limit", key, json_real_value(value));
	}
	json_array_foreach (json_object_get(limits, "unenforced"), i, value)
		printf("%-12s %s isn't enforced on this host\n", "limit",
			json_string_value(value) ? json_string_value(value) : "?");
}

static void print_guest(const json_t *guest)
{
	if (!json_is_object(guest))
		return;
	printf("guest        %s of memory, %jd vCPUs, %jd reboots\n",
		cli_size((uint64_t)cli_integer(guest, "memory_bytes")),
		(intmax_t)cli_integer(guest, "vcpus"), (intmax_t)cli_integer(guest, "reboots"));
	printf("uses         %s resident, %s of its own, %.1f s of CPU\n",
		cli_size((uint64_t)cli_integer(guest, "resident_bytes")),
		cli_size((uint64_t)cli_integer(guest, "private_bytes")),
		cli_real(guest, "cpu_ms") / 1e3);
}

static void print_timer(const json_t *timers, const char *what, const char *seconds, const char *at)
{
	int64_t value = cli_integer(timers, seconds);

	if (value > 0)
		printf("%-12s %s (%s)\n", what, cli_duration(value), cli_field(timers, at));
	else
		printf("%-12s never\n", what);
}

static void print_timers(const json_t *timers)
{
	if (!json_is_object(timers))
		return;
	print_timer(timers, "ends after", "ttl_s", "expires");
	print_timer(timers, "parks idle", "idle_s", "parks_at");
	print_timer(timers, "retention", "retention_s", "removed_at");
}

static void print_images(const json_t *images)
{
	json_t *image;
	size_t i;

	json_array_foreach (json_object_get(images, "images"), i, image)
		printf("%-12s %s %s %s, %s ago\n", "image", cli_field(image, "kind"),
			cli_field(image, "name"), cli_size((uint64_t)cli_integer(image, "bytes")),
			cli_ago(image, "created"));
}

static void print_fresh(const json_t *fresh)
{
	json_t *what;
	size_t i;

	if (json_array_size(fresh) == 0)
		return;
	printf("fresh       ");
	json_array_foreach (fresh, i, what)
		printf(" %s", json_string_value(what) ? json_string_value(what) : "?");
	putchar('\n');
}

static void print_session_detail(const json_t *json, const json_t *images)
{
	printf("id           %s\nname         %s\ntenant       %s\n", cli_field(json, "id"),
		cli_field(json, "name"), cli_field(json, "tenant"));
	printf("template     %s (%.12s)\n", cli_field(json, "template"),
		cli_field(json, "template_id"));
	printf("state        %s for %s\n", cli_field(json, "state"), cli_ago(json, "changed"));
	if (json_is_string(json_object_get(json, "reason")))
		printf("reason       %s\n", cli_field(json, "reason"));
	printf("created      %s (%s ago)\nused         %s ago\n", cli_field(json, "created"),
		cli_ago(json, "created"), cli_ago(json, "last_active"));
	printf("came from    %s\n", cli_field(json, "source"));
	print_fresh(json_object_get(json, "fresh"));
	if (json_is_string(json_object_get(json, "forked_from")))
		printf("forked from  %s\n", cli_field(json, "forked_from"));
	print_guest(json_object_get(json, "guest"));
	print_images(images);
	print_timers(json_object_get(json, "timers"));
	print_limits(json_object_get(json, "limits"));
	print_pairs("label", json_object_get(json, "labels"));
	print_pairs("env", json_object_get(json, "env"));
}

/* --- show --- */

enum { KEY_WHERE = 512 };

static const struct argp_option show_options[] = {
	{"where", KEY_WHERE, "CHECKPOINT", OPTION_ARG_OPTIONAL,
		"Say where its last park, or that checkpoint, can be resumed", 0},
	{0},
};

static error_t show_option(int key, char *arg, struct argp_state *state)
{
	struct cli_words *words = state->input;
	const char **image = words->input;

	if (key != KEY_WHERE)
		return ARGP_ERR_UNKNOWN;
	*image = arg ? arg : "park";
	return 0;
}

static struct torpor_error *show_where(
	struct cli *cli, struct torpor_client *client, const char *id, const char *image)
{
	char *path = cli_image_path(id, image, "/where");
	json_t *json = NULL;

	struct torpor_error *err = cli_ask(cli, client, "GET", path, NULL, &json);
	if (!err && cli->json)
		cli_print_json(json_incref(json));
	else if (!err)
		cli_print_where(json);
	json_decref(json);
	free(path);
	return err;
}

static struct torpor_error *show_detail(
	struct cli *cli, struct torpor_client *client, const char *id)
{
	/* What a list shows of a session isn't all. */
	char *path = cli_path("/v1/sessions/", id, "");
	char *images_path = cli_path("/v1/sessions/", id, "/images");
	json_t *json = NULL;
	json_t *images = NULL;

	struct torpor_error *err = cli_ask(cli, client, "GET", path, NULL, &json);
	if (!err && !cli->json)
		err = cli_ask(cli, client, "GET", images_path, NULL, &images);
	if (!err && cli->json)
		cli_print_json(json_incref(json));
	else if (!err)
		print_session_detail(json, images);
	json_decref(json);
	json_decref(images);
	free(path);
	free(images_path);
	return err;
}

static struct torpor_error *show(struct cli *cli, struct torpor_client *client, void *input)
{
	const struct cli_words *words = input;
	const char *const *image = words->input;
	struct torpor_remote_session session;
	struct torpor_error *err =
		torpor_client_find(client, words->words[0], &cli->call, &session);

	if (err)
		return err;
	err = *image ? show_where(cli, client, session.id, *image)
		     : show_detail(cli, client, session.id);
	torpor_remote_session_deinit(&session);
	return err;
}

int cli_show(struct cli *cli, int argc, char **argv)
{
	const char *image = NULL;
	struct cli_words words = {
		.cli = cli,
		.args_doc = "ID",
		.doc = "Shows a session.",
		.min = 1,
		.max = 1,
		.options = show_options,
		.option = show_option,
		.input = &image,
	};

	cli_parse_words(&words, argc, argv);
	int status = cli_with_client(cli, show, &words);
	free(words.words);
	return status;
}
