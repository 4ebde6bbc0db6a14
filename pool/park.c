/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Park, checkpoint, resume.
 *
 * Until an image is durable a park can be taken back: whatever fails ends in go_on(), and the
 * guest goes on as if nothing had been asked, with its clock set right. One that was paused stands
 * still as before.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/probe.h"
#include "engine/control.h"
#include "engine/launcher.h"
#include "pool/session.h"
#include "pool/watch.h"
#include "pool/where.h"
#include "snapshot/restore.h"

/* Beside the pages: metadata and compressed device state. */
#define RESERVE_EXTRA (256 * TP_KIB)

/* Of staging to touch ahead; beyond it the workers give buffers back while copying goes on. */
#define WARM_MAX (64 * TP_MIB)

/* --- Into an image --- */

static struct torpor_error *new_writer(struct torpor_session *session, const char *image_name,
	uint64_t pages, const struct tp_call *call, struct tp_image_writer **writer_out)
{
	const struct tp_base *base = session->memory.base;
	struct torpor_engine *engine = session->engine;
	struct tp_image_writer_options options = {
		.dirfd = engine->images_fd,
		.name = image_name,
		.base_fd = base ? base->fd : -1,
		.device_prefix = base ? base->device : NULL,
		.device_prefix_len = base ? base->device_len : 0,
		.workers = engine->workers,
		.staging = engine->staging,
		.level = engine->zstd_level,
		/* What the scan found is an upper bound: compression only makes it less. */
		.reserve_bytes = base ? pages * TP_PAGE_SIZE + RESERVE_EXTRA : RESERVE_EXTRA,
	};

	struct torpor_error *err = tp_image_writer_new(&options, call, writer_out);
	if (err && torpor_error_code(err) == TORPOR_E_NOSPACE)
		return tp_error_hint(
			err, "The guest runs on. Free disk space under %s.", engine->state_dir);
	return err;
}

struct torpor_error *tp_session_let_run(
	struct torpor_session *session, const struct tp_call *call, uint64_t *resumed_ns_out)
{
	uint32_t steps = TP_WAKE_STEPS | session->owed;
	uint32_t fresh;
	int64_t clock_error;

	TP_TRY(tp_session_send_fresh(session, steps, call));
	TP_TRY(tp_guest_cont(session->guest, call, resumed_ns_out));
	TP_TRY(tp_session_wait_fresh(session, steps, call, &fresh, &clock_error));
	session->owed = 0;
	return NULL;
}

/* Makes the guest go on as it did before, whatever state capture left it in. */
static struct torpor_error *go_on(struct torpor_session *session, uint64_t *resumed_ns_out)
{
	/* As patient as with one that is resumed: a busy host's guest answers late. */
	struct tp_call call = tp_call_within(RESUME_TIMEOUT_NS);

	if (tp_session_state(session) == TORPOR_SESSION_PAUSED)
		return NULL;
	return tp_session_let_run(session, &call, resumed_ns_out);
}

/* ERR ended a park or checkpoint; the guest, which may stand still, goes on. */
static struct torpor_error *take_back(struct torpor_session *session, struct torpor_error *err)
{
	return tp_error_first(err, go_on(session, NULL));
}

static void report_capture(
	const struct tp_capture *capture, uint64_t staging_bytes, struct torpor_park_report *report)
{
	report->captured_ns = capture->captured_ns - capture->stop_ns;
	report->pages_scanned = capture->pages_scanned;
	report->device_bytes = capture->device_len;
	report->staged = capture->pages_scanned * TP_PAGE_SIZE <= staging_bytes;
	report->path = (enum torpor_path)capture->path;
	report->scan = (enum torpor_scan)capture->scan;
}

static struct torpor_error *commit(struct torpor_session *session, const struct tp_capture *capture,
	struct tp_image_writer *writer, const struct tp_call *call,
	struct torpor_park_report *report)
{
	struct tp_image_stats stats;

	TP_TRY(tp_capture_commit(capture, &session->memory, session->tmpl->base->id,
		&session->record, writer, call, &stats));
	report->durable_ns = tp_now_ns() - capture->stop_ns;
	/* What a large delta needed isn't kept for the next one. */
	if (capture->pages_scanned * TP_PAGE_SIZE > WARM_MAX)
		tp_staging_trim(session->engine->staging, WARM_MAX);
	report->pages = stats.pages_stored;
	report->image_bytes = stats.file_bytes;
	return NULL;
}

struct torpor_error *tp_session_save(struct torpor_session *session, const char *image_name,
	bool checkpoint, const struct tp_call *call, uint64_t *stop_ns_out,
	struct torpor_park_report *report)
{
	struct torpor_engine *engine = session->engine;
	TP_CLEANUP(tp_image_writer_free) struct tp_image_writer *writer = NULL;
	TP_CAPTURE struct tp_capture capture = {0};
	enum tp_path path;
	uint64_t pages;

