/* SPDX-License-Identifier: Apache-2.0 */
/* torpor template, through torpord. */
#include <stdlib.h>
#include <string.h>

#include "cli/template.h"

#define TEMPLATES "/v1/templates/"

bool cli_template_is_remote(const struct cli *cli)
{
	return cli->remote.socket_path || cli->remote.url;
}

static void print_template(const json_t *t)
{
	printf("%-20s %-14s %-5s %10s %6jd %10s  %-9s %.12s\n", cli_field(t, "name"),
		cli_field(t, "machine"), cli_field(t, "accel"),
		cli_size((uint64_t)cli_integer(t, "memory_bytes")),
		(intmax_t)cli_integer(t, "vcpus"),
		cli_size((uint64_t)cli_integer(t, "image_bytes")), cli_field(t, "state"),
		cli_field(t, "id"));
}

static struct torpor_error *list(struct cli *cli, struct torpor_client *client, void *input)
{
	json_t *json;
	json_t *t;
	size_t i;
	struct torpor_error *err = cli_ask(cli, client, "GET", "/v1/templates", NULL, &json);

	(void)input;
	if (err)
		return err;
	if (cli->json) {
		cli_print_json(json);
		return NULL;
	}
	printf("%-20s %-14s %-5s %10s %6s %10s  %-9s %s\n", "NAME", "MACHINE", "ACCEL", "MEMORY",
		"VCPUS", "ON DISK", "STATE", "ID");
	json_array_foreach (json_object_get(json, "templates"), i, t)
		print_template(t);
	json_decref(json);
	return NULL;
}

static struct torpor_error *inspect(struct cli *cli, struct torpor_client *client, void *input)
{
	const struct cli_template_named *named = input;
	char *path = cli_path(TEMPLATES, named->name, "");
	json_t *json;
	struct torpor_error *err = cli_ask(cli, client, "GET", path, NULL, &json);

	free(path);
	if (err)
		return err;
	if (cli->json) {
		cli_print_json(json);
		return NULL;
	}
	/* The identity is longer than a field. */
	const char *id = json_string_value(json_object_get(json, "id"));
	printf("name      %s\nidentity  %s\nmachine   %s\naccel     %s\ncpu       %s\n",
		cli_field(json, "name"), id ? id : "-", cli_field(json, "machine"),
		cli_field(json, "accel"), cli_field(json, "cpu"));
	printf("qemu      %s\nmemory    %s\nvcpus     %jd\nboot      %s\non disk   %s\nstate     "
	       "%s\n",
		cli_field(json, "qemu"), cli_size((uint64_t)cli_integer(json, "memory_bytes")),
		(intmax_t)cli_integer(json, "vcpus"),
		cli_time((uint64_t)(cli_real(json, "boot_ms") * 1e6)),
		cli_size((uint64_t)cli_integer(json, "image_bytes")), cli_field(json, "state"));
	if (json_is_string(json_object_get(json, "reason")))
		printf("reason    %s\n", cli_field(json, "reason"));
	json_decref(json);
	return NULL;
}

static struct torpor_error *remove_it(struct cli *cli, struct torpor_client *client, void *input)
{
	const struct cli_template_named *named = input;
	char *path = cli_path(TEMPLATES, named->name, named->force ? "?force=true" : "");
	struct torpor_error *err = cli_ask(cli, client, "DELETE", path, NULL, NULL);

	free(path);
	if (!err && cli->json)
		cli_print_json(json_pack("{s:s}", "removed", named->name));
	return err;
}

int cli_template_list_remote(struct cli *cli, struct cli_template_named *named)
{
	return cli_with_client(cli, list, named);
}

int cli_template_inspect_remote(struct cli *cli, struct cli_template_named *named)
{
	return cli_with_client(cli, inspect, named);
}

int cli_template_remove_remote(struct cli *cli, struct cli_template_named *named)
{
	return cli_with_client(cli, remove_it, named);
}

/* --- build --- */

struct building {
	struct cli *cli;
	const struct cli_template_build *build;
	json_t *done; /* the template, once it is built */
};

/* Paths are torpord's to open: as they are from the root. */
static json_t *path_json(const char *path)
{
	char *whole = path ? realpath(path, NULL) : NULL;
	json_t *json = path ? json_string(whole ? whole : path) : NULL;

	free(whole);
	return json;
}

static json_t *spec_json(const struct torpor_template_spec *spec)
{
	json_t *body = json_pack("{s:s, s:o*, s:o*, s:s*, s:s*, s:s*, s:s*, s:s*}", "name",
		spec->name, "kernel", path_json(spec->kernel), "initrd", path_json(spec->initrd),
		"append", spec->append, "machine", spec->machine, "accel", spec->accel, "cpu",
		spec->cpu, "ready_line", spec->ready_line);

	if (body && spec->memory)
		json_object_set_new(body, "memory_bytes", json_integer((json_int_t)spec->memory));
	if (body && spec->vcpus)
		json_object_set_new(body, "vcpus", json_integer(spec->vcpus));
	if (body && spec->replace)
		json_object_set_new(body, "replace", json_true());
	return body;
}

static bool on_event(void *data, const struct torpor_client_event *event)
{
	struct building *building = data;
	json_t *json = json_loadb(event->data, event->data_len, 0, NULL);

	if (strcmp(event->type, "done") == 0) {
		building->done = json;
		return false;
	}
	const char *stage = json_string_value(json_object_get(json, "stage"));
	const char *line = json_string_value(json_object_get(json, "line"));
	bool hidden = building->cli->json ||
		      (building->build->quiet && stage && strcmp(stage, "boot") == 0);
	if (strcmp(event->type, "progress") == 0 && stage && line && !hidden)
		fprintf(stderr, "  %-7s %s\n", stage, line);
	json_decref(json);
	return true;
}

static void print_built(const struct cli *cli, json_t *t)
{
	if (cli->json) {
		cli_print_json(t);
		return;
	}
	printf("Template %s: %s of memory on %s (%s, %s), %s on disk.\n", cli_field(t, "name"),
		cli_size((uint64_t)cli_integer(t, "memory_bytes")), cli_field(t, "machine"),
		cli_field(t, "accel"), cli_field(t, "cpu"),
		cli_size((uint64_t)cli_integer(t, "image_bytes")));
	printf("Booted in %s. Identity %.16s.\n",
		cli_time((uint64_t)(cli_real(t, "boot_ms") * 1e6)), cli_field(t, "id"));
	json_decref(t);
}

static struct torpor_error *build(struct cli *cli, struct torpor_client *client, void *input)
{
	struct building *building = input;
	json_t *body = spec_json(&building->build->spec);
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

	json_decref(body);
	struct torpor_error *err = torpor_client_stream(client, "POST", "/v1/templates",
		text ? text : "{}", &cli->call, on_event, building);
	free(text);
	if (!err && building->done)
		print_built(cli, building->done);
	return err;
}

int cli_template_build_remote(struct cli *cli, const struct cli_template_build *spec)
{
	struct building building = {.cli = cli, .build = spec};
	int status = cli_with_client(cli, build, &building);

	if (status == CLI_OK && !building.done) {
		fprintf(stderr, "torpor: torpord closed the connection before the template was "
				"built\n");
		return CLI_FAILED;
	}
	return status;
}
