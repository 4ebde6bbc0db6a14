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

/* Features have several spellings: sse4.1, sse4_1, sse4-1. In place. */
static void spell(char *feature)
{
	for (; *feature; feature++) {
		if (*feature == '.' || *feature == '_')
			*feature = '-';
	}
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
		spell(name);
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

static bool info_from_json(json_t *json, struct tp_qemu_info *info)
{
	const char *version;
	json_int_t traits;
	json_t *machines, *cpus, *features;

	if (json_unpack(json, "{s:s, s:I, s:o, s:o, s:o}", "version", &version, "traits", &traits,
		    "machines", &machines, "cpus", &cpus, "features", &features) < 0 ||
		traits < 0 || traits > UINT32_MAX || !json_is_object(machines) ||
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

/* ---- looking up: CPU models ---- */

/* MODEL less the features in MISSING, an array of strings. */
static char *model_without(const char *model, json_t *missing)
{
	char *edited = tp_strdup(model);
	json_t *feature;
	size_t i;

	json_array_foreach (missing, i, feature) {
		const char *name = json_string_value(feature);
		char *longer = tp_asprintf("%s,-%s", edited, name ? name : "");
		free(edited);
		edited = longer;
	}
	return edited;
}

static json_t *missing_of(const struct tp_qemu_info *info, const char *name)
{
	return json_object_get(json_object_get(info->cpus, name), "missing");
}

struct torpor_error *tp_qemu_cpu_choose(const struct tp_qemu_info *info, char **cpu_model_out)
{
	static const char *const wanted[] = {"Westmere-v1", "Nehalem-v1", "qemu64-v1"};
	json_t *missing = NULL;

	for (size_t i = 0; i < TP_ARRAY_LEN(wanted); i++) {
		missing = missing_of(info, wanted[i]);
		if (missing && json_array_size(missing) == 0) {
			*cpu_model_out = tp_strdup(wanted[i]);
			return NULL;
		}
	}
	/* The last one is the smallest. What it lacks is left out, in a name that must be sound. */
	const char *smallest = wanted[TP_ARRAY_LEN(wanted) - 1];
	if (!missing)
		return tp_error(TORPOR_E_UNSUPPORTED, "choose a CPU model", NULL,
			"this QEMU has no %s or doesn't say what the host lacks for it", smallest);
	TP_FREE char *model = model_without(smallest, missing);
	if (!tp_cpu_model_ok(model))
		return tp_error(TORPOR_E_UNSUPPORTED, "choose a CPU model", NULL,
			"the host lacks too much for %s", smallest);
	*cpu_model_out = TP_TAKE(model);
	return NULL;
}

/* The name alone, the caller's; *EDITS_OUT is what follows it, "" or from the comma on. */
static char *name_of(const char *model, const char **edits_out)
{
	size_t len = strcspn(model, ",");

	*edits_out = model + len;
	return tp_strndup(model, len);
}

/* NAME-vN of the largest N that there is, the caller's; NULL if there is none. */
static char *newest_version(const struct tp_qemu_info *info, const char *name)
{
	char *newest = NULL;

	for (unsigned int v = 1; v < 100; v++) {
		char *versioned = tp_asprintf("%s-v%u", name, v);
		if (!json_object_get(info->cpus, versioned)) {
			free(versioned);
			continue;
		}
		free(newest);
		newest = versioned;
	}
	return newest;
}

/*
 * What a name without version stands for: on microvm, whose machine type has no version either, the
 * newest, elsewhere what QEMU says (QEMU: hw/i386/microvm.c, x86_cpu_set_default_version).
 */
static char *version_of(const struct tp_qemu_info *info, const char *name, enum tp_machine machine)
{
	json_t *cpu = json_object_get(info->cpus, name);
	const char *alias = json_string_value(json_object_get(cpu, "alias"));

	if (machine == TP_MACHINE_MICROVM) {
		char *newest = newest_version(info, name);
		if (newest)
			return newest;
	}
	return tp_strdup(alias ? alias : name);
}

/* NAME-vN: what versioned models are called in all QEMUs. */
static bool has_version(const char *name)
{
	const char *v = strrchr(name, '-');

	return v && v[1] == 'v' && v[2] && strspn(v + 2, "0123456789") == strlen(v + 2);
}

bool tp_qemu_cpu_portable(const struct tp_qemu_info *info, const char *model)
{
	const char *edits;
	TP_FREE char *name = name_of(model, &edits);
	json_t *cpu = json_object_get(info->cpus, name);

	if (!cpu)
		return has_version(name);
	return json_is_true(json_object_get(cpu, "safe")) && !json_object_get(cpu, "alias");
}

struct torpor_error *tp_qemu_cpu_resolve(const struct tp_qemu_info *info, const char *model,
	enum tp_machine machine, char **cpu_model_out)
{
	static const char step[] = "look up CPU model";
	const char *edits;
	TP_FREE char *name = name_of(model, &edits);
	json_t *cpu = json_object_get(info->cpus, name);

	if (!tp_cpu_model_ok(model))
		return tp_error(TORPOR_E_INVALID, step, model,
			"it is no model's name with feature edits (NAME,+FEATURE,-FEATURE)");
	if (!cpu)
		return tp_error_hint(tp_error(TORPOR_E_UNSUPPORTED, step, name,
					     "QEMU %s has none of that name", info->version),
			"`qemu-system-x86_64 -cpu help` lists those that it has.");
	if (!json_is_true(json_object_get(cpu, "safe"))) {
		TP_FREE char *best = NULL;
		TP_ERROR struct torpor_error *none = tp_qemu_cpu_choose(info, &best);
		return tp_error_hint(tp_error(TORPOR_E_UNSUPPORTED, step, name,
					     "it is another CPU on every host, so what is parked "
					     "with it could be resumed nowhere else"),
			"Name a model with its version%s%s, or none: then the best portable one of "
			"this host is taken.",
			none ? "" : ", such as ", none ? "" : best);
	}
	TP_FREE char *versioned = version_of(info, name, machine);
	*cpu_model_out = tp_asprintf("%s%s", versioned, edits);
	return NULL;
}

/* Appends ", WORD" to *LIST, or makes it WORD. */
static void append(char **list, const char *word)
{
	char *longer = tp_asprintf("%s%s%s", *list ? *list : "", *list ? ", " : "", word);

	free(*list);
	*list = longer;
}

/* What the edits of a model turn on and off, as {feature: bool}. A new reference. */
static json_t *parse_edits(const char *edits)
{
	json_t *features = json_object();

	while (*edits == ',') {
		size_t len = strcspn(edits + 2, ",");
		TP_FREE char *feature = tp_strndup(edits + 2, len);
		spell(feature);
		json_object_set_new(features, feature, json_boolean(edits[1] == '+'));
		edits += 2 + len;
	}
	return features;
}

/* What MISSING holds and EDITS don't turn off, and what they turn on and the host hasn't got. */
static char *list_missing(const struct tp_qemu_info *info, json_t *missing, json_t *edits)
{
	char *list = NULL;
	const char *name;
	json_t *value;
	size_t i;

	json_array_foreach (missing, i, value) {
		TP_FREE char *feature = tp_strdup(json_string_value(value));
		if (!feature)
			continue;
		spell(feature);
		if (!json_object_get(edits, feature))
			append(&list, json_string_value(value));
	}
	json_object_foreach (edits, name, value) {
		if (json_is_true(value) && !json_object_get(info->features, name))
			append(&list, name);
	}
	return list;
}

char *tp_qemu_cpu_why_not(const struct tp_qemu_info *info, const char *model)
{
	const char *edits;
	TP_FREE char *name = name_of(model, &edits);
	json_t *cpu = json_object_get(info->cpus, name);
	JSON json_t *wanted = NULL;

	if (!tp_cpu_model_ok(model) || !cpu)
		return tp_asprintf("QEMU %s has no CPU model %s", info->version, name);
	wanted = parse_edits(edits);
	TP_FREE char *list = list_missing(info, json_object_get(cpu, "missing"), wanted);
	return list ? tp_asprintf("the host lacks %s", list) : NULL;
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
