/* SPDX-License-Identifier: Apache-2.0 */
/* A connection, its statements, and what SQLite's failures mean. */
#include "storage/records_sql.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "storage/records_list.h"

/* Others hardly ever hold the file: somebody's sqlite3 shell, or recovery of the log. */
#define BUSY_TIMEOUT_MS 5000

enum build {
	PLAIN,
	PUT,	/* of a row of that type */
	SELECT, /* that type's columns; the text is what comes behind FROM */
};

static const struct {
	enum build build;
	const struct tp_row_type *type;
	const char *text;
} statements[TP_STMT_LIST] = {
	[TP_STMT_BEGIN] = {PLAIN, NULL, "BEGIN IMMEDIATE"},
	[TP_STMT_COMMIT] = {PLAIN, NULL, "COMMIT"},
	[TP_STMT_ROLLBACK] = {PLAIN, NULL, "ROLLBACK"},
	[TP_STMT_SAVE] = {PLAIN, NULL, "SAVEPOINT change"},
	[TP_STMT_RELEASE] = {PLAIN, NULL, "RELEASE change"},
	[TP_STMT_UNDO] = {PLAIN, NULL, "ROLLBACK TO change"},

	[TP_STMT_PUT_TENANT] = {PUT, &tp_tenant_row_type, NULL},
	[TP_STMT_PUT_TOKEN] = {PUT, &tp_token_row_type, NULL},
	[TP_STMT_PUT_SESSION] = {PUT, &tp_session_row_type, NULL},
	[TP_STMT_PUT_IMAGE] = {PUT, &tp_image_row_type, NULL},
	[TP_STMT_PUT_REPEAT] = {PUT, &tp_repeat_row_type, NULL},
	/* Foreign keys take a tenant's tokens and a session's images along. */
	[TP_STMT_REMOVE_TENANT] = {PLAIN, NULL, "DELETE FROM tenants WHERE name = ?1"},
	[TP_STMT_REMOVE_TOKEN] = {PLAIN, NULL, "DELETE FROM tokens WHERE id = ?1"},
	[TP_STMT_REMOVE_SESSION] = {PLAIN, NULL, "DELETE FROM sessions WHERE id = ?1"},
	[TP_STMT_TOUCH_SESSION] = {PLAIN, NULL,
		"UPDATE sessions SET active_ns = ?2 WHERE id = ?1 AND active_ns < ?2"},
	[TP_STMT_NOTE_SESSION] = {PLAIN, NULL, "UPDATE sessions SET info = ?2 WHERE id = ?1"},
	[TP_STMT_REMOVE_IMAGE] = {PLAIN, NULL, "DELETE FROM images WHERE name = ?1"},
	[TP_STMT_FORGET_REPEATS] = {PLAIN, NULL, "DELETE FROM repeats WHERE created_ns < ?2"},
	[TP_STMT_RAISE] = {PLAIN, NULL,
		"INSERT INTO numbers (name, value) VALUES (?1, ?2) ON CONFLICT (name)"
		" DO UPDATE SET value = excluded.value WHERE excluded.value > value"},
	[TP_STMT_AUDIT_HEAD] = {PLAIN, NULL,
		"INSERT INTO audit_head (one, seq, hash) VALUES (1, ?2, ?3) ON CONFLICT (one)"
		" DO UPDATE SET seq = excluded.seq, hash = excluded.hash WHERE excluded.seq > seq"},

	[TP_STMT_TENANT] = {SELECT, &tp_tenant_row_type, "WHERE name = ?1"},
	[TP_STMT_TENANT_OF_UID] = {SELECT, &tp_tenant_row_type, "WHERE uid = ?3 AND uid >= 0"},
	[TP_STMT_TOKEN] = {SELECT, &tp_token_row_type, "WHERE id = ?1"},
	[TP_STMT_SESSION] = {SELECT, &tp_session_row_type,
		"WHERE id = ?1 AND (?2 IS NULL OR tenant = ?2)"},
	[TP_STMT_IMAGE] = {SELECT, &tp_image_row_type, "WHERE name = ?1"},
	[TP_STMT_REPEAT] = {SELECT, &tp_repeat_row_type, "WHERE key = ?1 AND tenant = ?2"},
	[TP_STMT_NUMBER] = {PLAIN, NULL, "SELECT value FROM numbers WHERE name = ?1"},
	[TP_STMT_READ_AUDIT_HEAD] = {PLAIN, NULL, "SELECT seq, hash FROM audit_head"},
	[TP_STMT_TENANTS] = {SELECT, &tp_tenant_row_type, "ORDER BY name"},
	[TP_STMT_TOKENS] = {SELECT, &tp_token_row_type,
		"WHERE tenant IS ?1 ORDER BY created_ns, id"},
	[TP_STMT_DUE_GROUPS] = {PLAIN, NULL,
		"SELECT template_name, tenant, retention_s, min(changed_ns)"
		" FROM sessions INDEXED BY sessions_by_retention"
		" WHERE state IN ('parked', 'error') AND retention_s <> 0"
		" GROUP BY template_name, tenant, retention_s"},
	/* ?1: template. ?2: tenant. ?3: retention. ?4: changed by then. */
	[TP_STMT_SESSIONS_DUE] = {PLAIN, NULL,
		"SELECT id FROM sessions INDEXED BY sessions_by_retention"
		" WHERE state IN ('parked', 'error') AND retention_s <> 0 AND template_name = ?1"
		" AND tenant = ?2 AND retention_s = ?3 AND changed_ns <= ?4 ORDER BY changed_ns"},
	[TP_STMT_IMAGES] = {SELECT, &tp_image_row_type,
		"WHERE session = ?1 ORDER BY created_ns, name"},
	[TP_STMT_ALL_IMAGES] = {SELECT, &tp_image_row_type, "ORDER BY name"},
	/* All that are needed at a start: of what holds the names, this index is the smallest. */
	[TP_STMT_IMAGE_NAMES] = {PLAIN, NULL,
		"SELECT name FROM images INDEXED BY images_by_session"},
	[TP_STMT_USAGE] = {PLAIN, NULL,
		"SELECT sessions, live, live_memory_bytes, parked, image_bytes FROM usage"
		" WHERE tenant = ifnull(?1, '')"},
	[TP_STMT_TEMPLATE_USERS] = {PLAIN, NULL,
		"SELECT (SELECT count(*) FROM sessions WHERE template_id = ?1)"
		" + (SELECT count(*) FROM images WHERE template_id = ?1)"},
};

