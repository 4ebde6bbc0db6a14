/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service comes up again after it was killed, with all that was acknowledged: a process that
 * serves is killed at some moment, and this one opens its state directory.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "serving.h"
#include "service/fault_points_recover.h"
#include "service/templates.h"

TestSuite(recover, .fini = serving_clean_up, .timeout = 500);

#define COUNTER "(while :; do echo x >> /tmp/count; sleep 0.1; done) > /dev/null 2>&1 &"
/* Succeeds once the counter has gone on. */
#define GOES_ON                                                                                    \
	"n=$(wc -l < /tmp/count); while [ $(wc -l < /tmp/count) -le $n ]; do sleep 0.1; done"

enum { RUNNING, PAUSED, PARKED };

static void pause_it(struct tp_service *service, const char *id)
{
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
	json_t *view;

	it_ok(tp_service_pause(service, &serving_actor, id, &call, &view));
	json_decref(view);
}

static void unpause_it(struct tp_service *service, const char *id)
{
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
	json_t *view;

	it_ok(tp_service_unpause(service, &serving_actor, id, &call, &view));
	json_decref(view);
}

static void checkpoint_it(struct tp_service *service, const char *id, const char *label)
{
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
	json_t *view;

	it_ok(tp_service_checkpoint(service, &serving_actor, id, label, &call, &view));
	json_decref(view);
}

/* One of each, the running one with a checkpoint. */
static void one_of_each(struct tp_service *service)
{
	const char *running = serving_create(service, "running");
	const char *paused = serving_create(service, "paused");
	const char *parked = serving_create(service, "parked");

	serving_run(service, running, COUNTER);
	serving_run(service, parked, "echo remembered > /tmp/note");
	checkpoint_it(service, running, "before");
	pause_it(service, paused);
	serving_park(service, parked);
	serving_tell(service, running);
	serving_tell(service, paused);
	serving_tell(service, parked);
}

static const char *told(int which)
{
	return serving_told->ids[which];
}

static unsigned int files_in_images(const char *dir)
{
	TP_FREE char *path = tp_asprintf("%s/images", dir);
	DIR *images = opendir(path);
	unsigned int n = 0;

	while (readdir(images))
		n++;
	closedir(images);
	return n - 2;
}

/* All that one_of_each made, in every respect. */
static void assert_as_it_was(struct tp_service *service)
{
	serving_assert_state(service, told(RUNNING), "running");
	serving_assert_state(service, told(PAUSED), "paused");
	serving_assert_state(service, told(PARKED), "parked");
	cr_assert_eq(serving_pid(service, told(RUNNING)), serving_told->pids[RUNNING]);
	cr_assert_eq(serving_pid(service, told(PAUSED)), serving_told->pids[PAUSED]);
	serving_run(service, told(RUNNING), GOES_ON);
	unpause_it(service, told(PAUSED));
	cr_assert_str_eq(serving_run(service, told(PAUSED), "hostname"), "paused");
	serving_resume(service, told(PARKED));
	cr_assert_str_eq(serving_run(service, told(PARKED), "cat /tmp/note"), "remembered");
}

static void assert_base_was_taken_back(struct tp_service *service)
{
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
	struct torpor_template_info info;
	struct torpor_template *tmpl;

	it_ok(tp_template_use(service, IT_TEMPLATE, &call, &tmpl));
	it_ok(torpor_template_info(tmpl, &info));
	cr_assert_eq(info.fill_ns, 0, "the base was filled anew");
	torpor_template_close(tmpl);
}

Test(recover, all_is_as_it_was)
{
	const char *dir = serving_dir();

	serving_kill_after(dir, NULL, one_of_each);
	cr_assert_geq(serving_guests(dir), 2);
	struct tp_service *service = serving_open(dir);
	struct tp_admission_view admission;
	tp_admission_view(service->admission, &admission);
	cr_assert_eq(admission.sessions, 2);
	assert_base_was_taken_back(service);
	cr_assert_eq(files_in_images(dir), 2, "the park and the checkpoint");
	assert_as_it_was(service);
	serving_end(service);
	cr_assert_eq(files_in_images(dir), 0);
}

/* The second is recorded, but its guest isn't known to be fresh yet. */
static void two_in_a_row(struct tp_service *service)
{
	serving_tell(service, serving_create(service, "first"));
	serving_create(service, "second");
}

