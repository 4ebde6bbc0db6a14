/* SPDX-License-Identifier: Apache-2.0 */
/* Machines that Torpor didn't put together. */
#include "engine/foreign.h"

#include <string.h>

#include "base/mem.h"

#define DEVICES_MAX 64
#define GLOBALS_MAX 16
#define TEXT_MAX    64
#define KEYS_MAX    10

#define TEXT_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/*
 * Devices that hold all of their state themselves: no file, no network, no device of the host's
 * stands behind them. Graphics are left out: their memory would be a RAM block of 16 MiB and more.
 */
static const struct {
	const char *driver;
	const char *keys[KEYS_MAX]; /* beside driver and id */
} known[] = {
	{"isa-serial", {"chardev", "index"}},
	{"pcie-root-port", {"bus", "addr", "port", "chassis", "multifunction"}},
	{"piix3-usb-uhci", {"bus", "addr"}},
	{"qemu-xhci", {"bus", "addr", "p2", "p3"}},
	{"usb-tablet", {"bus", "port"}},
	{"virtio-balloon-pci", {"bus", "addr"}},
	{"virtio-serial-pci", {"bus", "addr", "max_ports", "vectors"}},
	{"virtserialport", {"bus", "nr", "chardev", "name"}},
	{"vmgenid", {"guid"}},
};

static const char *const machine_keys[] = {
	"acpi", "hpet", "kernel_irqchip", "smm", "usb", "vmport"};

static const char *const global_drivers[] = {"ICH9-LPC", "PIIX4_PM", "kvm-pit"};

static struct torpor_error *bad(const char *what, const char *name)
{
	return tp_error(TORPOR_E_INVALID, "check machine", NULL, "%s %s", what, name);
}

static bool is_text(const char *text)
{
	size_t len = text ? strlen(text) : 0;

	return len >= 1 && len <= TEXT_MAX && strspn(text, TEXT_CHARS) == len;
}

static bool is_listed(const char *word, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n && list[i]; i++) {
		if (strcmp(list[i], word) == 0)
			return true;
	}
	return false;
}

static bool is_value(const json_t *value)
{
	return json_is_integer(value) || json_is_boolean(value) ||
	       is_text(json_string_value(value));
}

struct torpor_error *tp_foreign_check_device(json_t *device)
{
	const char *driver = json_string_value(json_object_get(device, "driver"));
	size_t at = 0;
	const char *key;
	json_t *value;

	while (driver && at < TP_ARRAY_LEN(known) && strcmp(known[at].driver, driver) != 0)
		at++;
	if (!is_text(driver) || at == TP_ARRAY_LEN(known))
		return bad("no device of the kind", is_text(driver) ? driver : "?");
	json_object_foreach (device, key, value) {
		bool ours = strcmp(key, "driver") == 0 || strcmp(key, "id") == 0;
		if (!ours && !is_listed(key, known[at].keys, KEYS_MAX))
			return tp_error(TORPOR_E_INVALID, "check machine", NULL,
				"device %s with the property %s", driver, is_text(key) ? key : "?");
		if (!is_value(value))
			return tp_error(TORPOR_E_INVALID, "check machine", NULL,
				"device %s whose %s is no plain value", driver, key);
	}
	return NULL;
}

bool tp_foreign_machine_option_ok(const char *key, const char *value)
{
	return is_listed(key, machine_keys, TP_ARRAY_LEN(machine_keys)) &&
	       (strcmp(value, "on") == 0 || strcmp(value, "off") == 0 ||
		       strcmp(value, "split") == 0);
}

bool tp_foreign_global_ok(const char *driver, const char *property, const char *value)
{
	return is_listed(driver, global_drivers, TP_ARRAY_LEN(global_drivers)) &&
	       is_text(property) && is_text(value);
}

static struct torpor_error *check_machine(json_t *machine)
{
	const char *key;
	json_t *value;

	if (!json_is_object(machine))
		return bad("no object", "machine");
	json_object_foreach (machine, key, value) {
		const char *text = json_string_value(value);
		if (!text || !tp_foreign_machine_option_ok(key, text))
			return bad("no machine's option is", is_text(key) ? key : "?");
	}
	return NULL;
}

static const char *text_at(const json_t *array, size_t i)
{
	return json_string_value(json_array_get(array, i));
}

static struct torpor_error *check_globals(json_t *globals)
{
	json_t *global;
	size_t i;

	if (!json_is_array(globals) || json_array_size(globals) > GLOBALS_MAX)
		return bad("no list, or one that is too long:", "globals");
	json_array_foreach (globals, i, global) {
		const char *driver = text_at(global, 0);
		const char *property = text_at(global, 1);
		const char *value = text_at(global, 2);
		if (json_array_size(global) != 3 || !driver || !property || !value ||
			!tp_foreign_global_ok(driver, property, value))
			return bad("no setting for all devices of", is_text(driver) ? driver : "?");
	}
	return NULL;
}

