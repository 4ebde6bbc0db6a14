/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building a template: choose the machine, boot it, wait until it is ready, freeze it, store it.
 *
 * It is built in a hidden directory that this process holds a lock on, and gets its name by a
 * rename once it is complete and durable; what a crash leaves is swept at the next opening.
 */
#include "pool/build.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "engine/agent.h"
#include "engine/helper.h"
#include "pool/console.h"
#include "pool/machine.h"

#define DEFAULT_MEMORY (256 * TP_MIB)
#define MIN_MEMORY     (16 * TP_MIB)
#define AGENT_PATIENCE (15 * TP_NSEC_PER_SEC) /* for the second of helper and agent */
#define END_PATIENCE   (2 * TP_NSEC_PER_SEC)  /* from a closed channel to the end */
#define WARM_UP_COUNT  3

struct build {
	struct torpor_engine *engine;
	const struct torpor_template_spec *spec;
	const struct tp_call *call;
	torpor_progress_fn *progress;
	void *progress_data;
	struct torpor_template_report report;
	struct tp_record record;
	int dir_fd; /* of the hidden directory; locked */
	char *dir_name;
	struct tp_console *console;
	struct tp_guest *guest;
	struct tp_helper *helper;
	int ram_fd;
	struct tp_qemu_use qemu;
};

static void say(struct build *b, const char *stage, const char *line)
{
	if (b->progress)
		b->progress(b->progress_data, stage, line);
}

/* --- What is to be built --- */

/* Only then can the record have it (snapshot/record.h), which is JSON. */
static bool is_utf8(const char *text)
{
	json_t *json = json_string(text);
	bool is = json != NULL;

	json_decref(json);
	return is;
}

static struct torpor_error *check_spec(const struct torpor_template_spec *spec)
{
	uint64_t memory = spec->memory ? spec->memory : DEFAULT_MEMORY;

	if (!spec->name || !tp_guest_name_ok(spec->name))
		return tp_error_hint(tp_error(TORPOR_E_INVALID, "build template", spec->name,
					     "this can't be a name"),
			"Names are 1 to 64 of A-Z a-z 0-9 . _ - and start with a letter or digit.");
	if (!spec->kernel)
		return tp_error(
			TORPOR_E_INVALID, "build template", spec->name, "no kernel was given");
	if (spec->append && !is_utf8(spec->append))
		return tp_error(TORPOR_E_INVALID, "build template", spec->name,
			"the kernel's command line isn't UTF-8");
	if (memory < MIN_MEMORY || memory > TP_CONFIG_MEMORY_MAX || memory % TP_MIB)
		return tp_error(TORPOR_E_INVALID, "build template", spec->name,
			"memory must be 16 MiB to 1 TiB, in whole MiB");
	if (spec->vcpus > TP_CONFIG_VCPUS_MAX)
		return tp_error(TORPOR_E_INVALID, "build template", spec->name,
			"vcpus must be 1 to %u", TP_CONFIG_VCPUS_MAX);
	return NULL;
}

static struct torpor_error *choose_machine(struct build *b)
{
	const struct torpor_template_spec *spec = b->spec;
	struct tp_guest_config *config = &b->record.guest;
	uint64_t start = tp_now_ns();

	TP_TRY(tp_build_choose_machine(
		b->engine, spec, b->progress, b->progress_data, b->call, config, &b->qemu));
	b->record.template_name = tp_strdup(spec->name);
	b->record.append = tp_strdup(tp_build_command_line(spec, config));
	b->report.probe_ns = tp_now_ns() - start;
	return NULL;
}

/* --- The directory --- */

/* Makes, opens and locks it; *LOST_OUT: another process's sweep was faster than the lock. */
static struct torpor_error *try_make_dir(struct build *b, bool *lost_out)
{
	struct stat st;

	if (mkdirat(b->engine->templates_fd, b->dir_name, 0700) < 0)
		return tp_error_errno(errno, "make directory", b->dir_name);
	b->dir_fd =
		openat(b->engine->templates_fd, b->dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*lost_out = b->dir_fd < 0 && errno == ENOENT;
	if (*lost_out)
		return NULL;
	if (b->dir_fd < 0)
		return tp_error_errno(errno, "open directory", b->dir_name);
	/* The sweep locks it for a moment; it is ours if it has a name once we have the lock. */
	if (flock(b->dir_fd, LOCK_EX) < 0 || fstat(b->dir_fd, &st) < 0)
		return tp_error_errno(errno, "lock directory", b->dir_name);
	*lost_out = st.st_nlink == 0;
	if (*lost_out)
		b->dir_fd = tp_close(b->dir_fd);
	return NULL;
}

static struct torpor_error *make_dir(struct build *b)
{
	bool lost = true;

