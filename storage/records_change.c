/* SPDX-License-Identifier: Apache-2.0 */
/* Changes: what is to be done together, and doing it. */
#include <string.h>

#include "base/mem.h"
#include "storage/records_priv.h"

struct tp_change *tp_change_new(void)
{
	struct tp_change *change = tp_calloc(1, sizeof(*change));

	change->lazy = true;
	return change;
}

struct tp_change *tp_change_free(struct tp_change *change)
{
	if (!change)
		return NULL;
	for (size_t i = 0; i < change->count; i++) {
		struct tp_record_op *op = &change->ops[i];
		if (op->type)
			tp_row_free(op->type, op->row);
		free(op->text);
		free(op->note);
	}
	free(change->ops);
	free(change);
	return NULL;
}

static void reserve(struct tp_change *change, size_t count)
{
	if (count <= change->room)
		return;
	change->room = TP_MAX(count, 2 * change->room);
	change->ops = tp_reallocarray(change->ops, change->room, sizeof(change->ops[0]));
}

static void add(struct tp_change *change, const struct tp_record_op *op)
{
	reserve(change, change->count + 1);
	change->ops[change->count++] = *op;
	change->lazy = change->lazy &&
		       (op->stmt == TP_STMT_TOUCH_SESSION || op->stmt == TP_STMT_NOTE_SESSION);
}

void tp_change_append(struct tp_change *change, struct tp_change *later)
{
	for (size_t i = 0; i < later->count; i++)
		add(change, &later->ops[i]);
	later->count = 0; /* its rows and texts were taken */
	tp_change_free(later);
}

static void put(struct tp_change *change, enum tp_stmt stmt, const struct tp_row_type *type,
	const void *row)
{
	add(change,
		&(struct tp_record_op){.stmt = stmt, .type = type, .row = tp_row_copy(type, row)});
}

static void act(struct tp_change *change, enum tp_stmt stmt, const char *text, uint64_t number)
{
	add(change,
		&(struct tp_record_op){.stmt = stmt, .text = tp_strdup(text), .number = number});
}

void tp_change_put_tenant(struct tp_change *change, const struct tp_tenant_row *row)
{
	put(change, TP_STMT_PUT_TENANT, &tp_tenant_row_type, row);
}

void tp_change_remove_tenant(struct tp_change *change, const char *name)
{
	act(change, TP_STMT_REMOVE_TENANT, name, 0);
}

void tp_change_put_token(struct tp_change *change, const struct tp_token_row *row)
{
	put(change, TP_STMT_PUT_TOKEN, &tp_token_row_type, row);
}

void tp_change_remove_token(struct tp_change *change, const char *id)
{
	act(change, TP_STMT_REMOVE_TOKEN, id, 0);
}

void tp_change_put_session(struct tp_change *change, const struct tp_session_row *row)
{
	put(change, TP_STMT_PUT_SESSION, &tp_session_row_type, row);
}

void tp_change_remove_session(struct tp_change *change, const char *id)
{
	act(change, TP_STMT_REMOVE_SESSION, id, 0);
}

void tp_change_touch_session(struct tp_change *change, const char *id, uint64_t active_ns)
{
	act(change, TP_STMT_TOUCH_SESSION, id, active_ns);
}

void tp_change_note_session(struct tp_change *change, const char *id, const char *info)
{
	add(change, &(struct tp_record_op){.stmt = TP_STMT_NOTE_SESSION,
			    .text = tp_strdup(id),
			    .note = tp_strdup(info)});
}

void tp_change_put_image(struct tp_change *change, const struct tp_image_row *row)
{
	put(change, TP_STMT_PUT_IMAGE, &tp_image_row_type, row);
}

void tp_change_remove_image(struct tp_change *change, const char *name)
{
	act(change, TP_STMT_REMOVE_IMAGE, name, 0);
}

void tp_change_put_repeat(struct tp_change *change, const struct tp_repeat_row *row)
{
	put(change, TP_STMT_PUT_REPEAT, &tp_repeat_row_type, row);
}

void tp_change_forget_repeats(struct tp_change *change, uint64_t before_ns)
{
	act(change, TP_STMT_FORGET_REPEATS, NULL, before_ns);
}

void tp_change_raise(struct tp_change *change, const char *name, uint64_t value)
{
	act(change, TP_STMT_RAISE, name, value);
}

