/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dead processes and full disks: what was acknowledged stays, and no change is there by half.
 *
 * A killed process leaves what it wrote to the kernel; whether that was synced too can't be seen
 * this way. What PRAGMA synchronous promises against power cuts is asked of SQLite instead.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/mem.h"
#include "records_support.h"
#include "storage/records_sql.h"
#include "support.h"

#define ROUNDS	50
#define THREADS 3

static char *dir;

static void setup(void)
{
	dir = make_dir();
}

static void teardown(void)
{
	remove_dir(dir);
}

TestSuite(crash, .init = setup, .fini = teardown, .timeout = 55);

/* --- kill -9 --- */

struct committer {
	struct tp_records *records;
	int out; /* acknowledged numbers go there */
	uint32_t next;
};

/* Change N is two sessions and a number: all of it, or nothing. */
static struct tp_change *numbered(uint32_t n)
{
	struct tp_change *change = tp_change_new();
	TP_FREE char *first = tp_asprintf("a%u", n);
	TP_FREE char *second = tp_asprintf("b%u", n);
	TP_FREE char *image = tp_asprintf("i%u", n);
	struct tp_session_row row = a_session(first, "alice", first);

	tp_change_put_session(change, &row);
	row = a_session(second, "alice", second);
	tp_change_put_session(change, &row);
	struct tp_image_row image_row = an_image(image, first, "alice");
	tp_change_put_image(change, &image_row);
	return change;
}

static void *commit_on(void *arg)
{
	struct committer *me = arg;

	for (uint32_t n = me->next;; n += THREADS) {
		must(tp_records_commit(me->records, numbered(n)));
		if (write(me->out, &n, sizeof(n)) != sizeof(n))
			_exit(1);
	}
	return NULL;
}

static void child(int out, uint32_t first)
{
	struct tp_records *records = open_records(dir);
	struct committer committers[THREADS];
	pthread_t threads[THREADS];

	for (uint32_t i = 0; i < THREADS; i++) {
		committers[i] = (struct committer){records, out, first + i};
		if (pthread_create(&threads[i], NULL, commit_on, &committers[i]) != 0)
			_exit(1);
	}
	pause();
	_exit(1);
}

