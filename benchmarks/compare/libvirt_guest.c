/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libvirt's peers do.
 *
 * The commands are the calls that virsh makes: virDomainSave, virDomainRestore,
 * virDomainManagedSave, virDomainCreate. The connection is open already and virsh's own start and
 * end are left out, which favours libvirt by some tens of milliseconds. The domain is defined, as
 * those of virsh's users are. Its QEMU is a new process after each restore, with new sockets under
 * the same names.
 *
 * What can be seen of a save:
 *
 *   command --- STOP --- MIGRATION completed --- SHUTDOWN --- returned --- fsync
 *                 |              |         |         |            |           |
 *                 +- standstill -+    fdatasync   SIGTERM       gone       durable
 *                                   and the mark
 *
 * At "completed" QEMU has given away its last byte: to libvirt's I/O helper, or to a compressor
 * that had to be waited for. The helper then syncs the data. Behind that libvirt marks the image as
 * complete (libvirt: qemuSaveImageCreate, virQEMUSaveDataFinish), unsynced: a power cut could leave
 * an image that is refused as incomplete. So there is an fsync of our own, of that page and the
 * directory, which costs next to nothing. It comes last because nobody knows that there is an image
 * before the call has returned, and then the process has ended: durable is after gone here.
 */
#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "engine/qmp.h"
#include "benchmarks/compare/libvirt_domain.h"
#include "benchmarks/compare/libvirt_job.h"
#include "benchmarks/compare/peer_libvirt.h"

struct libvirt_guest {
	struct cmp_guest common;
	const struct cmp_libvirt_peer *peer;
	char *name;
	char *qmp_path;
	char *helper_path;
	char *image_path;
	char *pid_path;
	virConnectPtr connection;
	virDomainPtr domain;
	struct cmp_watch *watch; /* NULL while nothing of it runs */
};

static struct libvirt_guest *of(struct cmp_guest *guest)
{
	return (struct libvirt_guest *)guest;
}

static struct torpor_error *libvirt_error(const char *step, const char *object)
{
	return tp_error(TORPOR_E_QEMU, step, object, "%s", virGetLastErrorMessage());
}

/* --- a daemon --- */

/* libvirt tells each error on standard error as well, unless told whom else to tell. */
static void keep_silent(void *data, virErrorPtr err)
{
	(void)data;
	(void)err;
}

static struct torpor_error *connect_to(
	const struct cmp_places *places, const char *format, virConnectPtr *connection_out)
{
	TP_FREE char *uri =
		tp_asprintf("qemu:///system?socket=%s/%s/libvirt-sock", places->libvirt, format);

	virSetErrorFunc(NULL, keep_silent);
	virConnectPtr connection = virConnectOpen(uri);
	if (!connection)
		return tp_error_hint(libvirt_error("connect to", uri), "%s/%s/log tells more.",
			places->libvirt, format);
	*connection_out = connection;
	return NULL;
}

/* Where PROGRAM is, by PATH unless it names a place; the caller's to free. NULL: nowhere. */
static char *find_program(const char *program)
{
	const char *path = getenv("PATH");

	if (strchr(program, '/'))
		return tp_strdup(program);
	for (const char *at = path ? path : ""; *at; at += *at == ':') {
		size_t len = strcspn(at, ":");
		TP_FREE char *file = tp_asprintf("%.*s/%s", (int)len, at, program);
		if (access(file, X_OK) == 0)
			return TP_TAKE(file);
		at += len;
	}
	return NULL;
}

struct torpor_error *cmp_libvirt_available(const struct cmp_places *places, const char *format)
{
	virConnectPtr connection;

	if (!places->libvirt)
		return tp_error(TORPOR_E_UNSUPPORTED, "use libvirt", NULL,
			"no private libvirtd was started (scripts/bench-libvirt)");
	/* Where the program is missing libvirtd saves without it, and says nothing. */
	TP_FREE char *program = find_program(strcmp(format, "raw") == 0 ? "/" : format);
	if (!program)
		return tp_error(
			TORPOR_E_UNSUPPORTED, "use libvirt", NULL, "there is no %s", format);
	TP_TRY(connect_to(places, format, &connection));
	virConnectClose(connection);
	return NULL;
}

/* --- a domain's process --- */

static int create(void *data)
{
	return virDomainCreate(of(data)->domain);
}

static int save(void *data)
{
	struct libvirt_guest *g = data;

	return g->peer->managed ? virDomainManagedSave(g->domain, 0)
				: virDomainSave(g->domain, g->image_path);
}

static int restore(void *data)
{
	struct libvirt_guest *g = data;

	return g->peer->managed ? virDomainCreate(g->domain)
				: virDomainRestore(g->connection, g->image_path);
}

/* Ends the domain's process, whatever else libvirt is doing with it: that fails then. */
static void destroy(void *data)
{
	virDomainDestroy(of(data)->domain);
}

/* A connection to what has stopped listening would fail otherwise, instead of waiting. */
static void forget_sockets(struct libvirt_guest *g)
{
	unlink(g->qmp_path);
	unlink(g->helper_path);
}