	b->dir_name = tp_engine_guest_name(b->engine, "." TEMPLATE_PART_PREFIX "build");
	while (lost) {
		TP_TRY(tp_call_check(b->call, "make directory", b->dir_name));
		TP_TRY(try_make_dir(b, &lost));
	}
	return NULL;
}

static struct torpor_error *copy_file(struct build *b, const char *path, const char *name)
{
	TP_FD int from = open(path, O_RDONLY | O_CLOEXEC);
	TP_FD int to = -1;
	struct stat st;

	if (from < 0 || fstat(from, &st) < 0)
		return tp_error_errno(errno, "open", path);
	if (!S_ISREG(st.st_mode))
		return tp_error(TORPOR_E_INVALID, "copy", path, "it isn't a regular file");
	to = openat(b->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (to < 0)
		return tp_error_errno(errno, "make", name);
	for (off_t at = 0; at < st.st_size;) {
		TP_TRY(tp_call_check(b->call, "copy", path));
		ssize_t n = sendfile(to, from, &at, (size_t)(16 * TP_MIB));
		if (n < 0)
			return tp_error_errno(errno, "copy", path);
		if (n == 0)
			break;
	}
	if (fsync(to) < 0)
		return tp_error_errno(errno, "sync", name);
	return NULL;
}

static struct torpor_error *copy_boot_files(struct build *b)
{
	TP_TRY(copy_file(b, b->spec->kernel, TEMPLATE_KERNEL));
	return b->spec->initrd ? copy_file(b, b->spec->initrd, TEMPLATE_INITRD) : NULL;
}

/* --- Booting --- */

static struct torpor_error *start(struct build *b)
{
	const struct torpor_template_spec *spec = b->spec;
	TP_FREE char *name = tp_engine_guest_name(b->engine, "build");
	struct tp_guest_spec guest = {
		.config = &b->record.guest,
		.name = name,
		.role = TP_ROLE_BOOT,
		.program = b->qemu.program,
		.traits = b->qemu.traits,
		.kernel = spec->kernel,
		.initrd = spec->initrd,
		.append = b->record.append,
		.ram_shared = true,
	};

	TP_TRY(tp_memfd(TP_BASE_MEMFD, b->record.guest.memory_bytes, &b->ram_fd));
	TP_TRY(tp_console_new(b->progress, b->progress_data, spec->ready_line, &b->console));
	guest.ram_fd = b->ram_fd;
	guest.console_fd = tp_console_fd(b->console);
	TP_TRY(tp_launcher_start(b->engine->launcher, &guest, b->call, &b->guest));
	tp_console_close_writer(b->console);
	b->helper = tp_helper_new(tp_guest_take_helper_fd(b->guest));
	return NULL;
}

/* Whether the failure says no more than that nobody has answered yet. */
static bool is_timeout(const struct torpor_error *err)
{
	return err && torpor_error_code(err) == TORPOR_E_TIMEOUT;
}

/*
 * Waits for the first sign: of the helper, which says hello by itself, or of the agent, which
 * answers what was written to its port before it listened, or the ready line. Or the guest's end.
 */
static struct torpor_error *wait_for_sign(struct build *b)
{
	struct pollfd fds[] = {
		{.fd = tp_helper_fd(b->helper), .events = POLLIN},
		{.fd = tp_agent_fd(tp_guest_agent(b->guest)), .events = POLLIN},
		{.fd = tp_console_ready_fd(b->console), .events = POLLIN},
		{.fd = tp_guest_pidfd(b->guest), .events = POLLIN},
	};