Test(recover, where_a_guest_came_from_and_what_it_confirmed_is_known)
{
	const char *dir = serving_dir();
	struct tp_list_filter filter = {.match = "second", .limit = 1};
	json_t *list;

	serving_kill_after(dir, "create.committed:2", two_in_a_row);
	struct tp_service *service = serving_open(dir);
	TP_JSON json_t *first = serving_get(service, told(0));
	cr_assert_not(json_is_null(json_object_get(first, "source")));
	cr_assert_eq(json_array_size(json_object_get(first, "fresh")), 4,
		"it went along with the commit of the second");
	it_ok(tp_service_list(service, &serving_actor, &filter, &list));
	const json_t *second = json_array_get(json_object_get(list, "sessions"), 0);
	cr_assert_str_eq(json_string_value(json_object_get(second, "state")), "running");
	cr_assert_not(json_is_null(json_object_get(second, "source")));
	cr_assert_eq(json_array_size(json_object_get(second, "fresh")), 0);
	json_decref(list);
	serving_end(service);
}

Test(recover, closing_keeps_guests_too)
{
	const char *dir = serving_dir();
	struct tp_service *service = serving_open(dir);
	const char *id = serving_create(service, "kept");

	serving_run(service, id, COUNTER);
	int pid = serving_pid(service, id);
	tp_service_close(service);
	cr_assert_eq(serving_guests(dir), 1, "the session's, and nothing that waited");
	service = serving_open(dir);
	cr_assert_eq(serving_pid(service, id), pid);
	serving_run(service, id, GOES_ON);
	serving_end(service);
}

Test(recover, closing_parks_where_that_is_wanted)
{
	const char *dir = serving_dir();
	struct tp_service_config config = serving_config(dir);
	struct tp_service *service;

	config.park_on_stop = true;
	it_ok(tp_service_open(&config, &service));
	const char *id = serving_create(service, "stopped");
	serving_run(service, id, "echo remembered > /tmp/note");
	tp_service_close(service);
	cr_assert_eq(serving_guests(dir), 0);
	service = serving_open(dir);
	serving_assert_state(service, id, "parked");
	serving_resume(service, id);
	cr_assert_str_eq(serving_run(service, id, "cat /tmp/note"), "remembered");
	serving_end(service);
}

Test(recover, one_service_at_a_time)
{
	const char *dir = serving_dir();
	struct tp_service_config config = serving_config(dir);
	struct tp_service *service = serving_open(dir);
	struct tp_service *other;
	const char *id = serving_create(service, "mine");

	it_fails(tp_service_open(&config, &other), TORPOR_E_BUSY);
	cr_assert_str_eq(serving_run(service, id, "hostname"), "mine");
	serving_end(service);
}

/* As if it was killed while it started a guest: a child has its locks a moment longer. */
static void leave_locks(struct tp_service *service)
{
	(void)service;
	if (fork() == 0) {
		poll(NULL, 0, 200);
		_exit(0);
	}
}

Test(recover, the_locks_of_a_killed_one_are_waited_for)
{
	const char *dir = serving_dir();

	serving_kill_after(dir, NULL, leave_locks);
	serving_end(serving_open(dir));
}

/* --- recovery that is killed itself --- */

static void nothing(struct tp_service *service)
{
	(void)service;
}

#define NAME(name, what) name,

Test(recover, may_be_killed_at_each_step, .timeout = 900)
{
	static const char *const points[] = {TP_FAULT_POINTS_RECOVER(NAME)};
	const char *dir = serving_dir();

	serving_kill_after(dir, NULL, one_of_each);
	struct serving_told left = *serving_told;
	for (size_t i = 0; i < TP_ARRAY_LEN(points); i++)
		serving_kill_after(dir, points[i], nothing);
	*serving_told = left;
	struct tp_service *service = serving_open(dir);
	assert_as_it_was(service);
	serving_end(service);
}

/* --- a park between rename and commit --- */

static void park_again(struct tp_service *service)
{
	const char *id = serving_create(service, "between");

	serving_run(service, id, "echo first > /tmp/note");
	serving_park(service, id);
	serving_resume(service, id);
	serving_run(service, id, "echo second > /tmp/note; sync");
	serving_tell(service, id);
	serving_park(service, id);
}

static void assert_image_is_recorded(struct tp_service *service, const char *dir, const char *id)
{
	TP_FREE char *path = tp_asprintf("%s/images/%s", dir, id);
	struct torpor_image_info info;
	struct tp_session_row row;
	struct tp_image_row image;

	it_ok(torpor_image_inspect(path, NULL, &info));
	it_ok(tp_records_session(service->records, NULL, id, &row));
	it_ok(tp_records_image(service->records, id, &image));
	cr_assert_str_eq(row.park_uuid, info.uuid);
	cr_assert_eq(row.park_bytes, info.file_bytes);
	cr_assert_eq(image.bytes, info.file_bytes);
	torpor_image_info_deinit(&info);
	tp_session_row_deinit(&row);
	tp_image_row_deinit(&image);
}

