/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of the audit log.
 *
 *   {"seq":7,"time":"...","tenant":...,"detail":...,"prev":"<64>","hash":"<64>"}
 *   |---- head ---------||------- middle ---------||--------- tail -----------|
 *
 * Every byte is in the part that is hashed, or in the tail, which has only one way to be written.
 */
#include "storage/audit_line.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/hex.h"
#include "base/mem.h"
#include "storage/sha256.h"

#define TEXT_MAX   1024
#define DETAIL_MAX (32 * 1024)
#define HEX_LEN	   (2 * TP_HASH_LEN)

static const char prev_key[] = ",\"prev\":\"";
static const char hash_key[] = ",\"hash\":\"";

#define PREV_LEN (sizeof(prev_key) - 1 + HEX_LEN + 1)
#define HASH_LEN (sizeof(hash_key) - 1 + HEX_LEN + 2)

/* Five texts, of which an escape makes at most six bytes a byte. */
static_assert(5 * 6 * TEXT_MAX + DETAIL_MAX + 512 <= TP_AUDIT_LINE_MAX, "a line fits");

/* --- making --- */

/* How much of TEXT is taken: not half a character. */
static size_t text_len(const char *text)
{
	size_t len = strnlen(text, TEXT_MAX + 1);

	if (len <= TEXT_MAX)
		return len;
	for (len = TEXT_MAX; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80;)
		len--;
	return len;
}

