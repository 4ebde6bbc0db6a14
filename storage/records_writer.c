/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that commits.
 *
 * It takes all that waits, up to a bound, as one transaction: each change under a savepoint of its
 * own, so that one which is refused fails alone, then a single sync for all. While that goes on the
 * next ones gather. If the transaction fails as a whole, all its changes fail, refused ones too:
 * what they were refused for was never there.
 *
 * Moving the write-ahead log into the database (a checkpoint) is this thread's as well. It waits
 * for a moment when nobody does, until the log is long.
 */
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage/records_priv.h"

#define BATCH_MAX	  256
#define TOUCHES_MAX	  1000 /* that wait; more are worth a commit */
#define TOUCH_DELAY_NS	  (5 * TP_NSEC_PER_SEC)
#define CHECKPOINT_FRAMES 1000 /* 4 MiB of log: worth it if nobody waits */
#define CHECKPOINT_MUST	  8000 /* 32 MiB: worth it in any case */

/* What goes into one transaction. */
struct batch {
	struct tp_commit *commits[BATCH_MAX];
	struct torpor_error *errors[BATCH_MAX];
	size_t count;
	struct tp_change *touches;
};

/* --- the queue --- */

/* Ends the wait of who waits for COMMIT; it is theirs from then on. */
static void finish(struct tp_commit *commit, struct torpor_error *err)
{
	pthread_mutex_lock(&commit->lock);
	commit->error = err;
	commit->done = true;
	pthread_cond_signal(&commit->cond);
	pthread_mutex_unlock(&commit->lock);
}

/* By the lock. */
static void keep_touches(struct tp_records *records, struct tp_change *change)
{
	if (!records->touches) {
		records->touches = tp_change_new();
		records->touches_due_ns = tp_now_ns() + TOUCH_DELAY_NS;
		pthread_cond_signal(&records->wake);
	}
	tp_change_append(records->touches, change);
	if (records->touches->count >= TOUCHES_MAX) {
		records->touches_due_ns = 0;
		pthread_cond_signal(&records->wake);
	}
}

struct tp_commit *tp_records_submit(struct tp_records *records, struct tp_change *change)
{
	struct tp_commit *commit = tp_calloc(1, sizeof(*commit));

	pthread_mutex_init(&commit->lock, NULL);
	pthread_cond_init(&commit->cond, NULL);
	pthread_mutex_lock(&records->lock);
	if (change->lazy) {
		commit->done = true;
		if (change->count > 0)
			keep_touches(records, TP_TAKE(change));
	} else {
		commit->change = TP_TAKE(change);
		*records->last = commit;
		records->last = &commit->next;
		pthread_cond_signal(&records->wake);
	}
	pthread_mutex_unlock(&records->lock);
	tp_change_free(change);
	return commit;
}

struct torpor_error *tp_commit_wait(struct tp_commit *commit)
{
	pthread_mutex_lock(&commit->lock);
	while (!commit->done)
		pthread_cond_wait(&commit->cond, &commit->lock);
	struct torpor_error *err = commit->error;
	pthread_mutex_unlock(&commit->lock);
	pthread_cond_destroy(&commit->cond);
	pthread_mutex_destroy(&commit->lock);
	tp_change_free(commit->change);
	free(commit);
	return err;
}

struct torpor_error *tp_records_commit(struct tp_records *records, struct tp_change *change)
{
	return tp_commit_wait(tp_records_submit(records, change));
}

/* By the lock: whether there is something to commit now. */
static bool due(const struct tp_records *records)
{
	if (records->first)
		return true;
	return records->touches && (records->closing || tp_now_ns() >= records->touches_due_ns);
}

/* By the lock. */
static void wait_for_work(struct tp_records *records)
{
	struct timespec until = {
		.tv_sec = (time_t)(records->touches_due_ns / TP_NSEC_PER_SEC),
		.tv_nsec = (long)(records->touches_due_ns % TP_NSEC_PER_SEC),
	};

	if (records->touches)
		(void)pthread_cond_timedwait(&records->wake, &records->lock, &until);
	else
		pthread_cond_wait(&records->wake, &records->lock);
}

/* Waits for work and takes it; false if there will be no more. */
static bool take_batch(struct tp_records *records, struct batch *batch)
{
	batch->count = 0;
	pthread_mutex_lock(&records->lock);
	while (!due(records) && !records->closing)
		wait_for_work(records);
	while (records->first && batch->count < BATCH_MAX) {
		struct tp_commit *commit = records->first;
		records->first = commit->next;
		batch->errors[batch->count] = NULL;
		batch->commits[batch->count++] = commit;
	}
	if (!records->first)
		records->last = &records->first;
	batch->touches = TP_TAKE(records->touches);
	pthread_mutex_unlock(&records->lock);
	return batch->count > 0 || batch->touches;
}

/* --- committing --- */

/*
 * Touches, and notes, that fail are lost: a session seems to have been idle for a little longer.
 * They come before the batch's changes, which may be about the same sessions and are newer.
 */
