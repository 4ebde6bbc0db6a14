/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log: whatever is done to it shows, and what failed to be written is said. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/hex.h"
#include "base/mem.h"
#include "records_support.h"
#include "storage/audit.h"
#include "storage/audit_line.h"
#include "storage/sha256.h"
#include "support.h"

#define ENTRIES 6

static const uint8_t zeros[TP_HASH_LEN];

static char *dir;
static char *path;
static struct tp_audit *audit;

static void setup(void)
{
	dir = make_dir();
	path = path_in(dir, "audit.log");
}

static void teardown(void)
{
	tp_audit_close(audit);
	free(path);
	remove_dir(dir);
}

TestSuite(audit, .init = setup, .fini = teardown, .timeout = 55);

static void open_audit(uint64_t head_seq, const uint8_t *head_hash)
{
	audit = tp_audit_close(audit);
	must(tp_audit_open(dir, "audit.log", head_seq, head_hash, &audit));
}

static struct tp_audit_entry an_entry(const char *tenant, const char *object)
{
	return (struct tp_audit_entry){.tenant = tenant,
		.actor = "token 3f9c",
		.op = "park",
		.object = object,
		.outcome = "ok"};
}

static struct tp_audit_ticket append(const char *tenant, const char *object)
{
	struct tp_audit_entry entry = an_entry(tenant, object);
	struct tp_audit_ticket ticket;

	tp_audit_append(audit, &entry, &ticket);
	return ticket;
}

static struct tp_audit_ticket append_durably(const char *tenant, const char *object)
{
	struct tp_audit_ticket ticket = append(tenant, object);

	must(tp_audit_wait(audit, &ticket));
	return ticket;
}

/* A log of ENTRIES entries, closed; the last one's ticket. */
static struct tp_audit_ticket make_log(void)
{
	struct tp_audit_ticket ticket;

	open_audit(0, zeros);
	for (int i = 0; i < ENTRIES; i++)
		ticket = append_durably(i % 2 ? "alice" : "bob", "k3v9q2m7x4tz0d8h");
	audit = tp_audit_close(audit);
	return ticket;
}

/* The line of the file that verification names, 0 if it finds nothing. */
static unsigned int wrong_line(const struct tp_audit_ticket *head)
{
	struct tp_audit_report report;
	struct torpor_error *err = tp_audit_verify(path, head->seq, head->hash, &report);
	unsigned int line = 0;

	if (!err)
		return 0;
	const char *at = strstr(torpor_error_message(err), ": line ");
	cr_assert_eq(torpor_error_code(err), TORPOR_E_CORRUPT);
	cr_assert(at && sscanf(at, ": line %u", &line) == 1, "%s", torpor_error_message(err));
	torpor_error_free(err);
	return line;
}

static size_t line_begin(const uint8_t *data, size_t len, unsigned int line)
{
	size_t at = 0;

	while (--line > 0)
		at = (size_t)((const uint8_t *)memchr(data + at, '\n', len - at) - data) + 1;
	return at;
}

/* --- the format --- */

