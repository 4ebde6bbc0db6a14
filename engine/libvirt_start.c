/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a domain.
 *
 * libvirtd starts QEMU as a user of its own, in a mount namespace of its own, and hands it no
 * descriptor of ours. A file that has no path, as a base in a memfd, reaches it all the same
 * through /proc/PID/fd of a process of that user: the holder, which is there until QEMU has opened
 * all.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "engine/libvirt_domain.h"
#include "engine/libvirt_priv.h"
#include "engine/rundir.h"

#define KERNEL_MAX TP_GIB
#define IN_PROCESS "qemu:///embed"

/* ---- the holder ---- */

struct holder {
	struct tp_process process;
	int fds[4]; /* not owned: RAM, console, kernel, initrd */
	size_t n;
	int kernel_fd; /* owned; -1 */
	int initrd_fd;
};

static void holder_end(struct holder *holder)
{
	struct tp_call soon = tp_call_within(TP_NSEC_PER_SEC);

	if (holder->process.pidfd >= 0) {
		tp_error_log(tp_process_kill(&holder->process, &soon, NULL));
		tp_process_deinit(&holder->process);
	}
	holder->kernel_fd = tp_close(holder->kernel_fd);
	holder->initrd_fd = tp_close(holder->initrd_fd);
}

/* FD's number in the holder, or -1 for none. */
static int hold(struct holder *holder, int fd)
{
	if (fd < 0)
		return -1;
	assert(holder->n < TP_ARRAY_LEN(holder->fds));
	holder->fds[holder->n] = fd;
	return TP_SPAWN_FIRST_FD + (int)holder->n++;
}

/* A copy, which anybody may read; PATH may be root's alone. NULL stays -1. */
static struct torpor_error *copy_file(const char *path, int *fd_out)
{
	TP_FD int from = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	TP_FD int to = -1;
	struct stat st;

	if (!path)
		return NULL;
	if (from < 0 || fstat(from, &st) < 0)
		return tp_error_errno(errno, "open", path);
	if ((uint64_t)st.st_size > KERNEL_MAX)
		return tp_error(TORPOR_E_LIMIT, "read", path, "it is larger than 1 GiB");
	TP_TRY(tp_memfd("torpor-boot", 0, &to));
	for (off_t left = st.st_size; left > 0;) {
		ssize_t n = sendfile(to, from, NULL, (size_t)left);
		if (n <= 0)
			return tp_error_errno(n < 0 ? errno : EIO, "read", path);
		left -= n;
	}
	*fd_out = TP_TAKE_FD(to);
	return NULL;
}

/* A pipe may be opened anew only by its owner. */
static struct torpor_error *give_console(const struct libvirt_launcher *launcher, int fd)
{
	struct stat st;

	if (fd < 0 || launcher->uid == geteuid())
		return NULL;
	if (fstat(fd, &st) < 0 ||
		(S_ISFIFO(st.st_mode) && fchown(fd, launcher->uid, launcher->gid) < 0))
		return tp_error_errno(errno, "give to QEMU's user", "console");
	return NULL;
}

/* Returns when what it holds can be opened. */
static struct torpor_error *holder_start(
	struct libvirt_launcher *launcher, struct holder *holder, const struct tp_call *call)
{
	char uid[16];
	char gid[16];
	char *argv[] = {
		(char *)tp_spawner_helper(launcher->spawner), (char *)"--hold", uid, gid, NULL};
	int ready[2];
	char byte;

	snprintf(uid, sizeof(uid), "%u", launcher->uid);
	snprintf(gid, sizeof(gid), "%u", launcher->gid);
	if (pipe2(ready, O_CLOEXEC) < 0)
		return tp_error_errno(errno, "make pipe for", "holder");
	TP_FD int read_fd = ready[0];
	TP_FD int write_fd = ready[1];
	struct tp_spawn_spec what = {
		.argv = argv,
		.fds = holder->fds,
		.n_fds = holder->n,
		.output_fd = write_fd,
		.bound = true,
		.record_fd = -1,
		.lock_fd = -1,
	};
	TP_TRY(tp_spawner_start(launcher->spawner, &what, call, &holder->process));
	write_fd = tp_close(write_fd);
	TP_TRY(tp_wait_fd(read_fd, POLLIN, call, "wait for", "holder"));
	if (read(read_fd, &byte, 1) != 1 || byte != '\n')
		return tp_error_hint(
			tp_error(TORPOR_E_DENIED, "start", "holder",
				"it can't become user %s, as which libvirt runs QEMU", uid),
			"Run Torpor as root, or use qemu:///session, which runs QEMU as you.");
	return NULL;
}

