/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions as docs/API.md shows them. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "service/service_priv.h"

/* --- Small things --- */

json_t *tp_time_json(uint64_t realtime_ns)
{
	time_t seconds = (time_t)(realtime_ns / TP_NSEC_PER_SEC);
	struct tm tm;
	char date[32];

	if (realtime_ns == 0 || !gmtime_r(&seconds, &tm))
		return json_null();
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	return json_sprintf(
		"%s.%03uZ", date, (unsigned int)(realtime_ns % TP_NSEC_PER_SEC / TP_NSEC_PER_MSEC));
}

json_t *tp_ms_json(uint64_t duration_ns)
{
	return json_real((double)(duration_ns / TP_NSEC_PER_USEC) / 1000);
}

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

json_t *tp_fresh_json(uint32_t fresh)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} names[] = {
		{TORPOR_FRESH_CLOCK, "clock"},
		{TORPOR_FRESH_RANDOM, "random"},
		{TORPOR_FRESH_HOSTNAME, "hostname"},
		{TORPOR_FRESH_MACHINE_ID, "machine-id"},
	};
	json_t *list = json_array();

	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++) {
		if (fresh & names[i].bit)
			json_array_append_new(list, json_string(names[i].name));
	}
	return list;
}

json_t *tp_resume_timing(const struct torpor_resume_report *report, uint64_t total_ns)
{
	json_t *timing = json_object();

	json_object_set_new(timing, "source", json_string(torpor_source_name(report->source)));
	json_object_set_new(timing, "loaded_ms", tp_ms_json(report->loaded_ns));
	json_object_set_new(timing, "running_ms", tp_ms_json(report->running_ns));
	json_object_set_new(timing, "ready_ms", tp_ms_json(report->ready_ns));
	json_object_set_new(timing, "total_ms", tp_ms_json(total_ns));
	return timing;
}

/* Only where there is something to say. */
static void put_note(json_t *timing, const struct torpor_park_report *report)
{
	if (*report->note)
		json_object_set_new(timing, "note", json_string(report->note));
}

json_t *tp_park_timing(const struct torpor_park_report *report, uint64_t total_ns)
{
	json_t *timing = json_object();

	json_object_set_new(timing, "captured_ms", tp_ms_json(report->captured_ns));
	json_object_set_new(timing, "durable_ms", tp_ms_json(report->durable_ns));
	json_object_set_new(timing, "gone_ms", tp_ms_json(report->gone_ns));
	json_object_set_new(timing, "total_ms", tp_ms_json(total_ns));
	json_object_set_new(timing, "pages", number(report->pages));
	json_object_set_new(timing, "image_bytes", number(report->image_bytes));
	put_note(timing, report);
	return timing;
}

json_t *tp_checkpoint_timing(const struct torpor_park_report *report, uint64_t total_ns)
{
	json_t *timing = json_object();

	json_object_set_new(timing, "captured_ms", tp_ms_json(report->captured_ns));
	json_object_set_new(timing, "pause_ms", tp_ms_json(report->pause_ns));
	json_object_set_new(timing, "durable_ms", tp_ms_json(report->durable_ns));
	json_object_set_new(timing, "total_ms", tp_ms_json(total_ns));
	json_object_set_new(timing, "pages", number(report->pages));
	json_object_set_new(timing, "image_bytes", number(report->image_bytes));
	put_note(timing, report);
	return timing;
}

/* --- What a live session adds to its row --- */

struct facts {
	enum tp_state state;
	uint64_t active_ns;
	uint64_t started_ns; /* 0 without a process */
	unsigned int execs;
	bool process;
	struct torpor_session_info info; /* with a process; private_bytes only in full */
};

static struct facts facts_of_row(const struct tp_session_row *row)
{
	struct facts facts = {.state = TP_STATE_ERROR, .active_ns = row->active_ns};

	if (!tp_state_parse(row->state, &facts.state))
		facts.state = TP_STATE_ERROR;
	return facts;
}

