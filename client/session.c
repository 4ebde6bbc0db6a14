/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a session. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "client/client_priv.h"

#define PAGE_LEN  200 /* sessions that are fetched at once */
#define SHOWN_MAX 5   /* candidates in a message */
#define ID_LEN	  16

/* Asks for something that is answered with a session; SESSION_OUT may be NULL. */
static struct torpor_error *ask_session(struct torpor_client *client, const char *method,
	const char *path, const json_t *body, const struct torpor_call *call,
	struct torpor_remote_session *session_out)
{
	TP_JSON json_t *json = NULL;
	struct torpor_remote_session session;

	TP_TRY(tp_client_ask(client, method, path, body, call, &json));
	TP_TRY(tp_session_parse(json, &session));
	if (session_out)
		*session_out = session;
	else
		torpor_remote_session_deinit(&session);
	return NULL;
}

/* --- create --- */

/* Adds an optional field; a NULL value (text that isn't UTF-8) is INVALID. */
static struct torpor_error *put(json_t *body, const char *field, json_t *value)
{
	if (json_object_set_new(body, field, value) != 0)
		return tp_error(TORPOR_E_INVALID, "send", field, "it isn't UTF-8");
	return NULL;
}

static void put_timer(json_t *body, const char *field, int64_t seconds)
{
	if (seconds >= 0)
		json_object_set_new(body, field, json_integer(seconds));
}

static struct torpor_error *put_limits(json_t *body, const char *limits)
{
	json_t *json = json_loads(limits, 0, NULL);

	if (!json_is_object(json)) {
		json_decref(json);
		return tp_error(TORPOR_E_INVALID, "use", "limits", "they aren't a JSON object");
	}
	return put(body, "limits", json);
}

static struct torpor_error *spec_json(const struct torpor_client_spec *spec, json_t **json_out)
{
	TP_JSON json_t *body = json_object();
	json_t *pairs;

	if (!spec->template_name)
		return tp_error(
			TORPOR_E_INVALID, "create", "session", "the template's name is missing");
	TP_TRY(put(body, "template", json_string(spec->template_name)));
	if (spec->name)
		TP_TRY(put(body, "name", json_string(spec->name)));
	if (spec->env) {
		TP_TRY(tp_pairs_json(spec->env, "environment", &pairs));
		TP_TRY(put(body, "env", pairs));
	}
	if (spec->labels) {
		TP_TRY(tp_pairs_json(spec->labels, "labels", &pairs));
		TP_TRY(put(body, "labels", pairs));
	}
	if (spec->limits)
		TP_TRY(put_limits(body, spec->limits));
	if (spec->has_timers) {
		put_timer(body, "ttl_s", spec->ttl_s);
		put_timer(body, "idle_s", spec->idle_s);
		put_timer(body, "retention_s", spec->retention_s);
	}
	if (spec->wait_s)
		put_timer(body, "wait_s", spec->wait_s);
	*json_out = TP_TAKE(body);
	return NULL;
}

struct torpor_error *torpor_client_create(struct torpor_client *client,
	const struct torpor_client_spec *spec, const struct torpor_call *call,
	struct torpor_remote_session *session_out)
{
	TP_JSON json_t *body = NULL;

	TP_TRY(spec_json(spec, &body));
	return ask_session(client, "POST", "/v1/sessions", body, call, session_out);
}

/* --- get, list, find --- */

struct torpor_error *torpor_client_get(struct torpor_client *client, const char *id,
	const struct torpor_call *call, struct torpor_remote_session *session_out)
{
	TP_FREE char *path = tp_session_path(id, "");

	return ask_session(client, "GET", path, NULL, call, session_out);
}

static char *list_path(const struct torpor_client_filter *filter, const char *cursor, size_t limit)
{
	char number[24];
	char *path = tp_strdup("/v1/sessions");

	snprintf(number, sizeof(number), "%zu", limit);
	path = tp_path_query(path, "limit", number);
	path = tp_path_query(path, "state", filter->state);
	path = tp_path_query(path, "template", filter->template_name);
	path = tp_path_query(path, "label", filter->label);
	path = tp_path_query(path, "match", filter->match);
	return tp_path_query(path, "cursor", cursor);
}

