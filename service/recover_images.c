/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image files against their rows.
 *
 * All parked sessions together cost one pass over the names of the rows, and one over those of the
 * files, which is also the sweep of half-written ones; neither is sorted. A file is opened only
 * where the record can be behind it: of a session that is recorded as having a process, which may
 * have been killed in a park between the file's rename and the commit.
 */
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
#include "service/names.h"
#include "service/recover_priv.h"
#include "storage/image_writer.h"

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

struct comparison {
	struct tp_recovery *recovery;
	struct tp_names rows; /* of the images; taken: there is a file */
};

static struct torpor_error *add_row(void *data, const char *name)
{
	struct comparison *comparison = data;

	tp_names_add(&comparison->rows, name);
	return NULL;
}

static void see_file(void *data, const char *name)
{
	struct comparison *comparison = data;

	if (!tp_names_take(&comparison->rows, name))
		add_stray(comparison->recovery, name);
}

static struct torpor_error *see_files(struct comparison *comparison)
{
	TP_FREE char *path = tp_asprintf("%s/images", comparison->recovery->service->state_dir);
	TP_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return tp_error_errno(errno, "list", path);
	return tp_error_in(tp_image_sweep(fd, see_file, comparison, NULL), "list", path);
}

struct torpor_error *tp_recover_images(struct tp_recovery *recovery)
{
	struct comparison comparison = {.recovery = recovery};
	struct tp_names *rows = &comparison.rows;

	struct torpor_error *err =
		tp_records_image_names(recovery->service->records, add_row, &comparison);
	if (!err)
		err = see_files(&comparison);
	for (const char *name = NULL; !err && (name = tp_names_next_left(rows, name));)
		err = lose_image(recovery, name);
	tp_names_deinit(rows);
	return err;
}
