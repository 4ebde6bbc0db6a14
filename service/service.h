/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service: sessions of many tenants on one host, that survive the process. torpord without
 * HTTP.
 *
 * Engine and supply (pool/) know guests; the records (storage/) know what was acknowledged. The
 * service joins the two: each operation is begun on the session's state, carried out on the guest,
 * committed to the records together with its entry in the audit log, and only then answered.
 *
 * Any thread may call anything; calls block. Whoever calls says for whom (struct tp_actor): a
 * tenant's actor gets NOT_FOUND for what is another's, exactly as for what doesn't exist, and
 * DENIED where a permission is missing. Views are JSON as in docs/API.md, new references.
 */
#ifndef TP_SERVICE_SERVICE_H
#define TP_SERVICE_SERVICE_H

#include <jansson.h>
#include <torpor/torpor.h>

#include "base/call.h"
#include "pool/admission.h"
#include "pool/policy.h"
#include "storage/records.h"

struct tp_service;

#define TP_ID_LEN 16 /* of a session: characters 0-9 a-z */

#define TP_DEFAULT_TENANT "default"

/* In the state directory. */
#define TP_RECORDS_NAME "records.db"
#define TP_AUDIT_NAME	"audit.log"

/* Seconds; TP_UNSET: as the next wider setting has it (session, template, tenant, defaults); 0:
 * never. */
struct tp_timers {
	int64_t ttl_s;	     /* from its start, or last resume, to the end */
	int64_t idle_s;	     /* without use, to parking */
	int64_t retention_s; /* of parked ones, to the end */
};

struct tp_template_config {
	char *name;
	struct tp_policy_config policy;
	struct tp_timers timers;
};

/* All of it is the caller's and is copied where it must last. */
struct tp_service_config {
	struct torpor_engine_options engine; /* keep_guests and events are the service's own */

	/* These can be changed while it runs (tp_service_reload). */
	struct tp_admission_config admission;  /* host_memory 0: 80 % of the host's */
	struct tp_tenant_limits tenant_limits; /* defaults, for tenants that have no others */
	unsigned int requests_per_minute;      /* the same; mutating calls; 0: no bound */
	struct tp_timers timers;	       /* the widest: nothing unset */
	struct tp_policy_config policy;	       /* for templates that have no other */
	struct tp_template_config *templates;
	size_t n_templates;
	uint64_t memory_reserve;  /* MemAvailable below this is pressure; 0: 5 % of the host's */
	uint64_t health_every_ns; /* the agent is asked so often; 0: never */
	bool park_on_stop;

	/* These hold until it is opened anew. */
	unsigned int start_slots;
	unsigned int refill_slots;
	unsigned int refill_every;
	unsigned int queue_max;
	uint64_t ask_every_ns;	 /* guests that wait; 0: never */
	const char *cgroup_root; /* engine/cgroup.h */
};

/* Fills in the defaults of docs/torpord.conf. */
void tp_service_config_init(struct tp_service_config *config);

/*
 * Opens state directory, records and audit log, and recovers: afterwards records, processes, run
 * directory and image files agree (docs/ARCHITECTURE.md has what becomes of each difference). Stock
 * isn't waited for. BUSY if another service has the state directory.
 */
struct torpor_error *tp_service_open(
	const struct tp_service_config *config, struct tp_service **service_out) TP_MUST_USE;

/* Takes over what may change. INVALID says what may not. */
struct torpor_error *tp_service_reload(
	struct tp_service *service, const struct tp_service_config *config) TP_MUST_USE;

/* From now on creations are refused ("draining"). */
void tp_service_drain(struct tp_service *service);

/*
 * Ends. No call may be under way. Guests of sessions are kept, or parked where the configuration
 * says so; those that wait in stock end. Takes NULL. Returns NULL.
 */
struct tp_service *tp_service_close(struct tp_service *service);

/* --- who asks --- */

