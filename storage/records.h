/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records: tenants, tokens, templates, sessions, images, repeated requests; SQLite, in WAL,
 * with synchronous=FULL.
 *
 * What is changed together is put into a struct tp_change and committed at once: all of it is
 * durable, or none. One thread writes; changes that wait while a commit is under way go into the
 * next one together, so that under load many share one sync. Rows are read on other connections and
 * show what is committed, and nothing else.
 *
 * Any thread may call anything here. Strings in rows that are read belong to the row
 * (tp_..._row_deinit); those in rows that are put are copied.
 */
#ifndef TP_STORAGE_RECORDS_H
#define TP_STORAGE_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/call.h"
#include "base/error.h"

struct tp_records;

#define TP_HASH_LEN 32

/*
 * Opens or makes DIR/NAME, bringing an older schema up to date (in one transaction; UNSUPPORTED for
 * a newer one, CORRUPT for a damaged file, BUSY if another process has it open). DIR is a path.
 */
struct torpor_error *tp_records_open(
	const char *dir, const char *name, struct tp_records **records_out) TP_MUST_USE;
/* Commits what waits. Takes NULL. Returns NULL. */
struct tp_records *tp_records_close(struct tp_records *records);
TP_DEFINE_CLEANUP(struct tp_records *, tp_records_close)

/* --- rows --- */

#define TP_UNSET (-1) /* in limits and timers: the default holds */

/* Numbers are TP_UNSET where the default holds; timers of 0 mean never. */
struct tp_limits_row {
	int64_t sessions;
	int64_t memory_bytes;
	int64_t parked_bytes;
	int64_t requests_per_minute;
	int64_t ttl_s;
	int64_t idle_s;
	int64_t retention_s;
};

struct tp_tenant_row {
	char *name;
	int64_t uid; /* the system's user that is this tenant on the UNIX socket, or -1 */
	struct tp_limits_row limits;
	uint64_t created_ns; /* CLOCK_REALTIME, as all times here */
};

struct tp_token_row {
	char *id;		   /* shown; not secret */
	char *tenant;		   /* NULL: the admin's */
	uint8_t hash[TP_HASH_LEN]; /* SHA-256 of the token */
	char *label;
	uint64_t created_ns;
	uint64_t expires_ns; /* 0: never */
};

struct tp_session_row {
	char *id;
	char *tenant;
	char *name; /* unique among the tenant's */
	char *template_name;
	char *template_id; /* hex */
	char *state;	   /* of those that last: "running", "paused", "parked", "error" */
	char *reason;	   /* or NULL */
	char *handover;	   /* JSON (torpor_session_handover); NULL without a process */
	char *labels;	   /* JSON object */
	char *env;	   /* JSON object */
	char *limits;	   /* JSON object */
	char *info; /* JSON object: what views show and nobody searches (source, fresh ...) */
	char *forked_from;   /* or NULL */
	char *park_uuid;     /* of the image that it resumes from; NULL: none */
	uint64_t park_bytes; /* of that image */
	uint64_t memory_bytes;
	int64_t ttl_s;
	int64_t idle_s;
	int64_t retention_s;
	uint64_t created_ns;
	uint64_t changed_ns; /* of the state */
	uint64_t active_ns;
	uint32_t restores;
};

struct tp_image_row {
	char *name;    /* of the file under images/ */
	char *session; /* id */
	char *tenant;
	char *kind;   /* "park" or "checkpoint" */
	char *label;  /* what a tenant calls a checkpoint; NULL for parks */
	char *parent; /* image, or NULL */
	char *template_id;
	uint64_t bytes;
	uint64_t created_ns;
};

/* The outcome of a request that carried an Idempotency-Key. */
struct tp_repeat_row {
	char *tenant;
	char *key;
	uint8_t print[TP_HASH_LEN]; /* of method, path and body */
	int status;		    /* of the HTTP answer */
	char *result;		    /* JSON: what the answer is to be made from anew */
	uint64_t created_ns;
};

void tp_tenant_row_deinit(struct tp_tenant_row *row);
void tp_token_row_deinit(struct tp_token_row *row);
void tp_session_row_deinit(struct tp_session_row *row);
void tp_image_row_deinit(struct tp_image_row *row);
void tp_repeat_row_deinit(struct tp_repeat_row *row);

