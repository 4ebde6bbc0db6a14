/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image as a file that libvirt restores.
 *
 * Layout (libvirt: src/qemu/qemu_saveimage.h and .c): a header of 92 bytes in the host's byte
 * order, the domain's XML with a NUL, room that makes up data_len, then QEMU's stream as it is,
 * which libvirt doesn't look into. While it is being written the file says that it is partial.
 * There is no cookie: what libvirt would keep there (the CPU as it was expanded) is spelled out in
 * the XML.
 *
 * An imported guest goes back as the domain that it was. Of Torpor's own the XML describes the
 * machine of engine/args.c in libvirt's words; where libvirt has none, QEMU's are passed through.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/id.h"
#include "base/mem.h"
#include "engine/foreign.h"
#include "pool/template.h"
#include "snapshot/export.h"
#include "storage/image_reader.h"

#define MAGIC	"LibvirtQemudSave"
#define PARTIAL "LibvirtQemudPart"
#define VERSION 2
#define RAW	0

/* The XML may grow by so much when it is edited (virsh save-image-edit). */
#define PADDING (64 * TP_KIB)

struct save_header {
	char magic[16];
	uint32_t version;
	uint32_t data_len;
	uint32_t was_running;
	uint32_t format;
	uint32_t cookie_offset;
	uint32_t unused[14];
};
static_assert(sizeof(struct save_header) == 92, "as libvirt has it");

/* --- The XML of a guest of Torpor's own --- */

/* <cpu>, or "" where it can only be said in QEMU's words. The caller's to free. */
static char *cpu_xml(const struct tp_guest_config *guest)
{
	size_t len = strcspn(guest->cpu_model, ",");
	const char *edits = guest->cpu_model + len;
	char *xml;

	/* libvirt knows models without version, and on these machines they are the first one. */
	if (len < 4 || strncmp(guest->cpu_model + len - 3, "-v1", 3) != 0)
		return tp_strdup("");
	xml = tp_asprintf("  <cpu mode='custom' match='exact' check='none'>\n"
			  "    <model fallback='forbid'>%.*s</model>\n"
			  "    <topology sockets='1' dies='1' cores='%u' threads='1'/>\n",
		(int)len - 3, guest->cpu_model, guest->vcpus);
	while (*edits == ',') {
		size_t n = strcspn(edits + 2, ",");
		char *longer = tp_asprintf("%s    <feature policy='%s' name='%.*s'/>\n", xml,
			edits[1] == '+' ? "require" : "disable", (int)n, edits + 2);
		free(xml);
		xml = longer;
		edits += 2 + n;
	}
	char *whole = tp_asprintf("%s  </cpu>\n", xml);
	free(xml);
	return whole;
}

/* What libvirt has no words for. The caller's to free. */
static char *passed_xml(const struct tp_guest_config *guest, bool with_cpu)
{
	TP_FREE char *cpu = with_cpu ? tp_strdup("")
				     : tp_asprintf("    <qemu:arg value='-cpu'/>\n"
						   "    <qemu:arg value='%s'/>\n",
					       guest->cpu_model);
	const char *machine = guest->machine == TP_MACHINE_Q35
				      ? "    <qemu:arg value='-machine'/>\n"
					"    <qemu:arg value='sata=off'/>\n"
				      : "";

	if (!*cpu && !*machine)
		return tp_strdup("");
	return tp_asprintf("  <qemu:commandline>\n%s%s  </qemu:commandline>\n", cpu, machine);
}

static const char channels_xml[] =
	"    <controller type='virtio-serial' index='0' ports='4'>\n"
	"      <address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/>\n"
	"    </controller>\n"
	"    <channel type='unix'>\n"
	"      <target type='virtio' name='" TP_AGENT_PORT "'/>\n"
	"      <address type='virtio-serial' controller='0' bus='0' port='1'/>\n"
	"    </channel>\n"
	"    <channel type='unix'>\n"
	"      <target type='virtio' name='" TP_HELPER_PORT "'/>\n"
	"      <address type='virtio-serial' controller='0' bus='0' port='2'/>\n"
	"    </channel>\n";

/* The names in it have been checked to need no escapes. The caller's to free. */
static char *own_xml(const struct tp_record *record)
{
	const struct tp_guest_config *guest = &record->guest;
	TP_FREE char *cpu = cpu_xml(guest);
	TP_FREE char *passed = passed_xml(guest, *cpu);

	return tp_asprintf(
		"<domain type='%s' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
		"  <name>%s</name>\n"
		"  <memory unit='KiB'>%" PRIu64 "</memory>\n"
		"  <vcpu>%u</vcpu>\n"
		"  <genid/>\n"
		"  <os><type arch='x86_64' machine='%s'>hvm</type></os>\n"
		"  <features><acpi/><apic/></features>\n"
		"%s"
		"  <clock offset='utc'/>\n"
		/* It has no kernel to boot anew. */
		"  <on_poweroff>destroy</on_poweroff>\n"
		"  <on_reboot>destroy</on_reboot>\n"
		"  <on_crash>destroy</on_crash>\n"
		"  <devices>\n"
		"    <controller type='usb' model='none'/>\n"
		"%s"
		"    <serial type='pty'><target type='isa-serial' port='0'/></serial>\n"
		"    <memballoon model='none'/>\n"
		"  </devices>\n"
		"%s"
		"</domain>\n",
		guest->accel == TP_ACCEL_KVM ? "kvm" : "qemu", record->session_name,
		guest->memory_bytes / TP_KIB, guest->vcpus, guest->machine_type, cpu,
		guest->channels ? channels_xml : "", passed);
}

