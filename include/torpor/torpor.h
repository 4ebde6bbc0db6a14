/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Torpor: park and resume virtual machines at the cost of what they changed.
 *
 *   struct torpor_engine *engine;
 *   struct torpor_template *tmpl;
 *   struct torpor_session *session;
 *
 *   torpor_engine_open(&(struct torpor_engine_options){.state_dir = "/var/lib/x"}, &engine);
 *   torpor_template_open(engine, "minimal", NULL, &tmpl);
 *   torpor_session_start(tmpl, &(struct torpor_session_spec){.name = "s1"}, NULL, NULL, &session);
 *   torpor_session_exec(session, &(struct torpor_exec){.argv = argv}, NULL, &result);
 *   torpor_session_park(session, NULL, &park);      // no process is left
 *   torpor_session_resume(session, NULL, &resume);  // and it goes on where it was
 *
 * Errors: torpor/error.h has the contract. Outputs come last and are untouched on failure.
 *
 * Threads: any thread may call any function. Calls on one session take turns; a call that finds
 * the session busy waits until its own deadline. Commands are no exception until they are begun;
 * from then on they run beside each other and beside all other calls, none of which waits for them
 * (torpor_session_exec).
 * Templates and sessions must be closed before their engine. Handles are not reference-counted:
 * nobody may use one while or after it is closed.
 *
 * Times are CLOCK_MONOTONIC, in nanoseconds, unless a name says otherwise. Sizes are in bytes.
 */
#ifndef TORPOR_TORPOR_H
#define TORPOR_TORPOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <torpor/call.h>
#include <torpor/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct torpor_engine;
struct torpor_template;
struct torpor_session;

/* --- Engine -------------------------------------------------------------------------------- */

/* How pages get from and into a guest's process. */
enum torpor_path {
	TORPOR_PATH_AUTO,   /* direct where this process has the rights, else stream */
	TORPOR_PATH_DIRECT, /* read from and written to the process; costs what changed */
	TORPOR_PATH_STREAM, /* through QEMU's own migration; needs no rights; costs the RAM size */
	TORPOR_PATH_OWN, /* in reports: the guest rebooted and has no base, so all of it counts */
};

/* How changed pages are found. */
enum torpor_scan {
	TORPOR_SCAN_AUTO,
	TORPOR_SCAN_PAGEMAP_SCAN, /* ioctl, Linux 6.7 and later */
	TORPOR_SCAN_PAGEMAP,	  /* reading /proc/PID/pagemap, any Linux */
};

typedef void torpor_log_fn(
	void *data, int level /* 0 debug, 1 info, 2 warning */, const char *line);

/*
 * Something happened by itself. Called on a thread of the engine's, which holds nothing, but which
 * must not call into the engine: hand it on and return.
 */
enum torpor_event {
	TORPOR_EVENT_SESSION, /* the session of that name has another state now */
	TORPOR_EVENT_STOCK, /* of the template of that name a waiting guest has died, or was deaf */
};
typedef void torpor_event_fn(void *data, enum torpor_event event, const char *name);

struct torpor_engine_options {
	const char *state_dir; /* made if missing; NULL: XDG state dir, /var/lib/torpor for root */
	const char *qemu;      /* NULL: qemu-system-x86_64 on PATH */
	/*
	 * A QEMU for microvm and KVM alone, for microvm templates where it works (smaller,
	 * quicker). NULL: the one beside qemu, of its name with "-microvm" behind it, if it is
	 * there; "": never.
	 */
	const char *qemu_microvm;
	const char *exec_helper; /* NULL: the installed torpor-exec */
	/*
	 * Who runs QEMU: "direct", this process, or "libvirt", as transient domains. NULL: what the
	 * environment says in TORPOR_LAUNCHER, else "direct".
	 */
	const char *launcher;
	const char *connect; /* libvirt's URI; NULL: TORPOR_CONNECT, else "qemu:///system" */
	bool keep_guests;    /* true: guests outlive the engine; false: they die with the process */
	unsigned int workers;	/* compression threads; 0: one for each core, at most 8 */
	uint64_t staging_bytes; /* bound on memory for pages not yet written; 0: 256 MiB */
	int zstd_level;		/* 0: the default */
	uint64_t deaf_after_ns; /* a guest that waited and doesn't answer for so long is ended, and
				   the start that took it goes on with the next; 0: 5 s */
	bool no_io_uring;	/* true: plain reads and writes */
	enum torpor_path path;
	enum torpor_scan scan;
	torpor_log_fn *log; /* called from any thread; NULL: nowhere. One for the whole process. */
	void *log_data;
	torpor_event_fn *on_event; /* may be NULL */
	void *event_data;
};