	if (b->spec->ready_line)
		fds[0].fd = fds[1].fd = -1;
	else
		TP_TRY(tp_agent_knock(tp_guest_agent(b->guest), b->call));
	TP_TRY(tp_wait_fds(
		fds, TP_ARRAY_LEN(fds), b->call, "wait for guest of template", b->spec->name));
	return fds[3].revents ? tp_error(TORPOR_E_QEMU, "boot template", b->spec->name,
					"its process ended")
			      : NULL;
}

/*
 * Where ERR comes of the guest's end, what that was. The channels close a moment before the process
 * has ended, so whoever listens to them may hear of it first.
 */
static struct torpor_error *tell_end(struct build *b, struct torpor_error *err)
{
	struct tp_call soon = tp_call_bounded(b->call, END_PATIENCE);
	TP_GUEST_EXIT struct tp_guest_exit how = {0};

	if (!err || torpor_error_code(err) != TORPOR_E_QEMU || !b->guest)
		return err;
	TP_ERROR struct torpor_error *unknown = tp_wait_fd(
		tp_guest_pidfd(b->guest), POLLIN, &soon, "wait for the end of", b->spec->name);
	if (!unknown)
		unknown = tp_guest_exit_reason(b->guest, &how);
	if (unknown)
		return err;
	torpor_error_free(err);
	if (!how.shutdown_reason) {
		TP_FREE char *why = tp_guest_exit_text(&how);
		return tp_error(TORPOR_E_QEMU, "boot template", b->spec->name, "%s", why);
	}
	return tp_error(TORPOR_E_GUEST, "boot template", b->spec->name, "the guest ended (%s) %s",
		how.shutdown_reason, how.output_tail);
}

/* Finds out who answers. With a ready line nobody has to. */
static struct torpor_error *meet(struct build *b)
{
	struct tp_agent *agent = tp_guest_agent(b->guest);
	struct tp_call patient = tp_call_bounded(b->call, AGENT_PATIENCE);
	struct tp_helper_pong pong;

	struct torpor_error *err = tp_helper_ping(b->helper, &patient, &pong);
	b->record.helper = !err;
	if (err && !is_timeout(err))
		return err;
	torpor_error_free(err);
	patient = tp_call_bounded(b->call, AGENT_PATIENCE);
	err = tp_agent_ping(agent, &patient);
	b->record.agent = !err;
	if (err && !is_timeout(err))
		return err;
	torpor_error_free(err);
	return tp_call_check(b->call, "wait for guest of template", b->spec->name);
}

/*
 * Lets helper and agent go through their motions once, so that what they touch doing so is part of
 * the template and not of every clone.
 */
static struct torpor_error *warm_up(struct build *b)
{
	static const char *const argv[] = {"true", NULL};
	struct tp_exec exec = {.argv = argv};
	struct tp_exec_result result;
	struct tp_helper_pong pong;

	for (int i = 0; i < WARM_UP_COUNT; i++) {
		if (b->record.helper) {
			TP_TRY(tp_helper_ping(b->helper, b->call, &pong));
			TP_TRY(tp_helper_exec(b->helper, &exec, b->call, &result));
		}
		if (b->record.agent)
			TP_TRY(tp_agent_ping(tp_guest_agent(b->guest), b->call));
	}
	return NULL;
}

static struct torpor_error *boot(struct build *b)
{
	uint64_t started = tp_now_ns();

	say(b, "boot", "starting QEMU");
	TP_TRY(start(b));
	TP_TRY(tell_end(b, wait_for_sign(b)));
	if (!b->spec->ready_line)
		TP_TRY(tell_end(b, meet(b)));
	b->report.boot_ns = tp_now_ns() - started;
	b->record.boot_ns = b->report.boot_ns;
	return NULL;
}

/* A boot that failed is explained by what the guest wrote last. */
static struct torpor_error *explain(struct build *b, struct torpor_error *err)
{
	if (!err || !b->console)
		return err;
	TP_FREE char *tail = tp_console_tail(b->console);
	if (!*tail)
		return tp_error_hint(err, "The guest wrote nothing to its serial console: is this "
					  "a kernel for x86-64, "
					  "and does its command line have console=ttyS0?");
	return tp_error_hint(err,
		"The guest must start torpor-helper or qemu-guest-agent. Its console ended with: "
		"%s",
		tail);
}

/* --- Storing --- */

static struct torpor_error *store(struct build *b, struct tp_base *base)
{
	struct torpor_engine *engine = b->engine;
	const char *name = b->spec->name;
	uint64_t started = tp_now_ns();
	struct tp_image_stats stats;
	struct tp_image_writer_options options = {
		.dirfd = b->dir_fd,
		.name = TEMPLATE_IMAGE,
		.workers = engine->workers,
		.staging = engine->staging,
		.level = engine->zstd_level,
	};

