/* SPDX-License-Identifier: Apache-2.0 */
/* Answers in a file. */
#include "engine/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

/* An answer about QEMU's CPU models has some 60 KiB. */
#define FILE_MAX    (4 * TP_MIB)
#define ENTRIES_MAX 32

/* ---- what answers depend on ---- */

static struct torpor_error *read_boot_id(char **boot_id_out)
{
	size_t len;

	TP_TRY(tp_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, boot_id_out, &len));
	(*boot_id_out)[strcspn(*boot_id_out, "\n")] = '\0';
	return NULL;
}

struct torpor_error *tp_file_identity(const char *path, char **identity_out)
{
	struct stat st;

	if (!path) {
		*identity_out = tp_strdup("none");
		return NULL;
	}
	TP_FREE char *real = realpath(path, NULL);
	if (!real || stat(real, &st) < 0)
		return tp_error_errno(errno, "look at", path);
	*identity_out = tp_asprintf("%s %lld %lld.%09ld", real, (long long)st.st_size,
		(long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	return NULL;
}

struct torpor_error *tp_program_find(const char *name, char **path_out)
{
	const char *at = getenv("PATH");

	if (strchr(name, '/')) {
		*path_out = tp_strdup(name);
		return NULL;
	}
	while (at && *at) {
		size_t len = strcspn(at, ":");
		TP_FREE char *path = tp_asprintf("%.*s/%s", (int)len, at, name);
		if (access(path, X_OK) == 0) {
			*path_out = TP_TAKE(path);
			return NULL;
		}
		at += len + (at[len] == ':');
	}
	return tp_error(TORPOR_E_NOT_FOUND, "find", name, "it is not in PATH");
}

struct torpor_error *tp_program_identity(const char *name, char **identity_out)
{
	TP_FREE char *path = NULL;

	TP_TRY(tp_program_find(name, &path));
	return tp_file_identity(path, identity_out);
}

/* ---- the file ---- */

void tp_kept_deinit(struct tp_kept *kept)
{
	free(kept->path);
	free(kept->boot_id);
	free(kept->key);
	json_decref(kept->all);
	*kept = (struct tp_kept){0};
}

/* All that is kept; empty where there is nothing that can be read. A new reference. */
static json_t *load(const char *path)
{
	TP_FREE char *text = NULL;
	size_t len;
	struct torpor_error *err = tp_read_file(AT_FDCWD, path, FILE_MAX, &text, &len);

	if (err) {
		if (torpor_error_code(err) == TORPOR_E_NOT_FOUND)
			torpor_error_free(err);
		else
			tp_error_log(err);
		return json_object();
	}
	json_t *all = json_loadb(text, len, 0, NULL);
	if (json_is_object(all))
		return all;
	tp_log(TP_LOG_WARNING, "%s holds no answers; it is ignored", path);
	json_decref(all);
	return json_object();
}

struct torpor_error *tp_kept_open(const char *path, const char *key, struct tp_kept *kept_out)
{
	TP_FREE char *boot_id = NULL;

	TP_TRY(read_boot_id(&boot_id));
	char *whole = tp_asprintf("%s|%s", boot_id, key);
	*kept_out = (struct tp_kept){
		.path = tp_strdup(path),
		.boot_id = TP_TAKE(boot_id),
		.key = whole,
		.all = load(path),
	};
	return NULL;
}

json_t *tp_kept_entry(const struct tp_kept *kept)
{
	return json_object_get(kept->all, kept->key);
}

/* Drops the answers of other boots, and all if they are too many. */
static void tidy(json_t *all, const char *boot_id)
{
	const char *key;
	json_t *value;
	void *next;

	json_object_foreach_safe(all, next, key, value)
	{
		if (strncmp(key, boot_id, strlen(boot_id)) != 0)
			json_object_del(all, key);
	}
	if (json_object_size(all) >= ENTRIES_MAX)
		json_object_clear(all);
}

void tp_kept_put(const struct tp_kept *kept, json_t *entry)
{
	static atomic_uint counter;
	TP_FREE char *temporary =
		tp_asprintf("%s.%ld.%u", kept->path, (long)getpid(), atomic_fetch_add(&counter, 1));

	if (!entry)
		return;
	tidy(kept->all, kept->boot_id);
	json_object_set_new(kept->all, kept->key, entry);
	if (json_dump_file(kept->all, temporary, JSON_COMPACT) < 0 ||
		rename(temporary, kept->path) < 0) {
		tp_log(TP_LOG_WARNING, "write %s: %m", kept->path);
		unlink(temporary);
	}
}
