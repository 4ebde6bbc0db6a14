/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the service does with sessions by itself: timers, guests that died or are deaf, memory that
 * is short.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "serving.h"
#include "service/keeper.h"

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

static void park_when_idle(struct tp_service *service, const char *id, int64_t idle_s)
{
	struct tp_change_spec spec = {.timers = {TP_UNSET, idle_s, TP_UNSET}};
	struct tp_call call = tp_call_within(120 * TP_NSEC_PER_SEC);
	json_t *view;

	it_ok(tp_service_change(service, &serving_actor, id, &spec, &call, &view));
	json_decref(view);
}

Test(keeper, timers_park_and_destroy)
{
	struct tp_service *service = serving_open(serving_dir());
	const char *ends = create_with(service, "ends", (struct tp_timers){2, 0, 0});
	const char *idles = create_with(service, "idles", (struct tp_timers){0, 2, 0});
	const char *works = create_with(service, "works", (struct tp_timers){0, 0, 0});
	const char *kept = create_with(service, "kept", (struct tp_timers){0, 0, 2});

	/* Busy without being asked anything; before that it may be idle for long. */
	serving_run(service, works, "(while :; do :; done) > /dev/null 2>&1 &");
	park_when_idle(service, works, 2);
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
