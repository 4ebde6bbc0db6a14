/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records' schema.
 *
 * Lists come from indices that end in (created_ns, id), the order in which they are shown, so that
 * a page costs its own length. Usage is counted by triggers as rows change; the row of tenant ''
 * counts all. docs/RECORDS.md describes the tables.
 */
#include "storage/records_schema.h"

#include "base/mem.h"
#include "storage/records_sql.h"

#define APPLICATION_ID 0x74707264 /* "tprd" */

/* What a session, an image of NEW or OLD adds to its tenant's usage and to everybody's. */
#define SESSION_COUNTS(row, sign)                                                                  \
	"INSERT INTO usage (tenant, sessions, live, live_memory_bytes, parked, image_bytes)"       \
	" SELECT tenant, " sign "1, " sign "(" row ".handover IS NOT NULL),"                       \
	" " sign "iif(" row ".handover IS NULL, 0, " row ".memory_bytes),"                         \
	" " sign "(" row ".state = 'parked'), 0"                                                   \
	" FROM (SELECT " row ".tenant AS tenant UNION ALL SELECT '') WHERE true"                   \
	" ON CONFLICT (tenant) DO UPDATE SET sessions = sessions + excluded.sessions,"             \
	" live = live + excluded.live,"                                                            \
	" live_memory_bytes = live_memory_bytes + excluded.live_memory_bytes,"                     \
	" parked = parked + excluded.parked;"
#define IMAGE_COUNTS(row, sign)                                                                    \
	"INSERT INTO usage (tenant, sessions, live, live_memory_bytes, parked, image_bytes)"       \
	" SELECT tenant, 0, 0, 0, 0, " sign row ".bytes"                                           \
	" FROM (SELECT " row ".tenant AS tenant UNION ALL SELECT '') WHERE true"                   \
	" ON CONFLICT (tenant) DO UPDATE SET image_bytes = image_bytes + excluded.image_bytes;"

