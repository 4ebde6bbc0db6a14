/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that make images, take them back, and begin with them, in a world of counters. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "expect.h"
#include "operations.h"

TestSuite(operations, .init = open_world, .fini = close_world);

/* --- Park, and taking it back --- */

static void *park_in_background(void *data)
{
	json_t *view = NULL;
	struct torpor_error *err = park(data, &view);

	json_decref(view);
	return err;
}

static void cancel_a_park(bool late)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	TP_FREE char *before = fake_take(service);
	pthread_t thread;
	void *err;

	fails(tp_service_cancel_park(service, &alice, id), TORPOR_E_BUSY);
	fake.hold_park = true;
	fake.late_cancel = late;
	pthread_create(&thread, NULL, park_in_background, id);
	fake_wait_state(service, id, TP_STATE_PARKING);
	struct torpor_error *not_yet = tp_service_cancel_park(service, &alice, id);
	while (not_yet) {
		/* PARKING, but not yet with something to cancel. */
		cr_expect_eq(torpor_error_code(not_yet), TORPOR_E_BUSY);
		torpor_error_free(not_yet);
		not_yet = tp_service_cancel_park(service, &alice, id);
	}
	pthread_join(thread, &err);
	fake.hold_park = false;
	fails((struct torpor_error *)err, TORPOR_E_CANCELLED);
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before);
	must(park, id);
}

Test(operations, a_park_that_is_cancelled_leaves_the_guest_running)
{
	cancel_a_park(false);
}

Test(operations, a_cancel_that_was_acknowledged_wins_over_an_image_that_is_durable)
{
	cancel_a_park(true);
}

Test(operations, a_paused_session_is_paused_after_a_park_that_failed)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view = NULL;

	must(pause_it, id);
	TP_FREE char *before = fake_take(service);
	fake_fault("park.durable");
	fails(park(id, &view), TORPOR_E_IO);
	fake_fault(NULL);
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before);
	must(park, id);
}

static void expect_recorded(const char *id, const char *source, size_t fresh)
{
	TP_JSON json_t *info = fake_recorded_info(id);

	cr_expect_str_eq(json_string_value(json_object_get(info, "source")), source);
	cr_expect_eq(json_array_size(json_object_get(info, "fresh")), fresh);
}

Test(operations, where_a_guest_came_from_and_what_it_confirmed_is_recorded)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view;

	expect_recorded(id, "warm", 4);
	cr_assert_null(fork_it(id, &view));
	size_t i;
	json_t *session;
	json_array_foreach (json_object_get(view, "sessions"), i, session)
		expect_recorded(json_string_value(json_object_get(session, "id")), "warm", 4);
	json_decref(view);
	must(park, id);
	fake.source = TORPOR_SOURCE_SHELL;
	must(resume, id);
	expect_recorded(id, "shell", 4);
	cr_expect_eq(fake.notes, 5, "none of them a commit of its own");
}

Test(operations, what_a_guest_confirmed_is_lost_alone_with_a_note)
{
	TP_FREE char *first = fake_create(service, &alice, "first");
	json_t *view;

	fake.lose_notes = true;
	TP_FREE char *id = fake_create(service, &alice, "s");
	expect_recorded(id, "warm", 0);
	cr_assert_null(fork_it(id, &view));
	const json_t *fork = json_array_get(json_object_get(view, "sessions"), 0);
	expect_recorded(json_string_value(json_object_get(fork, "id")), "warm", 4);
	json_decref(view);
	/* What the guest before confirmed says nothing of the next. */
	must(park, first);
	must(resume, first);
	expect_recorded(first, "warm", 0);
}

Test(operations, an_image_that_a_failed_park_replaced_is_the_one_that_is_recorded)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view = NULL;

	must(park, id);
	must(resume, id);
	TP_FREE char *before = fake_take(service);
	fake_fault("park.committed");
	fails(park(id, &view), TORPOR_E_IO);
	fake_fault(NULL);
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before);
	cr_expect_eq(fake_recorded_images(), 1);
	cr_expect_eq(fake.image_bytes, 10);
}

/* --- Resume --- */

