/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records, from the inside.
 *
 *   records.c          opening and closing
 *   records_schema.c   tables, indices, triggers; older schemas
 *   records_row.c      rows as data
 *   records_sql.c      a connection, its statements, what SQLite's failures mean
 *   records_change.c   what is to be changed, and applying it
 *   records_writer.c   the thread that commits
 *   records_readers.c  connections for reading
 *   records_read.c     reading, except
 *   records_list.c     lists of sessions
 */
#ifndef TP_STORAGE_RECORDS_PRIV_H
#define TP_STORAGE_RECORDS_PRIV_H

#include <pthread.h>

#include "storage/records.h"
#include "storage/records_readers.h"
#include "storage/records_sql.h"

/* One thing to do: a row to put, or a statement with what it takes. */
struct tp_record_op {
	enum tp_stmt stmt;
	const struct tp_row_type *type; /* of a put; else NULL */
	void *row;			/* owned */
	char *text;			/* owned; ?1 */
	uint64_t number;		/* ?2, unless it is ... */
	char *note;			/* ... this; owned */
	uint8_t hash[TP_HASH_LEN];	/* ?3 */
};

struct tp_change {
	struct tp_record_op *ops;
	size_t count;
	size_t room;
	bool lazy; /* only touches and notes: not worth a commit of its own */
};

/* Appends LATER's to CHANGE, and frees LATER. */
void tp_change_append(struct tp_change *change, struct tp_change *later);

/*
 * Does what CHANGE says, within the transaction that DB is in. On an error nothing of it is done;
 * *FATAL_OUT tells whether the transaction as a whole has failed.
 */
struct torpor_error *tp_change_apply(
	struct tp_sql *sql, const struct tp_change *change, bool *fatal_out) TP_MUST_USE;

struct tp_commit {
	struct tp_commit *next; /* in the queue */
	struct tp_change *change;

	pthread_mutex_t lock;
	pthread_cond_t cond;
	/* By lock. */
	bool done;
	struct torpor_error *error;
};

struct tp_records {
	/* Constant after opening. */
	char *path;
	int lock_fd;
	pthread_t writer;
	bool writer_started;

	struct tp_readers readers;

	/* The writer's. */
	struct tp_sql sql;
	int log_frames; /* pages in the write-ahead log, as of the last commit */

	pthread_mutex_t lock;
	/* By lock. */
	pthread_cond_t wake; /* CLOCK_MONOTONIC; the writer has something to do */
	struct tp_commit *first;
	struct tp_commit **last;
	struct tp_change *touches; /* that go along with the next commit; NULL: none */
	uint64_t touches_due_ns;   /* CLOCK_MONOTONIC: with one of their own by then */
	bool closing;
	struct tp_records_stats stats;
};

/* Commits what waits, until RECORDS is closing and nothing waits. */
void *tp_records_write(void *records);

#endif