/*
 * Opens the engine over its state directory and sweeps what a killed one left behind: half-written
 * files, run directories of dead guests. Several processes may share a state directory.
 */
struct torpor_error *torpor_engine_open(
	const struct torpor_engine_options *options, struct torpor_engine **engine_out);

/* All its templates and sessions must have been closed. Takes NULL. Returns NULL. */
struct torpor_engine *torpor_engine_close(struct torpor_engine *engine);

/* The state directory in use. Valid as long as ENGINE. */
const char *torpor_engine_state_dir(const struct torpor_engine *engine);

/* --- Templates ----------------------------------------------------------------------------- */

struct torpor_template_spec {
	const char *name;    /* [A-Za-z0-9][A-Za-z0-9._-]*, at most 64 bytes */
	const char *machine; /* "pc" (the default, NULL), "q35" or "microvm" */
	const char *accel;   /* "auto" (NULL), "kvm" or "tcg" */
	const char *cpu; /* a QEMU model with version; NULL: the best portable one of this host */
	uint64_t memory; /* 0: 256 MiB; a multiple of 1 MiB, 16 MiB to 1 TiB */
	unsigned int vcpus; /* 0: 1; at most 255 */
	const char *kernel; /* path; copied into the template, for guests that reboot */
	const char *initrd; /* path or NULL; copied too */
	const char *append; /* kernel command line, UTF-8; or NULL */
	const char
		*ready_line; /* NULL: ready when helper or agent answers; else this console line */
	bool replace;	     /* an older template of that name is replaced */
};

/* STAGE is a short word ("probe", "boot", "freeze", "save"); LINE what happens, for people. */
typedef void torpor_progress_fn(void *data, const char *stage, const char *line);

struct torpor_template_report {
	uint64_t probe_ns;  /* finding an accelerator that works */
	uint64_t boot_ns;   /* process start to ready */
	uint64_t freeze_ns; /* stop to sealed base */
	uint64_t save_ns;   /* compressing, writing, syncing */
	uint64_t image_bytes;
};

/*
 * Boots the guest once, waits until it is ready, freezes it and stores it under its name. Bound:
 * 120 s. On failure nothing is left behind, and the error carries the console's last lines.
 */
struct torpor_error *torpor_template_build(struct torpor_engine *engine,
	const struct torpor_template_spec *spec, torpor_progress_fn *progress, void *progress_data,
	const struct torpor_call *call, struct torpor_template_report *report_out,
	struct torpor_template **template_out);

/* Opens a stored template, filling (and checking) its base unless this engine has it. 60 s. */
struct torpor_error *torpor_template_open(struct torpor_engine *engine, const char *name,
	const struct torpor_call *call, struct torpor_template **template_out);

/* The base is dropped when no handle and no session needs it. Takes NULL. Returns NULL. */
struct torpor_template *torpor_template_close(struct torpor_template *tmpl);

struct torpor_template_info {
	char name[65];
	char id[65]; /* SHA-256 over its content, in hex */
	char machine_type[64];
	char accel[8];
	char cpu[128];
	char qemu_version[32];
	uint64_t memory;
	unsigned int vcpus;
	bool helper;		  /* Torpor's helper runs in the guest */
	bool agent;		  /* qemu-guest-agent runs in the guest */
	uint64_t boot_ns;	  /* what its boot took: a plain start, for comparison */
	uint64_t image_bytes;	  /* of the stored template */
	uint64_t created_unix_ns; /* CLOCK_REALTIME */
	uint64_t fill_ns;	  /* what filling the base took; 0 if not filled by this handle */
};
struct torpor_error *torpor_template_info(
	const struct torpor_template *tmpl, struct torpor_template_info *info_out);

/* The same of a stored template, read from its file's metadata alone. */
struct torpor_error *torpor_template_lookup(
	struct torpor_engine *engine, const char *name, struct torpor_template_info *info_out);

/*
 * The stored templates, read from their files' metadata alone. *INFOS_OUT is one allocation, to be
 * freed with free(). Damaged ones are left out and logged.
 */
struct torpor_error *torpor_template_list(
	struct torpor_engine *engine, struct torpor_template_info **infos_out, size_t *count_out);

