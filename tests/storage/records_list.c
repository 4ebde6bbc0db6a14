/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of sessions: the right ones, in order, and from an index. */
#include <criterion/criterion.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "records_support.h"
#include "storage/records_list.h"
#include "storage/records_sql.h"
#include "support.h"

#define SESSIONS 300

static char *dir;
static struct tp_records *records;

static struct {
	struct tp_session_row row;
	char id[8];
	char name[16];
	char labels[64];
} sessions[SESSIONS];

static const char *const tenants[] = {"alice", "bob", "carol"};
static const char *const states[] = {"running", "paused", "parked", "error"};
static const char *const templates[] = {"minimal", "large"};

/* Creation times collide, so that ids must decide. */
static void fill(unsigned int *seed)
{
	struct tp_change *change = tp_change_new();

	for (int i = 0; i < SESSIONS; i++) {
		snprintf(sessions[i].id, 8, "%c%c%03d", 'a' + i % 3, 'a' + i % 7, i);
		snprintf(sessions[i].name, 16, "name%d", i / 3);
		snprintf(sessions[i].labels, 64, "{\"te\\\"am.[0]\":\"%d\",\"n\":\"x\"}", i % 4);
		struct tp_session_row row =
			a_session(sessions[i].id, tenants[i % 3], sessions[i].name);
		row.state = (char *)states[rand_r(seed) % 4];
		row.template_name = (char *)templates[rand_r(seed) % 2];
		row.handover = rand_r(seed) % 3 ? NULL : (char *)"{}";
		row.labels = sessions[i].labels;
		row.created_ns = 1000 + (uint64_t)rand_r(seed) % 50;
		row.changed_ns = (uint64_t)(rand_r(seed) % 200) * TP_NSEC_PER_SEC;
		row.retention_s = rand_r(seed) % 100 - 20;
		if (row.retention_s < 0)
			row.retention_s = TP_UNSET;
		sessions[i].row = row;
		tp_change_put_session(change, &row);
	}
	must(tp_records_commit(records, change));
}

static void setup(void)
{
	unsigned int seed = 11;

	dir = make_dir();
	records = open_records(dir);
	fill(&seed);
}

static void teardown(void)
{
	tp_records_close(records);
	remove_dir(dir);
}

TestSuite(lists, .init = setup, .fini = teardown, .timeout = 50);

static int newest_first(const void *a, const void *b)
{
	const struct tp_session_row *x = *(const struct tp_session_row *const *)a;
	const struct tp_session_row *y = *(const struct tp_session_row *const *)b;

	if (x->created_ns != y->created_ns)
		return x->created_ns < y->created_ns ? 1 : -1;
	return strcmp(y->id, x->id);
}

static bool wanted(const struct tp_session_row *row, int i, const struct tp_session_filter *filter)
{
	if (filter->tenant && strcmp(filter->tenant, row->tenant) != 0)
		return false;
	if (filter->state && strcmp(filter->state, row->state) != 0)
		return false;
	if (filter->template_name && strcmp(filter->template_name, row->template_name) != 0)
		return false;
	if (filter->label_key && filter->label_value[0] - '0' != i % 4)
		return false;
	if (filter->match && strncmp(row->id, filter->match, strlen(filter->match)) != 0 &&
		strcmp(row->name, filter->match) != 0)
		return false;
	if (filter->with_process && !row->handover)
		return false;
	if (filter->before_created_ns && row->created_ns > filter->before_created_ns)
		return false;
	return !filter->before_created_ns || row->created_ns < filter->before_created_ns ||
	       strcmp(row->id, filter->before_id) < 0;
}

