/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Showing sessions: one, or a page of many.
 *
 * A page comes from the records; sessions that are live show the state that they are in. Those that
 * are being made have no record yet and come first, on the first page. States that pass (parking
 * ...) are in no record: such a page is made of the live sessions alone.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/config.h"
#include "service/op.h"

#define LIST_MAX      1000
#define CREATED_CHARS 16 /* of a cursor: hex, then the id */

/* --- One --- */

struct torpor_error *tp_service_get(
	struct tp_service *service, const struct tp_actor *actor, const char *id, json_t **view_out)
{
	struct tp_live *live;

	TP_TRY(tp_actor_may(actor, TP_PERM_READ, id));
	TP_TRY(tp_live_get(service, actor, id, &live));
	*view_out = tp_live_view(service, live, true);
	tp_live_put(service, live);
	return NULL;
}

static json_t *number_of(const json_t *info, const char *key, uint64_t more)
{
	return json_integer(json_integer_value(json_object_get(info, key)) + (json_int_t)more);
}

struct torpor_error *tp_service_session_metrics(
	struct tp_service *service, const struct tp_actor *actor, const char *id, json_t **view_out)
{
	TP_ROW struct tp_session_row row = {0};
	struct tp_live *live;

	TP_TRY(tp_actor_may(actor, TP_PERM_READ, id));
	TP_TRY(tp_live_get(service, actor, id, &live));
	tp_live_copy_row(service, live, &row);
	TP_JSON json_t *session = tp_live_view(service, live, true);
	pthread_mutex_lock(&service->lock);
	uint64_t execs = live->execs_total;
	pthread_mutex_unlock(&service->lock);
	tp_live_put(service, live);

	TP_JSON json_t *info = tp_row_json(row.info);
	json_t *last = json_object_get(info, "last");
	json_t *view = json_object();
	json_object_set(view, "state", json_object_get(session, "state"));
	json_object_set(view, "guest", json_object_get(session, "guest"));
	json_object_set_new(view, "parks", number_of(info, "parks", 0));
	json_object_set_new(view, "resumes", number_of(info, "resumes", 0));
	json_object_set_new(view, "execs", number_of(info, "execs", execs));
	json_object_set_new(view, "last", last ? json_incref(last) : json_object());
	*view_out = view;
	return NULL;
}

/* --- Cursors --- */

struct place {
	uint64_t created_ns;
	char id[TP_ID_LEN + 1];
};

static json_t *view_cursor(const struct place *place)
{
	return json_sprintf("%016" PRIx64 "%s", place->created_ns, place->id);
}

static struct torpor_error *parse_cursor(const char *cursor, struct place *place_out)
{
	static const char digits[] = "0123456789abcdef";
	struct place place = {0};

	if (strlen(cursor) != CREATED_CHARS + TP_ID_LEN || strspn(cursor, digits) < CREATED_CHARS ||
		!tp_id_ok(cursor + CREATED_CHARS))
		return tp_error(
			TORPOR_E_INVALID, "check", "cursor", "it isn't one that an answer had");
	for (size_t i = 0; i < CREATED_CHARS; i++)
		place.created_ns =
			place.created_ns << 4 | (uint64_t)(strchr(digits, cursor[i]) - digits);
	if (place.created_ns == 0 || place.created_ns > INT64_MAX)
		return tp_error(
			TORPOR_E_INVALID, "check", "cursor", "it isn't one that an answer had");
	memcpy(place.id, cursor + CREATED_CHARS, sizeof(place.id));
	*place_out = place;
	return NULL;
}

/* Newest first, as the records have it. Below zero: A comes before B. */
static int compare_places(const struct place *a, const struct place *b)
{
	if (a->created_ns != b->created_ns)
		return a->created_ns > b->created_ns ? -1 : 1;
	return -strcmp(a->id, b->id);
}

/* --- A page --- */

struct page {
	struct tp_service *service;
	const struct tp_actor *actor;
	const struct tp_list_filter *filter;
	bool by_state;	     /* filter->state is set */
	enum tp_state state; /* then */
	bool behind;	     /* filter->cursor is set */
	struct place from;   /* then */
	size_t room;	     /* for so many rows more */
	struct tp_session_row *rows;
	size_t n_rows;
	struct tp_live **lives; /* held */
	size_t n_lives;
	json_t *sessions;
	json_t *next;
};