/* --- changing --- */

struct tp_change;

struct tp_change *tp_change_new(void);
/* One that wasn't committed or submitted. Takes NULL. Returns NULL. */
struct tp_change *tp_change_free(struct tp_change *change);
TP_DEFINE_CLEANUP(struct tp_change *, tp_change_free)

/*
 * Puts: a row of that key is replaced (a token only by itself: same id, hash and tenant). Removes:
 * what isn't there is fine. In the order given: a token's tenant and an image's session must be
 * recorded before.
 */
void tp_change_put_tenant(struct tp_change *change, const struct tp_tenant_row *row);
void tp_change_remove_tenant(struct tp_change *change, const char *name); /* and its tokens */
void tp_change_put_token(struct tp_change *change, const struct tp_token_row *row);
void tp_change_remove_token(struct tp_change *change, const char *id);
void tp_change_put_session(struct tp_change *change, const struct tp_session_row *row);
void tp_change_remove_session(struct tp_change *change, const char *id); /* and its images' rows */
/*
 * When it was last used, of a session that may be gone; never back. Not worth a sync of its own: a
 * change of nothing else is done at once for its waiter, and goes along with the next commit, with
 * one of its own within 5 s, or with closing; a crash may lose it.
 */
void tp_change_touch_session(struct tp_change *change, const char *id, uint64_t active_ns);
/* The row's info, in the same way. */
void tp_change_note_session(struct tp_change *change, const char *id, const char *info);
void tp_change_put_image(struct tp_change *change, const struct tp_image_row *row);
void tp_change_remove_image(struct tp_change *change, const char *name);
void tp_change_put_repeat(struct tp_change *change, const struct tp_repeat_row *row);
void tp_change_forget_repeats(struct tp_change *change, uint64_t before_ns);
/* A number kept under a name ("events", "audit-seq"), which only ever grows. */
void tp_change_raise(struct tp_change *change, const char *name, uint64_t value);
/* How far the audit log goes (storage/audit.h); only ever forward. */
void tp_change_audit_head(struct tp_change *change, uint64_t seq, const uint8_t hash[TP_HASH_LEN]);

struct tp_commit;

/* Hands CHANGE over, which is taken, and returns at once. */
struct tp_commit *tp_records_submit(struct tp_records *records, struct tp_change *change);
/*
 * Waits until it is durable; COMMIT is gone then. There is no giving up: a commit can't be taken
 * back. EXISTS if a session's name is taken, or a token, or a tenant's uid; NOT_FOUND if a token's
 * tenant or an image's session isn't recorded; INVALID for rows that make no sense; IO, NOSPACE,
 * CORRUPT, BUSY. Then nothing of the change has happened. (docs/RECORDS.md: what a crash right
 * behind a failed sync may leave.)
 */
struct torpor_error *tp_commit_wait(struct tp_commit *commit) TP_MUST_USE;

/* Both. */
struct torpor_error *tp_records_commit(
	struct tp_records *records, struct tp_change *change) TP_MUST_USE;

/* Since opening. */
struct tp_records_stats {
	uint64_t changes; /* durable ones, touches that waited for others included */
	uint64_t refused; /* EXISTS and the like */
	uint64_t failed;  /* IO, NOSPACE ... */
	uint64_t commits; /* syncs that changes shared */
	uint64_t sync_ns; /* spent in these */
	uint64_t checkpoints;
};
struct tp_records_stats tp_records_stats(struct tp_records *records);

/* --- reading: NOT_FOUND if there is none --- */

struct torpor_error *tp_records_tenant(
	struct tp_records *records, const char *name, struct tp_tenant_row *row_out) TP_MUST_USE;
struct torpor_error *tp_records_tenant_of_uid(
	struct tp_records *records, int64_t uid, struct tp_tenant_row *row_out) TP_MUST_USE;
struct torpor_error *tp_records_token(
	struct tp_records *records, const char *id, struct tp_token_row *row_out) TP_MUST_USE;
/* TENANT may be NULL: whosever. With one, another's session is NOT_FOUND. */
struct torpor_error *tp_records_session(struct tp_records *records, const char *tenant,
	const char *id, struct tp_session_row *row_out) TP_MUST_USE;
struct torpor_error *tp_records_image(
	struct tp_records *records, const char *name, struct tp_image_row *row_out) TP_MUST_USE;
