/* SPDX-License-Identifier: Apache-2.0 */
/* The file of the records: whose it is, how it is kept, and that damage in it is found. */
#include <criterion/criterion.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "records_fixture.h"
#include "support.h"

TestSuite(records, .init = records_setup, .fini = records_teardown, .timeout = 50);

/* The other process is made while nothing is open: a thread's locks would stay locked in it. */
Test(records, one_process_at_a_time)
{
	struct tp_records *second;
	int go[2];
	char byte;
	int status;

	records = tp_records_close(records);
	cr_assert_eq(pipe(go), 0);
	pid_t child = fork();
	if (child == 0) {
		close(go[1]);
		_exit(read(go[0], &byte, 1) != 1 ||
			code_of(tp_records_open(dir, "records.db", &second)) != TORPOR_E_BUSY);
	}
	records = open_records(dir);
	cr_expect_eq(code_of(tp_records_open(dir, "records.db", &second)), TORPOR_E_BUSY);
	cr_assert_eq(write(go[1], "", 1), 1);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_expect_eq(status, 0);
	reopen();
	close(go[0]);
	close(go[1]);
}

Test(records, only_the_owner_can_read_them)
{
	static const char *const names[] = {
		"records.db", "records.db-wal", "records.db-shm", "records.db.lock"};
	struct stat st;

	umask(0);
	must(put_session(records, &(struct tp_session_row){.id = (char *)"s2",
					  .tenant = (char *)"bob",
					  .template_name = (char *)"t",
					  .template_id = (char *)"t",
					  .state = (char *)"parked"}));
	for (size_t i = 0; i < TP_ARRAY_LEN(names); i++) {
		TP_FREE char *path = path_in(dir, names[i]);
		cr_assert_eq(stat(path, &st), 0, "%s", path);
		cr_expect_eq(st.st_mode & 0777, 0600, "%s", path);
	}
}

Test(records, the_settings_that_durability_rests_on)
{
	TP_FREE char *path = path_in(dir, "records.db");
	TP_FREE uint8_t *header = NULL;
	size_t len;

	header = read_path(path, &len);
	cr_assert_gt(len, 100);
	cr_expect_eq(header[18], 2); /* WAL: https://www.sqlite.org/fileformat.html, 1.3.3 */
	cr_expect_eq(header[19], 2);
}

Test(records, a_damaged_file_is_named)
{
	TP_FREE char *path = path_in(dir, "records.db");
	TP_FREE uint8_t *data = NULL;
	size_t len;

	records = tp_records_close(records);
	data = read_path(path, &len);
	memset(data, 'x', 16);
	write_path(path, data, len);
	struct torpor_error *err = tp_records_open(dir, "records.db", &records);
	cr_assert_not_null(err);
	cr_expect_eq(torpor_error_code(err), TORPOR_E_CORRUPT);
	cr_expect_not_null(strstr(torpor_error_message(err), path));
	torpor_error_free(err);
	write_path(path, "", 0);
	records = open_records(dir);
}

/* Overwrites the page that a table or an index begins with. */
static void damage(const char *table)
{
	TP_FREE char *path = path_in(dir, "records.db");
	TP_FREE char *sql =
		tp_asprintf("SELECT rootpage FROM sqlite_schema WHERE name = '%s'", table);
	TP_FREE uint8_t *data = NULL;
	sqlite3 *db;
	size_t len;

	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	uint64_t page = ask_number(db, sql, NULL);
	sqlite3_close(db);
	data = read_path(path, &len);
	cr_assert_leq(page * 4096, len);
	memset(data + (page - 1) * 4096, 0x5a, 4096);
	write_path(path, data, len);
}

Test(records, damage_inside_is_found_where_it_is_read)
{
	struct tp_session_row row = a_session("s1", "alice", "demo");
	struct tp_session_filter filter = {.tenant = "alice"};
	struct names names = {0};

	must(put_session(records, &row));
	records = tp_records_close(records);
	damage("sessions_by_tenant");
	records = open_records(dir);
	cr_expect_eq(code_of(tp_records_sessions(records, &filter, collect_session, &names)),
		TORPOR_E_CORRUPT);
	row.created_ns++;
	cr_expect_eq(code_of(put_session(records, &row)), TORPOR_E_CORRUPT);
	cr_expect(has_session(records, "s1"));
	names_deinit(&names);
}
