/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A domain of libvirt's becomes a parked session.
 *
 * What it is, is read off the command line that libvirt would start its QEMU with; then it is taken
 * still, and all of it comes out of QEMU's own migration, through a socket that libvirt hands to
 * QEMU. Until the image is durable every failure lets the domain go on. Only then is it ended,
 * unless it is to be kept.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "engine/domain.h"
#include "engine/foreign.h"
#include "pool/import.h"
#include "pool/machine.h"
#include "pool/session.h"
#include "snapshot/capture.h"

#define FD_NAME	      "torpor-import"
#define BANDWIDTH_MAX (INT64_C(1) << 40)

struct import {
	struct torpor_engine *engine;
	const struct torpor_import_spec *spec;
	const char *hostname; /* or NULL: the session's name */
	tp_import_hook *hook; /* or NULL */
	void *hook_data;
	const struct tp_call *call;
	struct tp_domain *domain;
	struct tp_record record;
	struct torpor_import_report report;
};

/* --- What it is --- */

static struct torpor_error *ask_version(struct import *im)
{
	json_t *reply;
	int major, minor, micro;
	struct torpor_error *err = NULL;

	TP_TRY(tp_domain_execute(im->domain, "query-version", NULL, -1, im->call, &reply));
	if (json_unpack(reply, "{s:{s:i, s:i, s:i}}", "qemu", "major", &major, "minor", &minor,
		    "micro", &micro) < 0)
		err = tp_error(TORPOR_E_QEMU, "query-version", tp_domain_name(im->domain),
			"its reply is malformed");
	else
		im->record.guest.qemu_version = tp_asprintf("%d.%d.%d", major, minor, micro);
	json_decref(reply);
	return err;
}

/* The CPU model by its lasting name. What this host's QEMU would say against it is noted. */
static struct torpor_error *settle_cpu(struct import *im)
{
	struct tp_guest_config *guest = &im->record.guest;
	TP_QEMU_INFO struct tp_qemu_info info = {0};
	TP_MACHINE_FIT struct tp_machine_fit fit = {0};
	char *model;

	TP_TRY(tp_machine_ask(im->engine, NULL, guest->accel, im->call, &info));
	TP_TRY(tp_qemu_cpu_resolve(&info, guest->cpu_model, guest->machine, &model));
	free(guest->cpu_model);
	guest->cpu_model = model;
	tp_machine_look(guest, &info, &fit);
	TP_FREE char *why_not = tp_machine_fit_text(&fit, guest);
	if (why_not)
		snprintf(im->report.note, sizeof(im->report.note), "%s", why_not);
	return NULL;
}

static struct torpor_error *describe_machine(struct import *im)
{
	struct tp_guest_config *guest = &im->record.guest;
	TP_FREE char *command_line = NULL;
	TP_FREE char *xml = NULL;

	TP_TRY(tp_domain_command_line(im->domain, im->call, &command_line));
	TP_TRY(tp_foreign_from_argv(command_line, guest));
	TP_TRY(ask_version(im));
	TP_TRY(settle_cpu(im));
	TP_TRY(tp_domain_xml(im->domain, im->call, &xml));
	if (strlen(xml) > TP_FOREIGN_XML_MAX)
		return tp_error(TORPOR_E_LIMIT, "describe", tp_domain_name(im->domain),
			"its XML has more than %ju bytes", (uintmax_t)TP_FOREIGN_XML_MAX);
	json_object_set_new(guest->foreign, "xml", json_string(xml));
	im->report.memory_bytes = guest->memory_bytes;
	im->report.vcpus = guest->vcpus;
	return tp_guest_config_check(guest);
}

static struct torpor_error *describe_session(struct import *im)
{
	const char *name = im->spec->name ? im->spec->name : tp_domain_name(im->domain);
	struct tp_record *record = &im->record;

	if (!tp_guest_name_ok(name))
		return tp_error_hint(
			tp_error(TORPOR_E_INVALID, "name session", name, "this can't be a name"),
			"Give it another with --name.");
	if (faccessat(im->engine->images_fd, name, F_OK, 0) == 0)
		return tp_error(
			TORPOR_E_EXISTS, "name session", name, "there is an image of that name");
	record->template_name = tp_strdup(TP_NO_TEMPLATE);
	record->is_session = true;
	record->session_name = tp_strdup(name);
	record->hostname = tp_strdup(im->hostname ? im->hostname : name);
	memcpy(record->machine_id, tp_domain_uuid(im->domain), TP_MACHINE_ID_LEN);
	/* Nobody can be asked who doesn't answer now. */
	record->agent = record->guest.channels && tp_domain_agent_answers(im->domain);
	im->report.agent = record->agent;
	return NULL;
}