Test(audit, a_line_is_what_the_format_says)
{
	struct tp_audit_entry entry = {.tenant = "al\"ice",
		.actor = "jwt b\xc3\xb6"
			 "b\n",
		.op = "create",
		.object = NULL,
		.outcome = "no-space",
		.detail = json_pack("{s:i, s:[s, n]}", "z", 1, "a", "x")};
	struct tp_audit_ticket tickets[2];
	char hex[2][2 * TP_HASH_LEN + 1];
	size_t len;

	open_audit(0, zeros);
	tp_audit_append(audit, &entry, &tickets[0]);
	tickets[1] = append_durably(NULL, "o");
	json_decref((json_t *)entry.detail);
	TP_FREE char *text = (char *)read_path(path, &len);
	cr_assert_gt(len, 300);
	tp_hex(tickets[0].hash, TP_HASH_LEN, hex[0]);
	tp_hex(tickets[1].hash, TP_HASH_LEN, hex[1]);
	const char *time = text + strlen("{\"seq\":1,\"time\":\"");
	const char *second = strchr(text, '\n') + 1;
	TP_FREE char *due = tp_asprintf(
		"{\"seq\":1,\"time\":\"%.27s\",\"tenant\":\"al\\\"ice\",\"actor\":\"jwt "
		"b\\u00F6b\\n\","
		"\"op\":\"create\",\"object\":null,\"outcome\":\"no-space\","
		"\"detail\":{\"a\":[\"x\",null],\"z\":1},\"prev\":\"%064d\",\"hash\":\"%s\"}\n"
		"{\"seq\":2,\"time\":\"%.27s\",\"tenant\":null,\"actor\":\"token "
		"3f9c\",\"op\":\"park\","
		"\"object\":\"o\",\"outcome\":\"ok\",\"detail\":null,\"prev\":\"%s\",\"hash\":\"%"
		"s\"}\n",
		time, 0, hex[0], second + strlen("{\"seq\":2,\"time\":\""), hex[0], hex[1]);
	cr_expect_str_eq(text, due);
	cr_expect_eq(time[26], 'Z');
	/* The hash, computed anew. */
	uint8_t hash[TP_HASH_LEN];
	tp_sha256(text, (size_t)(strstr(text, ",\"hash\":") - text), hash);
	cr_expect_eq(memcmp(hash, tickets[0].hash, TP_HASH_LEN), 0);
}

Test(audit, sha256_of_the_standard)
{
	uint8_t hash[TP_SHA256_LEN];
	char hex[2 * TP_SHA256_LEN + 1];

	tp_sha256("abc", 3, hash); /* FIPS 180-2, B.1 */
	tp_hex(hash, sizeof(hash), hex);
	cr_expect_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

Test(audit, huge_and_broken_texts_make_sound_lines)
{
	TP_FREE char *huge = tp_malloc(100001);
	struct tp_audit_report report;
	struct tp_audit_ticket ticket;
	json_t *list;

	memset(huge, '\x01', 100000);
	huge[100000] = '\0';
	struct tp_audit_entry entry = {huge, huge, huge, huge, huge, NULL};
	open_audit(0, zeros);
	entry.detail = json_pack("{s:s}", "x", huge);
	tp_audit_append(audit, &entry, &ticket);
	json_decref((json_t *)entry.detail);
	entry = an_entry("bad \xff\xc3 byte", "o");
	tp_audit_append(audit, &entry, &ticket);
	/* Cut between characters, not within one. */
	for (size_t i = 0; i < 100000; i++)
		huge[i] = "\xc3\xb6"[(i + 1) % 2];
	huge[0] = 'x';
	entry.tenant = huge;
	tp_audit_append(audit, &entry, &ticket);
	must(tp_audit_wait(audit, &ticket));
	must(tp_audit_verify(path, ticket.seq, ticket.hash, &report));
	cr_expect_eq(report.entries, 3);
	must(tp_audit_tail(path, NULL, NULL, 0, 10, &list));
	json_t *first = json_array_get(list, 2);
	cr_expect_eq(json_string_length(json_object_get(first, "tenant")), 1024);
	cr_expect_eq(json_integer_value(
			     json_object_get(json_object_get(first, "detail"), "omitted_bytes")),
		600008);
	cr_expect_str_eq(json_string_value(json_object_get(json_array_get(list, 1), "tenant")),
		"bad ?? byte");
	cr_expect_eq(json_string_length(json_object_get(json_array_get(list, 0), "tenant")), 1023);
	json_decref(list);
}

Test(audit, a_report_says_what_was_read)
{
	struct tp_audit_ticket head = make_log();
	struct tp_audit_report report;

	must(tp_audit_verify(path, head.seq, head.hash, &report));
	cr_expect_eq(report.entries, ENTRIES);
	cr_expect_eq(report.last_seq, ENTRIES);
	cr_expect_eq(report.gaps, 0);
	cr_expect_eq(strlen(report.first_time), 27);
	cr_expect_leq(strcmp(report.first_time, report.last_time), 0);
	open_audit(head.seq, head.hash); /* goes on */
	head = append_durably("alice", "o");
	cr_expect_eq(head.seq, ENTRIES + 1);
	must(tp_audit_verify(path, head.seq, head.hash, &report));
	write_path(path, "", 0);
	must(tp_audit_verify(path, 0, zeros, &report));
	cr_expect_eq(report.entries, 0);
	cr_expect_str_eq(report.first_time, "");
}

/* --- whatever is done to it --- */

static void poke(size_t at, uint8_t byte)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	cr_assert_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
}

