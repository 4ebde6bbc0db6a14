/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine that Torpor didn't put together: what of its command line a guest sees, as data. It is
 * recorded in images of guests that were imported, and comes back from them as untrusted as all
 * else; so only what is listed here can be in it, and nothing that names a file or a host's device.
 *
 *   {"ram_id": "pc.ram",
 *    "machine": {"usb": "off", ...},                 options of -machine
 *    "smp": {"sockets": 1, "cores": 1, "threads": 1},
 *    "globals": [["PIIX4_PM", "disable_s3", "1"]],   -global
 *    "devices": [{"driver": "virtio-serial-pci", "id": "virtio-serial0", ...}, ...],
 *    "xml": "<domain ...>"}                          what libvirt called it, for the way back
 */
#ifndef TP_ENGINE_FOREIGN_H
#define TP_ENGINE_FOREIGN_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "engine/strv.h"

#define TP_FOREIGN_XML_MAX (32 * TP_KIB)

/* The name of the port at which qemu-guest-agent listens, and of Torpor's helper. */
#define TP_AGENT_PORT  "org.qemu.guest_agent.0"
#define TP_HELPER_PORT "org.torpor.0"

/* INVALID, naming what isn't known, unless FOREIGN is such an object. */
struct torpor_error *tp_foreign_check(json_t *foreign) TP_MUST_USE;

/* INVALID unless a device of these properties ({"driver": ..., KEY: VALUE}) can be in one. */
struct torpor_error *tp_foreign_check_device(json_t *device) TP_MUST_USE;

/*
 * From QEMU's command line as a shell takes it, as libvirt's domxml-to-native gives it: what a
 * guest sees of it, into CONFIG_OUT, whose machine it is; "xml" is empty, the CPU model is as it
 * stands there, and the version of QEMU isn't known (NULL). UNSUPPORTED, naming it, if there is
 * anything that can't be in such a machine: disks, network, graphics ...
 */
struct tp_guest_config;
struct torpor_error *tp_foreign_from_argv(
	const char *command_line, struct tp_guest_config *config_out) TP_MUST_USE;

/* The same of one option of -machine. */
bool tp_foreign_machine_option_ok(const char *key, const char *value);

/* The same of -global. */
bool tp_foreign_global_ok(const char *driver, const char *property, const char *value);

/* Whether a port of that name is among its devices. */
bool tp_foreign_has_port(json_t *foreign, const char *name);

/* The name of its main RAM. */
const char *tp_foreign_ram_id(json_t *foreign);

/* ",sockets=1,...": what goes behind -smp N. The caller's to free. */
char *tp_foreign_topology(json_t *foreign) TP_MUST_USE;

/* ",usb=off,...": what goes behind -machine TYPE. The caller's to free. */
char *tp_foreign_machine_options(json_t *foreign) TP_MUST_USE;

/*
 * -global and -device. Ports get the chardevs "agent" and "helper" where CHANNELS, and one of their
 * own that leads nowhere otherwise; the first serial port gets "console".
 */
void tp_foreign_add_args(json_t *foreign, bool channels, struct tp_strv *argv);

#endif
