/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service comes up again after it was killed, with all that was acknowledged: a process that
 * serves is killed at some moment, and this one opens its state directory.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "serving.h"
#include "service/fault_points_recover.h"
#include "service/keeper.h"
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
	kill(serving_told->pids[0], SIGKILL);
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
	kill(serving_told->pids[0], SIGKILL);
	kill(serving_told->pids[1], SIGKILL);
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

/* --- what happens by itself --- */

TestSuite(keeper, .fini = serving_clean_up, .timeout = 500);

static const char *create_with(
	struct tp_service *service, const char *name, struct tp_timers timers)
{
	struct tp_create_spec spec = {.template_name = IT_TEMPLATE, .name = name, .timers = timers};
	struct tp_call call = tp_call_within(120 * TP_NSEC_PER_SEC);
	json_t *view;

	it_ok(tp_service_create(service, &serving_actor, &spec, &call, &view));
	return serving_keep_id(view);
}

Test(keeper, timers_park_and_destroy)
{
	struct tp_service *service = serving_open(serving_dir());
	const char *ends = create_with(service, "ends", (struct tp_timers){2, 0, 0});
	const char *idles = create_with(service, "idles", (struct tp_timers){0, 2, 0});
	const char *works = create_with(service, "works", (struct tp_timers){0, 2, 0});
	const char *kept = create_with(service, "kept", (struct tp_timers){0, 0, 2});

	/* Busy without being asked anything. */
	serving_run(service, works, "(while :; do :; done) > /dev/null 2>&1 &");
	serving_park(service, kept);
	serving_await_state(service, ends, "destroyed");
	serving_await_state(service, idles, "parked");
	serving_await_state(service, kept, "destroyed");
	serving_assert_state(service, works, "running");
	serving_end(service);
}

Test(keeper, a_guest_that_dies_is_restored)
{
	struct tp_service *service = serving_open(serving_dir());
	const char *id = serving_create(service, "dies");

	serving_run(service, id, "echo parked > /tmp/note");
	serving_park(service, id);
	serving_resume(service, id);
	serving_run(service, id, "echo later > /tmp/note");
	uint64_t after = tp_service_last_event(service);
	kill(serving_pid(service, id), SIGKILL);
	struct tp_call call = tp_call_within(120 * TP_NSEC_PER_SEC);
	const char *const states[] = {"parked", "resuming", "running"};
	for (size_t i = 0; i < TP_ARRAY_LEN(states); i++) {
		struct tp_event event;
		it_ok(tp_service_next_event(service, &serving_actor, id, after, &call, &event));
		cr_assert_str_eq(
			json_string_value(json_object_get(event.data, "state")), states[i]);
		after = event.id;
		json_decref(event.data);
	}
	cr_assert_str_eq(serving_run(service, id, "cat /tmp/note"), "parked");
	serving_end(service);
}

Test(keeper, a_deaf_guest_is_restored)
{
	struct tp_service_config config = serving_config(serving_dir());
	struct tp_service *service;

	config.health_every_ns = TP_NSEC_PER_SEC;
	it_ok(tp_service_open(&config, &service));
	const char *id = serving_create(service, "deaf");
	serving_run(service, id, "echo parked > /tmp/note");
	serving_park(service, id);
	serving_resume(service, id);
	int pid = serving_pid(service, id);
	cr_assert_eq(kill(pid, SIGSTOP), 0);
	uint64_t after = tp_service_last_event(service);
	struct tp_call call = tp_call_within(300 * TP_NSEC_PER_SEC);
	struct tp_event event;
	it_ok(tp_service_next_event(service, &serving_actor, id, after, &call, &event));
	json_decref(event.data);
	serving_await_state(service, id, "running");
	cr_assert_neq(serving_pid(service, id), pid);
	cr_assert_str_eq(serving_run(service, id, "cat /tmp/note"), "parked");
	serving_end(service);
}

static void write_meminfo(const char *path, unsigned int available_kib)
{
	TP_FREE char *next = tp_asprintf("%s.next", path);
	FILE *file = fopen(next, "we");

	cr_assert_not_null(file);
	fprintf(file, "MemTotal: 1000000 kB\nMemAvailable: %u kB\n", available_kib);
	fclose(file);
	cr_assert_eq(rename(next, path), 0);
}