/* --- Its state --- */

/* Whether a migration is under way, and if not whether the last one completed. */
static struct torpor_error *ask_migration(
	struct import *im, const struct tp_call *call, bool *under_way_out, bool *completed_out)
{
	static const char *const under_way[] = {"setup", "active", "pre-switchover", "device",
		"cancelling", "wait-unplug", "postcopy-active"};
	json_t *info;

	TP_TRY(tp_domain_execute(im->domain, "query-migrate", NULL, -1, call, &info));
	const char *status = json_string_value(json_object_get(info, "status"));
	*under_way_out = false;
	for (size_t i = 0; status && i < TP_ARRAY_LEN(under_way); i++)
		*under_way_out = *under_way_out || strcmp(status, under_way[i]) == 0;
	*completed_out = status && strcmp(status, "completed") == 0;
	json_decref(info);
	return NULL;
}

/* Nothing tells of a migration's end here, but it is due when the stream has ended. */
static struct torpor_error *await_end(
	struct import *im, const struct tp_call *call, bool *completed_out)
{
	bool under_way = true;

	while (under_way)
		TP_TRY(ask_migration(im, call, &under_way, completed_out));
	return NULL;
}

/* Somebody else's would be cancelled with what fails here. */
static struct torpor_error *check_stays(struct import *im)
{
	bool under_way, completed;

	TP_TRY(ask_migration(im, im->call, &under_way, &completed));
	if (under_way)
		return tp_error(TORPOR_E_BUSY, "save the state of", tp_domain_name(im->domain),
			"it is being migrated, or saved");
	return NULL;
}

static struct torpor_error *set_bandwidth(
	struct import *im, json_int_t bandwidth, const struct tp_call *call)
{
	return tp_domain_execute(im->domain, "migrate-set-parameters",
		json_pack("{s:I}", "max-bandwidth", bandwidth), -1, call, NULL);
}

static struct torpor_error *ask_bandwidth(struct import *im, json_int_t *bandwidth_out)
{
	json_t *reply;

	TP_TRY(tp_domain_execute(
		im->domain, "query-migrate-parameters", NULL, -1, im->call, &reply));
	*bandwidth_out = json_integer_value(json_object_get(reply, "max-bandwidth"));
	json_decref(reply);
	return NULL;
}

static struct torpor_error *read_state(
	struct import *im, int fd, struct tp_image_writer *writer, struct tp_capture *capture)
{
	const struct tp_guest_config *guest = &im->record.guest;
	bool completed;

	TP_TRY(tp_capture_whole(fd, tp_foreign_ram_id(guest->foreign), guest->memory_bytes, writer,
		im->call, capture));
	TP_TRY(await_end(im, im->call, &completed));
	if (!completed)
		return tp_error(TORPOR_E_QEMU, "save the state of", tp_domain_name(im->domain),
			"its migration didn't complete");
	return NULL;
}

/* Of the domain, which stands still. Whatever comes of it, no migration is under way afterwards. */
static struct torpor_error *capture(
	struct import *im, struct tp_image_writer *writer, struct tp_capture *capture_out)
{
	struct tp_call soon;
	bool completed;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return tp_error_errno(errno, "make socket pair for", "import");
	TP_FD int ours = pair[0];
	TP_FD int theirs = pair[1];
	TP_TRY(tp_domain_execute(im->domain, "getfd", json_pack("{s:s}", "fdname", FD_NAME), theirs,
		im->call, NULL));
	theirs = tp_close(theirs); /* QEMU has its own: its end is the stream's */
	struct torpor_error *err = tp_domain_execute(im->domain, "migrate",
		json_pack("{s:s}", "uri", "fd:" FD_NAME), -1, im->call, NULL);
	if (!err)
		err = read_state(im, ours, writer, capture_out);
	if (!err)
		return NULL;
	ours = tp_close(ours);
	soon = tp_call_within(CLEANUP_TIMEOUT_NS);
	tp_error_log(tp_domain_execute(im->domain, "migrate_cancel", NULL, -1, &soon, NULL));
	return tp_error_first(err, await_end(im, &soon, &completed));
}

static struct torpor_error *save(struct import *im, struct tp_image_writer *writer)
{
	uint64_t stopped_ns = tp_now_ns();
	TP_CAPTURE struct tp_capture captured = {0};
	struct tp_image_stats stats;

