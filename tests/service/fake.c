/* SPDX-License-Identifier: Apache-2.0 */
/* The world of the tests. */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "pool/import.h"

struct fake fake;

/* --- Records --- */

struct tp_change {
	struct tp_session_row put_sessions[128];
	size_t n_sessions;
	struct tp_image_row put_images[128];
	size_t n_images;
	char *removed_sessions[128];
	size_t n_removed;
	struct {
		char *id, *info;
	} notes[128];
	size_t n_notes;
	char *removed_images[128];
	size_t n_removed_images;
	struct tp_repeat_row repeat;
};

struct tp_commit {
	struct torpor_error *err;
};

static struct tp_session_row sessions[2048];
static size_t n_sessions;
static struct tp_image_row images[256];
static size_t n_images;
static char dir[64];

void tp_session_row_deinit(struct tp_session_row *row)
{
	free(row->id);
	free(row->tenant);
	free(row->name);
	free(row->template_name);
	free(row->template_id);
	free(row->state);
	free(row->reason);
	free(row->handover);
	free(row->labels);
	free(row->env);
	free(row->limits);
	free(row->info);
	free(row->forked_from);
	free(row->park_uuid);
	*row = (struct tp_session_row){0};
}

void tp_image_row_deinit(struct tp_image_row *row)
{
	free(row->name);
	free(row->session);
	free(row->tenant);
	free(row->kind);
	free(row->label);
	free(row->parent);
	free(row->template_id);
	*row = (struct tp_image_row){0};
}

static struct tp_image_row copy_image(const struct tp_image_row *row)
{
	return (struct tp_image_row){
		.name = tp_strdup(row->name),
		.session = tp_strdup(row->session),
		.tenant = tp_strdup(row->tenant),
		.kind = tp_strdup(row->kind),
		.label = tp_strdup(row->label),
		.parent = tp_strdup(row->parent),
		.template_id = tp_strdup(row->template_id),
		.bytes = row->bytes,
		.created_ns = row->created_ns,
	};
}

struct tp_change *tp_change_new(void)
{
	return tp_calloc(1, sizeof(struct tp_change));
}

struct tp_change *tp_change_free(struct tp_change *change)
{
	for (size_t i = 0; i < change->n_sessions; i++)
		tp_session_row_deinit(&change->put_sessions[i]);
	for (size_t i = 0; i < change->n_images; i++)
		tp_image_row_deinit(&change->put_images[i]);
	for (size_t i = 0; i < change->n_removed; i++)
		free(change->removed_sessions[i]);
	for (size_t i = 0; i < change->n_removed_images; i++)
		free(change->removed_images[i]);
	for (size_t i = 0; i < change->n_notes; i++) {
		free(change->notes[i].id);
		free(change->notes[i].info);
	}
	free(change->repeat.result);
	free(change);
	return NULL;
}

void tp_change_put_session(struct tp_change *change, const struct tp_session_row *row)
{
	assert(row->labels && row->env && row->limits && row->info && row->name);
	tp_session_row_copy(row, &change->put_sessions[change->n_sessions++]);
}

void tp_change_note_session(struct tp_change *change, const char *id, const char *info)
{
	change->notes[change->n_notes].id = tp_strdup(id);
	change->notes[change->n_notes++].info = tp_strdup(info);
}

void tp_change_put_image(struct tp_change *change, const struct tp_image_row *row)
{
	change->put_images[change->n_images++] = copy_image(row);
}

void tp_change_remove_session(struct tp_change *change, const char *id)
{
	change->removed_sessions[change->n_removed++] = tp_strdup(id);
}

void tp_change_remove_image(struct tp_change *change, const char *name)
{
	change->removed_images[change->n_removed_images++] = tp_strdup(name);
}

void tp_change_put_repeat(struct tp_change *change, const struct tp_repeat_row *row)
{
	change->repeat = *row;
	change->repeat.result = tp_strdup(row->result);
}

void tp_change_audit_head(struct tp_change *change, uint64_t seq, const uint8_t hash[TP_HASH_LEN])
{
	(void)change;
	(void)seq;
	(void)hash;
}

static struct tp_session_row *find_session(const char *id)
{
	for (size_t i = 0; i < n_sessions; i++) {
		if (strcmp(sessions[i].id, id) == 0)
			return &sessions[i];
	}
	return NULL;
}

static void drop_image(size_t i)
{
	tp_image_row_deinit(&images[i]);
	images[i] = images[--n_images];
}

static void drop_session(const char *id)
{
	struct tp_session_row *row = find_session(id);

	if (!row)
		return;
	for (size_t i = n_images; i-- > 0;) {
		if (strcmp(images[i].session, id) == 0)
			drop_image(i);
	}
	tp_session_row_deinit(row);
	memmove(row, row + 1, (size_t)(&sessions[--n_sessions] - row) * sizeof(*row));
}

static void put_session(const struct tp_session_row *row)
{
	struct tp_session_row *at = find_session(row->id);

	if (at)
		tp_session_row_deinit(at);
	else
		at = &sessions[n_sessions++];
	tp_session_row_copy(row, at);
}

static void put_image(const struct tp_image_row *row)
{
	assert(find_session(row->session));
	for (size_t i = n_images; i-- > 0;) {
		if (strcmp(images[i].name, row->name) == 0)
			drop_image(i);
	}
	images[n_images++] = copy_image(row);
}

