/* SPDX-License-Identifier: Apache-2.0 */
/* What a browser's page asks of the real torpord: by cookie, and for what was. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/macros.h"
#include "base/mem.h"
#include "daemon.h"

#define OURS "Torpor-Dashboard: 1\r\nSec-Fetch-Site: same-origin"

static struct it_daemon torpord;
static struct it_who admin;

/* Called by the tests themselves: after a failure in a suite's init there is no fini. */
static void begin(void)
{
	it_daemon_init(&torpord, "[pool]\nwarm_min = 1\nwarm_max = 1\n");
	it_daemon_start(&torpord);
	admin = (struct it_who){.daemon = &torpord};
}

static void end(void)
{
	it_daemon_deinit(&torpord);
}

TestSuite(browser, .fini = end, .timeout = 300);

/* A browser that signs in with BODY. */
static struct it_who sign_in(const char *body)
{
	struct it_who page = {.daemon = &torpord, .header = OURS};
	const struct it_answer *answer = it_ask(&page, "POST", "/v1/login", body);

	cr_assert_eq(answer->status, 200, "%s", answer->text);
	const char *cookie = it_header(answer, "Set-Cookie");
	cr_assert(cookie && strncmp(cookie, "torpor=", 7) == 0, "%s", cookie);
	page.header = it_text(OURS "\r\nCookie: %.*s", (int)strcspn(cookie, ";"), cookie);
	return page;
}

static struct it_who sign_in_by_token(const char *token)
{
	return sign_in(it_text("{\"token\": \"%s\"}", token));
}

static const char *create(const struct it_who *who)
{
	return it_string(
		it_expect(who, 201, "POST", "/v1/sessions", "{\"template\": \"minimal\"}"), "id");
}

/* --- signing in --- */

Test(browser, stays_signed_in_across_a_restart_until_its_token_is_removed)
{
	begin();
	struct it_who alice = {.token = it_tenant(&admin, "alice", NULL)};
	struct it_who page = sign_in_by_token(alice.token);
	const json_t *self = it_expect(&page, 200, "GET", "/v1/self", NULL);
	cr_assert_str_eq(it_string(self, "tenant"), "alice");
	cr_assert(json_is_true(it_member(self, "login")));

	/* Another site's page has the cookie, and no more. */
	struct it_who other = page;
	other.header = strstr(page.header, "Cookie: ");
	const json_t *refused =
		it_expect(&other, 403, "POST", "/v1/sessions", "{\"template\": \"minimal\"}");
	cr_assert_str_eq(it_string(refused, "reason"), "cross-site");
	const char *id = create(&page);

	it_daemon_stop(&torpord);
	it_daemon_start(&torpord);
	it_expect(&page, 200, "GET", it_session(id, ""), NULL);

	struct it_stream stream = it_stream_open(&page, "GET", "/v1/events", NULL);
	const json_t *tokens = it_expect(&admin, 200, "GET", "/v1/tenants/alice/tokens", NULL);
	it_expect(&admin, 204, "DELETE",
		it_text("/v1/tenants/alice/tokens/%s", it_string(tokens, "tokens.0.id")), NULL);
	const json_t *over = it_expect(&page, 401, "GET", it_session(id, ""), NULL);
	cr_assert_str_eq(it_string(over, "reason"), "login-over");
	struct it_event event = it_stream_next(&stream);
	/* Who reads is looked at once a second. */
	while (*event.type && strcmp(event.type, "error") != 0)
		event = it_stream_next(&stream);
	cr_assert_str_eq(event.type, "error");
	cr_assert_eq(it_number(event.data, "status"), 401);
	cr_assert_str_eq(it_stream_next(&stream).type, "");
	it_stream_close(&stream);
	struct it_who nobody = {.daemon = &torpord, .header = OURS};
	it_expect(&nobody, 401, "POST", "/v1/login", it_text("{\"token\": \"%s\"}", alice.token));
}

