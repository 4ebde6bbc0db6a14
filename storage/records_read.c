/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the records: single rows, lists of all but sessions, counts. */
#include <string.h>

#include "base/mem.h"
#include "storage/records_priv.h"

/* What a reading statement is asked with. */
struct question {
	enum tp_stmt stmt;
	const char *a;	/* ?1 */
	const char *b;	/* ?2 */
	int64_t number; /* ?3 */
	int64_t other;	/* ?4 */
};

static void bind(sqlite3_stmt *stmt, const struct question *question)
{
	int known = sqlite3_bind_parameter_count(stmt);

	if (known >= 1)
		sqlite3_bind_text(stmt, 1, question->a, -1, SQLITE_STATIC);
	if (known >= 2)
		sqlite3_bind_text(stmt, 2, question->b, -1, SQLITE_STATIC);
	if (known >= 3)
		sqlite3_bind_int64(stmt, 3, question->number);
	if (known >= 4)
		sqlite3_bind_int64(stmt, 4, question->other);
}

/* Gets something out of a statement that is bound. */
typedef struct torpor_error *read_fn(struct tp_sql *sql, sqlite3_stmt *stmt, void *data);

/* Asks on a connection of the pool. */
static struct torpor_error *ask(
	struct tp_records *records, const struct question *question, read_fn *fn, void *data)
{
	struct tp_reader_conn *reader;
	sqlite3_stmt *stmt;

	TP_TRY(tp_readers_get(&records->readers, &reader));
	struct torpor_error *err = tp_sql_stmt(&reader->sql, question->stmt, &stmt);
	if (!err) {
		bind(stmt, question);
		err = fn(&reader->sql, stmt, data);
		tp_sql_done(stmt);
	}
	tp_readers_put(&records->readers, reader);
	return err;
}

/* --- single rows --- */

struct one {
	const struct tp_row_type *type;
	void *copy; /* of the row; NULL: there is none */
};

static struct torpor_error *copy_row(void *data, const void *row)
{
	struct one *one = data;

	assert(!one->copy); /* single rows are asked for by unique keys */
	one->copy = tp_row_copy(one->type, row);
	return NULL;
}

static struct torpor_error *read_one(struct tp_sql *sql, sqlite3_stmt *stmt, void *data)
{
	struct one *one = data;
	TP_FREE void *borrowed = tp_malloc(one->type->size);

	return tp_sql_each(sql, stmt, one->type, borrowed, copy_row, one);
}

static struct torpor_error *find(struct tp_records *records, const struct question *question,
	const struct tp_row_type *type, void *row_out)
{
	struct one one = {.type = type};
	struct torpor_error *err = ask(records, question, read_one, &one);

	if (err) {
		tp_row_free(type, one.copy);
		return err;
	}
	if (!one.copy) {
		TP_FREE char *step = tp_asprintf("find %s", type->what);
		return tp_error(TORPOR_E_NOT_FOUND, step, question->a, "there is none");
	}
	memcpy(row_out, one.copy, type->size); /* its strings go along */
	free(one.copy);
	return NULL;
}

struct torpor_error *tp_records_tenant(
	struct tp_records *records, const char *name, struct tp_tenant_row *row_out)
{
	return find(records, &(struct question){.stmt = TP_STMT_TENANT, .a = name},
		&tp_tenant_row_type, row_out);
}

struct torpor_error *tp_records_tenant_of_uid(
	struct tp_records *records, int64_t uid, struct tp_tenant_row *row_out)
{
	return find(records, &(struct question){.stmt = TP_STMT_TENANT_OF_UID, .number = uid},
		&tp_tenant_row_type, row_out);
}

struct torpor_error *tp_records_token(
	struct tp_records *records, const char *id, struct tp_token_row *row_out)
{
	return find(records, &(struct question){.stmt = TP_STMT_TOKEN, .a = id}, &tp_token_row_type,
		row_out);
}

struct torpor_error *tp_records_session(struct tp_records *records, const char *tenant,
	const char *id, struct tp_session_row *row_out)
{
	return find(records, &(struct question){.stmt = TP_STMT_SESSION, .a = id, .b = tenant},
		&tp_session_row_type, row_out);
}

