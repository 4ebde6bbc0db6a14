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
 * Sequence numbers are never used twice. Where some are missing (entries that could not be written,
 * or that a crash or a cut took) an entry "audit-gap" follows, whose detail says
 * {"head":LAST_MISSING,"log":LAST_BEFORE}; its own number is the next after the missing ones.
 * docs/RECORDS.md has the format byte for byte.
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
 * CORRUPT if the last line isn't sound; BUSY if another process has it open for appending.
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

/*
 * Appends; it is durable after waiting for the ticket. Never blocks on the disk. Texts beyond 1 KiB
 * are cut; in one that isn't UTF-8 all but ASCII is replaced; a detail beyond 32 KiB is left out,
 * and says so.
 */
void tp_audit_append(struct tp_audit *audit, const struct tp_audit_entry *entry,
	struct tp_audit_ticket *ticket_out);
/*
 * IO, NOSPACE: it could not be written and never will be, nor will those behind it that waited.
 * Later entries are tried anew, behind an "audit-gap". A ticket can be waited for more than once.
 */
struct torpor_error *tp_audit_wait(
	struct tp_audit *audit, const struct tp_audit_ticket *ticket) TP_MUST_USE;

/* Since opening. */
struct tp_audit_stats {
	uint64_t entries; /* durable ones */
	uint64_t lost;	  /* that could not be written */
	uint64_t syncs;
	uint64_t sync_ns; /* spent writing and syncing */
};
struct tp_audit_stats tp_audit_stats(struct tp_audit *audit);

struct tp_audit_report {
	uint64_t entries;
	uint64_t last_seq;
	uint64_t gaps; /* entries "audit-gap": to be looked at */
	uint64_t lost; /* sequence numbers that these say are missing */
	char first_time[40];
	char last_time[40];
};

/*
 * Reads the whole file at PATH. With HEAD_SEQ (not 0) it must hold that entry, with that hash; or a
 * gap that says it is missing. CORRUPT names the first line that is wrong, and how. The log may be
 * in use: HEAD is then to be read first, and the entries up to it waited for.
 */
struct torpor_error *tp_audit_verify(const char *path, uint64_t head_seq,
	const uint8_t head_hash[TP_HASH_LEN], struct tp_audit_report *report_out) TP_MUST_USE;

/* Entries from the end backwards, newest first: of TENANT and OBJECT where they aren't NULL, those
 * with a sequence below BEFORE (0: all), up to LIMIT; looks at no more than the last 16 MiB.
 * *LIST_OUT is a new array. */
struct torpor_error *tp_audit_tail(const char *path, const char *tenant, const char *object,
	uint64_t before, size_t limit, json_t **list_out) TP_MUST_USE;

#endif
