/* SPDX-License-Identifier: Apache-2.0 */
/* Two tenants of one torpord: each one's sessions, and what each tries on the other's. */
#include <criterion/criterion.h>
#include <jose/b64.h>
#include <jose/jwk.h>
#include <jose/jws.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/macros.h"
#include "base/mem.h"
#include "daemon.h"

#define NOBODY "0000000000000000" /* an id of the right form */

static struct it_daemon torpord;
static struct it_who admin;
static json_t *issuer, *stranger; /* keys that sign tokens */

static json_t *new_key(const char *alg, const char *kid)
{
	json_t *key = json_pack("{s:s, s:s}", "alg", alg, "kid", kid);

	cr_assert(jose_jwk_gen(NULL, key));
	return key;
}

static void write_jwks(void)
{
	json_t *public_key = json_deep_copy(issuer);

	cr_assert(jose_jwk_pub(NULL, public_key));
	json_t *set = json_pack("{s:[o]}", "keys", public_key);
	cr_assert(json_dump_file(set, it_text("%s/jwks", torpord.dir), 0) == 0);
	json_decref(set);
}

/* Called by the tests themselves: after a failure in a suite's init there is no fini. */
static void begin(void)
{
	issuer = new_key("ES256", "issuer");
	stranger = new_key("ES256", "issuer");
	it_daemon_init(&torpord, "[tenants]\nrequests_per_minute = 100000\n"
				 "[pool]\nwarm_min = 1\nwarm_max = 2\n");
	FILE *f = fopen(it_text("%s/conf", torpord.dir), "a");
	fprintf(f, "[auth]\nissuer = https://issuer\naudience = torpor\njwks = %s/jwks\n",
		torpord.dir);
	fclose(f);
	write_jwks();
	it_daemon_start(&torpord);
	admin = (struct it_who){.daemon = &torpord};
}

static void end(void)
{
	it_daemon_deinit(&torpord);
	json_decref(issuer);
	json_decref(stranger);
}

TestSuite(tenants, .fini = end, .timeout = 300);

/* --- a whole life --- */

/* The host that has parked it can resume it. */
static void expect_here(const struct it_who *who, const char *id, const char *image)
{
	const json_t *where = it_expect(
		who, 200, "GET", it_session(id, it_text("/images/%s/where", image)), NULL);

	cr_assert_str_eq(it_string(where, "image"), image);
	cr_assert(json_is_true(it_member(where, "here")), "%s", json_dumps(where, 0));
	cr_assert(json_is_true(it_member(where, "portable")));
	cr_assert_str_eq(it_string(where, "template"), "minimal");
	cr_assert_eq(json_array_size(it_member(where, "needs")), 5);
}

static const char *create(const struct it_who *who, const char *more)
{
	return it_string(it_expect(who, 201, "POST", "/v1/sessions",
				 it_text("{\"template\": \"minimal\"%s}", more)),
		"id");
}

static void expect_state(const struct it_who *who, const char *id, const char *state)
{
	const json_t *session = it_expect(who, 200, "GET", it_session(id, ""), NULL);

	cr_assert_str_eq(it_string(session, "state"), state);
}

/* A request that changes its state; as the answer has it, so it is. */
static void become(const struct it_who *who, const char *id, const char *op, const char *state)
{
	const json_t *answer =
		it_expect(who, 200, "POST", it_text("/v1/sessions/%s/%s", id, op), NULL);

	cr_assert_str_eq(it_string(answer, "state"), state);
	expect_state(who, id, state);
}

/* What a streamed command printed to STDOUT and STDERR; it ends well. */
static void stream_command(const struct it_who *who, const char *id)
{
	struct it_who socket = *who;
	TP_FREE char *out = tp_strdup("");
	TP_FREE char *err = tp_strdup("");
	struct it_event event;

	socket.tcp = false;
	struct it_stream stream = it_stream_open(&socket, "POST", it_session(id, "/exec"),
		"{\"argv\": [\"sh\", \"-c\", \"echo one; echo two >&2; cat\"], \"stdin\": \"3\"}");
	cr_assert_str_eq(it_stream_next(&stream).type, "started");
	while (event = it_stream_next(&stream), strncmp(event.type, "std", 3) == 0) {
		char **all = strcmp(event.type, "stdout") == 0 ? &out : &err;
		char *longer = tp_asprintf("%s%s", *all, it_string(event.data, "data"));
		free(*all);
		*all = longer;
	}
	cr_assert_str_eq(event.type, "exit");
	cr_assert_eq(it_number(event.data, "exit_status"), 0);
	cr_assert_str_eq(*it_stream_next(&stream).type ? "more" : "the end", "the end");
	cr_assert_str_eq(out, "one\n3");
	cr_assert_str_eq(err, "two\n");
	it_stream_close(&stream);
}

