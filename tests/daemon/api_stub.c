/* SPDX-License-Identifier: Apache-2.0 */
/* What stands around the handlers in their tests. */
#include "api_stub.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#define GONE_FD 12345 /* never polled */

struct stub stub;

void stub_reset(void)
{
	json_decref(stub.calls);
	json_decref(stub.sent);
	free(stub.input);
	stub = (struct stub){.calls = json_array(), .sent = json_array()};
}

/* --- writing down --- */

static json_t *called(const char *fn, const struct tp_actor *actor)
{
	json_t *entry = json_pack("{ss}", "fn", fn);

	if (actor)
		stub.actor = *actor;
	json_array_append_new(stub.calls, entry);
	return entry;
}

static void note(json_t *entry, const char *name, const char *text)
{
	if (text)
		json_object_set_new(entry, name, json_string(text));
}

static void note_number(json_t *entry, const char *name, int64_t number)
{
	if (number != TP_UNSET)
		json_object_set_new(entry, name, json_integer(number));
}

static void note_flag(json_t *entry, const char *name, bool flag)
{
	if (flag)
		json_object_set_new(entry, name, json_true());
}

static void note_json(json_t *entry, const char *name, const json_t *json)
{
	if (json)
		json_object_set_new(entry, name, json_deep_copy(json));
}

static void note_timers(json_t *entry, const struct tp_timers *timers)
{
	note_number(entry, "ttl_s", timers->ttl_s);
	note_number(entry, "idle_s", timers->idle_s);
	note_number(entry, "retention_s", timers->retention_s);
}

static struct torpor_error *outcome(void)
{
	struct torpor_error *err;

	if (!stub.code)
		return NULL;
	err = tp_error(stub.code, "stub", NULL, "as told");
	return stub.reason ? tp_error_refusal(err, stub.reason, 5) : err;
}

static struct torpor_error *answer(json_t **view_out)
{
	TP_TRY(outcome());
	*view_out = stub.view ? json_deep_copy(stub.view)
			      : json_pack("{ss ss}", "id", "k3v9q2m7x4tz0d8h", "name", "demo");
	return NULL;
}

/* --- sessions --- */

struct torpor_error *tp_service_create(struct tp_service *service, const struct tp_actor *actor,
	const struct tp_create_spec *spec, const struct tp_call *call, json_t **view_out)
{
	json_t *entry = called("create", actor);

	(void)service;
	stub.call = *call;
	note(entry, "template", spec->template_name);
	note(entry, "name", spec->name);
	note_timers(entry, &spec->timers);
	note_json(entry, "env", spec->env);
	note_json(entry, "labels", spec->labels);
	note_json(entry, "limits", spec->limits);
	return answer(view_out);
}

struct torpor_error *tp_service_list(struct tp_service *service, const struct tp_actor *actor,
	const struct tp_list_filter *filter, json_t **view_out)
{
	json_t *entry = called("list", actor);

	(void)service;
	note(entry, "state", filter->state);
	note(entry, "template", filter->template_name);
	note(entry, "label_key", filter->label_key);
	note(entry, "label_value", filter->label_value);
	note(entry, "match", filter->match);
	note(entry, "cursor", filter->cursor);
	note_number(entry, "limit", (int64_t)filter->limit);
	return answer(view_out);
}

struct torpor_error *tp_service_get(
	struct tp_service *service, const struct tp_actor *actor, const char *id, json_t **view_out)
{
	(void)service;
	note(called("get", actor), "id", id);
	return answer(view_out);
}

struct torpor_error *tp_service_change(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_change_spec *spec, const struct tp_call *call,
	json_t **view_out)
{
	json_t *entry = called("change", actor);

	(void)service;
	stub.call = *call;
	note(entry, "id", id);
	note(entry, "name", spec->name);
	note_timers(entry, &spec->timers);
	note_json(entry, "labels", spec->labels);
	note_json(entry, "limits", spec->limits);
	return answer(view_out);
}