static struct torpor_error *check_name(const struct tp_session_row *row)
{
	for (size_t i = 0; i < n_sessions; i++) {
		if (strcmp(sessions[i].id, row->id) != 0 &&
			strcmp(sessions[i].tenant, row->tenant) == 0 &&
			strcmp(sessions[i].name, row->name) == 0)
			return tp_error(TORPOR_E_EXISTS, "record", row->id, "that name is taken");
	}
	return NULL;
}

/* A change of nothing else is no commit, and doesn't fail. */
static bool apply_notes(struct tp_change *change)
{
	for (size_t i = 0; i < change->n_notes; i++) {
		struct tp_session_row *row = find_session(change->notes[i].id);
		if (row && !fake.lose_notes)
			tp_row_set(&row->info, change->notes[i].info);
	}
	fake.notes += change->n_notes > 0;
	return change->n_notes > 0;
}

static struct torpor_error *apply(struct tp_change *change)
{
	struct torpor_error *err = NULL;

	if (apply_notes(change))
		return NULL;
	if (fake.fail_commits > 0) {
		fake.fail_commits--;
		return tp_error(TORPOR_E_IO, "commit", NULL, "as ordered");
	}
	for (size_t i = 0; i < change->n_sessions && !err; i++)
		err = check_name(&change->put_sessions[i]);
	if (err)
		return err;
	for (size_t i = 0; i < change->n_sessions; i++)
		put_session(&change->put_sessions[i]);
	for (size_t i = 0; i < change->n_removed; i++)
		drop_session(change->removed_sessions[i]);
	for (size_t i = 0; i < change->n_images; i++)
		put_image(&change->put_images[i]);
	for (size_t i = 0; i < change->n_removed_images; i++) {
		for (size_t j = n_images; j-- > 0;) {
			if (strcmp(images[j].name, change->removed_images[i]) == 0)
				drop_image(j);
		}
	}
	if (change->repeat.status) {
		fake.repeat_created_ns = change->repeat.created_ns;
		fake.repeat_status = change->repeat.status;
		snprintf(fake.repeat_result, sizeof(fake.repeat_result), "%s",
			change->repeat.result ? change->repeat.result : "");
	}
	fake.commits++;
	return NULL;
}

struct tp_commit *tp_records_submit(struct tp_records *records, struct tp_change *change)
{
	struct tp_commit *commit = tp_calloc(1, sizeof(*commit));

	(void)records;
	pthread_mutex_lock(&fake.lock);
	commit->err = apply(change);
	pthread_mutex_unlock(&fake.lock);
	tp_change_free(change);
	return commit;
}

struct torpor_error *tp_commit_wait(struct tp_commit *commit)
{
	struct torpor_error *err = commit->err;

	free(commit);
	return err;
}

struct torpor_error *tp_records_commit(struct tp_records *records, struct tp_change *change)
{
	return tp_commit_wait(tp_records_submit(records, change));
}

struct torpor_error *tp_records_session(struct tp_records *records, const char *tenant,
	const char *id, struct tp_session_row *row_out)
{
	(void)records;
	pthread_mutex_lock(&fake.lock);
	const struct tp_session_row *row = find_session(id);
	bool found = row && (!tenant || strcmp(row->tenant, tenant) == 0);
	if (found)
		tp_session_row_copy(row, row_out);
	void (*on_read)(void) = fake.on_read;
	fake.on_read = NULL;
	pthread_mutex_unlock(&fake.lock);
	if (on_read)
		on_read();
	return found ? NULL : tp_error(TORPOR_E_NOT_FOUND, "find row", id, "none");
}

static bool row_listed(const struct tp_session_row *row, const struct tp_session_filter *filter)
{
	TP_JSON json_t *labels = tp_row_json(row->labels);

	if (filter->tenant && strcmp(row->tenant, filter->tenant) != 0)
		return false;
	if (filter->state && strcmp(row->state, filter->state) != 0)
		return false;
	if (filter->template_name && strcmp(row->template_name, filter->template_name) != 0)
		return false;
	if (filter->match && strcmp(row->name, filter->match) != 0 &&
		strncmp(row->id, filter->match, strlen(filter->match)) != 0)
		return false;
	const char *label = filter->label_key
				    ? json_string_value(json_object_get(labels, filter->label_key))
				    : NULL;
	if (filter->label_key && (!label || strcmp(label, filter->label_value) != 0))
		return false;
	if (!filter->before_created_ns)
		return true;
	return row->created_ns < filter->before_created_ns ||
	       (row->created_ns == filter->before_created_ns &&
		       strcmp(row->id, filter->before_id) < 0);
}

static int newest_first(const void *a, const void *b)
{
	const struct tp_session_row *row_a = *(const struct tp_session_row *const *)a;
	const struct tp_session_row *row_b = *(const struct tp_session_row *const *)b;

	if (row_a->created_ns != row_b->created_ns)
		return row_a->created_ns > row_b->created_ns ? -1 : 1;
	return -strcmp(row_a->id, row_b->id);
}