static const char *fork_one(const struct it_who *who, const char *id, const char *body)
{
	const json_t *forks = it_expect(who, 201, "POST", it_session(id, "/fork"), body);

	cr_assert_str_eq(it_string(forks, "sessions.0.forked_from"), id);
	return it_string(forks, "sessions.0.id");
}

static void expect_list(const struct it_who *who, const char *query, size_t n)
{
	const json_t *list = it_expect(who, 200, "GET", it_text("/v1/sessions%s", query), NULL);

	cr_assert_eq(json_array_size(it_member(list, "sessions")), n, "%s", query);
}

static void change_it(const struct it_who *who, const char *id)
{
	const json_t *changed = it_expect(who, 200, "PATCH", it_session(id, ""),
		"{\"name\": \"new-name\", \"ttl_s\": 1800, \"labels\": {\"a\": \"b\"}}");

	cr_assert_str_eq(it_string(changed, "name"), "new-name");
	cr_assert_eq(it_number(changed, "timers.ttl_s"), 1800);
	cr_assert_str_eq(it_string(changed, "labels.a"), "b");
	expect_list(who, "?label=a=b", 1);
	expect_list(who, "?match=new-name", 1);
	expect_list(who, "?label=a=c", 0);
}

/* Forks from all that one can fork from; what was written before is in each. */
static void fork_it(const struct it_who *who, const char *id, const char *secret)
{
	const char *forks[3];

	forks[0] = fork_one(who, id, NULL);
	it_expect(who, 200, "POST", it_session(id, "/checkpoint"), "{\"name\": \"kept\"}");
	it_script(who, id, "echo later > /tmp/secret");
	forks[1] = fork_one(who, id, "{\"image\": \"kept\"}");
	it_script(who, id, it_text("echo %s > /tmp/secret", secret));
	become(who, id, "park", "parked");
	expect_here(who, id, "park");
	forks[2] = fork_one(who, id, "{\"count\": 1}");
	for (size_t i = 0; i < TP_ARRAY_LEN(forks); i++) {
		cr_assert_str_eq(it_script(who, forks[i], "cat /tmp/secret"), secret);
		it_expect(who, 204, "DELETE", it_session(forks[i], ""), NULL);
		it_expect(who, 404, "GET", it_session(forks[i], ""), NULL);
	}
	const json_t *images = it_expect(who, 200, "GET", it_session(id, "/images"), NULL);
	cr_assert_eq(json_array_size(it_member(images, "images")), 2);
	it_expect(who, 204, "DELETE", it_session(id, "/images/kept"), NULL);
	it_expect(who, 404, "DELETE", it_session(id, "/images/kept"), NULL);
	become(who, id, "resume", "running");
}

struct life {
	struct it_who who;
	const char *secret;
	pthread_t thread;
};

static void *live(void *data)
{
	struct life *life = data;
	struct it_who *who = &life->who;
	const char *id = create(who, ", \"name\": \"first\", \"env\": {\"COLOUR\": \"blue\"}");

	expect_list(who, "", 1);
	change_it(who, id);
	cr_assert_str_eq(it_script(who, id, "hostname; echo $COLOUR"), "first\nblue");
	stream_command(who, id);
	it_script(who, id, it_text("echo %s > /tmp/secret", life->secret));
	become(who, id, "pause", "paused");
	become(who, id, "pause", "paused");
	become(who, id, "unpause", "running");
	become(who, id, "park", "parked");
	become(who, id, "resume", "running");
	cr_assert_str_eq(it_script(who, id, "cat /tmp/secret"), life->secret);
	fork_it(who, id, life->secret);
	const json_t *metrics = it_expect(who, 200, "GET", it_session(id, "/metrics"), NULL);
	cr_assert_eq(it_number(metrics, "parks"), 2);
	cr_assert_eq(it_number(metrics, "resumes"), 2);
	it_expect(who, 204, "DELETE", it_session(id, ""), NULL);
	it_expect(who, 404, "GET", it_session(id, ""), NULL);
	expect_list(who, "", 0);
	return NULL;
}

