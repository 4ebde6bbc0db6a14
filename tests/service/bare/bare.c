/* SPDX-License-Identifier: Apache-2.0 */
/* A service without engine. */
#include "bare.h"

#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "service/events.h"
#include "service/keeper.h"
#include "service/latency.h"
#include "service/metrics.h"
#include "service/repeats.h"
#include "service/templates.h"
#include "service/tenants.h"

char *bare_dir(void)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = tp_asprintf("%s/torpor-service-XXXXXX", tmp ? tmp : "/tmp");

	cr_assert_not_null(mkdtemp(dir));
	TP_FREE char *images = tp_asprintf("%s/images", dir);
	cr_assert_eq(mkdir(images, 0700), 0);
	return dir;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void bare_remove_dir(char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(dir);
}

struct tp_service *bare_open(const char *dir)
{
	struct tp_service *service = tp_calloc(1, sizeof(*service));
	uint8_t hash[TP_HASH_LEN];
	uint64_t seq;

	service->state_dir = tp_strdup(dir);
	pthread_mutex_init(&service->lock, NULL);
	pthread_cond_init(&service->changed, NULL);
	tp_service_config_init(&service->config);
	must(tp_records_open(dir, TP_RECORDS_NAME, &service->records));
	must(tp_records_audit_head(service->records, &seq, hash));
	must(tp_audit_open(dir, TP_AUDIT_NAME, seq, hash, &service->audit));
	must(tp_events_new(service->records, &service->events));
	must(tp_tenants_new(service->records, &service->tenants));
	must(tp_keeper_new(service, &service->keeper));
	service->admission = tp_admission_new(&service->config.admission);
	service->metrics = tp_metrics_new();
	service->history = tp_history_new(tp_realtime_ns());
	service->latency = tp_latency_new(tp_realtime_ns());
	service->repeats = tp_repeats_new();
	service->templates = tp_templates_new();
	tp_tenants_configure(service->tenants, &service->config);
	return service;
}

struct tp_service *bare_close(struct tp_service *service)
{
	cr_assert_eq(service->live_count, 0, "sessions are still live");
	tp_templates_free(service->templates);
	tp_repeats_free(service->repeats);
	tp_metrics_free(service->metrics);
	tp_history_free(service->history);
	tp_latency_free(service->latency);
	tp_admission_free(service->admission);
	tp_keeper_free(service->keeper);
	tp_tenants_free(service->tenants);
	tp_events_free(service->events);
	tp_audit_close(service->audit);
	tp_records_close(service->records);
	pthread_cond_destroy(&service->changed);
	pthread_mutex_destroy(&service->lock);
	free(service->state_dir);
	free(service);
	return NULL;
}

struct tp_actor bare_admin(void)
{
	return (struct tp_actor){
		.tenant = TP_DEFAULT_TENANT, .how = "peer 0", .admin = true, .perms = TP_PERM_ALL};
}

struct tp_actor bare_tenant(const char *name)
{
	struct tp_actor actor = {.how = "token t", .perms = TP_PERM_ALL};

	snprintf(actor.tenant, sizeof(actor.tenant), "%s", name);
	return actor;
}

void bare_put_session(struct tp_service *service, const char *id, const char *tenant,
	const char *state, const char *uuid)
{
	struct tp_change *change = tp_change_new();
	uint64_t now = tp_realtime_ns();
	struct tp_session_row row = {
		.id = (char *)id,
		.tenant = (char *)tenant,
		.name = (char *)id,
		.template_name = (char[]){"minimal"},
		.template_id = (char[]){"00"},
		.state = (char *)state,
		.labels = (char[]){"{}"},
		.env = (char[]){"{}"},
		.limits = (char[]){"{}"},
		.info = (char[]){"{}"},
		.park_uuid = (char *)uuid,
		.park_bytes = uuid ? 100 : 0,
		.memory_bytes = TP_MIB,
		.ttl_s = TP_UNSET,
		.idle_s = TP_UNSET,
		.retention_s = TP_UNSET,
		.created_ns = now,
		.changed_ns = now,
		.active_ns = now,
	};

	tp_change_put_session(change, &row);
	must(tp_records_commit(service->records, change));
}

void bare_put_image(struct tp_service *service, const char *name, const char *session,
	const char *tenant, const char *kind)
{
	struct tp_change *change = tp_change_new();
	struct tp_image_row row = {
		.name = (char *)name,
		.session = (char *)session,
		.tenant = (char *)tenant,
		.kind = (char *)kind,
		.template_id = (char[]){"00"},
		.bytes = 100,
		.created_ns = tp_realtime_ns(),
	};

	if (strcmp(kind, "checkpoint") == 0)
		row.label = (char *)name;
	tp_change_put_image(change, &row);
	must(tp_records_commit(service->records, change));
}

json_t *bare_json(const char *text)
{
	TP_FREE char *copy = tp_strdup(text);

	for (char *c = copy; *c; c++) {
		if (*c == '\'')
			*c = '"';
	}
	json_t *json = json_loads(copy, 0, NULL);
	cr_assert_not_null(json, "%s", text);
	return json;
}