/* *PIDFD_OUT is the caller's. */
static struct torpor_error *open_process(struct libvirt_guest *g, int *pidfd_out)
{
	TP_FREE char *text = NULL;
	size_t len;

	TP_TRY(tp_read_file(AT_FDCWD, g->pid_path, 32, &text, &len));
	int pidfd = pidfd_open(atoi(text), 0);
	if (pidfd < 0)
		return tp_error_errno(errno, "find the process of", g->name);
	*pidfd_out = pidfd;
	return NULL;
}

/*
 * Runs what gives the domain a process, and meets the guest meanwhile. libvirt's call returns some
 * milliseconds behind RESUME, and may do so behind the guest's first answer.
 */
static struct torpor_error *come_back(struct libvirt_guest *g, int (*run)(void *data),
	const char *step, const struct tp_call *call, struct cmp_restore *out)
{
	uint64_t greeted = 0;
	uint64_t running = 0;
	uint64_t answered = 0;
	struct cmp_job *job;

	forget_sockets(g);
	uint64_t start = tp_now_ns();
	TP_TRY(cmp_job_start(run, g, call, &job));
	const struct tp_call *while_well = cmp_job_call(job);
	struct torpor_error *err =
		cmp_watch_open(g->qmp_path, g->helper_path, while_well, &greeted, &g->watch);
	if (!err)
		err = cmp_watch_event(g->watch, "RESUME", while_well, &running);
	if (!err)
		err = cmp_watch_answer(g->watch, while_well, &answered);
	struct torpor_error *job_err = cmp_job_end(job, step, g->name, destroy);
	/* Where both failed, libvirt's words are the cause. */
	if (job_err) {
		torpor_error_free(err);
		return job_err;
	}
	if (err)
		return tp_error_in(err, step, g->name);
	*out = (struct cmp_restore){
		.process_ns = greeted - start,
		.running_ns = running - start,
		.answer_ns = answered - start,
	};
	return NULL;
}

/* --- what a save leaves --- */

/* From STOP to the event that QEMU has given its state away, both by QEMU's own clock. */
static struct torpor_error *take_standstill(struct libvirt_guest *g, uint64_t *standstill_out)
{
	static const char *const stop[] = {"STOP", NULL};
	static const char *const migration[] = {"MIGRATION", NULL};
	struct tp_qmp *qmp = cmp_watch_qmp(g->watch);
	TP_QMP_EVENT struct tp_qmp_event stopped = {0};
	const char *status = "none";

	tp_qmp_drain(qmp);
	if (!tp_qmp_take_event(qmp, stop, &stopped))
		return tp_error(TORPOR_E_QEMU, "save", g->name, "QEMU told of no STOP");
	while (true) {
		TP_QMP_EVENT struct tp_qmp_event event = {0};
		if (!tp_qmp_take_event(qmp, migration, &event))
			return tp_error(TORPOR_E_QEMU, "save", g->name,
				"QEMU told of no migration that was completed");
		status = json_string_value(json_object_get(event.data, "status"));
		if (!status || strcmp(status, "completed") != 0)
			continue;
		*standstill_out = event.realtime_ns - stopped.realtime_ns;
		return NULL;
	}
}

/* The names of the header's compression field, by its values (libvirt: virQEMUSaveFormat). */
static const char *const formats[] = {"raw", "gzip", "bzip2", "xz", "lzop"};

#define HEADER_MAGIC "LibvirtQemudSave"
#define HEADER_SKIP  12 /* version, length of the XML, whether it was running */
#define HEADER_SIZE  (sizeof(HEADER_MAGIC) - 1 + HEADER_SKIP + 4)

/* Whether the file is complete, and in the format that it is measured for. */
static struct torpor_error *check_image(const struct libvirt_guest *g)
{
	uint8_t header[HEADER_SIZE];
	uint32_t format; /* in the host's order (libvirt: virQEMUSaveHeader) */
	TP_FD int fd = open(g->image_path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return tp_error_errno(errno, "open", g->image_path);
	TP_TRY(tp_pread_full(fd, header, sizeof(header), 0, g->image_path));
	memcpy(&format, header + HEADER_SIZE - sizeof(format), sizeof(format));
	if (memcmp(header, HEADER_MAGIC, sizeof(HEADER_MAGIC) - 1) != 0 ||
		format >= TP_ARRAY_LEN(formats) || strcmp(formats[format], g->peer->format) != 0)
		return tp_error(TORPOR_E_MISMATCH, "check", g->image_path,
			"libvirt didn't save in format %s", g->peer->format);
	return NULL;
}

/* --- the peers --- */

/* libvirtd has a working directory of its own. */
static struct torpor_error *make_absolute(const char *path, char **path_out)
{
	char *absolute = realpath(path, NULL);

