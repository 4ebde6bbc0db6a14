/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine handle: what all templates and sessions of a process share.
 *
 * State directory:
 *   templates/NAME/template   image; beside it kernel and initrd, for guests that reboot
 *   images/NAME               images of parked sessions, checkpoints
 *   run/NAME/                 of a running guest; the launcher's
 *   accel.json                which kernels kvm was proven to run, or not
 *   qemu.json                 what each QEMU said that it can do
 */
#ifndef TP_POOL_ENGINE_H
#define TP_POOL_ENGINE_H

#include <torpor/torpor.h>

#include <pthread.h>

#include "base/call.h"
#include "engine/direct.h"
#include "engine/launcher.h"
#include "snapshot/base.h"
#include "snapshot/capture.h"
#include "storage/staging.h"
#include "storage/workers.h"

#define TEMPLATE_IMAGE	"template"
#define TEMPLATE_KERNEL "kernel"
#define TEMPLATE_INITRD "initrd"

/* Default bounds of calls. */
#define BUILD_TIMEOUT_NS   (120 * TP_NSEC_PER_SEC)
#define OPEN_TIMEOUT_NS	   (60 * TP_NSEC_PER_SEC)
#define PARK_TIMEOUT_NS	   (60 * TP_NSEC_PER_SEC)
#define RESUME_TIMEOUT_NS  (30 * TP_NSEC_PER_SEC)
#define PAUSE_TIMEOUT_NS   (30 * TP_NSEC_PER_SEC)
#define REBOOT_TIMEOUT_NS  (120 * TP_NSEC_PER_SEC)
#define PING_TIMEOUT_NS	   (5 * TP_NSEC_PER_SEC)
#define CLEANUP_TIMEOUT_NS (5 * TP_NSEC_PER_SEC)

/* What a busy host needs under TCG is a second at most; 30 s are there for all of a start. */
#define DEAF_AFTER_NS (5 * TP_NSEC_PER_SEC)

struct torpor_engine {
	/* Constant after opening. */
	char *state_dir;
	char *run_dir;
	int state_fd;
	int templates_fd;
	int images_fd;
	char *qemu;	    /* a path or a name to look up */
	char *qemu_microvm; /* a path; NULL: there is none, or it isn't wanted */
	char *exec_helper;  /* or NULL: the default */
	char *launcher_name;
	char *connect; /* or NULL: the default */
	bool keep_guests;
	torpor_event_fn *on_event; /* or NULL */
	void *event_data;
	int zstd_level;
	uint64_t deaf_after_ns;
	struct tp_capture_options capture;
	struct tp_launcher *launcher;
	struct tp_workers *workers;
	struct tp_staging *staging;
	struct tp_watcher *watcher;
	struct tp_turn *fill_turn; /* one template is opened at a time: no base is filled twice */

	/* By the lock. */
	pthread_mutex_t lock;
	struct torpor_template *templates; /* those in use */
	struct torpor_session *sessions;
	uint64_t last_watch_id; /* counts sessions and waiting guests */
};

/*
 * As torpor_engine_open, but half-written images stay where they are: for who goes through images/
 * anyway (tp_image_sweep), which takes as long as there are files.
 */
struct torpor_error *tp_engine_open_unswept(
	const struct torpor_engine_options *options, struct torpor_engine **engine_out) TP_MUST_USE;

/* "PREFIX-PID-NUMBER": unique among all engines on this state directory. The caller's to free. */
char *tp_engine_guest_name(struct torpor_engine *engine, const char *prefix) TP_MUST_USE;

/*
 * Ends the guests in the run directory that run, that nobody owns, and that KEEP, asked with their
 * names (as tp_handover_guest gives them), doesn't want. For recovery: what waited in stock, or had
 * just been started, has no other end if the process that kept guests is killed.
 */
struct torpor_error *tp_engine_end_orphans(struct torpor_engine *engine,
	bool (*keep)(void *data, const char *guest), void *data, const struct tp_call *call,
	unsigned int *count_out) TP_MUST_USE;

/* The name of the guest that a handover is about, the caller's to free; NULL if it is none. */
char *tp_handover_guest(const char *handover) TP_MUST_USE;

/* Where it is if nobody says: /var/lib/torpor for root, else XDG's. The caller's to free. */
char *tp_default_state_dir(void) TP_MUST_USE;

/* How QEMU is run, by the launcher "direct" and for asking it. Valid as long as ENGINE. */
struct tp_direct_options tp_engine_direct_options(const struct torpor_engine *engine);

#endif
