/* SPDX-License-Identifier: Apache-2.0 */
/* The world of the tests: made, looked at, given orders, and ended. */
#include "fake_priv.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"

struct fake fake;
char fake_dir[64];
int fake_gate[2];

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
	snprintf(fake_dir, sizeof(fake_dir), "/tmp/torpor-service-XXXXXX");
	assert(mkdtemp(fake_dir));
	TP_FREE char *images_dir = tp_asprintf("%s/images", fake_dir);
	assert(mkdir(images_dir, 0700) == 0);
	assert(pipe(fake_gate) == 0);
	return service;
}

static void remove_dir(void)
{
	TP_FREE char *images_dir = tp_asprintf("%s/images", fake_dir);

	for (size_t i = 0; i < fake_n_sessions; i++) {
		TP_FREE char *path = fake_file_of(fake_sessions[i].id);
		unlink(path);
	}
	for (size_t i = 0; i < fake_n_images; i++) {
		TP_FREE char *path = fake_file_of(fake_images[i].name);
		unlink(path);
	}
	/* Fails if there is a file that no record has. */
	assert(rmdir(images_dir) == 0);
	assert(rmdir(fake_dir) == 0);
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
				fake_take_guest(live->core);
				torpor_session_close(live->core);
			}
			tp_session_row_deinit(&live->row);
			free(live);
		}
	}
	assert(fake.handles == 0 && fake.guests == 0);
	while (fake_n_sessions > 0)
		fake_drop_session(fake_sessions[0].id);
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
	fake_take_guest(live->core);
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
	const struct tp_session_row *row = fake_find_session(id);
	snprintf(state, sizeof(state), "%s", row ? row->state : "");
	pthread_mutex_unlock(&fake.lock);
	return row ? state : NULL;
}

size_t fake_recorded_sessions(void)
{
	return fake_n_sessions;
}

json_t *fake_recorded_info(const char *id)
{
	pthread_mutex_lock(&fake.lock);
	json_t *info = tp_row_json(fake_find_session(id)->info);
	pthread_mutex_unlock(&fake.lock);
	return info;
}

size_t fake_recorded_images(void)
{
	return fake_n_images;
}

void fake_record_parked(const char *id, const char *tenant, const char *name, uint64_t created_ns)
{
	fake_put_session(&(struct tp_session_row){
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
	assert(write(fake_gate[1], "", 1) == 1);
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

	for (size_t i = 0; i < fake_n_sessions; i++) {
		const struct tp_session_row *row = &fake_sessions[i];
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
		fake.groups, fake.guests, fake.handles, fake.templates, fake_n_sessions,
		fake_n_images, service->live_count, states);
}
