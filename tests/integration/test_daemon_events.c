/* SPDX-License-Identifier: Apache-2.0 */
/* What the real torpord tells and keeps: events, repetitions, rates, its end, and timers. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "base/macros.h"
#include "daemon.h"

#define MINIMAL "{\"template\": \"minimal\"}"

static struct it_daemon torpord;
static struct it_who admin, alice, bob;

/* Called by the tests themselves: after a failure in a suite's init there is no fini. */
static void begin(const char *config)
{
	it_daemon_init(&torpord, config);
	it_daemon_start(&torpord);
	admin = (struct it_who){.daemon = &torpord};
	alice = bob = admin;
	alice.token = it_tenant(&admin, "alice", NULL);
	bob.token = it_tenant(&admin, "bob", NULL);
}

static void end(void)
{
	it_daemon_deinit(&torpord);
}

TestSuite(events, .fini = end, .timeout = 300);

#define FAST "[tenants]\nrequests_per_minute = 100000\n[pool]\nwarm_min = 1\nwarm_max = 2\n"

static const char *create(const struct it_who *who, const char *body)
{
	return it_string(it_expect(who, 201, "POST", "/v1/sessions", body), "id");
}

static void post(const struct it_who *who, const char *id, const char *op)
{
	it_expect(who, 200, "POST", it_text("/v1/sessions/%s/%s", id, op), NULL);
}

static void expect_state(const struct it_who *who, const char *id, const char *state)
{
	const json_t *session = it_expect(who, 200, "GET", it_session(id, ""), NULL);

	cr_assert_str_eq(it_string(session, "state"), state);
}

/* --- requests beside this thread --- */

struct request {
	const struct it_who *who;
	const char *path, *body;
	const struct it_answer *answer;
	pthread_t thread;
};

static void *ask(void *data)
{
	struct request *request = data;

	request->answer = it_ask(request->who, "POST", request->path, request->body);
	return NULL;
}

static void send_off(struct request *request)
{
	pthread_create(&request->thread, NULL, ask, request);
}

/* --- events --- */

static struct it_stream events_after(const struct it_who *who, uint64_t after, const char *id)
{
	struct it_who asking = *who;

	asking.header = it_text("Last-Event-ID: %llu", (unsigned long long)after);
	return it_stream_open(
		&asking, "GET", id ? it_text("/v1/events?session=%s", id) : "/v1/events", NULL);
}

#define FUTURE UINT64_C(999999999999999999)

/* Where events have come to: an id that was never given is answered with that. */
static uint64_t newest_event(const struct it_who *who)
{
	struct it_stream stream = events_after(who, FUTURE, NULL);
	struct it_event event = it_stream_next(&stream);

	cr_assert_str_eq(event.type, "reset");
	it_stream_close(&stream);
	return event.id;
}

/* The states that session ID goes through; FROM: the event behind which they are read. */
static const char *const life[] = {"starting", "running", "paused", "running", "parking", "parked",
	"resuming", "running", "stopping", "destroyed"};
#define LIFE TP_ARRAY_LEN(life)

static const char *live(const struct it_who *who)
{
	const char *id = create(who, MINIMAL);

	post(who, id, "pause");
	post(who, id, "unpause");
	post(who, id, "park");
	post(who, id, "resume");
	it_expect(who, 204, "DELETE", it_session(id, ""), NULL);
	return id;
}

struct seen {
	uint64_t id;
	const char *session, *state;
};

/* All events of sessions of WHO behind AFTER, up to one being destroyed. In order, none twice. */
static size_t read_life(const struct it_who *who, uint64_t after, struct seen *seen, size_t room)
{
	struct it_stream stream = events_after(who, after, NULL);
	uint64_t last = after;
	size_t n = 0;

	do {
		struct it_event event = it_stream_next(&stream);
		cr_assert(*event.type, "the stream ended");
		cr_assert_str_neq(event.type, "reset");
		cr_assert_gt(event.id, last);
		last = event.id;
		if (strcmp(event.type, "session") != 0)
			continue;
		cr_assert_lt(n, room);
		seen[n++] = (struct seen){
			event.id, it_string(event.data, "id"), it_string(event.data, "state")};
	} while (n == 0 || strcmp(seen[n - 1].state, "destroyed") != 0);
	it_stream_close(&stream);
	return n;
}

