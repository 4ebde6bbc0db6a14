/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's process: its command line, how it starts and how it ends.
 *
 * The machine is that of Torpor's template, device for device. What differs is how a user runs it:
 * RAM is QEMU's own, sockets have paths, there is no sandbox (it would forbid the compressor), and
 * kernel and initrd are given to every process, since the guest may reboot in any of them.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "benchmarks/compare/qemu.h"

#define OUTPUT_SIZE (16 * TP_KIB)
#define OUTPUT_TOLD 400

/* For QMP's greeting: one that ends over its command line never sends it. */
#define GREETING_PATIENCE (30 * TP_NSEC_PER_SEC)

/* MiB, as in Torpor's guests (engine/args.c). */
#define TCG_BUFFER "tb-size=32"

/* --- the command line --- */

static void add_machine(struct qemu_guest *g, struct tp_strv *argv)
{
	const struct cmp_places *places = g->common.places;
	bool tcg = strcmp(places->accel, "tcg") == 0;

	tp_strv_add(argv, "-machine");
	tp_strv_addf(argv, "%s,suppress-vmdesc=on,mem-merge=off,dump-guest-core=off%s",
		places->machine, g->ram_fd >= 0 ? ",memory-backend=ram" : "");
	tp_strv_add(argv, "-accel");
	tp_strv_addf(argv, "%s%s", places->accel, tcg ? "," TCG_BUFFER : "");
	tp_strv_add(argv, "-cpu");
	tp_strv_addf(argv, "%s,enforce", places->cpu);
	tp_strv_add_all(argv, (const char *const[]){"-smp", "1", NULL});
	tp_strv_add(argv, "-m");
	tp_strv_addf(argv, "%" PRIu64 "M", g->common.cell.ram_bytes / TP_MIB);
	if (g->ram_fd < 0)
		return;
	tp_strv_add(argv, "-object");
	tp_strv_addf(argv,
		"memory-backend-file,id=ram,mem-path=/proc/self/fd/%d,size=%" PRIu64 ",share=on",
		TP_SPAWN_FIRST_FD, g->common.cell.ram_bytes);
}

static void add_socket(struct qemu_guest *g, const char *id, struct tp_strv *argv)
{
	tp_strv_add(argv, "-chardev");
	tp_strv_addf(argv, "socket,id=%s,path=%s/%s,server=on,wait=off", id, g->sockets, id);
}

static void add_devices(struct qemu_guest *g, struct tp_strv *argv)
{
	add_socket(g, "qmp", argv);
	add_socket(g, "agent", argv);
	add_socket(g, "helper", argv);
	tp_strv_add_all(argv,
		(const char *const[]){"-mon", "chardev=qmp,mode=control", "-serial", "null",
			"-device", "virtio-serial-pci,id=channels,max_ports=4,addr=4", "-device",
			"virtserialport,id=agent-port,bus=channels.0,nr=1,chardev=agent,"
			"name=org.qemu.guest_agent.0",
			"-device",
			"virtserialport,id=helper-port,bus=channels.0,nr=2,chardev=helper,"
			"name=org.torpor.0",
			"-device", "vmgenid,id=generation,guid=auto", NULL});
}

static void build_args(struct qemu_guest *g, bool incoming, struct tp_strv *argv)
{
	const struct cmp_places *places = g->common.places;

	tp_strv_add(argv, g->way->newer ? places->qemu10 : places->qemu);
	if (g->way->newer && places->qemu10_data)
		tp_strv_add_all(argv, (const char *const[]){"-L", places->qemu10_data, NULL});
	tp_strv_add_all(argv, (const char *const[]){"-nodefaults", "-no-user-config", "-display",
				      "none", "-vga", "none", "-msg", "timestamp=off", "-S", NULL});
	add_machine(g, argv);
	add_devices(g, argv);
	tp_strv_add_all(argv, (const char *const[]){"-kernel", places->kernel, "-initrd",
				      places->initrd, "-append", places->append, NULL});
	if (incoming && g->way->add_args)
		g->way->add_args(g, argv);
}

