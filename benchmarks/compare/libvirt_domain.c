/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The domain: the same machine, kernel, CPU and ports as a template's (engine/args.c), and nothing
 * that libvirt would add by itself: no USB controller, no balloon.
 *
 * All that Torpor sets for its own sake is left at what libvirt and QEMU take for a good default:
 * TCG's buffer for translated code, which is only as large as what gets translated, the memory
 * backend, the sandbox.
 */
#include "benchmarks/compare/libvirt_domain.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* The caller's to free. */
static char *escaped(const char *s)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	assert(f);
	for (; *s; s++) {
		if (strchr("<>&'\"", *s))
			fprintf(f, "&#%d;", *s);
		else
			fputc(*s, f);
	}
	fclose(f);
	return text;
}

/*
 * QEMU's model without its version: libvirt has models of its own, which name the first version
 * ("Westmere"), as pc's alias does in QEMU.
 */
static int unversioned_len(const char *cpu)
{
	size_t len = strcspn(cpu, ",");
	size_t end = len;

	while (end > 0 && isdigit((unsigned char)cpu[end - 1]))
		end--;
	bool has_version = end < len && end > 2 && strncmp(cpu + end - 2, "-v", 2) == 0;
	return (int)(has_version ? end - 2 : len);
}

/* From "MODEL,+FEATURE,-FEATURE" (engine/config.h). The caller's to free. */
static char *cpu_element(const char *cpu)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	assert(f);
	fprintf(f,
		"<cpu mode='custom' match='exact' check='none'>"
		"<model fallback='forbid'>%.*s</model>",
		unversioned_len(cpu), cpu);
	for (const char *at = strchr(cpu, ','); at; at = strchr(at, ',')) {
		at++;
		fprintf(f, "<feature policy='%s' name='%.*s'/>", *at == '-' ? "disable" : "require",
			(int)strcspn(at + 1, ","), at + 1);
	}
	fputs("</cpu>", f);
	fclose(f);
	return text;
}

char *cmp_domain_xml(const struct cmp_domain *domain, const struct cmp_places *places,
	const struct cmp_cell *cell)
{
	TP_FREE char *name = escaped(domain->name);
	TP_FREE char *emulator = escaped(domain->emulator);
	TP_FREE char *qmp_path = escaped(domain->qmp_path);
	TP_FREE char *helper_path = escaped(domain->helper_path);
	TP_FREE char *machine = escaped(places->machine);
	TP_FREE char *kernel = escaped(places->kernel);
	TP_FREE char *initrd = escaped(places->initrd);
	TP_FREE char *append = escaped(places->append);
	TP_FREE char *plain_cpu = escaped(places->cpu);
	TP_FREE char *cpu = cpu_element(plain_cpu);

	return tp_asprintf("<domain type='%s' "
			   "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
			   "<name>%s</name>"
			   "<genid/>"
			   "<memory unit='b'>%" PRIu64 "</memory>"
			   "<vcpu>1</vcpu>"
			   "<os><type arch='x86_64' machine='%s'>hvm</type>"
			   "<kernel>%s</kernel><initrd>%s</initrd><cmdline>%s</cmdline></os>"
			   "<features><acpi/><apic/></features>"
			   "%s"
			   "<devices>"
			   "<emulator>%s</emulator>"
			   "<controller type='usb' model='none'/>"
			   "<controller type='virtio-serial' index='0' ports='4'/>"
			   "<serial type='null'/>"
			   "<channel type='unix'>"
			   "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
			   "<channel type='unix'><source mode='bind' path='%s'/>"
			   "<target type='virtio' name='org.torpor.0'/></channel>"
			   "<memballoon model='none'/>"
			   "</devices>"
			   "<qemu:commandline><qemu:arg value='-qmp'/>"
			   "<qemu:arg value='unix:%s,server=on,wait=off'/></qemu:commandline>"
			   "</domain>",
		strcmp(places->accel, "kvm") == 0 ? "kvm" : "qemu", name, cell->ram_bytes, machine,
		kernel, initrd, append, cpu, emulator, helper_path, qmp_path);
}
