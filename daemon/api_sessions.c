/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: /v1/sessions and what is below it, but for exec. */
#include <string.h>

#include "daemon/api.h"
#include "service/state.h"

/* --- what they are made of --- */

/* "limits": checked here, and handed on as it was sent. */
static const json_t *read_limits(struct json_in *in)
{
	struct json_in inner;
	const json_t *limits = json_in_enter(in, "limits", &inner);

	json_in_real(&inner, "cpus", 0.01, 1024, 0);
	json_in_number(&inner, "memory_bytes", 1 << 20, API_BYTES_MAX, 0);
	json_in_number(&inner, "pids", 1, 4194304, 0); /* PID_MAX_LIMIT */
	json_in_number(&inner, "nofile", 64, 1048576, 0);
	json_in_number(&inner, "io_bytes_per_s", 1, API_BYTES_MAX, 0);
	json_in_number(&inner, "net_bytes_per_s", 1, API_BYTES_MAX, 0);
	json_in_leave(in, &inner);
	return limits;
}

struct torpor_error *api_create(struct http_request *req, struct http_reply *reply)
{
	struct json_in in = json_in_over(req->body, "create session");
	struct tp_create_spec spec = {
		.template_name = json_in_name(&in, "template", JSON_IN_REQUIRED),
		.name = json_in_name(&in, "name", JSON_IN_OPTIONAL),
		.timers = api_timers(&in),
		.env = api_env(&in),
		.labels = api_labels(&in),
		.limits = read_limits(&in),
	};
	int64_t wait_s = json_in_number(&in, "wait_s", 1, API_WAIT_MAX, 0);
	struct tp_call call =
		wait_s ? tp_call_bounded(&req->call, (uint64_t)wait_s * TP_NSEC_PER_SEC)
		       : api_call_within(req, API_WAIT_DEFAULT);

	TP_TRY(json_in_end(&in));
	reply->status = 201;
	return tp_service_create(req->service, &req->actor, &spec, &call, &reply->body);
}

/* --- from libvirt --- */

struct torpor_error *api_import(struct http_request *req, struct http_reply *reply)
{
	struct json_in in = json_in_over(req->body, "import domain");
	struct tp_import_spec spec = {
		.domain = json_in_line(&in, "domain", JSON_IN_REQUIRED, 1, API_TEXT_MAX),
		.connect = json_in_line(&in, "connect", JSON_IN_OPTIONAL, 1, API_TEXT_MAX),
		.name = json_in_name(&in, "name", JSON_IN_OPTIONAL),
		.keep = json_in_flag(&in, "keep", false),
		.timers = api_timers(&in),
		.labels = api_labels(&in),
	};
	struct tp_call call = api_call_within(req, API_WAIT_MAX);

	TP_TRY(json_in_end(&in));
	reply->status = 201;
	return tp_service_import(req->service, &req->actor, &spec, &call, &reply->body);
}

/* --- finding them --- */

/* "label=KEY=VALUE", its key copied to KEY. */
static struct torpor_error *read_label(const struct http_request *req,
	char key[API_LABEL_KEY_MAX + 1], struct tp_list_filter *filter)
{
	const char *label, *equals;

	TP_TRY(api_query_text(req, "label", API_LABEL_KEY_MAX + 1 + API_LABEL_VALUE_MAX, &label));
	if (!label)
		return NULL;
	equals = strchr(label, '=');
	if (!equals || !api_label_key_ok(label, (size_t)(equals - label)) ||
		strlen(equals + 1) > API_LABEL_VALUE_MAX)
		return tp_error(TORPOR_E_INVALID, "read query", "label",
			"must be KEY=VALUE, as sessions' labels");
	memcpy(key, label, (size_t)(equals - label));
	key[equals - label] = '\0';
	filter->label_key = key;
	filter->label_value = equals + 1;
	return NULL;
}

struct torpor_error *api_list(struct http_request *req, struct http_reply *reply)
{
	struct tp_list_filter filter = {0};
	char key[API_LABEL_KEY_MAX + 1];
	enum tp_state state;
	uint64_t limit;

	TP_TRY(api_query_text(req, "state", 64, &filter.state));
	if (filter.state && !tp_state_parse(filter.state, &state))
		return tp_error(TORPOR_E_INVALID, "read query", "state", "there is no such state");
	TP_TRY(api_query_text(req, "template", 64, &filter.template_name));
	TP_TRY(api_query_text(req, "match", 64, &filter.match));
	TP_TRY(api_query_text(req, "cursor", API_CURSOR_MAX, &filter.cursor));
	TP_TRY(read_label(req, key, &filter));
	TP_TRY(http_query_number(req, "limit", 1, API_PAGE_MAX, API_PAGE_DEFAULT, &limit));
	filter.limit = limit;
	return tp_service_list(req->service, &req->actor, &filter, &reply->body);
}

/* --- one of them --- */

struct torpor_error *api_get(struct http_request *req, struct http_reply *reply)
{
	const char *id;

	TP_TRY(api_session_id(req, &id));
	return tp_service_get(req->service, &req->actor, id, &reply->body);
}

struct torpor_error *api_change(struct http_request *req, struct http_reply *reply)
{
	struct json_in in = json_in_over(req->body, "change session");
	struct tp_change_spec spec = {
		.name = json_in_name(&in, "name", JSON_IN_OPTIONAL),
		.timers = api_timers(&in),
		.labels = api_labels(&in),
		.limits = read_limits(&in),
	};
	const char *id;

