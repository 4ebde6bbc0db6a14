/* SPDX-License-Identifier: Apache-2.0 */
/* The world of the tests: what else the service consists of. */
#include "fake_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

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

struct torpor_error *tp_tenant_check_stays(struct tp_service *service, const char *tenant)
{
	(void)service;
	return fake.tenant_leaves
		       ? tp_error(TORPOR_E_NOT_FOUND, "find tenant", tenant, "as ordered")
		       : NULL;
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

struct torpor_template fake_template = {.name = (char[]){FAKE_TEMPLATE}};

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
	*tmpl_out = &fake_template;
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
	if (pid <= 0)
		return tp_error(TORPOR_E_NOT_FOUND, "limit process of", name, "it has ended");
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
