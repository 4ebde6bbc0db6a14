/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image files against their rows.
 *
 * Ten thousand parked sessions cost one ordered pass over two lists of names; a file is opened only
 * where the record can be behind it: of a session that is recorded as having a process, which may
 * have been killed in a park between the file's rename and the commit.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "service/recover_priv.h"

/* --- one image --- */

void tp_recover_look(const struct tp_service *service, const char *id, const char *uuid,
	struct tp_found_image *image_out)
{
	TP_FREE char *path = tp_asprintf("%s/images/%s", service->state_dir, id);
	struct tp_found_image image = {0};
	struct torpor_image_info info;
	struct stat st;

	if (stat(path, &st) < 0) {
		*image_out = image;
		return;
	}
	image.there = true;
	image.bytes = (uint64_t)st.st_size;
	image.created_ns =
		(uint64_t)st.st_mtim.tv_sec * TP_NSEC_PER_SEC + (uint64_t)st.st_mtim.tv_nsec;
	struct torpor_error *err = torpor_image_inspect(path, NULL, &info);
	if (err) {
		image.damage = tp_strdup(torpor_error_message(err));
		torpor_error_free(err);
	} else {
		snprintf(image.uuid, sizeof(image.uuid), "%s", info.uuid);
		image.newer = !uuid || strcmp(uuid, info.uuid) != 0;
		torpor_image_info_deinit(&info);
	}
	*image_out = image;
}

/* --- names --- */

struct names {
	char **names; /* owned, as they are; in order */
	size_t n;
};

static void add_name(struct names *names, const char *name)
{
	if ((names->n & (names->n - 1)) == 0)
		names->names = tp_reallocarray(
			names->names, names->n ? 2 * names->n : 1, sizeof(*names->names));
	names->names[names->n++] = tp_strdup(name);
}

static void names_deinit(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->names[i]);
	free(names->names);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct torpor_error *collect(void *data, const char *name)
{
	add_name(data, name);
	return NULL;
}

static struct torpor_error *read_files(const struct tp_service *service, struct names *files)
{
	TP_FREE char *path = tp_asprintf("%s/images", service->state_dir);
	DIR *dir = opendir(path);
	struct dirent *entry;

	if (!dir)
		return tp_error_errno(errno, "list", path);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			add_name(files, entry->d_name);
	}
	closedir(dir);
	if (files->n > 0)
		qsort(files->names, files->n, sizeof(*files->names), by_name);
	return NULL;
}

/* --- files that no row has --- */

/*
 * Whether the service would have made a file of that name: a park (ID) or checkpoint (ID.SUFFIX),
 * or what a fork that was killed left behind (fork-PID-NUMBER). All others are somebody else's.
 */
static bool is_ours(const char *name)
{
	char id[TP_ID_LEN + 1];
	int pid;

	if (sscanf(name, "fork-%d-", &pid) == 1)
		return pid > 0 && (pid == getpid() || (kill(pid, 0) < 0 && errno == ESRCH));
	snprintf(id, sizeof(id), "%s", name);
	return tp_id_ok(id) && (name[TP_ID_LEN] == '\0' || name[TP_ID_LEN] == '.');
}

static void add_stray(struct tp_recovery *recovery, const char *name)
{
	/* The park that was not recorded any more is, with the session. */
	const struct tp_found *found = tp_recovery_find(recovery, name);

	if (found && found->image.newer)
		return;
	if (!is_ours(name)) {
		tp_log(TP_LOG_DEBUG, "images/%s is nobody's that is known here", name);
		return;
	}
	recovery->strays = tp_reallocarray(
		recovery->strays, recovery->n_strays + 1, sizeof(*recovery->strays));
	recovery->strays[recovery->n_strays++] = tp_strdup(name);
}

/* --- rows whose file is missing --- */

/* The session that has no image any more to be resumed from. */
static struct torpor_error *lose_park(struct tp_recovery *recovery, const char *id)
{
	TP_ROW struct tp_session_row row = {0};

	/* Those with a guest are dealt with together with that. */
	if (tp_recovery_find(recovery, id))
		return NULL;
	TP_TRY(tp_records_session(recovery->service->records, NULL, id, &row));
	if (strcmp(row.state, "parked") == 0) {
		tp_row_set(&row.state, tp_state_name(TP_STATE_ERROR));
		tp_row_set(&row.reason, "its image is gone");
		row.changed_ns = tp_realtime_ns();
		recovery->failed++;
	}
	tp_row_set(&row.park_uuid, NULL);
	row.park_bytes = 0;
	tp_change_put_session(recovery->change, &row);
	tp_log(TP_LOG_WARNING, "session %s: its image is gone", id);
	return NULL;
}

static struct torpor_error *lose_image(struct tp_recovery *recovery, const char *name)
{
	struct tp_image_row image = {0};

	TP_TRY(tp_records_image(recovery->service->records, name, &image));
	struct torpor_error *err = NULL;
	if (strcmp(image.kind, "park") == 0)
		err = lose_park(recovery, image.session);
	else
		tp_log(TP_LOG_WARNING, "session %s: its checkpoint %s is gone", image.session,
			image.label ? image.label : name);
	tp_change_remove_image(recovery->change, name);
	recovery->images_lost++;
	recovery->changed = true;
	tp_image_row_deinit(&image);
	return err;
}

/* --- both --- */

static struct torpor_error *compare(
	struct tp_recovery *recovery, const struct names *rows, const struct names *files)
{
	size_t row = 0;
	size_t file = 0;

	while (row < rows->n || file < files->n) {
		int order = row == rows->n     ? 1
			    : file == files->n ? -1
					       : strcmp(rows->names[row], files->names[file]);
		if (order < 0)
			TP_TRY(lose_image(recovery, rows->names[row]));
		else if (order > 0)
			add_stray(recovery, files->names[file]);
		row += order <= 0;
		file += order >= 0;
	}
	return NULL;
}

struct torpor_error *tp_recover_images(struct tp_recovery *recovery)
{
	struct names rows = {0};
	struct names files = {0};

	struct torpor_error *err =
		tp_records_image_names(recovery->service->records, collect, &rows);
	if (!err)
		err = read_files(recovery->service, &files);
	/* The records say in which order, but not by which rule. */
	if (!err && rows.n > 0)
		qsort(rows.names, rows.n, sizeof(*rows.names), by_name);
	if (!err)
		err = compare(recovery, &rows, &files);
	names_deinit(&rows);
	names_deinit(&files);
	return err;
}