	if (!absolute)
		return tp_error_errno(errno, "find", path);
	*path_out = absolute;
	return NULL;
}

static struct torpor_error *define(struct libvirt_guest *g)
{
	struct cmp_places places = *g->common.places;
	TP_FREE char *emulator = find_program(places.qemu);
	TP_FREE char *kernel = NULL;
	TP_FREE char *initrd = NULL;
	struct cmp_domain domain = {
		.name = g->name,
		.emulator = emulator,
		.qmp_path = g->qmp_path,
		.helper_path = g->helper_path,
	};

	if (!emulator)
		return tp_error(TORPOR_E_NOT_FOUND, "find", places.qemu, "it isn't in PATH");
	TP_TRY(make_absolute(places.kernel, &kernel));
	TP_TRY(make_absolute(places.initrd, &initrd));
	places.kernel = kernel;
	places.initrd = initrd;
	TP_FREE char *xml = cmp_domain_xml(&domain, &places, &g->common.cell);
	g->domain = virDomainDefineXML(g->connection, xml);
	return g->domain ? NULL : libvirt_error("define domain", g->name);
}

static struct torpor_error *start(struct libvirt_guest *g, const struct tp_call *call)
{
	struct cmp_restore ignored;

	TP_TRY(connect_to(g->common.places, g->peer->format, &g->connection));
	TP_TRY(define(g));
	TP_TRY(come_back(g, create, "start domain", call, &ignored));
	return cmp_watch_payload(g->watch, g->common.cell.payload_bytes, call);
}

static char *image_path(const struct libvirt_guest *g)
{
	const struct cmp_places *places = g->common.places;

	if (g->peer->managed)
		return tp_asprintf(
			"%s/%s/lib/qemu/save/%s.save", places->libvirt, g->peer->format, g->name);
	return tp_asprintf("%s/%s.save", places->work_dir, g->name);
}

struct torpor_error *cmp_libvirt_start(const struct cmp_peer_ops *ops,
	const struct cmp_places *places, const struct cmp_cell *cell, const struct tp_call *call,
	struct cmp_guest **guest_out)
{
	static unsigned int started;
	struct libvirt_guest *g = tp_calloc(1, sizeof(*g));

	g->common = (struct cmp_guest){.ops = ops, .places = places, .cell = *cell};
	g->peer = (const struct cmp_libvirt_peer *)ops;
	g->name = tp_asprintf("%s-%d-%u", ops->name, (int)getpid(), started++);
	g->qmp_path = tp_asprintf("%s/%s.qmp", places->run_dir, g->name);
	g->helper_path = tp_asprintf("%s/%s.port", places->run_dir, g->name);
	g->pid_path =
		tp_asprintf("%s/%s/run/qemu/%s.pid", places->libvirt, g->peer->format, g->name);
	g->image_path = image_path(g);
	struct torpor_error *err = start(g, call);
	if (err) {
		cmp_libvirt_end(&g->common);
		return err;
	}
	*guest_out = &g->common;
	return NULL;
}

struct torpor_error *cmp_libvirt_save(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_save *out)
{
	struct libvirt_guest *g = of(guest);
	struct cmp_save times = {0};
	struct cmp_job *job;
	TP_FD int pidfd = -1;

	TP_TRY(open_process(g, &pidfd));
	cmp_watch_forget(g->watch);
	uint64_t start = tp_now_ns();
	TP_TRY(cmp_job_start(save, g, call, &job));
	TP_TRY(cmp_job_end(job, "save domain", g->name, destroy));
	TP_TRY(tp_wait_fd(pidfd, POLLIN, call, "wait for the end of", g->name));
	times.gone_ns = tp_now_ns() - start;
	TP_TRY(cmp_sync(g->image_path));
	times.durable_ns = tp_now_ns() - start;
	TP_TRY(take_standstill(g, &times.standstill_ns));
	TP_TRY(check_image(g));
	times.bytes = cmp_disk_bytes(g->image_path);
	g->watch = cmp_watch_close(g->watch);
	*out = times;
	return NULL;
}

struct torpor_error *cmp_libvirt_restore(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_restore *out)
{
	struct libvirt_guest *g = of(guest);

	/* A domain whose managed image is gone would boot instead, and nobody be told. */
	TP_TRY(check_image(g));
	TP_TRY(come_back(g, restore, "restore domain", call, out));
	/* A managed image was removed by libvirt, once the guest ran. */
	unlink(g->image_path);
	return NULL;
}

void cmp_libvirt_end(struct cmp_guest *guest)
{
	struct libvirt_guest *g = of(guest);

	if (!g)
		return;
	cmp_watch_close(g->watch);
	if (g->domain) {
		virDomainDestroy(g->domain);
		if (virDomainUndefineFlags(g->domain, VIR_DOMAIN_UNDEFINE_MANAGED_SAVE) < 0)
			tp_error_log(libvirt_error("undefine", g->name));
		virDomainFree(g->domain);
	}
	if (g->connection)
		virConnectClose(g->connection);
	forget_sockets(g);
	unlink(g->image_path);
	free(g->name);
	free(g->qmp_path);
	free(g->helper_path);
	free(g->image_path);
	free(g->pid_path);
	free(g);
}
