/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appending to the audit log.
 *
 * An entry gets its number and its hash when it is appended, so that the records can name it before
 * it is on the disk. What can't be written is therefore not merely late: all that waits is chained
 * to it. So it is given up together, the chain goes back to the last line that is durable, and the
 * next entry is preceded by one that says which numbers are missing. (Keeping the lines and trying
 * again later was turned down: they would tell of operations that were undone because their
 * entries could not be written.)
 */
#include "storage/audit.h"

#include <pthread.h>
#include <string.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage/audit_file.h"
#include "storage/audit_line.h"
#include "storage/thread.h"

/* Numbers that were given up, and why. */
struct lost {
	uint64_t first;
	uint64_t last;
	enum torpor_errc code;
	char *why; /* owned */
};

/* Up to which entry, and its hash: what the next is chained to. */
struct place {
	uint64_t seq;
	uint8_t hash[TP_HASH_LEN];
};

struct tp_audit {
	pthread_t writer;
	bool writer_started;

	struct tp_audit_file file; /* the writer's, once it is started */

	pthread_mutex_t lock;
	/* By lock. */
	pthread_cond_t wake;	/* the writer has something to do */
	pthread_cond_t settled; /* entries have become durable, or lost */
	struct place appended;
	struct place durable;
	bool gap; /* numbers behind `durable` up to `appended` are missing: to be said first */
	struct tp_buf pending; /* lines up to `appended` */
	size_t n_pending;
	struct lost *lost; /* in order; a few at most, one for each time the disk fails */
	size_t n_lost;
	bool closing;
	struct tp_audit_stats stats;
};

/* --- appending --- */

/* By the lock. */
static void put_line(struct tp_audit *audit, const char *middle)
{
	audit->appended.seq++;
	tp_audit_line_put(&audit->pending, audit->appended.seq, tp_realtime_ns(), middle,
		audit->appended.hash);
	audit->n_pending++;
	pthread_cond_signal(&audit->wake);
}

/* By the lock. */
static void put_gap(struct tp_audit *audit)
{
	TP_FREE char *middle = tp_audit_gap_middle(audit->durable.seq, audit->appended.seq);

	audit->gap = false;
	memcpy(audit->appended.hash, audit->durable.hash, TP_HASH_LEN);
	put_line(audit, middle);
}

void tp_audit_append(struct tp_audit *audit, const struct tp_audit_entry *entry,
	struct tp_audit_ticket *ticket_out)
{
	TP_FREE char *middle = tp_audit_line_middle(entry);

	pthread_mutex_lock(&audit->lock);
	if (audit->gap)
		put_gap(audit);
	put_line(audit, middle);
	ticket_out->seq = audit->appended.seq;
	memcpy(ticket_out->hash, audit->appended.hash, TP_HASH_LEN);
	pthread_mutex_unlock(&audit->lock);
}

/* By the lock: NULL if SEQ isn't lost. */
static const struct lost *find_lost(const struct tp_audit *audit, uint64_t seq)
{
	for (size_t i = audit->n_lost; i > 0 && audit->lost[i - 1].last >= seq; i--)
		if (audit->lost[i - 1].first <= seq)
			return &audit->lost[i - 1];
	return NULL;
}

struct torpor_error *tp_audit_wait(struct tp_audit *audit, const struct tp_audit_ticket *ticket)
{
	const struct lost *lost;
	struct torpor_error *err = NULL;

	pthread_mutex_lock(&audit->lock);
	while (!(lost = find_lost(audit, ticket->seq)) && audit->durable.seq < ticket->seq)
		pthread_cond_wait(&audit->settled, &audit->lock);
	if (lost)
		err = tp_error(lost->code, "write the audit log", NULL, "%s", lost->why);
	pthread_mutex_unlock(&audit->lock);
	return err;
}

