/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of the audit log: making them, and taking them apart. Internal to the audit log. */
#ifndef TP_STORAGE_AUDIT_LINE_H
#define TP_STORAGE_AUDIT_LINE_H

#include <stdbool.h>

#include "base/buf.h"
#include "storage/audit.h"

/* Longest line, its newline included. */
#define TP_AUDIT_LINE_MAX (64 * 1024)

#define TP_AUDIT_TIME_LEN 27 /* 2026-01-02T03:04:05.678901Z */

/* ENTRY's part of a line, `,"tenant":...,"detail":...`; the caller's to free. */
char *tp_audit_line_middle(const struct tp_audit_entry *entry) TP_MUST_USE;
/* The same of the entry that says that numbers behind LOG, up to HEAD, are missing. */
char *tp_audit_gap_middle(uint64_t log, uint64_t head) TP_MUST_USE;

/* Appends a whole line with its newline. HASH holds the line before's, and then this one's. */
void tp_audit_line_put(struct tp_buf *buf, uint64_t seq, uint64_t realtime_ns, const char *middle,
	uint8_t hash[TP_HASH_LEN]);

struct tp_audit_line {
	uint64_t seq;
	char time[TP_AUDIT_TIME_LEN + 1];
	uint8_t prev[TP_HASH_LEN];
	uint8_t hash[TP_HASH_LEN];
	bool gap;
	uint64_t gap_log; /* of a gap */
	uint64_t gap_head;
};

/*
 * Takes a line apart (LEN bytes without the newline) and checks its hash. NULL, or what is wrong
 * with it: static storage.
 */
const char *tp_audit_line_parse(const char *line, size_t len, struct tp_audit_line *line_out);

/* `"KEY":VALUE` as lines have it; VALUE may be NULL. The caller's to free. */
char *tp_audit_member(const char *key, const char *value) TP_MUST_USE;

#endif
