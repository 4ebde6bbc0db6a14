/* SPDX-License-Identifier: Apache-2.0 */
/* torpor image inspect|verify|where */
#include "cli/cli.h"

struct file {
	struct cli *cli;
	const char *path;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct file *file = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = file->cli;
		return 0;
	case ARGP_KEY_ARG:
		if (file->path)
			argp_error(state, "one file, not \"%s\" as well", arg);
		file->path = arg;
		return 0;
	case ARGP_KEY_END:
		if (!file->path)
			argp_error(state, "the image file is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const char *parse_file(struct cli *cli, const char *doc, int argc, char **argv)
{
	struct file file = {.cli = cli};
	struct argp argp = {
		.parser = parse,
		.args_doc = "FILE",
		.doc = doc,
		.children = cli_common,
	};

	argp_parse(&argp, argc, argv, 0, NULL, &file);
	return file.path;
}

static void print_info(const struct cli *cli, const struct torpor_image_info *info)
{
	json_t *config = json_loads(info->config, 0, NULL);

	if (cli->json) {
		cli_print_json(json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o?}", "kind",
			info->kind, "template_id", info->template_id, "uuid", info->uuid,
			"file_bytes", (json_int_t)info->file_bytes, "device_bytes",
			(json_int_t)info->device_bytes, "memory_bytes",
			(json_int_t)info->memory_bytes, "pages", (json_int_t)info->pages, "blocks",
			(json_int_t)info->blocks, "config", config));
		return;
	}
	printf("kind      %s\nuuid      %s\ntemplate  %s\n", info->kind, info->uuid,
		info->template_id);
	printf("file      %s\nmemory    %s\npages     %ju in %ju blocks\ndevices   %s\n",
		cli_size(info->file_bytes), cli_size(info->memory_bytes), (uintmax_t)info->pages,
		(uintmax_t)info->blocks, cli_size(info->device_bytes));
	char *text = json_dumps(config, JSON_INDENT(2) | JSON_SORT_KEYS);
	printf("config    %s\n", text ? text : info->config);
	free(text);
	json_decref(config);
}

static int run_inspect(struct cli *cli, int argc, char **argv)
{
	struct torpor_image_info info;
	const char *path = parse_file(cli, "Shows what an image file holds.", argc, argv);
	struct torpor_error *err = torpor_image_inspect(path, &cli->call, &info);

	if (err)
		return cli_finish(cli, err);
	print_info(cli, &info);
	torpor_image_info_deinit(&info);
	return CLI_OK;
}

static int run_verify(struct cli *cli, int argc, char **argv)
{
	const char *path = parse_file(cli,
		"Checks every byte of an image file, and where its template is stored decodes "
		"every "
		"page.",
		argc, argv);
	struct torpor_engine *engine;
	bool decoded = false;
	struct torpor_error *err = cli_open(cli, &engine);

	if (err)
		return cli_finish(cli, err);
	err = torpor_image_verify(engine, path, &cli->call, &decoded);
	torpor_engine_close(engine);
	if (err)
		return cli_finish(cli, err);
	if (cli->json)
		cli_print_json(json_pack("{s:b, s:b}", "sound", 1, "decoded", (int)decoded));
	else
		printf("%s is sound%s.\n", path,
			decoded ? ""
				: " as it is stored (its template isn't here to decode it "
				  "against)");
	return CLI_OK;
}

static json_t *where_json(const struct torpor_where *where)
{
	json_t *needs = json_array();

	for (size_t i = 0; i < where->n_needs; i++) {
		const struct torpor_need *need = &where->needs[i];
		json_array_append_new(needs,
			json_pack("{s:s, s:s, s:b, s:s?}", "subject", need->subject, "needed",
				need->needed, "met", (int)need->met, "why_not", need->why_not));
	}
	bool none = !*where->template_id;
	return json_pack("{s:b, s:b, s:s, s:s, s:s, s:s, s:s?, s:s?, s:o}", "here",
		(int)where->here, "portable", (int)where->portable, "qemu", where->qemu_version,
		"machine", where->machine_type, "accel", where->accel, "cpu", where->cpu,
		"template", none ? NULL : where->template_name, "template_id",
		none ? NULL : where->template_id, "needs", needs);
}

void cli_print_where(const json_t *where)
{
	bool portable = json_is_true(json_object_get(where, "portable"));
	json_t *need;
	size_t i;

	printf("here      %s\nelsewhere %s\n\n",
		json_is_true(json_object_get(where, "here")) ? "yes" : "no",
		portable ? "where all of this is to be had"
			 : "no: its CPU model is another CPU on every host");
	json_array_foreach (json_object_get(where, "needs"), i, need) {
		printf("%-5s %-11s %s\n", json_is_true(json_object_get(need, "met")) ? "yes" : "NO",
			cli_field(need, "subject"), cli_field(need, "needed"));
		if (json_is_string(json_object_get(need, "why_not")))
			printf("%17s here: %s\n", "", cli_field(need, "why_not"));
	}
}

static int run_where(struct cli *cli, int argc, char **argv)
{
	const char *path = parse_file(cli,
		"Says where an image can be resumed: what it needs, and whether this host has it. "
		"FILE may also be the name of an image in the state directory.",
		argc, argv);
	struct torpor_engine *engine;
	struct torpor_where where;
	struct torpor_error *err = cli_open(cli, &engine);

	if (err)
		return cli_finish(cli, err);
	err = torpor_image_where(engine, path, &cli->call, &where);
	torpor_engine_close(engine);
	if (err)
		return cli_finish(cli, err);
	json_t *json = where_json(&where);
	if (cli->json)
		cli_print_json(json_incref(json));
	else
		cli_print_where(json);
	json_decref(json);
	torpor_where_deinit(&where);
	return CLI_OK;
}

int cli_image(struct cli *cli, int argc, char **argv)
{
	static const struct cli_command commands[] = {
		{"inspect", "show what an image file holds", run_inspect},
		{"verify", "check every byte of it", run_verify},
		{"where", "say where it can be resumed", run_where},
		{0},
	};

	return cli_dispatch(cli, "torpor image", commands, argc - 1, argv + 1);
}