enum tp_perm {
	TP_PERM_READ = 1,
	TP_PERM_EXEC = 2,
	TP_PERM_OPERATE = 4,
	TP_PERM_CREATE = 8,
	TP_PERM_ALL = 15,
};

struct tp_actor {
	char tenant[65];
	char how[96]; /* for the audit log: "token 3f9c", "jwt bob", "peer 0", "torpord" */
	bool admin;
	bool self;		     /* torpord itself: what it does isn't use of a session */
	uint32_t perms;		     /* enum tp_perm */
	char session[TP_ID_LEN + 1]; /* the only one it may touch; "": any */
	uint64_t expires_ns; /* CLOCK_REALTIME: what it shows is good until then; 0: for ever */
	/* A request that may be repeated; "": not. */
	char key[129];
	uint8_t print[TP_HASH_LEN];
};

/* --- requests that are repeated (Idempotency-Key) --- */

/*
 * Before an operation whose actor has a key. *REPLAYED_OUT: it was done before, *STATUS_OUT and
 * *VIEW_OUT (NULL for a 204) are the answer, and nothing is to be done. Else the key is this
 * request's until tp_service_repeat_end; the operation records its outcome in its own commit.
 * MISMATCH: the key was another request's. BUSY: it is under way.
 */
struct torpor_error *tp_service_repeat_begin(struct tp_service *service,
	const struct tp_actor *actor, bool *replayed_out, int *status_out,
	json_t **view_out) TP_MUST_USE;
void tp_service_repeat_end(struct tp_service *service, const struct tp_actor *actor);

/* --- sessions --- */

struct tp_create_spec {
	const char *template_name;
	const char *name; /* NULL: one is made up from the template's */
	struct tp_timers timers;
	const json_t *env;    /* object of strings, or NULL; borrowed as all here */
	const json_t *labels; /* the same; at most 32, keys to 63 and values to 255 bytes */
	const json_t *limits; /* object as in docs/API.md, or NULL */
};

struct torpor_error *tp_service_create(struct tp_service *service, const struct tp_actor *actor,
	const struct tp_create_spec *spec, const struct tp_call *call,
	json_t **view_out) TP_MUST_USE;

