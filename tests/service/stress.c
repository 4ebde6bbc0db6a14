/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many threads do anything to a few sessions, in the world of counters: for ThreadSanitizer, and
 * to see that nothing is left when all are destroyed.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fake.h"

#define THREADS	 8
#define ROUNDS	 400
#define SESSIONS 4

static struct tp_service *service;
static struct tp_actor alice;
static char *ids[SESSIONS];

/* What can go wrong where others do something to the same session. */
static void expect(struct torpor_error *err, json_t *view)
{
	json_decref(view);
	if (!err)
		return;
	enum torpor_errc code = torpor_error_code(err);
	if (code != TORPOR_E_BUSY && code != TORPOR_E_CANCELLED && code != TORPOR_E_EXISTS) {
		fprintf(stderr, "%s\n", torpor_error_message(err));
		abort();
	}
	torpor_error_free(err);
}

static struct torpor_error *do_something(unsigned int what, const char *id, json_t **view)
{
	struct tp_call call = tp_call_within(TP_NO_DEADLINE);
	const char *argv[] = {"true", NULL};
	struct tp_exec_spec exec = {.argv = argv, .stdin_fd = -1, .wake = true};
	struct tp_list_filter filter = {.limit = 100};
	struct torpor_exec_result result;
	TP_FREE struct tp_live_brief *briefs = NULL;

	switch (what) {
	case 0:
		return tp_service_park(service, &alice, id, &call, view);
	case 1:
		return tp_service_resume(service, &alice, id, &call, view);
	case 2:
		return tp_service_pause(service, &alice, id, &call, view);
	case 3:
		return tp_service_unpause(service, &alice, id, &call, view);
	case 4:
		return tp_service_exec(service, &alice, id, &exec, &call, &result);
	case 5:
		return tp_service_get(service, &alice, id, view);
	case 6:
		return tp_service_list(service, &alice, &filter, view);
	case 7:
		return tp_service_cancel_park(service, &alice, id);
	case 8:
		tp_live_briefs(service, &briefs);
		return NULL;
	default:
		tp_live_guest_lost(service, id, false);
		return NULL;
	}
}

static void *do_anything(void *data)
{
	unsigned int seed = (unsigned int)(size_t)data;

	for (int i = 0; i < ROUNDS; i++) {
		json_t *view = NULL;
		unsigned int what = (unsigned int)rand_r(&seed) % 10;
		const char *id = ids[(unsigned int)rand_r(&seed) % SESSIONS];
		struct torpor_error *err = do_something(what, id, &view);
		expect(err, view);
	}
	return NULL;
}

int main(void)
{
	struct tp_call call = tp_call_within(TP_NO_DEADLINE);
	pthread_t threads[THREADS];

	service = fake_open();
	alice = fake_actor("alice");
	TP_FREE char *empty = fake_take(service);
	for (size_t i = 0; i < SESSIONS; i++)
		ids[i] = fake_create(service, &alice, NULL);
	for (size_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, do_anything, (void *)(i + 1));
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < SESSIONS; i++) {
		expect(tp_service_destroy(service, &alice, ids[i], &call), NULL);
		free(ids[i]);
	}
	TP_FREE char *after = fake_take(service);
	if (strcmp(after, empty) != 0) {
		fprintf(stderr, "before %s\nafter %s\n", empty, after);
		return 1;
	}
	fake_close(service);
	return 0;
}