/*
 * Removes a stored template. Sessions that run go on; parked ones can't be resumed any more, nor
 * running ones be adopted by a later engine.
 */
struct torpor_error *torpor_template_remove(struct torpor_engine *engine, const char *name);

/*
 * Starts guests ahead, until so many wait: warm ones (loaded, made fresh once, paused: a start only
 * gives them their own identity) and shells (processes without state). 30 s.
 */
struct torpor_error *torpor_template_prepare_warm(
	struct torpor_template *tmpl, unsigned int count, const struct torpor_call *call);

/* Starts shells ahead, until COUNT wait. 30 s. */
struct torpor_error *torpor_template_prepare(
	struct torpor_template *tmpl, unsigned int count, const struct torpor_call *call);

/* --- Sessions ------------------------------------------------------------------------------ */

enum torpor_session_state {
	TORPOR_SESSION_RUNNING,
	TORPOR_SESSION_PARKED,	  /* no process; the image is on disk */
	TORPOR_SESSION_PAUSED,	  /* its process is there, its vCPUs stand still */
	TORPOR_SESSION_REBOOTING, /* the guest reset itself and boots anew; calls wait for it */
	TORPOR_SESSION_ENDED,	  /* powered off by the guest, or its process died */
};

const char *torpor_session_state_name(enum torpor_session_state state);

struct torpor_session_spec {
	const char *name;     /* as template names; unique in the engine */
	const char *hostname; /* NULL: the name */
};

/* What was made fresh before the caller got the session; bits of `fresh`. */
enum torpor_fresh {
	TORPOR_FRESH_CLOCK = 1,	     /* the guest's clock is the host's */
	TORPOR_FRESH_RANDOM = 2,     /* the random generator was reseeded */
	TORPOR_FRESH_HOSTNAME = 4,   /* its own host name was set */
	TORPOR_FRESH_MACHINE_ID = 8, /* its own machine-id was set */
};

/* Where the process of a start, resume or fork came from. */
enum torpor_source {
	TORPOR_SOURCE_SPAWN, /* started for it */
	TORPOR_SOURCE_SHELL, /* a shell waited */
	TORPOR_SOURCE_WARM,  /* a warm guest waited */
};
const char *torpor_source_name(enum torpor_source source); /* "spawn", "shell", "warm" */

/*
 * Intervals start when the call was entered. A guest without helper has ready_ns 0, and in `fresh`
 * what its agent could do.
 */
struct torpor_resume_report {
	uint64_t shell_ns; /* starting a shell, where none waited; part of the following */
	enum torpor_source source;
	unsigned int shells_replaced; /* shells that died and were replaced (at most 1) */
	uint64_t loaded_ns;	      /* pages and device state are in place */
	uint64_t running_ns;	      /* the RESUME event: vCPUs run */
	uint64_t ready_ns;	      /* the helper confirmed that everything is fresh */
	uint32_t fresh;		      /* enum torpor_fresh, or'ed */
	int64_t clock_error_ns; /* guest's clock minus host's, as far as can be told from outside */
	uint64_t pages;		/* loaded from the image */
	uint64_t image_bytes;
	enum torpor_path path;
};

struct torpor_park_report {
	uint64_t captured_ns;	/* stop sent, to last page and device byte copied out */
	uint64_t durable_ns;	/* stop sent, to file and directory synced */
	uint64_t gone_ns;	/* stop sent, to process reaped (park only) */
	uint64_t pause_ns;	/* stop sent, to RESUME event (checkpoint only; 0 if paused) */
	uint64_t pages_scanned; /* private pages found */
	uint64_t pages;		/* of these, pages that differ from the base and were stored */
	uint64_t device_bytes;	/* raw */
	uint64_t image_bytes;	/* st_size */
	bool staged;		/* the whole delta fitted into staging */
	char note[256]; /* what makes the image harder to resume than others, for people; or empty:
			   its CPU is this host's own, its template isn't stored any more ... */
	enum torpor_path path;
	enum torpor_scan scan;
};

/*
 * A new session from the template: clone, load, made fresh. EXISTS where a session or parked image
 * has that name. 30 s. REPORT_OUT may be NULL.
 */
struct torpor_error *torpor_session_start(struct torpor_template *tmpl,
	const struct torpor_session_spec *spec, const struct torpor_call *call,
	struct torpor_resume_report *report_out, struct torpor_session **session_out);

