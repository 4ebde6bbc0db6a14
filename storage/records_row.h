/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows as data: which field of a struct is which column. Internal to the records.
 *
 * Binding, reading, copying and freeing a row, and the SQL that names its columns, all come from
 * one table for each type, so that they can't disagree.
 */
#ifndef TP_STORAGE_RECORDS_ROW_H
#define TP_STORAGE_RECORDS_ROW_H

#include <sqlite3.h>
#include <stdbool.h>

#include "base/error.h"

enum tp_column_kind {
	TP_COLUMN_TEXT, /* char *; NULL stays NULL */
	TP_COLUMN_JSON, /* char *; NULL is recorded as "{}" */
	TP_COLUMN_I64,	/* int64_t */
	TP_COLUMN_U64,	/* uint64_t; up to INT64_MAX */
	TP_COLUMN_U32,	/* uint32_t */
	TP_COLUMN_INT,	/* int */
	TP_COLUMN_HASH, /* uint8_t[TP_HASH_LEN] */
};

struct tp_column {
	const char *name;
	enum tp_column_kind kind;
	size_t offset; /* of the field */
};

struct tp_row_type {
	const char *what; /* in messages: "session" */
	const char *table;
	const char *key;       /* what a put replaces by: columns of the table's unique key */
	const char *only_if;   /* a put replaces only rows for which this holds; NULL: all */
	const char *collision; /* why a put can fail with EXISTS; NULL: it can't */
	size_t size;	       /* of the struct */
	const struct tp_column *columns; /* the first is what messages name the row by */
	size_t n_columns;
};

extern const struct tp_row_type tp_tenant_row_type;
extern const struct tp_row_type tp_token_row_type;
extern const struct tp_row_type tp_session_row_type;
extern const struct tp_row_type tp_image_row_type;
extern const struct tp_row_type tp_repeat_row_type;

/* What messages call ROW, or NULL; valid as long as ROW. */
const char *tp_row_name(const struct tp_row_type *type, const void *row);

/* A copy on the heap, strings too; freed with tp_row_free. */
void *tp_row_copy(const struct tp_row_type *type, const void *row) TP_MUST_USE;
/* Takes NULL. Returns NULL. */
void *tp_row_free(const struct tp_row_type *type, void *row);
/* Frees the strings, and zeroes the row. */
void tp_row_deinit(const struct tp_row_type *type, void *row);

/* Binds ROW to parameters 1 to n_columns, without copying. SQLITE_RANGE for numbers too large. */
int tp_row_bind(const struct tp_row_type *type, const void *row, sqlite3_stmt *stmt);

/*
 * Fills ROW from the statement's present row. The strings are SQLite's, valid until the next step:
 * tp_row_copy makes them last.
 */
void tp_row_borrow(const struct tp_row_type *type, sqlite3_stmt *stmt, void *row);

/* "INSERT INTO ... ON CONFLICT ... DO UPDATE ..."; the caller's to free. */
char *tp_row_put_sql(const struct tp_row_type *type) TP_MUST_USE;
/* "SELECT a, b ... FROM table " and TAIL; the caller's to free. */
char *tp_row_select_sql(const struct tp_row_type *type, const char *tail) TP_MUST_USE;

#endif
