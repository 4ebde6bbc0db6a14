/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit log: one JSON object a line, each with the hash of the one before.
 *
 *   {"seq":7,"time":"2026-01-02T03:04:05.678901Z","tenant":"alice","actor":"token
 * 3f9c","op":"park",
 *    "object":"k3v9q2m7x4tz0d8h","outcome":"ok","detail":{...},"prev":"<hex>","hash":"<hex>"}
 *
 * `hash` is the SHA-256 of the line's bytes before `,"hash"`; `prev` is the hash of the line
 * before, zeros in the first. Changing, removing or reordering lines breaks the chain; a cut at the
 * end is seen against the head, which the records keep (storage/records.h). What this can't show is
 * someone who rewrites log and records both; ship the log elsewhere against that.
 *
 * One thread writes; what waits while a sync is under way shares the next one.
 */
#ifndef TP_STORAGE_AUDIT_H
#define TP_STORAGE_AUDIT_H

#include <jansson.h>

#include "storage/records.h"

struct tp_audit;

struct tp_audit_entry {
	const char *tenant; /* NULL: nobody's (the daemon itself) */
	const char *actor;  /* how it was known: "token 3f9c", "jwt bob", "peer 1000", "torpord" */
	const char *op;	    /* "create", "park" ... */
	const char *object;
	const char *outcome;  /* "ok", or an error's code */
	const json_t *detail; /* an object, or NULL; borrowed */
};

/*
 * Opens or makes DIR/NAME for appending. A last line that a crash left incomplete is cut off: it
 * was never acknowledged. HEAD is what the records know (0: nothing): if the log has less, that was
 * lost or cut; an entry says so ("audit-gap", with both sequence numbers), and the chain goes on.
 * CORRUPT if the last line isn't sound.
 */
struct torpor_error *tp_audit_open(const char *dir, const char *name, uint64_t head_seq,
	const uint8_t head_hash[TP_HASH_LEN], struct tp_audit **audit_out) TP_MUST_USE;
/* Syncs what waits. Takes NULL. Returns NULL. */
struct tp_audit *tp_audit_close(struct tp_audit *audit);
TP_DEFINE_CLEANUP(struct tp_audit *, tp_audit_close)

struct tp_audit_ticket {
	uint64_t seq;
	uint8_t hash[TP_HASH_LEN];
};

/* Appends; it is durable after waiting for the ticket. Never blocks on the disk. */
void tp_audit_append(struct tp_audit *audit, const struct tp_audit_entry *entry,
	struct tp_audit_ticket *ticket_out);
/* IO, NOSPACE: the log can't be written; every later wait fails too. */
struct torpor_error *tp_audit_wait(
	struct tp_audit *audit, const struct tp_audit_ticket *ticket) TP_MUST_USE;

struct tp_audit_report {
	uint64_t entries;
	uint64_t last_seq;
	char first_time[40];
	char last_time[40];
};

/*
 * Reads the whole file at PATH. With HEAD_SEQ (not 0) it must hold that entry, with that hash.
 * CORRUPT names the first line that is wrong, and how.
 */
struct torpor_error *tp_audit_verify(const char *path, uint64_t head_seq,
	const uint8_t head_hash[TP_HASH_LEN], struct tp_audit_report *report_out) TP_MUST_USE;

/* Entries from the end backwards, newest first: of TENANT and OBJECT where they aren't NULL, those
 * with a sequence below BEFORE (0: all), up to LIMIT; looks at no more than the last 16 MiB.
 * *LIST_OUT is a new array. */
struct torpor_error *tp_audit_tail(const char *path, const char *tenant, const char *object,
	uint64_t before, size_t limit, json_t **list_out) TP_MUST_USE;

#endif