/* Compares a list with what going through all rows gives. */
static void check(const struct tp_session_filter *filter)
{
	const struct tp_session_row *due[SESSIONS];
	size_t count = 0;
	struct names names = {0};

	for (int i = 0; i < SESSIONS; i++)
		if (wanted(&sessions[i].row, i, filter))
			due[count++] = &sessions[i].row;
	qsort(due, count, sizeof(due[0]), newest_first);
	if (filter->limit)
		count = TP_MIN(count, filter->limit);
	must(tp_records_sessions(records, filter, collect_session, &names));
	cr_assert_eq(names.count, count);
	for (size_t i = 0; i < count; i++)
		cr_assert_str_eq(names.names[i], due[i]->id);
	names_deinit(&names);
}

Test(lists, every_set_of_filters_gives_the_right_sessions)
{
	for (unsigned int shape = 0; shape < TP_LIST_SHAPES; shape++) {
		struct tp_session_filter filter = {
			.tenant = shape & TP_LIST_TENANT ? "bob" : NULL,
			.state = shape & TP_LIST_STATE ? "parked" : NULL,
			.template_name = shape & TP_LIST_TEMPLATE ? "large" : NULL,
			.label_key = shape & TP_LIST_LABEL ? "te\"am.[0]" : NULL,
			.label_value = shape & TP_LIST_LABEL ? "2" : NULL,
			.with_process = shape & TP_LIST_PROCESS,
			.before_created_ns = shape & TP_LIST_BEHIND ? 1030 : 0,
			.before_id = "bc",
		};
		static const char *const matches[] = {"b", "bb0", "name20", "zz", "%", "'"};
		size_t n = shape & TP_LIST_MATCH ? TP_ARRAY_LEN(matches) : 1;
		for (size_t i = 0; i < n; i++) {
			filter.match = shape & TP_LIST_MATCH ? matches[i] : NULL;
			filter.limit = 0;
			check(&filter);
			filter.limit = 3;
			check(&filter);
		}
	}
}

struct page {
	struct names names;
	uint64_t created_ns;
	char id[8];
	size_t length;
};

static struct torpor_error *turn(void *data, const struct tp_session_row *row)
{
	struct page *page = data;

	page->created_ns = row->created_ns;
	snprintf(page->id, sizeof(page->id), "%s", row->id);
	page->length++;
	return collect_session(&page->names, row);
}

Test(lists, pages_make_up_the_whole_even_while_sessions_come_and_go)
{
	struct page page = {0};
	struct names whole = {0};
	struct tp_session_filter all = {.tenant = "alice"};
	int newer = 0;

	must(tp_records_sessions(records, &all, collect_session, &whole));
	do {
		struct tp_session_filter filter = {.tenant = "alice",
			.before_created_ns = page.created_ns,
			.before_id = page.id,
			.limit = 7};
		page.length = 0;
		must(tp_records_sessions(records, &filter, turn, &page));
		TP_FREE char *id = tp_asprintf("z%d", newer++);
		struct tp_session_row row = a_session(id, "alice", id);
		row.created_ns = 5000;
		must(put_session(records, &row));
	} while (page.length == 7);
	cr_assert_eq(page.names.count, whole.count);
	for (size_t i = 0; i < whole.count; i++)
		cr_expect_str_eq(page.names.names[i], whole.names[i]);
	names_deinit(&page.names);
	names_deinit(&whole);
}

/* --- retention --- */

struct due_check {
	size_t n_sessions; /* seen in all groups */
	struct {
		char template_name[16];
		char tenant[16];
		int64_t retention_s;
		uint64_t changed_ns;
	} groups[SESSIONS];
	size_t n_groups;
};

static struct torpor_error *collect_group(void *data, const struct tp_due_group *group)
{
	struct due_check *check = data;
	size_t i = check->n_groups++;

	cr_assert_lt(i, SESSIONS);
	snprintf(check->groups[i].template_name, 16, "%s", group->template_name);
	snprintf(check->groups[i].tenant, 16, "%s", group->tenant);
	check->groups[i].retention_s = group->retention_s;
	check->groups[i].changed_ns = group->changed_ns;
	return NULL;
}

