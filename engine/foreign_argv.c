/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine read off QEMU's command line.
 *
 * Each option is either known to be nothing to the guest, or taken apart, or a reason to refuse:
 * one that is new here may be something that the guest sees.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/config.h"
#include "engine/foreign.h"

#define COMMAND_LINE_MAX (256 * TP_KIB)

static const char step[] = "read command line of";

static struct torpor_error *cannot(const char *what, const char *text)
{
	return tp_error(TORPOR_E_UNSUPPORTED, step, NULL, "it has %s: %.100s", what, text);
}

/* ---- words, as a shell takes them apart ---- */

/* The next word of *AT, unquoted; NULL at the end. The caller's to free. */
static char *next_word(const char **at)
{
	const char *p = *at + strspn(*at, " \t\n");
	char *word = tp_malloc(strlen(p) + 1);
	size_t len = 0;
	char quote = '\0';

	if (!*p) {
		free(word);
		return NULL;
	}
	for (; *p && (quote || !strchr(" \t\n", *p)); p++) {
		if (*p == quote)
			quote = '\0';
		else if (!quote && (*p == '\'' || *p == '"'))
			quote = *p;
		else if (*p == '\\' && quote != '\'' && p[1])
			word[len++] = *++p;
		else
			word[len++] = *p;
	}
	word[len] = '\0';
	*at = p;
	return word;
}

/* ---- "a,b=c,d=e" ---- */

/* Takes KEY=VALUE (or a bare word, whose VALUE is "") off the front of *AT; false at the end. */
static bool next_pair(char **at, char **key_out, char **value_out)
{
	char *pair = *at;

	if (!pair || !*pair)
		return false;
	char *comma = strchr(pair, ',');
	*at = comma ? comma + 1 : NULL;
	if (comma)
		*comma = '\0';
	char *equals = strchr(pair, '=');
	if (equals)
		*equals = '\0';
	*key_out = pair;
	*value_out = equals ? equals + 1 : (char *)"";
	return true;
}

/* ---- the options that count ---- */

struct reading {
	struct tp_guest_config *config;
	json_t *foreign;
	bool has_ram; /* the object that -machine names as its memory */
};

static json_t *part(struct reading *r, const char *name)
{
	return json_object_get(r->foreign, name);
}

static struct torpor_error *read_machine(struct reading *r, char *value)
{
	char *key, *of, *type;

	if (!next_pair(&value, &type, &of))
		return cannot("a machine without a type", "");
	if (strncmp(type, "pc-i440fx-", 10) == 0)
		r->config->machine = TP_MACHINE_PC;
	else if (strncmp(type, "pc-q35-", 7) == 0)
		r->config->machine = TP_MACHINE_Q35;
	else
		return cannot("a machine that is neither pc nor q35", type);
	r->config->machine_type = tp_strdup(type);
	while (next_pair(&value, &key, &of)) {
		if (strcmp(key, "dump-guest-core") == 0 || strcmp(key, "mem-merge") == 0)
			continue;
		if (strcmp(key, "memory-backend") == 0)
			json_object_set_new(r->foreign, "ram_id", json_string(of));
		else if (tp_foreign_machine_option_ok(key, of))
			json_object_set_new(part(r, "machine"), key, json_string(of));
		else
			return cannot("an option of -machine that isn't known", key);
	}
	return NULL;
}

static struct torpor_error *read_accel(struct reading *r, char *value)
{
	char *name, *of;

	if (!next_pair(&value, &name, &of) || !tp_accel_from_name(name, &r->config->accel))
		return cannot("an accelerator that is neither kvm nor tcg", "");
	return NULL;
}

/* "qemu64,svm=off,+x2apic" as Torpor has it: "qemu64,-svm,+x2apic". */
static struct torpor_error *read_cpu(struct reading *r, char *value)
{
	char *key, *of;