struct tp_list_filter {
	const char *state, *template_name, *label_key, *label_value, *match; /* or NULL */
	size_t limit;							     /* 1 to 1000 */
	const char *cursor; /* of an earlier answer, or NULL; INVALID if it isn't one */
};
/* {"sessions": [...], "next": ...} */
struct torpor_error *tp_service_list(struct tp_service *service, const struct tp_actor *actor,
	const struct tp_list_filter *filter, json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_get(struct tp_service *service, const struct tp_actor *actor,
	const char *id, json_t **view_out) TP_MUST_USE;
/* What is NULL, or TP_UNSET, stays. Limits hold for the process that is there from then on. */
struct tp_change_spec {
	const char *name;
	struct tp_timers timers;
	const json_t *labels;
	const json_t *limits;
};
struct torpor_error *tp_service_change(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_change_spec *spec, const struct tp_call *call,
	json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_destroy(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call) TP_MUST_USE;
struct torpor_error *tp_service_park(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call, json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_cancel_park(
	struct tp_service *service, const struct tp_actor *actor, const char *id) TP_MUST_USE;
struct torpor_error *tp_service_resume(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call, json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_pause(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call, json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_unpause(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call, json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_checkpoint(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const char *label, const struct tp_call *call,
	json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_images(struct tp_service *service, const struct tp_actor *actor,
	const char *id, json_t **view_out) TP_MUST_USE;
/* As torpor_image_where; LABEL is a checkpoint's, or "park". */
struct torpor_error *tp_service_image_where(struct tp_service *service,
	const struct tp_actor *actor, const char *id, const char *label, const struct tp_call *call,
	json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_remove_image(struct tp_service *service,
	const struct tp_actor *actor, const char *id, const char *label) TP_MUST_USE;

struct tp_import_spec {
	const char *domain;
	const char *connect; /* libvirt's URI, or NULL */
	const char *name;    /* NULL: one is made up from the domain's, or "imported" */
	bool keep;
	struct tp_timers timers;
	const json_t *labels; /* object, or NULL */
};
/* As torpor_import: a parked session of the actor's tenant. For the admin: it takes what is the
 * host's. */
struct torpor_error *tp_service_import(struct tp_service *service, const struct tp_actor *actor,
	const struct tp_import_spec *spec, const struct tp_call *call,
	json_t **view_out) TP_MUST_USE;

struct tp_fork_spec {
	size_t count;		  /* 1 to 100 */
	const char *const *names; /* COUNT of them, or NULL */
	const char *image;	  /* label of a checkpoint, or NULL */
	struct tp_timers timers;
	const json_t *labels; /* or NULL: the source's */
};
/* {"sessions": [...], "timing": {...}} */
struct torpor_error *tp_service_fork(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_fork_spec *spec, const struct tp_call *call,
	json_t **view_out) TP_MUST_USE;

struct tp_exec_spec {
	const char *const *argv;
	const json_t *env; /* over the session's own; or NULL */
	const char *cwd;   /* or NULL */
	int stdin_fd;	   /* or -1 */
	bool wake;	   /* resume a parked session first */
	bool kill_on_cancel;
	torpor_output_fn *output; /* on the calling thread; may be NULL */
	void *data;
};
struct torpor_error *tp_service_exec(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_exec_spec *spec, const struct tp_call *call,
	struct torpor_exec_result *result_out) TP_MUST_USE;
struct torpor_error *tp_service_session_metrics(struct tp_service *service,
	const struct tp_actor *actor, const char *id, json_t **view_out) TP_MUST_USE;

/* --- what was, and what is used now: of the last hour, or DAY --- */

struct torpor_error *tp_service_history(struct tp_service *service, const struct tp_actor *actor,
	const char *id, bool day, json_t **view_out) TP_MUST_USE;
/* Of the host for the admin, of a tenant's own sessions for a tenant. */
struct torpor_error *tp_service_host_history(struct tp_service *service,
	const struct tp_actor *actor, bool day, json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_pool_history(struct tp_service *service,
	const struct tp_actor *actor, bool day, json_t **view_out) TP_MUST_USE;
/* Of the sessions that ACTOR may see: an event "usage". */
struct torpor_error *tp_service_usage(
	struct tp_service *service, const struct tp_actor *actor, json_t **view_out) TP_MUST_USE;
/* Where the session is from, and what came of it. */
struct torpor_error *tp_service_lineage(struct tp_service *service, const struct tp_actor *actor,
	const char *id, json_t **view_out) TP_MUST_USE;

/* --- templates, pool --- */

struct torpor_error *tp_service_templates(
	struct tp_service *service, const struct tp_actor *actor, json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_template(struct tp_service *service, const struct tp_actor *actor,
	const char *name, json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_build_template(struct tp_service *service,
	const struct tp_actor *actor, const struct torpor_template_spec *spec,
	torpor_progress_fn *progress, void *data, const struct tp_call *call,
	json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_remove_template(struct tp_service *service,
	const struct tp_actor *actor, const char *name, bool force) TP_MUST_USE;
struct torpor_error *tp_service_pool(
	struct tp_service *service, const struct tp_actor *actor, json_t **view_out) TP_MUST_USE;

/* --- tenants and tokens: the admin's; a tenant sees itself --- */

struct torpor_error *tp_service_tenants(
	struct tp_service *service, const struct tp_actor *actor, json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_tenant(struct tp_service *service, const struct tp_actor *actor,
	const char *name, json_t **view_out) TP_MUST_USE;
/* BODY as in docs/API.md. With NEW it must not exist, else it must. */
struct torpor_error *tp_service_put_tenant(struct tp_service *service, const struct tp_actor *actor,
	const char *name, bool new, const json_t *body, json_t **view_out) TP_MUST_USE;
/* BUSY while it has sessions. */
struct torpor_error *tp_service_remove_tenant(
	struct tp_service *service, const struct tp_actor *actor, const char *name) TP_MUST_USE;
struct torpor_error *tp_service_tokens(struct tp_service *service, const struct tp_actor *actor,
	const char *tenant, json_t **view_out) TP_MUST_USE;
/* The view has "token", which is nowhere else. */
struct torpor_error *tp_service_new_token(struct tp_service *service, const struct tp_actor *actor,
	const char *tenant, const json_t *body, json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_remove_token(struct tp_service *service,
	const struct tp_actor *actor, const char *tenant, const char *id) TP_MUST_USE;
struct torpor_error *tp_service_self(
	struct tp_service *service, const struct tp_actor *actor, json_t **view_out) TP_MUST_USE;
struct torpor_error *tp_service_audit(struct tp_service *service, const struct tp_actor *actor,
	const char *session, uint64_t before, size_t limit, json_t **view_out) TP_MUST_USE;

/*
 * Who a token or a user id stands for: fills in all but the key. DENIED says no more than that, but
 * for a token whose time is over: that has the reason "token-expired".
 */
struct torpor_error *tp_service_actor_of_token(
	struct tp_service *service, const char *token, struct tp_actor *actor_out) TP_MUST_USE;
struct torpor_error *tp_service_actor_of_uid(
	struct tp_service *service, int64_t uid, struct tp_actor *actor_out) TP_MUST_USE;
/*
 * Somebody signed in, or out, as ACTOR: the audit log has it. A login that was ended is remembered
 * for TP_LOGIN_MEMORY_NS: none may last for longer.
 */
#define TP_LOGIN_MEMORY_NS (UINT64_C(86400) * TP_NSEC_PER_SEC)
struct torpor_error *tp_service_login(
	struct tp_service *service, const struct tp_actor *actor) TP_MUST_USE;
struct torpor_error *tp_service_logout(
	struct tp_service *service, const struct tp_actor *actor, const char *login) TP_MUST_USE;
/* DENIED once ACTOR has ended LOGIN. */
struct torpor_error *tp_service_check_login(
	struct tp_service *service, const struct tp_actor *actor, const char *login) TP_MUST_USE;
/* Whether there is such a tenant (for JWTs, and the admin's header). NOT_FOUND. */
struct torpor_error *tp_service_check_tenant(
	struct tp_service *service, const char *name) TP_MUST_USE;
/*
 * One mutating request more: LIMIT "rate" if that is too many. A token bucket for each tenant, of a
 * minute's worth. The admin isn't held up.
 */
struct torpor_error *tp_service_rate(
	struct tp_service *service, const struct tp_actor *actor) TP_MUST_USE;

/* --- events --- */

struct tp_event {
	uint64_t id;
	const char *type;
	json_t *data; /* a new reference */
};

/* The newest id: where to begin without Last-Event-ID. */
uint64_t tp_service_last_event(struct tp_service *service);
/*
 * The first event behind AFTER that ACTOR may see (of SESSION, unless NULL), waited for; type
 * "reset" if some were missed (its id is where to go on). TIMEOUT: none came. Also returns
 * (CANCELLED) when the service drains.
 */
struct torpor_error *tp_service_next_event(struct tp_service *service, const struct tp_actor *actor,
	const char *session, uint64_t after, const struct tp_call *call,
	struct tp_event *event_out) TP_MUST_USE;

/* --- watching it --- */

/* Prometheus' text format; the caller's to free. */
char *tp_service_metrics(struct tp_service *service);
/* NULL: ready; else what is missing, the caller's to free. */
char *tp_service_not_ready(struct tp_service *service);
/* A request was refused before it came here ("connections", "rate"): for the metrics. */
void tp_service_count_refusal(struct tp_service *service, const char *reason);
void tp_service_count_request(
	struct tp_service *service, const char *route, int status, uint64_t took_ns);

#endif