char *tp_sql_text(enum tp_stmt stmt)
{
	if (stmt >= TP_STMT_LIST)
		return tp_records_list_sql(stmt - TP_STMT_LIST);
	if (statements[stmt].build == PUT)
		return tp_row_put_sql(statements[stmt].type);
	if (statements[stmt].build == SELECT)
		return tp_row_select_sql(statements[stmt].type, statements[stmt].text);
	return tp_strdup(statements[stmt].text);
}

static enum torpor_errc errc_of(sqlite3 *db)
{
	int errnum = sqlite3_system_errno(db);

	switch (sqlite3_errcode(db)) {
	case SQLITE_FULL:
		return TORPOR_E_NOSPACE;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return TORPOR_E_CORRUPT;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return TORPOR_E_BUSY;
	case SQLITE_NOMEM:
		return TORPOR_E_NOMEM;
	case SQLITE_TOOBIG:
	case SQLITE_RANGE:
	case SQLITE_MISMATCH:
	case SQLITE_CONSTRAINT:
		return TORPOR_E_INVALID;
	case SQLITE_IOERR: /* the index of the log, for one, has no FULL of its own */
		return errnum == ENOSPC || errnum == EDQUOT ? TORPOR_E_NOSPACE : TORPOR_E_IO;
	default:
		return TORPOR_E_IO;
	}
}

struct torpor_error *tp_sql_error(sqlite3 *db, const char *step, const char *object)
{
	const char *hint = NULL;
	enum torpor_errc code = errc_of(db);

	if (code == TORPOR_E_NOSPACE)
		hint = "make room on the disk that holds the state directory";
	if (code == TORPOR_E_CORRUPT)
		hint = "docs/RECORDS.md says how to save what can be saved";
	struct torpor_error *err = tp_error(code, step, object, "%s", sqlite3_errmsg(db));
	return hint ? tp_error_hint(err, "%s", hint) : err;
}

/* What every connection is set to; sizes of caches are in KiB, with a minus. */
static const char settings[] = "PRAGMA synchronous = FULL;"
			       "PRAGMA foreign_keys = ON;"
			       "PRAGMA temp_store = MEMORY;"
			       "PRAGMA cache_size = -2048;"
			       "PRAGMA wal_autocheckpoint = 0;";

struct torpor_error *tp_sql_open(struct tp_sql *sql, const char *path, int flags)
{
	memset(sql, 0, sizeof(*sql));
	int rc = sqlite3_open_v2(path, &sql->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
	if (!sql->db)
		return tp_error(TORPOR_E_NOMEM, "open records", path, "no memory");
	sql->path = tp_strdup(path);
	sqlite3_extended_result_codes(sql->db, 0);
	sqlite3_busy_timeout(sql->db, BUSY_TIMEOUT_MS);
	sqlite3_db_config(sql->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(sql->db, settings, NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		return NULL;
	struct torpor_error *err = tp_sql_error(sql->db, "open records", path);
	tp_sql_close(sql);
	return err;
}

void tp_sql_close(struct tp_sql *sql)
{
	for (size_t i = 0; i < TP_STMT_COUNT; i++)
		sqlite3_finalize(sql->stmts[i]);
	int rc = sqlite3_close(sql->db);
	assert(rc == SQLITE_OK);
	(void)rc;
	free(sql->path);
	memset(sql, 0, sizeof(*sql));
}

struct torpor_error *tp_sql_stmt(struct tp_sql *sql, enum tp_stmt stmt, sqlite3_stmt **stmt_out)
{
	if (!sql->stmts[stmt]) {
		TP_FREE char *text = tp_sql_text(stmt);
		if (sqlite3_prepare_v3(sql->db, text, -1, SQLITE_PREPARE_PERSISTENT,
			    &sql->stmts[stmt], NULL) != SQLITE_OK)
			return tp_sql_error(sql->db, "ask the records", sql->path);
	}
	*stmt_out = sql->stmts[stmt];
	return NULL;
}

void tp_sql_done(sqlite3_stmt *stmt)
{
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
}

struct torpor_error *tp_sql_run(struct tp_sql *sql, enum tp_stmt which, const char *step)
{
	sqlite3_stmt *stmt;
	struct torpor_error *err = NULL;

	TP_TRY(tp_sql_stmt(sql, which, &stmt));
	if (sqlite3_step(stmt) != SQLITE_DONE)
		err = tp_sql_error(sql->db, step, sql->path);
	tp_sql_done(stmt);
	return err;
}
