/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Comparing Torpor with what a user would otherwise do, on the same guest, in one run.
 *
 * A peer is a way of putting a guest aside and having it back. Each is driven through the same
 * cycle, one guest at a time, while all the others' guests are put aside:
 *
 *   restore -> the guest answers -> quiet -> save -> nothing of it runs
 *
 * Rounds go over all peers, each round beginning with another one, so that what disturbs the
 * machine disturbs all of them alike. benchmarks/README.md has the method.
 *
 * All times are nanoseconds of CLOCK_MONOTONIC. One thread drives everything.
 */
#ifndef TP_COMPARE_COMPARE_H
#define TP_COMPARE_COMPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/call.h"
#include "base/error.h"

/* The guest and what was done in it: the same for all peers. */
struct cmp_cell {
	uint64_t ram_bytes;
	uint64_t payload_bytes; /* written to a tmpfs of the guest before the first save */
};

/* Where things are. All absolute paths, all set unless said otherwise. */
struct cmp_places {
	const char *work_dir; /* for a peer's files; on the disk that images go to */
	const char *run_dir;  /* for sockets: short */
	const char *kernel;
	const char *initrd;
	const char *qemu;    /* the default QEMU's program */
	const char *qemu10;  /* a newer one's, or NULL: its peers can't run */
	const char *qemu10_data; /* for its -L, or NULL */
	const char *libvirt; /* directory with one private libvirtd per format, or NULL */
	const char *accel;   /* "tcg" or "kvm": what was proven to work here */
	const char *cpu;
	const char *machine; /* QEMU's name of the machine type */
	const char *append;  /* the kernel's command line */
};

/* A save: from the command to what it ended in. Durable means: fsync has returned. */
struct cmp_save {
	uint64_t standstill_ns; /* from STOP until the guest's state is taken */
	uint64_t durable_ns;	/* from the command */
	uint64_t gone_ns;	/* from the command; the guest's process is reaped */
	uint64_t bytes;		/* what lies on the disk, st_blocks * 512 */
};

/* A restore. */
struct cmp_restore {
	uint64_t process_ns; /* from the command until the guest's process answers; 0: it did before */
	uint64_t running_ns; /* from the command to RESUME, by QEMU's own account */
	uint64_t answer_ns;  /* from the command to the first answer of the guest's helper */
};

struct cmp_peer;
struct cmp_guest;

/*
 * What a peer does. Each is called by one thread; every one that can wait honours CALL. A failure
 * leaves a guest that only `end` may be called for.
 */
struct cmp_peer_ops {
	const char *name;    /* "libvirt-raw": in file names and tables */
	const char *summary; /* one line: what is run */
	bool durable;	     /* its save survives a power cut */
	bool frees;	     /* nothing of the guest's memory stays in RAM behind it */
	unsigned int slow;   /* only every so many rounds; 0 and 1: in each */
	unsigned int often;  /* so many cycles in each round, so that p99 can be told; 0: one */
	const char *save_op;	/* what a save is called in the samples; NULL: "save" */
	const char *restore_op; /* "restore" (NULL), "boot", "fork", "claim" */
	bool save_uncounted;	/* its save is only what the next restore needs */
	bool does_more; /* than what it times, so that CPU and memory around it say nothing */

	/* NULL: it can run. Else why not here: for the table; an error whose message says so. */
	struct torpor_error *(*available)(const struct cmp_places *places);
	/* Whether it takes part in a cell (the large ones are for a few peers). */
	bool (*takes)(const struct cmp_cell *cell);
	/* Boots or clones a guest, puts the payload into it; it runs and has answered. */
	struct torpor_error *(*start)(const struct cmp_peer_ops *ops,
		const struct cmp_places *places, const struct cmp_cell *cell,
		const struct tp_call *call, struct cmp_guest **guest_out);
	/* A running guest is put aside; its process is gone at the end. */
	struct torpor_error *(*save)(
		struct cmp_guest *guest, const struct tp_call *call, struct cmp_save *out);
	/*
	 * What may wait for a restore to come: a shell started ahead, a file's pages dropped. NULL:
	 * nothing. It is no part of the restore.
	 */
	struct torpor_error *(*ready)(struct cmp_guest *guest, const struct tp_call *call);
	/* It comes back and has answered. */
	struct torpor_error *(*restore)(
		struct cmp_guest *guest, const struct tp_call *call, struct cmp_restore *out);
	/* Ends it in whatever state it is and removes its files. Takes NULL. */
	void (*end)(struct cmp_guest *guest);
};