struct torpor_error *tp_records_sessions(struct tp_records *records,
	const struct tp_session_filter *filter, tp_session_each *each, void *data)
{
	const struct tp_session_row *found[TP_ARRAY_LEN(sessions)];
	struct torpor_error *err = NULL;
	size_t n = 0;

	(void)records;
	pthread_mutex_lock(&fake.lock);
	for (size_t i = 0; i < n_sessions; i++) {
		if (row_listed(&sessions[i], filter))
			found[n++] = &sessions[i];
	}
	qsort(found, n, sizeof(found[0]), newest_first);
	for (size_t i = 0; i < n && !err && (!filter->limit || i < filter->limit); i++)
		err = each(data, found[i]);
	pthread_mutex_unlock(&fake.lock);
	return err;
}

struct torpor_error *tp_records_images(
	struct tp_records *records, const char *session, tp_image_each *each, void *data)
{
	struct torpor_error *err = NULL;

	(void)records;
	pthread_mutex_lock(&fake.lock);
	for (size_t i = 0; i < n_images && !err; i++) {
		if (strcmp(images[i].session, session) == 0)
			err = each(data, &images[i]);
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

/* --- Audit log, events, figures, keeper --- */

static void note(char *list, size_t room, const char *fmt, ...) TP_PRINTF(3, 4);

/* Appends, as far as there is room. */
static void note(char *list, size_t room, const char *fmt, ...)
{
	va_list ap;
	size_t len = strlen(list);

	va_start(ap, fmt);
	vsnprintf(list + len, room - len, fmt, ap);
	va_end(ap);
}

void tp_audit_append(struct tp_audit *log, const struct tp_audit_entry *entry,
	struct tp_audit_ticket *ticket_out)
{
	(void)log;
	pthread_mutex_lock(&fake.lock);
	note(fake.audit, sizeof(fake.audit), "%s:%s ", entry->op, entry->outcome);
	pthread_mutex_unlock(&fake.lock);
	*ticket_out = (struct tp_audit_ticket){.seq = 1};
}

struct torpor_error *tp_audit_wait(struct tp_audit *log, const struct tp_audit_ticket *ticket)
{
	(void)log;
	(void)ticket;
	if (fake.fail_audit == 0)
		return NULL;
	fake.fail_audit--;
	return tp_error(TORPOR_E_IO, "sync audit log", NULL, "as ordered");
}

void tp_publish(struct tp_service *service, const char *type, const char *tenant,
	const char *session, json_t *data)
{
	(void)service;
	(void)type;
	(void)tenant;
	(void)session;
	pthread_mutex_lock(&fake.lock);
	note(fake.states, sizeof(fake.states), "%s ",
		json_string_value(json_object_get(data, "state")));
	TP_FREE char *text = json_dumps(data, 0);
	snprintf(fake.event, sizeof(fake.event), "%s", text);
	pthread_mutex_unlock(&fake.lock);
	json_decref(data);
}

void tp_note_state(struct tp_service *service, struct tp_live *live)
{
	(void)service;
	(void)live;
}

void tp_note_operation(struct tp_service *service, const struct tp_live *live, const char *op,
	uint64_t took_ns, const char *source, uint64_t image_bytes, const char *name)
{
	(void)service;
	(void)live;
	(void)op;
	(void)took_ns;
	(void)source;
	(void)image_bytes;
	(void)name;
}

void tp_measure(struct tp_service *service, enum tp_measured what, const char *template_name,
	const char *source, uint64_t took_ns)
{
	(void)service;
	(void)what;
	(void)template_name;
	(void)source;
	(void)took_ns;
}

void tp_count_failure(struct tp_service *service, enum tp_measured what, const char *name)
{
	(void)service;
	(void)what;
	(void)name;
}

void tp_service_count_refusal(struct tp_service *service, const char *reason)
{
	(void)service;
	(void)reason;
	pthread_mutex_lock(&fake.lock);
	fake.refusals++;
	pthread_mutex_unlock(&fake.lock);
}

void tp_keeper_wake(struct tp_service *service)
{
	(void)service;
}

void tp_keeper_changed(struct tp_service *service, const char *id)
{
	(void)service;
	pthread_mutex_lock(&fake.lock);
	snprintf(fake.timers_of, sizeof(fake.timers_of), "%s", id);
	pthread_mutex_unlock(&fake.lock);
}

/* --- Tenants, templates --- */

void tp_tenant_limits(
	struct tp_service *service, const char *tenant, struct tp_tenant_limits *limits_out)
{
	(void)service;
	(void)tenant;
	*limits_out = (struct tp_tenant_limits){.sessions = 100};
}

struct tp_timers tp_timers_of(struct tp_service *service, const struct tp_session_row *row)
{
	(void)service;
	return (struct tp_timers){
		.ttl_s = row->ttl_s == TP_UNSET ? 3600 : row->ttl_s,
		.idle_s = row->idle_s == TP_UNSET ? 0 : row->idle_s,
		.retention_s = row->retention_s == TP_UNSET ? 86400 : row->retention_s,
	};
}

static struct torpor_template the_template = {.name = (char[]){FAKE_TEMPLATE}};

struct torpor_error *tp_template_use(struct tp_service *service, const char *name,
	const struct tp_call *call, struct torpor_template **tmpl_out)
{
	(void)service;
	(void)call;
	if (strcmp(name, FAKE_TEMPLATE) != 0)
		return tp_error(TORPOR_E_NOT_FOUND, "use template", name, "there is none");
	pthread_mutex_lock(&fake.lock);
	fake.templates++;
	pthread_mutex_unlock(&fake.lock);
	*tmpl_out = &the_template;
	return NULL;
}

struct torpor_template *torpor_template_close(struct torpor_template *tmpl)
{
	pthread_mutex_lock(&fake.lock);
	fake.templates -= tmpl ? 1 : 0;
	pthread_mutex_unlock(&fake.lock);
	return NULL;
}

struct torpor_error *torpor_template_info(
	const struct torpor_template *tmpl, struct torpor_template_info *info_out)
{
	(void)tmpl;
	*info_out = (struct torpor_template_info){
		.name = FAKE_TEMPLATE, .id = "9f", .memory = FAKE_MEMORY, .vcpus = 1};
	return NULL;
}

/* --- Admission, supply, limits --- */

struct torpor_error *tp_admit(struct tp_admission *admission, const char *tenant,
	const struct tp_tenant_limits *limits, unsigned int count, uint64_t memory_bytes,
	bool forced)
{
	struct torpor_error *err = NULL;

	(void)admission;
	(void)limits;
	(void)forced;
	pthread_mutex_lock(&fake.lock);
	if (fake.max_places && fake.places + count > fake.max_places)
		err = tp_error_refusal(
			tp_error(TORPOR_E_LIMIT, "admit", tenant, "full"), "tenant-sessions", 5);
	fake.places += err ? 0 : count;
	fake.memory_bytes += err ? 0 : count * memory_bytes;
	pthread_mutex_unlock(&fake.lock);
	return err;
}

void tp_admit_undo(struct tp_admission *admission, const char *tenant, unsigned int count,
	uint64_t memory_bytes)
{
	(void)admission;
	(void)tenant;
	pthread_mutex_lock(&fake.lock);
	assert(fake.places >= count && fake.memory_bytes >= count * memory_bytes);
	fake.places -= count;
	fake.memory_bytes -= count * memory_bytes;
	pthread_mutex_unlock(&fake.lock);
}

void tp_admission_images(struct tp_admission *admission, const char *tenant, int64_t delta)
{
	(void)admission;
	(void)tenant;
	pthread_mutex_lock(&fake.lock);
	fake.image_bytes += delta;
	pthread_mutex_unlock(&fake.lock);
}

struct torpor_error *tp_admit_image(
	struct tp_admission *admission, const char *tenant, const struct tp_tenant_limits *limits)
{
	(void)admission;
	(void)tenant;
	(void)limits;
	return NULL;
}

struct torpor_error *tp_claim_begin(struct tp_supply *supply, struct torpor_template *tmpl,
	unsigned int count, bool warm_would_do, const struct tp_call *call,
	struct tp_claim *claim_out)
{
	(void)call;
	pthread_mutex_lock(&fake.lock);
	fake.claims++;
	pthread_mutex_unlock(&fake.lock);
	*claim_out = (struct tp_claim){
		.supply = supply, .tmpl = tmpl, .count = count, .warm_would_do = warm_would_do};
	return NULL;
}

void tp_claim_end(struct tp_claim *claim, const struct torpor_error *err,
	const struct torpor_resume_report *report)
{
	(void)claim;
	(void)err;
	(void)report;
	pthread_mutex_lock(&fake.lock);
	fake.claims--;
	pthread_mutex_unlock(&fake.lock);
}

static char groups[2048][TP_ID_LEN + 1];

struct torpor_error *tp_cgroup_place(struct tp_cgroup *cgroup, const char *name, pid_t pid,
	const struct tp_limits *limits, json_t **unenforced_out)
{
	size_t free_at = TP_ARRAY_LEN(groups);
	bool there = false;

	(void)cgroup;
	(void)pid;
	pthread_mutex_lock(&fake.lock);
	for (size_t i = 0; i < TP_ARRAY_LEN(groups); i++) {
		there = there || strcmp(groups[i], name) == 0;
		if (!groups[i][0])
			free_at = i;
	}
	if (!there) {
		snprintf(groups[free_at], sizeof(groups[0]), "%s", name);
		fake.groups++;
	}
	fake.cpus = limits->cpus;
	pthread_mutex_unlock(&fake.lock);
	*unenforced_out = json_array();
	if (limits->cpus > 0)
		json_array_append_new(*unenforced_out, json_string("cpus: not here"));
	return NULL;
}

void tp_cgroup_remove(struct tp_cgroup *cgroup, const char *name)
{
	(void)cgroup;
	pthread_mutex_lock(&fake.lock);
	for (size_t i = 0; i < TP_ARRAY_LEN(groups); i++) {
		if (groups[i][0] && strcmp(groups[i], name) == 0) {
			groups[i][0] = '\0';
			fake.groups--;
		}
	}
	pthread_mutex_unlock(&fake.lock);
}

/* --- The core --- */

const char *torpor_engine_state_dir(const struct torpor_engine *engine)
{
	(void)engine;
	return dir;
}

const char *torpor_source_name(enum torpor_source source)
{
	return source == TORPOR_SOURCE_WARM ? "warm" : "shell";
}

static int gate[2]; /* a pipe: a held park goes on when there is a byte */

static struct torpor_session *new_core(const char *name)
{
	struct torpor_session *core = tp_calloc(1, sizeof(*core));

	core->tmpl = &the_template;
	core->name = tp_strdup(name);
	core->record.helper = true;
	pthread_mutex_init(&core->info_lock, NULL);
	core->info.state = TORPOR_SESSION_PARKED;
	pthread_mutex_lock(&fake.lock);
	fake.handles++;
	pthread_mutex_unlock(&fake.lock);
	return core;
}

void tp_session_set_state(struct torpor_session *core, enum torpor_session_state state)
{
	pthread_mutex_lock(&core->info_lock);
	core->info.state = state;
	core->info.pid = core->guest ? 4711 : 0;
	pthread_mutex_unlock(&core->info_lock);
}

enum torpor_session_state tp_session_state(struct torpor_session *core)
{
	pthread_mutex_lock(&core->info_lock);
	enum torpor_session_state state = core->info.state;
	pthread_mutex_unlock(&core->info_lock);
	return state;
}

static void give_guest(struct torpor_session *core)
{
	core->guest = (struct tp_guest *)core; /* any but NULL */
	pthread_mutex_lock(&fake.lock);
	fake.guests++;
	pthread_mutex_unlock(&fake.lock);
}

static void take_guest(struct torpor_session *core)
{
	if (!core->guest)
		return;
	core->guest = NULL;
	pthread_mutex_lock(&fake.lock);
	fake.guests--;
	pthread_mutex_unlock(&fake.lock);
}

/* Limits are set on processes here, and nobody looks at labels. */
void tp_session_label(struct torpor_session *core, const char *title, const char *tenant)
{
	(void)core;
	(void)title;
	(void)tenant;
}

struct torpor_error *tp_session_limit(
	struct torpor_session *core, const struct tp_limits *limits, json_t **unenforced_out)
{
	(void)core;
	(void)limits;
	*unenforced_out = NULL;
	return NULL;
}

int tp_session_pid(struct torpor_session *core)
{
	return core->guest ? 4711 : 0;
}

enum torpor_source tp_session_source(const struct torpor_session *core)
{
	(void)core;
	return fake.source;
}

bool tp_session_busy(struct torpor_session *core)
{
	(void)core;
	return false;
}

struct torpor_error *tp_session_handover_locked(struct torpor_session *core, char **handover_out)
{
	*handover_out = tp_asprintf("{\"name\":\"%s\"}", core->name);
	return NULL;
}

struct torpor_error *torpor_session_handover(struct torpor_session *core, char **handover_out)
{
	return tp_session_handover_locked(core, handover_out);
}

struct torpor_error *torpor_handover_end(
	struct torpor_engine *engine, const char *handover, const struct torpor_call *call)
{
	(void)engine;
	(void)handover;
	(void)call;
	return NULL;
}

/* A guest with a process goes the way into RUNNING, with the hooks. */
static struct torpor_error *run_once(
	struct torpor_session *core, const struct tp_session_hooks *hooks)
{
	give_guest(core);
	struct torpor_error *err = hooks->on_loaded(hooks->data, core);
	if (!err)
		err = hooks->on_running(hooks->data, core);
	if (!err && fake.fail_fresh)
		err = tp_error(TORPOR_E_GUEST, "make fresh", core->name, "no answer");
	if (err)
		take_guest(core);
	return err;
}

/* It has run, and is given up for another one. */
static struct torpor_error *drop_once(
	struct torpor_session *core, const struct tp_session_hooks *hooks)
{
	fake.fail_commits += fake.fail_take_back;
	fake.fail_take_back = false;
	struct torpor_error *err = hooks->on_dropped(hooks->data, core);
	pthread_mutex_lock(&fake.lock);
	fake.recorded_dropped = find_session(core->name);
	fake.repeat_dropped_ns = fake.repeat_created_ns;
	pthread_mutex_unlock(&fake.lock);
	take_guest(core);
	return err;
}

static struct torpor_error *run(struct torpor_session *core, const struct tp_session_hooks *hooks,
	struct torpor_resume_report *report)
{
	if (fake.replace_process) {
		fake.replace_process = false;
		TP_TRY(run_once(core, hooks));
		TP_TRY(drop_once(core, hooks));
	}
	TP_TRY(run_once(core, hooks));
	tp_session_set_state(core, TORPOR_SESSION_RUNNING);
	*report = (struct torpor_resume_report){
		.source = fake.source, .fresh = 15, .ready_ns = 2000000, .running_ns = 1};
	return NULL;
}

struct torpor_error *tp_session_start_hooked(struct torpor_template *tmpl,
	const struct torpor_session_spec *spec, const struct tp_session_hooks *hooks,
	const struct torpor_call *call, struct torpor_resume_report *report_out,
	struct torpor_session **session_out)
{
	struct torpor_session *core = new_core(spec->name);

	(void)tmpl;
	(void)call;
	struct torpor_error *err = run(core, hooks, report_out);
	if (err) {
		torpor_session_close(core);
		return err;
	}
	*session_out = core;
	return NULL;
}

static char *file_of(const char *name)
{
	return tp_asprintf("%s/images/%s", dir, name);
}

static void make_file(const char *name)
{
	TP_FREE char *path = file_of(name);
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);

	assert(fd >= 0);
	assert(write(fd, "0123456789", 10) == 10);
	close(fd);
}

static bool has_file(const char *name)
{
	TP_FREE char *path = file_of(name);

	return access(path, F_OK) == 0;
}

struct torpor_error *torpor_image_inspect(
	const char *path, const struct torpor_call *call, struct torpor_image_info *info_out)
{
	struct stat stat_of;

	(void)call;
	if (stat(path, &stat_of) < 0)
		return tp_error_errno(errno, "open", path);
	*info_out = (struct torpor_image_info){
		.uuid = "00000000-0000-4000-8000-000000000000", .file_bytes = 10};
	return NULL;
}

void torpor_image_info_deinit(struct torpor_image_info *info)
{
	(void)info;
}

/* There is every domain but "none". */
struct torpor_error *tp_import(struct torpor_engine *engine, const struct torpor_import_spec *spec,
	const char *hostname, tp_import_hook *hook, void *data, const struct tp_call *call,
	struct torpor_import_report *report_out, char **name_out)
{
	struct torpor_import_report report = {
		.image_bytes = 10, .memory_bytes = FAKE_MEMORY, .vcpus = 3, .note = "a note"};