/* --- starting --- */

static struct torpor_error *start(
	struct qemu_guest *g, bool incoming, const struct tp_call *call, uint64_t *greeted_out)
{
	TP_STRV struct tp_strv argv = {0};
	TP_FREE char *qmp = tp_asprintf("%s/qmp", g->sockets);
	TP_FREE char *helper = tp_asprintf("%s/helper", g->sockets);

	build_args(g, incoming, &argv);
	struct tp_spawn_spec spec = {
		.argv = argv.v,
		.fds = &g->ram_fd,
		.n_fds = g->ram_fd >= 0,
		.output_fd = g->output_fd,
		.bound = true,
		.record_fd = -1,
		.lock_fd = -1,
	};
	TP_TRY(tp_spawner_start(g->spawner, &spec, call, &g->process));
	struct tp_call patient = tp_call_bounded(call, GREETING_PATIENCE);
	TP_TRY(cmp_watch_open(qmp, helper, &patient, greeted_out, &g->watch));
	g->qmp = cmp_watch_qmp(g->watch);
	return NULL;
}

struct torpor_error *qemu_start(
	struct qemu_guest *g, bool incoming, const struct tp_call *call, uint64_t *greeted_out)
{
	tp_close(g->output_fd);
	g->output_fd = -1;
	TP_TRY(tp_output_new(OUTPUT_SIZE, &g->output_fd));
	return qemu_explain(g, start(g, incoming, call, greeted_out));
}

struct torpor_error *qemu_explain(struct qemu_guest *g, struct torpor_error *err)
{
	if (!err || g->output_fd < 0)
		return err;
	TP_FREE char *tail = tp_output_tail(g->output_fd, OUTPUT_TOLD);
	return *tail ? tp_error_hint(err, "QEMU wrote: %s", tail) : err;
}

/* --- ending --- */

/* Behind its end: nothing of the process is left here. */
static void process_gone(struct qemu_guest *g)
{
	static const char *const names[] = {"qmp", "agent", "helper"};

	g->qmp = NULL;
	g->watch = cmp_watch_close(g->watch);
	tp_process_deinit(&g->process);
	g->process.pidfd = -1;
	/* A QEMU that was killed leaves them. */
	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++) {
		TP_FREE char *path = tp_asprintf("%s/%s", g->sockets, names[i]);
		if (unlink(path) < 0 && errno != ENOENT)
			tp_error_log(tp_error_errno(errno, "remove", path));
	}
}

struct torpor_error *qemu_quit(struct qemu_guest *g, const struct tp_call *call)
{
	TP_TRY(qemu_run(g, "quit", NULL, call));
	TP_TRY(tp_wait_fd(g->process.pidfd, POLLIN, call, "wait for the end of", "QEMU"));
	int status = tp_process_reap(&g->process);
	process_gone(g);
	return status == 0 ? NULL
			   : tp_error(TORPOR_E_QEMU, "end", "QEMU", "its status is %d", status);
}

struct torpor_error *qemu_kill(struct qemu_guest *g, const struct tp_call *call)
{
	if (g->process.pidfd < 0)
		return NULL;
	TP_TRY(tp_process_kill(&g->process, call, NULL));
	process_gone(g);
	return NULL;
}

/* --- QMP --- */

struct torpor_error *qemu_run(
	struct qemu_guest *g, const char *command, json_t *args, const struct tp_call *call)
{
	return tp_qmp_execute(g->qmp, command, args, -1, call, NULL);
}

struct torpor_error *qemu_stop(struct qemu_guest *g, const struct tp_call *call, uint64_t *at_out)
{
	TP_TRY(qemu_run(g, "stop", NULL, call));
	return cmp_watch_event(g->watch, "STOP", call, at_out);
}

struct torpor_error *qemu_cont(struct qemu_guest *g, const struct tp_call *call, uint64_t *at_out)
{
	TP_TRY(qemu_run(g, "cont", NULL, call));
	return cmp_watch_event(g->watch, "RESUME", call, at_out);
}