void tp_change_audit_head(struct tp_change *change, uint64_t seq, const uint8_t hash[TP_HASH_LEN])
{
	struct tp_record_op op = {.stmt = TP_STMT_AUDIT_HEAD, .number = seq};

	memcpy(op.hash, hash, TP_HASH_LEN);
	add(change, &op);
}

/* --- applying --- */

static int bind_op(sqlite3_stmt *stmt, const struct tp_record_op *op)
{
	if (op->type)
		return tp_row_bind(op->type, op->row, stmt);
	if (op->number > INT64_MAX)
		return SQLITE_RANGE;
	int known = sqlite3_bind_parameter_count(stmt);
	int rc = sqlite3_bind_text(stmt, 1, op->text, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK && op->note)
		return sqlite3_bind_text(stmt, 2, op->note, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK && known >= 2)
		rc = sqlite3_bind_int64(stmt, 2, (int64_t)op->number);
	if (rc == SQLITE_OK && known >= 3)
		rc = sqlite3_bind_blob(stmt, 3, op->hash, TP_HASH_LEN, SQLITE_STATIC);
	return rc;
}

/* Why OP, a put, was turned down by the schema. */
static struct torpor_error *refusal(sqlite3 *db, const struct tp_record_op *op)
{
	const char *name = tp_row_name(op->type, op->row);
	TP_FREE char *step = tp_asprintf("record %s", op->type->what);

	switch (sqlite3_extended_errcode(db)) {
	case SQLITE_CONSTRAINT_UNIQUE:
	case SQLITE_CONSTRAINT_PRIMARYKEY:
		if (op->type->collision)
			return tp_error(TORPOR_E_EXISTS, step, name, "%s", op->type->collision);
		break;
	case SQLITE_CONSTRAINT_FOREIGNKEY:
		return tp_error(
			TORPOR_E_NOT_FOUND, step, name, "what it belongs to isn't recorded");
	default:
		break;
	}
	return tp_sql_error(db, step, name);
}

static struct torpor_error *op_error(
	struct tp_sql *sql, const struct tp_record_op *op, int rc, bool *fatal_out)
{
	bool own = (rc & 0xff) == SQLITE_CONSTRAINT || rc == SQLITE_TOOBIG || rc == SQLITE_RANGE;

	*fatal_out = !own || sqlite3_get_autocommit(sql->db);
	if (rc == SQLITE_RANGE)
		return tp_error(
			TORPOR_E_INVALID, "record a change", op->text, "a number is out of range");
	if (op->type && !*fatal_out)
		return refusal(sql->db, op);
	return tp_sql_error(sql->db, "record a change", sql->path);
}

/* A put that changes no row met one that it may not replace. */
static struct torpor_error *check_put(struct tp_sql *sql, const struct tp_record_op *op)
{
	if (!op->type || sqlite3_changes(sql->db) > 0)
		return NULL;
	TP_FREE char *step = tp_asprintf("record %s", op->type->what);
	return tp_error(TORPOR_E_EXISTS, step, tp_row_name(op->type, op->row), "%s",
		op->type->collision ? op->type->collision : "it exists");
}

static struct torpor_error *apply_op(
	struct tp_sql *sql, const struct tp_record_op *op, bool *fatal_out)
{
	sqlite3_stmt *stmt;
	struct torpor_error *err;

	*fatal_out = true;
	TP_TRY(tp_sql_stmt(sql, op->stmt, &stmt));
	int rc = bind_op(stmt, op);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_DONE) {
		*fatal_out = false;
		err = check_put(sql, op);
	} else {
		err = op_error(sql, op, rc, fatal_out);
	}
	tp_sql_done(stmt);
	return err;
}

static struct torpor_error *apply_ops(
	struct tp_sql *sql, const struct tp_change *change, bool *fatal_out)
{
	for (size_t i = 0; i < change->count; i++)
		TP_TRY(apply_op(sql, &change->ops[i], fatal_out));
	return NULL;
}

struct torpor_error *tp_change_apply(
	struct tp_sql *sql, const struct tp_change *change, bool *fatal_out)
{
	*fatal_out = true;
	TP_TRY(tp_sql_run(sql, TP_STMT_SAVE, "record a change"));
	struct torpor_error *err = apply_ops(sql, change, fatal_out);
	if (err && *fatal_out)
		return err;
	struct torpor_error *ended = err ? tp_sql_run(sql, TP_STMT_UNDO, "undo a change") : NULL;
	if (!ended)
		ended = tp_sql_run(sql, TP_STMT_RELEASE, "record a change");
	*fatal_out = ended != NULL;
	return tp_error_first(err, ended);
}
