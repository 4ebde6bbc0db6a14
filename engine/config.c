/* SPDX-License-Identifier: Apache-2.0 */
/* Guest configurations: checks, comparison, JSON. */
#include "engine/config.h"

#include <string.h>

#include "base/mem.h"
#include "engine/foreign.h"

#define GUEST_NAME_MAX 64

#define ALNUM "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static const char *const machine_names[] = {
	[TP_MACHINE_PC] = "pc",
	[TP_MACHINE_MICROVM] = "microvm",
	[TP_MACHINE_Q35] = "q35",
};
static_assert(TP_ARRAY_LEN(machine_names) == TP_MACHINE_Q35 + 1, "every machine has a name");

static const char *const accel_names[] = {
	[TP_ACCEL_KVM] = "kvm",
	[TP_ACCEL_TCG] = "tcg",
};
static_assert(TP_ARRAY_LEN(accel_names) == TP_ACCEL_TCG + 1, "every accelerator has a name");

const char *tp_machine_name(enum tp_machine machine)
{
	assert(machine < TP_ARRAY_LEN(machine_names));
	return machine_names[machine];
}

const char *tp_accel_name(enum tp_accel accel)
{
	assert(accel < TP_ARRAY_LEN(accel_names));
	return accel_names[accel];
}

/* The index of NAME in NAMES, or N. */
static size_t index_of(const char *name, const char *const *names, size_t n)
{
	size_t i = 0;

	while (i < n && strcmp(name, names[i]) != 0)
		i++;
	return i;
}

bool tp_machine_from_name(const char *name, enum tp_machine *machine_out)
{
	size_t i = index_of(name, machine_names, TP_ARRAY_LEN(machine_names));

	if (i == TP_ARRAY_LEN(machine_names))
		return false;
	*machine_out = (enum tp_machine)i;
	return true;
}

bool tp_accel_from_name(const char *name, enum tp_accel *accel_out)
{
	size_t i = index_of(name, accel_names, TP_ARRAY_LEN(accel_names));

	if (i == TP_ARRAY_LEN(accel_names))
		return false;
	*accel_out = (enum tp_accel)i;
	return true;
}

bool tp_guest_name_ok(const char *name)
{
	size_t len = strlen(name);

	return len >= 1 && len <= GUEST_NAME_MAX && strspn(name, ALNUM "._-") == len &&
	       name[0] != '.' && name[0] != '-';
}

void tp_guest_config_deinit(struct tp_guest_config *config)
{
	free(config->machine_type);
	free(config->cpu_model);
	free(config->qemu_version);
	json_decref(config->foreign);
	*config = (struct tp_guest_config){0};
}

struct tp_guest_config tp_guest_config_copy(const struct tp_guest_config *config)
{
	struct tp_guest_config copy = *config;

	copy.machine_type = tp_strdup(config->machine_type);
	copy.cpu_model = tp_strdup(config->cpu_model);
	copy.qemu_version = tp_strdup(config->qemu_version);
	copy.foreign = json_incref(config->foreign);
	return copy;
}

/*
 * The strings end up in QEMU's option syntax, where a comma starts the next option: only what
 * can't be mistaken for syntax passes.
 */
static bool made_of(const char *s, const char *accepted)
{
	size_t len = s ? strlen(s) : 0;

	return len >= 1 && len <= TP_CONFIG_STRING_MAX && strspn(s, accepted) == len;
}

/* MODEL *( "," ( "+" / "-" ) FEATURE ) */
bool tp_cpu_model_ok(const char *model)
{
	if (!made_of(model, ALNUM "._-+,"))
		return false;
	size_t len = strcspn(model, ",");
	if (len == 0 || memchr(model, '+', len))
		return false;
	while (model[len] == ',') {
		model += len + 1;
		if (*model != '+' && *model != '-')
			return false;
		model++;
		len = strcspn(model, ",");
		if (len == 0 || memchr(model, '+', len))
			return false;
	}
	return true;
}

static struct torpor_error *bad(const char *field, const char *why)
{
	return tp_error(TORPOR_E_INVALID, "check configuration", NULL, "%s %s", field, why);
}