Test(tenants, whole_lives_at_once)
{
	begin();
	struct life lives[] = {
		{{.daemon = &torpord, .token = it_tenant(&admin, "alice", NULL)}, "of-alice", 0},
		{{.daemon = &torpord, .tcp = true, .token = it_tenant(&admin, "bob", NULL)},
			"of-bob", 0},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(lives); i++)
		pthread_create(&lives[i].thread, NULL, live, &lives[i]);
	for (size_t i = 0; i < TP_ARRAY_LEN(lives); i++)
		pthread_join(lives[i].thread, NULL);
	for (size_t i = 0; i < TP_ARRAY_LEN(lives); i++) {
		const json_t *self = it_expect(&lives[i].who, 200, "GET", "/v1/self", NULL);
		cr_assert_eq(it_number(self, "usage.sessions"), 0);
		cr_assert_eq(it_number(self, "usage.image_bytes"), 0);
	}
}

/* --- what is another's --- */

static const struct {
	const char *method, *rest, *body;
} on_sessions[] = {
	{"GET", "", NULL},
	{"PATCH", "", "{\"name\": \"mine\"}"},
	{"DELETE", "", NULL},
	{"POST", "/park", NULL},
	{"DELETE", "/park", NULL},
	{"POST", "/resume", NULL},
	{"POST", "/pause", NULL},
	{"POST", "/unpause", NULL},
	{"POST", "/checkpoint", "{\"name\": \"mine\"}"},
	{"POST", "/checkpoint", "{\"name\": \"kept\"}"},
	{"GET", "/images", NULL},
	{"DELETE", "/images/kept", NULL},
	{"DELETE", "/images/park", NULL},
	{"GET", "/images/park/where", NULL},
	{"DELETE", "/images/none", NULL},
	{"POST", "/fork", NULL},
	{"POST", "/fork", "{\"image\": \"kept\"}"},
	{"POST", "/fork", "{\"names\": [\"first\"]}"},
	{"POST", "/exec", "{\"argv\": [\"true\"]}"},
	{"POST", "/exec", "{\"argv\": [\"true\"], \"wake\": true}"},
	{"GET", "/metrics", NULL},
	/* Nonsense is told as such before anyone looks for the session. */
	{"POST", "/park", "{\"x\": 1}"},
	{"PATCH", "", "{\"ttl_s\": -1}"},
	{"POST", "/exec", "{}"},
	{"PUT", "", "{}"},
};

static const char *without(const char *text, const char *id)
{
	TP_FREE char *copy = tp_strdup(text);
	char *at;

	while ((at = strstr(copy, id)))
		memset(at, '#', strlen(id));
	return it_text("%s", copy);
}

static const char *without_line(const char *head, const char *start)
{
	const char *line = strstr(head, start);

	if (!line)
		return head;
	return it_text("%.*s%s", (int)(line - head), head, strstr(line + 2, "\r\n"));
}

/* Headers but for those that differ between any two answers. */
static const char *timeless(const char *head)
{
	return without_line(without_line(head, "\r\nDate: "), "\r\nX-Request-Id: ");
}

/* An id of another's is answered as one that nobody has, to the byte. */
static void expect_same_answers(const struct it_who *who, const char *theirs)
{
	for (size_t i = 0; i < TP_ARRAY_LEN(on_sessions); i++) {
		const char *method = on_sessions[i].method;
		const char *rest = on_sessions[i].rest;
		const char *body = on_sessions[i].body;
		const struct it_answer *a = it_ask(who, method, it_session(theirs, rest), body);
		const struct it_answer *b = it_ask(who, method, it_session(NOBODY, rest), body);
		cr_assert_geq(a->status, 400, "%s %s: %d", method, rest, a->status);
		cr_assert_str_eq(without(a->text, theirs), without(b->text, NOBODY), "%s %s: %s",
			method, rest, a->text);
		cr_assert_str_eq(timeless(a->head), timeless(b->head));
	}
}

/* A streamed command on it: the error comes as an event. */
static const char *streamed_error(const struct it_who *who, const char *id)
{
	struct it_stream stream =
		it_stream_open(who, "POST", it_session(id, "/exec"), "{\"argv\": [\"true\"]}");
	struct it_event event = it_stream_next(&stream);

	if (strcmp(event.type, "started") == 0)
		event = it_stream_next(&stream);
	cr_assert_str_eq(event.type, "error");
	cr_assert_eq(it_number(event.data, "status"), 404);
	it_stream_close(&stream);
	TP_FREE char *text = json_dumps(event.data, 0);
	return without(text, id);
}