struct torpor_error *tp_records_image(
	struct tp_records *records, const char *name, struct tp_image_row *row_out)
{
	return find(records, &(struct question){.stmt = TP_STMT_IMAGE, .a = name},
		&tp_image_row_type, row_out);
}

struct torpor_error *tp_records_repeat(struct tp_records *records, const char *tenant,
	const char *key, struct tp_repeat_row *row_out)
{
	return find(records, &(struct question){.stmt = TP_STMT_REPEAT, .a = key, .b = tenant},
		&tp_repeat_row_type, row_out);
}

/* --- lists --- */

struct each {
	const struct tp_row_type *type;
	tp_row_fn *give; /* hands a row to the caller's function, which ... */
	union {		 /* ... is one of these */
		tp_tenant_each *tenant;
		tp_token_each *token;
		tp_image_each *image;
		tp_name_each *name;
	} fn;
	void *data;
};

static struct torpor_error *give_tenant(void *data, const void *row)
{
	struct each *each = data;

	return each->fn.tenant(each->data, row);
}

static struct torpor_error *give_token(void *data, const void *row)
{
	struct each *each = data;

	return each->fn.token(each->data, row);
}

static struct torpor_error *give_image(void *data, const void *row)
{
	struct each *each = data;

	return each->fn.image(each->data, row);
}

static struct torpor_error *read_each(struct tp_sql *sql, sqlite3_stmt *stmt, void *data)
{
	struct each *each = data;
	TP_FREE void *row = tp_malloc(each->type->size);

	return tp_sql_each(sql, stmt, each->type, row, each->give, each);
}

static struct torpor_error *read_names(struct tp_sql *sql, sqlite3_stmt *stmt, void *data)
{
	struct each *each = data;
	int rc;

	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		TP_TRY(each->fn.name(each->data, (const char *)sqlite3_column_text(stmt, 0)));
	return rc == SQLITE_DONE ? NULL : tp_sql_error(sql->db, "read the records", sql->path);
}

struct torpor_error *tp_records_tenants(
	struct tp_records *records, tp_tenant_each *each, void *data)
{
	return ask(records, &(struct question){.stmt = TP_STMT_TENANTS}, read_each,
		&(struct each){.type = &tp_tenant_row_type,
			.give = give_tenant,
			.fn.tenant = each,
			.data = data});
}

struct torpor_error *tp_records_tokens(
	struct tp_records *records, const char *tenant, tp_token_each *each, void *data)
{
	return ask(records, &(struct question){.stmt = TP_STMT_TOKENS, .a = tenant}, read_each,
		&(struct each){.type = &tp_token_row_type,
			.give = give_token,
			.fn.token = each,
			.data = data});
}

struct torpor_error *tp_records_images(
	struct tp_records *records, const char *session, tp_image_each *each, void *data)
{
	enum tp_stmt stmt = session ? TP_STMT_IMAGES : TP_STMT_ALL_IMAGES;

	return ask(records, &(struct question){.stmt = stmt, .a = session}, read_each,
		&(struct each){.type = &tp_image_row_type,
			.give = give_image,
			.fn.image = each,
			.data = data});
}

struct torpor_error *tp_records_image_names(
	struct tp_records *records, tp_name_each *each, void *data)
{
	return ask(records, &(struct question){.stmt = TP_STMT_IMAGE_NAMES}, read_names,
		&(struct each){.fn.name = each, .data = data});
}

struct due_groups {
	tp_due_group_each *each;
	void *data;
};

static struct torpor_error *read_due_groups(struct tp_sql *sql, sqlite3_stmt *stmt, void *data)
{
	struct due_groups *groups = data;
	int rc;

	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct tp_due_group group = {
			.template_name = (const char *)sqlite3_column_text(stmt, 0),
			.tenant = (const char *)sqlite3_column_text(stmt, 1),
			.retention_s = sqlite3_column_int64(stmt, 2),
			.changed_ns = (uint64_t)sqlite3_column_int64(stmt, 3),
		};
		TP_TRY(groups->each(groups->data, &group));
	}
	return rc == SQLITE_DONE ? NULL : tp_sql_error(sql->db, "read the records", sql->path);
}

