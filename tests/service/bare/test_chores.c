/* SPDX-License-Identifier: Apache-2.0 */
/* What the keeper does to sessions without process; those with one are the integration tests'. */
#include <stdio.h>
#include <string.h>

#include "bare.h"
#include "base/mem.h"
#include "service/keeper_priv.h"
#include "service/templates.h"
#include "service/tenants.h"

#define S TP_NSEC_PER_SEC

static char *dir;
static struct tp_service *service;
static int numbered;

static void set_up(void)
{
	dir = bare_dir();
	service = bare_open(dir);
	must(torpor_engine_open(
		&(struct torpor_engine_options){.state_dir = dir}, &service->engine));
	service->config.timers.retention_s = 1000;
	tp_tenants_configure(service->tenants, &service->config);
}

static void tear_down(void)
{
	torpor_engine_close(service->engine);
	bare_close(service);
	bare_remove_dir(dir);
}

TestSuite(chores, .init = set_up, .fini = tear_down);

/* One that changed AGE_S ago; its id, valid until the test's end. */
static const char *put(const char *tenant, const char *template_name, const char *state,
	int64_t retention_s, uint64_t age_s)
{
	static char ids[16][TP_ID_LEN + 1];
	char *id = ids[numbered];
	struct tp_session_row row;

	snprintf(id, TP_ID_LEN + 1, "s%015d", numbered++);
	bare_put_session(service, id, tenant, state, NULL);
	must(tp_records_session(service->records, NULL, id, &row));
	free(row.template_name);
	row.template_name = tp_strdup(template_name);
	row.retention_s = retention_s;
	row.changed_ns = tp_realtime_ns() - age_s * S;
	struct tp_change *change = tp_change_new();
	tp_change_put_session(change, &row);
	must(tp_records_commit(service->records, change));
	tp_session_row_deinit(&row);
	return id;
}

static bool is_there(const char *id)
{
	struct tp_session_row row;

	struct torpor_error *err = tp_records_session(service->records, NULL, id, &row);
	if (!err)
		tp_session_row_deinit(&row);
	bool there = !err;
	torpor_error_free(err);
	return there;
}

static uint64_t changed_of(const char *id)
{
	struct tp_session_row row;

	must(tp_records_session(service->records, NULL, id, &row));
	uint64_t changed_ns = row.changed_ns;
	tp_session_row_deinit(&row);
	return changed_ns;
}

/* When to look again; UINT64_MAX: nothing will be due. */
static uint64_t look(void)
{
	uint64_t next_ns;

	tp_chore_parked(service, -1, &next_ns);
	return next_ns;
}

/* One that finds that it has to look once more soon, which is a second from when it began. */
static void look_and_again(void)
{
	uint64_t before_ns = tp_realtime_ns();
	uint64_t next_ns = look();

	cr_assert_geq(next_ns, before_ns + S);
	cr_assert_leq(next_ns, tp_realtime_ns() + S);
}

static void put_tenant(const char *name, int64_t retention_s)
{
	struct tp_actor admin = bare_admin();
	json_t *body = json_pack(
		"{s:s, s:{s:I}}", "name", name, "limits", "retention_s", (json_int_t)retention_s);
	json_t *view;

	must(tp_service_put_tenant(service, &admin, name, true, body, &view));
	json_decref(view);
	json_decref(body);
}

Test(chores, nothing_is_due_where_nothing_sleeps)
{
	const char *running = put("alice", "minimal", "running", 1, 100);

	cr_assert_eq(look(), UINT64_MAX);
	cr_assert(is_there(running));
}

Test(chores, retention_is_the_sessions_the_templates_the_tenants_or_the_default)
{
	struct tp_template_config tmpl = {.name = (char[]){"short"},
		.policy = service->config.policy,
		.timers = {TP_UNSET, TP_UNSET, 50}};
	struct tp_service_config config = service->config;

	config.templates = &tmpl;
	config.n_templates = 1;
	tp_templates_configure(service, &config);
	put_tenant("bob", 200);
	const char *own = put("bob", "short", "parked", 30, 31);
	const char *own_not = put("bob", "short", "parked", 300, 60);
	const char *of_template = put("bob", "short", "parked", TP_UNSET, 51);
	const char *of_tenant = put("bob", "minimal", "parked", TP_UNSET, 201);
	const char *of_tenant_not = put("bob", "minimal", "parked", TP_UNSET, 140);
	const char *by_default = put("alice", "minimal", "error", TP_UNSET, 1001);
	const char *by_default_not = put("alice", "minimal", "error", TP_UNSET, 940);
	const char *never = put("alice", "short", "parked", 0, 1000000);
	(void)look();
	cr_expect_not(is_there(own));
	cr_expect(is_there(own_not));
	cr_expect_not(is_there(of_template));
	cr_expect_not(is_there(of_tenant));
	cr_expect(is_there(of_tenant_not));
	cr_expect_not(is_there(by_default));
	cr_expect(is_there(by_default_not));
	cr_expect(is_there(never));
}

Test(chores, the_next_look_is_when_the_next_is_due)
{
	put("alice", "minimal", "parked", TP_UNSET, 100);
	const char *own = put("alice", "minimal", "parked", 500, 100);
	cr_assert_eq(look(), changed_of(own) + 500 * S);
	const char *other = put("alice", "other", "parked", TP_UNSET, 700);
	cr_assert_eq(look(), changed_of(other) + 1000 * S);
	/* Those left in the group of one that is ended are looked at once more. */
	put("alice", "other", "parked", TP_UNSET, 1001);
	look_and_again();
	cr_assert_eq(look(), changed_of(other) + 1000 * S);
}

Test(chores, one_that_is_resumed_meanwhile_is_spared)
{
	struct tp_actor self = tp_actor_self("alice");
	struct tp_call call = tp_call_within(S);
	const char *id = put("alice", "minimal", "parked", 1, 2);
	struct tp_live *live;
	bool done;

	must(tp_live_get(service, &self, id, &live));
	must(tp_live_begin(service, live, TP_STATE_RESUMING, 0, &call, &done));
	look_and_again();
	cr_assert(is_there(id));
	tp_live_end(service, live, TP_STATE_PARKED);
	tp_live_put(service, live);
	(void)look();
	cr_assert_not(is_there(id));
}