	(void)engine;
	(void)call;
	assert(tp_guest_name_ok(hostname));
	if (strcmp(spec->domain, "none") == 0)
		return tp_error(TORPOR_E_NOT_FOUND, "look up domain", "none", "as told");
	make_file(spec->name);
	fake.files++;
	struct torpor_error *err = hook(data, &report);
	if (err) {
		TP_FREE char *path = file_of(spec->name);
		fake.files--;
		unlink(path);
		return err;
	}
	*report_out = report;
	*name_out = tp_strdup(spec->name);
	return NULL;
}

struct torpor_error *torpor_image_where(struct torpor_engine *engine, const char *path,
	const struct torpor_call *call, struct torpor_where *where_out)
{
	(void)engine;
	(void)call;
	if (access(path, F_OK) < 0)
		return tp_error_errno(errno, "open", path);
	*where_out = (struct torpor_where){
		.portable = true,
		.qemu_version = "10.0.2",
		.accel = "tcg",
		.needs = {{"qemu", tp_strdup(strrchr(path, '/') + 1), false,
				  tp_strdup("it is older")},
			{"cpu", tp_strdup("CPU model X-v1"), true, NULL}},
		.n_needs = 2,
	};
	return NULL;
}

void torpor_where_deinit(struct torpor_where *where)
{
	for (size_t i = 0; i < where->n_needs; i++) {
		free(where->needs[i].needed);
		free(where->needs[i].why_not);
	}
	*where = (struct torpor_where){0};
}

static struct torpor_error *wait_at_gate(const struct torpor_call *call)
{
	struct pollfd fds[] = {
		{.fd = call->cancel->fd, .events = POLLIN}, {.fd = gate[0], .events = POLLIN}};