	if (!next_pair(&value, &key, &of))
		return cannot("a CPU model without a name", "");
	char *model = tp_strdup(key);
	while (next_pair(&value, &key, &of)) {
		bool on = strcmp(of, "on") == 0;
		bool sign = *key == '+' || *key == '-';
		char *longer = tp_asprintf("%s,%s%s", model, sign ? "" : (on ? "+" : "-"), key);
		free(model);
		model = longer;
		if (!sign && !on && strcmp(of, "off") != 0) {
			free(model);
			return cannot("a CPU model with an option that is no feature", key);
		}
	}
	free(r->config->cpu_model);
	r->config->cpu_model = model;
	return NULL;
}

static struct torpor_error *read_memory(struct reading *r, char *value)
{
	const char *size = strncmp(value, "size=", 5) == 0 ? value + 5 : value;
	uint64_t n;
	char unit = 'M';
	char rest = '\0';

	int got = sscanf(size, "%" SCNu64 "%c%c", &n, &unit, &rest);
	bool kib = unit == 'k' || unit == 'K';
	if (got < 1 || got > 2 || (!kib && unit != 'M') || n > TP_CONFIG_MEMORY_MAX / TP_KIB)
		return cannot("memory that isn't one plain size", value);
	r->config->memory_bytes = n * (kib ? TP_KIB : TP_MIB);
	return NULL;
}

static struct torpor_error *read_smp(struct reading *r, char *value)
{
	char *key, *of;
	unsigned int n;

	while (next_pair(&value, &key, &of)) {
		const char *number = *of ? of : key;
		char rest;
		if (sscanf(number, "%u%c", &n, &rest) != 1)
			return cannot("processors without a number", key);
		if (!*of || strcmp(key, "cpus") == 0)
			r->config->vcpus = n;
		else if (strcmp(key, "maxcpus") == 0 && n != r->config->vcpus)
			return cannot("room for processors that aren't there yet", of);
		else if (strcmp(key, "maxcpus") != 0)
			json_object_set_new(part(r, "smp"), key, json_integer((json_int_t)n));
	}
	return NULL;
}

static struct torpor_error *read_global(struct reading *r, char *value)
{
	char *equals = strchr(value, '=');
	char *dot = strchr(value, '.');
	TP_FREE char *whole = tp_strdup(value);

	if (!equals || !dot || dot > equals)
		return cannot("a setting for all devices that isn't known", whole);
	*equals = *dot = '\0';
	if (!tp_foreign_global_ok(value, dot + 1, equals + 1))
		return cannot("a setting for all devices that isn't known", whole);
	json_array_append_new(
		part(r, "globals"), json_pack("[s, s, s]", value, dot + 1, equals + 1));
	return NULL;
}

static struct torpor_error *read_device(struct reading *r, char *value)
{
	json_t *device = json_loads(value, JSON_REJECT_DUPLICATES, NULL);

	if (!device)
		return cannot("a device that isn't told as JSON", value);
	struct torpor_error *err = tp_foreign_check_device(device);
	if (err) {
		torpor_error_free(err);
		err = cannot("a device that can't be taken along", value);
	} else {
		json_array_append(part(r, "devices"), device);
	}
	json_decref(device);
	return err;
}

/* Its main RAM, in one piece and the host's ordinary memory; what libvirt keeps secrets with. */
static struct torpor_error *read_object(struct reading *r, char *value)
{
	json_t *object = json_loads(value, JSON_REJECT_DUPLICATES, NULL);
	const char *type = json_string_value(json_object_get(object, "qom-type"));
	bool ram = type && (strcmp(type, "memory-backend-ram") == 0 ||
				   strcmp(type, "memory-backend-memfd") == 0);
	bool known = ram || (type && strcmp(type, "secret") == 0);
	bool twice = ram && r->has_ram;

	r->has_ram = r->has_ram || ram;
	json_decref(object);
	return known && !twice ? NULL : cannot("an object that can't be taken along", value);
}

static struct torpor_error *read_display(struct reading *r, char *value)
{
	(void)r;
	return strcmp(value, "none") == 0 ? NULL : cannot("a display", value);
}