/* TEXT as JSON has it. In one that isn't UTF-8, what isn't ASCII becomes '?', byte by byte. */
static json_t *json_text(const char *text)
{
	TP_FREE char *copy = tp_strndup(text, text_len(text));
	json_t *value = json_string(copy);

	if (value)
		return value;
	for (char *c = copy; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	return json_string(copy);
}

/* Sorted keys and plain ASCII: one way to write each value. */
static char *dump(const json_t *value)
{
	return json_dumps(
		value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
}

char *tp_audit_member(const char *key, const char *value)
{
	if (!value)
		return tp_asprintf("\"%s\":null", key);

	json_t *json = json_text(value);
	TP_FREE char *text = dump(json);
	json_decref(json);
	return tp_asprintf("\"%s\":%s", key, text);
}

static char *detail_text(const json_t *detail)
{
	if (!detail)
		return tp_strdup("null");

	char *text = dump(detail);
	size_t len = text ? strlen(text) : 0;
	if (text && len <= DETAIL_MAX)
		return text;
	free(text);
	return tp_asprintf("{\"omitted_bytes\":%zu}", len);
}

char *tp_audit_line_middle(const struct tp_audit_entry *entry)
{
	TP_FREE char *tenant = tp_audit_member("tenant", entry->tenant);
	TP_FREE char *actor = tp_audit_member("actor", entry->actor);
	TP_FREE char *op = tp_audit_member("op", entry->op);
	TP_FREE char *object = tp_audit_member("object", entry->object);
	TP_FREE char *outcome = tp_audit_member("outcome", entry->outcome);
	TP_FREE char *detail = detail_text(entry->detail);

	return tp_asprintf(
		",%s,%s,%s,%s,%s,\"detail\":%s", tenant, actor, op, object, outcome, detail);
}

char *tp_audit_gap_middle(uint64_t log, uint64_t head)
{
	return tp_asprintf(",\"tenant\":null,\"actor\":\"torpord\",\"op\":\"audit-gap\","
			   "\"object\":null,\"outcome\":\"io\","
			   "\"detail\":{\"head\":%llu,\"log\":%llu}",
		(unsigned long long)head, (unsigned long long)log);
}

static void format_time(uint64_t realtime_ns, char text[64])
{
	time_t seconds = (time_t)(realtime_ns / TP_NSEC_PER_SEC);
	unsigned int usec = (unsigned int)(realtime_ns % TP_NSEC_PER_SEC / TP_NSEC_PER_USEC);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	snprintf(text, 64, "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ", tm.tm_year + 1900, tm.tm_mon + 1,
		tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, usec);
}

void tp_audit_line_put(struct tp_buf *buf, uint64_t seq, uint64_t realtime_ns, const char *middle,
	uint8_t hash[TP_HASH_LEN])
{
	char time[64];
	char hex[HEX_LEN + 1];

	format_time(realtime_ns, time);
	tp_hex(hash, TP_HASH_LEN, hex);
	TP_FREE char *hashed = tp_asprintf("{\"seq\":%llu,\"time\":\"%s\"%s%s%s\"",
		(unsigned long long)seq, time, middle, prev_key, hex);
	size_t len = strlen(hashed);
	tp_sha256(hashed, len, hash);
	tp_hex(hash, TP_HASH_LEN, hex);
	tp_buf_put(buf, hashed, len);
	tp_buf_put(buf, hash_key, sizeof(hash_key) - 1);
	tp_buf_put(buf, hex, HEX_LEN);
	tp_buf_put(buf, "\"}\n", 3);
}

/* --- taking apart --- */

/* What is left of a line. */
struct rest {
	const char *at;
	const char *end;
};

static bool skip(struct rest *rest, const char *text)
{
	size_t len = strlen(text);

	if ((size_t)(rest->end - rest->at) < len || memcmp(rest->at, text, len) != 0)
		return false;
	rest->at += len;
	return true;
}

/* A number as printf writes it, below 2^63. */
static bool skip_number(struct rest *rest, uint64_t *value_out)
{
	const char *begin = rest->at;
	uint64_t value = 0;

	while (rest->at < rest->end && *rest->at >= '0' && *rest->at <= '9') {
		if (value > (uint64_t)INT64_MAX / 10 - 1)
			return false;
		value = value * 10 + (uint64_t)(*rest->at++ - '0');
	}
	if (rest->at == begin || (*begin == '0' && rest->at > begin + 1))
		return false;
	*value_out = value;
	return true;
}

static bool skip_time(struct rest *rest, char time_out[TP_AUDIT_TIME_LEN + 1])
{
	static const char shape[] = "dddd-dd-ddTdd:dd:dd.ddddddZ";

	if (rest->end - rest->at < TP_AUDIT_TIME_LEN)
		return false;
	for (int i = 0; i < TP_AUDIT_TIME_LEN; i++) {
		char c = rest->at[i];
		if (shape[i] == 'd' ? c < '0' || c > '9' : c != shape[i])
			return false;
	}
	memcpy(time_out, rest->at, TP_AUDIT_TIME_LEN);
	time_out[TP_AUDIT_TIME_LEN] = '\0';
	rest->at += TP_AUDIT_TIME_LEN;
	return true;
}

static bool skip_hash(struct rest *rest, uint8_t hash_out[TP_HASH_LEN])
{
	char hex[HEX_LEN + 1];
	char again[HEX_LEN + 1];

	if (rest->end - rest->at < HEX_LEN)
		return false;
	memcpy(hex, rest->at, HEX_LEN);
	hex[HEX_LEN] = '\0';
	if (!tp_unhex(hex, hash_out, TP_HASH_LEN))
		return false;
	rest->at += HEX_LEN;
	tp_hex(hash_out, TP_HASH_LEN, again); /* capitals aren't how we write it */
	return memcmp(hex, again, HEX_LEN) == 0;
}

static bool parse_head(struct rest *rest, struct tp_audit_line *line)
{
	return skip(rest, "{\"seq\":") && skip_number(rest, &line->seq) &&
	       skip(rest, ",\"time\":\"") && skip_time(rest, line->time) && skip(rest, "\"");
}

static bool parse_tail(struct rest *rest, struct tp_audit_line *line)
{
	return skip(rest, prev_key) && skip_hash(rest, line->prev) && skip(rest, "\"") &&
	       skip(rest, hash_key) && skip_hash(rest, line->hash) && skip(rest, "\"}") &&
	       rest->at == rest->end;
}

/* Only a middle that is a gap's to the byte makes one. */
static bool parse_gap(struct rest rest, struct tp_audit_line *line)
{
	return skip(&rest, ",\"tenant\":null,\"actor\":\"torpord\",\"op\":\"audit-gap\","
			   "\"object\":null,\"outcome\":\"io\",\"detail\":{\"head\":") &&
	       skip_number(&rest, &line->gap_head) && skip(&rest, ",\"log\":") &&
	       skip_number(&rest, &line->gap_log) && skip(&rest, "}") && rest.at == rest.end;
}

const char *tp_audit_line_parse(const char *text, size_t len, struct tp_audit_line *line_out)
{
	struct tp_audit_line line = {0};
	uint8_t hash[TP_HASH_LEN];
	struct rest rest = {text, text + len};

	if (len >= TP_AUDIT_LINE_MAX || len < PREV_LEN + HASH_LEN || !parse_head(&rest, &line))
		return "it doesn't begin as an entry does";
	const char *tail = text + len - PREV_LEN - HASH_LEN;
	if (tail < rest.at || !parse_tail(&(struct rest){tail, text + len}, &line))
		return "it doesn't end as an entry does";
	tp_sha256(text, len - HASH_LEN, hash);
	if (memcmp(hash, line.hash, TP_HASH_LEN) != 0)
		return "its hash isn't that of its content: it was changed";
	line.gap = parse_gap((struct rest){rest.at, tail}, &line);
	*line_out = line;
	return NULL;
}
