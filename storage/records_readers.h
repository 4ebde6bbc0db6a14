/* SPDX-License-Identifier: Apache-2.0 */
/* Connections for reading, lent to one thread at a time. Internal to the records. */
#ifndef TP_STORAGE_RECORDS_READERS_H
#define TP_STORAGE_RECORDS_READERS_H

#include <pthread.h>

#include "storage/records_sql.h"

#define TP_READERS_MAX 8

struct tp_reader_conn {
	struct tp_sql sql;
	struct tp_reader_conn *next; /* among the idle */
};

struct tp_readers {
	const char *path; /* borrowed */

	pthread_mutex_t lock;
	/* By lock. */
	pthread_cond_t returned;
	struct tp_reader_conn *idle;
	unsigned int count; /* open, lent ones too */
};

/* PATH is borrowed. */
void tp_readers_init(struct tp_readers *readers, const char *path);
/* None may be lent. */
void tp_readers_deinit(struct tp_readers *readers);

/* Lends one; opens it while there are fewer than TP_READERS_MAX, else waits for one. */
struct torpor_error *tp_readers_get(
	struct tp_readers *readers, struct tp_reader_conn **reader_out) TP_MUST_USE;
void tp_readers_put(struct tp_readers *readers, struct tp_reader_conn *reader);

/* Called with each row; an error ends the reading. */
typedef struct torpor_error *tp_row_fn(void *data, const void *row);

/* Steps through STMT, which is bound, borrowing each row into ROW (TYPE's struct) for FN. */
struct torpor_error *tp_sql_each(struct tp_sql *sql, sqlite3_stmt *stmt,
	const struct tp_row_type *type, void *row, tp_row_fn *fn, void *data) TP_MUST_USE;

#endif