/* What libvirt is told, and what main RAM is called under it. */
static struct torpor_error *describe(
	const struct tp_record *record, const char *path, char **xml_out, const char **ram_id_out)
{
	json_t *foreign = record->guest.foreign;

	if (!record->is_session)
		return tp_error(TORPOR_E_MISMATCH, "export", path, "it is a template");
	if (record->guest.machine == TP_MACHINE_MICROVM)
		return tp_error(TORPOR_E_UNSUPPORTED, "export", path,
			"libvirt can't be told of a microvm's devices");
	if (foreign) {
		*xml_out = tp_strdup(json_string_value(json_object_get(foreign, "xml")));
		*ram_id_out = tp_foreign_ram_id(foreign);
		return NULL;
	}
	*xml_out = own_xml(record);
	*ram_id_out = "pc.ram";
	return NULL;
}

/* --- The file --- */

static struct torpor_error *write_header(int fd, const char *magic, size_t data_len)
{
	struct save_header header = {
		.version = VERSION,
		.data_len = (uint32_t)data_len,
		.was_running = 1,
		.format = RAW,
	};

	memcpy(header.magic, magic, sizeof(header.magic));
	return tp_pwrite_full(fd, &header, sizeof(header), 0, "save file");
}

struct exporting {
	struct torpor_engine *engine;
	const struct tp_image *image;
	const struct tp_base *base; /* or NULL */
	const struct tp_record *record;
	const char *path;
	const struct tp_call *call;
};

static struct torpor_error *write_file(const struct exporting *x, int fd, const char *out)
{
	TP_FREE char *xml = NULL;
	const char *ram_id;

	TP_TRY(describe(x->record, x->path, &xml, &ram_id));
	size_t data_len = strlen(xml) + 1 + PADDING;
	TP_TRY(write_header(fd, PARTIAL, data_len));
	TP_TRY(tp_pwrite_full(fd, xml, strlen(xml) + 1, sizeof(struct save_header), out));
	if (lseek(fd, (off_t)(sizeof(struct save_header) + data_len), SEEK_SET) < 0)
		return tp_error_errno(errno, "seek in", out);
	TP_TRY(tp_export_stream(x->image, x->base, x->record->guest.machine_type, ram_id,
		x->engine->workers, fd, x->call));
	if (fdatasync(fd) < 0)
		return tp_error_errno(errno, "sync", out);
	TP_TRY(write_header(fd, MAGIC, data_len));
	return fdatasync(fd) < 0 ? tp_error_errno(errno, "sync", out) : NULL;
}

static struct torpor_error *write_new(const struct exporting *x, const char *out)
{
	TP_FD int fd = open(out, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return tp_error_errno(errno, "make", out);
	struct torpor_error *err = write_file(x, fd, out);
	if (err)
		unlink(out);
	return err;
}

/* A file, or what is called so under images/. */
static struct torpor_error *open_image(struct torpor_engine *engine, const char *path,
	const struct tp_call *call, struct tp_image **image_out)
{
	bool name = !strchr(path, '/') && access(path, F_OK) < 0;

	return tp_image_open(name ? engine->images_fd : AT_FDCWD, path, call, image_out);
}

struct torpor_error *torpor_image_export(struct torpor_engine *engine, const char *path,
	const char *out, const struct torpor_call *public_call)
{
	struct tp_call call = tp_call_from(public_call, PARK_TIMEOUT_NS);
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;
	TP_RECORD struct tp_record record = {0};
	struct torpor_template *tmpl = NULL;

	TP_TRY(open_image(engine, path, &call, &image));
	TP_TRY(tp_record_parse(tp_image_meta(image)->config, path, &record));
	if (tp_image_needs_base(image))
		TP_TRY(tp_template_open_id(engine, tp_image_meta(image)->template_id,
			record.template_name, &call, &tmpl));
	struct exporting x = {
		.engine = engine,
		.image = image,
		.base = tmpl ? tmpl->base : NULL,
		.record = &record,
		.path = path,
		.call = &call,
	};
	struct torpor_error *err = write_new(&x, out);
	torpor_template_close(tmpl);
	return tp_error_in(err, "export", path);
}
