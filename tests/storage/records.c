/* SPDX-License-Identifier: Apache-2.0 */
/* The records: what goes in comes out, what must not be there together isn't, counts hold. */
#include <criterion/criterion.h>
#include <sqlite3.h>
#include <string.h>

#include "base/mem.h"
#include "records_fixture.h"
#include "support.h"

TestSuite(records, .init = records_setup, .fini = records_teardown, .timeout = 50);

static void expect_text(const char *is, const char *due)
{
	if (due)
		cr_expect_str_eq(is, due);
	else
		cr_expect_null(is);
}

Test(records, a_tenant_comes_back)
{
	struct tp_tenant_row row = a_tenant("alice");
	struct tp_tenant_row back;

	row.uid = 1000;
	must(put_tenant(records, &row));
	reopen();
	must(tp_records_tenant(records, "alice", &back));
	cr_expect_str_eq(back.name, "alice");
	cr_expect_eq(back.uid, 1000);
	cr_expect_eq(memcmp(&back.limits, &row.limits, sizeof(row.limits)), 0);
	cr_expect_eq(back.created_ns, 77);
	tp_tenant_row_deinit(&back);
	must(tp_records_tenant_of_uid(records, 1000, &back));
	cr_expect_str_eq(back.name, "alice");
	tp_tenant_row_deinit(&back);
	cr_expect_eq(code_of(tp_records_tenant(records, "bob", &back)), TORPOR_E_NOT_FOUND);
	cr_expect_eq(code_of(tp_records_tenant_of_uid(records, 1, &back)), TORPOR_E_NOT_FOUND);
	cr_expect_eq(code_of(tp_records_tenant_of_uid(records, -1, &back)), TORPOR_E_NOT_FOUND);
}

Test(records, a_session_comes_back)
{
	struct tp_session_row row = a_session("s1", "alice", "demo");
	struct tp_session_row back;

	row.reason = (char *)"why";
	row.handover = (char *)"{\"pid\":1}";
	row.forked_from = (char *)"s0";
	row.park_uuid = (char *)"u";
	row.park_bytes = 1;
	row.ttl_s = 2;
	row.idle_s = 3;
	row.retention_s = INT64_MAX;
	row.restores = UINT32_MAX;
	row.env = NULL;
	must(put_session(records, &row));
	reopen();
	must(tp_records_session(records, "alice", "s1", &back));
	expect_text(back.id, row.id);
	expect_text(back.tenant, row.tenant);
	expect_text(back.name, row.name);
	expect_text(back.template_name, row.template_name);
	expect_text(back.template_id, row.template_id);
	expect_text(back.state, row.state);
	expect_text(back.reason, row.reason);
	expect_text(back.handover, row.handover);
	expect_text(back.labels, row.labels);
	expect_text(back.env, "{}");
	expect_text(back.limits, row.limits);
	expect_text(back.info, row.info);
	expect_text(back.forked_from, row.forked_from);
	expect_text(back.park_uuid, row.park_uuid);
	cr_expect_eq(back.park_bytes, 1);
	cr_expect_eq(back.memory_bytes, 1000);
	cr_expect_eq(back.ttl_s, 2);
	cr_expect_eq(back.idle_s, 3);
	cr_expect_eq(back.retention_s, INT64_MAX);
	cr_expect_eq(back.created_ns, 100);
	cr_expect_eq(back.changed_ns, 200);
	cr_expect_eq(back.active_ns, 300);
	cr_expect_eq(back.restores, UINT32_MAX);
	tp_session_row_deinit(&back);
	must(tp_records_session(records, NULL, "s1", &back));
	tp_session_row_deinit(&back);
	cr_expect_eq(code_of(tp_records_session(records, "bob", "s1", &back)), TORPOR_E_NOT_FOUND);
	cr_expect_eq(code_of(tp_records_session(records, NULL, "s2", &back)), TORPOR_E_NOT_FOUND);
}