struct torpor_error *tp_records_repeat(struct tp_records *records, const char *tenant,
	const char *key, struct tp_repeat_row *row_out) TP_MUST_USE;
/* 0 if there is none. */
struct torpor_error *tp_records_number(
	struct tp_records *records, const char *name, uint64_t *value_out) TP_MUST_USE;
/* Sequence 0 and zeros if there is none. */
struct torpor_error *tp_records_audit_head(
	struct tp_records *records, uint64_t *seq_out, uint8_t hash_out[TP_HASH_LEN]) TP_MUST_USE;

/*
 * Rows are given to EACH one by one, valid during its call; an error of its ends the listing and is
 * returned. It may not call into the records.
 */
typedef struct torpor_error *tp_tenant_each(void *data, const struct tp_tenant_row *row);
typedef struct torpor_error *tp_token_each(void *data, const struct tp_token_row *row);
typedef struct torpor_error *tp_session_each(void *data, const struct tp_session_row *row);
typedef struct torpor_error *tp_image_each(void *data, const struct tp_image_row *row);
typedef struct torpor_error *tp_name_each(void *data, const char *name);

struct torpor_error *tp_records_tenants(
	struct tp_records *records, tp_tenant_each *each, void *data) TP_MUST_USE;
/* Of TENANT; NULL: the admin's. */
struct torpor_error *tp_records_tokens(struct tp_records *records, const char *tenant,
	tp_token_each *each, void *data) TP_MUST_USE;

struct tp_session_filter {
	const char *tenant; /* NULL: all, as for the others */
	const char *state;  /* as recorded */
	const char *template_name;
	const char *label_key; /* with label_value, or NULL */
	const char *label_value;
	const char *match;	    /* the beginning of an id, or a whole name */
	bool with_process;	    /* only those that have a handover */
	uint64_t before_created_ns; /* with before_id: only what comes behind it; 0: from the start
				     */
	const char *before_id;
	size_t limit; /* 0: all */
};

/* Newest first (created, then id, descending), from an index: a page costs its own length. */
struct torpor_error *tp_records_sessions(struct tp_records *records,
	const struct tp_session_filter *filter, tp_session_each *each, void *data) TP_MUST_USE;

/*
 * Sessions without process (parked, or in error) that aren't kept for good (retention_s of 0), by
 * what decides on how long they are kept. Of a group, who changed first is due first.
 */
struct tp_due_group {
	const char *template_name;
	const char *tenant;
	int64_t retention_s; /* their own, or TP_UNSET */
	uint64_t changed_ns; /* of the session that changed first */
};
typedef struct torpor_error *tp_due_group_each(void *data, const struct tp_due_group *group);
/* All groups, in one pass over an index: 20 ms for a hundred thousand sessions. */
struct torpor_error *tp_records_due_groups(
	struct tp_records *records, tp_due_group_each *each, void *data) TP_MUST_USE;
/* Ids of GROUP's sessions that changed at its changed_ns or before. */
struct torpor_error *tp_records_sessions_due(struct tp_records *records,
	const struct tp_due_group *group, tp_name_each *each, void *data) TP_MUST_USE;

/* Of a session; NULL: all. */
struct torpor_error *tp_records_images(struct tp_records *records, const char *session,
	tp_image_each *each, void *data) TP_MUST_USE;
/* The names of all images, in no order: to be compared with the files. */
struct torpor_error *tp_records_image_names(
	struct tp_records *records, tp_name_each *each, void *data) TP_MUST_USE;

struct tp_usage {
	uint64_t sessions;	    /* all that are recorded */
	uint64_t live;		    /* of these, with a process */
	uint64_t live_memory_bytes; /* their guests' RAM */
	uint64_t parked;
	uint64_t image_bytes; /* parks and checkpoints */
};
/* Of TENANT; NULL: of all. Kept up to date as changes go, not counted anew: costs O(1). */
struct torpor_error *tp_records_usage(
	struct tp_records *records, const char *tenant, struct tp_usage *usage_out) TP_MUST_USE;

/* Sessions of any state, and images, that need this template. */
struct torpor_error *tp_records_template_users(
	struct tp_records *records, const char *template_id, uint64_t *count_out) TP_MUST_USE;

#endif