struct tp_audit_stats tp_audit_stats(struct tp_audit *audit)
{
	pthread_mutex_lock(&audit->lock);
	struct tp_audit_stats stats = audit->stats;
	pthread_mutex_unlock(&audit->lock);
	return stats;
}

/* --- writing --- */

/* By the lock: room for what is lost now; while the disk keeps failing that is one range. */
static struct lost *lost_range(struct tp_audit *audit)
{
	uint64_t first = audit->durable.seq + 1;

	if (audit->n_lost == 0 || audit->lost[audit->n_lost - 1].first != first) {
		audit->lost =
			tp_reallocarray(audit->lost, audit->n_lost + 1, sizeof(audit->lost[0]));
		audit->lost[audit->n_lost++] =
			(struct lost){.first = first, .last = audit->durable.seq};
	}
	return &audit->lost[audit->n_lost - 1];
}

/* By the lock: gives up all that isn't durable. */
static void give_up(struct tp_audit *audit, const struct torpor_error *err)
{
	struct lost *lost = lost_range(audit);

	audit->stats.lost += audit->appended.seq - lost->last;
	lost->last = audit->appended.seq;
	lost->code = torpor_error_code(err);
	free(lost->why);
	lost->why = tp_strdup(torpor_error_message(err));
	tp_buf_deinit(&audit->pending);
	audit->n_pending = 0;
	audit->gap = true;
}

/* Lines that are written together. */
struct batch {
	struct tp_buf lines;
	size_t count;
	struct place last;
};

/* Waits for lines and takes them; false if there will be no more. */
static bool take_batch(struct tp_audit *audit, struct batch *batch)
{
	struct tp_buf used = batch->lines;

	pthread_mutex_lock(&audit->lock);
	while (audit->pending.len == 0 && !audit->closing)
		pthread_cond_wait(&audit->wake, &audit->lock);
	*batch = (struct batch){audit->pending, audit->n_pending, audit->appended};
	used.len = 0;
	audit->pending = used;
	audit->n_pending = 0;
	pthread_mutex_unlock(&audit->lock);
	return batch->count > 0;
}

static void settle(struct tp_audit *audit, const struct batch *batch,
	const struct torpor_error *err, uint64_t took_ns)
{
	pthread_mutex_lock(&audit->lock);
	if (err) {
		give_up(audit, err);
	} else {
		audit->stats.entries += batch->count;
		audit->stats.syncs++;
		audit->stats.sync_ns += took_ns;
		audit->durable = batch->last;
	}
	pthread_cond_broadcast(&audit->settled);
	pthread_mutex_unlock(&audit->lock);
}

static void *write_audit(void *arg)
{
	struct tp_audit *audit = arg;
	struct batch batch = {0};

	while (take_batch(audit, &batch)) {
		uint64_t begun = tp_now_ns();
		TP_ERROR struct torpor_error *err =
			tp_audit_file_append(&audit->file, batch.lines.data, batch.lines.len);
		tp_fault("audit-synced");
		if (err)
			tp_log(TP_LOG_WARNING, "%s", torpor_error_message(err));
		settle(audit, &batch, err, tp_now_ns() - begun);
	}
	tp_buf_deinit(&batch.lines);
	return NULL;
}

/* --- opening --- */

static struct torpor_error *corrupt(const struct tp_audit_file *file, const char *why)
{
	return tp_error_hint(
		tp_error(TORPOR_E_CORRUPT, "open the audit log", file->path, "%s", why),
		"see what torpor audit verify says of it; move it away to begin a new one");
}

/* The end of the file, up to two lines' worth: the last line that is whole is in it. */
static struct torpor_error *read_end(
	const struct tp_audit_file *file, char **text_out, size_t *len_out)
{
	size_t len = (size_t)TP_MIN(file->size, (uint64_t)2 * TP_AUDIT_LINE_MAX);
	TP_FREE char *text = tp_malloc(len + 1);

	TP_TRY(tp_pread_full(file->fd, text, len, file->size - len, file->path));
	*text_out = TP_TAKE(text);
	*len_out = len;
	return NULL;
}

