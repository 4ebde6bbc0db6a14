/* SPDX-License-Identifier: Apache-2.0 */
/* torpor template build|ls|inspect|rm */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/template.h"

static json_t *info_json(const struct torpor_template_info *info)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:b, s:I, s:I, s:I}",
		"name", info->name, "id", info->id, "machine", info->machine_type, "accel",
		info->accel, "cpu", info->cpu, "qemu", info->qemu_version, "memory",
		(json_int_t)info->memory, "vcpus", (json_int_t)info->vcpus, "helper",
		(int)info->helper, "agent", (int)info->agent, "image_bytes",
		(json_int_t)info->image_bytes, "boot_ns", (json_int_t)info->boot_ns,
		"created_unix_ns", (json_int_t)info->created_unix_ns);
}

/* --- build --- */

enum {
	KEY_MEMORY = 512,
	KEY_VCPUS,
	KEY_MACHINE,
	KEY_KERNEL,
	KEY_INITRD,
	KEY_APPEND,
	KEY_ACCEL,
	KEY_CPU,
	KEY_READY,
	KEY_REPLACE,
	KEY_QUIET,
	KEY_FORCE
};

static const struct argp_option build_options[] = {
	{"memory", KEY_MEMORY, "SIZE", 0, "Memory, such as 256M or 4G (default: 256M)", 0},
	{"vcpus", KEY_VCPUS, "N", 0, "Processors (default: 1)", 0},
	{"machine", KEY_MACHINE, "TYPE", 0, "pc, q35 or microvm (default: pc)", 0},
	{"kernel", KEY_KERNEL, "FILE", 0, "Kernel to boot", 0},
	{"initrd", KEY_INITRD, "FILE", 0, "Initial RAM disk", 0},
	{"append", KEY_APPEND, "TEXT", 0,
		"Kernel command line (default: console=ttyS0 quiet panic=-1; for microvm under tcg "
		"also what its clock needs)",
		0},
	{"accel", KEY_ACCEL, "NAME", 0,
		"kvm, tcg, or auto: kvm if a probe shows that it runs this kernel (default: auto)",
		0},
	{"cpu", KEY_CPU, "MODEL", 0, "QEMU's CPU model (default: the best portable one here)", 0},
	{"ready", KEY_READY, "TEXT", 0,
		"Ready when a console line holds TEXT, for guests without helper and agent", 0},
	{"replace", KEY_REPLACE, NULL, 0, "Replace an older template of that name", 0},
	{"quiet", KEY_QUIET, NULL, 0, "Don't show the guest's console while it boots", 0},
	{0},
};