struct torpor_error *tp_service_destroy(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_call *call)
{
	(void)service;
	stub.call = *call;
	note(called("destroy", actor), "id", id);
	return outcome();
}

struct torpor_error *tp_service_cancel_park(
	struct tp_service *service, const struct tp_actor *actor, const char *id)
{
	(void)service;
	note(called("cancel_park", actor), "id", id);
	return outcome();
}

#define OPERATION(name)                                                                            \
	struct torpor_error *tp_service_##name(struct tp_service *service,                         \
		const struct tp_actor *actor, const char *id, const struct tp_call *call,          \
		json_t **view_out)                                                                 \
	{                                                                                          \
		(void)service;                                                                     \
		stub.call = *call;                                                                 \
		note(called(#name, actor), "id", id);                                              \
		return answer(view_out);                                                           \
	}
OPERATION(park)
OPERATION(resume)
OPERATION(pause)
OPERATION(unpause)

struct torpor_error *tp_service_checkpoint(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const char *label, const struct tp_call *call, json_t **view_out)
{
	json_t *entry = called("checkpoint", actor);

	(void)service;
	stub.call = *call;
	note(entry, "id", id);
	note(entry, "name", label);
	return answer(view_out);
}

struct torpor_error *tp_service_import(struct tp_service *service, const struct tp_actor *actor,
	const struct tp_import_spec *spec, const struct tp_call *call, json_t **view_out)
{
	json_t *entry = called("import", actor);

	(void)service;
	stub.call = *call;
	note(entry, "domain", spec->domain);
	note(entry, "connect", spec->connect);
	note(entry, "name", spec->name);
	note_flag(entry, "keep", spec->keep);
	note_timers(entry, &spec->timers);
	note_json(entry, "labels", spec->labels);
	return answer(view_out);
}

struct torpor_error *tp_service_images(
	struct tp_service *service, const struct tp_actor *actor, const char *id, json_t **view_out)
{
	(void)service;
	note(called("images", actor), "id", id);
	return answer(view_out);
}

struct torpor_error *tp_service_image_where(struct tp_service *service,
	const struct tp_actor *actor, const char *id, const char *label, const struct tp_call *call,
	json_t **view_out)
{
	json_t *entry = called("image_where", actor);

	(void)service;
	stub.call = *call;
	note(entry, "id", id);
	note(entry, "name", label);
	return answer(view_out);
}

struct torpor_error *tp_service_remove_image(
	struct tp_service *service, const struct tp_actor *actor, const char *id, const char *label)
{
	json_t *entry = called("remove_image", actor);

	(void)service;
	note(entry, "id", id);
	note(entry, "name", label);
	return outcome();
}

struct torpor_error *tp_service_fork(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_fork_spec *spec, const struct tp_call *call,
	json_t **view_out)
{
	json_t *entry = called("fork", actor);

	(void)service;
	stub.call = *call;
	note(entry, "id", id);
	note_number(entry, "count", (int64_t)spec->count);
	for (size_t i = 0; spec->names && i < spec->count; i++) {
		if (i == 0)
			json_object_set_new(entry, "names", json_array());
		json_array_append_new(json_object_get(entry, "names"), json_string(spec->names[i]));
	}
	note(entry, "image", spec->image);
	note_timers(entry, &spec->timers);
	note_json(entry, "labels", spec->labels);
	return answer(view_out);
}

struct torpor_error *tp_service_session_metrics(
	struct tp_service *service, const struct tp_actor *actor, const char *id, json_t **view_out)
{
	(void)service;
	note(called("session_metrics", actor), "id", id);
	return answer(view_out);
}

/* --- exec --- */

static void read_input(int fd)
{
	struct stat st;

	if (fd < 0)
		return;
	/* As the engine does: from where it stands, to its end. */
	fstat(fd, &st);
	free(stub.input);
	stub.input = tp_calloc(1, (size_t)st.st_size + 1);
	if (read(fd, stub.input, (size_t)st.st_size) != st.st_size)
		abort();
}

struct torpor_error *tp_service_exec(struct tp_service *service, const struct tp_actor *actor,
	const char *id, const struct tp_exec_spec *spec, const struct tp_call *call,
	struct torpor_exec_result *result_out)
{
	json_t *entry = called("exec", actor);
	json_t *argv = json_array();

	(void)service;
	stub.call = *call;
	note(entry, "id", id);
	for (size_t i = 0; spec->argv[i]; i++)
		json_array_append_new(argv, json_string(spec->argv[i]));
	json_object_set_new(entry, "argv", argv);
	note_json(entry, "env", spec->env);
	note(entry, "cwd", spec->cwd);
	note_flag(entry, "wake", spec->wake);
	note_flag(entry, "kill_on_cancel", spec->kill_on_cancel);
	read_input(spec->stdin_fd);
	for (size_t i = 0; i < stub.n_chunks; i++)
		spec->output(spec->data, stub.chunks[i].stream, stub.chunks[i].bytes,
			stub.chunks[i].len);
	TP_TRY(outcome());
	*result_out = stub.result;
	return NULL;
}

/* --- templates, pool --- */

#define VIEW(name)                                                                                 \
	struct torpor_error *tp_service_##name(                                                    \
		struct tp_service *service, const struct tp_actor *actor, json_t **view_out)       \
	{                                                                                          \
		(void)service;                                                                     \
		called(#name, actor);                                                              \
		return answer(view_out);                                                           \
	}
VIEW(templates)
VIEW(pool)
VIEW(tenants)
VIEW(self)

struct torpor_error *tp_service_template(struct tp_service *service, const struct tp_actor *actor,
	const char *name, json_t **view_out)
{
	(void)service;
	note(called("template", actor), "name", name);
	return answer(view_out);
}

struct torpor_error *tp_service_build_template(struct tp_service *service,
	const struct tp_actor *actor, const struct torpor_template_spec *spec,
	torpor_progress_fn *progress, void *data, const struct tp_call *call, json_t **view_out)
{
	json_t *entry = called("build_template", actor);

	(void)service;
	stub.call = *call;
	note(entry, "name", spec->name);
	note(entry, "machine", spec->machine);
	note(entry, "accel", spec->accel);
	note(entry, "cpu", spec->cpu);
	note_number(entry, "memory", (int64_t)spec->memory);
	note_number(entry, "vcpus", spec->vcpus);
	note(entry, "kernel", spec->kernel);
	note(entry, "initrd", spec->initrd);
	note(entry, "append", spec->append);
	note(entry, "ready_line", spec->ready_line);
	note_flag(entry, "replace", spec->replace);
	for (const char *const *line = stub.progress; progress && line && *line; line++)
		progress(data, "boot", *line);
	return answer(view_out);
}

struct torpor_error *tp_service_remove_template(
	struct tp_service *service, const struct tp_actor *actor, const char *name, bool force)
{
	json_t *entry = called("remove_template", actor);

	(void)service;
	note(entry, "name", name);
	note_flag(entry, "force", force);
	return outcome();
}

/* --- tenants, tokens, audit --- */

struct torpor_error *tp_service_tenant(struct tp_service *service, const struct tp_actor *actor,
	const char *name, json_t **view_out)
{
	(void)service;
	note(called("tenant", actor), "name", name);
	return answer(view_out);
}

struct torpor_error *tp_service_put_tenant(struct tp_service *service, const struct tp_actor *actor,
	const char *name, bool new, const json_t *body, json_t **view_out)
{
	json_t *entry = called("put_tenant", actor);

	(void)service;
	note(entry, "name", name);
	note_flag(entry, "new", new);
	note_json(entry, "body", body);
	return answer(view_out);
}

struct torpor_error *tp_service_remove_tenant(
	struct tp_service *service, const struct tp_actor *actor, const char *name)
{
	(void)service;
	note(called("remove_tenant", actor), "name", name);
	return outcome();
}

struct torpor_error *tp_service_tokens(struct tp_service *service, const struct tp_actor *actor,
	const char *tenant, json_t **view_out)
{
	(void)service;
	note(called("tokens", actor), "tenant", tenant);
	return answer(view_out);
}

struct torpor_error *tp_service_new_token(struct tp_service *service, const struct tp_actor *actor,
	const char *tenant, const json_t *body, json_t **view_out)
{
	json_t *entry = called("new_token", actor);

	(void)service;
	note(entry, "tenant", tenant);
	note_json(entry, "body", body);
	return answer(view_out);
}

struct torpor_error *tp_service_remove_token(struct tp_service *service,
	const struct tp_actor *actor, const char *tenant, const char *id)
{
	json_t *entry = called("remove_token", actor);

	(void)service;
	note(entry, "tenant", tenant);
	note(entry, "id", id);
	return outcome();
}

struct torpor_error *tp_service_audit(struct tp_service *service, const struct tp_actor *actor,
	const char *session, uint64_t before, size_t limit, json_t **view_out)
{
	json_t *entry = called("audit", actor);

	(void)service;
	note(entry, "session", session);
	note_number(entry, "before", (int64_t)before);
	note_number(entry, "limit", (int64_t)limit);
	return answer(view_out);
}

/* --- history --- */

struct torpor_error *tp_service_history(struct tp_service *service, const struct tp_actor *actor,
	const char *id, bool day, json_t **view_out)
{
	json_t *entry = called("history", actor);

	(void)service;
	note(entry, "id", id);
	note_flag(entry, "day", day);
	return answer(view_out);
}

struct torpor_error *tp_service_lineage(
	struct tp_service *service, const struct tp_actor *actor, const char *id, json_t **view_out)
{
	(void)service;
	note(called("lineage", actor), "id", id);
	return answer(view_out);
}

struct torpor_error *tp_service_host_history(
	struct tp_service *service, const struct tp_actor *actor, bool day, json_t **view_out)
{
	(void)service;
	note_flag(called("host_history", actor), "day", day);
	return answer(view_out);
}

struct torpor_error *tp_service_pool_history(
	struct tp_service *service, const struct tp_actor *actor, bool day, json_t **view_out)
{
	(void)service;
	note_flag(called("pool_history", actor), "day", day);
	return answer(view_out);
}

struct torpor_error *tp_service_usage(
	struct tp_service *service, const struct tp_actor *actor, json_t **view_out)
{
	(void)service;
	called("usage", actor);
	*view_out = json_pack("{s:{}}", "sessions");
	return NULL;
}

/* --- events, watching --- */

uint64_t tp_service_last_event(struct tp_service *service)
{
	(void)service;
	return 41;
}

struct torpor_error *tp_service_next_event(struct tp_service *service, const struct tp_actor *actor,
	const char *session, uint64_t after, const struct tp_call *call, struct tp_event *event_out)
{
	json_t *entry = called("next_event", actor);

	(void)service;
	stub.call = *call;
	note(entry, "session", session);
	note_number(entry, "after", (int64_t)after);
	TP_TRY(outcome());
	if (stub.n_events == 0)
		return tp_error(TORPOR_E_CANCELLED, "wait for event", NULL, "as told");
	*event_out = *stub.events;
	event_out->data = json_deep_copy(stub.events->data);
	stub.events++;
	stub.n_events--;
	return NULL;
}

char *tp_service_metrics(struct tp_service *service)
{
	(void)service;
	called("metrics", NULL);
	return tp_strdup("torpor_sessions 1\n");
}

char *tp_service_not_ready(struct tp_service *service)
{
	(void)service;
	return tp_strdup(stub.missing);
}

/* --- the plumbing --- */

const char *http_query(const struct http_request *req, const char *name)
{
	const struct fake *fake = req->connection;

	return json_string_value(json_object_get(fake->query, name));
}

const char *http_header(const struct http_request *req, const char *name)
{
	const struct fake *fake = req->connection;

	return json_string_value(json_object_get(fake->headers, name));
}

struct torpor_error *http_query_number(const struct http_request *req, const char *name,
	uint64_t min, uint64_t max, uint64_t default_value, uint64_t *value_out)
{
	const char *text = http_query(req, name);
	char *end;
	unsigned long long value;

	*value_out = default_value;
	if (!text)
		return NULL;
	value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || value < min || value > max)
		return tp_error(TORPOR_E_INVALID, "read query", name, "must be a number");
	*value_out = value;
	return NULL;
}

json_t *http_problem(const struct torpor_error *err, int *status_out)
{
	const char *code = torpor_errc_name(torpor_error_code(err));

	if (status_out)
		*status_out = 500;
	return json_pack("{ss ss}", "code", code, "detail", torpor_error_message(err));
}

bool http_stream_send(struct http_stream *stream, uint64_t id, const char *type, json_t *data)
{
	json_t *event = json_pack("{ss so}", "type", type, "data", data);

	(void)stream;
	if (!event)
		abort();
	if (id > 0)
		json_object_set_new(event, "id", json_integer((json_int_t)id));
	json_array_append_new(stub.sent, event);
	return stub.patience == 0 || json_array_size(stub.sent) < stub.patience;
}

struct torpor_error *http_still_identified(struct http_request *req)
{
	(void)req;
	if (!stub.over)
		return NULL;
	return tp_error_refusal(
		tp_error(TORPOR_E_DENIED, "identify", NULL, "as told"), "login-over", 0);
}

struct torpor_error *http_sign_in(
	struct http_request *req, const char *token, const char *code, struct http_reply *reply)
{
	json_t *entry = called("sign_in", NULL);

	(void)reply;
	note(entry, "token", token);
	note(entry, "code", code);
	TP_TRY(outcome());
	req->login = true;
	return NULL;
}

struct torpor_error *http_sign_out(struct http_request *req, struct http_reply *reply)
{
	(void)req;
	(void)reply;
	called("sign_out", NULL);
	return outcome();
}

struct torpor_error *http_login_link(struct http_request *req, json_t **view_out)
{
	(void)req;
	called("login_link", NULL);
	return answer(view_out);
}

struct torpor_error *http_gone_fd(struct http_request *req, int *fd_out)
{
	(void)req;
	*fd_out = GONE_FD;
	return NULL;
}

int http_stream_gone_fd(const struct http_stream *stream)
{
	(void)stream;
	return GONE_FD;
}

/* --- requests --- */

void fake_init(struct fake *fake, const char *body)
{
	*fake = (struct fake){
		.req =
			{
				.params = {"k3v9q2m7x4tz0d8h", "before"},
				.actor = {.tenant = "alice", .how = "token 3f9c"},
				.call = {TP_NO_DEADLINE, -1},
			},
	};
	fake->req.connection = fake;
	if (!body)
		return;
	fake->body = json_loads(body, 0, NULL);
	if (!fake->body)
		abort();
	fake->req.body = fake->body;
}

static void end_reply(struct http_reply *reply)
{
	json_decref(reply->body);
	free(reply->text);
	for (size_t i = 0; i < reply->n_headers; i++)
		free(reply->headers[i].value);
	if (reply->free_data)
		reply->free_data(reply->data);
	*reply = (struct http_reply){0};
}

void fake_deinit(struct fake *fake)
{
	end_reply(&fake->reply);
	json_decref(fake->body);
}

http_handler *route_handler(const char *method, const char *pattern)
{
	for (const struct http_route *route = http_routes; route->method; route++)
		if (strcmp(route->method, method) == 0 && strcmp(route->pattern, pattern) == 0)
			return route->handler;
	fprintf(stderr, "there is no route %s %s\n", method, pattern);
	abort();
}

struct torpor_error *fake_call(struct fake *fake, http_handler *handler)
{
	TP_TRY(handler(&fake->req, &fake->reply));
	if (!fake->reply.produce)
		return NULL;
	/* The request has been answered when its stream begins: nothing of it may be needed. */
	json_decref(fake->body);
	fake->body = NULL;
	memset(&fake->req, 0, sizeof(fake->req));
	fake->reply.produce(fake->reply.data, NULL);
	return NULL;
}