	while (poll(fds, 2, -1) < 0)
		;
	return fds[0].revents && !fake.late_cancel
		       ? tp_error(TORPOR_E_CANCELLED, "park", NULL, "cancelled")
		       : NULL;
}

struct torpor_error *tp_session_park_hooked(struct torpor_session *core,
	const struct tp_session_hooks *hooks, const struct torpor_call *call,
	struct torpor_park_report *report_out)
{
	bool had_file = has_file(core->name);

	if (fake.hold_park)
		TP_TRY(wait_at_gate(call));
	make_file(core->name);
	struct torpor_error *err = hooks->on_durable(hooks->data, core);
	if (err) {
		TP_FREE char *path = file_of(core->name);
		if (!had_file)
			unlink(path);
		return err;
	}
	take_guest(core);
	tp_session_set_state(core, TORPOR_SESSION_PARKED);
	*report_out = (struct torpor_park_report){.image_bytes = 10};
	return NULL;
}

struct torpor_error *torpor_session_checkpoint(struct torpor_session *core, const char *name,
	const struct torpor_call *call, struct torpor_park_report *report_out)
{
	(void)core;
	(void)call;
	make_file(name);
	*report_out = (struct torpor_park_report){.image_bytes = 10};
	return NULL;
}

struct torpor_error *torpor_session_open(struct torpor_engine *engine, const char *name,
	const char *path, const struct torpor_call *call, struct torpor_session **session_out)
{
	TP_FREE char *own = file_of(name);

	(void)engine;
	(void)call;
	if (access(path ? path : own, F_OK) < 0)
		return tp_error_errno(errno, "open", path ? path : own);
	*session_out = new_core(name);
	return NULL;
}

struct torpor_error *tp_session_resume_hooked(struct torpor_session *core,
	const struct tp_session_hooks *hooks, const struct torpor_call *call,
	struct torpor_resume_report *report_out)
{
	(void)call;
	if (fake.fail_resume)
		return tp_error(fake.fail_resume, "resume", core->name, "as ordered");
	return run(core, hooks, report_out);
}

struct torpor_error *tp_session_fork_hooked(struct torpor_session *source,
	const struct torpor_session_spec *specs, size_t count, const struct tp_session_hooks *hooks,
	const struct torpor_call *call, struct torpor_resume_report *reports_out,
	struct torpor_session **sessions_out)
{
	struct torpor_error *err = NULL;
	size_t n = 0;