static struct torpor_error *read_audio(struct reading *r, char *value)
{
	(void)r;
	return strstr(value, "\"driver\":\"none\"") ? NULL : cannot("sound", value);
}

static struct torpor_error *pass(struct reading *r, char *value)
{
	(void)r;
	(void)value;
	return NULL;
}

static const struct {
	const char *option;
	struct torpor_error *(*read)(struct reading *r, char *value); /* NULL: it has no value */
} options[] = {
	{"-machine", read_machine},
	{"-accel", read_accel},
	{"-cpu", read_cpu},
	{"-m", read_memory},
	{"-smp", read_smp},
	{"-global", read_global},
	{"-device", read_device},
	{"-object", read_object},
	{"-display", read_display},
	{"-audiodev", read_audio},
	/* Nothing to the guest, or only while it boots. */
	{"-S", NULL},
	{"-no-user-config", NULL},
	{"-nodefaults", NULL},
	{"-no-shutdown", NULL},
	{"-no-reboot", NULL},
	{"-action", pass},
	{"-append", pass},
	{"-boot", pass},
	{"-chardev", pass},
	{"-initrd", pass},
	{"-kernel", pass},
	{"-mon", pass},
	{"-msg", pass},
	{"-name", pass},
	{"-overcommit", pass},
	{"-rtc", pass},
	{"-sandbox", pass},
	{"-uuid", pass},
};

static struct torpor_error *read_option(struct reading *r, const char *option, const char **at)
{
	for (size_t i = 0; i < TP_ARRAY_LEN(options); i++) {
		if (strcmp(options[i].option, option) != 0)
			continue;
		if (!options[i].read)
			return NULL;
		TP_FREE char *value = next_word(at);
		return value ? options[i].read(r, value) : cannot("no value for", option);
	}
	if (strcmp(option, "-no-acpi") == 0 || strcmp(option, "-no-hpet") == 0) {
		json_object_set_new(
			part(r, "machine"), option + strlen("-no-"), json_string("off"));
		return NULL;
	}
	TP_FREE char *value = next_word(at);
	TP_FREE char *both = tp_asprintf("%s %s", option, value ? value : "");
	return cannot("what can't be taken along", both);
}

static struct torpor_error *read_all(struct reading *r, const char *at)
{
	bool begun = false; /* what stands before the first option is environment and program */

	for (;;) {
		TP_FREE char *word = next_word(&at);
		if (!word)
			return NULL;
		begun = begun || *word == '-';
		if (begun)
			TP_TRY(read_option(r, word, &at));
	}
}

static struct torpor_error *check_whole(struct reading *r)
{
	struct tp_guest_config *config = r->config;

	if (!config->machine_type || !config->cpu_model || !config->memory_bytes ||
		!json_object_get(r->foreign, "ram_id") || !r->has_ram)
		return tp_error(TORPOR_E_UNSUPPORTED, step, NULL,
			"it doesn't say all of machine, CPU model, and memory of one piece");
	struct torpor_error *err = tp_foreign_check(r->foreign);
	if (err)
		return tp_error_recode(err, TORPOR_E_UNSUPPORTED);
	config->channels = tp_foreign_has_port(r->foreign, TP_AGENT_PORT);
	return NULL;
}

struct torpor_error *tp_foreign_from_argv(
	const char *command_line, struct tp_guest_config *config_out)
{
	TP_GUEST_CONFIG struct tp_guest_config config = {.accel = TP_ACCEL_TCG, .vcpus = 1};
	struct reading r = {.config = &config};

	if (strlen(command_line) > COMMAND_LINE_MAX)
		return tp_error(TORPOR_E_LIMIT, step, NULL, "it is too long");
	config.foreign = json_pack(
		"{s:{}, s:{}, s:[], s:[], s:s}", "machine", "smp", "globals", "devices", "xml", "");
	r.foreign = config.foreign;
	TP_TRY(read_all(&r, command_line));
	TP_TRY(check_whole(&r));
	*config_out = config;
	config = (struct tp_guest_config){0};
	return NULL;
}