Test(audit, every_byte_that_is_changed_shows)
{
	struct tp_audit_ticket head = make_log();
	size_t len;
	TP_FREE uint8_t *data = read_path(path, &len);
	unsigned int line = 1;

	for (size_t i = 0; i < len; i++) {
		uint8_t was = data[i];
		const uint8_t others[] = {was ^ 1, was ^ 0x20, was ^ 0x80, '\n', '0', 0};
		for (size_t k = 0; k < sizeof(others); k++) {
			if (others[k] == was)
				continue;
			poke(i, others[k]);
			/* A changed newline makes its line a longer one; the line is named. */
			cr_assert_eq(wrong_line(&head), line, "byte %zu as %02x", i, others[k]);
		}
		poke(i, was);
		line += was == '\n';
	}
	cr_expect_eq(wrong_line(&head), 0);
}

/* Puts the file together from pieces of what it was. */
struct piece {
	size_t begin;
	size_t end;
};
static void assemble(const uint8_t *data, const struct piece *pieces, size_t n)
{
	TP_BUF struct tp_buf buf = {0};

	for (size_t i = 0; i < n; i++)
		tp_buf_put(&buf, data + pieces[i].begin, pieces[i].end - pieces[i].begin);
	write_path(path, buf.data, buf.len);
}

Test(audit, lines_that_are_removed_doubled_or_swapped_show)
{
	struct tp_audit_ticket head = make_log();
	size_t len;
	TP_FREE uint8_t *data = read_path(path, &len);
	size_t at[ENTRIES + 2];

	for (unsigned int line = 1; line <= ENTRIES; line++)
		at[line] = line_begin(data, len, line);
	at[ENTRIES + 1] = len;
	for (unsigned int line = 1; line <= ENTRIES; line++) {
		size_t begin = at[line];
		size_t end = at[line + 1];
		/* removed: the next one is wrong, or missing */
		assemble(data, (struct piece[]){{0, begin}, {end, len}}, 2);
		cr_expect_eq(wrong_line(&head), line);
		/* doubled */
		assemble(data, (struct piece[]){{0, end}, {begin, len}}, 2);
		cr_expect_eq(wrong_line(&head), line + 1);
		/* swapped with the next */
		if (line < ENTRIES) {
			size_t behind = at[line + 2];
			assemble(data,
				(struct piece[]){
					{0, begin}, {end, behind}, {begin, end}, {behind, len}},
				4);
			cr_expect_eq(wrong_line(&head), line);
		}
		/* all before it cut */
		if (line > 1) {
			assemble(data, (struct piece[]){{begin, len}}, 1);
			cr_expect_eq(wrong_line(&head), 1);
		}
		/* an empty line before it */
		assemble(data, (struct piece[]){{0, begin}, {at[2] - 1, at[2]}, {begin, len}}, 3);
		cr_expect_eq(wrong_line(&head), line);
	}
}

Test(audit, each_cut_at_the_end_shows)
{
	struct tp_audit_ticket head = make_log();
	size_t len;
	TP_FREE uint8_t *data = read_path(path, &len);
	unsigned int line = ENTRIES;

	for (size_t i = len; i-- > 0;) {
		line -= i + 1 < len && data[i] == '\n';
		cr_assert_eq(truncate(path, (off_t)i), 0);
		cr_assert_eq(wrong_line(&head), line, "cut at %zu", i);
	}
	cr_expect_eq(line, 1);
}

