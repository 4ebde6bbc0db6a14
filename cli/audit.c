/* SPDX-License-Identifier: Apache-2.0 */
/* torpor audit */
#include <stdlib.h>

#include "cli/cli.h"

enum { KEY_SESSION = 512, KEY_LIMIT, KEY_BEFORE };

/* --- ls --- */

struct entries {
	const char *session;
	uint64_t limit;
	uint64_t before;
};

static const struct argp_option ls_options[] = {
	{"session", KEY_SESSION, "ID", 0, "Only those about that session: its whole id", 0},
	{"limit", KEY_LIMIT, "N", 0, "How many (default: 100)", 0},
	{"before", KEY_BEFORE, "N", 0, "Only those before entry N", 0},
	{0},
};

static error_t ls_option(int key, char *arg, struct argp_state *state)
{
	struct entries *entries = ((struct cli_words *)state->input)->input;

	switch (key) {
	case KEY_SESSION:
		entries->session = arg;
		return 0;
	case KEY_LIMIT:
		entries->limit = cli_need_number(state, "--limit", arg, 1, 1000);
		return 0;
	case KEY_BEFORE:
		entries->before = cli_need_number(state, "--before", arg, 1, INT64_MAX);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static char *entries_path(const struct entries *entries)
{
	char *session = torpor_client_escape(entries->session ? entries->session : "");
	char *path = NULL;
	int n;

	if (entries->before)
		n = asprintf(&path, "/v1/audit?limit=%ju&before=%ju%s%s", (uintmax_t)entries->limit,
			(uintmax_t)entries->before, *session ? "&session=" : "", session);
	else
		n = asprintf(&path, "/v1/audit?limit=%ju%s%s", (uintmax_t)entries->limit,
			*session ? "&session=" : "", session);
	if (n < 0)
		abort();
	free(session);
	return path;
}

static struct torpor_error *list(struct cli *cli, struct torpor_client *client, void *input)
{
	char *path = entries_path(input);
	json_t *json;
	json_t *entry;
	size_t i;
	struct torpor_error *err = cli_ask(cli, client, "GET", path, NULL, &json);

	free(path);
	if (err)
		return err;
	if (cli->json) {
		cli_print_json(json);
		return NULL;
	}
	printf("%8s  %-24.24s  %-16s %-18s %-12s %-16s %s\n", "SEQ", "TIME", "TENANT", "ACTOR",
		"OPERATION", "OBJECT", "OUTCOME");
	json_array_foreach (json_object_get(json, "entries"), i, entry)
		printf("%8jd  %-24.24s  %-16s %-18s %-12s %-16s %s\n",
			(intmax_t)cli_integer(entry, "seq"), cli_field(entry, "time"),
			cli_field(entry, "tenant"), cli_field(entry, "actor"),
			cli_field(entry, "op"), cli_field(entry, "object"),
			cli_field(entry, "outcome"));
	json_decref(json);
	return NULL;
}

static int run_ls(struct cli *cli, int argc, char **argv)
{
	struct entries entries = {.limit = 100};
	struct cli_words words = {
		.cli = cli,
		.args_doc = "",
		.doc = "Lists what was done and by whom, the newest first.",
		.options = ls_options,
		.option = ls_option,
		.input = &entries,
	};

	cli_parse_words(&words, argc, argv);
	int status = cli_with_client(cli, list, &entries);
	free(words.words);
	return status;
}

/* --- verify --- */

static error_t parse_verify(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = state->input;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is one argument too many", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void print_report(const struct cli *cli, const struct torpor_audit_report *report)
{
	if (cli->json) {
		cli_print_json(json_pack("{s:b, s:I, s:I, s:I, s:I, s:b, s:s, s:s}", "sound", 1,
			"entries", (json_int_t)report->entries, "last_seq",
			(json_int_t)report->last_seq, "gaps", (json_int_t)report->gaps, "lost",
			(json_int_t)report->lost, "against_records", (int)report->against_records,
			"first_time", report->first_time, "last_time", report->last_time));
		return;
	}
	printf("The audit log is sound: %ju entries, up to number %ju", (uintmax_t)report->entries,
		(uintmax_t)report->last_seq);
	if (report->entries > 0)
		printf(", from %s to %s", report->first_time, report->last_time);
	puts(".");
	if (report->gaps > 0)
		printf("In %ju places it says that entries are missing, %ju in all.\n",
			(uintmax_t)report->gaps, (uintmax_t)report->lost);
	if (!report->against_records)
		puts("Whether something was cut off its end can't be seen while torpord runs, or "
		     "without its records.");
}

static int run_verify(struct cli *cli, int argc, char **argv)
{
	static const struct argp argp = {
		.parser = parse_verify,
		.doc = "Reads the audit log in the state directory from end to end, and finds any "
		       "line that was changed, removed, added or moved. Against a log that was cut "
		       "it compares the records, unless torpord has them in use.",
		.children = cli_common,
	};
	struct torpor_audit_report report;

	argp_parse(&argp, argc, argv, 0, NULL, cli);
	struct torpor_error *err = torpor_audit_verify(cli->state_dir, &report);
	if (!err)
		print_report(cli, &report);
	return cli_finish(cli, err);
}

int cli_audit(struct cli *cli, int argc, char **argv)
{
	static const struct cli_command commands[] = {
		{"ls", "list what was done", run_ls},
		{"verify", "find what was changed, cut or moved", run_verify},
		{0},
	};

	return cli_dispatch(cli, "torpor audit", commands, argc - 1, argv + 1);
}