/* Each file of peers has such a list, ended by NULL. */
extern const struct cmp_peer_ops *const cmp_torpor_peers[];
extern const struct cmp_peer_ops *const cmp_qemu_peers[];
extern const struct cmp_peer_ops *const cmp_libvirt_peers[];

/* A peer's own struct for its guests starts with this. */
struct cmp_guest {
	const struct cmp_peer_ops *ops;
	const struct cmp_places *places;
	struct cmp_cell cell;
};

struct bench;
/* What the floor and Torpor's peers take their options and their pauses from. Set before use. */
extern struct bench *cmp_bench;
/* The template of a size, "compare-256M"; the caller's. */
char *cmp_template_name(uint64_t ram_bytes);

/* --- meters.c: the machine as a whole --- */

/* Time that all cores together were busy, in steps of a tick (proc(5), /proc/stat). */
uint64_t cmp_cpu_busy_ns(void);
/* Memory that can't be reclaimed by dropping clean pages (proc(5), /proc/meminfo). */
uint64_t cmp_memory_used(void);
/* The highest of it between start and end, looked at every two milliseconds by a thread. */
struct cmp_peak;
struct cmp_peak *cmp_peak_start(void);
uint64_t cmp_peak_end(struct cmp_peak *peak);
/* Pages swapped in and out since the host's boot; and how often a core was throttled (or 0). */
uint64_t cmp_swapped(void);
uint64_t cmp_throttled(void);

/* --- watch.c: looking at a guest, the same way for all peers --- */

/* A QMP connection of the harness's own, beside the peer's, and one to the guest's helper. */
struct cmp_watch;

/*
 * Connects to QEMU's sockets, which needn't be there yet, as soon as they are, and takes QMP's
 * greeting. *GREETED_OUT (may be NULL) is when that was.
 */
struct torpor_error *cmp_watch_open(const char *qmp_path, const char *helper_path,
	const struct tp_call *call, uint64_t *greeted_out, struct cmp_watch **watch_out) TP_MUST_USE;
/* Takes NULL. Returns NULL. */
struct cmp_watch *cmp_watch_close(struct cmp_watch *watch);

/* Waits for the event ("STOP", "RESUME", "SHUTDOWN"); *AT_OUT is when it happened, by QEMU. */
struct torpor_error *cmp_watch_event(struct cmp_watch *watch, const char *event,
	const struct tp_call *call, uint64_t *at_out) TP_MUST_USE;
/* Drops the events that came until now. */
void cmp_watch_forget(struct cmp_watch *watch);

/* Asks the guest's helper; *AT_OUT is when it had answered. */
struct torpor_error *cmp_watch_answer(
	struct cmp_watch *watch, const struct tp_call *call, uint64_t *at_out) TP_MUST_USE;

/* Writes BYTES (0: nothing to do) to a tmpfs in the guest: half random, half text. */
struct torpor_error *cmp_watch_payload(
	struct cmp_watch *watch, uint64_t bytes, const struct tp_call *call) TP_MUST_USE;

/* QMP of the watch, for peers that drive the guest by it. Valid as long as WATCH. */
struct tp_qmp;
struct tp_qmp *cmp_watch_qmp(struct cmp_watch *watch);

/* --- files.c --- */

/* fsync of a file and of its directory. */
struct torpor_error *cmp_sync(const char *path) TP_MUST_USE;
/* st_blocks * 512 of a file; 0 if there is none. */
uint64_t cmp_disk_bytes(const char *path);

#endif
