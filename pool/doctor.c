/* SPDX-License-Identifier: Apache-2.0 */
/* What this host can do, and what to do about the rest. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/cgroup.h"
#include "engine/inspect.h"
#include "engine/libvirt.h"
#include "pool/machine.h"
#include "pool/template.h"
#include "snapshot/procmem.h"
#include "storage/io.h"

/* A template and some hundred parked sessions; less is worth a word. */
#define SPACE_LOW (2 * TP_GIB)

#define OLDEST_QEMU "7.2"

struct doctor {
	struct torpor_engine *engine;
	const struct tp_call *call;
	torpor_finding_fn *tell;
	void *data;
};

static void tell(struct doctor *d, const char *subject, enum torpor_health health,
	const char *advice, const char *fmt, ...) TP_PRINTF(5, 6);

static void tell(struct doctor *d, const char *subject, enum torpor_health health,
	const char *advice, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	TP_FREE char *text = tp_vasprintf(fmt, ap);
	va_end(ap);
	struct torpor_finding finding = {
		.subject = subject, .health = health, .text = text, .advice = advice};
	d->tell(d->data, &finding);
}

/* --- QEMU --- */

/* Whether this QEMU runs at all; nothing about guests can be found out otherwise. */
static bool look_at_qemu(struct doctor *d)
{
	struct tp_direct_options options = tp_engine_direct_options(d->engine);
	TP_CLEANUP(tp_inspector_end) struct tp_inspector *inspector = NULL;
	TP_ERROR struct torpor_error *err =
		tp_inspector_start(&options, TP_ACCEL_TCG, d->call, &inspector);

	if (err) {
		tell(d, "qemu", TORPOR_HEALTH_BAD,
			"Install qemu-system-x86 (" OLDEST_QEMU
			" or newer), or name another with --qemu.",
			"%s", torpor_error_message(err));
		return false;
	}
	const char *version = tp_inspect_version(inspector);
	const char *small = d->engine->qemu_microvm;
	bool old = strverscmp(version, OLDEST_QEMU) < 0;
	tell(d, "qemu", old ? TORPOR_HEALTH_LESS : TORPOR_HEALTH_GOOD,
		old ? "Torpor is tested with " OLDEST_QEMU " and newer." : NULL,
		"%s is version %s%s%s", d->engine->qemu, version,
		small ? "; for microvm under kvm there is " : "", small ? small : "");
	return true;
}

static void look_at_launcher(struct doctor *d)
{
	const char *connect = d->engine->connect;

	/* Opening the engine has connected to it. */
	if (strcmp(d->engine->launcher_name, "libvirt") == 0)
		tell(d, "launcher", TORPOR_HEALTH_GOOD, NULL,
			"libvirt at %s answers, and runs guests as transient domains",
			connect ? connect : TP_DEFAULT_CONNECT);
}

/* --- The accelerator --- */

/* The template to prove it with: the one named, or the first stored. */
static struct torpor_error *choose_template(
	struct doctor *d, const char *wanted, struct torpor_template_info *info_out)
{
	TP_FREE struct torpor_template_info *infos = NULL;
	size_t n;

	if (wanted)
		return torpor_template_lookup(d->engine, wanted, info_out);
	TP_TRY(torpor_template_list(d->engine, &infos, &n));
	if (n == 0)
		return tp_error(TORPOR_E_NOT_FOUND, "choose template", NULL,
			"none is stored yet, so there is no kernel to prove it with");
	*info_out = infos[0];
	return NULL;
}

static void tell_kvm(struct doctor *d, const char *template_name, const char *why_not)
{
	if (!why_not)
		tell(d, "accelerator", TORPOR_HEALTH_GOOD, NULL,
			"kvm runs the kernel of template %s", template_name);
	else
		tell(d, "accelerator", TORPOR_HEALTH_LESS,
			"Guests run under tcg, many times slower. Enable virtualization in the "
			"firmware (or nesting in the hypervisor), load kvm_intel or kvm_amd, give "
			"this user access to /dev/kvm. What was found is remembered until the host "
			"boots; to have it tried again, remove accel.json from the state "
			"directory.",
			"kvm doesn't run the kernel of template %s: %s", template_name, why_not);
}

static struct torpor_error *prove_kvm(struct doctor *d, const char *wanted)
{
	struct torpor_template_info info;
	TP_GUEST_CONFIG struct tp_guest_config config = {.vcpus = 1, .channels = true};
	TP_FREE char *why_not = NULL;

	TP_TRY(choose_template(d, wanted, &info));
	TP_FREE char *kernel =
		tp_asprintf("%s/templates/%s/" TEMPLATE_KERNEL, d->engine->state_dir, info.name);
	struct tp_boot_files files = {.kernel = kernel};
	config.memory_bytes = info.memory;
	TP_TRY(tp_machine_try_kvm(d->engine, NULL, &files, NULL, d->call, &config, &why_not));
	tell_kvm(d, info.name, why_not);
	return NULL;
}

static void look_at_accelerator(struct doctor *d, const char *wanted)
{
	TP_ERROR struct torpor_error *err = prove_kvm(d, wanted);

	if (!err)
		return;
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		tell(d, "accelerator", TORPOR_HEALTH_LESS,
			"Load kvm_intel or kvm_amd and give this user access to /dev/kvm (group "
			"kvm).",
			"/dev/kvm can't be opened (%s): guests run under tcg, many times slower",
			strerrordesc_np(errno));
	else
		tell(d, "accelerator", TORPOR_HEALTH_LESS,
			"Build a template; then this shows whether kvm runs its kernel.",
			"/dev/kvm opens, which proves nothing yet: %s", torpor_error_message(err));
}

/* --- Memory of other processes --- */