Test(browser, signs_in_by_a_link_once_and_out_for_good)
{
	begin();
	const json_t *link = it_expect(&admin, 201, "POST", "/v1/login-links", NULL);
	const char *url =
		it_text("https://127.0.0.1:%d/#code=%s", torpord.port, it_string(link, "code"));
	cr_assert_str_eq(it_string(link, "url"), url);
	const char *body = it_text("{\"code\": \"%s\"}", it_string(link, "code"));
	struct it_who page = sign_in(body);
	cr_assert(json_is_true(it_member(it_expect(&page, 200, "GET", "/v1/self", NULL), "admin")));
	struct it_who nobody = {.daemon = &torpord, .header = OURS, .tcp = true};
	cr_assert_str_eq(it_string(it_expect(&nobody, 401, "POST", "/v1/login", body), "reason"),
		"code-wrong");

	it_expect(&page, 204, "POST", "/v1/logout", NULL);
	it_expect(&page, 401, "GET", "/v1/self", NULL);
	it_daemon_stop(&torpord);
	it_daemon_start(&torpord);
	it_expect(&page, 401, "GET", "/v1/self", NULL);

	/* Over TLS the cookie is for TLS alone. */
	const char *token = it_tenant(&admin, "bob", NULL);
	const struct it_answer *answer =
		it_ask(&nobody, "POST", "/v1/login", it_text("{\"token\": \"%s\"}", token));
	cr_assert_eq(answer->status, 200, "%s", answer->text);
	const char *cookie = it_header(answer, "Set-Cookie");
	cr_assert(strncmp(cookie, "__Host-torpor-", 14) == 0 && strstr(cookie, "; Secure"), "%s",
		cookie);
}

/* --- what was --- */

/* The first event "usage" that has ID among its sessions; its figures. */
static const json_t *await_usage(struct it_stream *stream, const char *id)
{
	for (;;) {
		struct it_event event = it_stream_next(stream);
		cr_assert(*event.type, "the stream ended");
		const json_t *usage = json_object_get(it_member(event.data, "sessions"), id);
		if (strcmp(event.type, "usage") == 0 && usage)
			return usage;
	}
}

static const json_t *operation(const json_t *history, const char *op)
{
	size_t i;
	json_t *one;

	json_array_foreach (it_member(history, "operations"), i, one) {
		if (strcmp(it_string(one, "op"), op) == 0)
			return one;
	}
	cr_assert(false, "no %s", op);
	return NULL;
}

static const char *parent_of(const json_t *lineage, const char *id)
{
	size_t i;
	json_t *node;

	json_array_foreach (it_member(lineage, "nodes"), i, node) {
		if (strcmp(it_string(node, "id"), id) == 0)
			return json_string_value(json_object_get(node, "parent"));
	}
	cr_assert(false, "%s isn't there", id);
	return NULL;
}