/* ---- who QEMU runs as ---- */

static struct torpor_error *ask_owner(struct libvirt_launcher *launcher, const struct tp_call *call)
{
	TP_VIR_CONN virConnectPtr conn = NULL;

	TP_TRY(tp_link_get(tp_relays_link(launcher->relays), call, &conn, NULL));
	TP_FREE char *capabilities = tp_vir.virConnectGetCapabilities(conn);
	if (!capabilities)
		return tp_vir_error("ask for the capabilities of", launcher->connect);
	if (!tp_libvirt_domain_owner(capabilities, &launcher->uid, &launcher->gid)) {
		launcher->uid = geteuid();
		launcher->gid = getegid();
	}
	launcher->owner_known = true;
	return NULL;
}

static struct torpor_error *know_owner(
	struct libvirt_launcher *launcher, const struct tp_call *call)
{
	pthread_mutex_lock(&launcher->lock);
	struct torpor_error *err = launcher->owner_known ? NULL : ask_owner(launcher, call);
	pthread_mutex_unlock(&launcher->lock);
	return err;
}

/* ---- the domain ---- */

/* Version 4, random (RFC 4122). */
static struct torpor_error *make_uuid(char uuid[VIR_UUID_STRING_BUFLEN])
{
	unsigned char b[16];

	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		return tp_error_errno(errno, "make", "UUID");
	b[6] = (unsigned char)(0x40 | (b[6] & 0x0f));
	b[8] = (unsigned char)(0x80 | (b[8] & 0x3f));
	snprintf(uuid, VIR_UUID_STRING_BUFLEN,
		"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		b[15]);
	return NULL;
}

/* Where libvirtd makes a socket of the guest's. The caller's to free. */
static struct torpor_error *socket_path(const struct libvirt_launcher *launcher, const char *name,
	const char *socket, char **path_out)
{
	TP_FREE char *path = tp_asprintf("%s/%s/%s", launcher->run_dir, name, socket);

	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return tp_error_hint(
			tp_error(TORPOR_E_INVALID, "make socket", path, "its path is too long"),
			"Choose a state directory with a shorter path.");
	*path_out = TP_TAKE(path);
	return NULL;
}

/* The XML of a guest whose files HOLDER holds. */
static struct torpor_error *describe(struct libvirt_launcher *launcher,
	const struct libvirt_guest *guest, const struct tp_guest_spec *spec,
	const struct tp_qemu_args *args, char **xml_out)
{
	TP_STRV struct tp_strv argv = {0};
	TP_FREE char *agent_path = NULL;
	TP_FREE char *helper_path = NULL;

	if (spec->config->channels) {
		TP_TRY(socket_path(launcher, spec->name, "agent", &agent_path));
		TP_TRY(socket_path(launcher, spec->name, "helper", &helper_path));
	}
	tp_qemu_args_override(spec->config, args, &argv);
	struct tp_libvirt_domain domain = {
		.name = spec->name,
		.uuid = guest->uuid,
		.emulator = spec->program ? spec->program : launcher->emulator,
		.run_id = launcher->run_id,
		.agent_path = agent_path,
		.helper_path = helper_path,
		.args = argv.v,
	};
	*xml_out = tp_libvirt_domain_xml(&domain, spec->config);
	return NULL;
}

/*
 * libvirtd ends bound guests when our connection closes, however that comes. A driver inside this
 * process can't (qemu_driver.c): what it leaves if we are killed, the next sweep ends.
 */
static bool ends_with_connection(const struct libvirt_launcher *launcher)
{
	return launcher->bound && strncmp(launcher->connect, IN_PROCESS, strlen(IN_PROCESS)) != 0;
}

static struct torpor_error *create(struct libvirt_launcher *launcher, const char *name,
	const char *xml, bool paused, const struct tp_call *call, virDomainPtr *domain_out)
{
	TP_VIR_CONN virConnectPtr conn = NULL;
	unsigned int flags = (paused ? VIR_DOMAIN_START_PAUSED : 0) |
			     (ends_with_connection(launcher) ? VIR_DOMAIN_START_AUTODESTROY : 0);

	TP_TRY(tp_link_get(tp_relays_link(launcher->relays), call, &conn, NULL));
	*domain_out = tp_vir.virDomainCreateXML(conn, xml, flags);
	if (!*domain_out)
		return tp_vir_error("create domain", name);
	/* It takes libvirtd half a second, in which nobody can break it off. */
	return tp_call_check(call, "create domain", name);
}

/* ---- its process ---- */

/* libvirt tells no pid. QEMU tells the thread of each vCPU, and Linux whose thread that is. */
static struct torpor_error *ask_thread(virDomainPtr domain, const char *name, pid_t *thread_out)
{
	char *text = NULL;