Test(records, tokens_images_and_repeats_come_back)
{
	struct tp_tenant_row alice = a_tenant("alice");
	struct tp_token_row token = a_token("t1", "alice");
	struct tp_token_row token_back;
	struct tp_session_row session = a_session("s1", "alice", "demo");
	struct tp_image_row image = an_image("s1.park", "s1", "alice");
	struct tp_image_row image_back;
	struct tp_repeat_row repeat = {.tenant = (char *)"alice",
		.key = (char *)"k",
		.print = {1, 2, 3},
		.status = 201,
		.result = (char *)"{}",
		.created_ns = 10};
	struct tp_repeat_row repeat_back;
	struct tp_change *change = tp_change_new();

	image.label = (char *)"l";
	image.parent = (char *)"p";
	tp_change_put_tenant(change, &alice);
	tp_change_put_token(change, &token);
	tp_change_put_session(change, &session);
	tp_change_put_image(change, &image);
	tp_change_put_repeat(change, &repeat);
	must(tp_records_commit(records, change));

	must(tp_records_token(records, "t1", &token_back));
	expect_text(token_back.tenant, "alice");
	expect_text(token_back.label, "laptop");
	cr_expect_eq(memcmp(token_back.hash, token.hash, TP_HASH_LEN), 0);
	cr_expect_eq(token_back.created_ns, 5);
	cr_expect_eq(token_back.expires_ns, 6);
	tp_token_row_deinit(&token_back);
	must(tp_records_image(records, "s1.park", &image_back));
	expect_text(image_back.session, "s1");
	expect_text(image_back.tenant, "alice");
	expect_text(image_back.kind, "park");
	expect_text(image_back.label, "l");
	expect_text(image_back.parent, "p");
	expect_text(image_back.template_id, "9f01");
	cr_expect_eq(image_back.bytes, 500);
	tp_image_row_deinit(&image_back);
	must(tp_records_repeat(records, "alice", "k", &repeat_back));
	cr_expect_eq(memcmp(repeat_back.print, repeat.print, TP_HASH_LEN), 0);
	cr_expect_eq(repeat_back.status, 201);
	expect_text(repeat_back.result, "{}");
	tp_repeat_row_deinit(&repeat_back);
	cr_expect_eq(
		code_of(tp_records_repeat(records, "bob", "k", &repeat_back)), TORPOR_E_NOT_FOUND);

	change = tp_change_new();
	tp_change_forget_repeats(change, 10);
	must(tp_records_commit(records, change));
	must(tp_records_repeat(records, "alice", "k", &repeat_back));
	tp_repeat_row_deinit(&repeat_back);
	change = tp_change_new();
	tp_change_forget_repeats(change, 11);
	must(tp_records_commit(records, change));
	cr_expect_eq(code_of(tp_records_repeat(records, "alice", "k", &repeat_back)),
		TORPOR_E_NOT_FOUND);
}

Test(records, a_put_replaces)
{
	struct tp_session_row row = a_session("s1", "alice", "demo");
	struct tp_session_row back;

	must(put_session(records, &row));
	row.name = (char *)"other";
	row.state = (char *)"running";
	row.handover = (char *)"{}";
	must(put_session(records, &row));
	must(tp_records_session(records, NULL, "s1", &back));
	cr_expect_str_eq(back.name, "other");
	cr_expect_str_eq(back.state, "running");
	tp_session_row_deinit(&back);
}

Test(records, a_taken_name_fails_and_nothing_of_the_change_happens)
{
	struct tp_session_row first = a_session("s1", "alice", "demo");
	struct tp_session_row others = a_session("s2", "bob", "demo");
	struct tp_session_row third = a_session("s3", "alice", "free");
	struct tp_session_row fourth = a_session("s4", "alice", "demo");
	struct tp_change *change = tp_change_new();

	must(put_session(records, &first));
	must(put_session(records, &others));
	tp_change_put_session(change, &third);
	tp_change_put_session(change, &fourth);
	struct torpor_error *err = tp_records_commit(records, change);
	cr_assert_not_null(err);
	cr_expect_eq(torpor_error_code(err), TORPOR_E_EXISTS);
	cr_expect_str_eq(torpor_error_message(err), "record session s4: its name is taken");
	torpor_error_free(err);
	cr_expect_not(has_session(records, "s3"));
	cr_expect_not(has_session(records, "s4"));
	cr_expect_eq(tp_records_stats(records).refused, 1);
}

