/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saving by QEMU's migration: through a compressor, to a file, without RAM that lies in a file
 * anyway, and to a file that has a place for each page.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/compare/qemu.h"

/* Bytes a second: no limit in effect. The default, 128 MiB/s, is meant for a network. */
#define BANDWIDTH_MAX (INT64_C(1) << 40)
#define CHANNELS      2 /* of multifd */

/* The name under which a descriptor lies in QEMU until a migration takes it. */
#define FD_NAME "image"

/* --- what all have in common --- */

static json_t *capability(const char *name)
{
	return json_pack("{s:s, s:b}", "capability", name, "state", 1);
}

/* What both ends must agree on. The source's bandwidth is ignored by the other end. */
static struct torpor_error *configure(struct qemu_guest *g, const struct tp_call *call)
{
	json_t *list = json_pack("[o]", capability("events"));
	bool multifd = false;

	for (const char *const *name = g->way->capabilities; name && *name; name++) {
		json_array_append_new(list, capability(*name));
		multifd |= strcmp(*name, "multifd") == 0;
	}
	TP_TRY(qemu_run(
		g, "migrate-set-capabilities", json_pack("{s:o}", "capabilities", list), call));
	json_t *parameters = json_pack("{s:I}", "max-bandwidth", (json_int_t)BANDWIDTH_MAX);
	if (multifd)
		json_object_set_new(parameters, "multifd-channels", json_integer(CHANNELS));
	return qemu_run(g, "migrate-set-parameters", parameters, call);
}

/* Waits until the migration is over, on either end; *AT_OUT is when it was, by QEMU. */
static struct torpor_error *wait_for_end(
	struct qemu_guest *g, const struct tp_call *call, uint64_t *at_out)
{
	static const char *const names[] = {"MIGRATION", NULL};

	for (;;) {
		TP_QMP_EVENT struct tp_qmp_event event = {0};
		TP_TRY(tp_qmp_wait_event(g->qmp, names, call, &event));
		const char *status = json_string_value(json_object_get(event.data, "status"));
		*at_out = tp_qmp_event_time(&event);
		if (status && strcmp(status, "completed") == 0)
			return NULL;
		if (status && strcmp(status, "failed") == 0)
			return tp_error(TORPOR_E_QEMU, "migrate", g->image, "QEMU says so");
	}
}

static struct torpor_error *migrate(struct qemu_guest *g, const char *command, const char *uri,
	const struct tp_call *call, uint64_t *at_out)
{
	TP_TRY(qemu_run(g, command, json_pack("{s:s}", "uri", uri), call));
	return wait_for_end(g, call, at_out);
}

static void add_defer(struct qemu_guest *g, struct tp_strv *argv)
{
	(void)g;
	tp_strv_add_all(argv, (const char *const[]){"-incoming", "defer", NULL});
}

static struct torpor_error *remove_image(struct qemu_guest *g, const struct tp_call *call)
{
	(void)call;
	return unlink(g->image) < 0 ? tp_error_errno(errno, "remove", g->image) : NULL;
}

/* --- through zstd --- */

/*
 * QEMU is done when the pipe is empty, zstd only later; the file's last descriptor closes with it
 * and its shell.
 */
static struct torpor_error *wait_for_close(
	int inotify_fd, const char *path, const struct tp_call *call)
{
	char event[4096];

	TP_TRY(tp_wait_fd(inotify_fd, POLLIN, call, "wait until closed", path));
	return read(inotify_fd, event, sizeof(event)) < 0
		       ? tp_error_errno(errno, "wait until closed", path)
		       : NULL;
}

static struct torpor_error *save_zstd(struct qemu_guest *g, const struct tp_call *call,
	uint64_t *stopped_out, uint64_t *taken_out)
{
	TP_FREE char *uri = tp_asprintf("exec:zstd -q -1 > '%s'", g->image);
	TP_FD int inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	if (inotify_fd < 0 || inotify_add_watch(inotify_fd, g->dir, IN_CLOSE_WRITE) < 0)
		return tp_error_errno(errno, "watch", g->dir);
	TP_TRY(configure(g, call));
	TP_TRY(qemu_stop(g, call, stopped_out));
	TP_TRY(migrate(g, "migrate", uri, call, taken_out));
	return wait_for_close(inotify_fd, g->image, call);
}

/* The events tell when it was loaded: QMP answers while it is. */
static void add_zstd(struct qemu_guest *g, struct tp_strv *argv)
{
	tp_strv_add_all(argv, (const char *const[]){"-global", "migration.x-events=on", NULL});
	tp_strv_add(argv, "-incoming");
	tp_strv_addf(argv, "exec:zstd -q -dc '%s'", g->image);
}

/* It may have been loaded before there was anybody to tell. */
static struct torpor_error *load_zstd(struct qemu_guest *g, const struct tp_call *call)
{
	json_t *result;
	uint64_t at;

	TP_TRY(tp_qmp_execute(g->qmp, "query-status", NULL, -1, call, &result));
	const char *status = json_string_value(json_object_get(result, "status"));
	bool loads = status && strcmp(status, "inmigrate") == 0;
	json_decref(result);
	return loads ? wait_for_end(g, call, &at) : NULL;
}

