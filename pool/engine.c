/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing the engine. */
#include "pool/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/kept.h"
#include "engine/libvirt.h"
#include "pool/session.h"
#include "pool/template.h"
#include "pool/turn.h"
#include "pool/watch.h"
#include "storage/io.h"

#define DEFAULT_QEMU   "qemu-system-x86_64"
#define MICROVM_SUFFIX "-microvm"

static void log_line(void *data, enum tp_log_level level, const char *line)
{
	const struct torpor_engine_options *options = data;

	options->log(options->log_data, level, line);
}

static void set_log(const struct torpor_engine_options *options)
{
	static struct torpor_engine_options kept;

	if (!options->log)
		return;
	kept = *options;
	tp_log_set(log_line, &kept);
}

/* --- The state directory --- */

char *tp_default_state_dir(void)
{
	const char *xdg = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");

	if (geteuid() == 0)
		return tp_strdup("/var/lib/torpor");
	if (xdg && xdg[0] == '/')
		return tp_asprintf("%s/torpor", xdg);
	return tp_asprintf("%s/.local/state/torpor", home && *home ? home : "/tmp");
}

/* mkdir -p, private to the user. */
static struct torpor_error *make_dirs(const char *path)
{
	TP_FREE char *part = tp_strdup(path);

	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return tp_error_errno(errno, "make directory", part);
		*slash = '/';
	}
	if (mkdir(part, 0700) < 0 && errno != EEXIST)
		return tp_error_errno(errno, "make directory", part);
	return NULL;
}

static struct torpor_error *open_dir(int at, const char *path, int *fd_out)
{
	if (at != AT_FDCWD && mkdirat(at, path, 0700) < 0 && errno != EEXIST)
		return tp_error_errno(errno, "make directory", path);
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return tp_error_errno(errno, "open directory", path);
	*fd_out = fd;
	return NULL;
}

