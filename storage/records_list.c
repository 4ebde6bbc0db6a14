/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of sessions.
 *
 * Each set of filters is a statement of its own, since SQLite's choice of an index depends on which
 * conditions there are. Filters that pick few rows by themselves (a match, having a process) get to
 * choose the index alone: the + before the other columns keeps the planner off theirs.
 */
#include "storage/records_list.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "storage/records_priv.h"

static_assert(TP_STMT_COUNT - TP_STMT_LIST == TP_LIST_SHAPES, "a statement for each shape");

struct condition {
	unsigned int filter;
	const char *column; /* what a + can go before; NULL where that would mean nothing */
	const char *text;
};

static const struct condition conditions[] = {
	{TP_LIST_TENANT, "tenant", " = ?1"},
	{TP_LIST_STATE, "state", " = ?2"},
	{TP_LIST_TEMPLATE, "template_name", " = ?3"},
	{TP_LIST_LABEL, NULL,
		"EXISTS (SELECT 1 FROM json_each(labels) WHERE key = ?4 AND atom = ?5)"},
	{TP_LIST_PROCESS, NULL, "handover IS NOT NULL"},
	{TP_LIST_BEHIND, NULL, "(created_ns, id) < (?8, ?9)"},
};

static void put_string(struct tp_buf *sql, const char *text)
{
	tp_buf_put(sql, text, strlen(text));
}

/* Ids that begin so are few; a whole name is one for each tenant. */
static void put_match(struct tp_buf *sql, unsigned int shape)
{
	put_string(sql, " AND rowid IN (SELECT rowid FROM sessions WHERE id >= ?6 AND id < ?7"
			" UNION SELECT rowid FROM sessions WHERE name = ?6");
	put_string(sql, shape & TP_LIST_TENANT ? " AND tenant = ?1)" : ")");
}

char *tp_records_list_sql(unsigned int shape)
{
	const char *plus = shape & (TP_LIST_MATCH | TP_LIST_PROCESS) ? "+" : "";
	const char *order_plus = shape & TP_LIST_MATCH ? "+" : "";
	TP_BUF struct tp_buf tail = {0};

	put_string(&tail, "WHERE true");
	for (size_t i = 0; i < TP_ARRAY_LEN(conditions); i++) {
		const struct condition *condition = &conditions[i];
		if (!(shape & condition->filter))
			continue;
		put_string(&tail, " AND ");
		put_string(&tail, condition->column ? plus : "");
		put_string(&tail, condition->column ? condition->column : "");
		put_string(&tail, condition->text);
	}
	if (shape & TP_LIST_MATCH)
		put_match(&tail, shape);
	put_string(&tail, " ORDER BY ");
	put_string(&tail, order_plus);
	put_string(&tail, "created_ns DESC, ");
	put_string(&tail, order_plus);
	put_string(&tail, "id DESC LIMIT ?10");
	tp_buf_put_u8(&tail, '\0');
	return tp_row_select_sql(&tp_session_row_type, (char *)tail.data);
}

static unsigned int shape_of(const struct tp_session_filter *filter)
{
	unsigned int shape = 0;

	shape |= filter->tenant ? TP_LIST_TENANT : 0;
	shape |= filter->state ? TP_LIST_STATE : 0;
	shape |= filter->template_name ? TP_LIST_TEMPLATE : 0;
	shape |= filter->label_key ? TP_LIST_LABEL : 0;
	shape |= filter->match ? TP_LIST_MATCH : 0;
	shape |= filter->with_process ? TP_LIST_PROCESS : 0;
	shape |= filter->before_created_ns ? TP_LIST_BEHIND : 0;
	return shape;
}

/* Texts that the statement doesn't know are bound all the same, up to ?10, which all have. */
static void bind_filter(sqlite3_stmt *stmt, const struct tp_session_filter *filter, const char *end)
{
	const char *const texts[] = {filter->tenant, filter->state, filter->template_name,
		filter->label_key, filter->label_value, filter->match, end};
	const char *before_id = filter->before_id ? filter->before_id : "";
	uint64_t before = TP_MIN(filter->before_created_ns, (uint64_t)INT64_MAX);
	int64_t limit = filter->limit ? (int64_t)TP_MIN(filter->limit, (size_t)INT64_MAX) : -1;

	for (size_t i = 0; i < TP_ARRAY_LEN(texts); i++)
		sqlite3_bind_text(stmt, (int)i + 1, texts[i], -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 8, (int64_t)before);
	sqlite3_bind_text(stmt, 9, before_id, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 10, limit);
}

struct give {
	tp_session_each *each;
	void *data;
};

static struct torpor_error *give_session(void *data, const void *row)
{
	struct give *give = data;

	return give->each(give->data, row);
}

static struct torpor_error *list(struct tp_sql *sql, const struct tp_session_filter *filter,
	tp_session_each *each, void *data)
{
	/* Behind everything in UTF-8 that begins with the match. */
	TP_FREE char *end = filter->match ? tp_asprintf("%s\xF4\x8F\xBF\xBF", filter->match) : NULL;
	struct tp_session_row row;
	struct give give = {.each = each, .data = data};
	sqlite3_stmt *stmt;

	TP_TRY(tp_sql_stmt(sql, TP_STMT_LIST + shape_of(filter), &stmt));
	bind_filter(stmt, filter, end);
	struct torpor_error *err =
		tp_sql_each(sql, stmt, &tp_session_row_type, &row, give_session, &give);
	tp_sql_done(stmt);
	return err;
}

struct torpor_error *tp_records_sessions(struct tp_records *records,
	const struct tp_session_filter *filter, tp_session_each *each, void *data)
{
	struct tp_reader_conn *reader;

	TP_TRY(tp_readers_get(&records->readers, &reader));
	struct torpor_error *err = list(&reader->sql, filter, each, data);
	tp_readers_put(&records->readers, reader);
	return err;
}