/* Kills a child behind DUE acknowledged changes or a little later; adds them to ACKNOWLEDGED. */
static void run_and_kill(uint32_t first, unsigned int due, struct tp_buf *acknowledged)
{
	int ends[2];
	uint32_t n;

	cr_assert_eq(pipe(ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[0]);
		child(ends[1], first);
	}
	close(ends[1]);
	for (unsigned int i = 0; read(ends[0], &n, sizeof(n)) == sizeof(n); i++) {
		tp_buf_put(acknowledged, &n, sizeof(n));
		if (i == due)
			kill(pid, SIGKILL);
	}
	close(ends[0]);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

static bool is_there(struct tp_records *records, char kind, uint32_t n)
{
	TP_FREE char *id = tp_asprintf("%c%u", kind, n);

	return has_session(records, id);
}

static uint64_t check_whole(struct tp_records *records)
{
	struct names sessions = {0};
	struct names images = {0};
	struct tp_session_filter filter = {0};
	struct tp_usage usage;

	must(tp_records_sessions(records, &filter, collect_session, &sessions));
	must(tp_records_image_names(records, collect_name, &images));
	for (size_t i = 0; i < sessions.count; i++) {
		char other = sessions.names[i][0] == 'a' ? 'b' : 'a';
		cr_assert(is_there(records, other, (uint32_t)atoi(sessions.names[i] + 1)));
	}
	cr_assert_eq(sessions.count, 2 * images.count);
	must(tp_records_usage(records, NULL, &usage));
	cr_assert_eq(usage.sessions, sessions.count);
	cr_assert_eq(usage.image_bytes, 500 * images.count);
	names_deinit(&sessions);
	names_deinit(&images);
	return usage.sessions;
}

Test(crash, what_was_acknowledged_outlives_kill)
{
	TP_BUF struct tp_buf acknowledged = {0};
	unsigned int seed = 3;

	for (uint32_t round = 0; round < ROUNDS; round++) {
		size_t before = acknowledged.len;
		run_and_kill(round * 100000, (unsigned int)rand_r(&seed) % 40, &acknowledged);
		cr_assert_gt(acknowledged.len, before);
		struct tp_records *records = open_records(dir);
		const uint32_t *numbers = (const uint32_t *)(const void *)acknowledged.data;
		for (size_t i = 0; i < acknowledged.len / sizeof(uint32_t); i++)
			cr_assert(is_there(records, 'a', numbers[i]), "%u is lost", numbers[i]);
		cr_assert_geq(check_whole(records), 2 * acknowledged.len / sizeof(uint32_t));
		tp_records_close(records);
	}
}

/* Kill tests can't see this one, so it is asked for. */
Test(crash, connections_sync_each_commit)
{
	TP_FREE char *path = path_in(dir, "records.db");
	struct tp_sql sql;
	sqlite3_stmt *stmt;

	tp_records_close(open_records(dir));
	must(tp_sql_open(&sql, path, SQLITE_OPEN_READWRITE));
	cr_assert_eq(sqlite3_prepare_v2(sql.db, "PRAGMA synchronous", -1, &stmt, NULL), SQLITE_OK);
	cr_assert_eq(sqlite3_step(stmt), SQLITE_ROW);
	cr_expect_eq(sqlite3_column_int(stmt, 0), 2); /* FULL */
	sqlite3_finalize(stmt);
	tp_sql_close(&sql);
}

/* --- a failing disk --- */

Test(crash, a_commit_that_fails_leaves_nothing_and_the_next_one_works)
{
	struct tp_session_row row = a_session("s1", "alice", "demo");

	setenv("TORPOR_FAULT", "records-commit:2:fail", 1);
	tp_fault_init();
	struct tp_records *records = open_records(dir);
	must(put_session(records, &row));
	row = a_session("s2", "alice", "other");
	cr_expect_eq(code_of(put_session(records, &row)), TORPOR_E_IO);
	cr_expect_not(has_session(records, "s2"));
	row.id = (char *)"s3"; /* the name is free */
	must(put_session(records, &row));
	cr_expect_eq(tp_records_stats(records).failed, 1);
	tp_records_close(records);
	records = open_records(dir);
	cr_expect_not(has_session(records, "s2"));
	cr_expect(has_session(records, "s3"));
	tp_records_close(records);
}

/* --- a full disk --- */

static struct tp_session_row big_session(const char *id)
{
	static char big[20000];
	struct tp_session_row row = a_session(id, "alice", id);

	memset(big, 'x', sizeof(big) - 1);
	row.reason = big;
	return row;
}

/* Puts sessions until one fails; how many there are then. */
static unsigned int put_until_full(struct tp_records *records, unsigned int n)
{
	for (;; n++) {
		TP_FREE char *id = tp_asprintf("s%u", n);
		struct tp_session_row row = big_session(id);
		struct torpor_error *err = put_session(records, &row);
		if (!err)
			continue;
		cr_assert_eq(
			torpor_error_code(err), TORPOR_E_NOSPACE, "%s", torpor_error_message(err));
		cr_expect_not_null(torpor_error_hint(err));
		torpor_error_free(err);
		return n;
	}
}

static void check_sessions(struct tp_records *records, unsigned int n)
{
	struct tp_usage usage;

	must(tp_records_usage(records, "alice", &usage));
	cr_expect_eq(usage.sessions, n);
	for (unsigned int i = 0; i < n; i++) {
		TP_FREE char *id = tp_asprintf("s%u", i);
		cr_expect(has_session(records, id));
	}
}

Test(crash, a_full_disk_fails_changes_and_no_more)
{
	cr_assert(mount_small(dir, 8 << 20), "no small file system can be had here");
	TP_FREE char *filler = path_in(dir, "filler");
	struct tp_records *records = open_records(dir);
	struct tp_session_row last = big_session("last");
	struct tp_session_row also = big_session("also");

	fill_up(dir, "filler");
	cr_assert_eq(truncate(filler, 4 << 20), 0);
	unsigned int n = put_until_full(records, 0);
	cr_assert_gt(n, 10);
	check_sessions(records, n);
	cr_expect_eq(code_of(put_session(records, &last)), TORPOR_E_NOSPACE);
	cr_expect_gt(tp_records_stats(records).failed, 0);

	cr_assert_eq(unlink(filler), 0);
	must(put_session(records, &last));
	records = tp_records_close(records);
	records = open_records(dir);
	cr_expect(has_session(records, "last"));
	must(put_session(records, &also));
	tp_records_close(records);
	cr_assert_eq(chdir("/"), 0);
}