Test(keeper, a_host_short_of_memory_parks_the_idlest)
{
	const char *dir = serving_dir();
	struct tp_service_config config = serving_config(dir);
	TP_FREE char *meminfo = tp_asprintf("%s/meminfo", dir);
	struct tp_service *service;

	config.memory_reserve = 100 * TP_MIB;
	write_meminfo(meminfo, 500000);
	it_ok(tp_service_open(&config, &service));
	tp_keeper_read_from(service->keeper, meminfo, "/nonexistent");
	const char *idlest = serving_create(service, "idlest");
	const char *used = serving_create(service, "used");
	serving_run(service, used, "true");
	uint64_t after = tp_service_last_event(service);
	write_meminfo(meminfo, 50000);
	/* The first that anything happens to. */
	struct tp_call call = tp_call_within(120 * TP_NSEC_PER_SEC);
	struct tp_event event = {.type = ""};
	do {
		it_ok(tp_service_next_event(service, &serving_actor, NULL, after, &call, &event));
		after = event.id;
		if (strcmp(event.type, "session") == 0)
			break;
		json_decref(event.data);
	} while (true);
	cr_assert_str_eq(json_string_value(json_object_get(event.data, "id")), idlest);
	cr_assert_str_eq(json_string_value(json_object_get(event.data, "state")), "parking");
	json_decref(event.data);
	write_meminfo(meminfo, 500000);
	serving_await_state(service, idlest, "parked");
	serving_end(service);
}

/* --- templates and stock --- */

TestSuite(stock, .fini = serving_clean_up, .timeout = 200);

static const char *text_of(const json_t *view, const char *key)
{
	const char *text = json_string_value(json_object_get(view, key));

	return text ? text : "";
}

static struct tp_actor admin(void)
{
	struct tp_actor actor = serving_actor;

	actor.admin = true;
	return actor;
}

static json_t *template_view(struct tp_service *service, const char *name)
{
	json_t *view;

	it_ok(tp_service_template(service, &serving_actor, name, &view));
	return view;
}

/* Waits until so many warm guests wait. */
static void await_warm(struct tp_service *service, unsigned int warm)
{
	struct tp_call call = tp_call_within(120 * TP_NSEC_PER_SEC);

	for (;;) {
		uint64_t after = tp_service_last_event(service);
		struct tp_supply_view view;
		struct tp_event event;
		if (tp_supply_view(service->supply, IT_TEMPLATE, &view) && view.stock.warm >= warm)
			return;
		it_ok(tp_service_next_event(service, &serving_actor, NULL, after, &call, &event));
		json_decref(event.data);
	}
}

static int oom_score_of(int pid)
{
	TP_FREE char *path = tp_asprintf("/proc/%d/oom_score_adj", pid);
	FILE *file = fopen(path, "re");
	int score = -1;

	cr_assert_not_null(file);
	cr_assert_eq(fscanf(file, "%d", &score), 1);
	fclose(file);
	return score;
}

/* The next event about the pool: told after the kernel was. */
static void await_pool_event(struct tp_service *service, uint64_t after)
{
	struct tp_call call = tp_call_within(120 * TP_NSEC_PER_SEC);
	struct tp_event event = {.type = ""};

	while (strcmp(event.type, "pool") != 0) {
		it_ok(tp_service_next_event(service, &serving_actor, NULL, after, &call, &event));
		after = event.id;
		json_decref(event.data);
	}
}

/* Something is said about another template: then those of which nothing is said wait for a session.
 */
static struct tp_service *open_with_another(void)
{
	struct tp_service_config config = serving_config(serving_dir());
	struct tp_template_config other = {.name = (char[]){"other"}, .policy = config.policy};
	struct tp_service *service;

	other.policy.warm_min = other.policy.shells_min = 0;
	config.templates = &other;
	config.n_templates = 1;
	it_ok(tp_service_open(&config, &service));
	return service;
}

