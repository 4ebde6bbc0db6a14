/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that are QEMU alone: what its users do without Torpor or libvirt, and booting anew. Here
 * is a guest's life, the same for all ways; the ways are in qemu_migration.c and qemu_snapshot.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/compare/qemu.h"

#define SHARED_MEMORY "/dev/shm"
#define END_PATIENCE  (10 * TP_NSEC_PER_SEC)

static struct qemu_guest *of(struct cmp_guest *guest)
{
	return (struct qemu_guest *)guest;
}

bool qemu_takes_small(const struct cmp_cell *cell)
{
	return cell->ram_bytes <= TP_GIB && cell->payload_bytes <= 20 * TP_MIB;
}

bool qemu_takes_all(const struct cmp_cell *cell)
{
	return cell->payload_bytes < cell->ram_bytes / 2;
}

/* --- start and end --- */

/* Paths stand in QEMU's options and in a shell's line: what means something there can't go in. */
static struct torpor_error *check_path(const char *path)
{
	if (path[0] != '/' || strpbrk(path, ",'\n"))
		return tp_error(TORPOR_E_INVALID, "use", path,
			"it isn't absolute, or has a comma or quotation mark");
	return NULL;
}

static struct torpor_error *make_dir(const char *where, const char *name, char **path_out)
{
	TP_FREE char *path = tp_asprintf("%s/%s.XXXXXX", where, name);

	TP_TRY(check_path(where));
	if (!mkdtemp(path))
		return tp_error_errno(errno, "make directory", path);
	*path_out = TP_TAKE(path);
	return NULL;
}

/* As VM templates have it: on tmpfs. Without a name, so that it never stays behind. */
static struct torpor_error *make_ram(struct qemu_guest *g)
{
	g->ram_fd = open(SHARED_MEMORY, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (g->ram_fd < 0 || ftruncate(g->ram_fd, (off_t)g->common.cell.ram_bytes) < 0)
		return tp_error_errno(errno, "make memory file in", SHARED_MEMORY);
	return NULL;
}

static struct torpor_error *boot(
	struct qemu_guest *g, const struct tp_call *call, struct cmp_restore *out)
{
	uint64_t began = tp_now_ns();
	uint64_t process, running, answer;

	TP_TRY(qemu_start(g, false, call, &process));
	TP_TRY(qemu_cont(g, call, &running));
	TP_TRY(cmp_watch_answer(g->watch, call, &answer));
	*out = (struct cmp_restore){
		.process_ns = process - began,
		.running_ns = running - began,
		.answer_ns = answer - began,
	};
	return NULL;
}

static struct torpor_error *start(struct qemu_guest *g, const struct tp_call *call)
{
	const struct cmp_places *places = g->common.places;
	struct cmp_restore ignored;

	TP_TRY(make_dir(places->work_dir, g->way->ops.name, &g->dir));
	TP_TRY(make_dir(places->run_dir, "q", &g->sockets));
	g->image = tp_asprintf("%s/image", g->dir);
	if (g->way->ram_in_file)
		TP_TRY(make_ram(g));
	TP_TRY(tp_spawner_new(NULL, &g->spawner));
	TP_TRY(boot(g, call, &ignored));
	TP_TRY(cmp_watch_payload(g->watch, g->common.cell.payload_bytes, call));
	return g->way->prepare ? g->way->prepare(g, call) : NULL;
}

struct torpor_error *qemu_peer_start(const struct cmp_peer_ops *ops,
	const struct cmp_places *places, const struct cmp_cell *cell, const struct tp_call *call,
	struct cmp_guest **guest_out)
{
	struct qemu_guest *g = tp_calloc(1, sizeof(*g));

