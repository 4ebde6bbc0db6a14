/* SPDX-License-Identifier: Apache-2.0 */
/* Walking the audit log's chain from the first line to the last. */
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "storage/audit_file.h"
#include "storage/audit_line.h"

#define CHUNK (16 * TP_AUDIT_LINE_MAX)

/* Reads a file line by line. */
struct lines {
	int fd;
	const char *path;
	uint64_t offset; /* of what is read next */
	uint64_t size;
	char *buf; /* CHUNK bytes, of which from begin to end are to be given */
	size_t begin;
	size_t end;
};

struct walk {
	const char *path;
	uint64_t number; /* of the line, from 1 */
	uint64_t seq;	 /* of the line before; 0: none */
	uint8_t hash[TP_HASH_LEN];
	uint64_t head_seq; /* 0: none */
	const uint8_t *head_hash;
	bool head_seen;
	struct tp_audit_report report;
};

static struct torpor_error *fill(struct lines *lines)
{
	size_t left = lines->end - lines->begin;

	memmove(lines->buf, lines->buf + lines->begin, left);
	size_t len = (size_t)TP_MIN(CHUNK - left, lines->size - lines->offset);
	TP_TRY(tp_pread_full(lines->fd, lines->buf + left, len, lines->offset, lines->path));
	lines->offset += len;
	lines->begin = 0;
	lines->end = left + len;
	return NULL;
}

/*
 * The next line and its length without the newline; *WHOLE_OUT is false if it has none, or is
 * longer than any. *TEXT_OUT is NULL at the end. Valid until the next call.
 */
static struct torpor_error *next_line(
	struct lines *lines, const char **text_out, size_t *len_out, bool *whole_out)
{
	if (lines->end - lines->begin < TP_AUDIT_LINE_MAX && lines->offset < lines->size)
		TP_TRY(fill(lines));

	const char *text = lines->buf + lines->begin;
	size_t room = TP_MIN(lines->end - lines->begin, (size_t)TP_AUDIT_LINE_MAX);
	const char *newline = memchr(text, '\n', room);
	*text_out = room > 0 ? text : NULL;
	*len_out = newline ? (size_t)(newline - text) : room;
	*whole_out = newline != NULL;
	lines->begin += newline ? *len_out + 1 : room;
	return NULL;
}

static struct torpor_error *wrong(const struct walk *walk, const char *why)
{
	return tp_error(TORPOR_E_CORRUPT, "verify the audit log", walk->path, "line %llu: %s",
		(unsigned long long)walk->number, why);
}

/* A gap's own account of itself must fit where it stands. */
static struct torpor_error *check_gap(struct walk *walk, const struct tp_audit_line *line)
{
	if (line->gap_log != walk->seq || line->gap_head < line->gap_log ||
		line->seq != line->gap_head + 1)
		return wrong(walk, "it says that entries are missing, but not those that are");
	if (walk->head_seq > line->gap_log && walk->head_seq <= line->gap_head)
		walk->head_seen = true;
	walk->report.gaps++;
	walk->report.lost += line->gap_head - line->gap_log;
	return NULL;
}

static struct torpor_error *check_place(struct walk *walk, const struct tp_audit_line *line)
{
	if (line->gap)
		TP_TRY(check_gap(walk, line));
	else if (line->seq != walk->seq + 1)
		return tp_error(TORPOR_E_CORRUPT, "verify the audit log", walk->path,
			"line %llu: it is entry %llu where %llu was due: lines were removed, added "
			"or moved",
			(unsigned long long)walk->number, (unsigned long long)line->seq,
			(unsigned long long)walk->seq + 1);
	if (memcmp(line->prev, walk->hash, TP_HASH_LEN) != 0)
		return wrong(walk, "it doesn't follow the line before: that one was exchanged");
	if (line->seq == walk->head_seq) {
		if (memcmp(line->hash, walk->head_hash, TP_HASH_LEN) != 0)
			return wrong(walk, "it isn't the entry that the records know");
		walk->head_seen = true;
	}
	return NULL;
}

static struct torpor_error *check_line(struct walk *walk, const char *text, size_t len, bool whole)
{
	struct tp_audit_line line;

	walk->number++;
	if (!whole)
		return wrong(
			walk, len < TP_AUDIT_LINE_MAX ? "it isn't complete" : "it is too long");
	const char *why = tp_audit_line_parse(text, len, &line);
	if (why)
		return wrong(walk, why);
	TP_TRY(check_place(walk, &line));
	walk->seq = line.seq;
	memcpy(walk->hash, line.hash, TP_HASH_LEN);
	if (walk->report.entries++ == 0)
		memcpy(walk->report.first_time, line.time, sizeof(line.time));
	memcpy(walk->report.last_time, line.time, sizeof(line.time));
	walk->report.last_seq = line.seq;
	return NULL;
}

static struct torpor_error *check_lines(struct walk *walk, struct lines *lines)
{
	const char *text;
	size_t len;
	bool whole;

	for (;;) {
		TP_TRY(next_line(lines, &text, &len, &whole));
		if (!text)
			return NULL;
		TP_TRY(check_line(walk, text, len, whole));
	}
}

struct torpor_error *tp_audit_verify(const char *path, uint64_t head_seq,
	const uint8_t head_hash[TP_HASH_LEN], struct tp_audit_report *report_out)
{
	struct walk walk = {.path = path, .head_seq = head_seq, .head_hash = head_hash};
	TP_FREE char *buf = tp_malloc(CHUNK);
	TP_FD int fd = -1;
	uint64_t size;

	TP_TRY(tp_audit_file_read(path, &fd, &size));
	struct lines lines = {.fd = fd, .path = path, .size = size, .buf = buf};
	TP_TRY(check_lines(&walk, &lines));
	if (head_seq != 0 && !walk.head_seen) {
		walk.number++;
		return tp_error(TORPOR_E_CORRUPT, "verify the audit log", path,
			"line %llu is missing: the records know of entry %llu, the log ends with "
			"%llu",
			(unsigned long long)walk.number, (unsigned long long)head_seq,
			(unsigned long long)walk.seq);
	}
	*report_out = walk.report;
	return NULL;
}