/* A child that does nothing and ends with this thread; negative if there can't be one. */
static pid_t spawn_subject(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static void tell_rights(struct doctor *d, struct torpor_error *err)
{
	if (!err)
		tell(d, "guest memory", TORPOR_HEALTH_GOOD, NULL,
			"can be read and written directly: parking costs what changed");
	else
		tell(d, "guest memory", TORPOR_HEALTH_LESS,
			"Allow process_vm_readv and process_vm_writev (seccomp), and set "
			"kernel.yama.ptrace_scope to 1 or less, or give CAP_SYS_PTRACE.",
			"can't be reached, so all of it goes through QEMU's migration and parking "
			"costs "
			"the memory's size: %s",
			torpor_error_message(err));
}

static void look_at_rights(struct doctor *d)
{
	pid_t pid = spawn_subject();
	TP_ERROR struct torpor_error *err =
		pid < 0 ? tp_error_errno(errno, "start", "a process to try it on")
			: tp_procmem_allowed(pid);

	tell_rights(d, err);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

static void look_at_scan(struct doctor *d)
{
	if (tp_procmem_scan_method() == TP_SCAN_PAGEMAP_SCAN)
		tell(d, "dirty pages", TORPOR_HEALTH_GOOD, NULL,
			"found by the PAGEMAP_SCAN ioctl, whose cost hardly grows with memory");
	else
		tell(d, "dirty pages", TORPOR_HEALTH_LESS, "Linux 6.7 and newer have PAGEMAP_SCAN.",
			"found by reading /proc/PID/pagemap, about 3 ms for each GiB of guest "
			"memory");
}

/* --- Disk --- */

static void look_at_io(struct doctor *d)
{
	if (tp_io_uring_available())
		tell(d, "io_uring", TORPOR_HEALTH_GOOD, NULL, "works");
	else
		tell(d, "io_uring", TORPOR_HEALTH_LESS,
			"Set kernel.io_uring_disabled to 0, and allow io_uring_setup in the "
			"container's "
			"seccomp profile.",
			"isn't to be had: plain reads and writes are used, somewhat slower for "
			"large "
			"images");
}

static void look_at_space(struct doctor *d)
{
	struct statvfs fs;

	if (fstatvfs(d->engine->state_fd, &fs) < 0) {
		tell(d, "disk space", TORPOR_HEALTH_BAD, NULL, "%s: %s", d->engine->state_dir,
			strerrordesc_np(errno));
		return;
	}
	uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
	bool low = left < SPACE_LOW;
	tell(d, "disk space", low ? TORPOR_HEALTH_LESS : TORPOR_HEALTH_GOOD,
		low ? "Free some, or choose another place with --state." : NULL,
		"%ju MiB are free under %s", (uintmax_t)(left / TP_MIB), d->engine->state_dir);
}

/* --- Limits of guests --- */

/* The texts of a JSON array, one behind the other; the caller's to free. */
static char *join(const json_t *texts)
{
	char *all = tp_strdup("");
	const json_t *text;
	size_t i;

	json_array_foreach (texts, i, text) {
		TP_FREE char *before = all;
		all = tp_asprintf("%s%s%s", before, i > 0 ? "; " : "", json_string_value(text));
	}
	return all;
}

static void tell_limits(struct doctor *d, const json_t *can, const json_t *cannot)
{
	TP_FREE char *good = join(can);
	TP_FREE char *bad = join(cannot);
	/* That guests have no network is no fault of the host. */
	bool less = json_array_size(cannot) > 1;

	tell(d, "guest limits", less ? TORPOR_HEALTH_LESS : TORPOR_HEALTH_GOOD,
		less ? "For torpord what counts is the cgroup that its unit gives it "
		       "(Delegate=yes, "
		       "on a host with the unified hierarchy of cgroup v2). A session's record "
		       "says "
		       "which of its limits are not enforced."
		     : NULL,
		"enforced by %s. Not: %s", good, bad);
}

/* Of the cgroup that this process is in: nothing is changed for it. */
static void look_at_limits(struct doctor *d)
{
	struct tp_cgroup *cgroup;
	json_t *can, *cannot;

	if (tp_launcher_has_limits(d->engine->launcher)) {
		tell(d, "guest limits", TORPOR_HEALTH_GOOD, NULL,
			"set through libvirt, which has a cgroup for each domain where the host "
			"has controllers; a session's record says which are not enforced");
		return;
	}
	TP_ERROR struct torpor_error *err = tp_cgroup_look(NULL, &cgroup);

	if (err) {
		tell(d, "guest limits", TORPOR_HEALTH_LESS, NULL, "%s", torpor_error_message(err));
		return;
	}
	tp_cgroup_set_disk(cgroup, d->engine->state_dir);
	tp_cgroup_can(cgroup, &can, &cannot);
	tell_limits(d, can, cannot);
	json_decref(can);
	json_decref(cannot);
	tp_cgroup_close(cgroup);
}

struct torpor_error *torpor_doctor(struct torpor_engine *engine, const char *template_name,
	torpor_finding_fn *tell_fn, void *data, const struct torpor_call *public_call)
{
	struct tp_call call = tp_call_from(public_call, OPEN_TIMEOUT_NS);
	struct doctor d = {.engine = engine, .call = &call, .tell = tell_fn, .data = data};
	struct torpor_template_info info;

	if (template_name)
		TP_TRY(torpor_template_lookup(engine, template_name, &info));
	if (look_at_qemu(&d))
		look_at_accelerator(&d, template_name);
	look_at_launcher(&d);
	look_at_rights(&d);
	look_at_scan(&d);
	look_at_io(&d);
	look_at_space(&d);
	look_at_limits(&d);
	return tp_call_check(&call, "examine", "this host");
}