static const char version_1[] =
	"CREATE TABLE tenants ("
	" name TEXT NOT NULL PRIMARY KEY CHECK (name <> ''),"
	" uid INTEGER NOT NULL,"
	" sessions INTEGER NOT NULL,"
	" memory_bytes INTEGER NOT NULL,"
	" parked_bytes INTEGER NOT NULL,"
	" requests_per_minute INTEGER NOT NULL,"
	" ttl_s INTEGER NOT NULL,"
	" idle_s INTEGER NOT NULL,"
	" retention_s INTEGER NOT NULL,"
	" created_ns INTEGER NOT NULL"
	") STRICT, WITHOUT ROWID;"
	"CREATE UNIQUE INDEX tenants_by_uid ON tenants (uid) WHERE uid >= 0;"

	"CREATE TABLE tokens ("
	" id TEXT NOT NULL PRIMARY KEY,"
	" tenant TEXT REFERENCES tenants (name) ON DELETE CASCADE,"
	" hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),"
	" label TEXT,"
	" created_ns INTEGER NOT NULL,"
	" expires_ns INTEGER NOT NULL"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX tokens_by_tenant ON tokens (tenant, created_ns, id);"

	"CREATE TABLE sessions ("
	" id TEXT NOT NULL PRIMARY KEY,"
	" tenant TEXT NOT NULL CHECK (tenant <> ''),"
	" name TEXT,"
	" template_name TEXT NOT NULL,"
	" template_id TEXT NOT NULL,"
	" state TEXT NOT NULL,"
	" reason TEXT,"
	" handover TEXT,"
	" labels TEXT NOT NULL CHECK (json_valid(labels)),"
	" env TEXT NOT NULL,"
	" limits TEXT NOT NULL,"
	" info TEXT NOT NULL,"
	" forked_from TEXT,"
	" park_uuid TEXT,"
	" park_bytes INTEGER NOT NULL,"
	" memory_bytes INTEGER NOT NULL,"
	" ttl_s INTEGER NOT NULL,"
	" idle_s INTEGER NOT NULL,"
	" retention_s INTEGER NOT NULL,"
	" created_ns INTEGER NOT NULL,"
	" changed_ns INTEGER NOT NULL,"
	" active_ns INTEGER NOT NULL,"
	" restores INTEGER NOT NULL"
	") STRICT;"
	"CREATE UNIQUE INDEX sessions_by_tenant_name ON sessions (tenant, name);"
	"CREATE INDEX sessions_by_name ON sessions (name);"
	"CREATE INDEX sessions_by_created ON sessions (created_ns, id);"
	"CREATE INDEX sessions_by_tenant ON sessions (tenant, created_ns, id);"
	"CREATE INDEX sessions_by_state ON sessions (state, created_ns, id);"
	"CREATE INDEX sessions_by_tenant_state ON sessions (tenant, state, created_ns, id);"
	"CREATE INDEX sessions_by_template ON sessions (template_name, created_ns, id);"
	"CREATE INDEX sessions_by_tenant_template"
	" ON sessions (tenant, template_name, created_ns, id);"
	"CREATE INDEX sessions_by_template_id ON sessions (template_id);"
	"CREATE INDEX sessions_live ON sessions (created_ns, id) WHERE handover IS NOT NULL;"
	"CREATE INDEX sessions_due ON sessions (changed_ns + retention_s * 1000000000)"
	" WHERE state = 'parked' AND retention_s > 0;"
	"CREATE INDEX sessions_due_default ON sessions (changed_ns)"
	" WHERE state = 'parked' AND retention_s < 0;"

	"CREATE TABLE images ("
	" name TEXT NOT NULL PRIMARY KEY,"
	" session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,"
	" tenant TEXT NOT NULL CHECK (tenant <> ''),"
	" kind TEXT NOT NULL,"
	" label TEXT,"
	" parent TEXT,"
	" template_id TEXT NOT NULL,"
	" bytes INTEGER NOT NULL,"
	" created_ns INTEGER NOT NULL"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX images_by_session ON images (session, created_ns, name);"
	"CREATE INDEX images_by_template_id ON images (template_id);"

	"CREATE TABLE repeats ("
	" tenant TEXT NOT NULL,"
	" key TEXT NOT NULL,"
	" print BLOB NOT NULL CHECK (length(print) = 32),"
	" status INTEGER NOT NULL,"
	" result TEXT,"
	" created_ns INTEGER NOT NULL,"
	" PRIMARY KEY (tenant, key)"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX repeats_by_created ON repeats (created_ns);"

	"CREATE TABLE numbers ("
	" name TEXT NOT NULL PRIMARY KEY,"
	" value INTEGER NOT NULL"
	") STRICT, WITHOUT ROWID;"

	"CREATE TABLE audit_head ("
	" one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),"
	" seq INTEGER NOT NULL,"
	" hash BLOB NOT NULL CHECK (length(hash) = 32)"
	") STRICT;"

	"CREATE TABLE usage ("
	" tenant TEXT NOT NULL PRIMARY KEY,"
	" sessions INTEGER NOT NULL,"
	" live INTEGER NOT NULL,"
	" live_memory_bytes INTEGER NOT NULL,"
	" parked INTEGER NOT NULL,"
	" image_bytes INTEGER NOT NULL"
	") STRICT, WITHOUT ROWID;"
	"CREATE TRIGGER session_added AFTER INSERT ON sessions BEGIN " SESSION_COUNTS("NEW",
		"+") " END;"
		     "CREATE TRIGGER session_removed AFTER DELETE ON sessions "
		     "BEGIN " SESSION_COUNTS("OLD",
			     "-") " END;"
				  "CREATE TRIGGER session_changed AFTER UPDATE OF tenant, state, "
				  "handover, memory_bytes"
				  " ON sessions WHEN OLD.tenant <> NEW.tenant OR OLD.state <> "
				  "NEW.state"
				  " OR (OLD.handover IS NULL) <> (NEW.handover IS NULL)"
				  " OR OLD.memory_bytes <> NEW.memory_bytes BEGIN " SESSION_COUNTS(
					  "NEW", "+") " " SESSION_COUNTS("OLD",
					  "-") " END;"
					       "CREATE TRIGGER image_added AFTER INSERT ON images "
					       "BEGIN " IMAGE_COUNTS("NEW",
						       "+") " END;"
							    "CREATE TRIGGER image_removed AFTER "
							    "DELETE ON images BEGIN " IMAGE_COUNTS(
								    "OLD",
								    "-") " END;"
									 "CREATE TRIGGER "
									 "image_changed AFTER "
									 "UPDATE OF tenant, bytes "
									 "ON images"
									 " WHEN OLD.tenant <> "
									 "NEW.tenant OR OLD.bytes "
									 "<> NEW.bytes "
									 "BEGIN " IMAGE_COUNTS(
										 "NEW",
										 "+") " " IMAGE_COUNTS("OLD",
										 "-") " END;"
										      /* A tenant
											 that has
											 nothing
											 left leaves
											 no row
											 behind. */
										      "CREATE "
										      "TRIGGER "
										      "usage_over "
										      "AFTER "
										      "UPDATE ON "
										      "usage"
										      " WHEN "
										      "NEW."
										      "sessions = "
										      "0 AND "
										      "NEW.image_"
										      "bytes = 0 "
										      "BEGIN"
										      " DELETE "
										      "FROM usage "
										      "WHERE "
										      "tenant = "
										      "NEW.tenant;"
										      " END;";

