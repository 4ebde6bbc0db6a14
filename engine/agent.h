/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of the QEMU guest agent (QEMU: qga/qapi-schema.json) on a connected socket.
 *
 * The guest is not trusted: what it sends is bounded, garbage is dropped until it is in step
 * again, and nothing it says does more than become a value or an error. One thread at a time
 * uses a struct tp_agent.
 */
#ifndef TP_ENGINE_AGENT_H
#define TP_ENGINE_AGENT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/call.h"
#include "base/error.h"

/* The longest line that is accepted; a program's output comes in one, as base64. */
#define TP_AGENT_LINE_MAX (4 * TP_MIB)
/* What is dropped while looking for the agent's answer to a synchronisation. */
#define TP_AGENT_GARBAGE_MAX (16 * TP_MIB)

struct tp_agent;

/* Takes FD; says nothing on it. NAME names the guest in messages and is copied. */
struct tp_agent *tp_agent_open(int fd, const char *name);

/* Takes NULL. Returns NULL. */
struct tp_agent *tp_agent_close(struct tp_agent *agent);
TP_DEFINE_CLEANUP(struct tp_agent *, tp_agent_close)

/*
 * Runs one command. ARGS is an object or NULL, and taken. *RETURN_OUT (may be NULL) is a new
 * reference. The first command of a connection, and the first after a failure, synchronises
 * with the agent before.
 *
 * GUEST: the agent refused, closed, or sent nonsense. UNSUPPORTED: it has no such command, or
 * not enabled. TIMEOUT where no agent runs.
 */
struct torpor_error *tp_agent_execute(struct tp_agent *agent, const char *command, json_t *args,
	const struct tp_call *call, json_t **return_out) TP_MUST_USE;

struct torpor_error *tp_agent_ping(struct tp_agent *agent, const struct tp_call *call) TP_MUST_USE;

/*
 * Asks for a sign of life without waiting: tp_agent_fd becomes readable once an agent that may not
 * have started yet answers. Any command can follow, whether or not it has.
 */
struct torpor_error *tp_agent_knock(struct tp_agent *agent, const struct tp_call *call) TP_MUST_USE;
int tp_agent_fd(const struct tp_agent *agent);

/* Sets the guest's wall clock, in nanoseconds since 1970. Needs /sbin/hwclock in the guest. */
struct torpor_error *tp_agent_set_time(
	struct tp_agent *agent, uint64_t realtime_ns, const struct tp_call *call) TP_MUST_USE;

/* The agent's version, at most 64 printable characters; the caller's to free. */
struct torpor_error *tp_agent_version(
	struct tp_agent *agent, const struct tp_call *call, char **version_out) TP_MUST_USE;

struct tp_agent_exit {
	int status; /* its exit status, or -1 if a signal ended it */
	int signal; /* that signal, or 0 */
	char *out;  /* owned, NUL-terminated behind its end; never NULL */
	size_t out_len;
	char *err;
	size_t err_len;
	bool truncated; /* the agent has dropped some of it */
};

void tp_agent_exit_deinit(struct tp_agent_exit *how);
static inline void tp_agent_exit_deinit_cleanup_(struct tp_agent_exit *how)
{
	tp_agent_exit_deinit(how);
}
#define TP_AGENT_EXIT __attribute__((cleanup(tp_agent_exit_deinit_cleanup_)))

/*
 * Runs a program in the guest, argv[0] being its path, and waits until it has ended and closed
 * its output (a child in the background that keeps it open keeps it from ending). When CALL ends
 * first the program goes on. The agent tells nobody of an end, so it is asked, from every
 * millisecond to every 50. INVALID if an argument isn't UTF-8: JSON can't say it.
 */
struct torpor_error *tp_agent_run(struct tp_agent *agent, const char *const *argv,
	const struct tp_call *call, struct tp_agent_exit *how_out) TP_MUST_USE;

#endif