/* Under the lock. */
static struct facts facts_of_live(const struct tp_live *live)
{
	struct facts facts = {
		.state = live->state,
		.active_ns = live->active_ns,
		.started_ns = live->core ? live->started_ns : 0,
		.execs = live->execs,
		.process = live->core,
	};

	if (live->core) {
		pthread_mutex_lock(&live->core->info_lock);
		facts.info = live->core->info;
		pthread_mutex_unlock(&live->core->info_lock);
	}
	return facts;
}

/* --- Figures of the process --- */

/* Processor time and resident memory, from /proc/PID/stat (proc(5)); zeros if it is gone. */
static void read_process(int pid, uint64_t *cpu_ms_out, uint64_t *resident_out)
{
	TP_FREE char *path = tp_asprintf("/proc/%d/stat", pid);
	TP_FREE char *text = NULL;
	size_t len;
	uint64_t user;
	uint64_t system;
	int64_t pages;

	*cpu_ms_out = 0;
	*resident_out = 0;
	struct torpor_error *err = tp_read_file(AT_FDCWD, path, 4 * TP_KIB, &text, &len);
	if (err) {
		torpor_error_free(err);
		return;
	}
	/* The name, in parentheses, may hold anything. Behind it, from field 3: state ... */
	const char *rest = strrchr(text, ')');
	if (!rest ||
		sscanf(rest,
			") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ju %ju %*d %*d %*d %*d "
			"%*d %*d %*u %*u %jd",
			&user, &system, &pages) != 3)
		return;
	*cpu_ms_out = (user + system) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
	*resident_out = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static json_t *view_guest(
	const struct tp_session_row *row, const struct facts *facts, const json_t *info, bool full)
{
	uint64_t cpu_ms;
	uint64_t resident;

	if (!facts->process)
		return json_null();
	json_t *guest = json_object();
	json_object_set_new(guest, "memory_bytes", number(row->memory_bytes));
	json_object_set(guest, "vcpus", json_object_get(info, "vcpus"));
	json_object_set_new(guest, "reboots", json_integer(facts->info.reboots));
	json_object_set_new(guest, "since",
		tp_time_json((uint64_t)json_integer_value(json_object_get(info, "since_ns"))));
	if (full) {
		read_process(facts->info.pid, &cpu_ms, &resident);
		json_object_set_new(guest, "resident_bytes", number(resident));
		json_object_set_new(guest, "private_bytes", number(facts->info.private_bytes));
		json_object_set_new(guest, "cpu_ms", number(cpu_ms));
	}
	return guest;
}

/* --- The parts --- */

/* FROM_NS and SECONDS later; null for never. */
static json_t *later(uint64_t from_ns, int64_t seconds)
{
	if (seconds <= 0)
		return json_null();
	return tp_time_json(from_ns + (uint64_t)seconds * TP_NSEC_PER_SEC);
}

static json_t *view_timers(
	struct tp_service *service, const struct tp_session_row *row, const struct facts *facts)
{
	struct tp_timers timers = tp_timers_of(service, row);
	bool idle = facts->state == TP_STATE_RUNNING && facts->execs == 0;
	bool kept = facts->state == TP_STATE_PARKED || facts->state == TP_STATE_ERROR;
	json_t *view = json_object();

	json_object_set_new(view, "ttl_s", json_integer(timers.ttl_s));
	json_object_set_new(view, "idle_s", json_integer(timers.idle_s));
	json_object_set_new(view, "retention_s", json_integer(timers.retention_s));
	json_object_set_new(view, "expires",
		facts->started_ns ? later(facts->started_ns, timers.ttl_s) : json_null());
	json_object_set_new(
		view, "parks_at", idle ? later(facts->active_ns, timers.idle_s) : json_null());
	json_object_set_new(view, "removed_at",
		kept ? later(row->changed_ns, timers.retention_s) : json_null());
	return view;
}

static json_t *view_limits(const struct tp_session_row *row)
{
	static const char *const keys[] = {
		"cpus", "memory_bytes", "pids", "nofile", "io_bytes_per_s", "net_bytes_per_s"};
	TP_JSON json_t *limits = tp_row_json(row->limits);
	json_t *view = json_object();

	for (size_t i = 0; i < TP_ARRAY_LEN(keys); i++)
		json_object_set_new(view, keys[i], json_null());
	json_object_set_new(view, "unenforced", json_array());
	json_object_update(view, limits);
	return view;
}

static json_t *view_image(const struct tp_session_row *row, const json_t *info)
{
	if (!row->park_uuid)
		return json_null();
	json_t *image = json_object();
	json_object_set_new(image, "bytes", number(row->park_bytes));
	json_object_set_new(image, "created",
		tp_time_json((uint64_t)json_integer_value(json_object_get(info, "parked_ns"))));
	json_object_set_new(image, "kind", json_string("park"));
	return image;
}

static json_t *info_or(const json_t *info, const char *key, json_t *otherwise)
{
	json_t *value = json_object_get(info, key);

	if (!value)
		return otherwise;
	json_decref(otherwise);
	return json_incref(value);
}

static json_t *view_of(struct tp_service *service, const struct tp_session_row *row,
	const struct facts *facts, bool full)
{
	TP_JSON json_t *info = tp_row_json(row->info);
	json_t *view = json_object();

	json_object_set_new(view, "id", json_string(row->id));
	json_object_set_new(view, "name", text_or_null(row->name));
	json_object_set_new(view, "tenant", json_string(row->tenant));
	json_object_set_new(view, "template", text_or_null(row->template_name));
	json_object_set_new(view, "template_id", text_or_null(row->template_id));
	json_object_set_new(view, "state", json_string(tp_state_name(facts->state)));
	json_object_set_new(view, "reason", text_or_null(row->reason));
	json_object_set_new(view, "created", tp_time_json(row->created_ns));
	json_object_set_new(view, "changed", tp_time_json(row->changed_ns));
	json_object_set_new(view, "last_active", tp_time_json(facts->active_ns));
	json_object_set_new(view, "timers", view_timers(service, row, facts));
	json_object_set_new(view, "limits", view_limits(row));
	json_object_set_new(view, "labels", tp_row_json(row->labels));
	json_object_set_new(view, "env", tp_row_json(row->env));
	json_object_set_new(view, "source", info_or(info, "source", json_null()));
	json_object_set_new(view, "fresh", info_or(info, "fresh", json_array()));
	json_object_set_new(view, "guest", view_guest(row, facts, info, full));
	json_object_set_new(view, "image", view_image(row, info));
	json_object_set_new(view, "forked_from", text_or_null(row->forked_from));
	json_object_set_new(view, "restores", json_integer(row->restores));
	return view;
}

/* --- The whole --- */

/* The kernel sums up private memory page by page: not under the lock. */
static void measure_memory(struct tp_service *service, struct tp_live *live, struct facts *facts)
{
	pthread_mutex_lock(&service->lock);
	struct torpor_session *core = live->core;
	if (core)
		live->uses++;
	pthread_mutex_unlock(&service->lock);
	if (!core)
		return;
	torpor_error_free(torpor_session_info(core, &facts->info));
	tp_live_unuse(service, live);
}

json_t *tp_session_view(struct tp_service *service, const struct tp_session_row *row,
	struct tp_live *live, bool full)
{
	struct facts facts = facts_of_row(row);

	if (live) {
		pthread_mutex_lock(&service->lock);
		facts = facts_of_live(live);
		pthread_mutex_unlock(&service->lock);
		if (full && facts.process)
			measure_memory(service, live, &facts);
	}
	return view_of(service, row, &facts, full);
}

json_t *tp_live_view(struct tp_service *service, struct tp_live *live, bool full)
{
	TP_ROW struct tp_session_row row = {0};

	tp_live_copy_row(service, live, &row);
	if (!row.id) {
		/* Its maker hasn't described it yet. */
		row.id = tp_strdup(live->id);
		row.tenant = tp_strdup(live->tenant);
		row.created_ns = live->created_ns;
		row.ttl_s = row.idle_s = row.retention_s = TP_UNSET;
	}
	return tp_session_view(service, &row, live, full);
}