Test(browser, sees_what_a_session_was_and_used_and_what_came_of_it)
{
	begin();
	struct it_who alice = {.daemon = &torpord, .token = it_tenant(&admin, "alice", NULL)};
	struct it_who bob = {.daemon = &torpord, .token = it_tenant(&admin, "bob", NULL)};
	struct it_stream stream = it_stream_open(&alice, "GET", "/v1/events?usage=1", NULL);
	const char *id = create(&alice);

	it_script(&alice, id, "dd if=/dev/urandom of=/tmp/x bs=1M count=8 2>/dev/null; sync");
	const json_t *usage = await_usage(&stream, id);
	cr_assert_gt(it_number(usage, "0"), 8 * (int64_t)TP_MIB);
	cr_assert_gt(it_number(usage, "1"), 0);
	it_stream_close(&stream);

	it_expect(&alice, 201, "POST", it_session(id, "/fork"), "{\"count\": 1}");
	it_expect(&alice, 200, "POST", it_session(id, "/checkpoint"), "{\"name\": \"before\"}");
	const json_t *forks =
		it_expect(&alice, 201, "POST", it_session(id, "/fork"), "{\"image\": \"before\"}");
	const char *fork = it_string(forks, "sessions.0.id");
	it_expect(&alice, 200, "POST", it_session(id, "/park"), NULL);

	const json_t *history = it_expect(&alice, 200, "GET", it_session(id, "/history"), NULL);
	size_t n = json_array_size(it_member(history, "states"));
	cr_assert_str_eq(it_string(history, "states.0.state"), "starting");
	cr_assert_str_eq(it_string(history, it_text("states.%zu.state", n - 1)), "parked");
	cr_assert_geq(json_array_size(it_member(history, "samples.at")), 1);
	cr_assert_eq(json_array_size(it_member(history, "samples.at")),
		json_array_size(it_member(history, "samples.private_bytes")));
	cr_assert_gt(it_number(operation(history, "park"), "image_bytes"), 8 * (int64_t)TP_MIB);
	cr_assert_str_eq(it_string(operation(history, "checkpoint"), "name"), "before");
	cr_assert_str_eq(it_string(operation(history, "create"), "source"), "warm");
	it_expect(&bob, 404, "GET", it_session(id, "/history"), NULL);

	const json_t *lineage = it_expect(&alice, 200, "GET", it_session(fork, "/lineage"), NULL);
	cr_assert_str_eq(parent_of(lineage, fork), it_text("%s/before", id));
	cr_assert_str_eq(parent_of(lineage, it_text("%s/park", id)), id);
	cr_assert_null(parent_of(lineage, id));
	cr_assert_eq(json_array_size(it_member(lineage, "nodes")), 5);

	/* One parked, two running: hers; and the host's. */
	const json_t *hers = it_expect(&alice, 200, "GET", "/v1/history/host", NULL);
	cr_assert_eq(it_number(hers, "current.running"), 2);
	cr_assert_eq(it_number(hers, "current.parked"), 1);
	cr_assert_geq(it_number(hers, "current.saved_bytes"), 8 * (int64_t)TP_MIB);
	cr_assert_str_eq(it_string(hers, "per_parked_from"), "parks");
	const json_t *his = it_expect(&bob, 200, "GET", "/v1/history/host?window=day", NULL);
	cr_assert_eq(it_number(his, "current.running"), 0);
	const json_t *host = it_expect(&admin, 200, "GET", "/v1/history/host", NULL);
	cr_assert_gt(
		it_number(host, "current.total_bytes"), it_number(host, "current.bases_bytes"));
	const json_t *pool = it_expect(&admin, 200, "GET", "/v1/history/pool", NULL);
	cr_assert_geq(it_number(pool, "all.claims.warm"), 1);
	cr_assert_eq(it_number(pool, "all.park.count"), 1);
	cr_assert_eq(it_number(pool, "all.checkpoint.count"), 1);
	it_expect(&alice, 403, "GET", "/v1/history/pool", NULL);

	/* A session that sleeps is known to, after a restart too. */
	it_daemon_stop(&torpord);
	it_daemon_start(&torpord);
	history = it_expect(&alice, 200, "GET", it_session(id, "/history?window=day"), NULL);
	cr_assert_str_eq(it_string(history, "states.0.state"), "parked");
	it_expect(&alice, 200, "POST", it_session(id, "/resume"), NULL);
	history = it_expect(&alice, 200, "GET", it_session(id, "/history"), NULL);
	cr_assert_str_eq(it_string(history, "states.0.state"), "parked");
	cr_assert_str_eq(it_string(history, "states.1.state"), "resuming");
	cr_assert_str_eq(it_string(history, "states.2.state"), "running");
	lineage = it_expect(&alice, 200, "GET", it_session(id, "/lineage"), NULL);
	cr_assert_str_eq(parent_of(lineage, fork), it_text("%s/before", id));
}