/* What bob did, and of another's object only that it failed. */
static void expect_own_audit(const struct it_who *who, const char *query, bool failed)
{
	const json_t *audit = it_expect(who, 200, "GET", it_text("/v1/audit%s", query), NULL);
	size_t i;
	json_t *entry;

	json_array_foreach (it_member(audit, "entries"), i, entry) {
		cr_assert_str_eq(it_string(entry, "tenant"), "bob");
		if (failed)
			cr_assert_str_eq(it_string(entry, "outcome"), "not-found");
	}
}

static void attack_queries(const struct it_who *who, const char *theirs)
{
	expect_list(who, "", 0);
	expect_list(who, it_text("?match=%s", theirs), 0);
	expect_list(who, it_text("?match=%.4s", theirs), 0);
	expect_list(who, "?match=victim", 0);
	expect_list(who, "?label=owner=alice", 0);
	it_expect(who, 404, "GET", it_text("/v1/events?session=%s", theirs), NULL);
	expect_own_audit(who, it_text("?session=%s", theirs), true);
	expect_own_audit(who, "?limit=1000", false);
	const struct it_answer *metrics =
		it_ask(&(struct it_who){.daemon = who->daemon, .token = who->token}, "GET",
			"/metrics", NULL);
	cr_assert(!strstr(metrics->text, theirs));
}

static void attack_bodies(const struct it_who *who)
{
	struct it_who as_alice = *who;

	it_expect(who, 400, "POST", "/v1/sessions",
		"{\"template\": \"minimal\", \"tenant\": \"alice\"}");
	it_expect(who, 400, "POST", "/v1/sessions",
		"{\"template\": \"minimal\", \"template\": \"minimal\"}");
	it_expect(who, 400, "POST", "/v1/sessions?tenant=alice", "{}");
	for (size_t i = 0; i < 3; i++) {
		as_alice.header = (const char *[]){
			"Torpor-Tenant: alice", "Torpor-Tenant: bob", "torpor-tenant: nobody"}[i];
		it_expect(&as_alice, 403, "GET", "/v1/sessions", NULL);
	}
	expect_list(who, "?tenant=alice", 0);
}

static void attack_paths(const struct it_who *who, const char *theirs)
{
	TP_FREE char *longest = tp_calloc(1, 7001);
	const char *const paths[] = {
		it_text("/v1/sessions/%s%%00", theirs),
		it_text("/v1/sessions/%s%%2f", theirs),
		it_text("/v1/sessions/%s%%2Fpark", theirs),
		it_text("/v1/sessions/%s/", theirs),
		it_text("/v1/sessions//%s", theirs),
		it_text("//v1/sessions/%s", theirs),
		it_text("/v1//sessions/%s", theirs),
		it_text("/v1/sessions/../sessions/%s", theirs),
		it_text("/v1/sessions/x/../%s", theirs),
		it_text("/v1/sessions/%%2e%%2e/sessions/%s", theirs),
		it_text("/v1/sessions/%s;", theirs),
		it_text("/v1/sessions/%s%%20", theirs),
		it_text("/v1/sessions/%%%02x%s", theirs[0], theirs + 1),
		it_text("/v1/sessions/%s%%0d%%0aX:%%20y", theirs),
		it_text("/v1/sessions/%s%s", theirs, theirs),
		it_text("/v1/sessions/%.15s", theirs),
		it_text("/v1/sessions/%%ff%%fe"),
		it_text("/v1/sessions/%%zz"),
		it_text("/v1/sessions/%s/images/%%2e%%2e", theirs),
		it_text("/v1/tenants/alice"),
		it_text("/v1/tenants/alice%%00"),
		it_text("/v1/tenants/bob/../alice"),
		it_text("/v1/tenants/alice/tokens"),
		it_text("/v1/sessions/%s", (memset(longest, 'a', 7000), longest)),
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(paths); i++) {
		for (size_t k = 0; k < 3; k++) {
			const char *method = (const char *[]){"GET", "DELETE", "HEAD"}[k];
			const struct it_answer *answer = it_ask(who, method, paths[i], NULL);
			cr_assert(answer->status >= 400 && answer->status < 500, "%s %s: %d",
				method, paths[i], answer->status);
		}
	}
}