Test(records, user_ids_and_tokens_are_unique)
{
	struct tp_tenant_row alice = a_tenant("alice");
	struct tp_tenant_row bob = a_tenant("bob");
	struct tp_token_row token = a_token("t1", "alice");
	struct tp_token_row same_hash = a_token("t2", "alice");
	struct tp_token_row back;

	must(put_tenant(records, &alice)); /* neither has a user id */
	must(put_tenant(records, &bob));
	alice.uid = bob.uid = 1000;
	must(put_tenant(records, &alice));
	cr_expect_eq(code_of(put_tenant(records, &bob)), TORPOR_E_EXISTS);

	must(put_token(records, &token));
	token.label = (char *)"desk";
	must(put_token(records, &token));
	must(tp_records_token(records, "t1", &back));
	cr_expect_str_eq(back.label, "desk");
	tp_token_row_deinit(&back);
	token.tenant = (char *)"bob";
	cr_expect_eq(code_of(put_token(records, &token)), TORPOR_E_EXISTS);
	token.tenant = NULL;
	cr_expect_eq(code_of(put_token(records, &token)), TORPOR_E_EXISTS);
	token.tenant = (char *)"alice";
	token.hash[0]++;
	cr_expect_eq(code_of(put_token(records, &token)), TORPOR_E_EXISTS);
	token.hash[0]--;
	memcpy(same_hash.hash, token.hash, TP_HASH_LEN);
	cr_expect_eq(code_of(put_token(records, &same_hash)), TORPOR_E_EXISTS);
}

Test(records, what_belongs_to_nothing_is_refused)
{
	struct tp_token_row token = a_token("t1", "nobody");
	struct tp_image_row image = an_image("i", "nosession", "alice");

	cr_expect(says(put_token(records, &token), "record token t1: what it belongs to"));
	cr_expect_eq(code_of(put_token(records, &token)), TORPOR_E_NOT_FOUND);
	cr_expect_eq(code_of(put_image(records, &image)), TORPOR_E_NOT_FOUND);
	token.tenant = NULL;
	must(put_token(records, &token));
}

Test(records, rows_that_make_no_sense_are_refused)
{
	struct tp_session_row row = a_session("s1", "alice", "demo");

	row.labels = (char *)"{\"no";
	cr_expect_eq(code_of(put_session(records, &row)), TORPOR_E_INVALID);
	row = a_session("s1", "alice", "demo");
	row.memory_bytes = UINT64_MAX;
	cr_expect_eq(code_of(put_session(records, &row)), TORPOR_E_INVALID);
	row = a_session("s1", "", "demo");
	cr_expect_eq(code_of(put_session(records, &row)), TORPOR_E_INVALID);
	row = a_session("s1", "alice", "demo");
	row.state = NULL;
	cr_expect_eq(code_of(put_session(records, &row)), TORPOR_E_INVALID);
	row.state = (char *)"parked";
	must(put_session(records, &row));
}