struct torpor_error *tp_records_due_groups(
	struct tp_records *records, tp_due_group_each *each, void *data)
{
	return ask(records, &(struct question){.stmt = TP_STMT_DUE_GROUPS}, read_due_groups,
		&(struct due_groups){.each = each, .data = data});
}

struct torpor_error *tp_records_sessions_due(struct tp_records *records,
	const struct tp_due_group *group, tp_name_each *each, void *data)
{
	return ask(records,
		&(struct question){
			.stmt = TP_STMT_SESSIONS_DUE,
			.a = group->template_name,
			.b = group->tenant,
			.number = group->retention_s,
			.other = (int64_t)TP_MIN(group->changed_ns, (uint64_t)INT64_MAX),
		},
		read_names, &(struct each){.fn.name = each, .data = data});
}

/* --- numbers --- */

/* The columns of the first row, which are numbers; zeros if there is none. */
struct numbers {
	uint64_t values[5];
	int count;
};

static struct torpor_error *read_numbers(struct tp_sql *sql, sqlite3_stmt *stmt, void *data)
{
	struct numbers *numbers = data;
	int rc = sqlite3_step(stmt);

	if (rc == SQLITE_ROW)
		for (int i = 0; i < numbers->count; i++)
			numbers->values[i] = (uint64_t)sqlite3_column_int64(stmt, i);
	else if (rc != SQLITE_DONE)
		return tp_sql_error(sql->db, "read the records", sql->path);
	return NULL;
}

struct torpor_error *tp_records_number(
	struct tp_records *records, const char *name, uint64_t *value_out)
{
	struct numbers numbers = {.count = 1};

	TP_TRY(ask(records, &(struct question){.stmt = TP_STMT_NUMBER, .a = name}, read_numbers,
		&numbers));
	*value_out = numbers.values[0];
	return NULL;
}

struct torpor_error *tp_records_usage(
	struct tp_records *records, const char *tenant, struct tp_usage *usage_out)
{
	struct numbers numbers = {.count = 5};

	TP_TRY(ask(records, &(struct question){.stmt = TP_STMT_USAGE, .a = tenant}, read_numbers,
		&numbers));
	*usage_out = (struct tp_usage){
		.sessions = numbers.values[0],
		.live = numbers.values[1],
		.live_memory_bytes = numbers.values[2],
		.parked = numbers.values[3],
		.image_bytes = numbers.values[4],
	};
	return NULL;
}

struct torpor_error *tp_records_template_users(
	struct tp_records *records, const char *template_id, uint64_t *count_out)
{
	struct numbers numbers = {.count = 1};

	TP_TRY(ask(records, &(struct question){.stmt = TP_STMT_TEMPLATE_USERS, .a = template_id},
		read_numbers, &numbers));
	*count_out = numbers.values[0];
	return NULL;
}

struct head {
	uint64_t seq;
	uint8_t hash[TP_HASH_LEN];
};

static struct torpor_error *read_head(struct tp_sql *sql, sqlite3_stmt *stmt, void *data)
{
	struct head *head = data;
	int rc = sqlite3_step(stmt);

	if (rc == SQLITE_DONE)
		return NULL;
	if (rc != SQLITE_ROW)
		return tp_sql_error(sql->db, "read the records", sql->path);
	head->seq = (uint64_t)sqlite3_column_int64(stmt, 0);
	const void *hash = sqlite3_column_blob(stmt, 1);
	if (!hash || sqlite3_column_bytes(stmt, 1) != TP_HASH_LEN)
		return tp_error(TORPOR_E_CORRUPT, "read the records", sql->path,
			"the audit log's head isn't a hash");
	memcpy(head->hash, hash, TP_HASH_LEN);
	return NULL;
}

struct torpor_error *tp_records_audit_head(
	struct tp_records *records, uint64_t *seq_out, uint8_t hash_out[TP_HASH_LEN])
{
	struct head head = {0};

	TP_TRY(ask(records, &(struct question){.stmt = TP_STMT_READ_AUDIT_HEAD}, read_head, &head));
	*seq_out = head.seq;
	memcpy(hash_out, head.hash, TP_HASH_LEN);
	return NULL;
}