/* Finds where the log goes on, and cuts off what isn't a whole line. */
static struct torpor_error *find_place(struct tp_audit_file *file, struct place *place_out)
{
	TP_FREE char *text = NULL;
	size_t len;
	struct tp_audit_line line;

	TP_TRY(read_end(file, &text, &len));
	const char *newline = memrchr(text, '\n', len);
	size_t whole = newline ? (size_t)(newline - text) + 1 : 0;
	if (len - whole >= TP_AUDIT_LINE_MAX)
		return corrupt(file, "its end is no line");
	if (whole < len)
		TP_TRY(tp_audit_file_cut(file, file->size - (len - whole)));
	if (whole == 0)
		return NULL;
	const char *before = memrchr(text, '\n', whole - 1);
	const char *last = before ? before + 1 : text;
	const char *wrong = tp_audit_line_parse(last, whole - 1 - (size_t)(last - text), &line);
	if (wrong)
		return tp_error_in(corrupt(file, wrong), "check the last line of", file->path);
	place_out->seq = line.seq;
	memcpy(place_out->hash, line.hash, TP_HASH_LEN);
	return NULL;
}

/* Says so if the records know of more than the log has, or of another last line. */
static struct torpor_error *compare_head(
	struct tp_audit *audit, uint64_t head_seq, const uint8_t head_hash[TP_HASH_LEN])
{
	struct tp_audit_ticket ticket;
	bool same = memcmp(audit->durable.hash, head_hash, TP_HASH_LEN) == 0;

	if (head_seq == 0 || head_seq < audit->durable.seq ||
		(head_seq == audit->durable.seq && same))
		return NULL;
	tp_log(TP_LOG_WARNING, "the audit log ends at entry %llu, the records know of %llu",
		(unsigned long long)audit->durable.seq, (unsigned long long)head_seq);
	pthread_mutex_lock(&audit->lock);
	audit->appended.seq = head_seq;
	put_gap(audit);
	ticket.seq = audit->appended.seq;
	pthread_mutex_unlock(&audit->lock);
	return tp_audit_wait(audit, &ticket);
}

struct torpor_error *tp_audit_open(const char *dir, const char *name, uint64_t head_seq,
	const uint8_t head_hash[TP_HASH_LEN], struct tp_audit **audit_out)
{
	TP_CLEANUP(tp_audit_close) struct tp_audit *audit = tp_calloc(1, sizeof(*audit));

	audit->file.fd = -1;
	pthread_mutex_init(&audit->lock, NULL);
	pthread_cond_init(&audit->wake, NULL);
	pthread_cond_init(&audit->settled, NULL);
	TP_TRY(tp_audit_file_open(&audit->file, dir, name));
	TP_TRY(find_place(&audit->file, &audit->durable));
	audit->appended = audit->durable;
	TP_TRY(tp_thread_start(&audit->writer, write_audit, audit, "start the audit log's thread"));
	audit->writer_started = true;
	TP_TRY(compare_head(audit, head_seq, head_hash));
	*audit_out = TP_TAKE(audit);
	return NULL;
}

struct tp_audit *tp_audit_close(struct tp_audit *audit)
{
	if (!audit)
		return NULL;
	if (audit->writer_started) {
		pthread_mutex_lock(&audit->lock);
		audit->closing = true;
		pthread_cond_signal(&audit->wake);
		pthread_mutex_unlock(&audit->lock);
		pthread_join(audit->writer, NULL);
	}
	tp_audit_file_close(&audit->file);
	for (size_t i = 0; i < audit->n_lost; i++)
		free(audit->lost[i].why);
	free(audit->lost);
	tp_buf_deinit(&audit->pending);
	pthread_cond_destroy(&audit->settled);
	pthread_cond_destroy(&audit->wake);
	pthread_mutex_destroy(&audit->lock);
	free(audit);
	return NULL;
}