Test(records, removing_takes_along_what_belongs_to_it)
{
	struct tp_tenant_row alice = a_tenant("alice");
	struct tp_token_row token = a_token("t1", "alice");
	struct tp_token_row admins = a_token("t2", NULL);
	struct tp_session_row session = a_session("s1", "alice", "demo");
	struct tp_session_row other = a_session("s2", "alice", "other");
	struct tp_image_row image = an_image("i1", "s1", "alice");
	struct tp_image_row second = an_image("i2", "s1", "alice");
	struct tp_image_row others = an_image("i3", "s2", "alice");
	struct tp_change *change = tp_change_new();
	struct names names = {0};

	tp_change_put_tenant(change, &alice);
	tp_change_put_token(change, &token);
	tp_change_put_token(change, &admins);
	tp_change_put_session(change, &session);
	tp_change_put_session(change, &other);
	tp_change_put_image(change, &image);
	tp_change_put_image(change, &second);
	tp_change_put_image(change, &others);
	must(tp_records_commit(records, change));
	/* A tenant that is put again keeps its tokens. */
	must(put_tenant(records, &alice));
	must(tp_records_tokens(records, "alice", collect_token, &names));
	cr_expect_eq(names.count, 1);

	change = tp_change_new();
	tp_change_remove_session(change, "s1");
	tp_change_remove_tenant(change, "alice");
	tp_change_remove_token(change, "none");
	tp_change_remove_image(change, "none");
	tp_change_remove_session(change, "none");
	tp_change_remove_tenant(change, "none");
	must(tp_records_commit(records, change));
	must(tp_records_images(records, NULL, collect_image, &names));
	must(tp_records_image_names(records, collect_name, &names));
	must(tp_records_tokens(records, "alice", collect_token, &names));
	must(tp_records_tokens(records, NULL, collect_token, &names));
	must(tp_records_tenants(records, collect_tenant, &names));
	cr_assert_eq(names.count, 4);
	cr_expect_str_eq(names.names[0], "t1");
	cr_expect_str_eq(names.names[1], "i3");
	cr_expect_str_eq(names.names[2], "i3");
	cr_expect_str_eq(names.names[3], "t2");
	names_deinit(&names);
}

Test(records, images_of_a_session_come_in_order)
{
	struct tp_session_row session = a_session("s1", "alice", "demo");
	struct tp_image_row image = an_image("b", "s1", "alice");
	struct names names = {0};

	must(put_session(records, &session));
	must(put_image(records, &image));
	image.name = (char *)"a";
	must(put_image(records, &image));
	image.name = (char *)"c";
	image.created_ns = 1;
	must(put_image(records, &image));
	must(tp_records_images(records, "s1", collect_image, &names));
	must(tp_records_images(records, "s2", collect_image, &names));
	must(tp_records_image_names(records, collect_name, &names));
	cr_assert_eq(names.count, 6);
	/* The names of all come in no order. */
	for (size_t i = 0; i < 3; i++)
		cr_expect_eq(names.names[i][0], "cab"[i]);
	for (size_t i = 0; i < 3; i++)
		cr_expect(strchr("abc", names.names[3 + i][0]));
	cr_expect_neq(names.names[3][0], names.names[4][0]);
	cr_expect_neq(names.names[3][0], names.names[5][0]);
	cr_expect_neq(names.names[4][0], names.names[5][0]);
	names_deinit(&names);
}

Test(records, numbers_and_the_audit_head_only_grow)
{
	static const uint8_t first[TP_HASH_LEN] = {1};
	static const uint8_t second[TP_HASH_LEN] = {2};
	uint8_t hash[TP_HASH_LEN] = {9};
	uint64_t value = 9;
	struct tp_change *change;

	must(tp_records_number(records, "events", &value));
	cr_expect_eq(value, 0);
	must(tp_records_audit_head(records, &value, hash));
	cr_expect_eq(value, 0);
	cr_expect_eq(hash[0], 0);
	static const uint64_t raised[] = {5, 7, 6};
	for (size_t i = 0; i < TP_ARRAY_LEN(raised); i++) {
		change = tp_change_new();
		tp_change_raise(change, "events", raised[i]);
		tp_change_audit_head(change, raised[i], i == 1 ? second : first);
		must(tp_records_commit(records, change));
	}
	must(tp_records_number(records, "events", &value));
	cr_expect_eq(value, 7);
	must(tp_records_audit_head(records, &value, hash));
	cr_expect_eq(value, 7);
	cr_expect_eq(hash[0], 2);
}

static struct torpor_error *stop(void *data, const struct tp_session_row *row)
{
	(void)data;
	return tp_error(TORPOR_E_LIMIT, "list", row->id, "enough");
}

Test(records, an_error_ends_a_list_and_is_returned)
{
	struct tp_session_row row = a_session("s1", "alice", "demo");
	struct tp_session_filter filter = {0};

	must(put_session(records, &row));
	for (int i = 0; i < 20; i++) { /* more than there are connections: none is kept */
		cr_expect_eq(
			code_of(tp_records_sessions(records, &filter, stop, NULL)), TORPOR_E_LIMIT);
	}
}