static void attack_administration(const struct it_who *who)
{
	static const struct {
		const char *method, *path, *body;
	} requests[] = {
		{"POST", "/v1/templates", "{\"name\": \"x\", \"kernel\": \"/etc/passwd\"}"},
		{"DELETE", "/v1/templates/minimal", NULL},
		{"DELETE", "/v1/templates/minimal?force=true", NULL},
		{"GET", "/v1/tenants", NULL},
		{"POST", "/v1/tenants", "{\"name\": \"mine\"}"},
		{"PATCH", "/v1/tenants/bob", "{\"limits\": {\"sessions\": 1000}}"},
		{"DELETE", "/v1/tenants/bob", NULL},
		{"GET", "/v1/tenants/bob/tokens", NULL},
		{"POST", "/v1/tenants/bob/tokens", "{\"admin\": true}"},
		{"POST", "/v1/tenants/default/tokens", "{}"},
	};

	for (size_t i = 0; i < TP_ARRAY_LEN(requests); i++)
		it_expect(who, 403, requests[i].method, requests[i].path, requests[i].body);
	const json_t *self = it_expect(who, 200, "GET", "/v1/tenants/bob", NULL);
	cr_assert_str_eq(it_string(self, "name"), "bob");
	const struct it_answer *a = it_ask(who, "GET", "/v1/tenants/alice", NULL);
	const struct it_answer *b = it_ask(who, "GET", "/v1/tenants/nobod", NULL);
	cr_assert_eq(a->status, b->status);
	cr_assert_str_eq(without(a->text, "alice"), without(b->text, "nobod"));
	cr_assert(!it_member(it_expect(who, 200, "GET", "/v1/pool", NULL), "host"));
}

Test(tenants, cannot_reach_each_other)
{
	begin();
	struct it_who alice = {.daemon = &torpord, .token = it_tenant(&admin, "alice", NULL)};
	struct it_who bob = {.daemon = &torpord, .token = it_tenant(&admin, "bob", NULL)};
	struct it_stream seen_by_bob = it_stream_open(&bob, "GET", "/v1/events", NULL);
	const char *id =
		create(&alice, ", \"name\": \"victim\", \"labels\": {\"owner\": \"alice\"}");

	it_expect(&alice, 200, "POST", it_session(id, "/checkpoint"), "{\"name\": \"kept\"}");
	for (size_t parked = 0; parked < 2; parked++) {
		if (parked)
			become(&alice, id, "park", "parked");
		TP_FREE char *before = json_dumps(
			it_expect(&alice, 200, "GET", it_session(id, "/images"), NULL), 0);
		for (size_t tcp = 0; tcp < 2; tcp++) {
			bob.tcp = tcp;
			expect_same_answers(&bob, id);
			attack_queries(&bob, id);
			attack_bodies(&bob);
			attack_paths(&bob, id);
			attack_administration(&bob);
		}
		cr_assert_str_eq(streamed_error(&bob, id), streamed_error(&bob, NOBODY));
		/* And nothing has happened. */
		expect_state(&alice, id, parked ? "parked" : "running");
		TP_FREE char *after = json_dumps(
			it_expect(&alice, 200, "GET", it_session(id, "/images"), NULL), 0);
		cr_assert_str_eq(before, after);
	}
	/* Names are each tenant's own. */
	const char *own = create(&bob, ", \"name\": \"victim\"");
	struct it_event event;
	do {
		event = it_stream_next(&seen_by_bob);
		if (strcmp(event.type, "session") == 0)
			cr_assert_str_eq(it_string(event.data, "id"), own);
	} while (strcmp(event.type, "session") != 0 ||
		 strcmp(it_string(event.data, "state"), "running") != 0);
	it_stream_close(&seen_by_bob);
}

/* --- tokens --- */

static void expect_refused(const char *token)
{
	struct it_who who = {.daemon = &torpord, .token = token};

	for (size_t tcp = 0; tcp < 2; tcp++) {
		who.tcp = tcp;
		const struct it_answer *answer = it_ask(&who, "GET", "/v1/sessions", NULL);
		cr_assert_eq(answer->status, 401, "%s: %d", token ? token : "none", answer->status);
		cr_assert_str_eq(it_header(answer, "WWW-Authenticate"), "Bearer");
	}
}

