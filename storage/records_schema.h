/* SPDX-License-Identifier: Apache-2.0 */
/* The records' schema, and how an older one becomes the present one. Internal to the records. */
#ifndef TP_STORAGE_RECORDS_SCHEMA_H
#define TP_STORAGE_RECORDS_SCHEMA_H

#include <sqlite3.h>

#include "base/error.h"

/*
 * The SQL of step N + 1 is at N: it makes a file of version N one of version N + 1. A step that was
 * released is never changed; what is to be different is a further step.
 */
extern const char *const tp_records_migrations[];
extern const size_t tp_records_migration_count;

/*
 * Brings DB (PATH in messages) up to version COUNT, all steps in one transaction: it has the old
 * schema or the new one. UNSUPPORTED if it is newer, CORRUPT if it is a database but not records.
 */
struct torpor_error *tp_records_migrate(
	sqlite3 *db, const char *path, const char *const *migrations, size_t count) TP_MUST_USE;

#endif