static struct torpor_error *parse_filter(struct page *page)
{
	const struct tp_list_filter *filter = page->filter;

	if (filter->limit < 1 || filter->limit > LIST_MAX)
		return tp_error(TORPOR_E_INVALID, "check", "limit", "it is 1 to %d", LIST_MAX);
	page->by_state = filter->state;
	if (filter->state && !tp_state_parse(filter->state, &page->state))
		return tp_error(TORPOR_E_INVALID, "check", "state", "there is no such state");
	if (filter->match && !tp_guest_name_ok(filter->match))
		return tp_error(
			TORPOR_E_INVALID, "check", "match", "neither ids nor names look like this");
	page->behind = filter->cursor;
	return filter->cursor ? parse_cursor(filter->cursor, &page->from) : NULL;
}

/* --- Live sessions on a page --- */

static bool label_matches(const struct tp_session_row *row, const char *key, const char *value)
{
	TP_JSON json_t *labels = tp_row_json(row->labels);
	const char *has = json_string_value(json_object_get(labels, key));

	return has && value && strcmp(has, value) == 0;
}

#define MATCH_MIN 4 /* characters of an id */

static bool match_matches(const struct tp_session_row *row, const char *match)
{
	if (row->name && strcmp(row->name, match) == 0)
		return true;
	return strlen(match) >= MATCH_MIN && strncmp(row->id, match, strlen(match)) == 0;
}

static bool row_matches(const struct page *page, const struct tp_session_row *row)
{
	const struct tp_list_filter *filter = page->filter;
	const char *only = page->actor->session;

	if (only[0] && strcmp(row->id, only) != 0)
		return false;
	if (filter->template_name && strcmp(row->template_name, filter->template_name) != 0)
		return false;
	if (filter->label_key && !label_matches(row, filter->label_key, filter->label_value))
		return false;
	return !filter->match || match_matches(row, filter->match);
}

static struct place place_of(const struct tp_live *live)
{
	struct place place = {.created_ns = live->created_ns};

	memcpy(place.id, live->id, sizeof(place.id));
	return place;
}

static bool live_belongs(struct page *page, struct tp_live *live)
{
	TP_ROW struct tp_session_row row = {0};
	struct place place = place_of(live);

	if (page->behind && compare_places(&page->from, &place) >= 0)
		return false;
	tp_live_copy_row(page->service, live, &row);
	return row.id && row_matches(page, &row);
}

static int compare_lives(const void *a, const void *b)
{
	struct place place_a = place_of(*(struct tp_live *const *)a);
	struct place place_b = place_of(*(struct tp_live *const *)b);

	return compare_places(&place_a, &place_b);
}

/* Those in STATES that belong on the page, newest first. */
static void take_lives(struct page *page, unsigned int states, bool unrecorded_only)
{
	struct tp_service *service = page->service;
	struct tp_live **lives;
	size_t kept = 0;

	size_t n = tp_live_list(service, page->actor->tenant, states, unrecorded_only, &lives);
	for (size_t i = 0; i < n; i++) {
		if (live_belongs(page, lives[i]))
			lives[kept++] = lives[i];
		else
			tp_live_put(service, lives[i]);
	}
	qsort(lives, kept, sizeof(struct tp_live *), compare_lives);
	page->lives = lives;
	page->n_lives = kept;
}

static bool among_lives(const struct page *page, const char *id)
{
	for (size_t i = 0; i < page->n_lives; i++) {
		if (strcmp(page->lives[i]->id, id) == 0)
			return true;
	}
	return false;
}

static void put_lives(struct page *page)
{
	for (size_t i = 0; i < page->n_lives; i++)
		tp_live_put(page->service, page->lives[i]);
	free(page->lives);
}

static void show_lives(struct page *page, size_t max)
{
	for (size_t i = 0; i < page->n_lives && i < max; i++)
		json_array_append_new(
			page->sessions, tp_live_view(page->service, page->lives[i], false));
}