/* An entry with sound hashes, made by somebody who knows how. */
Test(audit, a_forged_line_needs_all_behind_it_forged_and_the_records)
{
	struct tp_audit_ticket head = make_log();
	size_t len;
	TP_FREE uint8_t *data = read_path(path, &len);
	size_t begin = line_begin(data, len, 3);
	size_t end = line_begin(data, len, 4);
	struct tp_audit_entry entry = an_entry("mallory", "nothing to see");
	TP_FREE char *middle = tp_audit_line_middle(&entry);
	TP_BUF struct tp_buf buf = {0};
	struct tp_audit_line before;
	uint8_t hash[TP_HASH_LEN];
	size_t second = line_begin(data, len, 2);

	cr_assert_null(tp_audit_line_parse((char *)data + second, begin - 1 - second, &before));
	memcpy(hash, before.hash, TP_HASH_LEN);
	tp_buf_put(&buf, data, begin);
	tp_audit_line_put(&buf, 3, tp_realtime_ns(), middle, hash);
	size_t forged = buf.len;
	tp_buf_put(&buf, data + end, len - end);
	write_path(path, buf.data, buf.len);
	cr_expect_eq(wrong_line(&head), 4);
	buf.len = forged; /* all the rest forged as well */
	for (uint64_t seq = 4; seq <= ENTRIES; seq++)
		tp_audit_line_put(&buf, seq, tp_realtime_ns(), middle, hash);
	write_path(path, buf.data, buf.len);
	cr_expect_eq(wrong_line(&head), ENTRIES);
	cr_expect_eq(wrong_line(&(struct tp_audit_ticket){0}), 0); /* which only the head shows */
	tp_audit_line_put(&buf, ENTRIES + 2, tp_realtime_ns(), middle, hash); /* one left out */
	write_path(path, buf.data, buf.len);
	cr_expect_eq(wrong_line(&(struct tp_audit_ticket){0}), ENTRIES + 1);
}

/* --- opening --- */

Test(audit, what_a_crash_left_incomplete_is_cut_off)
{
	struct tp_audit_ticket head = make_log();
	struct tp_audit_ticket fifth;
	struct tp_audit_line line;
	size_t len;
	TP_FREE uint8_t *data = read_path(path, &len);
	size_t last = line_begin(data, len, ENTRIES);
	size_t before = line_begin(data, len, ENTRIES - 1);

	cr_assert_null(tp_audit_line_parse((char *)data + before, last - 1 - before, &line));
	fifth.seq = line.seq;
	memcpy(fifth.hash, line.hash, TP_HASH_LEN);
	for (size_t cut = last; cut < len; cut += 7) {
		write_path(path, data, cut);
		open_audit(fifth.seq, fifth.hash);
		struct tp_audit_ticket again = append_durably("alice", "o");
		cr_assert_eq(again.seq, head.seq);
		cr_assert_eq(wrong_line(&again), 0);
	}
	write_path(path, data, 5); /* the only line there is */
	open_audit(0, zeros);
	cr_expect_eq(append_durably("alice", "o").seq, 1);
	cr_expect_eq(wrong_line(&(struct tp_audit_ticket){0}), 0);
}

Test(audit, a_last_line_that_is_not_sound_is_refused)
{
	make_log();
	size_t len;
	TP_FREE uint8_t *data = read_path(path, &len);
	struct tp_audit *opened;

	data[len - 200] ^= 1;
	write_path(path, data, len);
	struct torpor_error *err = tp_audit_open(dir, "audit.log", 0, zeros, &opened);
	cr_assert_not_null(err);
	cr_expect_eq(torpor_error_code(err), TORPOR_E_CORRUPT);
	cr_expect_not_null(torpor_error_hint(err));
	torpor_error_free(err);
	TP_FREE uint8_t *noise = tp_malloc(300000);
	memset(noise, 'x', 300000);
	write_path(path, noise, 300000);
	cr_expect_eq(code_of(tp_audit_open(dir, "audit.log", 0, zeros, &opened)), TORPOR_E_CORRUPT);
	noise[299999] = '\n';
	write_path(path, noise, 300000);
	cr_expect_eq(code_of(tp_audit_open(dir, "audit.log", 0, zeros, &opened)), TORPOR_E_CORRUPT);
}

