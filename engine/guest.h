/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One guest process, however it was started. One thread at a time uses a struct tp_guest;
 * tp_guest_pidfd may be polled by any.
 */
#ifndef TP_ENGINE_GUEST_H
#define TP_ENGINE_GUEST_H

#include <stdbool.h>
#include <sys/types.h>

#include "engine/agent.h"
#include "engine/qmp.h"

struct tp_guest;

/* These are valid as long as GUEST. */
const char *tp_guest_name(const struct tp_guest *guest);
struct tp_qmp *tp_guest_qmp(struct tp_guest *guest);
pid_t tp_guest_pid(const struct tp_guest *guest);
/* Field 22 of /proc/PID/stat; with the pid, the process's identity in this boot. */
uint64_t tp_guest_start_time(const struct tp_guest *guest);
/* Readable once the process has ended. */
int tp_guest_pidfd(const struct tp_guest *guest);

/*
 * The guest agent on its port, or NULL for a guest without channels. Nothing was said on it yet:
 * whether an agent answers is found out by the first command.
 */
struct tp_agent *tp_guest_agent(struct tp_guest *guest);

/* The connected socket of Torpor's helper, now the caller's; -1 if there is none or it was taken.
 */
int tp_guest_take_helper_fd(struct tp_guest *guest);

/*
 * tp_qmp_execute, except that a QEMU that has ended is reported with how it ended and the last
 * lines of its output.
 */
struct torpor_error *tp_guest_execute(struct tp_guest *guest, const char *command, json_t *args,
	int pass_fd, const struct tp_call *call, json_t **return_out) TP_MUST_USE;

/* tp_qmp_wait_event with the same addition. */
struct torpor_error *tp_guest_wait_event(struct tp_guest *guest, const char *const *names,
	const struct tp_call *call, struct tp_qmp_event *event_out) TP_MUST_USE;

/* What a guest is, and for whom. Strings may be NULL: not known. */
struct tp_guest_label {
	const char *session;
	const char *tenant;
	const char *template_name;
};

/* Has it shown to those who look at guests by other means (`virsh list`), soon. */
void tp_guest_describe(struct tp_guest *guest, const struct tp_guest_label *label);

struct tp_limits;

/*
 * Puts the guest under LIMITS, for launchers with limits of their own (tp_launcher_has_limits).
 * Those that aren't among LIMITS end (but nofile, which can only be lowered).
 * *UNENFORCED_OUT is a new array of texts, as tp_cgroup_place gives it.
 */
struct torpor_error *tp_guest_limit(struct tp_guest *guest, const struct tp_limits *limits,
	json_t **unenforced_out) TP_MUST_USE;

struct tp_guest_exit {
	int status;	       /* as of wait(2), or -1 where it can't be known (no child of ours) */
	char *shutdown_reason; /* of the last SHUTDOWN event: "guest-reset" ...; NULL if none came
				*/
	char *output_tail;     /* the last lines QEMU wrote, in one line; "" if none */
};

void tp_guest_exit_deinit(struct tp_guest_exit *how);
static inline void tp_guest_exit_deinit_cleanup_(struct tp_guest_exit *how)
{
	tp_guest_exit_deinit(how);
}
#define TP_GUEST_EXIT __attribute__((cleanup(tp_guest_exit_deinit_cleanup_)))

/* In words: "QEMU ended by signal 9: ..."; the caller's to free. */
char *tp_guest_exit_text(const struct tp_guest_exit *how) TP_MUST_USE;

/* How the process ended. BUSY while it goes on. */
struct torpor_error *tp_guest_exit_reason(
	struct tp_guest *guest, struct tp_guest_exit *how_out) TP_MUST_USE;

/*
 * Ends the process by force, waits until it is gone, removes its files and frees GUEST. If the
 * call ends first GUEST is freed all the same, the process has its SIGKILL, and its files are
 * left for the launcher's next sweep. NULL is fine.
 */
struct torpor_error *tp_guest_end(struct tp_guest *guest, const struct tp_call *call) TP_MUST_USE;

/*
 * Closes our ends and frees GUEST, but the process runs on, to be found by its name again. Only
 * for guests that aren't bound (INVALID otherwise, and nothing was done).
 */
struct torpor_error *tp_guest_release(struct tp_guest *guest) TP_MUST_USE;

/* tp_guest_end for clean-up, within 5 seconds; failures are logged. Takes NULL. Returns NULL. */
struct tp_guest *tp_guest_free(struct tp_guest *guest);
TP_DEFINE_CLEANUP(struct tp_guest *, tp_guest_free)

#endif
