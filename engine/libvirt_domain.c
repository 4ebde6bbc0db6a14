/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Domains.
 *
 * The machine must be the template's to the last device, since its state is loaded into it. So
 * libvirt is asked for nothing that it would add by itself (USB, balloon), the channels have the
 * addresses that they have on Torpor's own command line (engine/args.c), and what libvirt can't say
 * (RAM over a base, waiting for a state) comes behind its own arguments.
 */
#include "engine/libvirt_domain.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/libvirt_relay.h"

/* Where engine/args.c has them. */
#define CHANNELS_SLOT 4
#define CHANNELS_MAX  4
#define AGENT_PORT    1
#define HELPER_PORT   2

/* S in XML: in an element or an attribute. */
static void put(FILE *f, const char *s)
{
	for (; *s; s++) {
		if (strchr("<>&'\"", *s))
			fprintf(f, "&#%d;", *s);
		else
			fputc(*s, f);
	}
}

static void put_element(FILE *f, const char *name, const char *content)
{
	fprintf(f, "<%s>", name);
	put(f, content);
	fprintf(f, "</%s>", name);
}

static void put_attribute(FILE *f, const char *name, const char *value)
{
	fprintf(f, " %s='", name);
	put(f, value);
	fputc('\'', f);
}

/* PREFIX and NAMESPACE are those of the element, where libvirt doesn't put them there itself. */
static void put_metadata(FILE *f, const char *prefix, const char *namespace, const char *run_id,
	const struct tp_guest_label *label)
{
	fprintf(f, "<%sguest%s", prefix, namespace);
	put_attribute(f, "run", run_id);
	if (label && label->template_name)
		put_attribute(f, "template", label->template_name);
	if (label && label->session)
		put_attribute(f, "session", label->session);
	if (label && label->tenant)
		put_attribute(f, "tenant", label->tenant);
	fputs("/>", f);
}

char *tp_libvirt_domain_metadata(const char *run_id, const struct tp_guest_label *label)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert(f);
	put_metadata(f, "", "", run_id, label);
	fclose(f);
	return text;
}

bool tp_libvirt_domain_is_of(const char *metadata, const char *run_id)
{
	TP_FREE char *single = tp_asprintf(" run='%s'", run_id);
	TP_FREE char *twofold = tp_asprintf(" run=\"%s\"", run_id);

	return metadata && (strstr(metadata, single) || strstr(metadata, twofold));
}

static void put_channel(FILE *f, const char *path, const char *name, int port)
{
	fputs("<channel type='unix'><source mode='bind'", f);
	put_attribute(f, "path", path);
	fprintf(f,
		"/><target type='virtio' name='%s'/>"
		"<address type='virtio-serial' controller='0' bus='0' port='%d'/></channel>",
		name, port);
}

static void put_devices(FILE *f, const struct tp_libvirt_domain *domain)
{
	fputs("<devices>", f);
	put_element(f, "emulator", domain->emulator);
	fputs("<controller type='usb' model='none'/>", f);
	if (domain->helper_path) {
		fprintf(f,
			"<controller type='virtio-serial' index='0' ports='%d'>"
			"<address type='pci' domain='0' bus='0' slot='%d' function='0'/>"
			"</controller>",
			CHANNELS_MAX, CHANNELS_SLOT);
		put_channel(f, domain->agent_path, "org.qemu.guest_agent.0", AGENT_PORT);
		put_channel(f, domain->helper_path, "org.torpor.0", HELPER_PORT);
	}
	fputs("<memballoon model='none'/></devices>", f);
}

char *tp_libvirt_domain_xml(
	const struct tp_libvirt_domain *domain, const struct tp_guest_config *config)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert(f);
	fprintf(f, "<domain type='%s' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>",
		config->accel == TP_ACCEL_KVM ? "kvm" : "qemu");
	put_element(f, "name", domain->name);
	put_element(f, "uuid", domain->uuid);
	fputs("<metadata>", f);
	put_metadata(f, TP_RELAY_METADATA_KEY ":",
		" xmlns:" TP_RELAY_METADATA_KEY "='" TP_RELAY_METADATA_URI "'", domain->run_id,
		NULL);
	fprintf(f, "</metadata><memory unit='b'>%" PRIu64 "</memory><vcpu>%u</vcpu>",
		config->memory_bytes, config->vcpus);
	fputs("<os><type arch='x86_64'", f);
	put_attribute(f, "machine", config->machine_type);
	fputs(">hvm</type></os><features><acpi/><apic/>", f);
	if (config->accel == TP_ACCEL_TCG)
		fprintf(f, "<tcg><tb-cache unit='MiB'>%d</tb-cache></tcg>", TP_TCG_BUFFER_MIB);
	/* A guest's reboot is Torpor's to decide on: a clone has no kernel to boot. */
	fputs("</features><on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot>"
	      "<on_crash>destroy</on_crash>",
		f);
	put_devices(f, domain);
	fputs("<qemu:commandline>", f);
	for (char *const *arg = domain->args; *arg; arg++) {
		fputs("<qemu:arg", f);
		put_attribute(f, "value", *arg);
		fputs("/>", f);
	}
	fputs("</qemu:commandline></domain>", f);
	fclose(f);
	return text;
}

bool tp_libvirt_domain_owner(const char *capabilities, unsigned int *uid_out, unsigned int *gid_out)
{
	/* As libvirt writes it (conf/capabilities.c): <secmodel> <model>dac</model> <doi>0</doi>
	 * <baselabel type='kvm'>+64055:+64055</baselabel> ... */
	const char *model = strstr(capabilities, "<model>dac</model>");
	const char *end = model ? strstr(model, "</secmodel>") : NULL;
	const char *label = model ? strstr(model, "<baselabel") : NULL;
	const char *value = label ? strchr(label, '>') : NULL;

	return value && end && value < end && sscanf(value, ">+%u:+%u<", uid_out, gid_out) == 2;
}