	TP_TRY(capture(im, writer, &captured));
	im->report.captured_ns = tp_now_ns() - stopped_ns;
	TP_TRY(tp_capture_commit_whole(&captured, &im->record, writer, im->call, &stats));
	im->report.durable_ns = tp_now_ns() - stopped_ns;
	im->report.pages = stats.pages_stored;
	im->report.image_bytes = stats.file_bytes;
	im->report.device_bytes = captured.device_len;
	return NULL;
}

/* The bandwidth that somebody has set is theirs again in a domain that goes on. */
static struct torpor_error *save_unhurried(struct import *im, struct tp_image_writer *writer)
{
	struct tp_call soon = tp_call_within(CLEANUP_TIMEOUT_NS);
	json_int_t before;

	TP_TRY(ask_bandwidth(im, &before));
	TP_TRY(set_bandwidth(im, BANDWIDTH_MAX, im->call));
	struct torpor_error *err = save(im, writer);
	soon = tp_call_within(CLEANUP_TIMEOUT_NS);
	return tp_error_first(err, set_bandwidth(im, before, &soon));
}

/* --- All of it --- */

/* The image is durable; who doesn't want it may still say so. */
static struct torpor_error *tell(struct import *im)
{
	struct torpor_error *err = im->hook ? im->hook(im->hook_data, &im->report) : NULL;

	if (err && unlinkat(im->engine->images_fd, im->record.session_name, 0) < 0)
		tp_error_log(tp_error_errno(errno, "remove image", im->record.session_name));
	return err;
}

static struct torpor_error *park(struct import *im)
{
	struct torpor_engine *engine = im->engine;
	TP_CLEANUP(tp_image_writer_free) struct tp_image_writer *writer = NULL;
	struct tp_image_writer_options options = {
		.dirfd = engine->images_fd,
		.name = im->record.session_name,
		.base_fd = -1,
		.workers = engine->workers,
		.staging = engine->staging,
		.level = engine->zstd_level,
		/* Who imports under the same name meanwhile has no domain any more either. */
		.only_new = true,
	};
	bool was_running;

	TP_TRY(tp_image_writer_new(&options, im->call, &writer));
	TP_TRY(tp_domain_suspend(im->domain, im->call, &was_running));
	struct torpor_error *err = save_unhurried(im, writer);
	if (!err)
		err = tell(im);
	if (!err && !im->spec->keep) {
		/* There is a durable image: a domain that can't be ended is no reason to lose it.
		 */
		tp_error_log(tp_domain_destroy(im->domain));
		return NULL;
	}
	struct torpor_error *stuck = was_running ? tp_domain_resume(im->domain) : NULL;
	if (err)
		return tp_error_first(err, stuck);
	/* The same goes for one that can't go on. */
	if (stuck)
		snprintf(im->report.note, sizeof(im->report.note), "the domain doesn't go on: %s",
			torpor_error_message(stuck));
	torpor_error_free(stuck);
	return NULL;
}

static struct torpor_error *import(struct import *im)
{
	TP_TRY(tp_domain_open(im->spec->connect, im->spec->domain, im->call, &im->domain));
	TP_TRY(describe_machine(im));
	TP_TRY(describe_session(im));
	TP_TRY(check_stays(im));
	return park(im);
}

struct torpor_error *tp_import(struct torpor_engine *engine, const struct torpor_import_spec *spec,
	const char *hostname, tp_import_hook *hook, void *data, const struct tp_call *call,
	struct torpor_import_report *report_out, char **name_out)
{
	struct import im = {
		.engine = engine,
		.spec = spec,
		.hostname = hostname,
		.hook = hook,
		.hook_data = data,
		.call = call,
	};
	struct torpor_error *err = import(&im);

	TP_FREE char *name = tp_strdup(im.record.session_name);
	tp_domain_close(im.domain);
	tp_record_deinit(&im.record);
	if (err)
		return tp_error_in(err, "import domain", spec->domain);
	*report_out = im.report;
	*name_out = TP_TAKE(name);
	return NULL;
}

struct torpor_error *torpor_import(struct torpor_engine *engine,
	const struct torpor_import_spec *spec, const struct torpor_call *public_call,
	struct torpor_import_report *report_out, struct torpor_session **session_out)
{
	struct tp_call call = tp_call_from(public_call, PARK_TIMEOUT_NS);
	struct torpor_import_report report;
	TP_FREE char *name = NULL;

	TP_TRY(tp_import(engine, spec, NULL, NULL, NULL, &call, &report, &name));
	TP_TRY(torpor_session_open(engine, name, NULL, public_call, session_out));
	if (report_out)
		*report_out = report;
	return NULL;
}