struct torpor_error *tp_guest_config_check(const struct tp_guest_config *config)
{
	if (!made_of(config->machine_type, ALNUM "._-"))
		return bad("machine_type", "is no machine type's name");
	if (config->machine >= TP_ARRAY_LEN(machine_names))
		return bad("machine", "is unknown");
	if (config->accel >= TP_ARRAY_LEN(accel_names))
		return bad("accel", "is unknown");
	if (!tp_cpu_model_ok(config->cpu_model))
		return bad("cpu", "is no model with feature edits");
	if (config->memory_bytes < TP_CONFIG_MEMORY_MIN ||
		config->memory_bytes > TP_CONFIG_MEMORY_MAX ||
		config->memory_bytes % TP_CONFIG_MEMORY_UNIT != 0)
		return bad("memory", "is not a whole number of MiB up to 1 TiB");
	if (config->vcpus < 1 || config->vcpus > TP_CONFIG_VCPUS_MAX)
		return bad("vcpus", "is not within 1 to 255");
	if (!made_of(config->qemu_version, "0123456789."))
		return bad("qemu_version", "is no version");
	if (config->foreign && config->machine == TP_MACHINE_MICROVM)
		return bad("foreign", "is not for microvm");
	return config->foreign ? tp_foreign_check(config->foreign) : NULL;
}

const char *tp_guest_config_difference(
	const struct tp_guest_config *a, const struct tp_guest_config *b)
{
	if (a->machine != b->machine)
		return "machine";
	if (strcmp(a->machine_type, b->machine_type) != 0)
		return "machine_type";
	if (a->accel != b->accel)
		return "accel";
	if (strcmp(a->cpu_model, b->cpu_model) != 0)
		return "cpu";
	if (a->memory_bytes != b->memory_bytes)
		return "memory";
	if (a->vcpus != b->vcpus)
		return "vcpus";
	if (strcmp(a->qemu_version, b->qemu_version) != 0)
		return "qemu_version";
	if (a->channels != b->channels)
		return "channels";
	/* No guest of a template has one. */
	if ((a->foreign || b->foreign) && !json_equal(a->foreign, b->foreign))
		return "foreign";
	return NULL;
}

json_t *tp_guest_config_to_json(const struct tp_guest_config *config)
{
	json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:I, s:i, s:s, s:b}", "machine",
		tp_machine_name(config->machine), "machine_type", config->machine_type, "accel",
		tp_accel_name(config->accel), "cpu", config->cpu_model, "memory",
		(json_int_t)config->memory_bytes, "vcpus", (int)config->vcpus, "qemu_version",
		config->qemu_version, "channels", (int)config->channels);

	assert(json);
	if (config->foreign)
		json_object_set(json, "foreign", config->foreign);
	return json;
}

/* C strings end at a NUL that JSON strings may hold: what stands behind it must not be lost. */
static bool holds_nul(json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach (object, key, value) {
		if (json_is_string(value) &&
			strlen(json_string_value(value)) != json_string_length(value))
			return true;
	}
	return false;
}

struct torpor_error *tp_guest_config_from_json(json_t *json, struct tp_guest_config *config_out)
{
	const char *machine;
	const char *machine_type;
	const char *accel;
	const char *cpu;
	const char *version;
	json_int_t memory;
	int vcpus;
	int channels;
	json_error_t why;
	json_t *foreign = NULL;
	enum tp_machine machine_id;
	enum tp_accel accel_id;

	if (json_unpack_ex(json, &why, JSON_STRICT, "{s:s, s:s, s:s, s:s, s:I, s:i, s:s, s:b, s?o}",
		    "machine", &machine, "machine_type", &machine_type, "accel", &accel, "cpu",
		    &cpu, "memory", &memory, "vcpus", &vcpus, "qemu_version", &version, "channels",
		    &channels, "foreign", &foreign) < 0)
		return tp_error(TORPOR_E_CORRUPT, "read configuration", NULL, "%s", why.text);
	if (holds_nul(json))
		return tp_error(TORPOR_E_CORRUPT, "read configuration", NULL, "a string has a NUL");
	if (!tp_machine_from_name(machine, &machine_id))
		return tp_error(TORPOR_E_CORRUPT, "read configuration", NULL,
			"machine is none of pc, q35, microvm");
	if (!tp_accel_from_name(accel, &accel_id))
		return tp_error(TORPOR_E_CORRUPT, "read configuration", NULL,
			"accel is neither kvm nor tcg");

	struct tp_guest_config config = {
		.machine_type = (char *)machine_type,
		.machine = machine_id,
		.accel = accel_id,
		.cpu_model = (char *)cpu,
		.memory_bytes = memory < 0 ? 0 : (uint64_t)memory,
		.vcpus = vcpus < 0 ? 0 : (unsigned int)vcpus,
		.qemu_version = (char *)version,
		.channels = channels,
		.foreign = foreign,
	};
	struct torpor_error *err = tp_guest_config_check(&config);
	if (err)
		return tp_error_in(
			tp_error_recode(err, TORPOR_E_CORRUPT), "read configuration", NULL);
	*config_out = tp_guest_config_copy(&config);
	return NULL;
}
