/* SPDX-License-Identifier: Apache-2.0 */
/* torpor_audit_verify: the log in a state directory, against the records where they can be had. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <torpor/torpor.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "storage/audit.h"
#include "support.h"

#define ENTRIES 5

/* A state directory whose log has ENTRIES entries, all of which its records know. */
static void make_state(char dir[32], struct tp_records **records_out)
{
	static const uint8_t zeros[TP_HASH_LEN];
	struct tp_audit_entry entry = {
		.tenant = "alice", .actor = "token 1", .op = "park", .object = K3, .outcome = "ok"};
	struct tp_audit_ticket ticket;
	struct tp_audit *audit;

	snprintf(dir, 32, "/tmp/torpor-audit.XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	ct_ok(tp_audit_open(dir, "audit.log", 0, zeros, &audit));
	for (int i = 0; i < ENTRIES; i++)
		tp_audit_append(audit, &entry, &ticket);
	ct_ok(tp_audit_wait(audit, &ticket));
	tp_audit_close(audit);
	ct_ok(tp_records_open(dir, "records.db", records_out));
	struct tp_change *change = tp_change_new();
	tp_change_audit_head(change, ticket.seq, ticket.hash);
	ct_ok(tp_records_commit(*records_out, change));
}

static void remove_state(const char *dir)
{
	TP_FREE char *command = tp_asprintf("rm -r %s", dir);

	cr_assert_eq(system(command), 0);
}

static char *log_path(const char *dir)
{
	return tp_asprintf("%s/audit.log", dir);
}

Test(audit, sound)
{
	struct torpor_audit_report report;
	struct tp_records *records;
	char dir[32];

	make_state(dir, &records);
	tp_records_close(records);
	ct_ok(torpor_audit_verify(dir, &report));
	cr_assert_eq(report.entries, ENTRIES);
	cr_assert_eq(report.last_seq, ENTRIES);
	cr_assert_eq(report.gaps, 0);
	cr_assert(report.against_records);
	cr_assert_gt(report.first_time[0], 0);
	remove_state(dir);
}

Test(audit, changed)
{
	struct torpor_audit_report report;
	struct tp_records *records;
	char dir[32];

	make_state(dir, &records);
	tp_records_close(records);
	TP_FREE char *path = log_path(dir);
	TP_FD int fd = open(path, O_RDWR | O_CLOEXEC);
	char byte;
	cr_assert_eq(pread(fd, &byte, 1, 300), 1);
	byte ^= 1;
	cr_assert_eq(pwrite(fd, &byte, 1, 300), 1);
	ct_fails(torpor_audit_verify(dir, &report), TORPOR_E_CORRUPT, "line ");
	remove_state(dir);
}

/* A cut at a line's end is seen with the records, and only then; without, the report says so. */
Test(audit, cut)
{
	struct torpor_audit_report report;
	struct tp_records *records;
	char dir[32];
	char *text;
	size_t len;

	make_state(dir, &records);
	TP_FREE char *path = log_path(dir);
	ct_ok(tp_read_file(AT_FDCWD, path, 65536, &text, &len));
	for (len--; text[len - 1] != '\n'; len--)
		;
	free(text);
	cr_assert_eq(truncate(path, (off_t)len), 0);

	/* As while torpord runs. */
	ct_ok(torpor_audit_verify(dir, &report));
	cr_assert_eq(report.entries, ENTRIES - 1);
	cr_assert_not(report.against_records);

	tp_records_close(records);
	ct_fails(torpor_audit_verify(dir, &report), TORPOR_E_CORRUPT, "is missing");
	remove_state(dir);
}

Test(audit, there_is_none)
{
	struct torpor_audit_report report;
	char dir[] = "/tmp/torpor-audit.XXXXXX";

	cr_assert_not_null(mkdtemp(dir));
	ct_fails(torpor_audit_verify(dir, &report), TORPOR_E_NOT_FOUND, "audit.log");
	/* And nothing was made. */
	cr_assert_eq(rmdir(dir), 0);
}