Test(tenants, tokens)
{
	begin();
	const char *alice = it_tenant(&admin, "alice", NULL);
	const char *bob = it_tenant(&admin, "bob", NULL);
	size_t id_end = (size_t)(strrchr(alice, '_') - alice);
	char last = alice[strlen(alice) - 1];

	it_expect(&(struct it_who){.daemon = &torpord, .tcp = true}, 401, "GET", "/v1/self", NULL);
	it_expect(&(struct it_who){.daemon = &torpord, .tcp = true, .token = alice}, 200, "GET",
		"/v1/self", NULL);
	expect_refused(it_text("%.*s%s", (int)id_end, alice, strrchr(bob, '_')));
	expect_refused(it_text("%.*s%c", (int)strlen(alice) - 1, alice, last == 'a' ? 'b' : 'a'));
	expect_refused(it_text("%.*s", (int)strlen(alice) - 1, alice));
	expect_refused(it_text("%.*s", (int)id_end, alice));
	expect_refused(it_text("%sa", alice));
	expect_refused("tpr_");
	expect_refused("x");

	/* Expired: the record's clock is this machine's. */
	const json_t *brief =
		it_expect(&admin, 201, "POST", "/v1/tenants/alice/tokens", "{\"expires_s\": 1}");
	struct it_who who = {.daemon = &torpord, .token = it_string(brief, "token")};
	while (it_ask(&who, "GET", "/v1/self", NULL)->status == 200)
		;
	expect_refused(who.token);

	/* Revoked: only that one. */
	const json_t *doomed = it_expect(&admin, 201, "POST", "/v1/tenants/alice/tokens", "{}");
	who.token = it_string(doomed, "token");
	it_expect(&who, 200, "GET", "/v1/self", NULL);
	it_expect(&admin, 404, "DELETE",
		it_text("/v1/tenants/bob/tokens/%s", it_string(doomed, "id")), NULL);
	it_expect(&admin, 204, "DELETE",
		it_text("/v1/tenants/alice/tokens/%s", it_string(doomed, "id")), NULL);
	expect_refused(who.token);
	who.token = alice;
	it_expect(&who, 200, "GET", "/v1/self", NULL);

	/* With the tenant its tokens go; a new one of that name doesn't bring them back. */
	it_expect(&admin, 204, "DELETE", "/v1/tenants/alice", NULL);
	expect_refused(alice);
	it_tenant(&admin, "alice", NULL);
	expect_refused(alice);
}

/* --- JSON Web Tokens --- */

/* CLAIMS over good ones; null takes one away. KEY NULL: unsigned, alg "none". */
static const char *jwt(const json_t *key, const char *claims)
{
	json_t *all = json_pack("{s:s, s:I, s:s, s:s, s:s}", "sub", "carol", "exp",
		(json_int_t)time(NULL) + 300, "iss", "https://issuer", "aud", "torpor",
		"torpor_tenant", "alice");
	json_t *more = json_loads(claims ? claims : "{}", 0, NULL);

	json_object_update(all, more);
	TP_FREE char *text = json_dumps(all, JSON_COMPACT);
	json_decref(all);
	json_decref(more);
	json_t *payload = jose_b64_enc(text, strlen(text));
	if (!key) {
		const char *header = "{\"alg\":\"none\"}";
		json_t *protected_part = jose_b64_enc(header, strlen(header));
		const char *token = it_text(
			"%s.%s.", json_string_value(protected_part), json_string_value(payload));
		json_decref(protected_part);
		json_decref(payload);
		return token;
	}
	json_t *jws = json_pack("{s:o}", "payload", payload);
	json_t *sig = json_pack("{s:{s:s, s:s}}", "protected", "alg",
		json_string_value(json_object_get(key, "alg")), "kid", "issuer");
	cr_assert(jose_jws_sig(NULL, jws, sig, key));
	const char *token = it_text("%s.%s.%s", it_string(jws, "protected"),
		it_string(jws, "payload"), it_string(jws, "signature"));
	json_decref(sig);
	json_decref(jws);
	return token;
}

static int status_with(const char *token, const char *method, const char *path, const char *body)
{
	struct it_who who = {.daemon = &torpord, .tcp = true, .token = token};

	return it_ask(&who, method, path, body)->status;
}

