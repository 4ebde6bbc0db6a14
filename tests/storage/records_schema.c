/* SPDX-License-Identifier: Apache-2.0 */
/* Older files are brought up to date whole or not at all; newer and foreign ones are left alone. */
#include <criterion/criterion.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "records_support.h"
#include "storage/records_schema.h"
#include "support.h"

static char *dir;
static char *path;

static void setup(void)
{
	dir = make_dir();
	path = path_in(dir, "records.db");
}

static void teardown(void)
{
	free(path);
	remove_dir(dir);
}

TestSuite(schema, .init = setup, .fini = teardown, .timeout = 50);

static sqlite3 *open_db(void)
{
	sqlite3 *db;

	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	return db;
}

static void run(sqlite3 *db, const char *sql)
{
	cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
}

static int64_t ask(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt;

	cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK, "%s", sql);
	cr_assert_eq(sqlite3_step(stmt), SQLITE_ROW);
	int64_t value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return value;
}

/* Files of each version that was released are kept, as the SQL that makes them. */
static void make_golden(const char *name)
{
	TP_FREE char *golden = tp_asprintf("%s/%s", GOLDEN_DIR, name);
	size_t len;
	TP_FREE char *sql = (char *)read_path(golden, &len);
	sqlite3 *db = open_db();

	run(db, sql);
	sqlite3_close(db);
}

static void check_golden(const char *name)
{
	struct tp_session_row session;
	struct tp_image_row image;
	struct tp_token_row token;
	struct tp_usage usage;
	uint64_t value;
	uint8_t hash[TP_HASH_LEN];

	make_golden(name);
	struct tp_records *records = open_records(dir);
	must(tp_records_session(records, "alice", "k3v9q2m7x4tz0d8h", &session));
	cr_expect_str_eq(session.name, "demo");
	cr_expect_str_eq(session.labels, "{\"team\":\"a\"}");
	cr_expect_eq(session.created_ns, 1700000000000000000);
	tp_session_row_deinit(&session);
	must(tp_records_image(records, "k3v9q2m7x4tz0d8h.park", &image));
	cr_expect_eq(image.bytes, 12800);
	tp_image_row_deinit(&image);
	must(tp_records_token(records, "3f9c", &token));
	cr_expect_eq(token.hash[0], 0xaa);
	tp_token_row_deinit(&token);
	must(tp_records_usage(records, "alice", &usage));
	cr_expect_eq(usage.sessions, 2);
	cr_expect_eq(usage.parked, 1);
	cr_expect_eq(usage.live, 1);
	cr_expect_eq(usage.live_memory_bytes, 268435456);
	cr_expect_eq(usage.image_bytes, 12800);
	must(tp_records_number(records, "events", &value));
	cr_expect_eq(value, 4096);
	must(tp_records_audit_head(records, &value, hash));
	cr_expect_eq(value, 7);
	cr_expect_eq(hash[0], 0xbb);
	tp_records_close(records);
}

Test(schema, a_file_of_version_1_is_read)
{
	check_golden("records-1.sql");
}

Test(schema, a_file_of_version_2_is_read)
{
	check_golden("records-2.sql");
}

/* What is made today is what was made when that version was released. */
static void check_unchanged(int version, int statements)
{
	TP_FREE char *golden = tp_asprintf("%s/records-%d.sql", GOLDEN_DIR, version);
	size_t len;
	TP_FREE char *sql = (char *)read_path(golden, &len);
	sqlite3 *db = open_db();
	sqlite3_stmt *stmt;
	int count = 0;

	must(tp_records_migrate(db, path, tp_records_migrations, (size_t)version));
	cr_assert_eq(sqlite3_prepare_v2(db, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL",
			     -1, &stmt, NULL),
		SQLITE_OK);
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(stmt, 0);
		cr_expect_not_null(strstr(sql, text), "not in the golden file: %s", text);
		count++;
	}
	sqlite3_finalize(stmt);
	cr_expect_eq(count, statements);
	sqlite3_close(db);
}

Test(schema, version_1_has_not_changed)
{
	check_unchanged(1, 32);
}

Test(schema, version_2_has_not_changed)
{
	cr_assert_eq(tp_records_migration_count, 2, "a new version has a golden file, and tests");
	check_unchanged(2, 31);
}

static const char *const steps[] = {
	"CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1);",
	"ALTER TABLE a ADD COLUMN y INTEGER; UPDATE a SET y = x + 1;",
	"CREATE TABLE b AS SELECT y * 10 AS z FROM a;",
};

Test(schema, each_older_version_is_brought_up_to_date)
{
	for (size_t from = 0; from <= 3; from++) {
		sqlite3 *db = open_db();
		must(tp_records_migrate(db, path, steps, from));
		sqlite3_close(db);
		db = open_db();
		cr_expect_eq(ask(db, "PRAGMA user_version"), (int64_t)from);
		must(tp_records_migrate(db, path, steps, 3));
		cr_expect_eq(ask(db, "PRAGMA user_version"), 3);
		cr_expect_eq(ask(db, "SELECT z FROM b"), 20);
		sqlite3_close(db);
		unlink(path);
	}
}

Test(schema, a_step_that_fails_leaves_the_old_file)
{
	const char *const bad[] = {steps[0], steps[1],
		"CREATE TABLE c (x); INSERT INTO c VALUES (1); INSERT INTO nowhere VALUES (1);"};
	sqlite3 *db = open_db();

	must(tp_records_migrate(db, path, steps, 1));
	cr_expect(says(tp_records_migrate(db, path, bad, 3), "bring up to date"));
	cr_expect_eq(ask(db, "PRAGMA user_version"), 1);
	cr_expect_eq(ask(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'c'"), 0);
	cr_expect_eq(ask(db, "SELECT count(*) FROM pragma_table_info('a')"), 1);
	must(tp_records_migrate(db, path, steps, 3)); /* and goes on from there */
	sqlite3_close(db);
}

Test(schema, a_newer_file_is_refused_and_left_alone)
{
	struct tp_records *records = open_records(dir);

	tp_records_close(records);
	sqlite3 *db = open_db();
	run(db, "PRAGMA user_version = 99");
	sqlite3_close(db);
	struct torpor_error *err = tp_records_open(dir, "records.db", &records);
	cr_assert_not_null(err);
	cr_expect_eq(torpor_error_code(err), TORPOR_E_UNSUPPORTED);
	cr_expect_not_null(torpor_error_hint(err));
	cr_expect(says(err, "version 99"));
	db = open_db();
	cr_expect_eq(ask(db, "PRAGMA user_version"), 99);
	sqlite3_close(db);
}

Test(schema, somebody_elses_database_is_left_alone)
{
	struct tp_records *records;
	sqlite3 *db = open_db();

	run(db, "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)");
	sqlite3_close(db);
	cr_expect(says(tp_records_open(dir, "records.db", &records), "something else"));
	db = open_db();
	cr_expect_eq(ask(db, "SELECT count(*) FROM sqlite_schema"), 1);
	sqlite3_close(db);
}
