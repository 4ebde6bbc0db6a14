/* SPDX-License-Identifier: Apache-2.0 */
/* Operations, each done in one way. */
#include "operations.h"

#include "expect.h"

struct tp_service *service;
struct tp_actor alice;
struct tp_call forever;

void open_world(void)
{
	service = fake_open();
	alice = fake_actor("alice");
	forever = tp_call_within(TP_NO_DEADLINE);
}

void close_world(void)
{
	fake_close(service);
}

struct torpor_error *create(const char *id, json_t **view_out)
{
	struct tp_create_spec spec = {
		.template_name = FAKE_TEMPLATE, .timers = {TP_UNSET, TP_UNSET, TP_UNSET}};

	(void)id;
	return tp_service_create(service, &alice, &spec, &forever, view_out);
}

struct torpor_error *park(const char *id, json_t **view_out)
{
	return tp_service_park(service, &alice, id, &forever, view_out);
}

struct torpor_error *resume(const char *id, json_t **view_out)
{
	return tp_service_resume(service, &alice, id, &forever, view_out);
}

struct torpor_error *pause_it(const char *id, json_t **view_out)
{
	return tp_service_pause(service, &alice, id, &forever, view_out);
}

struct torpor_error *unpause(const char *id, json_t **view_out)
{
	return tp_service_unpause(service, &alice, id, &forever, view_out);
}

struct torpor_error *checkpoint(const char *id, json_t **view_out)
{
	return tp_service_checkpoint(service, &alice, id, NULL, &forever, view_out);
}

struct torpor_error *fork_it(const char *id, json_t **view_out)
{
	struct tp_fork_spec spec = {.count = 3, .timers = {TP_UNSET, TP_UNSET, TP_UNSET}};

	return tp_service_fork(service, &alice, id, &spec, &forever, view_out);
}

struct torpor_error *destroy(const char *id, json_t **view_out)
{
	*view_out = NULL;
	return tp_service_destroy(service, &alice, id, &forever);
}

struct torpor_error *change(const char *id, json_t **view_out)
{
	struct tp_change_spec spec = {.name = "renamed", .timers = {TP_UNSET, TP_UNSET, TP_UNSET}};

	return tp_service_change(service, &alice, id, &spec, &forever, view_out);
}

struct torpor_error *remove_image(const char *id, json_t **view_out)
{
	*view_out = NULL;
	return tp_service_remove_image(service, &alice, id, "cp-1");
}

void must(operation_fn *operation, const char *id)
{
	json_t *view = NULL;

	ok(operation(id, &view));
	json_decref(view);
}
