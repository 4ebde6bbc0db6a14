/* SPDX-License-Identifier: Apache-2.0 */
/* In place of the service. */
#include "stub_service.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

struct stub stub;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* The one request that is remembered. */
static struct {
	char key[129];
	uint8_t print[TP_HASH_LEN];
	bool running;
	bool done;
} repeat;

void stub_reset(void)
{
	memset(&stub, 0, sizeof(stub));
	memset(&repeat, 0, sizeof(repeat));
	stub.rate_left = 1000000;
}

/* As docs/torpord.conf has it; service/ and pool/ have the real ones. */
void tp_service_config_init(struct tp_service_config *config)
{
	*config = (struct tp_service_config){
		.admission = {.max_sessions = 1000,
			.guest_overhead = 24 * TP_MIB,
			.guest_share_percent = 10},
		.tenant_limits = {.sessions = 100,
			.memory_bytes = 64 * TP_GIB,
			.parked_bytes = 64 * TP_GIB},
		.requests_per_minute = 100,
		.timers = {.ttl_s = 3600, .idle_s = 0, .retention_s = 30 * 86400},
		.policy = {.warm_min = 1,
			.warm_max = 8,
			.shells_min = 1,
			.shells_max = 4,
			.window_ns = 60 * TP_NSEC_PER_SEC,
			.waiting_high = 10,
			.start_slow_ns = 2 * TP_NSEC_PER_SEC,
			.failure_percent = 5,
			.backoff_min_ns = 100 * TP_NSEC_PER_MSEC,
			.backoff_max_ns = 30 * TP_NSEC_PER_SEC,
			.degraded_after = 5},
		.health_every_ns = 30 * TP_NSEC_PER_SEC,
		.refill_every = TP_POLICY_REFILL_EVERY,
		.queue_max = 256,
		.engine.deaf_after_ns = 5 * TP_NSEC_PER_SEC,
		.ask_every_ns = 10 * TP_NSEC_PER_SEC,
	};
}

const char *tp_policy_config_error(const struct tp_policy_config *config)
{
	return config->warm_max < config->warm_min ? "warm_max is below warm_min" : NULL;
}

static void fill(struct tp_actor *actor, const char *tenant, bool admin, const char *how)
{
	*actor = (struct tp_actor){.admin = admin, .perms = TP_PERM_ALL};
	snprintf(actor->tenant, sizeof(actor->tenant), "%s", tenant);
	snprintf(actor->how, sizeof(actor->how), "%s", how);
}

struct torpor_error *tp_service_actor_of_token(
	struct tp_service *service, const char *token, struct tp_actor *actor_out)
{
	(void)service;
	if (strcmp(token, STUB_OLD_TOKEN) == 0)
		return tp_error_refusal(
			tp_error(TORPOR_E_DENIED, "identify", NULL, "over"), "token-expired", 0);
	if (strcmp(token, STUB_TOKEN) == 0 && !stub.revoked)
		fill(actor_out, STUB_TENANT, false, "token 1");
	else if (strcmp(token, STUB_ADMIN_TOKEN) == 0)
		fill(actor_out, TP_DEFAULT_TENANT, true, "token 0");
	else
		return tp_error(TORPOR_E_DENIED, "identify", NULL, "no such token");
	actor_out->expires_ns = stub.token_until_ns;
	return NULL;
}

struct torpor_error *tp_service_actor_of_uid(
	struct tp_service *service, int64_t uid, struct tp_actor *actor_out)
{
	(void)service;
	if (uid != STUB_UID)
		return tp_error(TORPOR_E_DENIED, "identify", NULL, "no such uid");
	fill(actor_out, STUB_TENANT, false, "peer 4242");
	return NULL;
}

struct torpor_error *tp_service_login(struct tp_service *service, const struct tp_actor *actor)
{
	(void)service;
	(void)actor;
	stub.logins++;
	return NULL;
}

struct torpor_error *tp_service_logout(
	struct tp_service *service, const struct tp_actor *actor, const char *login)
{
	(void)service;
	stub.logins--;
	snprintf(stub.ended, sizeof(stub.ended), "%s/%.20s", actor->tenant, login);
	return NULL;
}