	TP_PROBE3(save__begin, image_name, session->name, tp_guest_name(session->guest));
	struct torpor_error *err = tp_capture_prepare(
		session->guest, &session->memory, &engine->capture, call, &path, &pages);
	if (err)
		return tp_guest_explain(session->guest, err, "look into", call);
	TP_PROBE3(save__prepared, image_name, path, pages);
	TP_TRY(new_writer(session, image_name, pages, call, &writer));
	/* Page faults in staging would be part of the standstill. */
	tp_staging_warm(engine->staging, TP_MIN(pages * TP_PAGE_SIZE, WARM_MAX));
	TP_PROBE1(save__reserved, image_name);
	enum tp_scan_method scan = engine->capture.scan;
	if (scan == TP_SCAN_AUTO)
		scan = tp_procmem_scan_method();
	err = tp_capture_run(session->guest, &session->memory, path, scan, writer, call, &capture);
	if (err) {
		err = tp_guest_explain(session->guest, err, "capture", call);
		return take_back(session, err);
	}
	report_capture(&capture, tp_staging_usage(engine->staging).limit_bytes, report);
	*stop_ns_out = capture.stop_ns;

	if (checkpoint) {
		uint64_t resumed_ns = capture.stop_ns; /* as it stays in a paused one */
		TP_TRY(go_on(session, &resumed_ns));
		TP_PROBE2(save__running, image_name, resumed_ns);
		report->pause_ns = resumed_ns - capture.stop_ns;
		return commit(session, &capture, writer, call, report);
	}
	err = commit(session, &capture, writer, call, report);
	return err ? take_back(session, err) : NULL;
}

void tp_session_show_image(struct torpor_session *session)
{
	char *path = session->info.image_path;
	size_t room = sizeof(session->info.image_path);

	pthread_mutex_lock(&session->info_lock);
	if (session->image_path)
		snprintf(path, room, "%s", session->image_path);
	else
		snprintf(path, room, "%s/images/%s", session->engine->state_dir,
			session->image_name);
	pthread_mutex_unlock(&session->info_lock);
}

/*
 * A park that is taken back when its image is durable already. An older image that it replaced
 * isn't missed: this one is as valid, and newer. Where there was none, none is to be found
 * afterwards.
 */
static struct torpor_error *forget_image(
	struct torpor_session *session, const char *name, struct torpor_error *err)
{
	bool had_one = session->image_name && strcmp(session->image_name, name) == 0;

	if (!had_one && unlinkat(session->engine->images_fd, name, 0) < 0)
		tp_error_log(tp_error_errno(errno, "remove image", name));
	return take_back(session, err);
}

/* Says so where the image will be of less use than its owner may think. */
static void foresee(struct torpor_session *session, const struct tp_call *call,
	struct torpor_park_report *report)
{
	TP_FREE char *doubt = tp_template_doubt(session->tmpl, call);

	if (!doubt)
		return;
	snprintf(report->note, sizeof(report->note), "%s", doubt);
	tp_log(TP_LOG_WARNING, "park session %s: %s", session->name, doubt);
}

static struct torpor_error *park(struct torpor_session *session,
	const struct tp_session_hooks *hooks, const struct tp_call *call,
	struct torpor_park_report *report)
{
	const char *name = session->name;
	uint64_t stop_ns;

	TP_TRY(tp_session_require_guest(session, "park"));
	foresee(session, call, report);
	TP_TRY(tp_session_save(session, name, false, call, &stop_ns, report));
	if (hooks && hooks->on_durable) {
		struct torpor_error *err = hooks->on_durable(hooks->data, session);
		if (err)
			return forget_image(session, name, err);
		TP_PROBE1(park__recorded, name);
	}

	/* Durable: now, and only now, the process may go. There is no way back, so CALL is over. */
	free(session->image_name);
	free(session->image_path);
	session->image_name = tp_strdup(name);
	session->image_path = NULL;
	tp_session_show_image(session);
	tp_session_tell_end(session, TORPOR_E_BUSY,
		"the session was parked; if the command had begun, it sleeps in it, and runs on "
		"unheard once that is resumed");
	struct tp_call soon = tp_call_within(CLEANUP_TIMEOUT_NS);
	tp_error_log(tp_session_end_guest(session, &soon));
	TP_PROBE1(park__gone, name);
	report->gone_ns = tp_now_ns() - stop_ns;
	tp_session_set_state(session, TORPOR_SESSION_PARKED);
	return NULL;
}