Test(audit, a_log_behind_its_head_says_so_and_goes_on)
{
	struct tp_audit_ticket head = make_log();
	struct tp_audit_report report;
	json_t *list;
	size_t len;
	TP_FREE uint8_t *data = read_path(path, &len);

	write_path(path, data, line_begin(data, len, 4)); /* 4, 5 and 6 are lost */
	open_audit(head.seq, head.hash);
	must(tp_audit_verify(path, head.seq, head.hash, &report));
	cr_expect_eq(report.entries, 4);
	cr_expect_eq(report.gaps, 1);
	cr_expect_eq(report.lost, 3);
	must(tp_audit_tail(path, NULL, NULL, 0, 1, &list));
	json_t *gap = json_array_get(list, 0);
	cr_expect_str_eq(json_string_value(json_object_get(gap, "op")), "audit-gap");
	cr_expect_eq(json_integer_value(json_object_get(gap, "seq")), 7);
	json_t *detail = json_object_get(gap, "detail");
	cr_expect_eq(json_integer_value(json_object_get(detail, "log")), 3);
	cr_expect_eq(json_integer_value(json_object_get(detail, "head")), 6);
	json_decref(list);
	struct tp_audit_ticket next = append_durably("alice", "o");
	cr_expect_eq(next.seq, 8);
	cr_expect_eq(wrong_line(&next), 0);

	/* A gap that was put elsewhere doesn't fit there. */
	TP_FREE uint8_t *with_gap = read_path(path, &len);
	size_t at[6];
	for (unsigned int line = 1; line <= 5; line++)
		at[line] = line_begin(with_gap, len, line);
	assemble(with_gap, (struct piece[]){{0, at[3]}, {at[4], len}}, 2);
	cr_expect_eq(wrong_line(&next), 3);

	audit = tp_audit_close(audit); /* all of it lost */
	unlink(path);
	open_audit(next.seq, next.hash);
	must(tp_audit_verify(path, next.seq, next.hash, &report));
	cr_expect_eq(report.entries, 1);
	cr_expect_eq(report.lost, 8);
}

Test(audit, another_last_entry_than_the_records_know_is_a_gap_too)
{
	struct tp_audit_ticket head = make_log();
	struct tp_audit_report report;

	head.hash[0] ^= 1;
	open_audit(head.seq, head.hash);
	must(tp_audit_verify(path, 0, zeros, &report));
	cr_expect_eq(report.gaps, 1);
	cr_expect_eq(report.lost, 0);
	cr_expect_eq(wrong_line(&head), ENTRIES);
	cr_expect_eq(append_durably("alice", "o").seq, ENTRIES + 2);
}

Test(audit, one_writer_at_a_time_and_only_the_owner_reads)
{
	struct tp_audit *second;
	struct stat st;

	umask(0);
	open_audit(0, zeros);
	append_durably("alice", "o");
	cr_expect_eq(code_of(tp_audit_open(dir, "audit.log", 0, zeros, &second)), TORPOR_E_BUSY);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600);
}

static void *verify(void *data)
{
	struct tp_audit_report report;

	(void)data;
	return tp_audit_verify(path, 0, zeros, &report);
}

/* A reader that has the lock when the writer wants it sees what it writes, and isn't alarmed. */
Test(audit, half_a_line_is_looked_at_again_while_there_is_a_writer)
{
	const struct timespec moment = {.tv_nsec = 20 * TP_NSEC_PER_MSEC};
	pthread_t reader;
	void *said;
	size_t len;

	open_audit(0, zeros);
	append_durably("alice", "o");
	TP_FREE uint8_t *data = read_path(path, &len);
	cr_assert_eq(truncate(path, (off_t)len - 10), 0);
	cr_assert_eq(pthread_create(&reader, NULL, verify, NULL), 0);
	/* Nothing tells that it has looked. */
	nanosleep(&moment, NULL);
	TP_FD int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	cr_assert_eq(write(fd, data + len - 10, 10), 10);
	pthread_join(reader, &said);
	must(said);
	audit = tp_audit_close(audit);
	cr_assert_eq(truncate(path, (off_t)len - 10), 0);
	cr_assert_eq(code_of(verify(NULL)), TORPOR_E_CORRUPT, "nobody writes, so it is one");
}