static bool is_in(const struct tp_session_row *row, const struct tp_due_group *group)
{
	return (strcmp(row->state, "parked") == 0 || strcmp(row->state, "error") == 0) &&
	       row->retention_s != 0 && row->retention_s == group->retention_s &&
	       strcmp(row->template_name, group->template_name) == 0 &&
	       strcmp(row->tenant, group->tenant) == 0;
}

static size_t count_in(const struct tp_due_group *group, uint64_t by_ns, uint64_t *oldest_out)
{
	size_t n = 0;

	*oldest_out = UINT64_MAX;
	for (int i = 0; i < SESSIONS; i++) {
		const struct tp_session_row *row = &sessions[i].row;
		if (!is_in(row, group))
			continue;
		*oldest_out = TP_MIN(*oldest_out, row->changed_ns);
		n += row->changed_ns <= by_ns;
	}
	return n;
}

static void check_group(struct due_check *check, size_t i)
{
	struct tp_due_group group = {
		.template_name = check->groups[i].template_name,
		.tenant = check->groups[i].tenant,
		.retention_s = check->groups[i].retention_s,
		.changed_ns = check->groups[i].changed_ns,
	};
	const uint64_t all[] = {group.changed_ns - 1, group.changed_ns,
		group.changed_ns + 50 * TP_NSEC_PER_SEC, INT64_MAX, UINT64_MAX};
	uint64_t oldest;

	check->n_sessions += count_in(&group, UINT64_MAX, &oldest);
	cr_expect_eq(oldest, group.changed_ns);
	for (size_t j = 0; j < TP_ARRAY_LEN(all); j++) {
		struct names names = {0};
		group.changed_ns = all[j];
		must(tp_records_sessions_due(records, &group, collect_name, &names));
		cr_expect_eq(names.count, count_in(&group, all[j], &oldest));
		names_deinit(&names);
	}
}

Test(lists, sessions_without_process_by_what_decides_on_their_retention)
{
	struct due_check check = {0};
	size_t expected = 0;

	must(tp_records_due_groups(records, collect_group, &check));
	for (size_t i = 0; i < check.n_groups; i++)
		check_group(&check, i);
	for (int i = 0; i < SESSIONS; i++) {
		const struct tp_session_row *row = &sessions[i].row;
		expected +=
			(strcmp(row->state, "parked") == 0 || strcmp(row->state, "error") == 0) &&
			row->retention_s != 0;
	}
	cr_assert_gt(expected, 100);
	cr_expect_eq(check.n_sessions, expected);
}

/* --- plans --- */

/* What SQLite would do, a line each. */
static char *plan_of(sqlite3 *db, const char *sql)
{
	TP_FREE char *explain = tp_asprintf("EXPLAIN QUERY PLAN %s", sql);
	struct tp_buf plan = {0};
	sqlite3_stmt *stmt;

	cr_assert_eq(sqlite3_prepare_v2(db, explain, -1, &stmt, NULL), SQLITE_OK, "%s", sql);
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		const char *line = (const char *)sqlite3_column_text(stmt, 3);
		tp_buf_put(&plan, line, strlen(line));
		tp_buf_put_u8(&plan, '\n');
	}
	sqlite3_finalize(stmt);
	tp_buf_put_u8(&plan, '\0');
	return (char *)plan.data;
}

/* The index by which sessions are to be walked; NULL: by rowid, of those that match. */
static const char *index_due(unsigned int shape, const char *plan)
{
	if (shape & TP_LIST_MATCH)
		return NULL;
	if (shape & TP_LIST_PROCESS)
		return "INDEX sessions_live";
	bool tenant = shape & TP_LIST_TENANT;
	bool by_state = shape & TP_LIST_STATE;
	if (by_state && shape & TP_LIST_TEMPLATE) /* either will do */
		by_state = strstr(plan, "_state (");
	if (by_state)
		return tenant ? "INDEX sessions_by_tenant_state (tenant=? AND state=?"
			      : "INDEX sessions_by_state (state=?";
	if (shape & TP_LIST_TEMPLATE)
		return tenant ? "INDEX sessions_by_tenant_template (tenant=? AND template_name=?"
			      : "INDEX sessions_by_template (template_name=?";
	return tenant ? "INDEX sessions_by_tenant (tenant=?" : "INDEX sessions_by_created";
}

