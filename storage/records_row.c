/* SPDX-License-Identifier: Apache-2.0 */
/* Rows as data. */
#include "storage/records_row.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "storage/records.h"

#define COLUMN(row, field, kind)                                                                   \
	{                                                                                          \
#field, TP_COLUMN_##kind, offsetof(struct row, field)                              \
	}
#define LIMIT(field)                                                                               \
	{                                                                                          \
#field, TP_COLUMN_I64, offsetof(struct tp_tenant_row, limits.field)                \
	}

static const struct tp_column tenant_columns[] = {
	COLUMN(tp_tenant_row, name, TEXT),
	COLUMN(tp_tenant_row, uid, I64),
	LIMIT(sessions),
	LIMIT(memory_bytes),
	LIMIT(parked_bytes),
	LIMIT(requests_per_minute),
	LIMIT(ttl_s),
	LIMIT(idle_s),
	LIMIT(retention_s),
	COLUMN(tp_tenant_row, created_ns, U64),
};

static const struct tp_column token_columns[] = {
	COLUMN(tp_token_row, id, TEXT),
	COLUMN(tp_token_row, tenant, TEXT),
	COLUMN(tp_token_row, hash, HASH),
	COLUMN(tp_token_row, label, TEXT),
	COLUMN(tp_token_row, created_ns, U64),
	COLUMN(tp_token_row, expires_ns, U64),
};

static const struct tp_column session_columns[] = {
	COLUMN(tp_session_row, id, TEXT),
	COLUMN(tp_session_row, tenant, TEXT),
	COLUMN(tp_session_row, name, TEXT),
	COLUMN(tp_session_row, template_name, TEXT),
	COLUMN(tp_session_row, template_id, TEXT),
	COLUMN(tp_session_row, state, TEXT),
	COLUMN(tp_session_row, reason, TEXT),
	COLUMN(tp_session_row, handover, TEXT),
	COLUMN(tp_session_row, labels, JSON),
	COLUMN(tp_session_row, env, JSON),
	COLUMN(tp_session_row, limits, JSON),
	COLUMN(tp_session_row, info, JSON),
	COLUMN(tp_session_row, forked_from, TEXT),
	COLUMN(tp_session_row, park_uuid, TEXT),
	COLUMN(tp_session_row, park_bytes, U64),
	COLUMN(tp_session_row, memory_bytes, U64),
	COLUMN(tp_session_row, ttl_s, I64),
	COLUMN(tp_session_row, idle_s, I64),
	COLUMN(tp_session_row, retention_s, I64),
	COLUMN(tp_session_row, created_ns, U64),
	COLUMN(tp_session_row, changed_ns, U64),
	COLUMN(tp_session_row, active_ns, U64),
	COLUMN(tp_session_row, restores, U32),
};

static const struct tp_column image_columns[] = {
	COLUMN(tp_image_row, name, TEXT),
	COLUMN(tp_image_row, session, TEXT),
	COLUMN(tp_image_row, tenant, TEXT),
	COLUMN(tp_image_row, kind, TEXT),
	COLUMN(tp_image_row, label, TEXT),
	COLUMN(tp_image_row, parent, TEXT),
	COLUMN(tp_image_row, template_id, TEXT),
	COLUMN(tp_image_row, bytes, U64),
	COLUMN(tp_image_row, created_ns, U64),
};

static const struct tp_column repeat_columns[] = {
	COLUMN(tp_repeat_row, key, TEXT),
	COLUMN(tp_repeat_row, tenant, TEXT),
	COLUMN(tp_repeat_row, print, HASH),
	COLUMN(tp_repeat_row, status, INT),
	COLUMN(tp_repeat_row, result, TEXT),
	COLUMN(tp_repeat_row, created_ns, U64),
};

const struct tp_row_type tp_tenant_row_type = {
	.what = "tenant",
	.table = "tenants",
	.key = "name",
	.collision = "its user id belongs to another tenant",
	.size = sizeof(struct tp_tenant_row),
	.columns = tenant_columns,
	.n_columns = TP_ARRAY_LEN(tenant_columns),
};

