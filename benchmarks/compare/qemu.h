/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the peers that drive QEMU themselves: the guest of such a peer, its process, and what one
 * way of saving has to bring. peer_qemu.c leads the guest through its life.
 */
#ifndef TP_COMPARE_QEMU_H
#define TP_COMPARE_QEMU_H

#include "benchmarks/compare/compare.h"
#include "engine/qmp.h"
#include "engine/spawn.h"
#include "engine/strv.h"

struct qemu_guest {
	struct cmp_guest common;
	const struct qemu_way *way;
	char *dir;     /* owned; of its files, nobody else's */
	char *image;   /* owned; in DIR: what is left on the disk */
	char *sockets; /* owned; directory */
	int ram_fd;    /* owned; main RAM, or -1: QEMU's own */
	int output_fd; /* owned; what QEMU writes to its standard error */
	/* Owned. Its thread starts the processes, which end with it. */
	struct tp_spawner *spawner;
	/* While a process runs; the pidfd is -1 otherwise. */
	struct tp_process process;
	struct cmp_watch *watch; /* owned */
	struct tp_qmp *qmp;	 /* of the watch */
};

/* A way of saving. `prepare` and `add_args` may be NULL: nothing is to be done. */
struct qemu_way {
	struct cmp_peer_ops ops; /* first: what gets a struct cmp_peer_ops finds its way by it */
	bool newer;		 /* runs on places->qemu10 */
	bool ram_in_file;	 /* main RAM is a file on tmpfs, and shared with it */
	const char *const *capabilities; /* for both ends of a migration; NULL-terminated */

	/* The guest runs: once in its life. */
	struct torpor_error *(*prepare)(struct qemu_guest *g, const struct tp_call *call);
	/*
	 * Stops the guest and puts its state into the image, which nobody writes any more then.
	 * When it stood still, and when its state was taken.
	 */
	struct torpor_error *(*save)(struct qemu_guest *g, const struct tp_call *call,
		uint64_t *stopped_out, uint64_t *taken_out);
	/* What goes to the command line of a process that is to load the image. */
	void (*add_args)(struct qemu_guest *g, struct tp_strv *argv);
	/* Loads it; QMP answers, and `cont` follows. */
	struct torpor_error *(*load)(struct qemu_guest *g, const struct tp_call *call);
	/* The guest runs again: the image has served. */
	struct torpor_error *(*forget)(struct qemu_guest *g, const struct tp_call *call);
};

/* --- qemu_process.c --- */

/*
 * Starts QEMU on the guest's machine, not running yet; INCOMING: with what the way needs to load
 * its image. Afterwards there is a watch. *GREETED_OUT is when QMP answered.
 */
struct torpor_error *qemu_start(struct qemu_guest *g, bool incoming, const struct tp_call *call,
	uint64_t *greeted_out) TP_MUST_USE;

/* `quit`, and waits until the process is reaped. */
struct torpor_error *qemu_quit(struct qemu_guest *g, const struct tp_call *call) TP_MUST_USE;

/* Kills the process, if there is one, and waits for its end. */
struct torpor_error *qemu_kill(struct qemu_guest *g, const struct tp_call *call) TP_MUST_USE;

/* ERR, with what QEMU wrote last as a hint. NULL stays NULL. */
struct torpor_error *qemu_explain(struct qemu_guest *g, struct torpor_error *err) TP_MUST_USE;

/* A command without a result. Takes ARGS. */
struct torpor_error *qemu_run(struct qemu_guest *g, const char *command, json_t *args,
	const struct tp_call *call) TP_MUST_USE;

/* *AT_OUT is when it stood still, or ran, by QEMU's account. */
struct torpor_error *qemu_stop(
	struct qemu_guest *g, const struct tp_call *call, uint64_t *at_out) TP_MUST_USE;
struct torpor_error *qemu_cont(
	struct qemu_guest *g, const struct tp_call *call, uint64_t *at_out) TP_MUST_USE;

/* --- qemu_migration.c --- */

extern const struct qemu_way qemu_zstd, qemu_raw, qemu_ignore_shared;
extern const struct qemu_way qemu10_mapped, qemu10_mapped_multifd;

/* --- qemu_snapshot.c --- */

extern const struct qemu_way qemu_savevm;

/* --- peer_qemu.c: what all ways have in common --- */

struct torpor_error *qemu_peer_start(const struct cmp_peer_ops *ops,
	const struct cmp_places *places, const struct cmp_cell *cell, const struct tp_call *call,
	struct cmp_guest **guest_out);
struct torpor_error *qemu_peer_save(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_save *out);
struct torpor_error *qemu_peer_restore(
	struct cmp_guest *guest, const struct tp_call *call, struct cmp_restore *out);
void qemu_peer_end(struct cmp_guest *guest);

/* Up to 1 GiB with up to 20 MiB written; and all that fit. */
bool qemu_takes_small(const struct cmp_cell *cell);
bool qemu_takes_all(const struct cmp_cell *cell);

#define QEMU_PEER_OPS                                                                              \
	.start = qemu_peer_start, .save = qemu_peer_save, .restore = qemu_peer_restore,            \
	.end = qemu_peer_end

#endif