Test(recover, a_park_that_was_not_recorded_is_taken_back)
{
	const char *dir = serving_dir();

	serving_kill_after(dir, "park.durable:2", park_again);
	struct tp_service *service = serving_open(dir);
	serving_assert_state(service, told(0), "running");
	cr_assert_eq(serving_pid(service, told(0)), serving_told->pids[0]);
	cr_assert_str_eq(serving_run(service, told(0), "cat /tmp/note"), "second");
	assert_image_is_recorded(service, dir, told(0));
	serving_end(service);
}

Test(recover, a_park_that_was_not_recorded_is_used_if_the_guest_died)
{
	const char *dir = serving_dir();

	serving_kill_after(dir, "park.durable:2", park_again);
	serving_kill_guest(serving_told->pids[0]);
	struct tp_service *service = serving_open(dir);
	serving_assert_state(service, told(0), "parked");
	assert_image_is_recorded(service, dir, told(0));
	TP_JSON json_t *view = serving_get(service, told(0));
	cr_assert(json_is_null(json_object_get(view, "reason")), "nothing is lost");
	serving_resume(service, told(0));
	cr_assert_str_eq(serving_run(service, told(0), "cat /tmp/note"), "second");
	serving_end(service);
}

Test(recover, a_park_that_was_recorded_is_one)
{
	const char *dir = serving_dir();

	serving_kill_after(dir, "park.committed:2", park_again);
	struct tp_service *service = serving_open(dir);
	serving_assert_state(service, told(0), "parked");
	cr_assert_not(serving_runs(serving_told->pids[0]), "its guest is nobody's, and runs");
	serving_resume(service, told(0));
	cr_assert_str_eq(serving_run(service, told(0), "cat /tmp/note"), "second");
	serving_end(service);
}

/* --- guests that died meanwhile --- */

static void with_and_without_image(struct tp_service *service)
{
	const char *with = serving_create(service, "with");
	const char *without = serving_create(service, "without");

	serving_run(service, with, "echo parked > /tmp/note");
	serving_park(service, with);
	serving_resume(service, with);
	serving_run(service, with, "echo later > /tmp/note");
	serving_tell(service, with);
	serving_tell(service, without);
}

static void assert_reason(struct tp_service *service, const char *id, const char *state)
{
	TP_JSON json_t *view = serving_get(service, id);

	serving_assert_state(service, id, state);
	cr_assert_not_null(json_string_value(json_object_get(view, "reason")));
}

Test(recover, a_guest_that_died_is_as_it_was_parked_last)
{
	const char *dir = serving_dir();

	serving_kill_after(dir, NULL, with_and_without_image);
	serving_kill_guest(serving_told->pids[0]);
	serving_kill_guest(serving_told->pids[1]);
	struct tp_service *service = serving_open(dir);
	assert_reason(service, told(0), "parked");
	assert_reason(service, told(1), "error");
	serving_resume(service, told(0));
	cr_assert_str_eq(serving_run(service, told(0), "cat /tmp/note"), "parked");
	serving_end(service);
}

/* --- files --- */

static void put_file(const char *dir, const char *name)
{
	TP_FREE char *path = tp_asprintf("%s/images/%s", dir, name);
	TP_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
}

static bool has_file(const char *dir, const char *name)
{
	TP_FREE char *path = tp_asprintf("%s/images/%s", dir, name);

	return access(path, F_OK) == 0;
}

static void remove_file(const char *dir, const char *name)
{
	TP_FREE char *path = tp_asprintf("%s/images/%s", dir, name);

	cr_assert_eq(unlink(path), 0);
}

Test(recover, files_and_rows_come_to_agree)
{
	const char *dir = serving_dir();

	serving_kill_after(dir, NULL, one_of_each);
	remove_file(dir, told(PARKED));
	TP_FREE char *stray = tp_asprintf("%s.stray", told(RUNNING));
	put_file(dir, stray);
	put_file(dir, "zzzzzzzzzzzzzzzz");
	put_file(dir, "somebody-elses");
	struct tp_service *service = serving_open(dir);
	assert_reason(service, told(PARKED), "error");
	cr_assert_not(has_file(dir, stray));
	cr_assert_not(has_file(dir, "zzzzzzzzzzzzzzzz"));
	cr_assert(has_file(dir, "somebody-elses"));
	serving_assert_state(service, told(RUNNING), "running");
	serving_end(service);
}
