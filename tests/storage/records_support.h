/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the records and of the audit log share. */
#ifndef TESTS_STORAGE_RECORDS_SUPPORT_H
#define TESTS_STORAGE_RECORDS_SUPPORT_H

#include <sqlite3.h>

#include "storage/records.h"

/* A new directory under TMPDIR; the caller's to free. */
char *make_dir(void);
/* Removes it with all files in it, and frees the name. */
void remove_dir(char *dir);
/* DIR/NAME; the caller's to free. */
char *path_in(const char *dir, const char *name);
uint8_t *read_path(const char *path, size_t *len_out);
void write_path(const char *path, const void *data, size_t len);

/* DIR/records.db, which must open. */
struct tp_records *open_records(const char *dir);

/* Rows with all that is needed; their strings are constants or the arguments. */
struct tp_tenant_row a_tenant(const char *name);
struct tp_token_row a_token(const char *id, const char *tenant);
struct tp_session_row a_session(const char *id, const char *tenant, const char *name);
struct tp_image_row an_image(const char *name, const char *session, const char *tenant);

struct torpor_error *put_tenant(struct tp_records *records, const struct tp_tenant_row *row);
struct torpor_error *put_token(struct tp_records *records, const struct tp_token_row *row);
struct torpor_error *put_session(struct tp_records *records, const struct tp_session_row *row);
struct torpor_error *put_image(struct tp_records *records, const struct tp_image_row *row);

/* Whether there is such a session. */
bool has_session(struct tp_records *records, const char *id);

/* Collects names, or sessions' ids and images' names. */
struct names {
	char **names;
	size_t count;
};
void names_deinit(struct names *names);
tp_name_each collect_name;
tp_session_each collect_session;
tp_image_each collect_image;
tp_token_each collect_token;
tp_tenant_each collect_tenant;

/* The number that SQL gives, whose ?1 is TENANT. */
uint64_t ask_number(sqlite3 *db, const char *sql, const char *tenant);

/*
 * A file system of its own of SIZE bytes, in memory, mounted on DIR for this process alone. False,
 * with the reason told, if that isn't allowed here.
 */
bool mount_small(const char *dir, size_t size);
/* Fills DIR's file system up to the last byte with a file of NAME. */
void fill_up(const char *dir, const char *name);

#endif
