/* SPDX-License-Identifier: Apache-2.0 */
/* Touches and notes: not worth a sync, and nevertheless neither lost nor late for long. */
#include <criterion/criterion.h>
#include <unistd.h>

#include "records_fixture.h"
#include "support.h"

TestSuite(records, .init = records_setup, .fini = records_teardown, .timeout = 50);

static uint64_t active_of(const char *id)
{
	struct tp_session_row row;

	must(tp_records_session(records, NULL, id, &row));
	uint64_t active = row.active_ns;
	tp_session_row_deinit(&row);
	return active;
}

Test(records, touches_are_not_worth_a_sync)
{
	struct tp_session_row row = a_session("s1", "alice", "demo");
	struct tp_change *change;

	must(put_session(records, &row));
	for (uint64_t i = 0; i < 100; i++) {
		change = tp_change_new();
		tp_change_touch_session(change, "s1", 1000 + i);
		tp_change_touch_session(change, "gone", 1);
		must(tp_records_commit(records, change));
	}
	cr_expect_eq(tp_records_stats(records).commits, 1);
	/* They go along with the next commit ... */
	must(put_session(records, &(struct tp_session_row){.id = (char *)"s2",
					  .tenant = (char *)"bob",
					  .template_name = (char *)"t",
					  .template_id = (char *)"t",
					  .state = (char *)"parked"}));
	cr_expect_eq(tp_records_stats(records).commits, 2);
	cr_expect_eq(active_of("s1"), 1099);
	/* ... never back ... */
	change = tp_change_new();
	tp_change_touch_session(change, "s1", 5);
	tp_change_raise(change, "n", 1);
	must(tp_records_commit(records, change));
	cr_expect_eq(active_of("s1"), 1099);
	/* ... and with closing. */
	change = tp_change_new();
	tp_change_touch_session(change, "s1", 2000);
	must(tp_records_commit(records, change));
	reopen();
	cr_expect_eq(active_of("s1"), 2000);
}

/* Without this there would be no bound on what waits. */
Test(records, many_touches_are_worth_a_commit)
{
	struct tp_session_row row = a_session("s1", "alice", "demo");

	must(put_session(records, &row));
	for (uint64_t i = 0; i < 5000; i++) {
		struct tp_change *change = tp_change_new();
		tp_change_touch_session(change, "s1", 1000 + i);
		must(tp_records_commit(records, change));
	}
	reopen(); /* waits for the writer */
	cr_expect_eq(active_of("s1"), 5999);
}

/* Nothing else is committed: the writer's own clock does it. */
Test(records, a_touch_alone_is_committed_in_time)
{
	struct tp_session_row row = a_session("s1", "alice", "demo");
	struct tp_change *change = tp_change_new();

	must(put_session(records, &row));
	tp_change_touch_session(change, "s1", 1000);
	must(tp_records_commit(records, change));
	while (tp_records_stats(records).commits == 1)
		usleep(10000); /* there is no event for what nobody waits for */
	cr_expect_eq(active_of("s1"), 1000);
}

static void expect_info(const char *id, const char *info)
{
	struct tp_session_row row;

	must(tp_records_session(records, NULL, id, &row));
	cr_expect_str_eq(row.info, info);
	tp_session_row_deinit(&row);
}

Test(records, notes_are_no_more_than_touches_and_come_before_what_follows)
{
	struct tp_session_row row = a_session("s1", "alice", "demo");
	struct tp_change *change = tp_change_new();

	must(put_session(records, &row));
	tp_change_note_session(change, "s1", "{\"n\":1}");
	tp_change_note_session(change, "gone", "{\"n\":1}");
	must(tp_records_commit(records, change));
	cr_expect_eq(tp_records_stats(records).commits, 1);
	change = tp_change_new();
	tp_change_raise(change, "n", 1);
	must(tp_records_commit(records, change));
	cr_expect_eq(tp_records_stats(records).commits, 2);
	expect_info("s1", "{\"n\":1}");
	cr_expect_not(has_session(records, "gone"));
	change = tp_change_new();
	tp_change_note_session(change, "s1", "{\"n\":2}");
	must(tp_records_commit(records, change));
	row.info = (char *)"{\"n\":3}";
	must(put_session(records, &row));
	expect_info("s1", "{\"n\":3}");
	reopen();
	expect_info("s1", "{\"n\":3}");
}