Test(operations, a_damaged_image_is_an_error_and_nothing_else_is)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view = NULL;

	must(park, id);
	fake.fail_resume = TORPOR_E_QEMU;
	fails(resume(id, &view), TORPOR_E_QEMU);
	cr_expect_str_eq(fake_recorded_state(id), "parked");
	fake.fail_resume = TORPOR_E_CORRUPT;
	fails(resume(id, &view), TORPOR_E_CORRUPT);
	cr_expect_str_eq(fake_recorded_state(id), "error");
	/* On demand it is tried again. */
	fake.fail_resume = TORPOR_E_QEMU;
	fails(resume(id, &view), TORPOR_E_QEMU);
	cr_expect_str_eq(fake_recorded_state(id), "error");
	fake.fail_resume = 0;
	must(resume, id);
	cr_expect_str_eq(fake_recorded_state(id), "running");
	TP_JSON json_t *shown = NULL;
	ok(tp_service_get(service, &alice, id, &shown));
	cr_expect(json_is_null(json_object_get(shown, "reason")));
}

/* --- Fork --- */

Test(operations, forks_come_from_the_guest_the_park_or_a_checkpoint)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	struct tp_fork_spec spec = {.count = 2, .timers = {TP_UNSET, TP_UNSET, TP_UNSET}};
	json_t *view = NULL;

	must(checkpoint, id);
	must(fork_it, id);
	must(park, id);
	must(fork_it, id);
	spec.image = "cp-1";
	ok(tp_service_fork(service, &alice, id, &spec, &forever, &view));
	json_decref(view);
	spec.image = "cp-2";
	fails(tp_service_fork(service, &alice, id, &spec, &forever, &view), TORPOR_E_NOT_FOUND);
	cr_expect_eq(fake_recorded_sessions(), 1 + 3 + 3 + 2);
	cr_expect_eq(fake.places, 8);
	cr_expect_str_eq(fake_recorded_state(id), "parked");
}

Test(operations, there_is_room_for_all_forks_or_for_none)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	TP_FREE char *before = fake_take(service);
	json_t *view = NULL;

	fake.max_places = 3;
	fails(fork_it(id, &view), TORPOR_E_LIMIT);
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before);
	fake.max_places = 4;
	must(fork_it, id);
}

Test(operations, whoever_is_bound_to_a_session_can_not_fork_it)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view = NULL;

	snprintf(alice.session, sizeof(alice.session), "%s", id);
	fails(fork_it(id, &view), TORPOR_E_DENIED);
	fails(create(NULL, &view), TORPOR_E_DENIED);
	must(destroy, id);
}

/* --- Images --- */

/* What is asked of the core is the file of that image; what it says comes out. */
static void expect_where(const char *id, const char *label, const char *file)
{
	TP_JSON json_t *view = NULL;

	ok(tp_service_image_where(service, &alice, id, label, &forever, &view));
	json_t *need = json_array_get(json_object_get(view, "needs"), 0);
	const char *asked = json_string_value(json_object_get(need, "needed"));
	cr_expect_str_eq(json_string_value(json_object_get(view, "image")), label);
	cr_expect(
		file ? strcmp(asked, file) == 0 : strncmp(asked, id, strlen(id)) == 0, "%s", asked);
	cr_expect_str_eq(json_string_value(json_object_get(need, "why_not")), "it is older");
	cr_expect(json_is_false(json_object_get(view, "here")));
	cr_expect(json_is_true(json_object_get(view, "portable")));
	cr_expect(json_is_null(json_object_get(view, "template")));
	cr_expect_eq(json_array_size(json_object_get(view, "needs")), 2);
}

