/* SPDX-License-Identifier: Apache-2.0 */
/* Templates of the service, and the guests that wait for each. */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "serving.h"
#include "service/templates_priv.h"

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

/* The keeper tells the kernel at its next look, and nobody else. */
static void await_oom_score(int pid, int score)
{
	while (oom_score_of(pid) != score)
		poll(NULL, 0, 10);
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
	const char *second = serving_create(service, "second");
	TP_JSON json_t *view = serving_get(service, second);
	cr_assert_str_eq(text_of(view, "source"), "warm");
	await_oom_score(serving_pid(service, first), 300);
	await_oom_score(serving_pid(service, second), 300);

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

/* Of this template alone: others, which tests beside this one leave there, aren't taken into use.
 */
Test(stock, two_at_once_fill_the_base_once)
{
	struct tp_service *service = open_with_another();
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

struct building {
	struct tp_service *service;
	struct torpor_template_spec spec;
};

static void *must_not_build(void *data)
{
	struct building *building = data;
	struct tp_call call = tp_call_within(300 * TP_NSEC_PER_SEC);
	struct tp_actor host = admin();
	json_t *view = NULL;

	it_fails(tp_service_build_template(
			 building->service, &host, &building->spec, NULL, NULL, &call, &view),
		TORPOR_E_NOT_FOUND);
	return NULL;
}

/* Nobody tells of it but whoever builds it. */
static void await_stored(struct tp_service *service, const char *name)
{
	struct torpor_template_info info;
	struct torpor_error *err;

	while ((err = torpor_template_lookup(service->engine, name, &info))) {
		torpor_error_free(err);
		poll(NULL, 0, 10);
	}
}

/* As who waits for the same turn may, and is the first. */
Test(stock, a_template_that_is_removed_before_it_is_in_use_is_not_used)
{
	const char *dir = serving_dir();
	TP_FREE char *templates = tp_asprintf("%s/templates", dir);
	TP_FREE char *kernel = tp_asprintf("%s/vmlinuz", it_guest_dir());
	TP_FREE char *initrd = tp_asprintf("%s/initrd.img", it_guest_dir());
	struct building building = {.spec = {.name = "built",
					    .kernel = kernel,
					    .initrd = initrd,
					    .memory = 128 * TP_MIB}};
	struct tp_call call = tp_call_within(300 * TP_NSEC_PER_SEC);
	struct torpor_template *tmpl = NULL;
	struct tp_template_entry *entry;
	pthread_t builder;

	cr_assert_eq(unlink(templates), 0);
	struct tp_service *service = building.service = serving_open(dir);
	it_ok(tp_template_entry_get(service->templates, "built", &entry));
	it_ok(tp_turn_take(entry->turn, &call, "built"));
	cr_assert_eq(pthread_create(&builder, NULL, must_not_build, &building), 0);
	await_stored(service, "built");
	it_ok(torpor_template_remove(service->engine, "built"));
	tp_turn_give(entry->turn);
	pthread_join(builder, NULL);
	it_fails(tp_template_use(service, "built", &call, &tmpl), TORPOR_E_NOT_FOUND);
	serving_end(service);
}