/*
 * A handle on a session that is parked in the state directory, or in the file at PATH (NULL: the
 * image of that name). Nothing is started. The template is found by identity among those stored.
 */
struct torpor_error *torpor_session_open(struct torpor_engine *engine, const char *name,
	const char *path, const struct torpor_call *call, struct torpor_session **session_out);

/*
 * Gives up the handle. A running session of a bound engine ends; a kept one runs on. A parked
 * one stays parked. A boot of a guest that reset itself is broken off, unless guests are kept.
 * Takes NULL. Returns NULL.
 */
struct torpor_session *torpor_session_close(struct torpor_session *session);

/* Ends the guest, removes its image, closes the handle. SESSION is gone even on failure. */
struct torpor_error *torpor_session_destroy(
	struct torpor_session *session, const struct torpor_call *call);

struct torpor_session_info {
	char name[65];
	char hostname[65];
	enum torpor_session_state state;
	int pid;	     /* 0 unless running or paused */
	uint64_t start_time; /* of the process, in clock ticks since boot (/proc/PID/stat) */
	bool has_base;	     /* false once the guest rebooted: its images hold all of its memory */
	unsigned int reboots;
	uint64_t private_bytes; /* memory that only this guest's process has; 0 without one */
	char image_path[512];	/* of the last park, or empty */
};
/* Doesn't wait for a running call. */
struct torpor_error *torpor_session_info(
	struct torpor_session *session, struct torpor_session_info *info_out);

/*
 * Parks a running session: its state is in a file, its process gone. Until the file is durable a
 * failure, a deadline or a cancel leaves the guest running as if nothing had been asked. 60 s.
 */
struct torpor_error *torpor_session_park(struct torpor_session *session,
	const struct torpor_call *call, struct torpor_park_report *report_out);

/* The same, but the guest runs on; the image goes to images/IMAGE_NAME (a name as sessions'). */
struct torpor_error *torpor_session_checkpoint(struct torpor_session *session,
	const char *image_name, const struct torpor_call *call,
	struct torpor_park_report *report_out);

/*
 * Resumes a parked session. It has the machine, memory, processes, host name and machine-id that
 * it was parked with; clock and random generator are fresh. A failure leaves the image untouched
 * and no process behind. The image stays until the next park replaces it. 30 s.
 */
struct torpor_error *torpor_session_resume(struct torpor_session *session,
	const struct torpor_call *call, struct torpor_resume_report *report_out);

/*
 * COUNT new sessions from a parked one's image; each has its own host name, machine-id and
 * random generator. A running source is checkpointed first. All or none: on failure those
 * already started are destroyed. SESSIONS_OUT and REPORTS_OUT (may be NULL) have COUNT places.
 * 30 s and one for each fork.
 */
struct torpor_error *torpor_session_fork(struct torpor_session *source,
	const struct torpor_session_spec *specs, size_t count, const struct torpor_call *call,
	struct torpor_resume_report *reports_out, struct torpor_session **sessions_out);

/*
 * Stops a running session's vCPUs, or lets those of a paused one go on, with the right clock and
 * fresh randomness. A paused session can be parked, checkpointed, forked, closed and destroyed;
 * once resumed it runs. A pause waits for another call, or a command through qemu-guest-agent, 5 s
 * at most, then it is BUSY. 30 s.
 */
struct torpor_error *torpor_session_pause(
	struct torpor_session *session, const struct torpor_call *call);
struct torpor_error *torpor_session_unpause(
	struct torpor_session *session, const struct torpor_call *call);

/*
 * What a later engine on this state directory needs to take a session over whose guest was kept
 * (keep_guests), as JSON text, the caller's to free. Stays right until the session is parked,
 * resumed or reboots.
 */
struct torpor_error *torpor_session_handover(struct torpor_session *session, char **handover_out);

/*
 * Takes over the session that HANDOVER describes, its guest running (or paused) on, untouched. The
 * template's base is taken back from the guest's process, unless this engine has it. NOT_FOUND if
 * the guest has ended; MISMATCH if the process isn't that guest, or its base not the template's. A
 * guest that an operation stopped is still stopped then and shown as PAUSED. 30 s.
 */
struct torpor_error *torpor_session_adopt(struct torpor_engine *engine, const char *handover,
	const struct torpor_call *call, struct torpor_session **session_out);

/* Ends the guest that HANDOVER describes, if it still runs; and nobody else's. 30 s. */
struct torpor_error *torpor_handover_end(
	struct torpor_engine *engine, const char *handover, const struct torpor_call *call);