/* Whether PATH has the program. */
static bool is_there(const char *program)
{
	const char *path = getenv("PATH");

	while (path && *path) {
		size_t len = strcspn(path, ":");
		TP_FREE char *file = tp_asprintf("%.*s/%s", (int)len, path, program);
		if (access(file, X_OK) == 0)
			return true;
		path += len;
		path += *path == ':';
	}
	return false;
}

static struct torpor_error *zstd_available(const struct cmp_places *places)
{
	(void)places;
	return is_there("zstd") ? NULL
				: tp_error(TORPOR_E_UNSUPPORTED, "run", "zstd", "it isn't there");
}

const struct qemu_way qemu_zstd = {
	.ops =
		{
			.name = "qemu-zstd",
			.summary = "QEMU: migrate to exec:zstd -1; a process with -incoming "
				   "exec:zstd -dc",
			.durable = true,
			.frees = true,
			.available = zstd_available,
			.takes = qemu_takes_small,
			QEMU_PEER_OPS,
		},
	.save = save_zstd,
	.add_args = add_zstd,
	.load = load_zstd,
	.forget = remove_image,
};

/* --- to a file's descriptor --- */

/* Hands the image over to be written or read by the next migration. */
static struct torpor_error *lend_image(struct qemu_guest *g, int flags, const struct tp_call *call)
{
	TP_FD int fd = open(g->image, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		return tp_error_errno(errno, "open", g->image);
	return tp_qmp_execute(
		g->qmp, "getfd", json_pack("{s:s}", "fdname", FD_NAME), fd, call, NULL);
}

static struct torpor_error *save_fd(struct qemu_guest *g, const struct tp_call *call,
	uint64_t *stopped_out, uint64_t *taken_out)
{
	TP_TRY(configure(g, call));
	TP_TRY(lend_image(g, O_WRONLY | O_CREAT | O_TRUNC, call));
	TP_TRY(qemu_stop(g, call, stopped_out));
	return migrate(g, "migrate", "fd:" FD_NAME, call, taken_out);
}

static struct torpor_error *load_fd(struct qemu_guest *g, const struct tp_call *call)
{
	uint64_t at;

	TP_TRY(configure(g, call));
	TP_TRY(lend_image(g, O_RDONLY, call));
	return migrate(g, "migrate-incoming", "fd:" FD_NAME, call, &at);
}

const struct qemu_way qemu_raw = {
	.ops =
		{
			.name = "qemu-raw",
			.summary = "QEMU: migrate to a file; a process with -incoming of it",
			.durable = true,
			.frees = true,
			.takes = qemu_takes_all,
			QEMU_PEER_OPS,
		},
	.save = save_fd,
	.add_args = add_defer,
	.load = load_fd,
	.forget = remove_image,
};

static const char *const ignore_shared[] = {"x-ignore-shared", NULL};

/* The RAM stays where it is: in memory, and lost with the host's. */
const struct qemu_way qemu_ignore_shared = {
	.ops =
		{
			.name = "qemu-ignore-shared",
			.summary = "QEMU: RAM in a file on tmpfs; migrate with x-ignore-shared; "
				   "a process over the same file",
			.takes = qemu_takes_small,
			QEMU_PEER_OPS,
		},
	.ram_in_file = true,
	.capabilities = ignore_shared,
	.save = save_fd,
	.add_args = add_defer,
	.load = load_fd,
	.forget = remove_image,
};

/* --- mapped-ram --- */

static struct torpor_error *save_file(struct qemu_guest *g, const struct tp_call *call,
	uint64_t *stopped_out, uint64_t *taken_out)
{
	TP_FREE char *uri = tp_asprintf("file:%s", g->image);

	TP_TRY(configure(g, call));
	TP_TRY(qemu_stop(g, call, stopped_out));
	return migrate(g, "migrate", uri, call, taken_out);
}

static struct torpor_error *load_file(struct qemu_guest *g, const struct tp_call *call)
{
	TP_FREE char *uri = tp_asprintf("file:%s", g->image);
	uint64_t at;

	TP_TRY(configure(g, call));
	return migrate(g, "migrate-incoming", uri, call, &at);
}

static struct torpor_error *newer_available(const struct cmp_places *places)
{
	return places->qemu10 ? NULL
			      : tp_error(TORPOR_E_UNSUPPORTED, "run", "QEMU 10",
					"it isn't to be had here");
}

static const char *const mapped_ram[] = {"mapped-ram", NULL};

const struct qemu_way qemu10_mapped = {
	.ops =
		{
			.name = "qemu10-mapped",
			.summary = "QEMU 10: migrate with mapped-ram to a file; a process that "
				   "loads it",
			.durable = true,
			.frees = true,
			.available = newer_available,
			.takes = qemu_takes_all,
			QEMU_PEER_OPS,
		},
	.newer = true,
	.capabilities = mapped_ram,
	.save = save_file,
	.add_args = add_defer,
	.load = load_file,
	.forget = remove_image,
};

static const char *const mapped_ram_multifd[] = {"mapped-ram", "multifd", NULL};

const struct qemu_way qemu10_mapped_multifd = {
	.ops =
		{
			.name = "qemu10-mapped-multifd",
			.summary = "QEMU 10: the same with multifd, two channels",
			.durable = true,
			.frees = true,
			.available = newer_available,
			.takes = qemu_takes_all,
			QEMU_PEER_OPS,
		},
	.newer = true,
	.capabilities = mapped_ram_multifd,
	.save = save_file,
	.add_args = add_defer,
	.load = load_file,
	.forget = remove_image,
};