Test(stock, is_used_counted_and_ended_with_the_template)
{
	struct tp_actor host = admin();
	struct tp_service *service = open_with_another();

	TP_JSON json_t *stored = template_view(service, IT_TEMPLATE);
	cr_assert_str_eq(text_of(stored, "state"), "stored");
	const char *first = serving_create(service, "first");
	TP_JSON json_t *ready = template_view(service, IT_TEMPLATE);
	cr_assert_str_eq(text_of(ready, "state"), "ready");
	await_warm(service, 1);
	uint64_t after = tp_service_last_event(service);
	const char *second = serving_create(service, "second");
	TP_JSON json_t *view = serving_get(service, second);
	cr_assert_str_eq(text_of(view, "source"), "warm");
	await_pool_event(service, after);
	cr_assert_eq(oom_score_of(serving_pid(service, first)), 300);
	cr_assert_eq(oom_score_of(serving_pid(service, second)), 300);

	json_t *pool;
	it_ok(tp_service_pool(service, &serving_actor, &pool));
	cr_assert_null(json_object_get(pool, "host"), "this is the admin's");
	json_decref(pool);
	it_ok(tp_service_pool(service, &host, &pool));
	json_t *sessions = json_object_get(json_object_get(pool, "host"), "sessions");
	cr_assert_eq(json_integer_value(json_object_get(sessions, "running")), 2);
	json_t *memory = json_object_get(json_object_get(pool, "host"), "memory");
	cr_assert_eq(json_integer_value(json_object_get(memory, "bases_bytes")) / (256 << 20), 1);
	json_t *served =
		json_object_get(json_array_get(json_object_get(pool, "templates"), 0), "served");
	cr_assert_geq(json_integer_value(json_object_get(served, "warm")), 1);
	json_decref(pool);

	it_fails(tp_service_remove_template(service, &host, IT_TEMPLATE, false), TORPOR_E_BUSY);
	it_fails(tp_service_remove_template(service, &serving_actor, IT_TEMPLATE, true),
		TORPOR_E_DENIED);
	it_fails(tp_service_remove_template(service, &host, "nothing", false), TORPOR_E_NOT_FOUND);
	serving_end(service);
}

Test(stock, is_let_go_when_nobody_needed_it_for_long)
{
	struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
	struct tp_service *service = open_with_another();
	const char *id = serving_create(service, "only");
	uint64_t later = tp_now_ns() + 2 * TP_TEMPLATE_IDLE_NS;

	tp_templates_release(service, later);
	TP_JSON json_t *needed = template_view(service, IT_TEMPLATE);
	cr_assert_str_eq(text_of(needed, "state"), "ready");
	it_ok(tp_service_destroy(service, &serving_actor, id, &call));
	tp_templates_release(service, later + 2 * TP_TEMPLATE_IDLE_NS);
	TP_JSON json_t *left = template_view(service, IT_TEMPLATE);
	cr_assert_str_eq(text_of(left, "state"), "stored");
	struct tp_admission_view admission;
	tp_admission_view(service->admission, &admission);
	cr_assert_eq(admission.bases, 0);
	serving_create(service, "again");
	serving_end(service);
}

static void *use_template(void *data)
{
	struct tp_call call = tp_call_within(120 * TP_NSEC_PER_SEC);
	struct torpor_template *tmpl = NULL;

	it_ok(tp_template_use(data, IT_TEMPLATE, &call, &tmpl));
	return tmpl;
}

Test(stock, two_at_once_fill_the_base_once)
{
	struct tp_service *service = serving_open(serving_dir());
	pthread_t threads[4];
	void *tmpl[4];

	for (size_t i = 0; i < TP_ARRAY_LEN(threads); i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, use_template, service), 0);
	for (size_t i = 0; i < TP_ARRAY_LEN(threads); i++)
		pthread_join(threads[i], &tmpl[i]);
	for (size_t i = 0; i < TP_ARRAY_LEN(threads); i++) {
		cr_assert_eq(tmpl[i], tmpl[0]);
		torpor_template_close(tmpl[i]);
	}
	struct tp_admission_view admission;
	tp_admission_view(service->admission, &admission);
	cr_assert_lt(admission.bases, 300 * TP_MIB);
	serving_end(service);
}