static void refuse_forged(void)
{
	json_t *ps256 = json_deep_copy(issuer);
	json_t *hmac = json_pack("{s:s, s:s, s:s}", "kty", "oct", "alg", "HS256", "k",
		it_string(issuer, "x")); /* the public key as a secret */

	cr_assert(json_object_get(ps256, "d"));
	expect_refused(jwt(stranger, NULL));
	expect_refused(jwt(NULL, NULL));
	expect_refused(jwt(hmac, NULL));
	expect_refused(jwt(issuer, "{\"exp\": 1000}"));
	expect_refused(jwt(issuer, "{\"exp\": null}"));
	expect_refused(jwt(issuer, "{\"iss\": \"https://other\"}"));
	expect_refused(jwt(issuer, "{\"aud\": \"other\"}"));
	expect_refused(jwt(issuer, "{\"torpor_tenant\": \"nobody\"}"));
	expect_refused(jwt(issuer, "{\"torpor_tenant\": null}"));
	expect_refused(jwt(issuer, "{\"torpor_perm\": [\"admin\"]}"));
	expect_refused(jwt(issuer, it_text("{\"nbf\": %lld}", (long long)time(NULL) + 3000)));
	const char *good = jwt(issuer, NULL);
	const char *other = jwt(issuer, "{\"torpor_tenant\": \"bob\"}");
	/* One's header and signature around another's claims. */
	expect_refused(it_text("%.*s%.*s%s", (int)(strchr(good, '.') - good), good,
		(int)(strrchr(other, '.') - strchr(other, '.')), strchr(other, '.'),
		strrchr(good, '.')));
	json_decref(ps256);
	json_decref(hmac);
}

Test(tenants, web_tokens)
{
	begin();
	struct it_who alice = {.daemon = &torpord, .token = it_tenant(&admin, "alice", NULL)};
	const char *command = "{\"argv\": [\"true\"]}";

	it_tenant(&admin, "bob", NULL);
	const char *id = create(&alice, "");
	const char *second = create(&alice, "");
	refuse_forged();

	/* Reading alone is what it may without more. */
	const char *reads = jwt(issuer, NULL);
	cr_assert_eq(status_with(reads, "GET", it_session(id, ""), NULL), 200);
	cr_assert_eq(status_with(reads, "POST", it_session(id, "/exec"), command), 403);
	cr_assert_eq(status_with(reads, "POST", it_session(id, "/park"), NULL), 403);
	cr_assert_eq(status_with(reads, "GET", it_session(id, "/images/park/where"), NULL), 404);
	cr_assert_eq(status_with(reads, "DELETE", it_session(id, ""), NULL), 403);
	cr_assert_eq(
		status_with(reads, "POST", "/v1/sessions", "{\"template\": \"minimal\"}"), 403);
	cr_assert_eq(status_with(reads, "GET", "/v1/tenants", NULL), 403);

	/* One permission doesn't bring another. */
	const char *runs = jwt(issuer, "{\"torpor_perm\": [\"exec\"]}");
	cr_assert_eq(status_with(runs, "POST", it_session(id, "/exec"), command), 200);
	cr_assert_eq(status_with(runs, "GET", it_session(id, ""), NULL), 403);
	cr_assert_eq(status_with(runs, "POST", it_session(id, "/pause"), NULL), 403);
	cr_assert_eq(status_with(runs, "POST", it_session(id, "/exec"),
			     "{\"argv\": [\"true\"], \"wake\": true}"),
		403);

	/* For one session: the tenant's others aren't there. */
	const char *one = jwt(issuer,
		it_text("{\"torpor_session\": \"%s\", \"torpor_perm\": [\"read\", \"exec\", "
			"\"operate\", \"create\"]}",
			id));
	struct it_who bound = {.daemon = &torpord, .token = one};
	expect_same_answers(&bound, second);
	expect_list(&bound, "", 1);
	it_expect(&bound, 200, "POST", it_session(id, "/exec"), command);
	it_expect(&bound, 403, "POST", "/v1/sessions", "{\"template\": \"minimal\"}");
	it_expect(&bound, 403, "POST", it_session(id, "/fork"), NULL);
	it_expect(&bound, 404, "GET", it_text("/v1/events?session=%s", second), NULL);
	expect_state(&alice, second, "running");
	it_expect(&bound, 204, "DELETE", it_session(id, ""), NULL);

	/* Nothing of another tenant's, whatever it may. */
	const char *other = jwt(issuer, "{\"torpor_tenant\": \"bob\", \"torpor_perm\": [\"read\", "
					"\"exec\", \"operate\", \"create\"]}");
	expect_same_answers(&(struct it_who){.daemon = &torpord, .token = other}, second);
}
