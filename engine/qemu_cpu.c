/* SPDX-License-Identifier: Apache-2.0 */
/* CPU models, by what a QEMU said of them. */
#include <string.h>

#include "base/mem.h"
#include "engine/qemu_info.h"

void tp_qemu_spell_feature(char *feature)
{
	for (; *feature; feature++) {
		if (*feature == '.' || *feature == '_')
			*feature = '-';
	}
}

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
		tp_qemu_spell_feature(feature);
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
		tp_qemu_spell_feature(feature);
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

	if (!tp_cpu_model_ok(model) || !cpu)
		return tp_asprintf("QEMU %s has no CPU model %s", info->version, name);
	json_t *wanted = parse_edits(edits);
	TP_FREE char *list = list_missing(info, json_object_get(cpu, "missing"), wanted);
	json_decref(wanted);
	return list ? tp_asprintf("the host lacks %s", list) : NULL;
}
