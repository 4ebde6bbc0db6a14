/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the tests of the records and of the audit log. */
#include "records_support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "support.h"

char *make_dir(void)
{
	const char *where = getenv("TMPDIR");
	char *dir = tp_asprintf("%s/torpor-records-XXXXXX", where ? where : "/tmp");

	if (!mkdtemp(dir))
		abort();
	return dir;
}

void remove_dir(char *dir)
{
	DIR *stream = opendir(dir);
	struct dirent *entry;

	while ((entry = readdir(stream)))
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(stream), entry->d_name, 0);
	closedir(stream);
	(void)umount2(dir, MNT_DETACH); /* mount_small may have put something there */
	if (rmdir(dir) < 0)
		abort();
	free(dir);
}

char *path_in(const char *dir, const char *name)
{
	return tp_asprintf("%s/%s", dir, name);
}

uint8_t *read_path(const char *path, size_t *len_out)
{
	char *data;

	must(tp_read_file(AT_FDCWD, path, 256 * TP_MIB, &data, len_out));
	return (uint8_t *)data;
}

void write_path(const char *path, const void *data, size_t len)
{
	TP_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		abort();
	must(tp_pwrite_full(fd, data, len, 0, path));
}

struct tp_records *open_records(const char *dir)
{
	struct tp_records *records;

	must(tp_records_open(dir, "records.db", &records));
	return records;
}

struct tp_tenant_row a_tenant(const char *name)
{
	return (struct tp_tenant_row){.name = (char *)name,
		.uid = -1,
		.limits = {100, 1 << 30, TP_UNSET, 60, TP_UNSET, 0, 5},
		.created_ns = 77};
}

struct tp_token_row a_token(const char *id, const char *tenant)
{
	struct tp_token_row row = {.id = (char *)id,
		.tenant = (char *)tenant,
		.label = (char *)"laptop",
		.created_ns = 5,
		.expires_ns = 6};

	for (size_t i = 0; i < TP_HASH_LEN; i++)
		row.hash[i] = (uint8_t)(id[i % strlen(id)] + (int)i);
	return row;
}

struct tp_session_row a_session(const char *id, const char *tenant, const char *name)
{
	return (struct tp_session_row){.id = (char *)id,
		.tenant = (char *)tenant,
		.name = (char *)name,
		.template_name = (char *)"minimal",
		.template_id = (char *)"9f01",
		.state = (char *)"parked",
		.labels = (char *)"{\"team\":\"a\"}",
		.env = (char *)"{}",
		.limits = (char *)"{}",
		.info = (char *)"{}",
		.memory_bytes = 1000,
		.ttl_s = TP_UNSET,
		.idle_s = TP_UNSET,
		.retention_s = TP_UNSET,
		.created_ns = 100,
		.changed_ns = 200,
		.active_ns = 300};
}

struct tp_image_row an_image(const char *name, const char *session, const char *tenant)
{
	return (struct tp_image_row){.name = (char *)name,
		.session = (char *)session,
		.tenant = (char *)tenant,
		.kind = (char *)"park",
		.template_id = (char *)"9f01",
		.bytes = 500,
		.created_ns = 50};
}

struct torpor_error *put_tenant(struct tp_records *records, const struct tp_tenant_row *row)
{
	struct tp_change *change = tp_change_new();

	tp_change_put_tenant(change, row);
	return tp_records_commit(records, change);
}

struct torpor_error *put_token(struct tp_records *records, const struct tp_token_row *row)
{
	struct tp_change *change = tp_change_new();

	tp_change_put_token(change, row);
	return tp_records_commit(records, change);
}

struct torpor_error *put_session(struct tp_records *records, const struct tp_session_row *row)
{
	struct tp_change *change = tp_change_new();

	tp_change_put_session(change, row);
	return tp_records_commit(records, change);
}

struct torpor_error *put_image(struct tp_records *records, const struct tp_image_row *row)
{
	struct tp_change *change = tp_change_new();

	tp_change_put_image(change, row);
	return tp_records_commit(records, change);
}

bool has_session(struct tp_records *records, const char *id)
{
	struct tp_session_row row;
	struct torpor_error *err = tp_records_session(records, NULL, id, &row);

	if (!err) {
		tp_session_row_deinit(&row);
		return true;
	}
	if (code_of(err) != TORPOR_E_NOT_FOUND)
		abort();
	return false;
}

void names_deinit(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->names[i]);
	free(names->names);
	*names = (struct names){0};
}

struct torpor_error *collect_name(void *data, const char *name)
{
	struct names *names = data;

	names->names = tp_reallocarray(names->names, names->count + 1, sizeof(char *));
	names->names[names->count++] = tp_strdup(name);
	return NULL;
}

struct torpor_error *collect_session(void *data, const struct tp_session_row *row)
{
	return collect_name(data, row->id);
}

struct torpor_error *collect_image(void *data, const struct tp_image_row *row)
{
	return collect_name(data, row->name);
}

struct torpor_error *collect_token(void *data, const struct tp_token_row *row)
{
	return collect_name(data, row->id);
}

struct torpor_error *collect_tenant(void *data, const struct tp_tenant_row *row)
{
	return collect_name(data, row->name);
}

uint64_t ask_number(sqlite3 *db, const char *sql, const char *tenant)
{
	sqlite3_stmt *stmt;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		abort();
	sqlite3_bind_text(stmt, 1, tenant, -1, SQLITE_STATIC);
	if (sqlite3_step(stmt) != SQLITE_ROW)
		abort();
	uint64_t value = (uint64_t)sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return value;
}

bool mount_small(const char *dir, size_t size)
{
	TP_FREE char *options = tp_asprintf("size=%zu,mode=0700", size);
	int spaces = geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER;

	if (unshare(spaces) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		mount("tmpfs", dir, "tmpfs", 0, options) == 0)
		return true;
	fprintf(stderr, "NOT RUN: no file system can be mounted here: %s\n", strerror(errno));
	return false;
}

void fill_up(const char *dir, const char *name)
{
	static const char zeros[4096];
	TP_FREE char *path = path_in(dir, name);
	TP_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		abort();
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	if (errno != ENOSPC)
		abort();
}