	if (tp_vir.virDomainQemuMonitorCommandWithFiles(
		    domain, "{\"execute\":\"query-cpus-fast\"}", 0, NULL, NULL, NULL, &text, 0) < 0)
		return tp_vir_error("ask for the process of", name);
	json_t *answer = json_loads(text, 0, NULL);
	json_t *cpu = json_array_get(json_object_get(answer, "return"), 0);
	json_int_t thread = json_integer_value(json_object_get(cpu, "thread-id"));
	json_decref(answer);
	free(text);
	if (thread <= 0 || thread > INT32_MAX)
		return tp_error(TORPOR_E_QEMU, "ask for the process of", name,
			"QEMU doesn't tell a vCPU's thread");
	*thread_out = (pid_t)thread;
	return NULL;
}

static struct torpor_error *process_of_thread(pid_t thread, pid_t *pid_out)
{
	TP_FREE char *path = tp_asprintf("/proc/%d/status", (int)thread);
	TP_FREE char *text = NULL;
	size_t len;
	int pid;

	TP_TRY(tp_read_file(AT_FDCWD, path, 16 * TP_KIB, &text, &len));
	const char *at = strstr(text, "\nTgid:");
	if (!at || sscanf(at, "\nTgid: %d", &pid) != 1)
		return tp_error(TORPOR_E_INTERNAL, "read", path, "it names no process");
	*pid_out = pid;
	return NULL;
}

static struct torpor_error *find_process(
	struct libvirt_guest *guest, virDomainPtr domain, struct tp_process *process_out)
{
	pid_t thread = 0;
	pid_t pid = 0;
	uint64_t start_time;

	TP_TRY(ask_thread(domain, guest->base.name, &thread));
	TP_TRY(tp_error_hint(process_of_thread(thread, &pid),
		"libvirtd must run in the same PID namespace as Torpor."));
	TP_TRY(tp_process_start_time(pid, &start_time));
	return tp_process_open(pid, start_time, process_out);
}

static struct torpor_error *record(struct libvirt_guest *guest)
{
	TP_FD int fd = -1;
	TP_FREE char *text = tp_asprintf("{\"pid\": %ld, \"start_time\": %ju}\n",
		(long)guest->base.process.pid, (uintmax_t)guest->base.process.start_time);

