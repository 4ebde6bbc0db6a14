/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to the records' database, and its statements. Internal to the records. */
#ifndef TP_STORAGE_RECORDS_SQL_H
#define TP_STORAGE_RECORDS_SQL_H

#include <sqlite3.h>

#include "storage/records_row.h"

/* Statements, by what they do. Parameters are said where they aren't a row's columns. */
enum tp_stmt {
	TP_STMT_BEGIN,
	TP_STMT_COMMIT,
	TP_STMT_ROLLBACK,
	TP_STMT_SAVE,	 /* a savepoint for one change */
	TP_STMT_RELEASE, /* of the savepoint */
	TP_STMT_UNDO,	 /* back to the savepoint */

	/* Changes. ?1 is a text, ?2 a number or a text, ?3 a hash. */
	TP_STMT_PUT_TENANT,
	TP_STMT_PUT_TOKEN,
	TP_STMT_PUT_SESSION,
	TP_STMT_PUT_IMAGE,
	TP_STMT_PUT_REPEAT,
	TP_STMT_REMOVE_TENANT,
	TP_STMT_REMOVE_TOKEN,
	TP_STMT_REMOVE_SESSION,
	TP_STMT_TOUCH_SESSION,
	TP_STMT_NOTE_SESSION,
	TP_STMT_REMOVE_IMAGE,
	TP_STMT_FORGET_REPEATS,
	TP_STMT_RAISE,
	TP_STMT_AUDIT_HEAD,

	/* Reading. ?1 and ?2 are texts, ?3 and ?4 numbers. */
	TP_STMT_TENANT,
	TP_STMT_TENANT_OF_UID,
	TP_STMT_TOKEN,
	TP_STMT_SESSION,
	TP_STMT_IMAGE,
	TP_STMT_REPEAT,
	TP_STMT_NUMBER,
	TP_STMT_READ_AUDIT_HEAD,
	TP_STMT_TENANTS,
	TP_STMT_TOKENS,
	TP_STMT_DUE_GROUPS,
	TP_STMT_SESSIONS_DUE,
	TP_STMT_IMAGES,
	TP_STMT_ALL_IMAGES,
	TP_STMT_IMAGE_NAMES,
	TP_STMT_USAGE,
	TP_STMT_TEMPLATE_USERS,

	/* Lists of sessions: one for each set of filters (records_list.h) from here on. */
	TP_STMT_LIST,
	TP_STMT_COUNT = TP_STMT_LIST + 128,
};

/* Used by one thread at a time. */
struct tp_sql {
	sqlite3 *db;
	char *path;
	sqlite3_stmt *stmts[TP_STMT_COUNT]; /* NULL: not needed yet */
};

/* FLAGS: SQLITE_OPEN_READWRITE, perhaps SQLITE_OPEN_CREATE. On failure it is closed. */
struct torpor_error *tp_sql_open(struct tp_sql *sql, const char *path, int flags) TP_MUST_USE;
/* Takes one that is zero. */
void tp_sql_close(struct tp_sql *sql);

/* The SQL behind STMT; the caller's to free. */
char *tp_sql_text(enum tp_stmt stmt) TP_MUST_USE;
/* STMT without parameters, ready to bind and step; belongs to SQL. To be given to tp_sql_done. */
struct torpor_error *tp_sql_stmt(
	struct tp_sql *sql, enum tp_stmt stmt, sqlite3_stmt **stmt_out) TP_MUST_USE;
/* Ends the use of a statement, and forgets what was bound. */
void tp_sql_done(sqlite3_stmt *stmt);

/* Runs a statement that gives no rows and has no parameters. */
struct torpor_error *tp_sql_run(
	struct tp_sql *sql, enum tp_stmt stmt, const char *step) TP_MUST_USE;

/* Why DB's last call failed, as an error. FULL is NOSPACE, CORRUPT and NOTADB are CORRUPT ... */
struct torpor_error *tp_sql_error(sqlite3 *db, const char *step, const char *object) TP_MUST_USE;

#endif
