/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and finding guests, without knowing how QEMU is run. */
#ifndef TP_ENGINE_LAUNCHER_H
#define TP_ENGINE_LAUNCHER_H

#include "engine/args.h"
#include "engine/cgroup.h"
#include "engine/guest.h"
#include "engine/spawn.h"

struct tp_launcher;

/* What to start. All belongs to the caller, and is needed only during the call. */
struct tp_guest_spec {
	const struct tp_guest_config *config;
	const char *name; /* passes tp_guest_name_ok; unique among the launcher's guests */
	enum tp_role role;
	const char *program; /* the QEMU to run; NULL: the launcher's own */
	uint32_t traits;     /* of that QEMU: enum tp_qemu_trait, or'ed; 0 where it wasn't asked */
	/* For TP_ROLE_BOOT; NULL where there is none. */
	const char *kernel;
	const char *initrd;
	const char *append;
	/* Main RAM is its first config->memory_bytes; it may be larger. */
	int ram_fd;
	bool ram_shared;
	/*
	 * Where COM1 is written, or -1. A file or memfd is appended to; a pipe must have a reader,
	 * since a full one stops the guest. A socket can't be used.
	 */
	int console_fd;
};

/*
 * Starts a guest and returns when its QMP answers. A TP_ROLE_BOOT guest runs by then, a
 * TP_ROLE_INCOMING one waits for its state. On failure nothing is left, neither process nor
 * file, and an error about QEMU carries what it wrote last. EXISTS if the name is taken.
 * Any number of threads may call at once, for different names.
 */
struct torpor_error *tp_launcher_start(struct tp_launcher *launcher,
	const struct tp_guest_spec *spec, const struct tp_call *call,
	struct tp_guest **guest_out) TP_MUST_USE;

/*
 * A guest that was started earlier and released, or whose owner is gone. NOT_FOUND if there is
 * none that runs; BUSY if somebody owns it.
 */
struct torpor_error *tp_launcher_find(struct tp_launcher *launcher, const char *name,
	const struct tp_call *call, struct tp_guest **guest_out) TP_MUST_USE;

/*
 * Ends the guest of that name and removes what it leaves. It must be the process of that PID and
 * START_TIME (PID 0: whichever it is); NOT_FOUND, and nobody is touched, if there is none such that
 * runs. BUSY if somebody owns it. QEMU isn't asked, so this works on one that is deaf, too.
 */
struct torpor_error *tp_launcher_end(struct tp_launcher *launcher, const char *name, pid_t pid,
	uint64_t start_time, const struct tp_call *call) TP_MUST_USE;

/*
 * Ends all guests that run, that nobody owns, and that KEEP doesn't want; *COUNT_OUT is how many.
 * What can't be ended is logged.
 */
struct torpor_error *tp_launcher_end_orphans(struct tp_launcher *launcher,
	bool (*keep)(void *data, const char *name), void *data, const struct tp_call *call,
	unsigned int *count_out) TP_MUST_USE;

/*
 * Removes what guests that ended without their owner's help have left behind. Guests that run,
 * and those that somebody owns, are not touched. Safe at any time, beside others' launchers.
 */
struct torpor_error *tp_launcher_sweep(
	struct tp_launcher *launcher, const struct tp_call *call) TP_MUST_USE;

/*
 * Whether guests come under limits through the launcher (tp_guest_limit); otherwise that is done to
 * their processes, from outside (engine/cgroup.h).
 */
bool tp_launcher_has_limits(const struct tp_launcher *launcher);

/* What was heard of a guest's vCPUs. */
enum tp_stir {
	TP_STIR_STOPPED,
	TP_STIR_CONTINUED,
	TP_STIR_UNKNOWN, /* nothing was heard for a while: it may be either */
};

/*
 * STIR is called when the vCPUs of a guest were stopped or continued, by us or by somebody else, as
 * an administrator may with libvirt; on a thread of the launcher's, and must not block. Before the
 * first guest.
 */
typedef void tp_stir_fn(void *data, const char *name, enum tp_stir how);
void tp_launcher_on_stir(struct tp_launcher *launcher, tp_stir_fn *stir, void *data);