	TP_TRY(tp_rundir_record(guest->dir_fd, guest->base.name, &fd));
	return tp_pwrite_full(fd, text, strlen(text), 0, guest->base.name);
}

/* ---- all of it ---- */

static struct torpor_error *start_domain(struct libvirt_launcher *launcher,
	struct libvirt_guest *guest, const struct tp_guest_spec *spec, struct holder *holder,
	const struct tp_call *call)
{
	TP_VIR_DOMAIN virDomainPtr domain = NULL;
	TP_FREE char *xml = NULL;
	struct tp_qemu_args args = {
		.traits = spec->traits,
		.firmware_dir = launcher->firmware_dir,
		.role = spec->role,
		.append = spec->append,
		.ram_shared = spec->ram_shared,
	};

	TP_TRY(copy_file(spec->kernel, &holder->kernel_fd));
	TP_TRY(copy_file(spec->initrd, &holder->initrd_fd));
	args.ram_fd = hold(holder, spec->ram_fd);
	args.console_fd = hold(holder, spec->console_fd);
	int kernel = hold(holder, holder->kernel_fd);
	int initrd = hold(holder, holder->initrd_fd);
	TP_TRY(give_console(launcher, spec->console_fd));
	TP_TRY(holder_start(launcher, holder, call));
	TP_FREE char *fd_dir = tp_asprintf("/proc/%d/fd", (int)holder->process.pid);
	TP_FREE char *kernel_path = tp_asprintf("%s/%d", fd_dir, kernel);
	TP_FREE char *initrd_path = tp_asprintf("%s/%d", fd_dir, initrd);
	args.fd_dir = fd_dir;
	args.kernel = kernel < 0 ? NULL : kernel_path;
	args.initrd = initrd < 0 ? NULL : initrd_path;
	TP_TRY(describe(launcher, guest, spec, &args, &xml));
	/* What happens to it is heard from its first moment on. */
	guest->relay = tp_relay_new(launcher->relays, spec->name, guest->uuid);
	TP_TRY(create(launcher, spec->name, xml, spec->role == TP_ROLE_INCOMING, call, &domain));
	TP_TRY(find_process(guest, domain, &guest->base.process));
	return record(guest);
}

static struct torpor_error *start_in(struct libvirt_launcher *launcher, struct libvirt_guest *guest,
	const struct tp_guest_spec *spec, const struct tp_call *call)
{
	struct holder holder = {.process.pidfd = -1, .kernel_fd = -1, .initrd_fd = -1};

	TP_TRY(tp_rundir_create(launcher->run_dir_fd, spec->name, &guest->dir_fd));
	TP_TRY(make_uuid(guest->uuid));
	struct torpor_error *err = know_owner(launcher, call);
	if (!err)
		err = start_domain(launcher, guest, spec, &holder, call);
	/* By now QEMU has opened all that it needs, or never will. */
	holder_end(&holder);
	if (err)
		return err;
	return tp_libvirt_attach(guest, spec->config->channels, call);
}

/* A guest whose start failed: wherever it got to, nothing stays. */
static void undo_start(struct libvirt_launcher *launcher, struct libvirt_guest *guest)
{
	struct tp_call soon = tp_call_within(5 * TP_NSEC_PER_SEC);
	struct tp_guest *base = &guest->base;

	if (base->process.pidfd >= 0) {
		tp_guest_free(base);
		return;
	}
	if (guest->relay)
		tp_error_log(tp_libvirt_destroy(launcher, guest->uuid, base->name, &soon));
	tp_relay_close(guest->relay);
	if (guest->dir_fd >= 0)
		tp_rundir_remove(launcher->run_dir_fd, base->name, guest->dir_fd);
	tp_close(guest->dir_fd);
	free(base->name);
	free(guest);
}

struct torpor_error *tp_libvirt_start(struct tp_launcher *base, const struct tp_guest_spec *spec,
	const struct tp_call *call, struct tp_guest **guest_out)
{
	struct libvirt_launcher *launcher = (struct libvirt_launcher *)base;

	if (spec->config->machine == TP_MACHINE_MICROVM)
		return tp_error_hint(tp_error(TORPOR_E_UNSUPPORTED, "start guest", spec->name,
					     "libvirt doesn't run machines of type microvm"),
			"Use a template of machine pc or q35, or the launcher \"direct\".");
	if (spec->config->foreign)
		return tp_error_hint(tp_error(TORPOR_E_UNSUPPORTED, "start guest", spec->name,
					     "it was taken from libvirt, and is given back to it "
					     "only as what it was"),
			"Use the launcher \"direct\", or `torpor export` and `virsh restore`.");
	struct libvirt_guest *guest = tp_libvirt_guest_new(launcher, spec->name);
	struct torpor_error *err = start_in(launcher, guest, spec, call);
	if (err) {
		undo_start(launcher, guest);
		return tp_error_in(err, "start guest", spec->name);
	}
	*guest_out = &guest->base;
	return NULL;
}