/* Another token under the same id is no replacement but a coincidence, or worse. */
const struct tp_row_type tp_token_row_type = {
	.what = "token",
	.table = "tokens",
	.key = "id",
	.only_if = "tokens.hash = excluded.hash AND tokens.tenant IS excluded.tenant",
	.collision = "there is another token of that id",
	.size = sizeof(struct tp_token_row),
	.columns = token_columns,
	.n_columns = TP_ARRAY_LEN(token_columns),
};

const struct tp_row_type tp_session_row_type = {
	.what = "session",
	.table = "sessions",
	.key = "id",
	.collision = "its name is taken",
	.size = sizeof(struct tp_session_row),
	.columns = session_columns,
	.n_columns = TP_ARRAY_LEN(session_columns),
};

const struct tp_row_type tp_image_row_type = {
	.what = "image",
	.table = "images",
	.key = "name",
	.size = sizeof(struct tp_image_row),
	.columns = image_columns,
	.n_columns = TP_ARRAY_LEN(image_columns),
};

const struct tp_row_type tp_repeat_row_type = {
	.what = "repeat",
	.table = "repeats",
	.key = "tenant, key",
	.size = sizeof(struct tp_repeat_row),
	.columns = repeat_columns,
	.n_columns = TP_ARRAY_LEN(repeat_columns),
};

static void *field_of(void *row, const struct tp_column *column)
{
	return (uint8_t *)row + column->offset;
}

static const void *const_field_of(const void *row, const struct tp_column *column)
{
	return (const uint8_t *)row + column->offset;
}

static bool is_string(const struct tp_column *column)
{
	return column->kind == TP_COLUMN_TEXT || column->kind == TP_COLUMN_JSON;
}

const char *tp_row_name(const struct tp_row_type *type, const void *row)
{
	return *(char *const *)const_field_of(row, &type->columns[0]);
}

void *tp_row_copy(const struct tp_row_type *type, const void *row)
{
	void *copy = tp_memdup(row, type->size);

	for (size_t i = 0; i < type->n_columns; i++) {
		if (!is_string(&type->columns[i]))
			continue;
		char **text = field_of(copy, &type->columns[i]);
		*text = tp_strdup(*text);
	}
	return copy;
}

void tp_row_deinit(const struct tp_row_type *type, void *row)
{
	for (size_t i = 0; i < type->n_columns; i++)
		if (is_string(&type->columns[i]))
			free(*(char **)field_of(row, &type->columns[i]));
	memset(row, 0, type->size);
}

void *tp_row_free(const struct tp_row_type *type, void *row)
{
	if (!row)
		return NULL;
	tp_row_deinit(type, row);
	free(row);
	return NULL;
}

static int bind_text(sqlite3_stmt *stmt, int at, const char *text)
{
	return sqlite3_bind_text(stmt, at, text, -1, SQLITE_STATIC);
}

static int bind_u64(sqlite3_stmt *stmt, int at, uint64_t value)
{
	if (value > INT64_MAX)
		return SQLITE_RANGE;
	return sqlite3_bind_int64(stmt, at, (int64_t)value);
}

static int bind_field(const struct tp_column *column, const void *field, sqlite3_stmt *stmt, int at)
{
	const char *text;

	switch (column->kind) {
	case TP_COLUMN_TEXT:
		return bind_text(stmt, at, *(char *const *)field);
	case TP_COLUMN_JSON:
		text = *(char *const *)field;
		return bind_text(stmt, at, text ? text : "{}");
	case TP_COLUMN_I64:
		return sqlite3_bind_int64(stmt, at, *(const int64_t *)field);
	case TP_COLUMN_U64:
		return bind_u64(stmt, at, *(const uint64_t *)field);
	case TP_COLUMN_U32:
		return sqlite3_bind_int64(stmt, at, *(const uint32_t *)field);
	case TP_COLUMN_INT:
		return sqlite3_bind_int64(stmt, at, *(const int *)field);
	case TP_COLUMN_HASH:
		return sqlite3_bind_blob(stmt, at, field, TP_HASH_LEN, SQLITE_STATIC);
	}
	abort();
}

int tp_row_bind(const struct tp_row_type *type, const void *row, sqlite3_stmt *stmt)
{
	for (size_t i = 0; i < type->n_columns; i++) {
		const struct tp_column *column = &type->columns[i];
		int rc = bind_field(column, const_field_of(row, column), stmt, (int)i + 1);
		if (rc != SQLITE_OK)
			return rc;
	}
	return SQLITE_OK;
}