/* Bound guests end with it. All struct tp_guest of it must be gone. Takes NULL. Returns NULL. */
struct tp_launcher *tp_launcher_free(struct tp_launcher *launcher);
TP_DEFINE_CLEANUP(struct tp_launcher *, tp_launcher_free)

/* ---- for those who write launchers ---- */

/*
 * Every callback is called on the thread that called the function of the same name above, and
 * no lock is held. Those that take a launcher are called by many threads at once; those that
 * take a guest by one at a time.
 */
struct tp_launcher_ops {
	/*
	 * SPEC has been checked: name, configuration, role. Must be over soon after the call is,
	 * and leave nothing behind when it fails.
	 */
	struct torpor_error *(*start)(struct tp_launcher *launcher,
		const struct tp_guest_spec *spec, const struct tp_call *call,
		struct tp_guest **guest_out);
	/* NAME has been checked. */
	struct torpor_error *(*find)(struct tp_launcher *launcher, const char *name,
		const struct tp_call *call, struct tp_guest **guest_out);
	/* NAME has been checked. */
	struct torpor_error *(*end)(struct tp_launcher *launcher, const char *name, pid_t pid,
		uint64_t start_time, const struct tp_call *call);
	/* The names of all guests, of others' too; the caller's to free, each and the list. */
	struct torpor_error *(*list)(
		struct tp_launcher *launcher, char ***names_out, size_t *n_out);
	struct torpor_error *(*sweep)(struct tp_launcher *launcher, const struct tp_call *call);
	/* NULL: nobody but us stops or continues its guests. */
	void (*on_stir)(struct tp_launcher *launcher, tp_stir_fn *stir, void *data);
	/* Frees the launcher itself too. Can't fail. */
	void (*free)(struct tp_launcher *launcher);

	/* What others are to see that the guest is. Doesn't block. NULL: nobody does. */
	void (*describe)(struct tp_guest *guest, const struct tp_guest_label *label);
	/* As tp_guest_limit. NULL: limits are none of its business. */
	struct torpor_error *(*limit)(
		struct tp_guest *guest, const struct tp_limits *limits, json_t **unenforced_out);
	/*
	 * Ends the process, gently if it likes, and waits until it is gone; by force before CALL
	 * is over. NULL: tp_process_kill.
	 */
	struct torpor_error *(*quit)(struct tp_guest *guest, const struct tp_call *call);
	/*
	 * Removes what an ended guest (`ended`) has left, or lets a running one go, and closes what
	 * the launcher added. May take the pidfd. The sockets are closed by then; the common part
	 * and the struct itself are freed behind it. Doesn't block on anybody; what fails is
	 * logged.
	 */
	void (*let_go)(struct tp_guest *guest, bool ended);
	/* The last lines of QEMU's output in one line; never NULL, the caller's. Doesn't block. */
	char *(*output_tail)(struct tp_guest *guest);
};

/* A launcher's own struct starts with this. */
struct tp_launcher {
	const struct tp_launcher_ops *ops;
};

/* A launcher's own struct for its guests starts with this, zeroed but for the descriptors. */
struct tp_guest {
	struct tp_launcher *launcher;
	char *name;		   /* owned */
	struct tp_process process; /* owned */
	bool bound;
	struct tp_qmp *qmp;	/* owned */
	struct tp_agent *agent; /* owned; NULL without channels */
	int helper_fd;		/* owned; -1: none, or taken */
	uint32_t traits;	/* of its QEMU, as its spec said; 0 for one that was found */
	int64_t last_set;	/* of descriptors lent to QEMU (engine/control.c) */
	int exit_status;	/* as of wait(2); -1 until it was taken */
};

/*
 * ERR, or where it is a QEMU error because QEMU has gone away, in its place how it ended and what
 * it wrote last. Its memory and its socket go a moment before the process: that is waited for,
 * shortly and not beyond CALL. NULL stays NULL. guest->qmp may still be NULL.
 */
struct torpor_error *tp_guest_explain(struct tp_guest *guest, struct torpor_error *err,
	const char *step, const struct tp_call *call) TP_MUST_USE;

#endif
