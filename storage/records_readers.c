/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of connections for reading. */
#include "storage/records_readers.h"

#include "base/mem.h"

void tp_readers_init(struct tp_readers *readers, const char *path)
{
	*readers = (struct tp_readers){.path = path};
	pthread_mutex_init(&readers->lock, NULL);
	pthread_cond_init(&readers->returned, NULL);
}

static void reader_free(struct tp_reader_conn *reader)
{
	tp_sql_close(&reader->sql);
	free(reader);
}

void tp_readers_deinit(struct tp_readers *readers)
{
	while (readers->idle) {
		struct tp_reader_conn *reader = readers->idle;
		readers->idle = reader->next;
		reader_free(reader);
		readers->count--;
	}
	assert(readers->count == 0);
	pthread_cond_destroy(&readers->returned);
	pthread_mutex_destroy(&readers->lock);
}

/* It needs to write the log's shared index, and is kept from writing anything else. */
static struct torpor_error *open_reader(const char *path, struct tp_reader_conn **reader_out)
{
	TP_FREE struct tp_reader_conn *reader = tp_calloc(1, sizeof(*reader));

	TP_TRY(tp_sql_open(&reader->sql, path, SQLITE_OPEN_READWRITE));
	if (sqlite3_exec(reader->sql.db, "PRAGMA query_only = ON", NULL, NULL, NULL) != SQLITE_OK) {
		struct torpor_error *err = tp_sql_error(reader->sql.db, "open records", path);
		tp_sql_close(&reader->sql);
		return err;
	}
	*reader_out = TP_TAKE(reader);
	return NULL;
}

/* An idle one; or NULL, and a place for a new one. */
static struct tp_reader_conn *take_idle(struct tp_readers *readers)
{
	pthread_mutex_lock(&readers->lock);
	while (!readers->idle && readers->count == TP_READERS_MAX)
		pthread_cond_wait(&readers->returned, &readers->lock);
	struct tp_reader_conn *reader = readers->idle;
	if (reader)
		readers->idle = reader->next;
	else
		readers->count++;
	pthread_mutex_unlock(&readers->lock);
	return reader;
}

static void give_place_back(struct tp_readers *readers)
{
	pthread_mutex_lock(&readers->lock);
	readers->count--;
	pthread_cond_signal(&readers->returned);
	pthread_mutex_unlock(&readers->lock);
}

struct torpor_error *tp_readers_get(struct tp_readers *readers, struct tp_reader_conn **reader_out)
{
	struct tp_reader_conn *reader = take_idle(readers);

	if (!reader) {
		struct torpor_error *err = open_reader(readers->path, &reader);
		if (err) {
			give_place_back(readers);
			return err;
		}
	}
	*reader_out = reader;
	return NULL;
}

void tp_readers_put(struct tp_readers *readers, struct tp_reader_conn *reader)
{
	pthread_mutex_lock(&readers->lock);
	reader->next = readers->idle;
	readers->idle = reader;
	pthread_cond_signal(&readers->returned);
	pthread_mutex_unlock(&readers->lock);
}

struct torpor_error *tp_sql_each(struct tp_sql *sql, sqlite3_stmt *stmt,
	const struct tp_row_type *type, void *row, tp_row_fn *fn, void *data)
{
	int rc;

	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		tp_row_borrow(type, stmt, row);
		TP_TRY(fn(data, row));
	}
	return rc == SQLITE_DONE ? NULL : tp_sql_error(sql->db, "read the records", sql->path);
}