/* STREAM is 1 for stdout, 2 for stderr. DATA is valid during the call. */
typedef void torpor_output_fn(void *data, int stream, const void *bytes, size_t len);

struct torpor_exec {
	const char *const *argv; /* NULL-terminated; argv[0] is looked up in the guest's PATH */
	const char *const *env;	 /* NULL-terminated NAME=value, or NULL: the helper's own */
	const char *cwd;	 /* NULL: / */
	int stdin_fd;		 /* read to its end when has_stdin; not taken */
	bool has_stdin;
	bool kill_on_cancel; /* SIGKILL when cancelled or timed out; else it is left running */
	/* Called as output arrives, on the calling thread; may be NULL. May block: the command
	 * waits then, and nobody else. */
	torpor_output_fn *output;
	void *output_data;
};

struct torpor_exec_result {
	bool exited; /* true: status is the exit status; false: the signal that ended it */
	int status;
};

/*
 * Runs a command as root in the guest and waits for it. No default bound. Up to 32 can run in a
 * session at a time, each in a call of its own; one more is refused (LIMIT, "session-commands").
 *
 * A command is listened to for as long as the guest's process lasts. While that stands still (a
 * checkpoint, a fork of it, a pause, a park that fails) so does the command; then both go on, with
 * nothing lost. A park, destroy or close ends the call with BUSY. A command that was parked runs on
 * once its session is resumed, and one whose guest is kept at once, with nobody to listen. QEMU if
 * the guest ends by itself.
 *
 * Without Torpor's helper in the guest one command runs at a time, as a call that others wait for;
 * but park, checkpoint, fork, destroy and close end the call as above.
 */
struct torpor_error *torpor_session_exec(struct torpor_session *session,
	const struct torpor_exec *exec, const struct torpor_call *call,
	struct torpor_exec_result *result_out);

struct torpor_ping_report {
	bool agent;		/* qemu-guest-agent answered; false: the helper, for lack of one */
	uint64_t round_trip_ns; /* question to answer */
	uint64_t since_resume_ns; /* the last start, resume or fork entered, to this answer */
};

/* Asks the guest's agent (its helper, where there is none) for a sign of life. 5 s. */
struct torpor_error *torpor_session_ping(struct torpor_session *session,
	const struct torpor_call *call, struct torpor_ping_report *report_out);

/* --- What this host can do ----------------------------------------------------------------- */

enum torpor_health {
	TORPOR_HEALTH_GOOD,
	TORPOR_HEALTH_LESS, /* it works, but slower or with less than it could */
	TORPOR_HEALTH_BAD,  /* something can't work */
};

struct torpor_finding {
	const char *subject; /* "accelerator", "qemu", "io_uring" ... */
	enum torpor_health health;
	const char *text;   /* what was found, for people */
	const char *advice; /* what to do about it; NULL where nothing has to be done */
};

/* FINDING is valid during the call. */
typedef void torpor_finding_fn(void *data, const struct torpor_finding *finding);

/*
 * Looks what this host can do and tells each finding. TEMPLATE_NAME (may be NULL: the first that is
 * stored) is whose kernel the accelerator is proven with; that is done once for each boot of the
 * host and takes up to 10 s. 60 s.
 */
struct torpor_error *torpor_doctor(struct torpor_engine *engine, const char *template_name,
	torpor_finding_fn *tell, void *data, const struct torpor_call *call);

/* --- Images -------------------------------------------------------------------------------- */

struct torpor_image_info {
	char kind[16]; /* "template", "session" (against a template) or "full" (has no base) */
	char template_id[65];
	char uuid[37];
	char *config; /* JSON: guest, session, template; freed with torpor_image_info_deinit */
	uint64_t file_bytes;
	uint64_t device_bytes; /* raw */
	uint64_t memory_bytes; /* all RAM blocks */
	uint64_t pages;
	uint64_t blocks;
};

/* Reads and checks the metadata of the file at PATH. */
struct torpor_error *torpor_image_inspect(
	const char *path, const struct torpor_call *call, struct torpor_image_info *info_out);
void torpor_image_info_deinit(struct torpor_image_info *info);

/* One thing that resuming an image takes. Texts are for people. */
struct torpor_need {
	const char *subject; /* "template", "qemu", "machine", "cpu", "accelerator" */
	char *needed;	     /* "QEMU 7.2.22 or newer" */
	bool met;	     /* by this host */
	char *why_not;	     /* NULL if met */
};
#define TORPOR_NEEDS 5