/* --- reading backwards --- */

static size_t tail(
	const char *tenant, const char *object, uint64_t before, size_t limit, uint64_t *first_out)
{
	json_t *list;

	must(tp_audit_tail(path, tenant, object, before, limit, &list));
	size_t count = json_array_size(list);
	for (size_t i = 1; i < count; i++)
		cr_assert_lt(json_integer_value(json_object_get(json_array_get(list, i), "seq")),
			json_integer_value(json_object_get(json_array_get(list, i - 1), "seq")));
	*first_out = (uint64_t)json_integer_value(json_object_get(json_array_get(list, 0), "seq"));
	json_decref(list);
	return count;
}

Test(audit, the_tail_is_filtered_and_paged)
{
	struct tp_audit_ticket ticket;
	uint64_t first;

	open_audit(0, zeros);
	for (int i = 1; i <= 5000; i++)
		ticket = append(i % 5 ? "bob" : "alice", i % 2 ? "odd" : "even");
	must(tp_audit_wait(audit, &ticket));
	cr_expect_eq(tail(NULL, NULL, 0, 10, &first), 10);
	cr_expect_eq(first, 5000);
	cr_expect_eq(tail("alice", NULL, 0, 7, &first), 7);
	cr_expect_eq(tail("alice", NULL, 0, 9999, &first), 1000);
	cr_expect_eq(first, 5000);
	cr_expect_eq(tail("alice", "odd", 0, 9999, &first), 500);
	cr_expect_eq(first, 4995);
	cr_expect_eq(tail("alice", "odd", 4995, 9999, &first), 499);
	cr_expect_eq(tail("alice", "odd", 6, 9999, &first), 1);
	cr_expect_eq(tail("alic", NULL, 0, 9999, &first), 0);
	cr_expect_eq(tail(NULL, NULL, 0, 0, &first), 0);
	cr_expect_eq(tail(NULL, NULL, 0, 9999, &first), 5000);
	cr_expect_eq(code_of(tp_audit_tail("/nowhere/audit.log", NULL, NULL, 0, 1, NULL)),
		TORPOR_E_NOT_FOUND);
}

Test(audit, the_tail_looks_at_no_more_than_16_MiB)
{
	TP_BUF struct tp_buf buf = {0};
	struct tp_audit_entry entry = an_entry("alice", "o");
	TP_FREE char *middle = tp_audit_line_middle(&entry);
	uint8_t hash[TP_HASH_LEN] = {0};
	uint64_t first;
	uint64_t seq = 0;

	while (buf.len < 20 << 20)
		tp_audit_line_put(&buf, ++seq, 1, middle, hash);
	write_path(path, buf.data, buf.len);
	size_t count = tail("alice", NULL, 0, SIZE_MAX, &first);
	cr_expect_eq(first, seq);
	cr_expect_lt(count, seq * 17 / 20);
	cr_expect_gt(count, seq * 15 / 20);
}

/* --- failing disks --- */

static void expect_lost(const struct tp_audit_ticket *ticket)
{
	cr_expect_eq(code_of(tp_audit_wait(audit, ticket)), TORPOR_E_NOSPACE);
}

