/* SPDX-License-Identifier: Apache-2.0 */
/* What a QEMU said of itself: asked, kept, and looked up. */
#include "engine/qemu_info.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/inspect.h"
#include "engine/kept.h"

void tp_qemu_info_deinit(struct tp_qemu_info *info)
{
	free(info->version);
	json_decref(info->machines);
	json_decref(info->cpus);
	json_decref(info->features);
	*info = (struct tp_qemu_info){0};
}

/* ---- its replies, made smaller ---- */

/* {name: alias or ""} */
static json_t *machines_from(json_t *replies)
{
	json_t *machines = json_object();
	json_t *entry;
	size_t i;

	json_array_foreach (replies, i, entry) {
		const char *name = json_string_value(json_object_get(entry, "name"));
		const char *alias = json_string_value(json_object_get(entry, "alias"));
		if (name)
			json_object_set_new(machines, name, json_string(alias ? alias : ""));
	}
	return machines;
}

/* {name: {"missing": [...], "alias": "...", "safe": bool}}; without "missing" it wasn't told. */
json_t *tp_qemu_cpus_from(json_t *definitions)
{
	json_t *cpus = json_object();
	json_t *entry;
	size_t i;

	json_array_foreach (definitions, i, entry) {
		const char *name = json_string_value(json_object_get(entry, "name"));
		const char *alias = json_string_value(json_object_get(entry, "alias-of"));
		json_t *missing = json_object_get(entry, "unavailable-features");
		json_t *cpu = json_object();
		if (json_is_array(missing))
			json_object_set(cpu, "missing", missing);
		if (alias)
			json_object_set_new(cpu, "alias", json_string(alias));
		json_object_set_new(cpu, "safe",
			json_boolean(json_is_true(json_object_get(entry, "migration-safe"))));
		if (name)
			json_object_set(cpus, name, cpu);
		json_decref(cpu);
	}
	return cpus;
}

/* {feature: true} of those that the largest model has here. */
static json_t *features_from(json_t *expansion)
{
	json_t *props = json_object_get(json_object_get(expansion, "model"), "props");
	json_t *features = json_object();
	const char *key;
	json_t *value;

	json_object_foreach (props, key, value) {
		TP_FREE char *name = tp_strdup(key);
		tp_qemu_spell_feature(name);
		if (json_is_true(value))
			json_object_set_new(features, name, json_true());
	}
	return features;
}

static bool has_entry(json_t *list, const char *key, const char *name)
{
	json_t *entry;
	size_t i;

	json_array_foreach (list, i, entry) {
		const char *found = json_string_value(json_object_get(entry, key));
		if (found && strcmp(found, name) == 0)
			return true;
	}
	return false;
}

/* The entry of the schema of that name, borrowed, or NULL. Types have numbers for names. */
static json_t *schema_entry(json_t *schema, const char *name)
{
	json_t *entry;
	size_t i;

	json_array_foreach (schema, i, entry) {
		const char *found = json_string_value(json_object_get(entry, "name"));
		if (found && strcmp(found, name) == 0)
			return entry;
	}
	return NULL;
}

static bool command_takes(json_t *schema, const char *command, const char *argument)
{
	json_t *entry = schema_entry(schema, command);
	const char *type = json_string_value(json_object_get(entry, "arg-type"));
	json_t *object = type ? schema_entry(schema, type) : NULL;

	return has_entry(json_object_get(object, "members"), "name", argument);
}

uint32_t tp_qemu_traits_from(json_t *schema, json_t *backend, json_t *machine, json_t *options)
{
	uint32_t traits = 0;

	if (!has_entry(options, "option", "sandbox"))
		traits |= TP_QEMU_NO_SANDBOX;
	if (!has_entry(machine, "name", "suppress-vmdesc"))
		traits |= TP_QEMU_NO_SUPPRESS_VMDESC;
	if (!schema_entry(schema, "xen-save-devices-state"))
		traits |= TP_QEMU_NO_SAVE_DEVICES;
	if (has_entry(backend, "name", "rom"))
		traits |= TP_QEMU_READONLY_RAM;
	if (command_takes(schema, "migrate-incoming", "exit-on-error"))
		traits |= TP_QEMU_STAYS;
	return traits;
}

/* ---- asking ---- */

static struct torpor_error *ask(struct tp_inspector *inspector, const char *command, json_t *args,
	const struct tp_call *call, json_t **reply_out)
{
	return tp_inspect(inspector, command, args, call, reply_out);
}

static struct torpor_error *ask_properties(struct tp_inspector *inspector, const char *type,
	const struct tp_call *call, json_t **reply_out)
{
	return ask(inspector, "qom-list-properties", json_pack("{s:s}", "typename", type), call,
		reply_out);
}

static void json_decref_cleanup_(json_t **json)
{
	json_decref(*json);
}
#define JSON __attribute__((cleanup(json_decref_cleanup_)))

static struct torpor_error *ask_traits(
	struct tp_inspector *inspector, const struct tp_call *call, uint32_t *traits_out)
{
	JSON json_t *schema = NULL;
	JSON json_t *backend = NULL;
	JSON json_t *machine = NULL;
	JSON json_t *options = NULL;

	TP_TRY(ask(inspector, "query-qmp-schema", NULL, call, &schema));
	TP_TRY(ask_properties(inspector, "memory-backend-file", call, &backend));
	TP_TRY(ask_properties(inspector, "machine", call, &machine));
	TP_TRY(ask(inspector, "query-command-line-options", NULL, call, &options));
	*traits_out = tp_qemu_traits_from(schema, backend, machine, options);
	return NULL;
}

