/* SPDX-License-Identifier: Apache-2.0 */
/* What one says to a running QEMU. All fail with QEMU and its last words if it has ended. */
#ifndef TP_ENGINE_CONTROL_H
#define TP_ENGINE_CONTROL_H

#include "engine/guest.h"

/* Stops the vCPUs; a stopped guest stays stopped. */
struct torpor_error *tp_guest_stop(struct tp_guest *guest, const struct tp_call *call) TP_MUST_USE;

/*
 * Lets the vCPUs run; they do when this returns. *RESUMED_NS_OUT (may be NULL) is since when,
 * CLOCK_MONOTONIC, by QEMU's own account, but not before the call; now if they ran before. BUSY for
 * a guest that still waits for its state.
 */
struct torpor_error *tp_guest_cont(
	struct tp_guest *guest, const struct tp_call *call, uint64_t *resumed_ns_out) TP_MUST_USE;

/* QEMU's word for its state: "running", "paused", "inmigrate", "postmigrate" ... The caller's. */
struct torpor_error *tp_guest_query_status(
	struct tp_guest *guest, const struct tp_call *call, char **status_out) TP_MUST_USE;

/* Turns a migration capability on or off; UNSUPPORTED if this QEMU hasn't got it. */
struct torpor_error *tp_guest_set_capability(struct tp_guest *guest, const char *capability,
	bool on, const struct tp_call *call) TP_MUST_USE;

/*
 * A memory file that a guest writes its device state to. Handing it over takes a command, so that
 * is done before the guest is stopped, and once: it serves any number of times.
 */
struct tp_device_file {
	int read_fd;  /* where the state is read, from offset 0 */
	int write_fd; /* the same file; its offset is QEMU's */
	int64_t set;  /* QEMU's number for it */
};

/* UNSUPPORTED where QEMU can't write it (TP_QEMU_NO_SAVE_DEVICES). */
struct torpor_error *tp_device_file_init(struct tp_device_file *file, struct tp_guest *guest,
	const struct tp_call *call) TP_MUST_USE;
/* Closes our ends; QEMU keeps its own until it ends. Descriptors of -1 are fine. */
void tp_device_file_deinit(struct tp_device_file *file);

/*
 * Writes the state of all devices, without RAM, to FILE, over what was in it. The guest must be
 * stopped and stays as it is. The bytes: magic, version, FULL sections, end mark; no
 * configuration section.
 */
struct torpor_error *tp_guest_save_devices(struct tp_guest *guest,
	const struct tp_device_file *file, const struct tp_call *call) TP_MUST_USE;

/*
 * Writes the migration stream to FD (not taken) at its offset, and waits for its end. FD is a
 * socket, pipe or memfd. With IGNORE_SHARED, RAM that is shared with a file is left out. A
 * guest that ran is stopped by it; afterwards the state is "postmigrate", from which it can
 * still be continued. One that is in that state already runs for a moment, since QEMU migrates
 * nobody twice in a row. If CALL ends first the migration is cancelled.
 */
struct torpor_error *tp_guest_migrate_to_fd(
	struct tp_guest *guest, int fd, bool ignore_shared, const struct tp_call *call) TP_MUST_USE;

/*
 * The same in pieces, for a stream that is read while it is written: between start and wait the
 * caller reads the other end, which sees an end of file once all is sent (or QEMU gave up). Cancel
 * ends a migration early, however far it is, and also if there is none; the guest can be continued
 * then. A start that fails leaves none behind.
 */
struct torpor_error *tp_guest_migrate_start(
	struct tp_guest *guest, int fd, bool ignore_shared, const struct tp_call *call) TP_MUST_USE;
struct torpor_error *tp_guest_migrate_wait(
	struct tp_guest *guest, const struct tp_call *call) TP_MUST_USE;
struct torpor_error *tp_guest_migrate_cancel(
	struct tp_guest *guest, const struct tp_call *call) TP_MUST_USE;

/*
 * Loads a stream from FD (not taken) at its offset into a TP_ROLE_INCOMING guest, once in its
 * life; afterwards it is "paused". FD is a memfd (no writer needed: the quickest), or a socket or
 * pipe whose other end is written by somebody else meanwhile; all three were seen to work with
 * 7.2. IGNORE_SHARED as it was for the stream's writer. A stream that doesn't fit ends a
 * QEMU that hasn't TP_QEMU_STAYS; the error holds its words, as it does of one that stays.
 */
struct torpor_error *tp_guest_load_from_fd(
	struct tp_guest *guest, int fd, bool ignore_shared, const struct tp_call *call) TP_MUST_USE;

/*
 * The same in pieces. Preparing can be done well ahead, before there is anything in FD, and again
 * with another FD; then starting is a single command. Between start and wait a socket's other end
 * can be written.
 */
struct torpor_error *tp_guest_load_prepare(
	struct tp_guest *guest, int fd, bool ignore_shared, const struct tp_call *call) TP_MUST_USE;
struct torpor_error *tp_guest_load_start(
	struct tp_guest *guest, const struct tp_call *call) TP_MUST_USE;
struct torpor_error *tp_guest_load_wait(
	struct tp_guest *guest, const struct tp_call *call) TP_MUST_USE;

/* How a guest was found whose owner may have gone in the middle of anything. */
enum tp_guest_found {
	TP_GUEST_RUNS,
	TP_GUEST_STANDS, /* it was stopped, and can be continued */
	TP_GUEST_EMPTY,	 /* it still waits for its state */
};

/*
 * What is due to a guest that another process has used: a migration that it began ends, and what it
 * lent to QEMU is given back.
 */
struct torpor_error *tp_guest_take_over(struct tp_guest *guest, const struct tp_call *call,
	enum tp_guest_found *found_out) TP_MUST_USE;

#endif