	TP_TRY(json_in_end(&in));
	TP_TRY(api_session_id(req, &id));
	return tp_service_change(req->service, &req->actor, id, &spec, &req->call, &reply->body);
}

struct torpor_error *api_destroy(struct http_request *req, struct http_reply *reply)
{
	const char *id;

	(void)reply;
	TP_TRY(api_session_id(req, &id));
	return tp_service_destroy(req->service, &req->actor, id, &req->call);
}

/* --- park, resume, pause, unpause: a session, and nothing else --- */

typedef struct torpor_error *operation(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call, json_t **view_out);

static struct torpor_error *operate(
	struct http_request *req, struct http_reply *reply, const char *step, operation *op)
{
	const char *id;

	TP_TRY(api_no_fields(req, step));
	TP_TRY(api_session_id(req, &id));
	return op(req->service, &req->actor, id, &req->call, &reply->body);
}

struct torpor_error *api_park(struct http_request *req, struct http_reply *reply)
{
	return operate(req, reply, "park session", tp_service_park);
}

struct torpor_error *api_resume(struct http_request *req, struct http_reply *reply)
{
	return operate(req, reply, "resume session", tp_service_resume);
}

struct torpor_error *api_pause(struct http_request *req, struct http_reply *reply)
{
	return operate(req, reply, "pause session", tp_service_pause);
}

struct torpor_error *api_unpause(struct http_request *req, struct http_reply *reply)
{
	return operate(req, reply, "unpause session", tp_service_unpause);
}

struct torpor_error *api_cancel_park(struct http_request *req, struct http_reply *reply)
{
	const char *id;

	(void)reply;
	TP_TRY(api_session_id(req, &id));
	return tp_service_cancel_park(req->service, &req->actor, id);
}

/* --- images --- */

struct torpor_error *api_checkpoint(struct http_request *req, struct http_reply *reply)
{
	struct json_in in = json_in_over(req->body, "checkpoint session");
	const char *name = json_in_name(&in, "name", JSON_IN_OPTIONAL);
	const char *id;

	TP_TRY(json_in_end(&in));
	TP_TRY(api_session_id(req, &id));
	return tp_service_checkpoint(req->service, &req->actor, id, name, &req->call, &reply->body);
}

struct torpor_error *api_images(struct http_request *req, struct http_reply *reply)
{
	const char *id;

	TP_TRY(api_session_id(req, &id));
	return tp_service_images(req->service, &req->actor, id, &reply->body);
}

struct torpor_error *api_image_where(struct http_request *req, struct http_reply *reply)
{
	const char *id, *name;

	TP_TRY(api_session_id(req, &id));
	TP_TRY(api_name(req, 1, "image", &name));
	return tp_service_image_where(
		req->service, &req->actor, id, name, &req->call, &reply->body);
}

struct torpor_error *api_remove_image(struct http_request *req, struct http_reply *reply)
{
	const char *id, *name;

	(void)reply;
	TP_TRY(api_session_id(req, &id));
	TP_TRY(api_name(req, 1, "image", &name));
	return tp_service_remove_image(req->service, &req->actor, id, name);
}

/* --- fork --- */

/* "names" into LIST; how many, 0 if they weren't sent. */
static size_t read_names(struct json_in *in, const char *list[API_FORKS_MAX])
{
	const json_t *names = json_in_strings(
		in, "names", JSON_IN_OPTIONAL, 1, API_FORKS_MAX, (64 + 1) * API_FORKS_MAX);
	size_t i;
	json_t *name;

	json_array_foreach (names, i, name)
		list[i] = json_string_value(name);
	return json_array_size(names);
}

static struct torpor_error *check_names(const char *const *names, size_t n, size_t count)
{
	if (n != count)
		return tp_error(TORPOR_E_INVALID, "fork session", NULL,
			"\"names\" must have as many entries as \"count\" says: %zu", count);
	for (size_t i = 0; i < n; i++)
		if (!json_in_name_ok(names[i]))
			return tp_error(TORPOR_E_INVALID, "fork session", NULL,
				"\"names\" must hold names: 1 to 64 of A-Z a-z 0-9 . _ -, the "
				"first a letter or digit");
	return NULL;
}

struct torpor_error *api_fork(struct http_request *req, struct http_reply *reply)
{
	struct json_in in = json_in_over(req->body, "fork session");
	const char *names[API_FORKS_MAX];
	size_t n_names = read_names(&in, names);
	struct tp_fork_spec spec = {
		.count = (size_t)json_in_number(
			&in, "count", 1, API_FORKS_MAX, n_names ? (int64_t)n_names : 1),
		.names = n_names ? names : NULL,
		.image = json_in_name(&in, "image", JSON_IN_OPTIONAL),
		.timers = api_timers(&in),
		.labels = api_labels(&in),
	};
	const char *id;

	TP_TRY(json_in_end(&in));
	if (n_names > 0)
		TP_TRY(check_names(names, n_names, spec.count));
	TP_TRY(api_session_id(req, &id));
	TP_TRY(tp_service_fork(req->service, &req->actor, id, &spec, &req->call, &reply->body));
	reply->status = 201;
	return NULL;
}

struct torpor_error *api_session_metrics(struct http_request *req, struct http_reply *reply)
{
	const char *id;

	TP_TRY(api_session_id(req, &id));
	return tp_service_session_metrics(req->service, &req->actor, id, &reply->body);
}
