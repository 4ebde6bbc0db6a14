/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery's comparison of image files with their rows; guests are the integration tests'. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bare.h"
#include "base/fd.h"
#include "base/mem.h"
#include "service/recover_priv.h"

#define PARKED "parked0000000000"
#define OTHER  "other00000000000"

static char *dir;
static struct tp_service *service;
static struct tp_recovery recovery;

static void set_up(void)
{
	dir = bare_dir();
	service = bare_open(dir);
	recovery = (struct tp_recovery){.service = service, .change = tp_change_new()};
}

static void tear_down(void)
{
	for (size_t i = 0; i < recovery.n_strays; i++)
		free(recovery.strays[i]);
	free(recovery.strays);
	tp_change_free(recovery.change);
	bare_close(service);
	bare_remove_dir(dir);
}

TestSuite(recover, .init = set_up, .fini = tear_down);

static void put_file(const char *name)
{
	TP_FREE char *path = tp_asprintf("%s/images/%s", dir, name);
	TP_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, "image", 5), 5);
}

static void put_park(const char *id)
{
	bare_put_session(service, id, TP_DEFAULT_TENANT, "parked", "u");
	bare_put_image(service, id, id, TP_DEFAULT_TENANT, "park");
}

static bool is_stray(const char *name)
{
	for (size_t i = 0; i < recovery.n_strays; i++) {
		if (strcmp(recovery.strays[i], name) == 0)
			return true;
	}
	return false;
}

Test(recover, what_agrees_is_left_alone)
{
	put_park(PARKED);
	put_file(PARKED);
	bare_put_image(service, PARKED ".aaaa", PARKED, TP_DEFAULT_TENANT, "checkpoint");
	put_file(PARKED ".aaaa");
	must(tp_recover_images(&recovery));
	cr_assert_eq(recovery.n_strays, 0);
	cr_assert_not(recovery.changed);
}

Test(recover, a_parked_session_without_its_file_is_in_error)
{
	struct tp_session_row row;
	struct tp_image_row image;

	put_park(PARKED);
	put_park(OTHER);
	put_file(OTHER);
	must(tp_recover_images(&recovery));
	cr_assert_eq(recovery.n_strays, 0);
	must(tp_records_commit(service->records, TP_TAKE(recovery.change)));
	must(tp_records_session(service->records, NULL, PARKED, &row));
	cr_assert_str_eq(row.state, "error");
	cr_assert_str_eq(row.reason, "its image is gone");
	cr_assert_null(row.park_uuid);
	cr_assert_eq(row.park_bytes, 0);
	tp_session_row_deinit(&row);
	must_fail(tp_records_image(service->records, PARKED, &image), TORPOR_E_NOT_FOUND);
	must(tp_records_session(service->records, NULL, OTHER, &row));
	cr_assert_str_eq(row.state, "parked");
	tp_session_row_deinit(&row);
}

Test(recover, a_checkpoint_without_its_file_is_forgotten_alone)
{
	struct tp_session_row row;
	struct tp_image_row image;

	put_park(PARKED);
	put_file(PARKED);
	bare_put_image(service, PARKED ".aaaa", PARKED, TP_DEFAULT_TENANT, "checkpoint");
	must(tp_recover_images(&recovery));
	must(tp_records_commit(service->records, TP_TAKE(recovery.change)));
	must_fail(tp_records_image(service->records, PARKED ".aaaa", &image), TORPOR_E_NOT_FOUND);
	must(tp_records_session(service->records, NULL, PARKED, &row));
	cr_assert_str_eq(row.state, "parked");
	cr_assert_not_null(row.park_uuid);
	tp_session_row_deinit(&row);
}

/* A pid that no process has. */
static int dead_pid(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	return pid;
}