Test(stock, configured_templates_are_waited_for_by_readyz_alone)
{
	struct tp_service_config config = serving_config(serving_dir());
	struct tp_template_config templates[] = {
		{.name = (char[]){IT_TEMPLATE}, .policy = config.policy},
		{.name = (char[]){"missing"}, .policy = config.policy},
	};
	const struct tp_timers unset = {TP_UNSET, TP_UNSET, TP_UNSET};
	struct tp_service *service;

	templates[0].timers = templates[1].timers = unset;
	config.templates = templates;
	config.n_templates = 2;
	it_ok(tp_service_open(&config, &service));
	await_warm(service, 1);
	/* Whether it was tried by now or not. */
	TP_FREE char *missing = tp_service_not_ready(service);
	cr_assert_not_null(missing);
	cr_assert_not_null(strstr(missing, "missing"), "%s", missing);
	cr_assert_null(strstr(missing, IT_TEMPLATE), "%s", missing);
	config.n_templates = 1;
	it_ok(tp_service_reload(service, &config));
	cr_assert_null(tp_service_not_ready(service));
	config.queue_max++;
	it_fails(tp_service_reload(service, &config), TORPOR_E_INVALID);
	config.queue_max--;
	config.refill_every++;
	it_fails(tp_service_reload(service, &config), TORPOR_E_INVALID);
	config.refill_every--;
	config.engine.deaf_after_ns++;
	it_fails(tp_service_reload(service, &config), TORPOR_E_INVALID);
	config.engine.deaf_after_ns--;
	config.ask_every_ns++;
	it_fails(tp_service_reload(service, &config), TORPOR_E_INVALID);
	tp_service_drain(service);
	TP_FREE char *draining = tp_service_not_ready(service);
	cr_assert_not_null(draining);
	serving_end(service);
}

static void note_progress(void *data, const char *stage, const char *line)
{
	(void)line;
	*(bool *)data = *(bool *)data || strcmp(stage, "boot") == 0;
}

Test(stock, a_template_is_built_used_and_removed)
{
	const char *dir = serving_dir();
	TP_FREE char *templates = tp_asprintf("%s/templates", dir);
	TP_FREE char *kernel = tp_asprintf("%s/vmlinuz", it_guest_dir());
	TP_FREE char *initrd = tp_asprintf("%s/initrd.img", it_guest_dir());
	struct torpor_template_spec spec = {
		.name = "built", .kernel = kernel, .initrd = initrd, .memory = 128 * TP_MIB};
	struct tp_call call = tp_call_within(300 * TP_NSEC_PER_SEC);
	struct tp_actor host = admin();
	struct tp_actor alice = serving_actor;
	bool booted = false;
	json_t *view;

	/* Templates of its own: others' aren't to be seen going. */
	cr_assert_eq(unlink(templates), 0);
	struct tp_service *service = serving_open(dir);
	it_fails(tp_service_build_template(service, &alice, &spec, NULL, NULL, &call, &view),
		TORPOR_E_DENIED);
	it_ok(tp_service_build_template(
		service, &host, &spec, note_progress, &booted, &call, &view));
	cr_assert(booted);
	cr_assert_str_eq(text_of(view, "state"), "ready");
	json_decref(view);
	it_fails(tp_service_build_template(service, &host, &spec, NULL, NULL, &call, &view),
		TORPOR_E_EXISTS);
	struct tp_create_spec create = {
		.template_name = "built", .timers = {TP_UNSET, TP_UNSET, TP_UNSET}};
	it_ok(tp_service_create(service, &serving_actor, &create, &call, &view));
	TP_FREE char *id = tp_strdup(text_of(view, "id"));
	json_decref(view);
	it_fails(tp_service_remove_template(service, &host, "built", false), TORPOR_E_BUSY);
	it_ok(tp_service_destroy(service, &serving_actor, id, &call));
	it_ok(tp_service_remove_template(service, &host, "built", false));
	it_fails(tp_service_template(service, &host, "built", &view), TORPOR_E_NOT_FOUND);
	serving_end(service);
}