/* Gives a page's sessions; *MORE_OUT is false once EACH has had enough. */
static struct torpor_error *give_page(
	const json_t *page, torpor_client_each_fn *each, void *data, size_t *given, bool *more_out)
{
	const json_t *list = json_object_get(page, "sessions");

	if (!json_is_array(list))
		return tp_error(TORPOR_E_CORRUPT, "list", "sessions", "the answer has no list");
	*more_out = true;
	for (size_t i = 0; i < json_array_size(list) && *more_out; i++) {
		struct torpor_remote_session session;
		TP_TRY(tp_session_parse(json_array_get(list, i), &session));
		*more_out = each(data, &session);
		(*given)++;
		torpor_remote_session_deinit(&session);
	}
	return NULL;
}

struct torpor_error *torpor_client_list(struct torpor_client *client,
	const struct torpor_client_filter *filter, const struct torpor_call *call,
	torpor_client_each_fn *each, void *data)
{
	static const struct torpor_client_filter all;
	const struct torpor_client_filter *wanted = filter ? filter : &all;
	size_t limit = wanted->limit ? wanted->limit : SIZE_MAX;
	TP_FREE char *cursor = NULL;
	size_t given = 0;
	bool more = true;

	while (more && given < limit) {
		TP_JSON json_t *page = NULL;
		TP_FREE char *path =
			list_path(wanted, cursor, TP_MIN(limit - given, (size_t)PAGE_LEN));
		size_t before = given;
		TP_TRY(tp_client_ask(client, "GET", path, NULL, call, &page));
		TP_TRY(give_page(page, each, data, &given, &more));
		free(cursor);
		cursor = tp_strdup(json_string_value(json_object_get(page, "next")));
		/* A page with a successor and nothing on it could go on for ever. */
		more = more && cursor && given > before;
	}
	return NULL;
}

struct candidates {
	const char *text;
	struct torpor_remote_session best; /* what counts before the others; deep copy */
	int rank;			   /* of the best: 3 whole id, 2 name, 1 beginning */
	size_t n;			   /* of that rank */
	struct tp_buf shown;
};

static int rank_of(const char *text, const struct torpor_remote_session *session)
{
	if (strcmp(session->id, text) == 0)
		return 3;
	return strcmp(session->name, text) == 0 ? 2 : 1;
}

static void show_candidate(struct candidates *c, const struct torpor_remote_session *session)
{
	TP_FREE char *line = tp_asprintf("%s%s %s", c->n ? ", " : "", session->id, session->name);

	if (c->n < SHOWN_MAX)
		tp_buf_put(&c->shown, line, strlen(line));
	else if (c->n == SHOWN_MAX)
		tp_buf_put(&c->shown, " ...", 4);
}

static bool consider(void *data, const struct torpor_remote_session *session)
{
	struct candidates *c = data;
	int rank = rank_of(c->text, session);

	if (rank < c->rank)
		return true;
	if (rank > c->rank) {
		torpor_remote_session_deinit(&c->best);
		c->best = *session;
		c->best.json = tp_strdup(session->json);
		c->rank = rank;
		c->n = 0;
		c->shown.len = 0;
	}
	show_candidate(c, session);
	c->n++;
	return true;
}

static struct torpor_error *pick(struct candidates *c, struct torpor_remote_session *session_out)
{
	if (c->n == 0)
		return tp_error_hint(
			tp_error(TORPOR_E_NOT_FOUND, "find session", c->text, "there is none"),
			"An id may be shortened to 4 characters; `torpor ls --all` shows what "
			"there is.");
	if (c->n > 1)
		return tp_error_hint(
			tp_error(TORPOR_E_INVALID, "find session", c->text, "it could be %.*s",
				(int)c->shown.len, (const char *)c->shown.data),
			"Give more of the id.");
	*session_out = c->best;
	c->best = (struct torpor_remote_session){0};
	return NULL;
}

