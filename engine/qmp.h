/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's control protocol (QEMU: docs/interop/qmp-spec.txt): commands, replies and events over a
 * connected stream socket. One thread at a time uses a struct tp_qmp.
 */
#ifndef TP_ENGINE_QMP_H
#define TP_ENGINE_QMP_H

#include <jansson.h>
#include <stdbool.h>

#include "base/call.h"
#include "base/error.h"

/* A longer line ends the connection. QEMU's longest answers, lists of CPUs, are about 1/20 of it.
 */
#define TP_QMP_LINE_MAX (4 * TP_MIB)

/* Events that wait to be asked for. When one more comes the oldest is dropped. */
#define TP_QMP_EVENTS_MAX 256

struct tp_qmp_event {
	char *name;	      /* owned */
	json_t *data;	      /* owned; NULL if it has none */
	uint64_t realtime_ns; /* when it happened, by QEMU; 0 if QEMU doesn't say */
	uint64_t received_ns; /* when its line was taken up here, CLOCK_MONOTONIC */
};

void tp_qmp_event_deinit(struct tp_qmp_event *event);
static inline void tp_qmp_event_deinit_cleanup_(struct tp_qmp_event *event)
{
	tp_qmp_event_deinit(event);
}
#define TP_QMP_EVENT __attribute__((cleanup(tp_qmp_event_deinit_cleanup_)))

/* When it happened, CLOCK_MONOTONIC: by QEMU's account, but never later than it was heard of. */
uint64_t tp_qmp_event_time(const struct tp_qmp_event *event);

struct tp_qmp;

/*
 * Takes the greeting and leaves negotiation mode. FD is taken, on failure too. NAME names the
 * guest in messages and is copied.
 */
struct torpor_error *tp_qmp_open(
	int fd, const char *name, const struct tp_call *call, struct tp_qmp **qmp_out) TP_MUST_USE;

/* Closes the socket. Takes NULL. Returns NULL. */
struct tp_qmp *tp_qmp_close(struct tp_qmp *qmp);
TP_DEFINE_CLEANUP(struct tp_qmp *, tp_qmp_close)

/* "7.2.22", from the greeting. Valid as long as QMP. */
const char *tp_qmp_version(const struct tp_qmp *qmp);

/*
 * Runs COMMAND and waits for its reply. ARGS is an object or NULL, and taken. PASS_FD goes along
 * unless it is -1, and is not taken. *RETURN_OUT (may be NULL) is a new reference.
 *
 * QEMU: QEMU refused, with its class and words; or it closed the socket; or it broke the
 * protocol. UNSUPPORTED: this QEMU has no such command. After TIMEOUT or CANCELLED the command
 * may still be carried out; its late reply is dropped and the next command can be run, unless
 * the deadline cut the command's own line short: then QMP is closed.
 * Events that come meanwhile wait for tp_qmp_wait_event.
 */
struct torpor_error *tp_qmp_execute(struct tp_qmp *qmp, const char *command, json_t *args,
	int pass_fd, const struct tp_call *call, json_t **return_out) TP_MUST_USE;

/*
 * Whether QEMU answers, asked in two parts that don't wait: a question (query-status), and later
 * whether everything that was asked so far is answered. The late reply is in nobody's way. One
 * question at a time; with it there is room for any command.
 */
struct torpor_error *tp_qmp_ask(struct tp_qmp *qmp) TP_MUST_USE;
bool tp_qmp_answered(struct tp_qmp *qmp);

/* Runs a command line of the human monitor. *TEXT_OUT (may be NULL) is the caller's to free. */
struct torpor_error *tp_qmp_hmp(struct tp_qmp *qmp, const char *command_line,
	const struct tp_call *call, char **text_out) TP_MUST_USE;

/*
 * The oldest event whose name is in NAMES (NULL-terminated), waiting for it if none is there yet.
 * It is taken out; others stay in their order. QEMU if the socket closes first.
 */
struct torpor_error *tp_qmp_wait_event(struct tp_qmp *qmp, const char *const *names,
	const struct tp_call *call, struct tp_qmp_event *event_out) TP_MUST_USE;

/* The same without waiting, among those that were read: false if there is none. */
bool tp_qmp_take_event(
	struct tp_qmp *qmp, const char *const *names, struct tp_qmp_event *event_out);

/*
 * Drops the waiting events with a name in NAMES (NULL: all), those included that have come but
 * were not read. Doesn't block.
 */
void tp_qmp_forget_events(struct tp_qmp *qmp, const char *const *names);

/* Takes up what has come, without waiting: after QEMU's end, what it said last. */
void tp_qmp_drain(struct tp_qmp *qmp);

/* The same up to the end of the connection, which is waited for: QEMU has ended, or is about to. */
struct torpor_error *tp_qmp_drain_to_end(
	struct tp_qmp *qmp, const struct tp_call *call) TP_MUST_USE;

/* Whether the connection is over, as far as was read. */
bool tp_qmp_closed(const struct tp_qmp *qmp);

/*
 * The reason in the last SHUTDOWN event ("guest-reset", "host-signal" ...), or NULL; what the guest
 * did counts before what was done to QEMU because of it. Kept apart
 * from the queue: neither dropping nor forgetting events loses it. Valid until the next call.
 */
const char *tp_qmp_shutdown_reason(const struct tp_qmp *qmp);

#endif