Test(audit, a_full_disk_fails_waits_and_no_line_is_torn)
{
	struct tp_audit_report report;
	struct tp_audit_ticket lost[3];

	cr_assert(mount_small(dir, 1 << 20), "no small file system can be had here");
	TP_FREE char *filler = path_in(dir, "filler");
	open_audit(0, zeros);
	append_durably("alice", "first");
	fill_up(dir, "filler");
	struct tp_audit_ticket ticket = append("alice", "x");
	struct torpor_error *err;
	while (!(err = tp_audit_wait(audit, &ticket))) /* the last page has room for some */
		ticket = append("alice", "x");
	cr_expect_eq(torpor_error_code(err), TORPOR_E_NOSPACE, "%s", torpor_error_message(err));
	torpor_error_free(err);
	uint64_t good = ticket.seq - 1;
	for (int i = 0; i < 3; i++) {
		lost[i] = append("alice", "y");
		expect_lost(&lost[i]);
	}
	must(tp_audit_verify(path, 0, zeros, &report)); /* whole lines, all the time */
	cr_expect_eq(report.last_seq, good);

	cr_assert_eq(unlink(filler), 0);
	struct tp_audit_ticket next = append_durably("alice", "z");
	must(tp_audit_verify(path, next.seq, next.hash, &report));
	cr_expect_eq(report.gaps, 1);
	cr_expect_eq(report.lost, next.seq - 1 - good - 1);
	for (int i = 0; i < 3; i++)
		expect_lost(&lost[i]); /* what was lost stays so */
	/* The records may know of any of the lost ones: they were committed meanwhile. */
	must(tp_audit_verify(path, lost[1].seq, lost[1].hash, &report));
	cr_expect_eq(tp_audit_stats(audit).lost, report.lost);
	cr_expect_eq(tp_audit_stats(audit).entries, good + 2);
	audit = tp_audit_close(audit);
	cr_assert_eq(chdir("/"), 0);
}

/* A write or a sync that fails once: its entry is gone from the file, and missed by the next. */
static void fail_once(const char *fault)
{
	struct tp_audit_report report;
	struct tp_audit_ticket first;
	struct tp_audit_ticket second;

	setenv("TORPOR_FAULT", fault, 1);
	tp_fault_init();
	open_audit(0, zeros);
	append_durably("alice", "o");
	first = append("alice", "o");
	cr_expect_eq(code_of(tp_audit_wait(audit, &first)), TORPOR_E_IO);
	must(tp_audit_verify(path, 0, zeros, &report));
	cr_expect_eq(report.last_seq, 1);
	second = append_durably("alice", "o");
	cr_expect_eq(second.seq, 4);
	must(tp_audit_verify(path, second.seq, second.hash, &report));
	cr_expect_eq(report.lost, 1);
	cr_expect_eq(code_of(tp_audit_wait(audit, &first)), TORPOR_E_IO);
}

Test(audit, a_write_that_fails_is_said_to_be_missing)
{
	fail_once("audit-write:2:fail");
}

Test(audit, a_sync_that_fails_is_said_to_be_missing)
{
	fail_once("audit-sync:2:fail");
}

/* --- kill -9 --- */

static void append_forever(int out)
{
	must(tp_audit_open(dir, "audit.log", 0, zeros, &audit));
	for (;;) {
		struct tp_audit_ticket ticket = append("alice", "x");
		append("bob", "y");
		must(tp_audit_wait(audit, &ticket));
		if (write(out, &ticket, sizeof(ticket)) != sizeof(ticket))
			_exit(1);
	}
}

Test(audit, what_was_acknowledged_outlives_kill)
{
	unsigned int seed = 9;
	struct tp_audit_ticket last = {0};

	for (int round = 0; round < 50; round++) {
		struct tp_audit_ticket ticket;
		int ends[2];
		int due = rand_r(&seed) % 30;
		cr_assert_eq(pipe(ends), 0);
		pid_t pid = fork();
		if (pid == 0)
			append_forever(ends[1]);
		close(ends[1]);
		for (int i = 0; read(ends[0], &ticket, sizeof(ticket)) == sizeof(ticket); i++) {
			last = ticket;
			if (i == due)
				kill(pid, SIGKILL);
		}
		close(ends[0]);
		cr_assert_eq(waitpid(pid, NULL, 0), pid);
		open_audit(last.seq, last.hash);
		cr_assert_eq(wrong_line(&last), 0);
		audit = tp_audit_close(audit);
	}
	struct tp_audit_report report;
	must(tp_audit_verify(path, last.seq, last.hash, &report));
	cr_expect_eq(report.gaps, 0);
}
