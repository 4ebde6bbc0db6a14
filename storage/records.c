/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing the records. */
#include "storage/records.h"

#include "base/fd.h"
#include "base/mem.h"
#include "storage/private_file.h"
#include "storage/records_priv.h"
#include "storage/records_schema.h"
#include "storage/thread.h"

#define LOG_KEEP_BYTES "33554432" /* what the log's file shrinks to after a burst */

/*
 * One process at a time. A file of its own holds the lock: closing any descriptor of the database
 * would drop the locks that SQLite has on it in this process.
 */
static struct torpor_error *lock_records(const char *path, int *fd_out)
{
	TP_FREE char *lock_path = tp_asprintf("%s.lock", path);
	TP_FD int fd = -1;

	TP_TRY(tp_private_open(lock_path, &fd));
	TP_TRY(tp_private_lock(fd, path));
	*fd_out = TP_TAKE_FD(fd);
	return NULL;
}

static int log_grew(void *records, sqlite3 *db, const char *name, int frames)
{
	(void)db;
	(void)name;
	((struct tp_records *)records)->log_frames = frames;
	return SQLITE_OK;
}

static struct torpor_error *open_database(struct tp_records *records)
{
	static const char settings[] =
		"PRAGMA journal_mode = WAL; PRAGMA journal_size_limit = " LOG_KEEP_BYTES;
	int fd;

	TP_TRY(tp_private_open(records->path, &fd));
	tp_close(fd); /* before SQLite has locks */
	TP_TRY(tp_sql_open(&records->sql, records->path, SQLITE_OPEN_READWRITE));
	if (sqlite3_exec(records->sql.db, settings, NULL, NULL, NULL) != SQLITE_OK)
		return tp_sql_error(records->sql.db, "open records", records->path);
	sqlite3_wal_hook(records->sql.db, log_grew, records);
	return tp_records_migrate(
		records->sql.db, records->path, tp_records_migrations, tp_records_migration_count);
}

static struct tp_records *records_new(const char *dir, const char *name)
{
	struct tp_records *records = tp_calloc(1, sizeof(*records));
	pthread_condattr_t attr;

	records->path = tp_asprintf("%s/%s", dir, name);
	records->lock_fd = -1;
	records->last = &records->first;
	pthread_mutex_init(&records->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&records->wake, &attr);
	pthread_condattr_destroy(&attr);
	tp_readers_init(&records->readers, records->path);
	return records;
}

struct torpor_error *tp_records_open(
	const char *dir, const char *name, struct tp_records **records_out)
{
	TP_CLEANUP(tp_records_close) struct tp_records *records = records_new(dir, name);

	TP_TRY(lock_records(records->path, &records->lock_fd));
	TP_TRY(open_database(records));
	TP_TRY(tp_sync_dir(dir));
	TP_TRY(tp_thread_start(
		&records->writer, tp_records_write, records, "start the records' thread"));
	records->writer_started = true;
	*records_out = TP_TAKE(records);
	return NULL;
}

struct tp_records *tp_records_close(struct tp_records *records)
{
	if (!records)
		return NULL;
	if (records->writer_started) {
		pthread_mutex_lock(&records->lock);
		records->closing = true;
		pthread_cond_signal(&records->wake);
		pthread_mutex_unlock(&records->lock);
		pthread_join(records->writer, NULL);
	}
	tp_readers_deinit(&records->readers);
	tp_sql_close(&records->sql); /* the last connection moves the log into the database */
	tp_close(records->lock_fd);
	pthread_cond_destroy(&records->wake);
	pthread_mutex_destroy(&records->lock);
	free(records->path);
	free(records);
	return NULL;
}

struct tp_records_stats tp_records_stats(struct tp_records *records)
{
	pthread_mutex_lock(&records->lock);
	struct tp_records_stats stats = records->stats;
	pthread_mutex_unlock(&records->lock);
	return stats;
}
