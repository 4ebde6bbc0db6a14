/* SPDX-License-Identifier: Apache-2.0 */
/* torpor import, torpor export: from libvirt and back. */
#include "cli/cli.h"
#include "cli/template.h"

enum {
	KEY_NAME = 512,
	KEY_KEEP,
	KEY_OUT,
};

struct libvirt {
	struct cli *cli;
	const char *word; /* the domain, or the image */
	const char *what; /* what that is, for complaints */
	struct torpor_import_spec spec;
	const char *out;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct libvirt *l = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = l->cli;
		return 0;
	case KEY_NAME:
		l->spec.name = arg;
		return 0;
	case KEY_KEEP:
		l->spec.keep = true;
		return 0;
	case KEY_OUT:
		l->out = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (l->word)
			argp_error(state, "one %s, not \"%s\" as well", l->what, arg);
		l->word = arg;
		return 0;
	case ARGP_KEY_END:
		if (!l->word)
			argp_error(state, "the %s is missing", l->what);
		l->spec.connect =
			l->cli->connect; /* as all commands know it; NULL: libvirt's own */
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void print_import(const struct cli *cli, const struct torpor_import_report *report,
	const struct torpor_session_info *info)
{
	if (cli->json) {
		cli_print_json(json_pack("{s:s, s:s, s:f, s:f, s:I, s:I, s:b, s:s?}", "name",
			info->name, "image", info->image_path, "captured_ms",
			(double)report->captured_ns / 1e6, "durable_ms",
			(double)report->durable_ns / 1e6, "pages", (json_int_t)report->pages,
			"image_bytes", (json_int_t)report->image_bytes, "agent", (int)report->agent,
			"note", *report->note ? report->note : NULL));
		return;
	}
	printf("%s parked (%s, durable after %s) in %s\n", info->name,
		cli_size(report->image_bytes), cli_time(report->durable_ns), info->image_path);
	if (!report->agent)
		printf("No qemu-guest-agent answered in it: nothing will set its clock right.\n");
	if (*report->note)
		printf("note: %s\n", report->note);
}

static struct torpor_error *import(struct libvirt *l, struct torpor_engine *engine)
{
	struct torpor_import_report report;
	struct torpor_session_info info = {0};
	struct torpor_session *session;

	struct torpor_error *err =
		torpor_import(engine, &l->spec, &l->cli->call, &report, &session);
	if (err)
		return err;
	err = torpor_session_info(session, &info);
	torpor_session_close(session);
	if (err)
		return err;
	/* The handle knows where it was opened, not what the file is called. */
	if (!*info.image_path)
		snprintf(info.image_path, sizeof(info.image_path), "%s/images/%s",
			torpor_engine_state_dir(engine), info.name);
	print_import(l->cli, &report, &info);
	return NULL;
}

/* Through torpord: then it is one of its sessions. */
static struct torpor_error *import_remote(
	struct cli *cli, struct torpor_client *client, void *input)
{
	const struct libvirt *l = input;
	json_t *body = json_pack("{s:s, s:s*, s:s*, s:b}", "domain", l->word, "connect",
		cli->connect, "name", l->spec.name, "keep", (int)l->spec.keep);
	json_t *json;
	struct torpor_error *err = cli_ask(cli, client, "POST", "/v1/imports", body, &json);

	if (err)
		return err;
	if (cli->json) {
		cli_print_json(json);
		return NULL;
	}
	const json_t *timing = json_object_get(json, "timing");
	printf("%s %s %s (%s, durable after %s)\n", cli_short(cli_field(json, "id")),
		cli_field(json, "name"), cli_field(json, "state"),
		cli_size((uint64_t)cli_integer(timing, "image_bytes")),
		cli_time((uint64_t)(cli_real(timing, "durable_ms") * 1e6)));
	const char *note = json_string_value(json_object_get(timing, "note"));
	if (note)
		fprintf(stderr, "note: %s\n", note);
	json_decref(json);
	return NULL;
}

int cli_import(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"name", KEY_NAME, "NAME", 0, "What to call the image (default: the domain's name)",
			0},
		{"keep", KEY_KEEP, NULL, 0, "Let the domain go on: the image is a copy", 0},
		{0},
	};
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "DOMAIN",
		.doc = "Parks a domain of libvirt's that Torpor didn't start: all of it is in an "
		       "image "
		       "of the state directory then, and the domain has ended. With --socket or "
		       "--url torpord does it, and has it as a session.",
		.children = cli_all,
	};
	struct libvirt l = {.cli = cli, .what = "domain"};
	struct torpor_engine *engine;

	argp_parse(&argp, argc, argv, 0, NULL, &l);
	l.spec.domain = l.word;
	if (cli_template_is_remote(cli))
		return cli_with_client(cli, import_remote, &l);
	struct torpor_error *err = cli_open(cli, &engine);
	if (err)
		return cli_finish(cli, err);
	err = import(&l, engine);
	torpor_engine_close(engine);
	return cli_finish(cli, err);
}

int cli_export(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"out", KEY_OUT, "FILE", 0, "The file to write; it must not exist yet", 0},
		{0},
	};
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "IMAGE",
		.doc = "Writes an image as a save file of libvirt's, which `virsh restore` starts. "
		       "IMAGE is a file, or the name of an image in the state directory.",
		.children = cli_common,
	};
	struct libvirt l = {.cli = cli, .what = "image"};
	struct torpor_engine *engine;

	argp_parse(&argp, argc, argv, 0, NULL, &l);
	if (!l.out) {
		fprintf(stderr, "torpor export: name the file to write with --out\n");
		return CLI_USAGE;
	}
	struct torpor_error *err = cli_open(cli, &engine);
	if (err)
		return cli_finish(cli, err);
	err = torpor_image_export(engine, l.word, l.out, &cli->call);
	torpor_engine_close(engine);
	if (!err && cli->json)
		cli_print_json(json_pack("{s:s}", "file", l.out));
	else if (!err)
		printf("%s is a save file of libvirt's now: virsh restore %s\n", l.out, l.out);
	return cli_finish(cli, err);
}
