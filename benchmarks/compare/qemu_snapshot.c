/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saving by an internal snapshot: savevm and loadvm, as their jobs. The drive is there for the
 * guest's state alone; the guest has no disk.
 */
#include <string.h>

#include "base/mem.h"
#include "benchmarks/compare/qemu.h"

#define NODE	  "vmstate"
#define FILE_NODE "vmstate-file"
#define TAG	  "parked"
#define JOB	  "job"

/* Why the job failed, if it did; the job goes. */
static struct torpor_error *dismiss(
	struct qemu_guest *g, const char *command, const struct tp_call *call)
{
	struct torpor_error *err = NULL;
	json_t *jobs;

	TP_TRY(tp_qmp_execute(g->qmp, "query-jobs", NULL, -1, call, &jobs));
	const char *why = json_string_value(json_object_get(json_array_get(jobs, 0), "error"));
	if (why)
		err = tp_error(TORPOR_E_QEMU, command, g->image, "%s", why);
	json_decref(jobs);
	return tp_error_first(err, qemu_run(g, "job-dismiss", json_pack("{s:s}", "id", JOB), call));
}

/* Runs a job to its end; *AT_OUT (may be NULL) is when that was. Takes ARGS. */
static struct torpor_error *run_job(struct qemu_guest *g, const char *command, json_t *args,
	const struct tp_call *call, uint64_t *at_out)
{
	static const char *const names[] = {"JOB_STATUS_CHANGE", NULL};
	uint64_t at = 0;
	bool over = false;

	json_object_set_new(args, "job-id", json_string(JOB));
	tp_qmp_forget_events(g->qmp, names);
	TP_TRY(qemu_run(g, command, args, call));
	while (!over) {
		TP_QMP_EVENT struct tp_qmp_event event = {0};
		TP_TRY(tp_qmp_wait_event(g->qmp, names, call, &event));
		const char *status = json_string_value(json_object_get(event.data, "status"));
		over = status && strcmp(status, "concluded") == 0;
		at = tp_qmp_event_time(&event);
	}
	TP_TRY(dismiss(g, command, call));
	if (at_out)
		*at_out = at;
	return NULL;
}

/* --- the drive --- */

/* An empty qcow2, made by QEMU itself: qemu-img is another package. */
static struct torpor_error *make_drive(struct qemu_guest *g, const struct tp_call *call)
{
	json_t *file = json_pack("{s:{s:s, s:s, s:i}}", "options", "driver", "file", "filename",
		g->image, "size", 0);
	json_t *format = json_pack(
		"{s:{s:s, s:s, s:i}}", "options", "driver", "qcow2", "file", FILE_NODE, "size", 0);

	struct torpor_error *err = run_job(g, "blockdev-create", file, call, NULL);
	if (!err)
		err = qemu_run(g, "blockdev-add",
			json_pack("{s:s, s:s, s:s}", "driver", "file", "node-name", FILE_NODE,
				"filename", g->image),
			call);
	if (err) {
		json_decref(format);
		return err;
	}
	TP_TRY(run_job(g, "blockdev-create", format, call, NULL));
	return qemu_run(g, "blockdev-add",
		json_pack(
			"{s:s, s:s, s:s}", "driver", "qcow2", "node-name", NODE, "file", FILE_NODE),
		call);
}

static void add_drive(struct qemu_guest *g, struct tp_strv *argv)
{
	tp_strv_add(argv, "-blockdev");
	tp_strv_addf(argv, "driver=qcow2,node-name=" NODE ",file.driver=file,file.filename=%s",
		g->image);
}

/* --- snapshots --- */

static struct torpor_error *save(struct qemu_guest *g, const struct tp_call *call,
	uint64_t *stopped_out, uint64_t *taken_out)
{
	TP_TRY(qemu_stop(g, call, stopped_out));
	return run_job(g, "snapshot-save",
		json_pack("{s:s, s:s, s:[s]}", "tag", TAG, "vmstate", NODE, "devices", NODE), call,
		taken_out);
}

/*
 * Not by -loadvm, which does the same: QMP answers only behind it, and then the time of the
 * process and that of the load can't be told apart.
 */
static struct torpor_error *load(struct qemu_guest *g, const struct tp_call *call)
{
	return run_job(g, "snapshot-load",
		json_pack("{s:s, s:s, s:[s]}", "tag", TAG, "vmstate", NODE, "devices", NODE), call,
		NULL);
}

/* So that the next one takes its clusters. */
static struct torpor_error *forget(struct qemu_guest *g, const struct tp_call *call)
{
	return run_job(g, "snapshot-delete", json_pack("{s:s, s:[s]}", "tag", TAG, "devices", NODE),
		call, NULL);
}

const struct qemu_way qemu_savevm = {
	.ops =
		{
			.name = "qemu-savevm",
			.summary = "QEMU: savevm into a qcow2; a process with loadvm of it",
			.durable = true,
			.frees = true,
			.takes = qemu_takes_small,
			QEMU_PEER_OPS,
		},
	.prepare = make_drive,
	.save = save,
	.add_args = add_drive,
	.load = load,
	.forget = forget,
};