/* A page of those in a passing state. */
static void list_passing(struct page *page)
{
	size_t limit = page->filter->limit;

	take_lives(page, 1u << page->state, false);
	show_lives(page, limit);
	if (page->n_lives > limit) {
		struct place last = place_of(page->lives[limit - 1]);
		page->next = view_cursor(&last);
	}
	put_lives(page);
}

/* --- Recorded sessions on a page --- */

static struct torpor_error *take_row(void *data, const struct tp_session_row *row)
{
	struct page *page = data;

	page->rows = tp_reallocarray(page->rows, page->n_rows + 1, sizeof(*page->rows));
	tp_session_row_copy(row, &page->rows[page->n_rows++]);
	return NULL;
}

/* As it is now: not there any more, or in another state than asked for, or shown already. */
static void show_row(struct page *page, const struct tp_session_row *row)
{
	struct tp_live *live = tp_live_peek(page->service, row->id);
	json_t *view = live ? tp_live_view(page->service, live, false)
			    : tp_session_view(page->service, row, NULL, false);
	const char *state = json_string_value(json_object_get(view, "state"));

	if (live)
		tp_live_put(page->service, live);
	bool gone = strcmp(state, tp_state_name(TP_STATE_DESTROYED)) == 0;
	bool other = page->by_state && strcmp(state, page->filter->state) != 0;
	if (gone || other || !row_matches(page, row) || among_lives(page, row->id))
		json_decref(view);
	else
		json_array_append_new(page->sessions, view);
}

static struct torpor_error *show_rows(struct page *page)
{
	const struct tp_list_filter *asked = page->filter;
	const char *only = page->actor->session;
	/* One more than there is room for says whether there is another page. */
	struct tp_session_filter filter = {
		.tenant = page->actor->tenant,
		.state = asked->state,
		.template_name = asked->template_name,
		.label_key = asked->label_key,
		.label_value = asked->label_value,
		.match = only[0] ? only : asked->match,
		.before_created_ns = page->behind ? page->from.created_ns : 0,
		.before_id = page->behind ? page->from.id : NULL,
		.limit = page->room + 1,
	};

	TP_TRY(tp_records_sessions(page->service->records, &filter, take_row, page));
	for (size_t i = 0; i < page->n_rows && i < page->room; i++)
		show_row(page, &page->rows[i]);
	if (page->n_rows > page->room) {
		const struct tp_session_row *row = &page->rows[page->room - 1];
		struct place last = {.created_ns = row->created_ns};
		snprintf(last.id, sizeof(last.id), "%s", row->id);
		page->next = view_cursor(&last);
	}
	return NULL;
}

static struct torpor_error *list_recorded(struct page *page)
{
	if (!page->by_state && !page->behind)
		take_lives(page, TP_LIVE_IN(CREATED) | TP_LIVE_IN(STARTING), true);
	/* At least one place is left for a row, or there would be no cursor. */
	while (page->n_lives > page->filter->limit - 1)
		tp_live_put(page->service, page->lives[--page->n_lives]);
	show_lives(page, page->n_lives);
	page->room = page->filter->limit - page->n_lives;
	struct torpor_error *err = show_rows(page);
	for (size_t i = 0; i < page->n_rows; i++)
		tp_session_row_deinit(&page->rows[i]);
	free(page->rows);
	put_lives(page);
	return err;
}

struct torpor_error *tp_service_list(struct tp_service *service, const struct tp_actor *actor,
	const struct tp_list_filter *filter, json_t **view_out)
{
	struct page page = {.service = service, .actor = actor, .filter = filter};

	TP_TRY(tp_actor_may(actor, TP_PERM_READ, NULL));
	TP_TRY(parse_filter(&page));
	TP_JSON json_t *sessions = json_array();
	page.sessions = sessions;
	if (page.by_state && tp_state_passing(page.state))
		list_passing(&page);
	else
		TP_TRY(list_recorded(&page));
	json_t *view = json_object();
	json_object_set(view, "sessions", sessions);
	json_object_set_new(view, "next", page.next ? page.next : json_null());
	*view_out = view;
	return NULL;
}
