/* SPDX-License-Identifier: Apache-2.0 */
/* The life of sessions in the service, with real guests: every way through it once, by two tenants.
 */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "service/service_priv.h"
#include "support.h"

static struct tp_service *service;
static struct tp_actor alice = {.tenant = "alice", .how = "token a", .perms = TP_PERM_ALL};
static struct tp_actor bob = {.tenant = "bob", .how = "token b", .perms = TP_PERM_ALL};
static struct tp_call forever;

static void make_tenant(const char *name)
{
	struct tp_actor admin = tp_actor_self(TP_DEFAULT_TENANT);
	TP_JSON json_t *body = json_object();
	json_t *tenant = NULL;

	struct torpor_error *err =
		tp_service_put_tenant(service, &admin, name, true, body, &tenant);
	if (err)
		cr_assert_eq(torpor_error_code(err), TORPOR_E_EXISTS);
	torpor_error_free(err);
	json_decref(tenant);
}

/* What an earlier test left when it failed is not this one's: guests that no record has are ended.
 */
static void forget_records(const char *state_dir)
{
	static const char *const files[] = {
		TP_RECORDS_NAME, TP_RECORDS_NAME "-wal", TP_RECORDS_NAME "-shm", TP_AUDIT_NAME};

	for (size_t i = 0; i < TP_ARRAY_LEN(files); i++) {
		TP_FREE char *path = tp_asprintf("%s/%s", state_dir, files[i]);
		unlink(path);
	}
}

static void open_service(void)
{
	struct tp_service_config config;

	struct torpor_engine *engine = it_open();
	TP_FREE char *state_dir = tp_strdup(torpor_engine_state_dir(engine));
	torpor_engine_close(engine);
	tp_service_config_init(&config);
	config.engine.state_dir = state_dir;
	config.policy.warm_min = 1;
	config.policy.warm_max = 2;
	config.health_every_ns = 0;
	forever = tp_call_within(TP_NO_DEADLINE);
	it_ok(tp_service_open(&config, &service));
	make_tenant(alice.tenant);
	make_tenant(bob.tenant);
}