struct torpor_error *tp_service_check_login(
	struct tp_service *service, const struct tp_actor *actor, const char *login)
{
	char name[96];

	(void)service;
	snprintf(name, sizeof(name), "%s/%.20s", actor->tenant, login);
	if (strcmp(name, stub.ended) != 0)
		return NULL;
	return tp_error(TORPOR_E_DENIED, "open", "a login", "it was ended");
}

struct torpor_error *tp_service_check_tenant(struct tp_service *service, const char *name)
{
	(void)service;
	if (strcmp(name, STUB_TENANT) == 0 || strcmp(name, TP_DEFAULT_TENANT) == 0)
		return NULL;
	return tp_error(TORPOR_E_NOT_FOUND, "find tenant", name, "there is none of that name");
}

struct torpor_error *tp_service_rate(struct tp_service *service, const struct tp_actor *actor)
{
	(void)service;
	if (stub.rate_left-- > 0)
		return NULL;
	return tp_error_refusal(
		tp_error(TORPOR_E_LIMIT, "ask", actor->tenant, "too often"), "rate", 7);
}

struct torpor_error *tp_service_repeat_begin(struct tp_service *service,
	const struct tp_actor *actor, bool *replayed_out, int *status_out, json_t **view_out)
{
	struct torpor_error *err = NULL;

	(void)service;
	pthread_mutex_lock(&lock);
	bool same = strcmp(repeat.key, actor->key) == 0;
	if (same && memcmp(repeat.print, actor->print, TP_HASH_LEN) != 0) {
		err = tp_error(TORPOR_E_MISMATCH, "repeat", NULL, "another request's key");
	} else if (same && repeat.running) {
		err = tp_error(TORPOR_E_BUSY, "repeat", NULL, "it is under way");
	} else if (same && repeat.done) {
		*replayed_out = true;
		*status_out = 201;
		*view_out = json_pack("{s:b, s:s}", "again", 1, "name", "new");
	} else {
		snprintf(repeat.key, sizeof(repeat.key), "%s", actor->key);
		memcpy(repeat.print, actor->print, TP_HASH_LEN);
		repeat.running = true;
		*replayed_out = false;
		stub.repeat_open++;
	}
	pthread_mutex_unlock(&lock);
	return err;
}

void tp_service_repeat_end(struct tp_service *service, const struct tp_actor *actor)
{
	(void)service;
	(void)actor;
	pthread_mutex_lock(&lock);
	repeat.running = false;
	repeat.done = true;
	stub.repeat_open--;
	pthread_mutex_unlock(&lock);
}

void tp_service_count_refusal(struct tp_service *service, const char *reason)
{
	(void)service;
	if (strcmp(reason, "connections") == 0)
		stub.refused++;
}

void tp_service_count_request(
	struct tp_service *service, const char *route, int status, uint64_t took_ns)
{
	(void)service;
	(void)status;
	(void)took_ns;
	pthread_mutex_lock(&lock);
	snprintf(stub.last_route, sizeof(stub.last_route), "%s", route);
	stub.counted++;
	pthread_mutex_unlock(&lock);
}

/* A file in the state directory stands for the lock on it. */
struct torpor_error *tp_service_open(
	const struct tp_service_config *config, struct tp_service **service_out)
{
	TP_FREE char *path = tp_asprintf("%s/busy", config->engine.state_dir);

	if (access(path, F_OK) == 0)
		return tp_error(TORPOR_E_BUSY, "open", config->engine.state_dir, "it is in use");
	stub_reset();
	*service_out = tp_malloc(1);
	return NULL;
}

struct torpor_error *tp_service_reload(
	struct tp_service *service, const struct tp_service_config *config)
{
	(void)service;
	if (config->queue_max == 13)
		return tp_error(TORPOR_E_INVALID, "reload", "queue", "not while it runs");
	return NULL;
}

void tp_service_drain(struct tp_service *service)
{
	(void)service;
}

struct tp_service *tp_service_close(struct tp_service *service)
{
	free(service);
	return NULL;
}