/* Connections that break off after each event: all together they see what one sees. */
static void expect_same_piecewise(
	const struct it_who *who, uint64_t after, const struct seen *seen, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct it_stream stream = events_after(who, after, NULL);
		struct it_event event;
		do
			event = it_stream_next(&stream);
		while (strcmp(event.type, "pool") == 0 || strcmp(event.type, "template") == 0);
		it_stream_close(&stream);
		cr_assert_str_eq(event.type, "session");
		cr_assert_eq(event.id, seen[i].id);
		cr_assert_str_eq(it_string(event.data, "state"), seen[i].state);
		after = event.id;
	}
}

/* STATES must come in the order of life; those of passage may be passed over by what's quick. */
static void expect_life(const struct seen *seen, size_t n, const char *id)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		cr_assert_str_eq(seen[i].session, id);
		while (at < LIFE && strcmp(life[at], seen[i].state) != 0)
			at++;
		cr_assert_lt(at, LIFE, "%s is out of order", seen[i].state);
	}
	for (size_t k = 1; k < LIFE; k++) {
		bool settled = !strstr(life[k], "ing") || strcmp(life[k], "running") == 0;
		bool found = !settled;
		for (size_t i = 0; i < n; i++)
			found = found || strcmp(seen[i].state, life[k]) == 0;
		cr_assert(found, "no event said %s", life[k]);
	}
}

/* What comes first to who asks for all behind AFTER. */
static struct it_event first_after(const struct it_who *who, uint64_t after)
{
	struct it_stream stream = events_after(who, after, NULL);
	struct it_event event = it_stream_next(&stream);

	it_stream_close(&stream);
	return event;
}

Test(events, in_order_and_again)
{
	static struct seen seen[64];

	begin(FAST);
	uint64_t before = newest_event(&alice);
	const char *id = live(&alice);
	size_t n = read_life(&alice, before, seen, TP_ARRAY_LEN(seen));
	expect_life(seen, n, id);
	expect_same_piecewise(&alice, before, seen, n);

	/* Another tenant's session is the first that it hears of. */
	const char *of_bob = create(&bob, MINIMAL);
	struct it_stream heard = events_after(&bob, before, NULL);
	struct it_event event;
	do
		event = it_stream_next(&heard);
	while (strcmp(event.type, "session") != 0);
	cr_assert_str_eq(it_string(event.data, "id"), of_bob);
	it_stream_close(&heard);

	/* From before the restart: reset, and ids that go on. */
	uint64_t last = newest_event(&alice);
	it_daemon_stop(&torpord);
	it_daemon_start(&torpord);
	expect_state(&bob, of_bob, "running");
	event = first_after(&alice, last);
	cr_assert_str_eq(event.type, "reset");
	cr_assert_geq(event.id, last);

	before = newest_event(&alice);
	id = live(&alice);
	n = read_life(&alice, before, seen, TP_ARRAY_LEN(seen));
	expect_life(seen, n, id);
	cr_assert_gt(seen[0].id, last);
}

/* --- more than is kept --- */

#define KEPT	4096 /* events, in service/events.h */
#define WRITERS 8

static void *change_tenant(void *data)
{
	(void)data;
	for (size_t i = 0; i < KEPT / WRITERS + 1; i++)
		it_expect(&admin, 200, "PATCH", "/v1/tenants/alice",
			it_text("{\"limits\": {\"sessions\": %zu}}", i));
	return NULL;
}