struct torpor_where {
	bool here;     /* this host can resume it: all needs are met */
	bool portable; /* other hosts can, too: its CPU model is the same on all of them */
	/* What another host must have, for programs. */
	char qemu_version[32];	/* this one or a newer one, of the machine type below */
	char machine_type[256]; /* "microvm" has no versions, and goes to no newer QEMU */
	char accel[8];		/* "kvm" or "tcg"; they don't mix */
	char cpu[256];		/* model, version and feature edits */
	char template_name[65]; /* both empty if it needs none */
	char template_id[65];
	/* The same one by one, and whether this host has it. */
	struct torpor_need needs[TORPOR_NEEDS];
	size_t n_needs;
};

/*
 * Where the image in the file at PATH can be resumed, or used, if it is a template's. This host's
 * QEMU is asked what it can do; it counts whether it can, not which version it is, but that nothing
 * goes from a newer to an older one. Where the accelerator is kvm, the template's kernel is booted
 * once (10 s at most, remembered until the host boots). PATH may also be the name of an image in
 * the state directory. 60 s.
 */
struct torpor_error *torpor_image_where(struct torpor_engine *engine, const char *path,
	const struct torpor_call *call, struct torpor_where *where_out);
void torpor_where_deinit(struct torpor_where *where);

/*
 * Checks every byte of the file; the error names the damaged section. With ENGINE (may be NULL)
 * the pages are also decoded against the template, where it is stored. *DECODED_OUT says which.
 */
struct torpor_error *torpor_image_verify(struct torpor_engine *engine, const char *path,
	const struct torpor_call *call, bool *decoded_out);

/* --- From libvirt and back ----------------------------------------------------------------- */

struct torpor_import_spec {
	const char *connect; /* libvirt's URI; NULL: its default */
	const char *domain;  /* name or UUID of a domain that runs, or is paused */
	const char *name;    /* of the session; NULL: the domain's */
	bool keep;	     /* the domain goes on; else it is ended once the image is durable */
};

struct torpor_import_report {
	uint64_t captured_ns; /* stopped, to all of it read */
	uint64_t durable_ns;  /* stopped, to file and directory synced */
	uint64_t pages;
	uint64_t device_bytes;
	uint64_t image_bytes;
	uint64_t memory_bytes; /* of the guest */
	unsigned int vcpus;
	bool agent;	/* qemu-guest-agent answers in it */
	char note[256]; /* why this host couldn't resume it, or why the domain that was to be kept
			   doesn't go on, for people; or empty */
};

/*
 * Parks a domain of libvirt's that Torpor didn't start: images/NAME holds all of it (kind "full"),
 * and *SESSION_OUT is a handle on that, which needs no template. Until the image is durable a
 * failure leaves the domain as it was. UNSUPPORTED, naming it, if the domain has what an image
 * can't hold: disks, network interfaces, graphics, devices of the host ...; or if this was built
 * without libvirt. 60 s; libvirt's own calls have no bound.
 */
struct torpor_error *torpor_import(struct torpor_engine *engine,
	const struct torpor_import_spec *spec, const struct torpor_call *call,
	struct torpor_import_report *report_out, struct torpor_session **session_out);

/*
 * Writes the image in the file at PATH, or of that name in the state directory, to the new file OUT
 * (EXISTS if it is there) as a save file of libvirt's: `virsh restore OUT` starts it. The image
 * stays. Not for microvm. 60 s.
 */
struct torpor_error *torpor_image_export(struct torpor_engine *engine, const char *path,
	const char *out, const struct torpor_call *call);

/* --- The audit log ------------------------------------------------------------------------- */

struct torpor_audit_report {
	uint64_t entries;
	uint64_t last_seq;
	uint64_t gaps;	      /* places where the log itself says that entries are missing */
	uint64_t lost;	      /* how many those are */
	bool against_records; /* false: torpord runs, or there are no records: a cut isn't seen */
	char first_time[40];
	char last_time[40];
};

/*
 * Reads the audit log that torpord keeps in STATE_DIR (NULL: as for the engine) from the first line
 * to the last. CORRUPT names the first that was changed, removed or moved, or what was cut off.
 */
struct torpor_error *torpor_audit_verify(
	const char *state_dir, struct torpor_audit_report *report_out);

#ifdef __cplusplus
}
#endif

#endif