Test(operations, checkpoints_are_named_listed_and_removed)
{
	TP_FREE char *id = fake_create(service, &alice, "s");
	json_t *view = NULL;

	must(checkpoint, id);
	ok(tp_service_checkpoint(service, &alice, id, "mine", &forever, &view));
	json_decref(view);
	fails(tp_service_checkpoint(service, &alice, id, "mine", &forever, &view), TORPOR_E_EXISTS);
	fails(tp_service_checkpoint(service, &alice, id, "park", &forever, &view),
		TORPOR_E_INVALID);
	fails(tp_service_checkpoint(service, &alice, id, "../x", &forever, &view),
		TORPOR_E_INVALID);
	must(park, id);
	TP_JSON json_t *list = NULL;
	ok(tp_service_images(service, &alice, id, &list));
	cr_expect_eq(json_array_size(json_object_get(list, "images")), 3);
	expect_where(id, "park", id);
	expect_where(id, "mine", NULL);
	must(remove_image, id);
	TP_JSON json_t *gone = NULL;
	fails(tp_service_image_where(service, &alice, id, "cp-1", &forever, &gone),
		TORPOR_E_NOT_FOUND);
	struct tp_actor bob = fake_actor("bob");
	fails(tp_service_image_where(service, &bob, id, "park", &forever, &gone),
		TORPOR_E_NOT_FOUND);
	fails(tp_service_remove_image(service, &alice, id, "cp-1"), TORPOR_E_NOT_FOUND);
	fails(tp_service_remove_image(service, &alice, id, "park"), TORPOR_E_NOT_FOUND);
	cr_expect_eq(fake_recorded_images(), 2);
	cr_expect_eq(fake.image_bytes, 20);
}

/* Whoever shows a session's checkpoints hears of them, whoever it was that made or removed one. */
Test(operations, checkpoints_that_come_and_go_have_an_event)
{
	TP_FREE char *id = fake_create(service, &alice, "s");

	must(checkpoint, id);
	cr_expect_str_eq(fake.states, "starting running running ");
	must(remove_image, id);
	cr_expect_str_eq(fake.states, "starting running running running ");
	/* But not what came to nothing. */
	fails(tp_service_remove_image(service, &alice, id, "cp-1"), TORPOR_E_NOT_FOUND);
	cr_expect_str_eq(fake.states, "starting running running running ");
}

/* --- From libvirt --- */

static struct torpor_error *import(
	const struct tp_actor *actor, const char *domain, const char *name, json_t **view_out)
{
	struct tp_import_spec spec = {
		.domain = domain, .name = name, .timers = {TP_UNSET, TP_UNSET, TP_UNSET}};

	return tp_service_import(service, actor, &spec, &forever, view_out);
}

Test(operations, an_import_is_a_session_that_begins_parked)
{
	struct tp_actor admin = alice;
	TP_JSON json_t *view = NULL;
	TP_JSON json_t *none = NULL;

	admin.admin = true;
	ok(import(&admin, "domain", "box", &view));
	const char *id = json_string_value(json_object_get(view, "id"));
	cr_expect_str_eq(json_string_value(json_object_get(view, "state")), "parked");
	cr_expect_str_eq(json_string_value(json_object_get(view, "name")), "box");
	cr_expect_str_eq(json_string_value(json_object_get(view, "template")), "imported");
	json_t *timing = json_object_get(view, "timing");
	cr_expect_str_eq(json_string_value(json_object_get(timing, "note")), "a note");
	cr_expect_str_eq(fake_recorded_state(id), "parked");
	cr_expect_eq(fake_recorded_images(), 1);
	cr_expect_eq(fake.image_bytes, 10);
	cr_expect_eq(fake.guests + fake.places + fake.groups, 0);
	must(resume, id);
	cr_expect_str_eq(fake_recorded_state(id), "running");

	TP_FREE char *before = fake_take(service);
	fails(import(&alice, "domain", NULL, &none), TORPOR_E_DENIED);
	fails(import(&admin, "none", NULL, &none), TORPOR_E_NOT_FOUND);
	fails(import(&admin, "domain", "box", &none), TORPOR_E_EXISTS);
	fails(import(&admin, "domain", "../x", &none), TORPOR_E_INVALID);
	fake.fail_commits = 1;
	fails(import(&admin, "domain", NULL, &none), TORPOR_E_IO);
	fake.fail_audit = 1;
	fails(import(&admin, "domain", NULL, &none), TORPOR_E_IO);
	TP_FREE char *after = fake_take(service);
	cr_expect_str_eq(after, before);
}