static void check_plan(sqlite3 *db, unsigned int shape)
{
	TP_FREE char *sql = tp_records_list_sql(shape);
	TP_FREE char *plan = plan_of(db, sql);
	const char *index = index_due(shape, plan);

	if (index) {
		cr_expect_not_null(strstr(plan, index), "%u: %s", shape, plan);
		cr_expect_null(strstr(plan, "ORDER BY"), "%u: %s", shape, plan);
	} else {
		cr_expect_not_null(strstr(plan, "SEARCH sessions USING INTEGER PRIMARY KEY"),
			"%u: %s", shape, plan);
		cr_expect_null(strstr(plan, "SCAN sessions"), "%u: %s", shape, plan);
		cr_expect_not_null(strstr(plan, "(id>? AND id<?)"), "%u: %s", shape, plan);
		cr_expect_not_null(strstr(plan, "name=?"), "%u: %s", shape, plan);
	}
	if (shape & TP_LIST_BEHIND && index)
		cr_expect_not_null(strstr(plan, "(created_ns,id)<(?,?)"), "%u: %s", shape, plan);
}

Test(lists, come_from_an_index)
{
	static const enum tp_stmt others[] = {TP_STMT_TENANT, TP_STMT_TENANT_OF_UID, TP_STMT_TOKEN,
		TP_STMT_SESSION, TP_STMT_IMAGE, TP_STMT_REPEAT, TP_STMT_NUMBER, TP_STMT_TOKENS,
		TP_STMT_SESSIONS_DUE, TP_STMT_IMAGES, TP_STMT_USAGE, TP_STMT_FORGET_REPEATS,
		TP_STMT_TOUCH_SESSION, TP_STMT_REMOVE_SESSION};
	TP_FREE char *path = path_in(dir, "records.db");
	sqlite3 *db;

	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	for (unsigned int shape = 0; shape < TP_LIST_SHAPES; shape++)
		check_plan(db, shape);
	for (size_t i = 0; i < TP_ARRAY_LEN(others); i++) {
		TP_FREE char *sql = tp_sql_text(others[i]);
		TP_FREE char *plan = plan_of(db, sql);
		cr_expect_not_null(strstr(plan, "SEARCH"), "%s", sql);
		cr_expect_null(strstr(plan, "SCAN"), "%s: %s", sql, plan);
		cr_expect_null(strstr(plan, "B-TREE"), "%s: %s", sql, plan);
	}
	/* All of them, but from what holds nothing else. */
	static const enum tp_stmt passes[] = {TP_STMT_DUE_GROUPS, TP_STMT_IMAGE_NAMES};
	for (size_t i = 0; i < TP_ARRAY_LEN(passes); i++) {
		TP_FREE char *sql = tp_sql_text(passes[i]);
		TP_FREE char *plan = plan_of(db, sql);
		cr_expect_not_null(strstr(plan, "USING COVERING INDEX"), "%s: %s", sql, plan);
		cr_expect_null(strstr(plan, "B-TREE"), "%s: %s", sql, plan);
	}
	TP_FREE char *users = tp_sql_text(TP_STMT_TEMPLATE_USERS);
	TP_FREE char *plan = plan_of(db, users);
	cr_expect_not_null(strstr(plan, "COVERING INDEX sessions_by_template_id (template_id=?)"));
	cr_expect_not_null(strstr(plan, "INDEX images_by_template_id (template_id=?)"), "%s", plan);
	sqlite3_close(db);
}