struct torpor_error *torpor_client_find(struct torpor_client *client, const char *text,
	const struct torpor_call *call, struct torpor_remote_session *session_out)
{
	struct torpor_client_filter filter = {.match = text, .limit = 50};
	struct candidates c = {.text = text};

	if (!text[0])
		return tp_error(TORPOR_E_INVALID, "find", "session", "its id is empty");
	struct torpor_error *err = torpor_client_list(client, &filter, call, consider, &c);
	if (!err)
		err = pick(&c, session_out);
	torpor_remote_session_deinit(&c.best);
	tp_buf_deinit(&c.shown);
	return err;
}

/* --- what changes its state --- */

static struct torpor_error *post(struct torpor_client *client, const char *id, const char *tail,
	const json_t *body, const struct torpor_call *call,
	struct torpor_remote_session *session_out)
{
	TP_FREE char *path = tp_session_path(id, tail);

	return ask_session(client, "POST", path, body, call, session_out);
}

struct torpor_error *torpor_client_park(struct torpor_client *client, const char *id,
	const struct torpor_call *call, struct torpor_remote_session *session_out)
{
	return post(client, id, "/park", NULL, call, session_out);
}

struct torpor_error *torpor_client_cancel_park(
	struct torpor_client *client, const char *id, const struct torpor_call *call)
{
	TP_FREE char *path = tp_session_path(id, "/park");

	return torpor_client_request(client, "DELETE", path, NULL, call, NULL, NULL);
}

struct torpor_error *torpor_client_resume(struct torpor_client *client, const char *id,
	const struct torpor_call *call, struct torpor_remote_session *session_out)
{
	return post(client, id, "/resume", NULL, call, session_out);
}

struct torpor_error *torpor_client_pause(struct torpor_client *client, const char *id,
	const struct torpor_call *call, struct torpor_remote_session *session_out)
{
	return post(client, id, "/pause", NULL, call, session_out);
}

struct torpor_error *torpor_client_unpause(struct torpor_client *client, const char *id,
	const struct torpor_call *call, struct torpor_remote_session *session_out)
{
	return post(client, id, "/unpause", NULL, call, session_out);
}

struct torpor_error *torpor_client_checkpoint(struct torpor_client *client, const char *id,
	const char *name, const struct torpor_call *call, struct torpor_remote_session *session_out)
{
	TP_JSON json_t *body = json_object();

	if (name)
		TP_TRY(put(body, "name", json_string(name)));
	return post(client, id, "/checkpoint", body, call, session_out);
}

struct torpor_error *torpor_client_destroy(
	struct torpor_client *client, const char *id, const struct torpor_call *call)
{
	TP_FREE char *path = tp_session_path(id, "");

	return torpor_client_request(client, "DELETE", path, NULL, call, NULL, NULL);
}

/* --- fork --- */

static struct torpor_error *parse_forks(
	const json_t *json, struct torpor_remote_session **sessions_out, size_t *n_out)
{
	const json_t *list = json_object_get(json, "sessions");
	size_t n = json_array_size(list);
	struct torpor_remote_session *sessions = tp_calloc(n + 1, sizeof(*sessions));

	for (size_t i = 0; i < n; i++) {
		struct torpor_error *err = tp_session_parse(json_array_get(list, i), &sessions[i]);
		if (err) {
			torpor_remote_sessions_free(sessions, i);
			return err;
		}
	}
	*sessions_out = sessions;
	*n_out = n;
	return NULL;
}

struct torpor_error *torpor_client_fork(struct torpor_client *client, const char *id,
	const struct torpor_client_fork *fork, const struct torpor_call *call,
	struct torpor_remote_session **sessions_out, size_t *n_out)
{
	TP_FREE char *path = tp_session_path(id, "/fork");
	TP_JSON json_t *body = json_object();
	TP_JSON json_t *json = NULL;

	if (fork && fork->count)
		TP_TRY(put(body, "count", json_integer(fork->count)));
	if (fork && fork->image)
		TP_TRY(put(body, "image", json_string(fork->image)));
	TP_TRY(tp_client_ask(client, "POST", path, body, call, &json));
	return parse_forks(json, sessions_out, n_out);
}
