/* SPDX-License-Identifier: Apache-2.0 */
/* Verifying the audit log of a state directory, from outside of torpord. */
#include "storage/audit.h"

#include <string.h>
#include <torpor/torpor.h>
#include <unistd.h>

#include "base/mem.h"
#include "pool/engine.h"

/* The service's names (service/service.h). */
#define RECORDS_NAME "records.db"
#define AUDIT_NAME   "audit.log"

/*
 * How far the records say that the log goes. A torpord that runs keeps them to itself: then, and
 * where there are none, *KNOWN_OUT is false. Records aren't made here.
 */
static struct torpor_error *read_head(
	const char *dir, uint64_t *seq_out, uint8_t hash_out[TP_HASH_LEN], bool *known_out)
{
	TP_FREE char *path = tp_asprintf("%s/" RECORDS_NAME, dir);
	TP_CLEANUP(tp_records_close) struct tp_records *records = NULL;

	*known_out = false;
	if (access(path, F_OK) != 0)
		return NULL;
	struct torpor_error *err = tp_records_open(dir, RECORDS_NAME, &records);
	if (err && torpor_error_code(err) == TORPOR_E_BUSY)
		return torpor_error_free(err);
	if (err)
		return err;
	TP_TRY(tp_records_audit_head(records, seq_out, hash_out));
	*known_out = true;
	return NULL;
}

struct torpor_error *torpor_audit_verify(
	const char *state_dir, struct torpor_audit_report *report_out)
{
	TP_FREE char *own = tp_default_state_dir();
	const char *dir = state_dir ? state_dir : own;
	struct tp_audit_report found;
	uint8_t hash[TP_HASH_LEN] = {0};
	uint64_t seq = 0;
	bool known;

	TP_FREE char *path = tp_asprintf("%s/" AUDIT_NAME, dir);
	TP_TRY(read_head(dir, &seq, hash, &known));
	TP_TRY(tp_audit_verify(path, seq, hash, &found));
	struct torpor_audit_report report = {
		.entries = found.entries,
		.last_seq = found.last_seq,
		.gaps = found.gaps,
		.lost = found.lost,
		.against_records = known,
	};
	memcpy(report.first_time, found.first_time, sizeof(report.first_time));
	memcpy(report.last_time, found.last_time, sizeof(report.last_time));
	*report_out = report;
	return NULL;
}