static unsigned int files_in_images(void)
{
	TP_FREE char *path = tp_asprintf("%s/images", torpor_engine_state_dir(service->engine));
	DIR *dir = opendir(path);
	unsigned int n = 0;

	cr_assert_not_null(dir);
	for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* What a test leaves is nothing. */
static void close_service(void)
{
	struct tp_admission_view view;
	struct tp_usage usage;

	tp_admission_view(service->admission, &view);
	cr_expect_eq(view.sessions, 0);
	it_ok(tp_records_usage(service->records, NULL, &usage));
	cr_expect_eq(usage.sessions, 0);
	cr_expect_eq(usage.image_bytes, 0);
	cr_expect_eq(files_in_images(), 0);
	tp_service_close(service);
}

static void begin(void)
{
	struct torpor_engine *engine = it_open();

	forget_records(torpor_engine_state_dir(engine));
	torpor_engine_close(engine);
	open_service();
}

TestSuite(service, .init = begin, .fini = close_service);

/* --- Short ways --- */

static const char *text(const json_t *view, const char *key)
{
	return json_string_value(json_object_get(view, key));
}

static json_t *create(const struct tp_actor *actor, const char *name)
{
	TP_JSON json_t *env = json_pack("{s:s}", "GREETING", "hello there");
	struct tp_create_spec spec = {.template_name = IT_TEMPLATE,
		.name = name,
		.env = env,
		.timers = {TP_UNSET, TP_UNSET, TP_UNSET}};
	json_t *view;

	it_ok(tp_service_create(service, actor, &spec, &forever, &view));
	cr_assert_str_eq(text(view, "state"), "running");
	return view;
}

static char *create_id(const struct tp_actor *actor, const char *name)
{
	TP_JSON json_t *view = create(actor, name);

	return tp_strdup(text(view, "id"));
}

static void gather(void *data, int stream, const void *bytes, size_t len)
{
	(void)stream;
	strncat(data, bytes, len);
}

/* Runs SCRIPT, which must succeed; what it printed, valid until the next call. */
static const char *run(const char *id, const char *script)
{
	static char out[4096];
	const char *argv[] = {"/bin/sh", "-c", script, NULL};
	struct tp_exec_spec spec = {.argv = argv, .stdin_fd = -1, .output = gather, .data = out};
	struct torpor_exec_result result;

	out[0] = '\0';
	it_ok(tp_service_exec(service, &alice, id, &spec, &forever, &result));
	cr_assert(result.exited && result.status == 0, "%s: %d: %s", script, result.status, out);
	out[strcspn(out, "\n")] = '\0';
	return out;
}

/* Does CALL, which gives a view, and expects that state. */
#define moves_to(wanted, call)                                                                     \
	do {                                                                                       \
		json_t *view = NULL;                                                               \
		it_ok(call);                                                                       \
		cr_expect_str_eq(text(view, "state"), wanted, "%s", #call);                        \
		json_decref(view);                                                                 \
	} while (0)

static void park(const char *id)
{
	moves_to("parked", tp_service_park(service, &alice, id, &forever, &view));
}

static void resume(const char *id)
{
	moves_to("running", tp_service_resume(service, &alice, id, &forever, &view));
}

static void destroy(const char *id)
{
	it_ok(tp_service_destroy(service, &alice, id, &forever));
}

/* --- Lives --- */

Test(service, a_session_lives)
{
	TP_JSON json_t *created = create(&alice, "my_first");
	const char *id = text(created, "id");
	TP_JSON json_t *shown = NULL;

	cr_expect_eq(json_array_size(json_object_get(created, "fresh")), 4);
	cr_expect_not_null(json_object_get(json_object_get(created, "timing"), "ready_ms"));
	cr_expect_str_eq(run(id, "hostname"), "my-first");
	cr_expect_str_eq(run(id, "echo $GREETING"), "hello there");
	run(id, "echo kept > /run/state");
	moves_to("paused", tp_service_pause(service, &alice, id, &forever, &view));
	moves_to("parked", tp_service_park(service, &alice, id, &forever, &view));
	resume(id);
	cr_expect_str_eq(run(id, "cat /run/state"), "kept");
	moves_to("paused", tp_service_pause(service, &alice, id, &forever, &view));
	moves_to("running", tp_service_unpause(service, &alice, id, &forever, &view));
	it_ok(tp_service_get(service, &alice, id, &shown));
	const json_t *guest = json_object_get(shown, "guest");
	cr_expect_gt(json_integer_value(json_object_get(guest, "resident_bytes")), 0);
	cr_expect_gt(json_integer_value(json_object_get(guest, "private_bytes")), 0);
	destroy(id);
	json_t *gone = NULL;
	it_fails(tp_service_get(service, &alice, id, &gone), TORPOR_E_NOT_FOUND);
}

Test(service, a_session_is_as_it_was_before_the_service_was_opened_anew)
{
	TP_FREE char *running = create_id(&alice, "running");
	TP_FREE char *parked = create_id(&alice, "parked");

	run(running, "echo kept > /run/state");
	park(parked);
	tp_service_close(service);
	open_service();
	cr_expect_str_eq(run(running, "cat /run/state"), "kept");
	park(running);
	resume(running);
	resume(parked);
	destroy(running);
	destroy(parked);
}

Test(service, forks_come_from_a_guest_a_park_and_a_checkpoint)
{
	TP_FREE char *id = create_id(&alice, "source");
	struct tp_fork_spec spec = {.count = 2, .timers = {TP_UNSET, TP_UNSET, TP_UNSET}};
	json_t *views[3] = {0};

	run(id, "echo checkpoint > /run/state");
	moves_to("running", tp_service_checkpoint(service, &alice, id, "early", &forever, &view));
	run(id, "echo running > /run/state");
	it_ok(tp_service_fork(service, &alice, id, &spec, &forever, &views[0]));
	run(id, "echo parked > /run/state");
	park(id);
	it_ok(tp_service_fork(service, &alice, id, &spec, &forever, &views[1]));
	spec.image = "early";
	it_ok(tp_service_fork(service, &alice, id, &spec, &forever, &views[2]));
	static const char *const states[] = {"running", "parked", "checkpoint"};
	for (size_t i = 0; i < TP_ARRAY_LEN(views); i++) {
		size_t j;
		json_t *one;
		json_array_foreach (json_object_get(views[i], "sessions"), j, one) {
			const char *fork = text(one, "id");
			cr_expect_str_eq(run(fork, "cat /run/state"), states[i]);
			cr_expect_str_eq(run(fork, "hostname"), text(one, "name"));
			cr_expect_str_eq(text(one, "forked_from"), id);
			destroy(fork);
		}
		cr_expect_eq(j, 2);
		json_decref(views[i]);
	}
	destroy(id);
}

/* --- A park that is cancelled --- */

struct parking {
	const char *id;
	struct torpor_error *err;
};

static void *park_in_background(void *data)
{
	struct parking *parking = data;
	json_t *view = NULL;

	parking->err = tp_service_park(service, &alice, parking->id, &forever, &view);
	json_decref(view);
	return NULL;
}

Test(service, a_cancelled_park_leaves_the_guest_running_or_comes_too_late)
{
	TP_FREE char *id = create_id(&alice, "s");
	unsigned int cancelled = 0;

	run(id, "head -c 50000000 /dev/urandom > /run/much");
	for (unsigned int i = 0; i < 8; i++) {
		struct parking parking = {.id = id};
		pthread_t thread;
		pthread_create(&thread, NULL, park_in_background, &parking);
		struct torpor_error *err;
		do {
			err = tp_service_cancel_park(service, &alice, id);
			bool busy = err && torpor_error_code(err) == TORPOR_E_BUSY;
			struct tp_live *live = tp_live_peek(service, id);
			bool parked = !live || live->state == TP_STATE_PARKED;
			if (live)
				tp_live_put(service, live);
			if (!busy || parked)
				break;
			torpor_error_free(err);
		} while (true);
		pthread_join(thread, NULL);
		/* Whoever was told that it is cancelled finds it running. */
		if (!err) {
			cr_assert_not_null(parking.err);
			cr_expect_eq(torpor_error_code(parking.err), TORPOR_E_CANCELLED, "%s",
				torpor_error_message(parking.err));
			cancelled++;
		} else {
			cr_assert_null(parking.err);
			resume(id);
		}
		torpor_error_free(err);
		torpor_error_free(parking.err);
		run(id, "true");
	}
	cr_expect_gt(cancelled, 0, "never in time");
	destroy(id);
}

/* --- Two tenants --- */

Test(service, tenants_do_not_see_each_other)
{
	TP_FREE char *id = create_id(&alice, "same");
	TP_FREE char *his = create_id(&bob, "same");
	struct tp_list_filter filter = {.limit = 100};
	TP_JSON json_t *list = NULL;
	json_t *view = NULL;

	it_fails(tp_service_park(service, &bob, id, &forever, &view), TORPOR_E_NOT_FOUND);
	it_fails(tp_service_destroy(service, &bob, id, &forever), TORPOR_E_NOT_FOUND);
	it_ok(tp_service_list(service, &bob, &filter, &list));
	cr_assert_eq(json_array_size(json_object_get(list, "sessions")), 1);
	cr_expect_str_eq(text(json_array_get(json_object_get(list, "sessions"), 0), "id"), his);
	run(id, "true");
	destroy(id);
	it_ok(tp_service_destroy(service, &bob, his, &forever));
}

static void *create_in_background(void *data)
{
	struct tp_create_spec spec = {
		.template_name = IT_TEMPLATE, .timers = {TP_UNSET, TP_UNSET, TP_UNSET}};
	json_t *view = NULL;

	(void)data;
	struct torpor_error *err = tp_service_create(service, &alice, &spec, &forever, &view);
	char *id = err ? NULL : tp_strdup(text(view, "id"));
	if (err)
		cr_expect_str_eq(torpor_error_reason(err), "tenant-sessions");
	torpor_error_free(err);
	json_decref(view);
	return id;
}

Test(service, of_two_that_want_the_last_place_one_gets_it)
{
	struct tp_actor admin = tp_actor_self(TP_DEFAULT_TENANT);
	TP_JSON json_t *body = json_pack("{s:{s:i}}", "limits", "sessions", 1);
	json_t *tenant = NULL;

	it_ok(tp_service_put_tenant(service, &admin, "alice", false, body, &tenant));
	json_decref(tenant);
	for (int i = 0; i < 10; i++) {
		pthread_t threads[2];
		void *ids[2];
		for (size_t t = 0; t < 2; t++)
			pthread_create(&threads[t], NULL, create_in_background, NULL);
		for (size_t t = 0; t < 2; t++)
			pthread_join(threads[t], &ids[t]);
		cr_assert_neq(!ids[0], !ids[1]);
		for (size_t t = 0; t < 2; t++) {
			if (ids[t])
				destroy(ids[t]);
			free(ids[t]);
		}
	}
	it_ok(tp_service_remove_tenant(service, &admin, "alice"));
}

/* --- Guests that end by themselves --- */

static void wait_for(const char *id, const char *state, int64_t restores)
{
	uint64_t after = 0;

	for (;;) {
		struct tp_call call = tp_call_within(60 * TP_NSEC_PER_SEC);
		TP_JSON json_t *view = NULL;
		struct tp_event event;
		uint64_t last = tp_service_last_event(service);
		it_ok(tp_service_get(service, &alice, id, &view));
		if (strcmp(text(view, "state"), state) == 0 &&
			json_integer_value(json_object_get(view, "restores")) == restores)
			return;
		after = TP_MAX(after, last);
		it_ok(tp_service_next_event(service, &alice, id, after, &call, &event));
		json_decref(event.data);
	}
}

static void kill_guest(const char *id)
{
	struct tp_live *live = tp_live_peek(service, id);
	struct torpor_session_info info;

	cr_assert_not_null(live);
	it_ok(torpor_session_info(live->core, &info));
	tp_live_put(service, live);
	cr_assert_gt(info.pid, 0);
	kill(info.pid, SIGKILL);
}

Test(service, a_guest_that_is_killed_comes_back_as_of_its_last_park)
{
	TP_FREE char *id = create_id(&alice, "s");

	run(id, "echo kept > /run/state");
	park(id);
	resume(id);
	run(id, "echo lost > /run/state");
	kill_guest(id);
	wait_for(id, "running", 1);
	cr_expect_str_eq(run(id, "cat /run/state"), "kept");
	destroy(id);
}

Test(service, a_guest_that_is_killed_and_was_never_parked_is_an_error)
{
	TP_FREE char *id = create_id(&alice, "s");

	kill_guest(id);
	wait_for(id, "error", 0);
	destroy(id);
}

Test(service, a_guest_that_reboots_is_taken_over_all_the_same)
{
	TP_FREE char *id = create_id(&alice, "s");
	const char *argv[] = {"/bin/sh", "-c", "reboot -f", NULL};
	struct tp_exec_spec spec = {.argv = argv, .stdin_fd = -1};
	struct torpor_exec_result result;

	torpor_error_free(tp_service_exec(service, &alice, id, &spec, &forever, &result));
	/* It waits for the guest to have booted. */
	run(id, "true");
	tp_service_close(service);
	open_service();
	run(id, "true");
	destroy(id);
}