static struct torpor_error *check_devices(json_t *devices)
{
	json_t *device;
	size_t i;

	if (!json_is_array(devices) || json_array_size(devices) > DEVICES_MAX)
		return bad("no list, or one that is too long:", "devices");
	json_array_foreach (devices, i, device)
		TP_TRY(tp_foreign_check_device(device));
	return NULL;
}

static struct torpor_error *check_topology(json_t *smp)
{
	static const char *const keys[] = {"sockets", "dies", "clusters", "cores", "threads"};
	const char *key;
	json_t *value;

	if (!json_is_object(smp))
		return bad("no object", "smp");
	json_object_foreach (smp, key, value) {
		if (!is_listed(key, keys, TP_ARRAY_LEN(keys)) || !json_is_integer(value) ||
			json_integer_value(value) < 1 || json_integer_value(value) > 255)
			return bad("no part of a topology, or no number:", "smp");
	}
	return NULL;
}

struct torpor_error *tp_foreign_check(json_t *foreign)
{
	json_t *machine, *globals, *devices, *smp;
	const char *ram_id, *xml;

	if (json_unpack(foreign, "{s:s, s:o, s:o, s:o, s:o, s:s !}", "ram_id", &ram_id, "machine",
		    &machine, "smp", &smp, "globals", &globals, "devices", &devices, "xml",
		    &xml) < 0)
		return bad("a member is missing, or of the wrong type, or not known:",
			"machine of its own");
	if (!is_text(ram_id))
		return bad("no name:", "ram_id");
	if (strlen(xml) != json_string_length(json_object_get(foreign, "xml")) ||
		strlen(xml) > TP_FOREIGN_XML_MAX)
		return bad("too long, or no text:", "xml");
	TP_TRY(check_machine(machine));
	TP_TRY(check_topology(smp));
	TP_TRY(check_globals(globals));
	return check_devices(devices);
}

bool tp_foreign_has_port(json_t *foreign, const char *name)
{
	json_t *device;
	size_t i;

	json_array_foreach (json_object_get(foreign, "devices"), i, device) {
		const char *port = json_string_value(json_object_get(device, "name"));
		if (port && strcmp(port, name) == 0)
			return true;
	}
	return false;
}

const char *tp_foreign_ram_id(json_t *foreign)
{
	return json_string_value(json_object_get(foreign, "ram_id"));
}

char *tp_foreign_topology(json_t *foreign)
{
	char *topology = tp_strdup("");
	const char *key;
	json_t *value;

	json_object_foreach (json_object_get(foreign, "smp"), key, value) {
		char *longer =
			tp_asprintf("%s,%s=%d", topology, key, (int)json_integer_value(value));
		free(topology);
		topology = longer;
	}
	return topology;
}

char *tp_foreign_machine_options(json_t *foreign)
{
	char *options = tp_strdup("");
	const char *key;
	json_t *value;

	json_object_foreach (json_object_get(foreign, "machine"), key, value) {
		char *longer = tp_asprintf("%s,%s=%s", options, key, json_string_value(value));
		free(options);
		options = longer;
	}
	return options;
}

/* The chardev for the I-th device; it is added to ARGV where it isn't there yet. The caller's. */
static char *chardev_of(const json_t *device, size_t i, bool channels, struct tp_strv *argv)
{
	const char *name = json_string_value(json_object_get(device, "name"));
	const json_t *index = json_object_get(device, "index");

	if (json_is_integer(index) && json_integer_value(index) == 0)
		return tp_strdup("console");
	if (channels && name && strcmp(name, TP_AGENT_PORT) == 0)
		return tp_strdup("agent");
	if (channels && name && strcmp(name, TP_HELPER_PORT) == 0)
		return tp_strdup("helper");
	char *nowhere = tp_asprintf("nowhere%zu", i);
	tp_strv_add(argv, "-chardev");
	tp_strv_addf(argv, "null,id=%s", nowhere);
	return nowhere;
}

void tp_foreign_add_args(json_t *foreign, bool channels, struct tp_strv *argv)
{
	json_t *entry;
	size_t i;

	json_array_foreach (json_object_get(foreign, "globals"), i, entry) {
		tp_strv_add(argv, "-global");
		tp_strv_addf(
			argv, "%s.%s=%s", text_at(entry, 0), text_at(entry, 1), text_at(entry, 2));
	}
	json_array_foreach (json_object_get(foreign, "devices"), i, entry) {
		json_t *device = json_copy(entry);
		if (json_object_get(device, "chardev")) {
			TP_FREE char *chardev = chardev_of(device, i, channels, argv);
			json_object_set_new(device, "chardev", json_string(chardev));
		}
		/* A GUID of its own tells the guest that it goes on elsewhere. */
		if (json_object_get(device, "guid"))
			json_object_set_new(device, "guid", json_string("auto"));
		TP_FREE char *text = json_dumps(device, JSON_COMPACT);
		tp_strv_add(argv, "-device");
		tp_strv_add(argv, text);
		json_decref(device);
	}
}