static error_t parse_build(int key, char *arg, struct argp_state *state)
{
	struct cli_template_build *build = state->input;
	struct torpor_template_spec *spec = &build->spec;
	unsigned long vcpus;
	char *end;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = build->cli;
		return 0;
	case KEY_MEMORY:
		if (!cli_parse_size(arg, &spec->memory) || spec->memory == 0)
			argp_error(state, "\"%s\" is no size; try 256M", arg);
		return 0;
	case KEY_VCPUS:
		errno = 0;
		vcpus = strtoul(arg, &end, 10);
		if (errno || *end || vcpus < 1 || vcpus > 255)
			argp_error(state, "--vcpus takes 1 to 255, not \"%s\"", arg);
		spec->vcpus = (unsigned int)vcpus;
		return 0;
	case KEY_MACHINE:
		spec->machine = arg;
		return 0;
	case KEY_KERNEL:
		spec->kernel = arg;
		return 0;
	case KEY_INITRD:
		spec->initrd = arg;
		return 0;
	case KEY_APPEND:
		spec->append = arg;
		return 0;
	case KEY_ACCEL:
		spec->accel = arg;
		return 0;
	case KEY_CPU:
		spec->cpu = arg;
		return 0;
	case KEY_READY:
		spec->ready_line = arg;
		return 0;
	case KEY_REPLACE:
		spec->replace = true;
		return 0;
	case KEY_QUIET:
		build->quiet = true;
		return 0;
	case ARGP_KEY_ARG:
		if (spec->name)
			argp_error(state, "one name, not \"%s\" as well", arg);
		spec->name = arg;
		return 0;
	case ARGP_KEY_END:
		if (!spec->name)
			argp_error(state, "a name for the template is missing");
		if (!spec->kernel)
			argp_error(state, "--kernel is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp build_argp = {
	.options = build_options,
	.parser = parse_build,
	.args_doc = "NAME",
	.doc = "Boots a guest once until it is ready, and freezes it as a template.",
	.children = cli_all,
};

static void show_progress(void *data, const char *stage, const char *line)
{
	const struct cli_template_build *build = data;

	if (!build->quiet || strcmp(stage, "boot") != 0)
		fprintf(stderr, "  %-7s %s\n", stage, line);
}

static void print_built(const struct cli *cli, const struct torpor_template_info *info,
	const struct torpor_template_report *report)
{
	if (cli->json) {
		json_t *json = info_json(info);
		json_object_update_new(
			json, json_pack("{s:I, s:I, s:I}", "probe_ns", (json_int_t)report->probe_ns,
				      "freeze_ns", (json_int_t)report->freeze_ns, "save_ns",
				      (json_int_t)report->save_ns));
		cli_print_json(json);
		return;
	}
	printf("Template %s: %s of memory on %s (%s, %s), %s on disk.\n", info->name,
		cli_size(info->memory), info->machine_type, info->accel, info->cpu,
		cli_size(info->image_bytes));
	printf("Booted in %s, frozen in %s, saved in %s. Identity %.16s.\n",
		cli_time(report->boot_ns), cli_time(report->freeze_ns), cli_time(report->save_ns),
		info->id);
	if (!info->helper)
		printf("Its guest has no torpor-helper: clones share their random state, and "
		       "commands "
		       "run without streamed output.\n");
}

static struct torpor_error *build_and_print(
	struct cli *cli, struct torpor_engine *engine, struct cli_template_build *build)
{
	struct torpor_template_report report;
	struct torpor_template_info info;
	struct torpor_template *tmpl;
	struct torpor_error *err = torpor_template_build(engine, &build->spec,
		cli->json ? NULL : show_progress, build, &cli->call, &report, &tmpl);

	if (err)
		return err;
	err = torpor_template_info(tmpl, &info);
	torpor_template_close(tmpl);
	if (!err)
		print_built(cli, &info, &report);
	return err;
}

static int run_build(struct cli *cli, int argc, char **argv)
{
	struct cli_template_build build = {.cli = cli};
	struct torpor_engine *engine;

	argp_parse(&build_argp, argc, argv, 0, NULL, &build);
	if (cli_template_is_remote(cli))
		return cli_template_build_remote(cli, &build);
	struct torpor_error *err = cli_open(cli, &engine);
	if (err)
		return cli_finish(cli, err);
	err = build_and_print(cli, engine, &build);
	torpor_engine_close(engine);
	return cli_finish(cli, err);
}

/* --- ls, inspect, rm --- */

static error_t parse_named(int key, char *arg, struct argp_state *state)
{
	struct cli_template_named *named = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = named->cli;
		return 0;
	case ARGP_KEY_ARG:
		if (named->name || !named->needed)
			argp_error(state, "\"%s\" is one argument too many", arg);
		named->name = arg;
		return 0;
	case KEY_FORCE:
		named->force = true;
		return 0;
	case ARGP_KEY_END:
		if (named->needed && !named->name)
			argp_error(state, "the template's name is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void print_list(const struct cli *cli, const struct torpor_template_info *infos, size_t n)
{
	if (cli->json) {
		json_t *list = json_array();
		for (size_t i = 0; i < n; i++)
			json_array_append_new(list, info_json(&infos[i]));
		cli_print_json(list);
		return;
	}
	if (n == 0) {
		printf("There are no templates yet. `torpor template build NAME --kernel FILE` "
		       "makes "
		       "one.\n");
		return;
	}
	printf("%-20s %-14s %-5s %10s %6s %10s  %s\n", "NAME", "MACHINE", "ACCEL", "MEMORY",
		"VCPUS", "ON DISK", "ID");
	for (size_t i = 0; i < n; i++)
		printf("%-20s %-14s %-5s %10s %6u %10s  %.12s\n", infos[i].name,
			infos[i].machine_type, infos[i].accel, cli_size(infos[i].memory),
			infos[i].vcpus, cli_size(infos[i].image_bytes), infos[i].id);
}

static void print_info(const struct cli *cli, const struct torpor_template_info *info)
{
	if (cli->json) {
		cli_print_json(info_json(info));
		return;
	}
	printf("name      %s\nidentity  %s\nmachine   %s\naccel     %s\ncpu       %s\n", info->name,
		info->id, info->machine_type, info->accel, info->cpu);
	printf("qemu      %s\nmemory    %s\nvcpus     %u\nhelper    %s\nagent     %s\n",
		info->qemu_version, cli_size(info->memory), info->vcpus,
		info->helper ? "yes" : "no", info->agent ? "yes" : "no");
	printf("boot      %s\non disk   %s\n", cli_time(info->boot_ns),
		cli_size(info->image_bytes));
}

static struct torpor_error *list(struct cli *cli, struct torpor_engine *engine, const char *name)
{
	struct torpor_template_info *infos;
	size_t n;

	(void)name;
	struct torpor_error *err = torpor_template_list(engine, &infos, &n);
	if (err)
		return err;
	print_list(cli, infos, n);
	free(infos);
	return NULL;
}

static struct torpor_error *inspect(struct cli *cli, struct torpor_engine *engine, const char *name)
{
	struct torpor_template_info info;
	struct torpor_error *err = torpor_template_lookup(engine, name, &info);

	if (!err)
		print_info(cli, &info);
	return err;
}

static struct torpor_error *remove_one(
	struct cli *cli, struct torpor_engine *engine, const char *name)
{
	struct torpor_error *err = torpor_template_remove(engine, name);

	if (!err && cli->json)
		cli_print_json(json_pack("{s:s}", "removed", name));
	return err;
}

static const struct argp_option rm_options[] = {
	{"force", KEY_FORCE, NULL, 0,
		"Of torpord's: even while sessions need it, which can't be resumed any more then",
		0},
	{0},
};

struct named_command {
	const char *doc;
	bool needed;
	const struct argp_option *options;
	struct torpor_error *(*act)(struct cli *, struct torpor_engine *, const char *);
	int (*act_remote)(struct cli *, struct cli_template_named *);
};

static int run_named(struct cli *cli, int argc, char **argv, const struct named_command *command)
{
	struct cli_template_named named = {.cli = cli, .needed = command->needed};
	struct argp argp = {
		.options = command->options,
		.parser = parse_named,
		.args_doc = command->needed ? "NAME" : "",
		.doc = command->doc,
		.children = cli_all,
	};
	struct torpor_engine *engine;

	argp_parse(&argp, argc, argv, 0, NULL, &named);
	if (cli_template_is_remote(cli))
		return command->act_remote(cli, &named);
	struct torpor_error *err = cli_open(cli, &engine);
	if (err)
		return cli_finish(cli, err);
	err = command->act(cli, engine, named.name);
	torpor_engine_close(engine);
	return cli_finish(cli, err);
}

static int run_ls(struct cli *cli, int argc, char **argv)
{
	static const struct named_command ls = {
		.doc = "Lists the stored templates.",
		.act = list,
		.act_remote = cli_template_list_remote,
	};

	return run_named(cli, argc, argv, &ls);
}

static int run_inspect(struct cli *cli, int argc, char **argv)
{
	static const struct named_command inspects = {
		.doc = "Shows one template.",
		.needed = true,
		.act = inspect,
		.act_remote = cli_template_inspect_remote,
	};

	return run_named(cli, argc, argv, &inspects);
}

static int run_rm(struct cli *cli, int argc, char **argv)
{
	static const struct named_command removes = {
		.doc = "Removes a template. Sessions parked against it can't be resumed any more.",
		.needed = true,
		.options = rm_options,
		.act = remove_one,
		.act_remote = cli_template_remove_remote,
	};

	return run_named(cli, argc, argv, &removes);
}

int cli_template(struct cli *cli, int argc, char **argv)
{
	static const struct cli_command commands[] = {
		{"build", "boot a guest once and freeze it", run_build},
		{"ls", "list", run_ls},
		{"inspect", "show one", run_inspect},
		{"rm", "remove one", run_rm},
		{0},
	};

	return cli_dispatch(cli, "torpor template", commands, argc - 1, argv + 1);
}