static struct torpor_error *apply_touches(struct tp_sql *sql, const struct tp_change *touches)
{
	bool fatal;
	struct torpor_error *err = touches ? tp_change_apply(sql, touches, &fatal) : NULL;

	if (err && !fatal) {
		tp_error_log(err);
		return NULL;
	}
	return err;
}

/* Does what the batch says; errors of single changes go to where they belong. */
static struct torpor_error *apply_batch(struct tp_sql *sql, struct batch *batch)
{
	TP_TRY(tp_sql_run(sql, TP_STMT_BEGIN, "begin to record changes in"));
	TP_TRY(apply_touches(sql, batch->touches));
	for (size_t i = 0; i < batch->count; i++) {
		bool fatal;
		struct torpor_error *err = tp_change_apply(sql, batch->commits[i]->change, &fatal);
		if (err && fatal)
			return err;
		batch->errors[i] = err;
	}
	return tp_fault_check("records-commit");
}

/* The whole transaction; an error is that of all, and nothing has happened. */
static struct torpor_error *commit_batch(
	struct tp_sql *sql, struct batch *batch, uint64_t *sync_ns_out)
{
	uint64_t begun = tp_now_ns();
	struct torpor_error *err = apply_batch(sql, batch);

	if (!err) {
		begun = tp_now_ns();
		err = tp_sql_run(sql, TP_STMT_COMMIT, "commit changes to");
	}
	if (err && !sqlite3_get_autocommit(sql->db))
		tp_error_log(tp_sql_run(sql, TP_STMT_ROLLBACK, "roll changes back in"));
	*sync_ns_out = tp_now_ns() - begun;
	return err;
}

/* Everybody gets ALL's failure, as an error of their own. */
static void spread(struct batch *batch, const struct torpor_error *all)
{
	for (size_t i = 0; i < batch->count; i++) {
		torpor_error_free(batch->errors[i]);
		batch->errors[i] = tp_error(torpor_error_code(all), "record changes", NULL, "%s",
			torpor_error_message(all));
		if (torpor_error_hint(all))
			batch->errors[i] =
				tp_error_hint(batch->errors[i], "%s", torpor_error_hint(all));
	}
}

/* By the lock. */
static void count(
	struct tp_records_stats *stats, const struct batch *batch, bool failed, uint64_t sync_ns)
{
	size_t refused = 0;

	if (failed) {
		stats->failed += batch->count;
		return;
	}
	for (size_t i = 0; i < batch->count; i++)
		refused += batch->errors[i] != NULL;
	stats->refused += refused;
	stats->changes += batch->count - refused + (batch->touches ? batch->touches->count : 0);
	stats->commits++;
	stats->sync_ns += sync_ns;
}

static void settle_batch(struct tp_records *records, struct batch *batch)
{
	uint64_t sync_ns;
	TP_ERROR struct torpor_error *err = commit_batch(&records->sql, batch, &sync_ns);

	tp_fault(err ? "records-failed" : "records-committed");
	if (err) {
		spread(batch, err);
		tp_log(TP_LOG_WARNING, "%s", torpor_error_message(err));
	}
	pthread_mutex_lock(&records->lock);
	count(&records->stats, batch, err, sync_ns);
	pthread_mutex_unlock(&records->lock);
	for (size_t i = 0; i < batch->count; i++)
		finish(batch->commits[i], batch->errors[i]);
	batch->touches = tp_change_free(batch->touches);
	/* A log that has no room to grow can be used from its beginning again. */
	if (err && torpor_error_code(err) == TORPOR_E_NOSPACE)
		records->log_frames = CHECKPOINT_MUST;
}

/* --- checkpoints --- */

static void checkpoint(struct tp_records *records)
{
	/* Passive: neither waits for readers nor keeps them waiting. */
	int rc = sqlite3_wal_checkpoint_v2(
		records->sql.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

	if (rc != SQLITE_OK)
		tp_error_log(tp_sql_error(records->sql.db, "move the log into", records->path));
	records->log_frames = 0;
	pthread_mutex_lock(&records->lock);
	records->stats.checkpoints++;
	pthread_mutex_unlock(&records->lock);
}

static bool is_idle(struct tp_records *records)
{
	pthread_mutex_lock(&records->lock);
	bool idle = !records->first;
	pthread_mutex_unlock(&records->lock);
	return idle;
}

static void checkpoint_if_due(struct tp_records *records)
{
	if (records->log_frames >= CHECKPOINT_MUST ||
		(records->log_frames >= CHECKPOINT_FRAMES && is_idle(records)))
		checkpoint(records);
}

void *tp_records_write(void *arg)
{
	struct tp_records *records = arg;
	TP_FREE struct batch *batch = tp_calloc(1, sizeof(*batch));

	while (take_batch(records, batch)) {
		settle_batch(records, batch);
		checkpoint_if_due(records);
	}
	return NULL;
}