static struct torpor_error *ask_all(
	struct tp_inspector *inspector, const struct tp_call *call, struct tp_qemu_info *info)
{
	JSON json_t *machines = NULL;
	JSON json_t *definitions = NULL;
	JSON json_t *expansion = NULL;
	json_t *max = json_pack("{s:s, s:{s:s}}", "type", "static", "model", "name", "max");

	TP_TRY(ask(inspector, "query-cpu-model-expansion", max, call, &expansion));
	TP_TRY(ask(inspector, "query-machines", NULL, call, &machines));
	TP_TRY(ask(inspector, "query-cpu-definitions", NULL, call, &definitions));
	TP_TRY(ask_traits(inspector, call, &info->traits));
	info->version = tp_strdup(tp_inspect_version(inspector));
	info->machines = machines_from(machines);
	info->cpus = tp_qemu_cpus_from(definitions);
	info->features = features_from(expansion);
	return NULL;
}

/* ---- keeping ---- */

static json_t *info_to_json(const struct tp_qemu_info *info)
{
	return json_pack("{s:s, s:I, s:O, s:O, s:O}", "version", info->version, "traits",
		(json_int_t)info->traits, "machines", info->machines, "cpus", info->cpus,
		"features", info->features);
}

/* Of each machine type another name, or "". */
static bool are_machines(json_t *json)
{
	const char *name;
	json_t *alias;

	json_object_foreach (json, name, alias) {
		if (!json_is_string(alias))
			return false;
	}
	return json_is_object(json);
}

static bool info_from_json(json_t *json, struct tp_qemu_info *info)
{
	const char *version;
	json_int_t traits;
	json_t *machines, *cpus, *features;

	if (json_unpack(json, "{s:s, s:I, s:o, s:o, s:o}", "version", &version, "traits", &traits,
		    "machines", &machines, "cpus", &cpus, "features", &features) < 0 ||
		traits < 0 || traits > UINT32_MAX || !are_machines(machines) ||
		!json_is_object(cpus) || !json_is_object(features))
		return false;
	*info = (struct tp_qemu_info){
		.version = tp_strdup(version),
		.traits = (uint32_t)traits,
		.machines = json_incref(machines),
		.cpus = json_incref(cpus),
		.features = json_incref(features),
	};
	return true;
}

struct torpor_error *tp_qemu_ask(const struct tp_direct_options *options, enum tp_accel accel,
	const char *cache_path, const struct tp_call *call, struct tp_qemu_info *info_out)
{
	const char *qemu = options->qemu ? options->qemu : TP_DEFAULT_QEMU;
	TP_CLEANUP(tp_inspector_end) struct tp_inspector *inspector = NULL;
	TP_QEMU_INFO struct tp_qemu_info info = {0};
	TP_KEPT struct tp_kept kept = {0};
	TP_FREE char *program = NULL;

	struct torpor_error *err = tp_program_identity(qemu, &program);
	if (err)
		return tp_error_hint(err, "Install qemu-system-x86, or name another QEMU.");
	TP_FREE char *key = tp_asprintf("qemu|%s|%s", program, tp_accel_name(accel));
	TP_TRY(tp_kept_open(cache_path, key, &kept));
	if (!info_from_json(tp_kept_entry(&kept), &info)) {
		TP_TRY(tp_inspector_start(options, accel, call, &inspector));
		TP_TRY(ask_all(inspector, call, &info));
		tp_kept_put(&kept, info_to_json(&info));
	}
	*info_out = info;
	info = (struct tp_qemu_info){0};
	return NULL;
}

/* ---- looking up: machines ---- */

struct torpor_error *tp_qemu_machine(
	const struct tp_qemu_info *info, const char *alias, char **machine_type_out)
{
	const char *name;
	json_t *of;

	if (json_object_get(info->machines, alias)) {
		*machine_type_out = tp_strdup(alias);
		return NULL;
	}
	json_object_foreach (info->machines, name, of) {
		if (*alias && strcmp(json_string_value(of), alias) == 0) {
			*machine_type_out = tp_strdup(name);
			return NULL;
		}
	}
	return tp_error(TORPOR_E_UNSUPPORTED, "look up machine", alias,
		"QEMU %s has none of that name", info->version);
}

/* ---- versions ---- */

/* "7.2.22" as a number that compares; what isn't a version counts as 0. */
static uint64_t version_number(const char *version)
{
	unsigned int part[3] = {0};

	if (sscanf(version, "%u.%u.%u", &part[0], &part[1], &part[2]) < 1)
		return 0;
	return (uint64_t)part[0] << 40 | (uint64_t)(part[1] & 0xfffff) << 20 | (part[2] & 0xfffff);
}

bool tp_qemu_is_older(const char *here, const char *wrote)
{
	return version_number(here) < version_number(wrote);
}

char *tp_qemu_version_why_not(enum tp_machine machine, const char *here, const char *wrote)
{
	if (tp_qemu_is_older(here, wrote))
		return tp_asprintf(
			"QEMU %s wrote it, and this host's is the older %s", wrote, here);
	if (machine == TP_MACHINE_MICROVM &&
		version_number(here) >> 20 != version_number(wrote) >> 20)
		return tp_asprintf(
			"QEMU %s wrote it, and a microvm, which has no versions, goes to "
			"no other than that: this host's is %s",
			wrote, here);
	return NULL;
}