/* --- counts --- */

#define TENANTS	 3
#define SESSIONS 12
#define IMAGES	 20

/* Compares with what is counted anew. */
static void check_usage(sqlite3 *db, const char *tenant)
{
	struct tp_usage usage;

	must(tp_records_usage(records, tenant, &usage));
#define COUNT(what, from)                                                                          \
	ask_number(db, "SELECT " what " FROM " from " AND (?1 IS NULL OR tenant = ?1)", tenant)
	cr_expect_eq(usage.sessions, COUNT("count(*)", "sessions WHERE true"));
	cr_expect_eq(usage.live, COUNT("count(*)", "sessions WHERE handover IS NOT NULL"));
	cr_expect_eq(usage.live_memory_bytes,
		COUNT("ifnull(sum(memory_bytes), 0)", "sessions WHERE handover IS NOT NULL"));
	cr_expect_eq(usage.parked, COUNT("count(*)", "sessions WHERE state = 'parked'"));
	cr_expect_eq(usage.image_bytes, COUNT("ifnull(sum(bytes), 0)", "images WHERE true"));
}

static void random_step(struct tp_change *change, unsigned int *seed)
{
	static const char *const tenants[TENANTS] = {"alice", "bob", "carol"};
	static const char *const states[] = {"running", "paused", "parked", "error"};
	unsigned int kind = (unsigned int)rand_r(seed) % 10;
	TP_FREE char *id = tp_asprintf("s%d", rand_r(seed) % SESSIONS);
	TP_FREE char *image_name = tp_asprintf("i%d", rand_r(seed) % IMAGES);
	const char *tenant = tenants[rand_r(seed) % TENANTS];

	if (kind < 5) {
		struct tp_session_row row = a_session(id, tenant, id);
		row.state = (char *)states[rand_r(seed) % 4];
		row.handover = rand_r(seed) % 2 ? (char *)"{}" : NULL;
		row.memory_bytes = (uint64_t)rand_r(seed) % 3 * 1000;
		tp_change_put_session(change, &row);
	} else if (kind < 6) {
		tp_change_remove_session(change, id);
	} else if (kind < 9) {
		struct tp_image_row image = an_image(image_name, id, tenant);
		image.bytes = (uint64_t)rand_r(seed) % 3 * 100;
		tp_change_put_image(change, &image); /* refused without its session */
	} else {
		tp_change_remove_image(change, image_name);
	}
}

Test(records, usage_is_what_counting_anew_gives)
{
	unsigned int seed = 5;
	TP_FREE char *path = path_in(dir, "records.db");
	sqlite3 *db;

	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	for (int round = 0; round < 400; round++) {
		struct tp_change *change = tp_change_new();
		for (int i = rand_r(&seed) % 4; i >= 0; i--)
			random_step(change, &seed);
		enum torpor_errc code = code_of(tp_records_commit(records, change));
		cr_assert(code == 0 || code == TORPOR_E_NOT_FOUND);
		check_usage(db, NULL);
		check_usage(db, "alice");
		check_usage(db, "bob");
		check_usage(db, "nobody");
	}
	for (int i = 0; i < SESSIONS; i++) {
		TP_FREE char *id = tp_asprintf("s%d", i);
		struct tp_change *change = tp_change_new();
		tp_change_remove_session(change, id);
		must(tp_records_commit(records, change));
	}
	check_usage(db, "alice");
	cr_expect_eq(ask_number(db, "SELECT count(*) FROM usage WHERE sessions <> 0", NULL), 0);
	sqlite3_close(db);
}

Test(records, users_of_a_template_are_counted)
{
	struct tp_session_row row = a_session("s1", "alice", "demo");
	struct tp_image_row image = an_image("i", "s1", "alice");
	uint64_t count;

	must(put_session(records, &row));
	must(put_image(records, &image));
	must(tp_records_template_users(records, "9f01", &count));
	cr_expect_eq(count, 2);
	must(tp_records_template_users(records, "9f", &count));
	cr_expect_eq(count, 0);
}