Test(recover, files_that_no_row_has_are_strays_if_they_are_ours)
{
	TP_FREE char *dead = tp_asprintf("fork-%d-1", dead_pid());
	TP_FREE char *alive = tp_asprintf("fork-%d-1", getppid());
	const char *const ours[] = {OTHER, OTHER ".aaaa", "zzzzzzzzzzzzzzzz", dead};
	const char *const not_ours[] = {"my-own-parked-session", "UPPERCASE0000000",
		"zzzzzzzzzzzzzzzzz", "notes.txt", alive};

	put_park(PARKED);
	put_file(PARKED);
	for (size_t i = 0; i < TP_ARRAY_LEN(ours); i++)
		put_file(ours[i]);
	for (size_t i = 0; i < TP_ARRAY_LEN(not_ours); i++)
		put_file(not_ours[i]);
	must(tp_recover_images(&recovery));
	cr_assert_eq(recovery.n_strays, TP_ARRAY_LEN(ours));
	for (size_t i = 0; i < TP_ARRAY_LEN(ours); i++)
		cr_assert(is_stray(ours[i]), "%s", ours[i]);
}

Test(recover, half_written_files_are_removed_on_the_way)
{
	TP_FREE char *path = tp_asprintf("%s/images/.%s.0123456789abcdef.part", dir, PARKED);

	put_park(PARKED);
	put_file(PARKED);
	put_file("." PARKED ".0123456789abcdef.part");
	must(tp_recover_images(&recovery));
	cr_assert_eq(access(path, F_OK), -1);
	cr_assert_eq(recovery.n_strays, 0);
	cr_assert_not(recovery.changed);
}

Test(recover, the_park_of_a_session_that_is_found_newer_is_no_stray)
{
	struct tp_found found[2] = {
		{.row.id = (char[]){OTHER}, .image = {.there = true, .newer = true}},
		{.row.id = (char[]){PARKED}, .image = {.there = true}},
	};

	recovery.found = found;
	recovery.n_found = 2;
	put_file(OTHER);
	put_file(PARKED);
	must(tp_recover_images(&recovery));
	cr_assert_not(is_stray(OTHER));
	cr_assert(is_stray(PARKED));
}

Test(recover, an_image_is_looked_at_for_what_it_is)
{
	struct tp_found_image image;

	tp_recover_look(service, PARKED, "u", &image);
	cr_assert_not(image.there);
	put_file(PARKED);
	tp_recover_look(service, PARKED, "u", &image);
	cr_assert(image.there);
	cr_assert_not(image.newer);
	cr_assert_not_null(image.damage);
	cr_assert_eq(image.bytes, 5);
	free(image.damage);
}

#define MANY 10000

Test(recover, ten_thousand_images_cost_one_pass)
{
	struct tp_change *change = tp_change_new();

	for (int i = 0; i < MANY; i++) {
		char id[TP_ID_LEN + 1];
		snprintf(id, sizeof(id), "s%015d", i);
		uint64_t now = tp_realtime_ns();
		struct tp_session_row row = {.id = id,
			.tenant = (char[]){TP_DEFAULT_TENANT},
			.name = id,
			.template_name = (char[]){"minimal"},
			.template_id = (char[]){"00"},
			.state = (char[]){"parked"},
			.labels = (char[]){"{}"},
			.env = (char[]){"{}"},
			.limits = (char[]){"{}"},
			.info = (char[]){"{}"},
			.park_uuid = id,
			.created_ns = now,
			.changed_ns = now};
		struct tp_image_row image = {.name = id,
			.session = id,
			.tenant = row.tenant,
			.kind = (char[]){"park"},
			.template_id = row.template_id,
			.created_ns = now};
		tp_change_put_session(change, &row);
		tp_change_put_image(change, &image);
		/* One in a thousand has lost its file, and none is to be opened. */
		TP_FREE char *path = tp_asprintf("%s/images/%s", dir, id);
		if (i % 1000 != 7)
			cr_assert_eq(mkfifo(path, 0), 0);
	}
	must(tp_records_commit(service->records, change));
	must(tp_recover_images(&recovery));
	cr_assert_eq(recovery.n_strays, 0);
	cr_assert_eq(recovery.failed, MANY / 1000);
}