struct torpor_error *tp_session_park_hooked(struct torpor_session *session,
	const struct tp_session_hooks *hooks, const struct torpor_call *public_call,
	struct torpor_park_report *report_out)
{
	struct tp_call call = tp_call_from(public_call, PARK_TIMEOUT_NS);
	struct torpor_park_report report = {0};

	TP_TRY(tp_session_enter(session, true, &call));
	TP_PROBE1(park__begin, session->name);
	struct torpor_error *err = park(session, hooks, &call, &report);
	TP_PROBE2(park__end, session->name, err != NULL);
	tp_session_leave(session);
	if (err)
		return tp_error_in(err, "park session", session->name);
	if (report_out)
		*report_out = report;
	return NULL;
}

struct torpor_error *torpor_session_park(struct torpor_session *session,
	const struct torpor_call *call, struct torpor_park_report *report_out)
{
	return tp_session_park_hooked(session, NULL, call, report_out);
}

struct torpor_error *torpor_session_checkpoint(struct torpor_session *session,
	const char *image_name, const struct torpor_call *public_call,
	struct torpor_park_report *report_out)
{
	struct tp_call call = tp_call_from(public_call, PARK_TIMEOUT_NS);
	struct torpor_park_report report = {0};
	uint64_t stop_ns;

	if (!image_name || !tp_guest_name_ok(image_name))
		return tp_error(TORPOR_E_INVALID, "checkpoint to", image_name,
			"this can't be an image's name");
	TP_TRY(tp_session_enter(session, true, &call));
	TP_PROBE2(checkpoint__begin, session->name, image_name);
	foresee(session, &call, &report);
	struct torpor_error *err = tp_session_require_guest(session, "checkpoint");
	if (!err)
		err = tp_session_save(session, image_name, true, &call, &stop_ns, &report);
	TP_PROBE3(checkpoint__end, session->name, err != NULL, image_name);
	tp_session_leave(session);
	if (err)
		return tp_error_in(err, "checkpoint session", session->name);
	if (report_out)
		*report_out = report;
	return NULL;
}

/* --- Out of an image --- */

struct torpor_error *tp_session_open_image(
	struct torpor_session *session, const struct tp_call *call, struct tp_image **image_out)
{
	if (session->image_path)
		return tp_image_open(AT_FDCWD, session->image_path, call, image_out);
	return tp_image_open(session->engine->images_fd, session->image_name, call, image_out);
}

struct torpor_error *tp_session_read_record(
	const struct torpor_session *session, const struct tp_image *image, struct tp_record *out)
{
	const char *name = session->name;

	TP_TRY(tp_record_parse(tp_image_meta(image)->config, name, out));
	if (!out->is_session)
		return tp_error(TORPOR_E_MISMATCH, "read image of session", name,
			"it is a %s image", tp_image_kind_name(tp_image_meta(image)->kind));
	free(out->session_name);
	out->session_name = tp_strdup(name);
	return NULL;
}

static struct torpor_error *resume(struct torpor_session *session,
	const struct tp_session_hooks *hooks, uint64_t entered_ns, const struct tp_call *call,
	struct torpor_resume_report *report)
{
	TP_CLEANUP(tp_image_close) struct tp_image *image = NULL;
	TP_RECORD struct tp_record record = {0};

	TP_TRY(tp_session_require(session, TORPOR_SESSION_PARKED, "resume"));
	TP_TRY(tp_session_open_image(session, call, &image));
	TP_TRY(tp_session_read_record(session, image, &record));
	TP_PROBE2(resume__opened, session->name, tp_image_file_bytes(image));
	tp_record_deinit(&session->record);
	session->record = record;
	record = (struct tp_record){0};
	return tp_session_wake(session, image, TP_WAKE_STEPS, hooks, entered_ns, call, report);
}

struct torpor_error *tp_session_resume_hooked(struct torpor_session *session,
	const struct tp_session_hooks *hooks, const struct torpor_call *public_call,
	struct torpor_resume_report *report_out)
{
	uint64_t entered_ns = tp_now_ns();
	struct tp_call call = tp_call_from(public_call, RESUME_TIMEOUT_NS);
	struct torpor_resume_report report = {0};

	TP_TRY(tp_session_enter(session, false, &call));
	TP_PROBE2(resume__begin, session->name, entered_ns);
	struct torpor_error *err = resume(session, hooks, entered_ns, &call, &report);
	TP_PROBE2(resume__end, session->name, err != NULL);
	tp_session_leave(session);
	if (err)
		return tp_error_in(err, "resume session", session->name);
	if (report_out)
		*report_out = report;
	return NULL;
}

struct torpor_error *torpor_session_resume(struct torpor_session *session,
	const struct torpor_call *call, struct torpor_resume_report *report_out)
{
	return tp_session_resume_hooked(session, NULL, call, report_out);
}