Test(events, too_old)
{
	pthread_t writers[WRITERS];

	begin(FAST);
	uint64_t old = newest_event(&alice);
	for (size_t i = 0; i < WRITERS; i++)
		pthread_create(&writers[i], NULL, change_tenant, NULL);
	for (size_t i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	cr_assert_str_eq(first_after(&alice, old).type, "reset");
	/* What comes from now on can be read again. */
	uint64_t now = newest_event(&alice);
	it_expect(&admin, 200, "PATCH", "/v1/tenants/alice", "{\"limits\": {\"sessions\": 7}}");
	struct it_event event = first_after(&alice, now);
	while (strcmp(event.type, "pool") == 0)
		event = first_after(&alice, event.id);
	cr_assert_str_eq(event.type, "tenant");
	cr_assert_eq(first_after(&alice, event.id - 1).id, event.id);
}

/* --- repetitions --- */

static struct it_who with_key(const struct it_who *who, const char *key)
{
	struct it_who keyed = *who;

	keyed.header = it_text("Idempotency-Key: %s", key);
	return keyed;
}

static const struct it_answer *expect_replay(
	const struct it_who *who, const char *key, const char *path, const char *body, int status)
{
	struct it_who keyed = with_key(who, key);
	const struct it_answer *answer = it_ask(&keyed, "POST", path, body);
	const char *replayed = it_header(answer, "Idempotency-Replayed");

	cr_assert_eq(answer->status, status, "%s", answer->text);
	cr_assert(replayed && strcmp(replayed, "true") == 0, "%s was done anew", path);
	return answer;
}

static void expect_sessions(const struct it_who *who, size_t n)
{
	const json_t *list = it_expect(who, 200, "GET", "/v1/sessions", NULL);

	cr_assert_eq(json_array_size(it_member(list, "sessions")), n);
}

static void expect_mismatch(const struct it_who *who, const char *key, const char *body)
{
	struct it_who keyed = with_key(who, key);
	const json_t *problem = it_expect(&keyed, 409, "POST", "/v1/sessions", body);

	cr_assert_str_eq(it_string(problem, "type"), "urn:torpor:problem:mismatch");
}

static void expect_all_replayed(const char *id, const char *first_fork)
{
	const struct it_answer *created =
		expect_replay(&alice, "create", "/v1/sessions", MINIMAL, 201);
	cr_assert_str_eq(it_string(created->body, "id"), id);
	const char *location = it_header(created, "Location");
	cr_assert(location && strcmp(location, it_session(id, "")) == 0, "%s", location);
	const struct it_answer *park =
		expect_replay(&alice, "park", it_session(id, "/park"), NULL, 200);
	cr_assert_str_eq(it_string(park->body, "id"), id);
	const struct it_answer *forks =
		expect_replay(&alice, "fork", it_session(id, "/fork"), "{\"count\": 2}", 201);
	cr_assert_str_eq(it_string(forks->body, "sessions.0.id"), first_fork);
	expect_sessions(&alice, 3);
	expect_mismatch(&alice, "create", "{\"template\": \"minimal\", \"name\": \"other\"}");
	expect_mismatch(&alice, "fork", MINIMAL);
}

Test(events, repetitions)
{
	begin(FAST);
	struct it_who keyed = with_key(&alice, "create");
	const char *id = create(&keyed, MINIMAL);
	keyed = with_key(&alice, "park");
	post(&keyed, id, "park");
	keyed = with_key(&alice, "fork");
	const char *first_fork =
		it_string(it_expect(&keyed, 201, "POST", it_session(id, "/fork"), "{\"count\": 2}"),
			"sessions.0.id");
	expect_all_replayed(id, first_fork);
	/* It was parked once: what is repeated does nothing to one that runs again. */
	post(&alice, id, "resume");
	expect_replay(&alice, "park", it_session(id, "/park"), NULL, 200);
	expect_state(&alice, id, "running");

	/* Keys are each tenant's own. */
	keyed = with_key(&bob, "create");
	const char *of_bob = create(&keyed, MINIMAL);
	cr_assert_str_neq(of_bob, id);
	/* What failed may be tried again; commands can't be repeated. */
	keyed = with_key(&alice, "missing");
	it_expect(&keyed, 404, "POST", "/v1/sessions", "{\"template\": \"none\"}");
	it_expect(&keyed, 404, "POST", "/v1/sessions", "{\"template\": \"none\"}");
	it_expect(&keyed, 400, "POST", it_session(id, "/exec"), "{\"argv\": [\"true\"]}");

	it_daemon_stop(&torpord);
	it_daemon_start(&torpord);
	expect_all_replayed(id, first_fork);
	expect_state(&alice, id, "running");

	/* What was made and is gone isn't made again. */
	it_expect(&alice, 204, "DELETE", it_session(id, ""), NULL);
	expect_replay(&alice, "create", "/v1/sessions", MINIMAL, 201);
	expect_sessions(&alice, 2);
}

#define AT_ONCE 8

/* Of all that come with one key while the first is under way, one is done. */
Test(events, repetitions_at_once)
{
	struct request requests[AT_ONCE];
	struct it_who keyed;
	int made = 0;

	begin(FAST);
	keyed = with_key(&alice, "once");
	for (size_t i = 0; i < AT_ONCE; i++) {
		requests[i] =
			(struct request){.who = &keyed, .path = "/v1/sessions", .body = MINIMAL};
		send_off(&requests[i]);
	}
	for (size_t i = 0; i < AT_ONCE; i++) {
		pthread_join(requests[i].thread, NULL);
		const struct it_answer *answer = requests[i].answer;
		made += answer->status == 201 && !it_header(answer, "Idempotency-Replayed");
		if (answer->status == 201)
			continue;
		cr_assert_eq(answer->status, 409, "%s", answer->text);
		cr_assert_str_eq(it_string(answer->body, "type"), "urn:torpor:problem:busy");
		cr_assert_str_eq(it_string(answer->body, "reason"), "under-way");
		cr_assert_str_eq(it_header(answer, "Retry-After"), "1");
	}
	cr_assert_eq(made, 1);
	expect_sessions(&alice, 1);
}

/* --- rates --- */

Test(events, rate)
{
	begin(FAST);
	struct it_who carol = admin;
	carol.token = it_tenant(&admin, "carol", "{\"requests_per_minute\": 3}");
	const char *nowhere = it_session("0000000000000000", "/park");
	const struct it_answer *answer;
	int accepted = 0;

	while (answer = it_ask(&carol, "POST", nowhere, NULL), answer->status == 404)
		accepted++;
	cr_assert_geq(accepted, 3);
	cr_assert_eq(answer->status, 429);
	cr_assert_str_eq(it_string(answer->body, "reason"), "rate");
	const char *retry_after = it_header(answer, "Retry-After");
	cr_assert(retry_after && atoi(retry_after) > 0 && atoi(retry_after) <= 60);
	/* Reading isn't counted, nor is anybody else. */
	it_expect(&carol, 200, "GET", "/v1/sessions", NULL);
	it_expect(&bob, 404, "POST", nowhere, NULL);
	it_expect(&admin, 404, "POST", nowhere, NULL);
}

/* --- parks that take long --- */

/* Compressed as slowly as can be, by one thread: what comes during a park, comes in time. */
#define SLOW "[engine]\nzstd_level = 19\nworkers = 1\n" FAST

static void dirty(const struct it_who *who, const char *id)
{
	it_script(who, id, "dd if=/dev/urandom of=/tmp/big bs=1M count=8 2>/dev/null");
}

/* The park is under way when this returns. */
static void begin_park(struct request *park, const char *id)
{
	struct it_stream stream = events_after(&alice, newest_event(&alice), id);

	*park = (struct request){.who = &alice, .path = it_session(id, "/park")};
	send_off(park);
	it_stream_until(&stream, id, "parking");
	it_stream_close(&stream);
}

Test(events, park_taken_back)
{
	struct request park;

	begin(SLOW);
	const char *id = create(&alice, MINIMAL);
	dirty(&alice, id);
	const char *sum = it_script(&alice, id, "md5sum /tmp/big");
	begin_park(&park, id);
	it_expect(&bob, 404, "DELETE", it_session(id, "/park"), NULL);
	it_expect(&alice, 204, "DELETE", it_session(id, "/park"), NULL);
	pthread_join(park.thread, NULL);
	cr_assert_eq(park.answer->status, 409, "%s", park.answer->text);
	cr_assert_str_eq(it_string(park.answer->body, "type"), "urn:torpor:problem:cancelled");
	expect_state(&alice, id, "running");
	cr_assert_str_eq(it_script(&alice, id, "md5sum /tmp/big"), sum);
	const json_t *images = it_expect(&alice, 200, "GET", it_session(id, "/images"), NULL);
	cr_assert_eq(json_array_size(it_member(images, "images")), 0);
	it_expect(&alice, 409, "DELETE", it_session(id, "/park"), NULL);
}

/* What was begun before SIGTERM is brought to its end, and answered. */
Test(events, ends_with_requests_under_way)
{
	struct request park, exec = {.who = &alice};

	begin(SLOW);
	const char *id = create(&alice, MINIMAL);
	const char *busy = create(&alice, MINIMAL);
	const char *quiet = create(&bob, MINIMAL);
	struct it_stream events = it_stream_open(&bob, "GET", "/v1/events", NULL);
	dirty(&alice, id);
	exec.path = it_session(busy, "/exec");
	exec.body = "{\"argv\": [\"sh\", \"-c\", \"touch /tmp/on; sleep 8; echo done\"]}";
	send_off(&exec);
	while (strcmp(it_script(&alice, busy, "ls /tmp"), "on") != 0)
		;
	begin_park(&park, id);
	it_daemon_term(&torpord);
	pthread_join(park.thread, NULL);
	pthread_join(exec.thread, NULL);
	cr_assert_eq(park.answer->status, 200, "%s", park.answer->text);
	cr_assert_str_eq(it_string(park.answer->body, "state"), "parked");
	cr_assert_eq(exec.answer->status, 200, "%s", exec.answer->text);
	cr_assert_str_eq(it_string(exec.answer->body, "stdout"), "done\n");
	while (*it_stream_next(&events).type)
		;
	it_stream_close(&events);
	it_daemon_wait(&torpord);

	it_daemon_start(&torpord);
	expect_state(&alice, id, "parked");
	expect_state(&alice, busy, "running");
	cr_assert_str_eq(it_script(&alice, busy, "ls /tmp"), "on");
	expect_state(&bob, quiet, "running");
	it_script(&bob, quiet, "true");
	post(&alice, id, "resume");
	cr_assert_str_eq(it_script(&alice, id, "stat -c %s /tmp/big"), "8388608");
}

/* --- timers --- */

static void expect_audited(const char *id, const char *op, const char *actor)
{
	const json_t *audit =
		it_expect(&alice, 200, "GET", it_text("/v1/audit?session=%s", id), NULL);
	size_t i;
	json_t *entry;

	json_array_foreach (it_member(audit, "entries"), i, entry) {
		if (strcmp(it_string(entry, "op"), op) == 0 &&
			strncmp(it_string(entry, "actor"), actor, strlen(actor)) == 0)
			return;
	}
	cr_assert(false, "no %s by %s", op, actor);
}

Test(events, timers)
{
	begin(FAST);
	struct it_stream stream = events_after(&alice, newest_event(&alice), NULL);
	const char *id = create(&alice, "{\"template\": \"minimal\", \"idle_s\": 2}");
	/* It may have been idle for that long before. */
	it_expect(&alice, 200, "POST", it_session(id, "/exec"),
		"{\"argv\": [\"sh\", \"-c\", \"echo here > /tmp/file\"], \"wake\": true}");
	struct it_event event = it_stream_until(&stream, id, "parked");
	cr_assert(json_is_null(it_member(event.data, "guest")));
	expect_audited(id, "park", "torpord");
	const json_t *result = it_expect(&alice, 200, "POST", it_session(id, "/exec"),
		"{\"argv\": [\"cat\", \"/tmp/file\"], \"wake\": true}");
	cr_assert_str_eq(it_string(result, "stdout"), "here\n");
	it_stream_until(&stream, id, "parked"); /* again, for it is idle again */

	const char *brief = create(&alice, "{\"template\": \"minimal\", \"ttl_s\": 3}");
	it_stream_until(&stream, brief, "destroyed");
	it_expect(&alice, 404, "GET", it_session(brief, ""), NULL);
	expect_audited(brief, "destroy", "torpord");
	/* A parked one ends with its retention. */
	it_expect(&alice, 200, "PATCH", it_session(id, ""), "{\"retention_s\": 1}");
	it_stream_until(&stream, id, "destroyed");
	it_stream_close(&stream);
	const json_t *self = it_expect(&alice, 200, "GET", "/v1/self", NULL);
	cr_assert_eq(it_number(self, "usage.sessions"), 0);
	cr_assert_eq(it_number(self, "usage.image_bytes"), 0);
}