	(void)source;
	(void)call;
	while (n < count && !err) {
		sessions_out[n] = new_core(specs[n].name);
		err = run(sessions_out[n], &hooks[n], &reports_out[n]);
		n++;
	}
	while (err && n > 0) {
		take_guest(sessions_out[--n]);
		sessions_out[n] = torpor_session_close(sessions_out[n]);
	}
	return err;
}

struct torpor_error *torpor_session_pause(
	struct torpor_session *core, const struct torpor_call *call)
{
	(void)call;
	tp_session_set_state(core, TORPOR_SESSION_PAUSED);
	return NULL;
}

struct torpor_error *torpor_session_unpause(
	struct torpor_session *core, const struct torpor_call *call)
{
	(void)call;
	tp_session_set_state(core, TORPOR_SESSION_RUNNING);
	return NULL;
}

struct tp_session_command {
	struct torpor_exec exec;
};

struct torpor_error *tp_session_command_new(struct torpor_session *core,
	const struct torpor_exec *exec, const struct tp_call *call,
	struct tp_session_command **command_out)
{
	(void)call;
	if (tp_session_state(core) != TORPOR_SESSION_RUNNING)
		return tp_error(TORPOR_E_BUSY, "run", core->name, "it doesn't run");
	struct tp_session_command *command = tp_calloc(1, sizeof(*command));
	command->exec = *exec;
	*command_out = command;
	return NULL;
}

struct tp_session_command *tp_session_command_free(struct tp_session_command *command)
{
	free(command);
	return NULL;
}

struct torpor_error *tp_session_command_follow(struct tp_session_command *command,
	const struct tp_call *call, struct torpor_exec_result *result_out)
{
	const struct torpor_exec *exec = &command->exec;

	(void)call;
	/* Prints its environment: what it was given is what there is to check. */
	for (const char *const *env = exec->env; exec->output && *env; env++) {
		exec->output(exec->output_data, 1, *env, strlen(*env));
		exec->output(exec->output_data, 1, "\n", 1);
	}
	*result_out = (struct torpor_exec_result){.exited = true};
	return NULL;
}

struct torpor_error *torpor_session_ping(struct torpor_session *core,
	const struct torpor_call *call, struct torpor_ping_report *report_out)
{
	(void)core;
	(void)call;
	(void)report_out;
	return tp_error(TORPOR_E_TIMEOUT, "ping", NULL, "no answer");
}

struct torpor_error *torpor_session_info(
	struct torpor_session *core, struct torpor_session_info *info_out)
{
	pthread_mutex_lock(&core->info_lock);
	*info_out = core->info;
	pthread_mutex_unlock(&core->info_lock);
	info_out->private_bytes = 12345;
	return NULL;
}

struct torpor_error *tp_session_enter(
	struct torpor_session *core, bool urgent, const struct tp_call *call)
{
	(void)core;
	(void)urgent;
	(void)call;
	return NULL;
}

void tp_session_leave(struct torpor_session *core)
{
	(void)core;
}

struct torpor_error *tp_session_quit(struct torpor_session *core, const struct tp_call *call)
{
	(void)call;
	if (core->guest) {
		take_guest(core);
		tp_session_set_state(core, TORPOR_SESSION_PARKED);
	}
	return NULL;
}

struct torpor_session *torpor_session_close(struct torpor_session *core)
{
	if (!core)
		return NULL;
	assert(!core->guest); /* it would run on, nobody's */
	pthread_mutex_lock(&fake.lock);
	fake.handles--;
	pthread_mutex_unlock(&fake.lock);
	pthread_mutex_destroy(&core->info_lock);
	free(core->end_reason);
	free(core->name);
	free(core);
	return NULL;
}

struct torpor_error *torpor_session_destroy(
	struct torpor_session *core, const struct torpor_call *call)
{
	(void)call;
	take_guest(core);
	torpor_session_close(core);
	return NULL;
}

bool tp_guest_name_ok(const char *name)
{
	static const char chars[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = strlen(name);

	return len >= 1 && len <= 64 && strspn(name, chars) == len && !strchr("._-", name[0]);
}

/* --- For tests --- */

struct tp_service *fake_open(void)
{
	struct tp_service *service = tp_calloc(1, sizeof(*service));
	pthread_condattr_t attr;

	fake.source = TORPOR_SOURCE_WARM;
	pthread_mutex_init(&fake.lock, NULL);
	pthread_mutex_init(&service->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&service->changed, &attr);
	pthread_condattr_destroy(&attr);
	snprintf(dir, sizeof(dir), "/tmp/torpor-service-XXXXXX");
	assert(mkdtemp(dir));
	TP_FREE char *images_dir = tp_asprintf("%s/images", dir);
	assert(mkdir(images_dir, 0700) == 0);
	assert(pipe(gate) == 0);
	return service;
}

static void remove_dir(void)
{
	TP_FREE char *images_dir = tp_asprintf("%s/images", dir);

	for (size_t i = 0; i < n_sessions; i++) {
		TP_FREE char *path = file_of(sessions[i].id);
		unlink(path);
	}
	for (size_t i = 0; i < n_images; i++) {
		TP_FREE char *path = file_of(images[i].name);
		unlink(path);
	}
	/* Fails if there is a file that no record has. */
	assert(rmdir(images_dir) == 0);
	assert(rmdir(dir) == 0);
}

void fake_close(struct tp_service *service)
{
	assert(fake.claims == 0 && fake.templates == 0);
	remove_dir();
	for (size_t bucket = 0; bucket < LIVE_BUCKETS; bucket++) {
		while (service->live[bucket]) {
			struct tp_live *live = service->live[bucket];
			assert(live->refs == 0 && live->uses == 0);
			service->live[bucket] = live->next;
			if (live->core) {
				take_guest(live->core);
				torpor_session_close(live->core);
			}
			tp_session_row_deinit(&live->row);
			free(live);
		}
	}
	assert(fake.handles == 0 && fake.guests == 0);
	while (n_sessions > 0)
		drop_session(sessions[0].id);
	free(service);
}

void fake_fault(const char *point)
{
	TP_FREE char *text = tp_asprintf("%s:1:fail", point ? point : "none");

	setenv("TORPOR_FAULT", text, 1);
	tp_fault_init();
}

struct tp_actor fake_actor(const char *tenant)
{
	struct tp_actor actor = {.how = "token 1", .perms = TP_PERM_ALL};

	snprintf(actor.tenant, sizeof(actor.tenant), "%s", tenant);
	return actor;
}

char *fake_create(struct tp_service *service, const struct tp_actor *actor, const char *name)
{
	struct tp_call call = tp_call_within(TP_NO_DEADLINE);
	struct tp_create_spec spec = {.template_name = FAKE_TEMPLATE,
		.name = name,
		.timers = {TP_UNSET, TP_UNSET, TP_UNSET}};
	TP_JSON json_t *view = NULL;

	TP_ERROR struct torpor_error *err = tp_service_create(service, actor, &spec, &call, &view);
	if (err)
		fprintf(stderr, "%s\n", torpor_error_message(err));
	assert(!err);
	return tp_strdup(json_string_value(json_object_get(view, "id")));
}

void fake_end_guest(struct tp_service *service, const char *id)
{
	struct tp_live *live = tp_live_peek(service, id);

	assert(live && live->core);
	take_guest(live->core);
	free(live->core->end_reason);
	live->core->end_reason =
		tp_strdup(fake.powers_off ? "the guest powered off" : "QEMU was killed");
	tp_session_set_state(live->core, TORPOR_SESSION_ENDED);
	tp_live_put(service, live);
}

const char *fake_recorded_state(const char *id)
{
	static char state[16];

	pthread_mutex_lock(&fake.lock);
	const struct tp_session_row *row = find_session(id);
	snprintf(state, sizeof(state), "%s", row ? row->state : "");
	pthread_mutex_unlock(&fake.lock);
	return row ? state : NULL;
}

size_t fake_recorded_sessions(void)
{
	return n_sessions;
}

json_t *fake_recorded_info(const char *id)
{
	pthread_mutex_lock(&fake.lock);
	json_t *info = tp_row_json(find_session(id)->info);
	pthread_mutex_unlock(&fake.lock);
	return info;
}

size_t fake_recorded_images(void)
{
	return n_images;
}

void fake_record_parked(const char *id, const char *tenant, const char *name, uint64_t created_ns)
{
	put_session(&(struct tp_session_row){
		.id = (char *)id,
		.tenant = (char *)tenant,
		.name = (char *)name,
		.template_name = (char[]){FAKE_TEMPLATE},
		.template_id = (char[]){"9f"},
		.state = (char[]){"parked"},
		.labels = (char[]){"{}"},
		.env = (char[]){"{}"},
		.limits = (char[]){"{}"},
		.info = (char[]){"{\"vcpus\":1}"},
		.memory_bytes = FAKE_MEMORY,
		.ttl_s = TP_UNSET,
		.idle_s = TP_UNSET,
		.retention_s = TP_UNSET,
		.created_ns = created_ns,
		.changed_ns = created_ns,
		.active_ns = created_ns,
	});
}

void fake_let_go(void)
{
	assert(write(gate[1], "", 1) == 1);
}

void fake_wait_state(struct tp_service *service, const char *id, enum tp_state state)
{
	struct tp_live *live = tp_live_peek(service, id);

	assert(live);
	pthread_mutex_lock(&service->lock);
	while (live->state != state)
		pthread_cond_wait(&service->changed, &service->lock);
	pthread_mutex_unlock(&service->lock);
	tp_live_put(service, live);
}

char *fake_take(struct tp_service *service)
{
	TP_FREE char *states = tp_strdup("");

	for (size_t i = 0; i < n_sessions; i++) {
		const struct tp_session_row *row = &sessions[i];
		struct tp_live *live = tp_live_peek(service, row->id);
		char *more = tp_asprintf("%s %s:%s:%s:%s:%ju:%s", states, row->id, row->name,
			row->state, live ? tp_state_name(live->state) : "-",
			(uintmax_t)row->park_bytes, row->handover ? "process" : "none");
		if (live)
			tp_live_put(service, live);
		free(states);
		states = more;
	}
	return tp_asprintf("places %u memory %ju images %jd claims %u groups %u guests %u handles "
			   "%u templates %u rows %zu image rows %zu live %zu%s",
		fake.places, (uintmax_t)fake.memory_bytes, (intmax_t)fake.image_bytes, fake.claims,
		fake.groups, fake.guests, fake.handles, fake.templates, n_sessions, n_images,
		service->live_count, states);
}