static struct torpor_error *open_dirs(struct torpor_engine *engine)
{
	TP_TRY(make_dirs(engine->state_dir));
	TP_TRY(open_dir(AT_FDCWD, engine->state_dir, &engine->state_fd));
	if (faccessat(engine->state_fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return tp_error_errno(errno, "write to", engine->state_dir);
	TP_TRY(open_dir(engine->state_fd, "templates", &engine->templates_fd));
	return open_dir(engine->state_fd, "images", &engine->images_fd);
}

static struct torpor_error *open_state(struct torpor_engine *engine)
{
	struct torpor_error *err = open_dirs(engine);

	return tp_error_hint(tp_error_in(err, "open state directory", engine->state_dir),
		"Choose a directory that this user can write to, with --state or state_dir.");
}

/* What a killed process left behind. */
static struct torpor_error *sweep(struct torpor_engine *engine)
{
	struct tp_call call = tp_call_within(CLEANUP_TIMEOUT_NS);

	TP_TRY(tp_template_sweep(engine));
	return tp_launcher_sweep(engine->launcher, &call);
}

/* --- Open and close --- */

struct tp_direct_options tp_engine_direct_options(const struct torpor_engine *engine)
{
	return (struct tp_direct_options){
		.qemu = engine->qemu,
		.exec_helper = engine->exec_helper,
		.bound = !engine->keep_guests,
		.run_dir = engine->run_dir,
	};
}

static struct torpor_error *start_launcher(struct torpor_engine *engine)
{
	struct tp_direct_options direct = tp_engine_direct_options(engine);
	struct tp_libvirt_options libvirt = {
		.connect = engine->connect,
		.qemu = engine->qemu,
		.exec_helper = engine->exec_helper,
		.bound = !engine->keep_guests,
		.run_dir = engine->run_dir,
	};

	if (strcmp(engine->launcher_name, "direct") == 0)
		return tp_direct_launcher_new(&direct, &engine->launcher);
	if (strcmp(engine->launcher_name, "libvirt") == 0)
		return tp_libvirt_launcher_new(&libvirt, &engine->launcher);
	return tp_error(TORPOR_E_INVALID, "use launcher", engine->launcher_name,
		"it is neither \"direct\" nor \"libvirt\"");
}

static struct torpor_error *start_parts(
	struct torpor_engine *engine, const struct torpor_engine_options *options)
{
	TP_TRY(start_launcher(engine));
	TP_TRY(tp_workers_new(options->workers, &engine->workers));
	TP_TRY(tp_staging_new(options->staging_bytes, &engine->staging));
	TP_TRY(tp_turn_new(&engine->fill_turn));
	TP_TRY(tp_watcher_new(engine, &engine->watcher));
	tp_launcher_on_stir(engine->launcher, tp_watcher_stir, engine->watcher);
	return NULL;
}

/* What was asked for, else what the environment says, else a default. */
static const char *option_or(const char *value, const char *variable, const char *fallback)
{
	const char *from_environment = secure_getenv(variable);

	if (value)
		return value;
	return from_environment && *from_environment ? from_environment : fallback;
}

/* The one named; else the one beside QEMU, of its name with "-microvm" behind it, if it's there. */
static char *find_small_qemu(const struct torpor_engine_options *options, const char *qemu)
{
	const char *named = options->qemu_microvm;
	char *path = NULL;

	if (named && !*named)
		return NULL;
	TP_ERROR struct torpor_error *none = tp_program_find(named ? named : qemu, &path);
	if (none || named)
		return path;
	TP_FREE char *large = path;
	TP_FREE char *beside = tp_asprintf("%s" MICROVM_SUFFIX, large);
	return access(beside, X_OK) == 0 ? TP_TAKE(beside) : NULL;
}

struct torpor_error *tp_engine_open_unswept(
	const struct torpor_engine_options *options, struct torpor_engine **engine_out)
{
	struct torpor_engine *engine = tp_calloc(1, sizeof(*engine));

	set_log(options);
	if (options->no_io_uring)
		tp_io_force_sync(true);
	engine->state_dir =
		options->state_dir ? tp_strdup(options->state_dir) : tp_default_state_dir();
	engine->run_dir = tp_asprintf("%s/run", engine->state_dir);
	engine->qemu = tp_strdup(options->qemu ? options->qemu : DEFAULT_QEMU);
	engine->qemu_microvm = find_small_qemu(options, engine->qemu);
	engine->exec_helper = tp_strdup(options->exec_helper);
	engine->launcher_name =
		tp_strdup(option_or(options->launcher, "TORPOR_LAUNCHER", "direct"));
	engine->connect = tp_strdup(option_or(options->connect, "TORPOR_CONNECT", NULL));
	engine->state_fd = engine->templates_fd = engine->images_fd = -1;
	engine->keep_guests = options->keep_guests;
	engine->on_event = options->on_event;
	engine->event_data = options->event_data;
	engine->zstd_level = options->zstd_level;
	engine->deaf_after_ns = options->deaf_after_ns ? options->deaf_after_ns : DEAF_AFTER_NS;
	engine->capture.path = (enum tp_path)options->path;
	engine->capture.scan = (enum tp_scan_method)options->scan;
	pthread_mutex_init(&engine->lock, NULL);

	struct torpor_error *err = open_state(engine);
	if (!err)
		err = start_parts(engine, options);
	if (!err)
		err = sweep(engine);
	if (err) {
		torpor_engine_close(engine);
		return tp_error_in(err, "open engine", NULL);
	}
	*engine_out = engine;
	return NULL;
}

struct torpor_error *torpor_engine_open(
	const struct torpor_engine_options *options, struct torpor_engine **engine_out)
{
	struct torpor_engine *engine;

	TP_TRY(tp_engine_open_unswept(options, &engine));
	struct torpor_error *err = tp_image_sweep(engine->images_fd, NULL, NULL, NULL);
	if (err) {
		torpor_engine_close(engine);
		return tp_error_in(err, "open engine", NULL);
	}
	*engine_out = engine;
	return NULL;
}

struct torpor_engine *torpor_engine_close(struct torpor_engine *engine)
{
	if (!engine)
		return NULL;
	assert(!engine->sessions && !engine->templates);
	/* The launcher first: it tells the watcher. */
	tp_launcher_free(engine->launcher);
	tp_watcher_free(engine->watcher);
	tp_turn_free(engine->fill_turn);
	tp_staging_free(engine->staging);
	tp_workers_free(engine->workers);
	tp_close(engine->images_fd);
	tp_close(engine->templates_fd);
	tp_close(engine->state_fd);
	pthread_mutex_destroy(&engine->lock);
	free(engine->qemu);
	free(engine->qemu_microvm);
	free(engine->exec_helper);
	free(engine->launcher_name);
	free(engine->connect);
	free(engine->run_dir);
	free(engine->state_dir);
	free(engine);
	return NULL;
}

const char *torpor_engine_state_dir(const struct torpor_engine *engine)
{
	return engine->state_dir;
}

char *tp_engine_guest_name(struct torpor_engine *engine, const char *prefix)
{
	/*
	 * Of the process, which may have several engines on the same state directory. Guests that
	 * are kept outlive it, and another one may get its pid (in a container every one does), so
	 * it doesn't count from 0 but from the time.
	 */
	static atomic_uint_least64_t next_number;
	uint64_t none = 0;

	(void)engine;
	atomic_compare_exchange_strong(
		&next_number, &none, tp_realtime_ns() / (10 * TP_NSEC_PER_MSEC));
	uint64_t number = atomic_fetch_add(&next_number, 1);
	return tp_asprintf("%s-%d-%ju", prefix, getpid(), (uintmax_t)number);
}