static void borrow_hash(sqlite3_stmt *stmt, int at, uint8_t *hash)
{
	const void *blob = sqlite3_column_blob(stmt, at);

	/* The schema has it that its length is right. */
	if (blob && sqlite3_column_bytes(stmt, at) == TP_HASH_LEN)
		memcpy(hash, blob, TP_HASH_LEN);
	else
		memset(hash, 0, TP_HASH_LEN);
}

static void borrow_field(const struct tp_column *column, sqlite3_stmt *stmt, int at, void *field)
{
	switch (column->kind) {
	case TP_COLUMN_TEXT:
	case TP_COLUMN_JSON:
		*(char **)field = (char *)sqlite3_column_text(stmt, at);
		return;
	case TP_COLUMN_I64:
		*(int64_t *)field = sqlite3_column_int64(stmt, at);
		return;
	case TP_COLUMN_U64:
		*(uint64_t *)field = (uint64_t)sqlite3_column_int64(stmt, at);
		return;
	case TP_COLUMN_U32:
		*(uint32_t *)field = (uint32_t)sqlite3_column_int64(stmt, at);
		return;
	case TP_COLUMN_INT:
		*(int *)field = sqlite3_column_int(stmt, at);
		return;
	case TP_COLUMN_HASH:
		borrow_hash(stmt, at, field);
		return;
	}
}

void tp_row_borrow(const struct tp_row_type *type, sqlite3_stmt *stmt, void *row)
{
	memset(row, 0, type->size);
	for (size_t i = 0; i < type->n_columns; i++)
		borrow_field(&type->columns[i], stmt, (int)i, field_of(row, &type->columns[i]));
}

static void put_string(struct tp_buf *sql, const char *text)
{
	tp_buf_put(sql, text, strlen(text));
}

/* "PREFIXa, PREFIXb", or "a = PREFIXa, b = PREFIXb". */
static void put_columns(
	struct tp_buf *sql, const struct tp_row_type *type, const char *prefix, bool assign)
{
	for (size_t i = 0; i < type->n_columns; i++) {
		put_string(sql, i ? ", " : "");
		if (assign) {
			put_string(sql, type->columns[i].name);
			put_string(sql, " = ");
		}
		put_string(sql, prefix);
		put_string(sql, type->columns[i].name);
	}
}

static char *finish(struct tp_buf *sql)
{
	tp_buf_put_u8(sql, '\0');
	return (char *)TP_TAKE(sql->data);
}

char *tp_row_put_sql(const struct tp_row_type *type)
{
	TP_BUF struct tp_buf sql = {0};

	put_string(&sql, "INSERT INTO ");
	put_string(&sql, type->table);
	put_string(&sql, " (");
	put_columns(&sql, type, "", false);
	put_string(&sql, ") VALUES (?");
	for (size_t i = 1; i < type->n_columns; i++)
		put_string(&sql, ", ?");
	put_string(&sql, ") ON CONFLICT (");
	put_string(&sql, type->key);
	put_string(&sql, ") DO UPDATE SET ");
	put_columns(&sql, type, "excluded.", true);
	if (type->only_if) {
		put_string(&sql, " WHERE ");
		put_string(&sql, type->only_if);
	}
	return finish(&sql);
}

char *tp_row_select_sql(const struct tp_row_type *type, const char *tail)
{
	TP_BUF struct tp_buf sql = {0};

	put_string(&sql, "SELECT ");
	put_columns(&sql, type, "", false);
	put_string(&sql, " FROM ");
	put_string(&sql, type->table);
	put_string(&sql, " ");
	put_string(&sql, tail);
	return finish(&sql);
}

void tp_tenant_row_deinit(struct tp_tenant_row *row)
{
	tp_row_deinit(&tp_tenant_row_type, row);
}

void tp_token_row_deinit(struct tp_token_row *row)
{
	tp_row_deinit(&tp_token_row_type, row);
}

void tp_session_row_deinit(struct tp_session_row *row)
{
	tp_row_deinit(&tp_session_row_type, row);
}

void tp_image_row_deinit(struct tp_image_row *row)
{
	tp_row_deinit(&tp_image_row_type, row);
}

void tp_repeat_row_deinit(struct tp_repeat_row *row)
{
	tp_row_deinit(&tp_repeat_row_type, row);
}