/*
 * Retention is resolved outside: it may be the session's, its template's, its tenant's or the
 * default. So the keys are what it is resolved from, and those that share them are due in the order
 * of their last change. The state is in it because SQLite would look it up in the table otherwise.
 */
static const char version_2[] = "DROP INDEX sessions_due;"
				"DROP INDEX sessions_due_default;"
				"CREATE INDEX sessions_by_retention"
				" ON sessions (template_name, tenant, retention_s, changed_ns, state)"
				" WHERE state IN ('parked', 'error') AND retention_s <> 0;";

const char *const tp_records_migrations[] = {version_1, version_2};
const size_t tp_records_migration_count = TP_ARRAY_LEN(tp_records_migrations);

/* A number that a PRAGMA or a count gives. */
static struct torpor_error *read_number(
	sqlite3 *db, const char *path, const char *sql, int64_t *value_out)
{
	sqlite3_stmt *stmt;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return tp_sql_error(db, "read the schema of", path);
	int rc = sqlite3_step(stmt);
	int64_t value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	if (rc != SQLITE_ROW)
		return tp_sql_error(db, "read the schema of", path);
	*value_out = value;
	return NULL;
}

/* What isn't ours is left alone. */
static struct torpor_error *check_owner(sqlite3 *db, const char *path)
{
	int64_t id;
	int64_t tables;

	TP_TRY(read_number(db, path, "PRAGMA application_id", &id));
	TP_TRY(read_number(db, path, "SELECT count(*) FROM sqlite_schema", &tables));
	if (id != APPLICATION_ID && (id != 0 || tables != 0))
		return tp_error(TORPOR_E_CORRUPT, "open records", path,
			"it is a database of something else");
	return NULL;
}

static struct torpor_error *run(sqlite3 *db, const char *path, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return tp_sql_error(db, "bring up to date", path);
	return NULL;
}

static struct torpor_error *apply(
	sqlite3 *db, const char *path, const char *const *migrations, size_t from, size_t to)
{
	TP_FREE char *stamp = tp_asprintf(
		"PRAGMA application_id = %d; PRAGMA user_version = %zu;", APPLICATION_ID, to);

	for (size_t i = from; i < to; i++)
		TP_TRY(run(db, path, migrations[i]));
	TP_TRY(run(db, path, stamp));
	return run(db, path, "COMMIT");
}

struct torpor_error *tp_records_migrate(
	sqlite3 *db, const char *path, const char *const *migrations, size_t count)
{
	int64_t version;

	TP_TRY(check_owner(db, path));
	TP_TRY(read_number(db, path, "PRAGMA user_version", &version));
	if (version < 0 || version > (int64_t)count)
		return tp_error_hint(
			tp_error(TORPOR_E_UNSUPPORTED, "open records", path,
				"they are of version %lld, this program knows up to %zu",
				(long long)version, count),
			"use the torpord that wrote them, or a later one");
	if (version == (int64_t)count)
		return NULL;
	TP_TRY(run(db, path, "BEGIN IMMEDIATE"));
	struct torpor_error *err = apply(db, path, migrations, (size_t)version, count);
	if (err && !sqlite3_get_autocommit(db))
		(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return err;
}