	*g = (struct qemu_guest){
		.common = {.ops = ops, .places = places, .cell = *cell},
		.way = (const struct qemu_way *)ops,
		.ram_fd = -1,
		.output_fd = -1,
		.process = {.pidfd = -1},
	};
	struct torpor_error *err = qemu_explain(g, start(g, call));
	if (err) {
		qemu_peer_end(&g->common);
		return tp_error_in(err, "start guest of", ops->name);
	}
	*guest_out = &g->common;
	return NULL;
}

static void remove_path(const char *path, int (*how)(const char *path))
{
	if (path && how(path) < 0 && errno != ENOENT)
		tp_error_log(tp_error_errno(errno, "remove", path));
}

void qemu_peer_end(struct cmp_guest *guest)
{
	struct tp_call call = tp_call_within(END_PATIENCE);
	struct qemu_guest *g = of(guest);

	if (!g)
		return;
	tp_error_log(qemu_kill(g, &call));
	tp_spawner_free(g->spawner);
	remove_path(g->image, unlink);
	remove_path(g->dir, rmdir);
	remove_path(g->sockets, rmdir);
	tp_close(g->ram_fd);
	tp_close(g->output_fd);
	free(g->image);
	free(g->dir);
	free(g->sockets);
	free(g);
}

/* --- save and restore --- */

static struct torpor_error *save(
	struct qemu_guest *g, const struct tp_call *call, struct cmp_save *out)
{
	struct cmp_save times;
	uint64_t stopped, taken;

	cmp_watch_forget(g->watch);
	uint64_t began = tp_now_ns();
	TP_TRY(g->way->save(g, call, &stopped, &taken));
	TP_TRY(cmp_sync(g->image));
	times.standstill_ns = taken - stopped;
	times.durable_ns = tp_now_ns() - began;
	TP_TRY(qemu_quit(g, call));
	times.gone_ns = tp_now_ns() - began;
	times.bytes = cmp_disk_bytes(g->image);
	*out = times;
	return NULL;
}

struct torpor_error *qemu_peer_save(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_save *out)
{
	return qemu_explain(of(guest), save(of(guest), call, out));
}

static struct torpor_error *restore(
	struct qemu_guest *g, const struct tp_call *call, struct cmp_restore *out)
{
	uint64_t process, running, answer;

	uint64_t began = tp_now_ns();
	TP_TRY(qemu_start(g, true, call, &process));
	TP_TRY(g->way->load(g, call));
	TP_TRY(qemu_cont(g, call, &running));
	TP_TRY(cmp_watch_answer(g->watch, call, &answer));
	TP_TRY(g->way->forget(g, call));
	*out = (struct cmp_restore){
		.process_ns = process - began,
		.running_ns = running - began,
		.answer_ns = answer - began,
	};
	return NULL;
}

struct torpor_error *qemu_peer_restore(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_restore *out)
{
	return qemu_explain(of(guest), restore(of(guest), call, out));
}

/* --- booting anew --- */

/* What the guest was is lost: that is how little a restart asks for. */
static struct torpor_error *save_nothing(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_save *out)
{
	uint64_t began = tp_now_ns();

	TP_TRY(qemu_kill(of(guest), call));
	uint64_t took = tp_now_ns() - began;
	*out = (struct cmp_save){.durable_ns = took, .gone_ns = took};
	return NULL;
}

static struct torpor_error *boot_anew(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_restore *out)
{
	return qemu_explain(of(guest), boot(of(guest), call, out));
}

static bool takes_nothing_written(const struct cmp_cell *cell)
{
	return qemu_takes_small(cell) && cell->payload_bytes == 0;
}

static const struct qemu_way cold_boot = {
	.ops =
		{
			.name = "cold-boot",
			.summary = "the process is killed; a new one boots kernel and initrd",
			.durable = true,
			.frees = true,
			.slow = 2,
			.restore_op = "boot",
			.save_uncounted = true,
			.takes = takes_nothing_written,
			.start = qemu_peer_start,
			.save = save_nothing,
			.restore = boot_anew,
			.end = qemu_peer_end,
		},
};

const struct cmp_peer_ops *const cmp_qemu_peers[] = {&qemu_zstd.ops, &qemu_raw.ops,
	&qemu_savevm.ops, &qemu_ignore_shared.ops, &qemu10_mapped.ops, &qemu10_mapped_multifd.ops,
	&cold_boot.ops, NULL};