	say(b, "save", "compressing and writing");
	TP_TRY(tp_base_save(base, options, b->call, &stats));
	unsigned int flags = b->spec->replace ? RENAME_EXCHANGE : RENAME_NOREPLACE;
	if (renameat2(engine->templates_fd, b->dir_name, engine->templates_fd, name, flags) < 0) {
		bool first = b->spec->replace && errno == ENOENT;
		if (!first || renameat2(engine->templates_fd, b->dir_name, engine->templates_fd,
				      name, RENAME_NOREPLACE) < 0)
			return tp_error_errno(errno, "store template", name);
		flags = RENAME_NOREPLACE;
	}
	if (flags == RENAME_NOREPLACE)
		b->dir_fd = tp_close(b->dir_fd); /* nothing hidden is left */
	if (fsync(engine->templates_fd) < 0)
		return tp_error_errno(errno, "sync", "templates");
	b->report.save_ns = tp_now_ns() - started;
	b->report.image_bytes = stats.file_bytes;
	return NULL;
}

static struct torpor_error *freeze(struct build *b, struct tp_base **base_out)
{
	uint64_t started = tp_now_ns();

	say(b, "freeze", "taking its state");
	b->helper = tp_helper_free(b->helper);
	TP_TRY(tp_base_freeze(TP_TAKE(b->guest), TP_TAKE_FD(b->ram_fd), &b->record,
		b->engine->workers, b->call, base_out));
	b->report.freeze_ns = tp_now_ns() - started;
	return NULL;
}

/* --- All of it --- */

static struct torpor_error *already_there(struct build *b)
{
	if (b->spec->replace || faccessat(b->engine->templates_fd, b->spec->name, F_OK, 0) < 0)
		return NULL;
	return tp_error_hint(tp_error(TORPOR_E_EXISTS, "build template", b->spec->name,
				     "there is one of that name"),
		"Choose another name, remove it with `torpor template rm %s`, or use --replace.",
		b->spec->name);
}

static struct torpor_error *build(struct build *b, struct tp_base **base_out)
{
	TP_TRY(already_there(b));
	TP_TRY(make_dir(b));
	TP_TRY(copy_boot_files(b));
	TP_TRY(choose_machine(b));
	TP_TRY(explain(b, boot(b)));
	TP_TRY(warm_up(b));
	TP_TRY(freeze(b, base_out));
	struct torpor_error *err = store(b, *base_out);
	if (err)
		*base_out = tp_base_unref(*base_out);
	return err;
}

static void build_deinit(struct build *b)
{
	tp_helper_free(b->helper);
	tp_guest_free(b->guest);
	tp_console_free(b->console);
	tp_close(b->ram_fd);
	/* Holding a lock still means that something hidden is left: a failure, or the replaced one.
	 */
	if (b->dir_fd >= 0)
		tp_error_log(tp_template_remove_dir(b->engine, b->dir_name));
	tp_close(b->dir_fd);
	free(b->dir_name);
	tp_qemu_use_deinit(&b->qemu);
	tp_record_deinit(&b->record);
}

struct torpor_error *torpor_template_build(struct torpor_engine *engine,
	const struct torpor_template_spec *spec, torpor_progress_fn *progress, void *progress_data,
	const struct torpor_call *public_call, struct torpor_template_report *report_out,
	struct torpor_template **template_out)
{
	struct tp_call call = tp_call_from(public_call, BUILD_TIMEOUT_NS);
	struct tp_base *base = NULL;
	struct build b = {
		.engine = engine,
		.spec = spec,
		.call = &call,
		.progress = progress,
		.progress_data = progress_data,
		.dir_fd = -1,
		.ram_fd = -1,
	};

	TP_TRY(check_spec(spec));
	struct torpor_error *err = build(&b, &base);
	struct tp_qemu_use qemu = b.qemu;
	b.qemu = (struct tp_qemu_use){0};
	build_deinit(&b);
	if (err) {
		tp_qemu_use_deinit(&qemu);
		return tp_error_in(err, "build template", spec->name);
	}
	if (report_out)
		*report_out = b.report;
	*template_out = tp_template_adopt(
		engine, spec->name, base, &qemu, b.report.image_bytes, tp_realtime_ns());
	return NULL;
}
